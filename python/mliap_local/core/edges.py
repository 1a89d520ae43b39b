"""Points, the systems they live in, and the directed edges between them.

Finding edges is the work of a neighbour list, not of this file.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.table import AnyArray, Index, ParticleId, SystemId, Table

P = TypeVar("P")
S = TypeVar("S")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PointCloud(Generic[P, S]):
    """Particles and the systems that they belong to."""

    particles: Table[ParticleId, P]
    systems: Table[SystemId, S]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Edges:
    """Directed pairs: particle `indices[:, 0]` receives, `indices[:, 1]` sends.

    indices: rows of the particle table, shape (n_edges, 2); outside the table: padding.
    shifts: whole unit cells to add to the sender's position, shape (n_edges, 3).
    """

    indices: Index[ParticleId]
    shifts: AnyArray

    @property
    def size(self) -> int:
        """Number of edges, padding included."""
        return self.indices.indices.shape[0]

    @property
    def receivers(self) -> AnyArray:
        return self.indices.indices[:, 0]

    @property
    def senders(self) -> AnyArray:
        return self.indices.indices[:, 1]

    def present(self, n_particles: int) -> Array:
        """False where an edge is padding, shape (n_edges,)."""
        indices = self.indices.indices
        return jnp.all((indices >= 0) & (indices < n_particles), axis=1)

    def padded(self, size: int) -> Edges:
        """The same edges with padding behind them, `size` in all."""
        if size == self.size:
            return self
        missing = [(0, size - self.size), (0, 0)]
        indices = jnp.pad(self.indices.indices, missing, constant_values=-1)
        return Edges(Index(indices), jnp.pad(self.shifts, missing))

    def vectors(self, positions_i: Array, positions_j: Array, cells: Array) -> Array:
        """`r_ij = r_j + shift - r_i`, shape (n_edges, 3), in the unit of the positions.

        Args:
            positions_i, positions_j: of receiver and sender, shape (n_edges, 3).
            cells: unit cell of each edge's system, lattice vectors as rows, (n_edges, 3, 3).
        """
        shift = jnp.einsum("es,esx->ex", self.shifts.astype(cells.dtype), cells)
        return positions_j + shift - positions_i
