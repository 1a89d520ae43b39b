"""Models of DeePMD-kit against its numpy backend: random ones of several shapes.

`rows()` evaluates both on the same structures and yields how far apart they are; a table of all
families is printed from it. DeePMD-kit itself runs in another process, see deepmd_models.py.
Asserts nothing.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from oracle_ace import Batch
from oracle_nep import structures

from mliap_local.models import atomic_numbers
from mliap_local.models.deepmd import deepmd
from mliap_local.models.deepmd_files import DeepPotential, read_deepmd

#: Where `make test` puts deepmd-kit; see the Makefile.
INSTALLED = Path(sys.prefix) / "deepmd"


def script(descriptors: list[dict], elements: str = "Ni H", **fitting) -> dict:
    """The input script of a small model; one descriptor or a hybrid of several."""
    common = {"rcut_smth": 1.5, "rcut": 4.5, "neuron": [8, 16, 32], "precision": "float64"}
    n = len(elements.split())
    made = []
    for k, given in enumerate(descriptors):
        descriptor = {**common, "seed": k, "type": "se_e2_a", **given}
        if descriptor["type"] in ("se_atten", "se_atten_v2"):
            descriptor |= {"sel": 100 * n, "attn_layer": 0, "set_davg_zero": True}
        descriptor.setdefault("sel", [100] * n)
        if descriptor["type"] != "se_e2_r":
            descriptor.setdefault("axis_neuron", 4)
        made.append(descriptor)
    net = {"neuron": [24, 24], "seed": 3, "precision": "float64", **fitting}
    one = made[0] if len(made) == 1 else {"type": "hybrid", "list": made}
    return {"type_map": elements.split(), "descriptor": one, "fitting_net": net}


ATTENTION = {"type": "se_atten", "tebd_dim": 4}
MODELS = {
    "se_e2_a.dp": {"script": script([{}])},
    "se_e2_a.yaml": {"script": script([{"neuron": [4, 8]}]), "changes": {"shifted": False}},
    "pairs.dp": {
        "script": script(
            [
                {
                    "type_one_side": False,
                    "resnet_dt": True,
                    "activation_function": "gelu",
                    "env_protection": 0.1,
                }
            ],
            "Ni Al H",
            resnet_dt=False,
        )
    },
    "excluded.dp": {
        "script": script([{"rcut": 4.4, "exclude_types": [[0, 1]], "activation_function": "silu"}])
    },
    "excluded_pairs.dp": {
        "script": script(
            [
                {
                    "exclude_types": [[0, 1], [2, 2]],
                    "type_one_side": False,
                    "activation_function": "softplus",
                }
            ],
            "Ni Al H",
        )
    },
    "one.dp": {
        "script": script([{"neuron": [1, 2, 4, 4], "resnet_dt": True}], "W", neuron=[16, 16, 16])
    },
    "blind.dp": {"script": script([{"sel": [100, 0, 100]}], "Ni Al H")},
    "se_e2_r.dp": {
        "script": script(
            [{"type": "se_e2_r", "activation_function": "sigmoid"}], activation_function="silut:3.0"
        )
    },
    "se_e2_r_excluded.dp": {"script": script([{"type": "se_e2_r", "exclude_types": [[0, 0]]}])},
    "se_atten.dp": {"script": script([ATTENTION], activation_function="custom_silu:2.0")},
    "se_atten_strip.dp": {
        "script": script([{**ATTENTION, "tebd_input_mode": "strip", "exclude_types": [[0, 1]]}])
    },
    "se_atten_strip_one_side.dp": {
        "script": script(
            [
                {
                    **ATTENTION,
                    "tebd_input_mode": "strip",
                    "type_one_side": True,
                    "smooth_type_embedding": False,
                    "concat_output_tebd": False,
                    "use_tebd_bias": True,
                }
            ],
            "Ni Al H",
        )
    },
    "se_atten_v2.dp": {"script": script([{**ATTENTION, "type": "se_atten_v2"}])},
    "hybrid.dp": {
        "script": script(
            [
                {"exclude_types": [[0, 1]], "rcut": 3.6},  # jumps at 4.4, the others' rcut
                {"type": "se_e2_r", "rcut": 4.4},
                {"type_one_side": False, "rcut": 4.4},
            ]
        )
    },
    "hybrid_se_atten.dp": {"script": script([{**ATTENTION, "rcut": 4.0}, {}])},
    "energies.dp": {
        "script": {
            **script([{}], "Ni Al H", atom_ener=[0.3, None], activation_function="relu6"),
            "pair_exclude_types": [[0, 2]],
            "atom_exclude_types": [2],
        },
        "differentiable": False,  # it has kinks
    },
    "energies_se_atten.dp": {
        "script": script([{**ATTENTION, "activation_function": "relu"}], atom_ener=[None, 0.2]),
        "differentiable": False,
    },
    "narrow.dp": {"script": script([{"sel": [3, 3]}]), "differentiable": False},
    "single.dp": {
        "script": script([{"precision": "float32"}], precision="float32"),
        "differentiable": False,
    },
}

# names of places in the list of elements only
PLACES = ("Mn", "Fe", "Co", "Ni", "Cu", "Zn")


def tried() -> dict[str, Atoms]:
    """Crystals, small cells, dimers, single atoms; an element is its place modulo their number."""
    return structures(PLACES, 4.5)


def run(
    folder: Path,
    models: dict,
    tried: dict[str, Atoms] | None = None,
    derived: Iterable[str] = ("compressed", "self-images", "dimer 2"),
) -> None:
    """Let DeePMD-kit write models into a folder, and evaluate them there if there are structures:
    energies of atoms, and of those `derived` forces on two atoms and virials.

    Raises:
      RuntimeError: it is not installed, or fails.
    """
    if not (INSTALLED / "deepmd").is_dir():
        raise RuntimeError(f"{INSTALLED} has no deepmd-kit: `make test` installs it")
    (folder / "models.json").write_text(json.dumps(models))
    if tried:
        arrays = {}
        for name, atoms in tried.items():
            arrays[f"{name}/positions"] = atoms.positions
            arrays[f"{name}/box"] = atoms.cell.array
            arrays[f"{name}/types"] = np.array([PLACES.index(s) for s in atoms.symbols])
            arrays[f"{name}/moved"] = np.arange(2 * (name in derived))
        np.savez(folder / "structures.npz", **arrays)
    command = [sys.executable, str(Path(__file__).with_name("deepmd_models.py")), str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(INSTALLED), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"deepmd-kit failed:\n{done.stderr[-3000:]}")


def ours(
    potential: DeepPotential, tried: dict[str, Atoms], real: type = np.float64
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Energies of atoms, forces and virials of all structures, evaluated at once."""
    functions = deepmd(potential)
    batch = Batch(list(tried.values()), potential.cutoff)
    places = np.array([PLACES.index(s) for atoms in tried.values() for s in atoms.symbols])
    numbers = np.array(atomic_numbers(potential.elements))[places % len(potential.elements)]
    numbers = numbers.astype(np.int64 if real is np.float64 else np.int32)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def evaluate(r):
        h = functions.node_init(jnp.asarray(numbers))
        messages = functions.edge(h[batch.i], h[batch.j], r)
        energies = functions.readout(h, jax.ops.segment_sum(messages, batch.i, len(numbers)))
        assert energies.dtype == real
        return energies.sum(), energies

    gradient, energies = map(np.asarray, evaluate(jnp.asarray(batch.r, real)))
    forces = np.zeros((len(numbers), 3))
    np.add.at(forces, batch.i, gradient)
    np.add.at(forces, batch.j, -gradient)
    found = {}
    for k, name in enumerate(tried):
        own, edge = (slice(*starts[k : k + 2]) for starts in (batch.first, batch.start))
        found[name] = energies[own], forces[own], -batch.r[edge].T @ gradient[edge]
    return found


