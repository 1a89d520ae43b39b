"""The grade of ACE by active sets of pacemaker: against python-ace, in LAMMPS, what is refused."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import jax
import numpy as np
import oracle_ace as oracle
import pytest
from ase import Atoms
from ase.build import bulk
from test_origin import UNREADABLE, changed

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local import cli  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models import ace, ace_basis  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

pytest.importorskip("pyace", reason="python-ace has no wheel for this Python")

SMALL = {"ALL": {"nradmax_by_orders": [2, 1, 1], "lmax_by_orders": [0, 1, 1]}}
# radial functions, inner cutoff, densities, full active set, what of functions
CASES = {
    "one density": ("ChebPow", "density", 1, False, oracle.FUNCTIONS),
    "two densities": ("SBessel", "distance", 2, False, oracle.FUNCTIONS),
    "full": ("ChebExpCos", "density", 2, True, oracle.FUNCTIONS),
    "small": ("SBessel", "density", 2, False, SMALL),
}


def training() -> list[Atoms]:
    random = np.random.default_rng(5)
    found = []
    for _ in range(20):
        atoms = bulk("Ni", "fcc", 3.6 * random.uniform(0.93, 1.1), cubic=True) * 2
        atoms.positions += random.normal(0, 0.25, atoms.positions.shape)
        atoms.symbols = random.choice(["Al", "Ni"], len(atoms))
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(case)`: a potential and its active set, made when first asked."""
    folder = tmp_path_factory.mktemp("ace_grade")

    def files(case: str) -> tuple[Path, Path]:
        radial, inner, n_densities, full, functions = CASES[case]
        path = folder / f"{case.replace(' ', '_')}.yaml"
        if not path.exists():
            oracle.random_basis(radial, inner, n_densities, functions).save(str(path))
            if full:  # elements and bonds that differ
                text = path.read_text()
                al, al_ni, ni, ni_al = re.split(r"(?=  - speciesblock)", text)[1:]
                ni = ni.replace(oracle.SHIFTED, oracle.POWER)
                al_ni, ni_al = (b.replace("rcutij: 5", "rcutij: 4.25") for b in (al_ni, ni_al))
                path.write_text(text.partition("  - species")[0] + al + al_ni + ni + ni_al)
            oracle.write_active_set(path, full, training())
        return path, path.with_suffix(".full" if full else ".asi")

    return files


def convert(path, active_set=None):
    return ace.convert(Namespace(file=str(path), active_set=active_set and str(active_set)))


def grades_of(model, batch) -> tuple[np.ndarray, np.ndarray]:
    """Grades and energies of atoms."""

    @jax.jit
    def run(numbers, r):
        h = model.functions.node_init(numbers)
        messages = model.functions.edge(h[batch.i], h[batch.j], r)
        sums = jax.ops.segment_sum(messages, batch.i, len(numbers))
        return model.grade(h, sums), model.functions.readout(h, sums)

    grades, energies = run(jnp.asarray(batch.numbers), jnp.asarray(batch.r))
    return np.asarray(grades), np.asarray(energies)


@pytest.mark.parametrize("case", [case for case in CASES if case != "small"])
def test_is_that_of_python_ace(made, case):
    path, active_set = made(case)
    graded, plain = convert(path, active_set), convert(path)
    inside, outside = training()[:3], oracle.structures(["Al", "Ni"], 3.63)
    expected, energies = oracle.grades(path, active_set, inside + outside)
    n_inside = sum(map(len, inside))
    assert expected[:n_inside].max() < 1.01 and expected[n_inside:].max() > 5
    batch = oracle.Batch(inside + outside, graded.cutoff)
    found, ours = grades_of(graded, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours, energies, rtol=1e-9, atol=1e-9)
    unknown = graded.grade(jnp.array([[-1.0]]), jnp.zeros((1, 1000)))
    assert np.isinf(unknown)
    # nothing is paid for where nothing is asked for
    arguments = [jax.ShapeDtypeStruct(shape, float) for shape in ((1, 1), (1, 1), (1, 3))]
    wide, narrow = (jax.eval_shape(m.functions.edge, *arguments) for m in (graded, plain))
    assert plain.grade is None and narrow.shape[1] < wide.shape[1]


