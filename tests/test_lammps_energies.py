"""The pair style in LAMMPS against LAMMPS's own styles: energies, forces, pressures and what is
made of them - dynamics, minimisation, Monte Carlo, restarts.

The oracles are lj/cut, lj/smooth/linear, eam/alloy and eam/fs of the same LAMMPS, and for a model
that LAMMPS has not got its finite differences. What goes wrong is in test_lammps_errors.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import nickel, potentials

TOLERANCE = 1e-10  # relative to the largest number of its kind
PRESSURE = "thermo_style custom step pe pxx pyy pzz pxy pxz pyz"

# boundary, the box and where atoms are in it, in lattice constants
SHAPES = {
    "orthogonal": ("p p p", "block 0 3 0 3 0 3", ""),
    "triclinic": ("p p p", "prism 0 3 0 3 0 3 0.7 -0.5 0.4", ""),
    "slab": ("p p f", "block 0 3 0 3 -1 4", "block INF INF INF INF 0.2 2.8"),
    # narrower than the cutoff: an atom has its own images among its neighbours
    "small": ("p p p", "block 0 1 0 1 0 1", ""),
    "small triclinic": ("p p p", "prism 0 1 0 1 0 1 0.3 0.2 -0.4", ""),
}

# name of the model file: native style, its file, elements of types 1, 2, 3
EAM = {
    "eam": ("eam/alloy", "NiAlH_jea.eam.alloy", "Ni Al H"),
    "fs": ("eam/fs", "NiAlH_jea.eam.fs", "H Ni Al"),
    "alfe": ("eam/fs", "AlFe_mm.eam.fs", "Fe Al Fe"),
}
LJ = {
    "lj": "pair_style lj/cut 3.0\npair_coeff * * 1.0 1.0",
    "lj_energy": "pair_style lj/cut 3.0\npair_modify shift yes\npair_coeff * * 1.0 1.0",
    "lj_force": "pair_style lj/smooth/linear 3.0\npair_coeff * * 1.0 1.0",
}


def crystal(shape: str, lattice: float, jitter: float, units: str = "metal") -> str:
    """Jittered fcc of three types at random."""
    boundary, box, inside = SHAPES[shape]
    return f"""
units {units}
atom_modify map array
boundary {boundary}
lattice fcc {lattice}
region box {box}
create_box 3 box
region inside {inside or box}
create_atoms 1 region inside
set group all type/fraction 2 0.3 4711
set group all type/fraction 3 0.2 4712
set atom 1 type 1
set atom 2 type 2
set atom 3 type 3
mass * 20.0
displace_atoms all random {jitter} {jitter} {jitter} 4713
"""


def native_eam(name: str) -> str:
    style, file, elements = EAM[name]
    return f"pair_style {style}\npair_coeff * * {potentials() / file} {elements}"


def ours(path: str, elements: str, keywords: str = "") -> str:
    return f"pair_style mliap_local {keywords}\npair_coeff * * {path} {elements}"


def local(runner, name: str) -> np.ndarray:
    """A property of the atoms by atom ID, also where IDs have holes."""
    return by_id(runner, runner.lmp.numpy.extract_atom(name))


def by_id(runner, values) -> np.ndarray:
    count = runner.lmp.extract_global("nlocal")
    order = np.argsort(runner.lmp.numpy.extract_atom("id")[:count])
    return np.array(values[:count][order])


def thermo(runner, *names: str) -> np.ndarray:
    return np.array([runner.lmp.get_thermo(name) for name in names])


def assert_close(got, expected, tolerance=TOLERANCE):
    """Differences are less than so much of the largest number."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape and np.abs(expected).max() > 0
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


def assert_same(runner, system, native, style):
    expected = runner.evaluate(system, native)
    assert set(local(runner, "type")) == {1, 2, 3}
    assert np.abs(expected.forces).max(1).min() > 0 and np.abs(expected.pressure).min() > 0
    got = runner.evaluate(system, style)
    assert got.difference(expected) < TOLERANCE


# --- energy, forces, pressure --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[("eam", shape) for shape in SHAPES],
        *[("fs", shape) for shape in ("triclinic", "small")],
        *[("alfe", shape) for shape in ("orthogonal", "slab", "small triclinic")],
    ],
)
def test_eam_is_the_native_one(runner, model, name, shape):
    system = crystal(shape, 3.7 if name == "alfe" else 3.52, 0.25)
    assert_same(runner, system, native_eam(name), ours(model(name), EAM[name][2]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[("lj", shape) for shape in SHAPES],
        *[("lj_energy", shape) for shape in ("triclinic", "small")],
        *[("lj_force", shape) for shape in ("orthogonal", "slab", "small triclinic")],
    ],
)
def test_lj_is_the_native_one(runner, model, name, shape):
    system = crystal(shape, 0.8, 0.15, "lj")
    assert_same(runner, system, LJ[name], ours(model(name), "Ar Ar Ar"))


