"""What mliap_local counted in a run, by the words at its end or by its columns.

Docs: docs/pair_mliap_local.md, Counters; docs/fix_mliap_local.md, Output.
"""

from __future__ import annotations

import re

from .logs import Run

_SAID = {
    "full": r"mliap_local\w*: (\S+) full and",
    "incremental": r"mliap_local.* (\S+) incremental evaluations",
    "with forces": r"mliap_local\w*:.* (\S+) with forces",
    "overlaps": r"(\S+)(?: trials)? answered by the overlap guard",
    "compilations": r"(\S+) compilations",
    "rows": r"(\S+) rows evaluated wholly",
    "updates": r"(\S+) updates,",
    "drift": r"largest \|(?:incremental|difference) - full\| ([^ ,]+)",
    "passes": r"up to (\S+) would have passed",
    "mismatch": r"largest \|model - pair style\| (\S+)",
}
_PLACES = {"full": 1, "incremental": 2, "with forces": 3, "drift": 4, "compilations": 5}
_PLACES |= {"overlaps": 6, "passes": 7}  # of f_mliap_local, where the log ended before the words
_LARGEST = ("drift", "passes", "mismatch")  # the others are counted


def counters_of(run: Run | None) -> dict[str, float]:
    """What mliap_local had counted at the end of a run: from its words, else from its columns."""
    counters: dict[str, float] = {}
    if run is None:
        return counters
    for line in run.said:
        for name, pattern in _SAID.items():
            if found := re.search(pattern, line):
                value = float(found[1])
                old = counters.get(name, 0.0)
                counters[name] = max(old, value) if name in _LARGEST else old + value
    for name, place in _PLACES.items():
        column = run.columns.get(f"f_mliap_local[{place}]")
        if column is not None:
            counters.setdefault(name, float(column[-1]))
    return counters


def difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    counted = {k: v - before.get(k, 0.0) for k, v in after.items() if k not in _LARGEST}
    if any(value < 0 for value in counted.values()):  # a pair_style command began them anew
        return after
    return after | counted
