"""What an update of one moved atom costs, and that it does not depend on the number of atoms.

    python benchmarks/update.py [--atoms 1000 4000 16000 64000] [--precision 64bit]

Times the compiled `local_mliap_energy_update` and the compiled, donated patch, with the cache and
all positions on the device and the edges found beforehand; and for comparison an update that reads
out all atoms and returns a whole cache. Writes results/update.json. Neither a test nor installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from mliap_local.core.compiling import few_rows  # noqa: E402
from mliap_local.core.edges import PointCloud  # noqa: E402
from mliap_local.core.lens import IDENTITY_LENS  # noqa: E402
from mliap_local.core.neighbours import VesinNeighborList  # noqa: E402
from mliap_local.core.patch import accept_all  # noqa: E402
from mliap_local.core.table import Index, Table, WithIndices  # noqa: E402
from mliap_local.local import (  # noqa: E402
    LocalMLIAPCache,
    LocalMLIAPData,
    LocalMLIAPInput,
    empty_cache,
    local_mliap_energy_full,
    local_mliap_energy_update,
    messages,
)
from mliap_local.local.pairs import pair_change  # noqa: E402

CUTOFF, NEIGHBOURS = 5.0, 60
DENSITY = NEIGHBOURS / (4 / 3 * np.pi * CUTOFF**3)
CAPACITY = 192  # of new, and of deleted edges: about 120 are there
EMBEDDING, RADIAL, HIDDEN, MESSAGE = 4, 8, 64, 32  # an edge sees 4 + 4 + 8 = 16 numbers


class Particles(NamedTuple):
    positions: Any
    atomic_numbers: Any
    system: Any


class Systems(NamedTuple):
    unitcell: Any


def network(dtype: Any) -> LocalMLIAPData:
    """A 16 -> 64 -> 32 edge network with a readout of 36 -> 64 -> 1."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), dtype)

    table = weights(120, EMBEDDING)
    edge_1, edge_2 = weights(2 * EMBEDDING + RADIAL, HIDDEN), weights(HIDDEN, MESSAGE)
    read_1, read_2 = weights(EMBEDDING + MESSAGE, HIDDEN), weights(HIDDEN, 1)

    def edge(h_i: Any, h_j: Any, r_ij: Any) -> Any:
        r = jnp.sqrt(jnp.sum(r_ij * r_ij, axis=-1, keepdims=True) + jnp.asarray(1e-6, dtype))
        radial = jnp.cos(r * jnp.arange(RADIAL, dtype=dtype) * jnp.asarray(np.pi / CUTOFF, dtype))
        smooth = jnp.where(r < CUTOFF, (1 - (r / CUTOFF) ** 2) ** 2, 0)
        return jnp.tanh(jnp.concatenate([h_i, h_j, radial], axis=1) @ edge_1) @ edge_2 * smooth

    def readout(h: Any, sums: Any) -> Any:
        return (jnp.tanh(jnp.concatenate([h, sums], axis=1) @ read_1) @ read_2)[:, 0]

    place = LocalMLIAPCache(None, jnp.zeros((0, 0)))
    return LocalMLIAPData(Table(jnp.array([CUTOFF])), lambda z: table[z], edge, readout, place)


class Case(NamedTuple):
    cloud: PointCloud
    config: LocalMLIAPData
    trials: list[tuple[WithIndices, Any, Any]]


