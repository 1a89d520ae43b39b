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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions, atomic_numbers
from .places import embedding, place_of
from .text import Lines, PotentialFileError, find_potential, read_text

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
    parser.add_argument(
        "file", metavar="FILE", type=find_potential, help="a .sw file of LAMMPS's pair_style sw"
    )
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
    node_init = embedding(parameters.elements)
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
            cutoff**2 * (cutoff > 0),
            np.where(reach > 0, reach / 2, 1),
            reach,
            sigma,
            gamma * sigma,
            0.5 * a * epsilon * b * sigma**p,
            0.5 * a * epsilon * sigma**q,
            0.5 * lambda_ * epsilon * (1 - c0) ** 2,
            p,
            q,
        ],
        axis=-1,
    ).reshape(n * n, -1)
    # Powers with one small whole exponent are products; any others are told by each pair.
    whole = {"p": _whole(p), "q": _whole(q)}
    whole = {name: value for name, value in whole.items() if value is not None}
    message_of = _make_message(_Pair(*pairs[0].tolist()) if n == 1 else None, whole)

    def edge(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        known = (i >= 0) & (j >= 0)
        pair = jnp.where(known, i * n + j, 0)
        values = () if n == 1 else tuple(jnp.asarray(pairs, r_ij.dtype)[pair].T)
        message = message_of(r_ij, known, values).T  # -> [e, 10]
        if n == 1:
            return message
        sender = (j[:, None] == jnp.arange(n))[:, :, None]  # -> [e, n, 1]
        of_senders = jnp.where(sender, message[:, None, 1:], 0).reshape(-1, 9 * n)
        return jnp.concatenate([message[:, :1], of_senders], axis=1)  # -> [e, 1 + 9 n]

    def readout(h, messages):
        i = jnp.maximum(place_of(h), 0)
        # column by column: products of matrices this small are slower
        sums = [[messages[:, 1 + 9 * b + k] for k in range(9)] for b in range(n)]
        energy = messages[:, 0]
        for b, c in itertools.combinations_with_replacement(range(n), 2):
            w, cos = strength[:, b, c] * (0.5 if b == c else 1.0), cosine[:, b, c]
            w, cos = (
                float(values[0]) if n == 1 else jnp.asarray(values, messages.dtype)[i]
                for values in (w, cos)
            )
            energy = energy + w * _square(sums[b], sums[c], cos)
        return energy  # -> [n]

    return ModelFunctions(node_init, edge, readout)


class _Pair(NamedTuple):
    """Parameters of each edge's pair, [e], or numbers where there is but one pair."""

    cutoff_2: Any
    middle: Any  # a distance where all is finite
    reach: Any
    sigma: Any
    sigma_gamma: Any
    repulsion: Any
    attraction: Any
    own: Any
    p: Any
    q: Any


def _terms(r_ij, known, pair):
    """Unit vectors, and 1/r, 1/(r - reach) and the two exponentials; zero where nothing is."""
    x, y, z = r_ij[:, 0], r_ij[:, 1], r_ij[:, 2]
    square = x * x + y * y + z * z
    # The square is replaced before its root and its inverse are taken, not only after: the
    # gradient of a branch that is not taken must be finite too.
    valid = (square > 0) & (square < pair.cutoff_2) & known
    square = jnp.where(valid, square, pair.middle * pair.middle)
    inverse = 1 / jnp.sqrt(square)
    near = 1 / (square * inverse - pair.reach)
    f = jnp.where(valid, jnp.exp(pair.sigma_gamma * near), 0)
    decay = jnp.where(valid, jnp.exp(pair.sigma * near), 0)
    return (x * inverse, y * inverse, z * inverse), inverse, near, f, decay


def _make_message(only, whole):
    """Make `f(r_ij, known, values)`: messages without the sender's place: own, V, T; [10, e].

    Its derivative is written out: JAX's own has twice as many passes over the edges.

    Args:
      only: the one pair there is, or None where `values` has those of each edge.
      whole: exponents that are the same whole number for all pairs, by name.
    """

    def pair_of(values) -> _Pair:
        return (only or _Pair(*values))._replace(**whole)

    @jax.custom_vjp
    def message(r_ij, known, values):
        pair = pair_of(values)
        (x, y, z), inverse, _, f, decay = _terms(r_ij, known, pair)
        phi = pair.repulsion * inverse**pair.p - pair.attraction * inverse**pair.q
        fx, fy, fz = f * x, f * y, f * z
        own = phi * decay - pair.own * f * f
        return jnp.stack([own, fx, fy, fz, fx * x, fy * y, fz * z, fx * y, fx * z, fy * z])

    def forward(r_ij, known, values):
        return message(r_ij, known, values), (r_ij, known, values)

    def backward(saved, cotangent):
        r_ij, known, values = saved
        return _pull_back(r_ij, known, pair_of(values), cotangent), None, None

    message.defvjp(forward, backward)
    return message


def _pull_back(r_ij, known, pair, cotangent):
    """Derivative of `sum(cotangent * message)` by r_ij: [10, e] to [e, 3]."""
    (x, y, z), inverse, near, f, decay = _terms(r_ij, known, pair)
    own, vx, vy, vz, xx, yy, zz, xy, xz, yz = cotangent
    repulsion = pair.repulsion * inverse**pair.p
    attraction = pair.attraction * inverse**pair.q
    slope = -near * near  # of 1/(r - reach)
    f_slope = pair.sigma_gamma * slope * f
    own_slope = (
        (repulsion - attraction) * pair.sigma * slope
        - (pair.p * repulsion - pair.q * attraction) * inverse
    ) * decay - 2 * pair.own * f * f_slope
    # derivatives of T's part by the unit vector
    tx = 2 * xx * x + xy * y + xz * z
    ty = 2 * yy * y + xy * x + yz * z
    tz = 2 * zz * z + xz * x + yz * y
    linear = vx * x + vy * y + vz * z
    quadratic = tx * x + ty * y + tz * z  # twice T's part
    turning = f * inverse
    radial = own * own_slope + f_slope * (linear + 0.5 * quadratic) - turning * (linear + quadratic)
    gradient = [
        radial * x + turning * (vx + tx),
        radial * y + turning * (vy + ty),
        radial * z + turning * (vz + tz),
    ]
    return jnp.stack(gradient, axis=1)


def _square(one, other, cosine):
    """T:T - 2 c V.V + c^2 tr T tr T, of the columns of two elements' sums."""
    products = [a * b for a, b in zip(one, other, strict=True)]
    traces = (one[3] + one[4] + one[5]) * (other[3] + other[4] + other[5])
    tensors = products[3] + products[4] + products[5]
    tensors = tensors + 2 * (products[6] + products[7] + products[8])
    vectors = products[0] + products[1] + products[2]
    return tensors - 2 * cosine * vectors + cosine * cosine * traces


def _whole(exponents) -> int | None:
    """The one small whole number that all are, if so."""
    first = float(exponents.flat[0])
    return int(first) if np.all(exponents == first) and first in range(13) else None


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
            values = [
                f"{_NAMES[k]} {a:.10g} and {b:.10g}"
                for k, a, b in zip(of_pair, one, other, strict=True)
                if not np.isclose(a, b, rtol=_EQUAL, atol=0)
            ]
            bad.append(f"{names[0]} and {names[1]}: the pair's {', '.join(values[:2])}")
    if bad:
        raise PotentialFileError(
            f"{path}: expected triplets that do not depend on the order of the two neighbours, "
            f"found {len(bad)} that do: {'; '.join(bad[:6])}{' ...' if len(bad) > 6 else ''}. "
            "LAMMPS's own energy depends on the order of its neighbour list there; make these "
            "entries equal, or convert fewer elements"
        )


def _name(elements, place) -> str:
    return " ".join(elements[k] for k in place)
