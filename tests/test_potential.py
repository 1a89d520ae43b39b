"""Potentials of a whole state: derivatives against finite differences, and the cached output."""

import jax
import jax.numpy as jnp
import numpy as np
import pair_states as ps
import pytest

from mliap_local.core.edges import PointCloud
from mliap_local.core.lens import EMPTY_LENS, IDENTITY_LENS, Lens, attribute_lens, tuple_lens
from mliap_local.core.patch import accept_all
from mliap_local.core.potential import PotentialFromEnergy, PotentialOut, Sum, Summand
from mliap_local.core.table import Index, Table
from mliap_local.local import (
    LocalMLIAPComposer,
    LocalMLIAPData,
    local_mliap_energy,
    make_local_mliap_from_state,
    make_local_mliap_potential,
    particle_probe,
    stress,
)
from mliap_local.model_file import export_model

POSITIONS = attribute_lens("point_cloud", "particles", "data", "positions")
UNITCELL = attribute_lens("point_cloud", "systems", "data", "unitcell")
BOTH = tuple_lens(POSITIONS, UNITCELL)
# Of the gradients with respect to both, those with respect to positions.
OF_POSITIONS = Lens(lambda both: both[0], lambda both, positions: (positions, both[1]))
PROBE = particle_probe(lambda state: state.neighborlist)


def moved(state, place, step):
    positions = state.particles.data.positions.at[place].add(step)
    return state._replace(particles=Table(state.particles.data._replace(positions=positions)))


def with_cell(state, cells, positions=None):
    data = state.particles.data
    data = data if positions is None else data._replace(positions=positions)
    return state._replace(particles=Table(data), systems=Table(ps.Systems(cells)))


@pytest.fixture(scope="module")
def state():
    state = ps.state(5, per_system=5)
    assert ps.n_edges(state) > 30
    return state


@pytest.fixture(scope="module")
def forces_potential():
    return make_local_mliap_from_state(IDENTITY_LENS, gradient_lens=BOTH)


@pytest.fixture(scope="module")
def energies():
    potential = make_local_mliap_from_state(IDENTITY_LENS)
    return lambda state: np.asarray(potential(state).data.total_energies.data)


def test_gradients_by_finite_differences(state, forces_potential, energies):
    positions, cells = forces_potential(state).data.gradients
    held = np.asarray(state.particles.data.system.indices) < 3
    assert np.abs(positions[held]).max() > 0.01 and not np.any(positions[~held])
    h = 1e-5
    for place in [(i, i % 3) for i in np.flatnonzero(held)]:
        slope = (energies(moved(state, place, h)) - energies(moved(state, place, -h))) / (2 * h)
        assert slope.sum() == pytest.approx(float(positions[place]), abs=1e-8)
    for place in [(0, 0, 0), (0, 2, 2), (1, 2, 1), (2, 1, 1)]:
        step = jnp.zeros((3, 3, 3)).at[place].set(h)
        unitcell = state.systems.data.unitcell
        up, down = (energies(with_cell(state, unitcell + s)) for s in (step, -step))
        slope = (up - down) / (2 * h)
        assert slope[place[0]] == pytest.approx(float(cells[place]), abs=1e-8)
        assert np.count_nonzero(slope) == 1  # other systems do not notice
        assert abs(cells[place]) > 1e-4


def test_stress_by_finite_strain(state, forces_potential, energies):
    # The third system is open in one direction: it has no volume.
    gradients = forces_potential(state).data.gradients
    found = stress(PointCloud(state.particles, state.systems), *gradients)
    assert np.isnan(found[2]).all() and np.abs(found[:2]).max() > 1e-3
    unitcell, h = state.systems.data.unitcell, 1e-5
    volume = np.abs(np.linalg.det(unitcell))
    for x, y in [(0, 0), (1, 2), (2, 0)]:
        slopes = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[x, y] += sign * h / 2
            strain[y, x] += sign * h / 2
            positions = state.particles.data.positions @ strain
            slopes.append(energies(with_cell(state, unitcell @ strain, positions)))
        slope = (slopes[0] - slopes[1]) / (2 * h)
        np.testing.assert_allclose(found[:2, x, y], slope[:2] / volume[:2], atol=1e-8)


def hessian_entries(state, potential, pairs, forces):
    """Entries of the potential, and the same by finite differences of gradients."""
    h, found = 1e-5, []
    for row, column in pairs:
        place = np.unravel_index(row, state.particles.data.positions.shape)
        up, down = (forces(moved(state, place, s)).data.gradients[0] for s in (h, -h))
        found.append((up.ravel()[column] - down.ravel()[column]) / (2 * h))
    return np.asarray(potential(state).data.hessians[0]).ravel(), np.array(found)


