"""ACE potentials that the tests make, and how far this package is from the codes that define them.

Not a test. The oracles are `python-ace`, the C++ evaluator of pacemaker, whose radial functions are
Hermite cubics on a grid of 0.001 Angstrom and therefore differ by 1e-9, and `ace-jax`. `rows()`
gives the table. Structures are bulk (compressed, stretched, mixed), cells smaller than the cutoff,
clusters, dimers and single atoms; all those of a potential are evaluated in one call.
"""

from __future__ import annotations

import re
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from conftest import potentials

from mliap_local.models.ace import convert

FUNCTIONS = {"ALL": {"nradmax_by_orders": [4, 2, 2, 1], "lmax_by_orders": [0, 2, 1, 1]}}
SHIFTED, POWER = "FinnisSinclairShiftedScaled", "FinnisSinclair"
BASIS = """
global: {DeltaSplineBins: 0.001}
species:
  - speciesblock: Cu
    ndensityi: 1
    npoti: FinnisSinclair
    parameters: [1, 1]
    nradmaxi: 2
    lmaxi: 3
    rcutij: 5
    dcutij: 0.01
    nradbaseij: 2
    radbase: ChebPow
    radparameters: [2.0]
    radcoefficients: [[[1, 0.2], [0.5, 0.1], [1, 0], [0, 1]], [[1, 1], [1, 1], [1, 2], [2, 1]]]
    core-repulsion: [1.0, 2.0]
    nbody:
      - {type: Cu Cu, nr: [2], nl: [0], c: 0.5}
      - {type: Cu Cu Cu, nr: [1, 2], nl: [1, 1], c: [0.5]}
      - {type: Cu Cu Cu Cu Cu, nr: [1, 1, 1, 2], nl: [1, 3, 3, 3], lint: [3, 3], c: [1]}
      - {type: Cu Cu, nr: [1], nl: [0], c: 0.5, skip: true}
"""


def random_basis(radial: str, inner: str, n_densities: int = 2, functions=FUNCTIONS):
    """A random basis of aluminium and nickel, of 1 to 4 factors."""
    from pyace import ACEBBasisSet, create_multispecies_basis_config

    bond = {"radbase": radial, "radparameters": [3.25], "rcut": 5.0, "dcut": 0.3}
    bond |= {"NameOfCutoffFunction": "cos", "core-repulsion": [60.0, 1.5]}
    if inner == "distance":
        bond |= {"r_in": 2.4, "delta_in": 0.4, "inner_cutoff_type": "distance"}
    embedding = {"npot": SHIFTED, "fs_parameters": [1, 1, 0.75, 0.5][: 2 * n_densities]}
    embedding |= {"ndensity": n_densities}
    embedding |= {"rho_core_cut": 3.0, "drho_core_cut": 2.5}
    config = {"deltaSplineBins": 0.0002, "elements": ["Al", "Ni"], "functions": functions}
    config |= {"embeddings": {"ALL": embedding}, "bonds": {"ALL": bond}}
    basis = ACEBBasisSet(create_multispecies_basis_config(config))
    random = np.random.default_rng(7)
    basis.all_coeffs = random.normal(size=len(basis.all_coeffs)) * 0.3
    return basis


def write_yace(path: Path, radial: str, inner: str) -> None:
    """A random potential of two densities."""
    random_basis(radial, inner).to_ACECTildeBasisSet().save_yaml(str(path))
    text = path.read_text().replace("E0: [0, 0]", "E0: [-1.5, 2.25]")
    assert "-1.5" in text
    if inner == "density":
        # elements and bonds that differ in all that they can differ in
        text = re.sub(r"(\[(0, 1|1, 0)\]: .*)rcut: 5,", r"\1rcut: 4.25,", text)
        text = re.sub(r"(\[(0, 1|1, 0)\]: .*)radbasename: \w+", r"\1radbasename: ChebPow", text)
        text = re.sub(rf"( 1: .*0\.75, )0\.5(\], npoti: ){SHIFTED}", rf"\g<1>0.7\2{POWER}", text)
        assert POWER + "," in text and "4.25" in text and "ChebPow" in text
    path.write_text("# made by a test CITATION: none\n" + text)


