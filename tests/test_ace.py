"""The atomic cluster expansion against python-ace and ace-jax, in a Monte Carlo walk, and its
readers against files that are wrong."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import jax
import numpy as np
import oracle_ace as oracle
import pytest
from conftest import nickel

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local import cli  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models import ace, ace_products  # noqa: E402
from mliap_local.models.ace_files import RADIAL  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

pytest.importorskip("ace_jax", reason="ace-jax has no wheel for this Python")
pytest.importorskip("pyace", reason="python-ace has no wheel for this Python")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ace")


def convert(path: Path):
    return ace.convert(Namespace(file=str(path), active_set=None))


@pytest.mark.parametrize("name", oracle.ROWS)
def test_agrees_with_the_code_that_defines_it(folder, name):
    _, by, energy, forces, pressure = oracle.row(name, folder)
    tolerance = 1e-10 if by == "ace-jax" else 1e-8  # python-ace interpolates
    assert energy < 1e-10 and max(forces, pressure) < tolerance


def test_single_precision(folder):
    path = oracle.made("bessel.yace", folder)
    made = convert(path)
    systems = oracle.structures(list(made.elements), 3.63)[:4]
    batch = oracle.Batch(systems, made.cutoff)
    single = oracle.ours(made.functions, batch, np.float32)
    for got, expected in zip(single, oracle.pacemaker(path, systems), strict=True):
        for a, b in zip(got, expected, strict=True):
            assert 0 < np.abs(a - b).max() < 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("name", oracle.ROWS)
def test_precision_follows_the_input(folder, name):
    functions = convert(oracle.made(name, folder)).functions
    for real, integer in ((jnp.float32, jnp.int32), (jnp.float64, jnp.int64)):
        h = jax.eval_shape(functions.node_init, jax.ShapeDtypeStruct((2,), integer))
        r_ij = jax.ShapeDtypeStruct((2, 3), real)
        messages = jax.eval_shape(functions.edge, h, h, r_ij)
        energies = jax.eval_shape(functions.readout, h, messages)
        assert h.dtype == messages.dtype == energies.dtype == real


@pytest.mark.parametrize("name", ["chebyshev.yace", "linear.npz"])
def test_padding_and_foreign_elements_make_nothing(folder, name):
    made = convert(oracle.made(name, folder))
    known = [13, 28] if name.endswith("yace") else [29, 28]
    h = made.functions.node_init(jnp.array([*known, 0, 118, -3]))
    i, j = np.indices((5, 5)).reshape(2, -1)

    def weighted(r):  # r = 0, in reach, beyond the bond's cutoff though not the model's, beyond all
        lengths = jnp.array([0.0, 1.0, 1.9, 2.2])[:, None, None]
        r_ij = (lengths * r).reshape(-1, 3)
        rows = jnp.tile(i, 4), jnp.tile(j, 4)
        return made.functions.edge(h[rows[0]], h[rows[1]], r_ij).reshape(4, 25, -1)

    r = jnp.full((25, 3), 2.4 / 3**0.5)

    def gradient(r):
        return jax.grad(lambda r: jnp.sin(weighted(r)).sum())(r)

    def twice(r):
        return weighted(r), jax.grad(lambda r: gradient(r).sum())(r)

    def once(r):
        return weighted(r), gradient(r)

    # through two derivatives where they are written by hand
    values, derivative = jax.jit(twice if name.endswith("yace") else once)(r)
    assert np.all(np.isfinite(derivative)) and np.any(derivative != 0)
    inside = (i < 2) & (j < 2)
    assert np.all(values[0] == 0) and np.all(values[3] == 0) and np.all(values[:, ~inside] == 0)
    assert np.all(np.any(values[1][inside] != 0, axis=-1))
    if name.endswith("yace"):
        # 4.56 Angstrom: beyond the 4.25 of unlike elements, not the 5.0 of like ones
        assert np.all(np.any(values[2] != 0, axis=-1) == (inside & (i == j)))
    energies = made.functions.readout(h, jnp.zeros((5, values.shape[-1])))
    np.testing.assert_allclose(energies, [-1.5, 2.25, 0, 0, 0], atol=1e-14)


@pytest.mark.parametrize("name", RADIAL)
@pytest.mark.parametrize("cutoff_width", [0.0, 0.4])
def test_radial_functions_are_those_of_ace_jax(name, cutoff_width):
    from ace_jax.eval.pace_radial import radbase

    r = jnp.linspace(0.5, 5.99, 40)
    rows = jnp.stack(ace.BASES[name](r, 1.7, 6.0, cutoff_width, 7))
    got = ace.base_functions(name, 7) @ rows
    expected = radbase(r, name, "density", 1.7, 6.0, jnp.asarray(cutoff_width), 0.0, 0.0, 7).T
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_products_are_those_of_the_terms():
    """Blocks and single terms, up to five factors, with shared parts; and their adjoint."""
    random = np.random.default_rng(3)
    n_real, n_variables = 3, 12
    terms = {}
    for length, count in ((1, 5), (2, 30), (3, 900), (4, 60), (5, 20)):
        for _ in range(count):
            factors = random.integers(0, n_variables, length)
            signs = random.random(length) < 0.5
            key = [
                ~f if s and f >= n_real else f for f, s in zip(factors.tolist(), signs, strict=True)
            ]
            terms[tuple(key)] = random.normal(size=2)
    planned = ace_products.plan(terms, n_real, n_variables, 2)
    assert any(level.blocks for level in planned.levels) and len(planned.levels) == 4
    assert any(len(level.others[0]) for level in planned.levels)

    def expected(values):
        sums = np.zeros((2, 4))
        for key, weights in terms.items():
            product = np.prod([values[f] if f >= 0 else values[~f].conj() for f in key], axis=0)
            sums += weights[:, None] * product.real
        return sums

    def draw():
        values = random.normal(size=(n_variables, 4)) + 1j * random.normal(size=(n_variables, 4))
        values[:n_real] = values[:n_real].real
        return values

    @jax.jit
    def sums_and_adjoint(real, imaginary, given):
        sums, pull_back = jax.vjp(lambda *v: ace_products.evaluate(planned, *v), real, imaginary)
        return sums, pull_back(given)

    values, direction, given = draw(), draw(), random.normal(size=(2, 4))
    sums, (of_real, of_imaginary) = sums_and_adjoint(values.real, values.imag, given)
    np.testing.assert_allclose(sums, expected(values), rtol=1e-12, atol=1e-12)
    slope = np.sum(of_real * direction.real) + np.sum(of_imaginary * direction.imag)
    step = 1e-5 * direction
    ahead, behind = (np.sum(given * expected(values + s)) for s in (step, -step))
    assert float(slope) == pytest.approx((ahead - behind) / 2e-5, rel=1e-7)


def test_a_walk_of_swaps_is_the_full_evaluation(folder, runner):
    path, model = oracle.made("bessel.yace", folder), folder / "bessel.zip"
    assert cli.main(["convert", "ace", str(path), "-o", str(model)]) == 0
    metadata = read_model(model).metadata
    assert metadata.elements == ("Al", "Ni") and metadata.cutoff == 5 and metadata.smooth
    assert metadata.overlap == pytest.approx(2.0)  # the inner cutoff less its width
    assert metadata.source == "converted from bessel.yace: made by a test CITATION: none"
    assert metadata.isolated_energies == pytest.approx({"Al": -1.5, "Ni": 2.25})
    runner.run(
        nickel("2 2 2"),
        f"pair_style mliap_local verify 1\npair_coeff * * {model} Ni Al",
        "fix s all atom/swap 1 20 17 20000 ke no types 1 2\nrun 2",
    )
    attempts, successes = (runner.lmp.extract_fix("s", 0, 1, k) for k in (0, 1))
    assert 0 < successes < attempts
    _, incremental, _, drift, *_ = runner.vector()
    assert incremental >= 20 and drift < 1e-9


# files that are wrong

HEADER = """# DATE: 2026 CITATION: none

