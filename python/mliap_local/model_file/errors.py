"""What is said about model files: the error, and the one way in which their text reaches people.

Whatever stands in a file was written by anybody: it is never printed as it is. Imports nothing, so
that all who print may import it.
"""

from typing import Any

#: Longer texts are cut: nobody reads on.
MOST_LETTERS = 1000


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names file and member, says what was expected
    and what was found, and what to do. It is one line that cannot disturb a terminal."""

    expected = True  #: the message says all: LAMMPS's log needs no traceback

    def __init__(self, message: str):
        super().__init__(printable(message))


def printable(text: object, most: int = MOST_LETTERS) -> str:
    """Return text that comes from a file as one line without control characters, cut at `most`.

    Escape codes would repaint the terminal, line breaks forge lines of a log, and characters that
    turn the direction of writing show another text than there is.
    """
    text = str(text)
    kept = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else " " for c in kept)


def file_error(
    path: Any, member: str | None, expected: str, found: Any, remedy: str = ""
) -> ModelFileError:
    """Make the error; what a file says is quoted and cut."""
    found = printable(found if isinstance(found, str) else repr(found), 240)
    where = f"{path}: {member}" if member else f"{path}"
    return ModelFileError(
        f"{where}: expected {expected}, found {found}" + (f"; {remedy}" if remedy else "")
    )


def failure_text(error: BaseException) -> str:
    """Return what JAX or XLA raised as one line.

    The first cause, for later ones hide it, and its first line, for MLIR goes on with lines of
    whatever files on this machine the model names as its source.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
    return printable(f"{type(error).__name__}: {first}")
