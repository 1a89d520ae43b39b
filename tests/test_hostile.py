"""Files that nobody here made: what they say, run, take or break stays theirs.

The files are made here, programs of MLIR edited after JAX had exported them. Those that would end
a process are given to the child alone. What they do without a child was tried by hand: the process
that runs them ends, or never does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from jax import export  # noqa: E402
from jax.extend.mlir.dialects import stablehlo  # noqa: E402
from test_model_file import GOOD, edge, good_blobs, init, readout, shapes, write_zip  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.lammps import kernels  # noqa: E402
from mliap_local.lammps.session import open_session  # noqa: E402
from mliap_local.model_file import ModelFileError, apart, export_model, read_model, vetting  # noqa: E402  # noqa: E402
from mliap_local.model_file.errors import failure_text, printable  # noqa: E402
from mliap_local.model_file.files import try_model  # noqa: E402

ESCAPES = "\x1b[2J\x1b[31mnickel\r\nERROR: disk failure\u202e"
SETTINGS = {"elements": ["H"], "units": "metal", "device": "cpu", "reference_isolated": False}
SETTINGS |= {"node_rank": 0, "threads": 1, "graded": False}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A machine that has met no model file."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(vetting, "_known", set())
    monkeypatch.setattr(kernels, "_keep_compilations", lambda: None)  # for all that JAX does later
    return tmp_path / "cache" / "mliap_local" / "tried"


def program(function, edit=None, arguments=("n, 4", "n, 3")) -> bytes:
    """An export, after an edit of its MLIR."""
    exported = export.export(jax.jit(function), platforms=("cpu",))(*shapes(*arguments))
    if edit:
        text = edit(exported.mlir_module())
        assert text != exported.mlir_module()
        version = stablehlo.get_current_version()
        module = stablehlo.serialize_portable_artifact_str(text, version)
        exported = dataclasses.replace(exported, mlir_module_serialized=module)
    return bytes(exported.serialize())


def model_file(path: Path, function=None, edit=None, **fields) -> str:
    """A file that is sound but for its readout."""
    blobs = dict(good_blobs())
    if function:
        blobs["readout.jax"] = program(function, edit)
    return str(write_zip(path, blobs, {**GOOD, **fields}))


def refused(path: str, *words: str, **keywords) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_model(path, **keywords)
    message = str(caught.value)
    assert message.startswith(path) and message.isprintable()
    assert [word for word in words if word not in message] == [], message
    return message


def fails(capfd, command: str, path: str) -> str:
    """Run a command that fails; no traceback and nothing of MLIR, one line at the end."""
    assert main([command, path]) == 1
    out, error = capfd.readouterr()
    assert error.startswith("mliap-local: error: ") and error.count("\n") == 1
    assert "Traceback" not in out and "loc(" not in out
    return out + error


# Calls of native code


LINEAR_ALGEBRA = {
    "lapack_dgetrf_ffi": jnp.linalg.inv,
    "lapack_dgeqrf_ffi": lambda a: jnp.linalg.qr(a)[1],
    "lapack_dsyevd_ffi": lambda a: jnp.linalg.eigh(a)[1],
    "lapack_dgesdd_ffi": lambda a: jnp.linalg.svd(a)[0],
    "lapack_dtrsm_ffi": lambda a: jax.scipy.linalg.solve_triangular(a, a),
}


@pytest.mark.parametrize("target", LINEAR_ALGEBRA)
def test_linear_algebra_is_refused(tmp_path, target):
    def function(h, messages):
        return LINEAR_ALGEBRA[target](h.reshape(-1, 2, 2))[:, 0, 0]

    path = model_file(tmp_path / "a.zip", function)
    refused(path, "readout.jax: expected StableHLO that only computes, found lapack_", trusted=True)
    assert target in program(function).decode(errors="replace")


@pytest.mark.parametrize(
    "name", ['"Sharding(evil"', '"shape_assertion(evil"', "shape_assertions", "Sharding", "evil"]
)
def test_calls_are_known_by_their_whole_names(tmp_path, name):
    def edit(text):
        return text.replace("@shape_assertion(", f"@{name}(", 1)

    path = model_file(tmp_path / "a.zip", readout, edit)
    refused(path, "StableHLO that only computes", name.strip('"'), trusted=True)
    assert read_model(model_file(tmp_path / "b.zip", readout), trusted=True).message_width == 3


# What would end, hang or exhaust a process


def huge(h, messages):
    """With 7 edited to 2^31 - 1, XLA finds that a size has no number, and aborts."""
    return h[:, 0] + jnp.ones((h.shape[0], 7, 7)).sum((1, 2))


def dynamic(value):
    def edit(text):
        text = text.replace("dense<7> : tensor<1xi32>", f"dense<{value}> : tensor<1xi32>")
        return text.replace("tensor<?x7x7xf64>", "tensor<?x?x?xf64>")

    return edit


def endless(h, messages):
    return jax.lax.while_loop(lambda x: x[0] < 9, lambda x: (x[0] * 1, x[1] + 1), (h[0, 0] * 0, h))[
        1
    ][:, 0]


def greedy(h, messages):
    return h[:, 0] + jnp.sort(jnp.cos(jnp.arange(h.shape[0] * 10_000_000, dtype=float)))[3]


def test_file_that_ends_its_process(tmp_path, capfd, runner):
    path = model_file(tmp_path / "abort.zip", huge, dynamic(2**31 - 1))
    words = "a process of their own, found its end by SIGABRT", "do not use this file"
    message = fails(capfd, "check", path)
    assert all(word in message for word in words), message
    box = "region box block 0 9 0 9 0 9\ncreate_box 1 box\nmass 1 1.0\npair_style mliap_local\n"
    with pytest.raises(Exception, match="ERROR") as caught:
        runner.run("units metal\n" + box + f"pair_coeff * * {path} H")
    assert all(word in str(caught.value) for word in (path, *words)), caught.value
    assert capfd.readouterr().err == ""


def test_program_that_never_ends(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(apart.LIMITS, "seconds", 1)
    path = model_file(tmp_path / "endless.zip", endless)
    words = "more than 1 s of processor time", "ask who made it"
    assert all(word in fails(capfd, "check", path) for word in words)
    refused(path, *words)
    assert main(["info", path]) == 0  # which runs nothing
    assert "embedding 4, message 3" in capfd.readouterr().out


def test_program_that_takes_all_memory(tmp_path, monkeypatch):
    monkeypatch.setitem(apart.LIMITS, "memory", 1 << 28)
    refused(model_file(tmp_path / "greedy.zip", greedy), "memory")


def test_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "PATIENCE", 0.01)
    refused(model_file(tmp_path / "a.zip"), "found no end after 0.01 s")


@pytest.mark.parametrize("what", ["embedding", "message"])
def test_widths_are_bounded(tmp_path, what):
    width = 1_000_000

    def node_init(z):
        return jnp.zeros((z.shape[0], width))

    blobs = dict(good_blobs())
    wide, four, vectors = f"n, {width}", "n, 4", "n, 3"
    if what == "message":
        blobs["edge.jax"] = program(lambda a, b, r: node_init(a), None, (four, four, vectors))
        blobs["readout.jax"] = program(lambda h, m: h[:, 0], None, (four, wide))
    else:
        (n,) = export.symbolic_shape("n")
        exported = export.export(jax.jit(node_init))(jax.ShapeDtypeStruct((n,), jnp.int64))
        blobs["node_init.jax"] = bytes(exported.serialize())
        blobs["edge.jax"] = program(lambda a, b, r: r, None, (wide, wide, vectors))
        blobs["readout.jax"] = program(lambda h, m: h[:, 0], None, (wide, vectors))
    path = str(write_zip(tmp_path / "wide.zip", blobs))
    most = {"embedding": 4096, "message": 65536}[what]
    refused(path, f"{what}s of at most {most} columns, found 1000000", trusted=True)


def test_zip_of_too_many_members(tmp_path):
    path = model_file(tmp_path / "a.zip")
    with open(path, "ab") as file:
        file.write(b"PK\x01\x02" * 1000)
    refused(path, "a zip of at most 1000 members, found 1004", trusted=True)


def test_errors_of_jax_are_one_line(tmp_path, capfd):
    path = model_file(tmp_path / "shapes.zip", huge, dynamic(-7))
    said = fails(capfd, "check", path)
    assert "FAILED  runs: " in said and "ok      readable" in said
    assert "Module shape refinement failed" in said and "failed 1 checks: runs" in said
    path = model_file(tmp_path / "cutoff.zip", cutoff=1e308)
    assert "cutoff: expected a length of" in fails(capfd, "check", path)


def test_failures_name_their_first_cause_and_no_source_lines():
    try:
        try:
            raise ValueError("\n  shapes differ\n/etc/passwd:1:1: note: called from\nroot:x:0:0")
        except ValueError as first:
            raise RuntimeError("Error refining shapes. Define JAX_DUMP_IR_TO") from first
    except RuntimeError as error:
        assert failure_text(error) == "ValueError:   shapes differ"


# What a file says


def test_what_a_file_says_cannot_disturb_a_terminal(tmp_path, capsys):
    said = printable(ESCAPES)
    assert said.isprintable() and "nickel" in said and len(printable("x" * 10**6)) == 1000
    path = model_file(tmp_path / "a.zip", name=ESCAPES, source=ESCAPES)
    vetting.remember(Path(path).read_bytes())
    summary = open_session({**SETTINGS, "model_file": path}).summary
    assert summary.isprintable() and summary.startswith(said)
    assert main(["info", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert sum("disk failure" in line for line in lines) == 2
    assert not any(line.startswith("ERROR") for line in lines)


def test_model_that_raises_in_a_run(tmp_path):
    """It is sound for few atoms. Its words are in the log, and not as if LAMMPS had said them."""

    def edit(text):
        # main's check that n >= 1 becomes n < 9: what a trial of eight atoms does not see
        text = text.replace("compare GE, %1, %c, SIGNED", "compare LT, %1, %c, SIGNED", 1)
        text = text.replace(
            "%c = stablehlo.constant dense<1>", "%c = stablehlo.constant dense<9>", 1
        )
        forged = r'error_message = "No more than 8\\1B[31m\\0AERROR: forged"'
        return re.sub('error_message = "[^"]*"', forged, text)

    path = model_file(tmp_path / "few.zip", readout, edit, name=ESCAPES)
    (tmp_path / "in.test").write_text(f"""
