"""Sums of products: a polynomial of an atom's message sums, as few wide operations.

The readout of the atomic cluster expansion is `rho_q = sum_t c_qt Re prod_k A[t, k]`, thousands of
terms whose factors repeat. `plan` orders them once, in numpy, as levels: products of two factors
first, and each longer product as a shorter one times one factor. `evaluate` is then one gather and
one multiplication a level. Source of the idea: Y. Lysogorskiy et al., npj Comput. Mater. 7, 97
(2021), the recursive evaluator. Knows no elements, radial functions or files; no state.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

Factor = int  # variable v as v, its complex conjugate as ~v; a real variable is always v
Product = tuple[Factor, ...]


class Level(NamedTuple):
    """Products of one length: those that longer ones are made of, and those that are only summed.

    A product is a shorter one (its place among the nodes of the level before) times a factor (its
    place among the variables, and after them their conjugates).
    """

    nodes: tuple[np.ndarray, np.ndarray]  # [n], [n]
    node_weights: np.ndarray | None  # [q, n], where some node is a term itself
    leaves: tuple[np.ndarray, np.ndarray]  # [t], [t]
    leaf_weights: np.ndarray  # [q, t]


class Plan(NamedTuple):
    """What `evaluate` does. `linear`: [q, v], weights of the real parts of the variables."""

    linear: np.ndarray
    levels: tuple[Level, ...]


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

    merged: dict[Product, np.ndarray] = {}
    for product, weights in terms.items():
        key = canonical(product)
        merged[key] = merged.get(key, 0) + np.asarray(weights, float)
    linear = np.zeros((n_sums, n_variables))
    for key in [key for key in merged if len(key) == 1]:
        linear[:, key[0]] = merged.pop(key)
    longest = max(map(len, merged), default=1)
    needed: set[Product] = set()
    splits: list[tuple[dict, dict]] = []
    for length in range(longest, 1, -1):
        terms_here = {key for key in merged if len(key) == length}
        split, parents = _split(needed | terms_here, canonical)
        splits.append((split, {key: key in needed for key in split}))
        needed = parents
    # what a node's value is: the product of its key, or the conjugate of that
    stored: dict[Product, Product] = {(v,): (v,) for v in range(n_variables)}
    place = {(v,): v for v in range(n_variables)}
    levels = []
    for split, is_node in reversed(splits):
        rows = {True: [], False: []}
        for key, (rest, factor) in split.items():
            parent = canonical(rest)
            if stored[parent] != rest:
                (factor,) = conjugate((factor,))
            row = (place[parent], factor if factor >= 0 else n_variables + ~factor)
            rows[is_node[key]].append((*row, key))
            if is_node[key]:
                stored[key] = tuple(sorted((*stored[parent], factor)))
        nodes, leaves = sorted(rows[True]), sorted(rows[False])
        place = {key: number for number, (_, _, key) in enumerate(nodes)}
        weighted = any(key in merged for *_, key in nodes)
        levels.append(
            Level(
                _indices(nodes),
                _weights(nodes, merged, n_sums) if weighted else None,
                _indices(leaves),
                _weights(leaves, merged, n_sums),
            )
        )
    return Plan(linear, tuple(levels))


def evaluate(plan: Plan, real, imaginary=None):
    """Return the sums, [q, n], of variables given by their parts, [v, n] each.

    Without imaginary parts all variables are real.
    """
    dtype = real.dtype
    sums = jnp.asarray(plan.linear, dtype) @ real  # -> [q, n]
    if imaginary is None:
        factors, node = (real,), (real,)
    else:
        node = real, imaginary
        factors = jnp.concatenate([real, real]), jnp.concatenate([imaginary, -imaginary])
    for level in plan.levels:
        if len(level.leaf_weights.T):
            parent, factor = level.leaves
            products = _real_part(node, factors, parent, factor)
            sums = sums + jnp.asarray(level.leaf_weights, dtype) @ products
        parent, factor = level.nodes
        if len(parent):
            node = _product(node, factors, parent, factor)
            if level.node_weights is not None:
                sums = sums + jnp.asarray(level.node_weights, dtype) @ node[0]
    return sums


def _real_part(node, factors, parent, factor):
    products = node[0][parent] * factors[0][factor]
    if len(node) == 2:
        products = products - node[1][parent] * factors[1][factor]
    return products


def _product(node, factors, parent, factor):
    if len(node) == 1:
        return (node[0][parent] * factors[0][factor],)
    (a, b), (c, d) = (part[parent] for part in node), (part[factor] for part in factors)
    return a * c - b * d, a * d + b * c


def _split(products, canonical):
    """Choose for each product the factor that is taken off, so that few different ones remain.

    Return `{product: (rest, factor)}` and the set of the rests.
    """
    options = {
        key: [((*key[:k], *key[k + 1 :]), key[k]) for k in range(len(key))] for key in products
    }
    popular = Counter(canonical(rest) for choices in options.values() for rest, _ in choices)
    split = {}
    # twice: the second time what the first time chose is worth most
    for _ in range(2):
        for key, choices in options.items():
            split[key] = max(choices, key=lambda c: (popular[canonical(c[0])], c))
        popular = Counter(canonical(rest) for rest, _ in split.values())
    return split, {canonical(rest) for rest, _ in split.values()}


def _indices(rows):
    parents, factors = (np.array([row[k] for row in rows], np.int32) for k in (0, 1))
    return parents, factors


def _weights(rows, merged, n_sums):
    zero = np.zeros(n_sums)
    return np.array([merged.get(key, zero) for *_, key in rows]).reshape(-1, n_sums).T
