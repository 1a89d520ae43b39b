"""MTP against motep, which has its own reader and C code: random potentials, or the caller's files.

The moments of a level and their contractions are those that motep found; `tables` writes them out
as the products that an .mtp file has. `rows()` evaluates both codes on the same structures and
yields how far apart they are. Makes no model file and asserts nothing.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from motep.calculator import MTP
from motep.io.mlip.mtp import read_mtp as read_theirs
from motep.io.mlip.mtp import write_mtp
from motep.potentials.mtp.data import MTPData
from motep.potentials.mtp.jax.moment import MomentBasis, extract_basic_moments
from oracle_nep import Ours, differences, structures

from mliap_local.models.mtp import mtp, read_mtp

logging.getLogger("motep").setLevel(logging.ERROR)  # it warns of atoms that are close

NEW = {"min_dist": "min", "max_dist": "max", "radial_basis_size": "size"}
SYMBOLS = "Ni H Al Pd"  # of a caller's files, which do not say


class Header(NamedTuple):
    """What a random potential is made for."""

    level: int
    elements: str
    radial: tuple[float, float, int] = (0.7, 5.0, 7)  # from where to where, and how many
    scaling: float = 0.02
    new: bool = False  # the newer names of these
    bound: bool = False  # copper as a crystal that trials at -3 eV leave as it is


RANDOM = {
    "level 2": Header(2, "Ni", (1.5, 4.5, 1)),
    "level 6, three elements": Header(6, "Ni Al H", (0.5, 5.0, 8), new=True),
    "level 8, four elements": Header(8, "C Si W H", (0.8, 4.0, 2)),
    "level 10": Header(10, "Cu", new=True),
    "level 16, two elements": Header(16, "Pd H"),
}


def tables(level: int) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Basic moments, products and the moments of the basis, as an .mtp file lists them."""
    scalars = MomentBasis(level).read_moments()
    numbers: dict[object, int] = {}  # of (mu, a, b, c), and of what products add up to
    basic, times = [], []
    for mu, nu, _ in extract_basic_moments(scalars):
        for a, b in itertools.product(range(nu + 1), repeat=2):
            if a + b <= nu:
                numbers[mu, a, b, nu - a - b] = len(basic)
                basic.append([mu, a, b, nu - a - b])
    known: dict[object, dict[tuple[int, ...], int]] = {}

    def components(node) -> dict[tuple[int, ...], int]:
        """The number of each component of a tensor."""
        if node in known:
            return known[node]
        if not isinstance(node[0], tuple):
            mu, nu, _ = node
            indices = itertools.product(range(3), repeat=nu)
            found = {k: numbers[mu, k.count(0), k.count(1), k.count(2)] for k in indices}
        else:
            left, right, _, axes = node
            one, other = components(left), components(right)
            sums: dict[tuple[int, ...], Counter] = {}
            for (p, i), (q, j) in itertools.product(one.items(), other.items()):
                if [p[k] for k in axes[0]] == [q[k] for k in axes[1]]:
                    free = [v for k, v in enumerate(p) if k not in axes[0]]
                    free += [v for k, v in enumerate(q) if k not in axes[1]]
                    terms = sums.setdefault(tuple(free), Counter())
                    terms[min(i, j), max(i, j)] += 1
            found = {}
            for index, terms in sums.items():
                key = frozenset(terms.items())
                if key not in numbers:  # equal ones, as of a symmetric tensor, are made once
                    numbers[key] = len(numbers)
                    times.extend([i, j, n, numbers[key]] for (i, j), n in sorted(terms.items()))
                found[index] = numbers[key]
        known[node] = found
        return found

    return basic, times, [components(scalar)[()] for scalar in scalars]


def write_random(path: Path, header: Header, seed: int = 1) -> Path:
    """Write a potential of random numbers."""
    basic, times, mapping = tables(header.level)
    least, most, size = header.radial
    data = MTPData(
        version="1.1.0",
        potential_name="MTP1m",
        scaling=header.scaling,
        species_count=len(header.elements.split()),
        radial_basis={"type": "RBChebyshev", "min": least, "max": most, "size": size},  # type: ignore
        radial_funcs_count=1 + max(mu for mu, *_ in basic),
        alpha_moments_count=1 + max(mapping),
        alpha_index_basic_count=len(basic),
        alpha_index_basic=np.array(basic),
        alpha_index_times_count=len(times),
        alpha_index_times=np.array(times).reshape(-1, 4),
        alpha_scalar_moments=len(mapping),
        alpha_moment_mapping=np.array(mapping),
    )
    data.initialize(np.random.default_rng(seed))
    if header.bound:  # atoms repel, and would each lose more by leaving
        data.radial_coeffs[..., 0, 0] = 1  # type: ignore
        data.moment_coeffs = np.array([5, *(0.02 * data.moment_coeffs[1:])])  # type: ignore
        data.species_coeffs = np.array([-13.0])
    write_mtp(path, data, legacy=True)
    if header.new:
        text = path.read_text()
        for old, name in NEW.items():
            text = text.replace(old, name)
        path.write_text(text)
    return path


def reference(path: Path, elements: tuple[str, ...], atoms: Atoms):
    """Energy, forces [n, 3] and virial [3, 3] of motep."""
    data = read_theirs(path)
    data.species = [atomic_numbers[element] for element in elements]
    results = MTP(data, engine="cext").engine.calculate(atoms)
    xx, yy, zz, yz, xz, xy = results["stress"]
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return results["energy"], results["forces"], -atoms.cell.volume * stress


def compare(
    path: Path, elements: tuple[str, ...], dtype: type = np.float64, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """`differences` for each structure."""
    potential = read_mtp(path, elements)
    ours = Ours(mtp(potential), potential.cutoff, dtype)
    return {
        name: differences(ours(atoms), reference(path, elements, atoms), potential.cutoff)
        for name, atoms in structures(elements, potential.cutoff, seed).items()
    }


def rows(
    files: Iterable[str | Path] = (), dtype: type = np.float64
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield potential, oracle, and the largest relative difference of energy, forces and virial
    over all structures: of random potentials, or of `files`."""
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for path in map(Path, files):
            count = read_theirs(path).species_count
            cases.append((path.name, path, tuple(SYMBOLS.split()[:count])))
        if not cases:
            for k, (name, header) in enumerate(RANDOM.items()):
                path = write_random(Path(folder) / f"{k}.mtp", header, seed=k)
                cases.append((f"MTP random: {name}", path, tuple(header.elements.split())))
        for name, path, elements in cases:
            worst = np.max(list(compare(path, elements, dtype).values()), axis=0)
            yield (name, "motep", *map(float, worst))


if __name__ == "__main__":
    import sys

    import jax

    jax.config.update("jax_enable_x64", True)
    for row in rows(sys.argv[1:]):
        print("{:60} {} E {:.1e} F {:.1e} W {:.1e}".format(*row), flush=True)
