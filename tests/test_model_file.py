"""The zip: what is written is read, what is unsound is refused, each refusal by its message."""

import functools
import json
import struct
import zipfile
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from jax import export  # noqa: E402

from mliap_local.model_file import (  # noqa: E402
    ModelCheckError,
    ModelFileError,
    check_model,
    export_model,
    read_model,
)
from mliap_local.model_file.programs import _calls_out  # noqa: E402
from mliap_local.models.lj import lj  # noqa: E402

# What is read here was made here; the child that other files are tried in is test_hostile's.
read_model = functools.partial(read_model, trusted=True)

CUTOFF = 4.0
GOOD = {"cutoff": CUTOFF, "precision": "64bit"}


# A small model with all that models have: embeddings wider than one, messages of another width,
# an envelope that ends smoothly at the cutoff, a readout that is not linear.


def init(numbers):
    z = numbers[:, None].astype(float)
    return jnp.sin(z * jnp.array([0.1, 0.2, 0.3, 0.4])) + 1.5


def edge(h_i, h_j, r_ij):
    square = jnp.sum(r_ij**2, axis=-1, keepdims=True) / CUTOFF**2
    envelope = jnp.where(square < 1, 1 - square, 0) ** 3
    return envelope * (h_i + 2 * h_j)[:, :3] * jnp.exp(-square * h_j[:, 1:])


def readout(h, messages):
    return jnp.tanh(messages).sum(-1) * h[:, 0] + h[:, 1]


def independent_blobs(precision="64bit", vjp_order=2, functions=None):
    """Export as the format's description says, without our code: one symbol for each function."""
    real, integer = (jnp.float64, jnp.int64) if precision == "64bit" else (jnp.float32, jnp.int32)
    (n,) = export.symbolic_shape("n")
    h, m = jax.ShapeDtypeStruct((n, 4), real), jax.ShapeDtypeStruct((n, 3), real)
    signatures = {
        "node_init": (init, (jax.ShapeDtypeStruct((n,), integer),)),
        "edge": (edge, (h, h, jax.ShapeDtypeStruct((n, 3), real))),
        "readout": (readout, (h, m)),
    }
    blobs = {}
    for name, (function, arguments) in signatures.items():
        function, arguments = (functions or {}).get(name, (function, arguments))

        def cast(*args, function=function, **more):
            return jax.tree.map(lambda x: x.astype(real), function(*args, **more))

        exported = export.export(jax.jit(cast), platforms=("cpu",))(*arguments)
        blobs[f"{name}.jax"] = bytes(exported.serialize(vjp_order=vjp_order))
    return blobs


def write_zip(path, blobs, metadata=GOOD):
    with zipfile.ZipFile(path, "w") as archive:
        text = metadata if isinstance(metadata, bytes | str) else json.dumps(metadata)
        archive.writestr("metadata.json", text)
        for name, blob in blobs.items():
            archive.writestr(name, blob)
    return path


@functools.cache
def good_blobs():
    return independent_blobs()


@pytest.fixture
def blobs():
    return good_blobs()


def refuse(path, *words, **arguments):
    with pytest.raises(ModelFileError) as caught:
        read_model(path, **arguments)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message, message
    return message


# Good files


@pytest.mark.parametrize("precision", ["64bit", "32bit"])
def test_file_of_an_independent_exporter_loads(tmp_path, precision):
    path = write_zip(
        tmp_path / "a.zip",
        independent_blobs(precision),
        {"cutoff": 4, "precision": precision, "author": ["unknown keys pass"]},
    )
    functions, metadata, vjp_order, d, m, *_ = read_model(path)
    assert (metadata.cutoff, metadata.precision, metadata.units) == (4.0, precision, "metal")
    assert metadata.elements is None and metadata.smooth is None
    assert (vjp_order, d, m) == (2, 4, 3)
    real = np.float64 if precision == "64bit" else np.float32
    for n in (1, 6):
        numbers = np.arange(n)
        r_ij = np.linspace(0, 3, 3 * n).reshape(n, 3)
        h = functions.node_init(numbers)
        messages = functions.edge(h, h[::-1], r_ij)
        energies = functions.readout(h, messages)
        assert h.dtype == messages.dtype == energies.dtype == real
        ours = readout(init(numbers), edge(init(numbers), init(numbers)[::-1], r_ij))
        np.testing.assert_allclose(energies, ours, rtol=1e-12 if real is np.float64 else 1e-5)
        assert np.all(np.asarray(messages)[0] != 0)


