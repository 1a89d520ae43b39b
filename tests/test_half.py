"""Steps where one edge stands for two, against LAMMPS's own eam/alloy and adp.

Models so cheap are not written with a parity, for it would not pay: here they are, because LAMMPS
has them too. Messages of adp have odd columns.
"""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from conftest import potentials, run_on_ranks
from test_lammps_energies import SHAPES, assert_close, by_id, thermo

ADP = potentials() / "Ni.adp"
EAM = potentials() / "NiAlH_jea.eam.alloy"
NATIVE = {
    "eam": f"pair_style eam/alloy\npair_coeff * * {EAM} Ni Al",
    "adp": f"pair_style adp\npair_coeff * * {ADP} Ni Ni",
}
ELEMENTS = {"eam": "Ni Al", "adp": "Ni Ni"}
PRESSURE = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")


@pytest.fixture(scope="module")
def half(model, tmp_path_factory):
    """Path of a model file that says its parity, though an edge of it is cheap."""
    from mliap_local import cli
    from mliap_local.model_file import files

    folder = tmp_path_factory.mktemp("half")
    dear = files.DEAR_EDGE, files.DEAR_COLUMN
    files.DEAR_EDGE = files.DEAR_COLUMN = 0
    cli.main(["convert", "adp", str(ADP), "-o", str(folder / "adp.zip")])
    files.DEAR_EDGE, files.DEAR_COLUMN = dear
    with_parity(model("eam"), folder / "eam.zip", "++")
    return lambda name: str(folder / f"{name}.zip")


@pytest.fixture
def halves(monkeypatch) -> list[int]:
    """How often one edge stood for two: its length. In small systems too, where it does not pay."""
    from mliap_local.core import padding
    from mliap_local.lammps.session import Session

    monkeypatch.setattr(padding, "LEAST_HALF_ROWS", 0)
    monkeypatch.setattr(padding, "MOST_HALF_ROOM", 0.9)
    calls, function = [], Session._evaluate_half

    def counted(self, *arguments):
        calls.append(1)
        return function(self, *arguments)

    monkeypatch.setattr(Session, "_evaluate_half", counted)
    return calls


def ours(path: str, name: str, keywords: str = "") -> str:
    return f"pair_style mliap_local {keywords}\npair_coeff * * {path} {ELEMENTS[name]}"


def crystal(shape: str, jitter: float = 0.2, second: float = 0.1) -> str:
    boundary, box, inside = SHAPES[shape]
    return f"""
units metal
atom_modify map array
boundary {boundary}
lattice fcc 3.6
region box {box}
create_box 2 box
region inside {inside or box}
create_atoms 1 region inside
set group all type/fraction 2 {second} 4711
mass * 50.0
displace_atoms all random {jitter} {jitter} {jitter} 4713
"""


def metadata(path: str) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("metadata.json"))


