"""Energies and patches of `mliap_local.local`, one idea a test; random walks are elsewhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pair_states as ps
import pytest

from mliap_local.core import padding
from mliap_local.core.edges import Edges, PointCloud
from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.core.patch import ComposedPatch, IdPatch, accept_all, accepted_rows
from mliap_local.core.table import Index, Table, WithIndices
from mliap_local.lammps.rows import ChangedRows
from mliap_local.local import (
    LocalMLIAPCache,
    LocalMLIAPData,
    LocalMLIAPInput,
    empty_cache,
    local_mliap_energy,
    local_mliap_energy_full,
    local_mliap_energy_update,
    make_local_mliap_from_state,
    particle_probe,
)

UPDATE = make_local_mliap_from_state(IDENTITY_LENS, particle_probe(lambda s: s.neighborlist))
FULL = make_local_mliap_from_state(IDENTITY_LENS)
CUTOFFS = Table(np.full(3, ps.CUTOFF))
full = jax.jit(local_mliap_energy_full)
update = jax.jit(local_mliap_energy_update)


def settled(seed=1, **keywords):
    state = ps.state(seed, **keywords)
    state = state._replace(local_mliap_model=ps.Cached(state.local_mliap_model, UPDATE_OUT))
    return UPDATE(state).patch(state, accept_all(3))


UPDATE_OUT = dataclasses.replace(FULL(ps.state(1)).data)


def full_input(state, config=None):
    edges = state.neighborlist(state.particles, None, state.systems, CUTOFFS)
    cloud = PointCloud(state.particles, state.systems)
    config = config or state.local_mliap_model
    return LocalMLIAPInput(cloud, None, edges, None, config, IDENTITY_LENS)


def update_input(state, patch, config):
    ((inp, _),) = UPDATE.composer(state, patch)
    return dataclasses.replace(inp, config=config, cache_lens=IDENTITY_LENS)


def rows_of(state, system):
    return np.flatnonzero(np.asarray(state.particles.data.system.indices) == system)


def some_move(state):
    """One atom of each system somewhere else."""
    rows = np.array([rows_of(state, s)[0] for s in range(3)])
    return ps.proposal(rows, np.full((3, 3), 0.7), [1, 2, 3], [0, 1, 2])


def test_full_energy_against_numpy():
    state = ps.state(7)
    result = full(full_input(state))
    expected, sums, n_edges = ps.reference(state.particles.data, ps.CELLS)
    assert n_edges > 30 and np.ptp(expected) > 0.1
    np.testing.assert_allclose(result.data.data, expected, rtol=1e-13)
    np.testing.assert_allclose(result.patch.cache.msg_sum, sums, atol=1e-13)
    assert result.data.data.dtype == np.float64


def test_dispatch():
    state = settled()
    patch, config = some_move(state), state.local_mliap_model.data
    inp = update_input(state, patch, config)
    assert inp.point_cloud_changes is not None
    energy = jax.jit(local_mliap_energy)
    changed = energy(inp)
    assert changed.patch.rows is not None
    np.testing.assert_array_equal(changed.data.data, update(inp).data.data)
    whole = energy(full_input(state, config))
    assert whole.patch.rows is None
    assert np.all(np.abs(changed.data.data - whole.data.data) > 1e-6)


def test_edges_beyond_the_cutoff_are_none():
    """A list with a skin gives the same, also with messages that do not vanish by themselves."""

    def edge(h_i, h_j, r_ij):
        return jnp.ones((len(r_ij), ps.MESSAGE)) * h_j[:, :1]

    state = ps.state(7)
    data = ps.model(state.particles.size, 3, edge_function=edge)
    found = []
    for reach in (ps.CUTOFF, ps.CUTOFF + 1):
        edges = state.neighborlist(state.particles, None, state.systems, Table(np.full(3, reach)))
        inp = dataclasses.replace(full_input(state, data), edges=edges)
        found.append((int(edges.present(state.particles.size).sum()), full(inp).data.data))
    assert found[1][0] > found[0][0] > 30
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-14)


def test_update_refuses_what_it_cannot_do():
    state = settled()
    inp = update_input(state, some_move(state), state.local_mliap_model.data)
    with pytest.raises(AssertionError, match="point_cloud_changes"):
        local_mliap_energy_update(dataclasses.replace(inp, point_cloud_changes=None))
    with pytest.raises(AssertionError, match="edges_deleted"):
        local_mliap_energy_update(dataclasses.replace(inp, edges_deleted=None))
    bare = LocalMLIAPCache(inp.config.cache.node_init, inp.config.cache.msg_sum)
    config = dataclasses.replace(inp.config, cache=bare)
    with pytest.raises(ValueError, match="evaluate in full first"):
        local_mliap_energy_update(dataclasses.replace(inp, config=config))


def test_an_update_of_an_empty_cache_is_nan():
    state = settled()
    config = state.local_mliap_model.data
    inp = update_input(state, some_move(state), config)
    assert np.isfinite(update(inp).data.data).all()
    empty = dataclasses.replace(config, cache=empty_cache(config, state.particles.size, 3))
    assert np.isnan(update(dataclasses.replace(inp, config=empty)).data.data).all()


def test_a_place_holder_is_filled_where_systems_accept():
    state = ps.state(2)
    cache = state.local_mliap_model.cache
    place = LocalMLIAPCache(jnp.zeros_like(cache.node_init), jnp.zeros_like(cache.msg_sum))
    config = dataclasses.replace(state.local_mliap_model, cache=place)
    result = full(full_input(state, config))
    filled = result.patch(place, accept_all(3))
    for name in ("node_init", "msg_sum", "energies", "totals"):
        got, new = getattr(filled, name), getattr(result.patch.cache, name)
        held = rows_of(state, 1)
        np.testing.assert_array_equal(got[1:2] if name == "totals" else got[held],
                                      new[1:2] if name == "totals" else new[held])  # fmt: skip
    partly = result.patch(place, Table(jnp.array([True, False, True])))
    assert np.isfinite(np.asarray(partly.totals)).tolist() == [True, False, True]
    assert not np.any(partly.msg_sum[rows_of(state, 1)])
    assert np.any(partly.msg_sum[rows_of(state, 0)])


def test_mixed_verdicts_in_one_batch():
    state = settled()
    before = state.local_mliap_model.data.cache
    result = UPDATE(state, some_move(state))
    accept = Table(jnp.array([False, True, False]))
    after = result.patch(state, accept).local_mliap_model.data.cache
    assert np.all(result.data.total_energies.data != before.totals)
    np.testing.assert_array_equal(after.totals[::2], before.totals[::2])
    assert after.totals[1] == result.data.total_energies.data[1]
    for system, same in ((0, True), (1, False), (2, True)):
        rows = rows_of(state, system)
        assert np.array_equal(after.msg_sum[rows], before.msg_sum[rows]) == same
        assert np.array_equal(after.node_init[rows], before.node_init[rows]) == same


@pytest.mark.parametrize("nowhere", [3, 8, -1])
def test_a_deletion_from_any_of_three_systems(nowhere):
    """Rejected, it leaves everything intact, above all the last system; accepted, it empties."""
    state = settled()
    before = state.local_mliap_model.data.cache
    for system in range(3):
        row = rows_of(state, system)[:1]
        patch = ps.proposal(row, np.zeros((1, 3)), [6], [nowhere])
        result = UPDATE(state, patch)
        difference = np.asarray(result.data.total_energies.data - before.totals)
        assert np.flatnonzero(np.abs(difference) > 1e-3).tolist() == [system]
        others = Table(jnp.arange(3) != system)
        for leaf, old in zip(
            jax.tree.leaves(result.patch(state, others).local_mliap_model.data.cache),
            jax.tree.leaves(before),
            strict=True,
        ):
            np.testing.assert_array_equal(leaf, old)
        only = Table(jnp.arange(3) == system)
        gone = ComposedPatch((patch, result.patch))(state, only)
        cache = gone.local_mliap_model.data.cache
        assert cache.energies[row] == 0 and not np.any(cache.msg_sum[row])
        assert len(rows_of(gone, system)) == len(rows_of(state, system)) - 1
        np.testing.assert_allclose(cache.totals, FULL(gone).data.total_energies.data, rtol=1e-12)


def test_deleting_all_atoms_of_a_system_leaves_no_energy():
    state = settled()
    rows = rows_of(state, 1)
    patch = ps.proposal(rows, np.zeros((len(rows), 3)), [6] * len(rows), [3] * len(rows))
    result = UPDATE(state, patch)
    assert abs(state.local_mliap_model.data.cache.totals[1]) > 1
    assert abs(result.data.total_energies.data[1]) < 1e-12


def test_an_insertion_into_a_row_with_leftovers():
    """An empty row's cache is never read, whatever it holds."""
    state = settled()
    row = rows_of(state, 3)[:1]
    config = state.local_mliap_model.data
    spoilt = jax.tree.map(
        lambda leaf: leaf.at[row].set(99.0) if leaf.shape[0] == state.particles.size else leaf,
        config.cache,
    )
    patch = ps.proposal(row, [[0.3, 0.2, 0.1]], [9], [2])
    inp = update_input(state, patch, config)
    clean = update(inp).data.data
    found = update(
        dataclasses.replace(inp, config=dataclasses.replace(config, cache=spoilt))
    ).data.data
    assert abs(clean[2] - config.cache.totals[2]) > 0.1
    np.testing.assert_array_equal(found, clean)


