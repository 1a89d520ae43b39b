"""Local machine-learning potentials for LAMMPS's `pair_style mliap_local`.

The public names are loaded when they are first used: LAMMPS imports this package at every start,
also where the pair style is not used, and must not wait for JAX. Must not import anything itself.
"""

__version__ = "0.1.0"

# public name -> module of this package that defines it
_HOME = {
    "Edges": "core.edges",
    "PointCloud": "core.edges",
    "EMPTY_LENS": "core.lens",
    "IDENTITY_LENS": "core.lens",
    "Lens": "core.lens",
    "View": "core.lens",
    "attribute_lens": "core.lens",
    "tuple_lens": "core.lens",
    "NearestNeighborList": "core.neighbours",
    "VesinNeighborList": "core.neighbours",
    "Accept": "core.patch",
    "ComposedPatch": "core.patch",
    "Patch": "core.patch",
    "Probe": "core.patch",
    "WithPatch": "core.patch",
    "accept_all": "core.patch",
    "HasCache": "core.potential",
    "MaybeCached": "core.potential",
    "Potential": "core.potential",
    "PotentialOut": "core.potential",
    "Sum": "core.potential",
    "Summand": "core.potential",
    "Index": "core.table",
    "ParticleId": "core.table",
    "SystemId": "core.table",
    "Table": "core.table",
    "WithIndices": "core.table",
    "EdgeFunction": "local",
    "HasUnitCell": "local",
    "IsLocalMLIAPGraphParticles": "local",
    "IsLocalMLIAPParticleData": "local",
    "IsLocalMLIAPState": "local",
    "IsRadiusGraphProbe": "local",
    "LocalMLIAPCache": "local",
    "LocalMLIAPComposer": "local",
    "LocalMLIAPData": "local",
    "LocalMLIAPInput": "local",
    "LocalMLIAPPatch": "local",
    "NodeInitFunction": "local",
    "ParticlePatch": "local",
    "ReadoutFunction": "local",
    "empty_cache": "local",
    "local_mliap_energy": "local",
    "local_mliap_energy_full": "local",
    "local_mliap_energy_update": "local",
    "make_local_mliap_from_state": "local",
    "make_local_mliap_potential": "local",
    "particle_probe": "local",
    "stress": "local",
    "ModelFileError": "model_file",
    "export_model": "model_file",
    "read_model": "model_file",
    "training_grade": "model_file",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
