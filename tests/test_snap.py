"""SNAP against native `snap` and `zbl`: made-up potentials with every option, a published one, the
same walk of Monte Carlo, and mutilated files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import oracle_snap
import pytest
from conftest import Runner

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local import cli  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models import atomic_numbers  # noqa: E402
from mliap_local.models.bispectrum import triples  # noqa: E402
from mliap_local.models.snap import expansion, read_snap, snap  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402
from mliap_local.models.zbl import read_words  # noqa: E402

SYMBOLS = ("Ni", "Al")
PRESSURE = 1.6021765e6  # bar in eV / Angstrom^3, as LAMMPS has it


def symmetrised(linear, order, n_channels):
    """The mean over permutations of channels that belong to equal j: components are equal there."""
    three = triples(order)
    table = linear.reshape(n_channels, n_channels, n_channels, len(three))
    mean = np.empty_like(table)
    for t, js in enumerate(three):
        equal = [p for p in itertools.permutations(range(3)) if tuple(js[k] for k in p) == js]
        mean[..., t] = sum(np.transpose(table[..., t], p) for p in equal) / len(equal)
    return mean.ravel()


def write(folder: Path, n: int = 2, order: int = 3, symmetric: bool = True, **words) -> Path:
    """Write random coefficients of n elements, and parameters; return the path without ending."""
    draw = np.random.default_rng(7).normal
    channels = n if words.get("chemflag") else 1
    n_components = len(triples(order)) * channels**3
    path = folder / "made"
    lines = []
    for symbol, radius, weight in list(zip(SYMBOLS, (0.5, 0.42), (1.0, 0.7), strict=True))[:n]:
        linear = 0.05 * draw(size=n_components)
        if channels > 1 and symmetric:
            linear = symmetrised(linear, order, channels)
        values = [draw(), *linear]
        if words.get("soft"):  # crowds repel each other, and an atom alone has no energy
            values = [0.0, 2e-3, *2e-3 * linear[1:]]
        if words.get("quadraticflag"):
            values = [*values, *1e-4 * draw(size=n_components * (n_components + 1) // 2)]
        lines += [f"{symbol} {radius} {weight}", *(f"{value:.17g}" for value in values)]
    header = f"# DATE: today UNITS: metal CITATION: nobody (2026)\n\n{n} {len(values)}\n"
    path.with_suffix(".snapcoeff").write_text(header + "\n".join(lines) + "\n")
    parameters = {"rcutfac": 4.6, "twojmax": order, **words}
    parameters.pop("soft", None)
    text = "".join(f"{key} {value}\n" for key, value in parameters.items())
    path.with_suffix(".snapparam").write_text(text)
    return path


def read(path: Path, elements=SYMBOLS):
    return read_snap(path.with_suffix(".snapcoeff"), path.with_suffix(".snapparam"), elements)


# Structures: box [3], types [n], positions [n, 3]


def crystal(scale=1.0, cells=2, jitter=0.15, n_types=2, seed=3):
    draw = np.random.default_rng(seed)
    lattice = 3.0 * scale
    corners = np.array(list(itertools.product(range(cells), repeat=3)), float)
    positions = (corners[:, None] + [[0, 0, 0], [0.5, 0.5, 0.5]]).reshape(-1, 3) * lattice
    positions += draw.normal(scale=jitter * scale, size=positions.shape)
    return np.full(3, cells * lattice), np.arange(len(positions)) % n_types, positions


def dimer(distance, types=(0, 1)):
    direction = np.array([0.36, 0.48, 0.8])
    return np.full(3, 20.0), np.array(types), np.array([[5.0, 5, 5], 5 + distance * direction])


STRUCTURES = {
    "crystal": crystal(),
    "compressed": crystal(0.85),
    "stretched": crystal(1.3),
    "self-images": crystal(0.9, cells=1),
    "short dimer": dimer(0.9),
    "long dimer": dimer(3.4, (1, 0)),
    "dimer of one": dimer(2.2, (1, 1)),
    "one atom": tuple(x[:1] if k else x for k, x in enumerate(dimer(1.0))),
}
MOST_ATOMS, MOST_EDGES = 16, 1536


def edges(box, positions, cutoff):
    """Receivers, senders and vectors, by brute force."""
    images = [range(-n, n + 1) for n in np.ceil(cutoff / box).astype(int)]
    shifts = np.array(list(itertools.product(*images))) * box
    r = positions[None, :, None] + shifts - positions[:, None, None]
    distance = np.linalg.norm(r, axis=-1)
    i, j, shift = np.nonzero((distance < cutoff) & (distance > 0))
    return i, j, r[i, j, shift]


def evaluator(functions, cutoff, dtype: Any = np.float64):
    """One compilation for all structures: `evaluate(structure)` gives energy, forces, pressure."""

    @jax.jit
    def compiled(numbers, i, j, r_ij, present):
        def energies(r_ij):
            h = functions.node_init(numbers)
            messages = functions.edge(h[i], h[j], r_ij)
            sums = jax.ops.segment_sum(
                jnp.where(present[:, None], messages, 0), i, num_segments=MOST_ATOMS
            )
            return functions.readout(h, sums)

        value, pull_back = jax.vjp(energies, r_ij)
        return value, pull_back(jnp.ones_like(value))[0]

    integer = np.int32 if dtype == np.float32 else np.int64

    def evaluate(structure, symbols=SYMBOLS):
        box, types, positions = structure
        i, j, r_ij = edges(box, positions, cutoff)
        n, e = len(types), len(i)
        assert n <= MOST_ATOMS and e <= MOST_EDGES
        numbers = np.zeros(MOST_ATOMS, integer)
        numbers[:n] = np.array(atomic_numbers(symbols))[types]
        padded = [np.pad(x, (0, MOST_EDGES - e)) for x in (i, j)]
        padded.append(np.pad(r_ij.astype(dtype), [(0, MOST_EDGES - e), (0, 0)]))
        energies, gradient = compiled(numbers, *padded, np.arange(MOST_EDGES) < e)
        assert energies.dtype == gradient.dtype == dtype
        assert np.all(np.asarray(energies)[n:] == 0) and np.all(np.isfinite(gradient))
        gradient = np.asarray(gradient, np.float64)[:e]
        forces = np.zeros((n, 3))
        np.add.at(forces, i, gradient)
        np.subtract.at(forces, j, gradient)
        virial = -r_ij.T @ gradient / np.prod(box) * PRESSURE
        pressure = virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        return float(np.sum(np.asarray(energies, np.float64))), forces, pressure

    return evaluate


def native(runner: Runner, style: str, structure, n_types=2):
    """The same from LAMMPS."""
    box, types, positions = structure
    runner.run(
        "units metal\natom_style atomic\natom_modify map array\n"
        f"region box block 0 {box[0]:.17g} 0 {box[1]:.17g} 0 {box[2]:.17g}\n"
        f"create_box {n_types} box\nmass * 1.0"
    )
    n = len(types)
    runner.lmp.create_atoms(n, list(range(1, n + 1)), (types + 1).tolist(), positions.ravel())
    runner.more(style)
    runner.more(
        "neighbor 0.3 bin\nthermo_style custom step pe pxx pyy pzz pxy pxz pyz\n"
        "thermo_modify norm no\nrun 0 post no"
    )
    assert runner.lmp.get_natoms() == n
    state = runner.state()
    return state.energy, state.forces, state.pressure


def assert_agree(ours, theirs, tolerance=1e-10, at_least=0.0):
    """Within a tolerance of the largest; what is nothing to LAMMPS is nothing to us."""
    for kind, one, other in zip(("energy", "forces", "pressure"), ours, theirs, strict=True):
        largest = max(float(np.max(np.abs(other))), at_least, 1e-9)
        assert np.max(np.abs(np.subtract(one, other))) <= tolerance * largest, kind


CASES = {
    "linear": {},
    "one element": {"n": 1, "bzeroflag": 0},
    "quadratic": {"quadraticflag": 1},
    "bnorm": {"bnormflag": 1},
    "not switched": {"switchflag": 0, "order": 2},
    "rmin0": {"rmin0": 1.2, "rfac0": 0.95, "order": 2},
    "inner": {"switchinnerflag": 1, "sinner": "2.3 2.0", "dinner": "0.4 0.3", "order": 2},
    "chem": {"chemflag": 1, "order": 2},
    "chem bzero 0": {"chemflag": 1, "bzeroflag": 0, "order": 2},
    "chem wselfall": {"chemflag": 1, "wselfallflag": 1, "bnormflag": 1, "order": 2},
    "zbl": {"order": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_native(runner, tmp_path, case):
    words = CASES[case]
    path = write(tmp_path, **words)
    n = words.get("n", 2)
    symbols = SYMBOLS[:n]
    table = read(path, symbols)
    radii = (4.0, 4.8) if case == "zbl" else None
    repulsion = read_words(["4.0", "4.8", "Ni=28", "Al=13"], symbols) if radii else None
    cutoff = max(table.cutoff, repulsion.outer) if repulsion else table.cutoff
    functions = snap(table, repulsion)
    evaluate = evaluator(functions, cutoff)
    single = evaluator(functions, cutoff, np.float32) if case in ("linear", "quadratic") else None
    style = oracle_snap.native(path.name, " ".join(symbols), radii, tmp_path)
    seen = []
    for box, types, positions in STRUCTURES.values():
        structure = (box, types % n, positions)
        theirs = native(runner, style, structure, n)
        assert_agree(evaluate(structure, symbols), theirs)
        if single and len(types) > 2:
            assert_agree(single(structure, symbols), theirs, 1e-5)
        seen.append((theirs[0], np.max(np.abs(theirs[1]))))
    energies, forces = np.array(seen).T
    assert len(set(energies)) == len(STRUCTURES) and np.sum(forces > 1e-3) >= 6


def test_asymmetric_coefficients_are_said_and_forces_are_the_derivative(runner, tmp_path, capsys):
    """Then native forces are not the derivative of the native energy; ours are."""
    path = write(tmp_path, chemflag=1, order=2, symmetric=False)
    table = read(path)
    assert expansion(table).asymmetry > 1e-3
    assert expansion(read(write(tmp_path, chemflag=1, order=2))).asymmetry < 1e-15
    path = write(tmp_path, chemflag=1, order=2, symmetric=False)
    evaluate = evaluator(snap(table), table.cutoff)
    style = oracle_snap.native(path.name, " ".join(SYMBOLS), None, tmp_path)
    box, types, positions = STRUCTURES["crystal"]
    energy, forces, _ = evaluate((box, types, positions))
    theirs = native(runner, style, (box, types, positions))
    assert energy == pytest.approx(theirs[0], rel=1e-12)
    assert np.max(np.abs(forces - theirs[1])) > 0.01 * np.max(np.abs(forces))
    step = np.zeros_like(positions)
    step[3, 1] = 1e-4
    ahead, behind = (native(runner, style, (box, types, positions + s)) for s in (step, -step))
    assert forces[3, 1] == pytest.approx((behind[0] - ahead[0]) / 2e-4, rel=1e-5)
    words = oracle_snap.arguments(path.name, "Ni Al", None, tmp_path)
    assert "coefficients of equal components" in oracle_snap.converted(words).source
    assert "coefficients of equal components differ by" in capsys.readouterr().err


def test_published(runner):
    """One of the published potentials, from files to pressures."""
    rows = list(oracle_snap.rows(runner=runner))
    assert [row[0] for row in rows] == list(oracle_snap.CHEAP)
    for name, _, *differences in rows:
        assert max(differences) < 1e-10, name


def test_same_walk_as_native(runner, tmp_path):
    """A thousand trials of gcmc, of a potential that gives an atom alone no energy, which LAMMPS
    would go on counting after a deletion."""
    path = write(tmp_path, order=2, soft=True)
    words = oracle_snap.arguments(path.name, "Ni Al", None, tmp_path)
    ours = oracle_snap.quick_convert(words, tmp_path / "made.zip")
    theirs = oracle_snap.native(path.name, "Ni Al", None, tmp_path)
    system = oracle_snap.crystal("Ni Al", 3.0, "3 3 3")
    walks = []
    for style in (ours, theirs):
        runner.run(system, style, "group gas type 2\nthermo_style custom step atoms pe\n")
        runner.more("fix g gas gcmc 1 60 40 2 4711 6000 -4 0.5 full_energy\nrun 10")
        walks.append([runner.lmp.extract_fix("g", 0, 1, k) for k in range(8)])
        walks[-1] += [runner.lmp.get_natoms(), runner.lmp.get_thermo("pe")]
        if style is ours:
            incremental = runner.vector()[1]
    moves, moved, insertions, inserted, deletions, deleted = walks[0][:6]
    assert moves + insertions + deletions == 1000 and incremental > 900
    assert 0 < moved < moves and 0 < inserted < insertions and 0 < deleted < deletions
    assert walks[0][:-1] == walks[1][:-1]
    assert walks[0][-1] == pytest.approx(walks[1][-1], rel=1e-10)


def small_functions(tmp_path, **words):
    table = read(write(tmp_path, order=2, chemflag=1, **words))
    repulsion = read_words(["1.0", "2.0", "Ni=28", "Al=13"], SYMBOLS)
    return snap(table, repulsion), table.cutoff


def test_padding_distance_and_foreign_elements(tmp_path):
    functions, cutoff = small_functions(tmp_path, rmin0=0.5)
    h = functions.node_init(jnp.array([28, 13, 0, 1, 118, -3, 4000]))
    i, j = np.array(list(itertools.product(range(len(h)), repeat=2))).T

    def total(h, r):
        messages = functions.edge(h[i], h[j], r)
        return messages.sum(), messages

    @jax.jit
    def derivatives(h, r):
        (by_h, slope), messages = jax.grad(total, (0, 1), has_aux=True)(h, r)
        curvature = jax.grad(lambda r: jax.grad(lambda r: total(h, r)[0])(r).sum())(r)
        return messages, slope, by_h, curvature

    zero = jnp.zeros((len(i), 3))
    for factor in (0.0, 1.0, 1.5):  # of the largest cutoff: Al has a smaller one
        values = derivatives(h, zero.at[:, 0].set(factor * cutoff))
        assert all(np.all(np.isfinite(value)) for value in values)
        assert np.all(values[0] == 0) and np.all(values[1] == 0)
    messages = np.asarray(derivatives(h, zero.at[:, 0].set(1.9))[0])
    known = (i < 2) & (j < 2)
    assert np.all(np.any(messages[known] != 0, axis=1)) and np.all(messages[~known] == 0)
    energies = np.asarray(jax.jit(functions.readout)(h, jnp.full((len(h), messages.shape[1]), 0.5)))
    assert np.all(energies[:2] != 0) and np.all(energies[2:] == 0)


def test_second_derivatives(tmp_path):
    """Both rules of differentiation are themselves differentiable."""
    functions, cutoff = small_functions(tmp_path)
    box, types, positions = crystal(0.9, cells=1)
    numbers = jnp.array(atomic_numbers(SYMBOLS))[types]
    i, j, r_ij = edges(box, positions, cutoff)

    @jax.jit
    def slope(r_ij):
        def energy(r_ij):
            h = functions.node_init(numbers)
            sums = jax.ops.segment_sum(functions.edge(h[i], h[j], r_ij), i, len(types))
            return functions.readout(h, sums).sum()

        return jax.grad(energy)(r_ij)

    direction = np.random.default_rng(0).normal(size=r_ij.shape)
    curvature = jax.jit(jax.grad(lambda r: jnp.sum(slope(r) * direction)))(r_ij)
    difference = (slope(r_ij + 1e-5 * direction) - slope(r_ij - 1e-5 * direction)) / 2e-5
    assert np.max(np.abs(curvature)) > 1e-2
    np.testing.assert_allclose(curvature, difference, atol=1e-7 * np.max(np.abs(curvature)))


# Bad input


def lines_of(path: Path, change) -> None:
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


def replace(number, text):
    return lambda lines: lines.__setitem__(number - 1, text)


def delete(first, last=None):
    return lambda lines: lines.__delitem__(slice(first - 1, last))


# a file of two elements with six coefficients each: line 3 header, 4 and 11 elements, 17 in all
COEFFICIENTS = {
    "empty": (delete(1), ":1: expected the number of elements and the number"),
    "comments only": (delete(3), ":2: expected the number of elements"),
    "one number": (replace(3, "2"), ":3: expected the number of elements"),
    "three numbers": (replace(3, "2 6 1"), ":3: expected the number of elements"),
    "no whole number": (replace(3, "2.0 6"), ":3: expected a number of elements, a whole"),
    "no elements": (replace(3, "0 6"), ":3: expected a number of elements from 1"),
    "too many elements": (replace(3, "3 6"), ":17: expected an element, its radius"),
    "too few elements": (replace(3, "1 6"), ":11: expected the end of the file"),
    "other order": (replace(3, "2 15"), ":3: expected 6 coefficients of twojmax 2, found '15'"),
    "quadratic": (replace(3, "2 21"), ":3: expected 6 coefficients"),
    "digits": (replace(3, "2 " + "9" * 30), ":3: expected a number of coefficients, a whole"),
    "no radius": (replace(4, "Ni"), ":4: expected an element, its radius and its weight"),
    "no weight": (replace(4, "Ni 0.5"), ":4: expected an element, its radius and its weight"),
    "radius of text": (replace(4, "Ni wide 1"), ":4: expected a number, found 'wide'"),
    "radius of zero": (replace(4, "Ni 0 1"), ":4: expected 2 rcutfac times a radius"),
    "infinite weight": (replace(4, "Ni 0.5 inf"), ":4: expected a finite number"),
    "element twice": (replace(11, "Ni 0.5 1"), ":11: expected each element once"),
    "text": (replace(6, "one"), ":6: expected a number, found 'one'"),
    "nan": (replace(6, "nan"), ":6: expected a finite number, found 'nan'"),
    "two on the last line": (replace(10, "1 2"), ":10: expected 6 coefficients of Ni"),
    "one missing": (delete(8, 8), ":10: expected a number, found 'Al'"),
    "cut off": (delete(14), ":13: expected 6 coefficients of Al, 2 of them read"),
    "left over": (lambda lines: lines.append("7"), ":18: expected the end of the file"),
}
PARAMETERS = {
    "empty": (delete(1), ":0: expected rcutfac, found 'the end"),
    "no order": (delete(2), ":1: expected twojmax, found 'the end"),
    "no cutoff": (replace(1, "rmin0 0"), ":2: expected rcutfac"),
    "unknown word": (replace(1, "rcutfak 4.6"), ":1: expected one of rcutfac, rfac0"),
    "word of pod": (replace(1, "rcut 4.6"), ":1: expected one of"),
    "capitals": (replace(1, "RCUTFAC 4.6"), ":1: expected one of"),
    "no value": (replace(1, "rcutfac"), ":1: expected rcutfac and 1 values"),
    "two values": (replace(1, "rcutfac 4.6 4.7"), ":1: expected rcutfac and 1 values"),
    "two words a line": (replace(1, "rcutfac 4.6 twojmax 2"), ":1: expected rcutfac and 1"),
    "twice": (replace(2, "rcutfac 4.6"), ":2: expected rcutfac once"),
    "text": (replace(1, "rcutfac far"), ":1: expected a number, found 'far'"),
    "negative cutoff": (replace(1, "rcutfac -4.6"), ":1: expected rcutfac above 0"),
    "nan": (replace(1, "rcutfac nan"), ":1: expected a finite number"),
    "broken order": (replace(2, "twojmax 2.5"), ":2: expected twojmax, a whole number"),
    "negative order": (replace(2, "twojmax -2"), ":2: expected twojmax from 0 to 14"),
    "order beyond all": (replace(2, "twojmax 40"), ":2: expected twojmax from 0 to 14"),
    "flag of two": (replace(2, "chemflag 2"), ":2: expected chemflag from 0 to 1"),
    "flag of text": (replace(2, "bzeroflag yes"), ":2: expected bzeroflag, a whole number"),
    "rfac0": (replace(2, "rfac0 1.5"), ":2: expected rfac0 above 0 and at most 1"),
    "rmin0": (replace(2, "rmin0 -1"), ":2: expected rmin0 of at least 0"),
    "dinner": (replace(2, "dinner 0.1 0"), ":2: expected dinner above 0"),
    "one sinner": (replace(2, "sinner 2.1"), ":2: expected sinner and 2 values"),
    "inner alone": (
        lambda lines: lines.append("switchinnerflag 1"),
        ":3: expected sinner and dinner with switchinnerflag 1",
    ),
    "sinner alone": (
        lambda lines: lines.append("sinner 2.1 2.2"),
        ":3: expected sinner and dinner with switchinnerflag 1",
    ),
}


@pytest.mark.parametrize("ending", [".snapcoeff", ".snapparam"])
def test_mutilated_files_are_refused(tmp_path, ending):
    table = COEFFICIENTS if ending == ".snapcoeff" else PARAMETERS
    assert len(table) > 20
    for case, (change, message) in table.items():
        path = write(tmp_path, order=2)
        assert read(path).coefficients.shape == (2, 6)
        lines_of(path.with_suffix(ending), change)
        with pytest.raises(PotentialFileError) as caught:
            read(path)
        assert f"made{ending}{message}" in str(caught.value), case


@pytest.mark.parametrize("ending", [".snapcoeff", ".snapparam"])
@pytest.mark.parametrize("text", ["1" * (1 << 20), "1 " * (1 << 19), "1\n" * (1 << 19)])
def test_a_megabyte_of_digits_is_refused(tmp_path, ending, text):
    path = write(tmp_path, order=2)
    path.with_suffix(ending).write_text(text)
    with pytest.raises(PotentialFileError, match=rf"{ending}:1: expected"):
        read(path)


def test_files_that_do_not_fit(tmp_path):
    path = write(tmp_path, order=2)
    assert read(path, ["Al", "Ni"]).radii.tolist() == [0.42, 0.5]
    for elements, message in (
        (["Xx"], "unknown element 'Xx'"),
        (["Ni", "Ni"], "named twice"),
        (["Cu"], "expected elements Ni Al, found Cu"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, elements)
    path = write(tmp_path, order=2, chemflag=1, chunksize=7, parallelthresh=8)
    with pytest.raises(ValueError, match="in this order, by which chemflag of"):
        read(path, ["Al", "Ni"])
    with pytest.raises(PotentialFileError, match="expected 1 elements, those named"):
        read(path, ["Al"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("4", "expected inner outer Ni=Z Al=Z, found '4'"),
        ("4 x Ni=28 Al=13", "expected inner outer Ni=Z Al=Z"),
        ("4.8 4 Ni=28 Al=13", "expected 0 <= inner < outer"),
        ("nan 4 Ni=28 Al=13", "expected 0 <= inner < outer"),
        ("4 4.8 Ni=28", "expected inner outer Ni=Z Al=Z"),
        ("4 4.8 Ni=28 Ni=28 Al=13", "expected inner outer Ni=Z Al=Z"),
        ("4 4.8 Ni=28 Al", "expected inner outer Ni=Z Al=Z"),
        ("4 4.8 Ni=28 Al=-1", "expected charges above 0"),
    ],
)
def test_zbl_refuses(words, message):
    with pytest.raises(ValueError, match=message):
        read_words(words.split(), SYMBOLS)


def test_convert_says_what_it_made(tmp_path, capsys):
    path = write(tmp_path, order=2, bzeroflag=0)
    words = oracle_snap.arguments(path.name, "Ni", (4.0, 4.8), tmp_path)
    output = ["--precision", "32bit", "-o", str(tmp_path / "made.zip")]
    assert cli.main(["convert", *words, *output]) == 0
    assert "wrote" in capsys.readouterr().out
    metadata = read_model(tmp_path / "made.zip").metadata
    assert metadata.elements == ("Ni",) and metadata.cutoff == 4.8 and metadata.units == "metal"
    assert metadata.source is not None and "CITATION: nobody (2026); with zbl" in metadata.source
    assert metadata.overlap is None and metadata.smooth
    table = read(path, ["Ni"])
    alone = table.coefficients[0, 0] + sum(
        value * (j + 1)
        for value, (_, _, j) in zip(table.coefficients[0, 1:], triples(2), strict=True)
    )
    assert (metadata.isolated_energies or {})["Ni"] == pytest.approx(alone, rel=1e-6)
