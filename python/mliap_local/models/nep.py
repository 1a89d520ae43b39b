"""Neuroevolution potentials (NEP3, NEP4, NEP5) from GPUMD's nep.txt.

    M_i = sum_j [g_n(r), ga_n(r) Y_lm(r_ij / r), ZBL / 2]      e_i = net(invariants(M_i)) + ZBL_i

`g_n = sum_k c_nk f_k` over Chebyshev polynomials, `Y_lm` real spherical harmonics. Sources: Z. Fan
et al., J. Chem. Phys. 157, 114801 (2022); K. Song et al., Nat. Commun. 15, 10208 (2024); the layout
of nep.txt and the factors below: manual and source of GPUMD (nep.txt, nep.cu). `read_nep` is the
only function that opens a file; `nep` is pure. What is not a function of one sum over neighbours
(charges, dispersion) or no energy (dipole, polarizability, temperature) is refused.
"""

import math
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, Converted, ModelFunctions, atomic_numbers
from .places import combined, embedding, kept, place_of
from .text import Lines, PotentialFileError, find_potential, read_text

# Of the format's own covalent radii, Angstrom, H to Pu: 4/3 of Pyykkö and Atsumi (2009).
_RADII = np.array(
    "0.426667 0.613333 1.6 1.25333 1.02667 1 0.946667 0.84 0.853333 0.893333 1.86667 1.66667 "
    "1.50667 1.38667 1.46667 1.36 1.32 1.28 2.34667 2.05333 1.77333 1.62667 1.61333 1.46667 "
    "1.42667 1.38667 1.33333 1.32 1.34667 1.45333 1.49333 1.45333 1.53333 1.46667 1.52 1.56 "
    "2.52 2.22667 1.96 1.85333 1.76 1.65333 1.53333 1.50667 1.50667 1.44 1.53333 1.64 1.70667 "
    "1.68 1.68 1.64 1.76 1.74667 2.78667 2.34667 2.16 1.96 2.10667 2.09333 2.08 2.06667 2.01333 "
    "2.02667 2.01333 2 1.98667 1.98667 1.97333 2.04 1.94667 1.82667 1.74667 1.64 1.57333 1.54667 "
    "1.48 1.49333 1.50667 1.76 1.73333 1.73333 1.81333 1.74667 1.84 1.89333 2.68 2.41333 2.22667 "
    "2.10667 2.02667 2.04 2.05333 2.06667".split(),
    dtype=float,
)

# The invariants after the squares, in the file's order: which l are coupled, and the format's
# factor of the product of the three (or four) components m = 0, in polynomials with integers.
_COUPLINGS = {
    "q_222": ((2, 2, 2), -0.007499480826664),
    "q_1111": ((1, 1, 1, 1), 0.026596810706114),
    "q_112": ((1, 1, 2), 0.027493550848847),
    "q_123": ((1, 2, 3), -0.016836292699234),
    "q_233": ((2, 3, 3), 0.008572620635186),
    "q_134": ((1, 3, 4), 0.004860219061029),
}

# Universal screening as the format has it: coefficients and exponents.
_ZBL = (0.18175, 3.1998, 0.50986, 0.94229, 0.28022, 0.4029, 0.02817, 0.20162)
_ZBL_INVERSE_LENGTH = 2.134563
_COULOMB = 14.399645  # eV Angstrom

# Keeps a header that lies from asking for all memory; GPUMD's own limits are lower.
_MOST = {"n_max": 30, "basis_size": 30, "neurons": 1000}
_MOST_FLEXIBLE = 10  # elements, as in GPUMD
_LONGEST_LINE = 80  # of the numbers; the rest is for the careful reader
_MOST_NETS_MASKED = 6


