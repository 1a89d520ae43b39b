"""Files that nobody here made: tried in a child process before this one reads them, and remembered.

A trial costs a second or more, so a good verdict is kept beside what JAX compiled: the second `lmp`
run pays nothing, and of the ranks of a node one tries while the others wait for its words. What is
kept holds for this content, this version and this JAX. It says that the file could be read and run
once: a program may still do otherwise for other atoms. Imports no JAX.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from .. import __version__
from . import apart
from .errors import ModelFileError, file_error

#: Raise it when a trial asks for more than it did: what was remembered before is tried again.
_TRIAL = 1

_known: set[str] = set()  # verdicts of this process, where the folder cannot be written


def vet(path: Any, content: bytes, platform: str) -> None:
    """Let a child read and run a file, unless that is known to end well.

    Args:
      path: of the file, which must still have this content.
      content: what this process will read.
      platform: what a file not made for CPUs is read for.

    Raises:
      ModelFileError: the file is refused, or ended the child.
    """
    name = _name(content)
    if _is_known(name):
        return
    with _turn(name) as (notes, waited):
        if waited and _is_known(name):
            return
        said = notes.read() if notes and waited else ""
        if said.startswith(f"{path}: "):  # another rank was told so a moment ago
            raise ModelFileError(said)
        _note(notes, "")  # what an earlier run was told
        try:
            tried = apart.run_apart("vet", path, platform)
            if tried != hashlib.sha256(content).hexdigest():
                raise file_error(path, None, "a file that stays", "it was written just now", "wait")
        except ModelFileError as error:
            _note(notes, str(error))
            raise
        _remember(name)
        _forget(notes)


def check(path: Any) -> list[tuple[str, bool, str, bool]]:
    """Return the checks of a file: name, whether it is kept, detail, whether it is a warning. A
    sound file is remembered.

    Raises:
      ModelFileError: the file ended the child.
    """
    answer = apart.run_apart("check", path)
    checks = [(name, ok, detail, warning) for name, ok, detail, warning in answer["checks"]]
    if answer["digest"] and all(ok for _, ok, *_ in checks):
        _remember(_name_of(answer["digest"]))
    return checks


def remember(content: bytes) -> None:
    """Keep that a file of this content was read and run. A folder that cannot be written to is no
    error: the next process tries the file again."""
    _remember(_name(content))


def cache_folder() -> Path:
    """JAX_COMPILATION_CACHE_DIR or the user's own: for what JAX compiled and what was tried."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if os.path.isabs(chosen):  # or it is a bucket somewhere
        return Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "mliap_local"


def _name(content):
    return _name_of(hashlib.sha256(content).hexdigest())


def _name_of(digest):
    """Name a verdict by all that it depends on."""
    depends = (digest, _TRIAL, __version__, _version("jax"), _version("jaxlib"))
    return hashlib.sha256(repr(depends).encode()).hexdigest()


def _version(package):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _folder():
    return cache_folder() / "tried"


def _is_known(name):
    if name in _known:
        return True
    with contextlib.suppress(OSError):
        return (_folder() / name).read_text() == name  # a disk that was full leaves less
    return False


def _remember(name):
    _known.add(name)
    with contextlib.suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        number, written = tempfile.mkstemp(dir=_folder())
        try:
            with open(number, "w") as file:
                file.write(name)
            os.replace(written, _folder() / name)  # at once or not at all, whoever else writes it
        finally:
            Path(written).unlink(missing_ok=True)


@contextlib.contextmanager
def _turn(name) -> Iterator[tuple[TextIO | None, bool]]:
    """Wait until no other process tries this file.

    Yields:
      The notes that the others read next, None where there can be none; whether it had to wait.
    """
    waited, notes = False, None
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        notes = open(_folder() / f"{name}.lock", "a+")
        end = time.monotonic() + apart.PATIENCE
        while not _lock(notes) and time.monotonic() < end:
            waited = True
            time.sleep(0.05)
        notes.seek(0)
    except OSError:  # no folder, or one that knows no locks: then each for itself
        waited = False
    try:
        yield notes, waited
    finally:
        if notes:
            notes.close()  # which ends the lock, as the end of this process would


def _lock(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(notes):
    if notes:
        with contextlib.suppress(OSError):
            os.unlink(notes.name)  # those who wait hold it open, and need not read it


def _note(notes, text):
    if notes:
        with contextlib.suppress(OSError):
            notes.truncate(0)
            notes.write(text)
            notes.flush()
