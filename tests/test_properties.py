"""Random Monte Carlo over several systems: updates equal evaluations from scratch."""

import jax
import jax.numpy as jnp
import numpy as np
import pair_states as ps
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.core.neighbours import VesinNeighborList
from mliap_local.core.patch import ComposedPatch
from mliap_local.core.potential import PotentialOut
from mliap_local.core.table import Index, Table
from mliap_local.local import make_local_mliap_from_state, particle_probe

N_SYSTEMS = 3
N_CHANGES = 2 * N_SYSTEMS + 1  # one more than any proposal needs: there is always padding
MOVES = ("nothing", "move", "swap", "insert", "delete", "retype", "transfer")
UPDATE = make_local_mliap_from_state(IDENTITY_LENS, particle_probe(lambda s: s.neighborlist))
FULL = make_local_mliap_from_state(IDENTITY_LENS)
APPLY = jax.jit(lambda patch, state, accept: patch(state, accept))

steps = st.lists(
    st.tuples(
        st.tuples(*[st.sampled_from(MOVES)] * N_SYSTEMS),
        st.tuples(*[st.booleans()] * N_SYSTEMS),
        st.integers(0, 2**32 - 1),
    ),
    min_size=3,
    max_size=9,
)


def initial(seed):
    state = ps.state(seed)
    out = PotentialOut(Table(jnp.full(N_SYSTEMS, jnp.nan)), (), ())
    state = state._replace(local_mliap_model=ps.Cached(state.local_mliap_model, out))
    return UPDATE(state).patch(state, Table(jnp.ones(N_SYSTEMS, bool)))


def propose(state, moves, accept, seed):
    """A proposal of one move in each system, with the verdicts that transfers leave possible."""
    rng = np.random.default_rng(seed)
    data = state.particles.data
    system = np.array(data.system.indices)
    positions, numbers = np.array(data.positions), np.array(data.atomic_numbers)
    accept, changed, done = list(accept), [], []

    def pick(candidates, many=1):
        free = np.setdiff1d(candidates, changed)
        return rng.permutation(free)[:many] if len(free) >= many else None

    for s, move in enumerate(moves):
        mine, empty = np.flatnonzero(system == s), np.flatnonzero(system == N_SYSTEMS)
        rows = pick(empty if move == "insert" else mine, 2 if move == "swap" else 1)
        if move == "nothing" or rows is None:
            continue
        done.append(move)
        changed.extend(rows)
        row = rows[0]
        if move == "move":
            positions[row] += rng.normal(size=3) * rng.choice([0.1, 2.0])
        elif move == "swap":
            numbers[rows] = numbers[rows[::-1]]
        elif move == "insert":
            system[row], numbers[row] = s, rng.integers(1, 100)
            positions[row] = rng.random(3) @ ps.CELLS[s]
        elif move == "delete":
            # Nowhere is written in more than one way.
            system[row] = rng.choice([N_SYSTEMS, N_SYSTEMS + 5])
        elif move == "retype":
            numbers[row] = rng.integers(1, 100)
        elif move == "transfer":
            # Systems that exchange a particle accept or reject together.
            system[row], accept = (s + 1) % N_SYSTEMS, [accept[0]] * N_SYSTEMS
    rows = np.full(N_CHANGES, rng.choice([-1, len(system), len(system) + 7]))
    rows[: len(changed)] = changed
    order = rng.permutation(N_CHANGES)
    rows = rows[order]
    take = np.clip(rows, 0, len(system) - 1)
    return ps.proposal(rows, positions[take], numbers[take], system[take]), accept, done


def normalised(state):
    """Emptied rows all say it the same way, as a simulation may do between steps."""
    data = state.particles.data
    index = jnp.minimum(data.system.indices, N_SYSTEMS)
    return state._replace(particles=Table(data._replace(system=Index(index))))


def assert_settled(state, full):
    """The cache of a state is what a full evaluation gives."""
    cache, fresh = state.local_mliap_model.data.cache, full.patch.patches[-1].cache
    held = np.asarray(state.particles.data.system.indices) < N_SYSTEMS
    np.testing.assert_allclose(cache.totals, fresh.totals, rtol=1e-11)
    np.testing.assert_allclose(
        state.local_mliap_model.cache.total_energies.data, fresh.totals, rtol=1e-11
    )
    for name in ("node_init", "msg_sum", "energies"):
        np.testing.assert_allclose(
            np.asarray(getattr(cache, name))[held],
            np.asarray(getattr(fresh, name))[held],
            rtol=1e-11,
            atol=1e-11,
            err_msg=name,
        )


