"""Makes models of DeePMD-kit and evaluates them with its numpy backend. Run by oracle_deepmd.py in
a process of its own, with the folder that `make test` installs deepmd-kit into in PYTHONPATH: where
deepmd-kit can be imported, `import lammps` loads its plugin too.

    python deepmd_models.py FOLDER

reads FOLDER/models.json, file names with input script and changes, and writes those files; and
evaluates each on FOLDER/structures.npz, if there is one, into FOLDER/NAME.npz. Imports nothing of
this package.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
from deepmd.dpmodel.model.base_model import BaseModel
from deepmd.dpmodel.model.model import get_model
from deepmd.dpmodel.utils.serialization import load_dp_model, save_dp_model

# a five-point formula: error 3e-11 of the fifth derivative
STEP, WEIGHTS = 3e-4, {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}


def make(path: Path, script: dict, changes: dict) -> None:
    """Write a model with the weights that deepmd-kit begins a training with, and statistics and
    energies as a training leaves them."""
    model = get_model(script).serialize()
    draw = np.random.default_rng(changes.get("seed", 5)).uniform
    n = len(script["type_map"])
    descriptor = model["descriptor"]
    for part in descriptor.get("list") or [descriptor]:
        shift, scale = (part["@variables"][key] for key in ("davg", "dstd"))
        embedded = part["type"] in ("dpa1", "se_atten_v2")
        sel = [sum(part["sel"])] if embedded else part["sel"]
        ends = np.cumsum([0, *sel])
        for i in range(n):
            for start, end in itertools.pairwise(ends):
                if not embedded and changes.get("shifted", True):
                    shift[i, start:end, 0] = draw(0.02, 0.1)
                scale[i, start:end, 0] = draw(0.1, 0.2)
                scale[i, start:end, 1:] = draw(0.06, 0.1)
    model["fitting"]["@variables"]["bias_atom_e"][:] = draw(-3, -1, (n, 1))
    model["@variables"]["out_bias"][:] = draw(-1, 1, (1, n, 1))
    save_dp_model(str(path), {"model": model})


def evaluate(
    path: Path, structures: dict[str, np.ndarray], differentiable: bool
) -> dict[str, np.ndarray]:
    """Energies of atoms, and where some atoms are to be moved, forces on them and virials."""
    model = BaseModel.deserialize(load_dp_model(str(path))["model"])
    n_types = len(model.get_type_map())
    found = {}
    for name in sorted({key.split("/")[0] for key in structures}):
        positions, box, types, moved = (
            structures[f"{name}/{key}"] for key in ("positions", "box", "types", "moved")
        )

        def energies(positions, boxes, types=types % n_types):
            n_frames = len(positions)
            out = model.call(
                positions.reshape(n_frames, -1),
                np.tile(types, (n_frames, 1)),
                boxes.reshape(n_frames, 9),
            )
            return np.asarray(out["atom_energy"]).reshape(n_frames, -1)

        found[f"{name}/energies"] = energies(positions[None], box[None])[0]
        if not len(moved) or not differentiable:
            continue
        frames, boxes = [], []
        for step in WEIGHTS:
            for atom in moved:
                for direction in np.eye(3):
                    frames.append(positions.copy())
                    frames[-1][atom] += direction * step * STEP
                    boxes.append(box)
            for k in range(9):
                strain = np.eye(3)
                strain.flat[k] += step * STEP
                frames.append(positions @ strain)
                boxes.append(box @ strain)
        totals = energies(np.array(frames), np.array(boxes)).sum(axis=1)
        slopes = np.array(list(WEIGHTS.values())) @ totals.reshape(len(WEIGHTS), -1) / STEP
        found[f"{name}/forces"] = -slopes[:-9].reshape(-1, 3)
        found[f"{name}/virial"] = -slopes[-9:].reshape(3, 3)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    structures = folder / "structures.npz"
    for name, model in json.loads((folder / "models.json").read_text()).items():
        path = folder / name
        make(path, model["script"], model.get("changes", {}))
        if structures.exists():
            results = evaluate(path, dict(np.load(structures)), model.get("differentiable", True))
            np.savez(folder / f"{name}.npz", **results)


if __name__ == "__main__":
    main()
