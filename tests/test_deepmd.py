"""Models of DeePMD-kit against its numpy backend, in LAMMPS against full evaluations, and their
reader against bad files."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import oracle_deepmd as oracle
import pytest
from ase import Atoms
from conftest import nickel

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models.deepmd import deepmd  # noqa: E402
from mliap_local.models.deepmd_files import read_deepmd  # noqa: E402
from mliap_local.models.deepmd_table import tabulated  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402

TRIED = oracle.tried()
TABLES = ("se_e2_a.dp", "pairs.dp", "excluded_pairs.dp", "se_e2_r_excluded.dp", "hybrid.dp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All models, and what deepmd-kit makes of the structures with them."""
    folder = tmp_path_factory.mktemp("deepmd")
    oracle.run(folder, oracle.MODELS, TRIED)
    return folder


@pytest.mark.parametrize("name", [name for name in oracle.MODELS if name != "narrow.dp"])
def test_agrees_with_deepmd_kit(folder, name):
    path = folder / name
    differences = oracle.differences(oracle.ours(read_deepmd(path), TRIED), path)
    # finite differences of its energies; deepmd-kit evaluates single precision in single precision
    bounds = (1e-5, 0, 0) if name == "single.dp" else (1e-10, 1e-6, 1e-6)
    assert all(d <= b for d, b in zip(differences, bounds, strict=True)), differences
    derived = oracle.MODELS[name].get("differentiable", True)
    assert derived == (f"{'compressed'}/virial" in np.load(f"{path}.npz"))


def test_models_try_what_they_should(folder):
    """Slots that are empty contribute, pairs are excluded, none of the structures needs more."""
    potentials = {name: read_deepmd(folder / name) for name in oracle.MODELS}
    parts = [d for p in potentials.values() for d in p.descriptors]
    assert any(np.any(d.slot) for d in parts) and any(not np.any(d.slot) for d in parts)
    assert any(np.any(d.gain == 0) for d in parts) and any(np.any(d.sel == 0) for d in parts)
    assert {d.angular for d in parts} == {True, False}
    layers = [layer for d in parts for net in d.networks for layer in net]
    layers += [layer for p in potentials.values() for net in p.fittings for layer in net]
    assert {layer.residual for layer in layers} == {0, 1, 2}
    kinds = "tanh relu relu6 gelu softplus sigmoid silu none silut:3.0 custom_silu:2.0"
    assert {layer.activation for layer in layers} == set(kinds.split())
    crowded = [len(atoms) for atoms in TRIED.values() if atoms.cell.volume < 4.5**3]
    assert min(crowded) == 1 and any(p.silent.any() for p in potentials.values())


def test_all_neighbours_count(folder):
    """DeePMD-kit drops the farthest beyond `sel`: as long as there are none, all is the same."""
    path = folder / "narrow.dp"
    found, expected = oracle.ours(read_deepmd(path), TRIED), np.load(f"{path}.npz")
    for name, few in (("dimer 2", True), ("dimer 4", True), ("one atom", True), ("crystal", False)):
        off = np.abs(found[name][0] - expected[f"{name}/energies"]).max()
        assert off < 1e-12 if few else off > 1e-3
    assert read_deepmd(path).slots == "3 Ni and 3 H within 4.5"


@pytest.mark.parametrize("name", ["se_e2_a.dp", "hybrid_se_atten.dp"])
def test_single_precision(folder, name):
    found = oracle.ours(read_deepmd(folder / name), TRIED, np.float32)
    energy, *_ = oracle.differences(found, folder / name)
    assert 1e-10 < energy < 1e-5


@pytest.mark.parametrize("name", TABLES)
def test_tables(folder, name):
    path = folder / name
    exact = read_deepmd(path)
    for tolerance in (1e-4, 1e-8) if name == "se_e2_a.dp" else (1e-8,):
        tables, values, slopes = tabulated(exact, tolerance)
        assert 0 < values <= tolerance and 0 < slopes <= tolerance
        # atoms closer than half an Angstrom are none of its business
        energy, *others = oracle.differences(oracle.ours(tables, TRIED), path)
        assert 1e-10 * tolerance < energy < 10 * tolerance and max(others) < 100 * tolerance + 1e-6
        assert all(d.table.basis.shape[1] < d.columns for d in tables.descriptors)