def test_updates_equal_full_evaluations():
    seen = {"edges": 0, "moves": set(), "verdicts": set(), "mixed": 0, "changed_energy": 0}

    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 10**6), steps)
    def run(seed, steps):
        state = initial(seed)
        for moves, accept, step_seed in steps:
            patch, accept, done = propose(state, moves, accept, step_seed)
            before = np.asarray(state.local_mliap_model.cache.total_energies.data)
            result = UPDATE(state, patch)
            proposed = UPDATE.composer.proposed(state, patch)
            energies = np.asarray(result.data.total_energies.data)
            np.testing.assert_allclose(
                energies, FULL(proposed).data.total_energies.data, rtol=1e-11
            )
            verdict = Table(jnp.asarray(accept))
            both = ComposedPatch((patch, result.patch))
            state = normalised(APPLY(both, state, verdict))
            full = FULL(state)
            assert_settled(state, full)
            settled = np.asarray(state.local_mliap_model.cache.total_energies.data)
            np.testing.assert_array_equal(settled, np.where(accept, energies, before))
            seen["edges"] += ps.n_edges(state)
            seen["moves"].update((move, a) for move in done for a in accept)
            seen["verdicts"].update(accept)
            seen["mixed"] += len(set(accept)) == 2
            seen["changed_energy"] += bool(np.any(np.abs(energies - before) > 1e-3))
        independent, _, _ = ps.reference(state.particles.data, ps.CELLS)
        np.testing.assert_allclose(settled, independent, rtol=1e-11)

    run()
    assert seen["edges"] > 1000 and seen["verdicts"] == {True, False}
    assert seen["moves"] == {(m, a) for m in MOVES[1:] for a in (True, False)}
    assert seen["mixed"] > 20 and seen["changed_energy"] > 50


@pytest.mark.parametrize("groups", [False, True])
def test_edges_of_changes_against_brute_force(groups):
    """All edges, and those before and after a change, in cells smaller than the cutoff."""
    counts = []
    neighborlist = VesinNeighborList()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32 - 1), st.integers(1, 4))
    def run(seed, n_changed):
        rng = np.random.default_rng(seed)
        cells = ps.CELLS + rng.normal(size=(3, 3, 3)) * 0.3 * (ps.CELLS.any(axis=2)[..., None])
        cutoffs = rng.uniform(2.0, 4.0, 3)
        points = ps.particles(seed, cells=cells)
        n = len(points.positions)
        table = Table(points)
        systems, cutoff_table = Table(ps.Systems(cells)), Table(cutoffs)

        def allowed(edges, positions, inclusion, exclusion, system):
            if not groups:
                return edges
            kept = set()
            for i, j, *shift in edges:
                cell = np.where(cells[system[i]].any(axis=1)[:, None], cells[system[i]], np.eye(3))
                apart = (positions[j] - positions[i]) @ np.linalg.inv(cell)
                nearest = -np.round(apart) * cells[system[i]].any(axis=1)
                hidden = exclusion[i] == exclusion[j] and np.array_equal(shift, nearest)
                if inclusion[i] == inclusion[j] and not hidden:
                    kept.add((i, j, *shift))
            return kept

        inclusion, exclusion = rng.integers(0, 2, n), rng.integers(0, 4, n)
        if groups:
            table = Table(ps.Grouped(*points, Index(inclusion), Index(exclusion)))
        rows = rng.permutation(n)[:n_changed]
        new_system = rng.integers(0, 4, n_changed)
        new = ps.changes(
            np.append(rows, n),
            rng.uniform(-4, 4, (n_changed + 1, 3)),
            rng.integers(1, 9, n_changed + 1),
            np.append(new_system, 0),
        )
        old_positions, old_system = np.asarray(points.positions), np.asarray(points.system.indices)
        positions, system = old_positions.copy(), old_system.copy()
        positions[rows], system[rows] = np.asarray(new.data.positions)[:-1], new_system
        changes, before = new, type(new)(new.indices, table[new.indices])
        if groups:
            kept = Index(np.append(inclusion[rows], 0)), Index(np.append(exclusion[rows], 0))
            changes = type(new)(new.indices, ps.Grouped(*new.data, *kept))

        def found(changes):
            return ps.edge_set(neighborlist(table, changes, systems, cutoff_table), n)

        def touching(edges):
            return {e for e in edges if e[0] in rows or e[1] in rows}

        old = ps.brute_edges(old_positions, old_system, cells, cutoffs)
        old = allowed(old, old_positions, inclusion, exclusion, old_system)
        after = ps.brute_edges(positions, system, cells, cutoffs)
        after = allowed(after, positions, inclusion, exclusion, system)
        assert found(None) == old
        assert found(before) == touching(old)
        assert found(changes) == touching(after)
        own_images = sum(e[0] == e[1] for e in touching(after))
        counts.append((len(old), len(touching(old)), len(touching(after)), own_images))

    run()
    assert all(total > 100 for total in np.sum(counts, axis=0)), np.sum(counts, axis=0)
