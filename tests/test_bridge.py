"""The boundary without LAMMPS: C structs in, a session that only remembers, C structs out."""

from __future__ import annotations

import numpy as np
import pytest
from shown_rows import ShownRows

from mliap_local.lammps import bridge
from mliap_local.lib._bridge_cffi import ffi, lib


class FakeSession:
    """Keeps what it was shown; its energy is a sum that a wrong stride would change."""

    cutoff, overlap, differentiable, half, rounding = 5.0, 0.7, True, 0.6, 1e-9
    summary = "modèle d'essai, Ni Al"
    isolated_energies, masses = (-1.5, 2.5), (58.7, 0.0)
    compilations, grade = 3, 0.25
    real = np.float64

    def full(self, shares, keep, forces, atom_energy):
        """Asks for two shares, of which the second has one row, with room for more."""
        self.keep, self.seen, energy = keep, [], 0.0
        for begin, end in ((0, 2), (2, shares.n_rows)):
            if begin >= shares.n_rows:
                break
            width = shares.find(begin, end) + 2
            species, kinds = np.zeros(4, np.int32), np.zeros((4, width), np.int8)
            r_ij = np.full((3, 4, width), np.nan, self.real)
            shares.lay(species, kinds, r_ij)
            self.seen.append((species, kinds, r_ij))
            energy += float(np.nansum(r_ij))
            if forces:
                shares.add(-r_ij)
        if atom_energy is not None:
            atom_energy[:] = np.arange(len(atom_energy))
        return energy, 12.5

    def fill(self, shares, places, settled, cache_rows):
        self.seen = [places.copy(), settled, cache_rows, shares.find(0, shares.n_rows)]
        return 3.0, 4.0

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
    settings = ffi.new("struct mliap_local_settings *", [*words, 1, 2, 4, 0])
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
        "graded": False,
    }
    assert (model.cutoff, model.overlap, model.differentiable) == (5.0, 0.7, 1)
    assert model.rounding == 1e-9
    assert list(model.isolated_energy[0:2]) == [-1.5, 2.5]
    assert list(model.mass[0:2]) == [58.7, 0.0]
    assert text(model.summary) == "modèle d"[:7]  # cut at a whole character, in 9 bytes with its 0


LAID = "signed char *, void *, int *, int *"


class Caller:
    """What C++ answers: each atom has one neighbour more than the one before."""

    def __init__(self, n: int) -> None:
        self.r_ij = [np.random.default_rng(k).normal(size=(3, k + 1)) for k in range(n)]
        self.added = np.zeros(n)
        self.good = True
        self.rows = ffi.new("struct mliap_local_rows *")
        self.rows.n_rows = n
        self.kept = [
            ffi.callback("int(void *, int, int, int *)", self.find),
            ffi.callback(f"int(void *, int, int, int, int *, {LAID})", self.lay),
            ffi.callback("int(void *, int, int, int, void const *)", self.add),
        ]
        self.rows.find, self.rows.lay, self.rows.add = self.kept

    def find(self, _, begin, end, width):
        self.share, width[0] = (begin, end), end
        return self.good

    def view(self, pointer, shape, dtype):
        return np.frombuffer(ffi.buffer(pointer, np.prod(shape) * np.dtype(dtype).itemsize), dtype)

    def find_half(self, _, begin, end, width, n_rows, n_others):
        self.share, width[0], n_others[0] = (begin, end), end, 2
        n_rows[0] = end - begin + 1
        return self.good

    def lay(self, _, capacity, width, real_bytes, species, kinds, r_ij, others, other):
        real = {4: np.float32, 8: np.float64}[real_bytes]
        laid = self.view(r_ij, (3, capacity, width), real).reshape(3, capacity, width)
        marks = self.view(kinds, (capacity, width), np.int8).reshape(capacity, width)
        atoms = range(*self.share)
        self.view(species, capacity, np.int32)[:] = [*atoms, *[-1] * (capacity - len(atoms))]
        marks[:] = -1
        for row, atom in enumerate(atoms):
            laid[:, row, : atom + 1], marks[row, : atom + 1] = self.r_ij[atom], 1
        if others:
            self.view(others, (3,), np.int32)[:] = 7, 9, 1
            self.view(other, (capacity, width), np.int32)[:] = 2
        return self.good

    def add(self, _, capacity, width, real_bytes, gradient):
        real = {4: np.float32, 8: np.float64}[real_bytes]
        taken = self.view(gradient, (3, capacity, width), real).reshape(3, capacity, width)
        for row, atom in enumerate(range(*self.share)):
            self.added[atom] += taken[:, row, : atom + 1].sum()
        return self.good


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_full_asks_for_shares(opened, error, wanted, real):
    session, _, model = opened
    session.real, caller = real, Caller(3)
    caller.rows.keep = 1
    atom_energy = np.zeros(3)
    result = ffi.new("struct mliap_local_result *")
    if wanted:
        (result.atom_energy,) = pointers(atom_energy)
    else:
        caller.rows.add = ffi.NULL
    assert lib.mliap_local_full(model.instance, caller.rows, result, error, 4000) == 1, text(error)
    sums = np.array([r.sum() for r in caller.r_ij])
    assert result.energy == pytest.approx(sums.sum(), rel=1e-6) != 0 and result.compilations == 3
    assert (result.squares, result.rounding) == (12.5, 1e-9) and session.keep is True
    (species, kinds, _), (last, last_kinds, _) = session.seen
    assert species.tolist() == [0, 1, -1, -1] and last.tolist() == [2, -1, -1, -1]
    assert kinds[:2].tolist() == [[1, -1, -1, -1], [1, 1, -1, -1]]
    assert last_kinds[0].tolist() == [1, 1, 1, -1, -1]
    np.testing.assert_allclose(caller.added, -sums if wanted else 0 * sums, rtol=1e-6)
    np.testing.assert_array_equal(atom_energy, [0, 1, 2] if wanted else [0, 0, 0])

    caller.good = False  # as where memory is short
    assert lib.mliap_local_full(model.instance, caller.rows, result, error, 4000) == 0
    assert "expected find() to answer 1, got 0" in text(error)