def write_active_set(path: Path, full: bool, training: list[Atoms]) -> Path:
    """The active set of a `.yaml`, as pacemaker makes it."""
    from pyace import ACEBBasisSet
    from pyace import activelearning as active

    basis, to = ACEBBasisSet(str(path)), path.with_suffix(".full" if full else ".asi")
    values = active.compute_B_projections(basis, training)
    if full:  # is_full=True gives zeros, for the evaluator was never told
        values = _slopes(basis, training, values, to)
    inverses = active.compute_A_active_inverse(active.compute_active_set(values, tol=1.001))
    active.save_active_inverse_set(to, inverses, elements_name=basis.elements_name)
    return to


def _slopes(basis, training, values, to):
    """The derivatives of energies by all coefficients: an evaluator with any full active set."""
    from pyace import PyACECalculator
    from pyace import activelearning as active

    sizes = {k: v.shape[1] * 2 for k, v in values.items()}  # two densities
    ones = {k: np.eye(size) for k, size in sizes.items()}
    active.save_active_inverse_set(to, ones, elements_name=basis.elements_name)
    calculator, found = PyACECalculator(basis), {k: [] for k in values}
    calculator.set_active_set(str(to))
    for atoms in training:
        calculator.calculate(atoms)
        for symbol, row in zip(atoms.symbols, calculator.ace.dE_dc, strict=True):
            found[basis.elements_to_index_map[symbol]].append(row)
    return {k: np.array(rows) for k, rows in found.items()}


def grades(path: Path, active_set: Path, systems: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """gamma and energies of all atoms, from python-ace."""
    from pyace import PyACECalculator

    calculator = PyACECalculator(str(path))
    calculator.set_active_set(str(active_set))
    found = []
    for atoms in systems:
        calculator.calculate(atoms)
        found.append([calculator.results["gamma"], calculator.results["energies"]])
    gamma, energies = np.concatenate(found, axis=1)
    return gamma, energies


def write_linear(path: Path) -> None:
    """A random linear model of copper and nickel, as ace-jax authors it."""
    import dataclasses

    from ace_jax.basis.export import save_npz
    from ace_jax.basis.model import build_model

    basis = build_model(["Cu", "Ni"], 3, 5, rcut=4.5, coupling_cache=False, with_gamma=False)
    draw = np.random.default_rng(8).normal
    model = dataclasses.replace(
        basis.model,
        WB=jnp.asarray(draw(size=basis.model.WB.shape)),
        Wpair=jnp.asarray(draw(size=basis.model.Wpair.shape)),
        E0=jnp.array([-1.5, 2.25]),
        folded=False,
        ctilde=None,
    )
    save_npz(path, basis._replace(model=model))


def structures(elements: list[str], lattice: float, seed: int = 1) -> list[Atoms]:
    """Bulk, small cells, a cluster, dimers, single atoms; elements at random."""
    random = np.random.default_rng(seed)
    found = []
    for scale, cells in ((1.0, 2), (0.85, 2), (1.25, 2), (1.0, 1), (0.9, 1)):
        atoms = bulk("Cu", "fcc", lattice * scale, cubic=True) * (cells, cells, cells)
        # no corner is right
        shear = np.eye(3) + np.triu(random.uniform(-0.1, 0.1, (3, 3)), 1)
        atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
        found.append(atoms)
    found.append(bulk("Cu", "fcc", lattice))  # one atom among its own images
    cluster = found[0][:12].copy()
    cluster.pbc = False
    found.append(cluster)
    for atoms in found:
        atoms.positions += random.normal(0, 0.1, atoms.positions.shape)
        atoms.symbols = random.choice(elements, len(atoms))
    for first, second in {(elements[0], elements[-1]), (elements[-1],) * 2}:
        for distance in (0.6, 0.85, 1.4):
            found.append(Atoms([first, second], [(0, 0, 0), (0, 0, distance * lattice / 2**0.5)]))
    found += [Atoms(symbol, [(0, 0, 0)]) for symbol in elements]
    return found


class Batch:
    """All atoms and edges of some structures, and what becomes of their energies."""

    def __init__(self, systems: list[Atoms], cutoff: float) -> None:
        edges = [neighbor_list("ijD", atoms, cutoff) for atoms in systems]
        self.first = np.cumsum([0, *map(len, systems)])
        self.start = np.cumsum([0, *(len(e[0]) for e in edges)])
        self.i, self.j = (
            np.concatenate([e[k] + n for e, n in zip(edges, self.first, strict=False)])
            for k in (0, 1)
        )
        self.r = np.concatenate([e[2] for e in edges])
        self.numbers = np.concatenate([atoms.numbers for atoms in systems])
        self.volumes = [atoms.cell.volume or np.nan for atoms in systems]

    def results(self, energies_of, real=np.float64):
        """For each structure its energy, forces and stress (not a number without a cell), eV and
        Angstrom, from a function of edge vectors that gives the energies of atoms."""

        def total(r):
            energies = energies_of(r)
            assert energies.dtype == real
            return energies.sum(), energies

        gradient, energies = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(self.r, real))
        gradient, energies = np.asarray(gradient, float), np.asarray(energies, float)
        forces = np.zeros((len(self.numbers), 3))
        np.add.at(forces, self.i, gradient)
        np.add.at(forces, self.j, -gradient)
        for n, volume in enumerate(self.volumes):
            own = slice(*self.first[n : n + 2])
            edge = slice(*self.start[n : n + 2])
            yield energies[own].sum(), forces[own], self.r[edge].T @ gradient[edge] / volume


