"""States, a small model and an independent evaluation for the tests of `mliap_local.local`.

Not a test. The numpy evaluation shares no code with the package.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mliap_local.core.lens import attribute_lens
from mliap_local.core.neighbours import VesinNeighborList
from mliap_local.core.potential import PotentialOut
from mliap_local.core.table import Index, Table, WithIndices
from mliap_local.local import LocalMLIAPCache, LocalMLIAPData, ParticlePatch, empty_cache

jax.config.update("jax_enable_x64", True)

EMBEDDING, MESSAGE = 3, 5  # not the same, so that mixing them up shows
CUTOFF = 3.0
PARTICLES = attribute_lens("particles")


class Particles(NamedTuple):
    positions: Any  # [n, 3]
    atomic_numbers: Any  # [n]
    system: Any  # Index, [n]


class Grouped(NamedTuple):
    positions: Any
    atomic_numbers: Any
    system: Any
    inclusion: Any  # Index, [n]
    exclusion: Any  # Index, [n]


class Systems(NamedTuple):
    unitcell: Any  # [s, 3, 3]


class Cached(NamedTuple):
    data: LocalMLIAPData
    cache: PotentialOut


class State(NamedTuple):
    particles: Table
    systems: Table
    neighborlist: Any
    local_mliap_model: Any


class FixedCapacity(VesinNeighborList):
    """Pads all edges to one size, so that a test compiles a full evaluation once."""

    def __call__(self, particles, changes, systems, cutoffs):
        edges = super().__call__(particles, changes, systems, cutoffs)
        return edges.padded(1024) if changes is None else edges


jax.tree_util.register_static(FixedCapacity)


def _weights(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).normal(size=shape) / np.sqrt(shape[0])


TABLE, RADIAL = _weights(120, EMBEDDING), _weights(4, MESSAGE)
RECEIVER, SENDER = _weights(EMBEDDING, MESSAGE), _weights(EMBEDDING, MESSAGE)
READ_H, READ_M, READ_OUT = _weights(EMBEDDING, 7), _weights(MESSAGE, 7), _weights(7, 1)
OFFSET = -3.0  # an isolated atom has an energy: deletions must take it away
N_TRACES = [0]


def node_init(numbers, xp=jnp, dtype=np.float64):
    return xp.asarray(TABLE, dtype)[numbers]


def edge(h_i, h_j, r_ij, xp=jnp):
    if xp is jnp:
        N_TRACES[0] += 1
    d = h_i.dtype
    r = xp.sqrt((r_ij * r_ij).sum(-1) + np.asarray(1e-4, d))
    waves = xp.stack([xp.cos(k * r + r_ij[:, 0] / 5) for k in range(4)], axis=-1)
    smooth = xp.where(r < CUTOFF, (1 - (r / CUTOFF) ** 2) ** 3, 0)
    kind = h_i @ RECEIVER.astype(d) + h_j @ SENDER.astype(d)
    return smooth[:, None] * (waves @ RADIAL.astype(d)) * (1 + kind + xp.tanh(kind))


def readout(h, sums, xp=jnp):
    hidden = xp.tanh(h @ READ_H.astype(h.dtype) + sums @ READ_M.astype(h.dtype))
    return (hidden @ READ_OUT.astype(h.dtype))[:, 0] + np.asarray(OFFSET, h.dtype)


def node_init_32(numbers):
    return node_init(numbers, dtype=np.float32)


def model(n_atoms, n_systems, init=node_init, edge_function=edge, readout_function=readout):
    place = LocalMLIAPCache(None, jnp.zeros((0, 0)))
    cutoff = Table(jnp.full(n_systems, CUTOFF))
    data = LocalMLIAPData(cutoff, init, edge_function, readout_function, place)
    return dataclasses.replace(data, cache=empty_cache(data, n_atoms, n_systems))


CELLS = np.array(
    [
        [[2.6, 0, 0], [0, 2.9, 0], [0.4, 0, 3.1]],  # smaller than the cutoff: atoms see themselves
        [[5.0, 0, 0], [0, 5.5, 0], [0, 1.0, 6.0]],
        [[6.2, 0, 0], [0, 4.0, 0], [0, 0, 0]],  # open in z
    ]
)


def particles(seed, n_systems=3, per_system=3, empty=4, cells=CELLS):
    """Scattered particles of every system, and empty rows between them."""
    rng = np.random.default_rng(seed)
    system = np.repeat(np.arange(n_systems), per_system)
    system = rng.permutation(np.concatenate([system, np.full(empty, n_systems)]))
    fractional = rng.random((len(system), 3))
    cell = cells[np.minimum(system, n_systems - 1)]
    positions = np.einsum("ns,nsx->nx", fractional, cell) + rng.normal(size=3) * 2
    numbers = rng.integers(1, 100, len(system))
    return Particles(jnp.asarray(positions), jnp.asarray(numbers), Index(jnp.asarray(system)))


def state(seed, n_systems=3, data=None, **keywords):
    points = particles(seed, n_systems, **keywords)
    n_atoms = len(points.positions)
    return State(
        Table(points),
        Table(Systems(jnp.asarray(CELLS[:n_systems]))),
        FixedCapacity(),
        data or model(n_atoms, n_systems),
    )


def changes(rows, positions, numbers, system):
    data = Particles(
        jnp.asarray(positions, float), jnp.asarray(numbers), Index(jnp.asarray(system))
    )
    return WithIndices(Index(jnp.asarray(rows)), data)


def proposal(rows, positions, numbers, system):
    return ParticlePatch(changes(rows, positions, numbers, system), PARTICLES)


def brute_edges(positions, system, cells, cutoffs):
    """The set of (receiver, sender, shift) closer than the cutoff, by trying all images."""
    found = set()
    for s, cell in enumerate(cells):
        periodic = np.any(cell != 0, axis=1)
        # Enough images for positions a few cells away.
        reach = [range(-6, 7) if axis else (0,) for axis in periodic]
        shifts = np.array(list(itertools.product(*reach)))  # -> [k, 3]
        members = np.flatnonzero(system == s)
        apart = positions[members][None] - positions[members][:, None]
        apart = apart + (shifts @ cell)[:, None, None]  # -> [k, i, j, 3]
        for k, i, j in zip(*np.nonzero((apart**2).sum(-1) < cutoffs[s] ** 2), strict=True):
            if i != j or shifts[k].any():
                found.add((int(members[i]), int(members[j]), *map(int, shifts[k])))
    return found


def edge_set(edges, n):
    indices, shifts = np.asarray(edges.indices.indices), np.asarray(edges.shifts)
    inside = ((indices >= 0) & (indices < n)).all(axis=1)
    rows = [tuple(row) for row in np.hstack([indices, shifts])[inside].tolist()]
    assert len(rows) == len(set(rows)), "an edge twice"
    return set(rows)


def n_edges(state):
    cutoffs = Table(np.full(state.systems.size, CUTOFF))
    edges = VesinNeighborList()(state.particles, None, state.systems, cutoffs)
    return int(edges.present(state.particles.size).sum())


def reference(points, cells, n_systems=3, cutoff=CUTOFF):
    """Energies of systems and message sums, evaluated by numpy over brute-force edges."""
    positions, numbers = np.asarray(points.positions), np.asarray(points.atomic_numbers)
    system = np.asarray(points.system.indices)
    h = node_init(numbers, np)
    edges = sorted(brute_edges(positions, system, cells, [cutoff] * n_systems))
    i, j = (np.array([e[k] for e in edges], int) for k in (0, 1))
    shifts = np.array([e[2:] for e in edges], float).reshape(-1, 3)
    shifts = np.einsum("es,esx->ex", shifts, np.asarray(cells)[system[i]])
    r_ij = positions[j] - positions[i] + shifts
    sums = np.zeros((len(positions), MESSAGE))
    np.add.at(sums, i, edge(h[i], h[j], r_ij, np))
    energies = readout(h, sums, np)
    totals = [energies[system == s].sum() for s in range(n_systems)]
    return np.array(totals), sums, len(edges)
