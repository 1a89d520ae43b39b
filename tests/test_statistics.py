"""Grand canonical averages that are known exactly: what a wrong deletion energy would spoil.

Every style that counts the atom which fix gcmc hides in a deletion trial is off by a factor
exp(-E0/kT) here, E0 the energy of the isolated atom.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import DIMER

BOX = "units lj\nregion box block 0 6 0 6 0 6\ncreate_box 2 box\n"
BOX += "mass * 1\ngroup gas type 2\nthermo 0\n"
VOLUME = 216.0
T = 2.0


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`exported(e0, well)`: an atom has the energy e0, and -well for each Ni within 0.5 of an H."""
    import jax
    import jax.numpy as jnp

    from mliap_local import export_model

    jax.config.update("jax_enable_x64", True)

    def make(e0: float, well: float = 0.0) -> str:
        path = tmp_path_factory.mktemp("exact") / "model.zip"

        def node_init(numbers):
            return jnp.stack([numbers == 28, numbers == 1], axis=-1).astype(jnp.float64)

        def edge(h_i, h_j, r_ij):
            """Hydrogen in a site feels it; two hydrogens within 2 never are."""
            near = jnp.sum(r_ij * r_ij, axis=-1) < 0.25
            site = h_i[:, 1] * h_j[:, 0] * near
            taken = h_i[:, 1] * h_j[:, 1] * (jnp.sum(r_ij * r_ij, axis=-1) < 4.0)
            outside = h_i[:, 1] * h_j[:, 0] * (1 - near)
            return jnp.stack([site, taken, outside], axis=-1)

        def readout(h, sums):
            bound = -well * sums[:, 0] + 1e6 * (well != 0.0) * sums[:, 1]
            return e0 * h[:, 1] + 0.7 * h[:, 0] + bound

        export_model(
            *(path, node_init, edge, readout),
            cutoff=2.0,
            elements=["Ni", "H"],
            units="lj",
            checks=False,  # without a well it is an ideal gas, with one a step
        )
        return str(path)

    return make


def mean_count(runner, host: int, fix: str, steps: int) -> tuple[float, float, list[float]]:
    """Mean number of gas atoms after each step, its error from ten blocks, and the fix's vector."""
    runner.more(f"{fix}\nrun 100 post no")
    counts = np.empty(steps)
    for k in range(steps):
        runner.more("run 1 pre no post no")
        counts[k] = runner.lmp.get_natoms() - host
    blocks = np.array([block.mean() for block in np.array_split(counts, 10)])
    verdicts = [runner.lmp.extract_fix("g", 0, 1, k) for k in range(6)]
    return counts.mean(), blocks.std(ddof=1) / math.sqrt(10), verdicts


def activity(mu: float) -> float:
    """z of fix gcmc; in lj units its thermal wavelength is one."""
    return math.exp(mu / T)


@pytest.mark.parametrize("e0, reference", [(-3.0, "model"), (2.5, "model"), (2.5, "isolated")])
def test_ideal_gas(runner, exported, e0, reference):
    """<N> = zV exp(-E0/kT), and zV where energies are relative to the isolated atom.

    The walk is that of a native style without energies, mu being shifted by E0: exactly.
    """
    shift = 0.0 if reference == "isolated" else e0
    mu = T * math.log(20.0 / VOLUME)
    style = f"pair_style mliap_local reference {reference}\npair_coeff * * {exported(e0)} Ni H\n"
    walks = []
    for pair, fix, potential in (
        ("pair_style lj/cut 1.0\npair_coeff * * 0 1\n", "gcmc", mu),
        (style, "gcmc/mliap_local", mu + shift),
        (style, "gcmc", mu + shift),
    ):
        runner.run(BOX, "create_atoms 1 random 5 3 NULL", pair)
        fix = f"fix g gas {fix} 1 20 0 2 1234567 {T} {potential} 0.5 full_energy"
        walks.append(mean_count(runner, 5, fix, 400))
    assert walks[0] == walks[1] == walks[2]
    mean, error, verdicts = walks[2]
    assert error < 0.8 and abs(mean - 20.0) < 4 * error, (mean, error)
    assert 0 < verdicts[3] < verdicts[2] and 0 < verdicts[5] < verdicts[4]
    assert runner.vector()[1] > 5000


