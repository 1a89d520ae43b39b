"""What a model file was converted from, and its programs built anew from that.

A program that `jax.export` wrote is readable for some months; the published potential that it came
from for as long as there is a converter. So converted files carry it, as members `converted/0`, ...
with the words of the command, and a JAX that cannot read the programs makes its own. The readers of
potentials take hostile files as they are; what the words may say is bounded here.
"""

import argparse
import contextlib
import io
import re
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..models import FAMILIES, Converted
from ..models.text import FoundPath
from .errors import failure_text, file_error

#: Members of the zip for the files that a potential may have.
MEMBERS = tuple(f"converted/{k}" for k in range(128))

_REMEDY = "convert the potential again"
_KEY = "metadata.json: converted"
_WORD = re.compile(r"[A-Za-z0-9.+_=:,-]{1,64}")  # no path
_NAME = re.compile(r"[^A-Za-z0-9.+_-]")


class Origin(NamedTuple):
    """A published potential, and how it was converted."""

    family: str  #: of `mliap-local convert`
    #: Its arguments, without output and precision; numbers stand for files.
    arguments: tuple[str | int, ...]
    names: tuple[str, ...]  #: of the files
    contents: tuple[bytes, ...]  #: of the files; empty where they were not read
    version: str = ""  #: of this package, when it was converted

    def fields(self) -> dict[str, Any]:
        """What stands in the metadata."""
        return {
            "family": self.family,
            "arguments": list(self.arguments),
            "files": list(self.names),
            "version": self.version,
        }

    def members(self) -> dict[str, bytes]:
        """What stands beside the programs."""
        return dict(zip(MEMBERS, self.contents, strict=False))


def parse_origin(path: Any, fields: Any) -> Origin | None:
    """The origin that a file's metadata name, without contents, or None.

    Raises:
      ModelFileError: it is none of ours.
    """
    if fields is None:
        return None
    known: dict[str, Any] = fields if isinstance(fields, dict) else {}
    family, version = known.get("family"), known.get("version")
    names, words = (_list(known.get(key)) for key in ("files", "arguments"))
    if not (
        isinstance(family, str)
        and family in FAMILIES
        and isinstance(version, str)
        and names is not None
        and words is not None
        and len(names) <= len(MEMBERS)
        and all(isinstance(name, str) for name in names)
        and all(_is_word(word, len(names)) for word in words)
    ):
        raise file_error(path, _KEY, "family, arguments, files and version", fields, _REMEDY)
    return Origin(family, tuple(words), tuple(names), (), version)


def _list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) and len(value) <= 4 * len(MEMBERS) else None


def _is_word(word: Any, n_files: int) -> bool:
    if isinstance(word, str):
        return _WORD.fullmatch(word) is not None
    return type(word) is int and 0 <= word < n_files


def convert_again(path: Any, origin: Origin) -> Converted:
    """What the installed converter makes of an origin with its files.

    Raises:
      ModelFileError: it makes nothing of it.
    """
    with tempfile.TemporaryDirectory(prefix="mliap_local_") as folder:
        files = []
        for k, (name, content) in enumerate(zip(origin.names, origin.contents, strict=True)):
            place = Path(folder, str(k), _NAME.sub("_", name)[-100:].lstrip(".") or "potential")
            place.parent.mkdir()
            place.write_bytes(content)
            files.append(str(place))
        words = [files[word] if isinstance(word, int) else word for word in origin.arguments]
        try:
            family = import_module(f"mliap_local.models.{origin.family}")
            parser = _Parser(prog=origin.family, add_help=False)
            family.add_arguments(parser)
            with contextlib.redirect_stdout(io.StringIO()):
                return family.convert(parser.parse_args(words))
        except Exception as error:
            expected = f"what `mliap-local convert {origin.family}` takes"
            raise file_error(path, _KEY, expected, failure_text(error), _REMEDY) from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(message)


def files_of(options: Any) -> dict[str, FoundPath]:
    """The files among the values of a command's options, by the words that named them."""
    values = [value if isinstance(value, list) else [value] for value in vars(options).values()]
    return {v.given: v for value in values for v in value if isinstance(v, FoundPath)}


def origin_of(family: str, words: Sequence[str], options: Any, version: str) -> Origin:
    """The origin of a conversion: its words, those that name a file as numbers."""
    files = files_of(options)
    places = {given: k for k, given in enumerate(files)}
    arguments: list[str | int] = []
    for word in words:
        option, value = (word[:2], word[2:]) if word[:2] != "--" else word.partition("=")[::2]
        if word in places:
            arguments.append(places[word])
        elif word[:1] == "-" and value in places:  # -oFILE and --option=FILE are two words
            arguments += [option, places[value]]
        else:
            arguments.append(word)
    names = tuple(Path(file).name for file in files.values())
    contents = tuple(Path(file).read_bytes() for file in files.values())
    return Origin(family, tuple(arguments), names, contents, version)


def same_model(path: Any, made: Converted, cutoff: float, elements: Sequence[str] | None) -> None:
    """Refuse what is plainly another model than the one that the file held.

    Raises:
      ModelFileError: cutoff or elements differ.
    """
    if made.cutoff != cutoff or tuple(made.elements) != tuple(elements or ()):
        expected = f"cutoff {cutoff!r} and elements {' '.join(elements or ())} again"
        found = f"{made.cutoff!r} and {' '.join(made.elements)}"
        raise file_error(path, _KEY, expected, found, _REMEDY)
