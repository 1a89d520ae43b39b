"""The neural model of all benchmarks: an edge network 16 -> 64 -> 32, a readout 64 -> 64 -> 1.

Its weights are random and its energies small, so that Monte Carlo accepts most of what it tries:
what costs time is the size of the networks, not what they learned.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

# of an edge's matrix products and of their adjoints, multiplications and additions
OPERATIONS = 2 * 2 * (16 * 64 + 64 * 32)
CUTOFF = 5.3  # 54 neighbours in fcc nickel, and what hydrogen there is


def functions(precision: str = "64bit", scale: float = 1.0):
    """node_init, edge and readout of the model, as `export_model` takes them; energies by scale."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    dtype = jnp.float32 if precision == "32bit" else jnp.float64
    random = np.random.default_rng(0)

    def weights(*shape: int):
        return jnp.asarray(random.normal(size=shape) / np.sqrt(shape[0]), dtype)

    embedding = weights(119, 32)
    first, second = weights(16, 64), weights(64, 32)
    third, last = weights(64, 64), scale * 1e-3 * weights(64)
    centres = jnp.asarray(np.linspace(0.8, CUTOFF, 16), dtype)

    def node_init(atomic_numbers):
        return embedding[atomic_numbers]

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=-1)
        distance = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        envelope = jnp.where(distance < CUTOFF, 1 - (distance / CUTOFF) ** 2, 0.0) ** 3
        basis = jnp.exp(-4 * (distance[:, None] - centres) ** 2)  # -> [e, 16]
        return jnp.tanh(basis @ first) @ second * h_j * envelope[:, None]  # -> [e, 32]

    def readout(h, message_sums):
        return jnp.tanh(jnp.concatenate([h, message_sums], axis=1) @ third) @ last

    return node_init, edge, readout


def write(path: Path, precision: str = "64bit", scale: float = 1.0) -> Path:
    """The model as a file; written by another process, because a session sets JAX up as it wants
    it, and cannot where JAX has run before."""
    subprocess.check_call([sys.executable, __file__, path, precision, str(scale)])
    return path


if __name__ == "__main__":
    from mliap_local import export_model

    file, bits, scale = sys.argv[1:]
    functions_ = functions(bits, float(scale))
    export_model(file, *functions_, cutoff=CUTOFF, elements=["Ni", "H"], precision=bits)