def test_a_type_change_alone():
    state = settled()
    row = rows_of(state, 0)[:1]
    positions = state.particles.data.positions[row]
    patch = ps.proposal(row, positions, state.particles.data.atomic_numbers[row] + 1, [0])
    result = UPDATE(state, patch)
    proposed = patch(state, accept_all(3))
    expected, _, _ = ps.reference(proposed.particles.data, ps.CELLS)
    np.testing.assert_allclose(result.data.total_energies.data, expected, rtol=1e-12)
    assert abs(expected[0] - state.local_mliap_model.data.cache.totals[0]) > 1e-4


def test_padding_never_changes_an_answer():
    """Of edges, wherever they point outside; of changes; and of particle rows."""
    state = settled()
    config = state.local_mliap_model.data
    inp = update_input(state, some_move(state), config)
    expected = update(inp).data.data

    def padded(edges, fill):
        indices = np.asarray(edges.padded(edges.size + 40).indices.indices).copy()
        shifts = np.asarray(edges.padded(edges.size + 40).shifts).copy()
        indices[edges.size :], shifts[edges.size :] = fill, 3
        return Edges(Index(indices), shifts)

    n = state.particles.size
    assert int(inp.edges.present(n).sum()) > 10
    for fill in (-1, n + 1000, (0, n)):
        more = dataclasses.replace(
            inp, edges=padded(inp.edges, fill), edges_deleted=padded(inp.edges_deleted, fill)
        )
        np.testing.assert_allclose(update(more).data.data, expected, rtol=1e-14)
        whole = full_input(state, config)
        whole_padded = dataclasses.replace(whole, edges=padded(whole.edges, fill))
        np.testing.assert_allclose(full(whole_padded).data.data, config.cache.totals, rtol=1e-14)

    changes = inp.point_cloud_changes

    def extended(leaf):
        return jnp.concatenate([leaf, leaf[:1], leaf[-1:]])

    for outside in (-1, n):
        rows = jnp.concatenate([changes.indices.indices, jnp.array([outside, outside])])
        more = WithIndices(Index(rows), jax.tree.map(extended, changes.data))
        result = update(dataclasses.replace(inp, point_cloud_changes=more))
        np.testing.assert_allclose(result.data.data, expected, rtol=1e-14)
        after = result.patch(config.cache, accept_all(3))
        exact = update(inp).patch(config.cache, accept_all(3))
        np.testing.assert_allclose(after.msg_sum, exact.msg_sum, atol=1e-14)


