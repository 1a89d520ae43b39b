"""Edges as LAMMPS hands them over: rows of neighbours, or the rows that a change touches.

Both are layouts of `mliap_local.local.EdgeLayout`: they bring species and vectors, so that no
position, tag or ghost atom gets here. Pure functions; padding is another file's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mliap_local.core import padding
from mliap_local.core.table import AnyArray
from mliap_local.local import AtomTerms, LocalMLIAPData, RowBlocks, RowChange


class Block(NamedTuple):
    """Edges are flat: to find the row of each would cost a division."""

    species: Array  # [b], -1: no atom
    neighbour_species: Array  # [b * w]
    present: Array  # [b * w], is it an edge?
    r_ij: Array  # [3, b * w], on the cutoff's sphere where it is none


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighbourRows:
    """Every atom with its neighbours side by side, so that messages sum along an axis.

    On a CPU that is faster than pairs with a scatter, and rows are evaluated in blocks whose
    intermediates stay in the processor's cache (`benchmarks/layouts.py`). Blocks without an atom
    are not evaluated: capacity costs memory, not time.

    numbers: atomic number of each species; static.
    n_rows: rows in use, scalar.
    species: shape (capacity,), -1 where a row holds no atom.
    neighbour_species: shape (capacity, width), -1 where there is no neighbour.
    r_ij: shape (3, capacity, width).
    block: rows evaluated at once; divides the capacity.
    edges_last: the model computes with edges as the last axis: their gradient is a fifth to a third
        faster if it is asked for in that layout; energies alone are not.
    """

    numbers: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    n_rows: Array | np.int32
    species: AnyArray
    neighbour_species: AnyArray
    r_ij: AnyArray
    block: int = dataclasses.field(metadata={"static": True})
    edges_last: bool = dataclasses.field(default=False, metadata={"static": True})

    def terms(self, config: LocalMLIAPData) -> AtomTerms:
        """Message sums and energies of all rows."""
        table = config.init_function(jnp.array(self.numbers))

        def one(block: Block) -> tuple[Array, Array]:
            h_i = embedded(table, block.species)  # -> [b, d]
            sums = _message_sums(config, table, block, h_i, block.r_ij, False)
            return sums, block_energies(config, block.species, h_i, sums)

        return self._terms(*self._evaluate(config, one))

    def terms_and_gradient(self, config: LocalMLIAPData) -> tuple[AtomTerms, Array]:
        """The same, with dE/dr_ij, shape (3, capacity, width), zero where there is no neighbour.

        The gradient is taken inside each block: its memory is a block's, not the system's.
        """
        table = config.init_function(jnp.array(self.numbers))

        def one(block: Block) -> tuple[Array, Array, Array]:
            h_i = embedded(table, block.species)  # -> [b, d]
            sums, of_edges = jax.vjp(
                lambda r: _message_sums(config, table, block, h_i, r, self.edges_last), block.r_ij
            )

            def read(sums: Array) -> tuple[Array, Array]:
                energies, of_sums = jax.vjp(
                    lambda s: block_energies(config, block.species, h_i, s), sums
                )
                return energies, of_sums(jnp.ones_like(energies))[0]

            # else the readout's gradient is computed for each edge
            energies, of_sums = kept(block.species, read, sums)
            return sums, energies, jnp.where(block.present, of_edges(of_sums)[0], 0)

        sums, energies, gradient = self._evaluate(config, one)
        return self._terms(sums, energies), gradient.reshape(self.r_ij.shape)

    def change(self, config: LocalMLIAPData) -> RowChange:
        raise AssertionError("rows of all atoms are a full evaluation, not a change")

    def _evaluate(
        self, config: LocalMLIAPData, function: Callable[[Block], tuple[Array, ...]]
    ) -> tuple[Array, ...]:
        """Apply a function to each block in use and put its results together: sums and energies of
        rows, and the gradient of edges if there is one."""
        shapes, axes = jax.eval_shape(lambda: function(self.block_at(config, 0))), (0, 0, 1)
        most = len(self.species) // self.block
        results = tuple(
            jnp.zeros([n * most if k == axis else n for k, n in enumerate(s.shape)], s.dtype)
            for s, axis in zip(shapes, axes, strict=False)
        )

        def evaluate_block(k: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(result, part, k * part.shape[axis], axis)
                for result, part, axis in zip(
                    results, function(self.block_at(config, k)), axes, strict=False
                )
            )

        return jax.lax.fori_loop(0, self.n_blocks, evaluate_block, results)

    @property
    def n_blocks(self) -> Array | np.integer:
        """Blocks in use."""
        return (self.n_rows + self.block - 1) // self.block

    def block_at(self, config: LocalMLIAPData, k: Array | int) -> Block:
        """A block's atoms and edges."""
        n = self.block * self.neighbour_species.shape[1]
        edges = jnp.ravel(self.neighbour_species), jnp.reshape(self.r_ij, (3, -1))
        species = jax.lax.dynamic_slice_in_dim(
            jnp.asarray(self.species), k * self.block, self.block
        )

        def edges_at(k: Array | int, kinds: Array, r_ij: Array) -> tuple[Array, Array]:
            slice_in = jax.lax.dynamic_slice_in_dim
            return slice_in(kinds, k * n, n), slice_in(r_ij, k * n, n, axis=1)

        shown = kept(species, lambda k, *edges: _shown(config, *edges_at(k, *edges)), k, *edges)
        return Block(species, edges_at(k, *edges)[0], *shown)

    def _terms(self, sums: Array, energies: Array) -> AtomTerms:
        return AtomTerms(None, sums, energies, jnp.where(self.species >= 0, 0, 1), 1)