@pytest.mark.parametrize("vjp_order", [0, 1, 2])
def test_written_model_is_read_again(tmp_path, vjp_order):
    path = tmp_path / "model.zip"
    written = export_model(
        path,
        init,
        edge,
        readout,
        cutoff=CUTOFF,
        elements=["Ni", "Al"],
        name="small",
        source="nowhere",
        overlap=0.5,
        masses={"Ni": 58.7},
        vjp_order=vjp_order,
    )
    model = read_model(path)
    assert model.metadata == written.metadata and model[2:5] == written[2:5] == (vjp_order, 4, 3)
    metadata = model.metadata
    assert metadata.elements == ("Ni", "Al") and metadata.overlap == 0.5
    assert metadata.masses == {"Ni": 58.7} and metadata.jumps == ""
    assert metadata.smooth is (True if vjp_order else None)
    assert metadata.jax_version == jax.__version__ and metadata.format_version == 1
    lone = readout(init(jnp.array([28, 13])), jnp.zeros((2, 3)))
    np.testing.assert_allclose(list((metadata.isolated_energies or {}).values()), lone, rtol=1e-14)
    assert [p.name for p in tmp_path.iterdir()] == ["model.zip"]
    assert all(check.ok for check in check_model(path))

    h = init(jnp.array([28, 13]))
    r_ij = jnp.array([[1.0, 2.0, 0.5], [0.3, -1.0, 1.0]])

    def total(functions):
        return lambda r: functions[1](h, h[::-1], r).sum()

    if vjp_order == 0:
        with pytest.raises(ValueError, match="No VJP"):
            jax.grad(total(model.functions))(r_ij)
        return
    ours, exact = (jax.grad(total(f)) for f in (model.functions, (init, edge, readout)))
    np.testing.assert_allclose(ours(r_ij), exact(r_ij), rtol=1e-12)
    if vjp_order == 2:
        # JAX knows neither forward mode nor vmap through an export: reverse over reverse, by rows.
        one, other = (jax.grad(lambda r, g=g: g(r)[0, 0])(r_ij) for g in (ours, exact))
        assert np.max(np.abs(other)) > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("shift", "smooth"), [("none", False), ("energy", False), ("force", True)])
@pytest.mark.parametrize("precision", ["32bit", "64bit"])
def test_smooth_is_measured(tmp_path, shift, smooth, precision):
    """A jump of the energy needs leave and nothing is written without; one of the force is told."""
    path, functions = tmp_path / "lj.zip", lj(["Ar"], 0.0104, 3.4, 8.5, shift)
    arguments = {"cutoff": 8.5, "elements": ["Ar"], "precision": precision}
    ratio = (3.4 / 8.5) ** 6
    if shift == "none":
        with pytest.raises(ModelCheckError, match=r"energy jumps by 0\.00017 .*allow_jump=True"):
            export_model(path, *functions, **arguments)
        assert not path.exists()
        arguments["allow_jump"] = True
    told = pytest.warns(UserWarning, match="cutoff: energy jumps by .* force by 1.2e-04")
    with told if shift == "energy" else nullcontext():
        metadata = export_model(path, *functions, **arguments).metadata
    assert metadata.smooth is smooth
    assert metadata.isolated_energies == {"Ar": 0.0}
    jump = 4 * 0.0104 * ratio * (1 - ratio) if shift == "none" else None
    assert metadata.energy_jump == (jump and pytest.approx(jump, rel=1e-2))
    force = 4 * 0.0104 / 8.5 * ratio * (6 - 12 * ratio)
    assert metadata.force_jump == (None if smooth else pytest.approx(force, rel=1e-2))
    assert metadata.jumps.count(" by ") == {"none": 2, "energy": 1, "force": 0}[shift]
    cutoff_check = check_model(path)[-1]
    assert cutoff_check.name == "cutoff" and cutoff_check.ok
    assert cutoff_check.warning is not smooth


