"""SNAP against native `snap` and `zbl`: made-up potentials with every option, a published one, the
same walk of Monte Carlo, and mutilated files."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import numpy as np
import oracle_snap
import pytest
from conftest import Runner

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

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
        values = [0.0 if words.get("zero") else draw(), *linear]
        if words.get("quadraticflag"):
            values = [*values, *1e-4 * draw(size=n_components * (n_components + 1) // 2)]
        lines += [f"{symbol} {radius} {weight}", *(f"{value:.17g}" for value in values)]
    header = f"# DATE: today UNITS: metal CITATION: nobody (2026)\n\n{n} {len(values)}\n"
    path.with_suffix(".snapcoeff").write_text(header + "\n".join(lines) + "\n")
    parameters = {"rcutfac": 4.6, "twojmax": order, **words}
    parameters.pop("zero", None)
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


def evaluator(functions, cutoff, dtype=np.float64):
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
        padded = [np.pad(x, [(0, MOST_EDGES - e), *[(0, 0)] * (x.ndim - 1)]) for x in (i, j, r_ij)]
        padded[2] = padded[2].astype(dtype)
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
