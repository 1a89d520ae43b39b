"""The child process that a model file is tried in: `python -m mliap_local.model_file.child`.

Arguments: a task, its own arguments as JSON, the limits as JSON. Says what it does on what was
standard output, one JSON object a line: it is there, each stage, the answer or the error. A file
that ends this process ends nothing else. Must not use anything of a file before the limits hold.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from .. import __version__
from .errors import ModelFileError, failure_text


def vet(path: str, platform: str) -> str:
    """Try the file; return the SHA-256 of the content that was tried."""
    from .files import read_file, try_model

    content = read_file(path)
    try_model(path, content, platform)
    return hashlib.sha256(content).hexdigest()


def check(path: str) -> dict[str, Any]:
    """Return the checks, each as name, whether it is kept, detail, and the SHA-256 of the file."""
    from .files import check_model

    before, checks, after = _digest(path), check_model(path), _digest(path)
    return {"checks": checks, "digest": before if before == after else None}


def describe(path: str) -> dict[str, Any]:
    """Return what `files.describe_model` does."""
    from .files import describe_model

    return describe_model(path)


TASKS: dict[str, Callable[..., Any]] = {"vet": vet, "check": check, "describe": describe}


def answer(task: str, arguments: list[Any]) -> dict[str, Any]:
    """Return the task's answer, or the one line of error that it ended with."""
    try:
        return {"answer": TASKS[task](*arguments)}
    except ModelFileError as error:
        return {"error": str(error)}
    except Exception as error:  # MLIR, flatbuffers and XLA raise what they like
        return {"error": f"{arguments[0]}: expected a model file, found {failure_text(error)}"}


def _digest(path):
    from .files import read_file

    with contextlib.suppress(ModelFileError):
        return hashlib.sha256(read_file(path)).hexdigest()
    return None


def _set_limits(seconds: int, memory: int) -> None:
    """So much processor time and memory from here on, or what the user's own limits leave."""

    def most(kind: int, amount: int) -> None:
        limits = resource.getrlimit(kind)
        known = [limit for limit in (amount, *limits) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(known), limits[1]))

    most(resource.RLIMIT_CPU, int(time.process_time()) + seconds + 1)
    # Not the address space, of which XLA and its allocator reserve far more than they use.
    with open("/proc/self/status") as status:
        data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    most(resource.RLIMIT_DATA, data + memory)


def main() -> None:
    task, arguments, limits = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever prints, nothing of it is an answer

        def say(**words: Any) -> None:
            print(json.dumps(words), file=answers, flush=True)

        say(version=__version__)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # nobody reads a dump of this
        with contextlib.suppress(OSError, AttributeError):  # end with the parent, where Linux can
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.devices()  # the backend's own threads and memory are not the file's
        _set_limits(**json.loads(limits))
        say(**answer(task, json.loads(arguments)))
    os._exit(0)  # nothing of a file is called any more


if __name__ == "__main__":
    main()
