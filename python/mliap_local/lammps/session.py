"""The one mutable object: a model, the cache of what LAMMPS last settled, and one proposal.

The pair style says which rows changed and whether the last proposal was kept; the session pads,
calls the kernels of `mliap_local.local` and remembers. It knows no LAMMPS and no pointer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol

import numpy as np

from mliap_local.core import padding
from mliap_local.core.table import AnyArray
from mliap_local.lammps.half import READ_ROWS, HalfRows
from mliap_local.lammps.kernels import Kernels, Proposal, open_kernels
from mliap_local.lammps.points import PointRows
from mliap_local.lammps.rows import ChangedRows, NeighbourRows
from mliap_local.local import LocalMLIAPCache, LocalMLIAPPatch
from mliap_local.model_file import ModelFileError
from mliap_local.model_file.errors import failure_text, printable

FEW_ROWS = 64
"""Rows of each thread, at least: handing them over takes as long as evaluating some."""

SAFETY, MOST_ROUNDING = 10.0, 1e-2
"""Rounding that is tolerated: so much more than was seen, and no more than that."""

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
        threads: that evaluate all atoms; for a GPU, that find and hand over their neighbours.
        graded: grades of extrapolation are wanted.
    Raises:
        ModelFileError: unusable file, element the model does not know, other units, no such device,
            no grade.
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
        graded: bool = False,
    ) -> None:
        kernels = open_kernels(model_file, elements, units, device, reference_isolated, node_rank)
        if graded and kernels.grade_function is None:
            raise ModelFileError(
                f"{model_file}: a grade was asked for, but the model has none; export it with "
                "`grade`, or leave the keyword out"
            )
        self._kernels, self._graded = kernels, graded
        self.grade = 0.0  # the largest of the last settled state or update
        self.cutoff, self.overlap = kernels.cutoff, kernels.overlap
        self.differentiable, self.rounding = kernels.differentiable, kernels.rounding
        self.isolated_energies, self.masses = kernels.isolated_energies, kernels.masses
        self.summary = kernels.summary
        self.compilations = 0  # since it was opened
        self._cache: LocalMLIAPCache | None = None
        self._proposal: Proposal | None = None
        self._named = _Named(model_file)
        self._width = self._half_width = self._cache_rows = self._points = 0
        can_halve = kernels.parity is not None and kernels.differentiable
        self.half = padding.MOST_HALF_ROOM if can_halve else 0.0
        self._scale: Any = None  # of message sums at the last settled full evaluation
        self._update = kernels.graded_update if graded else kernels.update
        self._threads = threads
        self._pool = ThreadPoolExecutor(self._threads)  # starts threads when they are first needed
        self._lock, self._memory, self._others = threading.Lock(), _Memory(), _Memory()
        self._measured = kernels.dtype == np.float64  # see ROUNDING in kernels.py

    def full(
        self,
        shares: Shares,
        keep: bool = True,
        forces: bool = False,
        atom_energy: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """Evaluate all atoms.

        Args:
            shares: the atoms with their neighbours.
            keep: this becomes the settled state; else the cache stays as it is.
            forces: `shares` is given dE/dr_ij.
            atom_energy: filled with energies of atoms, shape (n,), if wanted.
        Returns:
            The energy, and the sum of the squared energies of atoms.
        Raises:
            RuntimeError: JAX failed; the message names the model.
        """
        with self._named:
            if not keep:
                return self._evaluate(shares, forces, atom_energy, None)
            self.grade = 0.0
            n = shares.n_rows
            self._cache_rows = padding.cache_capacity(n, self._cache_rows)
            cache, self._cache = self._cache, None  # none, if this fails
            self._proposal, self._scale = None, None
            cache = self._kernels.empty(cache, self._cache_rows)
            writing = _Writing(self._kernels, cache, np.arange(n, dtype=np.int32))
            half = self.half > 0 and shares.half and self._threads <= padding.half_shares(n)
            points = self._kernels.gathers and shares.points is not None
            if forces and (half or points):
                if not self._measured:
                    self._evaluate(shares, False, None, None)
                evaluate = self._evaluate_points if points else self._evaluate_half
                answer = evaluate(shares, atom_energy, writing)
            else:  # more threads than shares of half the edges have more to do with all
                answer = self._evaluate(shares, forces, atom_energy, writing, self._graded)
            self._cache = writing.cache
            return answer

    def fill(
        self, shares: Shares, places: np.ndarray, settled: int, cache_rows: int
    ) -> tuple[float, float]:
        """Evaluate a few rows of the cache and settle them beside the others.

        Args:
            shares: the atoms of these rows with their neighbours.
            places: of these rows in the cache, shape (n,), each once.
            settled, cache_rows: as in `update`.
        Returns:
            The energy of all rows that the cache holds, and the sum of the squares of these.
        Raises:
            RuntimeError: JAX failed; the message names the model.
        """
        with self._named:
            self._prepare(settled, cache_rows)
            cache, self._cache = self._cache, None
            self._proposal = None
            assert cache is not None  # it was prepared
            writing = _Writing(self._kernels, cache, places)
            if shares.n_rows < FEW_ROWS * self._threads and self._measured:
                answer = self._fill_at_once(shares, writing)
            else:
                answer = self._evaluate(shares, False, None, writing)
            self._cache = writing.cache
            return answer

    def _fill_at_once(self, shares: Shares, writing: _Writing) -> tuple[float, float]:
        """`_evaluate` for a trial's rows, without what many shares need."""
        n = shares.n_rows
        width = self._width = padding.width_capacity(shares.find(0, n), self._width)
        block = self._kernels.block_rows(width, n)
        capacity = padding.fill_capacity(n, block)
        rows = self._laid_out(shares, n, capacity, width, block)
        energy, squares = self._compiled(("fill", capacity, width), writing.fill, rows).tolist()
        return energy, squares

    def _evaluate(
        self,
        shares: Shares,
        forces: bool,
        atom_energy: np.ndarray | None,
        writing: _Writing | None,
        graded: bool = False,
    ) -> tuple[float, float]:
        """Evaluate atoms share by share, as many at once as there are threads.

        Shares are evaluated in any order and finished in theirs, so that sums do not depend on who
        was faster.
        """
        n, (common, share) = shares.n_rows, self._share(shares)
        turns, widths = _Turns(), [1]
        totals = np.zeros(2)
        fused = writing is not None and not forces and atom_energy is None and share >= n
        fused = fused and self._measured and not graded
        finish = self._finish(atom_energy, writing, totals)

        def evaluate(begin: int) -> None:
            end = min(begin + share, n)
            width = padding.width_capacity(shares.find(begin, end), common)
            widths.append(width)
            block = self._kernels.block_rows(width, share)
            capacity = padding.fill_capacity(share, block)
            rows = self._laid_out(shares, end - begin, capacity, width, block)
            if fused:
                assert writing is not None
                totals[:] = self._compiled(("fill", capacity, width), writing.fill, rows)
                return
            kernel = self._kernels.forces if forces else self._kernels.energy
            patch, sums, *gradient = self._compiled((forces, capacity, width), kernel, rows)
            sums = np.asarray(sums)
            if begin == 0 and not self._measured:
                self._measure(kernel, rows, patch)
            grade = self._grade(rows.species, patch) if graded else 0.0
            with turns.take(begin // share):
                if forces:
                    shares.add(np.asarray(gradient[0]))
                finish(begin, end, patch, sums, grade)

        self._on_threads(evaluate, range(0, n, share), turns)
        self._width = max(widths)
        return _answer(totals, writing)

    def _share(self, shares: Shares) -> tuple[int, int]:
        """Neighbours and atoms of a share: it is as wide as the widest of the last time, or much
        narrower, whoever comes first."""
        n, kernels, width = shares.n_rows, self._kernels, self._width
        if n and not width:
            width = padding.width_capacity(shares.find(0, min(n, FEW_ROWS)))
        block = kernels.block_rows(width, n)
        rows = padding.share_rows(n, width, block, self._threads, kernels.device.platform)
        return width, min(rows, max(n, 1))

    def _evaluate_points(
        self, shares: Shares, atom_energy: np.ndarray | None, writing: _Writing
    ) -> tuple[float, float]:
        """`_evaluate` with forces on points: see points.py. A share is handed over in its turn, for
        forces are added to those of the share before, and waited for afterwards."""
        n, kernels = shares.n_rows, self._kernels
        assert shares.points is not None  # the caller has looked
        n_points = len(shares.points[0])
        capacity = self._points = padding.points_capacity(n_points, self._points)
        x = _padded(shares.points[0], (capacity, 3), 0, np.float64)
        kinds = _padded(shares.points[1], (capacity,), -1, np.int32)
        at, species, forces = kernels.points(x, kinds)
        common, share = self._share(shares)
        turns, widths, totals = _Turns(), [1], np.zeros(2)
        finish, found = self._finish(atom_energy, writing, totals), {}

        def evaluate(begin: int) -> None:
            nonlocal forces
            end = min(begin + share, n)
            width = padding.width_capacity(shares.find(begin, end), common)
            widths.append(width)
            block = kernels.block_rows(width, share)
            shape = padding.fill_capacity(share, block), width
            arrays = self._memory.arrays((shape[:1], np.int32), (shape, np.int32))
            shares.lay_points(*arrays)
            rows = PointRows(
                kernels.numbers,
                np.int32(end - begin),
                *arrays,
                block=block,
                edges_last=kernels.edges_last,
            )
            with turns.take(begin // share):
                key, shown = ("points", capacity, *shape), (at, species, forces, rows)
                patch, sums, forces = self._compiled(key, kernels.point_forces, *shown)
                grade = self._grade(kinds[arrays[0]], patch) if self._graded else 0.0
                finish(begin, end, patch, 0.0, grade)
            found[begin] = np.asarray(sums)  # the share's arrays are free from here on

        self._on_threads(evaluate, range(0, n, share), turns)
        self._width = max(widths)
        shares.add_points(np.asarray(forces)[:n_points])
        for begin in sorted(found):
            totals += found[begin]
        return _answer(totals, writing)

    def _evaluate_half(
        self, shares: Shares, atom_energy: np.ndarray | None, writing: _Writing
    ) -> tuple[float, float]:
        """`_evaluate` with forces, one edge for two where that is possible: see half.py. Message
        sums of all atoms are in memory meanwhile, then what the energy says of them."""
        n, kernels = shares.n_rows, self._kernels
        common = self._half_width
        if n and not common:
            few, *_ = shares.find_half(0, min(n, FEW_ROWS))
            common = padding.width_capacity(few, half=True)
        block = kernels.block_rows(common, n)
        share = block * max(1, math.ceil(n / padding.half_shares(n) / block))
        share = min(share, max(n, 1))
        sums = np.zeros((n, kernels.message_width), kernels.dtype)
        slopes = sums  # once an atom is read out nobody needs its sum
        species, widths, totals = np.empty(n, np.int32), [1], np.zeros(2)
        finish = self._finish(atom_energy, writing, totals)

        def laid_out(begin: int, end: int) -> tuple[HalfRows, np.ndarray, np.ndarray]:
            """The share, atoms at other ends, and atoms whose rows go on behind the others."""
            found, n_rows, n_others = shares.find_half(begin, end)
            width = padding.width_capacity(found, common, half=True)
            widths.append(width)
            block = kernels.block_rows(width, share)
            capacity = padding.split_capacity(max(share, n_rows), block)
            ends = np.empty(n_others + n_rows - (end - begin), np.int32)
            (other,) = self._others.arrays(((capacity, width), np.int32))
            rows = self._laid_out(shares, n_rows, capacity, width, block, ends, other)
            return HalfRows(rows, other), ends[:n_others], ends[n_others:]

        def sum_up(begin: int) -> None:
            end = min(begin + share, n)
            half, others, more = laid_out(begin, end)
            capacity = padding.others_capacity(len(others))
            shape = "half, sums", half.other.shape, capacity
            own, there = self._compiled(shape, kernels.half_sums, half, capacity)
            own, there = np.asarray(own), np.asarray(there)
            species[begin:end] = half.rows.species[: end - begin]
            with turns.take(begin // share):
                sums[begin:end] += own[: end - begin]
                np.add.at(sums, more, own[end - begin : end - begin + len(more)])
                sums[others] += there[: len(others)]

        def read(begin: int) -> None:
            end = min(begin + share, n)
            capacity = padding.fill_capacity(share, READ_ROWS)
            kinds = _padded(species[begin:end], (capacity,), -1, np.int32)
            here = _padded(sums[begin:end], (capacity, sums.shape[1]), 0, sums.dtype)
            arguments = np.int32(end - begin), kinds, here
            patch, found, of_sums = self._compiled(("read", capacity), kernels.read_out, *arguments)
            slopes[begin:end] = np.asarray(of_sums)[: end - begin]
            found, grade = np.asarray(found), self._grade(kinds, patch) if self._graded else 0.0
            with turns.take(begin // share):
                finish(begin, end, patch, found, grade)

        def differentiate(begin: int) -> None:
            end = min(begin + share, n)
            half, others, more = laid_out(begin, end)
            capacity = padding.others_capacity(len(others))
            own = np.concatenate([slopes[begin:end], slopes[more]])
            own = _padded(own, (len(half.other), slopes.shape[1]), 0, slopes.dtype)
            there = _padded(slopes[others], (capacity, slopes.shape[1]), 0, slopes.dtype)
            shape = "half, gradient", half.other.shape, capacity
            gradient = self._compiled(shape, kernels.half_gradient, half, own, there)
            gradient = np.asarray(gradient)
            with turns.take(begin // share):
                shares.add(gradient)

        for task in sum_up, read, differentiate:
            turns = _Turns()
            self._on_threads(task, range(0, n, share), turns)
        self._half_width = max(widths)
        return _answer(totals, writing)

    def update(
        self,
        settled: int,
        cache_rows: int,
        packed: np.ndarray,
        atom_energy: np.ndarray | None = None,
        settled_energy: np.ndarray | None = None,
        atom_grade: np.ndarray | None = None,
    ) -> tuple[float, float, bool]:
        """Evaluate a proposal from the settled state.

        Args:
            settled: 1: settle the last proposal first; -1: forget all rows first; else 0.
            cache_rows: rows of the cache that the proposed state needs.
            packed: what changed, float64, see `mliap_local_change` in bridge.h.
            atom_energy: filled with the energies of the rows that it names, if wanted. That is a
                question, no proposal: the last proposal stays.
            settled_energy: filled with what the cache holds for these rows.
            atom_grade: filled with their grades, if wanted.
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
        if self._scale is None:  # of a full evaluation that nothing has asked for yet
            self._scale = self._kernels.scale(self._cache)
        rows = changed_rows(self._kernels.numbers, packed, atom_energy is not None)
        self._count((rows.capacity, self._cache_rows))
        with self._named:
            proposal = self._update(self._cache, self._scale, rows)
            if proposal.grades is not None:
                grades = np.asarray(proposal.grades)
                self.grade = float(np.max(grades))
                if atom_grade is not None:
                    atom_grade[:] = grades[: len(atom_grade)]
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

    def _measure(self, kernel: Callable[..., Any], rows: NeighbourRows, patch: Any) -> None:
        """See what rounding does to the energies of these atoms: all that they see is turned by
        swapping axes, which is exact, so that every other difference is rounding."""
        self._measured = True
        turned = dataclasses.replace(rows, r_ij=np.asarray(rows.r_ij)[[1, 2, 0]])
        pair = (np.asarray(p.cache.energies, float) for p in (patch, kernel(turned)[0]))
        energies, others = pair
        squares = np.sum(energies**2)
        if np.isfinite(squares) and squares > 0:
            seen = SAFETY * np.sqrt(np.sum((others - energies) ** 2) / squares)
            self.rounding = max(self.rounding, min(seen, MOST_ROUNDING))

    def _grade(self, species: AnyArray, patch: LocalMLIAPPatch) -> float:
        """The largest of these atoms."""
        arguments = species, patch.cache.msg_sum
        return float(self._compiled(("grade", len(species)), self._kernels.grades, *arguments))

    def _finish(
        self, atom_energy: np.ndarray | None, writing: _Writing | None, totals: np.ndarray
    ) -> Callable[..., None]:
        """What happens to a share's energies when its turn has come."""

        def finish(
            begin: int, end: int, patch: LocalMLIAPPatch, sums: np.ndarray | float, grade: float
        ) -> None:
            self.grade = float(np.maximum(self.grade, grade))  # not a number, if one is
            if atom_energy is not None:
                atom_energy[begin:end] = np.asarray(patch.cache.energies)[: end - begin]
            if writing is not None:
                writing.write(patch, begin, end)
            totals[:] += sums

        return finish

    def _laid_out(
        self, shares: Shares, n: int, capacity: int, width: int, block: int, *ends: np.ndarray
    ) -> NeighbourRows:
        """What this thread's share has found, in memory that its next share uses again."""
        species, neighbour_species, r_ij = self._memory.arrays(
            ((capacity,), np.int32),
            ((capacity, width), np.int8),
            ((3, capacity, width), self._kernels.dtype),
        )
        shares.lay(species, neighbour_species, r_ij, *ends)
        return NeighbourRows(
            self._kernels.numbers,
            np.int32(n),
            species,
            neighbour_species,
            r_ij,
            block=block,
            edges_last=self._kernels.edges_last,
        )

    def _compiled(self, shape: Any, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Call a kernel; one that has to be compiled for the shape, by one thread only."""
        if shape in self._kernels.shapes:
            return kernel(*arguments)
        with self._lock:
            self._count(shape)
            return kernel(*arguments)

    def _count(self, shape: Any) -> None:
        """A shape that was not met before is a compilation."""
        if shape not in self._kernels.shapes:
            self._kernels.shapes.add(shape)
            self.compilations += 1

    def _on_threads(self, evaluate: Callable[[int], None], begins: range, turns: _Turns) -> None:
        """Evaluate each share; this thread is one of the threads.

        Returns or raises when none is at work any more: they write to the caller's arrays.
        """
        left, errors = iter(begins), []

        def work() -> None:
            try:
                for begin in left:  # of which each takes the next
                    evaluate(begin)
            except BaseException as error:  # a Ctrl-C too
                errors.append(error)
                turns.fail()

        futures = [self._pool.submit(work) for _ in range(min(self._threads, len(begins)) - 1)]
        work()
        wait(futures)
        if errors:
            raise errors[0]


def _answer(totals: np.ndarray, writing: _Writing | None) -> tuple[float, float]:
    """The energy, of all rows that the cache holds where they are kept, and the sum of squares."""
    energy, squares = totals.tolist()
    return energy if writing is None else writing.energy(energy), squares


class Shares(Protocol):
    """Atoms with their neighbours, which are asked for a share at a time.

    find, lay and add of a share are called in this order by one thread; shares are added in turn.
    """

    n_rows: int

    def find(self, begin: int, end: int) -> int:
        """Find the neighbours of these atoms; return the largest number of any."""
        ...

    half: bool
    """Can one edge be found for two? See `mliap_local_rows` in bridge.h."""

    def find_half(self, begin: int, end: int) -> tuple[int, int, int]:
        """The same with one edge for two; and how many rows there are, more than atoms if some go
        on in others, and how many atoms at other ends."""
        ...

    def lay(
        self,
        species: np.ndarray,
        neighbour_species: np.ndarray,
        r_ij: np.ndarray,
        others: np.ndarray | None = None,
        other: np.ndarray | None = None,
    ) -> None:
        """Write what was found: shapes (capacity,), (capacity, width), (3, capacity, width).

        Species are -1 where no atom or no neighbour is; r_ij may be anything there. After
        `find_half` also others, (n_others,) and behind them atoms whose rows go on, and other,
        (capacity, width), n_others where an edge has no other end.
        """
        ...

    def add(self, gradient: np.ndarray) -> None:
        """Take dE/dr_ij, shape (3, capacity, width)."""
        ...

    points: tuple[np.ndarray, np.ndarray] | None
    """Positions and species of all points, (n_points, 3) and (n_points,); None: not offered."""

    def lay_points(self, point: np.ndarray, neighbour: np.ndarray) -> None:
        """Write what was found as points, (capacity,) and (capacity, width); n_points is none."""
        ...

    def add_points(self, force: np.ndarray) -> None:
        """Take the forces on points, (n_points, 3), of all shares."""
        ...


class _Writing:
    """A cache while rows of it are evaluated: written in place, one share after another."""

    def __init__(self, kernels: Kernels, cache: LocalMLIAPCache, places: np.ndarray) -> None:
        self._kernels, self.cache, self._places = kernels, cache, places
        self._answer: Any = None

    def _padded_places(self, begin: int, end: int, capacity: int) -> np.ndarray:
        """Places of a share's rows; those that hold no atom are beyond the cache's end."""
        padded = np.full(capacity, self.cache.msg_sum.shape[0], np.int32)
        padded[: end - begin] = self._places[begin:end]
        return padded

    def write(self, patch: LocalMLIAPPatch, begin: int, end: int) -> None:
        places = self._padded_places(begin, end, patch.cache.msg_sum.shape[0])
        self.cache, self._answer = self._kernels.write(self.cache, patch, places)

    def fill(self, rows: NeighbourRows) -> np.ndarray:
        """Evaluate and write at once: the energy of all rows, the sum of squares of these."""
        places = self._padded_places(0, len(self._places), rows.species.shape[0])
        self.cache, self._answer = self._kernels.fill(self.cache, rows, places)
        return np.asarray(self._answer)

    def energy(self, nothing: float) -> float:
        """Of all rows that the cache holds."""
        return nothing if self._answer is None else float(np.asarray(self._answer)[0])


class _Turns:
    """Who has evaluated a share waits until those before it are finished."""

    def __init__(self) -> None:
        self._next, self._failed, self._changed = 0, False, threading.Condition()

    @contextlib.contextmanager
    def take(self, turn: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._next == turn)
            if self._failed:
                raise RuntimeError("another share of the atoms failed")
        yield
        with self._changed:
            self._next += 1
            self._changed.notify_all()

    def fail(self) -> None:
        with self._changed:
            self._failed = True
            self._changed.notify_all()


class _Memory(threading.local):
    """Memory of a thread for the arrays of a share."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def arrays(self, *wanted: tuple[tuple[int, ...], Any]) -> list[np.ndarray]:
        """Arrays of these shapes and types at addresses that JAX takes without a copy."""
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in wanted]
        needed = sum(size + _ALIGNMENT for size in sizes)
        if len(self._bytes) < needed:
            self._bytes = np.empty(needed, np.uint8)
        found, begin = [], 0
        for size, (shape, dtype) in zip(sizes, wanted, strict=True):
            begin += -(self._bytes.ctypes.data + begin) % _ALIGNMENT
            found.append(self._bytes[begin : begin + size].view(dtype).reshape(shape))
            begin += size
        return found


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
        settings["graded"],
    )
