"""The tree of a model of DeePMD-kit, from `.dp` (HDF5) or `.yaml`.

Source: deepmd-kit's numpy backend, which writes both. Whatever is asked of the tree and is not
there, or is something else, fails with the name of the file and the place in it; nothing in a file
is followed out of it. Knows no model.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from ..model_file.errors import printable
from .text import MOST_BYTES, PotentialFileError

_MOST_VALUES = 1 << 26  # of all arrays; more would ask for all memory
_ENDINGS = (".dp", ".yaml", ".yml")
# of DeePMD-kit's other backends
_CONVERTED = (".pb", ".pbtxt", ".pth", ".pt", ".pt2", ".pte", ".pd", ".json", ".hlo", ".jax")


def read_tree(path: str | PathLike) -> "Item":
    """Open a `.dp` or `.yaml` file.

    Raises:
      PotentialFileError: the file cannot be opened or is none of these.
      ImportError: there is no h5py, or no PyYAML.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in _CONVERTED or path.is_dir():
        raise PotentialFileError(
            f"{path}: expected a model of the backend that needs no library ({_ENDINGS[0]}, "
            f"{_ENDINGS[1]}), found {ending or 'a folder'}; where DeePMD-kit is installed, "
            f"`dp convert-backend {path.name} {path.stem}.dp` makes one"
        )
    if ending not in _ENDINGS:
        raise PotentialFileError(
            f"{path}: expected a name ending in {', '.join(_ENDINGS)}, found {ending or 'none'}"
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PotentialFileError(f"{path}: expected a model of at most {MOST_BYTES} bytes")
        return _dp_tree(path) if ending == ".dp" else _yaml_tree(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PotentialFileError(f"{path}: cannot be read: {printable(reason, 200)}") from error


class Item:
    """A value in the tree and where it stands. What is not as asked for fails.

    Args:
      path: of the file, for messages.
      value: what json or yaml made of it.
      name: the way to it.
      array_of: makes an array of what stands for one, or raises `ValueError`.
    """

    def __init__(self, path, value: Any, name: str, array_of: Callable[[Any], np.ndarray]):
        self._path, self._value, self._name, self._array_of = path, value, name, array_of

    def fail(self, expected: str, found: object) -> NoReturn:
        where = f"{self._path}: {self._name}" if self._name else f"{self._path}"
        text = printable(found if isinstance(found, str) else repr(found), 80)
        raise PotentialFileError(f"{where}: expected {expected}, found {text}")

    def _below(self, value, key):
        name = f"{self._name}/{printable(key, 40)}" if self._name else str(key)
        return Item(self._path, value, name, self._array_of)

    def __contains__(self, key: str) -> bool:
        """Is there something of that name, and not nothing?"""
        return isinstance(self._value, dict) and self._value.get(key) is not None

    def __getitem__(self, key: str) -> "Item":
        if not isinstance(self._value, dict):
            self.fail("a mapping", self._value)
        if key not in self._value:
            self.fail(f"an entry {key}", f"only {', '.join(map(str, self._value))}")
        return self._below(self._value[key], key)

    def items(self, least: int, most: int) -> "list[Item]":
        if not isinstance(self._value, list):
            self.fail("a list", self._value)
        if not least <= len(self._value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            self.fail(f"{count} entries", f"{len(self._value)}")
        return [self._below(value, k) for k, value in enumerate(self._value)]

    def text(self) -> str:
        if not isinstance(self._value, str):
            self.fail("text", self._value)
        return self._value

    def number(self) -> float:
        if isinstance(self._value, bool) or not isinstance(self._value, int | float):
            self.fail("a number", self._value)
        if not abs(self._value) < 1e300:
            self.fail("a finite number", self._value)
        return float(self._value)

    def integer(self, least: int, most: int) -> int:
        if isinstance(self._value, bool) or not isinstance(self._value, int):
            self.fail("a whole number", self._value)
        if not least <= self._value <= most:
            self.fail(f"a number from {least} to {most}", self._value)
        return self._value

    def flag(self) -> bool:
        if not isinstance(self._value, bool):
            self.fail("true or false", self._value)
        return self._value

    def missing(self) -> bool:
        return self._value is None

    def entry(self, key: str, default: Any) -> "Item":
        """The entry, or `default` where there is none, as in files of older versions."""
        return self[key] if key in self else self._below(default, key)

    def version(self, most: int) -> None:
        """Expect a layout that is known."""
        self.entry("@version", 1).integer(1, most)

    def nothing(self, key: str, why: str) -> None:
        """Expect an entry to be missing, null, false, 0 or empty."""
        if self._value.get(key):
            self[key].fail(f"none: {why}", self._value[key])

    def choice(
        self, known: Sequence[str], what: str, why_not: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """Return the text if it is a known one; of others some are refused with a reason."""
        word = self.text()
        if word not in known:
            why = f" ({why_not[word]})" if word in why_not else ""
            self.fail(f"{what} ({', '.join(known)})", f"{word}{why}")
        return word

    def array(self, *shape: int | None) -> np.ndarray:
        """Return finite numbers, float64; None: any length."""
        try:
            array = self._array_of(self._value)
        except ValueError as error:
            self.fail("an array of numbers", str(error))
        wanted = "x".join("any" if n is None else str(n) for n in shape)
        if len(array.shape) != len(shape) or any(
            n is not None and n != m for n, m in zip(shape, array.shape, strict=True)
        ):
            self.fail(f"an array of {wanted}", "x".join(map(str, array.shape)) or "one number")
        if not np.all(np.isfinite(array)):
            self.fail("finite numbers", f"{np.sum(~np.isfinite(array))} others")
        return array

    def pairs(self, n: int) -> np.ndarray:
        """Return pairs of elements as a symmetric mask, bool `[n, n]`."""
        mask = np.zeros((n, n), bool)
        for pair in self.items(0, n * n * 4):
            i, j = (item.integer(0, n - 1) for item in pair.items(2, 2))
            mask[i, j] = mask[j, i] = True
        return mask


def _dp_tree(path) -> Item:
    """Open HDF5: a tree in JSON, whose variables are names of datasets."""
    import h5py

    arrays: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            room = _MOST_VALUES
            for name in map(str, file):
                # a link may lead into any other file
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    continue
                dataset = file[name]
                if isinstance(dataset, h5py.Dataset):
                    arrays["/" + name] = found = _dataset(dataset, room)
                    room -= found.size if isinstance(found, np.ndarray) else 0
            text = file.attrs.get("json")
    except (RuntimeError, KeyError, ValueError, TypeError) as error:  # so h5py reports bad bytes
        raise PotentialFileError(f"{path}: expected HDF5, found {printable(error, 120)}") from error
    if not isinstance(text, str):
        raise PotentialFileError(f"{path}: expected HDF5 with an attribute json, found none")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PotentialFileError(
            f"{path}: expected JSON in its attribute json, found {printable(error, 120)}"
        ) from error

    def array_of(value) -> np.ndarray:
        found = arrays.get(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"no dataset {value!r}")
        if isinstance(found, Exception):
            raise ValueError(str(found))
        return found

    return Item(path, tree, "", array_of)


def _dataset(dataset, room: int) -> np.ndarray | Exception:
    """The numbers, or why there are none: only those that the tree names must be good."""
    try:
        if dataset.is_virtual or dataset.external:
            raise ValueError("numbers in another file")
        if dataset.dtype.kind not in "fiu":
            raise ValueError(f"values of type {dataset.dtype}")
        if dataset.size is None or dataset.size > room:  # a little file can stand for much
            raise ValueError(f"{dataset.shape}, more than any model has")
        return np.array(dataset[()], float)
    except (OSError, ValueError) as error:
        return error


def _yaml_tree(path) -> Item:
    """Read YAML: a tree whose variables are mappings with `dtype` and `value`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times faster, where it is built
    try:
        tree = yaml.load(path.read_text(encoding="utf-8", errors="replace"), loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else f"{path}"
        problem = printable(getattr(error, "problem", None) or error, 120)
        raise PotentialFileError(f"{where}: expected YAML, found {problem}") from error
    except (ValueError, RecursionError) as error:
        found = printable(error, 120)
        raise PotentialFileError(f"{path}: expected YAML, found {found}") from error

    def array_of(value) -> np.ndarray:
        if not isinstance(value, dict) or not isinstance(value.get("value"), list | int | float):
            raise ValueError("no value of one")
        array = np.array(value["value"], object)  # else a long text among numbers takes all memory
        others = {type(one).__name__ for one in array.flat} - {"int", "float"}
        if others:  # lists: some are longer than others
            raise ValueError(f"values of type {min(others)}")
        try:
            return array.astype(float)
        except OverflowError as error:
            raise ValueError(str(error)) from error

    return Item(path, tree, "", array_of)
