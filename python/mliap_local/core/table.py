"""Arrays that know what their rows are: particles or systems.

A `Table` is a pytree whose leaves share their first dimension; an `Index` names rows of a
table. A place outside the table means "nowhere": it is how padding is written.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Key = TypeVar("Key")
Data = TypeVar("Data", covariant=True)

AnyArray = Array | np.ndarray
"""Of the host where a caller brings it, of JAX where a kernel made it; kernels take both."""


class ParticleId:
    """Key of tables and indices whose rows are particles."""


class SystemId:
    """Key of tables and indices whose rows are independent systems."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Index(Generic[Key]):
    """Rows of a `Table[Key, ...]`; `indices` is an integer array of any shape."""

    indices: AnyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Table(Generic[Key, Data]):
    """Rows of data: every leaf of `data` has the same first dimension."""

    data: Data

    @property
    def size(self) -> int:
        """Number of rows."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def __getitem__(self, index: Index[Key]) -> Data:
        """The named rows; a place outside the table gives its last row (mask it)."""

        def take(leaf: AnyArray) -> Array:
            return jnp.asarray(leaf).at[jnp.asarray(index.indices)].get(mode="clip")

        return jax.tree.map(take, self.data)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithIndices(Generic[Key, Data]):
    """Data for some rows of a table. A place outside the table is padding: it is not used."""

    indices: Index[Key]
    data: Data