def rows_and_columns(state, system=0):
    first, second = np.flatnonzero(np.asarray(state.particles.data.system.indices) == system)[:2]
    pairs = [(3 * first, 3 * first), (3 * first + 1, 3 * second + 2), (3 * second, 3 * first)]
    return pairs, np.array([[[a], [b]] for a, b in pairs])  # (n_calls, 2, 1)


def test_hessian_entries_by_finite_differences(state, forces_potential):
    pairs, index = rows_and_columns(state)
    potential = make_local_mliap_from_state(
        IDENTITY_LENS,
        gradient_lens=BOTH,
        hessian_lens=tuple_lens(OF_POSITIONS),
        hessian_idx_view=lambda state: (index,),
    )
    entries, expected = hessian_entries(state, potential, pairs, forces_potential)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(entries, expected, atol=1e-7)


def test_one_call_for_independent_systems_and_padding(state):
    """Rows of several systems share a call; places outside are dropped, and give zero."""
    (zero, one), size = (rows_and_columns(state, s)[0] for s in (0, 1)), 10**6
    together = np.array([[[z[0], o[0]], [z[1], o[1]]] for z, o in zip(zero, one, strict=True)])
    apart = np.array([[[a], [b]] for a, b in [*zero, *one]])
    padded = np.array([[[zero[0][0], size], [zero[0][1], size]]])

    def entries(index):
        potential = make_local_mliap_from_state(
            IDENTITY_LENS, None, POSITIONS, IDENTITY_LENS, lambda state: index
        )
        return np.asarray(potential(state).data.hessians)

    expected = entries(apart)
    assert expected.shape == (6, 1) and np.count_nonzero(expected) == 6
    np.testing.assert_allclose(entries(together).T.ravel(), expected.ravel(), rtol=1e-12)
    np.testing.assert_allclose(entries(padded), [[expected[0, 0], 0]], rtol=1e-12)