@pytest.mark.parametrize("offered", [True, False])
def test_one_edge_for_two_is_offered(opened, error, monkeypatch, offered):
    session, _, model = opened
    assert model.half == 0.6
    caller, found = Caller(3), []
    kept = ffi.callback("int(void *, int, int, int *, int *, int *)", caller.find_half)
    caller.rows.find_half = kept if offered else ffi.NULL

    def full(shares, *_):
        found.append(shares.half)
        if shares.half:
            width, n_rows, n_others = shares.find_half(1, 3)
            others = np.zeros(n_others + n_rows - 2, np.int32)
            other = np.zeros((4, width), np.int32)
            laid = np.zeros(4, np.int32), np.zeros((4, width), np.int8), np.zeros((3, 4, width))
            shares.lay(*laid, others, other)
            found.extend([width, laid[0].tolist(), others.tolist(), other.sum()])
        return 1.0, 1.0

    monkeypatch.setattr(session, "full", full)
    result = ffi.new("struct mliap_local_result *")
    assert lib.mliap_local_full(model.instance, caller.rows, result, error, 4000) == 1, text(error)
    assert found == ([True, 3, [1, 2, -1, -1], [7, 9, 1], 24] if offered else [False])
    caller.good = False
    good = lib.mliap_local_full(model.instance, caller.rows, result, error, 4000)
    assert good == int(not offered)


def test_full_with_places_fills_them(opened, error):
    session, _, model = opened
    caller, places = Caller(2), np.array([5, 3], np.int32)
    (caller.rows.row,) = pointers(places)
    caller.rows.settled, caller.rows.cache_rows = -1, 9
    result = ffi.new("struct mliap_local_result *")
    assert lib.mliap_local_full(model.instance, caller.rows, result, error, 4000) == 1, text(error)
    assert (result.energy, result.squares) == (3.0, 4.0)
    assert session.seen[0].tolist() == [5, 3] and session.seen[1:] == [-1, 9, 2]


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
        neighbours, r_ij = np.zeros((2, 1), np.int8), np.array([[[x, 0, 0]], [[-x, 0, 0]]])
        shown = ShownRows(np.zeros(2, np.int32), neighbours, r_ij)
        return session.full(shown, **keywords)[0]

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
    assert environment == {"NPROC": "1", "JAX_PLATFORMS": "cpu"}
    environment = bridge.jax_environment({"device": "gpu", "threads": 1})
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert "JAX_PLATFORMS" not in environment and environment["NPROC"] == "1"
