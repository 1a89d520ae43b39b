"""Pictures of what was measured, drawn again from results/*.json: nothing is timed here.

    python benchmarks/pictures.py

md.png: a step of molecular dynamics, microseconds an atom against atoms. models.png: families of
potentials, a step and a trial beside the native style or the family's own code.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

RESULTS = Path(__file__).parent / "results"
OURS, THEIRS = "tab:blue", "black"


def steps(rows: list[dict], path: Path) -> None:
    """Microseconds an atom and step against atoms, each column of milliseconds a line."""
    figure, axes = pyplot.subplots(figsize=(7, 4.5), constrained_layout=True)
    names = [name for name in rows[0] if name.endswith(", ms")]
    for name, colour in zip(names, (THEIRS, OURS, "tab:red", "tab:green"), strict=False):
        timed = [row for row in rows if row[name]]
        what = name.removesuffix(", ms")
        axes.loglog(
            [row["atoms"] for row in timed],
            [1e3 * row[name] / row["atoms"] for row in timed],
            "o-",
            color=colour,
            label="LAMMPS eam/alloy, one core"
            if what == "native"
            else f"mliap_local, {what if 'neural' in what else f'the same EAM, {what}'}",
        )
    axes.set(xlabel="Ni atoms", ylabel="microseconds an atom and step", ylim=(1, 40))
    axes.set_title("A step of molecular dynamics")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=120)


def families(table: dict[str, dict], path: Path) -> None:
    """Bars: a step and a trial of each potential, ours in 64bit and what is beside it."""
    ordered = sorted(table, key=lambda name: table[name]["ms"]["64bit, step"])
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 5), sharey=True, constrained_layout=True)
    for axes, what in zip(panels, ("step", "trial"), strict=True):
        for place, row in enumerate(table[name] for name in ordered):
            others = [n for n in row["ms"] if n.endswith(f", {what}") and "bit" not in n]
            bars = [(f"64bit, {what}", OURS), *((name, THEIRS) for name in others)]
            for shift, (name, colour) in zip((0.2, -0.2), bars, strict=False):
                axes.barh(place + shift, row["ms"][name], 0.4, color=colour)
        axes.set(xscale="log", xlabel=f"milliseconds a {what}, 2 000 atoms")
        axes.set_xlim(left=1 if what == "step" else 0.1)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(True, axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(table)), ordered)
    panels[0].invert_yaxis()
    names = ("mliap_local, 64bit", "LAMMPS's style; the family's own code")
    marks = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in (OURS, THEIRS)]
    figure.legend(marks, names, loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    steps(json.loads((RESULTS / "md.json").read_text())["native"], RESULTS / "md.png")
    families(json.loads((RESULTS / "models.json").read_text()), RESULTS / "models.png")


if __name__ == "__main__":
    main()
