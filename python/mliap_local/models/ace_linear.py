"""Linear ACE models of ACEsuit, `model.npz`, through the package `ace-jax` that fits them.

    A_i[v] = sum_j R_v(r_ij) Y_v(r_ij)    e_i = E0 + sum_t c_t prod_k A_i[t, k] + sum_j pair(r_ij)

`ace-jax` reads the file, folds the coupling into c, and gives radial functions and harmonics, which
are traced here: the exported model needs it no more. Source: C. van der Oord et al., Mach. Learn.:
Sci. Technol. 1, 015004 (2020). Arrays are checked here: JAX clamps an index that is out of range.
"""

import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import ELEMENT_SYMBOLS, Converted, ModelFunctions, atomic_numbers
from .ace_products import evaluate, plan
from .places import embedding, place_of
from .text import MOST_BYTES, PotentialFileError

# Names of arrays whose first two axes are pairs of elements, where the file has them.
_PAIRS = (
    "rnl_transform rnl_envelope pair_transform pair_envelope rnl_Wnlq pair_Wnlq "
    "rnl_spline_coefs pair_spline_coefs"
).split()


def linear_ace(path: Path) -> Converted:
    """Read a `model.npz` and make its functions.

    Raises:
      PotentialFileError: the file cannot be opened, is no linear model of ace-jax, or is broken.
      ImportError: there is no ace-jax.
    """
    _check_zip(path)
    try:
        import ace_jax

        model, meta, arrays = ace_jax.load(str(path))
        elements = tuple(ELEMENT_SYMBOLS[number] for number in _integers(meta["elements"], 1, 118))
        atomic_numbers(elements)
        _check(model, arrays, len(elements))
        cutoff = float(meta["rcut"])
        _need(0 < cutoff < np.inf, "a positive cutoff (rcut)", cutoff)
    except ImportError:
        raise
    except PotentialFileError as error:
        raise PotentialFileError(f"{path}: {error}") from error
    except Exception as error:  # whatever a reader does that expects a sound file
        found = f"{type(error).__name__}: {error}"
        raise PotentialFileError(
            f"{path}: expected a linear model of ace-jax (model.npz), found {found[:200]}"
        ) from error
    comment = str(meta.get("source", ""))[:200]
    return Converted(
        functions=_functions(model, elements, cutoff),
        cutoff=cutoff,
        elements=elements,
        units="metal",
        source=f"converted from {path.name}: linear ACE of ace-jax, {comment}".rstrip(", "),
    )


def _functions(model: Any, elements, cutoff) -> ModelFunctions:
    """The message: the variables that occur, and the pair energy as one column more."""
    from ace_jax.eval import with_dtype

    weights = np.asarray(model.ctilde)  # -> [t, elements]
    factors = [row for spec in model.aa_specs for row in np.asarray(spec).tolist()]
    used = sorted({v for row, w in zip(factors, weights, strict=True) if np.any(w) for v in row})
    number = {v: place for place, v in enumerate(used)}
    terms: dict[tuple[int, ...], Any] = {}
    for row, weight in zip(factors, weights, strict=True):
        if np.any(weight):
            key = tuple(sorted(number[v] for v in row))
            terms[key] = terms.get(key, 0) + weight
    products = plan(terms, len(used), len(used), len(elements))
    radial_of, columns = np.unique(np.asarray(model.aspec_r)[used], return_inverse=True)
    harmonic_of = np.asarray(model.aspec_y)[used]
    isolated, pair_weights = np.asarray(model.E0), np.asarray(model.Wpair).T
    models = {jnp.dtype(t): with_dtype(model, t) for t in (jnp.float32, jnp.float64)}

    def edge(h_i, h_j, r_ij):
        i, j = place_of(h_i), place_of(h_j)
        square = jnp.sum(r_ij * r_ij, axis=-1)
        valid = (square > 0) & (square < cutoff * cutoff) & (i >= 0) & (j >= 0)
        # replaced before any root: what is dropped must have a finite gradient too
        away = jnp.array([0, 0, 0.5 * cutoff], r_ij.dtype)
        r_ij = jnp.where(valid[:, None], r_ij, away)
        i, j = jnp.maximum(i, 0), jnp.maximum(j, 0)
        own = models[r_ij.dtype]
        radial, pair = own.radial(r_ij, i, j)
        pair = jnp.sum(pair * jnp.asarray(pair_weights, r_ij.dtype)[i], axis=1)
        variables = radial[:, radial_of][:, columns] * own.angular(r_ij)[:, harmonic_of]
        return jnp.where(valid[:, None], jnp.concatenate([variables, pair[:, None]], axis=1), 0)

    def readout(h, messages):
        place = place_of(h)
        sums = evaluate(products, messages[:, :-1].T)  # -> [elements, n]
        energy = messages[:, -1]
        for k in range(len(elements)):
            energy = energy + jnp.where(place == k, sums[k] + float(isolated[k]), 0)
        return jnp.where(place >= 0, energy, 0)

    return ModelFunctions(embedding(elements), edge, readout)


