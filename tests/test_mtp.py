"""MTP against motep, in LAMMPS against full evaluations, and its reader against bad files."""

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
from oracle_mtp import RANDOM, Header, compare, reference, rows, tables, write_random  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models.mtp import mtp, read_mtp  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

NICKEL = Header(8, "Ni H", (1.5, 4.5, 6), 0.02)


def test_agrees_with_motep():
    """Energies, forces and virials, float64."""
    seen = {name: worst for name, _, *worst in rows()}
    assert len(seen) == len(RANDOM) == 5
    assert max(map(max, seen.values())) < 1e-10, seen


def test_levels_are_what_they_should_be():
    """Columns, products and scalars of levels 2 to 12 as files of mlip have them."""
    counts = [tuple(map(len, tables(level))) for level in (2, 4, 6, 8, 10, 12)]
    assert counts == [(1, 0, 1), (1, 1, 2), (5, 5, 5), (11, 14, 9), (25, 42, 16), (46, 117, 29)]


def test_single_precision(tmp_path):
    path = write_random(tmp_path / "a.mtp", NICKEL, 7)
    worst = np.max(list(compare(path, ("Ni", "H"), np.float32).values()), axis=0)
    assert 1e-10 < worst.max() < 1e-5, worst


def messages_and_energies(potential, numbers, r_ij):
    """Messages of atoms that meet another each, their gradient, and energies of these messages."""
    functions = mtp(potential)

    @jax.jit
    def evaluate(r_ij):
        h = functions.node_init(jnp.asarray(numbers))
        messages, pull = jax.vjp(lambda r: functions.edge(h, h[::-1], r), r_ij)
        return messages, pull(jnp.ones_like(messages))[0], functions.readout(h, messages)

    return [np.asarray(a) for a in evaluate(jnp.asarray(r_ij))]


def test_tables_in_any_order_and_moments_that_nothing_needs(tmp_path):
    """The same potential with its basic moments written backwards, one of them twice, and products
    that nothing uses."""
    known = read_mtp(write_random(tmp_path / "a.mtp", NICKEL), ("Ni", "H"))
    n, m = len(known.basic), len(known.moments)
    place = np.concatenate([np.arange(n)[::-1], np.arange(n, m) + 1])
    times = known.times.copy()
    times[:, [0, 1, 3]] = place[times[:, [0, 1, 3]]]
    moments = np.zeros(m + 3)
    moments[place] = known.moments
    moments[0], moments[n] = 0, moments[0] + moments[n]
    half = 0.5 * known.moments[n - 1]  # of the moment that is written twice
    moments[0] = moments[n] = half
    other = known._replace(
        basic=np.concatenate([known.basic[::-1], known.basic[-1:]]),
        times=np.concatenate([times, [[0, 1, 3, m + 1], [m + 1, 0, 1, m + 2]]]),
        moments=moments,
    )
    r_ij = np.random.default_rng(0).uniform(-2, 2, (8, 3))
    numbers = np.array([1, 28, 1, 28, 28, 1, 28, 28])
    one, two = (messages_and_energies(p, numbers, r_ij) for p in (known, other))
    for a, b in zip(one, two, strict=True):
        assert np.abs(a).max() > 1e-3 and np.abs(a - b).max() < 1e-12 * np.abs(a).max()