def case(n_atoms: int, dtype: Any, n_trials: int = 16) -> Case:
    """A gas of that many atoms, its settled cache, and some moves of one atom with their edges.

    Atoms are in order of bins of one cutoff, as LAMMPS sorts them too.
    """
    rng = np.random.default_rng(n_atoms)
    length = (n_atoms / DENSITY) ** (1 / 3)
    system = np.zeros(n_atoms, int)
    positions = rng.random((n_atoms, 3)) * length
    positions = positions[np.lexsort((positions // CUTOFF).T)]
    points = Particles(positions, rng.integers(1, 20, n_atoms), Index(system))
    table, systems = Table(points), Table(Systems(np.eye(3)[None] * length))
    cutoffs, neighborlist = Table(np.array([CUTOFF])), VesinNeighborList()
    model = network(dtype)
    model = dataclasses.replace(model, cache=empty_cache(model, n_atoms))
    edges = neighborlist(table, None, systems, cutoffs)
    cloud = jax.device_put(PointCloud(table, systems))
    inp = LocalMLIAPInput(cloud, None, edges, None, model, IDENTITY_LENS)
    patch = jax.jit(lambda inp: local_mliap_energy_full(inp).patch)(inp)
    cache = patch(model.cache, accept_all(1))
    trials = []
    for _ in range(n_trials):
        row = rng.integers(0, n_atoms, 1)
        moved = points.positions[row] + rng.normal(size=(1, 3)) * 0.3
        changes = WithIndices(
            Index(row), Particles(moved, points.atomic_numbers[row], Index(system[row]))
        )
        before = WithIndices(Index(row), jax.tree.map(lambda leaf, row=row: leaf[row], points))
        new, old = (neighborlist(table, c, systems, cutoffs) for c in (changes, before))
        trials.append((changes, new, old))
    trials = [
        (c, *(jax.tree.map(np.asarray, e.padded(CAPACITY)) for e in both)) for c, *both in trials
    ]
    return Case(cloud, dataclasses.replace(model, cache=cache), trials)


def update(config: Any, cloud: Any, changes: Any, new: Any, old: Any) -> Any:
    inp = LocalMLIAPInput(cloud, changes, new, old, config, IDENTITY_LENS)
    return local_mliap_energy_update(inp).patch


def update_reading_out_all(config: Any, cloud: Any, changes: Any, new: Any, old: Any) -> Any:
    """The same messages, then a readout of all atoms and a whole new cache."""
    inp = LocalMLIAPInput(cloud, changes, new, old, config, IDENTITY_LENS)
    change, cache = pair_change(inp), config.cache
    m_ij = messages(
        config,
        change.embeddings[change.receivers],
        change.senders,
        change.r_ij,
        change.weights != 0,
        config.cutoff.data[0],
    )
    m_ij = m_ij * change.weights[:, None].astype(m_ij.dtype)
    sums = cache.msg_sum.at[changes.indices.indices].set(0)
    sums = sums.at[change.rows[change.receivers]].add(m_ij, mode="drop")
    node_init = cache.node_init.at[change.rows].set(change.embeddings, mode="drop")
    energies = config.readout_function(node_init, sums)
    return LocalMLIAPCache(node_init, sums, energies, jnp.sum(energies, dtype=float)[None])


def settle(cache: LocalMLIAPCache, patch: Any, accept: Any) -> LocalMLIAPCache:
    return patch(cache, accept)


def milliseconds(call: Any, repeats: int) -> list[float]:
    times = []
    for k in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call(k))
        times.append(1e3 * (time.perf_counter() - start))
    return times


def measure(sizes: list[int], dtype: Any, rounds: int = 10, repeats: int = 30) -> list[dict]:
    """Medians; sizes take turns, so that a busy moment of the machine meets all of them."""
    rows_only = jax.jit(update, compiler_options=few_rows(jax.default_backend()))
    all_atoms = jax.jit(update_reading_out_all)
    apply = jax.jit(settle, donate_argnums=0)
    cases, results = [case(n, dtype) for n in sizes], []
    times: list[dict[str, list[float]]] = [
        {"update": [], "apply": [], "readout_of_all": []} for _ in sizes
    ]
    for turn in range(rounds + 1):
        for (cloud, config, trials), found in zip(cases, times, strict=True):

            def trial(f: Any, k: int, at: Any = (config, cloud, trials)) -> Any:
                return f(at[0], at[1], *at[2][k % len(at[2])])

            patches = [trial(rows_only, k) for k in range(repeats)]
            cache = [jax.tree.map(jnp.copy, config.cache)]

            def settled(k: int, patches: Any = patches, cache: Any = cache) -> Any:
                cache[0] = apply(cache[0], patches[k], accept_all_one)
                return cache[0]

            new = {
                "update": milliseconds(lambda k, t=trial: t(rows_only, k), repeats),
                "apply": milliseconds(settled, repeats),
            }
            if turn > rounds - 3:  # seldom: it leaves the processor's caches in disorder
                new["readout_of_all"] = milliseconds(lambda k, t=trial: t(all_atoms, k), 5)
            if turn > 0:  # the first turn compiles
                for name, values in new.items():
                    found[name].extend(values)
    for n, (_, config, trials), found in zip(sizes, cases, times, strict=True):
        _, new, old = trials[0]
        edges = [int(np.sum(e.present(n))) for e in (new, old)]
        medians = {name: statistics.median(values) for name, values in found.items()}
        patch = rows_only(config, cases[sizes.index(n)].cloud, *trials[0])
        agreed = all_atoms(config, cases[sizes.index(n)].cloud, *trials[0])
        difference = float(jnp.abs(patch.cache.totals - agreed.totals)[0])
        results.append({"atoms": n, "edges": edges, "disagreement": difference, **medians})
    return results


accept_all_one = accept_all(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[1000, 4000, 16000, 64000])
    parser.add_argument("--precision", nargs="+", default=["64bit", "32bit"])
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "unit": "milliseconds, median",
    }
    print(f"{'':>6} {'atoms':>7} {'update':>8} {'apply':>8} {'all':>8} {'all/update':>11}")
    for precision in arguments.precision:
        dtype = jnp.float32 if precision == "32bit" else jnp.float64
        results = measure(arguments.atoms, dtype, arguments.rounds)
        for row in results:
            ratio = row["readout_of_all"] / row["update"]
            print(
                f"{precision:>6} {row['atoms']:7d} {row['update']:8.3f} {row['apply']:8.3f} "
                f"{row['readout_of_all']:8.3f} {ratio:11.1f}"
            )
        report[precision] = results
        print(f"       largest over smallest: {results[-1]['update'] / results[0]['update']:.2f}")
    path = Path(__file__).parent / "results" / "update.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
