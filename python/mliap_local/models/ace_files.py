"""What a potential of pacemaker holds, and its old text format, `.ace`.

Source: the C++ library that defines the format, ICAMS/lammps-user-pace (`ace_c_basis.cpp`).
`ace_yaml.py` reads `.yace`, which holds the same. Every failure names the file and the line.
Evaluates nothing.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from . import atomic_numbers
from .text import Lines, read_text

#: Radial functions and embeddings that `models.ace` evaluates.
RADIAL = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")
EMBEDDINGS = ("FinnisSinclair", "FinnisSinclairShiftedScaled")
INNER = ("density", "distance")

#: Larger numbers are mistakes, and would ask for all memory.
MOST_ELEMENTS, MOST_RADIAL, MOST_L, MOST_RANK, MOST_DENSITIES = 64, 200, 16, 12, 16
MOST_TERMS = 1_000_000


class Bond(NamedTuple):
    """What an atom of one element sees of one of another; lengths in Angstrom, energies in eV."""

    radial: str  #: one of `RADIAL`
    parameter: float  #: lambda of the radial functions
    cutoff: float
    cutoff_width: float  #: of the cosine of ChebExpCos
    core: tuple[float, float]  #: prefactor and exponent of the repulsion
    inner: tuple[float, float]  #: inner cutoff and its width
    coefficients: np.ndarray  #: `[n, l, k]`


class Embedding(NamedTuple):
    """How densities become the energy of an atom."""

    name: str  #: one of `EMBEDDINGS`
    parameters: tuple[tuple[float, float], ...]  #: weight and exponent of each density
    core_cutoff: tuple[float, float]  #: core energy at which this ends, and the width of that


class Function(NamedTuple):
    """One function of the basis with its weights: `rank` factors, `k` combinations of their m."""

    centre: int
    neighbours: tuple[int, ...]
    n: tuple[int, ...]  #: from 1
    l: tuple[int, ...]  # noqa: E741  what everybody calls it
    m: np.ndarray  #: `[k, rank]`
    weights: np.ndarray  #: `[k, densities]`


#: A variable of an atom: element of its neighbours, l, n and m >= 0.
Variable = tuple[int, int, int, int]


def signed_product(number: Mapping[Variable, int], f: Function, ms: Sequence[int]):
    """Return the factors of a function for one combination of m, their number or the ~ of it for
    the complex conjugate, and a sign: A[l, -m] = (-1)^m conj A[l, m]."""
    product, sign = [], 1
    for j, l, n, m in zip(f.neighbours, f.l, f.n, ms, strict=True):  # noqa: E741
        variable = number[j, l, n, abs(m)]
        product.append(variable if m >= 0 else ~variable)
        sign *= -1 if m < 0 and m % 2 else 1
    return tuple(product), sign


class Potential(NamedTuple):
    """The content of a file."""

    elements: tuple[str, ...]
    isolated: tuple[float, ...]  #: energies of isolated atoms, eV
    embeddings: tuple[Embedding, ...]
    bonds: dict[tuple[int, int], Bond]
    inner: str  #: one of `INNER`: what the inner cutoff acts on
    functions: list[Function]
    comment: str
    #: Of each element the functions with what couples their m in the place of weights, in the order
    #: of an active set; empty where the file does not have them apart.
    projections: tuple[tuple[Function, ...], ...] = ()


def read_ace(path: str | PathLike) -> Potential:
    """Read a `.ace` file: one element, words in a fixed order.

    Raises:
      PotentialFileError: the file cannot be opened, is none of these, holds what does not fit or
        what is not evaluated here.
    """
    return _Ace(path, read_text(path)).potential()


def leading_comment(text: str) -> str:
    """The lines of comment that a file begins with, as one text."""
    lines = itertools.takewhile(lambda line: not line or line[0] == "#", text.splitlines())
    return " ".join(" ".join(line.strip("# \t") for line in lines).split())


class _Ace:
    """The file word by word."""

    def __init__(self, path, text):
        self._lines, self._words, self._comment = Lines(path, text), [], leading_comment(text)

    def potential(self) -> Potential:
        n_elements = self._integer("nelements =", 1, MOST_ELEMENTS)
        if n_elements > 1:
            self._lines.fail("one element (the format has room for one embedding)", n_elements)
        self._keyword("elements :")
        element = self._next("a symbol")
        try:
            atomic_numbers([element])
        except ValueError as error:
            self._lines.fail("the symbol of an element", error)
        l_max = self._integer("lmax =", 0, MOST_L)
        named = self._peek() == "embedding-function"
        if named:
            self._keyword("embedding-function :")
        name = self._choice("an embedding", EMBEDDINGS) if named else EMBEDDINGS[0]
        count = self._integer("", 2, 2 * MOST_DENSITIES, "the number of FS parameters")
        parameters = self._numbers("FS parameters :", count)
        if count % 2 or (not named and set(parameters[1::2]) != {1.0}):
            self._lines.fail(
                f"an even number of FS parameters and an embedding {EMBEDDINGS}", count
            )
        core_cutoff = self._numbers("core energy-cutoff parameters :", 2)
        isolated = self._numbers("E0 :", 1) if self._peek() == "E0" else [0.0]
        bond, n_base, n_max = self._bond(l_max)
        for keyword, most in (("rankmax", MOST_RANK), ("ndensitymax", MOST_DENSITIES)):
            largest = self._integer(f"{keyword} =", 1, most)
        if count < 2 * largest:
            self._lines.fail(f"at most {count // 2} densities", largest)
        for keyword in ("num_c_tilde_max", "num_ms_combinations_max"):
            self._integer(f"{keyword} =", 0, MOST_TERMS)
        functions = []
        for keyword in ("total_basis_size_rank1", "total_basis_size"):
            for _ in range(self._integer(f"{keyword} :", 0, MOST_TERMS)):
                functions.append(self._function(largest, n_base, n_max, l_max))
        if self._words:
            self._lines.fail("the end of the file", self._words[0])
        self._lines.end()
        pairs = tuple(zip(parameters[::2], parameters[1::2], strict=True))[:largest]
        embedding = Embedding(name, pairs, (core_cutoff[0], core_cutoff[1]))
        return Potential(
            (element,),
            tuple(isolated),
            (embedding,),
            {(0, 0): bond},
            "density",
            functions,
            self._comment,
        )

    def _bond(self, l_max):
        self._keyword("radbasename =")
        radial = self._choice("radial functions", RADIAL[:2])
        n_base = self._integer("nradbase =", 1, MOST_RADIAL)
        n_max = self._integer("nradmax =", 0, MOST_RADIAL)
        self._numbers("cutoffmax =", 1)
        self._numbers("deltaSplineBins =", 1)
        core = self._numbers("core repulsion parameters :", 2)
        (parameter,) = self._numbers("radparameter =", 1)
        (cutoff,) = self._numbers("cutoff =", 1)
        if not cutoff > 0:
            self._lines.fail("a positive cutoff", cutoff)
        (width,) = self._numbers("dcut =", 1)
        values = self._numbers("crad =", n_base * n_max * (l_max + 1))
        coefficients = np.reshape(values, (n_base, n_max, l_max + 1)).transpose(1, 2, 0)
        bond = Bond(radial, parameter, cutoff, width, (core[0], core[1]), (0.0, 0.0), coefficients)
        return bond, n_base, n_max

    def _function(self, n_densities, n_base, n_max, l_max):
        self._keyword("ctilde_basis_func :")
        rank = self._integer("rank =", 1, MOST_RANK)
        self._integer("ndens =", n_densities, n_densities)
        self._integer("mu0 =", 0, 0)
        neighbours = self._several("mu = (", ")", [(0, 0)] * rank)
        n = self._several("n = (", ")", [(1, n_base if rank == 1 else n_max)] * rank)
        l = self._several("l = (", ")", [(0, 0 if rank == 1 else l_max)] * rank)  # noqa: E741
        m, weights = [], []
        for _ in range(self._integer("num_ms =", 1, MOST_TERMS)):
            m.append(self._several("<", "> :", [(-most, most) for most in l]))
            weights.append(self._numbers("", n_densities))
        return Function(0, neighbours, n, l, np.array(m), np.array(weights))

    # words

    def _peek(self):
        return self._words[0] if self._fill("more of the potential") else None

    def _fill(self, expected):
        while not self._words:
            line = " ".join(self._lines.words(expected))
            self._words = re.findall(r"[<>():=]|[^\s<>():=]+", line)
        return True

    def _next(self, expected):
        self._fill(expected)
        return self._words.pop(0)

    def _keyword(self, words):
        for word in words.split():
            found = self._next(words)
            if found != word:
                self._lines.fail(words, found)

    def _choice(self, what, names):
        word = self._next(what)
        if word not in names:
            self._lines.fail(f"{what} that can be converted ({', '.join(names)})", word)
        return word

    def _integer(self, keyword, least, most, expected=""):
        expected = expected or keyword.removesuffix(" =").removesuffix(" :")
        self._keyword(keyword)
        return self._lines.integer(self._next(expected), least, most, expected)

    def _numbers(self, keyword, count):
        self._keyword(keyword)
        values: list[float] = []
        while len(values) < count:
            self._fill(f"{count} numbers, {len(values)} of them read")
            missing = count - len(values)
            values += self._lines.numbers(self._words[:missing])
            self._words = self._words[missing:]
        return values

    def _several(self, opening, closing, bounds):
        self._keyword(opening)
        values = [
            self._integer("", pair[0], pair[1], f"{opening} {len(bounds)} integers")
            for pair in bounds
        ]
        self._keyword(closing)
        return tuple(values)
