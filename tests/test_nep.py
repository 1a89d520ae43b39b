"""NEP against calorine, in LAMMPS against full evaluations, and its reader against bad files."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import nickel

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from ase import Atoms  # noqa: E402
from oracle_nep import RANDOM, Header, compare, reference, rows, structures, write_random  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models.nep import nep, overlap, read_nep  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

NICKEL = Header("nep4_zbl", "Ni Al H", "zbl 1 2", "5 4 99 99", "2 0", "5 4", "2 2 1")


def test_agrees_with_calorine():
    """Of every shape: energies, forces and virials, float64."""
    seen = {name: worst for name, _, *worst in rows()}
    assert len(seen) == len(RANDOM) == 9
    assert max(map(max, seen.values())) < 1e-10, seen


def test_structures_try_what_they_should():
    tried = structures(("Ni", "H"), 5.0)
    crowded = [len(atoms) for atoms in tried.values() if atoms.cell.volume < 5.0**3]
    assert min(crowded) == 1 and max(map(len, tried.values())) == 32
    assert len(set(tried["crystal"].symbols)) == 2
    distances = [a.get_distance(0, 1) for name, a in tried.items() if name.startswith("dimer")]
    assert min(distances) < 0.8 and max(distances) > 3.5


def test_single_precision(tmp_path):
    path = write_random(tmp_path / "nep.txt", NICKEL, 7)
    worst = np.max(list(compare(path, ("H", "Ni"), np.float32).values()), axis=0)
    assert 1e-10 < worst.max() < 1e-5, worst


def one_round(functions, numbers, r_ij):
    """Messages of atoms that meet another each, and energies of those messages alone."""

    @jax.jit
    def evaluate():
        h = functions.node_init(jnp.asarray(numbers))
        messages = functions.edge(h, h[::-1], r_ij)
        return messages, functions.readout(h, messages)

    return tuple(map(np.asarray, evaluate()))


def test_keeping_elements_changes_nothing_else(tmp_path):
    path = write_random(tmp_path / "nep.txt", RANDOM["flexible ZBL, four elements"])
    whole, part = read_nep(path), read_nep(path).keeping(["H", "Si"])
    r_ij = jnp.asarray(np.random.default_rng(0).uniform(-2, 2, (8, 3)))
    numbers = np.array([1, 14, 1, 14, 14, 1, 1, 14])
    results = []
    for potential in (whole, part):
        results.append(one_round(nep(potential), numbers, r_ij))
    for one, other in zip(*results, strict=True):
        assert np.abs(one).max() > 0.01 and np.abs(one - other).max() < 1e-12 * np.abs(one).max()
    with pytest.raises(ValueError, match="no O N: expected elements among C Si W H"):
        whole.keeping(["O", "W", "N"])


def test_no_neighbour_and_foreign_elements_make_nothing(tmp_path):
    functions = nep(read_nep(write_random(tmp_path / "nep.txt", NICKEL)))
    numbers = jnp.array([28, 13, 1, 0, 92, -3, 4000])
    i, j = np.array(list(itertools.product(range(len(numbers)), repeat=2))).T

    @jax.jit
    def evaluate(r_ij):
        h = functions.node_init(numbers)
        messages, pull = jax.vjp(functions.edge, h[i], h[j], r_ij)
        energies = functions.readout(h, 0 * messages[: len(h)])
        return messages, pull(jnp.ones_like(messages))[2], energies

    beyond = np.array([5.0001, 0, 0])
    for r, none in ((0 * beyond, i >= 0), (beyond, i >= 0), (0.5 * beyond, (i > 2) | (j > 2))):
        *values, energies = map(np.asarray, evaluate(np.broadcast_to(r, (len(i), 3))))
        for value in values:
            assert np.all(value[none] == 0) and np.all(np.isfinite(value))
            assert none.all() or np.all(np.abs(value[~none]).max(axis=1) > 0)
        assert np.all(energies[3:] == 0) and np.all(np.abs(energies[:3]) > 1e-3)


def test_overlap(tmp_path):
    """ZBL's inner distance, but no hydrogen molecule (0.74 Angstrom) is an overlap."""
    with_hydrogen = read_nep(write_random(tmp_path / "nep.txt", NICKEL))
    assert overlap(with_hydrogen) == pytest.approx(0.426667)
    assert overlap(with_hydrogen.keeping(["Al", "Ni"])) == 1.0
    assert overlap(with_hydrogen._replace(zbl=None)) is None
    factor = RANDOM["ZBL by elements, cutoffs by elements"]
    assert overlap(read_nep(write_random(tmp_path / "nep.txt", factor))) is None


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> tuple[Path, str]:
    """A nep.txt, and the model file of two of its elements."""
    folder = tmp_path_factory.mktemp("nep")
    path, model = write_random(folder / "nep.txt", NICKEL, 3), str(folder / "nep.zip")
    assert main(["convert", "nep", str(path), "--elements", "Ni", "H", "-o", model]) == 0
    return path, model


