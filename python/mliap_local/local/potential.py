"""From a whole simulation state to a potential: what to evaluate, and its derivatives.

Says which part of the state is which, asks a neighbour list for edges, and hands the energies of
`mliap_local.local.energy` to `PotentialFromEnergy`. Evaluates nothing by itself.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import jax.numpy as jnp
from jax import Array

from mliap_local.core.edges import PointCloud
from mliap_local.core.lens import EMPTY_LENS, Lens, View, attribute_lens
from mliap_local.core.neighbours import NearestNeighborList
from mliap_local.core.patch import Patch, Probe, accept_all
from mliap_local.core.potential import (
    HasCache,
    Potential,
    PotentialFromEnergy,
    PotentialOut,
    Sum,
    Summand,
)
from mliap_local.core.table import AnyArray, Index, ParticleId, SystemId, Table, WithIndices
from mliap_local.local.data import LocalMLIAPCache, LocalMLIAPData, LocalMLIAPInput
from mliap_local.local.energy import local_mliap_energy

State = TypeVar("State")
P = TypeVar("P")
S = TypeVar("S")
Ptch = TypeVar("Ptch", bound=Patch)
Model = TypeVar("Model", covariant=True)


class IsLocalMLIAPState(Protocol[Model]):
    """What `make_local_mliap_from_state` reads of a state.

    particles: leaves as in `IsLocalMLIAPGraphParticles`. systems: with a `unitcell`.
    local_mliap_model: a `LocalMLIAPData`, or something with it as `data` and the last
        `PotentialOut` as `cache`.
    """

    @property
    def particles(self) -> Table[ParticleId, Any]: ...

    @property
    def systems(self) -> Table[SystemId, Any]: ...

    @property
    def neighborlist(self) -> NearestNeighborList: ...

    @property
    def local_mliap_model(self) -> Model: ...


class IsRadiusGraphProbe(Protocol):
    """What a probe says of a patch.

    particles: the particles that change, as they become; a place outside the table is padding.
    neighborlist_after, neighborlist_before: find the edges that touch them.
    """

    @property
    def particles(self) -> WithIndices[ParticleId, Any]: ...

    @property
    def neighborlist_after(self) -> NearestNeighborList: ...

    @property
    def neighborlist_before(self) -> NearestNeighborList: ...


@dataclasses.dataclass(frozen=True)
class LocalMLIAPComposer(Generic[State, P, S, Ptch]):
    """Makes the input of an evaluation from a state, and from a patch if there is one.

    particles, systems, cutoffs, neighborlist: where they are in the state.
    model: where the model and its cache are.
    probe: `probe(state, patch)` says what a patch changes, see `IsRadiusGraphProbe`. Without it, a
        proposed state is evaluated in full.
    """

    particles: View[State, Table[ParticleId, P]]
    systems: View[State, Table[SystemId, S]]
    cutoffs: View[State, Table[SystemId, AnyArray]]
    neighborlist: View[State, NearestNeighborList]
    model: Lens[State, LocalMLIAPData]
    probe: Probe | None

    def __call__(self, state: State, patch: Ptch | None) -> Sum[LocalMLIAPInput[State, P, S]]:
        """Compose.

        Args:
            state: the current state.
            patch: a proposed change; None: full evaluation of the state.
        Returns:
            A sum of one input.
        """
        if patch is not None and self.probe is None:
            state, patch = self.proposed(state, patch), None
        particles, systems, cutoffs = (
            self.particles(state),
            self.systems(state),
            self.cutoffs(state),
        )
        cloud, config = PointCloud(particles, systems), self.model(state)
        if patch is None or self.probe is None:
            edges = self.neighborlist(state)(particles, None, systems, cutoffs)
            return Sum(Summand(LocalMLIAPInput(cloud, None, edges, None, config, self._cache)))
        probed = self.probe(state, patch)
        changes = probed.particles
        before = WithIndices(changes.indices, particles[changes.indices])
        edges = probed.neighborlist_after(particles, changes, systems, cutoffs)
        deleted = probed.neighborlist_before(particles, before, systems, cutoffs)
        # One size for both, so that fewer combinations of sizes are compiled for.
        size = max(edges.size, deleted.size)
        return Sum(
            Summand(
                LocalMLIAPInput(
                    cloud, changes, edges.padded(size), deleted.padded(size), config, self._cache
                )
            )
        )

    def proposed(self, state: State, patch: Ptch) -> State:
        """The state as it would be if every system accepted the patch."""
        return patch(state, accept_all(self.systems(state).size))

    @cached_property
    def _cache(self) -> Lens[State, LocalMLIAPCache]:
        # Made once: it is static in the input, and another lens would be another compilation.
        return self.model.compose(attribute_lens("cache"))


def make_local_mliap_potential(
    particles_view: View[State, Table[ParticleId, P]],
    systems_view: View[State, Table[SystemId, S]],
    cutoffs_view: View[State, Table[SystemId, AnyArray]],
    neighborlist_view: View[State, NearestNeighborList],
    model_lens: Lens[State, LocalMLIAPData],
    probe: Probe | None,
    gradient_lens: Lens[LocalMLIAPInput, Any],
    hessian_lens: Lens[Any, Any],
    hessian_idx_view: View[State, Any],
    patch_idx_view: View[State, PotentialOut] | None = None,
    out_cache_lens: Lens[State, PotentialOut] | None = None,
) -> Potential:
    """A potential of a state whose parts may lie anywhere.

    Args:
        particles_view, systems_view, cutoffs_view, neighborlist_view, model_lens, probe: see
            `LocalMLIAPComposer`.
        gradient_lens, hessian_lens, hessian_idx_view, patch_idx_view: see `PotentialFromEnergy`.
        out_cache_lens: where the state keeps the last `PotentialOut`; None: nowhere.
    Returns:
        `potential(state, patch=None)`, which gives energies and derivatives with a patch.
    Raises:
        ValueError: out_cache_lens without patch_idx_view.
    """
    composer = LocalMLIAPComposer(
        particles_view, systems_view, cutoffs_view, neighborlist_view, model_lens, probe
    )
    return PotentialFromEnergy(
        composer,
        local_mliap_energy,
        gradient_lens,
        hessian_lens,
        hessian_idx_view,
        out_cache_lens,
        patch_idx_view,
    )


def make_local_mliap_from_state(
    state: Lens[State, IsLocalMLIAPState],
    probe: Probe | None = None,
    gradient_lens: Lens[LocalMLIAPInput, Any] = EMPTY_LENS,
    hessian_lens: Lens[Any, Any] = EMPTY_LENS,
    hessian_idx_view: View[State, Any] = EMPTY_LENS,
    out_idx_view: View[State, PotentialOut] | None = None,
) -> Potential:
    """A potential of a state that has the parts of `IsLocalMLIAPState`.

    Args:
        state: where that part of the whole state is; `IDENTITY_LENS`: it is all of it.
        probe: what a patch changes. With it, `local_mliap_model` has the last output as `cache`,
            and the returned patch rewrites it for the systems that accept.
        gradient_lens: what of the input to differentiate by: positions give minus the forces, the
            unit cell what is missing of the stress (see `stress`).
        hessian_lens: what of the gradients to differentiate again.
        hessian_idx_view: which entries, shape (n_calls, 2, n_entries); see `PotentialFromEnergy`.
        out_idx_view: with a probe: an `Index` of systems for each leaf of the output. Not needed
            where only energies are asked for.
    Returns:
        `potential(state, patch=None)`.
    Raises:
        ValueError: a cached output with derivatives, but no out_idx_view.
    """

    def part(*names: str) -> Lens[State, Any]:
        return state.compose(attribute_lens(*names))

    model = Lens(
        lambda whole: _model_lens(state(whole))(state(whole)),
        lambda whole, data: state.set(whole, _model_lens(state(whole)).set(state(whole), data)),
    )
    systems = part("systems")

    def of_systems(whole: State) -> PotentialOut[Any, Any]:
        # An index in the place of each table: see `PotentialFromEnergy.patch_idx_view`.
        every: Any = Index(jnp.arange(systems(whole).size))
        return PotentialOut(every, (), ())

    if probe is not None and out_idx_view is None and gradient_lens is not EMPTY_LENS:
        raise ValueError(
            "the output has derivatives and is cached: out_idx_view has to name the systems of "
            "their entries, as PotentialOut(Index(...), Index(...), ...)"
        )
    return make_local_mliap_potential(
        part("particles"),
        systems,
        lambda whole: model(whole).cutoff,
        part("neighborlist"),
        model,
        probe,
        gradient_lens,
        hessian_lens,
        hessian_idx_view,
        None if probe is None else out_idx_view or of_systems,
        None if probe is None else part("local_mliap_model", "cache"),
    )


def _model_lens(part: IsLocalMLIAPState) -> Lens[IsLocalMLIAPState, LocalMLIAPData]:
    if isinstance(part.local_mliap_model, HasCache):
        return attribute_lens("local_mliap_model", "data")
    return attribute_lens("local_mliap_model")


def stress(point_cloud: PointCloud, positions: Array, unitcell: Array) -> Array:
    """Stress from the gradients of a potential: dE/dstrain over the volume.

    Args:
        point_cloud: particles and systems.
        positions: dE/dpositions, shape (n, 3).
        unitcell: dE/dunitcell at fixed positions, shape (n_systems, 3, 3).
    Returns:
        Shape (n_systems, 3, 3), energy per volume, positive under tension; NaN without a volume.
    """
    data, cells = point_cloud.particles.data, point_cloud.systems.data.unitcell
    n_systems = point_cloud.systems.size
    system = data.system.indices
    system = jnp.where((system >= 0) & (system < n_systems), system, n_systems)
    outer = data.positions[:, :, None] * positions[:, None, :]
    strain = jnp.einsum("skx,sky->sxy", cells, unitcell).at[system].add(outer, mode="drop")
    volume = jnp.abs(jnp.linalg.det(cells))[:, None, None]
    return jnp.where(volume > 0, (strain + strain.mT) / 2 / volume, jnp.nan)
