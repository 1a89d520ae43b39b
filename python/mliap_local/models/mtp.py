"""Moment tensor potentials (MTP) from .mtp and .almtp files of mlip-2 and mlip-3.

    M_i = sum_j f_mu(r) x^a y^b z^c / r^(a + b + c)        e_i = e_0 + sum_k xi_k B_k(M_i)
    f_mu = scaling (r_max - r)^2 sum_k c_k T_k((2 r - r_min - r_max) / (r_max - r_min))

B_k are contractions of the moments M, which the file lists as products of two moments each; T_k are
Chebyshev polynomials, which go on below r_min. Sources: A. V. Shapeev, Multiscale Model. Simul. 14,
1153 (2016); I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021); layout of the file:
MLMTPR::Load of mlip-3. `read_mtp` is the only function that opens a file; `mtp` is pure.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import ELEMENT_SYMBOLS, Converted, ModelFunctions, atomic_numbers
from .places import combined, embedding, kept, place_of
from .text import Lines, find_potential, read_text

# The same under its names in mlip-2, mlip-3 and later.
_NAMES = {
    "min_dist": "min",
    "min_val": "min",
    "max_dist": "max",
    "max_val": "max",
    "radial_basis_size": "size",
    "basis_size": "size",
}
_WORDS = "version", "potential_name", "potential_tag", "radial_basis_type"
_NUMBERS = "scaling", "min", "max"
# Keeps a file that lies from asking for all memory; level 28 has 17366 moments.
_MOST = {
    "species_count": 118,
    "size": 100,
    "radial_funcs_count": 100,
    "alpha_moments_count": 100_000,
    "alpha_index_basic_count": 10_000,
    "alpha_index_times_count": 10_000_000,
    "alpha_scalar_moments": 100_000,
}
_MOST_POWER, _MOST_FACTOR = 20, 10**9
_LISTS = (
    "alpha_index_basic",
    "alpha_index_times",
    "alpha_moment_mapping",
    "species_coeffs",
    "moment_coeffs",
)
_TRAINED = "radial_coeffs", "species_coeffs", "moment_coeffs"
_SELECTION = "#MVS_"  # the selection of active learning follows, which no energy needs
# Sums of so many products are evaluated together, shorter ones filled up with zeros.
_LENGTHS = sorted(2**k * m // 2 for k in range(24) for m in (2, 3))


class MtpPotential(NamedTuple):
    """The content of a file, in eV and Angstrom, for `n` elements."""

    elements: tuple[str, ...]
    name: str
    least: float  #: r_min
    cutoff: float  #: r_max
    radial: np.ndarray  #: `[n, n, mu, k]`: of receiver and sender, scaling included
    basic: np.ndarray  #: `[m, 4]`: mu, a, b, c of the first moments
    times: np.ndarray  #: `[p, 4]`: in turn, moment 3 += factor 2 * moment 0 * moment 1
    moments: np.ndarray  #: `[all moments]`: xi, zero where a moment is none of B
    species: np.ndarray  #: `[n]`: e_0


def add_arguments(parser):
    """Arguments of `mliap-local convert mtp`."""
    parser.add_argument(
        "file", metavar="FILE", type=find_potential, help="a trained .mtp or .almtp file"
    )
    parser.add_argument(
        "elements",
        metavar="El",
        nargs="+",
        help="symbols, in the order of the file's species, which has no names for them",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    potential = read_mtp(options.file, options.elements)
    return Converted(
        functions=mtp(potential),
        cutoff=potential.cutoff,
        elements=potential.elements,
        units="metal",
        source=f"converted from {Path(options.file).name}: {potential.name}, moment tensor "
        f"potential, {len(potential.basic)} basic moments, "
        f"{np.count_nonzero(potential.moments)} of the basis, least distance {potential.least:g}",
    )


def read_mtp(path: str | PathLike, elements: Sequence[str]) -> MtpPotential:
    """Read a file.

    Args:
      path: the file.
      elements: symbols of its species, in its order.

    Raises:
      PotentialFileError: the file cannot be opened, is not trained, magnetic or of another kind
        that is refused, lacks something, or holds what makes no sense.
      ValueError: unknown elements, or the same twice.
    """
    elements = tuple(elements)
    numbers = atomic_numbers(elements)
    file = _Entries(Lines(path, read_text(path).partition(_SELECTION)[0]))
    if file.word("version") != "1.1.0":
        file.fail("version 1.1.0")
    if file.word("radial_basis_type") != "RBChebyshev":
        file.fail("radial_basis_type RBChebyshev: no other is known here")
    if (n := file.integer("species_count")) != len(elements):
        file.fail(f"{len(elements)} species, for {' '.join(elements)}; name one element for each")
    least, cutoff = file.number("min"), file.number("max")
    if not 0 <= least < cutoff <= 100:
        file.fail(f"min < max <= 100, with min {least:g}")
    n_radial, n_moments = file.integer("radial_funcs_count"), file.integer("alpha_moments_count")
    basic = file.integers("alpha_index_basic", "alpha_index_basic_count", 4)
    powers = basic[:, 1:].sum(axis=1)
    file.each(basic[:, 0] < n_radial, f"radial functions below {n_radial}", basic)
    file.each(powers <= _MOST_POWER, f"powers that sum up to at most {_MOST_POWER}", basic)
    file.each(len(basic) <= n_moments, f"at most {n_moments} moments", basic)
    times = file.integers("alpha_index_times", "alpha_index_times_count", 4)
    _check_products(file, times, len(basic), n_moments)
    mapping = file.integers("alpha_moment_mapping", "alpha_scalar_moments", 1)[:, 0]
    made = np.isin(mapping, [*range(len(basic)), *times[:, 3]])
    file.each(made, "moments that the file makes", mapping)
    radial = _read_radial(file, elements, numbers, (n_radial, file.integer("size")))
    moments = np.zeros(n_moments)
    np.add.at(moments, mapping, file.numbers("moment_coeffs", len(mapping)))
    return MtpPotential(
        elements=elements,
        name=file.word("potential_name", ""),
        least=least,
        cutoff=cutoff,
        radial=radial * file.number("scaling", 1.0) * file.number("scaling of the basis", 1.0),
        basic=basic,
        times=times,
        moments=moments,
        species=np.array(file.numbers("species_coeffs", n)),
    )


class _Entries:
    """What the file says, by key. It is read once; what is asked for is then looked at, and what is
    wrong with it is told with its line."""

    def __init__(self, lines: Lines):
        self.lines = lines
        self._found: dict[str, tuple[int, str]] = {}
        #: Of radial_coeffs: line and text of `0-0`, then of its rows.
        self.blocks: list[list[tuple[int, str]]] = []
        if lines.words("`MTP`") != ["MTP"]:
            lines.fail("`MTP`, as files of mlip-2 and mlip-3 begin,", lines.text)
        while not lines.at_end():
            text = " ".join(lines.words("a key"))
            if self.blocks and text.startswith("{"):
                self.blocks[-1].append((lines.number, text))
            elif "radial_coeffs" in self._found and re.fullmatch(r"\d{1,9}-\d{1,9}", text):
                self.blocks.append([(lines.number, text)])
            else:
                self._key(text)
        self._last = lines.number

    def _key(self, text: str):
        key, equals, value = map(str.strip, text.partition("="))
        key = _NAMES.get(key, key)
        if key.startswith("magnetic") or key in ("min_mag", "max_mag", "mag_basis_size"):
            self.lines.fail(
                "a potential without magnetic moments, which LAMMPS does not pass", text
            )
        if key == "scaling" and "radial_basis_type" in self._found:
            key = "scaling of the basis"
        known = (*_WORDS, *_NUMBERS, "scaling of the basis", *_MOST, *_LISTS)
        if key != "radial_coeffs" if not equals else key not in known:
            self.lines.fail("`key = value` with a key of mlip-2 or mlip-3", text)
        if key in self._found:
            self.lines.fail(f"{key} once", text)
        self._found[key] = self.lines.number, value

    def fail(self, expected):
        """Raise an error for the line that was asked for last."""
        self.lines.fail(expected, self.lines.text.strip())

    def word(self, key, default: str | None = None) -> str:
        if key in self._found:
            self.lines.number, value = self._found[key]
            return value
        if default is None:
            trained = " of a trained potential: train it first" if key in _TRAINED else ""
            self.lines.number = self._last
            self.lines.fail(key + trained, "the end of the file")
        return default

    def number(self, key, default=None) -> float:
        value = self.word(key, None if default is None else str(default))
        return self.lines.numbers([value])[0]

    def integer(self, key) -> int:
        return self.lines.integer(self.word(key), 0 if "times" in key else 1, _MOST[key], key)

    def integers(self, key, count, width) -> np.ndarray:
        """Whole numbers, not negative, `[count, width]`."""
        rows = self.integer(count)
        text = self.word(key)
        words = self._list(text, width > 1)
        if len(words) != rows * width or (width > 1 and text.count("{") != rows + 1):
            self.fail(f"{count} = {rows} times {width} numbers")
        values = [self.lines.integer(word, 0, _MOST_FACTOR, key) for word in words]
        return np.array(values, int).reshape(rows, width)

    def numbers(self, key, count) -> list[float]:
        return self._numbers(self.word(key), key, count)

    def row(self, line, text, count) -> list[float]:
        """The numbers of a row of radial_coeffs."""
        self.lines.number = line
        return self._numbers(text, "radial_coeffs", count)

    def _numbers(self, text, key, count):
        words = self._list(text)
        if len(words) != count:
            self.fail(f"{count} numbers of {key}, not {len(words)}")
        return self.lines.numbers(words)

    def _list(self, text, nested=False):
        inner = text[1:-1]
        bare = inner.replace("{", "").replace("}", "") if nested else inner
        if text[:1] + text[-1:] != "{}" or text.count("{") != text.count("}"):
            self.fail("a list in braces")
        return bare.replace(",", " ").split()

    def each(self, right, expected, values):
        """Expect what must hold of each of the values of the list that was asked for last."""
        if not np.all(right):
            self.lines.fail(expected, values[np.argmin(np.atleast_1d(right))].tolist())


def _check_products(file, times, n_basic, n_moments):
    """Expect that a moment is complete before it is a factor: then it does not matter in which
    order the products of a moment are added up."""
    first, second, _, made = times.T
    file.each((n_basic <= made) & (made < n_moments), f"moments from {n_basic} on made of", times)
    complete = np.full(n_moments, len(times) + 1)
    complete[:n_basic] = 0
    complete[made] = np.arange(1, len(times) + 1)  # where there are several, the last one stays
    known = np.maximum(first, second) < n_moments
    file.each(known, f"factors below {n_moments}", times)
    turn = np.arange(1, len(times) + 1)
    complete = np.maximum(complete[first], complete[second]) < turn
    file.each(complete, "factors that were made before", times)


def _read_radial(file, elements, numbers, shape):
    """Read the coefficients of radial functions, `[n, n, mu, k]`."""
    file.word("radial_coeffs")
    n = len(elements)
    names = [block[0][1].partition("-")[0] for block in file.blocks[::n]]
    pairs = [f"{one}-{other}" for one in names for other in names]
    rows = []
    for pair, ((line, found), *block) in zip(pairs, file.blocks, strict=False):
        file.lines.number = line
        if found != pair:
            file.fail(f"{pair}")
        if len(block) != shape[0]:
            file.fail(f"radial_funcs_count = {shape[0]} rows, not {len(block)}, after")
        rows += [file.row(*row, shape[1]) for row in block]
    if len(file.blocks) != n * n or len(set(names)) != n:
        file.lines.fail(f"coefficients of {n * n} pairs", f"{len(file.blocks)} pairs")
    named = [int(name) for name in names]
    if sorted(named) == sorted(numbers) and named != list(numbers):
        # mlip-3 writes the types of its training set, often atomic numbers
        file.word("radial_coeffs")
        order = " ".join(ELEMENT_SYMBOLS[number] for number in named)
        file.lines.fail(f"elements in the file's order, {order}", " ".join(elements))
    return np.array(rows).reshape(n, n, *shape)


def mtp(potential: MtpPotential) -> ModelFunctions:
    """Make the functions of the formula above.

    The embedding is one column, the element's place. The message has the moments of each mu and
    each a + b + c that occur, the mu slowest. Atoms of other elements send and receive nothing and
    have no energy.
    """
    blocks = _blocks(potential.basic)
    edge = _edge(potential, blocks)
    polynomial = _polynomial(_plan(potential, blocks))

    def readout(h, messages):
        place = place_of(h)
        species = jnp.asarray(potential.species, messages.dtype)[jnp.maximum(place, 0)]
        energy = species + polynomial(messages.T)  # atoms are what is vectorised over
        return jnp.where(place >= 0, energy, 0)  # -> [n]

    return ModelFunctions(embedding(potential.elements), edge, readout)


def _monomials(degree):
    """Powers (a, b, c) of a degree. Those with a > 0 come first: x times all of the degree below;
    then y times the last `degree` of them, which have no x; then z times the last."""
    return [
        (a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)
    ]


def _count(degree):
    return (degree + 1) * (degree + 2) // 2


def _blocks(basic):
    """The pairs (mu, degree) that occur, in order."""
    return sorted({(mu, a + b + c) for mu, a, b, c in basic.tolist()})


def _edge(p, blocks):
    n, highest = len(p.elements), max(degree for _, degree in blocks)
    starts = dict(
        zip(blocks, np.cumsum([0, *(_count(d) for _, d in blocks)]).tolist(), strict=False)
    )
    # where each degree's monomials begin
    below = np.cumsum([0, *(_count(d) for d in range(highest + 1))]).tolist()
    functions = np.repeat([mu for mu, _ in blocks], [_count(d) for _, d in blocks]).astype(np.int32)
    monomial = np.concatenate([np.arange(_count(d)) + below[d] for _, d in blocks]).astype(np.int32)

    def geometry(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        x, y, z = r_ij.T
        square = x * x + y * y + z * z
        # The square is replaced before its root and inverse are taken, not only after: the
        # gradient of a branch that is not taken must be finite too.
        valid = (square > 0) & (square < p.cutoff**2) & (i >= 0) & (j >= 0)
        r = jnp.sqrt(jnp.where(valid, square, p.cutoff**2))
        inverse = jnp.where(valid, 1 / r, 0)
        return jnp.where(valid, i * n + j, 0), r, (x * inverse, y * inverse, z * inverse), inverse

    def radial(pair, rows):
        return jnp.stack(combined(p.radial, pair, rows))

    def factors(pair, r, unit, _):
        """Radial functions and monomials, [mu, e] and [powers, e]."""
        return radial(pair, _chebyshev(r, p)[0]), jnp.concatenate(_powers(unit, highest))

    def pull(pair, r, unit, inverse, adjoint):
        """The gradient, [3, e]; adjoint [m, e]."""
        values, slopes = _chebyshev(r, p)
        f, df = radial(pair, values), radial(pair, slopes)
        powers = jax.lax.optimization_barrier(_powers(unit, highest))
        given = {
            block: adjoint[start : start + _count(block[1])] for block, start in starts.items()
        }
        along = sum(df[mu] * jnp.sum(g * powers[d], axis=0) for (mu, d), g in given.items())
        x, y, z = unit
        across = [jnp.zeros_like(r)] * 3
        of_powers = jnp.zeros_like(powers[-1])
        for degree in range(highest, 0, -1):
            of_powers = of_powers + sum(f[mu] * g for (mu, d), g in given.items() if d == degree)
            of_powers = jax.lax.optimization_barrier(of_powers)
            lower, count = powers[degree - 1], _count(degree - 1)
            of_x, of_y, of_z = jnp.split(of_powers, [count, count + degree])
            across[0] += jnp.sum(of_x * lower, axis=0)
            across[1] += jnp.sum(of_y * lower[-degree:], axis=0)
            across[2] += of_z[0] * lower[-1]
            of_y = jnp.concatenate([y * of_y[:-1], y * of_y[-1:] + z * of_z])
            of_powers = x * of_x + jnp.pad(of_y, ((count - degree, 0), (0, 0)))
        # unit = r_ij / r: what is along r_ij does not turn it
        along = along - sum(u * a for u, a in zip(unit, across, strict=True)) * inverse
        return jnp.stack([along * u + a * inverse for u, a in zip(unit, across, strict=True)])

    @jax.custom_vjp
    def edge(h_i, h_j, r_ij):
        where = geometry(h_i, h_j, r_ij)
        f, powers = kept(jnp.any(where[3] > 0), factors, *where)
        return (f[functions] * powers[monomial]).T  # -> [e, m]

    def forward(h_i, h_j, r_ij):
        return edge(h_i, h_j, r_ij), (h_i, h_j, r_ij)

    def backward(inputs, adjoint):
        h_i, h_j, r_ij = inputs
        where = geometry(h_i, h_j, r_ij)
        gradient = kept(jnp.any(where[3] > 0), pull, *where, adjoint.T)
        return jnp.zeros_like(h_i), jnp.zeros_like(h_j), gradient.T

    edge.defvjp(forward, backward)
    return edge


def _chebyshev(r, p):
    """Return the functions of which radial ones are made, and their derivatives, [k][e] each."""
    width = p.cutoff - p.least
    x, dx = (2 * r - p.least - p.cutoff) / width, 2 / width
    values, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
    for _ in range(2, p.radial.shape[3]):
        slopes.append(2 * values[-1] + 2 * x * slopes[-1] - slopes[-2])
        values.append(2 * x * values[-1] - values[-2])
    inside = p.cutoff - r
    switch, slope = inside * inside, -2 * inside
    pairs = list(zip(values, slopes, strict=True))[: p.radial.shape[3]]
    return [switch * t for t, _ in pairs], [slope * t + switch * dx * dt for t, dt in pairs]


def _powers(unit, highest):
    """Monomials of each degree to the highest, [degree][powers, e]."""
    x, y, z = unit
    powers = [jnp.ones_like(x)[None]]
    for degree in range(1, highest + 1):
        last = powers[-1]
        powers.append(jnp.concatenate([x * last, y * last[-degree:], z * last[-1:]]))
    return powers


# Products of moments


class _Sums(NamedTuple):
    """Sums of products, `out[t] = sum_k weight[t, k] x[first[t, k]] y[second[t, k]]`: groups of
    sums of about one length, and the places of the sums in what these give."""

    groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    places: np.ndarray


class _Plan(NamedTuple):
    """The polynomial. Its values are the message, a one, and the moments that products make, by
    depth: `levels` make one depth after another from the values before. `energy` is of all.
    `pull[d]` makes the derivatives by the values of depth d from those by the values that are made
    of them, the energy last, and from the values."""

    width: int
    levels: list[_Sums]
    energy: _Sums
    pull: list[_Sums]


def _plan(p, blocks):
    """Number the moments by the depth of their products, leave out what is never used, and add
    moments that are no factors to the energy at once."""
    rows = [(mu, *powers) for mu, degree in blocks for powers in _monomials(degree)]
    columns = {row: k for k, row in enumerate(rows)}
    width = len(columns)
    times = [(a, b, float(factor), c) for a, b, factor, c in p.times.tolist()]
    wanted = {int(k) for k in np.flatnonzero(p.moments)}
    is_factor: set[int] = set()
    for a, b, _, c in reversed(times):
        if c in wanted:
            wanted |= {a, b}
            is_factor |= {a, b}
    depth = dict.fromkeys(range(len(p.basic)), 0)
    for a, b, _, c in times:
        depth[c] = max(depth.get(c, 0), 1 + max(depth[a], depth[b]))
    place = {m: columns[tuple(row)] for m, row in enumerate(p.basic.tolist())}
    made = sorted((m for m in is_factor if depth[m]), key=lambda m: (depth[m], m))
    place |= {m: width + 1 + k for k, m in enumerate(made)}
    last = width + 1 + len(made)  # the energy's
    sums: list[dict[Any, float]] = [defaultdict(float) for _ in range(last + 1)]
    for a, b, factor, c in times:
        if c in is_factor:
            sums[place[c]][tuple(sorted((place[a], place[b])))] += factor
        elif c in wanted:
            sums[last][tuple(sorted((place[a], place[b])))] += factor * p.moments[c]
    for m in range(len(p.moments)):
        if p.moments[m] and (m in is_factor or depth[m] == 0):
            sums[last][place[m], width] += p.moments[m]
    pulls: list[dict[Any, float]] = [defaultdict(float) for _ in range(last)]
    for target, terms in enumerate(sums):
        for (a, b), weight in terms.items():
            pulls[a][target, b] += weight
            pulls[b][target, a] += weight
    counts = Counter(depth[m] for m in made)
    starts = np.cumsum([width + 1, *(counts[d] for d in sorted(counts))]).tolist()
    spans = list(pairwise(starts))
    return _Plan(
        width,
        [_sums(sums[first:end]) for first, end in spans],
        _sums(sums[last:]),
        [
            _sums(pulls[first:end], above)
            for first, end, above in ((0, width, width + 1), *((f, e, e) for f, e in spans))
        ],
    )


def _sums(rows, above=0):
    """Group sums by their length; the first factors are counted from `above` on."""
    by_length = defaultdict(list)
    for k, row in enumerate(rows):
        by_length[next(length for length in _LENGTHS if length >= len(row))].append(k)
    groups = []
    for length, members in sorted(by_length.items()):
        first, second = (np.zeros((len(members), length), np.int32) for _ in range(2))
        weight = np.zeros((len(members), length))
        for t, k in enumerate(members):
            for place, ((a, b), w) in enumerate(sorted(rows[k].items())):
                first[t, place], second[t, place], weight[t, place] = a - above, b, w
        groups.append((first, second, weight))
    order = [k for _, members in sorted(by_length.items()) for k in members]
    return _Sums(groups, np.argsort(order).astype(np.int32))


def _evaluate(sums, x, y):
    """[a, n], [b, n] -> [t, n]."""
    x, y = jax.lax.optimization_barrier((x, y))  # else they are computed again for each factor
    parts = [
        jnp.sum(jnp.asarray(weight, x.dtype)[:, :, None] * x[first] * y[second], axis=1)
        for first, second, weight in sums.groups
    ]
    return jnp.concatenate(parts)[sums.places]


def _polynomial(plan):
    """Make the function of message sums, [m, n] -> [n]. Its adjoint is by hand: that of JAX adds up
    in memory, product by product."""

    def values_of(columns):
        values = jnp.concatenate([columns, jnp.ones_like(columns[:1])])
        for level in plan.levels:
            values = jnp.concatenate([values, _evaluate(level, values, values)])
        return values

    @jax.custom_vjp
    def polynomial(columns):
        return forward(columns)[0]

    def forward(columns):
        values = values_of(columns)
        return _evaluate(plan.energy, values, values)[0], values

    def backward(values, cotangent):
        of_values = cotangent[None]
        for pull in reversed(plan.pull):
            of_values = jnp.concatenate([_evaluate(pull, of_values, values), of_values])
        return (of_values[: plan.width],)

    polynomial.defvjp(forward, backward)
    return polynomial