class NepPotential(NamedTuple):
    """The content of a nep.txt file, in eV and Angstrom, for `n` elements."""

    version: int  #: 3, 4 or 5
    elements: tuple[str, ...]
    radial_cutoffs: np.ndarray  #: `[n]`; a pair's is the mean
    angular_cutoffs: np.ndarray  #: `[n]`
    l_max: int
    couplings: tuple[str, ...]  #: invariants of three and four sums, by name
    first: np.ndarray  #: `[n, neurons, dim]`, the scales of the invariants included
    bias: np.ndarray  #: `[n, neurons]`, subtracted
    last: np.ndarray  #: `[n, neurons]`
    shift: np.ndarray  #: `[n]`, subtracted
    radial: np.ndarray  #: `[n, n, n_radial, k]`: of receiver and sender
    angular: np.ndarray  #: `[n, n, n_angular, k]`
    #: `[n, n, 10]`: from where to where it is switched off, then coefficient (eV Angstrom) and
    #: exponent (1 / Angstrom) four times; None: no ZBL.
    zbl: np.ndarray | None
    source: str  #: what the file says of itself

    @property
    def cutoff(self) -> float:
        """Largest distance of neighbours."""
        return float(max(self.radial_cutoffs.max(), self.angular_cutoffs.max()))

    def keeping(self, elements: Sequence[str]) -> "NepPotential":
        """Return the potential of some of the elements.

        Raises:
          ValueError: an element that it does not know, or one named twice.
        """
        atomic_numbers(elements)
        if missing := [element for element in elements if element not in self.elements]:
            raise ValueError(
                f"the potential has no {' '.join(missing)}: expected elements among "
                f"{' '.join(self.elements)}"
            )
        kept = np.array([self.elements.index(element) for element in elements])
        of_elements = ("radial_cutoffs", "angular_cutoffs", "first", "bias", "last", "shift")
        of_pairs = ("radial", "angular", "zbl")
        changed: dict[str, Any] = {name: getattr(self, name)[kept] for name in of_elements}
        for name in of_pairs:
            table = getattr(self, name)
            changed[name] = None if table is None else table[np.ix_(kept, kept)]
        source = f"{self.source}, of which {len(kept)} are kept"
        return self._replace(elements=tuple(elements), source=source, **changed)


