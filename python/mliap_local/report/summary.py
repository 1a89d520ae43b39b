"""What runs have in common and what became of them: states, moves, times, and what is wrong.

Consecutive runs with nothing changed between them are one state. Reads no files and draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .counters import counters_between
from .logs import Fix, Log, Run
from .statistics import ENOUGH, SOME, Estimate, estimate

#: Attempts and successes of each move: places in the fix's vector.
_GCMC = {"translation": (1, 2), "insertion": (3, 4), "deletion": (5, 6), "rotation": (7, 8)}
_MOVES = {"gcmc": _GCMC, "charge/regulation": {"move": (1, 2)}}
_MOVES |= {style: {"swap": (1, 2)} for style in ("atom/swap", "mol/swap", "neighbor/swap")}
_RARE = 1e-3  # share of accepted trials that is nearly none
_MANY = 50  # compilations
_UNITS = {  # energy, pressure, temperature
    "metal": ("eV", "bar", "K"),
    "real": ("kcal/mol", "atm", "K"),
    "si": ("J", "Pa", "K"),
    "cgs": ("erg", "dyne/cm2", "K"),
    "electron": ("Hartree", "Pa", "K"),
}


class Move(NamedTuple):
    """Trials of one kind by one fix."""

    fix: str
    name: str
    attempts: float
    successes: float
    counts: tuple[np.ndarray, np.ndarray]  #: both, float [n_rows], since the fix was defined

    @property
    def share(self) -> float:
        return self.successes / self.attempts if self.attempts else np.nan


class State(NamedTuple):
    """Consecutive runs at the same conditions."""

    log: str
    runs: str  #: which of its log, such as "3" or "3-4"
    conditions: dict[str, float]  #: mu, pressure, temperature, as far as the fixes name them
    steps: np.ndarray  #: float [n_rows]
    values: np.ndarray  #: float [n_rows], of the column that is reported
    columns: dict[str, np.ndarray]
    estimate: Estimate
    moves: list[Move]
    seconds: float | None  #: of the runs; None where one was killed
    n_steps: float
    modify: float | None  #: seconds in fixes
    counters: dict[str, float]  #: of mliap_local
    warnings: list[str]

    @property
    def trials(self) -> float:
        return sum(move.attempts for move in self.moves)


def states_of(log: Log, column: str) -> list[State]:
    """Make the states of a log.

    Args:
      column: the keyword of its thermo output that is reported.

    Raises:
      ValueError: no Monte Carlo fix, none whose columns are printed, or no such column.
    """
    _check_fixes(log)
    groups: list[list[Run]] = []
    before: list[Run | None] = []
    last = None
    for run in log.runs:
        if run.fixes and run.columns:
            if run.goes_on and groups and groups[-1][-1] is last:
                groups[-1].append(run)
            else:
                groups.append([run])
                before.append(last)
        last = run
    # `run 0` and what was killed at once
    pairs = [pair for pair in zip(groups, before, strict=True) if _length(pair[0]) > 1]
    if not pairs:
        raise ValueError(
            f"{log.path}: expected runs with at least two lines of thermo output, got none: "
            "use a smaller `thermo N`"
        )
    return [_state(log, group, before, column) for group, before in pairs]


def default_column(logs: Sequence[Log]) -> str:
    """Atoms where their number changes, else the first variable that does, else the energy."""
    varied: dict[str, None] = {}  # in the order of the output
    for log in logs:
        for run in log.runs:
            if run.fixes:
                varied |= {k: None for k, v in run.columns.items() if np.ptp(v) and k != "Step"}
    order = ["Atoms", *(name for name in varied if name.startswith("v_")), "PotEng", *varied]
    return next((name for name in order if name in varied), order[0])


def axis(states: Sequence[State], name: str | None = None) -> tuple[str, list[float]] | None:
    """What the states differ by, and the value of each; None where they do not.

    Args:
      name: mu, pressure, temperature or a thermo column, of which the mean counts.

    Raises:
      ValueError: a state does not have `name`.
    """
    if name is None:
        for name in ("mu", "pressure", "temperature"):
            found = [state.conditions.get(name, np.nan) for state in states]
            if np.isfinite(found).all() and len(set(found)) > 1:
                return name, found
        return None
    values = []
    for state in states:
        if name in state.conditions:
            values.append(state.conditions[name])
        elif name in state.columns:
            values.append(float(state.columns[name][state.estimate.start :].mean()))
        else:
            known = [*state.conditions, *state.columns]
            raise ValueError(
                f"{state.log}: expected {name!r}, got {', '.join(known)}: see --against"
            )
    return name, values


def unit_of(name: str, units: str) -> str:
    """Unit of a condition in LAMMPS's units of this name; empty for numbers without."""
    kinds = ("mu", "pressure", "temperature")
    found = _UNITS.get(units)
    return found[kinds.index(name)] if found and name in kinds else ""


