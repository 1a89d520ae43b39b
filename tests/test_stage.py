"""The Monte Carlo fixes of this plugin against LAMMPS's own: one seed, one walk.

Each walk is that of the stock fix beside a native pair style, which shares nothing with what it
judges: every count and every energy, step by step.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import nickel, potentials, run_on_ranks

JEA = potentials() / "NiAlH_jea.eam.alloy"
GROUPS = "group gas type 2\ngroup host type 1\n"
NVE = "velocity all create 300 9\nfix md all nve\ntimestep 0.0005\n"
WIDE = "region part sphere 5 5 5 4 units box\n"
FLAT = "region part block 0 10.5 0 10.5 0.3 10.0 units box\n"
ALLOY = """
units metal
atom_modify map array
lattice fcc 3.52
region box block 0 3 0 3 0 3
create_box 3 box
create_atoms 1 box
mass * 1
set group all type/fraction 2 0.3 11
set type 1 type/fraction 3 0.1 12
"""


def masses(elements: str) -> str:
    """pair_style eam/alloy takes them from its file, and the walk of dynamics with it."""
    known = {"Ni": 58.69, "Al": 26.98, "H": 1.008}
    return "".join(f"mass {k} {known[e]}\n" for k, e in enumerate(elements.split(), 1))


def native(elements: str = "Ni H") -> str:
    return f"pair_style eam/alloy\npair_coeff * * {JEA} {elements}\n" + masses(elements)


def ours(path: str, elements: str = "Ni H") -> str:
    return f"pair_style mliap_local\npair_coeff * * {path} {elements}\n" + masses(elements)


def renamed(text: str, more: str = "") -> str:
    """The same input with our fixes, and further words for each of them."""
    return re.sub(
        r"(?m)^(fix \S+ \S+ (?:gcmc|atom/swap|widom))(.*)", rf"\1/mliap_local\2 {more}", text
    )


def walk(runner, folder: Path, *inputs: str, steps: int, fix: str = "g") -> np.ndarray:
    """[step, atoms, energy, vector of the fix] at each step."""
    log = folder / "walk.log"
    length = {"g": 8, "s": 2, "w": 3}[fix]
    vector = " ".join(f"f_{fix}[{k}]" for k in range(1, length + 1))
    runner.run(*inputs)
    runner.more(
        f"thermo_style custom step atoms pe {vector}\nthermo_modify norm no format float %.15g\n"
        f"thermo 1\nlog {log}\nrun {steps}\nlog none"
    )
    return rows(log.read_text())


def rows(log: str) -> np.ndarray:
    """The lines of numbers that thermo wrote."""
    log = re.sub(r"(?m)^WARNING.*\n", "", log)  # the hundredth in a process stands in a table
    found = re.findall(r"(?m)^ +Step .*\n((?:[ \d.eE+-]+\n)+)", log)
    return np.array([line.split() for part in found for line in part.splitlines()], float)


def assert_same(walks: dict[str, np.ndarray]) -> None:
    """Counts are equal, energies to rounding."""
    first = walks["stock"]
    assert len(first) > 2 and len(np.unique(first[:, 2])) > 1
    for name, other in walks.items():
        assert other.shape == first.shape, name
        counts = np.delete(np.arange(first.shape[1]), 2)
        different = np.flatnonzero((first[:, counts] != other[:, counts]).any(axis=1))
        assert not len(different), (name, first[different[0]], other[different[0]])
        np.testing.assert_allclose(other[:, 2], first[:, 2], rtol=1e-9, err_msg=name)


# name -> system, lines with stock fixes, steps; and what each must have seen
GCMC = {
    "gas in a solid": (nickel(hydrogen=5), "fix g gas gcmc 1 20 30 2 4711 1500 -2.0 0.4", 25),
    "rarely accepted": (nickel(hydrogen=5), "fix g gas gcmc 1 60 20 2 4712 600 -2.4 1.5", 15),
    "solid, small steps": (nickel(), "fix g host gcmc 1 0 40 1 12 1500 0 0.04", 15),
    "solid, large steps": (nickel(), "fix g host gcmc 1 0 60 1 13 1500 0 0.6", 15),
    "dynamics": (
        nickel(hydrogen=5),
        NVE + "fix g gas gcmc 3 20 20 2 14 1500 -2.0 0.5 tfac_insert 1.5 mcmoves 1 0 0",
        20,
    ),
    "constant pressure": (
        nickel(hydrogen=5),
        "fix md all npt temp 600 600 0.1 iso 0 0 1\nfix g gas gcmc 2 20 20 2 15 1500 -2.0 0.5",
        20,
    ),
    "region": (nickel(), WIDE + "fix g gas gcmc 1 20 20 2 16 1500 -2.0 0.5 region part", 20),
    "pressure": (
        nickel(), "fix g gas gcmc 1 20 20 2 17 1500 0 0.5 pressure 9e4 fugacity_coeff 0.5", 20
    ),
    "bounds": (nickel(), "fix g gas gcmc 1 40 5 2 18 1500 -2.0 0.5 max 10 min 7", 20),
    "overlap_cutoff": (
        nickel(jitter=0.01), "fix g gas gcmc 1 30 20 2 19 5000 -1 0.5 overlap_cutoff 1.3", 15
    ),
    "groups": (
        nickel(),
        "group one empty\ngroup two empty\ngroup three empty\n"
        "fix g gas gcmc 1 20 20 2 20 1500 -2.0 0.5 group one group two grouptype 2 three "
        "grouptype 1 two",
        20,
    ),
    "small": (nickel("1 1 1", hydrogen=1), "fix g gas gcmc 1 20 20 2 21 3000 -2.0 0.5", 20),
    "triclinic": (
        nickel(tilt="0.4 0.3 -0.2"), "fix g gas gcmc 1 20 20 2 22 1500 -2.0 0.5", 20
    ),
    "small and triclinic": (
        nickel("1 1 2", hydrogen=1, tilt="0.4 0.3 -0.2"),
        "fix g gas gcmc 1 20 20 2 23 3000 -2.0 0.5",
        20,
    ),
    "slab": (
        nickel(boundary="p p f", jitter=0.0),
        FLAT + "fix g gas gcmc 1 20 20 2 24 1500 -2.0 0.5 region part",
        20,
    ),
    "two of them": (
        nickel(),
        "fix g gas gcmc 1 20 20 2 26 1500 -2.0 0.5\nfix other host gcmc 2 5 20 1 27 1500 -4.4 0.3",
        20,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GCMC)
def test_walks_of_gcmc(runner, model, tmp_path, name):
    system, lines, steps = GCMC[name]
    beside = f"model {model('eam')} Ni H check 3"
    walks = {
        "stock": walk(runner, tmp_path, system, native(), GROUPS, lines, steps=steps),
        "beside": walk(
            runner, tmp_path, system, native(), GROUPS, renamed(lines, beside), steps=steps
        ),
        "with": walk(
            runner, tmp_path, system, ours(model("eam")), GROUPS, renamed(lines), steps=steps
        ),
    }
    assert_same(walks)
    moves, moved = walks["stock"][-1, 3:5]
    assert 0 < moved < moves


SWAPS = {
    "swap": "fix s all atom/swap 1 20 31 900 ke yes types 1 2",
    "semi-grand, three types": (
        "fix s all atom/swap 1 20 32 900 ke yes semi-grand yes types 1 2 3 mu 0 0.6 -1.0"
    ),
}


@pytest.mark.parametrize("name", SWAPS)
def test_walks_of_swaps(runner, model, tmp_path, name):
    lines, types = NVE + SWAPS[name], "Ni Al H"
    words = {"fix": "s", "steps": 12}
    beside, with_ours = renamed(lines, f"model {model('eam')} {types} verify 20"), renamed(lines)
    walks = {
        "stock": walk(runner, tmp_path, ALLOY, native(types), lines, **words),
        "beside": walk(runner, tmp_path, ALLOY, native(types), beside, **words),
        "with": walk(runner, tmp_path, ALLOY, ours(model("eam"), types), with_ours, **words),
    }
    assert_same(walks)
    tried, swapped = walks["stock"][-1, 3:5]
    assert 0 < swapped < tried == 240


# Where fix gcmc both moves and inserts on several ranks, LAMMPS takes the wrong atom now and then
# (see docs/fix_mliap_local.md); one that moves and one that inserts do not meet.
IN_TURNS = (
    "fix g gas gcmc 1 0 60 2 41 2000 -2.2 0.6\nfix other gas gcmc 1 30 0 2 42 2000 -2.0 0 max 40"
)
RANKS = {
    "moves": (nickel("4 4 3", hydrogen=20), "fix g gas gcmc 2 0 150 2 43 3000 -2.2 0.6", 20),
    "moves and exchanges": (nickel(hydrogen=5), IN_TURNS, 20),
    "exchanges with dynamics": (
        nickel(hydrogen=5),
        NVE + "fix g gas gcmc 3 40 0 2 44 1500 -2.0 0 tfac_insert 1.5",
        15,
    ),
    "constant pressure": (
        nickel(hydrogen=5),
        "fix md all npt temp 600 600 0.1 iso 0 0 1\nfix g host gcmc 2 0 40 1 45 1500 0 0.5",
        20,
    ),
    "small and triclinic": (
        nickel("1 1 2", hydrogen=3, tilt="0.4 0.3 -0.2"),
        "fix g gas gcmc 1 0 40 2 46 5000 -2.0 0.6",
        20,
    ),
    "slab": (
        nickel(boundary="p p f", jitter=0.0, hydrogen=5),
        FLAT + "fix g gas gcmc 1 0 40 2 47 1500 -2.0 0.3 region part",
        15,
    ),
    "swap": (ALLOY, NVE + SWAPS["swap"], 8),
    "semi-grand": (ALLOY, NVE + SWAPS["semi-grand, three types"], 8),
    "widom": (nickel(hydrogen=5), NVE + "fix w gas widom 1 40 2 33 2000", 2),
}


@pytest.mark.parametrize("ranks", [2, 4])
def test_walks_on_ranks(model, tmp_path, ranks):
    """All walks in one mpiexec: with the stock fix, beside the native pair style, with ours."""
    lines, logs = [], {}
    for name, (system, fixes, steps) in RANKS.items():
        elements = "Ni Al H" if system == ALLOY else "Ni H"
        groups = "" if system == ALLOY else GROUPS
        beside = f"model {model('eam')} {elements} verify 37"
        fix, length = (
            ("s", 2) if "atom/swap" in fixes else ("w", 3) if "widom" in fixes else ("g", 8)
        )
        vector = " ".join(f"f_{fix}[{k}]" for k in range(1, length + 1))
        for kind, start in {
            "stock": native(elements) + groups + fixes,
            "beside": native(elements) + groups + renamed(fixes, beside),
            "with": ours(model("eam"), elements) + groups + renamed(fixes),
        }.items():
            logs[name, kind] = tmp_path / f"log.{len(logs)}"
            lines.append(
                f"clear\n{system}{start}\nthermo_style custom step atoms pe {vector}\n"
                f"thermo_modify norm no format float %.15g\nthermo 1\nlog {logs[name, kind]}\n"
                f"run {steps}\nlog none\n"
            )
    (tmp_path / "in").write_text("".join(lines))
    run_on_ranks(tmp_path, ranks)
    for name in RANKS:
        walks = {kind: rows(logs[name, kind].read_text()) for kind in ("stock", "beside", "with")}
        if name == "widom":
            for kind in ("beside", "with"):
                np.testing.assert_allclose(walks[kind], walks["stock"], rtol=1e-9)
        else:
            assert_same(walks)
            accepted = walks["stock"][-1, 4::2]
            assert accepted.sum() > 0


def test_widom(runner, model, tmp_path):
    lines = "fix w gas widom 1 40 2 33 2000"
    words = {"fix": "w", "steps": 2}
    start = nickel(hydrogen=5), native(), GROUPS + NVE
    stock = walk(runner, tmp_path, *start, lines, **words)
    beside = f"model {model('eam')} Ni H"
    ours_ = walk(runner, tmp_path, *start, renamed(lines, beside), **words)
    assert stock[-1, 4] > 0
    np.testing.assert_allclose(ours_[:, 3:], stock[:, 3:], rtol=1e-9)


@pytest.mark.parametrize("energy", [-2.0, -3.5])
def test_trials_ahead_do_not_change_the_walk(runner, model, tmp_path, energy):
    """Also where hardly any is accepted, so that differences are evaluated ahead, and verified
    again when it is their turn."""
    lines = f"fix g gas gcmc 1 60 20 2 4712 600 {energy} 1.5"
    walks = {"stock": walk(runner, tmp_path, nickel(), native(), GROUPS, lines, steps=12)}
    for ahead in (1, 4, 32):
        words = f"model {model('eam')} Ni H ahead {ahead} verify {1 if ahead == 32 else 0}"
        fix = renamed(lines, words)
        walks[words] = walk(runner, tmp_path, nickel(), native(), GROUPS, fix, steps=12)
    assert_same(walks)


BETWEEN = [
    "run 3",
    "run 3 pre no",
    "run 0",
    "reset_atoms id",
    "change_box all x scale 1.01 remap",
    "change_box all y final 0 10.7",
    "displace_atoms gas random 0.2 0.2 0.2 5",
    "displace_atoms all move 0.3 0 0",
    "set type 2 type/fraction 1 0.2 5\ngroup gas clear\ngroup gas type 2",
    "set atom 20*22 type 2\ngroup gas type 2",
    "group few id 1:3\ndelete_atoms group few compress no\ngroup few delete",
    "atom_modify sort 1 2.0",
    "create_atoms 2 random 3 77 NULL overlap 1.0\ngroup gas type 2",
    "delete_atoms random fraction 0.1 yes all NULL 8\ngroup gas type 2",
    "velocity all create 300 5 loop geom\nfix md all nve\nrun 3\nunfix md",
    "comm_modify cutoff 8.5",
    "neighbor 0.5 bin",
    "fix other host atom/swap 1 10 5 3000 ke no types 1 2\nrun 3\nunfix other",
    "fix other gas gcmc 1 10 0 2 5 3000 -2.2 0\nrun 3\nunfix other",
    "unfix g\nminimize 0 0 3 3\n{fix}",  # LAMMPS's own fix never acts again in the same life
]


def test_commands_between_runs(runner, model, tmp_path):
    """Whatever a command did behind our back, the next stage starts from what is there."""
    lines = "fix g gas gcmc 1 15 15 2 11 5000 -2.1 0.5"
    starts = {
        "stock": (native(), lines),
        "beside": (native(), renamed(lines, f"model {model('eam')} Ni H verify 1")),
        "with": (ours(model("eam")), renamed(lines)),
    }
    walks = {}
    for name, (style, fix) in starts.items():
        found = []
        runner.run(nickel(hydrogen=5), style, GROUPS, fix)
        for text in BETWEEN:
            if name != "stock" and "fix other" in text:
                text = renamed(text, f"model {model('eam')} Ni H" if name == "beside" else "")
            runner.more(text.format(fix=fix) + "\nrun 2")
            counts = [runner.lmp.extract_fix("g", 0, 1, k) for k in range(6)]
            found.append(
                [len(found), runner.lmp.get_natoms(), runner.lmp.get_thermo("pe"), *counts]
            )
        walks[name] = np.array(found)
    assert_same(walks)
    assert walks["stock"][:-1, 4].max() > 50


def test_another_model_and_another_fix(runner, model, tmp_path):
    """pair_coeff and fix lines given again, for another potential."""
    lines = "fix g gas gcmc 1 15 15 2 {} 5000 -2.1 0.5"
    fs = potentials() / "NiAlH_jea.eam.fs"
    second = f"pair_style eam/fs\npair_coeff * * {fs} Ni H\n" + masses("Ni H")
    changes = {
        "stock": (native(), "", second, ""),
        "beside": (native(), f"model {model('eam')} Ni H", second, f"model {model('fs')} Ni H"),
        "with": (ours(model("eam")), "", f"pair_coeff * * {model('fs')} Ni H", ""),
    }
    walks = {}
    for name, (style, words, again, other_words) in changes.items():
        rename = (lambda text, words: text) if name == "stock" else renamed
        runner.run(nickel(hydrogen=5), style, GROUPS, rename(lines.format(11), words), "run 3")
        one = runner.lmp.get_natoms(), runner.lmp.get_thermo("pe")
        runner.more(f"unfix g\n{again}\n" + rename(lines.format(12), other_words) + "\nrun 3")
        two = runner.lmp.get_natoms(), runner.lmp.get_thermo("pe")
        walks[name] = one, two
    assert walks["stock"][0] != walks["stock"][1]
    for name in ("beside", "with"):
        np.testing.assert_allclose(walks[name], walks["stock"], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("system", "lines", "length"),
    [
        (nickel(hydrogen=5), "fix g gas gcmc 1 20 20 2 71 3000 -2.1 0.5 tfac_insert 2", 8),
        (ALLOY, "fix s all atom/swap 1 20 32 900 ke yes semi-grand yes types 1 2 3 mu 0 0.6 -1", 2),
    ],
)
def test_restart(runner, model, tmp_path, system, lines, length):
    """A walk of the stock fix goes on with ours, and the other way round."""
    elements, name = ("Ni H", "g") if length == 8 else ("Ni Al H", "s")
    groups = GROUPS if length == 8 else ""
    start = {
        "stock": (native(elements), "suffix off\n" + lines),
        "ours": (ours(model("eam"), elements), "suffix mliap_local\n" + lines),
    }
    ends = {}
    try:
        for first in start:
            for second in start:
                (style, fix), (style_then, fix_then) = start[first], start[second]
                runner.run(system, style, groups, NVE, fix, f"run 8\nwrite_restart {tmp_path}/r")
                runner.more(f"clear\nread_restart {tmp_path}/r")
                runner.more(style_then + "fix md all nve\n" + fix_then + "\nrun 8")
                counts = [runner.lmp.extract_fix(name, 0, 1, k) for k in range(length)]
                ends[first, second] = [
                    runner.lmp.get_natoms(),
                    runner.lmp.get_thermo("pe"),
                    *counts,
                ]
    finally:
        runner.more("suffix off")
    for pair, end in ends.items():
        np.testing.assert_allclose(end, ends["stock", "stock"], rtol=1e-9, err_msg=str(pair))
    assert ends["stock", "stock"][3] > 0


def test_restart_of_widom(runner, model, tmp_path):
    """It goes on as if nothing had been; LAMMPS's own never acts again."""
    fix = f"fix w gas widom/mliap_local 3 20 2 33 2000 model {model('eam')} Ni H"
    found = []
    runner.run(nickel(hydrogen=5), native(), GROUPS, fix, f"run 4\nwrite_restart {tmp_path}/r")
    for again in "", f"clear\nread_restart {tmp_path}/r\n{native()}\n{fix}":
        runner.more(f"{again}\nrun 5")
        found.append([runner.lmp.extract_fix("w", 0, 1, k) for k in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-9) and found[0][1] > 0


def test_suffix(runner, model, tmp_path):
    """An input is switched over without an edit, pair_style mliap_local itself left alone."""
    lines = GCMC["gas in a solid"][1]
    system = nickel(hydrogen=5)
    walks = {"stock": walk(runner, tmp_path, system, native(), GROUPS, lines, steps=10)}
    start = system, ours(model("eam")), GROUPS
    try:
        walks["suffix"] = walk(runner, tmp_path, *start, "suffix mliap_local", lines, steps=10)
        with pytest.raises(
            Exception, match=r"Fix gcmc/mliap_local .* use fix gcmc with suffix off"
        ):
            runner.more("fix x all gcmc 1 1 1 2 1 600 -2 0.5 mol x")
    finally:
        runner.more("suffix off")
    assert_same(walks)
    assert "fix g gcmc/mliap_local: " in (tmp_path / "walk.log").read_text()


def test_nothing_is_evaluated_again(runner, model, tmp_path):
    """Where only trials move atoms, the rows of one stage are those of the next."""
    lines = renamed("fix g gas gcmc 1 5 5 2 7 1500 -2.0 0.4", f"model {model('eam')} Ni H check 0")
    walk(runner, tmp_path, nickel(hydrogen=5), native(), GROUPS, lines, steps=40)
    found = re.search(r"(\d+) updates, (\d+) rows evaluated", (tmp_path / "walk.log").read_text())
    updates, filled = map(int, found.groups())
    assert updates > 200 and 50 < filled <= 108


def test_variance_constrained_ensemble(runner, model, tmp_path):
    """All 2^8 states of a small crystal, weighted by native energies, and the mean of a walk."""
    temperature, kappa, target, mu = 5000.0, 0.6, 0.4, 1.1
    boltzmann = 8.617333262e-5
    cell = "units metal\natom_modify map array\nlattice fcc 3.6\nregion box block 0 1 0 1 0 2\n"
    cell += "create_box 2 box\ncreate_atoms 1 box\ndisplace_atoms all random 0.1 0.1 0.1 5\n"
    runner.run(cell, native("Ni Al"), "thermo 0\nrun 0")
    weights = np.zeros(9)
    for state in range(256):
        ones = [k for k in range(8) if state >> k & 1]
        runner.more("set group all type 1\n" + "".join(f"set atom {k + 1} type 2\n" for k in ones))
        runner.more("run 0 post no")
        energy = runner.lmp.get_thermo("pe") - mu * len(ones)
        excess = len(ones) - target * 8
        # both types are constrained: N_1 - c_1 N = -(N_2 - c_2 N)
        weights[len(ones)] += np.exp(-energy / boltzmann / temperature - kappa / 8 * 2 * excess**2)
    expected = weights / weights.sum()
    fix = f"fix s all atom/swap/mliap_local 1 50 77 {temperature} ke no semi-grand yes types 1 2 "
    fix += f"mu 0 {mu} variance {kappa} {target} model {model('eam')} Ni Al check 0"
    runner.run(cell, native("Ni Al"), fix, "thermo 1\nthermo_style custom step f_s[4]")
    runner.more(f"log {tmp_path}/log\nrun 1000\nlog none")
    seen = rows((tmp_path / "log").read_text())[20:, 1] * 8
    observed = np.array([(np.abs(seen - n) < 0.01).mean() for n in range(9)])
    blocks = np.array(
        [[(np.abs(b - n) < 0.01).mean() for n in range(9)] for b in np.array_split(seen, 20)]
    )
    error = blocks.std(axis=0, ddof=1) / np.sqrt(20)
    assert expected.max() < 0.8
    assert (np.abs(observed - expected) < 4 * error + 2e-3).all(), (observed, expected)


def test_variance_constrained_as_fix_sgcmc(runner, model, tmp_path):
    """The mean composition is that of LAMMPS's own fix sgcmc, whose mu has the other sign."""
    cell = "units metal\natom_modify map array\nlattice fcc 3.6\nregion box block 0 7 0 7 0 7\n"
    cell += "create_box 2 box\ncreate_atoms 1 box\nset group all type/ratio 2 0.35 77\n"
    stock = "fix s all sgcmc 1 1.0 3000 -0.3 variance 10 0.4"
    ours = "fix s all atom/swap/mliap_local 1 1372 77 3000 ke no semi-grand yes types 1 2 mu 0 0.3 "
    ours += f"variance 10 0.4 model {model('eam')} Ni Al check 0"
    found = []
    for fix, steps in ((stock, 400), (ours, 40)):
        runner.run(cell, native("Ni Al"), fix, "thermo 1\nthermo_style custom step f_s[4]")
        runner.more(f"log {tmp_path}/log\nrun {steps}\nlog none")
        seen = rows((tmp_path / "log").read_text())[5:, 1]
        means = np.array([block.mean() for block in np.array_split(seen, 7)])
        found.append((seen.mean(), means.std(ddof=1) / np.sqrt(7)))
    (stock_mean, stock_error), (mean, error) = found
    assert abs(mean - stock_mean) < 4 * np.hypot(error, stock_error) < 0.01, found
    assert 0.34 < mean < 0.37  # without the constraint it is 0.28


G = "fix g gas gcmc/mliap_local 1 5 5 2 1 600 -2 0.5 "
S = "fix s all atom/swap/mliap_local 1 5 1 600 "
W = "fix w gas widom/mliap_local 1 5 2 1 600 "
M = "model {eam} Ni H "
ERRORS = {
    "no model": (G, "needs a model of the same energies"),
    "molecules": (G + "mol x", "use fix gcmc with suffix off"),
    "molecules, widom": (W + "mol x", "use fix widom with suffix off"),
    "moves of molecules": (G + "mcmoves 1 1 0", "mcmoves with moves of molecules"),
    "unknown keyword": (G + "colour red", "known are mcmoves"),
    "unknown keyword, swap": (S + "types 1 2 colour red", "known are ke"),
    "unknown keyword, widom": (W + "colour red", "known are region"),
    "no value": (G + "region", "region command: missing argument"),
    "few words": ("fix g gas gcmc/mliap_local 1 5", "missing argument"),
    "few words, swap": ("fix s all atom/swap/mliap_local 1 5", "missing argument"),
    "few words, widom": ("fix w gas widom/mliap_local 1 5", "missing argument"),
    "few elements": (G + "model {eam} Ni", "expected a file and 2 elements"),
    "numbers": (G.replace("600", "-600"), "expected N > 0"),
    "numbers, swap": (S.replace("600", "0") + "types 1 2", "expected N > 0"),
    "numbers, widom": (W.replace("600", "0"), "expected N > 0"),
    "ahead": (G + M + "ahead 0", "expected K >= 1"),
    "check": (G + M + "check -1", "expected N >= 0"),
    "tolerance": (G + M + "check 1 -1", "expected a tolerance > 0"),
    "tolerance of verify": (G + M + "verify 1 0.0", "verify: expected a tolerance > 0"),
    "refresh": (G + M + "refresh 0", "expected a number of accepted trials >= 1, got 0"),
    "order of elements": (G + "model {eam} H Ni", "elements in the order of the types"),
    "another potential": (G + "model {lj} Ar NULL", "units"),
    "no element": (G + "model {eam} NULL NULL", "got NULL for all"),
    "gas without an element": (G + "model {eam} Ni NULL", "NULL in its model"),
    "swap without an element": (S + "model {eam} Ni NULL types 1 2", "NULL in its model"),
    "widom without an element": (W + "model {eam} Ni NULL", "has an element in its model"),
    "gas type": (G.replace(" 2 1 600", " 3 1 600") + M, "expected an atom type from 1 to 2"),
    "swap types": (S + M + "types 1 3", "expected atom types from 1 to 2"),
    "one type": (S + M + "types 1", "at least two atom types"),
    "few mu": (S + M + "semi-grand yes types 1 2 mu 0", "a chemical potential for each"),
    "mu of swaps": (S + M + "types 1 2 mu 0 1", "expected two types and no mu"),
    "variance of swaps": (S + "types 1 2 variance 1 0.5", "semi-grand yes"),
    "group": (G + M + "group nobody", "expected the ID of a group, got nobody"),
    "region": (G + M + "region nowhere", "expected the ID of a region, got nowhere"),
    "region, swap": (S + M + "types 1 2 region nowhere", "the ID of a region, got nowhere"),
    "region outside": (
        "region far sphere 9 9 9 5 units box\n" + G + M + "region far",
        "inside of the simulation box",
    ),
    "region without a box": (
        "region out sphere 5 5 5 4 side out units box\n" + G + M + "region out", "a bounding box"
    ),
    "moving region": (
        "variable v equal 0\nregion m sphere 5 5 5 2 units box move v_v NULL NULL\n"
        + G + M + "region m",
        "does not move",
    ),
    "respa": ("run_style respa 2 2\n" + G + M, "expected run_style verlet, got respa"),
    "multi": ("neighbor 2 multi\ncomm_modify mode multi\n" + G + M, "comm_modify mode single"),
    "include": (
        "atom_modify first gas\nneigh_modify include gas\n" + G + M, "neigh_modify include all"
    ),
    "first": ("atom_modify first gas\n" + G + M, "cannot keep atoms of atom_modify first gas"),
    "tail": ("pair_modify tail yes\n" + G + M, "use pair_modify tail no"),
    "other energy": (
        "fix e all spring/self 1\nfix_modify e energy yes\n" + G + M, "fix_modify e energy no"
    ),
    "no pair style": ("pair_style none\n" + G + M, "got no pair style"),
    "short ghosts": (
        "pair_style zero 3\npair_coeff * *\ncomm_modify cutoff 4\n" + G + M + "check 0",
        "use comm_modify cutoff 5.65",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(runner, model, name):
    lines, words = ERRORS[name]
    text = lines.format(eam=model("eam"), lj=model("lj"))
    with pytest.raises(Exception, match=words):
        runner.run(nickel(hydrogen=5), native(), GROUPS, text + "\nrun 0")


def test_a_move_out_of_the_box(runner, model):
    """Only one that is made: what is planned ahead and never tried ends no run."""
    system = nickel(boundary="p p f", jitter=0.0, hydrogen=5)
    words = f"fix g gas gcmc/mliap_local 1 0 200 2 5 900 -2 0.9 model {model('eam')} Ni H"
    with pytest.raises(Exception, match=r"out of the box.*use a region"):
        runner.run(system, native(), GROUPS, words + "\nrun 20")


def test_a_change_of_the_difference(runner, model):
    """The pair style that changes under the fix is found at the next check."""
    runner.run(
        nickel(hydrogen=5), native(), GROUPS, G.format() + f"model {model('eam')} Ni H check 2"
    )
    runner.more("run 4")
    runner.more("pair_style hybrid/overlay eam/alloy zero 4.0\n")
    runner.more(f"pair_coeff * * eam/alloy {JEA} Al H\npair_coeff * * zero")
    with pytest.raises(Exception, match="expected the model's energy to be that of"):
        runner.more("run 4")