def test_what_cannot_be_a_table(folder):
    for name, tolerance, message in (
        ("se_e2_a.dp", 1e-18, "a table has to 1e-18, found errors of"),
        ("se_e2_a.dp", 2.0, "a tolerance between 0 and 1, got 2"),
        ("se_atten.dp", 1e-6, "only se_e2_a and se_e2_r"),
    ):
        with pytest.raises(ValueError, match=message):
            tabulated(read_deepmd(folder / name), tolerance)
    d = read_deepmd(folder / "se_e2_a.dp")
    kinked = tuple(
        tuple(layer._replace(activation="relu") for layer in net)
        for net in d.descriptors[0].networks
    )
    d = d._replace(descriptors=(d.descriptors[0]._replace(networks=kinked),))
    with pytest.raises(ValueError, match="in slopes with 16384 intervals"):
        tabulated(d, 1e-3)


@pytest.mark.parametrize("name", ["pairs.dp", "energies.dp", "hybrid.dp", "se_atten_strip.dp"])
def test_keeping_elements_changes_nothing_else(folder, name):
    whole = read_deepmd(folder / name)
    kept = whole.elements[::-1][:2]
    part = whole.keeping(kept)
    draw = np.random.default_rng(3)
    r_ij, senders = jnp.asarray(draw.normal(size=(4, 6, 3)) * 2), draw.integers(0, 2, (4, 6))
    results = []
    for potential in (whole, part):
        functions = deepmd(potential)
        numbers = np.array([{"Ni": 28, "Al": 13, "H": 1}[e] for e in kept])
        h = functions.node_init(jnp.asarray(numbers))
        h_i = h[jnp.array([0, 1, 0, 1])]
        sums = jnp.stack(
            [
                functions.edge(jnp.tile(h_i[k], (6, 1)), h[senders[k]], r_ij[k]).sum(axis=0)
                for k in range(4)
            ]
        )
        results.append(np.asarray(functions.readout(h_i, sums)))
    assert np.abs(results[0]).max() > 0.1
    np.testing.assert_allclose(*results, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="no O: expected elements among"):
        whole.keeping(["O"])


@pytest.mark.parametrize("table", [False, True])
def test_no_neighbour_and_foreign_elements_make_nothing(folder, table):
    potential = read_deepmd(folder / "hybrid.dp")
    functions = deepmd(tabulated(potential, 1e-6)[0] if table else potential)
    numbers = jnp.array([28, 1, 0, 92, -3, 4000])
    i, j = np.array(list(itertools.product(range(len(numbers)), repeat=2))).T

    @jax.jit
    def evaluate(r_ij):
        h = functions.node_init(numbers)
        messages, pull = jax.vjp(functions.edge, h[i], h[j], r_ij)
        energies = functions.readout(h, 0 * messages[: len(h)])
        return messages, pull(jnp.ones_like(messages))[2], energies

    for length, none in ((0, i >= 0), (0.1, (i > 1) | (j > 1)), (2.0, (i > 1) | (j > 1))):
        messages, gradient, energies = map(
            np.asarray, evaluate(np.broadcast_to([length, 0.0, 0.0], (len(i), 3)))
        )
        assert np.all(np.isfinite(messages)) and np.all(np.isfinite(gradient))
        assert np.all(messages[none] == 0) and np.all(gradient[none] == 0)
        assert none.all() or np.all(np.abs(messages[~none]).max(axis=1) > 0)
        assert np.all(energies[2:] == 0) and np.all(np.abs(energies[:2]) > 1e-3)


@pytest.fixture(scope="module", params=["", "--tabulate 1e-8"])
def converted(request, folder) -> tuple[Path, str, bool]:
    """A model, and the model files that are made of it."""
    path, model = folder / "se_e2_a.dp", str(folder / f"made{len(request.param)}.zip")
    assert main(["convert", "deepmd", str(path), *request.param.split(), "-o", model]) == 0
    return path, model, bool(request.param)


def test_model_file(converted, capsys):
    path, model, table = converted
    assert main(["check", model]) == 0
    out = capsys.readouterr().out
    assert "differentiable 2 times" in out and "FAILED" not in out
    metadata = read_model(model).metadata
    assert metadata.elements == ("Ni", "H") and metadata.cutoff == 4.5 and metadata.smooth
    assert metadata.units == "metal" and metadata.overlap == (0.5 if table else None)
    source = metadata.source or ""
    assert "the nearest 100 Ni and 100 H within 4.5 Angstrom; here all neighbours count" in source
    assert ("tabulated" in source) == table
    alone = float(np.load(f"{path}.npz")["one atom/energies"][0])
    energies = (metadata.isolated_energies or {}).values()
    assert min(abs(e - alone) for e in energies) < 1e-7 * abs(alone)


