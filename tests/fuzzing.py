"""Files mutated at random, and what must become of them: a result, or one line that names a file.

Not a test: `test_fuzz.py` runs some hundred inputs a format, `benchmarks/fuzz.py` more of them. An
input is made from a format and a number alone, so a failure is told by its number. Seeds are the
small files that the tests make anyway. Files are read and converted, not exported: that is where
what a file says meets our code. Time, memory, and what is written or started are watched.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import numpy as np
import oracle_ace
import oracle_deepmd
import oracle_mtp
import oracle_nep
import test_ace
import test_model_file
import test_snap
import test_sw
from small_tables import small_table

from mliap_local.model_file import files, programs
from mliap_local.models import Converted, ace, adp, deepmd, eam, mtp, nep, snap, sw

jax.config.update("jax_enable_x64", True)

SECONDS = 5  # of processor time
MEMORY = 512 << 20  # bytes above what was there before

Files = dict[str, bytes]


class Format(NamedTuple):
    seeds: Callable[[Path], None]  #: writes sound files, a folder a seed
    read: Callable[[Path], Any]  #: reads what is in a folder
    mutate: Callable[[random.Random, bytes], bytes]  #: changes one file


class Failure(Exception):
    """What must not happen, in words."""


class _TooLong(BaseException):
    """Nobody catches it by mistake."""


# --- what is changed -----------------------------------------------------------------------------

WORDS = [
    *"nan inf -inf 1e400 -1e400 1e308 -1e308 1e-320 0 -0.0 -1 1 2 3 5 0.5 1e5 1000000".split(),
    *"2147483648 -2147483649 99999999999999999999 0x10 1_0 1d5 1e 1e+ . - + # \u0661\u0662".split(),
    *"[ ] { } ( ) < > : , * *a &a !!python/object/apply:os.system --- ... | ' \" ? @ % ~".split(),
    *"true null Ni Cu H Qq nep5_zbl 28 # = == ../../x /etc/passwd $(id) %s {0}".split(),
    *("\x1b[2J\x1b[31m", "\x00", "\u202e", "\ufeff", "\x85", "\u2028", "9" * 300, "x" * 5000),
    *("# UNITS: \x1b[31m", "\n", "\r", "\t", "\n\n", ""),
]
BYTES = [b"\xff", b"\xc3\x28", b"\x80" * 9, b"\xed\xa0\x80", b"\x00" * 40, b"\xef\xbb\xbf"]


def mutated_text(draw: random.Random, content: bytes) -> bytes:
    """One to four changes of words, lines and bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 2, 4))):
        content = draw.choice(_CHANGES)(draw, content)
    return content[: 1 << 20]


def _word(draw, content):
    places = list(re.finditer(rb"[^\s,\[\]{}():=<>]+", content[:20_000]))
    if not places:
        return content
    word = draw.choice(places[: draw.choice((20, 60, len(places)))])
    return content[: word.start()] + draw.choice(WORDS).encode() + content[word.end() :]


def _count(draw, content):
    """A whole number that is wrong by a little, or by a lot."""
    places = list(re.finditer(rb"(?<![\w.])\d+(?![\w.])", content))
    if not places:
        return content
    word = draw.choice(places[: draw.choice((4, 20, len(places)))])
    value = int(word.group()[:18])
    value = draw.choice((value + 1, value - 1, 2 * value, -value, value + draw.randrange(1 << 20)))
    return content[: word.start()] + str(value).encode() + content[word.end() :]


def _swapped_words(draw, content):
    places = list(re.finditer(rb"\S+", content))
    if len(places) < 2:
        return content
    one, other = sorted(draw.sample(range(len(places)), 2))
    one, other = places[one], places[other]
    middle = content[one.end() : other.start()]
    return content[: one.start()] + other[0] + middle + one[0] + content[other.end() :]


