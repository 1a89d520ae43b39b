"""Grades of extrapolation: made from training data, kept in files, and refusing trials in LAMMPS.

The model of the walks counts neighbours, smoothly, in one column of its messages, and its grade is
that number over LIMIT. What a walk did is judged by numpy, from positions that LAMMPS gathers.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from conftest import run_on_ranks
from test_stage import rows

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local import ModelFileError, export_model, read_model, training_grade  # noqa: E402
from mliap_local.cli import main  # noqa: E402

CUTOFF, LIMIT = 3.0, 2.0


def init(numbers):
    return jnp.where(numbers == 1, 1.0, 0.5)[:, None]


def edge(h_i, h_j, r_ij):
    square = jnp.sum(r_ij**2, axis=1, keepdims=True)
    near = jnp.where(square < CUTOFF**2, 1 - square / CUTOFF**2, 0) ** 3
    return jnp.concatenate([near, h_i * h_j * jnp.exp(-square) * near], axis=1)


def readout(h, sums):
    return -0.3 * sums[:, 0] + 2 * sums[:, 1] - h[:, 0]


def grade(h, sums):
    return sums[:, 0] / LIMIT


def counted(x: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The grade of each atom, by minimum images in an orthogonal box."""
    d = x[:, None] - x[None]
    d -= box * np.round(d / box)
    square = np.sum(d**2, axis=2)
    near = np.where(square < CUTOFF**2, 1 - square / CUTOFF**2, 0) ** 3
    return (near.sum(axis=1) - 1) / LIMIT


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("grade") / "graded.zip"
    functions = init, edge, readout
    export_model(path, *functions, cutoff=CUTOFF, elements=["H", "He"], grade=grade)
    export_model(path.with_name("plain.zip"), *functions, cutoff=CUTOFF, elements=["H", "He"])
    export_model(
        path.with_name("nan.zip"), *functions, cutoff=CUTOFF, elements=["H", "He"],
        grade=lambda h, sums: jnp.where(grade(h, sums) > 0.7, jnp.nan, grade(h, sums)),
    )  # fmt: skip
    return path


def test_file(graded, tmp_path, capsys):
    h, sums = np.full((3, 1), 0.5), np.arange(6.0).reshape(3, 2)
    read = read_model(graded).grade
    assert read is not None
    np.testing.assert_allclose(read(h, sums), sums[:, 0] / LIMIT, rtol=1e-14)
    assert read_model(graded.with_name("plain.zip")).grade is None
    for file, word in ((graded, "of extrapolation"), (graded.with_name("plain.zip"), "none")):
        assert main(["info", str(file)]) == 0
        assert f"grade                 {word}" in capsys.readouterr().out
        assert main(["check", str(file)]) == 0
    wrong = {
        "a row": lambda h, sums: sums / LIMIT,
        "a number": lambda h, sums: jnp.max(sums),
        "a callback": lambda h, sums: jax.pure_callback(
            lambda x: x, jax.ShapeDtypeStruct((2,), sums.dtype), sums[:2, 0]
        ),
    }
    for function in wrong.values():
        with pytest.raises(ModelFileError, match=r"grade\.jax"):
            export_model(
                tmp_path / "a.zip", init, edge, readout, cutoff=CUTOFF, elements=["H"],
                grade=function,
            )  # fmt: skip
    with zipfile.ZipFile(graded) as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read("node_init.jax" if name == "grade.jax" else name))
    with pytest.raises(ModelFileError, match=r"grade\.jax"):
        read_model(tmp_path / "b.zip", trusted=True)


def test_training_grade():
    draw = np.random.default_rng(3)
    structures = [
        Atoms("H8He8", draw.uniform(0, 6, (16, 3)), cell=[6, 6, 6], pbc=True) for _ in range(20)
    ]
    made = training_grade(init, edge, CUTOFF, structures)

    def all_sums(atoms):
        d = atoms.positions[:, None] - atoms.positions[None]
        d -= 6 * np.round(d / 6)
        n, h = len(atoms), np.asarray(init(atoms.numbers))
        pairs = edge(np.repeat(h, n, 0), np.tile(h, (n, 1)), jnp.asarray(-d.reshape(-1, 3)))
        pairs = np.array(pairs).reshape(n, n, 2)
        pairs[np.arange(n), np.arange(n)] = 0
        return h, pairs.sum(axis=1)

    h, sums = (np.concatenate(part) for part in zip(*map(all_sums, structures), strict=True))
    grades = np.asarray(made(h, sums))
    for kind in (1.0, 0.5):
        of = h[:, 0] == kind
        x = sums[of] - sums[of].mean(axis=0)
        distance = np.sqrt(np.einsum("na,ab,nb->n", x, np.linalg.inv(x.T @ x / len(x)), x))
        np.testing.assert_allclose(grades[of], distance / distance.max(), rtol=1e-8)
    assert grades.max() == pytest.approx(1)
    far = np.asarray(made(h[:4], sums[:4] + 50))
    assert far.min() > 1
    assert np.isinf(np.asarray(made(np.full((1, 1), 0.7), sums[:1]))).all()
    with pytest.raises(ValueError, match="none"):
        training_grade(init, edge, CUTOFF, [])


SYSTEM = """
units metal
atom_modify map array
region box block 0 12 0 13 0 14
create_box 2 box
create_atoms 2 random 40 77 NULL overlap 2.4
mass 1 1
mass 2 4
group gas type 2
"""
GAS = "fix g gas {style} 1 60 60 2 4711 3000 -1.0 1.0 {more}"


