"""The ASE calculator against finite differences and against the potential of `local`."""

import dataclasses

import jax
import numpy as np
import pair_states as ps
import pytest

from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.core.table import Index, Table
from mliap_local.local import make_local_mliap_from_state

ase = pytest.importorskip("ase")
from ase.calculators.calculator import PropertyNotImplementedError  # noqa: E402
from ase.calculators.fd import (  # noqa: E402
    calculate_numerical_forces,
    calculate_numerical_stress,
)

from mliap_local.ase import LocalMLIAPCalculator  # noqa: E402
from mliap_local.model_file import ModelFileError, export_model  # noqa: E402
from mliap_local.models.lj import lj  # noqa: E402


@pytest.fixture(scope="module")
def calculator():
    return LocalMLIAPCalculator(ps.model(1, 1))


def atoms(pbc=True, n=6, seed=3):
    rng = np.random.default_rng(seed)
    return ase.Atoms(
        numbers=rng.integers(1, 90, n), scaled_positions=rng.random((n, 3)),
        cell=ps.CELLS[0] * 1.3, pbc=pbc,
    )  # fmt: skip


def test_energy_is_that_of_the_potential(calculator):
    system = atoms()
    points = ps.Particles(system.positions, system.numbers, Index(np.zeros(len(system), int)))
    cells = system.cell.array[None]
    state = ps.state(0, 1)._replace(
        particles=Table(points), systems=Table(ps.Systems(cells)), local_mliap_model=ps.model(6, 1)
    )
    expected = make_local_mliap_from_state(IDENTITY_LENS)(state).data.total_energies.data[0]
    system.calc = calculator
    assert system.get_potential_energy() == pytest.approx(float(expected), rel=1e-12)
    assert system.get_potential_energies().sum() == pytest.approx(float(expected), rel=1e-12)
    assert abs(expected - len(system) * ps.OFFSET) > 0.1  # they do interact


@pytest.mark.parametrize("pbc", [True, (True, False, True)])
def test_forces_and_stress_by_finite_differences(calculator, pbc):
    system = atoms(pbc)
    system.calc = calculator
    forces = system.get_forces()
    assert np.abs(forces).max() > 0.01
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-10)
    few = calculate_numerical_forces(system, eps=1e-5, iatoms=[0, 3])
    np.testing.assert_allclose(forces[[0, 3]], few, atol=1e-7)
    stress = system.get_stress()
    assert np.abs(stress).max() > 1e-4
    np.testing.assert_allclose(stress, calculate_numerical_stress(system, eps=1e-5), atol=1e-7)


def test_what_it_refuses(calculator, tmp_path):
    cluster = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], calculator=calculator)
    assert np.isfinite(cluster.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="volume"):
        cluster.get_stress()

    file = tmp_path / "lj.zip"

    def calculator_of(**keywords):
        functions = lj(["Ar"], 0.01, 3.4, 8.0, shift="force")
        export_model(file, *functions, cutoff=8.0, elements=["Ar"], checks=False, **keywords)
        return LocalMLIAPCalculator(file)

    with pytest.raises(ModelFileError, match="units lj; ASE needs one in units metal or real"):
        calculator_of(units="lj")
    pair = ase.Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.8]], calculator=calculator_of())
    metal = pair.get_potential_energy()
    assert metal < -0.005 and np.abs(pair.get_forces()).max() > 1e-4
    pair.calc = calculator_of(units="real", vjp_order=0)
    kilocalorie_per_mole = 0.0433641
    assert pair.get_potential_energy() == pytest.approx(metal * kilocalorie_per_mole, rel=1e-5)
    with pytest.raises(PropertyNotImplementedError, match="vjp_order"):
        pair.get_forces()
    pair.symbols = "ArNe"
    with pytest.raises(ValueError, match="knows the elements Ar, not Ne"):
        pair.get_potential_energy()


def test_switches_64_bit_numbers_on(tmp_path):
    """A script that never heard of JAX has them off, and no model could be read."""
    functions = lj(["Ar"], 0.01, 3.4, 8.0, shift="force")
    export_model(tmp_path / "lj.zip", *functions, cutoff=8.0, elements=["Ar"], checks=False)
    pair = ase.Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.8]])
    jax.config.update("jax_enable_x64", False)
    try:
        pair.calc = LocalMLIAPCalculator(tmp_path / "lj.zip")
        assert pair.get_potential_energy() < -0.005
    finally:
        jax.config.update("jax_enable_x64", True)


def test_padding_never_changes_an_answer():
    small, grown = (LocalMLIAPCalculator(ps.model(1, 1)) for _ in range(2))
    energies = [small.get_potential_energy(atoms(n=20))]
    grown._width = small._width + 8  # as after a denser structure
    energies.append(grown.get_potential_energy(atoms(n=20)))
    assert (small._rows, small._width) != (grown._rows, grown._width)
    assert energies[0] == pytest.approx(energies[1], rel=1e-14)


def test_single_precision_model():
    data = ps.model(1, 1, init=ps.node_init_32)
    assert data.cache.msg_sum.dtype == np.float32
    system, double = atoms(), atoms()
    system.calc = LocalMLIAPCalculator(dataclasses.replace(data))
    double.calc = LocalMLIAPCalculator(ps.model(1, 1))
    np.testing.assert_allclose(system.get_forces(), double.get_forces(), atol=1e-4)
    assert system.get_potential_energy() != double.get_potential_energy()
