"""NEP against calorine, the CPU code of GPUMD's authors: random potentials, or files of the caller.

`rows()` evaluates both on the same structures and yields how far apart they are; the tests assert
on it, and a table of all families is printed from it. Makes no model file and asserts nothing.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import _nepy
import jax
import jax.numpy as jnp
import numpy as np
import vesin
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from mliap_local.models.nep import nep, read_nep

ATOMS, EDGES = 32, 4096  # structures are padded to so many: one compilation for most


class Header(NamedTuple):
    """What a random potential is made for."""

    kind: str = "nep4"
    elements: str = "Ni"
    zbl: str = ""
    cutoff: str = "5 4 100 100"
    n_max: str = "3 1"
    basis_size: str = "6 5"
    l_max: str = "4 0 0"
    neurons: int = 8


RANDOM = {
    "l 4 0 0": Header(),
    "l 4 2 0, two elements, no basis": Header(
        elements="Pd H", l_max="4 2 0", n_max="4 0", basis_size="0 1"
    ),
    "l 4 2 1, ZBL, three elements": Header(
        "nep4_zbl", "Ni Al H", "zbl 1.2 2.3", l_max="4 2 1", n_max="2 0"
    ),
    "ZBL by elements, cutoffs by elements": Header(
        "nep4_zbl", "Cu O", "zbl 1 2.2 0.62", "5 4.2 4.6 3.5 90 90", l_max="3 0 1", n_max="1 0"
    ),
    "flexible ZBL, four elements": Header(
        "nep4_zbl", "C Si W H", "zbl 0 0", l_max="2 2 1", n_max="1 1"
    ),
    "all couplings, l 8": Header(elements="Si", l_max="8 2 1 1 1 1 1", n_max="1 0"),
    "seven elements, no angles": Header(elements="Li Be B N F Na Mg", l_max="0 0 0"),
    "NEP3, two elements": Header("nep3", "Fe Cr", l_max="1 0 0", n_max="2 1"),
    "NEP5, ZBL, two elements": Header(
        "nep5_zbl", "Ga N", "zbl 0.9 1.8", l_max="2 2 1", n_max="1 0"
    ),
}


def write_random(path: Path, header: Header, seed: int = 1) -> Path:
    """Write a potential of random numbers whose energies are some eV."""
    draw = np.random.default_rng(seed)
    elements = header.elements.split()
    n, neurons = len(elements), header.neurons
    (n_radial, n_angular), (k_radial, k_angular) = (
        [int(word) + 1 for word in words.split()] for words in (header.n_max, header.basis_size)
    )
    l_max, *flags = map(int, header.l_max.split())
    couplings = sum(map(bool, flags))
    dim = n_radial + n_angular * (l_max + couplings)
    numbers: list[np.ndarray] = []
    for _ in range(1 if header.kind.startswith("nep3") else n):
        numbers.append(draw.normal(size=neurons * dim) / np.sqrt(dim))
        numbers.append(draw.normal(size=neurons))
        numbers.append(draw.normal(size=neurons + header.kind.startswith("nep5")))
    numbers.append(draw.normal(size=1))
    numbers.append(draw.normal(size=n * n * n_radial * k_radial) * 0.5)
    numbers.append(draw.normal(size=n * n * n_angular * k_angular) * 0.5)
    scales = np.repeat([0.1, 0.3, 0.5], [n_radial, n_angular * l_max, n_angular * couplings])
    numbers.append(scales * draw.uniform(0.5, 1, size=dim))
    if header.zbl == "zbl 0 0":
        typical = [0.8, 2.0, 0.18, 3.2, 0.51, 0.94, 0.28, 0.40, 0.03, 0.20]
        numbers += [np.array(typical) * draw.uniform(0.8, 1.2, 10) for _ in range(n * (n + 1) // 2)]
    lines = [
        f"{header.kind} {n} {header.elements}",
        *([header.zbl] if header.zbl else []),
        f"cutoff {header.cutoff}",
        f"n_max {header.n_max}",
        f"basis_size {header.basis_size}",
        f"l_max {header.l_max}",
        f"ANN {neurons} 0",
        *(f"{value:15.7e}" for value in np.concatenate(numbers)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def structures(elements: tuple[str, ...], cutoff: float, seed: int = 0) -> dict[str, Atoms]:
    """Mixtures of the elements, dense, normal and stretched; small cells, dimers, an atom."""
    draw = np.random.default_rng(seed)
    radius = float(np.mean([covalent_radii[atomic_numbers[e]] for e in elements]))
    lattice = np.sqrt(8.0) * max(radius, 0.8)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])

    def crystal(scale, cells, jitter, tilt=0.0):
        corners = np.array(list(itertools.product(*map(range, cells))))
        places = (corners[:, None] + basis).reshape(-1, 3) / cells
        cell = np.diag(cells) * lattice * scale
        cell[1, 0], cell[2, 1] = tilt * cell[0, 0], -tilt * cell[1, 1]
        symbols = draw.permutation(np.resize(elements, len(places)))
        positions = places @ cell + draw.normal(size=places.shape) * jitter * lattice
        return Atoms(symbols, positions=positions, cell=cell, pbc=True)

    made = {
        "crystal": crystal(1.0, (2, 2, 2), 0.05),
        "compressed": crystal(0.85, (2, 1, 1), 0.02, tilt=0.2),
        "stretched": crystal(1.3, (2, 2, 2), 0.06, tilt=0.1),
        "self-images": crystal(1.0, (1, 1, 1), 0.05),
    }
    box = np.eye(3) * (2.2 * cutoff + 3)
    one = elements[int(draw.integers(len(elements)))]
    made["one atom, its images"] = Atoms([one], cell=np.eye(3) * lattice * 0.8, pbc=True)
    made["one atom"] = Atoms([one], cell=box, pbc=True)
    for k, distance in enumerate((0.45, 0.8, 1.1, 1.7, 2.5)):
        pair = draw.choice(elements, 2)
        way = draw.normal(size=3)
        ends = np.array([np.zeros(3), way / np.linalg.norm(way) * distance * 2 * radius])
        made[f"dimer {k}"] = Atoms(pair, positions=ends + 1.0, cell=box, pbc=True)
    return made


def reference(path: Path, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces [n, 3] and virial [3, 3] from calorine's compiled half.

    Its calculator refuses NEP3 and NEP5, which that half reads and evaluates.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        compiled = _nepy.NEPY(
            str(path),
            len(atoms),
            atoms.cell.array.T.ravel().tolist(),
            atoms.get_chemical_symbols(),
            atoms.positions.T.ravel().tolist(),
            atoms.get_masses().tolist(),
        )
        energies, forces, virials = compiled.get_potential_forces_and_virials()
    virial = np.reshape(virials, (9, -1)).sum(axis=1).reshape(3, 3)
    return float(np.sum(energies)), np.reshape(forces, (3, -1)).T, virial


class Ours:
    """The three functions, compiled for one size; precision as `dtype` says."""

    def __init__(self, functions, cutoff: float, dtype: type = np.float64) -> None:
        self._functions, self._cutoff = functions, cutoff
        self._real = np.dtype(dtype)
        self._integer = np.int64 if self._real == np.float64 else np.int32
        self._evaluate = jax.jit(jax.value_and_grad(self._energy))

    def _energy(self, r_ij, numbers, i, j):
        h = self._functions.node_init(numbers)
        messages = self._functions.edge(h[i], h[j], r_ij)
        sums = jnp.zeros((ATOMS + 1, messages.shape[1]), messages.dtype).at[i].add(messages)
        energies = self._functions.readout(h, sums)
        assert energies.dtype == self._real  # where the functions return another
        return jnp.sum(energies.astype(jnp.float64)[:ATOMS])

    def __call__(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces [n, 3] and virial [3, 3]."""
        neighbours = vesin.NeighborList(cutoff=self._cutoff, full_list=True)
        i, j, vectors = neighbours.compute(atoms.positions, atoms.cell.array, atoms.pbc, "ijD")
        n, n_edges = len(atoms), len(i)
        capacity = EDGES
        while capacity < n_edges:
            capacity *= 2
        numbers = np.zeros(ATOMS + 1, self._integer)  # the last receives the padding
        numbers[:n] = atoms.numbers
        places = np.full((2, capacity), ATOMS)
        places[:, :n_edges] = i, j
        r_ij = np.zeros((capacity, 3), self._real)
        r_ij[:n_edges] = vectors
        energy, gradient = self._evaluate(r_ij, numbers, *places)
        gradient = np.asarray(gradient, np.float64)[:n_edges]
        forces = np.zeros((n, 3))
        np.add.at(forces, i.astype(int), gradient)
        np.subtract.at(forces, j.astype(int), gradient)
        return float(energy), forces, -vectors.T @ gradient


