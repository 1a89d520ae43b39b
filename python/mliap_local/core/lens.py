"""Views and lenses: how a function of a part is applied to a whole state.

A view is any callable that picks a part. A lens also puts a changed part back and
returns a new state; nothing is mutated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

State = TypeVar("State")
Part = TypeVar("Part")
Inner = TypeVar("Inner")

View = Callable[[State], Part]


@dataclasses.dataclass(frozen=True)
class Lens(Generic[State, Part]):
    """A view `get` with its way back `put(state, part) -> state`.

    >>> first = Lens(lambda pair: pair[0], lambda pair, part: (part, pair[1]))
    >>> first((1, 2)), first.set((1, 2), 5)
    (1, (5, 2))
    """

    get: View[State, Part]
    put: Callable[[State, Part], State]

    def __call__(self, state: State) -> Part:
        return self.get(state)

    def set(self, state: State, part: Part) -> State:
        """Return the state with this part replaced."""
        return self.put(state, part)

    def compose(self, inner: Lens[Part, Inner]) -> Lens[State, Inner]:
        """A lens onto a part of this part."""
        return Lens(
            lambda state: inner(self(state)),
            lambda state, part: self.set(state, inner.set(self(state), part)),
        )


IDENTITY_LENS: Lens[Any, Any] = Lens(lambda state: state, lambda state, part: part)
"""The whole state as its own part."""

EMPTY_LENS: Lens[Any, Any] = Lens(lambda state: (), lambda state, part: state)
"""Selects nothing; putting something back changes nothing."""


def attribute_lens(*names: str) -> Lens[Any, Any]:
    """A lens along attributes of dataclasses or named tuples.

    `attribute_lens("model", "cache")` is `state.model.cache`.
    """

    def put_attribute(name: str) -> Lens[Any, Any]:
        def put(whole: Any, part: Any) -> Any:
            if hasattr(whole, "_replace"):
                return whole._replace(**{name: part})
            return dataclasses.replace(whole, **{name: part})

        return Lens(lambda whole: getattr(whole, name), put)

    lens = IDENTITY_LENS
    for name in names:
        lens = lens.compose(put_attribute(name))
    return lens


def tuple_lens(*lenses: Lens[Any, Any]) -> Lens[Any, tuple[Any, ...]]:
    """Several parts as a tuple; the parts must not overlap."""

    def put(whole: Any, parts: tuple[Any, ...]) -> Any:
        for lens, part in zip(lenses, parts, strict=True):
            whole = lens.set(whole, part)
        return whole

    return Lens(lambda whole: tuple(lens(whole) for lens in lenses), put)
