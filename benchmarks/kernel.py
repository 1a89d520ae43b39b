"""How far the compiled kernels are from what one core can do, and what stands between.

The pair style runs each model once, on nickel (SNAP: tantalum), and the largest share of atoms that
it hands to its kernel is kept. That call is timed on one core, in turns with a plain matrix product
of that precision and a plain copy of 128 MB. *operations*: XLA's own count, with comparisons and
with padding; *exp*: its count of exponentials, roots and their like. *in and out*: a share's
arrays, each once, for XLA's own count of bytes takes each look-up for the whole table. Writes
results/kernel.json.

    python benchmarks/kernel.py [eam neural64 ...] [--rounds 9] [--data FOLDER] [--look FOLDER]

--look: each kernel is compiled anew with XLA's dumps in that folder, and what takes longest in it
is printed: the time of operations as JAX's profiler books it, how many of their instructions on
reals work on vectors, which transcendental functions they hold.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gcmc
import neural
import numpy as np

RESULTS = Path(__file__).parent / "results" / "kernel.json"
NICKEL = "fcc 3.52", 14
MODELS = {  # what converts it or its precision, element, lattice, cells
    "eam": ("eam NiAlH_jea.eam.alloy", "Ni", *NICKEL),
    "neural64": ("64bit", "Ni", *NICKEL),
    "neural32": ("32bit", "Ni", *NICKEL),
    "snap": ("snap Ta06A.snapcoeff Ta06A.snapparam Ta --zbl 4 4.8 Ta=73", "Ta", "bcc 3.316", 13),
    "nep": ("nep {}/nep89.txt --elements Fe Cr Ni", "Ni", *NICKEL),
}
SYSTEM = """
units metal
atom_modify map array
lattice {1}
region box block 0 {2} 0 {2} 0 {2}
create_box 1 box
create_atoms 1 box
mass 1 58.69
displace_atoms all random 0.05 0.05 0.05 4711
pair_style mliap_local
pair_coeff * * {3} {0}
"""
TRANSCENDENTAL = "exponential|tanh|logistic|log|power|cosine|sine|cbrt|erf"


def make(name: str, folder: Path, data: Path) -> Path:
    """The model's file."""
    what, file = MODELS[name][0].format(data), folder / f"{name}.zip"
    if what in ("64bit", "32bit"):
        return neural.write(file, what)
    command = [sys.executable, "-m", "mliap_local.cli", "convert", *what.split(), "-o", file]
    subprocess.check_call(command, stdout=subprocess.DEVNULL)
    return file


def largest_share(name: str, file: Path) -> tuple[Any, Any]:
    """The compiled kernel, and the arguments of the largest call that the pair style made."""
    import jax
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    lmp.commands_string(SYSTEM.format(*MODELS[name][1:], file))
    kernels = gcmc.newest_session()._kernels
    forces, calls = kernels.forces, []

    def keep(rows: Any) -> Any:
        calls.append(jax.tree.map(lambda leaf: jax.device_put(np.array(leaf)), rows))
        return forces(rows)

    kernels.forces = keep
    lmp.command("run 0")
    kernels.forces = forces
    lmp.close()
    rows = max(calls, key=lambda rows: int(rows.n_rows))
    return forces.lower(rows).compile(), rows