def test_an_exported_model_has_gradients_and_hessians(state, forces_potential, tmp_path):
    """Exports lack the forward mode; entries are the same."""
    file = tmp_path / "model.zip"
    export_model(
        file, ps.node_init, ps.edge, ps.readout, cutoff=ps.CUTOFF, elements=["Ni"], checks=False
    )
    data = LocalMLIAPData.from_zip_file(file, state.particles.size, 3)
    pairs, index = rows_and_columns(state)
    potential = make_local_mliap_from_state(
        IDENTITY_LENS,
        gradient_lens=BOTH,
        hessian_lens=tuple_lens(OF_POSITIONS),
        hessian_idx_view=lambda state: (index,),
    )
    exported = potential(state._replace(local_mliap_model=data)).data
    plain = potential(state).data
    assert np.count_nonzero(plain.hessians[0]) == len(pairs)
    for a, b in zip(jax.tree.leaves(exported), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


def cached(state, gradients=False):
    n = state.particles.size
    out = PotentialOut(Table(jnp.full(3, jnp.nan)), jnp.full((n, 3), 7.0) if gradients else (), ())
    return state._replace(local_mliap_model=ps.Cached(state.local_mliap_model, out))


def test_cached_output_is_rewritten_where_systems_accept(state):
    def out_idx_view(state):
        return PotentialOut(Index(jnp.arange(3)), state.particles.data.system, ())

    potential = make_local_mliap_from_state(
        IDENTITY_LENS, PROBE, POSITIONS, out_idx_view=out_idx_view
    )
    state = cached(state, gradients=True)
    state = potential(state).patch(state, accept_all(3))
    old = state.local_mliap_model.cache
    system = np.asarray(state.particles.data.system.indices)
    empty = np.flatnonzero(system == 3)[0]
    rows = np.array([np.flatnonzero(system == 0)[0], np.flatnonzero(system == 1)[0], empty])
    # System 0 moves an atom, 1 loses one, 2 gains one: derivatives are those of the new state.
    patch = ps.proposal(rows, np.full((3, 3), 0.4), [3, 4, 5], [0, 3, 2])
    result = potential(state, patch)
    proposed = patch(state, accept_all(3))
    assert np.all(np.asarray(result.data.total_energies.data) != old.total_energies.data)
    np.testing.assert_allclose(
        result.data.gradients, potential(proposed).data.gradients, atol=1e-13
    )
    accept = Table(jnp.array([True, False, True]))
    state = patch(result.patch(state, accept), accept)
    new = state.local_mliap_model.cache
    fresh = potential(state).data
    np.testing.assert_allclose(new.total_energies.data, fresh.total_energies.data, rtol=1e-12)
    held = np.asarray(state.particles.data.system.indices) < 3
    np.testing.assert_allclose(new.gradients[held], fresh.gradients[held], atol=1e-12)
    np.testing.assert_array_equal(new.gradients[system == 1], old.gradients[system == 1])
    assert np.any(new.gradients[system == 0] != old.gradients[system == 0])
    assert np.all(new.gradients[empty] != 7.0)  # the inserted atom's were written


def test_a_patch_without_probe_is_evaluated_in_full(state):
    full = make_local_mliap_from_state(IDENTITY_LENS)
    probed = make_local_mliap_from_state(IDENTITY_LENS, PROBE)
    row = int(np.flatnonzero(np.asarray(state.particles.data.system.indices) == 1)[0])
    patch = ps.proposal([row], [[0.1, 0.2, 0.3]], [8], [1])
    settled = cached(state)
    settled = probed(settled).patch(settled, accept_all(3))
    assert len(full(state, patch).patch.patches) == 1
    found = full(state, patch).data.total_energies.data
    np.testing.assert_allclose(found, probed(settled, patch).data.total_energies.data, rtol=1e-12)
    assert abs(found[1] - full(state).data.total_energies.data[1]) > 1e-6


def test_any_state_will_do(state):
    """Parts anywhere in the state, the model behind a lens."""
    whole = {"points": state.particles, "boxes": state.systems, "model": state.local_mliap_model}

    def lens(name):
        return Lens(lambda s: s[name], lambda s, part: {**s, name: part})

    potential = make_local_mliap_potential(
        lens("points"),
        lens("boxes"),
        lambda s: s["model"].cutoff,
        lambda s: state.neighborlist,
        lens("model"),
        None,
        EMPTY_LENS,
        EMPTY_LENS,
        EMPTY_LENS,
    )
    result = potential(whole)
    expected, sums, n_edges = ps.reference(state.particles.data, ps.CELLS)
    assert n_edges > 30
    np.testing.assert_allclose(result.data.total_energies.data, expected, rtol=1e-12)
    after = result.patch(whole, accept_all(3))
    assert after["points"] is whole["points"]
    np.testing.assert_allclose(after["model"].cache.msg_sum, sums, atol=1e-12)


def test_a_sum_is_weighted(state):
    composer = LocalMLIAPComposer(
        attribute_lens("particles"),
        attribute_lens("systems"),
        attribute_lens("local_mliap_model", "cutoff"),
        attribute_lens("neighborlist"),
        attribute_lens("local_mliap_model"),
        None,
    )
    ((inp, weight),) = composer(state, None)
    assert weight == 1 and isinstance(composer(state, None), Sum)
    twice = PotentialFromEnergy(
        lambda state, patch: Sum(Summand(inp), Summand(inp, -0.25)), local_mliap_energy, POSITIONS
    )
    once = PotentialFromEnergy(composer, local_mliap_energy, POSITIONS)(state).data
    assert np.abs(once.total_energies.data).min() > 1
    for a, b in zip(jax.tree.leaves(twice(state).data), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(a, 0.75 * b, rtol=1e-13)


def test_few_compilations(state):
    """Many steps with different numbers of edges are compiled for few sizes."""
    potential = make_local_mliap_from_state(IDENTITY_LENS, PROBE)
    rng = np.random.default_rng(0)
    settled = cached(state)
    settled = potential(settled).patch(settled, accept_all(3))
    ps.N_TRACES[0] = 0
    found = set()
    rows = np.flatnonzero(np.asarray(state.particles.data.system.indices) < 3)
    for _ in range(25):
        row = rng.choice(rows, 1)
        system = np.asarray(state.particles.data.system.indices)[row]
        patch = ps.proposal(row, rng.uniform(-3, 3, (1, 3)), [5], system)
        ((inp, _),) = potential.composer(settled, patch)
        found.add(int(inp.edges.present(state.particles.size).sum()))
        potential(settled, patch)
    assert len(found) > 5
    assert 1 <= ps.N_TRACES[0] <= 3


def test_errors(state):
    with pytest.raises(ValueError, match="out_idx_view"):
        make_local_mliap_from_state(IDENTITY_LENS, PROBE, POSITIONS)
    with pytest.raises(ValueError, match="patch_idx_view"):
        make_local_mliap_potential(*[EMPTY_LENS] * 5, PROBE, *[EMPTY_LENS] * 3, None, EMPTY_LENS)
    potential = make_local_mliap_from_state(IDENTITY_LENS)
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda s: potential(s).data)(state)
