"""The embedded-atom method from setfl tables, with the splines of LAMMPS's pair_style eam.

Reads `.eam.alloy` (one density per element) and `.eam.fs` (Finnis-Sinclair: one density per ordered
pair of elements). Source: M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443 (1984); M. W. Finnis,
J. E. Sinclair, Philos. Mag. A 50, 45 (1984); file format and interpolation: LAMMPS manual,
pair_style eam. `read_setfl` is the only function that opens a file; `eam` is pure. The functions do
not truncate: who calls them makes no edge beyond the cutoff.
"""

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, Converted, ModelFunctions, atomic_numbers, element_positions
from .text import Lines, PotentialFileError, read_text

#: The two layouts of a setfl file.
FORMATS = ("alloy", "fs")

# The spline takes its slopes from five neighbouring values.
_FEWEST_VALUES = 5
# Keeps a header that lies about its size from asking for all memory.
_MOST_VALUES = 1_000_000


class SetflTable(NamedTuple):
    """The content of a setfl file, in its units (Angstrom, eV, densities arbitrary)."""

    elements: tuple[str, ...]
    cutoff: float
    delta_rho: float
    delta_r: float
    #: `[n, n_rho]`: energy of an element against the density it sits in.
    embedding: np.ndarray
    #: `[n, n, n_r]`: density that a receiver (first) feels from a sender (second).
    density: np.ndarray
    #: `[n, n, n_r]`: pair energy times distance; symmetric.
    pair: np.ndarray
    #: LAMMPS unit system named in the first line, `metal` where none is.
    units: str
    #: The three comment lines as one text.
    comment: str
    #: `[n]`: masses of the elements, as the file has them.
    masses: tuple[float, ...]


def add_arguments(parser):
    """Arguments of `mliap-local convert eam`."""
    parser.add_argument("file", metavar="FILE", help="a .eam.alloy or .eam.fs file")
    parser.add_argument("--format", choices=FORMATS, help="where the name does not tell")


def convert(options) -> Converted:
    """Read what `options` name."""
    table = read_setfl(options.file, options.format)
    return Converted(
        functions=eam(table),
        cutoff=table.cutoff,
        elements=table.elements,
        units=table.units,
        source=f"converted from {Path(options.file).name}: {table.comment}",
        masses=dict(zip(table.elements, table.masses, strict=True)),
    )


def format_of(path: str | PathLike) -> str:
    """Tell `alloy` from `fs` by the end of the file's name.

    Raises:
      PotentialFileError: a name that ends in neither.
    """
    for name in FORMATS:
        if str(path).lower().endswith("." + name):
            return name
    raise PotentialFileError(
        f"{path}: cannot tell the format: expected a name ending in .eam.alloy or .eam.fs; "
        "otherwise name the format, alloy or fs"
    )


def read_setfl(path: str | PathLike, file_format: str | None = None) -> SetflTable:
    """Read a setfl table.

    Args:
      path: the file.
      file_format: `alloy` or `fs`; told from the file's name where it is None.

    Raises:
      PotentialFileError: the file cannot be opened, ends early, holds something that is no number
        where one is due, a header without sense, an element unknown or named twice, or more than
        its header says.
    """
    file_format = format_of(path) if file_format is None else file_format
    if file_format not in FORMATS:
        raise PotentialFileError(f"{path}: unknown format {file_format!r}: expected alloy or fs")
    lines = Lines(path, read_text(path))
    comments = [lines.comment("three lines of comment") for _ in range(3)]
    elements = _read_elements(lines)
    n = len(elements)
    n_rho, delta_rho, n_r, delta_r, cutoff = _read_grid(lines)

    masses = []
    embedding = np.empty((n, n_rho))
    density = np.empty((n, n, n_r))
    for i in range(n):
        words = lines.words(f"atomic number, mass, lattice constant and lattice of {elements[i]}")
        if len(words) < 2:
            lines.fail(f"an atomic number and a mass of {elements[i]}", " ".join(words))
        masses.append(lines.numbers(words[:2])[1])
        embedding[i] = lines.values(n_rho, f"embedding energies of {elements[i]}")
        if file_format == "alloy":
            density[:, i] = lines.values(n_r, f"densities of {elements[i]}")
        else:
            # Element i's section lists what it sends to each element, as LAMMPS reads it.
            for j in range(n):
                density[j, i] = lines.values(n_r, f"densities of {elements[i]} at {elements[j]}")
    pair = np.empty((n, n, n_r))
    for i in range(n):
        for j in range(i + 1):
            pair[i, j] = pair[j, i] = lines.values(
                n_r, f"pair energies of {elements[i]} and {elements[j]}"
            )
    lines.end(" (is it .eam.fs rather than .eam.alloy?)")

    units = re.search(r"UNITS:\s*(\w+)", comments[0])
    return SetflTable(
        elements=elements,
        cutoff=cutoff,
        delta_rho=delta_rho,
        delta_r=delta_r,
        embedding=embedding,
        density=density,
        pair=pair,
        units=units.group(1) if units else "metal",
        comment=" ".join(" ".join(line.strip("# \t") for line in comments).split()),
        masses=tuple(masses),
    )


