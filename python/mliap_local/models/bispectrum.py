"""Bispectrum components of a neighbourhood without Wigner matrices or Clebsch-Gordan coefficients.

A neighbour is a unit quaternion q with a strength f, and

    rho_j(g) = sum_neighbours f chi_j(g . q)           chi_j: Chebyshev polynomials, second kind
    B_{j1 j2 j} = (j + 1) integral over the unit quaternions g of rho_j1 rho_j2 rho_j

because chi_j(g . q) is the trace of D_j(g)^H D_j(q), and the trace of a product of three D's
integrates to the Clebsch-Gordan coefficients. Polynomials of bounded degree integrate exactly with
a few hundred points g. The chi_j(g . q) of one parity are linear in the monomials of q of one
degree: a message is these monomials, and everything that is not linear in it waits for the sum.

Source of the components: A. P. Bartok, M. C. Payne, R. Kondor, G. Csanyi, Phys. Rev. Lett. 104,
136403 (2010). Pure; knows neither distances nor elements.
"""

from collections.abc import Sequence
from math import comb
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def triples(order: int) -> list[tuple[int, int, int]]:
    """Return the (j1, j2, j) of the components up to 2J = `order`, as LAMMPS has them in turn."""
    return [
        (j1, j2, j)
        for j1 in range(order + 1)
        for j2 in range(j1 + 1)
        for j in range(j1 - j2, min(order, j1 + j2) + 1, 2)
        if j >= j1
    ]


def degrees(order: int) -> tuple[int, ...]:
    """Return the degrees of the monomials: one of each parity."""
    return (order, order - 1) if order else (0,)


def width(order: int) -> int:
    """Return the number of monomials."""
    return sum(comb(degree + 3, 3) for degree in degrees(order))


# The monomials of one neighbour, and their adjoint


def monomials(q: Sequence[Array], strength: Array, order: int) -> Array:
    """Return `strength` times the monomials of the four components of q, [e, width].

    The first degree of `degrees` before the second, each in the order of `_exponents`.

    Those of one degree are x times all of the degree before, y times those of them without x, z
    times those without x and y, and the power of w: four products of rows that lie side by side.
    Without barriers XLA computes each degree again for each of the next.
    """
    levels = [strength[:, None]]
    for degree in range(order):
        before = levels[-1]
        tails = (comb(degree + 3, 3), comb(degree + 2, 2), degree + 1, 1)
        parts = [
            component[:, None] * before[:, before.shape[1] - tail :]
            for component, tail in zip(q, tails, strict=True)
        ]
        levels.append(jax.lax.optimization_barrier(jnp.concatenate(parts, axis=1)))
    return jnp.concatenate([levels[degree] for degree in degrees(order)], axis=1)


def monomials_adjoint(
    q: Sequence[Array], strength: Array, cotangent: Array, order: int
) -> tuple[tuple[Array, ...], Array]:
    """Return what `cotangent` [e, width] makes of the components of q, four [e], and of strength.

    The polynomial `sum cotangent * monomials` is differentiated by the powers of (x, y) and of
    (z, w) first, which JAX's own adjoint would not do; the edges come last here, so that every
    operation runs along them.
    """
    cotangent = cotangent.T  # -> [width, e]
    first, second = _powers(q[0], q[1], order), _powers(q[2], q[3], order)
    first, second = jax.lax.optimization_barrier((first, second))
    by_first: list[list[Any]] = [[0] * (degree + 1) for degree in range(order + 1)]
    by_second: list[Any] = [0] * (order + 1)
    start = 0
    for degree in degrees(order):
        for power in range(degree, -1, -1):
            for k in range(degree - power, -1, -1):
                # x^power y^k times all powers of (z, w) of the degree that is left
                left = degree - power - k
                part = cotangent[start : start + left + 1]
                start += left + 1
                by_first[power + k][k] += sum(map(jnp.multiply, part, second[left]))
                by_second[left] += part * first[power + k][k]
    by_first, by_second = jax.lax.optimization_barrier((by_first, by_second))
    value = sum(
        power * slope
        for powers, slopes in zip(first, by_first, strict=True)
        for power, slope in zip(powers, slopes, strict=True)
    )
    slopes = (*_slopes(first, by_first), *_slopes(second, by_second))
    return tuple(strength * slope for slope in slopes), jnp.asarray(value)


def _powers(x: Array, y: Array, degree: int) -> list[Array]:
    """Return x^p, x^(p-1) y, ..., y^p, [p + 1, e], for each p up to `degree`."""
    powers = [jnp.ones_like(x)[None]]
    for _ in range(degree):
        last = powers[-1]
        powers.append(jnp.concatenate([last * x, last[-1:] * y]))
    return powers


def _slopes(powers, cotangents):
    """Return the derivatives by x and y of sum cotangents * powers."""
    x, y = jnp.zeros_like(powers[0][0]), jnp.zeros_like(powers[0][0])
    for p in range(1, len(powers)):
        for k in range(p):
            x += (p - k) * powers[p - 1][k] * cotangents[p][k]
            y += (k + 1) * powers[p - 1][k] * cotangents[p][k + 1]
    return x, y


# Sums over neighbours to components


class Grid(NamedTuple):
    """Constants of one order: n_g points, and the monomials in two steps.

    The monomials of a degree become as many coefficients, (j + 1)^2 of them for each j of its
    parity, and those become rho_j at the points; the two steps cost less than one.
    """

    order: int
    weights: np.ndarray  #: [n_g]
    #: for each degree, [monomials, coefficients]
    to_coefficients: list[np.ndarray]
    #: for each j, [(j + 1)^2, n_g]
    to_points: list[np.ndarray]
    #: for each j: which of the degrees, and which of its coefficients
    places: list[tuple[int, slice]]
    alone: np.ndarray  #: [width]: monomials of q = (1, 0, 0, 0), which the atom itself adds