def kept(species: Array, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a branch that is always taken, for a block in use has an atom: what it
    returns is in memory, once. All else XLA fuses on a CPU, and computes it again in each use."""

    def zeros(*arguments: Any) -> Any:
        shapes = jax.eval_shape(function, *arguments)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def branch(*arguments: Any) -> Any:
        return jax.lax.cond(jnp.any(species >= 0), function, zeros, *arguments)

    return jax.lax.platform_dependent(*arguments, cpu=branch, default=function)


def embedded(table: Array, species: Array) -> Array:
    """Embeddings of species, (n, d); anything for -1. Of one species XLA knows them beforehand."""
    if len(table) == 1:
        return jnp.broadcast_to(table, (len(species), table.shape[1]))
    return table[jnp.maximum(species, 0).astype(jnp.int32)]


def _shown(config: LocalMLIAPData, neighbour_species: Array, r_ij: Array) -> tuple[Array, Array]:
    """Which edges there are, and the vectors that the model is shown: [e], [3, e]."""
    cutoff = jnp.asarray(config.cutoff.data[0], r_ij.dtype)
    x, y, z = r_ij
    present = (neighbour_species >= 0) & (x * x + y * y + z * z < cutoff * cutoff)
    on_sphere = jnp.zeros((3, 1), r_ij.dtype).at[0].set(cutoff)
    return present, jnp.where(present, r_ij, on_sphere)


def _message_sums(
    config: LocalMLIAPData,
    table: Array,
    block: Block,
    h_i: Array,
    r_ij: Array,
    edges_last: bool,
) -> Array:
    """Message sums of one block, (b, m)."""
    m_ij = block_messages(config, table, block, h_i, r_ij, edges_last)
    if edges_last:
        return m_ij.reshape(-1, len(h_i), len(block.present) // len(h_i)).sum(axis=2).T
    return m_ij.reshape(len(h_i), len(block.present) // len(h_i), -1).sum(axis=1)


def block_messages(
    config: LocalMLIAPData,
    table: Array,
    block: Block,
    h_i: Array,
    r_ij: Array,
    edges_last: bool,
) -> Array:
    """Messages of one block's edges, zero where there is none: (m, e) or (e, m).

    As `mliap_local.local.messages` does it, but components lie apart, so that the processor's
    vectors lie along edges.
    """
    n_rows, n_edges = len(h_i), len(block.present)
    h_j = embedded(table, block.neighbour_species)  # -> [e, d]
    h_i = jnp.broadcast_to(h_i[:, None], (n_rows, n_edges // n_rows, h_i.shape[1]))
    m_ij = config.edge_function(h_i.reshape(h_j.shape), h_j, r_ij.T)
    if edges_last:  # undoes the model's transposition
        return jnp.where(block.present, m_ij.T, 0)
    return jnp.where(block.present[:, None], m_ij, 0)


def block_energies(config: LocalMLIAPData, species: Array, h_i: Array, sums: Array) -> Array:
    """Energies of a block's atoms, (b,)."""
    return jnp.where(species >= 0, config.readout_function(h_i, sums), 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ChangedRows:
    """The rows that one change touches, packed into one array: each more would cost 10 us a call.

    numbers: atomic number of each species; static.
    packed: float64 of length `length(capacity)`: four counts, two values for each row, five for
        each edge, and zeros, as bridge.h has it. Integers are exact up to 2^53.
    capacity: rows and edges that fit.
    """

    COUNTS: ClassVar[int] = 4  # rows, changed rows, new edges, deleted edges

    numbers: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    packed: AnyArray
    capacity: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @staticmethod
    def length(capacity: tuple[int, int]) -> int:
        """Values that are read: those of so many rows and edges."""
        return ChangedRows.COUNTS + 2 * capacity[0] + 5 * capacity[1]

    def terms(self, config: LocalMLIAPData) -> AtomTerms:
        raise AssertionError("the rows of a change are not all atoms")

    def change(self, config: LocalMLIAPData) -> RowChange:
        """Unpack."""
        max_rows, max_edges = self.capacity
        packed = cast(Array, self.packed)  # the host only packs: here it is traced
        n_rows, n_changed, n_edges, n_deleted = packed[: self.COUNTS].astype(jnp.int32)
        rows = packed[self.COUNTS : self.COUNTS + 2 * max_rows].reshape(max_rows, 2)
        edges = jax.lax.dynamic_slice_in_dim(packed, self.COUNTS + 2 * n_rows, 5 * max_edges)
        edges = edges.reshape(max_edges, 5)
        place, edge = jnp.arange(max_rows), jnp.arange(max_edges)
        used, real = place < n_rows, edge < n_edges + n_deleted
        row, species = rows.astype(jnp.int32).T
        block = padding.read_rows(config.cache.msg_sum.shape[1])
        receivers, senders = edges[:, :2].astype(jnp.int32).T
        table = config.init_function(jnp.array(self.numbers))
        return RowChange(
            rows=jnp.where(used, row, config.cache.msg_sum.shape[0]),
            embeddings=table[jnp.maximum(species, 0)],
            occupied=used & (species >= 0),
            fresh=place < n_changed,
            system=jnp.where(used, 0, 1),
            receivers=receivers,
            senders=table[jnp.maximum(senders, 0)],
            r_ij=edges[:, 2:].astype(config.cache.msg_sum.dtype),
            weights=jnp.where(edge < n_edges, 1, jnp.where(real, -1, 0)),
            blocks=RowBlocks(n_rows, block) if block else None,
        )
