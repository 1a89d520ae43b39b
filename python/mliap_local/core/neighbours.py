"""Edges of particles that know no LAMMPS: a neighbour list, and one that rests on vesin.

Runs on the host, outside compiled functions. Evaluates nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jax.core import Tracer

from mliap_local.core import padding
from mliap_local.core.edges import Edges
from mliap_local.core.table import Index, ParticleId, SystemId, Table, WithIndices

P = TypeVar("P")
S = TypeVar("S")


class NearestNeighborList(Protocol):
    """Finds edges.

    `neighborlist(particles, changes, systems, cutoffs) -> Edges`, both directions of every pair
    closer than its system's cutoff, periodic images included. Without `changes`: all edges. With
    changes: of the particles as they change, the edges that touch a changed one.
    """

    def __call__(
        self,
        particles: Table[ParticleId, Any],
        changes: WithIndices[ParticleId, Any] | None,
        systems: Table[SystemId, Any],
        cutoffs: Table[SystemId, Any],
    ) -> Edges: ...


class _Points(NamedTuple):
    """Host copies: positions (n, 3), system (n,), and two group numbers (n,) or None."""

    positions: np.ndarray
    system: np.ndarray
    inclusion: np.ndarray | None
    exclusion: np.ndarray | None


class _Pairs(NamedTuple):
    receivers: np.ndarray  # [e]
    senders: np.ndarray  # [e]
    shifts: np.ndarray  # [e, 3]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VesinNeighborList:
    """All edges by the library vesin; those of a few changed particles by one pass over the others.

    A particle table has `positions` (n, 3) and `system`; it may have `inclusion`, which lets only
    particles of one group see each other, and `exclusion`, which hides from each other the nearest
    images of particles of one group. A system table has `unitcell` (n_systems, 3, 3), lattice
    vectors as rows; a lattice vector of zeros leaves that direction open. Particles of no system
    have no edges. Edges are padded to few sizes, so that few are compiled for.
    """

    def __call__(
        self,
        particles: Table[ParticleId, Any],
        changes: WithIndices[ParticleId, Any] | None,
        systems: Table[SystemId, Any],
        cutoffs: Table[SystemId, Any],
    ) -> Edges:
        """See `NearestNeighborList`.

        Raises:
            TypeError: called inside a compiled function.
        """
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((particles, changes))):
            raise TypeError(
                "this neighbour list runs on the host; call the potential outside jit (it compiles "
                "its energy by itself), or bring a NearestNeighborList of your own"
            )
        points = _points(particles.data)
        n = len(points.system)
        changed = None
        if changes is not None:
            changed = np.asarray(changes.indices.indices)
            inside = (changed >= 0) & (changed < n)
            changed = changed[inside]
            points = _changed_points(points, changed, _points(changes.data), inside)
        cells, radii = np.asarray(systems.data.unitcell, float), np.asarray(cutoffs.data, float)
        found = [_Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3), int))]
        for system, (cell, cutoff) in enumerate(zip(cells, radii, strict=True)):
            members = np.flatnonzero(points.system == system)
            if changed is None:
                pairs = _all_pairs(points, members, cell, cutoff)
            else:
                here = changed[points.system[changed] == system]
                pairs = _changed_pairs(points, members, here, cell, cutoff)
            found.append(_not_excluded(points, pairs, cell))
        pairs = _Pairs(*(np.concatenate(part) for part in zip(*found, strict=True)))
        n_edges = len(pairs.receivers)
        full = changed is None
        capacity = _capacity(n_edges) if full else padding.change_capacity(0, n_edges)[1]
        indices = np.full((capacity, 2), n, np.int32)
        shifts = np.zeros((capacity, 3), np.int32)
        indices[:n_edges, 0], indices[:n_edges, 1] = pairs.receivers, pairs.senders
        shifts[:n_edges] = pairs.shifts
        return Edges(Index(indices), shifts)


def _capacity(n_edges: int) -> int:
    """Smallest of eight sizes an octave that holds all edges: padding costs as much as they do."""
    step = 2 ** max(max(n_edges, 1).bit_length() - 4, 0)
    return step * -(-max(n_edges, 1) // step)


def _points(data: Any) -> _Points:
    def groups(name: str) -> np.ndarray | None:
        index = getattr(data, name, None)
        return None if index is None else np.asarray(index.indices)

    positions, system = np.asarray(data.positions, float), np.asarray(data.system.indices)
    return _Points(positions, system, groups("inclusion"), groups("exclusion"))


def _changed_points(old: _Points, changed: np.ndarray, new: _Points, inside: np.ndarray) -> _Points:
    def write(old_part: np.ndarray, new_part: np.ndarray) -> np.ndarray:
        part = old_part.copy()
        part[changed] = new_part[inside]
        return part

    def groups(old_part: np.ndarray | None, new_part: np.ndarray | None) -> np.ndarray | None:
        return old_part if old_part is None or new_part is None else write(old_part, new_part)

    return _Points(
        write(old.positions, new.positions),
        write(old.system, new.system),
        groups(old.inclusion, new.inclusion),
        groups(old.exclusion, new.exclusion),
    )


def _all_pairs(points: _Points, members: np.ndarray, cell: np.ndarray, cutoff: float) -> _Pairs:
    try:
        import vesin  # only here, so that LAMMPS users need not have it
    except ImportError as error:
        raise ImportError("neighbour lists without LAMMPS need vesin: pip install vesin") from error
    neighbours = vesin.NeighborList(cutoff=cutoff, full_list=True)
    periodic = np.any(cell != 0, axis=1)
    i, j, shifts = neighbours.compute(points.positions[members], cell, periodic, "ijS")
    return _Pairs(members[i.astype(int)], members[j.astype(int)], shifts)


def _changed_pairs(
    points: _Points, members: np.ndarray, changed: np.ndarray, cell: np.ndarray, cutoff: float
) -> _Pairs:
    """Edges that touch a changed particle: these against all members, image by image."""
    inverse, periodic = _inverse(cell)
    apart = points.positions[members][None] - points.positions[changed][:, None]  # -> [c, n, 3]
    nearest = -np.round(apart @ inverse) * periodic
    apart = apart + nearest @ cell
    # Now a fractional coordinate is at most a half, and a cell is 1 / |column| high.
    reach = np.floor(cutoff * np.linalg.norm(inverse, axis=0) + 0.5).astype(int) * periodic
    found = []
    for image in np.ndindex(*(2 * reach + 1)):
        shift = np.array(image) - reach
        vectors = apart + shift @ cell
        close = np.einsum("cnx,cnx->cn", vectors, vectors) < cutoff * cutoff
        receiver, sender = np.nonzero(close)
        found.append((receiver, sender, nearest[receiver, sender].astype(int) + shift))
    receiver, sender, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
    receivers, senders = changed[receiver], members[sender]
    real = (receivers != senders) | shifts.any(axis=1)  # an atom sees its images, not itself
    receivers, senders, shifts = receivers[real], senders[real], shifts[real]
    # The other direction, unless the sender changed as well and found this pair by itself.
    back = ~np.isin(senders, changed)
    return _Pairs(
        np.concatenate([receivers, senders[back]]),
        np.concatenate([senders, receivers[back]]),
        np.concatenate([shifts, -shifts[back]]),
    )


def _not_excluded(points: _Points, pairs: _Pairs, cell: np.ndarray) -> _Pairs:
    i, j, shifts = pairs
    keep = np.ones(len(i), bool)
    if points.inclusion is not None:
        keep &= points.inclusion[i] == points.inclusion[j]
    if points.exclusion is not None:
        inverse, periodic = _inverse(cell)
        apart = points.positions[j] - points.positions[i]
        nearest = np.all(shifts == -np.round(apart @ inverse) * periodic, axis=1)
        keep &= ~(nearest & (points.exclusion[i] == points.exclusion[j]))
    return _Pairs(i[keep], j[keep], shifts[keep])


def _inverse(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix from vectors to fractional coordinates, and 1 where a direction is periodic."""
    periodic = np.any(cell != 0, axis=1)
    # An open direction: any vector that is independent of the lattice will do.
    complete = cell.copy()
    for axis in np.flatnonzero(~periodic):
        others = np.delete(complete, axis, axis=0)
        normal = np.linalg.svd(others)[2][-1] if others.any() else np.eye(3)[axis]
        complete[axis] = normal
    return np.linalg.inv(complete), periodic.astype(int)
