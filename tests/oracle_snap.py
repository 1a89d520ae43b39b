"""SNAP against native `snap`, with `zbl` overlaid where a potential's own input has it.

`rows()` evaluates a few potentials, `rows(all=True)` every SNAP file of the installed LAMMPS. Runs
LAMMPS; asserts nothing about the differences, which is for tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from conftest import Runner, potentials

jax.config.update("jax_enable_x64", True)

from mliap_local import export_model  # noqa: E402
from mliap_local.models import ELEMENT_SYMBOLS, Converted, snap  # noqa: E402

#: name: elements, bcc lattice constant, and inner and outer radius of the overlaid zbl.
POTENTIALS = {
    "Ta06A": ("Ta", 3.32, (4.0, 4.8)),
    "WBe_Wood_PRB2019": ("W Be", 3.1, (4.0, 4.8)),
    "InP_JCPA2020": ("In P", 3.6, (4.0, 4.2)),
    "Mo_Zuo_JPCA2020.quadratic": ("Mo", 3.15, None),
    "W_2940_2017_2": ("W", 3.18, (4.0, 4.8)),
    "Mo_Chen_PRM2017": ("Mo", 3.15, None),
    "Mo_Zuo_JPCA2020": ("Mo", 3.15, None),
    "C_SNAP_2021.10.15.quadratic": ("C", 2.4, None),
    **{
        f"{element}_Zuo_JPCA2020{form}": (element, lattice, None)
        for element, lattice in (("Cu", 2.87), ("Ge", 3.6), ("Li", 3.5), ("Ni", 2.8), ("Si", 3.4))
        for form in ("", ".quadratic")
    },
}
CHEAP = ("Ta06A",)


def crystal(elements: str, lattice: float, cells: str = "2 2 3", jitter: float = 0.08) -> str:
    """A jittered body-centred crystal, elements in turn."""
    n = len(elements.split())
    x, y, z = cells.split()
    return f"""
units metal
atom_style atomic
atom_modify map array
lattice bcc {lattice}
region box block 0 {x} 0 {y} 0 {z}
create_box {n} box
create_atoms 1 box
set type 1 type/fraction {n} {0.4 if n > 1 else 0} 11
mass * 50
displace_atoms all random {jitter * lattice} {jitter * lattice} {jitter * lattice} 4711
"""


def native(name: str, elements: str, zbl: tuple[float, float] | None, folder: Path) -> str:
    """The native style."""
    files = f"{folder / name}.snapcoeff {folder / name}.snapparam {elements}"
    if not zbl:
        return f"pair_style snap\npair_coeff * * {files}"
    charges = [ELEMENT_SYMBOLS.index(element) for element in elements.split()]
    pairs = [
        f"pair_coeff {i + 1} {j + 1} zbl {charges[i]} {charges[j]}"
        for j in range(len(charges))
        for i in range(j + 1)
    ]
    style = f"pair_style hybrid/overlay zbl {zbl[0]} {zbl[1]} snap"
    return "\n".join([style, *pairs, f"pair_coeff * * snap {files}"])


def arguments(name: str, elements: str, zbl: tuple[float, float] | None, folder: Path) -> list[str]:
    """The words of `mliap-local convert`, but for the output."""
    words = ["snap", f"{folder / name}.snapcoeff", f"{folder / name}.snapparam", *elements.split()]
    if zbl:
        charges = [f"{element}={ELEMENT_SYMBOLS.index(element)}" for element in elements.split()]
        words += ["--zbl", *map(str, zbl), *charges]
    return words


def converted(words: list[str]) -> Converted:
    """What `convert` makes before it is written."""
    parser = argparse.ArgumentParser()
    snap.add_arguments(parser)
    return snap.convert(parser.parse_args(words[1:]))


def quick_convert(words: list[str], target: Path) -> str:
    """What `convert` writes, for forces on a CPU alone and unchecked; return the pair style."""
    made = converted(words)
    export_model(
        target,
        *made.functions,
        cutoff=made.cutoff,
        elements=made.elements,
        vjp_order=1,
        platforms=["cpu"],
        checks=False,
    )
    return f"pair_style mliap_local\npair_coeff * * {target} {' '.join(made.elements)}"


def difference(
    runner: Runner, systems: list[str], ours: str, theirs: str
) -> tuple[float, float, float]:
    """Largest relative differences of energies, forces and pressures over systems."""
    largest = [0.0, 0.0, 0.0]
    for system in systems:
        one, other = runner.evaluate(system, ours), runner.evaluate(system, theirs)
        pairs = (
            (np.array([one.energy]), np.array([other.energy])),
            (one.forces, other.forces),
            (one.pressure, other.pressure),
        )
        for kind, (a, b) in enumerate(pairs):
            if np.abs(b).max() > 1e-6:  # forces vanish by symmetry in some systems
                largest[kind] = max(largest[kind], float(np.abs(a - b).max() / np.abs(b).max()))
            else:
                assert np.abs(a).max() < 1e-6
    return largest[0], largest[1], largest[2]


def rows(
    all: bool = False, runner: Runner | None = None
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield potential, oracle, and the largest relative differences of energy, forces, pressure."""
    runner = runner or Runner()
    found = {path.name.removesuffix(".snapcoeff") for path in potentials().glob("*.snapcoeff")}
    assert found == set(POTENTIALS)
    with tempfile.TemporaryDirectory() as folder:
        for name in POTENTIALS if all else CHEAP:
            elements, lattice, zbl = POTENTIALS[name]
            words = arguments(name, elements, zbl, potentials())
            ours = quick_convert(words, Path(folder) / f"{name}.zip")
            systems = [crystal(elements, lattice * scale) for scale in (1.0, 0.95, 1.05)]
            theirs = native(name, elements, zbl, potentials())
            oracle = "native snap" + (" and zbl" if zbl else "")
            yield name, oracle, *difference(runner, systems, ours, theirs)


if __name__ == "__main__":
    for row in rows(all="--all" in sys.argv[1:]):
        print("{:30s}{:22s}{:9.0e}{:9.0e}{:9.0e}".format(*row), flush=True)