def test_types_mapped_to_null_contribute_nothing(runner, model):
    """The oracle deletes them. LAMMPS wants every pair of types set by somebody: hence hybrid."""
    system = crystal("triclinic", 3.52, 0.25)
    style = f"""
pair_style hybrid mliap_local zero 6.0
pair_coeff * * zero
pair_coeff * * mliap_local {model("eam")} Ni NULL H
"""
    got = runner.evaluate(system, style)
    there = local(runner, "type") != 2
    assert 60 < there.sum() < 100
    assert np.all(got.forces[~there] == 0.0)

    native = native_eam("eam")
    gone = "group gone type 2\ndelete_atoms group gone compress no"
    runner.run(system, native, gone, PRESSURE, "run 0")
    expected = local(runner, "f")
    assert len(expected) == there.sum()
    assert_close(got.forces[there], expected)
    assert_close(got.energy, runner.lmp.get_thermo("pe"))
    assert_close(got.pressure, thermo(runner, "pxx", "pyy", "pzz", "pxy", "pxz", "pyz"))


def test_energies_and_stresses_of_atoms(runner, model):
    system = crystal("triclinic", 3.52, 0.25)
    shares = """
compute energies all pe/atom
compute stresses all stress/atom NULL
compute energy all reduce sum c_energies
compute stress all reduce sum c_stresses[*]
thermo_style custom step pe c_energy c_stress[*]
run 0
"""
    results = []
    for style in (native_eam("eam"), ours(model("eam"), "Ni Al H")):
        runner.run(system, style, shares)
        results.append(
            [
                by_id(runner, runner.lmp.numpy.extract_compute(name, 1, shape))
                for name, shape in (("energies", 1), ("stresses", 2))
            ]
        )
        assert runner.lmp.extract_compute("energy", 0, 0) == pytest.approx(
            runner.lmp.get_thermo("pe"), rel=1e-12
        )
    for expected, got in zip(*results, strict=True):
        assert len(expected) == 108
        assert_close(got, expected)


def test_centroid_stresses_sum_up_to_the_virial(runner, model):
    """How a stress is shared among atoms is a matter of definition; what they share is not."""
    runner.run(
        crystal("triclinic", 3.52, 0.25),
        ours(model("eam"), "Ni Al H"),
        """
compute centroid all centroid/stress/atom NULL virial
compute stress all reduce sum c_centroid[*]
compute virial all pressure NULL virial
thermo_style custom step pe c_stress[*] c_virial[*]
run 0
""",
    )
    stress = runner.lmp.numpy.extract_compute("stress", 0, 1)
    virial = runner.lmp.numpy.extract_compute("virial", 0, 1) * -runner.lmp.get_thermo("vol")
    assert np.abs(virial).min() > 1.0
    assert_close(stress, virial[[0, 1, 2, 3, 4, 5, 3, 4, 5]])


def test_derivatives_of_a_neural_model(runner, model):
    """Forces and virial against LAMMPS's own finite differences of the energy."""
    system = nickel("2 2 2", tilt="0.3 -0.2 0.4", hydrogen=12, jitter=0.25)
    differences = """
fix force all numdiff 1 1.0e-4
fix virial all numdiff/virial 1 1.0e-5
compute pressure all pressure NULL virial
thermo_style custom step pe c_pressure[*] f_virial[*]
run 0
"""
    runner.run(system, ours(model("neural"), "Ni H"), differences)
    forces = local(runner, "f")
    expected = by_id(runner, runner.lmp.numpy.extract_fix("force", 1, 2))
    assert len(forces) == 32 and np.abs(expected).max(1).min() > 1e-4
    assert_close(forces, expected, 1e-6)
    virial = [runner.lmp.extract_fix("virial", 0, 1, k) for k in range(6)]
    got = [runner.lmp.numpy.extract_compute("pressure", 0, 1)[k] for k in (0, 1, 2, 5, 4, 3)]
    assert np.abs(virial).min() > 1.0
    assert_close(got, virial, 1e-6)


# --- what is made of them ------------------------------------------------------------------------

# masses again after pair_coeff: native EAM sets those of its file
WARM = """
mass 1 58.69
mass 2 26.98
velocity all create 600 4711
timestep 0.001
"""


def native_and_ours(model) -> tuple[str, str]:
    """Nickel with aluminium: it shakes more slowly than hydrogen, rounding grows more slowly."""
    file = potentials() / "NiAlH_jea.eam.alloy"
    native = f"pair_style eam/alloy\npair_coeff * * {file} Ni Al"
    return native, ours(model("eam"), "Ni Al")


