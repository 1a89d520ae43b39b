"""One opened model, compiled: what sessions that use the same file have in common.

JAX keeps what it compiled for as long as it lives, so a model that is opened again, as `clear` and
a second `pair_coeff` do, must come with the functions that it had. No state of atoms is here.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mliap_local.core import padding
from mliap_local.core.compiling import blocks, few_rows
from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.core.table import Table
from mliap_local.lammps.half import HalfRows, read_out
from mliap_local.lammps.points import PointRows
from mliap_local.lammps.rows import ChangedRows, NeighbourRows
from mliap_local.local import (
    LocalMLIAPCache,
    LocalMLIAPData,
    LocalMLIAPInput,
    LocalMLIAPPatch,
    full_patch,
    local_mliap_energy_full,
    local_mliap_energy_update,
)
from mliap_local.model_file import ModelFileError, read_model
from mliap_local.model_file.errors import failure_text, file_error, printable
from mliap_local.model_file.vetting import cache_folder
from mliap_local.models import ModelFunctions, atomic_numbers

ROUNDING = {"32bit": 2e-6, "64bit": 1e-9}
"""Part of an atom's energy that rounding may change, ten times what was seen; errors of many atoms
add up like the root of their squares. In 32bit models with large terms that cancel lose more, which
a session measures. In 64bit it is the rounding of positions: LAMMPS moves all
atoms by 1e-13 of the box at each trial in a triclinic one, and steep walls make 1e-11 of it."""

LARGE_SUM = {"32bit": 1e3, "64bit": 1e6}
"""A message sum this many times as large as the others has no digits left for them: what is
taken away from it leaves rounding."""

LARGE_ENERGY = 1e6, 1e3
"""The same for the total energy: so much, and so much for each row of the cache."""


MOST_MODELS = 4
"""Models that are kept compiled; with the fifth, JAX is told to forget."""


class Kernels:
    """The compiled functions of a model, and what is known about it; see `open_kernels`."""

    def __init__(
        self,
        model_file: str,
        elements: list[str],
        units: str,
        device: str,
        relative: bool,
        rank: int,
    ) -> None:
        model = read_model(model_file, platform={"cpu": "cpu", "gpu": "cuda"}.get(device))
        metadata = model.metadata
        if units != metadata.units:
            raise ModelFileError(
                f"{model_file}: the model is in units {metadata.units}, LAMMPS runs in units "
                f"{units}; use `units {metadata.units}`, or a model in units {units}"
            )
        known = metadata.elements
        if known is not None and (unknown := [e for e in elements if e not in known]):
            raise ModelFileError(
                f"{model_file}: the model knows the elements {' '.join(known)}, not "
                f"{' '.join(unknown)}; correct the elements of pair_coeff, or map the type to NULL"
            )
        self.device = _device(device, rank)
        self.gathers = device == "gpu"  # it finds r_ij where points are known
        self.cutoff = float(metadata.cutoff)
        self.overlap = float(metadata.overlap or 0.0)
        masses = metadata.masses or {}
        self.masses = [float(masses.get(element, 0.0)) for element in elements]
        self.differentiable, self.edges_last = model.vjp_order >= 1, bool(model.edges_last)
        self.message_width = model.message_width
        self.rounding = ROUNDING[metadata.precision]
        self._large_sum = LARGE_SUM[metadata.precision]
        self.dtype = np.float32 if metadata.precision == "32bit" else np.float64
        self.numbers = tuple(int(number) for number in atomic_numbers(elements))
        with jax.default_device(self.device):  # the model may not know the default one
            try:
                self.isolated_energies, self.message_width = _isolated(
                    model.functions, np.array(self.numbers)
                )
            except Exception as error:  # JAX and XLA raise what they like
                expected = "energies of isolated atoms"
                raise file_error(model_file, None, expected, failure_text(error)) from error
        functions, self.grade_function = model.functions, model.grade
        if relative:
            functions, self.grade_function = _relative(functions, model.grade, self.message_width)
        self._model = LocalMLIAPData(
            cutoff=Table(np.full((1,), self.cutoff)),
            init_function=functions.node_init,
            edge_function=functions.edge,
            readout_function=functions.readout,
            cache=LocalMLIAPCache(None, jnp.zeros((0, 0))),
        )
        self.shapes: set[Any] = set()  # compiled for so far
        options, of_blocks = few_rows(self.device.platform), blocks(self.device.platform)
        # what a full evaluation leaves is bound to the device: all that uses it follows it there
        here = jax.sharding.SingleDeviceSharding(self.device)
        self.energy = jax.jit(self._energy, out_shardings=here, compiler_options=of_blocks)
        self.forces = jax.jit(self._forces, out_shardings=here, compiler_options=of_blocks)
        self.point_forces = jax.jit(
            self._point_forces, donate_argnums=2, out_shardings=here, compiler_options=of_blocks
        )
        self.parity = None
        if metadata.parity is not None and device == "cpu":
            self.parity = np.where(np.array(list(metadata.parity)) == "-", -1, 1).astype(self.dtype)
        self.half_sums = jax.jit(self._half_sums, static_argnums=1, compiler_options=of_blocks)
        self.read_out = jax.jit(self._read_out, out_shardings=here, compiler_options=of_blocks)
        self.half_gradient = jax.jit(self._half_gradient, compiler_options=of_blocks)
        self.scale = jax.jit(_scale_of, out_shardings=here)
        self.update = jax.jit(partial(self._update, False), compiler_options=options)
        self.graded_update = jax.jit(partial(self._update, True), compiler_options=options)
        self.grades = jax.jit(self._grades, out_shardings=here)
        self.settle = jax.jit(_settle, donate_argnums=0, compiler_options=options)
        self.resize = jax.jit(_resized, static_argnums=1)
        self.fill = jax.jit(self._fill, donate_argnums=0, compiler_options=of_blocks)
        self.write = jax.jit(_written, donate_argnums=0, compiler_options=options)
        self._forget = jax.jit(_forgotten, donate_argnums=0)
        self.no_scale = jax.device_put(np.float64(0), self.device)  # an update finds its own
        self.model_file = model_file
        name = printable(metadata.name or Path(model_file).name, 80)
        self.summary = (
            f"{name}: {' '.join(elements)}, cutoff {self.cutoff:g}, {metadata.precision}, "
            f"units {metadata.units}, {self.device.platform}, jax {jax.__version__}"
            + (f"; {metadata.jumps}" if metadata.jumps else "")
            + ("; built anew, convert it again" if model.built_anew else "")
        )

    def block_rows(self, width: int, n_rows: int) -> int:
        """Rows of so many neighbours that are evaluated at once, where there are `n_rows`."""
        return padding.block_rows(width, self.message_width, n_rows, self.device.platform)

    def points(self, x: np.ndarray, species: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Positions and species of points on the device, and forces there that are zero."""
        shown = jax.device_put((x, species), self.device)
        return *shown, jnp.zeros(x.shape, jnp.float64, device=self.device)

    def _input(self, edges: Any, cache: LocalMLIAPCache | None = None) -> LocalMLIAPInput:
        config = self._model if cache is None else dataclasses.replace(self._model, cache=cache)
        return LocalMLIAPInput(None, None, edges, None, config, IDENTITY_LENS)

    def _energy(self, rows: NeighbourRows) -> tuple[LocalMLIAPPatch, jax.Array]:
        """The patch, and (energy, sum of squared energies of atoms)."""
        patch = local_mliap_energy_full(self._input(rows)).patch
        return patch, _sums_of(patch.cache)

    def _forces(self, rows: NeighbourRows) -> tuple[LocalMLIAPPatch, jax.Array, jax.Array]:
        """The same, and the gradient."""
        terms, gradient = rows.terms_and_gradient(self._model)
        patch = full_patch(terms, IDENTITY_LENS).patch
        return patch, _sums_of(patch.cache), gradient

    def _point_forces(
        self, x: jax.Array, species: jax.Array, forces: jax.Array, rows: PointRows
    ) -> tuple[LocalMLIAPPatch, jax.Array, jax.Array]:
        """The patch, (energy, sum of squared energies of atoms), and the forces on points."""
        terms, forces = rows.terms_and_forces(self._model, x, species, forces, self.dtype)
        patch = full_patch(terms, IDENTITY_LENS).patch
        return patch, _sums_of(patch.cache), forces

    def _half_sums(self, half: HalfRows, n_others: int) -> tuple[jax.Array, jax.Array]:
        return half.message_sums(self._model, jnp.asarray(self.parity), n_others)

    def _read_out(
        self, n_rows: jax.Array, species: jax.Array, sums: jax.Array
    ) -> tuple[LocalMLIAPPatch, jax.Array, jax.Array]:
        """The patch, (energy, sum of squared energies of atoms), and dE/dM."""
        terms, slopes = read_out(self._model, self.numbers, n_rows, species, sums)
        patch = full_patch(terms, IDENTITY_LENS).patch
        return patch, _sums_of(patch.cache), slopes

    def _half_gradient(self, half: HalfRows, own: jax.Array, others: jax.Array) -> jax.Array:
        return half.gradient(self._model, jnp.asarray(self.parity), own, others)

    def empty(self, cache: LocalMLIAPCache | None, n_rows: int) -> LocalMLIAPCache:
        """A cache of so many rows that holds none, in the memory of the other where that fits."""
        if cache is not None and cache.msg_sum.shape[0] == n_rows:
            return self._forget(cache)
        # bound to the device, as what other calls leave is: else each would be compiled twice
        sums = jax.device_put(np.zeros((n_rows, self.message_width), self.dtype), self.device)
        energies = jax.device_put(np.zeros(n_rows, self.dtype), self.device)
        return LocalMLIAPCache(None, sums, energies, jax.device_put(np.zeros(1), self.device))

    def _fill(
        self, cache: LocalMLIAPCache, rows: NeighbourRows, places: jax.Array
    ) -> tuple[LocalMLIAPCache, jax.Array]:
        """Evaluated and written at once: see `_written`."""
        return _written(cache, local_mliap_energy_full(self._input(rows)).patch, places)

    def _update(
        self, graded: bool, cache: LocalMLIAPCache, scale: jax.Array, rows: ChangedRows
    ) -> Proposal:
        patch = local_mliap_energy_update(self._input(rows, cache)).patch
        assert cache.totals is not None and cache.energies is not None  # or the update raised
        assert patch.cache.energies is not None
        change = rows.change(dataclasses.replace(self._model, cache=cache))
        old = cache.msg_sum.at[change.rows].get(mode="fill", fill_value=0)
        before, after = (jnp.max(jnp.abs(sums), axis=1) for sums in (old, patch.cache.msg_sum))
        scale = jnp.where(scale > 0, scale, jnp.max(after))
        kept = change.occupied & ~change.fresh
        sound = jnp.all(~kept | (before <= self._large_sum * scale))
        total, squares = _sums_of(patch.cache)
        lost = cache.energies.at[change.rows].get(mode="fill", fill_value=0)
        squares += jnp.sum(jnp.square(lost.astype(squares.dtype)))
        limit, row_limit = LARGE_ENERGY
        sound &= jnp.abs(cache.totals[0]) <= limit + row_limit * cache.msg_sum.shape[0]
        answer = jnp.stack([total, squares, sound.astype(total.dtype)])
        places = change.rows.astype(jnp.int32)
        grades = None
        if graded:
            grades = self._grade(change.embeddings, patch.cache.msg_sum, change.occupied)
        return Proposal(patch.cache.msg_sum, patch.cache.energies, answer, places, grades)

    def _grade(self, h: jax.Array, sums: jax.Array, occupied: jax.Array) -> jax.Array:
        """Of each row's atom; 0 where there is none."""
        assert self.grade_function is not None  # a session asked for it
        return jnp.where(occupied, self.grade_function(h, sums), 0)

    def _grades(self, species: jax.Array, sums: jax.Array) -> jax.Array:
        """The largest grade of atoms, scalar."""
        table = self._model.init_function(jnp.array(self.numbers))
        return jnp.max(self._grade(table[jnp.maximum(species, 0)], sums, species >= 0))