def test_model_file(converted, capsys):
    path, model = converted
    assert main(["check", model]) == 0
    out = capsys.readouterr().out
    assert "differentiable 2 times" in out and "FAILED" not in out
    functions, metadata, *_ = read_model(model)
    assert metadata.elements == ("Ni", "H") and metadata.cutoff == 5 and metadata.smooth
    assert metadata.units == "metal" and metadata.overlap == pytest.approx(0.426667)
    assert "nep.txt: NEP4 of GPUMD, 3 elements, of which 2 are kept" in (metadata.source or "")
    alone = reference(path, Atoms(["H"], cell=np.eye(3) * 20))[0]
    assert (metadata.isolated_energies or {})["H"] == pytest.approx(alone, rel=1e-12)

    @jax.jit
    @jax.value_and_grad
    def slope(r):  # of the energy of an atom with three neighbours, and its derivative
        h = functions.node_init(jnp.array([28, 1, 28, 1]))

        def energy(r):
            h_i = jnp.broadcast_to(h[:1], (3, h.shape[1]))
            sums = functions.edge(h_i, h[1:], r).sum(axis=0, keepdims=True)
            return functions.readout(h[:1], sums).sum()

        return jnp.sum(jax.grad(energy)(r) * way)

    r = jnp.array([[1.9, 0.3, -0.2], [-0.4, 1.2, 0.8], [0.3, -1.0, 1.7]])
    way = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)))
    second, step = float(np.sum(slope(r)[1] * way)), 1e-5
    ahead, behind = (float(slope(r + s * way)[0]) for s in (step, -step))
    assert abs(second) > 0.01
    assert second == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


