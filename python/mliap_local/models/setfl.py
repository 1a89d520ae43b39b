"""Tables of the embedded-atom family: setfl in its four layouts, and funcfl.

Reads `alloy` (one density per element), `fs` (Finnis-Sinclair: one per ordered pair of elements),
`he` (the same, with densities below zero), `adp` (with dipole and quadrupole tables) and `funcfl`
(one element, pair energies from effective charges), and tells them apart by what is in the file.
Source: LAMMPS manual, pair_style eam, eam/he, adp; the splines are those of LAMMPS's
`PairEAM::interpolate`. Knows what a file holds, not what a potential makes of it.
"""

import math
import re
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from . import ELEMENT_SYMBOLS, MAX_ATOMIC_NUMBER, atomic_numbers
from .text import Lines, PotentialFileError, read_text

#: The layouts that are read, and what LAMMPS's pair style of each is called.
FORMATS = {
    "alloy": "eam/alloy",
    "fs": "eam/fs",
    "he": "eam/he",
    "adp": "adp",
    "funcfl": "eam",
}

# What other potentials with tables are called, and why they are no sum of single neighbours.
_OTHERS = {
    ".cdeam": ("eam/cd", "its pair energies need the concentrations around both atoms"),
    ".meam.sw.spline": ("meam/sw/spline", "its angular terms are no table of pairs"),
    ".meam.spline": ("meam/spline", "its angular terms are no table of pairs"),
    ".meam": ("meam", "its screening looks at three atoms at a time"),
    ".eim": ("eim", "its charges need two rounds of messages"),
    ".poly": ("polymorphic", "its bond orders look at three atoms at a time"),
}

# The spline takes its slopes from five neighbouring values.
_FEWEST_VALUES = 5
# Keep a header that lies about its size from asking for all memory: of a table, and of all pairs.
_MOST_VALUES = 1_000_000
_MOST_OF_PAIRS = 1 << 26
# Far from what any unit makes of a potential, and their inverses and products are finite.
_LARGEST = 1e30
_MOST_STEPS = 1e9


class SetflTable(NamedTuple):
    """The content of a file, in its units (Angstrom, eV, densities arbitrary)."""

    elements: tuple[str, ...]
    cutoff: float
    delta_rho: float
    delta_r: float
    #: `[n, n_rho]`: energy of an element against the density it sits in, from `rho_range[0]` on.
    embedding: np.ndarray
    #: `[n, n, n_r]`: density that a receiver (first) feels from a sender (second).
    density: np.ndarray
    #: `[n, n, n_r]`: pair energy times distance; symmetric.
    pair: np.ndarray
    #: LAMMPS unit system named in the first line, `metal` where none is.
    units: str
    #: The comment lines as one text.
    comment: str
    #: `[n]`: masses of the elements, as the file has them.
    masses: tuple[float, ...]
    #: One of `FORMATS`.
    file_format: str
    #: For densities outside the energy goes on as a line, with the slope at the table's end.
    rho_range: tuple[float, float]
    #: `[n, n, n_r]`, symmetric: dipole and quadrupole functions of `adp`.
    dipole: np.ndarray | None = None
    quadrupole: np.ndarray | None = None


class FuncflTable(NamedTuple):
    """The content of a funcfl file: one element, in its units (Angstrom, eV, square roots of
    Hartree Bohr for the charges)."""

    element: str
    mass: float
    cutoff: float
    delta_rho: float
    delta_r: float
    embedding: np.ndarray  #: `[n_rho]`
    charge: np.ndarray  #: `[n_r]`
    density: np.ndarray  #: `[n_r]`
    units: str
    comment: str


def read_table(path: str | PathLike, file_format: str | None = None) -> SetflTable | FuncflTable:
    """Read a table.

    Args:
      path: the file.
      file_format: one of `FORMATS`; told from the content where it is None. The file's name
        decides where two layouts hold the same number of values, and must not contradict.

    Raises:
      PotentialFileError: the file cannot be opened, is in another format, ends early, holds
        something that is no number where one is due, a header without sense, an element unknown or
        named twice, or more than its header says.
    """
    if file_format is not None and file_format not in FORMATS:
        raise PotentialFileError(
            f"{path}: unknown format {file_format!r}: expected one of {', '.join(FORMATS)}"
        )
    text = read_text(path)
    file_format = _told_format(path, text, file_format)
    lines = Lines(path, text)
    return _read_funcfl(lines) if file_format == "funcfl" else _read_setfl(lines, file_format)


