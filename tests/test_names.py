"""The public names of a local potential, with their fields, arguments and defaults.

They are those of the module that model files are shared with: a script that uses them by name, or
passes arguments in this order, keeps working.
"""

import dataclasses
import inspect
import typing

import pytest

import mliap_local
import mliap_local.local
from mliap_local.core.lens import EMPTY_LENS
from mliap_local.core.patch import WithPatch
from mliap_local.core.potential import HasCache

REQUIRED = inspect.Parameter.empty

PROTOCOLS = {
    "NodeInitFunction": ["__call__"],
    "EdgeFunction": ["__call__"],
    "ReadoutFunction": ["__call__"],
    "IsLocalMLIAPParticleData": ["positions", "atomic_numbers", "system"],
    "IsLocalMLIAPGraphParticles": [
        "positions", "atomic_numbers", "system", "inclusion", "exclusion",
    ],
    "IsLocalMLIAPState": ["particles", "systems", "neighborlist", "local_mliap_model"],
    "Potential": ["__call__"],
}  # fmt: skip

# Fields come first and in this order; ours that follow have defaults.
FIELDS = {
    "LocalMLIAPCache": ["node_init", "msg_sum"],
    "LocalMLIAPData": [
        "cutoff", "init_function", "edge_function", "readout_function", "cache",
    ],
    "LocalMLIAPInput": [
        "point_cloud", "point_cloud_changes", "edges", "edges_deleted", "config", "cache_lens",
    ],
    "LocalMLIAPPatch": ["cache", "system_idx", "lens"],
    "LocalMLIAPComposer": [
        "particles", "systems", "cutoffs", "neighborlist", "model", "probe",
    ],
    "PotentialOut": ["total_energies", "gradients", "hessians"],
}  # fmt: skip

ARGUMENTS = {
    "local_mliap_energy": {"inp": REQUIRED},
    "local_mliap_energy_full": {"inp": REQUIRED},
    "local_mliap_energy_update": {"inp": REQUIRED},
    "make_local_mliap_potential": {
        "particles_view": REQUIRED,
        "systems_view": REQUIRED,
        "cutoffs_view": REQUIRED,
        "neighborlist_view": REQUIRED,
        "model_lens": REQUIRED,
        "probe": REQUIRED,
        "gradient_lens": REQUIRED,
        "hessian_lens": REQUIRED,
        "hessian_idx_view": REQUIRED,
        "patch_idx_view": None,
        "out_cache_lens": None,
    },
    "make_local_mliap_from_state": {
        "state": REQUIRED,
        "probe": None,
        "gradient_lens": EMPTY_LENS,
        "hessian_lens": EMPTY_LENS,
        "hessian_idx_view": EMPTY_LENS,
        "out_idx_view": None,
    },
    "LocalMLIAPData.from_zip_file": {"zip_file": REQUIRED, "n_atoms": REQUIRED},
    "LocalMLIAPPatch.__call__": {"self": REQUIRED, "state": REQUIRED, "accept": REQUIRED},
    "LocalMLIAPComposer.__call__": {"self": REQUIRED, "state": REQUIRED, "patch": REQUIRED},
    "Potential.__call__": {"self": REQUIRED, "state": REQUIRED, "patch": None},
}

CORE = {
    "core.edges": ["Edges", "PointCloud"],
    "core.lens": ["EMPTY_LENS", "Lens", "View"],
    "core.neighbours": ["NearestNeighborList"],
    "core.patch": ["Accept", "Patch", "Probe", "WithPatch"],
    "core.potential": ["HasCache", "MaybeCached", "Potential", "PotentialOut", "Sum", "Summand"],
    "core.table": ["Index", "ParticleId", "SystemId", "Table", "WithIndices"],
}


def named(path):
    found = mliap_local.local
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols(name):
    protocol = named(name)
    assert getattr(protocol, "_is_protocol", False) and protocol.__doc__
    assert set(PROTOCOLS[name]) <= set(dir(protocol))


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name):
    fields = dataclasses.fields(named(name))
    expected = FIELDS[name]
    assert [field.name for field in fields[: len(expected)]] == expected
    assert all(field.default is not dataclasses.MISSING for field in fields[len(expected) :])
    assert all(field.default is dataclasses.MISSING for field in fields[: len(expected)])


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name):
    parameters = list(inspect.signature(named(name)).parameters.values())
    expected = ARGUMENTS[name]
    found = {p.name: p.default for p in parameters[: len(expected)]}
    assert list(found) == list(expected)
    assert all(found[key] is expected[key] for key in expected)
    assert all(p.default is not REQUIRED for p in parameters[len(expected) :])
    assert named(name).__doc__ or name == "Potential.__call__"


@pytest.mark.parametrize("home", CORE)
def test_names_around_them(home):
    module = __import__(f"mliap_local.{home}", fromlist=["_"])
    for name in CORE[home]:
        assert getattr(module, name) is getattr(mliap_local, name)


def test_everything_is_public_at_the_top():
    names = {path.split(".")[0] for path in [*PROTOCOLS, *FIELDS, *ARGUMENTS]}
    assert len(names) == 18
    for name in names:
        assert getattr(mliap_local, name) is named(name)
        assert name in mliap_local.__all__ and name in mliap_local.local.__all__
    assert set(mliap_local.__all__) <= set(dir(mliap_local))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mliap_local.nothing


def test_what_energies_return():
    hints = typing.get_type_hints(mliap_local.local.local_mliap_energy)
    assert typing.get_origin(hints["return"]) is WithPatch
    assert [field.name for field in dataclasses.fields(WithPatch)] == ["data", "patch"]
    assert {"data", "cache"} <= set(dir(HasCache))


def test_documentation_says_units_and_errors():
    assert "AssertionError" in mliap_local.local.local_mliap_energy_update.__doc__
    assert "ModelFileError" in mliap_local.local.LocalMLIAPData.from_zip_file.__doc__
    for name in [*PROTOCOLS, *FIELDS]:
        assert len(named(name).__doc__) > 40, name
