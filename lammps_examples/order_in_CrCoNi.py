"""Short-range order in CrCoNi: which elements are neighbours, by `fix atom/swap` and dynamics.

Cuts NEP89 to the three elements (nep89.py fetches it; --nep names a nep.txt that is there) and runs
in.order_in_CrCoNi. The picture, order.png, shows the Warren-Cowley parameters of the first shell,

    alpha_ij = 1 - p_ij / c_j        p_ij: the share of element j among the neighbours of i

zero in a random alloy, negative where i and j attract each other. Everything goes to the folder
`demo`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from nep89 import fetch
from running import HERE, Table, convert, lmp, mean, options, plotting, save, thermo

SCRIPT = HERE / "in.order_in_CrCoNi"
SHOWN = re.compile(r"^mliap_local: [^el]|^ERROR|^WARNING|^\s+(Step|\d+00)\s")
ELEMENTS = ("Cr", "Co", "Ni")
SHORT = {"steps": 60, "timestep": 0.0005}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--nep", type=Path, help="a nep.txt file with Cr, Co and Ni")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        potential = arguments.nep or fetch(folder)
    except RuntimeError as error:
        sys.exit(f"{error}\nwithout a network name a nep.txt that has Cr, Co and Ni: --nep FILE")
    convert(folder, "CrCoNi.zip", "nep", potential.resolve(), "--elements", *ELEMENTS)
    print("\n64 Cr, 64 Co, 64 Ni at 800 K, swaps of each pair every 10 steps", flush=True)
    variables = SHORT if arguments.short else {}
    *_, table = thermo(lmp(folder, SCRIPT, "log.order", SHOWN, **variables))
    series = warren_cowley(table)
    report(table, series)
    draw(
        table,
        series,
        f"Short-range order in CrCoNi at 800 K, {potential.name}",
        folder / "order.png",
    )


def warren_cowley(table: Table) -> dict[str, np.ndarray]:
    """alpha of each pair, over the run; the composition is one third of each."""
    counts = np.zeros((3, 3, len(table["Step"])))
    for column, (i, j) in enumerate(zip(*np.triu_indices(3), strict=True), 1):
        counts[i, j] = counts[j, i] = table[f"c_pairs[{column}]"]
    alpha = 1 - 3 * counts / counts.sum(axis=1, keepdims=True)
    return {
        f"{ELEMENTS[i]}-{ELEMENTS[j]}": (alpha[i, j] + alpha[j, i]) / 2
        for i, j in zip(*np.triu_indices(3), strict=True)
    }


def report(table: Table, series: dict[str, np.ndarray]) -> None:
    """The second half of the run, and how many swaps were accepted."""
    print("\npair     alpha    error   (second half of the run)   swaps accepted")
    fixes = {"Cr-Co": "swap12", "Cr-Ni": "swap13", "Co-Ni": "swap23"}
    for name, values in series.items():
        alpha, error = mean(values[len(values) // 2 :])
        line = f"{name}{alpha:9.3f}{error:9.3f}"
        if fix := fixes.get(name):
            tried, accepted = (table[f"f_{fix}[{k}]"][-1] for k in (1, 2))
            line += f"{accepted / tried:43.1%}"
        print(line)


def draw(table: Table, series: dict[str, np.ndarray], title: str, path: Path) -> None:
    """alpha of each pair over the steps, and its mean over eleven rows around each."""
    if (pyplot := plotting()) is None:
        return
    figure, axes = pyplot.subplots(figsize=(6.5, 4))
    window = np.ones(11)
    for name, values in series.items():
        (line,) = axes.plot(table["Step"], values, alpha=0.25)
        if len(values) > len(window):
            total, rows = (np.convolve(v, window, "same") for v in (values, np.ones(len(values))))
            axes.plot(table["Step"], total / rows, color=line.get_color(), label=name)
        else:
            line.set(label=name, alpha=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("molecular dynamics step")
    axes.set_ylabel("Warren-Cowley parameter, first shell")
    axes.set_title(title)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


if __name__ == "__main__":
    main()