nelements=1
elements: Cu

lmax=1

embedding-function: FinnisSinclair
2 FS parameters: 1.0 1.0
core energy-cutoff parameters: 10.0 1.0
E0: -0.5

radbasename=ChebPow
nradbase=2
nradmax=1
cutoffmax=5.0
deltaSplineBins=0.001
core repulsion parameters: 1.0 2.0
radparameter= 2.0
cutoff= 5.0
dcut= 0.01
crad= 1.0 0.5
 0.25 0.125

rankmax=2
ndensitymax=1

num_c_tilde_max=1
num_ms_combinations_max=2
total_basis_size_rank1: 1
ctilde_basis_func: rank=1 ndens=1 mu0=0 mu=( 0 )
n=( 2 )
l=( 0 )
num_ms=1
<  0 >:  0.5
total_basis_size: 1
ctilde_basis_func: rank=2 ndens=1 mu0=0 mu=( 0  0 )
n=( 1  1 )
l=( 1  1 )
num_ms=2
<  0  0 >:  0.5
<  1  -1 >:  -1.0
"""

ACE = {
    "empty": ("", "", "expected nelements ="),
    "two elements": ("nelements=1", "nelements=2", ":3: expected one element"),
    "element": ("elements: Cu", "elements: Qq", ":4: expected the symbol of an element"),
    "l of text": ("lmax=1", "lmax=one", ":6: expected lmax, a whole number, found 'one'"),
    "l too large": ("lmax=1", "lmax=99", ":6: expected lmax from 0 to 16"),
    "embedding": ("FinnisSinclair", "Magic", ":8: expected an embedding that can be converted"),
    "FS count": ("2 FS", "3 FS", ":10: expected a number, found 'core'"),
    "FS text": ("1.0 1.0\ncore", "1.0 x\ncore", ":9: expected a number, found 'x'"),
    "core": ("core energy-cutoff", "energy-cutoff", ":10: expected core energy-cutoff param"),
    "E0": ("E0: -0.5", "E0: nan", ":11: expected a finite number, found 'nan'"),
    "radial": ("ChebPow", "SBessel", ":13: expected radial functions that can be converted"),
    "no base": ("nradbase=2", "nradbase=0", ":14: expected nradbase from 1 to 200"),
    "cutoff": ("cutoff= 5.0", "cutoff= -5.0", ":20: expected a positive cutoff"),
    "short crad": (" 0.25 0.125", " 0.25", ":25: expected a number, found 'rankmax'"),
    "long crad": ("0.125", "0.125 7", ":23: expected rankmax =, found '7'"),
    "densities": ("ndensitymax=1", "ndensitymax=2", ":26: expected at most 1 densities"),
    "rank": ("rank=2", "rank=3", ":37: expected mu = ( 3 integers, a whole number, found ')'"),
    "n": ("n=( 1  1 )", "n=( 1  2 )", ":38: expected n = ( 2 integers from 1 to 1, found '2'"),
    "m beyond l": ("<  1  -1 >", "<  2  -2 >", ":42: expected < 2 integers from -1 to 1"),
    "cut off": ("<  1  -1 >:  -1.0\n", "", ":41: expected <, found 'the end of the file'"),
    "left over": ("-1.0\n", "-1.0\nmore\n", ":43: expected the end of the file"),
    "digits": (HEADER, "7" * 1_000_000, ":1: expected nelements ="),
}

TREE = """# CITATION: none
elements: [Cu]
E0: [-0.5]
deltaSplineBins: 0.001
embeddings:
  0: {ndensity: 1, FS_parameters: [1, 1], npoti: FinnisSinclair, rho_core_cutoff: 10, drho_core_cutoff: 1}
