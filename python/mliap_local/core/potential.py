"""Potentials: energies with derivatives, from a plan of inputs and an energy function.

A composer says which inputs to evaluate, an energy function evaluates one, and
`PotentialFromEnergy` adds what they have in common: gradients, Hessian entries, and the cached
output. Nothing here knows what a local potential is, or where edges come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.compiling import few_rows
from mliap_local.core.lens import EMPTY_LENS, Lens, View
from mliap_local.core.patch import ComposedPatch, MaskedPatch, Patch, WithPatch
from mliap_local.core.table import SystemId, Table

State = TypeVar("State")
Input = TypeVar("Input")
Data = TypeVar("Data", covariant=True)
Cache = TypeVar("Cache", covariant=True)
Gradients = TypeVar("Gradients")
Hessians = TypeVar("Hessians")
StatePatch = TypeVar("StatePatch", bound=Patch, contravariant=True)


@runtime_checkable
class HasCache(Protocol[Data, Cache]):
    """`data`, with a `cache` of what was computed from it."""

    @property
    def data(self) -> Data: ...

    @property
    def cache(self) -> Cache: ...


MaybeCached = Data | HasCache[Data, Cache]
"""The data as they are, or with a cache."""


class Summand(NamedTuple, Generic[Input]):
    """One input, and the factor of its energy in a sum."""

    inp: Input
    weight: float = 1.0


class Sum(tuple[Summand[Input], ...]):
    """The inputs whose weighted energies make up a potential: `Sum(Summand(a), Summand(b))`."""

    def __new__(cls, *summands: Summand[Input]) -> Sum[Input]:
        return super().__new__(cls, summands)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PotentialOut(Generic[Gradients, Hessians]):
    """What a potential gives.

    total_energies: float64, shape (n_systems,).
    gradients: dE/dx for what a gradient lens selects, in its structure and shapes.
    hessians: entries of d2E/dx2 for what a Hessian lens selects, each (n_calls, n_entries).
    """

    total_energies: Table[SystemId, Array]
    gradients: Gradients
    hessians: Hessians


class Potential(Protocol[State, Gradients, Hessians, StatePatch]):
    """`potential(state, patch=None)`: energy of the state, or of the state that a patch proposes.

    The state stays as it is. The returned patch writes what the potential remembers; apply it
    together with the proposing patch, for the systems that accept.
    """

    def __call__(
        self, state: State, patch: StatePatch | None = None
    ) -> WithPatch[PotentialOut[Gradients, Hessians], Patch[State]]: ...


class Composer(Protocol[State, Input]):
    """Says which inputs make up the energy of a state, or of the state that a patch proposes."""

    def __call__(self, state: State, patch: Any) -> Sum[Input]: ...

    def proposed(self, state: State, patch: Any) -> State:
        """The state as it would be if every system accepted the patch."""
        ...


@dataclasses.dataclass(frozen=True)
class PotentialFromEnergy(Generic[State, Input, Gradients, Hessians]):
    """A `Potential` from a composer and an energy function.

    composer: see `Composer`; runs as it is, not compiled, so it may search neighbours.
    energy_function: `energy_function(inp) -> WithPatch[energies, patch]`; compiled.
    gradient_lens: what of an input to differentiate by; `EMPTY_LENS`: nothing.
    hessian_lens: what of the gradients to differentiate again.
    hessian_idx_view: for each leaf that `hessian_lens` selects, integers of shape
        (n_calls, 2, n_entries): rows and columns of wanted entries, as places in the flattened
        leaf. All rows of a call are perturbed together, so a call's rows must not interact: one
        row, or one of each independent system.
    cache_lens: where the state keeps the last output; None: nowhere.
    patch_idx_view: the output's structure with an `Index` of systems for each leaf, which says
        what an accepting system rewrites.

    With a patch and derivatives, all of the proposed state is evaluated: an update knows the
    energy, but not the derivatives of what did not change.
    """

    composer: Composer[State, Input]
    energy_function: Callable[[Input], WithPatch]
    gradient_lens: Lens[Input, Gradients] = EMPTY_LENS
    hessian_lens: Lens[Gradients, Hessians] = EMPTY_LENS
    hessian_idx_view: View[State, Hessians] = EMPTY_LENS
    cache_lens: Lens[State, PotentialOut] | None = None
    patch_idx_view: View[State, PotentialOut] | None = None

    def __post_init__(self) -> None:
        if self.cache_lens is not None and self.patch_idx_view is None:
            raise ValueError(
                "a cached output needs patch_idx_view, which names the systems of its entries"
            )

    def __call__(self, state: State, patch: Any = None) -> WithPatch[PotentialOut, Patch[State]]:
        """Evaluate a state, or what a patch would make of it.

        Args:
            state: the current state.
            patch: a proposed change of it.
        Returns:
            The output, and the patch that writes caches.
        """
        if patch is not None and self.gradient_lens is not EMPTY_LENS:
            state, patch = self.composer.proposed(state, patch), None
        plan = self.composer(state, patch)
        evaluate = self._evaluate if patch is None else self._evaluate_update
        out, patches = evaluate(
            tuple(inp for inp, _ in plan),
            tuple(weight for _, weight in plan),
            self.hessian_idx_view(state),
        )
        if self.cache_lens is not None:
            assert self.patch_idx_view is not None  # see __post_init__
            patches = (MaskedPatch(out, self.patch_idx_view(state), self.cache_lens), *patches)
        return WithPatch(out, ComposedPatch(patches))

    @cached_property
    def _evaluate(self) -> Callable[..., tuple[PotentialOut, tuple[Patch, ...]]]:
        return self._compiled({})

    @cached_property
    def _evaluate_update(self) -> Callable[..., tuple[PotentialOut, tuple[Patch, ...]]]:
        return self._compiled(few_rows(jax.default_backend()))

    def _compiled(
        self, options: dict[str, str]
    ) -> Callable[..., tuple[PotentialOut, tuple[Patch, ...]]]:
        def evaluate(
            inputs: tuple[Input, ...], weights: tuple[Any, ...], indices: Any
        ) -> tuple[PotentialOut, tuple[Patch, ...]]:
            outs, patches = zip(*(self._one(inp, indices) for inp in inputs), strict=True)
            scaled = [
                jax.tree.map(lambda leaf, w=weight: w * leaf, out)
                for out, weight in zip(outs, weights, strict=True)
            ]
            return jax.tree.map(lambda *leaves: sum(leaves), *scaled), patches

        return jax.jit(evaluate, compiler_options=options)

    def _one(self, inp: Input, indices: Any) -> tuple[PotentialOut, Patch]:
        """Output and patch of one input."""
        selected = self.gradient_lens(inp)
        leaves, structure = jax.tree.flatten(self.hessian_lens(selected))

        def energy(selected: Gradients) -> tuple[Array, WithPatch]:
            result = self.energy_function(self.gradient_lens.set(inp, selected))
            return jnp.sum(result.data.data), result

        def gradient(leaves: list[Array]) -> tuple[list[Array], tuple[Gradients, WithPatch]]:
            part = jax.tree.unflatten(structure, leaves)
            at = self.hessian_lens.set(selected, part)
            gradients, result = jax.grad(energy, has_aux=True)(at)
            return jax.tree.leaves(self.hessian_lens(gradients)), (gradients, result)

        if not jax.tree.leaves(selected):
            result = self.energy_function(inp)
            return PotentialOut(result.data, selected, self.hessian_lens(selected)), result.patch
        _, (gradients, result) = gradient(leaves)
        hessians = [
            _hessian_entries(lambda x: gradient(x)[0], leaves, place, index)
            for place, index in enumerate(structure.flatten_up_to(indices))
        ]
        out = PotentialOut(result.data, gradients, jax.tree.unflatten(structure, hessians))
        return out, result.patch


def _hessian_entries(
    gradient: Callable[[list[Array]], list[Array]], leaves: list[Array], place: int, index: Array
) -> Array:
    """Entries of the block of one leaf with itself, shape (n_calls, n_entries)."""
    shape, dtype, size = leaves[place].shape, leaves[place].dtype, leaves[place].size
    # Reverse over reverse: an exported program brings no forward mode. What this gives is the
    # product with the transposed Hessian, which is the Hessian.
    _, product = jax.vjp(gradient, leaves)

    def one_call(rows_and_columns: Array) -> Array:
        rows, columns = rows_and_columns
        direction = [jnp.zeros_like(leaf) for leaf in leaves]
        ones = jnp.zeros(size, dtype).at[rows].set(1, mode="drop")
        direction[place] = ones.reshape(shape)
        return product(direction)[0][place].ravel().at[columns].get(mode="fill", fill_value=0)

    # One call after another: an exported program can be called so, but not vectorised over.
    return jax.lax.map(one_call, jnp.asarray(index))
