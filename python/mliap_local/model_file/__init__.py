"""Model files: read, checked and written.

`files` has the zip and its metadata, `programs` its three exported functions, `checks` what is
asked of their numbers, `vetting` what keeps a hostile file from this process, `errors` the words.
Names are loaded when they are first used: the child that a file is tried in, and the command that
waits for it, start without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks import Check
    from .errors import ModelFileError
    from .files import (
        Model,
        ModelCheckError,
        ModelMetadata,
        check_model,
        export_model,
        read_model,
    )
    from .grade import training_grade

__all__ = [
    "Check",
    "Model",
    "ModelCheckError",
    "ModelFileError",
    "ModelMetadata",
    "check_model",
    "export_model",
    "read_model",
    "training_grade",
]

_HOME = {
    "Check": "checks",
    "ModelFileError": "errors",
    "training_grade": "grade",
}  # all others: files


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'files')}"), name)