def _lines(draw, content):
    lines = content.split(b"\n")
    first = draw.randrange(len(lines))
    some = lines[first : first + draw.choice((1, 1, 2, 5))]
    kind = draw.choice(("delete", "double", "move", "many", "join"))
    if kind == "delete":
        del lines[first : first + len(some)]
    elif kind == "double":
        lines[first:first] = some
    elif kind == "move":
        del lines[first : first + len(some)]
        place = draw.randint(0, len(lines))
        lines[place:place] = some
    elif kind == "many":
        lines[first:first] = some * draw.choice((10, 1000))
    else:
        lines[first : first + len(some)] = [b" ".join(some)]
    return b"\n".join(lines)


def _bytes(draw, content):
    if not content:
        return draw.choice(BYTES)
    place, much = draw.randrange(len(content)), draw.choice((1, 1, 1, 4, 64))
    kind = draw.choice(("bit", "byte", "insert", "delete", "double", "bad"))
    if kind == "bit":
        return _at(content, place, bytes([content[place] ^ 1 << draw.randrange(8)]))
    if kind == "byte":
        return _at(content, place, draw.randbytes(much))
    if kind == "insert":
        return content[:place] + draw.randbytes(much) + content[place:]
    if kind == "delete":
        return content[:place] + content[place + much :]
    if kind == "double":
        return content[: place + much] + content[place:]
    return content[:place] + draw.choice(BYTES) + content[place:]


def _at(content, place, new):
    return content[:place] + new + content[place + len(new) :]


def _cut(draw, content):
    return content[: draw.randrange(len(content) + 1)]


def _deep(draw, content):
    place = draw.randrange(len(content) + 1)
    nested = draw.choice((b"[", b"{", b"- ", b"{a: ", b'{"a":', b"? ", b"&a [*a,"))
    return content[:place] + nested * draw.choice((5, 100, 20_000)) + content[place:]


_CHANGES = (_word, _word, _word, _word, _count, _count, _swapped_words, _lines, _lines)
_CHANGES += (_bytes, _bytes, _cut, _deep)

_NAMES = ["metadata.json", "edge.jax", "node_init.jax", "readout.jax", "EDGE.JAX", "edge.jax/"]
_NAMES += ["../edge.jax", "/tmp/edge.jax", "a/b", "..\\x", "\x1b[2J", "", "x" * 60_000, "\x00", "é"]
_VALUES: list[Any] = [None, True, False, 0, 1, -1, 2**70, 10**400, 1e308, 5e-324, -0.0, "", "64bit"]
_VALUES += ["32bit", "lj", "Ni", "\x1b[31m", "\ud800", "\u202e", "x" * 100_000, [], {}, ["H"]]
_VALUES += [["H", "H"], ["Qq"], [["H"]], [1], {"H": 1}, {"H": "1"}, {"H": -1.0}, {"Qq": 0}]
_VALUES += [float("nan"), float("inf"), [None] * 1000, {"": {}}, ["\x1b[2J"], {"H": 10**400}]
_KEYS = (
    "cutoff precision format_version elements units name source isolated_energies masses".split()
)
_KEYS += "smooth energy_jump force_jump overlap jax_version functions \x1b[2J".split()


def mutated_zip(draw: random.Random, content: bytes) -> bytes:
    """Bytes of the whole, its members, or its metadata; the programs stay as they are or away."""
    if draw.random() < 0.3:
        return draw.choice((_bytes, _bytes, _cut, _headers))(draw, content)
    members = _members(content)
    if draw.random() < 0.6:
        members = [(n, _metadata(draw, c) if n == "metadata.json" else c) for n, c in members]
    if draw.random() < 0.4:
        place = draw.randrange(len(members))
        name, text = members[place]
        kind = draw.choice(("rename", "double", "drop", "add", "bomb", "empty", "many"))
        new = {
            "rename": [(draw.choice(_NAMES), text)],
            "double": [(name, text), (draw.choice((name, *_NAMES)), text)],
            "drop": [],
            "add": [(name, text), (draw.choice(_NAMES), draw.randbytes(100))],
            "bomb": [(name, _zeros(draw.choice(((1 << 28) + 1, *(2 << 20,) * 30))))],
            "empty": [(name, b"")],
            "many": [(name, text), *((f"{k}", b"") for k in range(draw.choice((500, 1100))))],
        }[kind]
        members[place : place + 1] = new
    archive = _zipped(members, draw.choice((zipfile.ZIP_STORED,) + (zipfile.ZIP_DEFLATED,) * 3))
    return draw.choice((_headers, _bytes))(draw, archive) if draw.random() < 0.1 else archive