class Proposal(NamedTuple):
    """The rows of an update as they would be. Few arrays: each costs 3 us, 10 where it is read.

    sums: message sums, shape (rows, m).
    energies: shape (rows,).
    answer: the energy, the sum of squared energies of atoms taken away and added, 1 if it is sound.
    places: of the rows in the cache, int32, shape (rows,); beyond its end: padding.
    grades: shape (rows,), 0 where no atom is; None where they are not wanted.
    """

    sums: jax.Array
    energies: jax.Array
    answer: jax.Array
    places: jax.Array
    grades: jax.Array | None = None


def _sums_of(cache: LocalMLIAPCache) -> jax.Array:
    """The energy of the one system, and the sum of the squared energies of the cache's rows."""
    assert cache.totals is not None and cache.energies is not None  # every evaluation leaves them
    squares = jnp.sum(jnp.square(cache.energies.astype(cache.totals.dtype)))
    return jnp.stack([cache.totals[0], squares])


def _scale_of(cache: LocalMLIAPCache) -> jax.Array:
    """What size message sums have: the geometric mean of rows, which few huge ones do not move."""
    assert cache.energies is not None  # a full evaluation leaves them
    largest = jnp.max(jnp.abs(cache.msg_sum), axis=1).astype(jnp.float64)
    # message sums of rows without an atom are left from an earlier state: their energies are not
    counted = (largest > 0) & jnp.isfinite(largest) & (cache.energies != 0)
    logarithms = jnp.where(counted, jnp.log(jnp.where(counted, largest, 1.0)), 0.0)
    return jnp.exp(jnp.sum(logarithms) / jnp.maximum(jnp.sum(counted), 1))