def test_elements_that_look_the_same_are_told(tmp_path):
    """A table of two rows, asked for atomic numbers, gives its last to both elements."""
    table = jnp.ones((2, 4)) * jnp.arange(2.0)[:, None]
    arguments = {"cutoff": CUTOFF, "elements": ["H", "Ni"], "vjp_order": 1, "platforms": ("cpu",)}
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="elements apart: H and Ni have the same embedding"):
        export_model(path, lambda z: table[z], edge, readout, **arguments)
    assert [c.name for c in check_model(path) if c.warning] == ["elements apart"]


def test_jump_without_forces_needs_leave_too(tmp_path):
    arguments = {"cutoff": 8.5, "elements": ["Ar"], "vjp_order": 0}
    for shift, words in (("none", "jumps by"), ("force", "")):
        functions = lj(["Ar"], 0.0104, 3.4, 8.5, shift)
        with pytest.raises(ModelCheckError, match=words) if words else nullcontext():
            export_model(tmp_path / f"{shift}.zip", *functions, **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["force.zip"]


def test_export_for_another_platform_is_checked_by_its_functions(tmp_path):
    path = tmp_path / "cuda.zip"
    arguments = {"cutoff": CUTOFF, "elements": ["Ni"], "platforms": ("cuda",), "vjp_order": 1}
    assert export_model(path, init, edge, readout, **arguments).metadata.smooth is True
    refuse(path, "node_init.jax", "expected an export for cpu", "cuda")
    assert read_model(path, platform="cuda").vjp_order == 1


# Files that are no sound zip


def test_no_file_folder_or_zip(tmp_path, blobs):
    refuse(tmp_path / "missing.zip", "found no such file")
    refuse(tmp_path, "found something else")
    text = tmp_path / "text.zip"
    text.write_text("pair_style mliap_local\n")
    refuse(text, "expected a whole zip file")
    whole = write_zip(tmp_path / "whole.zip", blobs).read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        text.write_bytes(whole[:length])
        refuse(text, "expected a whole zip file")


@pytest.mark.parametrize("name", ["metadata.json", "node_init.jax", "edge.jax", "readout.jax"])
def test_missing_and_empty_members(tmp_path, blobs, name):
    members = {"metadata.json": json.dumps(GOOD), **blobs}
    for content, words in ((None, "expected this member"), (b"", "found an empty member")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for member in members:
                if member != name:
                    archive.writestr(member, members[member])
                elif content is not None:
                    archive.writestr(member, content)
        refuse(tmp_path / "a.zip", name, words)


@pytest.mark.parametrize("name", ["../edge.jax", "/etc/passwd", "..\\edge.jax", "a/../../b"])
def test_members_that_point_elsewhere(tmp_path, blobs, name):
    message = refuse(write_zip(tmp_path / "a.zip", {**blobs, name: b"x"}), "without folders")
    assert name in message


def test_members_of_others_are_left_alone(tmp_path, blobs):
    more = {"README.txt": b"hello", "evil.pkl": b"\x80", "sub/edge.jax": b"x"}
    assert read_model(write_zip(tmp_path / "a.zip", {**more, **blobs})).vjp_order == 2


def test_member_twice(tmp_path, blobs):
    path = write_zip(tmp_path / "a.zip", blobs)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("edge.jax", blobs["edge.jax"])
    refuse(path, "edge.jax", "one member of that name")


def test_members_that_are_too_large(tmp_path, blobs, monkeypatch):
    path = write_zip(tmp_path / "a.zip", blobs, json.dumps(GOOD) + " " * (1 << 20))
    refuse(path, "metadata.json", "at most 1048576 bytes")
    path = write_zip(tmp_path / "b.zip", blobs)
    size = len(blobs["edge.jax"])
    monkeypatch.setattr(
        "mliap_local.model_file.files._MOST_BYTES",
        dict.fromkeys(("metadata.json", *blobs), size - 1),
    )
    refuse(path, "edge.jax", f"at most {size - 1} bytes, found {size} bytes")
    monkeypatch.setattr("mliap_local.model_file.files._MOST_FILE_BYTES", 1000)
    refuse(path, "at most 1000 bytes")


def test_declared_size_that_lies(tmp_path, blobs):
    """A member that unpacks to more than it declares is cut off and fails its checksum."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps(GOOD) + " " * 100_000)
        for name, blob in blobs.items():
            archive.writestr(name, blob)
    content = path.read_bytes()
    true_size = struct.pack("<I", len(json.dumps(GOOD)) + 100_000)
    assert content.count(true_size) == 2
    path.write_bytes(content.replace(true_size, struct.pack("<I", 40)))
    refuse(path, "expected a whole zip file")


def test_damaged_encrypted_and_strange_members(tmp_path, blobs):
    path = write_zip(tmp_path / "a.zip", blobs)
    whole = path.read_bytes()
    damaged = whole.replace(b'"cutoff"', b'"cutofF"')
    assert damaged != whole
    path.write_bytes(damaged)
    refuse(path, "expected a whole zip file", "CRC")

    central = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[central + 8] |= 1
    path.write_bytes(encrypted)
    refuse(path, "metadata.json", "found an encrypted one")

    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name in ("metadata.json", *blobs):
            archive.writestr(name, b"{}")
    refuse(path, "stored or deflated")


# Metadata


BAD_METADATA = {
    "not JSON": ("{cutoff: 4}", "expected JSON"),
    "not UTF-8": (b"\xff\xfe", "expected JSON"),
    "endless": ("[" * 100_000, "expected JSON"),
    "key twice": ('{"cutoff": 4, "cutoff": 5, "precision": "64bit"}', "a key that occurs twice"),
    "a list": ([GOOD], "an object with keys"),
    "no cutoff": ({"precision": "64bit"}, "cutoff: expected a positive finite number"),
    "no precision": ({"cutoff": 4.0}, "precision: expected 32bit or 64bit"),
    **{
        f"cutoff {value!r}": ({**GOOD, "cutoff": value}, "a positive finite number")
        for value in (0, -4.0, float("nan"), float("inf"), "4", True, None, [4.0], 10**400)
    },
    **{
        f"cutoff {value!r}": ({**GOOD, "cutoff": value}, "cutoff: expected a length of 1e-06 to 1e")
        for value in (1e308, 1.1e6, 9e-7, 1e-320)
    },
    "precision 16": ({**GOOD, "precision": "16bit"}, "32bit or 64bit, found '16bit'"),
    "precision list": ({**GOOD, "precision": ["64bit"]}, "precision: expected"),
    "units si": ({**GOOD, "units": "si"}, "metal, real or lj"),
    "newer": ({**GOOD, "format_version": 2}, "update this one"),
    "version true": ({**GOOD, "format_version": True}, "format_version: expected 1 to 1"),
    "elements text": ({**GOOD, "elements": "Ni"}, "a list of symbols"),
    "no elements": ({**GOOD, "elements": []}, "a list of symbols"),
    "unknown element": ({**GOOD, "elements": ["Ni", "Q"]}, "unknown element 'Q'"),
    "element twice": ({**GOOD, "elements": ["Ni", "Ni"]}, "is named twice"),
    "isolated list": ({**GOOD, "isolated_energies": [1.0]}, "finite numbers by symbol"),
    "isolated nan": ({**GOOD, "isolated_energies": {"Ni": float("nan")}}, "finite numbers"),
    "isolated alien": (
        {**GOOD, "elements": ["Ni"], "isolated_energies": {"Al": 1.0}},
        "only symbols that `elements` names",
    ),
    "smooth text": ({**GOOD, "smooth": "yes"}, "true or false"),
    "overlap": ({**GOOD, "overlap": 4.0}, "a number from 0 to the cutoff"),
    "jump": ({**GOOD, "energy_jump": -0.1}, "energy_jump: expected a number >= 0"),
    "mass": ({**GOOD, "masses": {"Ni": -1.0}}, "positive finite numbers by symbol"),
    "masses list": ({**GOOD, "masses": [58.7]}, "positive finite numbers by symbol"),
    "mass alien": ({**GOOD, "elements": ["Ni"], "masses": {"Al": 27}}, "only symbols that"),
    "name": ({**GOOD, "name": 7}, "name: expected text"),
    "terminal": ({**GOOD, "units": "\x1b[2J\n" + "x" * 9999}, "metal, real or lj"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata(tmp_path, blobs, case):
    metadata, words = BAD_METADATA[case]
    message = refuse(write_zip(tmp_path / "a.zip", blobs, metadata), "metadata.json", words)
    assert message.isprintable() and len(message) < 600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
KEYS = [*GOOD, "elements", "units", "isolated_energies", "overlap", "smooth", "format_version"]
KEYS += ["masses", "energy_jump", "force_jump"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(KEYS), JSON)
@example("cutoff", 3.0)
def test_any_metadata_is_good_or_refused(tmp_path, key, value):
    path = write_zip(tmp_path / "any.zip", good_blobs(), {**GOOD, key: value})
    try:
        metadata = read_model(path).metadata
    except ModelFileError as error:
        assert "metadata.json" in str(error)
    else:
        assert metadata.cutoff > 0 and np.isfinite(metadata.cutoff)
        assert getattr(metadata, key) in (
            value,
            tuple(value) if value and key == "elements" else value,
        )


# Programs


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(32, 4000), st.sampled_from(["node_init.jax", "edge.jax", "readout.jax"]))
def test_truncated_programs_are_refused(tmp_path, missing, name):
    cut = {**good_blobs(), name: good_blobs()[name][:-missing]}
    refuse(write_zip(tmp_path / "cut.zip", cut), name, "six months newer or three weeks older")


def test_programs_that_are_none(tmp_path, blobs):
    for garbage in (b"\x00" * 64, b"not an export", b"\x80\x04K\x01."):
        path = write_zip(tmp_path / "a.zip", {**blobs, "edge.jax": garbage})
        refuse(path, "edge.jax", "expected a serialised jax.export", "three weeks older")


def test_calling_convention_of_another_time(tmp_path, blobs, monkeypatch):
    path = write_zip(tmp_path / "a.zip", blobs)
    monkeypatch.setattr(export, "minimum_supported_calling_convention_version", 998)
    monkeypatch.setattr(export, "maximum_supported_calling_convention_version", 999)
    refuse(path, "a calling convention of 998 to 999", "six months newer or three weeks older")


def test_64_bit_numbers_switched_off(tmp_path, blobs):
    path = write_zip(tmp_path / "a.zip", blobs)
    single = write_zip(
        tmp_path / "b.zip", independent_blobs("32bit"), {**GOOD, "precision": "32bit"}
    )
    jax.config.update("jax_enable_x64", False)
    try:
        refuse(path, 'jax.config.update("jax_enable_x64", True)')
        assert read_model(single).metadata.precision == "32bit"
        with pytest.raises(ModelFileError, match="64 bit numbers switched on"):
            export_model(path, init, edge, readout, cutoff=4.0, elements=["Ni"])
    finally:
        jax.config.update("jax_enable_x64", True)


def shapes(*texts):
    """Return float64 arguments of shapes such as `n, 4`, the same letter the same symbol."""
    scope = export.SymbolicScope()
    return tuple(
        jax.ShapeDtypeStruct(export.symbolic_shape(text, scope=scope), jnp.float64)
        for text in texts
    )


BAD_PROGRAMS = {
    "two arguments": ("edge", lambda a, b: a, ("n, 4", "n, 4"), "3 arrays as positional"),
    "two results": ("readout", lambda h, m: (h[:, 0],) * 2, ("n, 4", "n, 3"), "one array as"),
    "list result": ("readout", lambda h, m: [h[:, 0]], ("n, 4", "n, 3"), "one array as"),
    "column of energies": ("readout", lambda h, m: h[:, :1], ("n, 4", "n, 3"), "1 dimensions"),
    "fixed batch": ("edge", edge, ("7, 4", "7, 4", "7, 3"), "symbolic first dimension"),
    "doubled batch": ("edge", edge, ("2*n, 4", "2*n, 4", "2*n, 3"), "symbolic first dimension"),
    "other symbols": (
        "edge",
        lambda a, b, r: (a + b.sum() + r.sum())[:, :3],
        ("k, 4", "n, 4", "n, 3"),
        "one symbol for all",
    ),
    "total energy": ("readout", lambda h, m: m.sum()[None], ("n, 4", "n, 3"), "symbolic first"),
    "symbolic width": ("edge", lambda a, b, r: r, ("n, d", "n, d", "n, 3"), "with a fixed width"),
    "flat vectors": ("edge", lambda a, b, r: a[:, :3], ("n, 4", "n, 4", "n, 2"), "3, r_ij"),
    "narrow receiver": (
        "edge",
        lambda a, b, r: r,
        ("n, 3", "n, 4", "n, 3"),
        "argument 1 of width 4, the embedding that node_init makes, found width 3",
    ),
    "wide sender": ("edge", lambda a, b, r: r, ("n, 4", "n, 5", "n, 3"), "argument 2 of width 4"),
    "readout's h": ("readout", lambda h, m: h[:, 0], ("n, 2", "n, 3"), "argument 1 of width 4"),
    "readout's m": ("readout", lambda h, m: h[:, 0], ("n, 4", "n, 4"), "argument 2 of width 3"),
    "matrix of numbers": ("node_init", lambda z: z, ("n, 1",), "int64 with 1 dimensions"),
}


@pytest.mark.parametrize("case", BAD_PROGRAMS)
def test_bad_signatures(tmp_path, case):
    name, function, texts, words = BAD_PROGRAMS[case]
    changed = independent_blobs(vjp_order=0, functions={name: (function, shapes(*texts))})
    refuse(write_zip(tmp_path / "a.zip", changed), f"{name}.jax", words)


def test_precision_of_the_file_and_of_the_programs_differ(tmp_path, blobs):
    path = write_zip(tmp_path / "a.zip", blobs, {**GOOD, "precision": "32bit"})
    refuse(path, "node_init.jax", "int32 with 1 dimensions", "int64")


def test_result_of_another_type(tmp_path, blobs):
    result = export.export(jax.jit(lambda h, m: h[:, 0].astype(jnp.float32)))(
        *shapes("n, 4", "n, 3")
    )
    changed = {**blobs, "readout.jax": bytes(result.serialize())}
    refuse(write_zip(tmp_path / "a.zip", changed), "the result of float64", "float32")


def test_keyword_arguments(tmp_path, blobs):
    h, m = shapes("n, 4", "n, 3")
    named = export.export(jax.jit(lambda h, m: h[:, 0]))(h, m=m)
    changed = {**blobs, "readout.jax": bytes(named.serialize())}
    refuse(write_zip(tmp_path / "a.zip", changed), "2 arrays as positional arguments")


def test_programs_that_call_out(tmp_path, blobs):
    """An export made to hide a Python callback is refused, in the program or its derivatives."""
    target = export.DisabledSafetyCheck.custom_call("evil_target")

    def evil(h, m):
        return jax.ffi.ffi_call("evil_target", jax.ShapeDtypeStruct(h[:, 0].shape, h.dtype))(h)

    exported = export.export(jax.jit(evil), disabled_checks=[target])(*shapes("n, 4", "n, 3"))
    changed = {**blobs, "readout.jax": bytes(exported.serialize())}
    path = write_zip(tmp_path / "a.zip", changed)
    refuse(path, "readout.jax", "StableHLO that only computes, found evil_target", "callbacks")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("%1 = stablehlo.custom_call @shape_assertion(%0)", []),
        ("%1 = stablehlo.custom_call @lapack_dgeqrf_ffi(%0)", ["lapack_dgeqrf_ffi"]),
        ('%1 = stablehlo.custom_call @"shape_assertion(evil"(%0)', ["shape_assertion(evil"]),
        ("%1 = stablehlo.custom_call @shape_assertions(%0)", ["shape_assertions"]),
        ('%1 = stablehlo.custom_call @"a.b c"(%0)', ["a.b c"]),
        (
            '"stablehlo.custom_call"(%0) <{backend_config = "custom_call @shape_assertion(", '
            'call_target_name = "evil"}>',
            ["evil"],
        ),
        (
            "custom_call written in a way not foreseen",
            ["custom_call written in a way not foreseen"],
        ),
        ('"stablehlo.outfeed"(%0)', ["stablehlo.outfeed"]),
        ("%1 = stablehlo.add %0, %0", []),
    ],
)
def test_calls_out_are_seen(line, names):
    assert _calls_out(line) == names


# Models that fail their checks


def nan_message(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij) / jnp.sum(r_ij**2, axis=-1, keepdims=True)


def nan_gradient(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij) * jnp.sqrt(jnp.sum(r_ij**2, axis=-1, keepdims=True))


def oriented(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij) * (1 + 0.1 * r_ij[:, :1])


def counting(h_i, h_j, r_ij):
    return (h_i + 2 * h_j)[:, :3] + 0 * r_ij


def ordered(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij) * (1 + 0.1 * jnp.arange(h_i.shape[0])[:, None])


def mixing_edges(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij) + 0.1 * jnp.mean(r_ij**2)


def mixing_atoms(h, messages):
    return readout(h, messages) - jnp.mean(messages)


def lone_infinite(h, messages):
    return jnp.log(jnp.sum(messages**2, axis=-1))


@jax.custom_vjp
def wrong_forces(h_i, h_j, r_ij):
    return edge(h_i, h_j, r_ij)


wrong_forces.defvjp(
    lambda *args: (edge(*args), args),
    lambda args, g: tuple(1.1 * x for x in jax.vjp(edge, *args)[1](g)),
)


@pytest.mark.parametrize(
    ("functions", "failures"),
    [
        ((init, nan_message, readout), ["finite at zero distance: gradient and message"]),
        ((init, nan_gradient, readout), ["finite at zero distance: gradient not finite"]),
        ((init, nan_gradient, readout), ["take roots and inverses of jnp.where(square > 0"]),
        ((init, oriented, readout), ["rotation: energy"]),
        ((init, ordered, readout), ["permutation: energy"]),
        ((init, mixing_edges, readout), ["rows apart: a row of edge"]),
        ((init, edge, mixing_atoms), ["rows apart: a row of readout"]),
        ((init, counting, readout), ["depends on r_ij: the energy is the same at all distances"]),
        ((init, wrong_forces, readout), ["forces: derivative"]),
        ((init, edge, lone_infinite), ["isolated energies: "]),
        ((init, nan_gradient, mixing_atoms), ["finite at zero distance", "rows apart"]),
    ],
)
def test_failed_checks_are_listed_and_nothing_is_written(tmp_path, functions, failures):
    path = tmp_path / "model.zip"
    path.write_text("what was here before")
    arguments = {"cutoff": CUTOFF, "elements": ["Ni", "Al"], "platforms": ("cpu",)}
    arguments["vjp_order"] = 1
    with pytest.raises(ModelCheckError) as caught:
        export_model(path, *functions, **arguments)
    for failure in failures:
        assert failure in str(caught.value)
    assert sum(not check.ok for check in caught.value.checks) >= len(failures)
    assert path.read_text() == "what was here before"
    assert [p.name for p in tmp_path.iterdir()] == ["model.zip"]


def test_check_finds_what_export_was_told_not_to(tmp_path):
    path = tmp_path / "model.zip"
    arguments = {"cutoff": CUTOFF, "elements": ["Ni", "Al"], "vjp_order": 1, "checks": False}
    model = export_model(path, init, nan_gradient, mixing_atoms, **arguments)
    assert model.metadata.smooth is None and model.metadata.isolated_energies is None
    failed = [check.name for check in check_model(path) if not check.ok]
    assert failed[:2] == ["finite at zero distance", "rows apart"]


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("init", lambda z: jnp.sin(z), "node_init.jax: expected the result of float64 with 2"),
        ("init", lambda z: jnp.sin(z), "for each atom, values[:, None] if it is one number"),
        ("edge", lambda a, b, r: r[:, 0], "for each edge, values[:, None] if it is one number"),
        ("readout", lambda h, m: m, "one number for each atom, values[:, 0] or values.sum(axis=1)"),
        ("edge", lambda a, b, r: (a, b), "edge.jax: expected one array as result"),
        ("edge", lambda a, b, r: a if a.shape[0] > 3 else b, "edge.jax: expected a function that"),
        ("readout", lambda h, m: h @ m, "readout.jax: expected a function that jax.export takes"),
    ],
)
def test_functions_that_cannot_be_exported(tmp_path, name, function, words):
    functions = {"init": init, "edge": edge, "readout": readout, name: function}
    with pytest.raises(ModelFileError) as caught:
        export_model(tmp_path / "a.zip", **functions, cutoff=4.0, elements=["Ni"])
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_arguments_without_sense(tmp_path):
    good = {"cutoff": 4.0, "elements": ["Ni"], "checks": False, "platforms": ("cpu",)}
    for bad, words in (
        ({"cutoff": -1.0}, "a positive finite number"),
        ({"elements": "Ni"}, "elements as a list of symbols, found the text 'Ni'"),
        ({"elements": ["Nix"]}, "unknown element 'Nix'"),
        ({"precision": "128bit"}, "32bit or 64bit"),
        ({"vjp_order": 3}, "vjp_order 0, 1 or 2"),
        ({"units": "electron"}, "metal, real or lj"),
        ({"masses": {"Ni": 0.0}}, "masses: expected positive finite numbers by symbol"),
        ({"masses": {"Al": 27.0}}, "masses: expected only symbols that `elements` names"),
    ):
        with pytest.raises(ModelFileError, match=words):
            export_model(tmp_path / "a.zip", init, edge, readout, **{**good, **bad})
    with pytest.raises(ModelFileError, match="a path that can be written"):
        export_model(tmp_path / "no" / "a.zip", init, edge, readout, **good)
    assert not list(tmp_path.iterdir())


def test_check_finds_unreadable_files_and_false_metadata(tmp_path, blobs):
    (tmp_path / "a.zip").write_bytes(b"")
    (check,) = check_model(tmp_path / "a.zip")
    assert check.name == "readable" and not check.ok and "zip" in check.detail

    nameless = check_model(write_zip(tmp_path / "b.zip", blobs))
    assert all(c.ok for c in nameless) and "the file names none" in nameless[0].detail

    path = tmp_path / "lj.zip"
    functions = lj(["Ar"], 0.0104, 3.4, 8.5)
    export_model(path, *functions, cutoff=8.5, elements=["Ar"], allow_jump=True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    fields = json.loads(members.pop("metadata.json"))
    assert fields["smooth"] is False
    fields.update(smooth=True, isolated_energies={"Ar": -1.0})
    failed = [c.detail for c in check_model(write_zip(path, members, fields)) if not c.ok]
    assert len(failed) == 2 and "smooth is true" in failed[0] and "isolated" in failed[1]
