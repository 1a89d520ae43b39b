"""The Stillinger-Weber potential, where its triplets separate into products of neighbours.

    e_i = 1/2 sum_j phi(r_ij) + sum_{j<k} (lambda epsilon)_ijk (cos theta_jik - c_ijk)^2 f_j f_k
    phi(r) = A epsilon (B (sigma/r)^p - (sigma/r)^q) exp(sigma / (r - a sigma))
    f_j = exp(gamma sigma / (r - a sigma))

With u = r/|r| the square expands into sums over single neighbours, V_b = sum f u and T_b = sum f uu
over those of element b (tr T_b = sum f), and what these hold for j = k is taken off:

    e_i = sum_j [phi/2 - (lambda epsilon)_ijj (1 - c_ijj)^2 f_j^2 / 2]
        + 1/2 sum_bc (lambda epsilon)_ibc [T_b:T_c - 2 c_ibc V_b.V_c + c_ibc^2 tr T_b tr T_c]

That is exact where (i, j, k) and (i, k, j) have the same lambda epsilon and c; where not, LAMMPS's
own energy depends on the order in which it meets j and k, and the file is refused. Source: F. H.
Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985); file format and cutoffs: LAMMPS manual,
pair_style sw. Pure but for `read_sw`.
"""

import itertools
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, Converted, ModelFunctions, atomic_numbers, element_positions
from .text import Lines, PotentialFileError, read_text

_NAMES = "epsilon sigma a lambda gamma costheta0 A B p q tol".split()
_WORDS = 3 + len(_NAMES)
# Entries that are equal but for the rounding of their products.
_EQUAL = 1e-13


class SWParameters(NamedTuple):
    """Parameters of `n` elements, in the file's units."""

    elements: tuple[str, ...]
    #: `[n, n, n, 11]`: of the centre, its first and its second neighbour; the order of `_NAMES`.
    entries: np.ndarray
    units: str
    comment: str


