"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .logs import Log
from .summary import State, unit_of
from .tables import Table, counters_table, moves_table, name_of

_STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff;
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.5rem;
  border-top: 1px solid #ddd; padding-top: 1rem }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; font-size: .85rem;
  font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e4e4e4; text-align: right;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th { font-weight: 600; border-bottom-color: #888 }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: start }
.tables .words td:nth-child(2), .tables .words th:nth-child(2) { text-align: left }
.warnings { background: #fff4e0; border-left: .3rem solid #e09000; padding: .5rem 1rem;
  margin: 1rem 0 }
.warnings ul { margin: 0; padding-left: 1.2rem }
.quiet { color: #666; font-size: .9rem }
"""


def page(
    logs: Sequence[Log],
    states: Sequence[State],
    column: str,
    overview: Table,
    pictures: Sequence[Path],
    curve: Path | None,
) -> str:
    """Make the page.

    Args:
      pictures: one file for each state.
      curve: that of all states, if there is one.
    """
    warned = [f"{name_of(state)}: {text}" for state in states for text in state.warnings]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(column)}: Monte Carlo report</title><style>{_STYLE}</style></head><body>",
        "<h1>Monte Carlo report</h1>",
        f'<p class="quiet">{"<br>".join(escape(f"{log.path}: {log.version}") for log in logs)}</p>',
        _list(warned),
        f'<div class="wide">{_table(overview)}</div>',
        _explanation(column),
    ]
    if curve:
        parts.append(_picture(curve, f"{column} of all runs"))
    for state, picture in zip(states, pictures, strict=True):
        parts.append(f"<h2>{escape(name_of(state))}{_conditions(state, logs[0].units)}</h2>")
        parts.append(_list(state.warnings))
        parts.append(_picture(picture, f"{column} and acceptance against step"))
        tables = [_table(moves_table(state), "words")] if state.moves else []
        if len(counters := counters_table(state)) > 1:
            tables.append(_table(counters))
        parts.append(f'<div class="tables">{"".join(tables)}</div>')
    for log in logs:
        if log.warnings:
            parts.append(f"<h2>Warnings of LAMMPS, {escape(str(log.path))}</h2>")
            parts.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in log.warnings)}</ul>")
    return "\n".join([*filter(None, parts), "</body></html>\n"])


def _explanation(column: str) -> str:
    return (
        f'<p class="quiet">mean: of {escape(column)} over the equilibrated part, with one standard '
        "error; independent: statistically independent samples in it; from step: where it begins, "
        "in the first half, so that most of them are left. ms/trial: time in all fixes, for each "
        "Monte Carlo trial. Estimators: pymbar.timeseries (Chodera 2016), White 1997.</p>"
    )


def _conditions(state: State, units: str) -> str:
    words = [
        f"{name} {value:g} {unit_of(name, units)}".strip()
        for name, value in state.conditions.items()
    ]
    return f": {escape(', '.join(words))}" if words else ""


def _list(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<div class="warnings"><ul>{items}</ul></div>' if items else ""


def _table(table: Table, kind: str = "") -> str:
    head, *rows = table
    text = "".join(f"<th>{escape(word)}</th>" for word in head)
    for row in rows:
        text += "</tr>\n<tr>" + "".join(f"<td>{escape(word)}</td>" for word in row)
    return f'<table class="{kind}"><tr>{text}</tr></table>'


def _picture(path: Path, text: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{content}">'
