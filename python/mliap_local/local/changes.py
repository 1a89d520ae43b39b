"""The commonest proposal: some particles become others. A patch, and the probe that reads it.

A table of fixed capacity with empty rows serves moves, type changes, insertions (an empty row gets
a system) and deletions (a row loses its system) alike. Any other patch with a probe will do as
well. Evaluates nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.lens import Lens, View
from mliap_local.core.neighbours import NearestNeighborList
from mliap_local.core.patch import Accept, Probe, accepted_rows
from mliap_local.core.table import ParticleId, Table, WithIndices

State = TypeVar("State")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ParticlePatch(Generic[State]):
    """Replaces rows of the particle table.

    changes: rows, each at most once, and what they become; a row outside the table is padding.
    lens: where the state keeps the table.
    """

    changes: WithIndices[ParticleId, Any]
    lens: Lens[State, Table[ParticleId, Any]] = dataclasses.field(metadata={"static": True})

    def __call__(self, state: State, accept: Accept) -> State:
        """Write the rows of systems that accept.

        The system of a row is the one that it becomes part of, or that it leaves for none.
        """
        table, rows, new = self.lens(state), self.changes.indices.indices, self.changes.data
        before, after = table[self.changes.indices].system.indices, new.system.indices
        gained = (after >= 0) & (after < accept.size)
        accepted = accepted_rows(accept, jnp.where(gained, after, before)) & (rows >= 0)
        places = jnp.where(accepted, rows, table.size)

        def write(old_leaf: Array, new_leaf: Array) -> Array:
            old_leaf, new_leaf = jnp.asarray(old_leaf), jnp.asarray(new_leaf)
            return old_leaf.at[places].set(new_leaf.astype(old_leaf.dtype), mode="drop")

        return self.lens.set(state, Table(jax.tree.map(write, table.data, new)))


class ParticleProbe(NamedTuple):
    """What `particle_probe` says of a `ParticlePatch`; see `IsRadiusGraphProbe`."""

    particles: WithIndices[ParticleId, Any]
    neighborlist_after: NearestNeighborList
    neighborlist_before: NearestNeighborList


def particle_probe(neighborlist: View[State, NearestNeighborList]) -> Probe:
    """A probe of `ParticlePatch`es, for states that keep their neighbour list there."""

    def probe(state: State, patch: ParticlePatch[State]) -> ParticleProbe:
        return ParticleProbe(patch.changes, neighborlist(state), neighborlist(state))

    return probe