def with_parity(path: str, target, parity: str) -> str:
    """The same file with another parity."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps(json.loads(content) | {"parity": parity}).encode()
            new.writestr(name, content)
    return str(target)


# --- the property ---------------------------------------------------------------------------------


def test_parity_is_found(half, model):
    assert metadata(half("adp"))["parity"] == "++---++++++"
    assert metadata(model("neural"))["parity"] == "+" * 8
    assert "parity" not in metadata(model("eam"))  # too cheap


def test_a_model_without_parity(tmp_path):
    """Messages that tell up from down in a way that is neither even nor odd."""
    import jax.numpy as jnp

    from mliap_local import export_model

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=1)
        fade = jnp.where(square < 9, 1 - square / 9, 0) ** 3
        wide = jnp.exp(-square[:, None] * jnp.linspace(0.1, 1, 64))
        mixed = fade[:, None] * jnp.concatenate([wide, wide], axis=1)
        return mixed.at[:, 0].add(fade * (1 + 0.5 * r_ij[:, 0] / 3))

    def readout(h, sums):
        return jnp.sum(sums[:, 1:] ** 2, axis=1) + 0 * h[:, 0]

    def init(numbers):
        return jnp.asarray(numbers, jnp.float64)[:, None]

    words = {"cutoff": 3.0, "elements": ["Ni"], "half": True}
    export_model(tmp_path / "m.zip", init, edge, readout, **words)
    assert "parity" not in metadata(tmp_path / "m.zip")


@pytest.mark.parametrize(
    ("parity", "found"),
    [("+", "a sign for each of 2 columns"), ("+x", "signs"), ("", "signs"), (3, "signs")],
)
def test_parity_without_sense(half, tmp_path, parity, found):
    from mliap_local.model_file import ModelFileError, read_model

    with pytest.raises(ModelFileError, match=f"parity.*{found}"):
        read_model(with_parity(half("eam"), tmp_path / "m.zip", parity), trusted=True)


def test_check_refuses_a_parity_that_is_none(half, tmp_path):
    from mliap_local.model_file import check_model

    good = check_model(half("eam"))
    assert all(check.ok for check in good)
    failed = [c for c in check_model(with_parity(half("eam"), tmp_path / "m", "+-")) if not c.ok]
    assert [check.name for check in failed] == ["metadata"] and "parity" in failed[0].detail


# --- energies, forces, pressure -------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NATIVE)
def test_forces_are_the_native_ones(runner, half, halves, name, shape):
    """Boxes in which atoms see their own images, open ones, tilted ones."""
    system = crystal(shape)
    expected = runner.evaluate(system, NATIVE[name])
    assert np.abs(expected.forces).max(1).min() > 0
    got = runner.evaluate(system, ours(half(name), name))
    assert got.difference(expected) < 1e-10
    assert halves


def test_a_wrong_parity_is_seen(runner, half, halves, tmp_path):
    """By the tests above: odd columns of adp added as if they were even."""
    expected = runner.evaluate(crystal("triclinic"), NATIVE["adp"])
    wrong = with_parity(half("adp"), tmp_path / "wrong.zip", "+" * 11)
    got = runner.evaluate(crystal("triclinic"), ours(wrong, "adp"))
    assert halves and got.difference(expected) > 1e-6


def test_atoms_in_perfect_rows(runner, half, halves):
    """All neighbours level with each other in all directions of the lattice."""
    system = crystal("orthogonal", 0.0)
    expected = runner.evaluate(system, NATIVE["eam"])
    got = runner.evaluate(system, ours(half("eam"), "eam"))
    assert halves and got.difference(expected) < 1e-10


def test_energies_and_stresses_of_atoms(runner, half, halves):
    wanted = """
compute energies all pe/atom
compute stresses all stress/atom NULL
thermo_style custom step pe pxx
run 0
dump d all custom 1 /dev/null c_energies c_stresses[1]
run 0
"""
    results = []
    for style in NATIVE["eam"], ours(half("eam"), "eam"):
        runner.run(crystal("triclinic"), style, wanted)
        results.append(
            [
                by_id(runner, runner.lmp.numpy.extract_compute(name, 1, shape))
                for name, shape in (("energies", 1), ("stresses", 2))
            ]
        )
    for expected, got in zip(*results, strict=True):
        assert_close(got, expected)
    assert len(halves) > 1


def test_centroid_stress_needs_all_edges(runner, half, model, halves):
    """It tells the two edges of a pair apart."""
    wanted = """
compute c all centroid/stress/atom NULL virial
compute sum all reduce sum c_c[*]
thermo_style custom step pe c_sum[1]
run 0
"""
    found = []
    for style in ours(model("eam"), "eam"), ours(half("eam"), "eam"):
        runner.run(crystal("triclinic"), style, wanted)
        found.append(by_id(runner, runner.lmp.numpy.extract_compute("c", 1, 2)))
    assert_close(found[1], found[0], 1e-13)
    assert not halves


@pytest.mark.parametrize(
    ("second", "used"), [(0.0, True), (0.03, True), (0.5, False)], ids=["pure", "few", "mixed"]
)
def test_only_where_rows_are_shorter(runner, half, halves, monkeypatch, second, used):
    from mliap_local.core import padding

    monkeypatch.setattr(padding, "MOST_HALF_ROOM", 0.75)
    system = crystal("orthogonal", 0.2, second)
    expected = runner.evaluate(system, NATIVE["eam"])
    assert runner.evaluate(system, ours(half("eam"), "eam")).difference(expected) < 1e-10
    assert bool(halves) == used


def test_long_rows_go_on_in_others(runner, half, halves, monkeypatch):
    """Of few unlike atoms, whose edges all stand for themselves."""
    from mliap_local.lammps import bridge

    more, function = [], bridge._Shares.find_half

    def counted(self, begin, end):
        found = function(self, begin, end)
        more.append(found[1] - (end - begin))
        return found

    monkeypatch.setattr(bridge._Shares, "find_half", counted)
    system = crystal("orthogonal", 0.2, 0.02).replace("3 0 3 0 3", "5 0 5 0 5")
    for name in NATIVE:
        expected = runner.evaluate(system, NATIVE[name])
        assert runner.evaluate(system, ours(half(name), name)).difference(expected) < 1e-10
        assert (sum(more) > 4) == (name == "eam")  # all atoms of adp are nickel
        more.clear()


def test_atoms_without_a_species(runner, half, halves):
    """A hybrid style's list holds some types only."""
    system = crystal("orthogonal")
    zero = "zero 4.0\npair_coeff * * zero"
    found = []
    for style in (
        f"pair_style hybrid/overlay eam/alloy {zero}\npair_coeff * * eam/alloy {EAM} Ni NULL",
        f"pair_style hybrid/overlay mliap_local {zero}\n"
        f"pair_coeff * * mliap_local {half('eam')} Ni NULL",
    ):
        found.append(runner.evaluate(system, style))
    assert halves and found[1].difference(found[0]) < 1e-10