def add_arguments(parser):
    """Arguments of `mliap-local convert sw`."""
    parser.add_argument("file", metavar="FILE", help="a .sw file of LAMMPS's pair_style sw")
    parser.add_argument(
        "elements", metavar="El", nargs="+", help="symbols, as the file's entries have them"
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    parameters = read_sw(options.file, options.elements)
    functions = sw(parameters)
    return Converted(
        functions=functions,
        cutoff=float(np.max(_cutoffs(parameters.entries)[1])),
        elements=parameters.elements,
        units=parameters.units,
        source=f"converted from {Path(options.file).name}: {parameters.comment}",
    )


def read_sw(path: str | PathLike, elements: Sequence[str]) -> SWParameters:
    """Read the entries of some elements.

    Args:
      path: the file.
      elements: symbols; entries of others are passed over.

    Raises:
      PotentialFileError: the file cannot be opened, is of another format, an entry is broken,
        negative, double or missing, or some do not separate.
      ValueError: unknown elements, or the same twice.
    """
    elements = tuple(elements)
    atomic_numbers(elements)
    text = read_text(path)
    _refuse_others(path, text)
    lines = Lines(path, text)
    n = len(elements)
    entries = np.full((n, n, n, len(_NAMES)), np.nan)
    while not lines.at_end():
        symbols, numbers = _read_entry(lines)
        if all(symbol in elements for symbol in symbols):
            place = tuple(map(elements.index, symbols))
            if not np.isnan(entries[place][0]):
                lines.fail(f"one entry of {' '.join(symbols)}", "a second one")
            entries[place] = numbers
    missing = [_name(elements, place) for place in np.argwhere(np.isnan(entries[..., 0]))]
    if missing:
        lines.fail(
            f"an entry of each of the {n**3} triplets of {' '.join(elements)}",
            f"none of {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}",
        )
    _refuse_inseparable(path, elements, entries)
    comments = itertools.takewhile(
        lambda line: not line.split() or line[0] == "#", text.splitlines()
    )
    head = " ".join(" ".join(line.strip("# \t") for line in itertools.islice(comments, 3)).split())
    units = re.search(r"UNITS:\s*(\w+)", text.partition("\n")[0])
    return SWParameters(elements, entries, units.group(1) if units else "metal", head)


def sw(parameters: SWParameters) -> ModelFunctions:
    """Make the functions of the formula above.

    The embedding is one column, the element's place in `parameters`. The message has 1 + 9 n
    columns for n elements: what belongs to the pair alone, then V (3) and T (xx yy zz xy xz yz) for
    each element of the sender. Atoms of other elements do not interact.
    """
    n = len(parameters.elements)
    positions = np.array(element_positions(parameters.elements))
    entries = parameters.entries
    diagonal = entries[:, np.arange(n), np.arange(n)]  # of (i, j, j) -> [n, n, 11]
    epsilon, sigma, _, lambda_, gamma, c0, a, b, p, q, _ = np.moveaxis(diagonal, -1, 0)
    reach, cutoff = _cutoffs(entries)
    # So near to its end that the exponential is zero, and only its derivatives would overflow.
    cutoff = np.minimum(cutoff, reach - np.minimum(gamma, 1) * sigma / 800)
    strength = entries[..., 0] * entries[..., 3]  # lambda epsilon of a triplet -> [n, n, n]
    cosine = entries[..., 5]
    pairs = np.stack(
        [
            cutoff**2,
            reach,
            sigma,
            gamma * sigma,
            0.5 * a * epsilon * b * sigma**p,
            0.5 * a * epsilon * sigma**q,
            0.5 * lambda_ * epsilon * (1 - c0) ** 2,
        ],
        axis=-1,
    ).reshape(n * n, -1)
    p, q = p.reshape(-1), q.reshape(-1)

    def node_init(numbers):
        dtype = jnp.float64 if numbers.dtype == jnp.int64 else jnp.float32
        known = (numbers >= 0) & (numbers <= MAX_ATOMIC_NUMBER)
        place = jnp.asarray(positions, dtype)[jnp.clip(numbers, 0, MAX_ATOMIC_NUMBER)]
        return jnp.where(known, place, -1)[:, None]  # -> [n, 1]

    def edge(h_i, h_j, r_ij):
        i, j = (jnp.round(h[:, 0]).astype(jnp.int32) for h in (h_i, h_j))
        square = jnp.sum(r_ij * r_ij, axis=-1)  # -> [e]
        known = (i >= 0) & (j >= 0)
        pair = jnp.where(known, i * n + j, 0)
        cutoff_2, reach, sigma, sigma_gamma, repulsion, attraction, own = jnp.asarray(
            pairs, r_ij.dtype
        )[pair].T
        # The square is replaced before its root and its inverse are taken, not only after: the
        # gradient of a branch that is not taken must be finite too.
        valid = (square > 0) & (square < cutoff_2) & known
        square = jnp.where(valid, square, 0.25 * cutoff_2 + 1)
        inverse = 1 / jnp.sqrt(square)
        far = jnp.where(valid, 1 / (1 / inverse - reach), 0)
        f = jnp.exp(sigma_gamma * far)
        power = jnp.asarray(p, r_ij.dtype)[pair], jnp.asarray(q, r_ij.dtype)[pair]
        phi = (repulsion * inverse ** power[0] - attraction * inverse ** power[1]) * jnp.exp(
            sigma * far
        )
        x, y, z = r_ij.T * inverse
        columns = [f * a for a in (x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)]
        message = jnp.where(valid[:, None], jnp.stack([phi - own * f * f, *columns], axis=-1), 0)
        if n == 1:
            return message
        sender = (j[:, None] == jnp.arange(n))[:, :, None]  # -> [e, n, 1]
        return jnp.concatenate(
            [message[:, :1], jnp.where(sender, message[:, None, 1:], 0).reshape(-1, 9 * n)], axis=1
        )

    def readout(h, messages):
        i = jnp.maximum(jnp.round(h[:, 0]).astype(jnp.int32), 0)
        sums = messages[:, 1:].reshape(-1, n, 9)
        v, t = sums[..., :3], sums[..., 3:]
        s = jnp.sum(t[..., :3], axis=-1)
        w, c = (jnp.asarray(values, messages.dtype)[i] for values in (strength, cosine))
        doubled = jnp.asarray([1, 1, 1, 2, 2, 2], messages.dtype)
        square = (
            jnp.einsum("iba,ica,a->ibc", t, t, doubled)
            - 2 * c * jnp.einsum("iba,ica->ibc", v, v)
            + c * c * s[:, :, None] * s[:, None, :]
        )
        return messages[:, 0] + 0.5 * jnp.sum(w * square, axis=(1, 2))  # -> [n]

    return ModelFunctions(node_init, edge, readout)


def _cutoffs(entries) -> tuple[np.ndarray, np.ndarray]:
    """Where the exponentials of a pair end, and where LAMMPS stops looking: [n, n] each."""
    n = len(entries)
    diagonal = entries[:, np.arange(n), np.arange(n)]
    sigma, a, gamma, tolerance = (diagonal[..., k] for k in (1, 2, 4, 10))
    reach = a * sigma
    # with a tolerance, where the exponential has fallen to it
    fallen = np.log(np.where(tolerance > 0, np.minimum(tolerance, 0.01), 0.01))
    return reach, np.where(tolerance > 0, reach + np.minimum(gamma, 1) * sigma / fallen, reach)


def _read_entry(lines: Lines) -> tuple[list[str], list[float]]:
    expected = f"an entry of {_WORDS} words: three elements, {', '.join(_NAMES)}"
    words = lines.words(expected)
    while len(words) < _WORDS:
        words = words + lines.words(f"{expected}; {len(words)} of them read")
    if len(words) > _WORDS:
        lines.fail(expected, f"{len(words)} words")
    numbers = lines.numbers(words[3:])
    for name, value in zip(_NAMES, numbers, strict=True):
        if value < 0 and name != "costheta0":
            lines.fail(f"{name} not negative", f"{value:g}")
    return words[:3], numbers


def _refuse_others(path, text):
    name, head = str(path).lower(), text.lstrip()[:1]
    if head == "<":
        raise PotentialFileError(
            f"{path}:1: expected entries of {_WORDS} words, found XML, as QUIP writes it; write it "
            "in the form of LAMMPS's pair_style sw"
        )
    if name.endswith((".sw.mod", ".sw.spline")):
        raise PotentialFileError(
            f"{path}: expected a file of pair_style sw, found one of sw/mod or another by its "
            "name: its formulas are others and cannot be converted"
        )


def _refuse_inseparable(path, elements, entries):
    """Raise an error that names what depends on the order of two atoms."""
    strength, cosine = entries[..., 0] * entries[..., 3], entries[..., 5]
    reach = _cutoffs(entries)[0]
    bad = []
    for i, j, k in itertools.product(range(len(elements)), repeat=3):
        if j < k and reach[i, j] > 0 and reach[i, k] > 0:
            one, other = strength[i, j, k], strength[i, k, j]
            differ = abs(one - other) > _EQUAL * abs(one)
            if differ or (one and abs(cosine[i, j, k] - cosine[i, k, j]) > _EQUAL):
                names = _name(elements, (i, j, k)), _name(elements, (i, k, j))
                bad.append(
                    f"{names[0]} and {names[1]}: lambda epsilon {one:.10g} and {other:.10g}, "
                    f"costheta0 {cosine[i, j, k]:.10g} and {cosine[i, k, j]:.10g}"
                )
    of_pair = [_NAMES.index(name) for name in ("sigma", "a", "A", "B", "p", "q", "tol", "epsilon")]
    for i, j in itertools.combinations(range(len(elements)), 2):
        one, other = entries[i, j, j, of_pair], entries[j, i, i, of_pair]
        if not np.allclose(one, other, rtol=_EQUAL, atol=0):
            names = _name(elements, (i, j, j)), _name(elements, (j, i, i))
            bad.append(f"{names[0]} and {names[1]}: the pair's {one} and {other}")
    if bad:
        raise PotentialFileError(
            f"{path}: expected triplets that do not depend on the order of the two neighbours, "
            f"found {len(bad)} that do: {'; '.join(bad[:6])}{' ...' if len(bad) > 6 else ''}. "
            "LAMMPS's own energy depends on the order of its neighbour list there; make these "
            "entries equal, or convert fewer elements"
        )


def _name(elements, place) -> str:
    return " ".join(elements[k] for k in place)
