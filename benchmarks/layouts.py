"""Two ways to lay out edges, with and without blocks: energy and gradient of the neural model.

pairs: one array of edges, messages scattered to their receivers, all edges at once: what a JAX user
would write first. rows: neighbours of an atom side by side, messages summed along an axis. blocks:
rows evaluated a few atoms at a time, the gradient inside the block. Writes results/layouts.json.

    python benchmarks/layouts.py [--atoms 1000 4000] [--repetitions 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import neural
import numpy as np

jax.config.update("jax_enable_x64", True)
NEIGHBOURS = 60


def random_rows(n_atoms: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Species and vectors of atoms with 60 neighbours each, (n, 60) and (n, 60, 3)."""
    random = np.random.default_rng(0)
    direction = random.normal(size=(n_atoms, NEIGHBOURS, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    distance = random.uniform(2.2, neural.CUTOFF, size=(n_atoms, NEIGHBOURS, 1))
    return np.zeros((n_atoms, NEIGHBOURS), np.int32), (direction * distance).astype(dtype)


def layouts(n_atoms: int, precision: str):
    """Name -> a function without arguments that evaluates energy and gradient."""
    from mliap_local.core import padding
    from mliap_local.core.table import Table
    from mliap_local.lammps.rows import NeighbourRows
    from mliap_local.local import LocalMLIAPCache, LocalMLIAPData

    node_init, edge, readout = neural.functions(precision)
    dtype = np.float32 if precision == "32bit" else np.float64
    species, r_ij = random_rows(n_atoms, dtype)
    receivers = np.repeat(np.arange(n_atoms, dtype=np.int32), NEIGHBOURS)
    numbers = np.full(n_atoms, 28, np.int32)

    @jax.jit
    @jax.value_and_grad
    def pairs(r):
        h = node_init(numbers)
        messages = edge(h[receivers], h[receivers], r)
        sums = jnp.zeros((n_atoms, messages.shape[1]), r.dtype).at[receivers].add(messages)
        return readout(h, sums).sum()

    @jax.jit
    @jax.value_and_grad
    def rows(r):
        h = node_init(numbers)
        messages = edge(h[receivers], h[receivers], r.reshape(-1, 3))
        return readout(h, messages.reshape(n_atoms, NEIGHBOURS, -1).sum(axis=1)).sum()

    model = LocalMLIAPData(
        Table(np.full(1, neural.CUTOFF)),
        node_init,
        edge,
        readout,
        LocalMLIAPCache(None, np.zeros((0, 0))),
    )
    block = padding.block_rows(NEIGHBOURS, 64, n_atoms)
    capacity = padding.row_capacity(n_atoms, block)

    def padded(array, fill):
        out = np.full((capacity, *array.shape[1:]), fill, array.dtype)
        out[:n_atoms] = array
        return out

    arrays = NeighbourRows(
        (28,),
        np.int32(n_atoms),
        padded(species[:, 0], -1),
        padded(species, -1),
        np.moveaxis(padded(r_ij, 0), 2, 0).copy(),
        block=block,
    )

    @jax.jit
    def blocks(arrays):
        terms, gradient = arrays.terms_and_gradient(model)
        return terms.energies.sum(), gradient

    flat = r_ij.reshape(-1, 3)
    return {
        "pairs": lambda: pairs(flat),
        "rows": lambda: rows(r_ij),
        "blocks of rows": lambda: blocks(arrays),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--atoms", type=int, nargs="+", default=[1000, 4000])
    options.add_argument("--repetitions", type=int, default=5)
    arguments = options.parse_args()
    table = []
    for precision in ("64bit", "32bit"):
        for n_atoms in arguments.atoms:
            functions = layouts(n_atoms, precision)
            times = {name: [] for name in functions}
            energies = {name: float(function()[0]) for name, function in functions.items()}
            assert np.ptp(list(energies.values())) < 1e-4 * abs(energies["pairs"]), energies
            for _ in range(arguments.repetitions):  # in turns: the machine is as noisy for all
                for name, function in functions.items():
                    start = time.perf_counter()
                    jax.block_until_ready(function())
                    times[name].append(time.perf_counter() - start)
            row = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
            table.append({"precision": precision, "atoms": n_atoms, "milliseconds": row})
            print(
                f"{precision} {n_atoms:6d} atoms: "
                + ", ".join(f"{name} {ms:.0f} ms" for name, ms in row.items())
                + f"; blocks / pairs {row['blocks of rows'] / row['pairs']:.2f}",
                flush=True,
            )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "layouts.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
