"""What families share: elements by their place in a list, an embedding of one column, and how
intermediate results are kept."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import MAX_ATOMIC_NUMBER, element_positions


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