def _check_fixes(log: Log) -> None:
    fixes = {name: fix for run in log.runs for name, fix in run.fixes.items()}
    if not fixes:
        raise ValueError(
            f"{log.path}: expected a Monte Carlo fix (gcmc, atom/swap, widom, ...) among the "
            "commands that the log repeats, got none: a run without one has no trials; after "
            "`echo none` or `echo screen` the log has no commands"
        )
    printed = {name for run in log.runs for name in run.columns}
    if not any(_has_column(name, printed) for name in fixes):
        wanted = _wanted(fixes) or f"f_{next(iter(fixes))}[1]"
        raise ValueError(
            f"{log.path}: expected a column of a Monte Carlo fix in the thermo output, got "
            f"{' '.join(sorted(printed))}: add {wanted} to thermo_style custom"
        )


def _wanted(fixes: dict[str, Fix]) -> str:
    """The columns that count the trials of the first of these fixes."""
    name, fix = next(iter(fixes.items()))
    return " ".join(f"f_{name}[{k}]" for pair in _moves_of(fix).values() for k in pair)


def _has_column(fix: str, names) -> bool:
    return any(name.startswith(f"f_{fix}[") or name == f"f_{fix}" for name in names)


def _length(runs: list[Run]) -> int:
    return sum(len(next(iter(run.columns.values()))) for run in runs)


def _moves_of(fix: Fix) -> dict[str, tuple[int, int]]:
    moves = _MOVES.get(fix.style, {})
    # atoms do not rotate
    return {k: v for k, v in moves.items() if k != "rotation" or "mol" in fix.words}


def _state(log: Log, runs: list[Run], before: Run | None, column: str) -> State:
    # the first row of a run that goes on is the last of the one before
    parts = [run.columns for run in runs]
    columns = {
        name: np.concatenate([part[name][k > 0 :] for k, part in enumerate(parts)])
        for name in parts[0]
    }
    if column not in columns:
        raise ValueError(
            f"{log.path}: expected the thermo column {column!r}, got {' '.join(columns)}: "
            "see --column"
        )
    values = columns[column]
    steps = columns.get("Step", np.arange(len(values), dtype=float))
    whole = all(run.seconds is not None for run in runs)
    first, last = runs[0].number, runs[-1].number
    fixes = runs[-1].fixes
    made = State(
        log=str(log.path),
        runs=f"{first}" if first == last else f"{first}-{last}",
        conditions=_conditions(fixes),
        steps=steps,
        values=values,
        columns=columns,
        estimate=estimate(values),
        moves=_moves(fixes, columns),
        seconds=sum(run.seconds or 0.0 for run in runs) if whole else None,
        n_steps=float(steps[-1] - steps[0]),
        modify=sum(run.sections.get("Modify", 0.0) for run in runs) if whole else None,
        counters=counters_between(before, runs[-1]),
        warnings=[],
    )
    warnings = _judge(made)
    if not made.moves and (wanted := _wanted(fixes)):
        warnings.append(f"acceptance is not known: add {wanted} to thermo_style custom")
    if not whole:
        warnings.append(_killed(log, steps))
    return made._replace(warnings=warnings)


