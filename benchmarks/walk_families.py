"""Potentials of every family for random walks: LAMMPS's own style beside ours where it has one.

A name gives two elements, a lattice constant of fcc that they bear, what makes the model, and the
native pair style; without one the other side is ours with `cache no` and a neighbour search of its
own at each energy. Makes files; runs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1] / "tests"


class Family(NamedTuple):
    elements: str
    lattice: float
    make: str | Callable[[Path], str]  # words of `mliap-local convert`; @/ is LAMMPS's folder
    native: str = ""


def _nep(folder: Path) -> str:
    import oracle_nep

    header = oracle_nep.RANDOM["l 4 2 1, ZBL, three elements"]
    return f"nep {oracle_nep.write_random(folder / 'nep.txt', header)}"


def _mtp(folder: Path) -> str:
    import oracle_mtp

    header = oracle_mtp.Header(10, "Ni H", (1.0, 5.0, 7))
    return f"mtp {oracle_mtp.write_random(folder / 'random.mtp', header)} Ni H"


def _deepmd(folder: Path) -> str:
    import oracle_deepmd

    oracle_deepmd.run(folder, {"random.dp": {"script": oracle_deepmd.script([{}])}})
    return f"deepmd {folder}/random.dp"


def _eam(style: str, file: str, elements: str) -> str:
    return f"pair_style eam/{style}\npair_coeff * * @/{file} {elements}"


FAMILIES = {
    "fs": Family(*("Ni H", 3.52, "eam @/NiAlH_jea.eam.fs"), _eam("fs", "NiAlH_jea.eam.fs", "Ni H")),
    "he": Family(*("Pd H", 3.89, "eam @/PdHHe.eam.he"), _eam("he", "PdHHe.eam.he", "Pd H")),
    # AlCu.adp has a slope where its tables end, short of the cutoff: LAMMPS gives it to forces of
    # 1e-8 there, though the energy is constant
    "adp": Family(
        *("Ni Ni", 3.52, "adp @/Ni.adp"), "pair_style adp\npair_coeff * * @/Ni.adp Ni Ni"
    ),
    "sw": Family(*("Ga N", 4.0, "sw @/GaN.sw Ga N"), "pair_style sw\npair_coeff * * @/GaN.sw Ga N"),
    "snap": Family(
        *("Ta Ta", 4.1, "snap @/Ta06A.snapcoeff @/Ta06A.snapparam Ta --zbl 4 4.8 Ta=73"),
        "pair_style hybrid/overlay zbl 4 4.8 snap\npair_coeff * * zbl 73 73\n"
        "pair_coeff * * snap @/Ta06A.snapcoeff @/Ta06A.snapparam Ta Ta",
    ),
    "lj": Family(
        *("Ar Ar", 3.6, "lj --element Ar --epsilon 0.1 --sigma 2.2 --cutoff 5 --units metal"),
        "pair_style lj/cut 5.0\npair_coeff * * 0.1 2.2",
    ),
    "nep": Family("Ni H", 3.52, _nep),
    "mtp": Family("Ni H", 3.52, _mtp),
    "ace": Family("Cu Cu", 3.62, "ace @/Cu-PBE-core-rep.ace"),
    "neural": Family("Ni H", 3.52, ""),  # three functions of one's own
    "deepmd": Family("Ni H", 3.52, _deepmd),
}


def pairs(name: str) -> tuple[str, str]:
    """Pair style and coefficients: ours and the other."""
    family = FAMILIES[name]
    ours = "pair_style mliap_local{}\n" + f"pair_coeff * * @{name}_model {family.elements}"
    return ours.format(""), family.native or ours.format(" cache no verify 1")


def make(name: str, target: Path, potentials: Path) -> None:
    """Write the model of a family."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    from mliap_local import cli

    words = FAMILIES[name].make
    if name == "neural":
        import conftest

        conftest._neural(target, "64bit")
        return
    words = words if isinstance(words, str) else words(target.parent)
    cli.main(["convert", *words.replace("@/", f"{potentials}/").split(), "-o", str(target)])