def test_no_neighbour_and_foreign_elements_make_nothing(tmp_path):
    potential = read_mtp(write_random(tmp_path / "a.mtp", NICKEL), ("Ni", "H"))
    functions = mtp(potential)
    numbers = jnp.array([28, 1, 0, 92, -3, 4000])
    i, j = np.array(list(itertools.product(range(len(numbers)), repeat=2))).T

    @jax.jit
    def evaluate(r_ij):
        h = functions.node_init(numbers)
        messages, pull = jax.vjp(functions.edge, h[i], h[j], r_ij)
        energies = functions.readout(h, 0 * messages[: len(h)])
        return messages, pull(jnp.ones_like(messages))[2], energies

    beyond = np.array([0, 0, 4.5001])
    cases = (0 * beyond, i >= 0), (beyond, i >= 0), (1e9 * beyond, i >= 0)
    for r, none in (*cases, (0.5 * beyond, (i > 1) | (j > 1))):
        *values, energies = map(np.asarray, evaluate(np.broadcast_to(r, (len(i), 3))))
        for value in values:
            assert np.all(value[none] == 0) and np.all(np.isfinite(value))
            assert none.all() or np.all(np.abs(value[~none]).max(axis=1) > 0)
        assert np.all(energies[2:] == 0) and energies[:2].tolist() == potential.species.tolist()


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> tuple[Path, str]:
    """A file, and the model file of the same with the state of a selection."""
    folder = tmp_path_factory.mktemp("mtp")
    path, model = write_random(folder / "NiH.mtp", NICKEL, 3), str(folder / "NiH.zip")
    matrix = np.random.default_rng(0).normal(size=(40, 40)).tobytes()
    state = b"\n#MVS_v1.1\nenergy_weight 1.0\nweight_scaling 2\n#" + matrix + b"\n#\nBEGIN_CFG\n"
    (folder / "NiH.almtp").write_bytes(path.read_bytes() + state)
    assert main(["convert", "mtp", str(folder / "NiH.almtp"), "Ni", "H", "-o", model]) == 0
    return path, model


def test_model_file(converted, capsys):
    path, model = converted
    assert main(["check", model]) == 0
    out = capsys.readouterr().out
    assert "differentiable 2 times" in out and "FAILED" not in out
    functions, metadata, *_ = read_model(model)
    assert metadata.elements == ("Ni", "H") and metadata.cutoff == 4.5 and metadata.smooth
    assert metadata.units == "metal" and metadata.overlap is None
    assert "NiH.almtp: MTP1m, moment tensor potential, 11 basic moments" in (metadata.source or "")
    alone = reference(path, ("Ni", "H"), Atoms(["H"], cell=np.eye(3) * 20))[0]
    assert (metadata.isolated_energies or {})["H"] == alone != 0

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
    energy, forces, virial = reference(path, ("Ni", "H"), atoms)
    assert state.energy == pytest.approx(energy, rel=1e-12)
    assert np.abs(state.forces - forces).max() < 1e-10 * np.abs(forces).max()
    to_bar = 1.602176634e6  # eV per cubic Angstrom
    pressure = virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] / atoms.cell.volume * to_bar
    assert np.abs(state.pressure - pressure).max() < 1e-6 * np.abs(pressure).max()

    runner.run(nickel(), style, "group gas type 2\nthermo 1000")
    fixes = {
        "s": "fix s all atom/swap 1 40 17 20000 ke no types 1 2",
        "g": "fix g gas gcmc 1 20 20 2 11 5000 -2 0.5",
    }
    for fix, text in fixes.items():
        before = runner.vector()
        runner.more(f"{text}\nrun 4")
        gained = np.subtract(runner.vector(), before)
        numbers = [lmp.extract_fix(fix, 0, 1, k) for k in range(8 if fix == "g" else 2)]
        assert 0 < sum(numbers[1::2]) < sum(numbers[::2]), (fix, numbers)
        assert gained[1] >= 40 and runner.vector()[3] < 1e-9
        runner.more(f"unfix {fix}")


def key(name, value):
    """Give a key another value."""

    def change(lines):
        (k,) = (k for k, text in enumerate(lines) if text.strip().startswith(f"{name} = "))
        lines[k] = f"{name} = {value}"

    return change


def part(name, old, new):
    """Change what is written of a key."""

    def change(lines):
        (k,) = (k for k, text in enumerate(lines) if text.strip().startswith(f"{name} = "))
        assert old in lines[k]
        lines[k] = lines[k].replace(old, new, 1)

    return change