def test_lammps_agrees_and_verifies(runner, converted):
    """Energy, forces and pressure in a triclinic box, and every trial against a full evaluation."""
    path, model = converted
    style = f"pair_style mliap_local verify 1\npair_coeff * * {model} Ni H\n"
    state = runner.evaluate(nickel(tilt="0.4 0.3 -0.2"), style)
    lmp = runner.lmp
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    cell = np.diag(np.subtract(high, low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    types = np.array(lmp.gather_atoms("type", 0, 1))
    positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    assert set(types) == {1, 2}
    atoms = Atoms(np.array([0, 28, 1])[types], positions=positions, cell=cell, pbc=True)
    energy, forces, virial = reference(path, atoms)
    assert state.energy == pytest.approx(energy, rel=1e-12)
    assert np.abs(state.forces - forces).max() < 1e-10 * np.abs(forces).max()
    to_bar = 1.602176634e6  # eV per cubic Angstrom
    pressure = virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] / atoms.cell.volume * to_bar
    assert np.abs(state.pressure - pressure).max() < 1e-6 * np.abs(pressure).max()

    runner.run(nickel(), style, "group gas type 2\nthermo 1000")
    fixes = {
        "s": "fix s all atom/swap 1 40 17 50000 ke no types 1 2",
        "g": "fix g gas gcmc 1 20 20 2 11 3000 -2 0.5",
    }
    for fix, text in fixes.items():
        before = runner.vector()
        runner.more(f"{text}\nrun 4")
        gained = np.subtract(runner.vector(), before)
        numbers = [lmp.extract_fix(fix, 0, 1, k) for k in range(8 if fix == "g" else 2)]
        assert 0 < sum(numbers[1::2]) < sum(numbers[::2]), (fix, numbers)
        assert gained[1] >= 40 and runner.vector()[3] < 1e-9
        runner.more(f"unfix {fix}")


LINES = 7 + 8 * 3 * (7 + 2) + 1 + 9 * (3 * 6 + 1 * 5) + 7


def line(number, text):
    return lambda lines: lines.__setitem__(number - 1, text)


BAD = {
    "empty": (lambda lines: lines.clear(), ":1: expected a line such as `nep4 2 Pd H`"),
    "no NEP": (line(1, "units metal"), ":1: expected nep3, nep4 or nep5"),
    "charges": (line(1, "nep4_zbl_charge1 3 Ni Al H"), ":1: expected nep3, nep4 or nep5"),
    "dipole": (line(1, "nep4_dipole 3 Ni Al H"), "no charges, dispersion, dipoles, polar"),
    "temperature": (line(1, "nep4_zbl_temperature 3 Ni Al H"), "temperatures, found 'nep4_zbl_t"),
    "no count": (line(1, "nep4_zbl"), ":1: expected a number of elements"),
    "many elements": (line(1, "nep4_zbl 999999999 Ni"), "a number of elements from 1 to 118"),
    "element count": (line(1, "nep4_zbl 4 Ni Al H"), ":1: expected 4 elements, found 'Ni Al H'"),
    "unknown element": (line(1, "nep4_zbl 3 Ni Al Xx"), ":1: expected symbols of elements"),
    "element twice": (line(1, "nep4_zbl 3 Ni Al Ni"), "'Ni' is named twice"),
    "beyond plutonium": (line(1, "nep4_zbl 3 Ni Al Am"), ":2: expected ZBL of elements up to"),
    "no ZBL": (line(2, "cutoff 5 4 99 99"), ":2: expected `zbl inner outer [factor]`"),
    "ZBL inside out": (line(2, "zbl 2 1"), ":2: expected 0 <= inner < outer"),
    "ZBL factor": (line(2, "zbl 1 2 -0.6"), ":2: expected 0 <= inner < outer and a positive"),
    "ZBL too far": (line(2, "zbl 1 4.5"), ":3: expected an angular cutoff beyond that of zbl"),
    "cutoff count": (line(3, "cutoff 5 4 5 4 99 99"), ":3: expected radial and angular cutoff"),
    "one cutoff": (line(3, "cutoff 5 99 99"), ":3: expected `cutoff radial and angular"),
    "cutoff order": (line(3, "cutoff 4 5 99 99"), ":3: expected 0 < angular cutoff <= radial"),
    "cutoff nan": (line(3, "cutoff nan 4 99 99"), ":3: expected a finite number, found 'nan'"),
    "cutoff text": (line(3, "cutoff far 4 99 99"), ":3: expected a number, found 'far'"),
    "n_max": (line(4, "n_max 2 1.5"), ":4: expected n_max, a whole number, found '1.5'"),
    "n_max negative": (line(4, "n_max -1 1"), ":4: expected n_max from 0 to"),
    "n_max huge": (line(4, "n_max 2 99999999999999999"), ":4: expected n_max from 0 to"),
    "basis": (line(5, "basis_size 5"), ":5: expected `basis_size radial angular`"),
    "lines swapped": (line(5, "l_max 4 2 1"), ":5: expected `basis_size"),
    "l_max": (line(6, "l_max 9 2 1"), ":6: expected l_max from 0 to 8, found '9'"),
    "coupling": (line(6, "l_max 1 2 1"), ":6: expected an l_max that q_222 can be made of"),
    "flags": (line(6, "l_max 4 2 1 0 0 0 0 1"), ":6: expected `l_max l_max q_222 q_1111 q_112"),
    "two layers": (line(7, "ANN 8 8"), ":7: expected neurons of a second layer"),
    "no neurons": (line(7, "ANN 0 0"), ":7: expected neurons from 1 to 1000"),
    "text": (line(20, "O.5"), ":20: expected a number, found 'O.5'"),
    "infinite": (line(21, "1e999"), ":21: expected a finite number, found '1e999'"),
    "two numbers": (line(22, "0.1 0.2"), ":22: expected one number, found '0.1 0.2'"),
    "digits": (line(23, "7" * 1_000_000), ":23: expected a number, found '7777777"),
    "header of digits": (line(1, "7" * 1_000_000), ":1: expected nep3, nep4 or nep5"),
    "cut off": (lambda lines: lines.pop(), f":{LINES - 1}: expected {LINES - 7} numbers as the"),
    "left over": (lambda lines: lines.append("0.5"), f":{LINES + 1}: expected the end of the"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused(tmp_path, case):
    change, message = BAD[case]
    path = write_random(tmp_path / "bad.txt", NICKEL)
    lines = path.read_text().splitlines()
    assert len(lines) == LINES
    change(lines)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(PotentialFileError, match=r"bad\.txt:\d+: expected .*, found") as caught:
        read_nep(path)
    assert message in str(caught.value) and len(str(caught.value)) < 500


def test_empty_lines_and_comments_are_no_matter(tmp_path):
    path = write_random(tmp_path / "nep.txt", NICKEL)
    before = read_nep(path)
    lines = path.read_text().splitlines()
    path.write_text("\n# a comment\n".join([*lines[:9], "", *lines[9:]]))
    after = read_nep(path)
    assert np.array_equal(before.first, after.first) and np.array_equal(before.zbl, after.zbl)


def test_convert_names_the_file_where_an_element_is_missing(tmp_path, capsys):
    path = write_random(tmp_path / "nep.txt", NICKEL)
    arguments = ["convert", "nep", str(path), "--elements", "Ni", "Pd", "-o", "x.zip"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "nep.txt: --elements: the potential has no Pd: expected elements among Ni Al H" in error