def mutated_active_set(draw: random.Random, content: bytes) -> bytes:
    """The potential's text or its active set, a zip of arrays."""
    if content[:2] != b"PK":
        return mutated_text(draw, content)
    if draw.random() < 0.5:
        return mutated_zip(draw, content)
    ((name, array),) = _members(content)
    return _zipped([(name, draw.choice((_bytes, _bytes, _cut, _word))(draw, array))], 0)


def mutated_tree(draw: random.Random, content: bytes) -> bytes:
    """A model of DeePMD-kit: text, or in HDF5 its bytes, its text or one of its arrays."""
    if content[:4] != b"\x89HDF":
        return mutated_text(draw, content)
    if draw.random() < 0.4:
        return draw.choice((_bytes, _bytes, _cut))(draw, content)
    whole = io.BytesIO(content)
    with h5py.File(whole, "r+") as file:
        if draw.random() < 0.7:
            text = mutated_text(draw, file.attrs["json"].encode())
            file.attrs["json"] = text.decode(errors="replace").replace("\0", " ")[:60_000]
        else:
            name = draw.choice(sorted(file))
            old = file[name][()]
            del file[name]
            file[name] = draw.choice((old.T, old.ravel()[:1], *_ARRAYS))
    return whole.getvalue()


_ARRAYS: list[Any] = [
    *(h5py.SoftLink("/x"), h5py.ExternalLink("/etc/passwd", "/x"), "\x1b[2J", [b"1"]),
    *(np.nan, 1e308, [], [np.inf] * 5, [True], np.ones((1, 1, 1)), np.ones((4, 4), "c16")),
]


def mutated_programs(draw: random.Random, content: bytes) -> bytes:
    """A program of which bytes are changed, in a zip that is sound."""
    members = _members(content)
    place = draw.randrange(1, len(members))
    name, blob = members[place]
    for _ in range(draw.choice((1, 1, 2, 8))):
        blob = draw.choice((_bytes, _bytes, _bytes, _bytes, _cut, _word))(draw, blob)
    if draw.random() < 0.05:
        blob = draw.choice(members)[1]
    members[place] = name, blob
    return _zipped(members, zipfile.ZIP_STORED)


def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _zipped(members, method):
    whole = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of a name
        with zipfile.ZipFile(whole, "w", method, compresslevel=1) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, method)
    return whole.getvalue()


@functools.cache
def _zeros(size):
    return bytes(size)


def _headers(draw, content):
    """A field of a local or central header, or of the end: sizes, methods, flags, offsets."""
    marks = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", content)]
    place = draw.choice(marks) + draw.randrange(4, 46)
    value = draw.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, draw.randrange(1 << 32)))
    new = draw.choice((struct.pack("<H", value & 0xFFFF), struct.pack("<I", value)))
    return _at(content, place, new)[: len(content)]


def _metadata(draw, content):
    if draw.random() < 0.4:
        return mutated_text(draw, content)
    fields = json.loads(content)
    for _ in range(draw.choice((1, 1, 2))):
        fields[draw.choice(_KEYS)] = draw.choice(_VALUES)
    return json.dumps(fields, ensure_ascii=draw.random() < 0.9).encode(errors="surrogatepass")


# --- the formats ---------------------------------------------------------------------------------


def _tables(*formats, ending=None):
    def seeds(folder):
        for name in formats:
            (folder / name).mkdir()
            small_table(folder / name / f"made.{ending or name}", name)

    return seeds


