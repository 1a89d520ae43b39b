"""The one mutable object: a model, the cache of what LAMMPS last settled, and one proposal.

The pair style says which rows changed and whether the last proposal was kept; the session pads,
calls the kernels of `mliap_local.local` and remembers. It knows no LAMMPS and no pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from mliap_local.core import padding
from mliap_local.lammps.kernels import Proposal, open_kernels
from mliap_local.lammps.rows import ChangedRows, NeighbourRows
from mliap_local.local import LocalMLIAPCache, LocalMLIAPPatch
from mliap_local.model_file.errors import failure_text, printable

FEW_ROWS = 128
"""Rows that are filled by one thread: handing them to another takes as long as evaluating some."""

_ALIGNMENT = 64  # bytes; XLA's for buffers on a CPU


class Session:
    """One opened model and the state that one pair style has shown it.

    Args:
        model_file: path of the model's zip.
        elements: distinct element symbols; their places are the species of all later calls.
        units: the caller's unit system; must be the model's.
        device: `cpu` or `gpu`.
        reference_isolated: energies relative to isolated atoms.
        node_rank: place of this process on its node, which chooses the device.
        threads: that evaluate all atoms, on a CPU.
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
        threads: int = 1,
    ) -> None:
        kernels = open_kernels(model_file, elements, units, device, reference_isolated, node_rank)
        self._kernels = kernels
        self.cutoff, self.overlap = kernels.cutoff, kernels.overlap
        self.differentiable, self.rounding = kernels.differentiable, kernels.rounding
        self.isolated_energies, self.masses = kernels.isolated_energies, kernels.masses
        self.summary = kernels.summary
        self.compilations = 0  # since it was opened
        self._cache: LocalMLIAPCache | None = None
        self._proposal: Proposal | None = None
        self._named = _Named(model_file)
        self._rows = self._width = self._fill_width = self._cache_rows = 0
        self._scale: Any = None  # of message sums at the last settled full evaluation
        self._energy, self._forces = kernels.energy, kernels.forces
        self._update, self._join = kernels.update, kernels.join
        self._threads = threads if kernels.device.platform == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._threads)  # starts threads when they are first needed

    def full(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        keep: bool = True,
        atom_energy: np.ndarray | None = None,
        edge_gradient: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """Evaluate all atoms.

        Args:
            species: shape (n,), -1: contributes nothing.
            neighbour_species: shape (n, w), -1: no neighbour.
            r_ij: shape (n, w, 3).
            keep: this becomes the settled state; else the cache stays as it is.
            atom_energy: filled with energies of atoms, shape (n,), if wanted.
            edge_gradient: filled with dE/dr_ij, shape (n, w, 3), if wanted.
        Returns:
            The energy, and the sum of the squared energies of atoms.
        Raises:
            RuntimeError: JAX failed; the message names the model.
        """
        n, width = neighbour_species.shape
        self._width = padding.width_capacity(width, self._width)
        block = self._kernels.block_rows(self._width)
        share = padding.rows_per_thread(n, block, self._threads)
        self._rows = padding.row_capacity(share, block, self._rows)
        kernel = self._energy if edge_gradient is None else self._forces
        compiled = self._count((edge_gradient is None, self._rows, self._width))

        def evaluate(begin: int) -> tuple[LocalMLIAPPatch, np.ndarray]:
            part = slice(begin, min(begin + share, n))
            rows = self._neighbour_rows(
                species[part], neighbour_species[part], r_ij[part], self._rows, self._width
            )
            patch, sums, *gradient = kernel(rows)
            if edge_gradient is not None:
                edge_gradient[part] = np.asarray(gradient[0])[: part.stop - begin, :width]
            if atom_energy is not None:
                atom_energy[part] = np.asarray(patch.cache.energies)[: part.stop - begin]
            return patch, np.asarray(sums)

        begins = range(0, max(n, 1), share)
        with self._named:
            patches, sums = zip(*self._on_threads(evaluate, begins, compiled), strict=True)
            if keep:
                self._cache_rows = padding.cache_capacity(n, self._cache_rows)
                self._cache, self._scale = self._join(
                    list(patches), np.int32(share), self._cache_rows
                )
                self._proposal = None
            energy, squares = np.sum(sums, axis=0).tolist()
            return energy, squares

    def fill(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        places: np.ndarray,
        settled: int,
        cache_rows: int,
    ) -> tuple[float, float]:
        """Evaluate a few rows of the cache and settle them beside the others.

        Args:
            species, neighbour_species, r_ij: as in `full`.
            places: of these rows in the cache, shape (n,), each once.
            settled, cache_rows: as in `update`.
        Returns:
            The energy of all rows that the cache holds, and the sum of the squares of these.
        Raises:
            RuntimeError: JAX failed; the message names the model.
        """
        with self._named:
            self._prepare(settled, cache_rows)
            self._proposal = None
            n, width = neighbour_species.shape
            self._fill_width = padding.width_capacity(width, self._fill_width)
            block = self._kernels.block_rows(self._fill_width)
            share = n
            if self._threads > 1 and n >= FEW_ROWS * self._threads:
                share = padding.rows_per_thread(n, block, self._threads)
            capacity = padding.fill_capacity(share, block)
            compiled = self._count(
                ("fill", capacity, self._fill_width, self._cache_rows, share < n)
            )

            def rows_from(begin: int) -> NeighbourRows:
                part = slice(begin, min(begin + share, n))
                arrays = species[part], neighbour_species[part], r_ij[part]
                return self._neighbour_rows(*arrays, capacity, self._fill_width)

            def places_from(begin: int) -> np.ndarray:
                part = places[begin : begin + share]
                return _padded(part, (capacity,), self._cache_rows, np.int32)

            fill, write = self._kernels.fill, self._kernels.write
            if share == n:
                self._cache, answer = fill(self._cache, rows_from(0), places_from(0))
                energy, squares = np.asarray(answer).tolist()
                return energy, squares
            begins, squares = range(0, n, share), 0.0
            evaluate = self._kernels.part
            patches = self._on_threads(lambda k: evaluate(rows_from(k))[0], begins, compiled)
            for begin, patch in zip(begins, patches, strict=True):
                self._cache, answer = write(self._cache, patch, places_from(begin))
                energy, these = np.asarray(answer).tolist()
                squares += these
            return energy, squares

    def update(
        self,
        settled: int,
        cache_rows: int,
        packed: np.ndarray,
        atom_energy: np.ndarray | None = None,
        settled_energy: np.ndarray | None = None,
    ) -> tuple[float, float, bool]:
        """Evaluate a proposal from the settled state.

        Args:
            settled: 1: settle the last proposal first; -1: forget all rows first; else 0.
            cache_rows: rows of the cache that the proposed state needs.
            packed: what changed, float64, see `mliap_local_change` in bridge.h.
            atom_energy: filled with the energies of the rows that it names, if wanted. That is a
                question, no proposal: the last proposal stays.
            settled_energy: filled with what the cache holds for these rows.
        Returns:
            The energy of the proposed state, the sum of the squared energies of atoms that were
            taken away and added, and whether it is sound: where huge messages were taken away, as
            when two overlapping atoms part, only rounding is left of a sum.
        Raises:
            RuntimeError: no full evaluation came before; JAX failed, the message names the model.
        """
        self._prepare(settled, cache_rows)
        if settled or atom_energy is None:
            self._proposal = None
        rows = changed_rows(self._kernels.numbers, packed, atom_energy is not None)
        self._count((rows.capacity, self._cache_rows))
        with self._named:
            proposal = self._update(self._cache, self._scale, rows)
            energy, squares, sound = np.asarray(proposal.answer).tolist()
            if atom_energy is None:
                self._proposal = proposal
            else:
                atom_energy[:] = np.asarray(proposal.energies)[: len(atom_energy)]
            if settled_energy is not None:
                assert self._cache is not None  # the update has used it
                held = np.asarray(self._cache.energies)  # on a CPU a view, not a copy
                settled_energy[:] = held[np.asarray(proposal.places)[: len(settled_energy)]]
        return energy, squares, bool(sound)

    def _prepare(self, settled: int, cache_rows: int) -> None:
        """Bring the cache into the state that a change starts from."""
        if self._cache is None and settled >= 0:
            raise RuntimeError("update before any full evaluation; call full first")
        if settled > 0 and self._proposal is not None:
            self._cache = self._kernels.settle(self._cache, self._proposal)
        if settled < 0:
            self._cache_rows = max(self._cache_rows, padding.cache_capacity(cache_rows))
            self._cache = self._kernels.empty(self._cache, self._cache_rows)
            self._scale = self._kernels.no_scale
        elif cache_rows > self._cache_rows:
            self._cache_rows = padding.cache_capacity(cache_rows, self._cache_rows)
            self._cache = self._kernels.resize(self._cache, self._cache_rows)

    def _neighbour_rows(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        capacity: int,
        width: int,
    ) -> NeighbourRows:
        """Atoms with their neighbours, padded."""
        return NeighbourRows(
            self._kernels.numbers,
            np.int32(len(species)),
            _padded(species, (capacity,), -1, np.int32),
            _padded(neighbour_species, (capacity, width), -1, np.int32),
            _padded(r_ij, (capacity, width, 3), 0, self._kernels.dtype),
            block=self._kernels.block_rows(width),
            edges_last=self._kernels.edges_last,
        )

    def _count(self, shape: Any) -> bool:
        """Was the shape met before? If not, it is a compilation."""
        if shape in self._kernels.shapes:
            return True
        self._kernels.shapes.add(shape)
        self.compilations += 1
        return False

    def _on_threads(self, evaluate: Callable[[int], Any], begins: range, compiled: bool) -> list:
        """Evaluate each part, all at once; the first by itself if it has to be compiled.

        Returns or raises when none is at work any more: they write to the caller's arrays.
        """
        first = [] if compiled else [evaluate(begins[0])]
        rest = begins[len(first) :]
        if len(rest) < 2:
            return first + [evaluate(begin) for begin in rest]
        futures: list[Future] = []
        try:
            for begin in rest:
                futures.append(self._pool.submit(evaluate, begin))
            return first + [future.result() for future in futures]
        finally:
            wait(futures)


class _Named:
    """What JAX raises names the model: it knows no files, and its first words often say nothing."""

    def __init__(self, model_file: str) -> None:
        self.model_file = model_file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):  # JAX and XLA raise what they like
            raise RuntimeError(
                f"{printable(self.model_file)}: expected an energy from the model, got "
                f"{failure_text(error)}; try `mliap-local check` on it, or ask who made it for "
                "another"
            ) from error


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: Any, dtype: Any) -> np.ndarray:
    """The array in the corner of a larger one, at an address that JAX takes without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    out = memory[begin : begin + size].view(dtype).reshape(shape)
    out[tuple(slice(length) for length in array.shape)] = array
    for axis, length in enumerate(array.shape):  # what is left of each axis
        out[(*map(slice, array.shape[:axis]), slice(length, None))] = fill
    return out


def changed_rows(numbers: tuple[int, ...], packed: np.ndarray, question: bool) -> ChangedRows:
    """The rows of a change, cut or padded to a capacity."""
    n_rows, _, n_edges, n_deleted = packed[: ChangedRows.COUNTS].tolist()
    capacity_of = padding.question_capacity if question else padding.change_capacity
    capacity = capacity_of(int(n_rows), int(n_edges + n_deleted))
    length = ChangedRows.length(capacity)
    if len(packed) < length:
        packed = _padded(packed, (length,), 0, np.float64)
    return ChangedRows(numbers, packed[:length], capacity)


def open_session(settings: dict[str, Any]) -> Session:
    """A session for the settings of `mliap_local_settings` in bridge.h, by their names there."""
    return Session(
        settings["model_file"],
        settings["elements"],
        settings["units"],
        settings["device"],
        settings["reference_isolated"],
        settings["node_rank"],
        settings["threads"],
    )
