"""Random files for every reader: a good result or one line of error, and nothing else.

    python benchmarks/fuzz.py [FORMAT ...] [--inputs 100000] [--first 0]
    python benchmarks/fuzz.py FORMAT --show 4711    # print an input that failed

Inputs are those of tests/fuzzing.py, told by format and number. Each format is read in a process of
its own, which an input may end or keep: that is a failure, but for `programs`, mutated StableHLO,
whose readers are not ours. Such a file is given to `read_model` as users do, in a fresh process,
which must survive: the child process ends for it. Writes results/fuzz.json.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
MOST_FAILURES = 50  # of a format: then it is enough
PATIENCE = 20  # seconds for an input, where no interpreter would see the time that tests allow
ALONE = 600  # seconds for a process of its own: more than the limit of those that try new files


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("formats", nargs="*", metavar="FORMAT")
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--show", type=int, metavar="NUMBER")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.worker:
        work(asked.formats[0], asked.first, asked.inputs, asked.worker)
        return
    from fuzzing import FORMATS, made

    if asked.show is not None:
        for name, content in made(asked.formats[0], asked.show).items():
            print(name, content if len(content) < 20_000 else f"{content[:20_000]!r} ...")
        return
    path = HERE / "results" / "fuzz.json"
    table = {}
    failures: list[str] = []
    for name in asked.formats or FORMATS:
        counts, failed = all_inputs(name, asked.first, asked.inputs)
        failures += failed
        print(f"{name:<12}" + ", ".join(f"{value} {key}" for key, value in counts.items()))
        print("".join(f"  {line}\n" for line in failed), end="", flush=True)
        table[name] = counts
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | table, indent=1) + "\n")
    sys.exit(f"{len(failures)} inputs failed" if failures else 0)


def all_inputs(name: str, first: int, inputs: int) -> tuple[dict[str, float], list[str]]:
    """Try them in as many processes as it takes; return counts and failures."""
    counts: dict[str, float] = {"inputs": inputs, "read": 0, "refused": 0, "ended its process": 0}
    failures, end, start, slowest = [], first + inputs, time.monotonic(), 0
    while first < end and len(failures) <= MOST_FAILURES:
        with tempfile.NamedTemporaryFile() as notes:
            notes.write(bytes(24))
            notes.flush()
            words = [name, "--first", str(first), "--inputs", str(end - first)]
            command = [sys.executable, __file__, *words, "--worker", notes.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            at, *so_far = struct.unpack("<3q", Path(notes.name).read_bytes())
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in said:
            failures += line.get("failures", [])
            slowest = max(slowest, line["slowest_ms"])
        for key, count in zip(("read", "refused"), so_far, strict=True):
            counts[key] += count
        if done.returncode == 0:
            break
        if at < first or not any(so_far):  # it has tried nothing
            raise RuntimeError(done.stderr[-3000:])
        counts["ended its process"] += 1
        alone = _alone(name, at) if name == "programs" else ""
        if alone not in ("0", "7"):
            failures.append(f"{name} {at}: ended its process with {done.returncode}; {alone=}")
        first = at + 1
    counts |= {"failed": len(failures), "slowest ms": slowest}
    return counts | {"seconds": round(time.monotonic() - start)}, failures


def work(name: str, first: int, inputs: int, notes: str) -> None:
    """Try inputs, some at a time; leave each number where a death does not erase it."""
    sys.dont_write_bytecode = True
    from fuzzing import run

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MLIR's own words
    before = [0, 0]
    with open(notes, "r+b") as file, mmap.mmap(file.fileno(), 24) as shared:

        def note(number, counts):
            so_far = (counts[key] + k for key, k in zip(("read", "refused"), before, strict=True))
            shared[:] = struct.pack("<3q", number, *so_far)
            faulthandler.dump_traceback_later(PATIENCE, exit=True)

        for part in range(first, first + inputs, 200):
            end = min(part + 200, first + inputs)
            counts, failures = run(name, range(part, end), note)
            note(end, counts)
            before = [before[0] + counts["read"], before[1] + counts["refused"]]
            print(json.dumps({**counts, "failures": failures}), flush=True)


_READ = """
import sys
import jax
from mliap_local.model_file import ModelFileError, read_model
jax.config.update("jax_enable_x64", True)
try:
    read_model(sys.argv[1])
except ModelFileError:
    sys.exit(7)
"""


def _alone(name: str, number: int) -> str:
    """The exit status of a fresh process that reads this file, or why there is none."""
    from fuzzing import made

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.zip"
        path.write_bytes(made(name, number)["made.zip"])
        command = [sys.executable, "-c", _READ, path]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=ALONE)
        except subprocess.TimeoutExpired:
            return f"no end in {ALONE} s, alone"
        return str(done.returncode)


if __name__ == "__main__":
    main()