def _settle(cache: LocalMLIAPCache, proposal: Proposal) -> LocalMLIAPCache:
    """The cache with the rows of a proposal."""
    assert cache.energies is not None  # an update started from them
    places = proposal.places
    return LocalMLIAPCache(
        None,
        cache.msg_sum.at[places].set(proposal.sums, mode="drop"),
        cache.energies.at[places].set(proposal.energies, mode="drop"),
        proposal.answer[:1],
    )


def _resized(cache: LocalMLIAPCache, n_rows: int) -> LocalMLIAPCache:
    """The cache with more rows; those that are added are empty."""

    def resize(leaf: jax.Array) -> jax.Array:
        return jnp.pad(leaf, [(0, n_rows - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1))

    assert cache.energies is not None  # every full evaluation leaves them
    return dataclasses.replace(
        cache, msg_sum=resize(cache.msg_sum), energies=resize(cache.energies)
    )


def _written(
    cache: LocalMLIAPCache, rows: LocalMLIAPPatch, places: jax.Array
) -> tuple[LocalMLIAPCache, jax.Array]:
    """The cache with these rows of a full evaluation at other places, and (energy of all that it
    holds, sum of squares of these).

    Args:
        places: of the rows in the cache, shape (n,); beyond its end: padding.
    """
    new = rows.cache
    assert cache.totals is not None and cache.energies is not None  # `empty` leaves them
    assert new.energies is not None
    lost = cache.energies.at[places].get(mode="fill", fill_value=0)
    # Padding is not written; that it depends on what was read lets XLA write in place. Else it
    # copies all of the cache's energies at each call.
    gained = jnp.where(places < cache.energies.shape[0], new.energies, lost)
    change = gained.astype(jnp.float64) - lost.astype(jnp.float64)
    total = cache.totals + jnp.sum(change)
    written = LocalMLIAPCache(
        None,
        cache.msg_sum.at[places].set(new.msg_sum, mode="drop"),
        cache.energies.at[places].set(gained, mode="drop"),
        total,
    )
    return written, jnp.stack([total[0], jnp.sum(jnp.square(gained.astype(jnp.float64)))])


def _forgotten(cache: LocalMLIAPCache) -> LocalMLIAPCache:
    """The same memory without energies. Message sums stay: every row is fresh when it comes."""
    assert cache.energies is not None and cache.totals is not None
    return dataclasses.replace(
        cache, energies=jnp.zeros_like(cache.energies), totals=jnp.zeros_like(cache.totals)
    )


def _isolated(functions: ModelFunctions, numbers: np.ndarray) -> tuple[list[float], int]:
    """Energies of isolated atoms, and a message's width."""
    embeddings = functions.node_init(numbers)
    vector = np.ones((len(numbers), 3), embeddings.dtype)
    width = jax.eval_shape(functions.edge, embeddings, embeddings, vector).shape[1]
    nothing = jnp.zeros((len(numbers), width), embeddings.dtype)
    return [float(e) for e in np.asarray(functions.readout(embeddings, nothing))], width


def _relative(functions: ModelFunctions, grade: Any, width: int) -> tuple[ModelFunctions, Any]:
    """Functions, and that of grades, with energies relative to isolated atoms. Theirs are the last
    column of embeddings: a second readout of each atom would cost as much as the first."""

    def node_init(numbers: jax.Array) -> jax.Array:
        h = functions.node_init(numbers)
        isolated = functions.readout(h, jnp.zeros((h.shape[0], width), h.dtype))
        return jnp.concatenate([h, isolated[:, None]], axis=1)

    def edge(h_i: jax.Array, h_j: jax.Array, r_ij: jax.Array) -> jax.Array:
        return functions.edge(h_i[:, :-1], h_j[:, :-1], r_ij)

    def readout(h: jax.Array, message_sums: jax.Array) -> jax.Array:
        return functions.readout(h[:, :-1], message_sums) - h[:, -1]

    def graded(h: jax.Array, message_sums: jax.Array) -> jax.Array:
        return grade(h[:, :-1], message_sums)

    return ModelFunctions(node_init, edge, readout), grade and graded


def _device(name: str, node_rank: int) -> Any:
    """The device for this process; ranks of a node take them in turn."""
    if name not in ("cpu", "gpu"):
        raise ModelFileError(f"expected device cpu or gpu, got {name}")
    try:
        devices = jax.local_devices(backend=name)
    except RuntimeError as error:
        only = getattr(jax.config, "jax_platforms", None)  # see jax_environment in bridge.py
        if name == "gpu" and only == "cpu":
            raise ModelFileError(
                "device gpu was asked for, but JAX was started in this process for device cpu; "
                "open one with device gpu first, or set JAX_PLATFORMS=cuda,cpu in the environment"
            ) from error
        raise ModelFileError(
            f"device {name} was asked for, but this JAX has none ({error}); install a JAX with "
            "its plugin, or use device cpu"
        ) from error
    return devices[node_rank % len(devices)]


def _keep_compilations() -> None:
    """Let a second run start quickly, unless the user said otherwise."""
    options: Any = jax.config  # it gets its attributes at run time
    if options.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


_opened: collections.OrderedDict[tuple, Kernels] = collections.OrderedDict()


def open_kernels(
    model_file: str, elements: list[str], units: str, device: str, relative: bool, rank: int
) -> Kernels:
    """The kernels of a model file, those that it had if it was open before.

    Raises:
        ModelFileError: unusable file, element the model does not know, other units, no such device.
    """
    jax.config.update("jax_enable_x64", True)
    # Small programs one after another: handing them to a thread and waiting for it takes longer
    # than some of them. Too late, and without effect, where the caller has used JAX before.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    _keep_compilations()
    try:
        content = hashlib.sha256(Path(model_file).read_bytes()).hexdigest()
    except OSError:
        content = ""  # reading the model says what is wrong
    key = (content, model_file, tuple(elements), units, device, relative, rank)
    if key not in _opened:
        if len(_opened) >= MOST_MODELS:
            _opened.popitem(last=False)
            jax.clear_caches()
        _opened[key] = Kernels(model_file, elements, units, device, relative, rank)
    _opened.move_to_end(key)
    return _opened[key]
