"""Setup after setup, often at one time step: lists must be as new as box, positions and ranks.

One table of commands between evaluations, each in several boxes; the native style is the oracle for
every evaluation. What LAMMPS remembers by time step (stencils, bins, lists) has once been mistaken
for a state here, silently, and `verify` could not see it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import nickel, potentials, run_on_ranks

JEA = potentials() / "NiAlH_jea.eam.alloy"
NATIVE = f"pair_style eam/alloy\npair_coeff * * {JEA} Ni H\n"
OURS = "pair_style mliap_local verify 1\npair_coeff * * @eam Ni H\n"
# eam/alloy takes masses from its file
SETTINGS = "mass 1 58.69\nmass 2 1.008\nneighbor 0.5 bin\nthermo_style custom step pe press\n"
SEE = "step pe pxx pyy pzz pxy pxz pyz lx ly lz"
SHOW = f'run 0\nprint "{" ".join(f"$({word}:%.15g)" for word in SEE.split())}" append @out\n'

BOXES = {
    "orthogonal": nickel("4 4 4"),
    "triclinic": nickel("4 4 4", tilt="1 0.5 -0.7"),
    "self_images": nickel("1 2 3", hydrogen=2),
    "slab": nickel("4 4 3", boundary="p p m"),
    "shrink_wrapped": nickel("4 3 4", boundary="p s m"),
}
GROW = "change_box all x scale 1.1 y scale 1.05 remap\n"
SHRINK = "change_box all x scale 0.8 z scale 0.9 remap\n"
# draws from the coordinates' last bits, which dynamics leaves different
SHAKE = "displace_atoms all random 0.3 0.3 0.3 {}\n"
SHEAR = "displace_atoms all ramp x 0 2.0 y 0 10 units box\n"

# name -> what happens before each evaluation
BETWEEN = {
    "box": [GROW] * 5 + [SHRINK] * 3,
    "positions": [SHAKE.format(seed) for seed in (11, 12, 13)]
    + ["group half id <> 1 40\ndisplace_atoms half move 2.1 0.3 0\n"],
    "atoms": [
        "delete_atoms group gone compress no\n",
        "create_atoms 2 random 5 77 NULL overlap 1.0\n",
        GROW,
        "set group all type/fraction 2 0.3 991\n",
        "replicate 2 1 1\n",
        GROW,
    ],
    "steps": [
        "run 3\n" + GROW + "reset_timestep 0\n",
        GROW,
        "run 2\n" + SHEAR + "reset_timestep 3\n",
        "run 3 post no\nrun 2 pre no\n",
        GROW + "reset_timestep 1\n",
    ],
    "minimize": [
        "minimize 0 0 5 50\nreset_timestep 0\n",
        GROW + "minimize 0 0 5 50\nreset_timestep 0\n",
        SHEAR + "minimize 0 0 2 50\n",
    ],
    "settings": ["neighbor 1.5 bin\n", GROW, "neighbor 0.1 nsq\n", GROW, "neighbor 0.4 bin\n"],
}
# shrink-wrapped boxes follow their atoms, and where the box is small few atoms are left
LEFT_OUT = {("atoms", "self_images"), ("box", "shrink_wrapped"), ("atoms", "shrink_wrapped")}


def states(path: Path) -> np.ndarray:
    return np.loadtxt(path, ndmin=2)


def assert_same(ours: np.ndarray, native: np.ndarray, least: int) -> None:
    """All columns to rounding, and the states are really different ones."""
    assert len(ours) == len(native) >= least
    assert len(np.unique(native[:, 1])) >= least
    scale = np.abs(native).max(axis=0)
    scale[2:8] = scale[2:8].max()  # components of one pressure
    different = np.abs(ours - native) > 1e-9 * scale
    assert not different.any(), (ours[different.any(axis=1)], native[different.any(axis=1)])


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("commands", BETWEEN)
def test_every_setup_is_like_native(runner, model, tmp_path, commands, box):
    if (commands, box) in LEFT_OUT:
        pytest.skip("no such state")
    for name, style in (("native", NATIVE), ("ours", OURS)):
        style = style.replace("@eam", model("eam"))
        show = SHOW.replace("@out", str(tmp_path / name))
        dynamics = "group gone id 5 9 13\nfix md all nve\ntimestep 0.001\n"
        runner.run(BOXES[box], style, SETTINGS, dynamics, show)
        for between in BETWEEN[commands]:  # a loop in Python is what a user has
            runner.more(between + show)
    same = states(tmp_path / "ours"), states(tmp_path / "native")
    assert_same(*same, least=1 + len(BETWEEN[commands]) // 2)


def test_rerun_of_boxes_that_change_within_a_step(runner, model, tmp_path):
    """Each rerun of the same frames begins at the same step, with another box."""
    write = "".join(
        f"{GROW}run 0\nreset_timestep {step}\n"
        f"write_dump all custom {tmp_path}/frames id type x y z modify append {append}\n"
        for step, append in ((10, "no"), (20, "yes"), (30, "yes"))
    )
    runner.run(BOXES["orthogonal"], NATIVE, SETTINGS, write)
    for name, style in (("native", NATIVE), ("ours", OURS)):
        style = style.replace("@eam", model("eam"))
        show = SHOW.replace("@out", str(tmp_path / name)).replace("run 0\n", "")
        again = f"rerun {tmp_path}/frames first {{}} last {{}} dump x y z box yes\n" + show
        text = "".join(again.format(first, last) for first, last in ((10, 10), (10, 30), (30, 30)))
        runner.run(BOXES["orthogonal"], style, SETTINGS, text)
        runner.more(text)  # and once more, backwards in time
    assert_same(states(tmp_path / "ours"), states(tmp_path / "native"), least=2)


def test_parts_of_ranks_that_change_within_a_step(model, tmp_path):
    """balance, on three ranks: the bins of each rank are others, and the step is the same."""
    move = "displace_atoms all move 3.1 0 0\n"
    between = [
        "balance 1.0 shift x 10 1.001\n",
        GROW,
        "comm_style tiled\nbalance 1.0 rcb\n",
        SHAKE.format(3) + "balance 1.0 rcb\n",
        move + "balance 1.0 rcb\n",
    ]
    text = ""
    for name, style in (("native", NATIVE), ("ours", OURS)):
        style = style.replace("@eam", model("eam"))
        show = SHOW.replace("@out", str(tmp_path / name))
        gas = "region left block INF 4 INF INF INF INF units box\ngroup left region left\n"
        thin = gas + "delete_atoms random fraction 0.7 yes left NULL 4\n"  # so that parts move
        start = "clear\nprocessors 3 1 1\n" + BOXES["orthogonal"] + thin + style + SETTINGS
        text += start + show + "".join(commands + show for commands in between)
    (tmp_path / "in").write_text(text)
    assert "iteration count" in run_on_ranks(tmp_path, 3)  # parts did move
    assert_same(states(tmp_path / "ours"), states(tmp_path / "native"), least=3)


def test_verify_sees_a_list_that_is_too_old(runner, model):
    """Here by the user's own word. The list of LAMMPS and a search over all atoms must agree."""
    hot = "velocity all create 9000 4\nfix md all nve\ntimestep 0.002\n"
    runner.run(BOXES["orthogonal"], OURS.replace("@eam", model("eam")), SETTINGS, hot)
    runner.more("thermo 100\nneighbor 0.1 bin\nrun 40")
    runner.more("neigh_modify delay 0 every 1000 check no")
    with pytest.raises(Exception, match=r"a search over all atoms .* the list is too old"):
        runner.more("run 60")


def test_atoms_become_ours_without_a_setup(runner, model):
    """The list of a sub-style of hybrid holds the atoms that it had: types may change within a run.

    `verify 1` is the oracle: LAMMPS's own styles keep their old lists.
    """
    hybrid = (
        "pair_style hybrid mliap_local verify 1 lj/cut 3.0\n"
        f"pair_coeff * * mliap_local {model('eam')} Ni NULL\n"
        "pair_coeff 1*2 2 lj/cut 0.02 2.2\n"
    )
    runner.run(BOXES["orthogonal"], hybrid, SETTINGS, "variable ours equal c_ours\n")
    runner.more("compute ours all pair mliap_local epair\nthermo_style custom step c_ours pe")
    runner.more("run 0")
    before = runner.lmp.extract_compute("ours", 0, 0)
    runner.more('run 2 pre no every 1 "set atom 1*4 type 1"')
    assert runner.lmp.extract_compute("ours", 0, 0) < before - 4.0
    assert runner.vector(7)[3] < 1e-9