def test_ideal_gas_of_molecules(runner, exported, tmp_path):
    """The same with molecules of two atoms: both are absent in a deletion trial."""
    (tmp_path / "dimer").write_text(DIMER)
    e0 = -3.0
    box = BOX.replace("units lj", "units lj\natom_style molecular\nspecial_bonds lj/coul 1 1 1")
    style = f"pair_style mliap_local\npair_coeff * * {exported(e0)} Ni H\n"
    runner.run(box, f"molecule dimer {tmp_path}/dimer", style)
    mu = 2 * e0 + T * math.log(20.0 / VOLUME)
    fix = f"fix g gas gcmc 1 20 0 0 77 {T} {mu} 0.5 mol dimer full_energy"
    mean, error, verdicts = mean_count(runner, 0, fix, 600)
    assert error < 1.2 and abs(mean / 2 - 20.0) < 4 * error / 2, (mean, error)
    assert 0 < verdicts[3] < verdicts[2] and 0 < verdicts[5] < verdicts[4]


def test_single_sites(runner, exported):
    """Langmuir: sites of volume v hold one atom at most, <N> = M q / (1 + q)."""
    e0, well, sites = 1.0, 4.0, 8
    lattice = "".join(
        f"create_atoms 1 single {x} {y} {z}\n"
        for x in (1.5, 4.5)
        for y in (1.5, 4.5)
        for z in (1.5, 4.5)
    )
    spheres = "".join(
        f"region s{k} sphere {x} {y} {z} 0.499\n"
        for k, (x, y, z) in enumerate(
            (x, y, z) for x in (1.5, 4.5) for y in (1.5, 4.5) for z in (1.5, 4.5)
        )
    )
    union = "region sites union 8 " + " ".join(f"s{k}" for k in range(sites))
    style = f"pair_style mliap_local\npair_coeff * * {exported(e0, well)} Ni H\n"
    runner.run(BOX, lattice, spheres + union, style)
    volume = 4 / 3 * math.pi * 0.499**3
    mu = e0 - well + T * math.log(0.8 / volume / activity(0.0))
    fix = f"fix g gas gcmc 1 20 5 2 78 {T} {mu} 0.2 region sites"
    mean, error, verdicts = mean_count(runner, sites, fix, 1500)
    assert error < 0.15 and abs(mean - sites * 0.8 / 1.8) < 4 * error, (mean, error)
    assert 0 < verdicts[3] < verdicts[2] and 0 < verdicts[5] < verdicts[4]


@pytest.mark.slow
def test_lennard_jones_vapour_against_nist(runner, model):
    """Linear force shift at 3 sigma, T* = 0.8, saturation: ln z = -4.164, rho = 0.02000.

    Source: NIST Standard Reference Simulation Website, SAT-TMMC. The walk is the native style's.
    """
    box = BOX.replace("6", "10")
    temperature, mu = 0.8, 0.8 * -4.164
    walks = []
    for style in (
        "pair_style lj/smooth/linear 3.0\npair_coeff * * 1 1\n",
        f"pair_style mliap_local\npair_coeff * * {model('lj_force')} Ar Ar\n",
    ):
        runner.run(box, style)
        fix = f"fix g gas gcmc 1 40 20 2 79 {temperature} {mu} 1.0 full_energy"
        walks.append(mean_count(runner, 0, fix, 500))
    assert walks[0] == walks[1]
    mean, error, _ = walks[1]
    assert error < 0.07 * mean and abs(mean / 1000 - 0.02) < 4 * error / 1000, (mean, error)
