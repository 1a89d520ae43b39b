"""The energy of a local potential with one round of messages, whole or by what changed.

    h_i = node_init(Z_i)                 m_ij = edge(h_i, h_j, r_ij),  |r_ij| < cutoff
    e_i = readout(h_i, M_i)              M_i  = sum_j m_ij,            E = sum_i e_i

`local_mliap_energy_full` evaluates this; `local_mliap_energy_update` evaluates the rows that a
change touches: M_i(new) = M_i(old) - messages that are gone + messages that are new. Both return
the energy with a patch, and the patch holds rows: nothing of the size of the system is copied.

Everything here is pure. No file, no neighbour search, no LAMMPS. Messages and per-atom energies
have the model's precision; totals and their differences are float64.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from mliap_local.core.edges import Edges
from mliap_local.core.lens import Lens
from mliap_local.core.patch import WithPatch
from mliap_local.core.table import Index, SystemId, Table
from mliap_local.local.data import (
    LocalMLIAPCache,
    LocalMLIAPInput,
    LocalMLIAPPatch,
    total_dtype,
)
from mliap_local.local.layout import AtomTerms, messages, row_energies
from mliap_local.local.pairs import pair_change, pair_terms


def local_mliap_energy(inp: LocalMLIAPInput) -> WithPatch[Table[SystemId, Array], LocalMLIAPPatch]:
    """Full evaluation, or an update where the input has changes.

    Args:
        inp: see `LocalMLIAPInput`.
    Returns:
        Energies, float64, shape (n_systems,), and the patch that writes the cache.
    """
    if inp.point_cloud_changes is None:
        return local_mliap_energy_full(inp)
    return local_mliap_energy_update(inp)


def local_mliap_energy_full(
    inp: LocalMLIAPInput,
) -> WithPatch[Table[SystemId, Array], LocalMLIAPPatch]:
    """Energy of every system from scratch.

    Args:
        inp: particles, all edges, model.
    Returns:
        Energies, float64, shape (n_systems,), and the patch that fills the cache.
    Raises:
        RuntimeError: JAX runs without float64.
    """
    total_dtype()  # first of all, an error where there is no float64
    terms = pair_terms(inp) if isinstance(inp.edges, Edges) else inp.edges.terms(inp.config)
    return full_patch(terms, inp.cache_lens)


def full_patch(
    terms: AtomTerms, cache_lens: Lens
) -> WithPatch[Table[SystemId, Array], LocalMLIAPPatch]:
    """Sum all atoms' terms into energies and a patch of the whole cache."""
    totals = _sum_by_system(terms.energies, terms.system, terms.n_systems)
    cache = LocalMLIAPCache(terms.embeddings, terms.message_sums, terms.energies, totals)
    return WithPatch(Table(totals), LocalMLIAPPatch(cache, Index(terms.system), cache_lens))


def local_mliap_energy_update(
    inp: LocalMLIAPInput,
) -> WithPatch[Table[SystemId, Array], LocalMLIAPPatch]:
    """Energy of every system after a change, from the cache and what the change touched.

    Args:
        inp: old particles, changes, new and deleted edges, model with the old state's cache.
    Returns:
        Energies, float64, shape (n_systems,), and the patch that writes the touched rows.
    Raises:
        AssertionError: without changes or deleted edges.
        ValueError: the cache was never filled by a full evaluation.
    """
    config, cache = inp.config, inp.config.cache
    if isinstance(inp.edges, Edges):
        assert inp.point_cloud_changes is not None, "an update needs point_cloud_changes"
        assert inp.edges_deleted is not None, "an update needs edges_deleted"
    if cache.energies is None or cache.totals is None:
        raise ValueError(
            "an update starts from the energies of a settled state, but the cache has none; "
            "evaluate in full first and apply the patch of that evaluation"
        )
    change = pair_change(inp) if isinstance(inp.edges, Edges) else inp.edges.change(config)
    m_ij = messages(
        config,
        change.embeddings[change.receivers],
        change.senders,
        change.r_ij,
        change.weights != 0,
        jnp.asarray(config.cutoff.data)[change.system[change.receivers]],
    )
    m_ij = m_ij * change.weights[:, None].astype(m_ij.dtype)
    old_sums = cache.msg_sum.at[change.rows].get(mode="fill", fill_value=0)
    sums = jnp.where(change.fresh[:, None], 0, old_sums).at[change.receivers].add(m_ij)
    energies = row_energies(config, change, sums)
    energies = jnp.where(change.occupied, energies, 0)
    sums = jnp.where(change.occupied[:, None], sums, 0)
    old_energies = cache.energies.at[change.rows].get(mode="fill", fill_value=0)
    used = change.rows < cache.msg_sum.shape[0]
    gained, lost = energies.astype(total_dtype()), old_energies.astype(total_dtype())
    n_systems = cache.totals.shape[0]
    if change.previous_system is None:
        difference = _sum_by_system(jnp.where(used, gained - lost, 0.0), change.system, n_systems)
    else:
        difference = _sum_by_system(
            jnp.where(used, gained, 0.0), change.system, n_systems
        ) - _sum_by_system(jnp.where(used, lost, 0.0), change.previous_system, n_systems)
    totals = cache.totals + difference
    node_init = None if cache.node_init is None else change.embeddings
    patch = LocalMLIAPPatch(
        LocalMLIAPCache(node_init, sums, energies, totals),
        Index(change.system),
        inp.cache_lens,
        Index(change.rows),
    )
    return WithPatch(Table(totals), patch)


def _sum_by_system(energies: Array, system: Array, n_systems: int) -> Array:
    """Totals in float64, shape (n_systems,); rows of no system are left out."""
    energies = energies.astype(total_dtype())
    if n_systems == 1:
        return jnp.sum(jnp.where(system == 0, energies, 0.0), keepdims=True)
    return jnp.zeros((n_systems,), energies.dtype).at[system].add(energies, mode="drop")
