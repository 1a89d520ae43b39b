"""Sums of products: a polynomial of an atom's message sums, as few wide operations.

The readout of the atomic cluster expansion is `rho_q = sum_t c_qt Re prod_k A[t, k]`, thousands of
terms whose factors repeat. `plan` orders them once, in numpy, as levels: a longer product is a
shorter one, a *node*, times one factor, so nodes take one gather and multiplication a level. Most
terms are needed for the sums alone, and are never made: angular momentum splits them into blocks in
which nearly every node P meets every factor F, and `sum_pf c_qpf Re(P_p F_f)` is a matrix product
over f, then a dot product over p. Its adjoint consists of the same. Source of the recursion:
Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021). Knows no elements, radial functions or
files; no state.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Factor = int  # variable v as v, its complex conjugate as ~v; a real variable is always v
Product = tuple[Factor, ...]

# A block is worth its calls from so many terms on, and while its matrix has at most so many entries
# for each of them.
_FEWEST_TERMS, _MOST_ENTRIES_PER_TERM = 128, 16


class Block(NamedTuple):
    """Terms that are only summed: nodes `first` to `last` of the level before times factors."""

    first: int
    last: int
    factors: np.ndarray  # [f], places of their conjugates
    weights: np.ndarray  # [q, p, f]
    real: bool  # all factors are


class Level(NamedTuple):
    """Products of one length. A product is a node of the level before (its place) times a factor
    (its place among the variables, and after them their conjugates)."""

    nodes: tuple[np.ndarray, np.ndarray]  # [n], [n]: what longer products are made of
    node_weights: np.ndarray  # [q, n]
    blocks: list[Block]
    others: tuple[np.ndarray, np.ndarray]  # [t], [t]: terms in no block
    other_weights: np.ndarray  # [q, t]


class Plan(NamedTuple):
    """What `evaluate` does. `linear`: [q, v], weights of the real parts of the variables."""

    linear: np.ndarray
    levels: list[Level]


def plan(
    terms: Mapping[Product, Sequence[float]], n_real: int, n_variables: int, n_sums: int
) -> Plan:
    """Order products so that they share what they have in common.

    Args:
      terms: the factors of each product, 0 to `n_variables` - 1 or the `~` of these for complex
        conjugates, and its weight in each of `n_sums` sums.
      n_real: the first so many variables are real.
    """

    def conjugate(product: Product) -> Product:
        return tuple(sorted(f if 0 <= f < n_real else ~f for f in product))

    def canonical(product: Product) -> Product:
        """One of a product and its conjugate, which have the same real part."""
        return max(tuple(sorted(product)), conjugate(product))

    merged: defaultdict[Product, np.ndarray] = defaultdict(lambda: np.zeros(n_sums))
    for product, weights in terms.items():
        merged[canonical(product)] += np.asarray(weights, float)
    single: list[Product] = [(v,) for v in range(n_variables)]
    linear = np.array([merged[key] for key in single]).reshape(n_variables, n_sums).T
    # what a node's value is: the product of its key, or the conjugate of that
    stored: dict[Product, Product] = {(v,): (v,) for v in range(n_variables)}
    steps: list[tuple[list[_Row], list[_Row]]] = []
    for split, is_node in _splits(set(merged), canonical):
        rows: tuple[list[_Row], list[_Row]] = [], []
        for key, (rest, factor) in sorted(split.items()):
            parent = canonical(rest)
            if stored[parent] != rest:
                (factor,) = conjugate((factor,))
            if key in is_node:
                stored[key] = tuple(sorted((*stored[parent], factor)))
            factor = factor if factor >= 0 else n_variables + ~factor
            rows[key not in is_node].append(_Row(parent, factor, key))
        steps.append(rows)
    place: dict[Product, int] = {(v,): v for v in range(n_variables)}
    levels, groups = [], {}
    for (nodes, leaves), (_, next_leaves) in pairwise([*steps, ([], [])]):
        blocks, others = _blocks(leaves, groups, place, merged, n_real, n_variables)
        groups = _groups(next_leaves)
        # those of a block stand together
        nodes = sorted(nodes, key=lambda row: (groups.get(row.key, len(groups)), place[row.parent]))
        levels.append(
            Level(
                _indices(nodes, place),
                _weights(nodes, merged, n_sums),
                blocks,
                _indices(others, place),
                _weights(others, merged, n_sums),
            )
        )
        place = {row.key: number for number, row in enumerate(nodes)}
    return Plan(linear, levels)


def evaluate(plan: Plan, real, imaginary=None):
    """Return the sums, [q, n], of variables given by their parts, [v, n] each.

    Without imaginary parts all variables are real. The adjoint is by hand: JAX's own takes several
    times as long.
    """

    @jax.custom_vjp
    def sums(*variables):
        return _forward(plan, variables)[0]

    def backward(kept, cotangent):
        factors, nodes = kept
        return _backward(plan, factors, nodes, cotangent)

    sums.defvjp(lambda *variables: _forward(plan, variables), backward)
    return sums(real) if imaginary is None else sums(real, imaginary)


# A complex array is a tuple of its parts; a real one of its only part.


def _forward(plan, variables):
    """Return the sums, and what the adjoint needs: factors, and the nodes below each level."""
    dtype = variables[0].dtype
    sums = jnp.asarray(plan.linear, dtype) @ variables[0]  # -> [q, n]
    factors, nodes = _with_conjugates(variables), [variables]
    for level in plan.levels:
        below = nodes[-1]
        for block in level.blocks:
            parts = (summed * nodes_ for nodes_, summed in _block(block, below, factors))
            sums = sums + jnp.sum(sum(parts), axis=1)
        parent, factor = level.others
        if len(parent):
            product = _multiply(_take(below, parent), _take(factors, factor), only_real=True)
            sums = sums + jnp.asarray(level.other_weights, dtype) @ product[0]
        parent, factor = level.nodes
        if len(parent):
            nodes.append(_multiply(_take(below, parent), _take(factors, factor)))
            if np.any(level.node_weights):
                sums = sums + jnp.asarray(level.node_weights, dtype) @ nodes[-1][0]
    return sums, (factors, nodes)


def _backward(plan, factors, nodes, cotangent):
    """Return the cotangents of the variables.

    Where `N = P F`, those of P and F gain `conj(F) N'` and `conj(P) N'`.
    """
    of_factors = tuple(jnp.zeros_like(part) for part in factors)
    of_nodes: tuple = ()
    for level, below in reversed(list(zip(plan.levels, nodes, strict=False))):
        of_parents = [jnp.zeros_like(part) for part in below]
        for block in level.blocks:
            gained, gained_factors = _block_backward(block, below, factors, cotangent)
            for k, part in enumerate(gained):
                of_parents[k] = of_parents[k].at[block.first : block.last].add(part)
            of_factors = _add(of_factors, block.factors, gained_factors)
        of_others = _from_sums(level.other_weights, cotangent)
        if len(level.nodes[0]):
            of_sums = _from_sums(level.node_weights, cotangent)
            of_nodes = (of_nodes[0] + of_sums, *of_nodes[1:]) if of_nodes else (of_sums,)
        for (parent, factor), given in ((level.others, (of_others,)), (level.nodes, of_nodes)):
            if len(parent):
                of_parents = _add(of_parents, parent, _conjugate(given, _take(factors, factor)))
                of_factors = _add(of_factors, factor, _conjugate(given, _take(below, parent)))
        of_nodes = tuple(of_parents)
    if not plan.levels:
        of_nodes = tuple(jnp.zeros_like(part) for part in nodes[0])
    real = of_nodes[0] + _from_sums(plan.linear, cotangent) + of_factors[0][: len(nodes[0][0])]
    if len(nodes[0]) == 1:
        return (real,)
    n_variables = len(nodes[0][0])
    imaginary = of_nodes[1] + of_factors[1][:n_variables] - of_factors[1][n_variables:]
    return real + of_factors[0][n_variables:], imaginary


def _block(block, below, factors):
    """Yield, for each part, the nodes of a block `[p, n]`, and `sum_f c_qpf F_f`, `[q, p, n]`, of
    conjugate factors: Re(P conj F) is the dot product of the parts."""
    n_sums, n_parents, _ = block.weights.shape
    parts = 1 if block.real else len(factors)
    for nodes, factor in zip(below[:parts], factors[:parts], strict=True):
        weights = jnp.asarray(block.weights.reshape(n_sums * n_parents, -1), factor.dtype)
        summed = (weights @ factor[block.factors]).reshape(n_sums, n_parents, -1)
        yield nodes[block.first : block.last], summed


def _block_backward(block, below, factors, cotangent):
    """Return the cotangents of the nodes, and of the factors, of a block; a list of parts each."""
    n_sums, n_parents, n_factors = block.weights.shape
    weights = jnp.asarray(block.weights.reshape(-1, n_factors).T, cotangent.dtype)
    of_parents, of_factors = [], []
    for nodes, summed in _block(block, below, factors):
        of_parents.append(sum(cotangent[q] * summed[q] for q in range(n_sums)))
        given = (cotangent[:, None] * nodes).reshape(n_sums * n_parents, -1)
        of_factors.append(weights @ given)
    return of_parents, of_factors


def _from_sums(weights, cotangent):
    return jnp.asarray(weights.T, cotangent.dtype) @ cotangent


def _take(array, rows):
    return tuple(part[rows] for part in array)


def _add(array, rows, gained):
    """Add to some rows; parts that gain nothing stay."""
    changed = tuple(part.at[rows].add(more) for part, more in zip(array, gained, strict=False))
    return (*changed, *array[len(changed) :])


def _with_conjugates(variables):
    if len(variables) == 1:
        return variables
    real, imaginary = variables
    return jnp.concatenate([real, real]), jnp.concatenate([imaginary, -imaginary])


def _multiply(a, b, only_real=False):
    if len(a) == 1:
        return (a[0] * b[0],)
    real = a[0] * b[0] - a[1] * b[1]
    return (real,) if only_real else (real, a[0] * b[1] + a[1] * b[0])


def _conjugate(a, b):
    """`a conj(b)`; `a` may be real."""
    if len(b) == 1:
        return (a[0] * b[0],)
    if len(a) == 1:
        return a[0] * b[0], -a[0] * b[1]
    return a[0] * b[0] + a[1] * b[1], a[1] * b[0] - a[0] * b[1]


# planning


class _Row(NamedTuple):
    parent: Product
    factor: int
    key: Product


def _splits(products, canonical: Callable[[Product], Product]):
    """Take one factor off each product, from the longest on, down to products of two.

    Return, from the shortest on, `{product: (rest, factor)}` and the set of products that are the
    rest of a longer one.
    """
    splits: list[tuple[dict, set]] = []
    needed: set[Product] = set()
    for length in range(max(map(len, products), default=1), 1, -1):
        here = needed | {key for key in products if len(key) == length}
        split = _split(here, canonical)
        splits.append((split, needed))
        needed = {canonical(rest) for rest, _ in split.values()}
    return splits[::-1]


def _split(products, canonical):
    """Choose which factor is taken off each product, so that few different rests remain."""
    options = {
        key: [((*key[:k], *key[k + 1 :]), key[k]) for k in range(len(key))] for key in products
    }
    popular = Counter(canonical(rest) for choices in options.values() for rest, _ in choices)
    split: dict[Product, tuple[Product, Factor]] = {}
    for _ in range(2):  # the second time what the first time chose is worth most
        for key, choices in options.items():
            split[key] = max(choices, key=lambda choice: (popular[canonical(choice[0])], choice))
        popular = Counter(canonical(rest) for rest, _ in split.values())
    return split


def _groups(rows):
    """Number the sets of parents that factors connect, `{parent: number}`."""
    leader: dict = {}

    def find(item):
        while leader.setdefault(item, item) != item:
            leader[item] = item = leader[leader[item]]
        return item

    for row in rows:
        leader[find(row.factor)] = find(row.parent)
    numbers: dict = {}
    return {row.parent: numbers.setdefault(find(row.parent), len(numbers)) for row in rows}


def _blocks(leaves, groups, place, merged, n_real, n_variables):
    """Divide terms into blocks and others."""
    members = defaultdict(list)
    for row in leaves:
        members[groups.get(row.parent, -1)].append(row)
    blocks, others = [], []
    for number, rows in members.items():
        parents = [place[row.parent] for row in rows]
        first, last = min(parents), max(parents) + 1
        factors = sorted({row.factor for row in rows})
        n_sums = len(merged[rows[0].key])
        entries = n_sums * (last - first) * len(factors)
        dense = entries <= _MOST_ENTRIES_PER_TERM * len(rows)
        if number < 0 or len(rows) < _FEWEST_TERMS or not dense:
            others += rows
            continue
        weights = np.zeros((n_sums, last - first, len(factors)))
        for row, parent in zip(rows, parents, strict=True):
            weights[:, parent - first, factors.index(row.factor)] += merged[row.key]
        conjugates = [f if f < n_real else (f + n_variables) % (2 * n_variables) for f in factors]
        real = max(factors) < n_real
        blocks.append(Block(first, last, np.array(conjugates, np.int32), weights, real))
    return blocks, others


def _indices(rows, place):
    parents = np.array([place[row.parent] for row in rows], np.int32)
    return parents, np.array([row.factor for row in rows], np.int32)


def _weights(rows, merged, n_sums):
    return np.array([merged[row.key] for row in rows]).reshape(-1, n_sums).T