# --- what is remembered: types, lists, positions, the box -----------------------------------------

WARM = """
mass * 50.0
velocity all create 900 4711
timestep 0.002
neighbor 0.6 bin
neigh_modify every 1 delay 0 check yes
thermo_style custom step pe pxx pyy pzz pxy pxz pyz vol
"""
RUNS = {
    "lists that are built anew": "fix i all nve\nrun 80",
    "a box that moves": "fix i all npt temp 900 900 0.1 x 0 0 1 y 0 0 1 z 0 0 1\nrun 40",
    "a box that is sheared": "change_box all triclinic\nfix i all nve\n"
    "fix d all deform 1 xy erate 2.0 xz erate 1.0 remap x\nrun 40",
    # types change, the list does not
    "types that change": "fix i all nve\n"
    "fix s all atom/swap 2 4 4711 900 ke no types 1 2 semi-grand yes mu 0 0.3\nrun 20",
    "atoms that come and go": "group g type 2\nfix i all nve\n"
    "fix g g gcmc 3 6 3 2 4711 900 -3.4 0.5 full_energy group g\nrun 24",
    "atoms that come and go under our fix": "group g type 2\nfix i all nve\n"
    "fix g g gcmc/mliap_local 3 6 3 2 4711 900 -3.4 0.5 group g verify 1\nrun 24",
    "types that change under our fix": "fix i all nve\n"
    "fix s all atom/swap/mliap_local 2 4 4711 900 ke no types 1 2 semi-grand yes mu 0 0.3 "
    "verify 1\nrun 20",
    "atoms that are displaced between runs": "fix i all nve\nrun 3\n"
    "displace_atoms all ramp x 0 0.4 z 0 10.8 units box\nrun 3\nset atom 5 type 2\nrun 3\n"
    "delete_atoms group odd\nrun 3\nchange_box all x scale 1.02 remap\nrun 3",
    "a minimum": "minimize 0 1e-4 30 100",
}


def assert_runs_alike(runner, model, what: str, style: str) -> None:
    """One of RUNS, beside LAMMPS's own style."""
    odd = "group odd id 7 19\n"
    found = []
    # native deletions keep the energy of the atom alone, our fixes want a model: beside all edges
    alone = "our fix" in what or "come and go" in what
    native = ours(model("eam"), "eam") if alone else NATIVE["eam"]
    for each in native, style:
        runner.run(crystal("orthogonal", 0.1), odd, each, WARM, RUNS[what])
        found.append(
            (thermo(runner, "pe"), thermo(runner, "vol", "atoms"), thermo(runner, *PRESSURE))
        )
    for expected, got in zip(*found, strict=True):
        assert_close(got, expected, 1e-7)


@pytest.mark.parametrize("what", RUNS)
def test_runs_are_the_native_ones(runner, half, model, halves, what):
    """Trajectories and decisions: an edge that is lost or counted twice would be another."""
    assert_runs_alike(runner, model, what, ours(half("eam"), "eam", "verify 1"))
    assert len(halves) > 5