def test_edges_that_break_the_contract_do_not_pass_for_an_energy():
    """More receivers than edges in both directions can have: NaN, not a wrong number."""
    state = settled()
    config = state.local_mliap_model.data
    inp = update_input(state, some_move(state), config)
    n = state.particles.size
    changed = set(np.asarray(inp.point_cloud_changes.indices.indices).tolist())
    others = [i for i in range(n) if i not in changed][:8]
    one_way = Edges(
        Index(np.array([[i, min(changed)] for i in others])), np.zeros((len(others), 3), int)
    )
    none = Edges(Index(np.full((2, 2), n)), np.zeros((2, 3), int))
    bad = dataclasses.replace(inp, edges=one_way, edges_deleted=none)
    assert np.isfinite(update(inp).data.data).all() and np.isnan(update(bad).data.data).any()


def test_single_precision_sums_in_double():
    """Per-atom energies are float32; totals and differences are as exact as float64."""
    offset = 1e4  # per atom: float32 resolves 1e-3 of it, and worse of a total

    def readout(h, sums):
        return ps.readout(h, sums) + np.float32(offset)

    data = ps.model(13, 3, init=ps.node_init_32, readout_function=readout)
    state = settled()
    result = full(full_input(state, data))
    energies = np.asarray(result.patch.cache.energies)
    assert energies.dtype == np.float32 and result.data.data.dtype == np.float64
    for system in range(3):
        exact = energies[rows_of(state, system)].astype(np.float64).sum()
        assert result.data.data[system] == exact and exact > offset
    assert np.any(np.float32(result.data.data) != np.asarray(result.data.data))

    cache = result.patch(data.cache, accept_all(3))
    inp = update_input(state, some_move(state), dataclasses.replace(data, cache=cache))
    changed = update(inp)
    after = changed.patch(cache, accept_all(3))
    assert np.all(after.totals != cache.totals)
    for system in range(3):
        exact = np.asarray(after.energies)[rows_of(state, system)].astype(np.float64).sum()
        assert changed.data.data[system] == pytest.approx(exact, rel=1e-15)