def _funcfl_seeds(folder):
    for name, grid in (("one", "5 0.1 6 0.5 2.5"), ("two", "5 0.2 6 0.4 2.0")):
        (folder / name).mkdir()
        small_table(folder / name / "a.eam", "funcfl", grid=grid)
        if name == "two":
            copper = lambda lines: lines.__setitem__(1, "29 63.5 3.61 fcc")  # noqa: E731
            small_table(folder / name / "b.eam", "funcfl", change=copper)


def _sw_seeds(folder):
    (folder / "two").mkdir()
    test_sw.two_elements(folder / "two" / "made.sw")


def _snap_seeds(folder):
    for name, words in {
        "plain": {},
        "quadratic": {"n": 1, "order": 2, "quadraticflag": 1},
        "chemical": {"order": 2, "chemflag": 1, "bnormflag": 1},
        "inner": {"order": 1, "switchinnerflag": 1, "sinner": "1.0 1.2", "dinner": "0.2 0.3"},
    }.items():
        (folder / name).mkdir()
        test_snap.write(folder / name, **words)


def _nep_seeds(folder):
    for k, (kind, elements, zbl, l_max) in enumerate(
        (("nep4", "Ni", "", "2 0 0"), ("nep3", "Fe Cr", "", "1 0 0"),
         ("nep5_zbl", "C Si", "zbl 0 0", "2 2 1"), ("nep4_zbl", "Cu O", "zbl 1 2.2 0.62", "2 0"))
    ):  # fmt: skip
        (folder / str(k)).mkdir()
        header = oracle_nep.Header(
            kind, elements, zbl, l_max=l_max, n_max="1 0", basis_size="1 1", neurons=2
        )
        oracle_nep.write_random(folder / str(k) / "nep.txt", header)


def _mtp_seeds(folder):
    for k, (level, elements) in enumerate(((2, "Cu"), (6, "Cu Ni"))):
        (folder / str(k)).mkdir()
        oracle_mtp.write_random(folder / str(k) / "made.mtp", oracle_mtp.Header(level, elements))


def _deepmd_seeds(folder):
    small, atten = {"neuron": [2, 4]}, {**oracle_deepmd.ATTENTION, "axis_neuron": 2}
    scripts = {
        "made.dp": [{**small, "axis_neuron": 2}],
        "made.yaml": [{**small, **atten}, {**small, "type": "se_e2_r"}],
    }
    made = {k: {"script": oracle_deepmd.script(s, neuron=[3])} for k, s in scripts.items()}
    oracle_deepmd.run(folder, made)
    for file in list(folder.iterdir()):
        if file.name in scripts:
            (folder / file.suffix[1:]).mkdir()
            file.rename(folder / file.suffix[1:] / file.name)
        else:
            file.unlink()


def _one_file(name, text):
    def seeds(folder):
        (folder / "one").mkdir()
        (folder / "one" / name).write_text(text)

    return seeds


def _active_set_seeds(folder):
    _one_file("made.yaml", oracle_ace.BASIS)(folder)
    np.savez(folder / "one" / "made.npz", Cu=np.arange(9.0).reshape(3, 3))


def _zip_seeds(folder):
    (folder / "one").mkdir()
    metadata = {"cutoff": 4.0, "precision": "64bit", "elements": ["H", "Ni"], "units": "metal"}
    metadata |= {"name": "n", "masses": {"H": 1.0}, "isolated_energies": {"Ni": -1.5}}
    test_model_file.write_zip(
        folder / "one" / "made.zip", test_model_file.independent_blobs(vjp_order=1), metadata
    )


def _converting(family, **more):
    """Read as `mliap-local convert` does, up to the export's own checks of what is said."""

    def read(folder):
        names = sorted(str(path) for path in folder.iterdir())
        made = family.convert(Namespace(**{k: v(names) for k, v in more.items()}))
        masses = {element: mass for element, mass in (made.masses or {}).items() if mass > 0}
        fields = {"cutoff": made.cutoff, "elements": list(made.elements), "units": made.units}
        fields |= {"precision": "64bit", "source": made.source, "masses": masses or None}
        fields |= {"overlap": made.overlap}
        fields = {key: value for key, value in fields.items() if value is not None}
        files._validate_metadata(names[0], fields)
        return made

    return read


