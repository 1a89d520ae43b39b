"""The boundary without LAMMPS: C structs in, a session that only remembers, C structs out."""

from __future__ import annotations

import numpy as np
import pytest

from mliap_local.lammps import bridge
from mliap_local.lib._bridge_cffi import ffi, lib


class FakeSession:
    """Keeps what it was shown; its energy is a sum that a wrong stride would change."""

    cutoff, overlap, differentiable, rounding = 5.0, 0.7, True, 1e-9
    summary = "modèle d'essai, Ni Al"
    isolated_energies, masses = (-1.5, 2.5), (58.7, 0.0)
    compilations = 3

    def full(self, species, neighbour_species, r_ij, keep, atom_energy, edge_gradient):
        self.seen = (species.copy(), neighbour_species.copy(), r_ij.copy(), keep)
        self.writeable = r_ij.flags.writeable
        if atom_energy is not None:
            atom_energy[:] = np.arange(len(atom_energy))
        if edge_gradient is not None:
            edge_gradient[:] = -r_ij
        return float(r_ij.sum()), 12.5

    def update(self, **change):
        self.seen = {name: np.copy(value) for name, value in change.items()}
        if change["cache_rows"] == 0:
            raise KeyError("nothing changed")
        if change["atom_energy"] is not None:
            change["atom_energy"][:] = -np.arange(len(change["atom_energy"]))
        return float(change["packed"].sum()), 7.5, True


def text(buffer) -> str:
    return ffi.string(buffer).decode()


@pytest.fixture
def error():
    return ffi.new("char[]", 4000)


@pytest.fixture
def opened(monkeypatch, error):
    """An opened fake session, its settings, and what C was told about it."""
    session, wanted = FakeSession(), {}

    def open_session(settings):
        wanted.update(settings)
        return session

    monkeypatch.setattr(bridge, "_open_session", open_session)
    words = [ffi.new("char[]", w.encode()) for w in ("a model.zip", "Ni Al", "metal", "cpu")]
    settings = ffi.new("struct mliap_local_settings *", [*words, 1, 2, 4])
    summary, isolated, mass = ffi.new("char[]", 9), *(ffi.new("double[]", 2) for _ in range(2))
    model = ffi.new("struct mliap_local_model *")
    model.isolated_energy, model.summary, model.summary_size = isolated, summary, 9
    model.mass = mass
    assert lib.mliap_local_open(settings, model, error, 4000) == 1, text(error)
    yield session, wanted, model
    assert lib.mliap_local_close(model.instance, error, 4000) == 1


def pointers(*arrays):
    return [ffi.from_buffer("int[]" if a.dtype == np.int32 else "double[]", a) for a in arrays]


def test_open_passes_everything_on(opened):
    _, wanted, model = opened
    assert wanted == {
        "model_file": "a model.zip",
        "elements": ["Ni", "Al"],
        "units": "metal",
        "device": "cpu",
        "reference_isolated": True,
        "node_rank": 2,
        "threads": 4,
    }
    assert (model.cutoff, model.overlap, model.differentiable) == (5.0, 0.7, 1)
    assert model.rounding == 1e-9
    assert list(model.isolated_energy[0:2]) == [-1.5, 2.5]
    assert list(model.mass[0:2]) == [58.7, 0.0]
    assert text(model.summary) == "modèle d"[:7]  # cut at a whole character, in 9 bytes with its 0


@pytest.mark.parametrize("wanted", [True, False])
def test_full_shows_and_fills_arrays(opened, error, wanted):
    session, _, model = opened
    species = np.array([0, 1, -1], np.int32)
    neighbours = np.arange(6, dtype=np.int32)
    r_ij = np.random.default_rng(1).normal(size=(3, 2, 3))
    rows = ffi.new("struct mliap_local_rows *", [3, 2, *pointers(species, neighbours, r_ij), 1])
    atom_energy, gradient = np.zeros(3), np.zeros((3, 2, 3))
    result = ffi.new("struct mliap_local_result *")
    if wanted:
        result.atom_energy, result.edge_gradient = pointers(atom_energy, gradient)
    assert lib.mliap_local_full(model.instance, rows, result, error, 4000) == 1, text(error)
    assert result.energy == r_ij.sum() != 0 and result.compilations == 3
    assert result.squares == 12.5
    assert not session.writeable
    for seen, shown in zip(session.seen, (species, neighbours.reshape(3, 2), r_ij), strict=False):
        np.testing.assert_array_equal(seen, shown)
    assert session.seen[3] is True
    np.testing.assert_array_equal(gradient, -r_ij if wanted else 0 * r_ij)
    np.testing.assert_array_equal(atom_energy, [0, 1, 2] if wanted else [0, 0, 0])


