"""Every Monte Carlo fix of LAMMPS against full evaluations, and the same walks as native styles.

`verify 1` compares the energy of every trial with a full evaluation and stops at a difference, so
a stage that ends has been checked trial by trial; what is asserted here is that the trials were
incremental, that both verdicts occurred, and how large the differences were.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import DIMER, nickel, potentials, run_on_ranks

from mliap_local import read_model

COUNTERS = ("full", "incremental", "forces", "drift", "compilations", "overlaps")
HOT = 5000  # Kelvin: the energies of the random model are of that order
GROUPS = "group gas type 2\ngroup host type 1\nthermo 1000\n"


def style(path: str, words: str = "verify 1", elements: str = "Ni H") -> str:
    return f"pair_style mliap_local {words}\npair_coeff * * {path} {elements}\n"


def outcome(runner, fix: str) -> tuple[float, float]:
    """Attempts and successes of a fix gcmc or a swap."""
    vector = [runner.lmp.extract_fix(fix, 0, 1, k) for k in range(8 if fix == "g" else 2)]
    return sum(vector[::2]), sum(vector[1::2])


def counted(runner, *inputs: str) -> dict[str, float]:
    """What the counters gained while these lines ran; the drift is the largest so far."""
    before = runner.vector()
    for text in inputs:
        runner.more(text)
    after = runner.vector()
    gained = dict(zip(COUNTERS, np.subtract(after, before), strict=True))
    return gained | {"drift": after[3]}


def assert_incremental(gained: dict[str, float], at_least: float) -> None:
    """Most trials were incremental; under `verify 1` each of them was a full evaluation too, and so
    was each evaluation with forces."""
    assert gained["incremental"] >= at_least, gained
    others = gained["full"] - gained["incremental"] - gained["forces"]
    assert others <= 0.1 * gained["incremental"], gained
    assert gained["drift"] < 1e-9, gained


def both(runner, fix: str) -> None:
    attempts, successes = outcome(runner, fix)
    assert 0 < successes < attempts


BULK = {
    "gcmc": f"fix g gas gcmc 1 20 20 2 11 {HOT} -1.9 0.5",
    "gcmc region": "region part sphere 5 5 5 4 units box\n"
    f"fix g gas gcmc 1 20 20 2 12 {HOT} -2.1 0.5 region part",
    "two gcmc": f"fix g gas gcmc 1 20 20 2 14 {HOT} -2.1 0.5\n"
    f"fix other host gcmc 1 5 5 1 15 {HOT} -2.1 0.5",
    "gcmc before MD": f"fix g gas gcmc 2 20 20 2 11 {HOT} -2.1 0.5\n"
    "fix md all nvt temp 300 300 0.1",
    "gcmc after MD": "fix md all npt temp 300 300 0.1 iso 0 0 1\n"
    f"fix g gas gcmc 2 20 20 2 11 {HOT} -2.1 0.5",
    "widom": f"fix w gas widom 1 40 2 16 {HOT}",
    "atom/swap": f"fix s all atom/swap 1 40 17 {HOT} ke no types 1 2",
    "semi-grand": f"fix s all atom/swap 1 40 18 {HOT} ke no types 1 2 semi-grand yes mu 0 1",
    "neighbor/swap": "compute v all voronoi/atom neighbors yes\n"
    f"fix s all neighbor/swap 1 40 19 {HOT} 3.0 v ke no diff 2",
}
ELSEWHERE = {
    "triclinic": (nickel(tilt="0.4 0.3 -0.2"), f"fix g gas gcmc 1 20 20 2 11 {HOT} -2.1 0.5"),
    "slab": (
        nickel(boundary="p p f", jitter=0.0),
        "region part block 0 10.5 0 10.5 0.1 10.4 units box\n"
        f"fix g gas gcmc 1 20 20 2 11 {HOT} -2.1 0.5 region part",
    ),
    "smaller than the cutoff": (
        nickel("1 1 1", hydrogen=1), f"fix g gas gcmc 1 20 20 2 11 {HOT} -4.0 0.5"
    ),
}  # fmt: skip


def stage(runner, name: str, text: str) -> None:
    """One stage of Monte Carlo on top of whatever is there, then nothing of it is left."""
    fixes = [line.split()[1] for line in text.splitlines() if line.startswith("fix")]
    gained = counted(runner, text, "run 8")
    try:
        # neighbor/swap asks for no energy where it swaps two atoms of one type
        assert_incremental(gained, 50 if name == "neighbor/swap" else 80)
        for fix in set(fixes) & {"g", "s"}:
            both(runner, fix)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
    runner.more("\n".join(f"unfix {fix}" for fix in fixes))
    if "region part" in text:
        runner.more("region part delete")
    if "compute v" in text:
        runner.more("uncompute v")


def test_stages_in_one_bulk_system(runner, model):
    """One system, one fix after another: each finds what the one before left behind."""
    runner.run(nickel(), style(model("neural")), GROUPS, "timestep 0.0002")
    for name, text in BULK.items():
        stage(runner, name, text)
    assert runner.vector()[4] < 80  # compilations of ten stages and 100 to 300 atoms


@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_boxes(runner, model, name):
    system, text = ELSEWHERE[name]
    runner.run(system, style(model("neural")), GROUPS)
    stage(runner, name, text)


def test_fix_defined_before_the_pair_style(runner, model):
    runner.run(
        nickel(), GROUPS, f"fix g gas gcmc 1 20 20 2 11 {HOT} -2.1 0.5", style(model("neural"))
    )
    assert_incremental(counted(runner, "run 5"), 80)
    both(runner, "g")


def test_guarded_walk_is_the_native_one(runner, model):
    """Where a native style would never accept an overlap, guarding against it changes nothing: an
    answer that fix gcmc takes for an overlap of its own would draw no random number."""
    gas = """
