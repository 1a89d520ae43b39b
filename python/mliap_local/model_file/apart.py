"""Work on a model file in a child process, which a hostile file may end, exhaust or hang.

Starts it, limits its time and memory, and turns what became of it into one line. Imports no JAX and
opens no file itself. Where no child can be started, as in a program that embeds Python and has none
on the disk, it says so and works here.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from typing import Any

from .. import __version__
from .errors import ModelFileError

#: For the child: seconds of processor time and bytes of memory, more than compiling any model took.
LIMITS = {"seconds": 300, "memory": 4 << 30}
#: Seconds that a child may take by the clock, on a machine however busy.
PATIENCE = 1800

# What launchers of parallel programs tell their processes: the child is none of them.
_LAUNCHERS = ("PMI", "PMIX_", "OMPI_", "PRTE_", "MPI", "HYDRA_", "HYDI_", "I_MPI_", "MV2_", "PALS_")
_ASK = "do not use this file, or ask who made it for another"


def run_apart(task: str, path: Any, *arguments: Any) -> Any:
    """Return the answer of `child.TASKS[task](path, *arguments)`, given by a child process.

    Raises:
      ModelFileError: what the child says about the file, or what the file did to the child.
    """
    words = [os.fspath(path), *arguments]
    said = _run_child(task, words)
    if said is None:
        from .child import answer

        said = answer(task, words)
    if "error" in said:
        raise ModelFileError(said["error"])
    return said["answer"]


def _run_child(task, words) -> dict[str, Any] | None:
    """Return the last words of the child; None if there was none."""
    python = _python()
    if python is None:
        return _no_child(words[0], f"no python in {sys.prefix}")
    module = f"{__package__}.child"
    limits = {**LIMITS, "memory": min(LIMITS["memory"], _physical_memory() // 2)}
    # -P: the working directory is full of the user's own files
    command = [python, "-P", "-m", module, task, json.dumps(words), json.dumps(limits)]
    try:
        done = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # MLIR's diagnostics: the error has their words
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": _ended(words[0], f"no end after {PATIENCE} s")}
    except OSError as error:
        return _no_child(words[0], f"{python}: {error.strerror}")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    if not said or said[0].get("version") != __version__:
        return _no_child(words[0], f"{python} cannot import this mliap_local")
    return said[-1] if len(said) > 1 else {"error": _ended(words[0], _fate(done.returncode))}


def _fate(code: int) -> str:
    """What became of a child that gave no answer."""
    if code == -signal.SIGXCPU:
        return f"more than {LIMITS['seconds']} s of processor time"
    return f"its end by {signal.Signals(-code).name}" if code < 0 else f"its exit with {code}"


def _ended(path, found):
    return (
        f"{path}: expected programs that can be read and run in a process of their own, "
        f"found {found}; {_ASK}"
    )


def _no_child(path, reason):
    logging.getLogger("mliap_local").warning(
        "mliap_local: %s is opened without a trial in a process of its own: %s", path, reason
    )


def _python() -> str | None:
    """The program of this interpreter; in a host that is not Python, the one of its environment."""
    names = f"python{sys.version_info.major}.{sys.version_info.minor}", "python3"
    beside = [os.path.join(sys.prefix, "bin", name) for name in names]
    for program in (sys.executable, *beside):
        if os.path.basename(program or "").startswith("python") and os.access(program, os.X_OK):
            return program
    return None


def _environment() -> dict[str, str]:
    kept = {k: value for k, value in os.environ.items() if not k.startswith(_LAUNCHERS)}
    return kept | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
