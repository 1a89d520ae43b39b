"""Edges as pairs of particles, resolved into what the energy needs.

Looks up positions, embeddings and systems of receivers and senders, all by row: an update reads
and writes nothing of the size of the system. Finds no edges and evaluates no model beyond the
embeddings of changed particles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from mliap_local.local.layout import AtomTerms, RowChange, messages


def pair_terms(inp: Any) -> AtomTerms:
    """All atoms' terms of a `LocalMLIAPInput` whose edges are `Edges`."""
    particles, systems = inp.point_cloud.particles, inp.point_cloud.systems
    data, config, edges = particles.data, inp.config, inp.edges
    n_atoms, n_systems = particles.size, systems.size
    system = _inside_or(data.system.indices, n_systems)
    embeddings = config.init_function(data.atomic_numbers)  # -> [n, d]
    receivers = jnp.clip(edges.receivers, 0, n_atoms - 1)
    senders = jnp.clip(edges.senders, 0, n_atoms - 1)
    edge_system = jnp.minimum(system[receivers], n_systems - 1)
    r_ij = edges.vectors(
        data.positions[receivers], data.positions[senders], systems.data.unitcell[edge_system]
    )
    m_ij = messages(
        config,
        embeddings[receivers],
        embeddings[senders],
        r_ij.astype(embeddings.dtype),
        # An edge from or to an empty row is none.
        edges.present(n_atoms) & (system[receivers] < n_systems) & (system[senders] < n_systems),
        jnp.asarray(config.cutoff.data)[edge_system],
    )
    sums = jnp.zeros((n_atoms, m_ij.shape[1]), m_ij.dtype).at[receivers].add(m_ij)
    energies = jnp.where(system < n_systems, config.readout_function(embeddings, sums), 0)
    return AtomTerms(embeddings, sums, energies, system, n_systems)


def pair_change(inp: Any) -> RowChange:
    """The rows that a `LocalMLIAPInput` with changes may change, and their edges.

    Rows are first the changed particles, then the receivers of other edges, each once. As edges
    come in both directions, at most half of them have such a receiver. More make the energy NaN.
    """
    cloud, changes, config = inp.point_cloud, inp.point_cloud_changes, inp.config
    new, old, cache = changes.data, cloud.particles.data, config.cache
    n_atoms, n_systems = cloud.particles.size, cloud.systems.size
    changed = _inside_or(changes.indices.indices, n_atoms)  # -> [c]
    n_changed = changed.shape[0]

    receivers = jnp.concatenate([inp.edges.receivers, inp.edges_deleted.receivers])  # -> [e]
    senders = jnp.concatenate([inp.edges.senders, inp.edges_deleted.senders])
    present = jnp.concatenate([inp.edges.present(n_atoms), inp.edges_deleted.present(n_atoms)])
    is_new = jnp.arange(receivers.shape[0]) < inp.edges.size
    i_changed, j_changed = _places(changed, jnp.stack([receivers, senders]), n_atoms)
    of_other = i_changed == n_changed
    # A changed particle's sum starts from nothing: there is nothing to subtract.
    present = present & (is_new | of_other)
    others = _unique(
        jnp.where(present & of_other, receivers, n_atoms), receivers.shape[0] // 2, n_atoms
    )

    rows = jnp.concatenate([changed, others.values])
    embeddings = jnp.concatenate(
        [config.init_function(new.atomic_numbers), _take(cache.node_init, others.values)]
    )
    others_system = _take(old.system.indices, others.values)
    system_after = _inside_or(jnp.concatenate([new.system.indices, others_system]), n_systems)
    system_before = _inside_or(
        jnp.concatenate([_take(old.system.indices, changed), others_system]), n_systems
    )
    occupied = system_after < n_systems
    # An emptied row belongs to the system that loses it, so that this one's verdict counts.
    system = jnp.where(occupied, system_after, system_before)
    row = jnp.where(of_other, n_changed + others.place, i_changed)

    # New edges see changed particles as they become, deleted ones as they were.
    i_after, j_after = is_new & ~of_other, is_new & (j_changed < n_changed)

    def look_up(after: Array, before: Array, take_after: Array, place: Array, at: Array) -> Array:
        mask = take_after.reshape(take_after.shape + (1,) * (before.ndim - 1))
        return jnp.where(mask, _take(after, place), _take(before, at))

    positions_i = look_up(new.positions, old.positions, i_after, i_changed, receivers)
    positions_j = look_up(new.positions, old.positions, j_after, j_changed, senders)
    sender_system = look_up(new.system.indices, old.system.indices, j_after, j_changed, senders)
    present = present & occupied[row] & (_inside_or(sender_system, n_systems) < n_systems)
    cells = cloud.systems.data.unitcell.at[system[row]].get(mode="clip")
    shifts = jnp.concatenate([inp.edges.shifts, inp.edges_deleted.shifts])
    r_ij = positions_j - positions_i + jnp.einsum("es,esx->ex", shifts.astype(cells.dtype), cells)
    weights = jnp.where(present, jnp.where(is_new, 1.0, -1.0), 0.0)
    return RowChange(
        rows=rows,
        embeddings=embeddings,
        occupied=occupied,
        fresh=jnp.arange(rows.shape[0]) < n_changed,
        system=system,
        receivers=row,
        senders=look_up(embeddings, cache.node_init, j_after, j_changed, senders),
        r_ij=r_ij.astype(embeddings.dtype),
        weights=jnp.where(others.overflow, jnp.nan, weights),
        previous_system=system_before,
    )


class _Unique(NamedTuple):
    """values: the distinct values in order, (size,), padded with `missing`; place: of each input
    among them; overflow: there were more than `size`."""

    values: Array
    place: Array
    overflow: Array


def _unique(values: Array, size: int, missing: int) -> _Unique:
    """Distinct values below `missing`, in one sort."""
    order = jnp.argsort(values)
    ordered = values[order]
    first = (ordered != jnp.roll(ordered, 1)) | (jnp.arange(ordered.shape[0]) == 0)
    group = jnp.cumsum(first) - 1
    distinct = jnp.full(size, missing, values.dtype).at[group].set(ordered, mode="drop")
    place = jnp.zeros_like(group).at[order].set(group)
    overflow = jnp.any((group >= size) & (ordered < missing))
    return _Unique(distinct, place, overflow)


def _places(values: Array, wanted: Array, missing: int) -> Array:
    """Place of each wanted integer among `values`, or their number where it is not among them.

    Padding in either, `missing` or negative, is never found.
    """
    order = jnp.argsort(values)
    ordered = values[order]
    at = jnp.searchsorted(ordered, wanted, method="scan_unrolled")
    at = jnp.minimum(at, values.shape[0] - 1)
    found = (ordered[at] == wanted) & (wanted < missing)
    return jnp.where(found, order[at], values.shape[0])


def _inside_or(index: Array, size: int) -> Array:
    """The index, or `size` where it is outside: one way to write padding."""
    return jnp.where((index >= 0) & (index < size), index, size)


def _take(leaf: Array, rows: Array) -> Array:
    """Rows of an array; a place outside gives some row (mask it)."""
    return leaf.at[rows].get(mode="clip")