def cubics(values: np.ndarray) -> np.ndarray:
    """Return each bin's coefficients of p^3, p^2, p, 1 with p from 0 to 1, [..., n - 1, 4].

    The scheme of LAMMPS's PairEAM::interpolate: Hermite cubics, slopes from five-point differences,
    lower order at the two ends.
    """
    f = np.asarray(values, dtype=np.float64)
    slope = np.empty_like(f)
    slope[..., 0] = f[..., 1] - f[..., 0]
    slope[..., 1] = 0.5 * (f[..., 2] - f[..., 0])
    slope[..., -2] = 0.5 * (f[..., -1] - f[..., -3])
    slope[..., -1] = f[..., -1] - f[..., -2]
    slope[..., 2:-2] = ((f[..., :-4] - f[..., 4:]) + 8.0 * (f[..., 3:-1] - f[..., 1:-3])) / 12.0
    step = f[..., 1:] - f[..., :-1]
    left, right = slope[..., :-1], slope[..., 1:]
    return np.stack(
        [left + right - 2.0 * step, 3.0 * step - 2.0 * left - right, left, f[..., :-1]], axis=-1
    )


# Which format is it?


def _told_format(path, text, asked):
    """Return the format, from the content; the name and who asks must not contradict it."""
    name = str(path).lower()
    if asked is None:
        for ending, (style, why) in _OTHERS.items():
            if name.endswith(ending):
                _refuse_other(path, style, why)
    named = next((key for key in FORMATS if name.endswith("." + key)), None)
    named = named or ("funcfl" if name.endswith(".eam") else None)
    fitting = _fitting_formats(path, text)
    wanted = asked or named
    if wanted is None:
        if not fitting:
            raise PotentialFileError(
                f"{path}: cannot tell the format: expected a setfl table, with its elements in "
                "line 4, n_rho, delta_rho, n_r, delta_r, cutoff in line 5 and as many values as "
                "these say, or a funcfl table, with the element in line 2 and these in line 3; "
                f"name the format, one of {', '.join(FORMATS)}, to hear which line is wrong"
            )
        return fitting[0]
    if fitting and wanted not in fitting:
        said = f"--format says {asked}" if asked else f"its name says {named}"
        raise PotentialFileError(
            f"{path}: expected the layout of {FORMATS[wanted]}, as {said}, found that of "
            f"{FORMATS[fitting[0]]}; "
            + ("leave --format away" if asked else f"name it, --format {fitting[0]}, or rename it")
        )
    return wanted


def _refuse_other(path, style, why):
    raise PotentialFileError(
        f"{path}: expected a table of eam, eam/alloy, eam/fs, eam/he or adp, found one of {style}, "
        f"which cannot be converted: {why}"
    )


def _fitting_formats(path, text):
    """Return the formats whose number of values is the file's, the likeliest first."""
    lines = text.splitlines()
    if "meam/spline" in text[:1000]:
        _refuse_other(path, *_OTHERS[".meam.spline"])
    after = (words for line in lines[3:] if (words := line.partition("#")[0].split()))
    header, grid = next(after, [""]), next(after, [""])
    n = _small_integer(header[0])
    if n and len(header) == n + 1 and not _is_number(header[1]):
        counts = _grid_counts(grid)
        if counts is None:
            return []
        n_rho, n_r, n_numbers = counts
        rest = list(after)
        ends = np.cumsum([len(words) for words in rest])
        pairs = n * (n + 1) // 2
        sections = {
            "he": ([n_rho, *[n_r] * n], pairs),
            "alloy": ([n_rho, n_r], pairs),
            "fs": ([n_rho, *[n_r] * n], pairs),
            "adp": ([n_rho, n_r], 3 * pairs),
        }
        left = {}
        for key, (element, more) in sections.items():
            if (key == "he") == (n_numbers == 6):
                left[key] = _lines_left(ends, n, element, [n_r] * more)
        if left.get("alloy") == 1 and _small_integer(rest[-1][0]) == len(rest[-1]) - 2:
            _refuse_other(path, *_OTHERS[".cdeam"])  # one line more, of a polynomial
        return [key for key, count in left.items() if count == 0]
    element, grid = (line.partition("#")[0].split() for line in [*lines, "", "", ""][1:3])
    counts = _grid_counts(grid)
    if counts and len(element) >= 2 and all(map(_is_number, element[:2])):
        n_rho, n_r, _ = counts
        words = [len(line.partition("#")[0].split()) for line in lines[3:]]
        ends = np.cumsum([count for count in words if count])
        at: int | None = 0
        for count in (n_rho, n_r, n_r):
            at = None if at is None else _end_of(ends, at, count)
        return ["funcfl"] if at == len(ends) else []
    return []