def test_energy_is_conserved_as_in_the_native_style(runner, model):
    run = """
fix integrate all nve
variable potential equal pe
variable total equal etotal
fix energy all vector 1 v_potential v_total
thermo_style custom step pe ke etotal
run 2000
"""
    system = nickel("2 2 2", hydrogen=4)
    energies = []
    for style in native_and_ours(model):
        runner.run(system, style, WARM, run)
        read = runner.lmp.extract_fix
        energies.append([[read("energy", 0, 2, i, j) for i in range(2001)] for j in (0, 1)])
    (potential, total), (our_potential, our_total) = np.array(energies)
    drift = np.abs(total - total[0]).max()
    assert np.ptp(potential) > 10 * drift > 0  # atoms moved
    assert np.abs(our_total - our_total[0]).max() <= 1.0001 * drift
    assert_close(our_potential[:500], potential[:500])
    assert_close(our_potential, potential, 1e-7)  # rounding has grown


def test_minimum_is_that_of_the_native_style(runner, model):
    system = nickel("2 2 2", hydrogen=4)
    minimize = """
thermo_style custom step pe fmax
min_style cg
minimize 0 1e-8 500 1000
"""
    minima = []
    for style in native_and_ours(model):
        runner.run(system, style, "run 0")
        start = runner.lmp.get_thermo("pe")
        runner.more(minimize)
        minima.append((runner.lmp.get_thermo("pe"), local(runner, "x")))
        assert minima[-1][0] < start - 1.0
    assert_close(minima[1][0], minima[0][0])
    assert_close(minima[1][1], minima[0][1], 1e-6)


def test_box_moves_as_in_the_native_style(runner, model):
    system = nickel("2 2 2", tilt="0.1 0.1 0.1", hydrogen=4)
    run = f"""
fix integrate all npt temp 600 600 0.1 tri 0 0 0.5
{PRESSURE}
run 100
"""
    states, boxes = [], []
    for style in native_and_ours(model):
        runner.run(system, style, WARM, run)
        states.append(runner.state())
        boxes.append(thermo(runner, "lx", "ly", "lz", "xy", "xz", "yz"))
        assert abs(runner.lmp.get_thermo("vol") / (2 * 3.52) ** 3 - 1) > 1e-4
    assert states[1].difference(states[0]) < 1e-8
    assert_close(boxes[1], boxes[0])


def test_grand_canonical_lennard_jones_counts_as_the_native_style(runner, model):
    """The fluid of LAMMPS's examples/mc/in.gcmc.lj: every trial is decided in the same way."""
    steps = 15
    system = """
units lj
region box block 0 5 0 5 0 5
create_box 1 box
mass 1 1.0
"""
    run = f"""
group gas type 1
fix exchange gas gcmc 1 100 100 1 29494 2.0 -1.25 1.0 full_energy
variable atoms equal count(all)
fix counts all vector 1 v_atoms f_exchange[2] f_exchange[4] f_exchange[6]
compute_modify thermo_temp dynamic/dof yes
thermo_style custom step atoms pe press
run {steps}
"""
    results = []
    for style in (LJ["lj"], ours(model("lj"), "Ar")):
        runner.run(system, style, run)
        results.append(
            [
                [int(runner.lmp.extract_fix("counts", 0, 2, i, j)) for j in range(4)]
                for i in range(steps + 1)
            ]
        )
    atoms, moved, inserted, deleted = np.transpose(results[0])
    assert min(moved[-1], inserted[-1], deleted[-1]) > 50
    assert (np.diff(atoms) > 0).any() and (np.diff(atoms) < 0).any() and atoms[-1] > 40
    assert results[1] == results[0]
    full, incremental = runner.vector()[:2]
    assert incremental > 0.9 * 200 * steps > full


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["restart", "data"])
def test_written_system_has_the_same_energy_again(runner, model, tmp_path, name):
    """As in any style that keeps no coefficients in its files: the style is given again."""
    style = ours(model("eam"), "Ni Al H")
    file = tmp_path / f"system.{name}"
    system = crystal("triclinic", 3.52, 0.25)
    runner.run(system, style, f"write_{name} {file}")  # before any run
    before = file.read_bytes()
    file.unlink()
    runner.more(f"{PRESSURE}\nrun 0\nwrite_{name} {file}")
    assert len(before) > 1000 and len(file.read_bytes()) > 1000
    expected = runner.state()
    units = "units metal\natom_modify map array\n" if name == "data" else ""
    read = f"{units}read_{name} {file}"
    with pytest.raises(Exception, match="pair style"):
        runner.run(read, "pair_coeff * * no_such_model.zip Ni Al H")
    assert runner.evaluate(read, style).difference(expected) < 1e-12
