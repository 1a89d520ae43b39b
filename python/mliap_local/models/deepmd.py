"""Models of DeePMD-kit: se_e2_a, se_e2_r, se_atten without attention, and hybrids of them.

    R_ij = (w/r, w x/r^2, w y/r^2, w z/r^2)      M_i = sum_j R_ij G(R_ij0)      D_i = M_i^T M_i<
    e_i = net(D_i) + E0_i                        w(r): 1 up to rcut_smth, 0 from rcut on

G is a network of one number with some hundred outputs, `M_i<` some columns of `M_i`. R is shifted
and scaled. Sources: L. Zhang et al., Adv. Neural Inf. Process. Syst. 31 (2018); D. Zhang et al., npj
Comput. Mater. 10, 94 (2024); layout and factors: deepmd-kit's numpy backend. DeePMD-kit takes the
nearest neighbours up to a number, `sel`, and empty slots of neighbours contribute; a sum takes all
neighbours, and is the same as long as there are no more than slots. `read_deepmd` is the only
function that opens a file.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions
from .deepmd_files import DeepPotential, activation, read_deepmd
from .places import embedding, place_of
from .text import PotentialFileError, find_potential

_REMEDY = "pip install 'mliap-local[deepmd]'"


def add_arguments(parser):
    """Arguments of `mliap-local convert deepmd`."""
    parser.add_argument("file", metavar="FILE", type=find_potential, help="a .dp or .yaml file")
    parser.add_argument("--elements", nargs="+", metavar="X", help="keep only these elements")


def convert(options) -> Converted:
    """Read what `options` name."""
    try:
        potential = read_deepmd(options.file)
    except ImportError as error:
        raise ImportError(f"{options.file} needs the package {error.name}: {_REMEDY}") from error
    source = f"converted from {Path(options.file).name}: DeePMD-kit"
    if options.elements:
        source += f", {len(potential.elements)} elements, of which some are kept"
        try:
            potential = potential.keeping(options.elements)
        except ValueError as error:
            raise PotentialFileError(f"{options.file}: --elements: {error}") from error
    rule = f"DeePMD-kit takes the nearest {potential.slots} Angstrom; here all neighbours count"
    return Converted(
        functions=deepmd(potential),
        cutoff=potential.cutoff,
        elements=potential.elements,
        units="metal",
        source=f"{source}; {rule}",
    )


def deepmd(potential: DeepPotential) -> ModelFunctions:
    """Make the functions of the formula above.

    The embedding is one column, the element's place. The message has the sums of each descriptor,
    the four components apart, and how many neighbours there are of each element where empty slots
    contribute. Atoms of other elements send and receive nothing and have no energy.
    """
    counted = any(np.any(d.slot) for d in potential.descriptors)
    return ModelFunctions(
        embedding(potential.elements), _edge(potential, counted), _readout(potential, counted)
    )


def _edge(p, counted):
    n = len(p.elements)

    def of_pair(table, pair, dtype):
        """[n, n] -> [e], or a number where all pairs have the same."""
        if np.all(table == table.flat[0]):
            return float(table.flat[0])
        return jnp.asarray(table.ravel(), dtype)[pair]

    def columns(d, pair, r, unit):
        """The sums' terms of one descriptor, `[rows, e]`."""
        gain, vector_gain, offset = (
            of_pair(t, pair, r.dtype) for t in (d.gain, d.vector_gain, d.offset)
        )
        u = jnp.clip((r - d.inner) / (d.cutoff - d.inner), 0, 1)
        w = 1 + u * u * u * (-10 + u * (15 - 6 * u))
        near = w / (r + d.protection)
        first = gain * near + offset
        inputs = first[None]
        if d.inputs.shape[2]:
            table = jnp.asarray(d.inputs.reshape(n * n, -1), r.dtype)
            inputs = jnp.concatenate([inputs, table[pair].T])
        g = _networks(d.networks, jnp.asarray(d.network.ravel())[pair], inputs)  # -> [m, e]
        if d.factors is not None:
            factors = jnp.asarray(d.factors.reshape(n * n, -1), r.dtype)[pair].T
            g = g * (1 + factors * w if d.smooth else 1 + factors)
        if not d.angular:
            return g
        along = vector_gain * near * (r / (r + d.protection))
        four = jnp.stack([first, *(along * x for x in unit)])
        return (four[:, None] * g).reshape(-1, r.shape[0])  # -> [4 m, e]

    def edge(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        x, y, z = r_ij.T
        square = x * x + y * y + z * z
        valid = (square > 0) & (i >= 0) & (j >= 0)
        # replaced before the root: what is dropped must have a finite gradient too
        r = jnp.sqrt(jnp.where(valid, square, p.cutoff**2))
        pair = jnp.where(valid, i * n + j, 0)
        rows = [columns(d, pair, r, (x / r, y / r, z / r)) for d in p.descriptors]
        if counted:
            rows.append((j == np.arange(n)[:, None]).astype(r.dtype))
        return jnp.where(valid, jnp.concatenate(rows), 0).T  # -> [e, m]

    return edge


def _networks(networks, which, x):
    """Apply to each column of x the network of its number, `[in, e] -> [out, e]`.

    All are evaluated layer by layer, and then one is taken: a matrix product is faster than a
    look-up of matrices.
    """
    for layers in zip(*networks, strict=True):
        first = layers[0]

        def of(arrays):
            parts = [jnp.asarray(a, x.dtype)[:, None] for a in arrays]
            value = parts[0]
            for k, part in enumerate(parts[1:], 1):
                value = jnp.where(which == k, part, value)
            return value

        weights = np.concatenate([layer.weight for layer in layers], axis=1).T
        products = (jnp.asarray(weights, x.dtype) @ x).reshape(len(layers), -1, x.shape[1])
        y = products[0]
        for k in range(1, len(layers)):
            y = jnp.where(which == k, products[k], y)
        y = activation(first.activation, y + of([layer.bias for layer in layers]), jnp)
        if first.step is not None:
            y = y * of([layer.step for layer in layers])
        if first.residual:
            y = y + jnp.concatenate([x] * first.residual)
        x = y
    return x


def _readout(p, counted):
    n = len(p.elements)

    def descriptors(place, messages):
        counts = messages[:, -n:] if counted else None
        start, found = 0, []
        for d in p.descriptors:
            m = d.columns
            missing = jnp.asarray(d.empty, messages.dtype)[place]
            if counts is not None:
                slot = jnp.asarray(d.slot, messages.dtype)[place]  # -> [n, elements, m]
                missing = missing - jnp.sum(counts[:, :, None] * slot, axis=1)
            sums = messages[:, start : start + (4 * m if d.angular else m)]
            start += sums.shape[1]
            if d.angular:
                four = sums.reshape(-1, 4, m)
                four = four.at[:, 0].add(missing) / d.divisor
                product = jnp.einsum("nkm,nka->nma", four, four[:, :, : d.axis])
                found.append(product.reshape(-1, m * d.axis))
            else:
                found.append((sums + missing) / d.divisor)
            if d.appended.shape[1]:
                found.append(jnp.asarray(d.appended, messages.dtype)[place])
        return jnp.concatenate(found, axis=1)

    def readout(h, messages):
        i = place_of(h)
        place = jnp.maximum(i, 0)
        q = descriptors(place, messages)
        which = jnp.asarray(p.fitting)[place]
        energy = _networks(p.fittings, which, q.T)[0]
        energy = energy + jnp.asarray(p.energies, h.dtype)[place]
        return jnp.where((i >= 0) & ~jnp.asarray(p.silent)[place], energy, 0)  # -> [n]

    return readout
