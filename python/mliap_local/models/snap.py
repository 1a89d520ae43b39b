"""SNAP, the spectral neighbour analysis potential, from LAMMPS's .snapcoeff and .snapparam files.

    e_i = beta_0 + beta . B_i + 1/2 B_i . A B_i          B_i: the components of `bispectrum`

linear (A = 0) or quadratic, several elements, with every option of pair_style snap. Source:
A. P. Thompson et al., J. Comput. Phys. 285, 316 (2015); quadratic: M. A. Wood, A. P. Thompson,
J. Chem. Phys. 148, 241721 (2018); chemflag: M. A. Cusentino et al., J. Phys. Chem. A 124, 5456
(2020); files: LAMMPS manual, pair_style snap. `read_snap` is the only function that opens a file;
`snap` is pure.
"""

import math
import re
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, Converted, ModelFunctions, bispectrum, element_positions
from .text import Lines, PotentialFileError, find_potential, read_text
from .zbl import Zbl, half_energy, read_words

# Larger orders are none of the published ones, and grow with the sixth power.
_MOST_ORDER = 14
# Published coefficients have the symmetry of the components to 4e-11.
_SYMMETRIC = 1e-9

_FLAGS = {
    "switchflag": True,
    "bzeroflag": True,
    "quadraticflag": False,
    "chemflag": False,
    "bnormflag": False,
    "wselfallflag": False,
    "switchinnerflag": False,
}
_LENGTHS = {"rcutfac": None, "rfac0": 0.99363, "rmin0": 0.0}
_BY_ELEMENT = ("sinner", "dinner")
# How LAMMPS shall go about it: no physics.
_IGNORED = ("chunksize", "parallelthresh")
_KNOWN = (*_LENGTHS, "twojmax", *_FLAGS, *_BY_ELEMENT, *_IGNORED)


class Parameters(NamedTuple):
    """The content of a .snapparam file."""

    order: int  #: twojmax, 2J
    cutoff_factor: float  #: rcutfac
    angle_factor: float  #: rfac0
    inner_radius: float  #: rmin0
    flags: dict[str, bool]
    inner_middle: tuple[float, ...] | None  #: sinner, a length for each element
    inner_width: tuple[float, ...] | None  #: dinner


class Snap(NamedTuple):
    """A potential for n elements, in the units of its files (Angstrom, eV)."""

    elements: tuple[str, ...]
    parameters: Parameters
    radii: np.ndarray  #: `[n]`; the cutoff of a pair is the cutoff factor times the sum of its two
    weights: np.ndarray  #: `[n]`
    #: `[n, n_coefficients]`: the constant, the linear ones, the upper triangle of the quadratic
    coefficients: np.ndarray
    units: str
    comment: str

    @property
    def cutoff(self) -> float:
        """The largest of all pairs."""
        return float(2 * self.parameters.cutoff_factor * self.radii.max())

    @property
    def n_channels(self) -> int:
        """Message sums of an atom: one, or with chemflag one for each element that sends."""
        return len(self.elements) if self.parameters.flags["chemflag"] else 1


