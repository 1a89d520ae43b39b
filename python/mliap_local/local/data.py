"""What the energy of a local potential is a function of: model, cache, input, patch.

Declarations, and how a patch is written. Evaluates no energy.
"""

from __future__ import annotations

import dataclasses
from os import PathLike
from typing import Any, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mliap_local.core.edges import Edges, PointCloud
from mliap_local.core.lens import Lens
from mliap_local.core.patch import Accept, accepted_rows
from mliap_local.core.table import AnyArray, Index, ParticleId, SystemId, Table, WithIndices
from mliap_local.local.layout import EdgeLayout

State = TypeVar("State")
P = TypeVar("P")
S = TypeVar("S")


class NodeInitFunction(Protocol):
    """Embeddings from atomic numbers: (n_atoms,) -> (n_atoms, d)."""

    def __call__(self, atomic_numbers: Array, /) -> Array: ...


class EdgeFunction(Protocol):
    """Messages from the embeddings of receiver and sender, (n_edges, d) each, and
    `r_ij = r_j - r_i`, (n_edges, 3): -> (n_edges, m)."""

    def __call__(self, receivers: Array, senders: Array, r_ij: Array, /) -> Array: ...


class ReadoutFunction(Protocol):
    """Energies of atoms from embeddings (n_atoms, d) and message sums (n_atoms, m):
    -> (n_atoms,)."""

    def __call__(self, embeddings: Array, message_sums: Array, /) -> Array: ...


class IsLocalMLIAPParticleData(Protocol):
    """What the energy reads of particles: the leaves of their table.

    positions: shape (n, 3), unit of the model, usually Angstrom.
    atomic_numbers: integers, shape (n,).
    system: the system of each particle, shape (n,). Outside the systems: the row is empty. A table
        of fixed capacity with empty rows is how particles are inserted and deleted.
    """

    @property
    def positions(self) -> Array: ...

    @property
    def atomic_numbers(self) -> Array: ...

    @property
    def system(self) -> Index[SystemId]: ...


class IsLocalMLIAPGraphParticles(IsLocalMLIAPParticleData, Protocol):
    """Also what a neighbour list reads.

    inclusion: particles see each other only within one group, shape (n,); None: all do.
    exclusion: the nearest images of particles in one group do not see each other; None: all do.
    """

    @property
    def inclusion(self) -> Index[Any] | None: ...

    @property
    def exclusion(self) -> Index[Any] | None: ...


class HasUnitCell(Protocol):
    """What the energy reads of systems.

    unitcell: lattice vectors as rows, shape (n_systems, 3, 3); zeros: open in that direction.
    """

    @property
    def unitcell(self) -> Array: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalMLIAPCache:
    """What one settled state leaves for the next update.

    node_init: embeddings, shape (n_atoms, d); None where the edges bring them along.
    msg_sum: sums of messages, shape (n_atoms, m).
    energies: energy of each atom, shape (n_atoms,), so that an update reads out changed rows only.
    totals: energy of each system, float64, shape (n_systems,); NaN: not evaluated yet.

    `LocalMLIAPCache(node_init, msg_sum)` is enough to hold a place for a full evaluation.
    """

    node_init: Array | None
    msg_sum: Array
    energies: Array | None = None
    totals: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalMLIAPData:
    """A model with its cache.

    cutoff: distance below which edges exist, one a system, shape (n_systems,).
        A bare array is made a table.
    init_function, edge_function, readout_function: the model; static under jit.
    cache: of the last settled state.
    """

    cutoff: Table[SystemId, AnyArray]
    init_function: NodeInitFunction = dataclasses.field(metadata={"static": True})
    edge_function: EdgeFunction = dataclasses.field(metadata={"static": True})
    readout_function: ReadoutFunction = dataclasses.field(metadata={"static": True})
    cache: LocalMLIAPCache

    def __post_init__(self) -> None:
        if isinstance(self.cutoff, jax.Array | np.ndarray):
            object.__setattr__(self, "cutoff", Table(self.cutoff))

    @staticmethod
    def from_zip_file(
        zip_file: str | PathLike[str], n_atoms: int, n_systems: int = 1
    ) -> LocalMLIAPData:
        """Read a model file and allocate an empty cache.

        Args:
            zip_file: the model's zip.
            n_atoms: rows of the cache.
            n_systems: systems, all with the file's cutoff.
        Raises:
            ModelFileError: the file is not a usable model; the message says why.
        """
        from mliap_local.model_file import read_model

        model = read_model(zip_file)
        data = LocalMLIAPData(
            cutoff=Table(jnp.full((n_systems,), model.metadata.cutoff)),
            init_function=model.functions.node_init,
            edge_function=model.functions.edge,
            readout_function=model.functions.readout,
            cache=LocalMLIAPCache(None, jnp.zeros((0, 0))),
        )
        return dataclasses.replace(data, cache=empty_cache(data, n_atoms, n_systems))