def _lines_left(ends, n, element_sections, last_sections) -> int | None:
    """How many lines are left after all sections; None where one does not end with a line."""
    at = 0
    for sections, has_line in [(element_sections, True)] * n + [(last_sections, False)]:
        at += has_line
        for count in sections:
            end = _end_of(ends, at, count)
            if end is None:
                return None
            at = end
    return len(ends) - at


def _end_of(ends, at, count) -> int | None:
    """The line after `count` words from line `at` on; None where it does not start there."""
    if at > len(ends):
        return None
    total = (ends[at - 1] if at else 0) + count
    last = int(np.searchsorted(ends, total))
    return last + 1 if last < len(ends) and ends[last] == total else None


def _grid_counts(words) -> tuple[int, int, int] | None:
    """n_rho, n_r, and how many numbers there are: five, or six in `he`."""
    numbers = next((k for k, word in enumerate(words) if not _is_number(word)), len(words))
    n_rho, n_r = (_small_integer(words[k]) if numbers > k else None for k in (0, 2))
    return (n_rho, n_r, numbers) if n_rho and n_r and numbers in (5, 6) else None


def _small_integer(word) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 8 else None


def _is_number(word) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word[:64]) is not None


# Reading


def _read_setfl(lines: Lines, file_format: str) -> SetflTable:
    comments = [lines.comment("three lines of comment") for _ in range(3)]
    elements = _read_elements(lines)
    n = len(elements)
    n_rho, delta_rho, n_r, delta_r, cutoff, largest = _read_grid(lines, file_format)
    if n * n * n_r > _MOST_OF_PAIRS:
        lines.fail(f"n_r of at most {_MOST_OF_PAIRS // n**2} with {n} elements", n_r)

    masses = []
    embedding = np.empty((n, n_rho))
    density = np.empty((n, n, n_r))
    for i in range(n):
        masses.append(_read_element_line(lines, elements[i])[1])
        embedding[i] = lines.values(n_rho, f"embedding energies of {elements[i]}")
        if file_format in ("alloy", "adp"):
            density[:, i] = lines.values(n_r, f"densities of {elements[i]}")
        else:
            # Element i's section lists what it sends to each element, as LAMMPS reads it.
            for j in range(n):
                density[j, i] = lines.values(n_r, f"densities of {elements[i]} at {elements[j]}")
    pair = _read_pairs(lines, elements, n_r, "pair energies")
    rho_range = (largest - (n_rho - 1) * delta_rho if file_format == "he" else 0.0, largest)
    dipole = quadrupole = None
    if file_format == "adp":
        dipole = _read_pairs(lines, elements, n_r, "dipole functions")
        quadrupole = _read_pairs(lines, elements, n_r, "quadrupole functions")
        rho_range = (0.0, math.inf)  # LAMMPS keeps the energy constant
    lines.end(f" after the tables of {FORMATS[file_format]}")
    return SetflTable(
        elements=elements,
        cutoff=cutoff,
        delta_rho=delta_rho,
        delta_r=delta_r,
        embedding=embedding,
        density=density,
        pair=pair,
        units=_units_of(comments[0]),
        comment=_joined(comments),
        masses=tuple(masses),
        file_format=file_format,
        rho_range=rho_range,
        dipole=dipole,
        quadrupole=quadrupole,
    )


