"""Embedding networks of DeePMD-kit's models as tables, which cost a tenth.

An embedding network is a smooth function of one number: its hundred outputs are combinations of
some twenty functions, almost to rounding, and those are splines of fifth degree on a uniform grid:

    G_c(x) = sum_q phi_q(x) U_qc        sum_j R_ij G_c(x_ij) = sum_q (sum_j R_ij phi_q(x_ij)) U_qc

and U, behind the sum, is multiplied into the first layer of the fitting networks. How far values
and slopes are from the network's is measured between the nodes. Opens no file.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .deepmd_files import DeepPotential, Descriptor, Network, Table, evaluate

#: Closer atoms, in Angstrom, see each other's embedding as if they were so far apart.
CLOSEST = 0.5
_SAMPLES = 2048
_MOST_INTERVALS = 1 << 14
_BETWEEN = 7  # places in each interval where errors are measured


def tabulated(potential: DeepPotential, tolerance: float) -> tuple[DeepPotential, float, float]:
    """Return the potential with tables, and their largest errors of values and slopes, each
    relative to the network's largest.

    Raises:
      ValueError: a descriptor other than se_e2_a and se_e2_r, a tolerance that no table reaches.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"expected a tolerance between 0 and 1, got {tolerance:g}")
    if any(d.inputs.shape[2] or d.factors is not None for d in potential.descriptors):
        raise ValueError(
            "expected only se_e2_a and se_e2_r, found a descriptor with embedded types"
        )
    if any(fitting[0].residual for fitting in potential.fittings):
        raise ValueError("expected a fitting that is not as wide as the descriptor")
    made = [_table(d, tolerance) for d in potential.descriptors]
    descriptors = tuple(
        d._replace(table=table) for d, (table, *_) in zip(potential.descriptors, made, strict=True)
    )
    n = len(potential.elements)
    fittings = tuple(_folded(potential, descriptors, i) for i in range(n))
    errors = np.max([error for _, error in made], axis=0)
    tables = potential._replace(descriptors=descriptors, fittings=fittings, fitting=np.arange(n))
    return tables, float(errors[0]), float(errors[1])


def _table(d: Descriptor, tolerance: float) -> tuple[Table, np.ndarray]:
    """Return the table of a descriptor's networks, and its errors of values and slopes."""
    largest = 1 / (CLOSEST + d.protection)
    ends = np.stack([d.offset, d.gain * largest + d.offset, 0 * d.offset])  # 0: pairs without gain
    start, end = float(ends.min()), float(ends.max())
    samples = np.linspace(start, end, _SAMPLES)
    networks = _derivatives(d.networks)
    sampled = [derivatives(samples)[:2] for derivatives in networks]
    scales = np.array([np.abs([s[k] for s in sampled]).max() for k in range(2)])
    axes = []
    for values, slopes in sampled:
        rows = np.concatenate([values / scales[0], slopes / scales[1]])
        axes.append(np.linalg.svd(np.linalg.qr(rows, mode="r"))[2])
    bases = np.stack(axes)
    for rank in range(1, bases.shape[1] + 1):
        basis = bases[:, :rank]
        off = [
            np.abs(part - part @ u.T @ u).max() / scale
            for parts, u in zip(sampled, basis, strict=True)
            for part, scale in zip(parts, scales, strict=True)
        ]
        # of pairs that are excluded, empty slots are at another place than any neighbour
        seen = np.einsum("ijm,ijqm->ijq", d.slot, basis[d.network])
        seen = np.einsum("ijq,ijqm->ijm", seen, basis[d.network])
        off.append(np.abs(d.slot - seen).max() / scales[0])
        if max(off) < tolerance / 4:
            break
    intervals, errors = 32, np.array([np.inf, np.inf])
    while errors.max() > tolerance:
        if intervals == _MOST_INTERVALS:
            raise ValueError(
                f"expected networks that a table has to {tolerance:g}, found errors of "
                f"{errors[0]:.1g} in values, {errors[1]:.1g} in slopes with {intervals} intervals"
            )
        intervals *= 2
        table = _spline(networks, basis, start, end, intervals)
        errors = _errors(networks, table, intervals, scales)
    return table, errors