def line(number, text):
    return lambda lines: lines.__setitem__(number - 1, text)


def without(name):
    def change(lines):
        (k,) = (k for k, text in enumerate(lines) if text.strip().split(" = ")[0] == name)
        del lines[k]

    return change


def untrained(lines):
    del lines[11 : 11 + 13]


# 11 lines and radial_coeffs, four times a pair and two functions, nine keys
LINES = 11 + 1 + 4 * 3 + 9
BAD = {
    "empty": (lambda lines: lines.clear(), ":1: expected `MTP`"),
    "no MTP": (line(1, "units metal"), ":1: expected `MTP`"),
    "version": (line(2, "version = 1.2.0"), ":2: expected version 1.1.0, found 'version = 1.2.0'"),
    "no key": (line(3, "hello"), ":3: expected `key = value` with a key of mlip"),
    "unknown key": (line(3, "charges = 3"), ":3: expected `key = value` with a key of mlip"),
    "twice": (line(3, "species_count = 2"), ":5: expected species_count once"),
    "magnetic": (line(3, "magnetic_basis_type = BChebyshev"), "without magnetic moments"),
    "radial type": (line(7, "radial_basis_type = RBShapeev"), ":7: expected radial_basis_type RBC"),
    "one element": (key("species_count", 1), ":5: expected 2 species, for Ni H; name one element"),
    "elements": (key("species_count", 3), ":5: expected 2 species, for Ni H; name one element"),
    "no species": (key("species_count", 0), ":5: expected species_count from 1 to 118, found '0'"),
    "min": (key("min_dist", 5), ":9: expected min < max <= 100, with min 5, found 'max_dist"),
    "max": (key("max_dist", 1e6), ":9: expected min < max <= 100, with min 1.5"),
    "not a number": (key("max_dist", "far"), ":9: expected a number, found 'far'"),
    "nan": (key("scaling", "nan"), ":4: expected a finite number, found 'nan'"),
    "size": (key("radial_basis_size", 7), ":14: expected 7 numbers of radial_coeffs, not 6"),
    "size huge": (key("radial_basis_size", 10**9), ":10: expected size from 1 to 100"),
    "functions": (key("radial_funcs_count", 1), ":27: expected radial functions below 1, found"),
    "more functions": (key("radial_funcs_count", 3), ":13: expected radial_funcs_count = 3 rows"),
    "pair": (line(16, "1-0"), ":16: expected 0-1, found '1-0'"),
    "row lost": (lambda lines: lines.pop(14), ":13: expected radial_funcs_count = 2 rows, not 1"),
    "row added": (lambda lines: lines.insert(14, "{1}"), "radial_funcs_count = 2 rows, not 3"),
    "pairs": (lambda lines: lines.__delitem__(slice(21, 24)), "coefficients of 4 pairs, found '3"),
    "bare row": (line(14, "1 2 3 4 5 6"), ":14: expected `key = value`"),
    "brace": (line(14, "{1, 2, 3, 4, 5, 6"), ":14: expected a list in braces, found '{1, 2"),
    "infinite": (line(14, "{1, 2, 3, 4, 5, 1e999}"), ":14: expected a finite number"),
    "untrained": (untrained, "expected radial_coeffs of a trained potential: train it first"),
    "no energies": (without("moment_coeffs"), "expected moment_coeffs of a trained potential"),
    "no size": (without("radial_basis_size"), ":32: expected size, found 'the end of the file'"),
    "basic": (
        part("alpha_index_basic", "{0, 1, 0, 0}, ", ""),
        "alpha_index_basic_count = 11 times",
    ),
    "basic 5": (
        part("alpha_index_basic", "1, 0, 0", "1, 0, 0, 0"),
        ":27: expected alpha_index_bas",
    ),
    "power": (part("alpha_index_basic", "{0, 1", "{0, 99"), "powers that sum up to at most 20"),
    "negative": (part("alpha_index_basic", "{0, 1", "{0, -1"), "from 0 to 1000000000, found '-1'"),
    "moments": (key("alpha_moments_count", 17), ":29: expected moments from 11 on made of, found"),
    "few moments": (key("alpha_moments_count", 3), ":27: expected at most 3 moments"),
    "factor": (part("alpha_index_times", "{0, 0,", "{0, 99,"), ":29: expected factors below 18"),
    "cycle": (
        part("alpha_index_times", "{0, 0,", "{0, 17,"),
        ":29: expected factors that were made",
    ),
    "overwritten": (
        part("alpha_index_times", "11}", "0}"),
        ":29: expected moments from 11 on made",
    ),
    "mapping": (
        part("alpha_moment_mapping", "{0, ", "{99, "),
        ":31: expected moments that the file",
    ),
    "scalars": (key("alpha_scalar_moments", 8), ":31: expected alpha_scalar_moments = 8 times 1"),
    "species": (key("species_coeffs", "{1, 2, 3}"), ":32: expected 2 numbers of species_coeffs"),
    "cut off": (lambda lines: lines.append(lines.pop()[:60]), ":33: expected a list in braces"),
    "digits": (line(14, "{" + "7" * 1_000_000 + "}"), ":14: expected 6 numbers of radial_coeffs"),
    "a digit": (key("scaling", "7" * 1_000_000), ":4: expected a number, found '7777777"),
    "first line of digits": (line(1, "7" * 1_000_000), ":1: expected `MTP`"),
    "label of digits": (line(13, "7" * 1_000_000), ":13: expected `key = value`"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused(tmp_path, case):
    change, message = BAD[case]
    path = write_random(tmp_path / "bad.mtp", NICKEL)
    lines = path.read_text().splitlines()
    assert len(lines) == LINES
    change(lines)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(PotentialFileError, match=r"bad\.mtp:\d+: expected .*, found") as caught:
        read_mtp(path, ("Ni", "H"))
    assert message in str(caught.value) and len(str(caught.value)) < 500


def test_spelling_and_order_are_no_matter(tmp_path):
    """Newer keys, a scaling within the basis, and radial_funcs_count after the coefficients."""
    path = write_random(tmp_path / "a.mtp", NICKEL)
    before = read_mtp(path, ("Ni", "H"))
    for names in (("min", "max", "size"), ("min_val", "max_val", "basis_size")):
        lines = path.read_text().splitlines()
        for number, name in zip((8, 9, 10), names, strict=True):
            lines[number - 1] = f"\t{name} ={lines[number - 1].partition('=')[2]}"
        assert lines[10].startswith("\tradial_funcs_count")
        lines.append(lines.pop(10))
        lines.insert(7, "\tscaling = 2")
        other = tmp_path / "b.mtp"
        other.write_text("\r\n".join(lines))
        after = read_mtp(other, ("Ni", "H"))
        assert np.array_equal(2 * before.radial, after.radial)
        for name in ("basic", "times", "moments", "species", "least", "cutoff"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_atomic_numbers_in_the_file_must_be_those_of_the_elements(tmp_path):
    """mlip-3 writes the types of its training set."""
    path = write_random(tmp_path / "a.mtp", NICKEL)
    text = path.read_text()
    for old, new in (("0-0", "28-28"), ("0-1", "28-1"), ("1-0", "1-28"), ("1-1", "1-1")):
        text = text.replace(f"\t{old}\n", f"\t{new}\n")
    path.write_text(text)
    assert read_mtp(path, ("Ni", "H")).radial.shape == (2, 2, 2, 6)
    with pytest.raises(PotentialFileError, match=r":12: .*file's order, Ni H, found 'H Ni'"):
        read_mtp(path, ("H", "Ni"))
    with pytest.raises(ValueError, match="unknown element 'Nn'"):
        read_mtp(path, ("Nn", "H"))
