"""The one mutable object: a model, the cache of what LAMMPS last settled, and one proposal.

The pair style says which rows changed and whether the last proposal was kept; the session pads,
calls the kernels of `mliap_local.local` and remembers. It knows no LAMMPS and no pointer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mliap_local import padding
from mliap_local.core.compiling import FEW_ROWS
from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.core.table import Table
from mliap_local.local import (
    LocalMLIAPCache,
    LocalMLIAPData,
    LocalMLIAPInput,
    LocalMLIAPPatch,
    full_patch,
    local_mliap_energy_full,
    local_mliap_energy_update,
)
from mliap_local.model_file import ModelFileError, atomic_numbers, read_model
from mliap_local.rows import ChangedRows, NeighbourRows

TOLERANCES = {"32bit": (1e-5, 1e-6), "64bit": (1e-9, 1e-12)}
"""Difference of incremental and full energies that rounding can explain: for each atom (energy
units), and as a part of the energy."""

LARGE_SUM = {"32bit": 1e3, "64bit": 1e6}
"""A message sum this many times as large as the others has no digits left for them: what is
taken away from it leaves rounding."""

LARGE_ENERGY = 1e6, 1e3
"""The same for the total energy: so much, and so much for each row of the cache."""


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
        jax.config.update("jax_enable_x64", True)
        _keep_compilations()
        model = read_model(model_file, platform={"cpu": "cpu", "gpu": "cuda"}.get(device))
        metadata = model.metadata
        if units != metadata.units:
            raise ModelFileError(
                f"{model_file}: the model is in units {metadata.units}, LAMMPS runs in units "
                f"{units}; use `units {metadata.units}` or convert the model again"
            )
        known = metadata.elements
        if known is not None and (unknown := [e for e in elements if e not in known]):
            raise ModelFileError(
                f"{model_file}: the model knows the elements {' '.join(known)}, not "
                f"{' '.join(unknown)}; correct the elements of pair_coeff, or map the type to NULL"
            )
        self.device = _device(device, node_rank)
        self.cutoff = float(metadata.cutoff)
        self.overlap = float(metadata.overlap or 0.0)
        self.differentiable = model.vjp_order >= 1
        self.tolerances = TOLERANCES[metadata.precision]
        self._large_sum = LARGE_SUM[metadata.precision]
        self._dtype = np.float32 if metadata.precision == "32bit" else np.float64
        self._numbers = tuple(int(number) for number in atomic_numbers(elements))
        self.isolated_energies, readout = _reference(
            model.functions, np.array(self._numbers), reference_isolated
        )
        self._model = LocalMLIAPData(
            cutoff=Table(np.full((1,), self.cutoff)),
            init_function=model.functions.node_init,
            edge_function=model.functions.edge,
            readout_function=readout,
            cache=LocalMLIAPCache(None, np.zeros((0, 0))),
        )
        self._cache: LocalMLIAPCache | None = None
        self._proposal: LocalMLIAPPatch | None = None
        self._rows = self._width = self._cache_rows = 0
        self._scale = 0.0
        self._shapes: set[Any] = set()
        self._energy = jax.jit(self._energy_of)
        self._forces = jax.jit(self._forces_of)
        self._update = jax.jit(self._update_of, compiler_options=FEW_ROWS)
        self._settle = jax.jit(_settle, donate_argnums=0, compiler_options=FEW_ROWS)
        self._keep = jax.jit(_resized, static_argnums=1)
        name = metadata.name or Path(model_file).name
        self.summary = (
            f"{name}: {' '.join(elements)}, cutoff {self.cutoff:g}, {metadata.precision}, "
            f"units {metadata.units}, {self.device.platform}, jax {jax.__version__}"
        )

    @property
    def compilations(self) -> int:
        """Shapes compiled for so far."""
        return len(self._shapes)

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
            self._numbers,
            np.int32(n),
            _padded(species, (self._rows,), -1, np.int32),
            _padded(neighbour_species, (self._rows, self._width), -1, np.int32),
            _padded(r_ij, (self._rows, self._width, 3), 0, self._dtype),
            block=padding.block_rows(self._width),
        )
        wants_gradient = edge_gradient is not None
        self._shapes.add((wants_gradient, self._rows, self._width))
        with self._on_device():
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
        with self._on_device():
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
            self._shapes.add((capacity, self._cache_rows))
            patch, answer = self._update(self._cache, ChangedRows(self._numbers, packed, capacity))
        self._proposal = patch
        energy, sound = np.asarray(answer)
        return float(energy), bool(sound)

    def _on_device(self) -> Any:
        """Where kernels run; nothing to say, and no time to lose, where it is the default."""
        if self.device == jax.local_devices()[0]:
            return contextlib.nullcontext()
        return jax.default_device(self.device)

    def _input(self, edges: Any, cache: LocalMLIAPCache | None = None) -> LocalMLIAPInput:
        config = self._model if cache is None else dataclasses.replace(self._model, cache=cache)
        return LocalMLIAPInput(None, None, edges, None, config, IDENTITY_LENS)

    def _energy_of(self, rows: NeighbourRows) -> tuple[LocalMLIAPPatch, jax.Array]:
        patch = local_mliap_energy_full(self._input(rows)).patch
        return patch, _scale_of(patch)

    def _forces_of(self, rows: NeighbourRows) -> tuple[LocalMLIAPPatch, jax.Array, jax.Array]:
        terms, gradient = rows.terms_and_gradient(self._model)
        patch = full_patch(terms, IDENTITY_LENS).patch
        return patch, _scale_of(patch), gradient

    def _update_of(
        self, cache: LocalMLIAPCache, rows: ChangedRows
    ) -> tuple[LocalMLIAPPatch, jax.Array]:
        """The patch, and (energy, 1 if it is sound) in one array: each more costs 10 us to read."""
        patch = local_mliap_energy_update(self._input(rows, cache)).patch
        change = rows.change(dataclasses.replace(self._model, cache=cache))
        old = cache.msg_sum.at[change.rows].get(mode="fill", fill_value=0)
        before, after = (jnp.max(jnp.abs(sums), axis=1) for sums in (old, patch.cache.msg_sum))
        scale = jnp.where(rows.scale > 0, rows.scale, jnp.max(after))
        kept = change.occupied & ~change.fresh
        sound = jnp.all(~kept | (before <= self._large_sum * scale))
        total, (limit, row_limit) = patch.cache.totals[0], LARGE_ENERGY
        sound &= jnp.abs(cache.totals[0]) <= limit + row_limit * cache.msg_sum.shape[0]
        return patch, jnp.stack([total, sound.astype(total.dtype)])


def _scale_of(patch: LocalMLIAPPatch) -> jax.Array:
    """What size message sums have: the geometric mean of rows, which few huge ones do not move."""
    largest = jnp.max(jnp.abs(patch.cache.msg_sum), axis=1).astype(jnp.float64)
    counted = (patch.system_idx.indices == 0) & (largest > 0) & jnp.isfinite(largest)
    logarithms = jnp.where(counted, jnp.log(jnp.where(counted, largest, 1.0)), 0.0)
    return jnp.exp(jnp.sum(logarithms) / jnp.maximum(jnp.sum(counted), 1))


def _settle(cache: LocalMLIAPCache, proposal: LocalMLIAPPatch) -> LocalMLIAPCache:
    return proposal(cache, Table(jnp.ones((1,), bool)))


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: Any, dtype: Any) -> np.ndarray:
    out = np.full(shape, fill, dtype)
    out[tuple(slice(size) for size in array.shape)] = array
    return out


def _resized(cache: LocalMLIAPCache, n_rows: int) -> LocalMLIAPCache:
    """The cache with so many rows; those that are cut off or added are empty."""

    def resize(leaf: jax.Array) -> jax.Array:
        leaf = leaf[:n_rows]
        return jnp.pad(leaf, [(0, n_rows - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1))

    return dataclasses.replace(cache, msg_sum=resize(cache.msg_sum), energies=resize(cache.energies))


def _reference(functions: Any, numbers: np.ndarray, relative: bool) -> tuple[list[float], Any]:
    """Energies of isolated atoms, and the readout, relative to them if asked."""
    embeddings = functions.node_init(numbers)
    vector = np.ones((len(numbers), 3), embeddings.dtype)
    width = jax.eval_shape(functions.edge, embeddings, embeddings, vector).shape[1]
    nothing = jnp.zeros((len(numbers), width), embeddings.dtype)
    isolated = [float(e) for e in np.asarray(functions.readout(embeddings, nothing))]
    if not relative:
        return isolated, functions.readout

    def readout(h: jax.Array, message_sums: jax.Array) -> jax.Array:
        return functions.readout(h, message_sums) - functions.readout(
            h, jnp.zeros_like(message_sums)
        )

    return isolated, readout


def _device(name: str, node_rank: int) -> Any:
    """The device for this process; ranks of a node take them in turn."""
    if name not in ("cpu", "gpu"):
        raise ModelFileError(f"expected device cpu or gpu, got {name}")
    try:
        devices = jax.local_devices(backend=name)
    except RuntimeError as error:
        raise ModelFileError(
            f"device {name} was asked for, but this JAX has none ({error}); install a JAX with "
            "its plugin, or use device cpu"
        ) from error
    return devices[node_rank % len(devices)]


def _keep_compilations() -> None:
    """Let a second run start quickly, unless the user said otherwise."""
    if jax.config.jax_compilation_cache_dir is None:
        root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "mliap_local"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
