"""The examples that end with a picture, in short: each runs and shows what it is for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "lammps_examples"
NUMBER = r"-?\d+\.\d+"


def example(name: str, folder: Path, *words: object, code: int = 0, **environment: str) -> str:
    """Run an example's short form in an empty folder and return what it prints."""
    command = [sys.executable, EXAMPLES / f"{name}.py", "--short", "--folder", folder, *words]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout
    assert "WARNING" not in done.stdout
    return done.stdout


def rows(output: str, pattern: str) -> list[list[float]]:
    """Numbers of the lines that have this form."""
    found = re.findall(rf"^\s*{pattern}$", output, re.MULTILINE)
    return [[float(word) for word in row] for row in found]


def points(output: str, ending: str = "") -> list[list[float]]:
    """mu, mean, error, percentages of insertions and deletions: of each line of such a table."""
    number = rf"\s+({NUMBER})"
    found = rows(output, rf"({NUMBER}){number * 2}{number}%{number}%\s*{ending}")
    for *_, insertions, deletions in found:
        assert 0 < insertions < 100 and 0 < deletions < 100
    return found


def is_picture(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"\x89PNG") and len(content) > 5000


def test_hydrogen_in_palladium(tmp_path):
    output = example("hydrogen_in_palladium", tmp_path)
    low, high = points(output)
    # Neither has settled; their order is that of the isotherm.
    assert low[0] < high[0] and 0 < low[1] < 0.3 < high[1] < 1
    (native,) = points(output, "eam/he")
    # It goes on from the first point, which has not settled: near it, not at the second.
    assert native[0] == low[0] and abs(native[1] - low[1]) < 0.5 * (high[1] - low[1])
    assert is_picture(tmp_path / "isotherm.png")


def test_vacancies_in_tantalum(tmp_path):
    output = example("vacancies_in_tantalum", tmp_path)
    ((removal, formation),) = rows(output, rf"at rest: ({NUMBER}) eV .* ({NUMBER}) eV to form .*")
    # measured for tantalum: 2.8 to 3.1 eV
    assert 2.7 < formation < 3.1
    low, high = points(output)
    assert low[0] < high[0] and low[1] < high[1]
    ((free_energy, _),) = rows(output, rf"free energy .*: ({NUMBER}) \+- ({NUMBER}) eV at 1000 K")
    assert abs(free_energy - removal) < 0.4  # vibrations: of the order of kT times a few
    assert is_picture(tmp_path / "vacancy.png")


@pytest.fixture
def nep(tmp_path) -> Path:
    """Random numbers of the right form: what they say of an alloy means nothing."""
    from oracle_nep import Header, write_random

    header = Header(
        "nep4_zbl", "Ni Al Cr Co", "zbl 1 2", "4 3.5 99 99", "2 1", "3 3", "2 0 0", neurons=5
    )
    return write_random(tmp_path / "random.txt", header)


def test_order_in_CrCoNi(tmp_path, nep):
    output = example("order_in_CrCoNi", tmp_path, "--nep", nep)
    pairs = re.findall(rf"^(\w\w-\w\w) +({NUMBER}) +{NUMBER} *({NUMBER})?%?$", output, re.MULTILINE)
    names = ["Cr-Cr", "Cr-Co", "Cr-Ni", "Co-Co", "Co-Ni", "Ni-Ni"]
    assert [name for name, *_ in pairs] == names
    alpha = {name: float(value) for name, value, _ in pairs}
    assert any(alpha.values()) and all(-2 <= value <= 1 for value in alpha.values())
    # Of the neighbours of any element all are of some element.
    for element in ("Cr", "Co", "Ni"):
        total = sum(value for name, value in alpha.items() if element in name.split("-"))
        assert abs(total) < 0.02
    accepted = [float(share) for *_, share in pairs if share]
    assert len(accepted) == 3 and all(0 < share < 100 for share in accepted)
    assert is_picture(tmp_path / "order.png")


def test_nep89_that_cannot_be_fetched(tmp_path):
    """Without a network one line says what is missing, and another what to do."""
    output = example(
        "order_in_CrCoNi", tmp_path, code=1, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path)
    )
    assert "expected pip to download the source of neptrainkit" in output
    assert "--nep FILE" in output and "Traceback" not in output