def differences(ours, theirs, cutoff: float) -> tuple[float, float, float]:
    """Of energy, forces and virial, relative to the largest. Forces that symmetry takes away are
    compared with the virial over the cutoff."""
    (energy, forces, virial), (their_energy, their_forces, their_virial) = ours, theirs
    virial_scale = max(np.abs(their_virial).max(), 1e-9)
    return (
        abs(energy - their_energy) / abs(their_energy),
        np.abs(forces - their_forces).max()
        / max(np.abs(their_forces).max(), virial_scale / cutoff),
        np.abs(virial - their_virial).max() / virial_scale,
    )


def compare(
    path: Path, elements: tuple[str, ...] | None = None, dtype: type = np.float64, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """`differences` for each structure; of those elements only where they are given."""
    potential = read_nep(path)
    if elements is not None:
        potential = potential.keeping(elements)
    ours = Ours(nep(potential), potential.cutoff, dtype)
    return {
        name: differences(ours(atoms), reference(path, atoms), potential.cutoff)
        for name, atoms in structures(potential.elements, potential.cutoff, seed).items()
    }


def rows(
    files: Iterable[str | Path] = (), dtype: type = np.float64
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield potential, oracle, and the largest relative difference of energy, forces and virial
    over all structures: of random potentials, or of `files`; of many elements, some are drawn."""
    draw = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        cases: list[tuple[str, Path, tuple[str, ...] | None]] = []
        for path in map(Path, files):
            known = read_nep(path).elements
            if len(known) <= 4:
                cases.append((path.name, path, None))
                continue
            for _ in range(4):
                chosen = tuple(map(str, draw.choice(known, 3, replace=False)))
                cases.append((f"{path.name} {' '.join(chosen)}", path, chosen))
        if not cases:
            for k, (name, header) in enumerate(RANDOM.items()):
                path = write_random(Path(folder) / f"{k}.txt", header, seed=k)
                cases.append((f"NEP random: {name}", path, None))
        for name, path, chosen in cases:
            worst = np.max(list(compare(path, chosen, dtype).values()), axis=0)
            yield (name, "calorine", *map(float, worst))


if __name__ == "__main__":
    import sys

    jax.config.update("jax_enable_x64", True)
    for row in rows(sys.argv[1:]):
        print("{:60} {} E {:.1e} F {:.1e} W {:.1e}".format(*row), flush=True)