def walked(runner, folder: Path, style: str, gas: str, steps: int = 4) -> np.ndarray:
    """[step, atoms, energy, acceptances, counters], and the largest grade as numpy counts it."""
    log = folder / "walk.log"
    vector = " ".join(f"f_g[{k}]" for k in range(1, 9))
    runner.run(SYSTEM, style, gas)
    runner.more(
        f"thermo_style custom step atoms pe {vector}\nthermo_modify format float %.15g\nthermo 1\n"
        f"log {log}\nrun {steps}\nlog none"
    )
    return rows(log.read_text())


def positions(runner) -> np.ndarray:
    n = runner.lmp.get_natoms()
    return np.array(runner.lmp.gather_atoms_concat("x", 1, 3)).reshape(n, 3)


def style(path: Path, words: str) -> str:
    return f"pair_style mliap_local {words}\npair_coeff * * {path} H He\n"


def test_trials_are_refused(runner, graded, tmp_path):
    box = np.array([12.0, 13.0, 14.0])
    stock = GAS.format(style="gcmc", more="full_energy")
    free = walked(runner, tmp_path, style(graded, "verify 7"), stock)
    assert counted(positions(runner), box).max() > 1  # where nothing refuses
    assert runner.vector(9)[7:] == [0, 0]  # nothing was asked for
    plain = walked(runner, tmp_path, style(graded.with_name("plain.zip"), "verify 7"), stock)
    np.testing.assert_array_equal(free, plain)

    walks = {}
    for name, words, gas in (
        ("stock", "grade 0.7 verify 7", stock),
        ("shown", "grade 1e9 verify 7", stock),
        ("refreshed", "grade 0.7 refresh 3", stock),
        ("ours", "grade 0.7 verify 7", GAS.format(style="gcmc/mliap_local", more="full_energy")),
        (
            "ahead",
            "grade 0.7",
            GAS.format(style="gcmc/mliap_local", more="full_energy ahead 8 verify 3"),
        ),
    ):
        walks[name] = walked(runner, tmp_path, style(graded, words), gas)
        grades = counted(positions(runner), box)
        shown, refused = runner.vector(9)[7:]
        assert shown == pytest.approx(grades.max(), rel=1e-12)
        if name == "shown":
            assert refused == 0 and grades.max() > 1
            np.testing.assert_array_equal(walks[name], free)
            continue
        assert grades.max() <= 0.7 and (refused > 20 or name != "stock")
        assert walks[name][-1, [4, 6]].min() > 50  # moves and insertions were accepted
    for name in ("ours", "ahead", "refreshed"):
        np.testing.assert_allclose(walks[name], walks["stock"], rtol=1e-10)
    # relative to isolated atoms, of -0.5 eV each
    lower = stock.replace("-1.0", "-0.5")
    found = walked(runner, tmp_path, style(graded, "grade 0.7 reference isolated"), lower)
    assert runner.vector(9)[8] > 20
    found[:, 2] -= 0.5 * found[:, 1]
    np.testing.assert_allclose(found, walks["stock"], rtol=1e-10)
    # what is no number is beyond any grade
    for gas in (stock, GAS.format(style="gcmc/mliap_local", more="full_energy")):
        path = graded.with_name("nan.zip")
        found = walked(runner, tmp_path, style(path, "grade 1e9"), gas)
        np.testing.assert_allclose(found, walks["stock"], rtol=1e-10)
    # beside another pair style
    beside = f"full_energy model {graded} H He grade 0.7"
    gas = GAS.format(style="gcmc/mliap_local", more=beside)
    found = walked(runner, tmp_path, style(graded.with_name("plain.zip"), ""), gas)
    np.testing.assert_allclose(found, walks["stock"], rtol=1e-10)


@pytest.mark.parametrize("fix", ["gcmc", "gcmc/mliap_local"])
def test_another_grade_in_the_next_run(runner, graded, tmp_path, fix):
    """The second pair_style holds from the next run on, for what the fix has opened too."""
    box = np.array([12.0, 13.0, 14.0])
    walked(runner, tmp_path, style(graded, "grade 0.7"), GAS.format(style=fix, more="full_energy"))
    assert counted(positions(runner), box).max() <= 0.7
    runner.more(style(graded, "grade 1.1") + "run 4")
    assert 0.7 < counted(positions(runner), box).max() <= 1.1
    runner.more(style(graded, "") + "run 4")
    assert counted(positions(runner), box).max() > 1.1


def test_on_two_ranks(graded, tmp_path):
    lines = [
        SYSTEM,
        style(graded, "grade 0.7"),
        GAS.format(style="gcmc/mliap_local", more="full_energy"),
        "thermo_style custom step atoms pe f_mliap_local[8]\nthermo_modify format float %.15g",
        "run 3\nwrite_data data.end nocoeff",
    ]
    (tmp_path / "in").write_text("\n".join(lines))
    run_on_ranks(tmp_path, 2, "log")
    log = (tmp_path / "log").read_text()
    assert "trials refused for their grade" in log
    data = (tmp_path / "data.end").read_text().split("Atoms")[1].split("Velocities")[0]
    x = np.array([line.split()[2:5] for line in data.splitlines()[2:] if line.strip()], float)
    grades = counted(x, np.array([12.0, 13.0, 14.0]))
    assert rows(log)[-1, 3] == pytest.approx(grades.max(), rel=1e-6)
    assert 0.3 < grades.max() <= 0.7


ERRORS = {
    "no grade in the file": ("grade 1", "plain.zip", "the model has none"),
    "without cache": ("grade 1 cache no", "graded.zip", "use cache yes"),
    "zero": ("grade 0", "graded.zip", "expected a number > 0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(runner, graded, name):
    words, file, expected = ERRORS[name]
    with pytest.raises(Exception, match=expected):
        runner.run(SYSTEM, style(graded.with_name(file), words))