def _read_funcfl(lines: Lines) -> FuncflTable:
    comment = lines.comment()
    number, mass = _read_element_line(lines, "the element")
    if not (number == int(number) and 1 <= number <= MAX_ATOMIC_NUMBER):
        lines.fail(f"an atomic number from 1 to {MAX_ATOMIC_NUMBER}", f"{number:g}")
    element = ELEMENT_SYMBOLS[int(number)]
    n_rho, delta_rho, n_r, delta_r, cutoff, _ = _read_grid(lines, "funcfl")
    embedding, charge, density = (
        np.array(lines.values(count, f"{what} of {element}"))
        for count, what in ((n_rho, "embedding energies"), (n_r, "charges"), (n_r, "densities"))
    )
    lines.end(" after the tables of eam")
    units, comment = _units_of(comment), _joined([comment])
    return FuncflTable(
        element, mass, cutoff, delta_rho, delta_r, embedding, charge, density, units, comment
    )


def _read_elements(lines) -> tuple[str, ...]:
    expected = "the number of elements and that many symbols"
    words = lines.words(expected)
    if lines.integer(words[0], 1, MAX_ATOMIC_NUMBER, expected) != len(words) - 1:
        lines.fail(expected, " ".join(words))
    try:
        atomic_numbers(words[1:])
    except ValueError as error:
        lines.fail("symbols of elements, each once", str(error))
    return tuple(words[1:])


def _read_grid(lines, file_format) -> tuple[int, float, int, float, float, float]:
    """Return the header's five numbers, and the largest density."""
    six = file_format == "he"
    expected = f"n_rho, delta_rho, n_r, delta_r, cutoff{', largest rho' if six else ''}"
    words = lines.words(expected)
    if len(words) < 5 + six or (not six and len(words) > 5 and _is_number(words[5])):
        lines.fail(expected, " ".join(words))
    n_rho, n_r = (
        lines.integer(words[k], _FEWEST_VALUES, _MOST_VALUES, f"{expected}, with tables of values")
        for k in (0, 2)
    )
    delta_rho, delta_r, cutoff = lines.numbers([words[1], words[3], words[4]])
    if not min(delta_rho, delta_r, cutoff) > 0:
        lines.fail(f"{expected}, all of them positive", " ".join(words))
    if min(delta_rho, delta_r, cutoff) < 1 / _LARGEST or max(delta_rho, delta_r) > _LARGEST:
        lines.fail(f"{expected} from {1 / _LARGEST:g} to {_LARGEST:g}", " ".join(words))
    largest = lines.numbers([words[5]])[0] if six else (n_rho - 1) * delta_rho
    if abs(largest) > _MOST_STEPS * delta_rho:  # where zero is, in steps, must be a whole number
        lines.fail(f"largest rho within {_MOST_STEPS:g} delta_rho of 0", " ".join(words))
    return n_rho, delta_rho, n_r, delta_r, cutoff, largest


def _read_element_line(lines, element) -> list[float]:
    """Return atomic number and mass."""
    words = lines.words(f"atomic number, mass, lattice constant and lattice of {element}")
    if len(words) < 2:
        lines.fail(f"an atomic number and a mass of {element}", " ".join(words))
    number, mass = lines.numbers(words[:2])
    if not mass > 0:
        lines.fail(f"a positive mass of {element}", words[1])
    return [number, mass]


def _read_pairs(lines, elements: Sequence[str], n_r: int, what: str) -> np.ndarray:
    """Read the tables of all pairs, the second element no later than the first: [n, n, n_r]."""
    n = len(elements)
    pairs = np.empty((n, n, n_r))
    for i in range(n):
        for j in range(i + 1):
            pairs[i, j] = pairs[j, i] = lines.values(
                n_r, f"{what} of {elements[i]} and {elements[j]}"
            )
    return pairs


def _units_of(comment) -> str:
    units = re.search(r"UNITS:\s*(\w+)", comment)
    return units.group(1) if units else "metal"


def _joined(comments) -> str:
    return " ".join(" ".join(line.strip("# \t") for line in comments).split())