def _conditions(fixes: dict[str, Fix]) -> dict[str, float]:
    """Chemical potential, pressure and temperature of the first fix that names them."""
    found: dict[str, float] = {}
    for style, words, _ in fixes.values():
        given: dict[str, str] = {}
        if style == "gcmc" and len(words) > 7:
            given = {"mu": words[6], "temperature": words[5]}
            if "pressure" in words[:-1]:  # mu then has no meaning
                given = {"pressure": words[words.index("pressure") + 1], "temperature": words[5]}
        elif style == "atom/swap" and len(words) > 3:
            given = {"temperature": words[3]}
            if "mu" in words[:-2]:  # of two types, the second's beyond the first's
                first, second, *more = words[words.index("mu") + 1 :]
                if not more or np.isnan(_float(more[0])):
                    given = {"mu": str(_float(second) - _float(first)), "temperature": words[3]}
        elif style == "sgcmc" and len(words) > 3:
            given = {"mu": words[3], "temperature": words[2]}
        elif style == "widom" and len(words) > 4:
            given = {"temperature": words[4]}
        for name, word in given.items():
            if np.isfinite(value := _float(word)):
                found.setdefault(name, value)
    return found


def _float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan  # a variable, v_name


def _moves(fixes: dict[str, Fix], columns: dict[str, np.ndarray]) -> list[Move]:
    moves = []
    for name, fix in fixes.items():
        for move, places in _moves_of(fix).items():
            keys = [f"f_{name}[{place}]" for place in places]
            if all(key in columns for key in keys):
                tried, kept = (columns[key] for key in keys)
                attempts, successes = float(tried[-1] - tried[0]), float(kept[-1] - kept[0])
                if attempts or successes:
                    moves.append(Move(name, move, attempts, successes, (tried, kept)))
    return moves


def _killed(log: Log, steps: np.ndarray) -> str:
    why = log.errors[-1] if log.errors else "no reason given; it was killed, or is still running"
    return f"the log ends at step {steps[-1]:.0f}, inside of a run: {why}"


def _judge(state: State) -> list[str]:
    found, begin = state.estimate, state.steps[state.estimate.start]
    warnings = []
    if not np.isfinite(state.values).all():
        warnings.append("the column has values that are not a number")
    elif np.isnan(found.independent):
        warnings.append("the column never changes: nothing to estimate")
    elif found.independent < SOME:
        warnings.append(
            f"no equilibrated part: {found.independent:.1f} independent samples after step "
            f"{begin:.0f}; run longer"
        )
    elif not found.settled:
        warnings.append(
            f"no equilibrated part: the two halves after step {begin:.0f} differ by more than "
            "chance; run longer"
        )
    elif not found.sound:
        warnings.append(
            f"too short to say: {found.independent:.0f} independent samples, expected at least "
            f"{ENOUGH}; run {np.ceil(ENOUGH / found.independent):.0f} times as long"
        )
    for move in state.moves:
        if move.attempts and move.share < _RARE:
            warnings.append(
                f"fix {move.fix}: {move.successes:.0f} of {move.attempts:.0f} {move.name} trials "
                f"accepted: nearly none, so the run cannot reach equilibrium by them"
            )
    return warnings + _trouble(state)


def _trouble(state: State) -> list[str]:
    counters = state.counters
    warnings = []
    drift, passes = counters.get("drift", 0.0), counters.get("passes")
    if passes is not None and drift > passes:
        warnings.append(
            f"incremental and full energies differ by {drift:.3g}, more than the {passes:.3g} of "
            "rounding: use a model in 64bit, or a smaller `refresh`"
        )
    full, incremental = counters.get("full", 0.0), counters.get("incremental")
    if incremental is not None and full > max(incremental, 10):
        warnings.append(
            f"{full:.0f} full and {incremental:.0f} incremental evaluations: most trials were "
            "evaluated in full; use `cache yes` and more trials in each stage"
        )
    if counters.get("compilations", 0.0) > _MANY:
        warnings.append(
            f"{counters['compilations']:.0f} compilations: the number of atoms grew often; a "
            "second run of this input finds them compiled"
        )
    return warnings
