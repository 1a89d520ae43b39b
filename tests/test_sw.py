"""Stillinger-Weber against LAMMPS's `pair_style sw`: energies, walks, and files it must refuse."""

import itertools
import re

import jax
import numpy as np
import oracle_sw
import pytest
from conftest import potentials
from oracle_native import Row, all_derivatives, walk

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models import atomic_numbers  # noqa: E402
from mliap_local.models.sw import read_sw, sw  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

SILICON = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333\n 7.049556277 0.6022245584 4 0 0\n"


def test_agrees_with_native():
    rows = list(oracle_sw.rows())
    assert len(rows) == 3 and all(isinstance(row, Row) for row in rows)
    assert max(max(row[2:]) for row in rows) < 1e-10, rows


def test_agrees_with_native_in_float32():
    row = next(oracle_sw.rows(real=jnp.float32))
    assert isinstance(row, Row) and 1e-10 < max(row[2:]) < 1e-5, row


def two_elements(path, **changes):
    """Write made-up entries of Si and C, no two of them alike; `changes`: ("Si Si C", 5): value."""
    draw = np.random.default_rng(1)
    pair = {
        frozenset(e): [
            *draw.uniform((1.5, 1.9, 1.6, 6.5, 0.5, 3.5, 0.1), (2.2, 2.2, 1.9, 7.5, 0.7, 4.5, 0.6))
        ]
        for e in (["Si"], ["C"], ["Si", "C"])
    }
    text = ["# DATE: today UNITS: metal CITATION: nobody", ""]
    for i, j, k in itertools.product(("Si", "C"), repeat=3):
        epsilon, sigma, a, big_a, big_b, p, q = pair[frozenset((i, k))]
        # lambda epsilon of a triplet: of the centre and of the two, whatever their order
        strength = 30 + 5 * (i == "C") + 7 * (j == "C") + 7 * (k == "C")
        cosine = -0.4 + 0.1 * (i == "C") + 0.05 * (j == k)
        gamma, tolerance = (0.8, 1e-3) if k == "C" else (1.2, 0.2 if i == k else 0.0)
        if i != k:
            gamma, tolerance = 0.9, 0.004
        numbers = [
            epsilon,
            sigma,
            a,
            strength / epsilon,
            gamma,
            cosine,
            big_a,
            big_b,
            p,
            q,
            tolerance,
        ]
        text.append(f"{i} {j} {k} " + " ".join(f"{x:.17g}" for x in numbers))
    path.write_text("\n".join(text) + "\n")
    return path


def test_tolerances_and_any_exponents(tmp_path):
    """LAMMPS stops looking where the exponential has fallen to `tol`."""
    path = two_elements(tmp_path / "made.sw")
    row = oracle_sw.row(path, "Si C", seed=2)
    assert max(row[2:]) < 1e-10, row
    entries = read_sw(path, ["Si", "C"]).entries
    diagonal = entries[:, [0, 1], [0, 1]]
    assert (diagonal[..., 10] > 0).all() and {0.8, 0.9, 1.2} == {*diagonal[..., 4].ravel()}
    assert oracle_sw.row(path, "C")[2] < 1e-10


@pytest.mark.parametrize("elements", ["Si", "Ga N"])
def test_padding_foreign_elements_and_far_atoms_make_nothing(elements):
    """Each pair has a cutoff of its own: N-N 2.34, Ga-N 3.051, Ga-Ga 3.36."""
    symbols = elements.split()
    file = "Si.sw" if elements == "Si" else "GaN.sw"
    functions, n = sw(read_sw(potentials() / file, symbols)), len(symbols)
    h = functions.node_init(np.array([*atomic_numbers(symbols), 0, 1, 118, -3, 4000]))
    lengths = [0.0, 1e-160, 3.8, 50.0, 1.9, 2.5]
    i, j, length = (k.ravel() for k in np.meshgrid(range(len(h)), range(len(h)), lengths))
    r = np.zeros((len(i), 3))
    r[:, 0] = length
    messages, gradient, hessian = all_derivatives(functions.edge, h[i], h[j], r)
    nothing = (i >= n) | (j >= n) | np.isin(length, lengths[:4])
    if n == 2:
        nothing |= (i == 1) & (j == 1) & (length == 2.5)
    for values in (messages, gradient, hessian):
        assert np.all(values[nothing] == 0) and np.all(values[~nothing, 0] != 0)