def test_an_update_touches_rows_only():
    """Nothing of the size of the table is computed: only looked up, by gathers, in it."""
    n = 4099  # no other array has this size
    points = ps.particles(0, 3, per_system=8, empty=n - 24)
    state = ps.State(
        Table(points), Table(ps.Systems(jnp.asarray(ps.CELLS))), ps.FixedCapacity(), None
    )
    data = ps.model(n, 3)
    state = state._replace(local_mliap_model=data)
    state = FULL(state).patch(state, accept_all(3))
    rows = [rows_of(state, 0)[0]]
    inp = UPDATE.composer(state._replace(local_mliap_model=ps.Cached(
        state.local_mliap_model, UPDATE_OUT)), ps.proposal(rows, [[0.1, 0, 0]], [3], [0])
    )[0].inp  # fmt: skip
    assert int(inp.edges.present(n).sum()) > 10
    jaxpr = jax.make_jaxpr(lambda inp: local_mliap_energy_update(inp))(inp)
    sizes = list(_sizes(jaxpr.jaxpr))
    large = [name for name, shape in sizes if n in shape]
    assert len(sizes) > 100 and not large, large


def _sizes(jaxpr):
    """Primitive and shape of every result, nested programs included."""
    for equation in jaxpr.eqns:
        inner = [p for p in equation.params.values() if hasattr(p, "jaxpr") or hasattr(p, "eqns")]
        for part in inner:
            yield from _sizes(getattr(part, "jaxpr", part))
        for variable in equation.outvars:
            yield equation.primitive.name, variable.aval.shape