def _only(names):
    return names[0]


_table = _converting(eam, file=lambda names: names, format=lambda names: None)
_nep = _converting(nep, file=_only, elements=lambda names: None)
_sw = _converting(sw, file=_only, elements=lambda names: ["Si", "C"])
_ace = _converting(ace, file=_only, active_set=lambda names: None)
_deepmd = _converting(deepmd, file=_only, elements=lambda names: None, tabulate=lambda names: None)
_graded = _converting(ace, file=lambda names: names[1], active_set=_only)


def _mtp(folder):
    two = re.search(rb"species_count *= *2", next(folder.iterdir()).read_bytes())
    elements = ["Cu", "Ni"] if two else ["Cu"]
    return _converting(mtp, file=_only, elements=lambda names: elements)(folder)


def _snap(folder):
    n = 1 if b"quadraticflag" in next(folder.glob("*param")).read_bytes() else 2
    return _converting(
        snap,
        coefficients=lambda names: next(n for n in names if n.endswith("coeff")),
        parameters=lambda names: next(n for n in names if n.endswith("param")),
        elements=lambda names: list(test_snap.SYMBOLS[:n]),
        zbl=lambda names: None,
    )(folder)


def _model(folder):
    """Programs that are those of the seed are taken apart once: that is what takes the time."""
    real, files.deserialise = files.deserialise, _deserialise
    try:
        return files.read_model(folder / "made.zip", trusted=True)
    finally:
        files.deserialise = real


def _deserialise(path, blobs, precision, platform):
    key = precision, platform, tuple(sorted(blobs.items()))
    if key not in _sound:
        done = programs.deserialise(path, blobs, precision, platform)
        if len(_sound) == 4:
            return done
        _sound[key] = done
    return _sound[key]


_sound: dict[Any, Any] = {}


FORMATS = {
    "eam.alloy": Format(_tables("alloy"), _table, mutated_text),
    "eam.fs": Format(_tables("fs"), _table, mutated_text),
    "eam.he": Format(_tables("he"), _table, mutated_text),
    "eam.funcfl": Format(_funcfl_seeds, _table, mutated_text),
    "eam.any": Format(_tables("alloy", "fs", "he", "funcfl", ending="txt"), _table, mutated_text),
    "adp": Format(_tables("adp"), _converting(adp, file=_only), mutated_text),
    "sw": Format(_sw_seeds, _sw, mutated_text),
    "snap": Format(_snap_seeds, _snap, mutated_text),
    "nep": Format(_nep_seeds, _nep, mutated_text),
    "mtp": Format(_mtp_seeds, _mtp, mutated_text),
    "ace": Format(_one_file("made.ace", test_ace.HEADER), _ace, mutated_text),
    "yace": Format(_one_file("made.yace", test_ace.TREE), _ace, mutated_text),
    "deepmd": Format(_deepmd_seeds, _deepmd, mutated_tree),
    "active set": Format(_active_set_seeds, _graded, mutated_active_set),
    "model": Format(_zip_seeds, _model, mutated_zip),
    "programs": Format(_zip_seeds, _model, mutated_programs),
}


# --- one input -----------------------------------------------------------------------------------


@functools.cache
def seeds(name: str) -> list[Files]:
    """The sound files of a format."""
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[name].seeds(Path(folder))
        return [
            {file.name: file.read_bytes() for file in sorted(one.iterdir())}
            for one in sorted(Path(folder).iterdir())
        ]


def made(name: str, number: int) -> Files:
    """The files of an input; those of a negative number are sound."""
    if number < 0:
        return seeds(name)[-number - 1]
    draw = random.Random(f"{name} {number}")
    changed = dict(draw.choice(seeds(name)))
    file = draw.choice(sorted(changed))
    changed[file] = FORMATS[name].mutate(draw, changed[file])
    return changed