def test_close_to_the_cutoff_all_is_finite():
    functions = sw(read_sw(potentials() / "Si.sw", ["Si"]))
    reach = 2.0951 * 1.80
    for real, integer in ((jnp.float64, jnp.int64), (jnp.float32, jnp.int32)):
        below = np.nextafter(np.array(reach, real), np.array(0, real))
        r = jnp.array([[length, 0, 0] for length in (below, reach - 1e-3, reach - 3e-2)], real)
        h = functions.node_init(jnp.array([14] * 3, integer))
        for values in all_derivatives(functions.edge, h, h, r):
            assert np.all(np.isfinite(values)) and np.all(values[2, 0] != 0)


def test_triplets_that_do_not_separate_are_named(tmp_path):
    with pytest.raises(PotentialFileError, match="found 90 that do: Cd Cd Te and Cd Te Cd: lambda"):
        read_sw(potentials() / "CdTeZnSeHgS0.sw", "Cd Te Zn Se Hg S".split())
    good = two_elements(tmp_path / "a.sw").read_text()
    read_sw(tmp_path / "a.sw", ["Si", "C"])
    for place, message in (
        (6, "Si Si C and Si C Si: lambda epsilon"),
        (8, "Si Si C and Si C Si: lambda epsilon 37 and 37, costheta0 0.123 and -0.4"),
    ):
        lines = good.splitlines()
        words = lines[3].split()
        words[place] = "0.123"
        lines[3] = " ".join(words)
        (tmp_path / "b.sw").write_text("\n".join(lines))
        with pytest.raises(PotentialFileError, match="found 1 that do") as caught:
            read_sw(tmp_path / "b.sw", ["Si", "C"])
        assert message in str(caught.value)
    # a pair's own parameters depend on the order too
    words = good.splitlines()[5].split()
    words[4] = "1.0"
    changed = good.replace(good.splitlines()[5], " ".join(words))
    (tmp_path / "b.sw").write_text(changed)
    with pytest.raises(PotentialFileError, match="Si C C and C Si Si"):
        read_sw(tmp_path / "b.sw", ["Si", "C"])


def test_other_formats_are_named(tmp_path):
    with pytest.raises(PotentialFileError, match="found XML, as QUIP writes it"):
        read_sw(potentials() / "SiGeH.sw.quip", ["Si", "Ge", "H"])
    with pytest.raises(PotentialFileError, match="sw/mod"):
        read_sw(potentials() / "tmd.sw.mod", ["Mo", "S"])
    with pytest.raises(PotentialFileError, match="17 words"):
        read_sw(potentials() / "Si.tersoff", ["Si"])
    with pytest.raises(ValueError, match="'Si' is named twice"):
        read_sw(potentials() / "Si.sw", ["Si", "Si"])
    with pytest.raises(ValueError, match="unknown element 'Qq'"):
        read_sw(potentials() / "Si.sw", ["Qq"])


def changed(old, new):
    return lambda text: text.replace(old, new, 1)