units metal
lattice sc 2.0
region box block 0 6 0 6 0 6
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style mliap_local forces no
pair_coeff * * {path} H
thermo_style custom step pe
run 0
""")
    program = Path(sys.executable).parent / "lmp"
    done = subprocess.run(
        [program, "-in", "in.test", "-log", "log.test"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    log = (tmp_path / "log.test").read_text()
    assert done.returncode != 0 and "nickel" in log
    for text in (done.stdout, done.stderr, log):
        assert "\x1b" not in text and not re.search("^ERROR: (forged|disk)", text, re.MULTILINE)
    (error,) = re.findall(r"^ERROR.*", log, re.MULTILINE)
    assert f"{path}: expected an energy from the model, got" in error and "No more than 8" in error
    assert "few.zip: expected" in done.stdout and "error:" not in done.stderr


# The verdict, and what it depends on


@pytest.fixture
def tried(monkeypatch) -> list[str]:
    """Paths of the files that children tried; nobody starts a child."""
    paths: list[str] = []

    def run_apart(task, path, *arguments):
        paths.append(str(path))
        return vetting.hashlib.sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setattr(apart, "run_apart", run_apart)
    return paths


def another_process():
    vetting._known.clear()


def test_a_file_is_tried_once(tmp_path, cache, capfd):
    """The first opening takes a child, which leaves one file in the cache and nothing else."""
    path = model_file(tmp_path / "a.zip")
    assert read_model(path).vjp_order == 2
    (verdict,) = cache.iterdir()
    another_process()
    assert read_model(path).vjp_order == 2
    assert [file.name for file in cache.iterdir()] == [verdict.name] == [verdict.read_text()]
    assert capfd.readouterr() == ("", "")


def test_what_makes_a_verdict_stale(tmp_path, cache, tried, monkeypatch):
    path = model_file(tmp_path / "a.zip")

    def opened() -> int:
        another_process()
        before = len(tried)
        read_model(path)
        return len(tried) - before

    real = vetting._version

    def other_version(other: str):
        return lambda package: "other" if package == other else real(package)

    assert [opened(), opened()] == [1, 0]
    copy = tmp_path / "copy.zip"
    copy.write_bytes(Path(path).read_bytes())
    read_model(copy)
    assert len(tried) == 1  # a name does not matter
    model_file(tmp_path / "a.zip", name="other content")
    assert [opened(), opened()] == [1, 0]
    for change in (
        lambda patch: patch.setattr(vetting, "__version__", "0.0.other"),
        lambda patch: patch.setattr(vetting, "_version", other_version("jax")),
        lambda patch: patch.setattr(vetting, "_version", other_version("jaxlib")),
        lambda patch: patch.setattr(vetting, "_TRIAL", -1),
    ):
        with monkeypatch.context() as patch:
            change(patch)
            assert [opened(), opened()] == [1, 0]
        assert opened() == 0
    for verdict in cache.iterdir():
        verdict.write_text("")  # as a full disk leaves it
    assert [opened(), opened()] == [1, 0]


def test_what_was_written_here_is_known(tmp_path, cache, tried):
    path = tmp_path / "a.zip"
    arguments = {"cutoff": 4.0, "elements": ["Ni"], "vjp_order": 1, "platforms": ("cpu",)}
    export_model(path, init, edge, readout, **arguments)
    another_process()
    assert read_model(path).vjp_order == 1 and not tried
    export_model(path, init, edge, readout, **arguments, checks=False)  # and so never run
    assert read_model(path).vjp_order == 1 and len(tried) == 1


def test_cache_that_cannot_be_written(tmp_path, monkeypatch, tried):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = model_file(tmp_path / "a.zip")
    for expected in (1, 1):
        assert read_model(path).vjp_order == 2 and len(tried) == expected
    another_process()
    assert read_model(path).vjp_order == 2 and len(tried) == 2


def test_file_that_changes_meanwhile(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(apart, "run_apart", lambda *words: "digest of another content")
    for _ in range(2):
        refused(model_file(tmp_path / "a.zip"), "expected a file that stays")
    assert not any(len(file.name) == 64 for file in cache.iterdir())


@pytest.mark.parametrize("fate", ["good", "bad", "interrupted"])
def test_processes_that_open_a_file_at_once(tmp_path, cache, monkeypatch, tried, fate):
    """One tries it, the other waits and believes its words, bad ones too, but no older ones."""
    path = model_file(tmp_path / "a.zip")
    content = Path(path).read_bytes()
    cache.mkdir(parents=True)
    (cache / f"{vetting._name(content)}.lock").write_text(f"{path}: what was said yesterday")
    first_tries, other_waits = threading.Event(), threading.Event()
    run_apart, messages = apart.run_apart, []

    def slow(*words):
        first_tries.set()
        assert other_waits.wait(60)
        answer = run_apart(*words)
        if fate == "bad":
            raise ModelFileError(f"{path}: number {len(tried)}")
        if fate == "interrupted" and len(tried) == 1:
            raise KeyboardInterrupt("by somebody")
        return answer

    monkeypatch.setattr(apart, "run_apart", slow)
    monkeypatch.setattr(vetting.time, "sleep", lambda seconds: other_waits.set())

    def opens():
        try:
            vetting.vet(path, content, "cpu")
            messages.append("good")
        except (ModelFileError, KeyboardInterrupt) as error:
            messages.append(str(error))

    threads = [threading.Thread(target=opens) for _ in range(2)]
    threads[0].start()
    assert first_tries.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    answers = {"bad": [f"{path}: number 1"] * 2, "interrupted": ["by somebody", "good"]}
    assert messages == answers.get(fate, ["good"] * 2) and other_waits.is_set()
    assert len(tried) == (2 if fate == "interrupted" else 1)
    another_process()
    before = len(tried)
    with contextlib.suppress(ModelFileError):  # one who comes later tries again, if it was bad
        vetting.vet(path, content, "cpu")
    assert len(tried) - before == (1 if fate == "bad" else 0)


# The child's surroundings


def test_child_is_no_rank(monkeypatch):
    launchers = {"PMI_RANK": "1", "PMI_FD": "7", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}
    for name, value in {**launchers, "MPIR_CVAR_X": "1", "USERS_OWN": "kept"}.items():
        monkeypatch.setenv(name, value)
    environment = apart._environment()
    assert environment["USERS_OWN"] == "kept" and environment["JAX_PLATFORMS"] == "cpu"
    assert not [name for name in environment if name.startswith(("PMI", "OMPI", "MPI"))]


def test_program_that_is_no_python(tmp_path, monkeypatch, caplog):
    """A host that embeds Python: its environment's Python is taken, or, with one line, none."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/lmp")
    assert os.path.dirname(apart._python() or "") == os.path.join(sys.prefix, "bin")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert apart._python() is None
    path = model_file(tmp_path / "a.zip")
    with caplog.at_level(logging.WARNING):
        assert read_model(path).vjp_order == 2
    (record,) = caplog.records
    assert f"{path} is opened without a trial in a process of its own" in record.getMessage()
    bad = model_file(tmp_path / "b.zip", huge, dynamic(-7))
    refused(bad, "programs that can be run", "shape refinement failed")


