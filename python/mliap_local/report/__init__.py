"""`mliap-local report`: what Monte Carlo runs in LAMMPS did, from their log files.

`logs` reads, `statistics` estimates, `summary` says what it means, `tables`, `pictures` and `page`
show it. Nothing here needs JAX or LAMMPS.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("logs", nargs="+", metavar="LOG", help="log file of LAMMPS")
    parser.add_argument("-o", "--output", default="report.html", help="page to write")
    parser.add_argument(
        "--column",
        help="thermo column to report, such as v_loading or f_gas[4]; default: Atoms where their "
        "number changes, else the first variable",
    )
    axis = parser.add_mutually_exclusive_group()
    axis.add_argument(
        "--against",
        metavar="NAME",
        help="what the runs differ by: mu, pressure, temperature or a thermo column; default: the "
        "first of these three that does, as the Monte Carlo fix has it",
    )
    axis.add_argument(
        "--values", nargs="+", type=float, metavar="V", help="or its values, one for each run"
    )


def run(options: argparse.Namespace) -> int:
    """Write the page and its pictures, print the table.

    Raises:
      OSError, ValueError: a log that cannot be read or has nothing to report, a file that cannot
        be written.
      ImportError: pymbar or matplotlib is not installed.
    """
    from . import pictures
    from .logs import read_log
    from .page import page
    from .summary import axis, default_column, states_of, unit_of
    from .tables import aligned, name_of, overview

    logs = [read_log(path) for path in options.logs]
    column = options.column or default_column(logs)
    states = [state for log in logs for state in states_of(log, column)]
    if options.values:
        if len(options.values) != len(states):
            names = "; ".join(map(name_of, states))
            raise ValueError(
                f"--values: expected {len(states)} values, one for each of {names}, got "
                f"{len(options.values)}"
            )
        found = "value", options.values
    else:
        found = axis(states, options.against)
    if found:
        unit = unit_of(found[0], logs[0].units)
        found = (f"{found[0]}, {unit}" if unit else found[0]), found[1]

    output = Path(options.output)
    for path in options.logs:
        if output.exists() and output.samefile(path):
            raise ValueError(f"{output}: would be replaced by its report; give -o another name")
    stem = output.with_suffix("")
    files = [stem.with_name(f"{stem.name}_{k}.png") for k in range(1, len(states) + 1)]
    for state, file in zip(states, files, strict=True):
        pictures.draw_state(state, column, file)
    curve = None
    if found and len(states) > 1:
        curve = stem.with_name(f"{stem.name}_curve.png")
        pictures.draw_curve(states, found[1], found[0], column, curve)
    table = overview(states, found)
    output.write_text(page(logs, states, column, table, files, curve))

    print(f"{column}:\n{aligned(table)}")
    for state in states:
        for text in state.warnings:
            print(f"warning: {name_of(state)}: {text}")
    drawn = [file.name for file in [*files, *([curve] if curve else [])]]
    print(f"report: {output} with {', '.join(drawn)}")
    return 0