units lj
region box block 0 5 0 5 0 5
create_box 1 box
mass 1 1.0
{style}
fix g all gcmc 1 40 40 1 29494 2.0 -1.25 1.0 full_energy
thermo_style custom step atoms pe f_g[1] f_g[2] f_g[3] f_g[4] f_g[5] f_g[6]
thermo 1
run 12
"""
    walks = []
    for lines in (
        "pair_style lj/cut 3.0\npair_coeff * * 1 1",
        style(model("lj"), "overlap 0.75", "Ar"),
    ):
        runner.run(gas.format(style=lines))
        counts = [runner.lmp.get_thermo("pe"), runner.lmp.get_natoms()]
        walks.append(counts + [runner.lmp.extract_fix("g", 0, 1, k) for k in range(6)])
        both(runner, "g")
    assert walks[1] == pytest.approx(walks[0], rel=1e-10)
    assert runner.vector()[5] > 200  # trials that the guard answered


def test_overlap_guards(runner, model):
    """Both guards refuse trials; ours asks no model, and what passes is verified."""
    for words, fix in (("overlap 1.2 verify 1", ""), ("verify 1", "overlap_cutoff 1.2")):
        runner.run(nickel(jitter=0.01), style(model("neural"), words), GROUPS)
        gained = counted(
            runner,
            f"fix g gas gcmc 1 40 40 2 11 {HOT} -1 0.3 overlap_cutoff 0.1".replace(
                "overlap_cutoff 0.1", fix
            ),
            "run 5",
        )
        both(runner, "g")
        assert gained["incremental"] > 50
        assert (gained["overlaps"] > 50) == bool(not fix)


def test_commands_between_runs(runner, model, tmp_path):
    """Whatever a command did behind our back, the next trial starts from what is there."""
    dump = tmp_path / "dump"
    between = [
        "run 5",
        "run 5 pre no",
        "reset_atoms id",
        "change_box all x scale 1.01 remap",
        "change_box all y final 0 10.7",
        "displace_atoms gas random 0.2 0.2 0.2 5",
        f"unfix g\nwrite_dump all custom {dump} id type x y z modify sort id\n"
        f"displace_atoms all random 0.1 0.1 0.1 6\nread_dump {dump} $(step) x y z box no add keep\n"
        "fix g gas gcmc 1 10 10 2 98 5000 -2.1 0.5",
        "group few id 1:3\ndelete_atoms group few compress no\ngroup few delete",
        "set type 2 type/fraction 1 0.2 5\ngroup gas clear\ngroup gas type 2",
        "set atom 20*22 type 2\ngroup gas type 2",
        "atom_modify sort 1 2.0",
        "create_atoms 2 random 3 77 NULL overlap 1.0\ngroup gas type 2",
        "delete_atoms random fraction 0.1 yes all NULL 8\ngroup gas type 2",
        "write_data " + str(tmp_path / "data"),
        "velocity all create 300 5 loop geom\nfix md all nve\nrun 3\nunfix md",
        "unfix g\nfix g gas gcmc 1 10 10 2 99 5000 -2.1 0.5",
        "pair_coeff * * " + model("neural") + " Ni H",
        "neigh_modify delay 5 every 1 check yes",
        "unfix g\nminimize 0 0 3 3\nfix g gas gcmc 1 10 10 2 97 5000 -2.1 0.5",
    ]
    runner.run(nickel(), style(model("neural")), GROUPS)
    runner.more("fix g gas gcmc 1 10 10 2 11 5000 -2.1 0.5\nrun 2")
    accepted = 0
    for text in between:
        gained = counted(runner, text, "run 2")
        assert gained["incremental"] >= 30, (text, gained)
        assert gained["drift"] < 1e-9, (text, gained)
        accepted += outcome(runner, "g")[1]
    energy = runner.lmp.get_thermo("pe")
    runner.more("unfix g\npair_style none\n" + style(model("neural"), "cache no") + "run 0")
    assert runner.lmp.get_thermo("pe") == pytest.approx(energy, rel=1e-12)
    assert accepted > 100


@pytest.mark.parametrize("seed", range(3))
def test_random_commands_between_trials(runner, model, seed):
    """Random lines between trials; types that are NULL, and a gas that vanishes, included."""
    draw = np.random.default_rng(seed)
    system = nickel("2 2 2", hydrogen=6, tilt="0.3 0.1 0.2" if seed == 1 else "")
    system = system.replace("create_box 2", "create_box 3") + "mass 3 1\n"
    lines = [
        "displace_atoms all random {a} {a} {a} {s}",
        "displace_atoms one move {a} 0 {a}",
        "displace_atoms all move {a} {a} 0",
        "set group one type {t}",
        "set type 3 type 2",
        "set type/fraction",
        "set group all type/fraction 3 0.2 {s}",
        "delete_atoms group one compress yes",
        "delete_atoms group gas compress no",
        "create_atoms {t} random 2 {s} NULL",
        "create_atoms {t} single 0 0 0",
        "change_box all x scale 1.002 remap",
        "change_box all z scale 1.002",
        "reset_atoms id",
        "run 0",
        "atom_modify sort {t} 1.5",
        "neighbor 0.{t} bin",
        "comm_modify cutoff {c}",
    ]
    hybrid = "pair_style hybrid/overlay mliap_local {words} zero 4.0\npair_coeff * * zero\n"
    hybrid += f"pair_coeff * * mliap_local {model('neural')} Ni H NULL\n"
    runner.run(system, hybrid.format(words="verify 1"), GROUPS, "group one empty")
    trials = f"fix g gas gcmc 1 6 6 2 {{s}} {HOT} {{mu}} 0.5\n"
    trials += f"fix s all atom/swap 1 4 {{s}} {HOT} ke no types 1 2"
    accepted = attempted = 0
    for _ in range(25):
        number = int(draw.integers(1, 10**6))
        runner.more("variable n equal count(all)\ngroup one clear\ngroup one id 1 5 9")
        for text in draw.choice(lines, size=draw.integers(1, 4)):
            if text == "set type/fraction":
                continue
            runner.more(
                text.format(
                    a=draw.choice([0.0, 1e-13, 0.01, 1.76]),
                    s=number,
                    t=draw.integers(1, 4),
                    c=draw.choice([6.0, 7.5]),
                )
            )
        runner.more("group gas clear\ngroup gas type 2\nset atom 2 type 1\nset atom 3 type 3")
        runner.more(trials.format(s=number, mu=draw.choice([-4.0, -2.0, -1.0])) + "\nrun 2")
        for fix in "gs":
            attempts, successes = outcome(runner, fix)
            attempted, accepted = attempted + attempts, accepted + successes
            runner.more(f"unfix {fix}")
        energy = runner.lmp.get_thermo("pe")
    full, incremental, _, drift, _, _ = runner.vector()
    assert incremental > 500 and full < 1.2 * incremental and drift < 1e-9
    assert 0 < accepted < attempted
    runner.more("pair_style none\n" + hybrid.format(words="cache no") + "run 0")
    assert runner.lmp.get_thermo("pe") == pytest.approx(energy, rel=1e-10)


def test_empty_box(runner, model):
    """No atom at all, then some, then none again."""
    box = (
        "units metal\nregion box block 0 9 0 9 0 9\ncreate_box 2 box\nmass * 1\ngroup gas type 2\n"
    )
    runner.run(box, style(model("neural")), "thermo 1000")
    counts = []
    for seed, mu in ((3, -1.0), (4, -9.0)):
        runner.more(f"fix g gas gcmc 1 50 20 2 {seed} {HOT} {mu} 0.5")
        gained = counted(runner, "run 5")
        assert gained["incremental"] > 50 and gained["drift"] < 1e-9
        counts.append(runner.lmp.get_natoms())
        runner.more("unfix g")
    assert counts[0] > 5 and counts[1] == 0


def test_molecules(runner, model, tmp_path):
    """gcmc and widom of molecules in a host."""
    (tmp_path / "dimer").write_text(DIMER)
    (tmp_path / "other").write_text(DIMER.replace("1 2\n2 2", "1 3\n2 3"))
    system = nickel("4 3 3", hydrogen=1).replace("create_box 2 box", "create_box 3 box")
    system = system.replace("atom_style atomic", "atom_style molecular")
    runner.run(
        system,
        "mass 3 1\nspecial_bonds lj/coul 1 1 1\nset atom 1 type 1\nset group all mol 0",
        f"molecule dimer {tmp_path}/dimer\nmolecule other {tmp_path}/other\ngroup gas empty",
        style(model("neural"), elements="Ni H Ni"),
        "create_atoms 0 random 6 9 NULL mol dimer 5\ncreate_atoms 0 random 6 8 NULL mol other 5",
        "group gas type 2 3\nthermo 1000",
    )
    gained = counted(runner, f"fix g gas gcmc 1 20 20 0 5 {HOT} -8 0.5 mol dimer", "run 8")
    assert_incremental(gained, 150)
    both(runner, "g")
    runner.more(f"unfix g\nfix w gas widom 1 20 0 5 {HOT} mol dimer")
    assert_incremental(counted(runner, "run 3"), 50)


def test_same_swaps_of_molecules_as_native_eam(runner, model, tmp_path):
    """mol/swap retypes atoms without a new list."""
    (tmp_path / "dimer").write_text(DIMER)
    (tmp_path / "other").write_text(DIMER.replace("1 2\n2 2", "1 3\n2 3"))
    native = f"pair_style eam/alloy\npair_coeff * * {potentials()}/NiAlH_jea.eam.alloy Ni H Ni\n"
    seen = []
    for pair in (native, style(model("eam"), "verify 1 1e-8", "Ni H Ni")):
        runner.run(
            "units metal\natom_style molecular\nregion b block 0 12 0 12 0 12\n"
            f"create_box 3 b\nmass * 1\nmolecule dimer {tmp_path}/dimer\n"
            f"molecule other {tmp_path}/other\nspecial_bonds lj/coul 1 1 1\nthermo 1000\n",
            "create_atoms 0 random 12 9 NULL mol dimer 5 overlap 1.5\n"
            "create_atoms 0 random 12 8 NULL mol other 5 overlap 1.5\n",
            pair + "mass * 1\nfix s all mol/swap 1 30 2 3 7 50000 ke no\nrun 4",
        )
        both(runner, "s")
        seen.append((outcome(runner, "s"), runner.lmp.get_thermo("pe")))
    assert seen[0][0] == seen[1][0] and seen[0][1] == pytest.approx(seen[1][1], rel=1e-10)
    assert runner.vector()[1] >= 100


@pytest.mark.parametrize("words", ["onlysalt yes 1 -1", "acid_type 1 pH 2 pKa 2"])
def test_charge_regulation(runner, model, words):
    box = "units metal\natom_style charge\nregion box block 0 12 0 12 0 12\n"
    box += "create_box 3 box\nmass * 1\n"
    atoms = "".join(
        f"create_atoms {t} random {n} {t} NULL overlap 1.5\nset type {t} charge {q}\n"
        for t, n, q in ((1, 20, 0), (2, 10, 1), (3, 10, -1))
    )
    runner.run(box, atoms, style(model("neural"), elements="Ni H H"), "thermo 1000")
    # pH, which is the default: without it the fix reads a style of pH that it never set
    fix = "fix c all charge/regulation 2 3 pH 7 pIp 1 pIm 1 lunit_nm 0.1 nevery 1 nmc 20 seed 77"
    gained = counted(runner, f"{fix} temp {HOT} {words}", "run 10")
    assert_incremental(gained, 90)
    attempts, successes = (runner.lmp.extract_fix("c", 0, 1, k) for k in (0, 1))
    assert 0 < successes < attempts


def test_a_walk_goes_on_after_a_caught_error(runner, model, monkeypatch):
    """Python settles and evaluates, then fails: what it holds is not what C++ remembers."""
    from mliap_local.lammps import bridge

    runner.run(nickel(), style(model("neural"), "forces no verify 1"), "group gas type 2")
    runner.more("thermo_style custom step pe")
    session = bridge._sessions[max(bridge._sessions)]

    def gcmc(seed):  # defined anew, because after an error it has lost its next step
        return f"fix g{seed} gas gcmc 1 0 40 2 {seed} {HOT} -2 0.3 full_energy\n"

    for last in (17, 18, 19, 20):  # after accepted and after rejected trials
        update, calls = session.update, []

        def failing(update=update, calls=calls, last=last, **change):
            calls.append(change["settled"])
            result = update(**change)
            if len(calls) == last:
                raise RuntimeError("on purpose")
            return result

        monkeypatch.setattr(session, "update", failing)
        with pytest.raises(Exception, match="on purpose"):
            runner.more(gcmc(last) + "run 1")
        monkeypatch.undo()
        runner.more(f"unfix g{last}")
        gained = counted(runner, gcmc(4711) + "run 2\nunfix g4711")
        assert_incremental(gained, 60)
        assert True in calls and False in calls


def test_hybrid_monte_carlo_needs_forces(runner, model):
    """hmc asks in a step, not before it: nothing there is a trial."""
    states = []
    for words in ("verify 1", "cache no"):
        runner.run(nickel(), style(model("neural"), words), "timestep 0.008\nfix md all nve")
        runner.more("fix h all hmc 5 77 3000\nthermo 1000\nrun 60")
        states.append(
            (runner.state().forces, [runner.lmp.extract_fix("h", 0, 1, k) for k in (0, 1)])
        )
        assert runner.vector()[2] >= 60
    np.testing.assert_array_equal(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]
    assert 0 < states[0][1][0] < states[0][1][1]  # accepted, tried


@pytest.mark.parametrize(
    "integrator", ["verlet", "respa 2 2 pair 1", "respa 2 2 pair 2", "respa 2 2 bond 1 pair 2"]
)
def test_forces_at_every_step(runner, model, integrator):
    """Trajectories of MD, with and without Monte Carlo and a new list each step, as native ones."""
    native = f"pair_style eam/alloy\npair_coeff * * {potentials()}/NiAlH_jea.eam.alloy Ni H\n"
    masses = "mass 1 58.69\nmass 2 1.008\n"
    for check, gcmc in (("no", ""), ("yes", ""), ("yes", "fix g gas gcmc 3 5 5 2 11 300 -2.5 0.5")):
        if gcmc and integrator != "verlet":
            continue  # fix gcmc does nothing under respa
        states = []
        for pair in (native, style(model("eam"), "verify 1")):
            runner.run(nickel("4 4 4"), pair, masses, f"neigh_modify delay 0 every 1 check {check}")
            runner.more(GROUPS + f"velocity all create 300 9\nfix md all nve\n{gcmc}")
            runner.more(
                "timestep 0.0005\nthermo 4\nthermo_style custom step pe\n"
                f"run_style {integrator}\nrun 11"
            )
            states.append(np.array(runner.lmp.numpy.extract_atom("x"))[: runner.lmp.get_natoms()])
        np.testing.assert_allclose(*states, atol=1e-8)
        start = runner.vector()
        assert start[2] >= 11


def test_dynamical_matrix_gets_forces(runner, model, tmp_path):
    """A command that builds a list and asks for forces outside a run is no trial either."""
    runner.run(nickel("2 2 2"), style(model("neural"), ""), "fix md all nve\nrun 5\nunfix md")
    runner.more(f"dynamical_matrix all regular 1e-4 file {tmp_path}/matrix")
    assert np.abs(np.loadtxt(tmp_path / "matrix")).max() > 1e-3


def walk(runner, steps: int, fixes: str = "g", more: str = "") -> list[tuple[int, ...]]:
    """Attempts, successes and atoms after each Monte Carlo step."""
    runner.more("thermo 1000\n" + more + "run 0 post no")
    seen = []
    for _ in range(steps):
        runner.more("run 1 pre no post no")
        vector = [int(runner.lmp.extract_fix(fixes, 0, 1, k)) for k in range(8)]
        seen.append((*vector, int(runner.lmp.get_natoms())))
    return seen


def assert_walked(seen: list[tuple[int, ...]], trials: int) -> None:
    """Enough trials, and both verdicts on insertions and deletions."""
    last = seen[-1]
    assert sum(last[:8:2]) >= trials
    assert 0 < last[3] < last[2] and 0 < last[5] < last[4]


def test_same_walk_as_native_eam(runner, model):
    """5000 trials of hydrogen in nickel: every count, step by step."""
    native = f"pair_style eam/alloy\npair_coeff * * {potentials()}/NiAlH_jea.eam.alloy Ni H\n"
    walks = []
    for pair in (native, style(model("eam"), "")):
        runner.run(nickel(hydrogen=5), pair, "mass 1 58.69\nmass 2 1.008\n", GROUPS)
        runner.more("fix g gas gcmc 1 20 30 2 4711 1500 -2.0 0.4 full_energy")
        walks.append(walk(runner, 110))
    assert walks[0] == walks[1]
    assert_walked(walks[1], 5000)
    full, incremental, _, drift, _, _ = runner.vector()
    assert incremental > 4000 and full < 20 and drift < 1e-9


def test_same_walk_of_molecules_as_native_lj(runner, model, tmp_path):
    """A rigid diatomic gas: the native style leaves out the pair inside, we subtract it."""
    (tmp_path / "dimer").write_text(
        DIMER.replace("1 2\n2 2", "1 1\n2 1").replace("2 atoms", "2 atoms\n1 bonds")
        + "\nBonds\n\n1 1 1 2\n"
    )
    inside = 4 * (0.8**-12 - 0.8**-6)
    walks = []
    for pair, special, intra in (
        ("pair_style lj/cut 3.0\npair_coeff 1 1 1 1\nbond_style zero\nbond_coeff 1 1\n", 0, 0.0),
        (style(model("lj"), "", "Ar") + "bond_style zero\nbond_coeff 1 1\n", 1, inside),
    ):
        runner.run(
            "units lj\natom_style bond\nregion box block 0 8 0 8 0 8\n"
            "create_box 1 box bond/types 1 extra/bond/per/atom 1 extra/special/per/atom 1\n"
            f"mass 1 1\nmolecule dimer {tmp_path}/dimer\n"
            f"special_bonds lj/coul {special} {special} {special}\n",
            pair,
            "group gas empty\n"
            f"fix g gas gcmc 1 20 20 0 123 2.0 -2.0 0.3 mol dimer full_energy intra_energy {intra}",
        )
        walks.append(walk(runner, 60))
    assert walks[0] == walks[1]
    assert_walked(walks[1], 2000)
    assert runner.vector()[1] > 1500


@pytest.mark.parametrize("name", ["neural", "neural32"])
def test_keywords_do_not_change_the_walk(runner, model, name):
    """cache, refresh, forces and verify are about speed, not about energies."""
    walks = {}
    words = ("", "cache no", "refresh 1", "refresh 100000", "forces no", "verify 1")
    for word in words if name == "neural" else ("", "verify 1"):
        runner.run(nickel(), style(model(name), word), GROUPS)
        runner.more(f"fix g gas gcmc 1 10 10 2 4711 {HOT} -3.5 0.5\nthermo_style custom step pe")
        walks[word] = walk(runner, 10)
        full, incremental, forces, *_ = runner.vector()
        assert incremental == 0 if word == "cache no" else incremental > 100, word
        assert (full > 20) == (word in ("cache no", "refresh 1", "verify 1")), (word, full)
        assert (forces == 0) == (word == "forces no")
    assert len({str(w) for w in walks.values()}) == 1
    assert_walked(walks[""], 150)


@pytest.mark.parametrize("name, digits", [("neural", 1e-12), ("neural32", 1e-5)])
def test_relative_to_isolated_atoms(runner, model, name, digits):
    """Each atom's own energy is taken away: the same forces and, with mu as much lower, walk."""
    found = read_model(model(name))
    h = found.functions.node_init(np.array([28, 1]))
    nothing = np.zeros((2, found.message_width), h.dtype)
    own = np.array(found.functions.readout(h, nothing), float)
    assert np.all(abs(own) > 0.05)
    walks = []
    plain = runner.evaluate(nickel(), style(model(name)))
    for words, lower in (("verify 1", 0.0), ("verify 1 reference isolated", own[1])):
        state = runner.evaluate(nickel(), style(model(name), words))
        types = np.array(runner.lmp.gather_atoms("type", 0, 1))
        if lower:
            state.energy += np.sum(own[types - 1])
        assert state.difference(plain) < digits
        runner.more(GROUPS + f"fix g gas gcmc 1 10 10 2 4711 {HOT} {-3.5 - lower} 0.5")
        walks.append(walk(runner, 10))
    assert walks[0] == walks[1]
    assert_walked(walks[0], 150)


