"""Reads `.yaml`, the B basis of pacemaker: what it fits, and what its active sets are of.

    B_i = sum_m C(l, L, m) Re prod_k A_i[mu_k, n_k, l_k, m_k]        rho_ip = sum c_p B_i

A `.yace` has the weights c C alone, where functions that differ in L have become one. Here they are
apart, and stand in the order of the rows of an active set: by number of factors, elements, n, l,
and then by the combinations of m. Source: ICAMS/lammps-user-pace (`ace_yaml_input.cpp`,
`ace_b_basis.cpp`, `ace_couplings.cpp`). Evaluates nothing.
"""

import itertools
import math
from collections import deque
from fractions import Fraction
from functools import lru_cache
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from . import atomic_numbers
from .ace_files import (
    EMBEDDINGS,
    INNER,
    MOST_DENSITIES,
    MOST_ELEMENTS,
    MOST_L,
    MOST_RADIAL,
    MOST_RANK,
    MOST_TERMS,
    Embedding,
    Function,
    Potential,
    leading_comment,
)
from .ace_yaml import Keys, bond, parse
from .text import read_text

_ROOT = {"global", "species", "metadata", "auxdata"}
_KEYS = Keys("radbase", "nradmaxi", "lmaxi", "nradbaseij", "rcutij", "dcutij")
# Of blocks of elements, and of m that one function may have; more are mistakes.
_BLOCKS, _MOST_COMBINATIONS = 100_000, 200_000
# What LAMMPS takes where a file says nothing of the core.
_CORE_CUTOFF = 100_000.0, 250.0


def read_yaml(path: str | PathLike, ordered: bool = False) -> Potential:
    """Read a `.yaml` file of pacemaker.

    Args:
      ordered: the order of functions matters, and `projections` are wanted.

    Raises:
      PotentialFileError: the file cannot be opened, is none of these, holds what does not fit or
        what is not evaluated here; or the order of two functions is not known.
      ImportError: there is no PyYAML.
    """
    text = read_text(path)
    root = parse(path, text)
    if unknown := root.keys() - _ROOT:
        expected = f"a B basis, with only the keys {', '.join(sorted(_ROOT))}"
        root[min(unknown)].fail(expected, min(unknown))
    blocks = {}
    for item in root["species"].items(1, _BLOCKS):
        name = tuple(dict.fromkeys(item["speciesblock"].text().split()))
        if not name or name in blocks:
            item["speciesblock"].fail("elements, and each block once", " ".join(name))
        blocks[name] = item
    elements = tuple(sorted({symbol for name in blocks for symbol in name}))
    try:
        atomic_numbers(elements)
    except ValueError as error:
        root["species"].fail("symbols of elements", error)
    if len(elements) > MOST_ELEMENTS:
        root["species"].fail(f"at most {MOST_ELEMENTS} elements", len(elements))
    pairs = [(a, b) for a in elements for b in elements]
    for pair in pairs:
        if tuple(dict.fromkeys(pair)) not in blocks:
            root["species"].fail("a block of each element and pair", f"none of {' '.join(pair)}")
    embeddings = tuple(_embedding(blocks[symbol,]) for symbol in elements)
    bonds, inner = {}, set()
    for a, b in pairs:
        own, other = blocks[tuple(dict.fromkeys((a, b)))], blocks[tuple(dict.fromkeys((b, a)))]
        radial = own if "lmaxi" in own.keys() else other
        core = next((c for c in (own, other) if "core-repulsion" in c.keys()), own)
        repulsion = core["core-repulsion"].numbers(2, 2) if "core-repulsion" in core.keys() else ()
        ends = [core[k].number() if k in core.keys() else 0.0 for k in ("r_in", "delta_in")]
        made = bond(radial, _KEYS, tuple(repulsion) or (0.0, 0.0), (ends[0], ends[1]))
        bonds[elements.index(a), elements.index(b)] = made
        inner.add(core.choice("inner_cutoff_type", INNER, INNER[0]))
    if len(inner) > 1:
        root["species"].fail("the same inner_cutoff_type in all", " and ".join(sorted(inner)))
    found = _functions(blocks, elements, embeddings, bonds)
    functions = [entry.coupled._replace(weights=entry.weights) for entry in found]
    projections = _projections(found, len(elements)) if ordered else ()
    comment, isolated = leading_comment(text), (0.0,) * len(elements)
    return Potential(
        elements, isolated, embeddings, bonds, inner.pop(), functions, comment, projections
    )


