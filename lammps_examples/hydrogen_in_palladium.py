"""An absorption isotherm: how much hydrogen palladium takes, over the chemical potential.

Converts the Pd-H potential that LAMMPS brings (eam/he) and runs in.hydrogen_in_palladium, where
`fix gcmc` and molecular dynamics at zero pressure take turns. LAMMPS's own eam/he then goes on from
two of the states that this leaves, and has to stay there. Everything goes to the folder `demo`, the
picture as isotherm.png.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from running import HERE, Table, convert, lmp, mean, options, plotting, potentials, save, thermo

SCRIPT = HERE / "in.hydrogen_in_palladium"
SHOWN = re.compile("^mu |^mliap_local: Pd|^ERROR|^WARNING")
# which points eam/he repeats, and with how many steps: its trials take several times as long, and
# far more at high loadings, where the number of atoms fluctuates slowly too
REPEATED, NATIVE = (2, 3), {"points": 1, "settle": 100, "steps": 500, "name": "native"}
NATIVE_SHORT = NATIVE | {"settle": 0, "steps": 60}
SHORT = {"points": 2, "first": -2.5, "spacing": 0.2, "settle": 100, "steps": 100}


class Point(NamedTuple):
    """What one chemical potential gave."""

    mu: float
    loading: float
    error: float  #: standard error of the loading
    insertions: float  #: accepted, of those tried
    deletions: float


def main() -> None:
    arguments = options(__doc__).parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    file = potentials() / "PdHHe.eam.he"
    convert(folder, "PdH.zip", "eam", file)
    print("\n108 Pd at 800 K, 300 trials every 10 steps", flush=True)
    ours = isotherm(folder, "log.palladium", SHORT if arguments.short else {})
    print("\nLAMMPS's own eam/he goes on", flush=True)
    variables = {"style": "eam/he", "potential": file}
    variables |= NATIVE_SHORT if arguments.short else NATIVE
    native = []
    for k in (1,) if arguments.short else REPEATED:
        variables |= {"first": ours[k - 1].mu, "start": f"palladium_{k}.data"}
        native += isotherm(folder, f"log.native_{k}", variables)
    report(ours, native)
    draw(ours, native, folder / "isotherm.png")


def isotherm(folder: Path, log: str, variables: dict) -> list[Point]:
    """Run the input file, and average each second run: the others were there to settle."""
    return [average(table) for table in thermo(lmp(folder, SCRIPT, log, SHOWN, **variables))[1::2]]


def average(table: Table) -> Point:
    """One run without its first row, which is the last of the run before."""
    loading, error = mean(table["v_loading"][1:])
    gained = {k: table[f"f_gas[{k}]"][-1] - table[f"f_gas[{k}]"][0] for k in (3, 4, 5, 6)}
    return Point(
        mu=table["v_mu"][0],
        loading=loading,
        error=error,
        insertions=gained[4] / gained[3],
        deletions=gained[6] / gained[5],
    )


def report(ours: list[Point], native: list[Point]) -> None:
    print("\n   mu, eV   H per Pd    error     accepted: insertions   deletions")
    for name, points in (("", ours), ("eam/he", native)):
        for p in points:
            print(
                f"{p.mu:9.2f}{p.loading:11.3f}{p.error:9.3f}{p.insertions:24.1%}"
                f"{p.deletions:12.1%}   {name}"
            )


def draw(ours: list[Point], native: list[Point], path: Path) -> None:
    """Loading over chemical potential."""
    if (pyplot := plotting()) is None:
        return
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, points, style in (("mliap_local", ours, "o-"), ("LAMMPS eam/he", native, "s")):
        mu, loading, error, *_ = zip(*points, strict=True)
        front = {"markerfacecolor": "none", "markersize": 10} if points is native else {}
        axes.errorbar(mu, loading, error, fmt=style, capsize=3, label=name, **front)
    axes.set_xlabel("chemical potential of H, eV")
    axes.set_ylabel("H per Pd")
    axes.set_title("Hydrogen in palladium at 800 K, fix gcmc")
    axes.legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()
