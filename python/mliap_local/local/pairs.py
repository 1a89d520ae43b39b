"""Edges as pairs of particles, resolved into what the energy needs.

Looks up positions, embeddings and systems of receivers and senders, all by row: an update reads
and writes nothing of the size of the system. Finds no edges and evaluates no model beyond the
embeddings of changed particles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from mliap_local.core.edges import Edges
from mliap_local.core.table import Index
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
    come in both directions, at most half of the new and half of the deleted ones have such a
    receiver, and only that half of the deleted ones is needed. More make the energy NaN.
    """
    cloud, changes, config = inp.point_cloud, inp.point_cloud_changes, inp.config
    new, old, cache = changes.data, cloud.particles.data, config.cache
    n_atoms, n_systems = cloud.particles.size, cloud.systems.size
    changed = _inside_or(changes.indices.indices, n_atoms)  # -> [c]
    n_changed = changed.shape[0]

    # A changed particle's sum starts from nothing: there is nothing to subtract.
    pairs = jnp.asarray(inp.edges_deleted.indices.indices)
    needed = inp.edges_deleted.present(n_atoms) & (
        _places(changed, pairs[:, 0], n_atoms) == n_changed
    )
    kept, too_many = _compact(needed, pairs.shape[0] // 2)  # -> [d]
    outside = jnp.full((1, 2), n_atoms, pairs.dtype)
    deleted = jnp.concatenate([pairs, outside])[kept]
    deleted_shifts = _take(jnp.asarray(inp.edges_deleted.shifts), kept)

    edges = jnp.concatenate([inp.edges.indices.indices, deleted])  # -> [e, 2]
    shifts = jnp.concatenate([inp.edges.shifts, deleted_shifts])
    present = jnp.all((edges >= 0) & (edges < n_atoms), axis=1)
    receivers, senders = edges[:, 0], edges[:, 1]
    is_new = jnp.arange(edges.shape[0]) < inp.edges.size
    i_changed, j_changed = _places(changed, edges.T, n_atoms)
    of_other = i_changed == n_changed
    others = _unique(
        jnp.where(present & of_other, receivers, n_atoms),
        inp.edges.size // 2 + kept.shape[0],
        n_atoms,
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
    j_after = is_new & (j_changed < n_changed)

    def of_sender(after: Array, before: Array) -> Array:
        mask = j_after.reshape(j_after.shape + (1,) * (before.ndim - 1))
        return jnp.where(mask, _take(after, j_changed), _take(before, senders))

    positions_i = jnp.where(
        of_other[:, None], _take(old.positions, receivers), _take(new.positions, i_changed)
    )
    cells = _take(cloud.systems.data.unitcell, system[row])
    r_ij = Edges(Index(edges), shifts).vectors(
        positions_i, of_sender(new.positions, old.positions), cells
    )
    sender_system = _inside_or(of_sender(new.system.indices, old.system.indices), n_systems)
    present = present & occupied[row] & (sender_system < n_systems)
    weights = jnp.where(present, jnp.where(is_new, 1.0, -1.0), 0.0)
    return RowChange(
        rows=rows,
        embeddings=embeddings,
        occupied=occupied,
        fresh=jnp.arange(rows.shape[0]) < n_changed,
        system=system,
        receivers=row,
        senders=of_sender(embeddings[:n_changed], cache.node_init),
        r_ij=r_ij.astype(embeddings.dtype),
        weights=jnp.where(too_many | others.too_many, jnp.nan, weights),
        previous_system=system_before,
    )


def _compact(wanted: Array, size: int) -> tuple[Array, Array]:
    """Places of the true entries, (size,), padded with their number; and whether more are true."""
    count = jnp.cumsum(wanted)
    place = jnp.where(wanted, count - 1, size)
    n = wanted.shape[0]
    kept = jnp.full(size, n).at[place].set(jnp.arange(n), mode="drop")
    return kept, jnp.sum(wanted) > size


class _Unique(NamedTuple):
    """values: the distinct values in order, (size,), padded with `missing`; place: of each input
    among them; too_many: there were more than `size`."""

    values: Array
    place: Array
    too_many: Array


def _unique(values: Array, size: int, missing: int) -> _Unique:
    """Distinct values below `missing`, in one sort."""
    n = values.shape[0]
    # Value and place in one integer: sorting one array is several times faster than sorting two.
    bits = max(n - 1, 1).bit_length()
    packed = jnp.sort(values.astype(jnp.int64) << bits | jnp.arange(n, dtype=jnp.int64))
    ordered, order = packed >> bits, packed & (2**bits - 1)
    first = (ordered != jnp.roll(ordered, 1)) | (jnp.arange(n) == 0)
    group = jnp.cumsum(first) - 1
    distinct = jnp.full(size, missing, values.dtype)
    distinct = distinct.at[group].set(ordered.astype(values.dtype), mode="drop")
    place = jnp.zeros_like(group).at[order].set(group)
    return _Unique(distinct, place, jnp.any((group >= size) & (ordered < missing)))


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
