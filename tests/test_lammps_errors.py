"""What the pair style says where it cannot go on: what was expected, what came, what to do.

One LAMMPS in this process meets most of them and goes on after `clear`. Processes of their own
show what a user sees: the exit code, the log file, and that no other rank is left waiting.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

BOX = """
units lj
lattice fcc 0.8
region box block 0 2 0 2 0 2
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.5 4711
mass * 1.0
"""
MOLECULAR = "atom_style molecular\n" + BOX + "set group all mol 1\nspecial_bonds lj/coul 1 1 1\n"
ENERGY_ALONE = "thermo_style custom step pe\n"


@pytest.fixture
def lj(model) -> str:
    return style(model("lj"))


def style(path: object, elements: str = "Ar Ar", keywords: str = "") -> str:
    return f"pair_style mliap_local {keywords}\npair_coeff * * {path} {elements}\n"


def error(runner, *inputs: str) -> str:
    """The words of the error that these lines end with."""
    with pytest.raises(Exception, match="ERROR") as caught:
        runner.run(*inputs)
    return str(caught.value)


def assert_says(message: str, *words: str):
    assert [word for word in words if word not in message] == [], message


# --- the model and its types ---------------------------------------------------------------------


def test_files_that_are_no_model(runner, model, tmp_path):
    whole = Path(model("lj")).read_bytes()
    (tmp_path / "truncated.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("pair_coeff\n")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("weights.npy", b"0")
    again = "copy or export the model again"
    expected = {
        "missing{0}.zip": ("expected a model file, found no such file", "correct the path"),
        "truncated.zip": ("expected a whole zip file, found", again),
        "text.zip": ("expected a whole zip file, found", again),
        "foreign.zip": (
            "metadata.json: expected this member, found none",
            "export the model again",
        ),
    }
    for name, words in expected.items():
        assert_says(error(runner, BOX, style(tmp_path / name)), f"{tmp_path / name}: ", *words)


def test_potential_that_is_no_model_file(runner, tmp_path):
    """Given as native styles take it, here or among LAMMPS's own."""
    (tmp_path / "CuNi.eam.alloy").write_text("comment\n")
    remedy = "mliap-local convert eam CuNi.eam.alloy -o model.zip"
    for path, words in ((tmp_path / "CuNi.eam.alloy", "whole zip"), ("CuNi.eam.alloy", "no such")):
        assert_says(error(runner, BOX, style(path)), words, remedy)


def test_expected_errors_come_without_a_traceback(runner, model, tmp_path):
    lines = (
        BOX + style("missing.zip"),
        BOX + style(model("lj"), "Ar Kr"),
        BOX.replace("units lj", "units metal") + style(model("lj")),
    )
    for number, text in enumerate(lines):
        error(runner, f"log {tmp_path / str(number)}", text)
        runner.more("log none")
        said = (tmp_path / str(number)).read_text()
        assert "Created 32 atoms" in said and "Traceback" not in said


def test_model_of_other_elements_or_units(runner, model):
    message = error(runner, BOX, style(model("lj"), "Ar Kr"))
    assert_says(message, "knows the elements Ar, not Kr", "correct the elements", "to NULL")
    message = error(runner, BOX.replace("units lj", "units metal"), style(model("lj")))
    assert_says(message, "model is in units lj", "LAMMPS runs in units metal", "use `units lj`")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("* * no.zip Ar", "expected 2 elements (or NULL), one for each atom type, got 1"),
        ("* * no.zip Ar Ar Ar", "expected 2 elements (or NULL), one for each atom type, got 3"),
        ("* * no.zip", "expected * * model.zip and an element (or NULL) for each atom type"),
        (
            "* * Ar Ar no.zip",
            "expected the model file before the elements, got no.zip at their end",
        ),
        ("* *", "expected * * model.zip and an element (or NULL) for each atom type"),
        ("1 2 no.zip Ar Ar", "must start with * *"),
    ],
)
def test_arguments_of_pair_coeff(runner, arguments, words):
    message = error(runner, BOX, f"pair_style mliap_local\npair_coeff {arguments}")
    assert_says(message, words, "mliap_local")


