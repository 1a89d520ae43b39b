"""Sessions where JAX has two devices, and `device gpu` means those; prints what it saw as JSON.

Not a test: test_device.py runs it in a process of its own, for JAX counts its devices once. They
are made of the CPU: which device computes, what moves and what stays are seen here as they would be
on two GPUs; that every function has a form for CUDA is seen too; speed and memory are not.
"""

import collections
import copy
import json
import sys
from typing import Any

import jax
import numpy as np
from shown_rows import ShownRows

from mliap_local.lammps import session
from mliap_local.lammps.session import Session

N, SPACING, CUTOFF = 12, 2.5, 4.0  # a cube of N^3 atoms, not periodic
OFFSETS = np.array([o for o in np.ndindex(5, 5, 5) if o != (2, 2, 2)]) - 2
SITES = np.array(list(np.ndindex(N, N, N)))
TRIALS = 6
INSIDE = [N**3 // 3 + 97 * k for k in range(TRIALS)]  # atoms that are tried elsewhere


def neighbours(x: np.ndarray, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places on the lattice around some atoms, (atoms, 124), and whether a neighbour is there."""
    near = SITES[atoms][:, None] + OFFSETS
    inside = np.all((near >= 0) & (near < N), axis=-1)
    places = np.where(inside, near @ [N * N, N, 1], 0)
    return places, inside & (np.linalg.norm(x[places] - x[atoms][:, None], axis=-1) < CUTOFF)


def rows(x: np.ndarray, species: np.ndarray) -> dict[str, np.ndarray]:
    """All atoms with their neighbours, as `Session.full` takes them."""
    places, there = neighbours(x, np.arange(len(x)))
    order = np.argsort(~there, axis=1, kind="stable")[:, : there.sum(axis=1).max()]
    places, there = (np.take_along_axis(array, order, axis=1) for array in (places, there))
    neighbour_species = np.where(there, species[places], -1).astype(np.int8)
    r_ij = x[places] - x[:, None]
    return {"species": species, "neighbour_species": neighbour_species, "r_ij": r_ij}


def change(x: np.ndarray, species: np.ndarray, atom: int, to: np.ndarray) -> dict[str, Any]:
    """One atom elsewhere, as `Session.update` takes it."""
    moved = x.copy()
    moved[atom] = to
    before, after = (
        [int(j) for j in places[there]]
        for places, there in (neighbours(state, np.array([atom])) for state in (x, moved))
    )
    row = [atom, *sorted({*before, *after})]
    place = {j: k for k, j in enumerate(row)}
    records = [len(row), 1, 2 * len(after), len(before)]
    for j in row:
        records += [j, species[j]]
    for j in after:
        records += [0, species[j], *(moved[j] - to)]
        records += [place[j], species[atom], *(to - moved[j])]
    for j in before:
        records += [place[j], species[atom], *(x[atom] - x[j])]
    return {"cache_rows": len(x), "packed": np.array(records, float)}


class Moved:
    """Counts what moves: arrays of the host that compiled functions are given, and what is read.

    numpy as the session knows it, but for `asarray`.
    """

    def __init__(self) -> None:
        self.given: list[int] = []
        self.read: list[int] = []
        self.lowered: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def asarray(self, array: Any, *rest: Any) -> np.ndarray:
        if isinstance(array, jax.Array):
            self.read.append(array.nbytes)
        return np.asarray(array, *rest)

    def watch(self, owner: Any) -> None:
        """Count what the compiled functions among its attributes are given."""
        for name, function in vars(owner).items():
            if hasattr(function, "eval_shape"):
                setattr(owner, name, self._counting(name, function))

    def _counting(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if name not in self.lowered:
                for_cuda = function.trace(*arguments).lower(lowering_platforms=("cuda",))
                self.lowered[name] = len(for_cuda.as_text())
            leaves = jax.tree.leaves(arguments)
            self.given += [leaf.nbytes for leaf in leaves if isinstance(leaf, np.ndarray)]
            return function(*arguments)

        return call

    def take(self) -> dict[str, list[int]]:
        """What was counted since the last time."""
        seen = {"given": sorted(self.given), "read": sorted(self.read)}
        self.given, self.read = [], []
        return seen


def large() -> dict[str, int]:
    """Bytes of the arrays that live on each device, without the small ones that every model has."""
    found: dict[str, int] = collections.defaultdict(int)
    for array in jax.live_arrays():
        if array.nbytes > 8192:
            for device in array.devices():
                found[str(device)] += array.nbytes
    return dict(found)


def walk(model: str, device: str, rank: int) -> dict[str, Any]:
    """A full evaluation, trials of which every second one is kept, and a full evaluation again."""
    draw = np.random.default_rng(3)
    x = SPACING * SITES + draw.uniform(-0.1, 0.1, (N**3, 3))
    species = draw.integers(0, 2, N**3).astype(np.int32)
    moved = Moved()
    session.np = moved  # type: ignore[assignment]
    opened = Session(model, ["Ni", "H"], "metal", device, node_rank=rank)
    opened._kernels = copy.copy(opened._kernels)  # others use the same
    moved.watch(opened._kernels)
    opened._update = opened._kernels.update
    shown = rows(x, species)
    seen: dict[str, Any] = {"rows": {name: array.nbytes for name, array in shown.items()}}
    seen["energy"] = [opened.full(ShownRows(**shown))[0]]
    seen["full"] = moved.take()
    seen["settled"] = large()
    seen["trials"], seen["sound"] = [], []
    accepted = False
    for trial, atom in enumerate(INSIDE):
        to = x[atom] + draw.uniform(-0.4, 0.4, 3)
        energy, _, sound = opened.update(settled=accepted, **change(x, species, atom, to))
        seen["energy"].append(energy)
        seen["sound"].append(sound)
        seen["trials"].append(moved.take())
        accepted = trial % 2 == 0
        if accepted:
            x[atom] = to
    seen["tried"] = large()
    shown = rows(x, species)
    energies, given = np.zeros(N**3), ShownRows(**shown)
    energy, squares = opened.full(given, keep=False, forces=True, atom_energy=energies)
    seen["energy"].append(energy)
    seen["forces"] = moved.take()
    seen["per_atom"] = [float(np.sum(energies**2)), float(np.sum(given.gradient**2))]
    assert np.isclose(squares, seen["per_atom"][0], rtol=1e-12)
    seen["lowered"] = moved.lowered
    return seen


def main(model: str) -> None:
    devices, local_devices = jax.devices("cpu"), jax.local_devices
    assert len(devices) == 2

    def answer(process_index: Any = None, backend: Any = None, host_id: Any = None) -> Any:
        return devices if backend == "gpu" else local_devices(process_index, backend, host_id)

    jax.local_devices = answer
    seen = {}
    for device, rank in (("cpu", 0), ("gpu", 1), ("gpu", 2)):
        seen[f"{device} {rank}"] = walk(model, device, rank)
    jax.config.update("jax_default_device", devices[1])  # as a script that uses JAX itself may
    seen["cpu 0 of a host"] = walk(model, "cpu", 0)
    print(json.dumps(seen))


main(sys.argv[1])