def _derivatives(networks) -> list[Callable[[np.ndarray], list[np.ndarray]]]:
    """Return for each network a function from numbers to outputs and two derivatives, `[n, m]`."""

    @jax.jit  # once for all of them: the weights are arguments
    def all_three(weights, x):
        network = tuple(
            layer._replace(weight=w, bias=b, step=s)
            for layer, (w, b, s) in zip(networks[0], weights, strict=True)
        )

        def value(x):
            return evaluate(network, x[:, None], jnp)

        def slope(x):
            return jax.jvp(value, (x,), (jnp.ones_like(x),))[1]

        return value(x), *jax.jvp(slope, (x,), (jnp.ones_like(x),))

    def of(network):
        weights = [(layer.weight, layer.bias, layer.step) for layer in network]

        def in_parts(x):  # of one size, which is compiled once
            padded = np.pad(x, (0, -len(x) % _SAMPLES), mode="edge").reshape(-1, _SAMPLES)
            parts = zip(*(all_three(weights, part) for part in padded), strict=True)
            return [np.concatenate(part)[: len(x)] for part in parts]

        return in_parts

    return [of(network) for network in networks]


def _spline(networks, basis, start, end, intervals) -> Table:
    """Interpolate value, slope and curvature at the nodes."""
    nodes, step = np.linspace(start, end, intervals + 1, retstep=True)
    # powers from values, slopes and curvatures at 0 and 1
    powers = np.array([[float(k == p) for p in range(6)] for k in range(6)])
    rows = [powers[0], powers[1], 2 * powers[2], np.ones(6), np.arange(6.0)]
    rows.append(np.array([p * (p - 1.0) for p in range(6)]))
    inverse = np.linalg.inv(np.array(rows))
    coefficients = []
    for derivatives, u in zip(networks, basis, strict=True):
        data = np.stack(
            [f @ u.T * step**k for k, f in enumerate(derivatives(nodes))]
        )  # -> [3, nodes, r]
        both = np.concatenate([data[:, :-1], data[:, 1:]])  # -> [6, intervals, r]
        coefficients.append(np.einsum("pk,kir->ipr", inverse, both))
    return Table(start, float(step), np.stack(coefficients), basis)


def _errors(networks, table: Table, intervals, scales) -> np.ndarray:
    """Largest errors of values and slopes between nodes, relative to the largest."""
    u = (np.arange(_BETWEEN) + 0.5) / _BETWEEN
    powers = u[:, None] ** np.arange(6)
    slopes = np.arange(6) * u[:, None] ** np.maximum(np.arange(6) - 1, 0) / table.step
    x = table.start + table.step * (np.arange(intervals)[:, None] + u).ravel()
    errors = np.zeros(2)
    for derivatives, c, basis in zip(networks, table.coefficients, table.basis, strict=True):
        for k, (weights, right) in enumerate(zip((powers, slopes), derivatives(x), strict=False)):
            found = np.einsum("up,ipr->iur", weights, c).reshape(len(x), -1) @ basis
            errors[k] = max(errors[k], np.abs(found - right).max() / scales[k])
    return errors


def _folded(p: DeepPotential, descriptors, i: int) -> Network:
    """The fitting network of element i, which takes products of the tables' sums and a constant."""
    first, *others = p.fittings[p.fitting[i]]
    weights, start = [], 0
    for d in descriptors:
        weight = first.weight[start : start + d.width]
        start += d.width
        u = d.joined(i)  # -> [p, m]
        if d.angular:
            weight = np.einsum("pm,mah->pah", u, weight.reshape(d.columns, d.axis, -1))
            weights.append(weight.reshape(-1, weight.shape[2]))
        else:
            weights.append(u @ weight)
    return (first._replace(weight=np.concatenate(weights)), *others)
