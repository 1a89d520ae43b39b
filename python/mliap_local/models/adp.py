"""The angular-dependent potential: embedded atoms with dipole and quadrupole messages.

    e_i = F(sum rho) + 1/2 sum phi + 1/2 mu^2 + 1/2 lambda:lambda - 1/6 (tr lambda)^2
    mu_i = sum u(r_ij) r_ij        lambda_i = sum w(r_ij) r_ij r_ij

Source: Y. Mishin, M. J. Mehl, D. A. Papaconstantopoulos, Acta Mater. 53, 4029 (2005); file format:
LAMMPS manual, pair_style adp. Reading is setfl.py's, the embedding energy eam.py's. The functions
do not truncate: who calls them makes no edge beyond the cutoff.
"""

from pathlib import Path

import jax.numpy as jnp

from . import Converted, ModelFunctions
from .eam import embedding_function, tabulated_edge
from .places import embedding, place_of
from .setfl import SetflTable, read_table
from .text import find_potential


def add_arguments(parser):
    """Arguments of `mliap-local convert adp`."""
    parser.add_argument(
        "file", metavar="FILE", type=find_potential, help="a file of LAMMPS's pair_style adp"
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    table = read_table(options.file, "adp")
    assert isinstance(table, SetflTable)
    return Converted(
        functions=adp(table),
        cutoff=table.cutoff,
        elements=table.elements,
        units=table.units,
        source=f"converted from {Path(options.file).name}: {table.comment}",
        masses=dict(zip(table.elements, table.masses, strict=True)),
    )


def adp(table: SetflTable) -> ModelFunctions:
    """Make the functions of the formula above from a table that has all four functions of r.

    The embedding is one column, the element's place in the table. The message has eleven: density,
    half the pair's energy, dipole (3), quadrupole (xx yy zz xy xz yz). Energies are LAMMPS's, to
    rounding, and within the tables forces too; beyond their ends, in density and between the last
    distance and the cutoff, LAMMPS keeps its functions constant but not the forces, and here both
    agree.
    """
    if table.dipole is None or table.quadrupole is None:
        raise ValueError("expected a table with dipole and quadrupole functions")
    embedding_energy = embedding_function(table)

    def readout(h, messages):
        i = place_of(h)
        dipole, diagonal, rest = messages[:, 2:5], messages[:, 5:8], messages[:, 8:]
        trace = jnp.sum(diagonal, axis=1)
        angular = 0.5 * jnp.sum(dipole * dipole, axis=1)
        angular += 0.5 * jnp.sum(diagonal * diagonal, axis=1) + jnp.sum(rest * rest, axis=1)
        energy = embedding_energy(i, messages[:, 0]) + messages[:, 1]
        return jnp.where(i >= 0, energy + angular - trace * trace / 6, 0)  # -> [n]

    return ModelFunctions(embedding(table.elements), tabulated_edge(table), readout)