def grid(order: int) -> Grid:
    """Make the constants.

    The matrix from monomials to rho_j has rank (j + 1)^2; its singular vectors are the two steps.
    """
    points, weights = _points(order)
    to_coefficients, alone = [], []
    to_points: list[np.ndarray] = [np.empty(0)] * (order + 1)
    places: list[tuple[int, slice]] = [(0, slice(0))] * (order + 1)
    characters = _characters(points, order)
    for which, degree in enumerate(degrees(order)):
        steps, start = [], 0
        for j in range(degree % 2, degree + 1, 2):
            matrix, rank = characters[j], (j + 1) ** 2
            steps.append(np.linalg.eigh(matrix.T @ matrix)[1][:, -rank:])
            to_points[j] = (matrix @ steps[-1]).T
            places[j] = (which, slice(start, start + rank))
            start += rank
        to_coefficients.append(np.concatenate(steps, axis=1))
        alone.append([float(exponents[0] == degree) for exponents in _exponents(degree)])
    return Grid(order, weights, to_coefficients, to_points, places, np.concatenate(alone))


def _exponents(degree):
    """Return the exponents of x, y, z, w of all monomials of a degree, the largest first."""
    return [
        (a, b, c, degree - a - b - c)
        for a in range(degree, -1, -1)
        for b in range(degree - a, -1, -1)
        for c in range(degree - a - b, -1, -1)
    ]


def _characters(points, order):
    """Return, for each j, the matrix [n_g, monomials] of chi_j(g . q) for |q| = 1.

    chi_{j+1}(x) = 2 x chi_j(x) - chi_{j-1}(x), homogeneous by factors |q|^2 = 1; in the end of the
    degree of their parity.
    """
    places = [
        {exponents: place for place, exponents in enumerate(_exponents(degree))}
        for degree in range(order + 2)
    ]

    def times_component(matrix, degree, axis):
        step = np.eye(4, dtype=int)[axis]
        result = np.zeros((len(matrix), len(places[degree + 1])))
        result[:, [places[degree + 1][tuple(e + step)] for e in places[degree]]] = matrix
        return result

    def times_square(matrix, degree):
        terms = [times_component(matrix, degree, axis) for axis in range(4)]
        terms = [times_component(term, degree + 1, axis) for axis, term in enumerate(terms)]
        return np.sum(terms, axis=0)

    characters = [np.ones((len(points), 1))]
    for j in range(order):
        terms = [
            points[:, axis, None] * times_component(characters[j], j, axis) for axis in range(4)
        ]
        following = 2 * np.sum(terms, axis=0)
        if j > 0:
            following = following - times_square(characters[j - 1], j - 1)
        characters.append(following)
    for j in range(order + 1):
        for degree in range(j, order - 1, 2):
            characters[j] = times_square(characters[j], degree)
    return characters


def _points(order):
    """Return unit quaternions [n_g, 4] and weights that integrate even polynomials of degree 3 x
    `order` exactly.

    q = (cos t e^ia, sin t e^ib): Gauss-Legendre in cos^2 t, equal steps in a + b and a - b. A point
    stands for its opposite too.
    """
    half = 3 * order // 2
    nodes, weights = np.polynomial.legendre.leggauss(half // 2 + 1)
    turns = 2 * np.pi * np.arange(half + 1) / (half + 1)
    square, s, d = (a.ravel() for a in np.meshgrid((nodes + 1) / 2, turns, turns, indexing="ij"))
    a, b = (s + d) / 2, (s - d) / 2
    cos, sin = np.sqrt(square), np.sqrt(1 - square)
    points = np.stack([cos * np.cos(a), cos * np.sin(a), sin * np.cos(b), sin * np.sin(b)], axis=1)
    return points, np.repeat(weights / 2, len(turns) ** 2) / len(turns) ** 2


def coefficients(grid: Grid, sums: Array) -> list[Array]:
    """Return the coefficients of each degree, [n, coefficients], from sums of monomials."""
    parts, start = [], 0
    for matrix in grid.to_coefficients:
        parts.append(sums[:, start : start + len(matrix)] @ jnp.asarray(matrix, sums.dtype))
        start += len(matrix)
    return parts


def densities(grid: Grid, sums: Array) -> list[Array]:
    """Return rho_j at the points, [n, n_g] for each j, from sums of monomials [n, width]."""
    parts = coefficients(grid, sums)
    return [
        parts[which][:, place] @ jnp.asarray(matrix, sums.dtype)
        for matrix, (which, place) in zip(grid.to_points, grid.places, strict=True)
    ]


def densities_adjoint(grid: Grid, cotangents: Sequence[Array]) -> Array:
    """Return what the cotangents of `densities`, [n, n_g] for each j, make of the sums."""
    dtype = cotangents[0].dtype
    parts = [[] for _ in grid.to_coefficients]
    for cotangent, matrix, (which, _) in zip(cotangents, grid.to_points, grid.places, strict=True):
        parts[which].append(cotangent @ jnp.asarray(matrix.T, dtype))
    return jnp.concatenate(
        [
            jnp.concatenate(part, axis=1) @ jnp.asarray(matrix.T, dtype)
            for part, matrix in zip(parts, grid.to_coefficients, strict=True)
        ],
        axis=1,
    )