def empty_cache(model: LocalMLIAPData, n_atoms: int, n_systems: int = 1) -> LocalMLIAPCache:
    """A cache of zeros with the model's widths and precision.

    Its totals are NaN, so that an update before any full evaluation cannot pass for an energy.
    """
    embedding = jax.eval_shape(model.init_function, jax.ShapeDtypeStruct((1,), jnp.int32))
    vector = jax.ShapeDtypeStruct((1, 3), embedding.dtype)
    message = jax.eval_shape(model.edge_function, embedding, embedding, vector)
    energy = jax.eval_shape(model.readout_function, embedding, message)
    return LocalMLIAPCache(
        node_init=jnp.zeros((n_atoms, embedding.shape[1]), embedding.dtype),
        msg_sum=jnp.zeros((n_atoms, message.shape[1]), message.dtype),
        energies=jnp.zeros((n_atoms,), energy.dtype),
        totals=jnp.full((n_systems,), jnp.nan, total_dtype()),
    )


def total_dtype() -> Any:
    """float64, or an error where JAX was told to do without."""
    options: Any = jax.config  # it gets its attributes at run time
    if not options.jax_enable_x64:
        raise RuntimeError(
            "mliap_local sums energies in float64, but this JAX runs without it; "
            'call jax.config.update("jax_enable_x64", True) before the first evaluation'
        )
    return jnp.float64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalMLIAPInput(Generic[State, P, S]):
    """All that one evaluation needs.

    point_cloud: particles and systems; in an update the old ones. None with an `EdgeLayout`.
    point_cloud_changes: the particles that an update changes; None: full evaluation.
    edges: full: all edges. Update: the new edges that touch a changed particle, both directions.
    edges_deleted: update: the old edges that touched one, both directions. None: full evaluation.
    config: the model.
    cache_lens: where the state keeps the cache that the patch shall write.
    """

    point_cloud: PointCloud[P, S] | None
    point_cloud_changes: WithIndices[ParticleId, P] | None
    edges: Edges | EdgeLayout
    edges_deleted: Edges | EdgeLayout | None
    config: LocalMLIAPData
    cache_lens: Lens[State, LocalMLIAPCache] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalMLIAPPatch(Generic[State]):
    """The rows that a proposed change would write; `patch(state, accept)` writes them.

    cache: new values; an update's hold changed rows only, a full evaluation's all of them.
    system_idx: system of each row, shape (n_rows,).
    lens: where the cache is kept in the state.
    rows: place in the cache of each row; None: all rows in order.

    Compiled with the state donated, an update's patch costs its rows and copies nothing else.
    """

    cache: LocalMLIAPCache
    system_idx: Index[SystemId]
    lens: Lens[State, LocalMLIAPCache] = dataclasses.field(metadata={"static": True})
    rows: Index[ParticleId] | None = None

    def __call__(self, state: State, accept: Accept) -> State:
        """Write the rows of systems that accept.

        Args:
            state: what the lens looks into.
            accept: booleans, shape (n_systems,).
        Returns:
            The new state.
        """
        old, new = self.lens(state), self.cache
        accepted = accepted_rows(accept, self.system_idx.indices)
        if self.rows is None:

            def write(old_leaf: Array, new_leaf: Array) -> Array:
                mask = accepted.reshape(accepted.shape + (1,) * (new_leaf.ndim - 1))
                return jnp.where(mask, new_leaf, old_leaf)
        else:
            rows = jnp.where(accepted, self.rows.indices, old.msg_sum.shape[0])

            def write(old_leaf: Array, new_leaf: Array) -> Array:
                return old_leaf.at[rows].set(new_leaf.astype(old_leaf.dtype), mode="drop")

        assert new.energies is not None and new.totals is not None  # only a place holder has none
        # A place holder has no energies: systems that do not accept their first ones have none.
        energies = jnp.zeros_like(new.energies) if old.energies is None else old.energies
        totals = jnp.full_like(new.totals, jnp.nan) if old.totals is None else old.totals
        node_init = None
        if new.node_init is not None:
            assert old.node_init is not None, "the state's cache has no place for embeddings"
            node_init = write(old.node_init, new.node_init)
        written = LocalMLIAPCache(
            node_init=node_init,
            msg_sum=write(old.msg_sum, new.msg_sum),
            energies=write(energies, new.energies),
            totals=jnp.where(accept.data, new.totals, totals),
        )
        return self.lens.set(state, written)
