"""How far message sums are from those that a model was trained on."""

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

#: Spread of a direction that the training hardly varied, beside the widest direction's.
_LEAST_SPREAD = 1e-3


def training_grade(
    init: Callable[..., Any], edge: Callable[..., Any], cutoff: float, structures: Iterable[Any]
) -> Callable[..., Any]:
    """The `grade` of `export_model` for any model: a distance from the message sums of training.

    Atoms with one embedding are one kind, such as an element. For each kind, message sums are
    measured from their mean in units of their spread along their principal axes (Mahalanobis'
    distance), and divided by the largest distance of the training: 1 is the farthest atom there. A
    kind that the training has not is at infinity.

    Args:
      init, edge: of the model, see `ModelFunctions`.
      cutoff: unit of length.
      structures: ASE's Atoms that the model was trained on; needs vesin.

    Returns:
      `float[n, d], float[n, m] -> float[n]`, to be exported.

    Raises:
      ValueError: no structures.
    """
    from vesin import ase_neighbor_list

    embeddings, sums = [], []
    for atoms in structures:
        i, j, r_ij = ase_neighbor_list("ijD", atoms, cutoff)
        h = np.asarray(init(jnp.asarray(atoms.numbers)))
        total = np.zeros((len(h), np.shape(edge(h[:1], h[:1], np.full((1, 3), cutoff)))[1]))
        if len(i):
            np.add.at(total, i, np.asarray(edge(h[i], h[j], jnp.asarray(r_ij, h.dtype))))
        embeddings.append(h)
        sums.append(total)
    if not embeddings:
        raise ValueError("training_grade: expected structures, got none")
    h, m = np.concatenate(embeddings), np.concatenate(sums)
    kinds, kind = np.unique(h, axis=0, return_inverse=True)
    means, axes = [], []
    for k in range(len(kinds)):
        of = m[kind.reshape(-1) == k]
        mean = of.mean(axis=0)
        _, spread, directions = np.linalg.svd(of - mean, full_matrices=False)
        spread = spread / np.sqrt(len(of))
        # what never varied is an axis too
        rest = np.eye(m.shape[1]) - directions.T @ directions
        widest = max(spread.max(initial=0.0), np.finfo(float).tiny)
        scaled = directions / np.maximum(spread, _LEAST_SPREAD * widest)[:, None]
        whole = np.concatenate([scaled, rest / (_LEAST_SPREAD * widest)])
        farthest = np.linalg.norm((of - mean) @ whole.T, axis=1).max()
        means.append(mean)
        axes.append(whole.T / max(farthest, np.finfo(float).tiny))

    def grade(h, message_sums):
        kinds_, means_, axes_ = (jnp.asarray(a, message_sums.dtype) for a in (kinds, means, axes))
        grades = jnp.stack(
            [
                jnp.linalg.norm((message_sums - mean) @ whole, axis=1)
                for mean, whole in zip(means_, axes_, strict=True)
            ]
        )
        same = jnp.all(jnp.abs(h[None] - kinds_[:, None]) < 1e-6, axis=2)  # [kinds, n]
        return jnp.where(
            jnp.any(same, axis=0), jnp.sum(jnp.where(same, grades, 0), axis=0), jnp.inf
        )

    return grade