def test_a_donated_patch_is_written_in_place():
    state = settled()
    config = state.local_mliap_model.data
    patch = update(update_input(state, some_move(state), config)).patch
    cache = jax.tree.map(jnp.copy, config.cache)
    apply = jax.jit(lambda cache, patch, accept: patch(cache, accept), donate_argnums=0)
    place = cache.msg_sum.unsafe_buffer_pointer()
    after = apply(cache, patch, accept_all(3))
    assert after.msg_sum.unsafe_buffer_pointer() == place and cache.msg_sum.is_deleted()
    assert np.any(np.asarray(after.msg_sum) != np.asarray(config.cache.msg_sum))


def test_small_parts():
    accept = Table(jnp.array([False, True]))
    rows = accepted_rows(accept, jnp.array([0, 1, 2, -1, 99]))
    assert rows.tolist() == [False, True, False, False, False]
    assert IdPatch()(5, accept) == 5
    data = LocalMLIAPData(jnp.array([6.0]), None, None, None, None)
    assert isinstance(data.cutoff, Table) and data.cutoff.size == 1
    table = Table(np.arange(4.0))
    assert table[Index(np.array([2, 0]))].tolist() == [2, 0]


def test_without_double_precision_there_is_an_error():
    state = ps.state(0)
    inp = full_input(state)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(RuntimeError, match="jax_enable_x64"):
            local_mliap_energy_full(inp)
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("n_rows, empty", [(1, 0), (16, 2), (37, 3), (64, 0)])
def test_wide_messages_are_read_out_in_blocks(n_rows, empty):
    """Rows of several elements, some left by their atoms, with padding that nobody may read."""
    random, m, numbers = np.random.default_rng(n_rows), padding.WIDE, (28, 1, 8)
    weights = random.normal(size=(3, m))
    read = []

    def readout(h, sums):
        read.append(sums.shape[0])
        return jnp.sum(jnp.asarray(weights)[h[:, 0].astype(int)] * sums**2, axis=1) / h[:, 1]

    config = LocalMLIAPData(
        cutoff=Table(np.full(1, 5.0)),
        init_function=lambda z: jnp.stack([jnp.arange(3.0), jnp.asarray(z, float)], axis=1),
        edge_function=lambda h_i, h_j, r_ij: jnp.sum(r_ij, axis=1)[:, None] * jnp.ones(m),
        readout_function=readout,
        cache=LocalMLIAPCache(None, *(random.normal(size=s) for s in ((80, m), (80,), (1,)))),
    )
    rows, species = random.permutation(80)[:n_rows], random.integers(0, 3, n_rows)
    species[:empty] = -1
    receivers, r_ij = random.integers(0, n_rows, 20), random.normal(size=(20, 3))
    edges = np.column_stack([receivers, random.integers(0, 3, 20), r_ij])
    atoms = np.column_stack([rows, species])
    packed = np.concatenate([[n_rows, empty, 20, 0], atoms.ravel(), edges.ravel(), np.zeros(999)])
    shown = ChangedRows(numbers, packed, (64, 96))
    answer = jax.jit(local_mliap_energy_update)(
        LocalMLIAPInput(None, None, shown, None, config, IDENTITY_LENS)
    )

    assert config.cache.energies is not None and config.cache.totals is not None
    sums = np.array(config.cache.msg_sum)[rows]
    sums[:empty] = 0
    np.add.at(sums, receivers, np.sum(r_ij, axis=1)[:, None] * np.ones(m))
    expected = np.sum(weights[species] * sums**2, axis=1) / np.array(numbers)[species]
    expected[:empty] = 0
    total = config.cache.totals[0] + np.sum(expected - np.asarray(config.cache.energies)[rows])
    found = np.asarray(answer.patch.cache.energies)
    np.testing.assert_allclose(found[:n_rows], expected, rtol=1e-12)
    assert not np.any(found[n_rows:])
    assert float(answer.data.data[0]) == pytest.approx(total, rel=1e-12)
    assert padding.READ_ROWS in read  # and not only all at once