def tried(name: str, files_of: Files, folder: Path) -> str:
    """Read these files in an empty folder: "read" or "refused".

    Raises:
      Failure: anything else.
    """
    for file, content in files_of.items():
        (folder / file).write_bytes(content)
    before, said = sorted(os.listdir(folder)), io.StringIO()
    try:
        with _limits(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = FORMATS[name].read(folder)
    except _TooLong:
        raise Failure(f"more than {SECONDS} s of processor time") from None
    except ValueError as error:  # ModelFileError, PotentialFileError and others that name the file
        _judge_text(f"{type(error).__name__}: {error}", str(folder))
        return "refused"
    except (Exception, RecursionError) as error:
        raise Failure(f"{type(error).__name__}: {error}"[:400]) from error
    finally:
        found = sorted(os.listdir(folder))
        for file in found:
            (folder / file).unlink()
        if found != before:
            raise Failure(f"wrote {set(found) ^ set(before)}")
    if _events:
        raise Failure(f"did {_events}")
    _judge_text(said.getvalue(), "", lines=True)
    if isinstance(result, Converted):
        assert result.cutoff > 0
    return "read"


def _judge_text(text, path, lines=False):
    if _events:
        raise Failure(f"did {_events}")
    shown = text.replace("\n", "") if lines else text
    if not shown.isprintable() or len(text) > 3000:
        raise Failure(f"a text that disturbs: {text[:300]!r}, {len(text)} letters")
    if path not in text:
        raise Failure(f"an error that names no file: {text[:300]}")


_events: list[str] = []
_watching = False


def _watch(event, arguments):
    if not _watching:
        return
    if event == "open":
        _, mode, flags = arguments
        if (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _events.append(f"open {arguments}")
    elif event.partition(".")[0] in ("subprocess", "socket", "shutil", "ctypes") or event in (
        *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.system"),
        *("os.chmod", "os.exec", "os.posix_spawn", "os.fork", "os.truncate", "os.putenv"),
    ):
        _events.append(f"{event} {arguments}")


@functools.cache
def _install_watch() -> None:
    sys.addaudithook(_watch)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """So much time and memory, and a record of what is written, started or connected to."""
    global _watching

    def end(*_):
        raise _TooLong

    _install_watch()
    _events.clear()
    old_memory = resource.getrlimit(resource.RLIMIT_DATA)
    with open("/proc/self/statm") as statm:
        data = int(statm.read().split()[5]) * resource.getpagesize()
    old_handler = signal.signal(signal.SIGPROF, end)
    resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY, old_memory[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers that overflow: the export refuses them
            _watching = True
            yield
    finally:
        _watching = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old_handler)
        resource.setrlimit(resource.RLIMIT_DATA, old_memory)


def run(name: str, numbers, begin=lambda number, counts: None) -> tuple[dict[str, int], list[str]]:
    """Try inputs; return how many were read and refused, and what failed.

    Args:
      numbers: of the inputs.
      begin: told each number before it is tried, and the counts so far.
    """
    counts, failures, slowest = {"read": 0, "refused": 0}, [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for k in range(len(seeds(name))):  # they are sound, and import what is imported late
            FORMATS[name].read(_written(made(name, -k - 1), Path(folder)))
            assert tried(name, made(name, -k - 1), Path(folder)) == "read"
        for number in numbers:
            begin(number, counts)
            start = time.process_time()
            try:
                counts[tried(name, made(name, number), Path(folder))] += 1
            except Failure as failure:
                failures.append(f"{name} {number}: {failure}")
            slowest = max(slowest, time.process_time() - start)
    counts["slowest_ms"] = round(1000 * slowest)
    return counts, failures


def _written(files_of, folder):
    for file in folder.iterdir():
        file.unlink()
    for file, content in files_of.items():
        (folder / file).write_bytes(content)
    return folder
