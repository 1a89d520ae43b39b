"""`verify` tells the truth: right runs go on, an error of kT stops them, and no number is named so.

What it compares with shares no list with what it judges; test_setups.py has an old list stop a run.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import nickel

HOT = 6000
KT_300 = 0.02585  # eV
TOLERATED = 6  # place of the largest tolerance in the vector of the pair style's fix

FLUID = """
units lj
atom_modify map array
region box prism 0 6 0 6 0 6 1.1 0.4 -0.7
create_box 1 box
create_atoms 1 random 100 {seed} NULL overlap 0.9
mass 1 1
pair_style mliap_local verify 1
pair_coeff * * {model} Ar
thermo_style custom step pe
thermo 1000
"""


@pytest.mark.parametrize("seed", [7, 8, 9, 10])
@pytest.mark.parametrize(
    "fix",
    ["gcmc 1 100 100 1 12345 2.0 -2.0 0.3 full_energy", "widom 1 200 1 12345 2.0 full_energy"],
)
def test_trials_that_nothing_accepts_are_not_judged(runner, model, fix, seed):
    """Insertions on top of others cost 1e6 and more; triclinic boxes move all atoms by 1e-14."""
    runner.run(FLUID.format(model=model("lj"), seed=seed), f"fix g all {fix}", "run 5")
    full, incremental, _, drift, *_ = runner.vector()
    assert incremental > 500 and full > incremental
    assert 0 < drift < 1e-6


def changed_by(session, monkeypatch, error: float) -> None:
    update = session.update

    def wrong(**change):
        energy, *rest = update(**change)
        return energy + error, *rest

    monkeypatch.setattr(session, "update", wrong)


@pytest.mark.parametrize("precision", ["neural", "neural32"])
def test_an_error_of_kt_does_not_pass(runner, model, monkeypatch, precision):
    """What passes is far below kT, however many atoms there are, and is said."""
    from mliap_local.lammps import bridge

    style = f"pair_style mliap_local verify 1\npair_coeff * * {model(precision)} Ni H\n"
    gcmc = f"fix g gas gcmc 1 20 20 2 77 {HOT} -2 0.3 full_energy\nrun 4\n"
    tolerated = []
    for cells in ("3 3 3", "9 9 9"):
        runner.run(nickel(cells), style, "group gas type 2\nthermo_style custom step pe\n", gcmc)
        _, incremental, _, drift, *_, passes = runner.vector(TOLERATED + 1)
        assert incremental > 100 and 0 < drift < 0.3 * passes
        tolerated.append(passes)
    assert tolerated[1] < KT_300 / 50  # 2 916 atoms
    assert tolerated[1] < 8 * tolerated[0]  # like the root of the number of atoms, which is 27
    changed_by(bridge._sessions[max(bridge._sessions)], monkeypatch, 2 * tolerated[1])
    with pytest.raises(Exception, match=r"differ by .* more than the tolerance"):
        runner.more("run 1")


def hole(path, value: str):
    """A model that is `value` below half an Angstrom, and one smooth well beyond."""
    import jax
    import jax.numpy as jnp

    from mliap_local import export_model

    jax.config.update("jax_enable_x64", True)

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=1, keepdims=True)
        well = -0.01 * jnp.where(square < 9, (1 - square / 9) ** 3, 0)
        return jnp.where((square > 0) & (square < 0.25), jnp.array(float(value)), well)

    export_model(
        *(path, lambda z: jnp.ones((z.shape[0], 1)), edge, lambda h, sums: sums[:, 0]),
        **{"cutoff": 3.0, "elements": ["Ni", "H"], "checks": False},
    )
    return path


def test_a_model_that_is_not_a_number(runner, tmp_path):
    """Not the cache is to blame, and the message says where to look."""
    style = "pair_style mliap_local verify 1\npair_coeff * * {} Ni H\nthermo_style custom step pe\n"
    gcmc = f"group gas type 2\nfix g gas gcmc 1 300 0 2 77 {HOT} 2 0.3 full_energy\nrun 1\n"
    model = hole(tmp_path / "nan.zip", "nan")
    words = r"expected a number for the energy, but the model gives -?nan; the closest atoms are "
    with pytest.raises(Exception, match=words + r"\d+ and \d+, at distance 0\.[0-4]") as caught:
        runner.run(nickel(), style.format(model), gcmc)
    assert "cache no" not in str(caught.value) and "use overlap" in str(caught.value)
    # an infinite energy is one that no fix accepts: the run goes on
    model = hole(tmp_path / "inf.zip", "inf")
    runner.run(nickel(), style.format(model), gcmc)
    _, incremental, _, drift, *_ = runner.vector()
    attempts, successes = (runner.lmp.extract_fix("g", 0, 1, k) for k in (2, 3))
    assert 0 < successes < attempts and incremental > 200
    assert np.isfinite(runner.lmp.get_thermo("pe")) and drift < 1e-9


GAS = "group gas type 2\nfix g gas gcmc/mliap_local 1 20 20 2 77 3000 -2.2 0.2 {}\n"


def test_sums_of_our_fixes_are_verified(runner, model, monkeypatch):
    """An error far below the tolerance in each update is one above it in their sum."""
    from mliap_local.lammps import bridge

    style = f"pair_style mliap_local\npair_coeff * * {model('eam')} Ni H\n"
    words = "check 0 verify 1 1e-6 refresh 1000000"
    runner.run(nickel("2 2 2"), style, GAS.format(words), "thermo_style custom step pe\nrun 6")
    session = bridge._sessions[max(bridge._sessions)]
    update, error = session.update, 0.0

    def drifting(**change):
        nonlocal error
        error += 2e-8
        energy, *rest = update(**change)
        return energy + error, *rest

    monkeypatch.setattr(session, "update", drifting)
    words = r"sum of all differences is .* 1e-06 is tolerated; use .* a smaller refresh"
    with pytest.raises(Exception, match=words):
        runner.more("run 20 pre no")
    assert 1e-6 < error < 1e-5


def test_refresh_of_our_fixes(runner, model, tmp_path):
    """It evaluates rows anew, and more of them; the walk is the same."""
    style = f"pair_style mliap_local\npair_coeff * * {model('eam')} Ni H\n"
    walks = []
    for words in ("", "refresh 10", "refresh 1"):
        lines = GAS.format(f"check 0 verify 7 {words}") + "run 8\nlog none"
        runner.run(f"log {tmp_path / 'log'}", nickel("2 2 2"), style, lines)
        (rows,) = re.findall(r"(\d+) rows evaluated wholly", (tmp_path / "log").read_text())
        counts = [runner.lmp.extract_fix("g", 0, 1, k) for k in range(6)]
        walks.append((int(rows), counts, runner.lmp.get_thermo("pe")))
    rows, counts, energies = zip(*walks, strict=True)
    assert 30 < rows[0] < rows[1] / 2 < rows[2] / 4
    assert counts[0] == counts[1] == counts[2] and counts[0][1] > 50
    assert energies == pytest.approx([energies[0]] * 3, rel=1e-12)