SYSTEM = """
units metal
atom_modify map array
lattice fcc 3.6
region box block 0 2 0 2 0 3
create_box 2 box
create_atoms 1 box
mass 1 58.69
mass 2 26.98
set group all type/ratio 2 0.5 4711
displace_atoms all random 0.2 0.2 0.2 4711
group aluminium type 2
"""
GAS = "fix g aluminium gcmc 1 60 60 2 4711 3000 -1.0 1.0 full_energy\n"


def state(runner) -> Atoms:
    n = runner.lmp.get_natoms()
    x = np.array(runner.lmp.gather_atoms_concat("x", 1, 3)).reshape(n, 3)
    kinds = np.array(runner.lmp.gather_atoms_concat("type", 0, 1))
    return Atoms(np.array(["Ni", "Al"])[kinds - 1], x, cell=[7.2, 7.2, 10.8], pbc=True)


@pytest.fixture(scope="module")
def model(made, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    files = [folder / path.name for path in made("small")]
    for path, file in zip(made("small"), files, strict=True):
        file.write_bytes(path.read_bytes())
    words = ["ace", str(files[0]), f"--active-set={files[1]}"]
    assert cli.main(["convert", *words, "-o", str(folder / "a.zip")]) == 0
    for file in files:  # the model file needs them no more
        file.unlink()
    return folder / "a.zip"


def test_in_lammps(made, model, runner):
    path, active_set = made("small")
    style = "pair_style mliap_local {}\npair_coeff * * {} Ni Al"

    def largest() -> float:
        found = oracle.grades(path, active_set, [state(runner)])[0].max()
        assert runner.vector(9)[7] == pytest.approx(found, rel=1e-9)
        return found

    runner.run(SYSTEM, style.format("grade 1e9", model), "run 0")
    limit = largest()
    runner.more(GAS + "run 3")
    assert largest() > limit > 1 and runner.vector(9)[8] == 0  # where nothing refuses
    runner.run(SYSTEM, style.format(f"grade {limit} verify 7", model), GAS, "run 3")
    assert largest() <= limit and runner.vector(9)[8] > 20
    assert sum(runner.lmp.extract_fix("g", 0, 1, k) for k in (1, 3, 5)) > 5  # were accepted


def test_it_travels_with_the_file(model, tmp_path, capsys):
    """A file whose programs cannot be read has it too, from the active set that it carries."""
    first = read_model(model, trusted=True)
    again = read_model(changed(model, tmp_path / "b.zip", UNREADABLE), trusted=True)
    assert again.built_anew and not first.built_anew
    batch = oracle.Batch(training()[:1], first.metadata.cutoff)
    one, other = (grades_of(m, batch)[0] for m in (first, again))
    assert 0.1 < one.max() < 1.01
    np.testing.assert_array_equal(one, other)
    assert cli.main(["info", str(model)]) == 0
    said = capsys.readouterr().out
    assert "grade                 of extrapolation" in said
    assert "converted from        ace small.yaml --active-set small.asi by" in said


ACTIVE_SETS = {
    "another potential": (lambda a: a | {"Ni": a["Ni"][:-1, :-1]}, "for Ni rows and columns 118"),
    "not square": (lambda a: a | {"Al": a["Al"][:-1]}, "found 117 x 118"),
    "no element": (lambda a: {"Al": a["Al"]}, "an array for each of Al, Ni, found Al: make"),
    "other elements": (lambda a: {"0": a["Al"], "1": a["Ni"]}, "each of Al, Ni, found 0, 1"),
    "not finite": (lambda a: a | {"Al": a["Al"] * np.nan}, "finite numbers for Al"),
    "text": (lambda a: a | {"Al": a["Al"].astype(str)}, "finite numbers for Al"),
    "zeros": (lambda a: a | {"Al": np.eye(118) * 1e16}, "found a diagonal matrix"),
    "both kinds": (lambda a: a | {"Al": np.ones((236, 236))}, "linear or full"),
    "pickled": (lambda a: a | {"Al": np.array([Namespace()])}, "without pickle"),
}


@pytest.mark.parametrize("case", ACTIVE_SETS)
def test_a_wrong_active_set_is_refused(made, tmp_path, case):
    path, active_set = made("two densities")
    change, message = ACTIVE_SETS[case]
    wrong = tmp_path / "wrong.asi"
    with np.load(active_set) as archive, wrong.open("wb") as file:
        np.savez(file, **change(dict(archive)))
    with pytest.raises(PotentialFileError) as caught:
        convert(path, wrong)
    assert str(wrong) in str(caught.value) and message in str(caught.value)
    assert "pace_activeset -d" in str(caught.value)


def test_no_active_set_and_no_yaml_are_refused(made, tmp_path):
    path, active_set = made("two densities")
    content, wrong = active_set.read_bytes(), tmp_path / "wrong.asi"
    for broken in (content[:-100], content[: len(content) // 2], b"7" * 1000, b""):
        wrong.write_bytes(broken)
        with pytest.raises(PotentialFileError, match=r"wrong\.asi: expected an active set"):
            convert(path, wrong)
    with pytest.raises(PotentialFileError, match="cannot be read"):
        convert(path, tmp_path / "missing.asi")
    for name in ("a.yace", "a.ace", "a.npz"):
        with pytest.raises(PotentialFileError, match=r"expected the \.yaml that"):
            convert(tmp_path / name, active_set)


TWO = "      - {type: Cu Cu Cu Cu Cu, nr: [1, 1, 1, 2], nl: [1, 3, 3, 3], lint: [2, 2], c: [1]}\n"
YAML = {
    "a .yace": ("global:", "deltaSplineBins:", ":2: expected a B basis, with only the keys"),
    "no species": ("speciesblock: Cu", "speciesblock: ''", ":4: expected elements"),
    "an element": ("speciesblock: Cu", "speciesblock: Qq", ":4: expected symbols of elements"),
    "no pair": ("speciesblock: Cu", "speciesblock: Cu Ni", "each element and pair, found 'none of"),
    "densities": ("ndensityi: 1", "ndensityi: 2", ":7: expected 4 entries in parameters"),
    "radial": ("ChebPow", "TEST", ":13: expected radbase that can be converted"),
    "crad": ("[2, 1]]]", "[2, 1, 3]]]", ":15: expected 2 entries"),
    "core": ("[1.0, 2.0]", "[1.0]", ":16: expected 2 entries in core-repulsion"),
    "inner": ("rcutij: 5", "rcutij: 5\n    inner_cutoff_type: zbl", "nearest neighbour"),
    "centre": ("{type: Cu Cu,", "{type: Ni Cu,", ":18: expected Cu and up to"),
    "neighbour": ("{type: Cu Cu Cu,", "{type: Cu Cu Ni,", ":19: expected Cu and up to"),
    "nr": ("nr: [1, 2]", "nr: [1, 3]", ":19: expected nr up to 2, which the bond has, found '3'"),
    "nl": ("nl: [1, 1]", "nl: [1, 4]", ":19: expected nl up to 3, which the bond has, found '4'"),
    "coupling": ("nl: [1, 1]", "nl: [1, 2]", ":19: expected nl and lint that couple to a scalar"),
    "lint": ("lint: [3, 3]", "lint: [3]", ":20: expected 2 entries in lint"),
    "lint without": (", lint: [3, 3]", "", ":20: expected lint in an entry of nbody"),
    "weights": ("c: [0.5]", "c: [0.5, 1]", ":19: expected 1 entries in c"),
    "order": ("      - {type: Cu Cu Cu Cu Cu", TWO + "      - {type: Cu Cu Cu Cu Cu", "rounding"),
}


@pytest.mark.parametrize("case", YAML)
def test_a_mutilated_basis_is_refused(tmp_path, case):
    old, new, message = YAML[case]
    path = tmp_path / "a.yaml"
    path.write_text(oracle.BASIS)
    potential = ace_basis.read_yaml(path, ordered=True)
    assert [len(f.n) for f in potential.projections[0]] == [1, 2, 4]
    assert old in oracle.BASIS
    path.write_text(oracle.BASIS.replace(old, new, 1))
    with pytest.raises(PotentialFileError) as caught:
        ace_basis.read_yaml(path, ordered=True)
    assert str(path) in str(caught.value) and message in str(caught.value)
    if case == "order":  # it matters to an active set alone
        assert len(ace_basis.read_yaml(path).functions) == 4