def test_lammps_agrees_and_verifies(runner, converted, tmp_path):
    """Energy, forces and virial in a triclinic box, and every trial against a full evaluation."""
    path, model, table = converted
    style = f"pair_style mliap_local verify 1\npair_coeff * * {model} Ni H\n"
    state = runner.evaluate(nickel("2 2 2", tilt="0.4 0.3 -0.2"), style)
    lmp = runner.lmp
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    cell = np.diag(np.subtract(high, low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    types = np.array(lmp.gather_atoms("type", 0, 1))
    positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    assert set(types) == {1, 2}
    symbols = [oracle.PLACES[t - 1] for t in types]
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    oracle.run(tmp_path, {path.name: oracle.MODELS[path.name]}, {"lammps": atoms}, ["lammps"])
    expected = np.load(tmp_path / f"{path.name}.npz")
    assert state.energy == pytest.approx(
        expected["lammps/energies"].sum(), rel=1e-7 if table else 1e-12
    )
    forces, virial = expected["lammps/forces"], expected["lammps/virial"]
    assert np.abs(state.forces[:2] - forces).max() < 1e-6 * np.abs(state.forces).max()
    to_bar = 1.602176634e6  # eV per cubic Angstrom
    pressure = virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] / atoms.cell.volume * to_bar
    assert np.abs(state.pressure - pressure).max() < 1e-6 * np.abs(pressure).max()

    runner.run(nickel("2 2 2"), style, "group gas type 2\nthermo 1000")
    fixes = {
        "s": "fix s all atom/swap 1 20 17 1000 ke no types 1 2",
        "g": "fix g gas gcmc 1 10 10 2 11 3000 -1 0.5",
    }
    for fix, text in fixes.items():
        before = runner.vector()
        runner.more(f"{text}\nrun 4")
        gained = np.subtract(runner.vector(), before)
        numbers = [lmp.extract_fix(fix, 0, 1, k) for k in range(8 if fix == "g" else 2)]
        assert 0 < sum(numbers[1::2]) < sum(numbers[::2]), (fix, numbers)
        assert gained[1] >= 20 and runner.vector()[3] < 1e-9
        runner.more(f"unfix {fix}")


def test_convert_says_what_is_different_and_what_is_wrong(folder, tmp_path, capsys):
    path, model = str(folder / "pairs.dp"), str(tmp_path / "x.zip")
    assert main(["convert", "deepmd", path, "--elements", "Ni", "Pd", "-o", model]) == 1
    error = capsys.readouterr().err
    assert "pairs.dp: --elements: the model has no Pd: expected elements among Ni Al H" in error
    assert main(["convert", "deepmd", path, "--tabulate", "1e-30", "-o", model]) == 1
    assert "pairs.dp: --tabulate: expected networks that a table has to" in capsys.readouterr().err
    assert main(["convert", "deepmd", path, "--elements", "H", "-o", model]) == 0
    assert "here all neighbours count" in capsys.readouterr().out
    source = read_model(model).metadata.source or ""
    assert "of 3 elements H; " in source and "the nearest 100 within" in source


# files that are wrong


def changed(path: Path, target: Path, change) -> Path:
    """A copy whose tree a function changed."""
    import h5py

    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        tree = json.loads(str(file.attrs["json"]))
        change(tree["model"], file)
        file.attrs["json"] = json.dumps(tree)
    return target


def setting(*way_and_value):
    """A change of one value in the tree; of the first descriptor where it is a hybrid."""
    *way, value = way_and_value

    def change(model, file):
        *inner, last = way
        for key in inner:
            model = model[key]
        if value is KeyError:
            del model[last]
        else:
            model[last] = value

    return change


def array(*way_and_change):
    """A change of one array."""
    *way, change_of = way_and_change

    def change(model, file):
        for key in way:
            model = model[key]
        values = change_of(file[model][()])
        del file[model]
        if values is not None:
            file[model] = values

    return change


D, F = "descriptor", "fitting"
NET = (D, "embeddings", "networks", 0, "layers", 0)
BAD = {
    "type": (setting("type", "linear"), "model/type: expected a model of one round of messages"),
    "zbl": (setting("type", "zbl"), "zbl (its switch follows the nearest neighbour"),
    "spin": (setting("type", "spin_ener"), "spin_ener (it needs spins)"),
    "dpa2": (setting(D, "type", "dpa2"), "found dpa2 (messages travel more than once)"),
    "dpa3": (setting(D, "type", "dpa3"), "found dpa3 (messages travel more than once)"),
    "se_e3": (setting(D, "type", "se_e3"), "found se_e3 (a sum over pairs of neighbours)"),
    "escape": (setting(D, "type", "\x1b[31mred"), "messages (se_e2_a, se_a, se_e2_r"),
    "attention": (setting(D, "attn_layer", 2), "attn_layer: expected none: attention"),
    "compressed": (
        setting(D, "compress", {"x": 1}),
        "compress: expected none: convert the model that",
    ),
    "dipole": (
        setting(F, "type", "dipole"),
        "type: expected a fitting of energies (ener), found dipole (no energy)",
    ),
    "fparam": (setting(F, "numb_fparam", 2), "numb_fparam: expected none: a frame's parameters"),
    "aparam": (setting(F, "numb_aparam", 1), "numb_aparam: expected none"),
    "version": (setting("@version", 3), "@version: expected a number from 1 to 2, found 3"),
    "element": (setting("type_map", ["Ni", "Xx"]), "type_map: expected symbols of elements"),
    "element escape": (setting("type_map", ["Ni", "\x1b]0;x\x07"]), "type_map: expected symbols"),
    "element twice": (setting("type_map", ["Ni", "Ni"]), "'Ni' is named twice"),
    "elements": (setting("type_map", ["Ni"]), "sel: expected 1 entries, found 2"),
    "no key": (setting(D, "rcut", KeyError), "descriptor: expected an entry rcut, found only"),
    "no weights": (setting(*NET, "@variables", KeyError), "expected an entry @variables"),
    "no tree": (setting(D, 7), "model/descriptor: expected a mapping, found 7"),
    "cutoff": (setting(D, "rcut", -1.0), "expected 0 <= rcut_smth < rcut <= 100, found 1.5 and -1"),
    "cutoff text": (setting(D, "rcut", "far"), "rcut: expected a number, found far"),
    "cutoff NaN": (setting(D, "rcut", float("nan")), "rcut: expected a finite number, found nan"),
    "sel": (setting(D, "sel", [100, 1.5]), "sel/1: expected a whole number, found 1.5"),
    "no sel": (setting(D, "sel", [0, 0]), "sel: expected 1 to 65536 neighbours, found 0"),
    "axis": (
        setting(D, "axis_neuron", 64),
        "axis_neuron: expected a number from 1 to 32, found 64",
    ),
    "side": (setting(D, "type_one_side", 1), "type_one_side: expected true or false, found 1"),
    "one side": (setting(D, "type_one_side", False), "networks: expected 4 entries, found 2"),
    "excluded": (
        setting(D, "exclude_types", [[0, 2]]),
        "exclude_types/0/1: expected a number from 0",
    ),
    "activation": (setting(*NET, "activation_function", "swish"), "an activation function (tanh,"),
    "threshold": (setting(*NET, "activation_function", "silut:x"), "a threshold after the colon"),
    "no array": (
        setting(*NET, "@variables", "w", "/variable_9999"),
        "w: expected an array of numbers",
    ),
    "no name": (setting(*NET, "@variables", "w", ["\x1b[0m"]), "w: expected an array of numbers"),
    "gone": (
        array(*NET, "@variables", "w", lambda a: None),
        "w: expected an array of numbers, found",
    ),
    "shape": (array(*NET, "@variables", "w", lambda a: a[:, :-1]), "an array of 7, found 8"),
    "rows": (array(*NET, "@variables", "w", lambda a: a.repeat(2, 0)), "array of 1xany, found 2x8"),
    "NaN": (
        array(*NET, "@variables", "w", lambda a: a * np.nan),
        "w: expected finite numbers, found 8",
    ),
    "text": (
        array(*NET, "@variables", "w", lambda a: b"x"),
        "w: expected an array of numbers, found",
    ),
    "davg": (
        array(D, "@variables", "davg", lambda a: a[:, 1:]),
        "davg: expected an array of 2x200x4",
    ),
    "slots": (
        array(D, "@variables", "davg", lambda a: a + np.eye(200, 4)),
        "same numbers for all slots",
    ),
    "direction": (
        array(D, "@variables", "davg", lambda a: a + np.eye(4)[1]),
        "no direction that differs",
    ),
    "dstd": (
        array(D, "@variables", "dstd", lambda a: 0 * a),
        "dstd: expected positive numbers, found 0",
    ),
    "bias": (
        array("@variables", "out_bias", lambda a: a[:, :1]),
        "out_bias: expected an array of 1x2x1",
    ),
    "width": (
        array(F, "nets", "networks", 1, "layers", 0, "@variables", "w", lambda a: a[1:]),
        "fitting/nets/networks/1/layers/0/@variables/w: expected an array of 128xany, found 127x24",
    ),
    "architecture": (
        setting(F, "nets", "networks", 1, "layers", 0, "activation_function", "relu"),
        "networks/1: expected a network of the same architecture as the first",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mutilated_file_is_refused(folder, tmp_path, case):
    change, message = BAD[case]
    path = changed(folder / "se_e2_a.dp", tmp_path / "bad.dp", change)
    with pytest.raises(PotentialFileError, match=r"bad\.dp: .*expected .*, found ") as caught:
        read_deepmd(path)
    assert message in str(caught.value) and len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_type_embedding_with_shifts_is_refused(folder, tmp_path):
    change = array(D, "@variables", "davg", lambda a: a + 0.1 * np.eye(4)[0])
    path = changed(folder / "se_atten.dp", tmp_path / "bad.dp", change)
    with pytest.raises(
        PotentialFileError, match="davg: expected zeros in a descriptor with type emb"
    ):
        read_deepmd(path)
    change = setting(D, "type_embedding", "use_econf_tebd", True)
    path = changed(folder / "se_atten.dp", path, change)
    with pytest.raises(PotentialFileError, match="electron configurations are in no file"):
        read_deepmd(path)


def test_links_into_other_files_are_not_followed(folder, tmp_path):
    import h5py

    def change(model, file):
        name = model[D]["@variables"]["davg"]
        del file[name]
        file[name] = h5py.ExternalLink(str(folder / "se_e2_a.dp"), name)

    path = changed(folder / "se_e2_a.dp", tmp_path / "bad.dp", change)
    with pytest.raises(PotentialFileError, match="davg: expected an array of numbers, found no"):
        read_deepmd(path)

    def huge(model, file):
        name = model[D]["@variables"]["davg"]
        del file[name]
        file.create_dataset(name, (1 << 20, 1 << 20), "f8", chunks=(1 << 10, 1 << 10))

    path = changed(folder / "se_e2_a.dp", path, huge)
    with pytest.raises(PotentialFileError, match="more than any model has"):
        read_deepmd(path)


def first_number(yaml: str, text: str) -> str:
    """Of the first array."""
    return re.sub(r"(- - - )[-.\d]+", rf"\g<1>{text}", yaml, count=1)


def test_a_file_that_is_no_model_is_refused(folder, tmp_path):
    whole = (folder / "se_e2_a.dp").read_bytes()
    yaml = (folder / "se_e2_a.yaml").read_text()
    for name, content, message in (
        ("a.dp", whole[: len(whole) // 2], "a.dp: cannot be read: .*truncated"),
        ("a.dp", b"", "a.dp: cannot be read"),
        ("a.dp", b"no HDF5" * 100, "a.dp: cannot be read"),
        ("a.dp", whole.replace(b"SNOD", b"SNOW"), "a.dp: expected HDF5, found .*bad symbol table"),
        ("a.yaml", "model: [1", r"a.yaml:\d+: expected YAML"),
        ("a.yaml", "[" * 100_000, "expected YAML"),
        ("a.yaml", "7", "a.yaml: expected a mapping, found 7"),
        ("a.yaml", "model: {type: dos}", "found dos .no energy"),
        (
            "a.yaml",
            yaml.replace("type: standard", "type: !!python/name:os.system"),
            "expected YAML",
        ),
        ("a.yaml", yaml.replace("value:", "value: &x [*x, 1]\n#", 1), "expected"),
        ("a.yaml", first_number(yaml, 9000 * "x"), "out_bias: .*, found values of type str"),
        ("a.yaml", first_number(yaml, "[2, 3]"), "out_bias: .*, found values of type list"),
        ("a.yaml", first_number(yaml, "1" + 400 * "0"), "out_bias: .*, found int too large"),
        ("a.pb", b"", r"`dp convert-backend a.pb a.dp` makes one"),
        (
            "a.pth",
            b"",
            "found .pth; where DeePMD-kit is installed, `dp convert-backend a.pth a.dp`",
        ),
        ("a.pt2", b"", "dp convert-backend a.pt2 a.dp"),
        ("a.txt", b"", "expected a name ending in .dp, .yaml, .yml, found .txt"),
    ):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(PotentialFileError, match=message):
            read_deepmd(path)
    with pytest.raises(PotentialFileError, match="cannot be read: No such file"):
        read_deepmd(tmp_path / "missing.dp")


def test_what_is_missing_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    arguments = ["convert", "deepmd", str(folder / "se_e2_a.dp"), "-o", str(tmp_path / "x.zip")]
    assert main(arguments) == 1
    assert "needs the package h5py: pip install 'mliap-local[deepmd]'" in capsys.readouterr().err
