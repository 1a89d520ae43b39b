"""The 12-6 Lennard-Jones potential, for one element or a mixture, in any units.

Source: J. E. Jones, Proc. R. Soc. A 106, 463 (1924). Truncation as in LAMMPS: `shift="none"` is
pair_style lj/cut, `"energy"` is lj/cut with `pair_modify shift yes`, `"force"` is lj/smooth/linear
(S. Toxvaerd, J. C. Dyre, J. Chem. Phys. 134, 081102 (2011)). The functions do not truncate: who
calls them makes no edge beyond the cutoff. Pure: no files, no state.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions
from .places import embedding, place_of

#: What may be done about the step of the energy at the cutoff.
SHIFTS = ("none", "energy", "force")
_JUMPS = {
    "none": "as in lj/cut; --shift energy or force takes it away",
    "energy": "as in lj/cut with pair_modify shift yes; --shift force takes it away",
    "force": "nothing should",
}


def add_arguments(parser):
    """Arguments of `mliap-local convert lj`."""
    parser.add_argument("--element", required=True, help="symbol, such as Ar")
    parser.add_argument("--epsilon", type=float, required=True, help="depth of the well, energy")
    parser.add_argument("--sigma", type=float, required=True, help="where phi is zero, length")
    parser.add_argument("--cutoff", type=float, required=True, help="length, not in units of sigma")
    parser.add_argument(
        "--shift",
        choices=SHIFTS,
        default="none",
        help="made zero at the cutoff: nothing (lj/cut), the energy (pair_modify shift yes), "
        "the force too (lj/smooth/linear)",
    )
    parser.add_argument("--units", choices=("metal", "real", "lj"), default="metal")


def convert(options) -> Converted:
    """Take what `options` say.

    Raises:
      ValueError: as `lj`, and a cutoff that looks like a multiple of sigma.
    """
    if 0 < options.cutoff <= options.sigma:
        raise ValueError(
            f"cutoff is {options.cutoff:g}, sigma {options.sigma:g}: expected a cutoff beyond "
            "sigma; it is a length, not a multiple of sigma"
        )
    return Converted(
        functions=lj(
            [options.element], options.epsilon, options.sigma, options.cutoff, options.shift
        ),
        cutoff=options.cutoff,
        elements=(options.element,),
        units=options.units,
        source=f"Lennard-Jones 12-6, epsilon {options.epsilon:g}, sigma {options.sigma:g}, "
        f"cutoff {options.cutoff:g}, shift {options.shift}",
        jump=_JUMPS[options.shift],
    )


def lj(
    elements: Sequence[str],
    epsilon: Any,
    sigma: Any,
    cutoff: float,
    shift: str = "none",
) -> ModelFunctions:
    """Make the functions of `phi(r) = 4 epsilon ((sigma/r)^12 - (sigma/r)^6)`, truncated.

    The embedding is one column, the element's place in `elements`. The message is one column, half
    the pair's energy; the readout is its sum. Atoms of other elements do not interact.

    Args:
      elements: symbols, `n` of them.
      epsilon: depth of the well, unit of energy; a number, or a symmetric `[n, n]` array.
      sigma: where the energy crosses zero, unit of length; a number, or a symmetric `[n, n]` array.
      cutoff: unit of length, the same for all pairs; the shifts are made there.
      shift: `"none"`, `"energy"` (phi is zero at the cutoff) or `"force"` (and its derivative).

    Raises:
      ValueError: unknown elements or shift, parameters that are not positive numbers (epsilon may
        be zero) or whose array is not symmetric `[n, n]`.
    """
    node_init = embedding(elements)
    if shift not in SHIFTS:
        raise ValueError(f"unknown shift {shift!r}: expected one of {', '.join(SHIFTS)}")
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"cutoff is {cutoff!r}: expected a positive length")
    n_elements = len(elements)
    epsilon = _pair_matrix("epsilon", epsilon, n_elements, zero_allowed=True)
    sigma = _pair_matrix("sigma", sigma, n_elements, zero_allowed=False)
    pairs = _coefficients(epsilon, sigma, cutoff, shift).reshape(-1, 4)  # -> [n * n, 4]

    def edge(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        square = jnp.sum(r_ij * r_ij, axis=-1)  # -> [e]
        # The square is replaced before it is divided by, not only after: the gradient of a
        # branch that is not taken must be finite too.
        valid = (square > 0) & (i >= 0) & (j >= 0)
        square = jnp.where(valid, square, cutoff * cutoff)
        pair = jnp.where(valid, i * n_elements + j, 0)
        repulsion, attraction, constant, slope = jnp.asarray(pairs, r_ij.dtype)[pair].T
        inverse_6 = 1 / (square * square * square)
        energy = inverse_6 * (repulsion * inverse_6 - attraction) + constant
        if shift == "force":
            energy = energy + slope * (jnp.sqrt(square) - cutoff)
        return jnp.where(valid, 0.5 * energy, 0)[:, None]  # -> [e, 1]

    def readout(h, messages):
        return messages[:, 0]

    return ModelFunctions(node_init, edge, readout)


def _coefficients(epsilon, sigma, cutoff, shift):
    """Return repulsion, attraction, constant and slope of each pair, [n, n, 4]."""
    repulsion = 4.0 * epsilon * sigma**12
    attraction = 4.0 * epsilon * sigma**6
    inverse_6 = 1.0 / cutoff**6
    at_cutoff = inverse_6 * (repulsion * inverse_6 - attraction)
    slope_at_cutoff = -inverse_6 * (12.0 * repulsion * inverse_6 - 6.0 * attraction) / cutoff
    constant = np.zeros_like(at_cutoff) if shift == "none" else -at_cutoff
    slope = -slope_at_cutoff if shift == "force" else np.zeros_like(at_cutoff)
    return np.stack([repulsion, attraction, constant, slope], axis=-1)


def _pair_matrix(name, values, n_elements, *, zero_allowed):
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is {values!r}: expected a number or an array of numbers"
        ) from None
    if matrix.shape not in ((), (n_elements, n_elements)):
        raise ValueError(
            f"{name} has shape {matrix.shape}: expected a number or [{n_elements}, {n_elements}], "
            "one value for each pair of elements"
        )
    matrix = np.broadcast_to(matrix, (n_elements, n_elements))
    if not np.array_equal(matrix, matrix.T):
        raise ValueError(f"{name} is not symmetric: expected the same value for i, j and j, i")
    positive = matrix >= 0 if zero_allowed else matrix > 0
    if not (np.all(np.isfinite(matrix)) and np.all(positive)):
        raise ValueError(f"{name} is {values!r}: expected positive finite numbers")
    return matrix
