"""Does a LAMMPS that opens and closes the pair style again and again keep its memory?

    python benchmarks/memory.py MODEL.zip [--elements Ni H] [--cycles 60] [--leaks | --valgrind LOG]

A cycle is `clear`, a box, `pair_style mliap_local`, a force evaluation and some trials of
`gcmc/mliap_local`. Prints the resident memory, and what a cycle of the second half adds to it.
With --leaks, in a process that has AddressSanitizer's run time (`make leaks`), LeakSanitizer looks
for memory that nobody points to any more; with --valgrind all of it runs under Valgrind
(`make valgrind`), which also sees memory that is read before it is written. What has no frame of
the plugin among the innermost is not ours: Python and JAX leave much behind by design. Exit code 1
where the plugin leaks.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

FRAMES = 6  # of an allocation: those of LAMMPS and Python around ours are the same for all
INPUT = """
clear
units metal
atom_modify map array
lattice fcc 3.52
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
mass 1 58.69
mass 2 1.008
set atom 1*8 type 2
displace_atoms all random 0.1 0.1 0.1 4711
pair_style mliap_local
pair_coeff * * {model} {elements}
group gas type 2
velocity all create 300 9
fix md all nve
fix g gas gcmc/mliap_local 1 10 10 2 {seed} 1500 -2.0 0.5
thermo 10
run 2
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("--elements", nargs=2, default=("Ni", "H"))
    options.add_argument("--cycles", type=int, default=60)
    options.add_argument("--leaks", action="store_true")
    options.add_argument("--valgrind", metavar="LOG", help="its own log: some MiB")
    asked = options.parse_args()
    if asked.valgrind:
        sys.exit(_valgrind(asked))
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    resident = []
    for cycle in range(asked.cycles):
        words = {"model": asked.model, "elements": " ".join(asked.elements), "seed": 100 + cycle}
        lmp.commands_string(INPUT.format(**words))
        gc.collect()
        resident.append(_resident())
        if cycle % 10 == 9:
            print(f"{cycle + 1:4d} cycles {resident[-1]:8.1f} MiB", flush=True)
    half = resident[asked.cycles // 2 :]
    slope = np.polyfit(range(len(half)), half, 1)[0] * 1024
    print(f"{slope:.1f} KiB a cycle in the second half")
    with open("/proc/self/maps") as maps:
        print(*{line.split()[-1] for line in maps if "mliap_localplugin.so" in line})
    lmp.command("clear")
    gc.collect()
    if asked.leaks:
        sys.exit(_leaks())


def _resident() -> float:
    """MiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _leaks() -> int:
    """Let LeakSanitizer look, and count what it says of the plugin."""
    with tempfile.TemporaryFile() as report:
        kept = os.dup(2)
        os.dup2(report.fileno(), 2)
        ctypes.CDLL(None).__lsan_do_recoverable_leak_check()
        os.dup2(kept, 2)
        report.seek(0)
        return _judged(report.read().decode(errors="replace"), "leak of")


def _valgrind(asked: argparse.Namespace) -> int:
    """Run this file again under Valgrind, and count what it says of the plugin."""
    words = ["valgrind", f"--log-file={asked.valgrind}", f"--num-callers={FRAMES}"]
    words += ["--fullpath-after=", "--leak-check=full", "--show-leak-kinds=definite"]
    words += [sys.executable, __file__, asked.model, f"--cycles={asked.cycles}"]
    words += ["--elements", *asked.elements]
    subprocess.run(words, check=True, env=os.environ | {"PYTHONMALLOC": "malloc"})
    with open(asked.valgrind) as log:
        return _judged(re.sub(r"^==\d+== ?", "", log.read(), flags=re.M), " at 0x")


def _judged(report: str, sign: str) -> int:
    """Print those paragraphs of a report that have the sign and are of the plugin; an exit code."""
    blocks = [part for part in re.split(r"\n\s*\n", report) if sign in part]
    if not blocks:  # Python alone leaves some: then it has not looked
        print(report[-2000:])
        return 2
    ours = [
        part for part in blocks if re.search("mliap_localplugin|_bridge_cffi|cpp_bridge/", part)
    ]
    print(f"{len(blocks)} places, of which {len(ours)} are of the plugin")
    print("\n\n".join(ours), end="")
    return 1 if ours else 0


if __name__ == "__main__":
    main()
