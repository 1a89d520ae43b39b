"""Changes that are proposed before they are made.

A computation returns its value with a patch; the state changes only when the patch is applied,
and only for the systems that accepted. Many proposals can thus be tried from one state.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import Array

from mliap_local.core.lens import Lens
from mliap_local.core.table import AnyArray, Index, SystemId, Table

State = TypeVar("State")
Data = TypeVar("Data")
PatchOf = TypeVar("PatchOf", bound="Patch[Any]", covariant=True)

Accept = Table[SystemId, Array]
"""One boolean a system, shape (n_systems,)."""


class Patch(Protocol[State]):
    """`patch(state, accept) -> state`: writes the systems that accept, leaves the others."""

    def __call__(self, state: State, accept: Accept) -> State: ...


class Probe(Protocol):
    """`probe(state, patch)`: what a patch would change, in the words of whoever asks."""

    def __call__(self, state: Any, patch: Any) -> Any: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IdPatch:
    """The patch that changes nothing."""

    def __call__(self, state: Any, accept: Accept) -> Any:
        return state


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ComposedPatch(Generic[State]):
    """Patches that are applied one after another."""

    patches: tuple[Patch[State], ...]

    def __call__(self, state: State, accept: Accept) -> State:
        for patch in self.patches:
            state = patch(state, accept)
        return state


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MaskedPatch(Generic[State, Data]):
    """Writes, of some new data, the entries whose systems accept.

    data: the new values.
    systems: the same structure, or the upper part of it, with an `Index` of systems in each
        place: one for each entry of a leaf's first dimension.
    lens: where the state keeps the data.
    """

    data: Data
    systems: Any
    lens: Lens[State, Data] = dataclasses.field(metadata={"static": True})

    def __call__(self, state: State, accept: Accept) -> State:
        def write(index: Index[SystemId], new: Any, old: Any) -> Any:
            accepted = accepted_rows(accept, index.indices)

            def select(new_leaf: Array, old_leaf: Array) -> Array:
                mask = accepted.reshape(accepted.shape + (1,) * (new_leaf.ndim - accepted.ndim))
                return jnp.where(mask, new_leaf, old_leaf)

            return jax.tree.map(select, new, old)

        written = jax.tree.map(
            write,
            self.systems,
            self.data,
            self.lens(state),
            is_leaf=lambda part: isinstance(part, Index),
        )
        return self.lens.set(state, written)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithPatch(Generic[Data, PatchOf]):
    """A value, and the patch that would make it part of the state."""

    data: Data
    patch: PatchOf


def accept_all(n_systems: int) -> Accept:
    """Every system accepts."""
    return Table(jnp.ones((n_systems,), bool))


def accepted_rows(accept: Accept, system_index: AnyArray) -> Array:
    """Whether each row's system accepts; a row of no system never does.

    A plain `accept[system_index]` would clamp the place of an emptied row to the last system, and
    write rows that nobody accepted.

    Args:
        accept: booleans, shape (n_systems,).
        system_index: integers, shape (n_rows,).
    Returns:
        Booleans, shape (n_rows,).
    """
    inside = (system_index >= 0) & (system_index < accept.size)
    verdicts = jnp.asarray(accept.data).at[system_index].get(mode="clip")
    return cast(Array, inside & verdicts)  # with one operand of JAX, so is the result