def test_types_that_nobody_has(runner, model):
    """As in any other style."""
    message = error(runner, BOX, style(model("lj"), "Ar NULL"), "run 0")
    assert_says(message, "All pair coeffs are not set", "1      2: is not set")
    assert_says(error(runner, BOX, "pair_style mliap_local\nrun 0"), "All pair coeffs are not set")


def test_masses_of_other_elements(runner, model, tmp_path):
    """Swapped elements are told once; less than half off is nobody's business."""
    masses = "mass 1 58.69\nmass 2 {}\n"
    system = BOX.replace("units lj", "units metal").replace("fcc 0.8", "fcc 3.52")
    system = system.replace("mass * 1.0\n", "")
    for elements, hydrogen, expected in (("Ni H", 1.5, 0), ("H Ni", 1.0, 2), ("Ni H", 2.0, 1)):
        log = tmp_path / f"{elements}{hydrogen}".replace(" ", "")
        lines = system + style(model("eam"), elements) + masses.format(hydrogen)
        runner.run(f"log {log}", lines, "run 0\nrun 0\nlog none")
        said = re.findall(r"WARNING: Type.*", log.read_text())
        assert len(said) == expected, said
        if elements == "H Ni":
            words = (
                "Type 1 is H in pair_coeff, of mass 1.008 in the model file, but its mass is 58.69"
            )
            assert_says(said[0], words, "check the order of the elements in pair_coeff")


def test_jump_at_the_cutoff_is_said_once(runner, model, tmp_path):
    for name, words in (("lj", "energy by 0.0055, force by"), ("lj_force", None)):
        log = tmp_path / name
        runner.run(f"log {log}", BOX, style(model(name)), "run 0\nrun 0\nlog none")
        said = re.findall(r"jumps at the cutoff: (.*)", log.read_text())
        assert len(said) == bool(words) and (not words or said[0].startswith(words))


# --- keywords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ("model.zip", "keyword model.zip; known are cache"),
        ("model.zip", "a model file goes to pair_coeff: pair_coeff * * model.zip element1"),
        ("speed", "keyword speed; known are cache"),
        ("speed 1", "keyword speed; known are cache, verify, refresh, reference, overlap, forces"),
        *[
            (keyword, f"mliap_local {keyword} command: missing argument")
            for keyword in (
                *("cache", "verify", "refresh", "reference", "overlap", "forces", "device"),
            )
        ],
        ("cache perhaps", "Expected boolean parameter instead of 'perhaps'"),
        ("forces 2", "Expected boolean parameter instead of '2'"),
        ("verify -1", "verify: expected N >= 0 (0: never), got -1"),
        ("verify 0.5", "Expected integer parameter instead of '0.5'"),
        ("verify 10 -1.0", "verify: expected a tolerance > 0, got -1.0"),
        ("verify 10 0", "verify: expected a tolerance > 0, got 0"),
        ("verify 10 0.1 0.2 cache yes", "keyword 0.2; known are"),
        ("refresh 0", "refresh: expected a number of accepted updates >= 1, got 0"),
        ("refresh often", "Expected integer parameter instead of 'often'"),
        ("reference atom", "reference: expected model or isolated, got atom"),
        ("overlap -0.1", "overlap: expected a distance >= 0, got -0.1"),
        ("overlap near", "Expected floating point parameter instead of 'near'"),
        ("device tpu", "device: expected cpu or gpu, got tpu"),
    ],
)
def test_keywords(runner, keywords, words):
    assert_says(error(runner, BOX, f"pair_style mliap_local {keywords}"), words)


def test_overlap_beyond_the_cutoff(runner, model):
    message = error(runner, BOX, style(model("lj"), keywords="overlap 3.5"))
    assert_says(message, "expected a distance below the model's cutoff, 3, got 3.5")


