"""The tables of a report as text: rows of words, which terminal and page show alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pictures import percent, with_error
from .summary import State

Table = list[list[str]]  # the first row has the names


def name_of(state: State) -> str:
    """`log.gas, run 1-2`."""
    return f"{state.log}, run {state.runs}"


def overview(states: Sequence[State], axis: tuple[str, Sequence[float]] | None) -> Table:
    """One row a state: what the mean is, how well it is known, what was accepted, what it cost."""
    moves = list(dict.fromkeys(move.name for state in states for move in state.moves))
    head = ["run", *([axis[0]] if axis else []), "mean", "independent", "from step"]
    head += [f"{move}s" for move in moves] + ["s", "ms/step", "ms/trial"]
    table = [head]
    for k, state in enumerate(states):
        found = state.estimate
        counted = not np.isnan(found.independent)
        shares = []
        for name in moves:
            same = [move for move in state.moves if move.name == name]
            tried = sum(move.attempts for move in same)
            kept = sum(move.successes for move in same)
            shares.append(percent(kept / tried if tried else np.nan))
        table.append(
            [
                name_of(state),
                *([f"{axis[1][k]:.6g}"] if axis else []),
                with_error(found),
                f"{found.independent:.0f}" if counted else "-",
                f"{state.steps[found.start]:.0f}",
                *shares,
                _number(state.seconds, 1),
                _number(state.seconds, 1e3 / state.n_steps if state.n_steps else None),
                _number(state.modify, 1e3 / state.trials if state.trials else None),
            ]
        )
    return table


def moves_table(state: State) -> Table:
    """Trials by fix and kind."""
    head = ["fix", "trials", "tried", "accepted", "share"]
    return [
        head,
        *(
            [
                move.fix,
                move.name,
                f"{move.attempts:.0f}",
                f"{move.successes:.0f}",
                percent(move.share),
            ]
            for move in state.moves
        ),
    ]


def counters_table(state: State) -> Table:
    """What mliap_local counted; the head alone where it was not there."""
    names = {
        "full": "evaluations of all atoms",
        "incremental": "incremental evaluations",
        "with forces": "evaluations with forces",
        "updates": "updates by our own fixes",
        "rows": "rows that these evaluated wholly",
        "overlaps": "trials answered by the overlap guard",
        "compilations": "compilations",
        "drift": "largest |incremental - full|",
        "passes": "would have passed as rounding",
        "mismatch": "largest |model - pair style|",
    }
    found = [[text, f"{state.counters[k]:.6g}"] for k, text in names.items() if k in state.counters]
    return [["counter", "value"], *found]


def aligned(table: Table) -> str:
    """The table in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        first, *rest = (
            word.rjust(width) if k else word.ljust(width)
            for k, (word, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def _number(value: float | None, factor: float | None) -> str:
    return "-" if value is None or factor is None else f"{value * factor:.3g}"
