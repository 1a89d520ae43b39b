"""Does a model keep the promises that the system relies on? Numerical checks of three functions.

Finite at zero distance (padding), each row from itself alone, an energy that depends on distances
and not on the orientation, place and order of the atoms, forces that are the energy's derivative,
and what happens at the cutoff. Asks the functions only: opens no file and judges no metadata.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..models import ModelFunctions, atomic_numbers

# Atoms in the test cluster; enough for a cube with every distance below the cutoff.
_N_ATOMS = 8
# Pairs of elements are tried one by one; of models that know many elements, the first few.
_MOST_ELEMENTS = 6
# At so many distances the messages of eight vectors are compared with those of their reverse.
_PARITY_DISTANCES = 25


class Check(NamedTuple):
    """One promise: what it is called, whether it is kept, and the numbers seen."""

    name: str
    ok: bool
    detail: str
    warning: bool = False  #: kept, but somebody should know


class Report(NamedTuple):
    """The checks, and what they found out on the way."""

    checks: tuple[Check, ...]
    #: Energy and forces both go to zero at the cutoff; None if forces cannot be had.
    smooth: bool | None
    #: What they jump by where a neighbour crosses the cutoff; 0.0 where rounding explains it.
    energy_jump: float
    force_jump: float
    #: Energy of each element's isolated atom, in the model's unit of energy.
    isolated_energies: dict[str, float]
    #: Of messages between equal elements: see `ModelMetadata.parity`. None: they have none.
    parity: str | None


class _Tolerance(NamedTuple):
    rounding: float  # of the total energy, relative
    invariance: float  # relative to the sum of |e_i|
    step: float  # of the finite difference, in cutoffs
    gradient: float  # relative to the derivative
    inside: float  # how close to the cutoff is looked, in cutoffs
    energy_jump: float  # relative to the energy of a neighbour at typical distances
    force_jump: float  # the same, for cutoff times force
    parity: float  # of messages, relative to the largest at that distance


_TOLERANCES = {
    "64bit": _Tolerance(1e-15, 1e-9, 1e-5, 1e-3, 1e-8, 1e-6, 1e-4, 1e-12),
    "32bit": _Tolerance(1e-6, 1e-4, 3e-3, 5e-2, 1e-4, 1e-3, 1e-2, 1e-5),
}


def check_functions(
    functions: ModelFunctions,
    *,
    cutoff: float,
    elements: tuple[str, ...],
    precision: str,
    vjp_order: int,
) -> Report:
    """Run all checks, on clusters of eight atoms of the model's elements.

    Args:
      functions: they cast their inputs to the precision.
      cutoff: unit of length.
      elements: symbols that the model knows, at least one.
      precision: `32bit` or `64bit`; sets the tolerances.
      vjp_order: 0 leaves out what needs forces.
    """
    probe = _Probe(functions, cutoff, elements, precision, vjp_order > 0)
    checks = [
        _zero_distance(probe),
        _rows_apart(probe),
        _elements_apart(probe),
        _distances(probe),
        *_invariances(probe),
        *([_gradient(probe)] if probe.differentiable else []),
    ]
    cutoff_check, energy_jump, force_jump = _at_cutoff(probe)
    smooth = not (energy_jump or force_jump) if probe.differentiable else None
    isolated = _isolated_energies(probe)
    finite = all(np.isfinite(value) for value in isolated.values())
    checks.append(Check("isolated energies", finite, f"{isolated}"))
    parity = _parity(probe)
    return Report((*checks, cutoff_check), smooth, energy_jump, force_jump, isolated, parity)


def edge_operations(edge, embedding_width: int, precision: str) -> float:
    """Operations of a message and its gradient, as XLA counts them."""

    def both(h_i, h_j, r_ij):
        messages, pull_back = jax.vjp(lambda r: edge(h_i, h_j, r), r_ij)
        return messages, pull_back(jnp.ones_like(messages))

    n = 64 * _N_ATOMS  # enough for all that does not depend on their number
    real = jnp.float32 if precision == "32bit" else jnp.float64
    h, r_ij = (jax.ShapeDtypeStruct((n, width), real) for width in (embedding_width, 3))
    found = jax.jit(both).lower(h, h, r_ij).compile().cost_analysis()
    return (found or {}).get("flops", 0.0) / n


def evaluate_once(
    functions: ModelFunctions,
    *,
    cutoff: float,
    elements: tuple[str, ...],
    precision: str,
    vjp_order: int,
) -> None:
    """Evaluate one cluster, with forces where `vjp_order` allows, and judge nothing.

    Raises:
      Exception: what JAX and XLA raise.
    """
    probe = _Probe(functions, cutoff, elements, precision, vjp_order > 0)
    probe.energies(*probe.cluster())


class _Probe:
    """The model compiled for one shape: 8 atoms, and their 56 directed pairs."""

    def __init__(self, functions, cutoff, elements, precision, differentiable):
        self.cutoff, self.differentiable = cutoff, differentiable
        self.tolerance = _TOLERANCES[precision]
        self.elements = elements
        self.numbers = np.array(atomic_numbers(elements[:_MOST_ELEMENTS]))
        self.random = np.random.default_rng(20240229)
        self.receiver, self.sender = np.array(list(itertools.permutations(range(_N_ATOMS), 2))).T
        self.node_init, self.edge, self.readout = map(jax.jit, functions)
        if differentiable:
            differentiated = jax.value_and_grad(self._total_and_energies, has_aux=True)
            self._evaluate = jax.jit(differentiated)
        else:
            self._evaluate = jax.jit(lambda x, z: (self._total_and_energies(x, z), None))

    def _total_and_energies(self, positions, numbers):
        r_ij = positions[self.sender] - positions[self.receiver]  # -> [56, 3]
        near = jnp.sum(r_ij * r_ij, axis=-1) < self.cutoff**2
        # Pairs beyond the cutoff are no edges: the model must not see their distance.
        r_ij = jnp.where(near[:, None], r_ij, jnp.array([0.5 * self.cutoff, 0.0, 0.0], r_ij.dtype))
        h = self.node_init(numbers)
        messages = self.edge(h[self.receiver], h[self.sender], r_ij)
        messages = jnp.where(near[:, None], messages, 0)
        energies = self.readout(h, jax.ops.segment_sum(messages, self.receiver, _N_ATOMS))
        return jnp.sum(energies), energies

    def cluster(self):
        """Return numbers [8] and positions [8, 3] of a distorted cube of mixed elements."""
        corners = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
        jitter = self.random.uniform(-0.05, 0.05, (_N_ATOMS, 3))
        return np.resize(self.numbers, _N_ATOMS), (0.45 * corners + jitter) * self.cutoff

    def energies(self, numbers, positions):
        return np.asarray(self._evaluate(positions, numbers)[0][1], np.float64)

    def total(self, numbers, positions):
        return float(np.sum(self.energies(numbers, positions)))

    def gradient(self, numbers, positions):
        return np.asarray(self._evaluate(positions, numbers)[1], np.float64)


def _zero_distance(probe):
    name = "finite at zero distance"
    numbers, _ = probe.cluster()
    h = probe.node_init(numbers)
    h_i, h_j = h[probe.receiver], h[probe.sender]  # with pairs of the same element, and of all
    r_ij = jnp.zeros((len(h_i), 3), h.dtype)
    values = [("message", probe.edge(h_i, h_j, r_ij))]
    if probe.differentiable:
        _, pull_back = jax.vjp(probe.edge, h_i, h_j, r_ij)
        gradients = pull_back(jnp.ones_like(values[0][1]))
        values += [("gradient", gradient) for gradient in gradients]
    bad = sorted({what for what, value in values if not np.all(np.isfinite(value))})
    if bad:
        return Check(
            name,
            False,
            f"{' and '.join(bad)} not finite where r_ij = 0, as padding has; take roots and "
            "inverses of jnp.where(square > 0, square, 1), square being the sum of r_ij**2",
        )
    return Check(name, True, f"{len(set(numbers))} elements with each other")


def _rows_apart(probe):
    """Change all rows but the first: the first result must stay, in each function."""
    name = "rows apart"
    numbers, positions = probe.cluster()
    other_numbers = np.concatenate([numbers[:1], np.roll(numbers[1:], 1)])
    h, other_h = probe.node_init(numbers), probe.node_init(other_numbers)
    i, j = probe.receiver, probe.sender
    r_ij = positions[j] - positions[i]
    other_r_ij = np.concatenate([r_ij[:1], -0.7 * np.roll(r_ij[1:], 1, axis=0)])
    other_h_i, other_h_j = (h[np.roll(k, 5)].at[0].set(h[k[0]]) for k in (i, j))
    messages = probe.edge(h[i], h[j], r_ij)
    other_messages = probe.edge(other_h_i, other_h_j, other_r_ij)
    sums, other_sums = messages[:_N_ATOMS], other_messages[:_N_ATOMS]  # any will do
    results = {
        "node_init": (h, other_h),
        "edge": (messages, other_messages),
        "readout": (
            probe.readout(h, sums),
            probe.readout(other_h, other_sums.at[0].set(sums[0])),
        ),
    }
    for function, (one, other) in results.items():
        one, other = np.asarray(one[0], np.float64), np.asarray(other[0], np.float64)
        largest = float(np.max(np.abs(one)))
        if not np.max(np.abs(one - other)) <= 1e-2 * probe.tolerance.invariance * largest:
            return Check(name, False, f"a row of {function} depends on the other rows")
    return Check(name, True, "each row of the three functions depends on itself alone")


def _elements_apart(probe):
    """A table of embeddings that is shorter than the atomic numbers gives its last row to all."""
    name, place = "elements apart", {}
    h = np.asarray(probe.node_init(np.resize(probe.numbers, _N_ATOMS)))
    for element, row in zip(probe.elements[:_MOST_ELEMENTS], h, strict=False):
        if (other := place.setdefault(row.tobytes(), element)) != element:
            detail = (
                f"{other} and {element} have the same embedding; node_init takes atomic numbers"
            )
            return Check(name, True, detail, warning=True)
    return Check(name, True, f"{len(place)} elements, as many embeddings")


def _distances(probe):
    """Bring two atoms in company together, no neighbour coming or going: the energy must change."""
    name = "depends on r_ij"
    for pair in itertools.combinations_with_replacement(probe.numbers, 2):
        states = [_pair_in_company(probe, pair, d) for d in (0.05, 0.1, 0.2, 0.3, 0.4)]
        energies = [probe.total(*state) for state in states]
        change = max(energies) - min(energies)
        if not change <= probe.tolerance.rounding * max(map(abs, energies)):
            return Check(name, True, f"energy of a pair in company changes by {change:.1e}")
    return Check(name, False, "the energy is the same at all distances; let edge use r_ij")


def _invariances(probe):
    numbers, positions = probe.cluster()
    rotation, _ = np.linalg.qr(probe.random.normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    order = probe.random.permutation(_N_ATOMS)
    moved = {
        "rotation": (numbers, positions @ rotation.T),
        "translation": (numbers, positions + 0.3 * probe.cutoff),
        "permutation": (numbers[order], positions[order]),
    }
    energies = probe.energies(numbers, positions)
    energy, scale = np.sum(energies), np.sum(np.abs(energies))
    for name, state in moved.items():
        difference = abs(probe.total(*state) - energy)
        kept = difference <= probe.tolerance.invariance * scale
        yield Check(name, bool(kept), f"energy {energy:.6g} changes by {difference:.1e}")


def _gradient(probe):
    numbers, positions = probe.cluster()
    direction = probe.random.normal(size=positions.shape)
    direction /= np.linalg.norm(direction)
    step = probe.tolerance.step * probe.cutoff
    ahead, behind = (probe.total(numbers, positions + s * direction) for s in (step, -step))
    difference = (ahead - behind) / (2 * step)
    gradient = probe.gradient(numbers, positions)
    derivative = float(np.sum(gradient * direction))
    scale = max(np.linalg.norm(gradient) / np.sqrt(gradient.size), abs(difference))
    kept = abs(derivative - difference) <= probe.tolerance.gradient * scale
    return Check(
        "forces", bool(kept), f"derivative {derivative:.6g}, by finite difference {difference:.6g}"
    )


def _at_cutoff(probe):
    """Move an atom through the cutoff of another, both in company: does anything jump?

    A jump is no failure: truncated potentials without shift are in use. It is told.

    Returns:
      The check, and the jumps of energy and force, 0.0 where they are as good as none.
    """
    inside, outside = 1 - probe.tolerance.inside, 1 + probe.tolerance.inside
    typical = (0.6, 0.7, 0.8, 0.9)
    energy_scale = energy_jump = force_jump = 0.0
    for pair in itertools.combinations_with_replacement(probe.numbers, 2):
        states = {d: _pair_in_company(probe, pair, d) for d in (inside, outside, *typical)}
        energy = {d: probe.total(*state) for d, state in states.items()}
        energy_scale = max(energy_scale, *(abs(energy[d] - energy[outside]) for d in typical))
        energy_jump = max(energy_jump, abs(energy[inside] - energy[outside]))
        if probe.differentiable:
            forces = [probe.gradient(*states[d]) for d in (inside, outside)]
            force_jump = max(force_jump, float(np.max(np.abs(forces[0] - forces[1]))))
    detail = f"energy jumps by {energy_jump:.1e}, force by {force_jump:.1e}"
    finite = bool(np.isfinite(energy_jump + force_jump))
    if energy_jump <= probe.tolerance.energy_jump * energy_scale:
        energy_jump = 0.0
    if force_jump * probe.cutoff <= probe.tolerance.force_jump * energy_scale:
        force_jump = 0.0
    jumps = bool(energy_jump or force_jump)
    if jumps:
        detail += f"; a pair's energy reaches {energy_scale:.1e}"
    return Check("cutoff", finite, detail, jumps), energy_jump, force_jump


def _pair_in_company(probe, pair, distance):
    """Return a pair `distance` cutoffs apart, each with a neighbour, four more atoms far away."""
    x = np.array([0.0, distance, -0.5, distance + 0.5, 10.0, 20.0, 30.0, 40.0])
    positions = np.zeros((_N_ATOMS, 3))
    positions[:, 0] = x * probe.cutoff
    return np.array([*pair, *pair, *[pair[0]] * 4]), positions


def _parity(probe):
    """For each column of a message between equal elements + or -: does it stay or turn its sign
    where r_ij is reversed? None where a column does neither. One that is always zero stays."""
    distances = np.linspace(0.05, 0.99, _PARITY_DISTANCES)
    directions = probe.random.normal(size=(_PARITY_DISTANCES, _N_ATOMS, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    r_ij = (probe.cutoff * distances[:, None, None] * directions).reshape(-1, 3)
    signs = np.ones((2, jax.eval_shape(probe.edge, *_edge_shapes(probe)).shape[1]), bool)
    for number in atomic_numbers(probe.elements):
        h = probe.node_init(np.full(len(r_ij), number))
        messages = (probe.edge(h, h, jnp.asarray(r, h.dtype)) for r in (r_ij, -r_ij))
        here, there = (
            np.asarray(m, np.float64).reshape(_PARITY_DISTANCES, _N_ATOMS, -1) for m in messages
        )
        tolerated = probe.tolerance.parity * np.max(np.abs(here), axis=1, keepdims=True)
        for kind, sign in enumerate((1, -1)):
            signs[kind] &= np.all(np.abs(there - sign * here) <= tolerated, axis=(0, 1))
    even, odd = signs
    return "".join(np.where(even, "+", "-")) if np.all(even | odd) else None


def _isolated_energies(probe):
    width = jax.eval_shape(probe.edge, *_edge_shapes(probe)).shape[1]
    isolated = {}
    for first in range(0, len(probe.elements), _N_ATOMS):
        elements = probe.elements[first : first + _N_ATOMS]
        h = probe.node_init(np.resize(atomic_numbers(elements), _N_ATOMS))
        energies = np.asarray(probe.readout(h, jnp.zeros((_N_ATOMS, width), h.dtype)))
        isolated.update(zip(elements, energies.tolist(), strict=False))
    return isolated


def _edge_shapes(probe):
    h = jax.eval_shape(probe.node_init, jax.ShapeDtypeStruct((_N_ATOMS,), jnp.int32))
    return h, h, jax.ShapeDtypeStruct((_N_ATOMS, 3), h.dtype)
