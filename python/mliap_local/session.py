"""The one mutable object: a model, the cache of what LAMMPS last settled, and one proposal.

The pair style says which rows changed and whether the last proposal was kept; the session pads,
calls the kernels of `mliap_local.local` and remembers. It knows no LAMMPS and no pointer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mliap_local import padding
from mliap_local.kernels import open_kernels
from mliap_local.local import LocalMLIAPCache, LocalMLIAPPatch
from mliap_local.rows import ChangedRows, NeighbourRows


class Session:
    """One opened model and the state that one pair style has shown it.

    Args:
        model_file: path of the model's zip.
        elements: distinct element symbols; their places are the species of all later calls.
        units: the caller's unit system; must be the model's.
        device: `cpu` or `gpu`.
        reference_isolated: energies relative to isolated atoms.
        node_rank: place of this process on its node, which chooses the device.
    Raises:
        ModelFileError: unusable file, element the model does not know, other units, no such device.
    """

    def __init__(
        self,
        model_file: str,
        elements: list[str],
        units: str,
        device: str = "cpu",
        reference_isolated: bool = False,
        node_rank: int = 0,
    ) -> None:
        kernels = open_kernels(model_file, elements, units, device, reference_isolated, node_rank)
        self._kernels = kernels
        self.cutoff, self.overlap = kernels.cutoff, kernels.overlap
        self.differentiable, self.tolerances = kernels.differentiable, kernels.tolerances
        self.isolated_energies, self.summary = kernels.isolated_energies, kernels.summary
        self.compilations = 0  # since it was opened
        self._cache: LocalMLIAPCache | None = None
        self._proposal: LocalMLIAPPatch | None = None
        self._rows = self._width = self._cache_rows = 0
        self._scale = 0.0
        self._energy, self._forces = kernels.energy, kernels.forces
        self._update, self._settle, self._keep = kernels.update, kernels.settle, kernels.resize

    def full(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        keep: bool = True,
        atom_energy: np.ndarray | None = None,
        edge_gradient: np.ndarray | None = None,
    ) -> float:
        """Evaluate all atoms.

        Args:
            species: shape (n,), -1: contributes nothing.
            neighbour_species: shape (n, w), -1: no neighbour.
            r_ij: shape (n, w, 3).
            keep: this becomes the settled state; else the cache stays as it is.
            atom_energy: filled with energies of atoms, shape (n,), if wanted.
            edge_gradient: filled with dE/dr_ij, shape (n, w, 3), if wanted.
        Returns:
            The energy.
        """
        n, width = neighbour_species.shape
        self._width = padding.width_capacity(width, self._width)
        self._rows = padding.row_capacity(n, self._width, self._rows)
        rows = NeighbourRows(
            self._kernels.numbers,
            np.int32(n),
            _padded(species, (self._rows,), -1, np.int32),
            _padded(neighbour_species, (self._rows, self._width), -1, np.int32),
            _padded(r_ij, (self._rows, self._width, 3), 0, self._kernels.dtype),
            block=padding.block_rows(self._width),
        )
        wants_gradient = edge_gradient is not None
        self._count((wants_gradient, self._rows, self._width))
        if wants_gradient:
            patch, scale, gradient = self._forces(rows)
            edge_gradient[...] = np.asarray(gradient)[:n, :width]
        else:
            patch, scale = self._energy(rows)
        energy = float(np.asarray(patch.cache.totals)[0])
        if atom_energy is not None:
            atom_energy[...] = np.asarray(patch.cache.energies)[:n]
        if keep:
            self._cache_rows = padding.cache_capacity(n, self._cache_rows)
            self._cache, self._proposal = self._keep(patch.cache, self._cache_rows), None
            self._scale = float(np.asarray(scale))
        return energy

    def update(
        self,
        accepted: bool,
        row: np.ndarray,
        species: np.ndarray,
        n_changed: int,
        receiver: np.ndarray,
        sender_species: np.ndarray,
        r_ij: np.ndarray,
        n_edges: int,
    ) -> tuple[float, bool]:
        """Evaluate a proposal from the settled state; see `mliap_local_change` in bridge.h.

        Args:
            accepted: settle the last proposal first.
            row, species: shape (n_rows,); the first n_changed rows are changed ones.
            receiver, sender_species: shape (edges,); the first n_edges are new ones.
            r_ij: shape (edges, 3).
        Returns:
            The energy of the proposed state, and whether it is sound: where huge messages were
            taken away, as when two overlapping atoms part, only rounding is left of a sum.
        Raises:
            RuntimeError: no full evaluation came before.
        """
        if self._cache is None:
            raise RuntimeError("update before any full evaluation; call full first")
        if accepted and self._proposal is not None:
            self._cache = self._settle(self._cache, self._proposal)
        self._proposal = None
        n_rows, edges = len(row), len(receiver)
        if n_rows and (needed := int(row.max()) + 1) > self._cache_rows:
            self._cache_rows = padding.cache_capacity(needed, self._cache_rows)
            self._cache = self._keep(self._cache, self._cache_rows)
        capacity = padding.change_capacity(n_rows, edges)
        begins = ChangedRows.sections(capacity)
        packed = np.zeros(begins[-1])
        counts = (n_rows, n_changed, n_edges, edges - n_edges, self._scale)
        parts = (counts, row, species, receiver, sender_species, r_ij.ravel())
        for begin, part in zip(begins[:-1], parts, strict=True):
            packed[begin : begin + len(part)] = part
        self._count((capacity, self._cache_rows))
        patch, answer = self._update(
            self._cache, ChangedRows(self._kernels.numbers, packed, capacity)
        )
        self._proposal = patch
        energy, sound = np.asarray(answer)
        return float(energy), bool(sound)

    def _count(self, shape: Any) -> None:
        """A shape that was not met before is a compilation."""
        if shape not in self._kernels.shapes:
            self._kernels.shapes.add(shape)
            self.compilations += 1


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: Any, dtype: Any) -> np.ndarray:
    out = np.full(shape, fill, dtype)
    out[tuple(slice(size) for size in array.shape)] = array
    return out


def open_session(settings: dict[str, Any]) -> Session:
    """A session for the settings of `mliap_local_settings` in bridge.h, by their names there."""
    return Session(
        settings["model_file"],
        settings["elements"],
        settings["units"],
        settings["device"],
        settings["reference_isolated"],
        settings["node_rank"],
    )
