"""What an energy needs of edges, whichever way they are laid out.

Pairs of particles (`mliap_local.local.pairs`) and rows of neighbours (`mliap_local.rows`) become
`AtomTerms` or a `RowChange`; the energy knows nothing else of them. No energy is summed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

if TYPE_CHECKING:
    from mliap_local.local.data import LocalMLIAPData


class EdgeLayout(Protocol):
    """Edges in an order of their own that bring along all that the energy needs of them.

    `Edges`, pairs of particles, are resolved by this package; the rows that LAMMPS hands over are
    such a layout.
    """

    def terms(self, config: LocalMLIAPData) -> AtomTerms: ...

    def change(self, config: LocalMLIAPData) -> RowChange: ...


class AtomTerms(NamedTuple):
    """All atoms' terms. embeddings (n, d) or None, message_sums (n, m), energies (n,),
    system (n,): system of each atom, n_systems where a row holds no atom; n_systems."""

    embeddings: Array | None
    message_sums: Array
    energies: Array
    system: Array
    n_systems: int


class RowChange(NamedTuple):
    """What an update needs to know of the rows that it may change, and of the edges there.

    Shapes: (n_rows,) or (n_rows, d) for rows, (n_edges,) or (n_edges, .) for edges.
    """

    rows: Array  # place in the cache; outside it: padding
    embeddings: Array  # in the new state
    occupied: Array  # does the row hold an atom in the new state
    fresh: Array  # changed itself: its message sum starts from nothing
    system: Array  # system that gains or loses the row's energy
    receivers: Array  # place in `rows` of each edge's receiver
    senders: Array  # embedding of each edge's sender
    r_ij: Array
    weights: Array  # +1 new edge, -1 deleted edge, 0 padding
    previous_system: Array | None = None  # system that had the row's energy; None: `system`
    blocks: RowBlocks | None = None  # how energies are read out; None: of all rows at once


class RowBlocks(NamedTuple):
    """Rows that are read out together: where a readout is dear, padding would cost as much."""

    n_used: Array  # scalar; behind these rows is padding
    block: int  # rows; divides their number


def row_energies(config: LocalMLIAPData, change: RowChange, sums: Array) -> Array:
    """Energies of the rows of a change, shape (n_rows,); for padding any number, or none.

    Args:
        sums: message sums, shape (n_rows, m).
    """
    if change.blocks is None:
        return config.readout_function(change.embeddings, sums)
    n_used, block = change.blocks

    def in_blocks(h: Array, sums: Array) -> Array:
        def read(k: Array, energies: Array) -> Array:
            rows = (jax.lax.dynamic_slice_in_dim(a, k * block, block) for a in (h, sums))
            found = config.readout_function(*rows)
            return jax.lax.dynamic_update_slice_in_dim(energies, found, k * block, 0)

        shape = jax.eval_shape(config.readout_function, h, sums)
        nothing = jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.fori_loop(0, (n_used + block - 1) // block, read, nothing)

    # other devices are faster with all at once
    return jax.lax.platform_dependent(
        change.embeddings, sums, cpu=in_blocks, default=config.readout_function
    )


def messages(
    config: LocalMLIAPData, h_i: Array, h_j: Array, r_ij: Array, present: Array, cutoff: Array
) -> Array:
    """Messages of edges, zero where an edge is padding or longer than the cutoff.

    Padding goes through the model too: it is shown a vector on the cutoff's sphere, where every
    model is defined, so that neither its value nor its gradient can spoil a sum.

    Args:
        h_i, h_j: embeddings of receiver and sender, shape (n_edges, d).
        r_ij: shape (n_edges, 3).
        present: False for padding, shape (n_edges,).
        cutoff: of each edge's system, scalar or shape (n_edges,).
    Returns:
        Shape (n_edges, m).
    """
    cutoff = jnp.broadcast_to(jnp.asarray(cutoff, r_ij.dtype), present.shape)
    present = present & (jnp.sum(r_ij * r_ij, axis=-1) < cutoff * cutoff)
    on_sphere = cutoff[:, None] * jnp.array([1.0, 0.0, 0.0], r_ij.dtype)
    m_ij = config.edge_function(h_i, h_j, jnp.where(present[:, None], r_ij, on_sphere))
    return jnp.where(present[:, None], m_ij, 0)
