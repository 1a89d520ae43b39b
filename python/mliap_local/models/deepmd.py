"""Models of DeePMD-kit: se_e2_a, se_e2_r, se_atten without attention, and hybrids of them.

    R_ij = (w/r, w x/r^2, w y/r^2, w z/r^2)      M_i = sum_j R_ij G(R_ij0)      D_i = M_i^T M_i<
    e_i = net(D_i) + E0_i                        w(r): 1 up to rcut_smth, 0 from rcut on

G is a network of one number with some hundred outputs, `M_i<` some columns of `M_i`. R is shifted
and scaled. Sources: L. Zhang et al., Adv. Neural Inf. Process. Syst. 31 (2018); D. Zhang et al.,
npj Comput. Mater. 10, 94 (2024); layout and factors: deepmd-kit's numpy backend. DeePMD-kit takes
the nearest neighbours up to a number, `sel`, and empty slots of neighbours contribute; a sum takes
all neighbours, and is the same as long as there are no more than slots. `read_deepmd` is the only
function that opens a file.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from . import Converted, ModelFunctions
from .deepmd_files import DeepPotential, activation, read_deepmd
from .deepmd_table import CLOSEST, tabulated
from .places import embedding, place_of
from .text import PotentialFileError, find_potential

_REMEDY = "pip install 'mliap-local[deepmd]'"


def add_arguments(parser):
    """Arguments of `mliap-local convert deepmd`."""
    parser.add_argument("file", metavar="FILE", type=find_potential, help="a .dp or .yaml file")
    parser.add_argument("--elements", nargs="+", metavar="X", help="keep only these elements")
    parser.add_argument(
        "--tabulate",
        type=float,
        metavar="TOLERANCE",
        help="splines in place of embedding networks, with at most this relative error (1e-8)",
    )


def convert(options) -> Converted:
    """Read what `options` name."""
    try:
        potential = read_deepmd(options.file)
    except ImportError as error:
        raise ImportError(f"{options.file} needs the package {error.name}: {_REMEDY}") from error
    source = f"converted from {Path(options.file).name}: DeePMD-kit"
    if options.elements:
        source += f", of {len(potential.elements)} elements {' '.join(options.elements)}"
        try:
            potential = potential.keeping(options.elements)
        except ValueError as error:
            raise PotentialFileError(f"{options.file}: --elements: {error}") from error
    overlap = None
    if options.tabulate is not None:
        try:
            potential, values, slopes = tabulated(potential, options.tabulate)
        except ValueError as error:
            raise PotentialFileError(f"{options.file}: --tabulate: {error}") from error
        overlap = CLOSEST
        source += f", embedding tabulated: {values:.0e} off in values, {slopes:.0e} in slopes"
    rule = (
        f"DeePMD-kit takes no more neighbours than sel, the nearest {potential.slots} Angstrom; "
        "here all neighbours count"
    )
    return Converted(
        functions=deepmd(potential),
        cutoff=potential.cutoff,
        elements=potential.elements,
        units="metal",
        source=f"{source}; {rule}",
        overlap=overlap,
        note=rule,
        half=True,  # tabulated too, where operations are few but look-ups are not
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

    def factors(d, pair, r, unit):
        """What the networks see, w, and the components of R, or 1, `[1 or 4, e]`."""
        gain, vector_gain, offset = (
            of_pair(t, pair, r.dtype) for t in (d.gain, d.vector_gain, d.offset)
        )
        u = jnp.clip((r - d.inner) / (d.cutoff - d.inner), 0, 1)
        w = 1 + u * u * u * (-10 + u * (15 - 6 * u))
        near = w / (r + d.protection)
        x = gain * near + offset
        if not d.angular:
            return x, w, jnp.ones_like(x)[None]
        along = vector_gain * near * (r / (r + d.protection))
        return x, w, jnp.stack([x, *(along * a for a in unit)])

    def from_networks(d, pair, r, unit, valid):
        """The terms of a descriptor's sums, `[rows, e]`."""
        x, w, parts = factors(d, pair, r, unit)
        inputs = x[None]
        if d.inputs.shape[2]:
            table = jnp.asarray(d.inputs.reshape(n * n, -1), x.dtype)
            inputs = jnp.concatenate([inputs, table[pair].T])
        g = _networks(d.networks, jnp.asarray(d.network.ravel(), jnp.int32)[pair], inputs)
        if d.factors is not None:
            more = jnp.asarray(d.factors.reshape(n * n, -1), x.dtype)[pair].T
            g = g * (1 + more * w if d.smooth else 1 + more)
        return ((parts * valid)[:, None] * g).reshape(-1, r.shape[0])

    def from_table(d, pair, r, unit, sender):
        """The same, apart for each sender, `[e, rows]`: a table is faster with edges first."""
        x, _, parts = factors(d, pair, r, unit)
        g = _spline(d.table, jnp.asarray(d.network.ravel(), jnp.int32)[pair], x)
        parts = (sender[:, :, None] * parts.T[:, None]).reshape(r.shape[0], -1)
        return (parts[:, :, None] * g[:, None]).reshape(r.shape[0], -1)

    def edge(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        x, y, z = r_ij.T
        square = x * x + y * y + z * z
        valid = (square > 0) & (i >= 0) & (j >= 0)
        # replaced before the root: what is dropped must have a finite gradient too
        r = jnp.sqrt(jnp.where(valid, square, p.cutoff**2))
        pair = jnp.where(valid, i * n + j, 0)
        sender = (valid & (j == np.arange(n)[:, None])).astype(r.dtype)  # -> [n, e]
        geometry = pair, r, (x / r, y / r, z / r)
        if p.descriptors[0].table is None:
            rows = [from_networks(d, *geometry, valid) for d in p.descriptors]
            return jnp.concatenate(rows + [sender] * counted).T  # -> [e, m]
        columns = [from_table(d, *geometry, sender.T) for d in p.descriptors]
        return jnp.concatenate(columns + [sender.T] * counted, axis=1)  # -> [e, m]

    return edge


def _networks(networks, which, x):
    """Apply to each column of x the network of its number, `[in, e] -> [out, e]`.

    All are evaluated layer by layer, and then one is taken: a matrix product is faster than a
    look-up of matrices.
    """

    def chosen(rows):
        value = rows[0]
        for k, row in enumerate(rows[1:], 1):
            value = jnp.where(which == k, row, value)
        return value

    for layers in zip(*networks, strict=True):
        first, width = layers[0], layers[0].weight.shape[1]
        weights = np.concatenate([layer.weight for layer in layers], axis=1).T
        products = jnp.asarray(weights, x.dtype) @ x
        y = chosen(
            [
                products[k * width : (k + 1) * width] + jnp.asarray(layer.bias, x.dtype)[:, None]
                for k, layer in enumerate(layers)
            ]
        )
        y = activation(first.activation, y, jnp)
        if first.step is not None:
            y = y * chosen([jnp.asarray(layer.step, x.dtype)[:, None] for layer in layers])
        if first.residual:
            y = y + jnp.concatenate([x] * first.residual)
        x = y
    return x


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spline(table, which, x):
    """The functions of networks of these numbers, `[e] -> [e, r]`; constant beyond the table."""
    return _polynomials(table, which, x, np.eye(6))


@_spline.defjvp
def _spline_jvp(table, primals, tangents):
    which, x = primals
    inside = (x > table.start) & (x < table.start + table.step * table.coefficients.shape[1])
    slopes = _polynomials(table, which, x, np.diag(np.arange(1.0, 6), 1) / table.step)
    return _spline(table, which, x), slopes * jnp.where(inside, tangents[1], 0)[:, None]


def _polynomials(table, which, x, change):
    """Splines whose coefficients are changed so, `[6, 6]`."""
    count = table.coefficients.shape[1]
    t = jnp.clip((x - table.start) / table.step, 0, count)
    interval = jnp.minimum(t.astype(jnp.int32), count - 1)
    u = (t - interval)[:, None]
    powers = jnp.concatenate([jnp.ones_like(u), u, u**2, u**3, u**4, u**5], axis=1)
    flat = table.coefficients.reshape(-1, *table.coefficients.shape[2:])
    c = jnp.asarray(flat, x.dtype)[which * count + interval]  # -> [e, 6, r]
    return jnp.einsum("ek,ekr->er", powers @ jnp.asarray(change, x.dtype), c)


def _readout(p, counted):
    n = len(p.elements)

    def descriptor(d, place, sums, counts):
        """`[n, width]`, or what takes its place with tables; counts of neighbours by element."""
        parts, dtype = 4 if d.angular else 1, sums.dtype
        # empty slots contribute to the first component
        first = jnp.asarray(np.eye(1, parts).T, dtype)
        slot = d.slot
        if d.table is not None:
            slot = np.einsum("ijm,ijqm->ijq", slot, d.table.basis[d.network])
        lost = jnp.zeros((1, n, 1), dtype)
        if counts is not None:
            lost = counts[:, :, None] * jnp.asarray(slot, dtype)[place]  # -> [n, elements, m]
        if d.table is None:
            added = jnp.asarray(d.empty, dtype)[place] - jnp.sum(lost, axis=1)
            sums = sums.reshape(place.shape[0], parts, -1) + added[:, None] * first
            axis = sums[:, :, : d.axis]
        else:
            sums = sums.reshape(place.shape[0], n, parts, -1) - lost[:, :, None] * first
            sums = sums.swapaxes(1, 2)
            one = jnp.broadcast_to(first, (place.shape[0], parts, 1))
            sums = jnp.concatenate([sums.reshape(place.shape[0], parts, -1), one], axis=2)
            axes = np.stack([d.joined(i)[:, : d.axis] for i in range(n)])
            axis = jnp.einsum("nkp,npa->nka", sums, jnp.asarray(axes, dtype)[place])
        if not d.angular:
            return sums[:, 0] / d.divisor
        return jnp.einsum("nkp,nka->npa", sums, axis).reshape(place.shape[0], -1) / d.divisor**2

    def descriptors(place, messages):
        counts = messages[:, -n:] if counted else None
        start, found = 0, []
        for d in p.descriptors:
            width = (4 if d.angular else 1) * (n * d.table.basis.shape[1] if d.table else d.columns)
            found.append(descriptor(d, place, messages[:, start : start + width], counts))
            start += width
            if d.appended.shape[1]:
                found.append(jnp.asarray(d.appended, messages.dtype)[place])
        return jnp.concatenate(found, axis=1)

    def readout(h, messages):
        i = place_of(h)
        place = jnp.maximum(i, 0)
        which = jnp.asarray(p.fitting, jnp.int32)[place]
        energy = _networks(p.fittings, which, descriptors(place, messages).T)[0]
        energy = energy + jnp.asarray(p.energies, h.dtype)[place]
        return jnp.where((i >= 0) & ~jnp.asarray(p.silent)[place], energy, 0)  # -> [n]

    return readout