def test_full_of_no_atoms_takes_null_pointers(opened, error):
    _, _, model = opened
    rows, result = ffi.new("struct mliap_local_rows *"), ffi.new("struct mliap_local_result *")
    assert lib.mliap_local_full(model.instance, rows, result, error, 4000) == 1, text(error)
    assert result.energy == 0.0


def test_update_shows_what_is_packed(opened, error):
    session, _, model = opened
    packed = np.arange(9.0)
    change = ffi.new("struct mliap_local_change *", [1, 7, *pointers(packed), 9])
    result = ffi.new("struct mliap_local_result *")
    assert lib.mliap_local_update(model.instance, change, result, error, 4000) == 1, text(error)
    assert (result.energy, result.squares, result.sound) == (36.0, 7.5, 1)
    assert session.seen["settled"] and session.seen["cache_rows"] == 7
    np.testing.assert_array_equal(session.seen["packed"], packed)

    packed[0], energies = 3, np.ones(4)  # a question about three rows
    (result.atom_energy,) = pointers(energies)
    assert lib.mliap_local_update(model.instance, change, result, error, 4000) == 1, text(error)
    np.testing.assert_array_equal(energies, [0, -1, -2, 1])

    change.cache_rows = 0  # the fake raises; its words and the traceback arrive
    assert lib.mliap_local_update(model.instance, change, result, error, 4000) == 0
    message, trace = text(error).split("\n\n", 1)
    assert message == "KeyError('nothing changed')"
    assert trace.startswith("Traceback") and 'raise KeyError("nothing changed")' in trace


def test_question_leaves_cache_and_proposal(model):
    """Two atoms apart by 1.2, proposed 1.3, asked about 1.5: each energy is that of all rows."""
    from mliap_local.lammps.session import Session

    session = Session(model("lj"), ["Ar"], "lj")

    def full(x: float, **keywords) -> float:
        neighbours, r_ij = np.zeros((2, 1), np.int32), np.array([[[x, 0, 0]], [[-x, 0, 0]]])
        return session.full(np.zeros(2, np.int32), neighbours, r_ij, **keywords)[0]

    def moved(x: float) -> np.ndarray:
        edges = [0, 0, x, 0, 0], [1, 0, -x, 0, 0], [1, 0, -1.2, 0, 0]
        return np.array([2, 1, 2, 1, 0, 0, 1, 0, *np.ravel(edges)], float)

    atoms, expected = np.zeros(2), np.zeros(2)
    asked = full(1.5, keep=False, atom_energy=expected)
    settled = full(1.2)
    proposed, *_ = session.update(False, 2, moved(1.3))
    answer, _, sound = session.update(False, 2, moved(1.5), atoms)
    assert sound and answer == pytest.approx(asked, rel=1e-12)
    np.testing.assert_allclose(atoms, expected, rtol=1e-12)
    accepted, *_ = session.update(True, 2, np.zeros(4))
    assert accepted == pytest.approx(proposed, rel=1e-12)
    assert proposed == pytest.approx(full(1.3), rel=1e-12)
    assert len({settled, proposed, asked}) == 3


def test_small_error_buffer_keeps_message_and_the_end(opened):
    _, _, model = opened
    change, result = ffi.new("struct mliap_local_change *"), ffi.new("struct mliap_local_result *")
    for size in (1, 10, 120):
        short = ffi.new("char[]", b"x" * 200)
        assert lib.mliap_local_update(model.instance, change, result, short, size) == 0
        assert len(ffi.string(short)) < size
        assert short[size] == b"x"
    assert text(short).startswith("KeyError('nothing changed')\n\n")
    assert text(short).endswith("KeyError: 'nothing changed'")
    assert lib.mliap_local_update(model.instance, change, result, ffi.NULL, 0) == 0


def test_unknown_instance_is_named(error):
    assert lib.mliap_local_close(12345, error, 4000) == 0
    assert "got instance 12345" in text(error) and "mliap_local_open" in text(error)
    assert lib.mliap_local_close(0, error, 4000) == 1


def test_environment_shares_the_cores():
    environment = bridge.jax_environment({"device": "cpu", "threads": 3})
    assert environment == {"NPROC": "3", "JAX_PLATFORMS": "cpu"}
    environment = bridge.jax_environment({"device": "gpu", "threads": 1})
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert "JAX_PLATFORMS" not in environment and environment["NPROC"] == "1"
