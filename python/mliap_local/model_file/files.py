"""The model file: a zip of three `jax.export` programs and one JSON file. Reads, checks, writes.

A file is untrusted: sizes are bounded before anything is unpacked, members are found by name and
never written to disk, every field and signature is checked, a program that would call out of
StableHLO is refused, and a file met for the first time is read and run in a process of its own
before (`vetting`). Whoever gets a `Model` from here need not check it again. Keeps no state and
decides nothing about physics, which `checks` does.

Other programs read the same files; our additional metadata are keys that they ignore.
"""

import dataclasses
import io
import json
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export

from ..models import FAMILIES, ModelFunctions, atomic_numbers
from . import vetting
from .checks import Check, check_functions, edge_operations, evaluate_once
from .errors import ModelFileError, failure_text, file_error
from .origin import MEMBERS, Origin, convert_again, parse_origin, same_model
from .programs import (
    DTYPES,
    GRADE,
    PROGRAMS,
    PlatformError,
    UnreadableError,
    casting,
    deserialise,
    deserialise_grade,
    require_x64,
    serialise,
)

#: Version of the metadata that this code writes, and the highest that it reads.
FORMAT_VERSION = 1
UNITS = ("metal", "real", "lj")

_METADATA = "metadata.json"
_MOST_BYTES = {_METADATA: 1 << 20, **dict.fromkeys((*PROGRAMS, GRADE, *MEMBERS), 1 << 28)}
_MOST_FILE_BYTES = 1 << 30
_MOST_MEMBERS = 1000

#: Beyond, no unit makes it a distance between atoms, and squares and their inverses overflow.
CUTOFFS = 1e-6, 1e6

#: A file that does not name its elements is tried with some that most models know.
ANY_ELEMENTS = "H", "C", "O"

#: Operations of an edge and of each column of its message from which on one message for both ends
#: is worth its detour: of networks and ACE, of nothing cheaper (benchmarks/half.py).
DEAR_EDGE, DEAR_COLUMN = 3000, 8

_ASK = "ask who made this file for another"