def differences(found, path: Path) -> tuple[float, float, float]:
    """Largest of energies of atoms, forces and virials, relative to the largest of their kind."""
    expected = np.load(f"{path}.npz")
    largest, scale = np.zeros(3), np.zeros(3)
    for name, values in found.items():
        for k, kind in enumerate(("energies", "forces", "virial")):
            if (key := f"{name}/{kind}") in expected:
                right = expected[key]
                got = values[k][: len(right)]
                largest[k] = max(largest[k], np.abs(got - right).max())
                scale[k] = max(scale[k], np.abs(right).max())
    energy, force, virial = largest / np.maximum(scale, 1e-9)
    return float(energy), float(force), float(virial)


def rows() -> Iterator[tuple[str, str, float, float, float]]:
    """Potential, oracle, and the largest relative difference of energies, forces and pressure."""
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as name:
        folder, systems = Path(name), tried()
        run(folder, MODELS, systems)
        for model in MODELS:
            if model == "narrow.dp":  # another rule: see docs/potentials.md
                continue
            found = ours(read_deepmd(folder / model), systems)
            yield (model, "deepmd-kit", *differences(found, folder / model))


if __name__ == "__main__":
    for row in rows():
        print("{:30} {} E {:.1e} F {:.1e} W {:.1e}".format(*row), flush=True)
