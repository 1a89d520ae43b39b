"""Steps with `device gpu`, which finds r_ij for itself, against LAMMPS's own eam/alloy.

The device is made of the CPU: what is computed and what is remembered is seen, speed is not.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_half import (
    EAM,
    NATIVE,
    RUNS,
    assert_runs_alike,
    crystal,
    let_third_share_fail,
    ours,
)
from test_lammps_energies import SHAPES, assert_close, by_id


@pytest.fixture
def points(monkeypatch) -> list[int]:
    """`device gpu` opens; how many points each evaluation showed. Shares are small."""
    import jax

    from mliap_local.core import padding
    from mliap_local.lammps import kernels
    from mliap_local.lammps.session import Session

    monkeypatch.setattr(kernels, "_device", lambda name, rank: jax.local_devices(backend="cpu")[0])
    monkeypatch.setitem(padding.SHARE_EDGES, "cpu", 2**10)
    calls, function = [], Session._evaluate_points

    def counted(self, shares, *arguments):
        calls.append(len(shares.points[0]))
        return function(self, shares, *arguments)

    monkeypatch.setattr(Session, "_evaluate_points", counted)
    return calls


def on_gpu(model, name: str = "eam", keywords: str = "") -> str:
    return ours(model(name), "eam", f"device gpu {keywords}")


@pytest.mark.parametrize("shape", SHAPES)
def test_forces_are_the_native_ones(runner, model, points, shape):
    system = crystal(shape, second=0.4)
    expected = runner.evaluate(system, NATIVE["eam"])
    assert runner.evaluate(system, on_gpu(model)).difference(expected) < 1e-10
    assert points and points[0] >= len(expected.forces)


@pytest.mark.parametrize("what", RUNS)
def test_runs_are_the_native_ones(runner, model, points, what):
    """Boxes, lists, types and atoms that change between one evaluation and the next."""
    assert_runs_alike(runner, model, what, on_gpu(model, keywords="verify 1"))
    assert len(points) > 5


def test_a_box_far_away(runner, model, points):
    """A pressure from forces on points loses digits where their coordinates are large."""
    system = crystal("orthogonal", second=0.4)
    expected = runner.evaluate(system, NATIVE["eam"])
    far = "change_box all x delta 1e5 1e5 y delta -3e4 -3e4 remap"
    found = [runner.evaluate(f"{system}{far}\n", s) for s in (NATIVE["eam"], on_gpu(model))]
    assert points and 1e-13 < found[0].difference(expected) < 1e-7  # positions are rounded
    assert_close(found[1].pressure, found[0].pressure, 1e-9)


@pytest.mark.parametrize(
    ("wanted", "used"),
    [("pe/atom", True), ("stress/atom NULL", False), ("centroid/stress/atom NULL virial", False)],
)
def test_what_belongs_to_atoms(runner, model, points, wanted, used):
    """Stresses of atoms are told by edges alone: the device is shown these then."""
    shape, column = (1, "c_c") if wanted == "pe/atom" else (2, "c_c[1]")
    show = f"compute c all {wanted}\ndump d all custom 1 /dev/null {column}\nrun 0"
    found = []
    for style in ours(model("eam"), "eam"), on_gpu(model):
        runner.run(crystal("triclinic"), style, show)
        found.append(by_id(runner, runner.lmp.numpy.extract_compute("c", 1, shape)))
    assert_close(found[1], found[0], 1e-12)
    assert bool(points) == used


def test_atoms_without_a_species(runner, model, points):
    zero = "zero 4.0\npair_coeff * * zero"
    found = []
    for style in (
        f"pair_style hybrid/overlay eam/alloy {zero}\npair_coeff * * eam/alloy {EAM} Ni NULL",
        f"pair_style hybrid/overlay mliap_local device gpu {zero}\n"
        f"pair_coeff * * mliap_local {model('eam')} Ni NULL",
    ):
        found.append(runner.evaluate(crystal("orthogonal", second=0.3), style))
    assert points and found[1].difference(found[0]) < 1e-10


@pytest.mark.parametrize("atoms", [0, 1])
def test_next_to_nothing(runner, model, points, atoms):
    lines = "units metal\nregion b block 0 9 0 9 0 9\ncreate_box 2 b\nmass * 50\n"
    lines += "create_atoms 1 single 1 2 3\n" * atoms
    for style in NATIVE["eam"], on_gpu(model):
        runner.run(lines, style, "thermo_style custom step pe pxx\nrun 1")
        assert runner.lmp.get_thermo("pe") == runner.lmp.get_thermo("pxx") == 0


def test_32bit(runner, model, points):
    """Positions are not rounded, what lies between them is; its rounding is measured before."""
    system, found = crystal("orthogonal").replace("lattice fcc 3.6", "lattice fcc 3.9"), {}
    for device in "cpu", "gpu":
        for name in "neural", "neural32":
            style = f"pair_style mliap_local device {device}\npair_coeff * * {model(name)} Ni H"
            found[device, name] = runner.evaluate(system, style)
    assert found["gpu", "neural"].difference(found["cpu", "neural"]) < 1e-13
    assert found["gpu", "neural32"].difference(found["cpu", "neural32"]) < 1e-6
    assert 0 < found["gpu", "neural32"].difference(found["gpu", "neural"]) < 1e-5
    assert len(points) == 2


def test_threads_do_not_change_a_digit(runner, model, points, monkeypatch):
    from mliap_local.core import padding
    from mliap_local.lammps import bridge

    monkeypatch.setitem(padding.BLOCK_EDGES, "cpu", 100)
    monkeypatch.setattr(padding, "share_rows", lambda *_: 10)
    found = set()
    for threads in "1", "3", "20", "3":
        monkeypatch.setattr(bridge, "_users_nproc", threads)
        runner.run(crystal("orthogonal"), on_gpu(model), "run 3")
        found.add(runner.state().forces.tobytes())
    assert len(found) == 1 and len(points) == 16


def test_a_failing_share_leaves_nothing(runner, model, points, monkeypatch):
    from mliap_local.core import padding

    monkeypatch.setattr(padding, "share_rows", lambda *_: 10)
    system = crystal("orthogonal")
    expected = runner.evaluate(system, on_gpu(model))
    let_third_share_fail(monkeypatch, "point_forces")
    with pytest.raises(Exception, match="the third share"):
        runner.more("run 0")
    runner.more("run 0")
    assert np.array_equal(runner.state().forces, expected.forces)


def test_what_verify_tolerates_is_the_same(runner, model, points):
    """It goes with the squares of all energies."""
    found = []
    for style in ours(model("eam"), "eam", "verify 1"), on_gpu(model, keywords="verify 1"):
        runner.run(crystal("orthogonal", second=0.4), style, "run 1")
        found.append(runner.vector(7)[6])
    assert points and found[0] > 0 and found[1] == pytest.approx(found[0], rel=1e-12)
