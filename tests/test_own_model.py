"""docs/your-own-model.md from data to picture: its example runs every block, in short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from test_examples import example, is_picture

from mliap_local.model_file import read_model

jax.config.update("jax_enable_x64", True)

PAGE = Path(__file__).parent.parent / "docs" / "your-own-model.md"
MODELS = ("ace", "network")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the page leaves behind, and what it printed."""
    for package in ("ace_jax", "ase", "matplotlib"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("own")
    (folder / "output").write_text(example("train_hydrogen", folder))
    return folder


def test_no_block_is_left_out(folder):
    """Files are there as the page has them, but for the few numbers of the short form."""
    page = PAGE.read_text()
    saved = re.findall(r"Save\s+this\s+as\s+`(\S+)`:\n\n```\w+\n(.*?)^```$", page, re.S | re.M)
    assert len(saved) == 6 == page.count("```python") + page.count("```lammps")
    for name, text in saved:
        ran = (folder / name).read_text().splitlines()
        lines = text.splitlines()
        assert len(ran) == len(lines)
        assert sum(a != b for a, b in zip(ran, lines, strict=True)) <= 3, name
    output = (folder / "output").read_text()
    commands = re.findall(r"^```sh\n(.*?)^```$", page, re.S | re.M)
    assert commands[0].startswith("pip install") and len(commands) == 8
    for command in commands[1:]:
        assert command in output


@pytest.mark.parametrize("name", MODELS)
def test_model(folder, name):
    """The files are sound, know the elements, and a lone atom has no energy."""
    command = [Path(sys.executable).parent / "mliap-local", "check", folder / f"{name}.zip"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") >= 8
    metadata = read_model(folder / f"{name}.zip").metadata
    assert metadata.elements == ("Pd", "H")
    assert metadata.isolated_energies is not None
    assert sorted(metadata.isolated_energies) == ["H", "Pd"]
    assert all(abs(energy) < 1e-10 for energy in metadata.isolated_energies.values())
    assert metadata.overlap == (0.9 if name == "network" else None)


@pytest.mark.parametrize("name", MODELS)
def test_errors_are_those_of_a_fit(folder, name):
    """Of structures that neither has seen, against the reference: better than knowing nothing."""
    number = r"(-?\d+\.\d+)"
    (row,) = re.findall(
        rf"^{name} +{number} meV an atom, {number} eV/Angstrom; (\d+) low insertions: ",
        (folder / "output").read_text(),
        re.MULTILINE,
    )
    energy, force, low = map(float, row)
    assert 0 < energy < 100 and 0 < force < 1 and low > 5


@pytest.mark.parametrize("name", MODELS)
def test_run(folder, name):
    """Verified, with trials of both kinds accepted, and hydrogen where it may be."""
    log = (folder / f"log.{name}").read_text()
    assert "ERROR" not in log and "WARNING" not in log
    largest = re.findall(r"largest \|incremental - full\| (\S+), up to (\S+) would have", log)
    assert len(largest) == 2  # one for each chemical potential
    for off, allowed in largest:
        assert float(off) < float(allowed) < 1e-4
    assert all(int(n) > 200 for n in re.findall(r"and (\d+) incremental evaluations", log))
    mu, loading = np.loadtxt(folder / f"loading.{name}")[:, 1:].T
    low, high = (loading[mu == value].mean() for value in np.unique(mu))
    assert 0 < low < high < 1 and np.unique(loading).size > 3


def test_picture(folder):
    assert is_picture(folder / "own-model.png")
