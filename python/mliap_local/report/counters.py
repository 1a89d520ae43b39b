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


def counters_between(before: Run | None, run: Run) -> dict[str, float]:
    """What was counted from the end of the run `before` to that of `run`, by all who count."""
    total: dict[str, float] = {}
    earlier = _counters(before) if before else {}
    for source, counters in _counters(run).items():
        old = earlier.get(source, {})  # not there where it was defined anew
        for name, value in counters.items():
            if name in _LARGEST:
                total[name] = max(total.get(name, 0.0), value)
            else:
                total[name] = total.get(name, 0.0) + value - old.get(name, 0.0)
    return total


def _counters(run: Run) -> dict[tuple, dict[str, float]]:
    """Counters at the end of a run, by who counts since when: from words, else from columns."""
    sources: dict[tuple, dict[str, float]] = {}
    for line in run.said:
        who = line.partition(":")[0]
        fix = run.fixes.get(who.split()[1]) if who.startswith("fix ") else None
        counters = sources.setdefault((who, fix.defined if fix else run.pair_defined), {})
        for name, pattern in _SAID.items():
            if found := re.search(pattern, line):
                counters[name] = float(found[1])
    for name, place in _PLACES.items():
        column = run.columns.get(f"f_mliap_local[{place}]")
        if column is not None:
            counters = sources.setdefault(("mliap_local", run.pair_defined), {})
            counters.setdefault(name, float(column[-1]))
    return sources