def measure(name: str, file: Path, rounds: int) -> tuple[dict[str, Any], Any, Any]:
    """A line of the table, the kernel and its arguments."""
    import jax

    compiled, rows = largest_share(name, file)
    analysis, n = compiled.cost_analysis(), int(rows.n_rows)
    blocks = -(-n // rows.block)  # XLA counts the loop over them once
    source, target = np.ones(2**27, np.uint8), np.zeros(2**27, np.uint8)
    edges = int(np.sum(np.asarray(rows.neighbour_species)[:n] >= 0))
    a = jax.device_put(np.ones((1500, 1500), rows.r_ij.dtype))
    product = jax.jit(lambda a: a @ a)
    tasks = {
        "share": (lambda: jax.block_until_ready(compiled(rows)), blocks * analysis["flops"]),
        "product": (lambda: product(a).block_until_ready(), 2.0 * 1500**3),
        "copy": (lambda: np.copyto(target, source), 2.0 * 2**27),
    }
    in_and_out = sum(leaf.nbytes for leaf in jax.tree.leaves((rows, compiled(rows))))
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task, (function, _) in tasks.items():
            begin = time.perf_counter()
            function()
            seconds[task].append(time.perf_counter() - begin)
    median = {task: statistics.median(times[1:]) for task, times in seconds.items()}
    rate = {task: count / median[task] / 1e9 for task, (_, count) in tasks.items()}
    moved = in_and_out / median["share"] / 1e9
    row = {
        "model": name,
        "atoms": n,
        "edges": edges,
        "ns an edge": 1e9 * median["share"] / edges,
        "operations an edge": blocks * analysis["flops"] / edges,
        "exp an edge": blocks * analysis.get("transcendentals", 0.0) / edges,
        "GF/s": rate["share"],
        "of a matrix product, %": 100 * rate["share"] / rate["product"],
        "in and out, GB/s": moved,
        "of a copy, %": 100 * moved / rate["copy"],
        "product, GF/s": rate["product"],
        "copy, GB/s": rate["copy"],
    }
    return row, compiled, rows


def look(compiled: Any, rows: Any, dump: Path) -> None:
    """Print what takes longest in the kernel, and what it is made of."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(compiled(rows))
        (trace,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    times = collections.defaultdict(list)
    for event in events:
        times[event.get("name")].append(event.get("dur", 0.0))
    text = compiled.as_text()
    bodies = {body[0].split(" ")[0].lstrip("%"): body for body in _computations(text)}
    fusions = re.findall(r"%(\S+) = (\S+) fusion\(.*?calls=%([\w.-]+)", text)
    print(f"  {len(fusions)} fusions, {len(re.findall('conditional', text))} branches")
    # medians: another process that got between would count for much
    booked = [(len(times[f[0]]) * statistics.median(times[f[0]] or [0]), *f) for f in fusions]
    booked.sort(reverse=True)
    total = sum(spent for spent, *_ in booked)
    for spent, fusion, shape, body in booked[:12]:
        code = "\n".join(bodies.get(body, []))
        held = collections.Counter(re.findall(rf" ({TRANSCENDENTAL}|dot|gather)\(", code))
        vectors = alone = 0
        names = f"*.{fusion}_kernel_module", f"*_compute_module_{fusion}"
        for file in (f for name in names for f in dump.glob(f"{name}.ir-with-opt.ll")):
            for line in re.findall(r"= f(?:add|sub|mul|div|cmp).*", file.read_text()):
                vectors, alone = (vectors + 1, alone) if " x " in line else (vectors, alone + 1)
        print(
            f"  {100 * spent / total:5.1f} % {fusion:34}{shape.split('{')[0]:18}"
            f"{vectors:4} on vectors,{alone:4} not; {dict(held) or ''}"
        )


def _computations(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("%")]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--data", type=Path, default=Path("data"), help="where nep89.txt is")
    options.add_argument("--look", type=Path)
    arguments = options.parse_args()
    names = arguments.names or list(MODELS)
    if len(names) > 1:  # one process each: XLA reads its options once
        rest = [word for word in sys.argv[1:] if word not in names]
        for name in names:
            subprocess.check_call([sys.executable, __file__, name, *rest])
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    (name,), dump = names, arguments.look and arguments.look / names[0]
    os.environ["NPROC"] = "1"
    if dump:
        flags = f"--xla_dump_to={dump} --xla_dump_hlo_module_re=.*_forces.*"
        os.environ.update({"XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "false"})
    with tempfile.TemporaryDirectory() as folder:
        file = make(name, Path(folder), arguments.data)
        row, compiled, rows = measure(name, file, arguments.rounds)
    for key, value in row.items():
        print(f"  {key:28}{value:.3g}" if isinstance(value, float) else f"  {key:28}{value}")
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(table | {name: row}, indent=1))
    if dump:
        look(compiled, rows, dump)


if __name__ == "__main__":
    main()
