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

from mliap_local.core.table import AnyArray
from mliap_local.local import AtomTerms, LocalMLIAPData, RowChange


class _Block(NamedTuple):
    species: Array  # [b], -1: no atom
    neighbour_species: Array  # [b, w], -1: no neighbour
    r_ij: Array  # [3, b, w]


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
        sums, energies = self._evaluate(lambda block: _block_terms(config, table, block, False))
        return self._terms(sums, energies)

    def terms_and_gradient(self, config: LocalMLIAPData) -> tuple[AtomTerms, Array]:
        """The same, with dE/dr_ij, shape (3, capacity, width), zero where there is no neighbour.

        The gradient is taken inside each block: its memory is a block's, not the system's.
        """
        table = config.init_function(jnp.array(self.numbers))

        def energy(r_ij: Array, block: _Block) -> tuple[Array, tuple[Array, Array]]:
            block = block._replace(r_ij=r_ij)
            sums, energies = _block_terms(config, table, block, self.edges_last)
            return jnp.sum(energies), (sums, energies)

        def one(block: _Block) -> tuple[Array, Array, Array]:
            gradient, (sums, energies) = jax.grad(energy, has_aux=True)(block.r_ij, block)
            return sums, energies, gradient

        sums, energies, gradient = self._evaluate(one)
        return self._terms(sums, energies), gradient

    def change(self, config: LocalMLIAPData) -> RowChange:
        raise AssertionError("rows of all atoms are a full evaluation, not a change")

    def _evaluate(self, function: Callable[[_Block], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Apply a function to each block in use and put its results together."""
        arrays = (self.species, self.neighbour_species, self.r_ij)

        def axis(array: Any) -> int:
            return 1 if array.ndim == 3 else 0  # the axis of rows: only vectors have three

        def block_at(start: Array | int) -> _Block:
            return _Block(
                *(jax.lax.dynamic_slice_in_dim(a, start, self.block, axis(a)) for a in arrays)
            )

        shapes = jax.eval_shape(lambda: function(block_at(0)))
        capacity = self.species.shape[0]
        results = tuple(
            jnp.zeros([capacity if k == axis(s) else n for k, n in enumerate(s.shape)], s.dtype)
            for s in shapes
        )

        def evaluate_block(k: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
            parts = function(block_at(k * self.block))
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(result, part, k * self.block, axis(result))
                for result, part in zip(results, parts, strict=True)
            )

        n_blocks = (self.n_rows + self.block - 1) // self.block
        return jax.lax.fori_loop(0, n_blocks, evaluate_block, results)

    def _terms(self, sums: Array, energies: Array) -> AtomTerms:
        return AtomTerms(None, sums, energies, jnp.where(self.species >= 0, 0, 1), 1)


def _block_terms(
    config: LocalMLIAPData, table: Array, block: _Block, edges_last: bool
) -> tuple[Array, Array]:
    """Message sums (b, m) and energies (b,) of one block.

    As `mliap_local.local.messages` does it, but components lie apart, so that the processor's
    vectors lie along edges.
    """
    rows, width = block.neighbour_species.shape
    h_i = table[jnp.maximum(block.species, 0)]  # -> [b, d]
    h_j = table[jnp.maximum(block.neighbour_species, 0).astype(jnp.int32)]  # -> [b, w, d]
    cutoff = jnp.asarray(config.cutoff.data[0], block.r_ij.dtype)
    x, y, z = block.r_ij.reshape(3, rows * width)
    present = ((block.neighbour_species >= 0) & (block.species >= 0)[:, None]).reshape(-1)
    present &= x * x + y * y + z * z < cutoff * cutoff
    # what is padding is shown a vector on the cutoff's sphere
    r_ij = jnp.stack([jnp.where(present, a, b) for a, b in ((x, cutoff), (y, 0), (z, 0))])
    # in memory once: what is fused is computed again in each use
    r_ij = jax.lax.optimization_barrier(r_ij)
    m_ij = config.edge_function(
        jnp.broadcast_to(h_i[:, None], h_j.shape).reshape(rows * width, -1),
        h_j.reshape(rows * width, -1),
        r_ij.T,
    )
    if edges_last:  # undoes the model's transposition
        sums = jnp.where(present, m_ij.T, 0).reshape(-1, rows, width).sum(axis=2).T
    else:
        sums = jnp.where(present[:, None], m_ij, 0).reshape(rows, width, -1).sum(axis=1)
    energies = jnp.where(block.species >= 0, config.readout_function(h_i, sums), 0)
    return sums, energies


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
        )