def test_style_given_twice_wants_its_model_again(runner, model):
    """Keywords without a pair_coeff behind them must not run with half of the old ones."""
    runner.run(nickel(), style(model("neural")), "pair_style mliap_local verify 1", GROUPS)
    with pytest.raises(Exception, match="All pair coeffs are not set"):
        runner.more("run 0")
    runner.more(f"pair_coeff * * {model('neural')} Ni H")
    gained = counted(runner, f"fix g gas gcmc 1 20 20 2 11 {HOT} -2.1 0.5", "run 3")
    assert_incremental(gained, 80)
    assert gained["overlaps"] == 0


@pytest.mark.parametrize("distance", [0.2, 0.02])
def test_energies_after_an_overlap_is_resolved(runner, model, distance):
    """Two atoms nearly on top of one another: nothing of their energy is left once they part."""
    box = "units lj\nregion box block 0 8 0 8 0 8\ncreate_box 1 box\nmass 1 1\n"
    walks = []
    for words in ("", "cache no"):
        runner.run(box, style(model("lj"), words, "Ar"), "thermo 1000")
        runner.more(f"create_atoms 1 single 3 3 3\ncreate_atoms 1 single {3 + distance} 3 3")
        runner.more("create_atoms 1 random 40 5 NULL overlap 1.0")
        runner.more("fix g all gcmc 1 0 300 1 123 2.0 -2 0.5")
        runner.more("run 2")
        assert outcome(runner, "g")[1] > 100 and runner.lmp.get_thermo("pe") < 0
        walks.append((outcome(runner, "g"), runner.lmp.get_thermo("pe")))
    assert walks[0][0] == walks[1][0] and walks[0][1] == pytest.approx(walks[1][1], rel=1e-10)


