"""An ASE calculator: how people look at a model before they run it.

The same kernels and rows of neighbours as a step of molecular dynamics in LAMMPS. Needs the extra
`mliap-local[ase]`. Keeps nothing between calls but array sizes.
"""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import Any, ClassVar

import jax
import numpy as np
import vesin
from ase import units as ase_units
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress

from mliap_local.core import padding
from mliap_local.core.lens import IDENTITY_LENS
from mliap_local.lammps.rows import NeighbourRows
from mliap_local.local import LocalMLIAPData, LocalMLIAPInput, full_patch, local_mliap_energy_full
from mliap_local.model_file import ModelFileError, read_model
from mliap_local.models import ELEMENT_SYMBOLS

_ENERGY_UNITS = {"metal": 1.0, "real": ase_units.kcal / ase_units.mol}


class LocalMLIAPCalculator(Calculator):
    """Energies, forces and stress of a model file, or of a `LocalMLIAPData`, in eV and Angstrom.

    Turns `jax_enable_x64` on for the whole process, as pair_style mliap_local does: energies are
    summed in float64.

    Args:
        model: path of a model file, in units `metal` or `real`; or a model in metal units, whose
            first cutoff counts.
        keywords: of `ase.calculators.calculator.Calculator`.
    Raises:
        ModelFileError: the file is not a usable model, or is in units without Angstrom and eV.

    A calculation raises ValueError where the file does not know an element, and
    PropertyNotImplementedError where forces are asked of a file that cannot be differentiated, or
    a stress where there is no volume.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "energies",
        "free_energy",
        "forces",
        "stress",
    ]

    def __init__(self, model: str | PathLike[str] | LocalMLIAPData, **keywords: Any) -> None:
        super().__init__(**keywords)
        jax.config.update("jax_enable_x64", True)
        self._unit, self._elements, self._differentiable = 1.0, None, True
        self._edges_last = False
        if not isinstance(model, LocalMLIAPData):
            file = read_model(model)
            if file.metadata.units not in _ENERGY_UNITS:
                raise ModelFileError(
                    f"{model}: the model is in units {file.metadata.units}; ASE needs one in units "
                    f"{' or '.join(_ENERGY_UNITS)}"
                )
            self._unit = _ENERGY_UNITS[file.metadata.units]
            self._elements, self._differentiable = file.metadata.elements, file.vjp_order >= 1
            self._edges_last = bool(file.edges_last)
            model = LocalMLIAPData.from_zip_file(model, n_atoms=1)
        self._model = model
        self._cutoff = float(np.asarray(model.cutoff.data)[0])
        self._dtype = np.dtype(model.cache.msg_sum.dtype)
        self._rows = self._width = 0
        self._energy = jax.jit(partial(_energy, model))
        self._forces = jax.jit(partial(_forces, model))

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Called by ASE; fills `results`."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        self._refuse(atoms, properties)
        i, j, vectors = _edges(atoms, self._cutoff)
        rows, place = self._neighbour_rows(atoms.numbers, i, j, vectors)
        wants_forces = "forces" in properties or "stress" in properties
        if wants_forces:
            patch, gradient = self._forces(rows)
            self._add_forces(atoms, i, j, vectors, np.asarray(gradient, float)[:, i, place].T)
        else:
            patch = self._energy(rows)
        energies = np.asarray(patch.cache.energies, float)[: len(atoms)] * self._unit
        energy = float(np.asarray(patch.cache.totals)[0]) * self._unit
        self.results.update(energy=energy, free_energy=energy, energies=energies)

    def _refuse(self, atoms: Any, properties: Any) -> None:
        known = self._elements
        symbols = set(atoms.get_chemical_symbols())
        if known is not None and (unknown := symbols.difference(known)):
            raise ValueError(
                f"the model knows the elements {' '.join(known)}, not {' '.join(sorted(unknown))}"
            )
        if not self._differentiable and {"forces", "stress"} & set(properties):
            raise PropertyNotImplementedError(
                "the model file has no gradient (vjp_order 0); export it with vjp_order=1 or 2"
            )
        if "stress" in properties and atoms.cell.rank < 3:
            raise PropertyNotImplementedError("a stress needs a cell with a volume")

    def _neighbour_rows(
        self, numbers: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray
    ) -> tuple[NeighbourRows, np.ndarray]:
        """Neighbours side by side, and the place of each edge in its row."""
        n = len(numbers)
        count = np.bincount(i, minlength=n)
        place = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
        self._width = padding.width_capacity(int(count.max(initial=0)), self._width)
        message_width = self._model.cache.msg_sum.shape[1]
        block = padding.block_rows(self._width, message_width, n, jax.default_backend())
        self._rows = padding.row_capacity(n, block, self._rows)
        species = np.full(self._rows, -1, np.int32)
        neighbour_species = np.full((self._rows, self._width), -1, np.int32)
        r_ij = np.zeros((3, self._rows, self._width), self._dtype)
        # Species are atomic numbers: one table for all atoms, whatever their elements.
        species[:n] = numbers
        neighbour_species[i, place] = numbers[j]
        r_ij[:, i, place] = vectors.T
        rows = NeighbourRows(
            numbers=tuple(range(len(ELEMENT_SYMBOLS))),
            n_rows=np.int32(n),
            species=species,
            neighbour_species=neighbour_species,
            r_ij=r_ij,
            block=block,
            edges_last=self._edges_last,
        )
        return rows, place

    def _add_forces(
        self, atoms: Any, i: np.ndarray, j: np.ndarray, vectors: np.ndarray, gradient: np.ndarray
    ) -> None:
        """Forces and stress from dE/dr_ij, shape (n_edges, 3)."""
        gradient = gradient * self._unit
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, gradient)
        np.subtract.at(forces, j, gradient)
        self.results["forces"] = forces
        if atoms.cell.rank == 3:
            stress = vectors.T @ gradient / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress((stress + stress.T) / 2)


def _edges(atoms: Any, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Receivers in order, senders and `r_ij` of all edges."""
    neighbours = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, vectors = neighbours.compute(atoms.positions, atoms.cell.array, atoms.pbc, "ijD")
    return i.astype(int), j.astype(int), vectors


def _input(model: LocalMLIAPData, rows: NeighbourRows) -> LocalMLIAPInput:
    return LocalMLIAPInput(None, None, rows, None, model, IDENTITY_LENS)


def _energy(model: LocalMLIAPData, rows: NeighbourRows) -> Any:
    return local_mliap_energy_full(_input(model, rows)).patch


def _forces(model: LocalMLIAPData, rows: NeighbourRows) -> Any:
    terms, gradient = rows.terms_and_gradient(model)
    return full_patch(terms, IDENTITY_LENS).patch, gradient