def test_pair_modify_that_changes_nothing(runner, model, tmp_path):
    for setting, expected in (("shift yes", 2), ("tail yes", 2), ("shift no tail no", 0)):
        log = tmp_path / setting.replace(" ", "")
        runner.run(f"log {log}", BOX, style(model("lj")), f"pair_modify {setting}", "run 0\nrun 0")
        runner.more("log none")
        assert log.read_text().count("do not change a model's energy") == expected


def test_device_that_is_not_there(runner, model):
    import jax

    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU here")
    message = error(runner, BOX, style(model("lj"), keywords="device gpu"))
    assert_says(message, "device gpu was asked for, but this JAX has none", "use device cpu")


# --- settings of LAMMPS that the pair style cannot work with --------------------------------------

SETTINGS = {
    "newton off": (
        "newton off\n" + BOX,
        "",
        ("requires newton pair on, got off", "use newton on"),
    ),
    "no atom IDs": (
        "atom_modify id no\n" + BOX,
        "",
        ("requires atom IDs, got none", "use atom_modify id yes"),
    ),
    "special bonds": (
        MOLECULAR,
        "special_bonds lj 1 1 0.5 coul 1 1 1",
        ("expected special_bonds lj 1 1 1, got 1 1 0.5", "use special_bonds lj/coul 1 1 1"),
    ),
    "special bonds of 0": (
        MOLECULAR,
        "special_bonds lj/coul 0 0 0",
        ("expected special_bonds lj 1 1 1, got 0 0 0", "use special_bonds lj/coul 1 1 1"),
    ),
    "exclude type": (
        BOX,
        "neigh_modify exclude type 1 2",
        ("counts all pairs, but neigh_modify exclude type hides some", "remove it", "hybrid"),
    ),
    "exclude group": (
        BOX,
        "group one type 1\ngroup two type 2\nneigh_modify exclude group one two",
        ("neigh_modify exclude group one two hides some", "remove it"),
    ),
    "exclude molecule": (
        MOLECULAR,
        "neigh_modify exclude molecule/intra all",
        ("neigh_modify exclude molecule hides some", "remove it"),
    ),
    "include": (
        "atom_modify first one\n" + BOX + "group one type 1\n",
        "neigh_modify include one",
        ("neigh_modify include one hides some", "use neigh_modify include all"),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_hide_pairs_or_atoms(runner, lj, name):
    system, setting, words = SETTINGS[name]
    assert_says(error(runner, system, lj, setting, "run 0"), *words)


def test_the_same_system_without_those_settings_runs(runner, lj):
    energies = []
    for system in (BOX, MOLECULAR):
        runner.run(system, lj, "run 0")
        energies.append(runner.lmp.get_thermo("pe"))
    assert energies[0] == pytest.approx(energies[1], rel=1e-12) and energies[0] < -1.0


def test_fix_that_only_the_pair_style_makes(runner, lj):
    words = "by itself", "remove the line"
    assert_says(
        error(runner, BOX, "fix mine all mliap_local 5"), "takes no arguments, got 1", *words
    )
    for line in ("fix mine all mliap_local", "fix mliap_local all mliap_local"):
        assert_says(error(runner, BOX, lj, line, "run 0"), "belongs to", *words)


def test_fix_that_somebody_removed(runner, lj):
    """A run makes it again; one that prepares nothing cannot."""
    runner.run(BOX, lj, "fix move all nve\nrun 2\nunfix mliap_local")
    with pytest.raises(Exception, match="needs its fix mliap_local") as caught:
        runner.more("run 2 pre no")
    assert_says(str(caught.value), "unfix removed it", "use run without pre no", "remove the unfix")
    runner.more("run 2")
    assert runner.vector()[2] >= 5


# --- forces that nobody can give -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("fix move all nve\nrun 1", ("forces no: fix move", "use forces yes", "remove")),
        ("minimize 0 0 1 1", ("minimize reads forces", "use forces yes")),
        (
            "compute stress all stress/atom NULL\ncompute sum all reduce sum c_stress[1]\n"
            "thermo_style custom step pe c_sum\nrun 0",
            ("stress", "use forces yes"),
        ),
    ],
)
def test_without_forces_nothing_reads_them(runner, model, lines, words):
    without = style(model("lj"), keywords="forces no")
    assert_says(error(runner, BOX, without, ENERGY_ALONE, lines), "forces no", *words)