def add_arguments(parser):
    """Arguments of `mliap-local convert nep`."""
    parser.add_argument("file", metavar="FILE", type=find_potential, help="a nep.txt file of GPUMD")
    parser.add_argument(
        "--elements",
        nargs="+",
        metavar="SYMBOL",
        help="keep only these, in this order: smaller and faster; all where not given",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    potential = read_nep(options.file)
    if options.elements:
        try:
            potential = potential.keeping(options.elements)
        except ValueError as error:
            raise PotentialFileError(f"{options.file}: --elements: {error}") from error
    return Converted(
        functions=nep(potential),
        cutoff=potential.cutoff,
        elements=potential.elements,
        units="metal",
        source=f"converted from {Path(options.file).name}: {potential.source}",
        overlap=overlap(potential),
    )


def overlap(potential: NepPotential) -> float | None:
    """Return the distance below which ZBL acts in full, in Angstrom, or a shorter one that no bond
    has; None without ZBL, or where it never acts in full.

    With hydrogen, 1 Angstrom, the usual inner distance, would forbid its molecules. No bond is as
    short as the mean of two of the format's radii, which are larger than half a bond.
    """
    if potential.zbl is None:
        return None
    numbers = np.array(atomic_numbers(potential.elements))
    inner = potential.zbl[..., 0].min()
    return float(min(inner, _RADII[numbers - 1].min())) if inner > 0 else None


def read_nep(path: str | PathLike) -> NepPotential:
    """Read a nep.txt file.

    Raises:
      PotentialFileError: the file cannot be opened, is of a kind that is refused, has a header
        without sense, something that is no number where one is due, or more or fewer numbers than
        its header says.
    """
    text = read_text(path)
    lines = Lines(path, text)
    version, elements, zbl_words = _read_kind(lines)
    n = len(elements)
    radial_cutoffs, angular_cutoffs = _read_cutoffs(lines, n)
    if zbl_words and zbl_words[1] > angular_cutoffs.max():
        lines.fail("an angular cutoff beyond that of zbl", f"{angular_cutoffs.max():g}")
    n_radial, n_angular = (v + 1 for v in _read_pair(lines, "n_max"))
    k_radial, k_angular = (v + 1 for v in _read_pair(lines, "basis_size"))
    l_max, couplings = _read_l_max(lines)
    words = _keyword(lines, "ANN", "neurons 0", 2, 2)
    neurons = lines.integer(words[0], 1, _MOST["neurons"], "neurons")
    lines.integer(words[1], 0, 0, "neurons of a second layer, which is not known here,")

    dim = n_radial + n_angular * (l_max + len(couplings))
    nets = 1 if version == 3 else n
    shapes = [
        *[(neurons, dim), (neurons,), (neurons,), (int(version == 5),)] * nets,
        (1,),
        (n_radial, k_radial, n, n),
        (n_angular, k_angular, n, n),
        (dim,),
        (n * (n + 1) // 2 if zbl_words == [0, 0] else 0, 10),
    ]
    again = Lines(path, text)
    for _ in range(7 if zbl_words else 6):
        again.words("the header")
    numbers = _read_numbers(lines, again, sum(map(math.prod, shapes)))
    parts = [
        part.reshape(shape)
        for part, shape in zip(
            np.split(numbers, np.cumsum([math.prod(s) for s in shapes])[:-1]), shapes, strict=True
        )
    ]
    common, radial, angular, scale, flexible = parts[4 * nets :]
    first, bias, last = (np.stack(parts[k : 4 * nets : 4]) for k in range(3))
    shift = np.array([common[0] + part.sum() for part in parts[3 : 4 * nets : 4]])

    def of_elements(array):  # NEP3 has one net for all
        return np.broadcast_to(array, (n, *array.shape[1:]))

    return NepPotential(
        version=version,
        elements=elements,
        radial_cutoffs=radial_cutoffs,
        angular_cutoffs=angular_cutoffs,
        l_max=l_max,
        couplings=couplings,
        first=of_elements(first * scale),
        bias=of_elements(bias),
        last=of_elements(last),
        shift=of_elements(shift),
        radial=np.moveaxis(radial, (2, 3), (0, 1)),
        angular=np.moveaxis(angular, (2, 3), (0, 1)),
        zbl=_zbl_table(elements, zbl_words, flexible) if zbl_words else None,
        source=f"NEP{version} of GPUMD, {n} elements",
    )


def _read_kind(lines: Lines):
    """Read version, elements and the numbers of a line `zbl`."""
    words = lines.words("a line such as `nep4 2 Pd H`")
    match = re.fullmatch(r"nep([345])(_zbl)?(_\w+)?", words[0])
    if match is None:
        lines.fail("nep3, nep4 or nep5, with or without _zbl", words[0])
    if match.group(3):
        kinds = "nep3, nep4 or nep5, with or without _zbl: no charges, dispersion, dipoles, "
        lines.fail(f"{kinds}polarizabilities or temperatures", words[0])
    n = lines.integer(words[1] if words[1:] else "", 1, MAX_ATOMIC_NUMBER, "a number of elements")
    elements = tuple(words[2:])
    if len(elements) != n:
        lines.fail(f"{n} elements", " ".join(elements))
    try:
        numbers = atomic_numbers(elements)
    except ValueError as error:
        lines.fail("symbols of elements, each once", str(error))
    zbl = []
    if match.group(2):
        zbl = lines.numbers(_keyword(lines, "zbl", "inner outer [factor]", 2, 3))
        if not (0 <= zbl[0] < zbl[1] or zbl == [0, 0]) or min(zbl[2:], default=1) <= 0:
            lines.fail("0 <= inner < outer and a positive factor, or `zbl 0 0`", str(zbl))
        if zbl == [0, 0] and n > _MOST_FLEXIBLE:
            lines.fail(f"flexible ZBL of at most {_MOST_FLEXIBLE} elements", str(n))
        if max(numbers) > len(_RADII):
            lines.fail("ZBL of elements up to plutonium", " ".join(elements))
    return int(match.group(1)), elements, zbl


def _read_cutoffs(lines, n):
    """Read radial and angular cutoffs of the elements, [n] each."""
    counts = "radial and angular cutoff, once or for each element, and two sizes of buffers"
    words = _keyword(lines, "cutoff", counts, 4, 2 * n + 2)
    if len(words) not in (4, 2 * n + 2):
        lines.fail(counts, " ".join(words))
    cutoffs = np.array(lines.numbers(words)[:-2]).reshape(-1, 2)
    if not np.all((0 < cutoffs[:, 1]) & (cutoffs[:, 1] <= cutoffs[:, 0]) & (cutoffs[:, 0] <= 100)):
        lines.fail("0 < angular cutoff <= radial cutoff <= 100", " ".join(words))
    return np.broadcast_to(cutoffs, (n, 2)).T


def _read_pair(lines, name):
    """Read a radial and an angular count."""
    words = _keyword(lines, name, "radial angular", 2, 2)
    return [lines.integer(word, 0, _MOST[name], name) for word in words]


def _read_l_max(lines):
    """Read the largest l and the names of the invariants of more than two sums."""
    names = list(_COUPLINGS)
    words = _keyword(lines, "l_max", f"l_max {' '.join(names)}", 1, 1 + len(names))
    l_max = lines.integer(words[0], 0, 8, "l_max")
    flags = [lines.integer(word, 0, 9, "l_max and flags") for word in words[1:]]
    couplings = tuple(name for name, flag in zip(names, flags, strict=False) if flag)
    for name in couplings:
        if max(_COUPLINGS[name][0]) > l_max:
            lines.fail(f"an l_max that {name} can be made of", words[0])
    return l_max, couplings


def _keyword(lines, name, meaning, least, most):
    """Read a line that starts with a word, and return the rest of its words."""
    words = lines.words(f"`{name} {meaning}`")
    if words[0] != name or not least <= len(words) - 1 <= most:
        lines.fail(f"`{name} {meaning}`", " ".join(words))
    return words[1:]


def _read_numbers(lines, again, count):
    """Read one number a line to the end of the file, [count].

    All at once, for files have a million; what is wrong is then found by reading `again`.
    """
    raw = [lines.comment(f"{count} numbers as the header says") for _ in range(count)]
    try:
        if max(map(len, raw)) > _LONGEST_LINE:
            raise ValueError
        numbers = np.array(list(map(float, raw)))
        if not np.all(np.isfinite(numbers)):
            raise ValueError
        lines.end()
    except ValueError:
        return _read_carefully(again, count)
    return numbers


def _read_carefully(lines, count):
    """The same, line by line, empty ones and comments left out."""
    numbers = []
    while len(numbers) < count:
        words = lines.words(f"{count} numbers as the header says, {len(numbers)} of them read")
        if len(words) != 1:
            lines.fail("one number", " ".join(words))
        numbers += lines.numbers(words)
    lines.end(": it holds more numbers than its header says")
    return np.array(numbers)


def _zbl_table(elements, words, flexible):
    """Return the ten numbers of each pair of elements, [n, n, 10]; see `NepPotential`.

    Args:
      elements: symbols.
      words: inner, outer and perhaps factor; both 0: flexible.
      flexible: `[n (n + 1) / 2, 10]`: those of pairs i <= j, row by row.
    """
    numbers, n = np.array(atomic_numbers(elements)), len(elements)
    table = np.empty((n, n, 10))
    if words == [0, 0]:
        i, j = np.triu_indices(n)
        table[i, j] = table[j, i] = flexible
    else:
        table[...] = *words[:2], *_ZBL
        if len(words) == 3:
            radii = _RADII[numbers - 1]
            table[..., 0] = 0
            table[..., 1] = np.minimum(words[2] * np.add.outer(radii, radii), words[1])
    table[..., 2::2] *= _COULOMB * np.multiply.outer(numbers, numbers)[..., None]
    power = numbers**0.23
    table[..., 3::2] *= _ZBL_INVERSE_LENGTH * np.add.outer(power, power)[..., None]
    return table


def nep(potential: NepPotential) -> ModelFunctions:
    """Make the functions of the formula above.

    The embedding is one column, the element's place. The message has the radial sums, the angular
    ones with l, m running fastest, and ZBL, half of a pair's energy. Atoms of other elements send
    and receive nothing and have no energy. Every pair has its own cutoffs and is zero beyond.
    """
    node_init = embedding(potential.elements)

    return ModelFunctions(node_init, _edge(potential), _readout(potential))


def _edge(p):
    n = len(p.elements)
    columns = _Columns.of(p)
    cutoffs = np.stack(
        [np.add.outer(c, c) / 2 for c in (p.radial_cutoffs, p.angular_cutoffs)], axis=-1
    )
    harmonics = _harmonics(p.l_max)

    def of_pair(table, pair, dtype):
        """[n, n, c] -> c times [e], or [1] where all pairs have the same."""
        table = np.asarray(table).reshape(n * n, -1)
        if np.all(table == table[0]):
            return list(jnp.asarray(table[0], dtype)[:, None])
        return list(jnp.asarray(table, dtype)[pair].T)

    def geometry(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        x, y, z = r_ij.T
        square = x * x + y * y + z * z
        # The square is replaced before its root and inverse are taken, not only after: the
        # gradient of a branch that is not taken must be finite too.
        valid = (square > 0) & (i >= 0) & (j >= 0)
        r = jnp.sqrt(jnp.where(valid, square, p.cutoff**2))
        pair = jnp.where(valid, i * n + j, 0)
        return pair, r, (x / r, y / r, z / r)

    def factors(pair, r, unit):
        """Angular and other radial functions and harmonics, [rows, e] each."""
        r_radial, r_angular = of_pair(cutoffs, pair, r.dtype)
        others = combined(p.radial, pair, _chebyshev(r, r_radial, p.radial.shape[3])[0])
        a = combined(p.angular, pair, _chebyshev(r, r_angular, p.angular.shape[3])[0])
        if p.zbl is not None:
            others.append(_zbl(r, of_pair(p.zbl, pair, r.dtype))[0])
        return tuple(map(_stack, (a, _spherical(harmonics, unit), others)))

    def pull_factors(pair, r, unit, adjoint):
        """dE/dr, and dE/dY as rows; adjoint [m, e]."""
        of_angular, of_others = columns.split(adjoint)
        r_radial, r_angular = of_pair(cutoffs, pair, r.dtype)
        slopes = combined(p.radial, pair, _chebyshev(r, r_radial, p.radial.shape[3])[1])
        if p.zbl is not None:
            slopes.append(_zbl(r, of_pair(p.zbl, pair, r.dtype))[1])
        along = _dot(slopes, of_others)
        f, df = _chebyshev(r, r_angular, p.angular.shape[3])
        a, da = combined(p.angular, pair, f), combined(p.angular, pair, df)
        y = _spherical(harmonics, unit)
        if harmonics:
            along += _dot(da, [_dot(y, row) for row in of_angular])
        return along, [_dot(a, [row[k] for row in of_angular]) for k in range(len(y))]

    def pull_vector(r, unit, along, of_y):
        """The gradient, x, y, z, [e] each."""
        across = _spherical_pull(harmonics, unit, of_y)
        # unit = r_ij / r: what is along r_ij does not turn it
        along = along - _dot(unit, across) / r
        return [along * u + c / r for u, c in zip(unit, across, strict=True)]

    @jax.custom_vjp
    def edge(h_i, h_j, r_ij):
        place = geometry(h_i, h_j, r_ij)
        return columns.message(*kept(jnp.any(place[1] < p.cutoff), factors, *place))  # -> [e, m]

    def forward(h_i, h_j, r_ij):
        return edge(h_i, h_j, r_ij), (h_i, h_j, r_ij)

    def backward(inputs, adjoint):
        h_i, h_j, r_ij = inputs
        pair, r, unit = geometry(h_i, h_j, r_ij)
        near = jnp.any(r < p.cutoff)
        along, of_y = kept(near, pull_factors, pair, r, unit, adjoint.T)
        gradient = kept(near, pull_vector, r, unit, along, of_y)
        return jnp.zeros_like(h_i), jnp.zeros_like(h_j), jnp.stack(gradient, axis=1)

    edge.defvjp(forward, backward)
    return edge


def _tanh(x):
    """To rounding of 1: that of a library, which is exact near 0 too, is many times slower."""
    decay = jnp.exp(-2 * jnp.abs(x))
    return jnp.sign(x) * (1 - decay) / (1 + decay)


def _stack(rows):
    return jnp.stack(rows) if rows else jnp.zeros((0, 1))


def _dot(one, other):
    """Sum of products, term by term: rows of edges stay in registers."""
    return sum(a * b for a, b in zip(one, other, strict=True))


class _Columns(NamedTuple):
    """How a message is laid out: harmonics of each angular function, then the others."""

    n_angular: int
    n_lm: int
    n_others: int  # radial functions, ZBL

    @classmethod
    def of(cls, p):
        return cls(
            p.angular.shape[2], p.l_max * (p.l_max + 2), p.radial.shape[2] + (p.zbl is not None)
        )

    def message(self, a, y, others):
        """[n_angular, e], [n_lm, e], [n_others, e] to [e, m]."""
        products = (a[:, None] * y).reshape(self.n_angular * self.n_lm, others.shape[1])
        return jnp.concatenate([products, others]).T

    def split(self, rows):
        """[m, n] to rows [n] of angular, [n_angular][n_lm], and the others."""
        starts = range(0, self.n_angular * self.n_lm, max(self.n_lm, 1))
        angular = [[rows[start + k] for k in range(self.n_lm)] for start in starts]
        return angular, [rows[k - self.n_others] for k in range(self.n_others)]


def _switch(t):
    """Return (1 + cos(pi t)) / 2 and its derivative, both 0 from t = 1 on; t >= 0.

    Polynomials, exact to rounding: cosine and sine of a library are slower than all else here.
    """
    inside = t < 1
    angle = math.pi * (jnp.where(inside, t, 1) - 0.5)  # the sine's series from -pi/2 to pi/2
    square = angle * angle
    sine, cosine = (_sum_of_powers(square, c) for c in _SERIES)
    value, slope = 0.5 - 0.5 * angle * sine, -0.5 * math.pi * cosine
    return jnp.where(inside, value, 0), jnp.where(inside, slope, 0)


def _sum_of_powers(x, coefficients):
    """Horner's rule, the constant first."""
    total = coefficients[-1] * jnp.ones_like(x)
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


# sin(x) / x and cos(x) in powers of x^2, to 1e-17 for |x| <= pi / 2
_SERIES = [[(-1) ** k / math.factorial(2 * k + odd) for k in range(12)] for odd in (1, 0)]


def _chebyshev(r, cutoff, count):
    """Return the radial basis and its derivative, [count, e] each."""
    t = r / cutoff
    switch, slope = _switch(t)
    slope = slope / cutoff
    x, dx = 2 * (t - 1) ** 2 - 1, 4 * (t - 1) / cutoff
    polynomials, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
    for _ in range(2, count):
        slopes.append(2 * polynomials[-1] + 2 * x * slopes[-1] - slopes[-2])
        polynomials.append(2 * x * polynomials[-1] - polynomials[-2])
    values = [switch, *(0.5 * (v + 1) * switch for v in polynomials[1:count])]
    derivatives = [slope] + [
        0.5 * (d * dx * switch + (v + 1) * slope)
        for v, d in zip(polynomials[1:count], slopes[1:count], strict=True)
    ]
    return values, derivatives


def _zbl(r, parameters):
    """Return half of a pair's screened repulsion and its derivative, [e]; parameters [10, e]."""
    inner, outer = parameters[:2]
    terms = [c * jnp.exp(-b * r) for c, b in zip(parameters[2::2], parameters[3::2], strict=True)]
    value = 0.5 * sum(terms) / r
    slope = -0.5 * sum(b * t for b, t in zip(parameters[3::2], terms, strict=True)) / r - value / r
    width = jnp.maximum(outer - inner, 1e-30)
    switch, switch_slope = _switch(jnp.maximum(r - inner, 0) / width)
    switch_slope = jnp.where(r > inner, switch_slope / width, 0)
    return value * switch, slope * switch + value * switch_slope


def _harmonics(l_max):
    """Return, for l = 1 to l_max and m = 0 to l, the coefficients of powers of z that make the real
    spherical harmonics from (x + i y)^m: orthonormal on the unit sphere, with no sign of m."""
    harmonics = []
    for degree in range(1, l_max + 1):
        legendre = np.polynomial.legendre.leg2poly([0] * degree + [1])
        for m in range(degree + 1):
            squared = 2 / (2 * degree + 1) * math.factorial(degree + m)
            squared *= (math.pi if m else 2 * math.pi) / math.factorial(degree - m)
            polynomial = np.polynomial.polynomial.polyder(legendre, m) / math.sqrt(squared)
            harmonics.append((m, polynomial.tolist()))
    return harmonics


def _turns(unit, l_max):
    """Real and imaginary parts of (x + i y)^m."""
    x, y, _ = unit
    turns = [(jnp.ones_like(x), jnp.zeros_like(x))]
    for _ in range(l_max):
        c, s = turns[-1]
        turns.append((c * x - s * y, c * y + s * x))
    return turns


def _in_z(z, polynomial):
    """A polynomial of one parity."""
    odd = 0 if polynomial[0] or len(polynomial) == 1 else 1
    value = _sum_of_powers(z * z, polynomial[odd::2])
    return value * z if odd else value


def _spherical(harmonics, unit):
    """Harmonics at unit vectors: a row [e] for m = 0, then two for each m, cosine and sine."""
    turns = _turns(unit, max((m for m, _ in harmonics), default=0))
    rows = []
    for m, polynomial in harmonics:
        value = _in_z(unit[2], polynomial)
        rows += [value] if m == 0 else [value * turns[m][0], value * turns[m][1]]
    return rows


def _spherical_pull(harmonics, unit, adjoint):
    """The gradient with respect to the unit vectors as if their three components were free."""
    turns = _turns(unit, max((m for m, _ in harmonics), default=0))
    row, gradient = 0, [jnp.zeros_like(unit[0])] * 3
    for m, polynomial in harmonics:
        slope = np.polynomial.polynomial.polyder(polynomial).tolist() if len(polynomial) > 1 else []
        if m == 0:
            gradient[2] += _in_z(unit[2], slope) * adjoint[row]
            row += 1
            continue
        of_cosine, of_sine = adjoint[row], adjoint[row + 1]
        value = m * _in_z(unit[2], polynomial)
        c, s = turns[m - 1]
        gradient[0] += value * (of_cosine * c + of_sine * s)
        gradient[1] += value * (of_sine * c - of_cosine * s)
        if slope:
            c, s = turns[m]
            gradient[2] += _in_z(unit[2], slope) * (of_cosine * c + of_sine * s)
        row += 2
    return gradient


def _readout(p):
    n = len(p.elements)
    n_radial, columns = p.radial.shape[2], _Columns.of(p)
    neurons, dim = p.first.shape[1:]
    couplings = [_coupling(*_COUPLINGS[name]) for name in p.couplings]

    def invariants(messages):
        angular, others = columns.split(messages.T)
        rows = others[:n_radial]
        for degree in range(1, p.l_max + 1):
            places = slice(degree**2 - 1, (degree + 1) ** 2 - 1)
            rows += [_dot(s[places], s[places]) for s in angular]
        for terms in couplings:
            rows += [
                sum(c * math.prod(s[k] for k in places) for places, c in terms) for s in angular
            ]
        return jnp.stack(rows, axis=1), others[-1]  # -> [n, dim], [n]

    def hidden(place, q):
        """Sums of the first layer, [n, neurons]."""
        if n > _MOST_NETS_MASKED:
            return jnp.einsum("nhd,nd->nh", jnp.asarray(p.first, q.dtype)[place], q)
        weights = jnp.asarray(p.first.reshape(n * neurons, dim).T, q.dtype)
        all_nets = (q @ weights).reshape(-1, n, neurons)
        mask = place[:, None] == np.arange(n)
        return (
            jnp.sum(jnp.where(mask[:, :, None], all_nets, 0), axis=1) if n > 1 else all_nets[:, 0]
        )

    def readout(h, messages):
        i = place_of(h)
        place = jnp.maximum(i, 0)
        bias, last, shift = (jnp.asarray(a, h.dtype)[place] for a in (p.bias, p.last, p.shift))
        q, zbl = invariants(messages)
        outputs = _tanh(hidden(place, q) - bias)
        energy = jnp.sum(last * outputs, axis=1) - shift
        if p.zbl is not None:
            energy = energy + zbl
        return jnp.where(i >= 0, energy, 0)  # -> [n]

    @jax.custom_vjp
    def differentiated(h, messages):
        return readout(h, messages)

    def forward(h, messages):
        return readout(h, messages), (h, messages)

    def backward(inputs, adjoint):
        def pull(h, messages, adjoint):
            return jax.vjp(lambda m: readout(h, m), messages)[1](adjoint)[0]

        h, messages = inputs
        gradient = kept(jnp.any(h[:, 0] >= 0), pull, h, messages, adjoint)
        return jnp.zeros_like(h), gradient

    differentiated.defvjp(forward, backward)
    return differentiated


def _coupling(degrees, factor):
    """Return the invariant of three or four sums as [(places in l m order, coefficient)].

    Three: the integral of the three densities' product over the sphere, which is the only scalar
    there is. Four of l = 1: the square of their sum of squares.

    Args:
      degrees: l of each.
      factor: of the product of the components m = 0, where harmonics are polynomials whose
        coefficients are integers without common divisor, as in the format.
    """
    scale = {1: 1, 2: 2, 3: 2, 4: 8}  # from Legendre's polynomials to those
    for degree in degrees:
        factor *= scale[degree] * math.sqrt(4 * math.pi / (2 * degree + 1))
    if len(degrees) == 4:
        pairs = [(k, k, other, other) for k in range(3) for other in range(3)]
        return [(places, factor) for places in pairs]
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angles = 2 * math.pi * np.arange(16) / 16
    z, angle = (a.ravel() for a in np.meshgrid(nodes, angles, indexing="ij"))
    rho, weights = np.sqrt(1 - z * z), np.repeat(weights, 16) * 2 * math.pi / 16
    rows = []
    for m, polynomial in _harmonics(max(degrees)):
        value = np.polynomial.polynomial.polyval(z, polynomial) * rho**m
        rows += [value * np.cos(m * angle), value * np.sin(m * angle)][: 1 + (m > 0)]
    y = np.array(rows)
    first, second, third = (slice(d * d - 1, (d + 1) ** 2 - 1) for d in degrees)
    integrals = np.einsum("ax,bx,cx,x->abc", y[first], y[second], y[third], weights)
    terms: dict[tuple[int, ...], float] = {}
    for place in np.argwhere(np.abs(integrals) > 1e-12):
        key = tuple(sorted(int(k) + d * d - 1 for k, d in zip(place, degrees, strict=True)))
        value = float(integrals[tuple(place)] / integrals[0, 0, 0]) * factor
        terms[key] = terms.get(key, 0.0) + value
    return sorted(terms.items())
