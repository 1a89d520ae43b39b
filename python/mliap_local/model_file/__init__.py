"""Model files: read, checked and written.

`files` has the zip and its metadata, `programs` its three exported functions, `checks` what is
asked of their numbers.
"""

from .checks import Check
from .files import (
    Model,
    ModelCheckError,
    ModelMetadata,
    check_model,
    export_model,
    read_model,
)
from .programs import ModelFileError

__all__ = [
    "Check",
    "Model",
    "ModelCheckError",
    "ModelFileError",
    "ModelMetadata",
    "check_model",
    "export_model",
    "read_model",
]
