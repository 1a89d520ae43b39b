"""The Python side of cpp_bridge/bridge.h: pointers become arrays, exceptions become text.

No mathematics and no memory of atoms: the sessions have that. An array made here views the
caller's memory and is good during the call only. Importing this must stay cheap: JAX is imported
when the first model is opened, after its environment has been set.
"""

import os
import sys
import traceback
from itertools import count
from typing import Any

import numpy as np

from mliap_local.lib._bridge_cffi import ffi
from mliap_local.model_file.errors import printable

_sessions: dict[int, Any] = {}
_users_nproc = os.environ.get("NPROC", "")  # later it may be ours
_ours: list[str] = []  # variables that we have set
_numbers = count(1)  # 0 would look like a struct that nobody filled


def _interrupted(kind, exception, trace):
    """A Ctrl-C between C's call and the function's own `try`; 0 is returned anyway."""
    arguments = trace.tb_frame.f_locals if trace else {}
    if "error" in arguments:
        _failed(exception, arguments["error"], arguments["error_size"])


@ffi.def_extern(onerror=_interrupted)
def mliap_local_open(settings, model, error, error_size):
    try:
        wanted = {
            "model_file": _text(settings.model_file),
            "elements": _text(settings.elements).split(),
            "units": _text(settings.units),
            "device": _text(settings.device),
            "reference_isolated": bool(settings.reference_isolated),
            "node_rank": settings.node_rank,
            "threads": settings.threads,
            "graded": bool(settings.graded),
        }
        session = _open_session(wanted)
        model.cutoff = session.cutoff
        model.overlap = session.overlap
        model.differentiable = session.differentiable
        model.half = session.half
        model.rounding = session.rounding
        for pointer, values in (
            (model.isolated_energy, session.isolated_energies),
            (model.mass, session.masses),
        ):
            array = _output(pointer, len(wanted["elements"]))
            if array is not None:
                array[:] = values
        _write(model.summary, model.summary_size, session.summary)
        model.instance = next(_numbers)
        _sessions[model.instance] = session
        return 1
    except BaseException as exception:  # nothing may pass into C, a Ctrl-C neither
        return _failed(exception, error, error_size)


@ffi.def_extern(onerror=_interrupted)
def mliap_local_full(instance, rows, result, error, error_size):
    try:
        session = _session(instance)
        shares = _Shares(rows)
        if rows.row:
            places = _input(rows.row, np.int32, rows.n_rows)
            answer = session.fill(shares, places, rows.settled, rows.cache_rows)
        else:
            energies = _output(result.atom_energy, rows.n_rows)
            answer = session.full(shares, bool(rows.keep), bool(rows.add), energies)
        result.energy, result.squares = answer
        result.rounding, result.grade = session.rounding, session.grade
        result.compilations = session.compilations
        return 1
    except BaseException as exception:
        return _failed(exception, error, error_size)


@ffi.def_extern(onerror=_interrupted)
def mliap_local_update(instance, change, result, error, error_size):
    try:
        session = _session(instance)
        packed = _input(change.packed, np.float64, change.room)
        n_rows = int(packed[0]) if result.atom_energy else 0
        result.energy, result.squares, result.sound = session.update(
            settled=change.settled,
            cache_rows=change.cache_rows,
            packed=packed,
            atom_energy=_output(result.atom_energy, n_rows),
            settled_energy=_output(result.settled_energy, n_rows),
            atom_grade=_output(result.atom_grade, n_rows),
        )
        result.grade = session.grade
        result.compilations = session.compilations
        return 1
    except BaseException as exception:
        return _failed(exception, error, error_size)


@ffi.def_extern(onerror=_interrupted)
def mliap_local_close(instance, error, error_size, sessions=_sessions):  # see below
    try:
        if instance in sessions:
            del sessions[instance]
        elif instance:  # 0 names no model: interpreter.cpp asks in this way whether we are here
            _session(instance)
        return 1
    except BaseException as exception:
        return _failed(exception, error, error_size)


# `sessions`: a LAMMPS that lives until Python ends is closed when this module's names are gone.