bonds:
  [0, 0]: {nradmax: 1, lmax: 1, nradbasemax: 2, radbasename: ChebPow, radparameters: [2.0],
    radcoefficients: [[[1.0, 0.25], [0.5, 0.125]]], prehc: 1.0, lambdahc: 2.0,
    rcut: 5, dcut: 0.01, rcut_in: 0, dcut_in: 0, inner_cutoff_type: density}
functions:
  0:
    - {mu0: 0, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [2], ls: [0], ms_combs: [0], ctildes: [0.5]}
    - {mu0: 0, rank: 2, ndensity: 1, num_ms_combs: 2, mus: [0, 0], ns: [1, 1], ls: [1, 1],
      ms_combs: [0, 0, 1, -1], ctildes: [0.5, -1.0]}
"""  # noqa: E501


@pytest.mark.parametrize("rank", [0, 1])
def test_no_products(tmp_path, rank):
    """Functions of one neighbour at most: nothing is left to plan."""
    start = TREE.index("functions:")
    functions = TREE[start : TREE.index("    - {mu0: 0, rank: 2")] if rank else "functions: {0: []}"
    path = tmp_path / "few.yace"
    path.write_text(TREE[:start] + functions)
    made, systems, largest = convert(path), oracle.structures(["Cu"], 3.63)[:3], 0.0
    found = oracle.ours(made.functions, oracle.Batch(systems, made.cutoff))
    for got, expected in zip(found, oracle.pacemaker(path, systems), strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
        largest = max(largest, np.abs(got[1]).max())
    assert largest > 1e-3  # eV / Angstrom


YACE = {
    "empty": (TREE, "", ":1: expected a potential, found 'nothing'"),
    "no YAML": ("[Cu]", "[Cu", ":3: expected YAML"),
    "bytes": ("[Cu]", "[C\x00u]", ":1: expected YAML"),
    "element": ("[Cu]", "[Qq]", ":2: expected symbols of elements"),
    "element twice": ("[Cu]", "[Cu, Cu]", "'Cu' is named twice"),
    "no energies": ("E0: [-0.5]\n", "", "expected E0 in the file"),
    "energy": ("[-0.5]", "[.inf]", ":3: expected a finite number as an entry of E0"),
    "unknown key": ("E0:", "spins: 1\nE0:", ":3: expected only the keys"),
    "embedding": ("FinnisSinclair", "Magic", ":6: expected npoti that can be converted"),
    "FS": ("[1, 1], npoti", "[1], npoti", ":6: expected 2 to 32 entries in FS_parameters"),
    "no bond": ("[0, 0]: {", "[0, 1]: {", ":8: expected [0, 0] in bonds, found 'only"),
    "tabulated": ("ChebPow", "Tabulated", ":8: expected radbasename that can be converted"),
    "crad": ("[1.0, 0.25]", "[1.0]", ":9: expected 2 entries in"),
    "zbl": ("density}", "zbl}", "nearest neighbour"),
    "cutoff": ("rcut: 5", "rcut: 0", ":10: expected a positive cutoff"),
    "key twice": ("prehc: 1.0", "rcut: 1.0", "expected keys, each once"),
    "centre": ("  0:\n    -", "  1:\n    -", ":13: expected functions of elements 0 to 0"),
    "rank": ("rank: 2", "rank: 2.5", ":14: expected rank from 1 to 12, found '2.5'"),
    "neighbour": ("mus: [0, 0]", "mus: [0, 1]", ":14: expected an entry of mus from 0 to 0"),
    "n": ("ns: [1, 1]", "ns: [1, 2]", ":14: expected an entry of ns from 1 to 1"),
    "m beyond l": ("ls: [1, 1]", "ls: [1, 0]", ":15: expected no m beyond its l"),
    "weights": ("[0.5, -1.0]", "[0.5]", ":15: expected 2 entries in ctildes, found '1'"),
    "text": ("[0.5, -1.0]", "[0.5, minus]", ":15: expected a finite number"),
    "alias": ("[0.5, -1.0]", "[*a, 1.0]", ":15: expected no aliases"),
    "two documents": (TREE, TREE + "---\n" + TREE, "expected one document"),
    "deep": (TREE, "[" * 20, ":1: expected at most 12 levels"),
    "very deep": (TREE, "[" * 1_000_000, ":1: expected YAML"),
    "digits": (TREE, "7" * 1_000_000, ":1: expected a mapping"),
}


@pytest.mark.parametrize(
    ("ending", "case"), [*(("ace", case) for case in ACE), *(("yace", case) for case in YACE)]
)
def test_a_mutilated_file_is_refused(tmp_path, ending, case):
    text, cases = (HEADER, ACE) if ending == "ace" else (TREE, YACE)
    old, new, message = cases[case]
    assert old in text
    path = tmp_path / f"bad.{ending}"
    path.write_text(text)
    assert convert(path).elements == ("Cu",)
    path.write_text(text.replace(old, new, 1) if old else new)
    with pytest.raises(PotentialFileError) as caught:
        convert(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


ARRAYS = {
    "no header": ("meta_json", None),
    "header": ("meta_json", lambda a: a[:-40]),
    "version": ("meta_json", lambda a: _text(a, b'"schema_version": 1', b'"schema_version": 7')),
    "element": ("meta_json", lambda a: _text(a, b"[29, 28]", b"[29, 99999]")),
    "element twice": ("meta_json", lambda a: _text(a, b"[29, 28]", b"[29, 29]")),
    "three elements": ("meta_json", lambda a: _text(a, b"[29, 28]", b"[29, 28, 1]")),
    "cutoff": ("meta_json", lambda a: _text(a, b'"rcut": 4.5', b'"rcut": 0.0')),
    "radial kind": ("meta_json", lambda a: _text(a, b'"analytic"', b'"magic"')),
    "weights": ("WB", lambda a: a[:-1]),
    "no weights": ("WB", None),
    "not finite": ("WB", lambda a: a * np.nan),
    "pair weights": ("Wpair", lambda a: a[:, :1]),
    "energies": ("E0", lambda a: a[:1]),
    "coupling row": ("A2B_rows", lambda a: a + 1000),
    "coupling column": ("A2B_cols", lambda a: -1 - a),
    "coupling shape": ("A2B_shape", lambda a: a[::-1]),
    "radial index": ("aspec_r", lambda a: a - 1000),
    "harmonic index": ("aspec_y", lambda a: a[:-1]),
    "factor": ("aa_spec_2", lambda a: a + 1000),
    "factor before": ("aa_spec_2", lambda a: a - 1000),
    "factors": ("aa_spec_3", lambda a: a[:, :2]),
    "one pair": ("rnl_transform", lambda a: a[:1]),
    "process": ("gp_json", lambda a: np.zeros(2)),
}


def _text(array, old, new):
    text = array.tobytes()
    assert old in text
    return np.frombuffer(text.replace(old, new), np.uint8)


@pytest.mark.parametrize("case", ARRAYS)
def test_a_mutilated_archive_is_refused(folder, tmp_path, case):
    with np.load(oracle.made("linear.npz", folder)) as archive:
        arrays = dict(archive)
    name, change = ARRAYS[case]
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays.get(name))
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(PotentialFileError, match=r"bad\.npz: expected"):
        convert(path)


def test_no_archive_and_no_known_ending_are_refused(tmp_path):
    path = tmp_path / "bad.npz"
    path.write_text("7" * 1_000_000)
    with pytest.raises(PotentialFileError, match="found no archive"):
        convert(path)
    with pytest.raises(PotentialFileError, match=r"a name ending in \.yace"):
        convert(tmp_path / "potential.txt")
    with pytest.raises(PotentialFileError, match="cannot be read"):
        convert(tmp_path / "missing.npz")


def test_a_missing_package_is_named(folder, monkeypatch):
    path = oracle.made("linear.npz", folder)
    monkeypatch.setitem(__import__("sys").modules, "ace_jax", None)
    with pytest.raises(ImportError, match=r"needs the package ace_jax: pip install 'mliap-local"):
        convert(path)