def ours(functions, batch: Batch, real=np.float64):
    """What three functions give, without the way through a model file, which other tests go."""
    numbers = batch.numbers.astype(np.int32 if real == np.float32 else np.int64)

    def energies(r):
        h = functions.node_init(jnp.asarray(numbers))
        messages = functions.edge(h[batch.i], h[batch.j], r)
        return functions.readout(h, jax.ops.segment_sum(messages, batch.i, len(numbers)))

    return batch.results(energies, real)


def ace_jax(path: Path, batch: Batch):
    """The same from the evaluator of ace-jax."""
    from ace_jax import load

    model, meta, _ = load(str(path))
    place = np.array([meta["elements"].index(number) for number in batch.numbers])
    edges = place[batch.i], place[batch.j], batch.i, len(place), place
    return batch.results(lambda r: model.site_energies(r, *edges))


def pacemaker(path: Path, systems: list[Atoms]):
    """The same from python-ace; no stress where there is no cell."""
    from pyace import PyACECalculator

    calculator = PyACECalculator(str(path))
    for atoms in systems:
        atoms.calc = calculator
        stress = atoms.get_stress(voigt=False) if atoms.cell.volume else np.full((3, 3), np.nan)
        yield atoms.get_potential_energy(), atoms.get_forces(), stress


def differences(found, expected) -> tuple[float, float, float]:
    """Largest difference of energy, forces, and pressure, each relative to the largest of its
    structure, but to 0.1 at least."""
    largest = np.zeros(3)
    count = 0
    for got, right in zip(found, expected, strict=True):
        for k in range(3):
            a, b = np.asarray(got[k]), np.asarray(right[k])
            if np.all(np.isfinite(b)):
                count += k == 2
                scale = max(np.abs(b).max(), 0.1)
                largest[k] = max(largest[k], np.abs(a - b).max() / scale)
    assert count >= 5
    return largest[0], largest[1], largest[2]


def made(name: str, folder: Path) -> Path:
    """The file of a potential by its name in `ROWS`."""
    if name == "Cu-PBE-core-rep.ace":
        return potentials() / name
    path = folder / name
    if not path.exists():
        if name.endswith(".npz"):
            write_linear(path)
        else:
            write_yace(path, *YACE[name])
    return path


YACE = {"bessel.yace": ("SBessel", "distance"), "chebyshev.yace": ("ChebExpCos", "density")}
ROWS = ("Cu-PBE-core-rep.ace", *YACE, "linear.npz")


def row(name: str, folder: Path) -> tuple[str, str, float, float, float]:
    """One line of the table."""
    path = made(name, folder)
    converted = convert(Namespace(file=str(path), active_set=None))
    systems = structures(list(converted.elements), 3.63)
    batch = Batch(systems, converted.cutoff)
    assert len(batch.i) > 1000
    linear = name.endswith(".npz")
    expected = ace_jax(path, batch) if linear else pacemaker(path, systems)
    found = differences(ours(converted.functions, batch), expected)
    return name, "ace-jax" if linear else "python-ace", *found


def rows() -> Iterator[tuple[str, str, float, float, float]]:
    """Potential, oracle, and the largest relative difference of energy, forces, and pressure."""
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ROWS:
            yield row(name, Path(folder))


if __name__ == "__main__":
    for line in rows():
        print(*line)
