"""Files that carry what they were converted from: read where their programs cannot be."""

from __future__ import annotations

import argparse
import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from fuzzing import seeds
from small_tables import made_up

jax.config.update("jax_enable_x64", True)

from jax import export  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import ModelFileError, read_model  # noqa: E402
from mliap_local.model_file.files import describe_model  # noqa: E402
from mliap_local.model_file.origin import convert_again, origin_of, parse_origin  # noqa: E402
from mliap_local.models import atomic_numbers  # noqa: E402


def table(folder: Path) -> Path:
    path = folder / "Ni H.eam.alloy"
    made_up(path, "alloy", ["Ni", "H"], largest_rho=60.0)
    return path


def changed(path: Path, to: Path, members: dict[str, Any], **fields) -> Path:
    """A copy with other members (None: without) and other fields of `converted`."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = members.get(name, old.read(name))
            content = content(old.read(name)) if callable(content) else content
            if name == "metadata.json":
                metadata = json.loads(content)
                metadata["converted"] |= fields.pop("converted", {})
                content = json.dumps(metadata | fields).encode()
            if content is not None:
                new.writestr(name, content)
    return to


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("origin")
    potential, path = table(folder), folder / "a.zip"
    words = ["eam", str(potential), "--format", "alloy", "--prec", "64bit"]
    assert main(["convert", *words, "-o", str(path)]) == 0
    potential.unlink()  # the model file needs it no more
    return path


UNREADABLE = {"edge.jax": b"of a JAX to come"}


def energies(path: Path) -> np.ndarray:
    functions = read_model(path, trusted=True).functions
    numbers = np.array([28, 1, 28])
    h = functions.node_init(numbers)
    r_ij = np.array([[0.8, 1.0, 0.2], [1.3, 0.1, 0.6], [0.2, 1.9, 0.1]])
    return np.asarray(functions.readout(h, functions.edge(h, h[::-1], r_ij)))


def test_built_anew_is_the_same(converted, tmp_path, capsys):
    path = changed(converted, tmp_path / "b.zip", UNREADABLE)
    assert not read_model(converted).built_anew
    model = read_model(path)  # in a child process first
    assert model.built_anew and model.vjp_order == 2
    assert np.abs(energies(path)).max() > 1e-3
    np.testing.assert_array_equal(energies(path), energies(converted))
    assert describe_model(path)["built_anew"] is True
    for file, word in ((converted, "read"), (path, "built anew")):
        assert main(["info", str(file)]) == 0
        out = capsys.readouterr().out
        assert f"programs              {word}" in out
        assert "converted from        eam Ni H.eam.alloy --format alloy by mliap-local" in out
    assert main(["check", str(path)]) == 0


def test_a_jax_of_another_time(converted, monkeypatch):
    monkeypatch.setattr(export, "minimum_supported_calling_convention_version", 8)
    monkeypatch.setattr(export, "maximum_supported_calling_convention_version", 9)
    with pytest.raises(ModelFileError, match="calling convention"):  # of what is exported anew too
        read_model(converted, trusted=True)


SMALL = """
units metal
region box block 0 9 0 9 0 9
create_box 2 box
create_atoms 1 random 9 77 NULL overlap 1.5
create_atoms 2 random 5 78 NULL overlap 0.9
mass * 1
pair_style mliap_local
"""


def test_lammps_says_so(converted, tmp_path, runner):
    path, seen = changed(converted, tmp_path / "b.zip", UNREADABLE), []
    for file in (path, converted):
        runner.run(f"log {tmp_path}/log", SMALL, f"pair_coeff * * {file} Ni H\nrun 0\nlog none")
        seen.append((runner.lmp.get_thermo("pe"), (tmp_path / "log").read_text()))
    (one, said), (other, nothing) = seen
    assert one == other != 0
    assert "built anew, convert it again" in said and "built anew" not in nothing


WRONG = {
    "no family": ({"family": "../x"}, {}, "expected family"),
    "a path": ({"arguments": ["/etc/passwd"]}, {}, "expected family"),
    "an escape": ({"arguments": ["\x1b[31m"]}, {}, "expected family"),
    "no such file": ({"arguments": [3]}, {}, "expected family"),
    "true": ({"arguments": [True]}, {}, "expected family"),
    "an unknown option": ({"arguments": [0, "--what"]}, {}, "unrecognized arguments"),
    "no content": ({}, {"converted/0": None}, "converted/0: expected this member, found none"),
    "an empty file": ({}, {"converted/0": b""}, "converted/0: expected content"),
    "another potential": (
        {},
        {"converted/0": lambda content: content.replace(b"2 Ni H", b"2 Ni Al")},
        "again",
    ),
    "no potential": ({}, {"converted/0": b"\x1b[2J nothing"}, "what `mliap-local convert eam`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_none_is_refused(converted, tmp_path, case):
    fields, members, words = WRONG[case]
    path = changed(converted, tmp_path / "b.zip", UNREADABLE | members, converted=fields)
    with pytest.raises(ModelFileError) as caught:
        read_model(path, trusted=True)
    message = str(caught.value)
    assert str(path) in message and words in message and message.isprintable(), message


def test_names_are_no_paths(converted, tmp_path):
    names = ["../../../tmp/x.eam.alloy"]
    path = changed(converted, tmp_path / "b.zip", UNREADABLE, converted={"files": names})
    np.testing.assert_array_equal(energies(path), energies(converted))


def test_without_an_origin_it_is_refused(converted, tmp_path):
    path = changed(converted, tmp_path / "b.zip", UNREADABLE, **{"name": "x"})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members.pop("metadata.json"))
    del metadata["converted"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match="three weeks older"):
        read_model(path, trusted=True)


EVERY = {
    "eam.alloy": ("eam", []),
    "eam.funcfl": ("eam", []),
    "adp": ("adp", []),
    "sw": ("sw", []),
    "snap": ("snap", None),
    "nep": ("nep", []),
    "mtp": ("mtp", None),
    "ace": ("ace", []),
    "yace": ("ace", []),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_family(name, tmp_path, monkeypatch):
    """What a conversion leaves in the file converts to the same energies, wherever it is done."""
    family, words = EVERY[name]
    files = seeds(name)[0]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    if name == "snap":
        coefficients, parameters = sorted(files)
        words = [coefficients, parameters, *_snap_elements(files[coefficients])]
    elif name == "sw":
        words = [*files, "Si", "C"]
    elif name == "mtp":
        words = [*files, "Ni"]
    else:
        words = [*files, *words]
    module = import_module(f"mliap_local.models.{family}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    try:
        options = parser.parse_args(words)
    except SystemExit:
        pytest.fail(f"{words}")
    made = module.convert(options)
    origin = origin_of(family, words, options, "1")
    assert len(origin.contents) == len(files)
    for file in files:
        Path(file).unlink()
    assert parse_origin("x", origin.fields()) == origin._replace(contents=())
    again = convert_again("x", origin)
    assert (again.cutoff, again.elements, again.units) == (made.cutoff, made.elements, made.units)
    numbers = np.resize(atomic_numbers(made.elements), 4)
    r_ij = made.cutoff * np.array([[0.4, 0.2, 0.1], [0, 0.5, 0.3], [0.3, 0.3, 0.5], [0.7, 0, 0.1]])
    found = []
    for functions in (made.functions, again.functions):
        h = functions.node_init(numbers)
        found.append(np.asarray(functions.readout(h, functions.edge(h, h[::-1], r_ij))))
    np.testing.assert_array_equal(*found)


def _snap_elements(content: bytes) -> list[str]:
    lines = [line for line in content.decode().splitlines() if line.split("#")[0].strip()]
    n, count = map(int, lines[0].split()[:2])
    return [lines[1 + k * (count + 1)].split()[0] for k in range(n)]