MUTILATED = {  # of SILICON, behind a comment
    "nothing": (lambda text: "", ":0:"),
    "comments alone": (lambda text: "# nothing\n", ":"),
    "cut after the names": (lambda text: text[: text.index("2.1683")], ":2:"),
    "cut in the entry": (lambda text: text[: text.index(" 7.04")], ":2:"),
    "a number less": (changed(" 4 0 0", " 4 0"), ":3:"),
    "a number more": (changed(" 4 0 0", " 4 0 0 0"), ":3:"),
    "a name less": (changed("Si Si Si", "Si Si"), ":3:"),
    "a name more": (changed("Si Si Si", "Si Si Si Si"), ":3:"),
    "other elements": (changed("Si Si Si", "Ge Ge Ge"), "none of Si Si Si"),
    "small letters": (changed("Si Si Si", "si si si"), "none of Si Si Si"),
    "text": (changed("2.0951", "wide"), "a number, found 'wide'"),
    "a comma": (changed("2.0951", "2,0951"), ":3:"),
    "nan": (changed("21.0", "nan"), "a finite number, found 'nan'"),
    "infinite": (changed("21.0", "1e999"), "a finite number, found '1e999'"),
    "negative": (changed("2.0951", "-2.0951"), "sigma not negative"),
    "negative tolerance": (changed(" 4 0 0", " 4 0 -1"), "tol not negative"),
    "a long word": (changed("2.1683", "2" * 5000), "a number"),
    "twice": (lambda text: text + SILICON, ":5: expected one entry of Si Si Si"),
    "two on a line": (lambda text: text.replace("\n 7", " 7") * 2, ":"),
    "bytes": (changed("1.20", "\0\ufffd"), "a number"),
    "hash in an entry": (changed("-0.333", "# -0.333"), ":3:"),
    "xml": (lambda text: "<SW_params>\n" + text, ":1:"),
}


@pytest.mark.parametrize("case", MUTILATED)
def test_mutilated_files_are_refused(tmp_path, case):
    change, message = MUTILATED[case]
    path = tmp_path / "bad.sw"
    good = "# UNITS: metal\n" + SILICON
    path.write_text(good)
    assert read_sw(path, ["Si"]).entries[0, 0, 0, 2] == 1.8
    assert change(good) != good
    path.write_text(change(good))
    with pytest.raises(PotentialFileError) as caught:
        read_sw(path, ["Si"])
    said = str(caught.value)
    assert re.search(r"bad\.sw:\d+: expected", said) and message in said


@pytest.mark.parametrize("line", [1 << 20, 80, 1])
def test_digits_are_refused(tmp_path, line):
    path = tmp_path / "digits.sw"
    path.write_text("\n".join(["7" * line] * ((1 << 20) // line)))
    with pytest.raises(PotentialFileError, match=r"digits\.sw:"):
        read_sw(path, ["Si"])


def test_converted_and_walks_as_native(runner, tmp_path, capsys):
    """Silicon comes, goes and moves for 1000 trials; an isolated atom has no energy."""
    target = tmp_path / "Si.zip"
    file = potentials() / "Si.sw"
    assert main(["convert", "sw", str(file), "Si", "-o", str(target)]) == 0
    assert "Si, cutoff 3.77118, units metal" in capsys.readouterr().out
    metadata = read_model(target).metadata
    assert metadata.isolated_energies == {"Si": 0.0} and metadata.smooth
    assert "Stillinger and Weber" in (metadata.source or "")
    system = (
        "units metal\natom_style atomic\natom_modify map array\nlattice diamond 5.43\n"
        "region box block 0 2 0 2 0 2\ncreate_box 1 box\ncreate_atoms 1 box\nmass 1 28.1\n"
        "displace_atoms all random 0.1 0.1 0.1 4711\nthermo 1000\n"
    )
    fix = "fix g all gcmc 1 20 20 1 4711 12000 -4.0 0.3 full_energy"
    walks = [
        walk(runner, system, pair, fix, 30, 8)
        for pair in (
            f"pair_style sw\npair_coeff * * {file} Si\n",
            f"pair_style mliap_local\npair_coeff * * {target} Si\n",
        )
    ]
    assert walks[0] == walks[1]
    moves, inserted, deleted = (walks[0][-1][k : k + 2] for k in (0, 2, 4))
    assert sum(pair[0] for pair in (moves, inserted, deleted)) > 1000
    assert all(0 < pair[1] < pair[0] for pair in (moves, inserted, deleted)), walks[0][-1]
    assert runner.vector()[1] > 800