class ModelCheckError(ValueError):
    """A model that fails its checks; the message lists every failure, `checks` holds them."""

    def __init__(self, message: str, checks: Sequence[Check] = ()):
        super().__init__(message)
        self.checks = tuple(checks)


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What `metadata.json` says; None where it says nothing."""

    cutoff: float  #: unit of length
    precision: str  #: `32bit` or `64bit`
    format_version: int | None = None
    elements: tuple[str, ...] | None = None  #: symbols that the model knows
    units: str = "metal"  #: LAMMPS unit system: `metal`, `real` or `lj`
    name: str | None = None
    source: str | None = None  #: citation, converted from what
    isolated_energies: Mapping[str, float] | None = None  #: by symbol, unit of energy
    masses: Mapping[str, float] | None = None  #: by symbol, unit of mass
    smooth: bool | None = None  #: energy and forces go to zero at the cutoff
    energy_jump: float | None = None  #: unit of energy; where a neighbour crosses the cutoff
    force_jump: float | None = None  #: the same for the force
    overlap: float | None = None  #: unit of length; closer, the model should not be asked
    jax_version: str | None = None  #: of the JAX that exported it
    #: For each column of a message + or -: between atoms of one element m(-r_ij) is m(r_ij) or its
    #: negative, so that one message does for both; see lammps/half.py.
    parity: str | None = None
    converted: Origin | None = None  #: from which published potential, without its files

    @property
    def jumps(self) -> str:
        """What jumps at the cutoff, for people; empty where nothing does, or nobody looked."""
        sizes = {"energy": self.energy_jump, "force": self.force_jump}
        listed = ", ".join(f"{what} by {size:.2g}" for what, size in sizes.items() if size)
        if not listed and self.smooth is False:
            listed = "energy or force"
        return f"jumps at the cutoff: {listed}" if listed else ""


class Model(NamedTuple):
    """A model that passed every check on reading."""

    functions: ModelFunctions
    metadata: ModelMetadata
    #: How often it can be differentiated: 0 energies only, 1 forces, 2 Hessians (in reverse mode:
    #: JAX has no forward mode through an export).
    vjp_order: int
    embedding_width: int
    message_width: int
    #: 1: the edge function ends in a transposition, it computes with edges as the last axis.
    edges_last: int
    #: True: this JAX cannot read the programs, and made them anew of what they were converted from.
    built_anew: bool = False
    #: Of extrapolation: `h, messages -> float[n]`, above 1 outside what the model was trained on.
    grade: Callable[..., Any] | None = None


def read_model(
    path: str | PathLike, platform: str | None = None, *, trusted: bool = False
) -> Model:
    """Read and check a model file. The functions need at least one row in each call.

    Args:
      path: the zip.
      platform: where it shall run, as JAX calls it: `cpu`, `cuda`, ...; JAX's default where None.
      trusted: True reads it here at once. Else a file that is not known yet, to this version on
        this machine, is read and run in a child process first, which takes seconds.

    Raises:
      ModelFileError: anything unsound about the file; nothing half loaded remains.
    """
    content = read_file(path)
    return _model(path, content, platform, trusted)


def _model(path, content: bytes, platform: str | None, trusted: bool) -> Model:
    members = _read_members(path, content, (_METADATA, *PROGRAMS), (GRADE,))
    metadata = _parse_metadata(path, members.pop(_METADATA))
    require_x64(path, metadata.precision)
    if not trusted:
        vetting.vet(path, content, platform or export.default_export_platform())
    try:
        return _of_programs(path, members, metadata, platform)
    except UnreadableError:
        if metadata.converted is None:
            raise
    names = MEMBERS[: len(metadata.converted.names)]
    contents = tuple(_read_members(path, content, names).values())
    made = convert_again(path, metadata.converted._replace(contents=contents))
    same_model(path, made, metadata.cutoff, metadata.elements)
    here = platform or export.default_export_platform()
    programs = made.functions if made.grade is None else (*made.functions, made.grade)
    blobs = serialise(path, programs, metadata.precision, 2, (here,))
    return _of_programs(path, blobs, metadata, platform)._replace(built_anew=True)


def _of_programs(path, blobs, metadata, platform) -> Model:
    functions, order, d, m, last = deserialise(path, blobs, metadata.precision, platform)
    grade = None
    if GRADE in blobs:
        blob = blobs[GRADE]
        grade = deserialise_grade(path, blob, metadata.precision, platform, (d, m))
    if metadata.parity is not None and len(metadata.parity) != m:
        raise file_error(
            path,
            f"{_METADATA}: parity",
            f"a sign for each of {m} columns of a message",
            len(metadata.parity),
            "export the model again",
        )
    return Model(functions, metadata, order, d, m, last, grade=grade)


def check_model(path: str | PathLike) -> list[Check]:
    """Check a file as `read_model` does, then numerically, and against its own metadata.

    All in this process, which a hostile file may end: `vetting.check` does it in another.
    """
    try:
        model = read_model(path, trusted=True)
    except ModelFileError as error:
        return [Check("readable", False, str(error))]
    metadata = model.metadata
    elements = metadata.elements or ANY_ELEMENTS
    detail = f"differentiable {model.vjp_order} times, elements {' '.join(elements)}" + (
        "" if metadata.elements else " (the file names none)"
    )
    readable = Check("readable", True, detail)
    try:
        report = check_functions(
            model.functions,
            cutoff=metadata.cutoff,
            elements=elements,
            precision=metadata.precision,
            vjp_order=model.vjp_order,
        )
    except Exception as error:  # JAX and XLA raise what they like
        return [readable, Check("runs", False, failure_text(error))]
    checks = [readable, *report.checks]
    if metadata.smooth and report.smooth is False:
        checks.append(Check("metadata", False, "smooth is true, yet the energy or force jumps"))
    if metadata.parity is not None and report.parity != metadata.parity:
        detail = "messages between equal elements do not change with the direction as parity says"
        checks.append(Check("metadata", False, detail))
    relative = 1e-3 if metadata.precision == "32bit" else 1e-9
    for element, energy in (metadata.isolated_energies or {}).items():
        found = report.isolated_energies.get(element, energy)
        if not abs(found - energy) <= relative * max(1.0, abs(energy)):
            detail = f"isolated_energies has {energy!r} for {element}, the model gives {found!r}"
            checks.append(Check("metadata", False, detail))
    return checks


def describe_model(path: str | PathLike) -> dict[str, Any]:
    """Return what is known of a file after reading it here, for whatever platform it was made."""
    try:
        model = read_model(path, "cpu", trusted=True)
    except PlatformError as error:
        model = read_model(path, error.platforms[0], trusted=True)
    known = {key: value for key, value in model._asdict().items() if key != "functions"}
    known["grade"] = model.grade is not None
    return known | {"metadata": dataclasses.asdict(model.metadata), "jumps": model.metadata.jumps}


def try_model(path: str | PathLike, content: bytes, platform: str = "cpu") -> None:
    """Read a model file here and run it once: eight atoms, on a CPU, with forces if it has them.

    Args:
      path: for messages.
      content: of the file.
      platform: that a file not made for CPUs is read for; it is not run then.

    Raises:
      ModelFileError: the file is unsound, or cannot be run.
    """
    try:
        model = _model(path, content, "cpu", trusted=True)
    except PlatformError:
        _model(path, content, platform, trusted=True)
        return
    metadata = model.metadata
    try:
        evaluate_once(
            model.functions,
            cutoff=metadata.cutoff,
            elements=metadata.elements or ANY_ELEMENTS,
            precision=metadata.precision,
            vjp_order=model.vjp_order,
        )
    except Exception as error:  # JAX and XLA raise what they like
        found = failure_text(error)
        raise file_error(path, None, "programs that can be run", found, _ASK) from error


def export_model(
    path: str | PathLike,
    init: Callable[..., Any],
    edge: Callable[..., Any],
    readout: Callable[..., Any],
    *,
    cutoff: float,
    elements: Sequence[str],
    precision: str = "64bit",
    units: str = "metal",
    name: str | None = None,
    source: str | None = None,
    isolated_energies: Mapping[str, float] | None = None,
    masses: Mapping[str, float] | None = None,
    overlap: float | None = None,
    allow_jump: bool = False,
    vjp_order: int = 2,
    platforms: Sequence[str] = ("cpu", "cuda"),
    checks: bool = True,
    origin: Origin | None = None,
    grade: Callable[..., Any] | None = None,
    half: bool | None = None,
) -> Model:
    """Write any three JAX functions as a model file, after checking them.

    Args:
      path: the zip to write; an older one is replaced at once or not at all.
      init, edge, readout: see `ModelFunctions`. Their results are cast to the precision.
      cutoff: unit of length.
      elements: symbols that the model knows.
      precision: `32bit` or `64bit`.
      units: `metal` (Angstrom, eV), `real` (Angstrom, kcal/mol) or `lj`.
      name, source: text for people.
      isolated_energies: by symbol; computed where None.
      masses: by symbol; LAMMPS warns where those of the input are others.
      overlap: distance below which the model should not be asked.
      allow_jump: True writes a model whose energy jumps where a neighbour crosses the cutoff, so
        that molecular dynamics does not conserve it. A jump of the force alone, as of Lennard-Jones
        shifted by its energy, is warned of but needs no leave: the energy is conserved.
      vjp_order: 2 for forces and Hessians, 1 for forces, 0 for energies only.
      platforms: that it shall run on.
      checks: False writes without the numerical checks, and leaves `smooth` and jumps unknown.
      origin: what `mliap-local convert` made it from, which goes into the file.
      grade: of extrapolation, `float[n, d], float[n, m] -> float[n]` of the readout's arguments:
        dimensionless, above 1 outside what the model was trained on; see `training_grade`.
      half: True lets steps compute one message for both ends of a pair of equal elements, where
        messages have a parity, False does not; None: where an edge is dear.

    Returns:
      The model as it will be read again.

    Raises:
      ModelFileError: an argument or a function without sense, or a path that cannot be written.
      ModelCheckError: numerical checks that failed, all of them listed, or a jump of the energy
        without `allow_jump`. Nothing is written.
    """
    if isinstance(elements, str):
        raise file_error(path, None, "elements as a list of symbols", f"the text {elements!r}")
    if vjp_order not in (0, 1, 2):
        raise file_error(path, None, "vjp_order 0, 1 or 2", vjp_order)
    fields = {
        "format_version": FORMAT_VERSION,
        "cutoff": cutoff,
        "precision": precision,
        "elements": list(elements),
        "units": units,
        "name": name,
        "source": source,
        "isolated_energies": isolated_energies and dict(isolated_energies),
        "masses": masses and dict(masses),
        "overlap": overlap,
        "jax_version": jax.__version__,
        "converted": origin and origin.fields(),
    }
    fields = {key: value for key, value in fields.items() if value is not None}
    metadata = _validate_metadata(path, fields)
    require_x64(path, precision)
    programs = (init, edge, readout) if grade is None else (init, edge, readout, grade)
    blobs = serialise(path, programs, precision, vjp_order, platforms)
    here = export.default_export_platform()
    can_run = here in platforms
    here = here if can_run else platforms[0]
    functions, order, d, m, last = deserialise(path, blobs, precision, here)
    if grade is not None:
        grade = deserialise_grade(path, blobs[GRADE], precision, here, (d, m))
    if checks:
        if not can_run:  # the functions stand in for their export
            functions = casting(ModelFunctions(init, edge, readout), precision)
        report = check_functions(
            functions,
            cutoff=metadata.cutoff,
            elements=metadata.elements or (),
            precision=precision,
            vjp_order=vjp_order,
        )
        failures = [check for check in report.checks if not check.ok]
        if failures:
            listed = "; ".join(f"{check.name}: {check.detail}" for check in failures)
            raise ModelCheckError(f"{path}: not written, checks failed: {listed}", report.checks)
        if report.energy_jump and not allow_jump:
            raise ModelCheckError(
                f"{path}: not written: the energy jumps by {report.energy_jump:.2g} where a "
                "neighbour crosses the cutoff, and molecular dynamics will not conserve it; "
                "multiply the messages by what goes to zero there with its derivative, such as "
                "(1 - (r / cutoff)**2)**3 inside and 0 outside, or say allow_jump=True if the "
                "potential is meant to be so",
                report.checks,
            )
        for check in report.checks:
            if check.warning and not (allow_jump and check.name == "cutoff"):
                warnings.warn(f"{path}: {check.name}: {check.detail}", stacklevel=2)
        if report.smooth is not None:
            fields["smooth"] = report.smooth
        jumps = {"energy_jump": report.energy_jump, "force_jump": report.force_jump}
        fields |= {key: size for key, size in jumps.items() if size}
        if report.parity and half is None and vjp_order > 0:
            dear = max(DEAR_EDGE, DEAR_COLUMN * m)
            half = edge_operations(functions.edge, d, precision) >= dear
        if report.parity and half:
            fields["parity"] = report.parity
        fields.setdefault("isolated_energies", report.isolated_energies)
    metadata = _validate_metadata(path, fields)
    extra = origin.members() if origin else {}
    _write_members(path, {_METADATA: json.dumps(fields, indent=2).encode(), **blobs, **extra})
    if checks and can_run:
        vetting.remember(Path(path).read_bytes())  # it has been run here already
    return Model(functions, metadata, order, d, m, last, grade=grade)


# The zip


def read_file(path: str | PathLike) -> bytes:
    """Return the bytes of a file that may be a model file.

    Raises:
      ModelFileError: there is none, or it is larger than any model.
    """
    path = Path(path)
    if not path.is_file():
        found = "something else" if path.exists() else "no such file"
        raise file_error(path, None, "a model file", found, _remedy(path, "correct the path"))
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise file_error(path, None, f"at most {_MOST_FILE_BYTES} bytes", path.stat().st_size)
    try:
        return path.read_bytes()
    except OSError as error:
        found = error.strerror or str(error)
        raise file_error(path, None, "a file that can be read", found, "correct it") from error


def _read_members(path, content, wanted, optional=()) -> dict[str, bytes]:
    """Return the bytes of members in this order, none larger than allowed."""
    if (entries := content.count(b"PK\x01\x02")) > _MOST_MEMBERS:  # before each is an object
        raise file_error(path, None, f"a zip of at most {_MOST_MEMBERS} members", f"{entries}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = _find_members(path, archive)
            for name in wanted:
                if name not in infos:
                    remedy = "export the model again"
                    raise file_error(path, name, "this member", "none", remedy)
            names = (*wanted, *(name for name in optional if name in infos))
            return {name: _read_member(path, archive, infos[name]) for name in names}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, ModelFileError):
            raise
        remedy = _remedy(path, "copy or export the model again")
        raise file_error(path, None, "a whole zip file", str(error), remedy) from error


def _remedy(path, remedy):
    """What to do; published potentials that are given as they are tell by their names."""
    for family in FAMILIES:
        if f".{family}" in Path(path).name.lower():
            return f"make one of it: mliap-local convert {family} {Path(path).name} -o model.zip"
    return remedy


def _find_members(path, archive):
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise file_error(path, None, "members without folders", name, "do not use this file")
        if name in found:
            raise file_error(path, name, "one member of that name", "two", "do not use this file")
        if name in _MOST_BYTES:
            found[name] = info
    return found


def _read_member(path, archive, info):
    name, most = info.filename, _MOST_BYTES[info.filename]
    if info.flag_bits & 1:
        raise file_error(path, name, "a plain member", "an encrypted one", "zip without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        remedy = "zip with deflate"
        raise file_error(path, name, "stored or deflated", f"method {info.compress_type}", remedy)
    if info.file_size > most:
        raise file_error(path, name, f"at most {most} bytes", f"{info.file_size} bytes")
    try:
        with archive.open(info) as member:
            content = member.read(most + 1)  # the declared size may be a lie
    except (zlib.error, EOFError, RuntimeError) as error:
        raise file_error(path, name, "a whole member", str(error), "copy the file again") from error
    if len(content) > most:
        raise file_error(path, name, f"at most {most} bytes", "more")
    if not content:
        raise file_error(path, name, "content", "an empty member", "export the model again")
    return content


def _write_members(path, members):
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED) as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        found = error.strerror or str(error)
        raise file_error(path, None, "a path that can be written", found) from error


# The metadata


def _parse_metadata(path, content) -> ModelMetadata:
    def unique(pairs):
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError("a key that occurs twice")
        return fields

    try:
        fields = json.loads(content.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        remedy = "correct it or export the model again"
        raise file_error(path, _METADATA, "JSON", str(error), remedy) from error
    if not isinstance(fields, dict):
        raise file_error(path, _METADATA, "an object with keys", fields)
    return _validate_metadata(path, fields)


def _validate_metadata(path, fields) -> ModelMetadata:
    """Check every known field; unknown ones are others' additions and pass."""

    def need(good, key, expected, remedy=""):
        if not good:
            value = repr(fields[key]) if key in fields else "nothing"
            raise file_error(path, f"{_METADATA}: {key}", expected, value, remedy)

    cutoff, precision = fields.get("cutoff"), fields.get("precision")
    least, most = CUTOFFS
    need(_is_number(cutoff) and cutoff > 0, "cutoff", "a positive finite number")
    need(least <= cutoff <= most, "cutoff", f"a length of {least:g} to {most:g}")
    need(isinstance(precision, str) and precision in DTYPES, "precision", "32bit or 64bit")
    for key in ("name", "source", "jax_version"):
        need(isinstance(fields.get(key, ""), str), key, "text")
    need(isinstance(fields.get("smooth", True), bool), "smooth", "true or false")
    units = fields.get("units", "metal")
    need(isinstance(units, str) and units in UNITS, "units", "metal, real or lj")
    parity = fields.get("parity", "+")
    need(isinstance(parity, str) and parity and not parity.strip("+-"), "parity", "signs + and -")
    for key in ("energy_jump", "force_jump"):
        good = _is_number(fields.get(key, 0)) and fields.get(key, 0) >= 0
        need(good, key, "a number >= 0")
    overlap = fields.get("overlap", 0)
    good = _is_number(overlap) and 0 <= overlap < cutoff
    need(good, "overlap", "a number from 0 to the cutoff")
    version = fields.get("format_version", FORMAT_VERSION)
    remedy = "a newer mliap_local wrote this file: update this one"
    good = isinstance(version, int) and not isinstance(version, bool)
    good = good and 1 <= version <= FORMAT_VERSION
    need(good, "format_version", f"1 to {FORMAT_VERSION}", remedy)

    elements = fields.get("elements")
    if elements is not None:
        good = isinstance(elements, list) and elements and all(type(e) is str for e in elements)
        need(good, "elements", "a list of symbols")
        try:
            atomic_numbers(elements)
        except ValueError as error:
            need(False, "elements", f"symbols of elements, each once ({error})")
    for key, positive in (("isolated_energies", False), ("masses", True)):
        by_symbol = fields.get(key)
        if by_symbol is None:
            continue
        good = isinstance(by_symbol, dict) and all(map(_is_number, by_symbol.values()))
        good = good and not (positive and min(by_symbol.values(), default=1) <= 0)
        need(good, key, f"{'positive ' if positive else ''}finite numbers by symbol")
        good = elements is None or set(by_symbol) <= set(elements)
        need(good, key, "only symbols that `elements` names")

    known = {field.name for field in dataclasses.fields(ModelMetadata)}
    values = {key: value for key, value in fields.items() if key in known}
    values["cutoff"] = float(cutoff)
    values["elements"] = None if elements is None else tuple(elements)
    values["converted"] = parse_origin(path, fields.get("converted"))
    return ModelMetadata(**values)


def _is_number(value) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False
