"""The universal repulsion of Ziegler, Biersack and Littmark, switched off as in LAMMPS's pair_style
zbl, as one more column of another family's message.

    V(r) = k Z_i Z_j / r phi(r / a),    a = 0.46850 / (Z_i^0.23 + Z_j^0.23)

Source: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (1985);
switching: LAMMPS manual, pair_style zbl. Metal units. Pure.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

_COULOMB = 14.399645  # e^2 / (4 pi epsilon_0) in eV Angstrom, as LAMMPS has it
_POWER, _LENGTH = 0.23, 0.46850
_FACTORS = (0.02817, 0.28022, 0.50986, 0.18175)
_EXPONENTS = (0.20162, 0.40290, 0.94229, 3.19980)


class Zbl(NamedTuple):
    """The repulsion between n elements: below `inner` as it is but for a constant, from there to
    `outer` with a cubic in the force, so that energy, force and slope of the force end at zero."""

    inner: float  #: Angstrom
    outer: float
    #: `[n, n, 5]`: k Z_i Z_j, 1 / a, constant, factors of (r - inner)^3 and (r - inner)^4
    pairs: np.ndarray


def read_words(words: Sequence[str], elements: Sequence[str]) -> Zbl:
    """Read `inner outer El=Z ...`, as the command line has it.

    Raises:
      ValueError: not two distances, 0 <= inner < outer, and one charge for each element.
    """
    expected = f"inner outer {' '.join(f'{element}=Z' for element in elements)}"
    try:
        inner, outer = (float(word) for word in words[:2])
        pairs = [word.split("=") for word in words[2:]]
        charges = {element: float(charge) for element, charge in pairs}
    except ValueError:
        found = " ".join(words)
        raise ValueError(f"--zbl: expected {expected}, found {found[:200]!r}") from None
    if not 0 <= inner < outer < math.inf:
        raise ValueError(f"--zbl: expected 0 <= inner < outer, found {inner:g} and {outer:g}")
    if len(charges) != len(pairs) or set(charges) != set(elements):
        raise ValueError(f"--zbl: expected {expected}, found {' '.join(words[2:])!r}")
    if not all(0 < charge < 1000 for charge in charges.values()):
        raise ValueError(f"--zbl: expected charges above 0, found {' '.join(words[2:])!r}")
    return zbl(inner, outer, [charges[element] for element in elements])


def zbl(inner: float, outer: float, charges: Sequence[float]) -> Zbl:
    """Make the constants for nuclear charges, n of them."""
    n = len(charges)
    pairs = np.empty((n, n, 5))
    width = outer - inner
    for i in range(n):
        for j in range(n):
            strength = _COULOMB * charges[i] * charges[j]
            inverse = (charges[i] ** _POWER + charges[j] ** _POWER) / _LENGTH
            # energy and its two derivatives at `outer`, term by term
            value = slope = curvature = 0.0
            for factor, exponent in zip(_FACTORS, _EXPONENTS, strict=True):
                rate = exponent * inverse
                term = strength * factor * math.exp(-rate * outer) / outer
                value += term
                slope -= term * (rate + 1 / outer)
                curvature += term * (rate**2 + 2 * rate / outer + 2 / outer**2)
            constant = -value + width * slope / 2 - width**2 * curvature / 12
            cubic = (-3 * slope + width * curvature) / width**2 / 3
            quartic = (2 * slope - width * curvature) / width**3 / 4
            pairs[i, j] = strength, inverse, constant, cubic, quartic
    return Zbl(inner, outer, pairs)


def half_energy(zbl: Zbl, pair: Array, distance: Array) -> Array:
    """Return half of each pair's energy, [e]; the other half is the other atom's.

    Args:
      pair: place in the flattened `pairs`, i * n + j, [e].
      distance: [e], positive; nothing is there from `outer` on.
    """
    table = jnp.asarray(zbl.pairs.reshape(-1, 5), distance.dtype)
    strength, inverse, constant, cubic, quartic = (table[:, k][pair] for k in range(5))
    screening = sum(
        factor * jnp.exp(-exponent * inverse * distance)
        for factor, exponent in zip(_FACTORS, _EXPONENTS, strict=True)
    )
    x = jnp.maximum(distance - zbl.inner, 0)
    energy = strength / distance * screening + constant + x * x * x * (cubic + quartic * x)
    return jnp.where(distance < zbl.outer, 0.5 * energy, 0)
