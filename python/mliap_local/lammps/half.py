"""Forces with each pair of atoms once, for models whose messages have a parity.

Where m(h, h, -r) = P m(h, h, r), P a diagonal of signs, the message between two atoms of one
species is that of both ends. Message sums need all pairs before the first readout, and the gradient
needs all readouts: three passes, of which the first and the last see half of the edges,

    M_i += m(r_ij),  M_j += P m(r_ij);    g_i = d readout(h_i, M_i) / d M_i;
    dE/dr_ij = d m(r_ij)/d r_ij . (g_i + P g_j).

Edges between unlike atoms, and to atoms of other processes, stand for themselves. Pure functions.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.table import AnyArray
from mliap_local.lammps.rows import NeighbourRows, block_energies, block_messages, embedded, kept
from mliap_local.local import AtomTerms, LocalMLIAPData

READ_ROWS = 64
"""Atoms that are read out at once."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HalfRows:
    """Rows of neighbours, and the other end of each edge that stands for two.

    rows: see `NeighbourRows`.
    other: int32, shape (capacity, width), place among the others; beyond them: no other end.
    """

    rows: NeighbourRows
    other: AnyArray

    def message_sums(
        self, config: LocalMLIAPData, parity: Array, n_others: int
    ) -> tuple[Array, Array]:
        """What these edges say to their receivers, (capacity, m), and to the others, (n_others, m);
        the others' last row is anything.

        Args:
            parity: shape (m,), 1 or -1.
            n_others: static; more than there are.
        """
        rows, table = self.rows, config.init_function(jnp.array(self.rows.numbers))

        def add(k: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
            own, others = sums
            block = rows.block_at(config, k)
            h_i = embedded(table, block.species)

            m_ij = block_messages(config, table, block, h_i, block.r_ij, rows.edges_last)
            m_ij = m_ij.T if rows.edges_last else m_ij  # -> [e, m]
            others = others.at[self._other(k)].add(m_ij * parity, mode="promise_in_bounds")
            m_ij = m_ij.reshape(rows.block, -1, len(parity)).sum(axis=1)
            return jax.lax.dynamic_update_slice_in_dim(own, m_ij, k * rows.block, 0), others

        own = jnp.zeros((len(rows.species), len(parity)), parity.dtype)
        others = jnp.zeros((n_others, len(parity)), parity.dtype)
        return jax.lax.fori_loop(0, rows.n_blocks, add, (own, others))

    def gradient(self, config: LocalMLIAPData, parity: Array, own: Array, others: Array) -> Array:
        """dE/dr_ij, shape (3, capacity, width), zero where there is no neighbour.

        Args:
            own: dE/dM of the rows' atoms, shape (capacity, m).
            others: of the others, shape (n_others, m), zero beyond them.
        """
        rows, table = self.rows, config.init_function(jnp.array(self.rows.numbers))

        def part(k: Array, gradient: Array) -> Array:
            block = rows.block_at(config, k)
            h_i = embedded(table, block.species)

            def of_both(k: Array, own: Array, others: Array) -> Array:
                here = jax.lax.dynamic_slice_in_dim(own, k * rows.block, rows.block)
                here = jnp.repeat(here, self.other.shape[1], axis=0)  # -> [e, m]
                both = here + parity * others.at[self._other(k)].get(mode="promise_in_bounds")
                return both.T if rows.edges_last else both

            both = kept(block.species, of_both, k, own, others)
            of_edges = jax.vjp(
                lambda r: block_messages(config, table, block, h_i, r, rows.edges_last), block.r_ij
            )[1](both)[0]
            of_edges = jnp.where(block.present, of_edges, 0)
            return jax.lax.dynamic_update_slice_in_dim(gradient, of_edges, k * of_edges.shape[1], 1)

        gradient = jnp.zeros((3, self.other.size), own.dtype)
        return jax.lax.fori_loop(0, rows.n_blocks, part, gradient).reshape(rows.r_ij.shape)

    def _other(self, k: Array) -> Array:
        n = self.rows.block * self.other.shape[1]
        return jax.lax.dynamic_slice_in_dim(jnp.ravel(self.other), k * n, n)


def read_out(
    config: LocalMLIAPData,
    numbers: tuple[int, ...],
    n_rows: Array,
    species: Array,
    sums: Array,
) -> tuple[AtomTerms, Array]:
    """Energies of atoms, and dE/dM, shape (capacity, m).

    Args:
        n_rows: in use, scalar.
        species: shape (capacity,), -1 where a row holds no atom; a multiple of `READ_ROWS`.
        sums: of messages, shape (capacity, m).
    """
    table, block = config.init_function(jnp.array(numbers)), min(READ_ROWS, len(species))

    def read(k: Array, results: tuple[Array, Array]) -> tuple[Array, Array]:
        kinds, here = (jax.lax.dynamic_slice_in_dim(a, k * block, block) for a in (species, sums))
        h_i = embedded(table, kinds)
        energies, of_sums = jax.vjp(lambda s: block_energies(config, kinds, h_i, s), here)
        update = jax.lax.dynamic_update_slice_in_dim
        slopes = of_sums(jnp.ones_like(energies))[0]
        return update(results[0], energies, k * block, 0), update(results[1], slopes, k * block, 0)

    nothing = jnp.zeros(len(species), sums.dtype), jnp.zeros_like(sums)
    energies, slopes = jax.lax.fori_loop(0, (n_rows + block - 1) // block, read, nothing)
    return AtomTerms(None, sums, energies, jnp.where(species >= 0, 0, 1), 1), slopes