def _embedding(item):
    n = item["ndensityi"].integer(1, MOST_DENSITIES)
    values = item["parameters"].numbers(2 * n, 2 * n)
    cutoff = [
        item[key].number() if key in item.keys() else default
        for key, default in zip(("rho_core_cut", "drho_core_cut"), _CORE_CUTOFF, strict=True)
    ]
    name = item.choice("npoti", EMBEDDINGS)
    return Embedding(
        name, tuple(zip(values[::2], values[1::2], strict=True)), (cutoff[0], cutoff[1])
    )


class _Entry(NamedTuple):
    coupled: Function  #: its weights are what couples m
    weights: np.ndarray
    doubtful: int  #: combinations of m that pacemaker may count too
    item: Any


def _functions(blocks, elements, embeddings, bonds):
    found, n_terms = [], 0
    for name, block in blocks.items():
        for item in block["nbody"].items(0, MOST_TERMS):
            if "skip" in item.keys() and item["skip"].text().lower() in ("true", "yes", "on", "y"):
                continue
            found.append(_function(item, name, elements, embeddings, bonds))
            n_terms += len(found[-1].coupled.m)
            if n_terms > MOST_TERMS:
                item.fail(f"at most {MOST_TERMS} products", "more")
    return found


def _projections(found, n_elements):
    """The functions of each element in the order of pacemaker.

    Of functions that differ in L alone it puts the one of fewer combinations first, and may count
    some that rounding keeps from being zero. Where these decide, it is not known which order the
    active set has.
    """

    def key(entry):
        f = entry.coupled
        return (len(f.n), f.centre, f.neighbours, f.n, f.l), (len(f.m), f.m.tolist())

    found = sorted(found, key=key)
    for one, other in itertools.pairwise(found):
        (kind, count), (kind_too, count_too) = key(one), key(other)
        fewer = count[0] + one.doubtful < count_too[0]
        sure = fewer or (not one.doubtful + other.doubtful and count < count_too)
        if kind == kind_too and not sure:
            expected = (
                "functions whose order in an active set does not depend on rounding (for a grade "
                "of another kind there is export_model with training_grade)"
            )
            other.item.fail(expected, "two that differ in lint alone")
    return tuple(
        tuple(e.coupled for e in found if e.coupled.centre == i) for i in range(n_elements)
    )


def _function(item, block, elements, embeddings, bonds):
    symbols = item["type"].text().split()
    rank = len(symbols) - 1
    if not 1 <= rank <= MOST_RANK or symbols[0] != block[0] or not set(symbols) <= set(block):
        expected = f"{block[0]} and up to {MOST_RANK} of {' '.join(block)}"
        item["type"].fail(expected, " ".join(symbols))
    centre, *neighbours = map(elements.index, symbols)
    shapes = [bonds[centre, j].coefficients.shape for j in neighbours]
    n = item["nr"].integers(rank, 1, MOST_RADIAL)
    l = item["nl"].integers(rank, 0, MOST_L)  # noqa: E741
    for k, (n_max, n_l, n_base) in enumerate(shapes):
        most = (n_base if rank == 1 else n_max), (0 if rank == 1 else n_l - 1)
        for key, value, bound in (("nr", n[k], most[0]), ("nl", l[k], most[1])):
            if value > bound:
                item[key].fail(f"{key} up to {bound}, which the bond has", value)
    inner = ()
    if rank > 2:
        inner = item["lint"].integers(rank - 2, 0, 2 * MOST_L)
    n_densities = len(embeddings[centre].parameters)
    c = item["c"]
    alone = n_densities == 1 and c.is_scalar()
    weights = [c.number()] if alone else c.numbers(n_densities, n_densities)
    if math.prod(2 * degree + 1 for degree in l) > _MOST_COMBINATIONS:
        item["nl"].fail(f"at most {_MOST_COMBINATIONS} combinations of m", "more")
    m, couplings, doubtful = coupling(l, inner)
    if not m:
        item.fail("nl and lint that couple to a scalar", f"{l} and {inner}")
    coupled = Function(
        centre, tuple(neighbours), n, l, np.reshape(m, (-1, rank)), np.array(couplings)[:, None]
    )
    return _Entry(coupled, coupled.weights * weights, doubtful, item)


