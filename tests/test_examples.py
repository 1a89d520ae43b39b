"""The examples in short: each runs and shows what it is for."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Runner

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


def test_phases_of_CuNi(tmp_path):
    output = example("phases_of_CuNi", tmp_path)
    ((temperature, low, high), *_) = rows(output, rf"(\d+) +({NUMBER}) +({NUMBER})")
    # Copper and nickel do not mix at 500 K; a regular solution of this potential would at 760 K.
    assert temperature == 500 and low < 0.3 and high > 0.7
    shown = (
        rf"mu {NUMBER} eV at 1000 K: Ni ({NUMBER}), of LAMMPS's eam/alloy ({NUMBER}) \+- {NUMBER}"
    )
    compared = rows(output, shown)
    # Far too short to settle; which is the richer in nickel it knows.
    assert len(compared) == 1 and abs(compared[0][0] - compared[0][1]) < 0.3
    assert is_picture(tmp_path / "phases.png")


def test_python_driven(tmp_path):
    output = example("python_driven", tmp_path)
    found = rows(output, rf"mu +({NUMBER}) eV: ({NUMBER}) H per Ni")
    assert len(found) == 3 and all(0.01 < loading < 0.2 for _, loading in found)
    # The next chemical potential is higher where the loading was too low, and lower where too high.
    for (mu, loading), (following, _) in itertools.pairwise(found):
        assert (following > mu) == (loading < 0.05) or abs(following - mu) < 2e-3


@pytest.fixture
def inputs(runner, model, tmp_path, monkeypatch):
    """`inputs(name, steps=...)`: run an input file in the one LAMMPS, with variables of its own."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, **variables: object) -> Runner:
        file = EXAMPLES / f"in.{name}"
        defined = re.findall(r"^variable +(\w+)", file.read_text(), re.MULTILINE)
        values = {"model": model("eam")} | variables
        assert set(values) <= set(defined)
        runner.run(
            *(f"variable {key} delete" for key in defined),  # of an input before this one
            *(f"variable {key} index {value}" for key, value in values.items()),
        )
        runner.lmp.file(str(file))
        return runner

    yield run
    runner.run("suffix off")


def test_widom_in_nickel(inputs):
    """Our own fix gives what LAMMPS's gives, and that is of the size of a heat of solution."""
    found = []
    for fix in ("widom/mliap_local", "widom"):
        run = inputs("widom_in_nickel", fix=fix, insertions=50, steps=20)
        found.append(run.lmp.extract_variable("excess", None, 0))
    assert -2.3 < found[0] < -1.5 and abs(found[0] - found[1]) < 1e-9


def test_order_in_Ni3Al(inputs):
    lmp = inputs("order_in_Ni3Al", steps=60, swaps=100).lmp
    attempts, accepted = (lmp.extract_fix("swap", 0, 1, k) for k in range(2))
    assert 0 < accepted < attempts == 600
    # from 2.75 at random; the whole run reaches a tenth of that
    assert 0 < lmp.extract_variable("Al_of_Al", None, 0) < 2.2


def test_restart_of_gcmc(inputs):
    lmp = inputs("restart_of_gcmc", half=4).lmp
    tried, inserted, deleted = (lmp.extract_fix("gas", 0, 1, k) for k in (2, 3, 5))
    # eight stages: counters went on where they were, and so did the number of atoms
    assert 2 * 4 * 100 * 0.4 < tried and inserted > deleted > 0
    assert lmp.get_natoms() == 256 + inserted - deleted
    assert lmp.extract_variable("atoms", None, 0) > 256


def test_two_processes(model, tmp_path):
    """mpiexec -n 2 lmp -in in.hydrogen_in_nickel: the same input on several processes."""
    bin = Path(sys.executable).parent
    script, words = EXAMPLES / "in.hydrogen_in_nickel", f"-var model {model('eam')} -var steps 20"
    command = [bin / "mpiexec", "-n", "2", bin / "lmp", "-in", script, *words.split()]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " on 2 procs " in done.stdout and "WARNING" not in done.stdout
    *_, atoms = re.findall(r"^ +20 +(\d+) ", done.stdout, re.MULTILINE)
    assert int(atoms) > 256


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