def test_pressure_without_forces(runner, model):
    """LAMMPS asks for a virial at each output, so only who reads it is wrong: LAMMPS says so."""
    without = style(model("lj"), keywords="forces no")
    message = error(runner, BOX, without, "thermo_style custom step pe press\nrun 0")
    assert re.search("Virial was not tallied|forces no: a pressure", message), message
    runner.run(BOX, without, ENERGY_ALONE, "run 0")
    assert runner.lmp.get_thermo("pe") < -1.0


def test_model_without_derivatives(runner, tmp_path):
    import jax
    import jax.numpy as jnp

    from mliap_local import export_model

    jax.config.update("jax_enable_x64", True)

    def node_init(numbers):
        return jnp.ones((numbers.shape[0], 1))

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=1, keepdims=True)
        return jnp.where(square < 4.0, (1 - square / 4.0) ** 3, 0.0)

    def readout(h, sums):
        return -jnp.tanh(sums[:, 0])

    energies = []
    for vjp_order in (0, 1):
        path = tmp_path / f"order{vjp_order}.zip"
        export_model(
            *(path, node_init, edge, readout),
            cutoff=2.0,
            elements=["Ar"],
            units="lj",
            vjp_order=vjp_order,
        )
        runner.run(BOX, style(path, keywords="forces no"), ENERGY_ALONE, "run 0")
        energies.append(runner.lmp.get_thermo("pe"))
    assert energies[0] == pytest.approx(energies[1], rel=1e-12) and energies[0] < -0.1
    message = error(runner, BOX, style(tmp_path / "order0.zip"), "run 0")
    assert_says(message, "model has no derivatives", "export it with vjp_order=1", "use forces no")


# --- atoms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", ["", "forces no"])
def test_position_that_is_no_number(runner, model, keywords):
    runner.run(BOX, style(model("lj"), keywords=keywords), ENERGY_ALONE, "run 0")
    assert np.isfinite(runner.lmp.get_thermo("pe"))
    runner.lmp.numpy.extract_atom("x")[4, 1] = np.nan
    with pytest.raises(Exception, match="expected finite positions, got nan in atom 5") as caught:
        runner.more("run 1 pre no")
    assert_says(str(caught.value), "check the input, the time step and overlapping atoms")


# --- trials --------------------------------------------------------------------------------------

GAS = """
units lj
region box block 0 5 0 5 0 5
create_box 1 box
mass 1 1.0
pair_style mliap_local {keywords}
pair_coeff * * {model} Ar
fix exchange all gcmc 1 50 50 1 29494 2.0 -1.25 1.0 full_energy
thermo_style custom step atoms pe
run 3
"""


def gas(path: str, keywords: str = "") -> str:
    return GAS.format(model=path, keywords=keywords)


def test_drift_beyond_the_tolerance(runner, model):
    message = error(runner, gas(model("lj"), "verify 1 1.0e-40"))
    assert re.search(r"incremental energy \S+ and full energy \S+ differ by", message), message
    assert_says(
        message,
        "more than the tolerance 1e-40",
        "use a model in 64bit, cache no, a smaller refresh",
    )
    runner.run(gas(model("lj"), "verify 1 1.0e-6"))
    full, incremental = runner.vector()[:2]
    assert full >= incremental > 200


# --- the style given again -----------------------------------------------------------------------


def test_keywords_given_again_hold(runner, model):
    """LAMMPS hands a second pair_style line to the same object. Who wants pair_coeff again after
    it may say so; who does not has to do as the line says."""
    random = style(model("neural"), "Ni H")
    system = BOX.replace("units lj", "units metal").replace("fcc 0.8", "fcc 3.52")
    energies = {}
    for reference in ("model", "isolated"):
        runner.run(system, random.replace("\n", f" reference {reference}\n", 1), "run 0")
        energies[reference] = runner.lmp.get_thermo("pe")
    assert abs(energies["model"] - energies["isolated"]) > 0.1
    runner.run(system, random)
    try:
        runner.more("pair_style mliap_local reference isolated\nrun 0")
    except Exception as asked:
        assert_says(str(asked), "pair", "coeff")
    else:
        assert runner.lmp.get_thermo("pe") == pytest.approx(energies["isolated"], rel=1e-12)