def test_another_model_without_parity(runner, half, model, halves):
    system = crystal("orthogonal")
    expected = runner.evaluate(system, NATIVE["eam"])
    runner.evaluate(system, ours(half("eam"), "eam"))
    n = len(halves)
    runner.more(f"pair_coeff * * {model('eam')} Ni Al\nrun 0")
    assert len(halves) == n and runner.state().difference(expected) < 1e-10
    runner.more(f"pair_coeff * * {half('eam')} Al Ni\nrun 0")
    other = runner.state()
    assert len(halves) > n
    expected = runner.evaluate(system, NATIVE["eam"].replace("Ni Al", "Al Ni"))
    assert other.difference(expected) < 1e-10


def test_ranks(half, tmp_path, monkeypatch):
    """Atoms of another process stand for themselves. With a wrong parity energies are wrong, so
    that some do not."""
    (tmp_path / "sitecustomize.py").write_text(
        "from mliap_local.core import padding\npadding.MOST_HALF_ROOM = 0.9\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wrong = with_parity(half("adp"), tmp_path / "wrong.zip", "+" * 11)
    found = []
    for name, style, steps in (
        ("native", NATIVE["adp"], 20),
        ("ours", ours(half("adp"), "adp"), 20),
        ("wrong", ours(wrong, "adp"), 0),
    ):
        (tmp_path / name).mkdir()
        text = crystal("orthogonal", 0.1).replace("block 0 3 0 3 0 3", "block 0 7 0 7 0 6")
        text += f"{style}\n{WARM}\nthermo_modify format float %.12g\nthermo 10\n"
        (tmp_path / name / "in").write_text(f"{text}\nfix i all nve\nrun {steps}")
        printed = run_on_ranks(tmp_path / name, 2)
        rows = [row.split() for row in printed.split("Volume")[1].splitlines()]
        rows = [row for row in rows if len(row) == 9 and row[0].isdigit()]
        found.append(np.array(rows, float))
    native, got, other = found
    assert native.shape == (3, 9)
    assert_close(got, native, 1e-9)
    assert np.abs(other[0] - native[0]).max() > 1e-3


# --- precision, threads, failures -----------------------------------------------------------------


def test_32bit_is_measured_all_the_same(runner, model, halves):
    system = crystal("orthogonal")
    found = {}
    for name in "neural", "neural32":
        style = f"pair_style mliap_local\npair_coeff * * {model(name)} Ni H"
        found[name] = runner.evaluate(system, style)
    assert len(halves) == 2
    assert 0 < found["neural32"].difference(found["neural"]) < 1e-5
    runner.more("run 0")  # and is the same again
    assert runner.state().forces.tobytes() == found["neural32"].forces.tobytes()


def test_threads_do_not_change_a_digit(runner, half, halves, monkeypatch):
    from mliap_local.core import padding
    from mliap_local.lammps import bridge

    monkeypatch.setattr(padding, "HALF_ROWS", 20)  # six shares
    found = set()
    for threads in "1", "2", "5", "2":
        monkeypatch.setattr(bridge, "_users_nproc", threads)
        runner.run(crystal("orthogonal"), ours(half("adp"), "adp"), "run 3")
        found.add(runner.state().forces.tobytes())
    assert len(found) == 1 and len(halves) == 16
    monkeypatch.setattr(bridge, "_users_nproc", "7")  # more than shares
    runner.run(crystal("orthogonal"), ours(half("adp"), "adp"), "run 3")
    assert len(halves) == 16


def let_third_share_fail(monkeypatch, kernel: str) -> None:
    """In the kernels of the model that was opened last."""
    from mliap_local.lammps.kernels import _opened

    kernels, calls = next(reversed(_opened.values())), []
    function = getattr(kernels, kernel)

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("the third share")
        return function(*arguments)

    monkeypatch.setattr(kernels, kernel, failing)


@pytest.mark.parametrize("kernel", ["half_sums", "read_out", "half_gradient"])
def test_a_failure_in_any_pass(runner, half, halves, monkeypatch, kernel):
    """It is told, and the next evaluation knows nothing of it."""
    from mliap_local.core import padding

    monkeypatch.setattr(padding, "HALF_ROWS", 20)
    system, style = crystal("orthogonal"), ours(half("adp"), "adp")
    expected = runner.evaluate(system, NATIVE["adp"])
    runner.evaluate(system, style)
    let_third_share_fail(monkeypatch, kernel)
    with pytest.raises(Exception, match="the third share"):
        runner.more("run 0")
    assert runner.evaluate(system, style).difference(expected) < 1e-10
