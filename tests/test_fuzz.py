"""Files mutated at random, a few hundred a format; `benchmarks/fuzz.py` has more of them."""

from __future__ import annotations

import os
from argparse import Namespace

import fuzzing
import numpy as np
import pytest
import test_snap
import test_sw
from small_tables import small_table

from mliap_local.models import ELEMENT_SYMBOLS, eam, setfl, snap, sw
from mliap_local.models.text import PotentialFileError

# programs that are no longer sound may end a process: benchmarks/fuzz.py has those
FORMATS = [name for name in fuzzing.FORMATS if name != "programs"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_result_or_one_line(name):
    counts, failures = fuzzing.run(name, range(300))
    assert not failures, "\n".join(failures)
    assert counts["read"] > 15 and counts["refused"] > 100
    again = [[fuzzing.made(name, number) for number in range(40)] for _ in range(2)]
    assert again[0] == again[1]
    assert sum(files not in fuzzing.seeds(name) for files in again[0]) > 30


# The harness itself: what it must notice


def _writes(folder):
    (folder / "more").write_text("")


def _writes_elsewhere(folder):
    os.mkdir(folder.parent / f"{folder.name}.more")


def _repaints(folder):
    raise ValueError(f"{folder}: \x1b[2J")


def _asks_for_all(folder):
    return np.ones(fuzzing.MEMORY // 4)


def _says_no_file(folder):
    raise ValueError("wrong")


def _never_ends(folder):
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (_writes, "wrote {.more.}"),
        (_writes_elsewhere, r"did .*os\.mkdir"),
        (_repaints, "a text that disturbs"),
        (_says_no_file, "names no file"),
        (_asks_for_all, "MemoryError"),
        (_never_ends, "more than 0.1 s"),
        (lambda folder: {}[folder], "KeyError"),
        (lambda folder: print("\x1b[2J"), "a text that disturbs"),
    ],
)
def test_the_harness_notices(tmp_path, monkeypatch, read, said):
    monkeypatch.setattr(fuzzing, "SECONDS", 0.1)
    changed = fuzzing.FORMATS["ace"]._replace(read=read)
    monkeypatch.setitem(fuzzing.FORMATS, "ace", changed)
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.raises(fuzzing.Failure, match=said):
        fuzzing.tried("ace", {"a": b""}, folder)


# What once failed


def refused(family, *said, **options) -> None:
    with pytest.raises(PotentialFileError) as caught:
        family.convert(Namespace(**options))
    message = str(caught.value)
    assert message.isprintable() and [word for word in said if word not in message] == [], message


def test_funcfl_files_that_do_not_go_together_are_named(tmp_path):
    def changed(number, text):
        return lambda lines: lines.__setitem__(number, text)

    one = str(small_table(tmp_path / "a.eam", "funcfl"))
    twice = str(small_table(tmp_path / "b.eam", "funcfl"))
    refused(eam, one, twice, "'Ni' is named twice", file=[one, twice], format=None)
    copper = small_table(tmp_path / "c.eam", "funcfl", change=changed(1, "29 63.5 3.61 fcc"))
    copper.write_text(copper.read_text().replace("metal", "real"))
    refused(eam, one, "one system of units", file=[one, str(copper)], format=None)


def test_pairs_of_sw_that_differ_are_one_line(tmp_path):
    path = test_sw.two_elements(tmp_path / "made.sw")
    lines = path.read_text().splitlines()
    (place,) = (k for k, line in enumerate(lines) if line.startswith("C Si Si"))
    words = lines[place].split()
    words[4] = "10"
    lines[place] = " ".join(words)
    path.write_text("\n".join(lines))
    refused(sw, f"{path}: ", "the pair's sigma ", " and 10", file=str(path), elements=["Si", "C"])


def test_what_snap_calls_its_elements_cannot_disturb_a_terminal(tmp_path):
    path = test_snap.write(tmp_path)
    for name in ("\x1b[2J\x1b[31m", "\u202e", "x" * 5000):
        coefficients = path.with_name("other.snapcoeff")
        text = path.with_suffix(".snapcoeff").read_text()
        coefficients.write_text(text.replace("\nAl ", f"\n{name} "))
        files = {"coefficients": str(coefficients), "parameters": f"{path}.snapparam", "zbl": None}
        refused(
            snap, "other.snapcoeff: expected elements Ni", ", found Al", **files, elements=["Al"]
        )


def test_a_table_that_lies_about_its_size(tmp_path):
    """All elements times a million values: 100 GB, though each number alone is allowed."""
    header = f"118 {' '.join(ELEMENT_SYMBOLS[1:])}"
    for name in ("alloy", "fs", "adp"):
        grid = "5 0.1 1000000 0.5 2.5"
        path = small_table(tmp_path / f"a.{name}", name, header=header, grid=grid)
        with pytest.raises(PotentialFileError, match=":5: expected n_r of at most 4819 with 118"):
            setfl.read_table(path, name)


@pytest.mark.parametrize("name", ["alloy", "fs", "he", "adp", "funcfl"])
def test_steps_whose_inverse_is_infinite(tmp_path, name):
    """They overflowed when places in tables were counted."""
    row = 3 if name == "funcfl" else 5
    for grid in ("5 1e-310 6 0.5 2.5", "5 0.1 6 1e-310 2.5", "5 1e308 6 0.5 2.5"):
        path = small_table(tmp_path / f"a.{name}", name, grid=grid)
        with pytest.raises(PotentialFileError, match=f":{row}: expected .* from 1e-30 to 1e.30"):
            setfl.read_table(path, name)
    if name == "he":
        change = lambda lines: lines.__setitem__(4, "5 0.1 6 0.5 2.5 -1e20")  # noqa: E731
        path = small_table(tmp_path / "a.he", "he", change=change)
        with pytest.raises(PotentialFileError, match="largest rho within"):
            setfl.read_table(path, name)
