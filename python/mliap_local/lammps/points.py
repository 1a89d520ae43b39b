"""Rows of neighbours for a device that finds r_ij for itself, and says what forces points feel.

Points are atoms and their images, with positions in float64. What travels of an edge is the place
of its far end: with r_ij and its gradient six to twelve times as much would. Pure functions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.table import AnyArray
from mliap_local.lammps.rows import NeighbourRows
from mliap_local.local import AtomTerms, LocalMLIAPData


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PointRows:
    """Atoms with their neighbours, as places among points of which the last are none.

    numbers, n_rows, block, edges_last: as in `NeighbourRows`.
    point: int32, shape (capacity,), of each row.
    neighbour: int32, shape (capacity, width).
    """

    numbers: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    n_rows: Any
    point: AnyArray
    neighbour: AnyArray
    block: int = dataclasses.field(metadata={"static": True})
    edges_last: bool = dataclasses.field(default=False, metadata={"static": True})

    def terms_and_forces(
        self, config: LocalMLIAPData, x: Array, species: Array, forces: Array, real: Any
    ) -> tuple[AtomTerms, Array]:
        """Message sums and energies of all rows, and the forces with what these edges add.

        Args:
            x: shape (points, 3), float64.
            species: shape (points,), -1 where a point is none or contributes nothing.
            forces: shape (points, 3), float64.
            real: the model's numbers.
        """
        point, neighbour = jnp.asarray(self.point), jnp.asarray(self.neighbour)
        r_ij = (x[neighbour] - x[point][:, None]).astype(real)  # -> [capacity, width, 3]
        rows = NeighbourRows(
            self.numbers,
            self.n_rows,
            species[point],
            species[neighbour],
            jnp.moveaxis(r_ij, 2, 0),
            block=self.block,
            edges_last=self.edges_last,
        )
        terms, gradient = rows.terms_and_gradient(config)
        gradient = jnp.moveaxis(gradient, 0, 2).astype(forces.dtype)  # -> [capacity, width, 3]
        forces = forces.at[point].add(gradient.sum(axis=1))
        return terms, forces.at[neighbour].add(-gradient)
