"""The main job in a minute: hydrogen goes into nickel, by `fix gcmc` and molecular dynamics.

Converts the EAM potential that LAMMPS brings, runs in.hydrogen_in_nickel with `lmp`, draws the
loading, then times trials of the loaded crystal: LAMMPS's fix gcmc with mliap_local and with
LAMMPS's own eam/alloy, and fix gcmc/mliap_local beside that, and ends with a report of the run.
Everything it writes goes to the folder `demo`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from running import HERE, convert, lmp, plotting, potentials, report, save, thermo

OURS = "pair_style mliap_local\npair_coeff * * NiAlH.zip Ni H"

TIMING = """
units metal
atom_style atomic
pair_style zero 6.0
read_data hydrogen_in_nickel.data nocoeff
replicate 2 2 2
{style}
mass 1 58.69
mass 2 1.008
group hydrogen type 2
fix gas hydrogen {fix} 1 {trials} {trials} 2 4711 1000.0 -2.55 0.5 full_energy &
    group hydrogen {model}
thermo_style custom step atoms f_gas[1] f_gas[3] f_gas[5]
thermo 1
run 1
run 1
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("demo"), help="where to write")
    options.add_argument("--steps", type=int, default=600, help="molecular dynamics steps")
    arguments = options.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    potential = potentials() / "NiAlH_jea.eam.alloy"
    convert(folder, "NiAlH.zip", "eam", potential)
    print("\nhybrid GCMC/MD: 256 Ni at 1000 K, 200 trials every 10 steps", flush=True)
    show = re.compile(r"^\s+(Step\s|\d+0\s)|^mliap_local:|^ERROR|^WARNING")
    script = HERE / "in.hydrogen_in_nickel"
    log = lmp(folder, script, "log.hydrogen", show, steps=arguments.steps)
    *_, table = thermo(log)
    summary(table)
    draw(table, folder / "loading.png")
    compare(folder, potential)
    report(folder, "log.hydrogen", "v_loading")


def summary(table: dict[str, list[float]]) -> None:
    last = {name: column[-1] for name, column in table.items()}
    print(f"\nloading reached: {last['v_loading']:.3f} H per Ni ({last['Atoms'] - 256:.0f} H)")
    for name, attempts, accepted in (
        ("translations", "f_gas[1]", "f_gas[2]"),
        ("insertions", "f_gas[3]", "f_gas[4]"),
        ("deletions", "f_gas[5]", "f_gas[6]"),
    ):
        share = last[accepted] / max(last[attempts], 1)
        print(
            f"{name + ':':14s}{last[accepted]:7.0f} of {last[attempts]:6.0f} accepted ({share:.1%})"
        )


def draw(table: dict[str, list[float]], path: Path) -> None:
    """Loading against step, with the acceptance of insertions and deletions below."""
    if (pyplot := plotting()) is None:
        return
    figure, (upper, lower) = pyplot.subplots(
        2, 1, sharex=True, figsize=(7, 6), height_ratios=(2, 1)
    )
    upper.plot(table["Step"], table["v_loading"], color="tab:blue")
    upper.set_ylabel("H per Ni")
    upper.set_title("Hydrogen in nickel at 1000 K, fix gcmc with mliap_local")
    for name, column, colour in (
        ("insertions", "f_gas[4]", "tab:green"),
        ("deletions", "f_gas[6]", "tab:red"),
    ):
        lower.plot(table["Step"], table[column], label=name, color=colour)
    lower.set_ylabel("accepted")
    lower.set_xlabel("molecular dynamics step")
    lower.legend(frameon=False)
    save(figure, path)


def compare(folder: Path, potential: Path) -> None:
    """Trials per second of the loaded crystal, eight times as large."""
    native = f"pair_style eam/alloy\npair_coeff * * {potential} Ni H"
    print("\ntrials per second, the loaded crystal replicated 2 x 2 x 2:", flush=True)
    rates = {}
    for name, style, fix, trials in (
        ("eam/alloy", native, "gcmc", 50),
        ("mliap_local", OURS, "gcmc", 500),
        ("eam/alloy, fix gcmc/mliap_local", native, "gcmc/mliap_local", 2000),
    ):
        model = "model NiAlH.zip Ni H" if fix != "gcmc" else ""
        words = {"style": style, "fix": fix, "trials": trials, "model": model}
        (folder / "in.timing").write_text(TIMING.format(**words))
        log = lmp(folder, "in.timing", "none", re.compile("ERROR"))
        *_, table = thermo(log)
        done = sum(table[f"f_gas[{k}]"][-1] - table[f"f_gas[{k}]"][0] for k in (1, 3, 5))
        *_, seconds = re.findall(r"^Modify\s*\|\s*\S+\s*\|\s*(\S+)", log, re.MULTILINE)
        rates[name] = done / float(seconds)
        print(f"  {name:32s}{rates[name]:8.0f}   ({table['Atoms'][-1]:.0f} atoms)", flush=True)
    print(f"  mliap_local is {rates['mliap_local'] / rates['eam/alloy']:.0f} times faster,")
    print(f"  and our own fix {rates[name] / rates['eam/alloy']:.0f} times")


if __name__ == "__main__":
    main()
