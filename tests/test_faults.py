"""What goes wrong in the middle of a run: it ends with one message on all ranks, soon, and not
well; what was written before is what an unbroken run writes, and goes on as that one does.

A row is a process of its own, or a few ranks, with one fault; two run at a time. Faults that end
before a run begins are in test_lammps_errors.py, of single calls in test_bridge.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAMS = Path(sys.executable).parent
FIXES = ("gcmc", "gcmc/mliap_local")  # LAMMPS's own, ours
STEPS, AT = 20, 10  # of a run; where it breaks
# a setup sorts atoms, and fix gcmc picks them by their order: only unsorted ones walk on alike
UNSORTED = "atom_modify sort 0 0.0\n"
BOX = f"""
units lj
{UNSORTED}
atom_modify map array
lattice fcc 0.3
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 2.0 87 loop all
"""
RULES = """
pair_style mliap_local
pair_coeff * * model.zip Ar
fix move all nve
fix gas all @fix 2 20 20 1 29497 2.0 -2.5 0.5
compute_modify thermo_temp dynamic/dof yes
thermo_style custom step atoms pe press f_gas[2] f_gas[3] f_gas[4] f_gas[6]
thermo 1
thermo_modify flush yes
dump frames all custom 2 frames.dump id x y z
dump_modify frames sort id format float %.15g
restart 4 restart.*
"""
RUN = BOX + RULES
UNBROKEN = f"{RUN}run {STEPS}\n"
HALVES = f"{RUN}run {AT}\n@then\nrun {STEPS} upto\n"

# What Python runs first in a folder: on one rank, the N-th call of a function fails.
BREAK = """
import os, signal
from mliap_local.lammps import session

