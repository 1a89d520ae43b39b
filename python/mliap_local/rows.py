"""Edges as LAMMPS hands them over: rows of neighbours, or the rows that a change touches.

Both are layouts of `mliap_local.local.EdgeLayout`: they bring species and vectors, so that no
position, tag or ghost atom gets here. Pure functions; padding is another file's.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.local import AtomTerms, LocalMLIAPData, RowChange, messages


class _Block(NamedTuple):
    species: Array  # [b], -1: no atom
    neighbour_species: Array  # [b, w], -1: no neighbour
    r_ij: Array  # [b, w, 3]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighbourRows:
    """Every atom with its neighbours side by side, so that messages sum along an axis.

    On a CPU that is twice as fast as pairs with a scatter, and rows are evaluated in blocks whose
    intermediates stay in the processor's cache (`benchmarks/layouts.py`).

    numbers: atomic number of each species, shape (n_species,).
    species: shape (n_rows,), -1 where a row holds no atom.
    neighbour_species: shape (n_rows, width), -1 where there is no neighbour.
    r_ij: shape (n_rows, width, 3).
    block: rows evaluated at once; divides n_rows.
    """

    numbers: Array
    species: Array
    neighbour_species: Array
    r_ij: Array
    block: int = dataclasses.field(metadata={"static": True})

    def _blocks(self) -> _Block:
        def split(array: Array) -> Array:
            return array.reshape((-1, self.block) + array.shape[1:])

        return _Block(split(self.species), split(self.neighbour_species), split(self.r_ij))

    def terms(self, config: LocalMLIAPData) -> AtomTerms:
        """Message sums and energies of all rows."""
        table = config.init_function(self.numbers)
        sums, energies = jax.lax.map(lambda b: _block_terms(config, table, b), self._blocks())
        return self._joined(sums, energies)

    def terms_and_gradient(self, config: LocalMLIAPData) -> tuple[AtomTerms, Array]:
        """The same, with dE/dr_ij, shape (n_rows, width, 3), zero where there is no neighbour.

        The gradient is taken inside each block: its memory is a block's, not the system's.
        """
        table = config.init_function(self.numbers)

        def energy(r_ij: Array, block: _Block) -> tuple[Array, tuple[Array, Array]]:
            sums, energies = _block_terms(config, table, block._replace(r_ij=r_ij))
            return jnp.sum(energies), (sums, energies)

        def one(block: _Block) -> tuple[Array, Array, Array]:
            gradient, (sums, energies) = jax.grad(energy, has_aux=True)(block.r_ij, block)
            return sums, energies, gradient

        sums, energies, gradient = jax.lax.map(one, self._blocks())
        return self._joined(sums, energies), gradient.reshape(self.r_ij.shape)

    def change(self, config: LocalMLIAPData) -> RowChange:
        raise AssertionError("rows of all atoms are a full evaluation, not a change")

    def _joined(self, sums: Array, energies: Array) -> AtomTerms:
        system = jnp.where(self.species >= 0, 0, 1)
        return AtomTerms(None, sums.reshape(-1, sums.shape[-1]), energies.reshape(-1), system, 1)


def _block_terms(config: LocalMLIAPData, table: Array, block: _Block) -> tuple[Array, Array]:
    """Message sums (b, m) and energies (b,) of one block."""
    rows, width = block.neighbour_species.shape
    h_i = table[jnp.maximum(block.species, 0)]  # -> [b, d]
    h_j = table[jnp.maximum(block.neighbour_species, 0)]  # -> [b, w, d]
    present = (block.neighbour_species >= 0) & (block.species >= 0)[:, None]
    m_ij = messages(
        config,
        jnp.broadcast_to(h_i[:, None], h_j.shape).reshape(rows * width, -1),
        h_j.reshape(rows * width, -1),
        block.r_ij.reshape(rows * width, 3),
        present.reshape(rows * width),
        config.cutoff.data[0],
    )
    sums = m_ij.reshape(rows, width, -1).sum(axis=1)  # -> [b, m]
    energies = jnp.where(block.species >= 0, config.readout_function(h_i, sums), 0)
    return sums, energies


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ChangedRows:
    """The rows that one change touches, packed into two arrays: each more would cost 10 us a call.

    numbers: atomic number of each species, shape (n_species,).
    integers: the counts (rows, changed rows, edges, deleted edges); then for each row its place
        in the cache and its species (-1: emptied); for each edge the place of its receiver among
        the rows and the species of its sender. Deleted edges follow the new ones.
    r_ij: shape (n_edges, 3).
    capacity: rows and edges that fit.
    """

    numbers: Array
    integers: Array
    r_ij: Array
    capacity: tuple[int, int] = dataclasses.field(metadata={"static": True})

    HEADER = 4

    def terms(self, config: LocalMLIAPData) -> AtomTerms:
        raise AssertionError("the rows of a change are not all atoms")

    def change(self, config: LocalMLIAPData) -> RowChange:
        """Unpack."""
        rows, edges = self.capacity
        n_rows, n_changed, n_edges, n_deleted = self.integers[: self.HEADER]
        row, species, receivers, senders = jnp.split(
            self.integers[self.HEADER :], [rows, 2 * rows, 2 * rows + edges]
        )
        place, edge = jnp.arange(rows), jnp.arange(edges)
        used = place < n_rows
        table = config.init_function(self.numbers)
        weights = jnp.where(edge < n_edges, 1, jnp.where(edge < n_edges + n_deleted, -1, 0))
        return RowChange(
            rows=jnp.where(used, row, config.cache.msg_sum.shape[0]),
            embeddings=table[jnp.maximum(species, 0)],
            occupied=used & (species >= 0),
            fresh=place < n_changed,
            system=jnp.where(used, 0, 1),
            receivers=receivers,
            senders=table[jnp.maximum(senders, 0)],
            r_ij=self.r_ij,
            weights=weights,
        )