class _Shares:
    """The functions of `mliap_local_rows`, as a session wants them."""

    def __init__(self, rows) -> None:
        self.n_rows, self._rows = rows.n_rows, rows
        self.half, self.points = bool(rows.find_half), None
        if rows.points and rows.add_points:
            n = rows.n_points
            x, species = rows.points, rows.point_species
            self.points = _input(x, np.float64, n, 3), _input(species, np.int32, n)

    def find(self, begin: int, end: int) -> int:
        width = ffi.new("int *")
        self._check(self._rows.find(self._rows.caller, begin, end, width), "find")
        return width[0]

    def find_half(self, begin: int, end: int) -> tuple[int, int, int]:
        found = [ffi.new("int *") for _ in range(3)]
        good = self._rows.find_half(self._rows.caller, begin, end, *found)
        self._check(good, "find_half")
        width, n_rows, n_others = found
        return width[0], n_rows[0], n_others[0]

    def lay(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        others: np.ndarray | None = None,
        other: np.ndarray | None = None,
    ) -> None:
        arrays = (
            ffi.from_buffer("int *", species),
            ffi.from_buffer("signed char *", neighbour_species),
            ffi.from_buffer("void *", r_ij),
            ffi.NULL if others is None else ffi.from_buffer("int *", others),
            ffi.NULL if other is None else ffi.from_buffer("int *", other),
        )
        sizes = (*neighbour_species.shape, r_ij.itemsize)
        self._check(self._rows.lay(self._rows.caller, *sizes, *arrays), "lay")

    def add(self, gradient: np.ndarray) -> None:
        sizes = (*gradient.shape[1:], gradient.itemsize)
        memory = ffi.from_buffer("void *", np.ascontiguousarray(gradient))
        self._check(self._rows.add(self._rows.caller, *sizes, memory), "add")

    def lay_points(self, point: np.ndarray, neighbour: np.ndarray) -> None:
        arrays = ffi.from_buffer("int *", point), ffi.from_buffer("int *", neighbour)
        good = self._rows.lay_points(self._rows.caller, *neighbour.shape, *arrays)
        self._check(good, "lay_points")

    def add_points(self, force: np.ndarray) -> None:
        memory = ffi.from_buffer("double *", np.ascontiguousarray(force))
        self._check(self._rows.add_points(self._rows.caller, memory), "add_points")

    @staticmethod
    def _check(good: int, what: str) -> None:
        if not good:
            raise MemoryError(f"mliap_local: expected {what}() to answer 1, got 0: out of memory?")


def _open_session(wanted: dict):
    if "jax" not in sys.modules:  # a process that has it already keeps what it chose
        for name, value in jax_environment(wanted).items():
            if name not in os.environ:
                os.environ[name] = value
                _ours.append(name)
    try:
        from mliap_local.lammps import session
    except ImportError as exception:
        raise ImportError(
            f"mliap_local: expected to import {exception.name or 'JAX'} in {sys.executable} "
            f"(Python {sys.version.split()[0]}, sys.prefix {sys.prefix}), got: {exception}. "
            "Run `pip install` for mliap-local with that Python"
        ) from exception
    threads = max(1, int(_users_nproc)) if _users_nproc.isdigit() else wanted["threads"]
    opened = session.open_session(wanted | {"threads": threads})
    while _ours:  # JAX has read them; processes that this one starts are to choose for themselves
        os.environ.pop(_ours.pop(), None)
    return opened


def jax_environment(wanted: dict) -> dict[str, str]:
    """Variables to set before JAX is imported, for settings as `open_session` takes them.

    The user's own values come first: LAMMPS inputs cannot say these, batch scripts may.
    """
    # A session has threads of its own; XLA's would take their cores, and those of other ranks.
    variables = {"NPROC": "1"}
    if wanted["device"] == "cpu":
        variables["JAX_PLATFORMS"] = "cpu"  # do not even look at devices that were not asked for
    else:
        variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # other ranks need memory too
    return variables


def _session(instance: int):
    if instance not in _sessions:
        raise ValueError(
            f"mliap_local: expected an opened model, got instance {instance}, open are "
            f"{sorted(_sessions)}: call mliap_local_open first"
        )
    return _sessions[instance]


def _text(pointer) -> str:
    return ffi.string(pointer).decode() if pointer else ""


def _input(pointer, dtype, *shape: int) -> np.ndarray:
    """A view that cannot be written to: LAMMPS keeps what it shows us."""
    array = _view(pointer, np.dtype(dtype), shape)
    array.flags.writeable = False
    return array


def _output(pointer, *shape: int) -> np.ndarray | None:
    """A view to be filled, or None where the caller does not want it."""
    return _view(pointer, np.dtype(np.float64), shape) if pointer else None


def _view(pointer, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size == 0:
        return np.empty(shape, dtype)  # a rank without atoms has no memory to show
    return np.frombuffer(ffi.buffer(pointer, size), dtype).reshape(shape)


def _failed(exception: BaseException, error, error_size: int) -> int:
    known = isinstance(exception, ValueError | OSError | RuntimeError | ImportError)
    message = printable(exception if known and str(exception) else repr(exception))
    if getattr(exception, "expected", False):  # the user's to mend: the line says how
        _write(error, error_size, message)
        return 0
    # an exception's own lines may be a model file's: set in, none of them passes for LAMMPS's
    lines = "".join(traceback.format_exception(exception)).splitlines()
    trace = "\n  ".join(map(printable, lines))
    # where it does not fit, the end says what happened
    room = max(0, error_size - len(message.encode()) - 3)
    _write(error, error_size, message + "\n\n" + trace[max(0, len(trace) - room) :])
    return 0


def _write(buffer, size: int, text: str) -> None:
    """Text into a caller's buffer of so many bytes, cut at a whole character."""
    if not buffer or size < 1:
        return
    kept = text.encode()[: size - 1].decode(errors="ignore").encode() + b"\0"
    ffi.memmove(buffer, kept, len(kept))