def test_python_that_has_no_mliap_local(tmp_path, monkeypatch, caplog):
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(other))
    with caplog.at_level(logging.WARNING):
        assert read_model(model_file(tmp_path / "a.zip")).vjp_order == 2
    assert "cannot import this mliap_local" in caplog.records[0].getMessage()


def test_file_that_is_not_for_cpus(tmp_path, capfd):
    """It is read for its platform, and not run."""
    path = tmp_path / "cuda.zip"
    arguments = {"cutoff": 4.0, "elements": ["Ni"], "vjp_order": 1, "platforms": ("cuda",)}
    export_model(path, init, edge, readout, **arguments, checks=False)
    content = path.read_bytes()
    vetting.vet(path, content, "cuda")
    assert vetting._name(content) in vetting._known
    with pytest.raises(ModelFileError, match="expected an export for cpu, found an export for cud"):
        try_model(path, content, "cpu")
    assert (
        main(["info", str(path)]) == 0 and "derivatives           forces" in capfd.readouterr().out
    )


def test_commands_do_not_load_jax(tmp_path):
    path = model_file(tmp_path / "a.zip")
    code = (
        "import sys; from mliap_local.cli import main; code = main(['info', sys.argv[1]]); "
        "sys.exit(code or 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "message 3" in done.stdout and done.stderr == ""
    assert json.loads(json.dumps(done.stdout)).isprintable() is False  # several lines
