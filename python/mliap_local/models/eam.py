"""The embedded-atom method from tables, with the splines of LAMMPS's pair_style eam.

Takes `.eam.alloy` (one density per element), `.eam.fs` (Finnis-Sinclair: one density per ordered
pair of elements), `.eam.he` (the same, with densities below zero) and several funcfl `.eam` files
at once, mixed as pair_style eam mixes them. Source: M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443
(1984); M. W. Finnis, J. E. Sinclair, Philos. Mag. A 50, 45 (1984); X. W. Zhou, N. C. Bartelt, R. B.
Sills, Phys. Rev. B 103, 014108 (2021) for `he`; interpolation and mixing: LAMMPS manual, pair_style
eam. Reading is setfl.py's. The functions do not truncate: who calls them makes no edge beyond the
cutoff.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions, element_positions
from .places import embedding, kept, place_of
from .setfl import FORMATS, FuncflTable, SetflTable, cubics, read_table
from .text import PotentialFileError, find_potential

# Hartree in eV times Bohr radius in Angstrom, as rounded by LAMMPS.
_HARTREE_BOHR = 27.2 * 0.529

# Columns of a message with dipole and quadrupole: of which table, times which two of 1, x, y, z.
_TABLE = np.array([0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3])
_FIRST = np.array([0, 0, 1, 2, 3, 1, 2, 3, 1, 1, 2])
_SECOND = np.array([0, 0, 0, 0, 0, 1, 2, 3, 2, 3, 3])
# The derivative of its xy, xz and yz by x, y, z: two columns times two components.
_XY, _YX = np.array([8, 8, 9]), np.array([1, 0, 0])
_YZ, _ZY = np.array([9, 10, 10]), np.array([2, 2, 1])


def add_arguments(parser):
    """Arguments of `mliap-local convert eam`."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="+",
        type=find_potential,
        help="a .eam.alloy, .eam.fs or .eam.he file, or .eam files of one element each",
    )
    parser.add_argument(
        "--format",
        choices=[key for key in FORMATS if key != "adp"],
        help="where neither name nor content tells",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    files = [options.file] if isinstance(options.file, str) else options.file
    tables = [read_table(file, options.format) for file in files]
    of_one = [table for table in tables if isinstance(table, FuncflTable)]
    if len(of_one) == len(tables):
        try:
            table = mixed(of_one)
        except ValueError as error:
            raise PotentialFileError(f"{', '.join(map(str, files))}: {error}") from error
    elif len(tables) > 1 or of_one:
        raise PotentialFileError(
            f"{files[0]} and {len(files) - 1} more: expected one file of eam/alloy, eam/fs or "
            "eam/he, or several of eam with one element each: the others bring their mixtures"
        )
    else:
        (table,) = (table for table in tables if isinstance(table, SetflTable))
        if table.dipole is not None:
            raise PotentialFileError(
                f"{files[0]}: expected a table of eam, found one of adp; use `mliap-local convert "
                "adp`"
            )
    return Converted(
        functions=eam(table),
        cutoff=table.cutoff,
        elements=table.elements,
        units=table.units,
        source=f"converted from {', '.join(Path(file).name for file in files)}: {table.comment}",
        masses=dict(zip(table.elements, table.masses, strict=True)),
    )


def mixed(tables: Sequence[FuncflTable]) -> SetflTable:
    """Put several elements on one grid, as LAMMPS's pair_style eam does with its files.

    Pair energies are products of effective charges; the grid has the coarsest spacings and the
    longest ranges of the files, and loses the last point of both tables.

    Raises:
      ValueError: the same element twice, or files in different units.
    """
    elements = tuple(table.element for table in tables)
    element_positions(elements)
    if len({table.units for table in tables}) > 1:
        raise ValueError(
            f"files in one system of units expected, found {tables[0].units} and others"
        )
    delta_rho, delta_r = (max(getattr(t, key) for t in tables) for key in ("delta_rho", "delta_r"))
    largest_rho = max((len(t.embedding) - 1) * t.delta_rho for t in tables)
    largest_r = max((len(t.density) - 1) * t.delta_r for t in tables)
    # one point less than the files have: the last is at the range less one spacing
    rho = np.arange(int(largest_rho / delta_rho + 0.5)) * delta_rho
    r = np.arange(int(largest_r / delta_r + 0.5)) * delta_r
    charge = np.array([_resampled(t.charge, t.delta_r, r) for t in tables])
    density = np.array([_resampled(t.density, t.delta_r, r) for t in tables])
    n = len(tables)
    return SetflTable(
        elements=elements,
        cutoff=max(t.cutoff for t in tables),
        delta_rho=delta_rho,
        delta_r=delta_r,
        embedding=np.array([_resampled(t.embedding, t.delta_rho, rho) for t in tables]),
        density=np.broadcast_to(density, (n, n, len(r))),
        pair=_HARTREE_BOHR * charge[:, None] * charge[None, :],
        units=tables[0].units,
        comment="; ".join(t.comment for t in tables),
        masses=tuple(t.mass for t in tables),
        file_format="funcfl",
        rho_range=(0.0, largest_rho),
    )


def _resampled(values, spacing, points):
    """Values at other points by LAMMPS's four-point Lagrange interpolation of a table."""
    position = points / spacing
    first = np.clip(position.astype(int), 1, len(values) - 3)
    p = np.minimum(position - first, 2.0)
    weights = (
        -p * (p - 1) * (p - 2) / 6,
        (p * p - 1) * (p - 2) / 2,
        -p * (p + 1) * (p - 2) / 2,
        p * (p * p - 1) / 6,
    )
    return sum(w * values[first + k] for k, w in enumerate(weights, -1))


def eam(table: SetflTable) -> ModelFunctions:
    """Make the functions of `E = sum_i F_i(sum_j rho_ij(r)) + 1/2 sum_ij z_ij(r) / r`.

    The embedding is one column, the element's place in the table. The message has two: density and
    half the pair's energy. Beyond the ends of the embedding table the energy goes on linearly, as
    in LAMMPS (mixtures of funcfl files: one spacing further on, and constant till there). Within
    the tables the result is LAMMPS's, to rounding; where it keeps energies constant, there and
    between the tables' last distance and the cutoff, its forces are not zero, and here they are.
    """
    embedding_energy = embedding_function(table)

    def readout(h, messages):
        i = place_of(h)
        energy = embedding_energy(i, messages[:, 0]) + messages[:, 1]
        return jnp.where(i >= 0, energy, 0)  # -> [n]

    return ModelFunctions(embedding(table.elements), tabulated_edge(table), readout)


def tabulated_edge(table: SetflTable):
    """Make the edge function: density, half the pair's energy and, where the table has them, dipole
    (3) and quadrupole (xx yy zz xy xz yz).

    Edges are the last axis, and rows are products of rows that are looked up by number: XLA makes
    loops without branches of that, which it does not of rows that are stacked. The adjoint is by
    hand: JAX's own has three times as many passes over the edges.
    """
    n, angular = len(table.elements), table.dipole is not None
    all_tables = (table.density, table.pair, table.dipole, table.quadrupole)
    tables = [values for values in all_tables if values is not None]
    # One row holds the cubics of a bin in all tables, so an edge needs one look-up only.
    radial = np.concatenate([cubics(values) for values in tables], axis=-1)
    n_bins = radial.shape[-2]
    radial = radial.reshape(-1, radial.shape[-1])  # -> [n * n * bins, 4 a table]
    inverse_delta_r = 1.0 / table.delta_r

    def geometry(h_i, h_j, vector):
        """Is it a pair of the table's elements at a distance, that distance, the bin's row of
        coefficients, and the place in the bin."""
        i, j = place_of(h_i), place_of(h_j)
        square = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]
        # The square is replaced before its root and its inverse are taken, not only after: the
        # gradient of a branch that is not taken must be finite too.
        valid = (square > 0) & (i >= 0) & (j >= 0)
        r = jnp.sqrt(jnp.where(valid, square, 1))
        position = r * inverse_delta_r
        bin_ = jnp.minimum(position, n_bins - 1).astype(jnp.int32)
        return valid, r, jnp.where(valid, (i * n + j) * n_bins + bin_, 0), position - bin_

    def values(valid, r, row, p):
        """Of each table, but half of z / r; 0 where it is no pair: [e] each."""
        c, p = jnp.asarray(radial, r.dtype)[row], jnp.minimum(p, 1)
        found = [
            ((c[:, k] * p + c[:, k + 1]) * p + c[:, k + 2]) * p + c[:, k + 3]
            for k in range(0, radial.shape[1], 4)
        ]
        found[1] = 0.5 * found[1] / r
        return [jnp.where(valid, value, 0) for value in found]

    def values_and_slopes(valid, r, row, p):
        """The same, and their derivatives by r."""
        found = values(valid, r, row, p)
        c, inside = jnp.asarray(radial, r.dtype)[row], valid & (p <= 1)
        slopes = [
            jnp.where(inside, (3 * c[:, k] * p + 2 * c[:, k + 1]) * p + c[:, k + 2], 0)
            * inverse_delta_r
            for k in range(0, radial.shape[1], 4)
        ]
        slopes[1] = (0.5 * slopes[1] - found[1]) / r
        return found, slopes

    @jax.custom_vjp
    def edge(h_i, h_j, r_ij):
        vector = r_ij.T
        place = geometry(h_i, h_j, vector)
        found = jnp.stack(kept(jnp.any(place[0]), values, *place))
        if not angular:
            return found.T  # -> [e, 2]
        ones = jnp.concatenate([jnp.ones_like(vector[:1]), vector])
        return (found[_TABLE] * ones[_FIRST] * ones[_SECOND]).T  # -> [e, 11]

    def forward(h_i, h_j, r_ij):
        return edge(h_i, h_j, r_ij), (h_i, h_j, r_ij)

    def pull(vector, r, values, slopes, of):
        along = sum(a * b for a, b in zip(slopes, of, strict=False))
        if not angular:
            return along / r * vector
        x, y, z = vector
        along = of[0] * slopes[0] + of[1] * slopes[1]
        along += slopes[2] * (of[2] * x + of[3] * y + of[4] * z)
        turned = of[5] * x * x + of[6] * y * y + of[7] * z * z
        turned += of[8] * x * y + of[9] * x * z + of[10] * y * z
        gradient = (along + slopes[3] * turned) / r * vector
        turned = 2 * of[5:8] * vector + of[_XY] * vector[_YX] + of[_YZ] * vector[_ZY]
        return gradient + values[2] * of[2:5] + values[3] * turned

    def backward(saved, cotangent):
        h_i, h_j, r_ij = saved
        vector = r_ij.T
        place = geometry(h_i, h_j, vector)
        near = jnp.any(place[0])
        found = kept(near, values_and_slopes, *place)
        gradient = kept(near, pull, vector, place[1], *found, cotangent.T)
        return jnp.zeros_like(h_i), jnp.zeros_like(h_j), gradient.T

    edge.defvjp(forward, backward)
    return edge