def test_style_given_again_guards_no_more_than_before(runner, model):
    once = gas(model("lj"))
    coeff = f"pair_coeff * * {model('lj')} Ar\n"
    overlaps, atoms = [], []
    for lines in (once, once.replace(coeff, coeff + "pair_style mliap_local\n")):
        try:
            runner.run(lines)
        except Exception as asked:
            assert_says(str(asked), "pair", "coeff")
        else:
            overlaps.append(runner.vector()[5])
            atoms.append(runner.lmp.get_natoms())
    assert overlaps and set(overlaps) == {0.0} and len(set(atoms)) == 1 and atoms[0] > 10


def test_run_after_a_model_that_could_not_be_opened(runner, model):
    """A script that goes on after the error must not get as far as an energy."""
    runner.run(BOX, style(model("lj")), "run 0")
    with pytest.raises(Exception, match="no such file"):
        runner.more("pair_coeff * * missing.zip Ar Ar")
    with pytest.raises(Exception, match=r"pair_coeff|[Pp]air coeffs"):
        runner.more("run 0")


# --- what a user sees ----------------------------------------------------------------------------

BROKEN = """
import os
from mliap_local.lammps.session import Session

def update(self, **arguments):
    raise ZeroDivisionError("a fault in the middle of a run")

if os.environ.get("PMI_RANK", "0") == "{rank}":
    Session.update = update
"""


def lmp(folder: Path, text: str, *launcher: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run `lmp` on these lines, with modules from this folder first; also returns its log file."""
    (folder / "in.test").write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    program = Path(sys.executable).parent / "lmp"
    done = subprocess.run(
        [*launcher, program, "-in", "in.test", "-log", "log.test"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done, (folder / "log.test").read_text()


def test_jax_that_cannot_be_imported(tmp_path, model):
    (tmp_path / "jax.py").write_text("raise ImportError('jaxlib is of another time')\n")
    done, log = lmp(tmp_path, gas(model("lj")))
    assert done.returncode != 0
    for text in (done.stdout, log):
        said = re.search(r"ERROR: .*", text)
        assert said and "Traceback" in text[: said.start()]
        assert_says(said[0], "expected to import", "jaxlib is of another time", "pip install")
        assert_says(said[0], sys.prefix, f"Python {sys.version.split()[0]}")


@pytest.mark.parametrize("ranks", [1, 2])
def test_python_exception_in_the_middle_of_a_run(tmp_path, model, ranks):
    """The first rank fails; where there is another, it waits for it in vain and is ended."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(rank=0))
    mpiexec = Path(sys.executable).parent / "mpiexec"
    launcher = [str(mpiexec), "-n", str(ranks)] if ranks > 1 else []
    done, log = lmp(tmp_path, gas(model("lj")), *launcher)
    assert done.returncode != 0
    assert f"1 by 1 by {ranks} MPI processor grid" in log
    assert re.search(r"^ +0 +0 +0", log, re.MULTILINE)  # the run had begun
    assert re.search(r"ERROR on proc 0: .*a fault in the middle of a run", log)
    assert_says(log, "Traceback", "sitecustomize.py", "in mliap_local_update")


def test_python_exception_on_another_rank(tmp_path, model):
    """LAMMPS's log belongs to the first rank, and MPI may end it before it has written anything
    more. So only this is certain: an end, and not a good one."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(rank=1))
    mpiexec = Path(sys.executable).parent / "mpiexec"
    done, _ = lmp(tmp_path, gas(model("lj")), str(mpiexec), "-n", "2")
    assert done.returncode != 0
    assert "Total wall time" not in done.stdout