def broken(owner, name, at):
    function, calls = getattr(owner, name), 0

    def failing(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == at:
            @fault
        return function(*arguments, **keywords)

    setattr(owner, name, failing)

if os.environ.get("PMI_RANK", "0") == "@rank":
    broken(@owner, "@name", @at)
"""
RAISE = 'raise ZeroDivisionError("a fault\\n\\nERROR: with lines of its own")'
# the call that fails: some steps have been made by then, with either fix
CALLS = {"full": 15, "update": 150, "fill": 40, "open_session": 1}


@dataclasses.dataclass
class Fault:
    """Lines, a patch of Python or a command of the shell that break a run; words of the message."""

    words: tuple[str, ...]
    lines: str = UNBROKEN
    own: bool = True  # which fix
    ranks: int = 1
    patch: str = ""
    shell: str = ""  # before it starts
    frames: int = 2  # that are in the dump, at least
    model: str = "lj"


def raising(name: str, ranks: int = 1, own: bool = True, fault: str = RAISE) -> Fault:
    """The last rank fails in this function of a session, with Python's words or without any."""
    owner = "session" if name == "open_session" else "session.Session"
    values = {"fault": fault, "rank": ranks - 1, "owner": owner, "name": name, "at": CALLS[name]}
    patch = BREAK
    for word, value in values.items():
        patch = patch.replace(f"@{word}", str(value))
    words = ("ZeroDivisionError('a fault", "lines of its own") if fault == RAISE else ()
    frames = 0 if name == "open_session" else 2
    return Fault(words, own=own, ranks=ranks, patch=patch, frames=frames)


def halves(*words: str, then: str, **more) -> Fault:
    return Fault(words, HALVES.replace("@then", then), frames=AT // 2, **more)


SET = "variable bad atom x+{}\nset atom 5 x v_bad"
NAN, INFINITY = "exp(1e4)-exp(1e4)", "exp(1e4)"
AWAY = "unfix gas\nfix gas all @fix 2 20 0 1 29497 2.0 -2.5 0.5\n"
AWAY += "change_box all boundary f f f\nset atom 5 vx 1e3 vy 0 vz 0"
OVERLAP = "unfix gas\nthermo_style one\nset atom 5*6 x 1.0 y 1.0 z 1.0\nset atom 6 z 1.04"
NO_NUMBER = "expected a number for the energy", "the model gives nan"
FAULTS = {
    # Python raises in each function of the bridge; close: test_a_close_that_fails
    "open raises": raising("open_session"),
    "open raises on one of two": raising("open_session", ranks=2),
    "a full evaluation raises": raising("full", own=False),
    "a full evaluation raises on one of two": raising("full", ranks=2),
    "an update raises": raising("update", own=False),
    "an update raises on one of two": raising("update", ranks=2),
    "rows to be filled raise": raising("fill"),
    # a rank that is gone
    "one of two ranks is killed": raising(
        "update", ranks=2, fault="os.kill(os.getpid(), signal.SIGKILL)"
    ),
    # memory
    "out of memory": halves(
        *("model.zip: expected an energy from the model, got", "Out of memory allocating"),
        then="replicate 4 4 4",
        shell="ulimit -v 5000000",
        model="wide",
    ),
    # the model
    "no number in a trial of LAMMPS's fix": Fault(
        (*NO_NUMBER, "the closest atoms are"), own=False, model="nan", frames=1
    ),
    "no number in a trial of ours": Fault((*NO_NUMBER, "use overlap"), model="nan", frames=1),
    "no number in a step on two ranks": halves(
        *(*NO_NUMBER, "the closest atoms are"), then=OVERLAP, ranks=2, model="pit"
    ),
    "another file between pair_coeff and run": Fault(
        ("expected the model's energy to be that of pair_style mliap_local", "a difference of"),
        RUN.replace("fix move", "shell cp other.zip model.zip\nfix move") + "run 1\n",
        frames=0,
    ),
    # atoms
    "lost atoms": halves("Lost atoms: original", then=AWAY),
    "lost atoms on two ranks": halves("Lost atoms: original", then=AWAY, own=False, ranks=2),
    "nan in a position": halves("on-numeric atom coords", then=SET.format(NAN)),
    "inf in a position": halves("on-numeric atom coords", then=SET.format(INFINITY), own=False),
    "nan in a velocity on two ranks": halves(
        "on-numeric atom coords", then=SET.format(NAN).replace("x v_", "vx v_"), ranks=2
    ),
    "more neighbours than a list has room for": halves(
        "Neighbor list overflow, boost neigh_modify one",
        then="neigh_modify one 20 page 200",
    ),
}


# --- running -------------------------------------------------------------------------------------


def start(folder: Path, fault: Fault) -> list[str]:
    """Write what a process reads; its command."""
    (folder / "in").write_text(fault.lines.replace("@fix", FIXES[fault.own]))
    (folder / "sitecustomize.py").write_text(fault.patch)
    lmp = f"{PROGRAMS / 'lmp'} -in in -log log"
    if fault.ranks > 1:
        lmp = f"{PROGRAMS / 'mpiexec'} -n {fault.ranks} {lmp}"
    return ["sh", "-c", f"{fault.shell or ':'}; exec {lmp}"]


def launch(folder: Path, fault: Fault) -> subprocess.CompletedProcess[str]:
    """Run to the end, which must come; nothing is left running."""
    with subprocess.Popen(
        start(folder, fault), cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=150)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """A folder with a model file."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("fault")
        if name == "lj":
            shutil.copy(model("lj_force"), folder / "model.zip")
            shutil.copy(model("lj_energy"), folder / "other.zip")
        else:
            MODELS[name](folder / "model.zip")
        return folder

    return make


@pytest.fixture(scope="module")
def runs(request, place):
    """What came of all rows that are wanted, and of the same run unbroken; two run at a time."""
    wanted = [
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "function", None) is test_fault
    ]
    rows = {name: FAULTS[name] for name in wanted}
    shapes = {(fault.own, fault.ranks) for fault in rows.values()} | {(False, 1), (True, 1)}
    rows |= {shape: Fault((), own=shape[0], ranks=shape[1]) for shape in sorted(shapes)}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        folders = {key: place(fault.model) for key, fault in rows.items()}
        done = {key: pool.submit(launch, folders[key], rows[key]) for key in rows}
        yield lambda key: (folders[key], done[key].result())


def model_of(edge, width: int = 1, **keywords):
    """Writes a model of one element, the sum of its messages, in units lj."""

    def write(path: Path) -> None:
        import jax
        import jax.numpy as jnp

        from mliap_local import export_model

        jax.config.update("jax_enable_x64", True)

        def message(h_i, h_j, r_ij):
            square = jnp.sum(r_ij * r_ij, axis=1, keepdims=True)
            inside = jnp.where(square < 4.0, (1 - square / 4.0) ** 3, 0.0)
            return edge(square, inside) * jnp.ones((1, width)) / width

        export_model(
            *(path, lambda z: jnp.ones((z.shape[0], 1)), message, lambda h, m: jnp.sum(m, axis=1)),
            **{"cutoff": 2.0, "elements": ["Ar"], "units": "lj", "checks": False, **keywords},
        )

    return write


def hole(distance):
    """No number below this distance, and soft beyond."""

    def edge(square, inside):
        import jax.numpy as jnp

        return jnp.where((square > 0) & (square < distance**2), jnp.nan, 0.1 * inside)

    return edge


MODELS = {
    "nan": model_of(hole(0.5)),
    "pit": model_of(hole(0.05)),  # too small for the trials of a few steps
    "wide": model_of(lambda square, inside: inside, width=16384),
}


# --- what came of it -----------------------------------------------------------------------------


def messages(text: str) -> set[str]:
    """Errors without the rank that says so and the place in a source file."""
    found = re.findall(r"^ERROR(?: on proc \d+)?: (.*)", text, re.M)
    return {re.sub(r" \([^()]*:\d+\)$", "", line) for line in found}


def assert_intact(folder: Path, unbroken: Path, exactly: bool, least: int) -> None:
    """All frames of the dump are whole and, of the same model, those of the unbroken run."""
    frames, whole = ((path / "frames.dump").read_text() for path in (folder, unbroken))
    for frame in frames.split("ITEM: TIMESTEP\n")[1:]:
        count = int(frame.splitlines()[2])
        assert len(frame.splitlines()) == 8 + count and frame.endswith("\n")
    assert frames.count("ITEM: TIMESTEP") >= least
    assert whole.startswith(frames) or not exactly


@pytest.mark.parametrize("name", FAULTS)
def test_fault(runs, name):
    """One message, on screen, of all ranks; an exit code; what was written before is whole."""
    fault = FAULTS[name]
    folder, done = runs(name)
    unbroken, well = runs((fault.own, fault.ranks))
    assert well.returncode == 0 and well.stdout.count("Loop time") == 1, well.stdout + well.stderr
    text, log = done.stdout + done.stderr, (folder / "log").read_text()
    assert done.returncode != 0 and "Total wall time" not in text, text
    found = messages(text)
    assert found | messages(log) == found and len(found) == bool(fault.words), text
    for words in fault.words:
        assert words in found.copy().pop(), text
    if fault.frames:
        assert_intact(folder, unbroken, fault.model == "lj", fault.frames)


# --- faults that a run survives, or that end it from outside -------------------------------------


def frames(path: Path) -> dict[int, np.ndarray]:
    """Atoms of each step: ID and place."""
    found = {}
    for frame in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        lines = frame.splitlines()
        found[int(lines[0])] = np.array([line.split() for line in lines[8:]], float)
    return found


def assert_goes_on(folder: Path, unbroken: Path, first: int) -> None:
    """From this step to the last the frames are those of the unbroken run, to rounding."""
    ours, whole = (frames(path / "frames.dump") for path in (folder, unbroken))
    steps = range(first, STEPS + 1, 2)
    assert set(steps) <= set(ours) and len(steps) > 4
    for step in steps:
        np.testing.assert_allclose(ours[step], whole[step], rtol=0, atol=1e-9, err_msg=str(step))
    assert not np.array_equal(ours[first][:, 0], ours[STEPS][:, 0])  # some came or went


@pytest.mark.parametrize("own", [False, True], ids=FIXES)
def test_killed_and_restarted(runs, place, own):
    """SIGKILL in the middle of a run, which goes on with the same walk from a file it has left.

    LAMMPS draws normal deviates in pairs, and no restart file has the second of a pair: velocities
    of atoms that come later are the same only if it has been used up.
    """
    unbroken, _ = runs((own, 1))
    folder = place("lj")
    endless = Fault((), RUN + "run 100000\n", own=own)
    with subprocess.Popen(
        start(folder, endless), cwd=folder, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout and any(re.match(r" +17 ", line) for line in process.stdout)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert_intact(folder, unbroken, False, 8)
    rows = [line.split() for line in (folder / "log").read_text().splitlines()]
    (tried,) = [int(row[5]) for row in rows if len(row) == 8 and row[0] == "8"]
    assert tried > 0 and tried % 2 == 0  # three components each
    (folder / "frames.dump").unlink()
    again = Fault((), f"{UNSORTED}read_restart restart.8\n{RULES}run {STEPS} upto\n", own=own)
    done = launch(folder, again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_goes_on(folder, unbroken, 10)


@pytest.mark.parametrize("own", [False, True], ids=FIXES)
@pytest.mark.parametrize("command", ["rm model.zip", "mv other.zip model.zip", "cp log model.zip"])
def test_file_that_is_replaced_while_it_runs(runner, runs, place, monkeypatch, own, command):
    """What was opened is what runs, until pair_coeff opens another."""
    unbroken, _ = runs((own, 1))
    folder = place("lj")
    monkeypatch.chdir(folder)
    (folder / "log").write_text("no model\n")
    every = f'run {STEPS} every 10 "shell {command}"\n'
    runner.run((RUN + every).replace("@fix", FIXES[own]))
    assert_goes_on(folder, unbroken, 2)
    runner.run("# closes the dump")


def test_a_close_that_fails(runner, model, monkeypatch):
    """Nothing is lost: the next model opens, and has its own energy."""
    from mliap_local.lammps import bridge

    class Stuck(dict):
        def __delitem__(self, key):
            tried.append(key)
            raise RuntimeError("cannot be closed")

    tried, energies = [], []
    run = BOX + "pair_style mliap_local\npair_coeff * * {} Ar\nrun 0\n"
    for name in ("lj_force", "lj_energy", "lj_force"):
        runner.run(run.format(model(name)))
        energies.append(runner.lmp.get_thermo("pe"))
        if not tried:
            stuck = Stuck(bridge._sessions)
            monkeypatch.setattr(bridge.mliap_local_close, "__defaults__", (stuck,))
            runner.more(f"pair_coeff * * {model('lj_energy')} Ar\nrun 0")
            assert runner.lmp.get_thermo("pe") != energies[0] and len(tried) == 1
            monkeypatch.undo()
    assert energies[0] == energies[2] != energies[1]


FULL = """
import errno, pathlib

def write_bytes(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device", str(self))

pathlib.Path.write_bytes = write_bytes
"""
CACHES = {
    "in a file": ("$PWD/in/cache", "", 0),
    "on a full disk": ("$PWD/cache", FULL, 1),
    "that a full disk has left": ("$PWD/cache", "", 1),
}


def test_cache_of_compilations_that_cannot_be_written(runs, place):
    """The run is the same, and the next reads around what a full disk has left."""
    unbroken, _ = runs((True, 1))
    folder = place("lj")
    for name, (cache, patch, least) in CACHES.items():
        shell = f"export JAX_COMPILATION_CACHE_DIR={cache} "
        shell += "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0"  # the fastest too
        done = launch(folder, Fault((), shell=shell, patch=patch))
        assert done.returncode == 0 and not messages(done.stdout), done.stdout + done.stderr
        assert (folder / "frames.dump").read_text() == (unbroken / "frames.dump").read_text()
        assert len(list(folder.glob("cache/*-cache"))) >= least, name