def embedding_function(table: SetflTable):
    """Make `f(int[n], float[n]) -> float[n]`: the energy of an element in a density."""
    coefficients = cubics(table.embedding)  # -> [n, rho bins, 4]
    n_bins = coefficients.shape[-2]
    coefficients = coefficients.reshape(-1, 4)
    smallest, largest = table.rho_range
    below_zero = table.file_format == "he"
    inverse_delta = 1.0 / table.delta_rho
    # Bins are counted from the point next to rho = 0: from far below, float32 would lose digits.
    origin = round(-smallest * inverse_delta)
    fraction = -smallest * inverse_delta - origin
    # In `he` the first bin's cubic is the second's, and the line begins at the range's end.
    first, last = int(below_zero) - origin, n_bins - 1 - origin

    def energy(i, rho):
        position = rho * inverse_delta + fraction
        bin_ = jnp.floor(jnp.clip(position, first, last))
        p = position - bin_
        p = jnp.where(p > 1, 1, p)
        if below_zero:
            p = jnp.where(p < -1, -1, p)
        row = jnp.maximum(i, 0) * n_bins + bin_.astype(jnp.int32) + origin
        c = jnp.asarray(coefficients, rho.dtype)[row]
        value = ((c[:, 0] * p + c[:, 1]) * p + c[:, 2]) * p + c[:, 3]
        slope = ((3 * c[:, 0] * p + 2 * c[:, 1]) * p + c[:, 2]) * inverse_delta
        if largest < math.inf:
            value = value + slope * jnp.where(rho > largest, rho - largest, 0)
        if below_zero:
            value = value + slope * jnp.where(rho < smallest, rho - smallest, 0)
        return value

    return energy
