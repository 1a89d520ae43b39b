"""Tables of embedded atoms made up for tests: a few lines to break, and smooth ones to evaluate."""

import numpy as np

from mliap_local.models import atomic_numbers


def small_table(path, file_format="alloy", header="2 Ni Cu", grid="5 0.1 6 0.5 2.5", change=None):
    """Write a small table of one of the five formats, several values a line.

    Args:
      change: edits the list of its lines; line 1 of the file is `lines[0]`.
    """
    values, more = ["0 1 2", "3 4"], ["6 5 4", "3 2 1"]
    if file_format == "funcfl":
        lines = ["# UNITS: metal", "28 58.7 3.52 fcc", grid, *values, *more, "5 4 3 2 1", "0.0"]
    else:
        n = 2 if file_format in ("fs", "he") else 1
        lines = ["# UNITS: metal", "second", "third", header]
        lines.append(grid + " 0.2" if file_format == "he" else grid)
        for _ in range(2):
            lines += ["28 58.7 3.52 fcc", *values]
            lines += ["5 4 3 2 1", "0.0"] * n
        lines += more * (9 if file_format == "adp" else 3)
    if change:
        change(lines)
    path.write_text("\n".join(lines) + "\n")
    return path


def made_up(path, file_format, elements, *, largest_rho, smallest_rho=0.0, cutoff=5.0):
    """Write smooth tables of which no two are alike; they end at the cutoff, all but zero."""
    draw = np.random.default_rng(5)
    n, n_r, n_rho = len(elements), 400, 200
    r = np.arange(n_r) * cutoff / (n_r - 1)
    rho = np.linspace(smallest_rho, largest_rho, n_rho)
    end = (1 - r / cutoff) ** 3

    def bump():
        return draw.uniform(0.5, 1.5) * np.exp(-draw.uniform(0.3, 0.6) * r) * end * 8

    lines = ["# DATE: today UNITS: metal CITATION: nobody", "made up", "for a test"]
    lines.append(f"{n} {' '.join(elements)}")
    grid = f"{n_rho} {rho[1] - rho[0]:.17g} {n_r} {r[1]:.17g} {cutoff}"
    lines.append(grid + f" {largest_rho:.17g}" if file_format == "he" else grid)

    def add(values):
        lines.extend(" ".join(f"{x:.17g}" for x in row) for row in values.reshape(-1, 5))

    for number in atomic_numbers(elements):
        lines.append(f"{number} {50 + number} 4.0 fcc")
        add(-draw.uniform(1, 2) * np.sqrt(rho - smallest_rho + 1) + 0.01 * rho**2)
        for _ in range(n if file_format in ("fs", "he") else 1):
            add(bump() * (draw.uniform(-1, 1) if file_format == "he" else 1))
    for _ in range((3 if file_format == "adp" else 1) * n * (n + 1) // 2):
        add(bump() - bump())
    path.write_text("\n".join(lines) + "\n")
    return path