def add_arguments(parser):
    """Arguments of `mliap-local convert snap`."""
    parser.add_argument(
        "coefficients", metavar="COEFF", type=find_potential, help="a .snapcoeff file"
    )
    parser.add_argument(
        "parameters",
        metavar="PARAM",
        type=find_potential,
        help="the .snapparam file that goes with it",
    )
    parser.add_argument("elements", metavar="El", nargs="+", help="elements to take from COEFF")
    parser.add_argument(
        "--zbl",
        nargs="+",
        metavar="WORD",
        help="inner outer El=Z ...: with pair_style zbl, where the potential's .snap file has it",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    table = read_snap(options.coefficients, options.parameters, options.elements)
    source = f"converted from {Path(options.coefficients).name}: {table.comment}"
    repulsion = None
    if options.zbl:
        repulsion = read_words(options.zbl, table.elements)
        if table.units != "metal":
            raise ValueError(f"--zbl: expected a potential in metal units, found {table.units}")
        source += f"; with zbl {' '.join(options.zbl)}"
    if (asymmetry := expansion(table).asymmetry) > _SYMMETRIC:
        note = (
            f"coefficients of equal components differ by {asymmetry:.1e}: the energy is that of "
            "pair_style snap and the forces are its derivative, which those of pair_style snap "
            "are not"
        )
        print(f"mliap-local: note: {options.coefficients}: {note}", file=sys.stderr)
        source += f"; {note}"
    return Converted(
        functions=snap(table, repulsion),
        cutoff=max(table.cutoff, repulsion.outer if repulsion else 0.0),
        elements=table.elements,
        units=table.units,
        source=source,
    )


# The files


def read_snap(
    coefficients: str | PathLike, parameters: str | PathLike, elements: Sequence[str]
) -> Snap:
    """Read a .snapcoeff and a .snapparam file.

    Args:
      coefficients, parameters: the files.
      elements: symbols to take, in any order unless the file depends on it.

    Raises:
      PotentialFileError: a file cannot be opened, ends early, holds something that is no number
        where one is due, a word that is unknown or comes twice, more than it should, numbers of
        elements or coefficients that do not fit each other, or not these elements.
      ValueError: elements that are none, or named twice.
    """
    element_positions(elements)
    read = read_parameters(parameters, len(elements))
    text = read_text(coefficients)
    every, rows = _read_blocks(Lines(coefficients, text), read, len(elements))
    if missing := [element for element in elements if element not in every]:
        raise PotentialFileError(
            f"{coefficients}: expected elements {' '.join(every)[:400]}, found {missing[0]}"
        )
    by_order = [flag for flag in ("chemflag", "switchinnerflag") if read.flags[flag]]
    if by_order and list(elements) != every:
        raise PotentialFileError(
            f"{coefficients}: expected the elements {' '.join(every)[:400]} in this order, by "
            f"which {' and '.join(by_order)} of {parameters} goes, found {' '.join(elements)}"
        )
    values = np.array([rows[every.index(element)] for element in elements])
    comment = _leading_comment(text)
    units = re.search(r"UNITS:\s*(\w+)", comment)
    return Snap(
        elements=tuple(elements),
        parameters=read,
        radii=values[:, 0],
        weights=values[:, 1],
        coefficients=values[:, 2:],
        units=units.group(1) if units else "metal",
        comment=comment,
    )


def read_parameters(path: str | PathLike, n_elements: int) -> Parameters:
    """Read a .snapparam file for a number of elements; raises as `read_snap` does."""
    lines = Lines(path, read_text(path))
    given: dict[str, Any] = {}
    while not lines.at_end():
        name, *words = lines.words("a word and its value")
        if name not in _KNOWN:
            lines.fail(f"one of {', '.join(_KNOWN)}", name)
        if name in given:
            lines.fail(f"{name} once", "a second one")
        count = n_elements if name in _BY_ELEMENT else 1
        if len(words) != count:
            lines.fail(f"{name} and {count} values", " ".join([name, *words]))
        if name == "twojmax":
            given[name] = lines.integer(words[0], 0, _MOST_ORDER, name)
        elif name in _FLAGS:
            given[name] = bool(lines.integer(words[0], 0, 1, name))
        else:
            given[name] = lines.numbers(words)
            _check_lengths(lines, name, given[name])
    for name in ("rcutfac", "twojmax"):
        if name not in given:
            lines.fail(name, "the end of the file")
    flags = {name: given.get(name, default) for name, default in _FLAGS.items()}
    for name in _BY_ELEMENT:
        if (name in given) != flags["switchinnerflag"]:
            lines.fail("sinner and dinner with switchinnerflag 1 and not without", f"no {name}")
    lengths = {name: given.get(name, [default])[0] for name, default in _LENGTHS.items()}
    middle, width = (tuple(given[name]) if name in given else None for name in _BY_ELEMENT)
    return Parameters(
        order=given["twojmax"],
        cutoff_factor=lengths["rcutfac"],
        angle_factor=lengths["rfac0"],
        inner_radius=lengths["rmin0"],
        flags=flags,
        inner_middle=middle,
        inner_width=width,
    )


def _check_lengths(lines, name, values):
    if name in ("rcutfac", "dinner") and min(values) <= 0:
        lines.fail(f"{name} above 0", min(values))
    if name == "rmin0" and values[0] < 0:
        lines.fail("rmin0 of at least 0", values[0])
    if name == "rfac0" and not 0 < values[0] <= 1:
        lines.fail("rfac0 above 0 and at most 1", values[0])


def _read_blocks(lines, read, n_elements):
    """Return the symbols of a .snapcoeff file and, for each, radius, weight and coefficients."""
    chemical, quadratic = read.flags["chemflag"], read.flags["quadraticflag"]
    n_components = len(bispectrum.triples(read.order)) * (n_elements**3 if chemical else 1)
    expected = 1 + n_components + quadratic * (n_components * (n_components + 1) // 2)
    header = "the number of elements and the number of coefficients"
    words = lines.words(header)
    if len(words) != 2:
        lines.fail(header, " ".join(words))
    count = lines.integer(words[0], 1, MAX_ATOMIC_NUMBER, "a number of elements")
    if chemical and count != n_elements:
        lines.fail(f"{n_elements} elements, those named, as chemflag is 1", count)
    found = lines.integer(words[1], 1, 10**17, "a number of coefficients")
    if found != expected:
        flags = [name for name in ("quadraticflag", "chemflag") if read.flags[name]]
        lines.fail(
            f"{expected} coefficients of twojmax {' '.join([str(read.order), *flags])}", found
        )
    symbols, rows = [], []
    for _ in range(count):
        words = lines.words("an element, its radius and its weight")
        if len(words) != 3:
            lines.fail("an element, its radius and its weight", " ".join(words))
        if words[0] in symbols:
            lines.fail("each element once", words[0])
        radius, weight = lines.numbers(words[1:])
        if 2 * read.cutoff_factor * radius <= read.inner_radius:
            lines.fail(f"2 rcutfac times a radius to be above rmin0 {read.inner_radius:g}", radius)
        symbols.append(words[0])
        values = lines.values(expected, f"coefficients of {words[0]}")
        rows.append([radius, weight, *values])
    lines.end()
    return symbols, rows


def _leading_comment(text):
    """Return the comment before the first word as one text: it holds citation and units."""
    comment = []
    for line in text.splitlines():
        if line.strip() and not line.strip().startswith("#"):
            break
        comment.append(line.strip("# \t"))
    return " ".join(" ".join(comment).split())


# The three functions


class Expansion(NamedTuple):
    """The energy as a polynomial of integrals I_c of three densities, c of them:

    e = constant + linear . I + 1/2 I . quadratic . I
    """

    #: the three densities of each I_c; density j of channel k is number k * (order + 1) + j
    integrals: list[tuple[int, int, int]]
    constant: np.ndarray  #: `[n]`, by element
    linear: np.ndarray  #: `[n, c]`
    quadratic: np.ndarray | None  #: `[n, c, c]`, symmetric
    asymmetry: float  #: largest difference from the mean of coefficients of equal components


def expansion(table: Snap) -> Expansion:
    """Gather the coefficients of equal components, and fold in bzeroflag and bnormflag.

    With chemflag a component has three channels, and those that differ only in the order of
    channels with the same j are equal.
    """
    order, flags, k = table.parameters.order, table.parameters.flags, table.n_channels
    keys, norms, channels = [], [], []
    for three in np.ndindex(k, k, k):
        for js in bispectrum.triples(order):
            keys.append(tuple(sorted(c * (order + 1) + j for c, j in zip(three, js, strict=True))))
            norms.append(1.0 if flags["bnormflag"] else js[2] + 1.0)
            channels.append(set(three))
    integrals = sorted(set(keys))
    place = {key: number for number, key in enumerate(integrals)}
    gather = np.zeros((len(keys), len(integrals)))
    gather[np.arange(len(keys)), [place[key] for key in keys]] = 1
    mean = gather / gather.sum(axis=0)

    n, n_components = len(table.elements), len(keys)
    # components of an atom alone, where they count
    alone = np.zeros((n, n_components))
    if flags["bzeroflag"]:
        everywhere = k == 1 or flags["wselfallflag"]
        for i in range(n):
            alone[i] = [
                norm * (everywhere or c == {i}) for norm, c in zip(norms, channels, strict=True)
            ]
    constant = table.coefficients[:, 0].copy()
    linear = table.coefficients[:, 1 : 1 + n_components]
    asymmetry = float(np.max(np.abs(linear - linear @ mean @ gather.T), initial=0.0))
    constant -= np.sum(linear * alone, axis=1)
    quadratic = None
    if flags["quadraticflag"]:
        quadratic = np.zeros((n, n_components, n_components))
        rows, columns = np.triu_indices(n_components)
        quadratic[:, rows, columns] = table.coefficients[:, 1 + n_components :]
        # LAMMPS halves the diagonal: what is left is 1/2 B A B with the symmetric A
        diagonal = quadratic * np.eye(n_components)
        quadratic = quadratic + quadratic.transpose(0, 2, 1) - diagonal
        smooth = gather @ (mean.T @ quadratic @ mean) @ gather.T
        asymmetry = max(asymmetry, float(np.max(np.abs(quadratic - smooth))))
        shift = np.einsum("nab,nb->na", quadratic, alone)
        constant += 0.5 * np.sum(shift * alone, axis=1)
        linear = linear - shift
        scaled = np.array(norms)[:, None] * gather
        quadratic = scaled.T @ quadratic @ scaled
    linear = (linear * norms) @ gather
    return Expansion(integrals, constant, linear, quadratic, asymmetry)


def snap(table: Snap, repulsion: Zbl | None = None) -> ModelFunctions:
    """Make the functions of a potential, with `repulsion` added where it is given.

    The embedding is the element's place in the table, the share of its radius in a cutoff, its
    weight and, with switchinnerflag, its two lengths. The message is the monomials of `bispectrum`
    for each channel, and half of the repulsion. Atoms of other elements send and receive nothing
    and have no energy. Edges beyond a pair's own cutoff are zero.
    """
    order, n_channels = table.parameters.order, table.n_channels
    grid = bispectrum.grid(order)
    width = bispectrum.width(order)
    columns = [table.parameters.cutoff_factor * table.radii, table.weights]
    if table.parameters.flags["switchinnerflag"]:
        columns += [np.array(table.parameters.inner_middle), np.array(table.parameters.inner_width)]
    positions = np.array(element_positions(table.elements))
    embeddings = np.zeros((MAX_ATOMIC_NUMBER + 1, 1 + len(columns)))
    embeddings[:, 0] = positions
    for number in np.flatnonzero(positions >= 0):
        embeddings[number, 1:] = [column[int(positions[number])] for column in columns]
    nobody = np.array([-1.0, *[0.0] * len(columns)])

    def node_init(numbers):
        dtype = jnp.float64 if numbers.dtype == jnp.int64 else jnp.float32
        known = (numbers >= 0) & (numbers <= MAX_ATOMIC_NUMBER)
        rows = jnp.asarray(embeddings, dtype)[jnp.clip(numbers, 0, MAX_ATOMIC_NUMBER)]
        return jnp.where(known[:, None], rows, jnp.asarray(nobody, dtype))  # -> [n, d]

    def geometry(h_i, h_j, r_ij):
        return _geometry(table.parameters, repulsion, len(table.elements), h_i, h_j, r_ij)

    def in_channels(h_j):
        place = jnp.round(h_j[:, :1])
        return [place == k for k in range(n_channels)]  # -> [e, 1] each

    def message(h_i, h_j, r_ij):
        q, strength, *rest = geometry(h_i, h_j, r_ij)
        columns = [bispectrum.monomials(q, strength, order)]
        if n_channels > 1:
            columns = [jnp.where(mine, columns[0], 0) for mine in in_channels(h_j)]
        return jnp.concatenate(columns + [column[:, None] for column in rest], axis=1)  # -> [e, m]

    @jax.custom_vjp
    def edge(h_i, h_j, r_ij):
        return message(h_i, h_j, r_ij)

    def edge_forward(h_i, h_j, r_ij):
        return message(h_i, h_j, r_ij), (h_i, h_j, r_ij)

    def edge_backward(arguments, cotangent):
        (q, strength, *rest), pull_back = jax.vjp(geometry, *arguments)
        chosen = cotangent[:, :width]
        if n_channels > 1:  # only the sender's channel has a message
            chosen = sum(
                jnp.where(mine, cotangent[:, k * width : (k + 1) * width], 0)
                for k, mine in enumerate(in_channels(arguments[1]))
            )
            chosen = jax.lax.optimization_barrier(chosen)
        by_q, by_strength = bispectrum.monomials_adjoint(q, strength, chosen, order)
        return pull_back((by_q, by_strength, *[cotangent[:, -1]] * len(rest)))

    edge.defvjp(edge_forward, edge_backward)
    return ModelFunctions(node_init, edge, _readout(table, grid, repulsion is not None))


def _geometry(parameters, repulsion, n_elements, h_i, h_j, r_ij):
    """Return the unit quaternion of each edge as four [e], its strength [e], and half of the
    repulsion [e] where there is one."""
    i, j = (jnp.round(h[:, 0]).astype(jnp.int32) for h in (h_i, h_j))
    square = jnp.sum(r_ij * r_ij, axis=-1)  # -> [e]
    # Squares are replaced before their roots are taken, not only after: the gradient of a branch
    # that is not taken must be finite too.
    valid = (square > 0) & (i >= 0) & (j >= 0)
    least = parameters.inner_radius
    cutoff = jnp.where(valid, h_i[:, 1] + h_j[:, 1], least + 1)
    inside = valid & (square < cutoff * cutoff)
    distance = jnp.sqrt(jnp.where(inside, square, 0.25 * cutoff * cutoff))
    fraction = (distance - least) / (cutoff - least)
    strength = h_j[:, 2]
    if parameters.flags["switchflag"]:
        switch = 0.5 + 0.5 * jnp.cos(math.pi * fraction)
        strength = strength * (jnp.where(fraction > 0, switch, 1) if least > 0 else switch)
    if parameters.flags["switchinnerflag"]:
        middle, width = 0.5 * (h_i[:, 3] + h_j[:, 3]), 0.5 * (h_i[:, 4] + h_j[:, 4])
        position = jnp.clip((distance - middle) / jnp.where(valid, width, 1), -1, 1)
        strength = strength * (0.5 + 0.5 * jnp.sin(0.5 * math.pi * position))
    strength = jnp.where(inside, strength, 0)
    angle = parameters.angle_factor * math.pi * fraction
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if least > 0:  # below it LAMMPS takes the opposite quaternion, and so jumps there
        sign = jnp.where(fraction < 0, -1, 1)
        cos, sin = sign * cos, sign * sin
    scaled = (sin / distance)[:, None] * r_ij
    parts = ((cos, scaled[:, 0], scaled[:, 1], scaled[:, 2]), strength)
    if repulsion is None:
        return parts
    near = valid & (square < repulsion.outer**2)
    distance = jnp.sqrt(jnp.where(near, square, 1))
    pair = jnp.where(near, i * n_elements + j, 0)
    return *parts, jnp.where(near, half_energy(repulsion, pair, distance), 0)


def _readout(table, grid, has_repulsion):
    """Make the readout: the energy alone takes half of the work of both with its derivative."""
    polynomial = expansion(table)
    width, n_channels = bispectrum.width(grid.order), table.n_channels
    own = table.parameters.flags["wselfallflag"] or n_channels == 1

    def densities(h, sums):
        rho = []
        for k in range(n_channels):
            alone = jnp.asarray(grid.alone, sums.dtype)
            if not own:
                alone = jnp.where(jnp.round(h[:, :1]) == k, alone, 0)
            rho += bispectrum.densities(grid, sums[:, k * width : (k + 1) * width] + alone)
        return rho

    def by_row(h, values):
        """Coefficients of each row's element: [n, ...], or [1, ...] where there is one element."""
        if len(table.elements) == 1:
            return jnp.asarray(values, h.dtype)
        place = jnp.maximum(jnp.round(h[:, 0]).astype(jnp.int32), 0)
        return jnp.asarray(values, h.dtype)[place]

    def linear_and_energy(h, rho):
        """Return dE/dI [n, c], and the part of the energy that is no cubic of the densities."""
        linear, constant = by_row(h, polynomial.linear), by_row(h, polynomial.constant)
        if polynomial.quadratic is None:
            return linear, constant
        integrals = _integrals(polynomial.integrals, grid, rho)
        slope = jnp.einsum("nab,nb->na", by_row(h, polynomial.quadratic), integrals)
        return linear + slope, constant - 0.5 * jnp.sum(slope * integrals, axis=1)

    def finish(h, sums, energy):
        if has_repulsion:
            energy = energy + sums[:, -1]
        return jnp.where(h[:, 0] > -0.5, energy, 0)  # -> [n]

    @jax.custom_vjp
    def readout(h, sums):
        rho = densities(h, sums)
        linear, rest = linear_and_energy(h, rho)
        cubic = _cubic(polynomial.integrals, linear, rho)
        return finish(h, sums, cubic @ jnp.asarray(grid.weights, sums.dtype) + rest)

    def forward(h, sums):
        rho = densities(h, sums)
        linear, rest = linear_and_energy(h, rho)
        slopes = _slopes(polynomial.integrals, linear, rho)
        weights = jnp.asarray(grid.weights, sums.dtype)
        cubic = sum(a * b for a, b in zip(rho, slopes, strict=True)) / 3
        energy = finish(h, sums, cubic @ weights + rest)
        weighted = [weights * slope for slope in slopes]
        per_channel = grid.order + 1
        gradient = [
            bispectrum.densities_adjoint(grid, weighted[k * per_channel : (k + 1) * per_channel])
            for k in range(n_channels)
        ]
        if has_repulsion:
            gradient.append(jnp.ones_like(sums[:, -1:]))
        known = h[:, :1] > -0.5
        return energy, (jnp.where(known, jnp.concatenate(gradient, axis=1), 0), jnp.zeros_like(h))

    def backward(residuals, cotangent):
        gradient, nothing = residuals
        return nothing, cotangent[:, None] * gradient

    readout.defvjp(forward, backward)
    return readout


def _cubic(integrals, linear, rho):
    """Return sum_c linear_c rho_a rho_b rho_c at the points, [n, n_g]."""
    total = 0
    for a in range(len(rho)):
        of_a = 0
        for b in range(len(rho)):
            use = [(c, key[2]) for c, key in enumerate(integrals) if key[:2] == (a, b)]
            if use:
                of_a = of_a + rho[b] * sum(linear[:, c, None] * rho[d] for c, d in use)
        total = total + rho[a] * of_a
    return total


def _slopes(integrals, linear, rho):
    """Return the derivatives of `_cubic` by each density, [n, n_g] each."""
    slopes = []
    for a in range(len(rho)):
        by_pair = {}
        for c, key in enumerate(integrals):
            if a in key:
                rest = list(key)
                rest.remove(a)
                by_pair.setdefault(rest[0], []).append((key.count(a) * linear[:, c, None], rest[1]))
        slopes.append(
            sum(
                rho[b] * sum(factor * rho[d] for factor, d in others)
                for b, others in by_pair.items()
            )
        )
    return slopes


def _integrals(integrals, grid, rho):
    """Return the integrals of three densities each, [n, c]."""
    weights = jnp.asarray(grid.weights, rho[0].dtype)
    return jnp.stack([(rho[a] * rho[b] * rho[c]) @ weights for a, b, c in integrals], axis=1)
