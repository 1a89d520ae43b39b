"""Local machine-learning potentials for LAMMPS's `pair_style mliap_local`.

The public names are loaded when they are first used: LAMMPS imports this package at every start,
also where the pair style is not used, and must not wait for JAX. Must not import anything itself.
"""

__version__ = "0.1.0"

# public name -> module of this package that defines it
_HOME = {
    "ModelFileError": "model_file",
    "export_model": "model_file",
    "read_model": "model_file",
}

__all__ = ["ModelFileError", "__version__", "export_model", "read_model"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