def eam(table: SetflTable) -> ModelFunctions:
    """Make the functions of `E = sum_i F_i(sum_j rho_ij(r)) + 1/2 sum_ij z_ij(r) / r`.

    The embedding is one column, the element's place in the table. The message has two: density and
    half of the pair energy. The readout is `F(density) + pair energy`, F continued by its tangent
    beyond the table as LAMMPS does. Atoms of other elements send and receive nothing and have no
    energy. Within the table the result is LAMMPS's, to rounding; between the table's last distance
    and the cutoff LAMMPS keeps the energies constant but not the forces, and here both agree.
    """
    n = len(table.elements)
    positions = np.array(element_positions(table.elements))
    # One row holds both cubics of a bin, so an edge needs one look-up only. [n * n * bins, 8]
    radial = np.concatenate([_cubics(table.density), _cubics(table.pair)], axis=-1)
    n_bins = radial.shape[-2]
    radial = radial.reshape(-1, 8)
    embedding = _cubics(table.embedding)  # -> [n, rho bins, 4]
    n_rho_bins = embedding.shape[-2]
    embedding = embedding.reshape(-1, 4)
    inverse_delta_r, inverse_delta_rho = 1.0 / table.delta_r, 1.0 / table.delta_rho
    largest_rho = n_rho_bins * table.delta_rho

    def node_init(numbers):
        dtype = jnp.float64 if numbers.dtype == jnp.int64 else jnp.float32
        known = (numbers >= 0) & (numbers <= MAX_ATOMIC_NUMBER)
        place = jnp.asarray(positions, dtype)[jnp.clip(numbers, 0, MAX_ATOMIC_NUMBER)]
        return jnp.where(known, place, -1)[:, None]  # -> [n, 1]

    def edge(h_i, h_j, r_ij):
        i, j = (jnp.round(h[:, 0]).astype(jnp.int32) for h in (h_i, h_j))
        square = jnp.sum(r_ij * r_ij, axis=-1)  # -> [e]
        # The square is replaced before its root and its inverse are taken, not only after: the
        # gradient of a branch that is not taken must be finite too.
        valid = (square > 0) & (i >= 0) & (j >= 0)
        r = jnp.sqrt(jnp.where(valid, square, 1))
        position = r * inverse_delta_r
        bin_ = jnp.minimum(position, n_bins - 1).astype(jnp.int32)
        p = position - bin_
        p = jnp.where(p > 1, 1, p)
        row = jnp.where(valid, (i * n + j) * n_bins + bin_, 0)
        c = jnp.asarray(radial, r_ij.dtype)[row]  # -> [e, 8]
        density = ((c[:, 0] * p + c[:, 1]) * p + c[:, 2]) * p + c[:, 3]
        pair = (((c[:, 4] * p + c[:, 5]) * p + c[:, 6]) * p + c[:, 7]) / r
        return jnp.where(valid[:, None], jnp.stack([density, 0.5 * pair], axis=-1), 0)  # -> [e, 2]

    def readout(h, messages):
        i = jnp.round(h[:, 0]).astype(jnp.int32)
        rho = messages[:, 0]
        position = rho * inverse_delta_rho
        bin_ = jnp.clip(position, 0, n_rho_bins - 1).astype(jnp.int32)
        p = position - bin_
        p = jnp.where(p > 1, 1, p)
        c = jnp.asarray(embedding, messages.dtype)[jnp.maximum(i, 0) * n_rho_bins + bin_]
        energy = ((c[:, 0] * p + c[:, 1]) * p + c[:, 2]) * p + c[:, 3]
        slope = ((3 * c[:, 0] * p + 2 * c[:, 1]) * p + c[:, 2]) * inverse_delta_rho
        energy = energy + slope * jnp.where(rho > largest_rho, rho - largest_rho, 0)
        return jnp.where(i >= 0, energy + messages[:, 1], 0)  # -> [n]

    return ModelFunctions(node_init, edge, readout)


def _cubics(values):
    """Return each bin's coefficients of p^3, p^2, p, 1 with p from 0 to 1, [..., n - 1, 4].

    The scheme of LAMMPS's PairEAM::interpolate: Hermite cubics, slopes from five-point differences,
    lower order at the two ends.
    """
    f = np.asarray(values, dtype=np.float64)
    slope = np.empty_like(f)
    slope[..., 0] = f[..., 1] - f[..., 0]
    slope[..., 1] = 0.5 * (f[..., 2] - f[..., 0])
    slope[..., -2] = 0.5 * (f[..., -1] - f[..., -3])
    slope[..., -1] = f[..., -1] - f[..., -2]
    slope[..., 2:-2] = ((f[..., :-4] - f[..., 4:]) + 8.0 * (f[..., 3:-1] - f[..., 1:-3])) / 12.0
    step = f[..., 1:] - f[..., :-1]
    left, right = slope[..., :-1], slope[..., 1:]
    return np.stack(
        [left + right - 2.0 * step, 3.0 * step - 2.0 * left - right, left, f[..., :-1]], axis=-1
    )


def _read_elements(lines):
    words = lines.words("the number of elements and their symbols")
    if not words[0].isdigit() or int(words[0]) < 1 or len(words) != int(words[0]) + 1:
        lines.fail("the number of elements and that many symbols", " ".join(words))
    try:
        atomic_numbers(words[1:])
    except ValueError as error:
        lines.fail("symbols of elements, each once", str(error))
    return tuple(words[1:])


def _read_grid(lines):
    expected = "n_rho, delta_rho, n_r, delta_r, cutoff"
    words = lines.words(expected)
    if len(words) < 5 or not (words[0].isdigit() and words[2].isdigit()):
        lines.fail(expected, " ".join(words))
    for count in (int(words[0]), int(words[2])):
        if not _FEWEST_VALUES <= count <= _MOST_VALUES:
            lines.fail(f"tables of {_FEWEST_VALUES} to {_MOST_VALUES} values", str(count))
    delta_rho, delta_r, cutoff = lines.numbers([words[1], words[3], words[4]])
    if not min(delta_rho, delta_r, cutoff) > 0:
        lines.fail(f"{expected}, all of them positive", " ".join(words))
    return int(words[0]), delta_rho, int(words[2]), delta_r, cutoff