@lru_cache(maxsize=10_000)
def coupling(l: tuple[int, ...], inner: tuple[int, ...]):  # noqa: E741
    """Return combinations of m whose product is a scalar, the weight of each, and how many more
    pacemaker may count whose weight is zero but for rounding.

    Factors are coupled in pairs to `inner`, then these, in the order in which they were made, and
    one that is left over at last. Of a combination and its negative, which have the same real part,
    the one whose first m is positive stands for both.

    Args:
      l: of the factors.
      inner: what they couple to, but for the last, which is 0.
    """
    if sum(l) % 2:  # it would be imaginary
        return (), (), 0
    leaves = [_Node(n, (k,), {(m,): (1.0, False) for m in range(-n, n + 1)})
              for k, n in enumerate(l)]  # fmt: skip
    last = leaves.pop() if len(l) % 2 else None
    nodes, degrees = deque(leaves), iter((*inner, 0))
    while len(nodes) > 1:
        nodes.append(_coupled(nodes.popleft(), nodes.popleft(), next(degrees)))
    root = nodes.pop() if nodes else None
    if last:
        root = _coupled(root, last, next(degrees)) if root else last
    assert root
    order = [root.factors.index(k) for k in range(len(l))]
    found, doubtful = {}, 0
    for ms, (value, doubt) in root.values.items():
        m = tuple(ms[k] for k in order)
        sign = next((k for k in m if k), 0)
        if sum(m) == 0 and sign >= 0:
            doubtful += doubt
            if not doubt:
                found[m] = 2 * value if sign else value
    m = tuple(sorted(found, key=lambda m: m[::-1]))
    return m, tuple(found[k] for k in m), doubtful


class _Node(NamedTuple):
    """Factors that are coupled to `degree`; by their m the coefficients, and whether that is zero
    but for rounding. M is the sum of m."""

    degree: int
    factors: tuple[int, ...]
    values: dict[tuple[int, ...], tuple[float, bool]]


def _coupled(one, other, degree):
    values = {}
    for a, (x, doubt) in one.values.items():
        for b, (y, doubt_too) in other.values.items():
            m_a, m_b = sum(a), sum(b)
            c = clebsch_gordan(one.degree, m_a, other.degree, m_b, degree)
            # zero by symmetry is zero in any arithmetic
            odd = (one.degree + other.degree + degree) % 2
            same = m_a == m_b and (one.degree == other.degree or m_a == 0)
            if c is not None and (c or not (odd and same)):
                values[*a, *b] = x * y * c, doubt or doubt_too or c == 0
    return _Node(degree, one.factors + other.factors, values)


@lru_cache(maxsize=100_000)
def clebsch_gordan(a: int, m_a: int, b: int, m_b: int, c: int) -> float | None:
    """The coefficient of a product of two harmonics in that of l = c and m = m_a + m_b, with the
    signs of Condon and Shortley; None where there is none. Racah's formula, exact up to the root.
    """
    m = m_a + m_b
    if not abs(a - b) <= c <= a + b or abs(m) > c:
        return None
    f = math.factorial
    total = Fraction(0)
    for k in range(max(0, b - c - m_a, a - c + m_b), min(a + b - c, a - m_a, b + m_b) + 1):
        below = f(k) * f(a + b - c - k) * f(a - m_a - k) * f(b + m_b - k)
        total += Fraction((-1) ** k, below * f(c - b + m_a + k) * f(c - a - m_b + k))
    square = Fraction((2 * c + 1) * f(a + b - c) * f(a - b + c) * f(b - a + c), f(a + b + c + 1))
    square *= f(a + m_a) * f(a - m_a) * f(b + m_b) * f(b - m_b) * f(c + m) * f(c - m) * total**2
    return math.copysign(math.sqrt(square), total)
