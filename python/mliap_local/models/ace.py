"""The atomic cluster expansion (ACE), as pacemaker and ACEsuit write it.

    A_i[v] = sum_j R_nl(r_ij) Y_lm(r_ij)          one variable v for each element of j, n, l, m
    rho_ip = sum_t c_pt Re prod_k A_i[t, k]       e_i = E0 + F(rho_i) f(core_i) + core_i

Sources: R. Drautz, Phys. Rev. B 99, 014104 (2019); Y. Lysogorskiy et al., npj Comput. Mater. 7, 97
(2021); formulas of radial functions, embeddings and core repulsion: ICAMS/lammps-user-pace. A
linear model of ACEsuit comes through the package `ace-jax`, which made it: its radial functions are
traced, and the exported model needs it no more. No file is opened here but through the readers.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions
from .ace_basis import read_yaml
from .ace_files import Potential, Variable, read_ace, signed_product
from .ace_grade import LargestCoefficient, read_active_set
from .ace_products import Plan, evaluate, plan
from .ace_yaml import read_yace
from .places import embedding, place_of
from .text import PotentialFileError, find_potential

_ENDINGS = (".yace", ".yaml", ".ace", ".npz")
_REMEDY = "pip install 'mliap-local[ace]'"


def add_arguments(parser):
    """Arguments of `mliap-local convert ace`."""
    parser.add_argument(
        "file", metavar="FILE", type=find_potential, help="a .yace, .yaml, .ace or model.npz file"
    )
    parser.add_argument(
        *("-a", "--active-set", "--active-set-inv"),
        metavar="FILE.asi",
        type=find_potential,
        help="active set of pace_activeset for a .yaml: the model file grades extrapolation by it",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    path = Path(options.file)
    kind = path.suffix.lower()
    if kind not in _ENDINGS:
        raise PotentialFileError(f"{path}: expected a name ending in {', '.join(_ENDINGS)}")
    if options.active_set and kind != ".yaml":
        raise PotentialFileError(
            f"{path}: expected the .yaml that {options.active_set} was made from, found {kind}, "
            "where functions are no longer apart: convert the .yaml, or leave the active set out"
        )
    try:
        if kind == ".npz":
            from .ace_linear import linear_ace

            return linear_ace(path)
        if kind == ".yaml":
            potential = read_yaml(path, ordered=bool(options.active_set))
        else:
            potential = read_ace(path) if kind == ".ace" else read_yace(path)
    except ImportError as error:
        raise ImportError(f"{path} needs the package {error.name}: {_REMEDY}") from error
    inverses = read_active_set(options.active_set, potential) if options.active_set else None
    functions, grade = ace(potential, inverses)
    return Converted(
        functions=functions,
        cutoff=max(bond.cutoff for bond in potential.bonds.values()),
        elements=potential.elements,
        units="metal",
        source=f"converted from {path.name}: {potential.comment}".rstrip(": "),
        overlap=_overlap(potential),
        grade=grade,
    )


def ace(
    potential: Potential, inverses: Sequence[np.ndarray] | None = None
) -> tuple[ModelFunctions, Callable[..., Any] | None]:
    """Make the functions of a potential of pacemaker, and its grade by an active set, if any.

    The embedding is one column, the element's place. The message has a column for each density,
    what terms of one factor make; one for the core repulsion where there is any; the real parts of
    the variables, those with m = 0 first, and the imaginary parts of the others; with an active set
    the functions of one factor at last. Atoms of other elements send and receive nothing and have
    no energy; their grade is infinite.
    """
    basis = _basis(potential)
    edge = _Edge(potential, basis)
    energy = _Energy(potential)

    def parts(messages):
        columns = messages.T  # -> [m, n]: atoms are what is vectorised over
        variables = columns[edge.n_densities + edge.has_core :]
        real = variables[basis.real]
        no_parts = jnp.zeros_like(real[: len(basis.real) - len(basis.imaginary)])
        return columns, real, jnp.concatenate([no_parts, variables[basis.imaginary]])

    def densities(place, columns, real, imaginary):
        sums = evaluate(basis.plan, real, imaginary)  # -> [elements * densities, n]
        rho = columns[: edge.n_densities]
        for k in range(len(potential.elements)):
            part = sums[k * edge.n_densities : (k + 1) * edge.n_densities]
            rho = rho + jnp.where(place == k, part, 0)
        return rho

    def readout(h, messages):
        place, (columns, *variables) = place_of(h), parts(messages)
        core = columns[edge.n_densities] if edge.has_core else None
        return energy(place, densities(place, columns, *variables), core)

    functions = ModelFunctions(embedding(potential.elements), edge, readout)
    if inverses is None:
        return functions, None
    largest = LargestCoefficient(potential, basis.number, basis.first, inverses)

    def grade(h, messages):
        place, (columns, real, imaginary) = place_of(h), parts(messages)
        slopes = None
        if largest.full:
            rho = densities(place, columns, real, imaginary)
            slopes = jax.grad(lambda rho: energy.embedded(place, rho).sum())(rho)
        first = columns[len(columns) - len(basis.first) :]
        return largest(place, first, real, imaginary, slopes)

    return functions, grade


class _Basis(NamedTuple):
    """`radial`: the radial functions (element of j, l, n) in the order of the message's rows;
    each comes with all of its m, real and imaginary part: `2 l + 1` columns. Variables are the
    columns `real` and `imaginary`; the first of them, with m = 0, have no imaginary part. `first`:
    element of j and n of functions of one factor that an active set has."""

    radial: list[tuple[int, int, int]]
    first: list[tuple[int, int]]
    number: dict[Variable, int]
    real: np.ndarray  # [v]
    imaginary: np.ndarray  # [v - those with m = 0]
    plan: Plan


def _basis(potential):
    """Collect the variables that occur, and plan their products."""
    functions = [f for f in potential.functions if len(f.n) > 1 and np.any(f.weights)]
    projected = [f for of_element in potential.projections for f in of_element]
    factors = set()
    for f in functions + [f for f in projected if len(f.n) > 1]:
        for k, key in enumerate(zip(f.neighbours, f.l, f.n, strict=True)):
            factors |= {(*key, int(m)) for m in np.unique(np.abs(f.m[:, k]))}
    variables = sorted(factors, key=lambda v: (v[3] != 0, v))
    number = {v: place for place, v in enumerate(variables)}
    n_densities = max(len(e.parameters) for e in potential.embeddings)
    n_sums = n_densities * len(potential.elements)
    terms: dict[tuple[int, ...], Any] = {}
    for f in functions:
        for ms, weights in zip(f.m.tolist(), f.weights, strict=True):
            product, sign = signed_product(number, f, ms)
            total = terms.setdefault(product, np.zeros(n_sums))
            total[f.centre * n_densities :][: len(weights)] += sign * weights
    radial = sorted({v[:3] for v in variables})
    widths = [2 * degree + 1 for _, degree, _ in radial]
    start = dict(zip(radial, np.cumsum([0, *widths]).tolist(), strict=False))
    # m = 0, then real and imaginary parts in turn
    real = np.array([start[v[:3]] + max(2 * v[3] - 1, 0) for v in variables], np.int32)
    n_real = sum(m == 0 for *_, m in variables)
    products = plan(terms, n_real, len(variables), n_sums)
    first = sorted({(f.neighbours[0], f.n[0]) for f in projected if len(f.n) == 1})
    return _Basis(radial, first, number, real, real[n_real:] + 1, products)


class _Edge:
    """The edge function: vectors to messages. Inside, edges are the last axis."""

    def __init__(self, potential, basis):
        n = len(potential.elements)
        bonds = [potential.bonds[i, j] for i in range(n) for j in range(n)]
        self.n_elements, self.inner = n, potential.inner
        self.n_densities = max(len(e.parameters) for e in potential.embeddings)
        self.has_core = any(bond.core[0] != 0 for bond in bonds)
        self.kinds = sorted({bond.radial for bond in bonds})
        self.kind = np.array([self.kinds.index(bond.radial) for bond in bonds])
        self.values = np.array(
            [
                (b.cutoff, b.cutoff_width, b.parameter, abs(b.core[0]), abs(b.core[1]), *b.inner)
                for b in bonds
            ]
        )  # -> [n * n, 7]
        self.n_base = max(
            [bond.coefficients.shape[2] for bond in bonds]
            + [f.n[0] for f in potential.functions if len(f.n) == 1]
        )
        self.weights = self._weights(potential, basis)
        self.n_radial = len(basis.radial)
        senders = [j for j in range(n) for _ in range(self.n_densities)]
        senders += [row[0] for row in (*basis.radial, *basis.first)]
        self.sender = np.array(senders)
        degrees = [degree for _, degree, _ in basis.radial]
        self.l_max = max(degrees, default=0)
        self.outer = _outer(degrees)

    def _weights(self, potential, basis):
        """Weights of what `_radial_rows` gives in: densities for each element of j, radial
        functions, and functions of one factor; `[rows, elements of i * kinds * (k + 1)]`."""
        n, n_densities, radial = self.n_elements, self.n_densities, basis.radial
        n_rows = n * n_densities + len(radial) + len(basis.first)
        folded = np.zeros((n_rows, n, len(self.kinds), self.n_base + 1))
        for f in potential.functions:
            if len(f.n) == 1:
                (j,), i = f.neighbours, f.centre
                kind = self.kind[i * n + j]
                matrix = base_functions(self.kinds[kind], self.n_base)
                for p, weight in enumerate(f.weights[0]):
                    folded[j * n_densities + p, i, kind] += weight * matrix[f.n[0] - 1]
        for row, (j, l, n_) in enumerate(radial, n * n_densities):  # noqa: E741
            for i in range(n):
                bond, kind = potential.bonds[i, j], self.kind[i * n + j]
                if n_ <= bond.coefficients.shape[0] and l < bond.coefficients.shape[1]:
                    values = bond.coefficients[n_ - 1, l]
                    matrix = base_functions(self.kinds[kind], self.n_base)[: len(values)]
                    folded[row, i, kind] = values @ matrix
        for row, (j, n_) in enumerate(basis.first, n_rows - len(basis.first)):
            for i in range(n):
                kind = self.kind[i * n + j]
                folded[row, i, kind] = base_functions(self.kinds[kind], self.n_base)[n_ - 1]
        return folded.reshape(len(folded), -1)

    def __call__(self, h_i, h_j, r_ij):
        dtype = r_ij.dtype
        i, j = place_of(h_i), place_of(h_j)
        pair = jnp.maximum(i * self.n_elements + j, 0)
        # numbers where all bonds agree: there is less to look up and more to simplify
        values = [
            float(column[0]) if np.ptp(column) == 0 else jnp.asarray(column, dtype)[pair]
            for column in self.values.T
        ]
        cutoff = values[0]
        square = jnp.sum(r_ij * r_ij, axis=-1)
        valid = (square > 0) & (square < cutoff * cutoff) & (i >= 0) & (j >= 0)
        # replaced before the root: what is dropped must have a finite gradient too
        r = jnp.sqrt(jnp.where(valid, square, 0.25 * cutoff * cutoff))
        x, y, z = (jnp.where(valid, r_ij[:, k], (0, 0, 1)[k] * r) / r for k in range(3))
        inside, factor = self._inside(r, valid, values)
        rows = self._radial_rows(r, factor, inside, i, pair, values)
        radial = jnp.asarray(self.weights, dtype) @ rows  # -> [rows, e]
        if self.n_elements > 1:
            radial = jnp.where(j == self.sender[:, None], radial, 0)
        n_first = self.n_elements * self.n_densities
        columns = [radial[:n_first].reshape(self.n_elements, self.n_densities, -1).sum(axis=0)]
        if self.has_core:
            columns.append(jnp.where(valid, self._core(r, values), 0)[None])
        n_all = n_first + self.n_radial
        if self.n_radial:
            columns.append(self.outer(radial[n_first:n_all], harmonics(x, y, z, self.l_max)))
        columns.append(radial[n_all:])
        return jnp.concatenate(columns).T  # -> [e, m]

    def _inside(self, r, valid, values):
        """Where radial functions are not zero, and what the inner cutoff makes of them there."""
        *_, inner, width = values
        if not np.any(self.values[:, 5:]):
            return valid, None
        inside = valid & (r > inner - width)
        return inside, 1 - _step_down(r, inner, width) if self.inner == "distance" else None

    def _radial_rows(self, r, factor, inside, i, pair, values):
        """The functions that radial functions are made of, `[elements of i * kinds * (k+1), e]`."""
        cutoff, width, parameter = values[:3]
        kinds = []
        for k, name in enumerate(self.kinds):
            rows = jnp.stack(BASES[name](r, parameter, cutoff, width, self.n_base))
            if factor is not None:
                rows = rows * factor
            here = inside
            if len(self.kinds) > 1:
                here = here & (jnp.asarray(self.kind, jnp.int32)[pair] == k)
            kinds.append(jnp.where(here, rows, 0))
        rows = jnp.concatenate(kinds)
        if self.n_elements == 1:
            return rows
        return jnp.concatenate([jnp.where(i == k, rows, 0) for k in range(self.n_elements)])

    def _core(self, r, values):
        cutoff, _, _, prefactor, exponent, inner, width = values
        power = exponent * r * r
        near = power < 50
        r = jnp.where(near, r, 1)
        core = prefactor * jnp.exp(-jnp.where(near, power, 0)) / r
        core = jnp.where(near, core * _cosine(r / cutoff), 0)
        return core * _step_down(r, inner, width) if self.inner == "distance" else core


class _Energy:
    """From densities and core repulsion to energies."""

    def __init__(self, potential):
        n_densities = max(len(e.parameters) for e in potential.embeddings)
        fill = ((0.0, 1.0),)  # a density that is not there
        parameters = [
            e.parameters + fill * (n_densities - len(e.parameters)) for e in potential.embeddings
        ]
        self.parameters = np.array(parameters).transpose(1, 2, 0)  # -> [p, 2, elements]
        self.shifted = np.array([e.name.endswith("ShiftedScaled") for e in potential.embeddings])
        self.core_cutoff = np.array([e.core_cutoff for e in potential.embeddings]).T
        self.isolated = np.array(potential.isolated)

    def embedded(self, place, rho):
        """The energy that densities make, which repulsion has not reduced."""
        of = self._of(place, rho.dtype)
        energy = jnp.zeros_like(rho[0])
        for density, (weight, exponent) in zip(rho, self.parameters, strict=True):
            parts = []
            if np.any(self.shifted):
                parts.append(_shifted_power(density, exponent, of))
            if not np.all(self.shifted):
                parts.append(_power(density, exponent, of))
            chosen = parts[0]
            if len(parts) > 1:
                shifted = jnp.asarray(self.shifted)[jnp.maximum(place, 0)]
                chosen = jnp.where(shifted, *parts)
            energy = energy + of(weight) * chosen
        return energy

    def __call__(self, place, rho, core):
        energy, of = self.embedded(place, rho), self._of(place, rho.dtype)
        if core is not None:
            end, width = (of(values) for values in self.core_cutoff)
            energy = energy * _step_down(core, end, width) + core
        return jnp.where(place >= 0, energy + of(self.isolated), 0)

    @staticmethod
    def _of(place, dtype):
        known = jnp.maximum(place, 0)

        def of(values):
            # a Python number has no precision of its own
            return jnp.asarray(values, dtype)[known] if len(values) > 1 else float(values[0])

        return of


def _shifted_power(rho, exponents, of):
    """FinnisSinclairShiftedScaled: `|rho|^m` that is linear at small densities, with their sign."""
    if np.all(np.abs(exponents - 1) < 1e-10):
        return rho
    linear = np.abs(exponents - 1) < 1e-10
    m = np.where(linear, 2.0, exponents)
    x_scale = (1 / m) ** ((1 / m) / (1 - 1 / m))
    y_scale = (1 / m) ** (1 / (1 - 1 / m))
    sign = jnp.where(rho < 0, -1, 1).astype(rho.dtype)
    size = sign * rho
    decay = jnp.exp(-size)
    power = (of(x_scale) * decay + size) ** of(m) - of(y_scale) * decay
    return jnp.where(of(linear.astype(float)) > 0, rho, sign * power)


def _power(rho, exponents, of):
    """FinnisSinclair: `|rho|^m` with the sign of rho, linear below a millionth."""
    if np.all(exponents == 1):
        return rho
    slope = (1e-6) ** (exponents - 1)
    sign = jnp.where(rho < 0, -1, 1).astype(rho.dtype)
    size = sign * rho
    cube = (1e6 * size) ** 3
    near = jnp.where(cube > 30, 0, jnp.exp(-jnp.minimum(cube, 30)))
    away = size > 1e-10
    power = jnp.where(away, size, 1) ** of(exponents)
    value = sign * ((1 - near) * power + of(slope) * near * size)
    return jnp.where(away, value, of(slope) * rho)


def _step_down(x, end, width):
    """1 below `end - width`, 0 from `end` on, a polynomial of fifth degree between them."""
    width_ = jnp.where(width > 0, width, 1)
    t = jnp.clip((end - x) / width_, 0, 1)
    smooth = t * t * t * (10 - 15 * t + 6 * t * t)
    return jnp.where(width > 0, smooth, jnp.where(x < end, 1.0, 0.0)).astype(x.dtype)


def _cosine(x):
    return 0.5 * (1 + jnp.cos(math.pi * x))


def _chebyshev(x, n):
    """`1 - T_k(x)` for k = 1 to n."""
    before, now, values = jnp.ones_like(x), x, []
    for _ in range(n):
        values.append(1 - now)
        before, now = now, 2 * x * now - before
    return values


def _cheb_exp_cos(r, parameter, cutoff, width, n):
    last = math.exp(-parameter) if isinstance(parameter, float) else jnp.exp(-parameter)
    x = 1 - 2 * (jnp.exp(-parameter * r / cutoff) - last) / (1 - last)
    start = cutoff - width
    width_ = jnp.where(width > 0, width, 1) if not isinstance(width, float) else width or 1.0
    envelope = _cosine(r / cutoff) * _cosine(jnp.maximum(r - start, 0) / width_)
    return [envelope, *(envelope * row for row in _chebyshev(x, n))]


def _cheb_pow(r, parameter, cutoff, width, n):
    y = jnp.maximum(1 - r / cutoff, 1e-30)
    whole = isinstance(parameter, float) and parameter.is_integer()
    power = y ** (int(parameter) if whole else parameter)
    return [jnp.zeros_like(r), *_chebyshev(1 - 2 * power, n)]


def _cheb_linear(r, parameter, cutoff, width, n):
    return [jnp.zeros_like(r), *_chebyshev(1 - r / cutoff, n)]


def _sbessel(r, parameter, cutoff, width, n):
    """`sin(k x) / (k x) / rc^1.5` for k = 1 to n + 1, by rotation: sines are dear."""
    x = math.pi * r / cutoff
    sine, cosine = jnp.sin(x), jnp.cos(x)
    scale = 1 / (x * cutoff * cutoff**0.5)
    s, c, values = sine, cosine, []
    for k in range(1, n + 2):
        values.append(s * scale / k)
        s, c = s * cosine + c * sine, c * cosine - s * sine
    return values


BASES = {
    "ChebExpCos": _cheb_exp_cos,
    "ChebPow": _cheb_pow,
    "ChebLinear": _cheb_linear,
    "SBessel": _sbessel,
}


def base_functions(name, n):
    """How the functions g_k of a kind are made of the rows that `BASES` gives, `[n, n + 1]`."""
    matrix = np.zeros((n, n + 1))
    if name == "ChebExpCos":
        matrix[0, 0] = 1
        matrix[np.arange(1, n), np.arange(1, n)] = 0.5
    elif name == "SBessel":
        before = 1.0
        for k in range(n):
            size = math.sqrt(2) * math.pi * (k + 1) * (k + 2) / math.hypot(k + 1, k + 2)
            matrix[k, k : k + 2] = (-1) ** k * size
            if k:
                e = k**2 * (k + 2) ** 2 / (4 * (k + 1) ** 4 + 1)
                now = 1 - e / before
                matrix[k] = (matrix[k] + math.sqrt(e / before) * matrix[k - 1]) / math.sqrt(now)
                before = now
    else:
        matrix[np.arange(n), np.arange(1, n + 1)] = 0.5
    return matrix


def harmonics(x, y, z, l_max):
    """Spherical harmonics of unit vectors, `[(l_max + 1)^2, n]`.

    For each l that of m = 0, then the real and imaginary parts of m = 1 to l in turn. Normalised
    to Y_00 = 1, with the sign (-1)^m of Condon and Shortley.
    """
    # Legendre functions without their power of sin(theta), which is in (x + iy)^m
    legendre = {}
    for m in range(l_max + 1):
        sign = -math.sqrt(1 + 0.5 / m) if m else 1.0
        legendre[m, m] = legendre[m - 1, m - 1] * sign if m else jnp.ones_like(z)
        for l in range(m + 1, l_max + 1):  # noqa: E741
            a = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            value = a * z * legendre[l - 1, m]
            if l > m + 1:
                b = math.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
                value = value - a * b * legendre[l - 2, m]
            legendre[l, m] = value
    powers = [(jnp.ones_like(x), jnp.zeros_like(x))]
    for _ in range(l_max):
        real, imaginary = powers[-1]
        powers.append((real * x - imaginary * y, real * y + imaginary * x))
    rows = []
    for l in range(l_max + 1):  # noqa: E741
        rows.append(legendre[l, 0])
        rows += [legendre[l, m] * part for m in range(1, l + 1) for part in powers[m]]
    return jnp.stack(rows)


def _outer(degrees):
    """Return a function of radial functions `[r, e]`, of these l, and harmonics `[y, e]`: the
    products of each with the harmonics of its l, `[c, e]`.

    The adjoint is by hand: that of JAX adds up in memory what here is added up in registers.
    """
    rows = np.array([row for row, n in enumerate(degrees) for _ in range(2 * n + 1)], np.int32)
    harmonic = np.array([n * n + k for n in degrees for k in range(2 * n + 1)], np.int32)

    @jax.custom_vjp
    def outer(radial, angular):
        radial, angular = jax.lax.optimization_barrier((radial, angular))
        return radial[rows] * angular[harmonic]

    def backward(kept, given):
        radial, angular, given = jax.lax.optimization_barrier((*kept, given))
        of_radial: list[Any] = [0] * len(radial)
        of_angular: list[Any] = [jnp.zeros_like(angular[0])] * len(angular)
        for column, (row, k) in enumerate(zip(rows.tolist(), harmonic.tolist(), strict=True)):
            of_radial[row] = of_radial[row] + given[column] * angular[k]
            of_angular[k] = of_angular[k] + given[column] * radial[row]
        return jax.lax.optimization_barrier((jnp.stack(of_radial), jnp.stack(of_angular)))

    outer.defvjp(lambda radial, angular: (outer(radial, angular), (radial, angular)), backward)
    return outer


def _overlap(potential) -> float | None:
    """The distance below which nothing is left of the expansion, between any two elements."""
    ends = [bond.inner[0] - bond.inner[1] for bond in potential.bonds.values()]
    return min(ends) if min(ends) > 0 else None
