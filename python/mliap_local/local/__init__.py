"""Local machine-learned potentials with one round of messages: all the public names.

    h_i = node_init(Z_i)                 m_ij = edge(h_i, h_j, r_ij),  |r_ij| < cutoff
    e_i = readout(h_i, M_i)              M_i  = sum_j m_ij,            E = sum_i e_i

`data` declares model, cache, input and patch; `energy` evaluates, whole or by what changed; `pairs`
resolves edges; `potential` adds derivatives and finds the parts of a state; `changes` has the
commonest proposal. No code is here.
"""

from mliap_local.core.potential import Potential, PotentialOut, Sum, Summand
from mliap_local.local.changes import ParticlePatch, ParticleProbe, particle_probe
from mliap_local.local.data import (
    EdgeFunction,
    HasUnitCell,
    IsLocalMLIAPGraphParticles,
    IsLocalMLIAPParticleData,
    LocalMLIAPCache,
    LocalMLIAPData,
    LocalMLIAPInput,
    LocalMLIAPPatch,
    NodeInitFunction,
    ReadoutFunction,
    empty_cache,
)
from mliap_local.local.energy import (
    full_patch,
    local_mliap_energy,
    local_mliap_energy_full,
    local_mliap_energy_update,
)
from mliap_local.local.layout import AtomTerms, EdgeLayout, RowBlocks, RowChange, messages
from mliap_local.local.potential import (
    IsLocalMLIAPState,
    IsRadiusGraphProbe,
    LocalMLIAPComposer,
    make_local_mliap_from_state,
    make_local_mliap_potential,
    stress,
)

__all__ = [
    "AtomTerms",
    "EdgeFunction",
    "EdgeLayout",
    "HasUnitCell",
    "IsLocalMLIAPGraphParticles",
    "IsLocalMLIAPParticleData",
    "IsLocalMLIAPState",
    "IsRadiusGraphProbe",
    "LocalMLIAPCache",
    "LocalMLIAPComposer",
    "LocalMLIAPData",
    "LocalMLIAPInput",
    "LocalMLIAPPatch",
    "NodeInitFunction",
    "ParticlePatch",
    "ParticleProbe",
    "Potential",
    "PotentialOut",
    "ReadoutFunction",
    "RowBlocks",
    "RowChange",
    "Sum",
    "Summand",
    "empty_cache",
    "full_patch",
    "local_mliap_energy",
    "local_mliap_energy_full",
    "local_mliap_energy_update",
    "make_local_mliap_from_state",
    "make_local_mliap_potential",
    "messages",
    "particle_probe",
    "stress",
]