def _need(good, expected, found):
    if not good:
        raise PotentialFileError(f"expected {expected}, found {found}")


def _integers(values, least, most):
    values = np.asarray(values)
    _need(
        np.issubdtype(values.dtype, np.integer) and np.all((least <= values) & (values <= most)),
        f"integers from {least} to {most}",
        values.ravel()[:8].tolist(),
    )
    return values.tolist()


def _check(model, arrays, n_elements):
    """Check what JAX would not: ranges of indices, shapes, numbers that are finite."""
    _need("gp_json" not in arrays.files, "a linear model", "a Gaussian process, which has no sum")
    for name in arrays.files:
        values = arrays[name]
        real = np.issubdtype(values.dtype, np.floating)
        _need(not real or np.all(np.isfinite(values)), f"finite numbers in {name}", "others")
        if name in _PAIRS:
            _need(values.shape[:2] == (n_elements,) * 2, f"{name} for all pairs", values.shape)
    n_b, n_aa = int(model.a2b_shape[0]), int(sum(len(spec) for spec in model.aa_specs))
    n_pair = model.Wpair.shape[0]
    for name, shape in (("WB", (n_b, n_elements)), ("Wpair", (n_pair, n_elements))):
        _need(arrays[name].shape == shape, f"{name} of shape {shape}", arrays[name].shape)
    _need(arrays["E0"].shape == (n_elements,), f"{n_elements} energies E0", arrays["E0"].shape)
    if "A2B_rows" in arrays.files:
        _integers(arrays["A2B_rows"], 0, n_b - 1)
        _integers(arrays["A2B_cols"], 0, n_aa - 1)
        _need(tuple(arrays["A2B_shape"]) == (n_b, n_aa), f"A2B of shape {(n_b, n_aa)}", "another")
    n_radial, n_harmonics = model.edge_a_widths()
    _integers(arrays["aspec_r"], 0, n_radial - 1)
    _integers(arrays["aspec_y"], 0, n_harmonics - 1)
    _need(len(arrays["aspec_r"]) == len(arrays["aspec_y"]), "aspec_r as long as aspec_y", "not")
    for order, spec in enumerate(model.aa_specs, 1):
        _need(spec.shape[1:] == (order,), f"aa_spec_{order} of {order} columns", spec.shape)
        _integers(spec, 0, len(arrays["aspec_r"]) - 1)


def _check_zip(path):
    """An archive that unpacks to more than any potential is refused before it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except OSError as error:
        raise PotentialFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise PotentialFileError(
            f"{path}: expected a model.npz, found no archive ({error})"
        ) from error
    if size > MOST_BYTES:
        raise PotentialFileError(
            f"{path}: expected at most {MOST_BYTES} bytes unpacked, found {size}"
        )
