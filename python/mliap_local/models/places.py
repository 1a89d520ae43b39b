"""What families share: elements by their place in a list, an embedding of one column, sums
over a basis by pairs, and how intermediate results are kept."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, element_positions

# Coefficients of so many pairs of elements are multiplied and masked; more are looked up.
_MOST_PAIRS_MASKED = 9


def embedding(elements: Iterable[str]) -> Callable[..., Any]:
    """Return the node-init function of elements: `[n, 1]`, their place, -1 for all others."""
    positions = np.array(element_positions(elements))

    def node_init(numbers):
        dtype = jnp.float64 if numbers.dtype == jnp.int64 else jnp.float32
        known = (numbers >= 0) & (numbers <= MAX_ATOMIC_NUMBER)
        place = jnp.asarray(positions, dtype)[jnp.clip(numbers, 0, MAX_ATOMIC_NUMBER)]
        return jnp.where(known, place, -1)[:, None]  # -> [n, 1]

    return node_init


def place_of(h):
    """The places that an embedding says, `int32[n]`."""
    return jnp.round(h[:, 0]).astype(jnp.int32)


def combined(table, pair, basis):
    """Sums `sum_k table[i, j, q, k] basis[k]` for pairs of elements, `[q][e]`.

    Args:
      table: `[n, n, q, k]`.
      pair: `int[e]`, n times the first element's place and the second's.
      basis: `[k][e]`.
    """
    n_pairs, count = table.shape[0] ** 2, table.shape[2]
    basis = jax.lax.optimization_barrier(jnp.stack(basis))
    if n_pairs > _MOST_PAIRS_MASKED:
        c = jnp.asarray(table.reshape(n_pairs, count, -1), basis.dtype)[pair]
        return list(jnp.einsum("eqk,ke->qe", c, basis))
    # Of all pairs, and then one is taken: a matrix product is faster than a look-up.
    flat = jnp.asarray(table.reshape(n_pairs * count, -1), basis.dtype) @ basis
    rows = []
    for q in range(count):
        row = flat[q]
        for k in range(1, n_pairs):
            row = jnp.where(pair == k, flat[k * count + q], row)
        rows.append(row)
    return rows


def kept(condition, function, *arguments):
    """Return function(*arguments), or zeros where the condition does not hold.

    What a branch returns is in memory, once: XLA fuses all else, and computes what is used by many
    again in each use.
    """

    def zeros(*arguments):
        return jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, *arguments)
        )

    return jax.lax.cond(condition, function, zeros, *arguments)