def test_atoms_at_one_point(runner, model):
    """Atoms exactly on top of one another: alike or not, each counts, comes and goes alone.

    With `forces no` every command is one incremental evaluation, which `verify 1` compares.
    """
    system = nickel("4 3 3", hydrogen=4).replace("create_box 2", "create_box 3") + "mass 3 1\n"
    words = "forces no verify 1"
    runner.run(system, style(model("neural"), words, "Ni H H"), GROUPS)
    runner.more("atom_modify sort 0 0\nthermo_style custom step pe\nrun 0")
    last = int(runner.lmp.get_natoms())
    x = np.array(runner.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    inside, at_a_corner = (" ".join(f"{c:.17g}" for c in x[k]) for k in (59, np.argmin(x.sum(1))))
    here = dict(zip("xyz", inside.split(), strict=True))
    commands = {
        "on top of its like": f"create_atoms 1 single {inside} units box",
        "another kind": f"create_atoms 2 single {inside} units box",
        "the same kind of another type": f"create_atoms 3 single {inside} units box",
        "its images too": f"create_atoms 1 single {at_a_corner} units box",
        "the first of them goes": "group one id 60\ndelete_atoms group one compress no",
        "one is moved there": "set atom 70 " + " ".join(f"{c} {v}" for c, v in here.items()),
        "one is retyped": f"set atom {last + 2} type 1",
        "all but one go elsewhere": f"group one clear\ngroup one id 70 {last + 1}:{last + 2}\n"
        "displace_atoms one move 0.3 0.2 0.1",
        "they part": "displace_atoms one random 0.5 0.5 0.5 7",
        "and meet again": "\n".join(
            f"set atom {last + 1}*{last + 3} {c} {v}" for c, v in here.items()
        ),
    }
    energies = [runner.lmp.get_thermo("pe")]
    for name, text in commands.items():
        gained = counted(runner, text, "run 0")
        assert (gained["full"], gained["incremental"]) == (1, 1), name
        assert gained["drift"] < 1e-9, name
        energies.append(runner.lmp.get_thermo("pe"))
    assert min(abs(np.diff(energies))) > 1e-3
    # alike and at one point, they may change places
    gained = counted(runner, f"set atom {last + 2} type 3\nset atom {last + 3} type 1", "run 0")
    assert runner.lmp.get_thermo("pe") == pytest.approx(energies[-1], rel=1e-14)
    assert gained["incremental"] == 1
    runner.more("group gas clear\ngroup gas type 2 3")
    assert_incremental(counted(runner, f"fix g gas gcmc 1 40 20 2 11 {HOT} -2.1 0.5", "run 4"), 150)
    both(runner, "g")


def test_guard_of_molecules(runner, model, tmp_path):
    """A bond shorter than the distance is nobody's overlap; an atom outside the molecule is.

    What the guard answers costs 17 kT and more, so that the walk without it is the same.
    """
    (tmp_path / "dimer").write_text(DIMER.replace("1 2\n2 2", "1 1\n2 1"))
    inside = 4 * (0.8**-12 - 0.8**-6)
    walks = []
    for words in ("", "overlap 0.85"):
        runner.run(
            "units lj\natom_style molecular\nregion box block 0 7 0 7 0 7\ncreate_box 1 box\n"
            f"mass 1 1\nmolecule dimer {tmp_path}/dimer\nspecial_bonds lj/coul 1 1 1\n",
            style(model("lj"), words, "Ar") + "group gas empty\n",
            f"fix g gas gcmc 1 20 20 0 123 1.0 0.0 0.3 mol dimer full_energy intra_energy {inside}",
        )
        walks.append(walk(runner, 30))
        assert_walked(walks[-1], 1000)
        overlaps = runner.vector()[5]
        assert overlaps > 100 if words else overlaps == 0
    assert walks[0] == walks[1]


def test_guard_leaves_the_present_state_alone(runner, model):
    """Atoms that MD brought within the distance are no trial: moves elsewhere go on."""
    box = "units lj\nregion box block 0 8 0 8 0 8\ncreate_box 2 box\nmass * 1\n"
    for distance in (0.0, 1.2):
        runner.run(
            box,
            "create_atoms 1 single 2.0 3 3\ncreate_atoms 1 single 3.3 3 3\n"
            "create_atoms 2 single 6 6 6",
            style(model("lj"), f"overlap {distance}", "Ar Ar"),
            "group pair type 1\ngroup gas type 2\nvelocity all create 0 1\n"
            "set atom 1 vx 1\nset atom 2 vx -1\nfix md pair nve\ntimestep 0.01",
            "fix g gas gcmc 1 0 10 2 123 1.0 -8 0.001\nthermo 1000\nrun 10",
        )
        x = np.array(runner.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
        assert 1.0 < x[1, 0] - x[0, 0] < 1.2
        assert outcome(runner, "g") == (100, 100), distance


def test_verify_allows_for_rounding_of_large_energies(runner, model):
    """An insertion on top of another atom costs 1e9 and more: rounding grows with it."""
    gas = "units lj\nregion box block 0 6 0 6 0 6\ncreate_box 1 box\nmass 1 1\n"
    runner.run(
        gas,
        "create_atoms 1 random 100 7 NULL overlap 0.9\nthermo 1000",
        style(model("lj"), elements="Ar"),
    )
    gained = counted(runner, "fix g all gcmc 1 100 100 1 12345 2.0 -2.0 0.3", "run 5")
    assert gained["incremental"] > 500
    both(runner, "g")


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks(model, tmp_path, ranks):
    """Verified on several processes, atoms migrating between them."""
    text = (
        nickel("4 4 4")
        + style(model("neural"))
        + GROUPS
        + (
            f"fix g gas gcmc 1 15 15 2 11 {HOT} -3.5 0.5\n"
            f"fix s all atom/swap 1 10 5 {HOT} ke no types 1 2\n"
            "fix md all nve\ntimestep 0.0005\nvelocity all create 300 4\nrun 8\n"
            'print "counted $(f_mliap_local[1]) $(f_mliap_local[2]) $(f_mliap_local[4]) "\n'
            'print "verdicts $(f_s[2]) $(f_s[1])"\n'
        )
    )
    (tmp_path / "in").write_text(text)
    lines = run_on_ranks(tmp_path, ranks).splitlines()
    said = [line.split()[1:] for line in lines if line.startswith(("counted", "verdicts"))]
    full, incremental, drift, successes, attempts = map(float, said[0] + said[1])
    assert incremental > 200 and full - incremental < 0.2 * incremental and drift < 1e-9
    assert 0 < successes < attempts
