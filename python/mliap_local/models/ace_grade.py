"""The grade of extrapolation of a linear ACE, by an active set of pacemaker (`.asi`).

    gamma_i = max_k | sum_b B_ib (A^-1)_bk |

B are the functions of the atom's element, A their values at as many atoms of the training, which
MaxVol chose: gamma is the largest coefficient of the atom in these, up to 1 inside. An active set
that is larger by the number of densities (`pace_activeset --full`) has dF/drho_p B_ib in the place
of B. Sources: E. Podryabinkin, A. Shapeev, Comput. Mater. Sci. 140, 171 (2017); Y. Lysogorskiy et
al., Phys. Rev. Materials 7, 043801 (2023); ICAMS/lammps-user-pace (`ace_b_evaluator.cpp`).
"""

import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike

import jax
import jax.numpy as jnp
import numpy as np

from .ace_files import Potential, Variable, signed_product
from .text import MOST_BYTES, PotentialFileError

_REMEDY = "make the active set anew: pace_activeset -d fitting_data_info.pckl.gzip POTENTIAL.yaml"


def read_active_set(path: str | PathLike, potential: Potential) -> list[np.ndarray]:
    """Read the inverted active set of each element, `[b, b]`.

    Raises:
      PotentialFileError: the file cannot be opened, is none of these, or of another potential.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            _fail(path, f"at most {MOST_BYTES} bytes unpacked", size)
        with np.load(path, allow_pickle=False) as archive:
            # a member that numpy does not know is bytes
            arrays = {name: np.asarray(values) for name, values in archive.items()}
    except OSError as error:
        raise PotentialFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except PotentialFileError:
        raise
    except Exception as error:  # whatever zipfile and numpy raise over a broken file
        _fail(path, "an active set, which numpy can read without pickle", error)
    names = ", ".join(potential.elements)
    if sorted(arrays) != sorted(potential.elements):
        _fail(path, f"an array for each of {names}", ", ".join(sorted(arrays)) or "none")
    found, full = [], set()
    for k, element in enumerate(potential.elements):
        values, n = arrays[element], len(potential.projections[k])
        n_full = n * len(potential.embeddings[k].parameters)
        if values.shape not in ((n, n), (n_full, n_full)):
            sizes = f"{n}" if n == n_full else f"{n} (linear) or {n_full} (full)"
            _fail(path, f"for {element} rows and columns {sizes}, as the potential has functions",
                  " x ".join(map(str, values.shape)) or "one number")  # fmt: skip
        if values.dtype.kind != "f" or not np.all(np.isfinite(values)):
            _fail(path, f"finite numbers for {element}", f"others, of {values.dtype}")
        if n > 1 and not np.any(values - np.diag(np.diag(values))):
            # python-ace 0.4.0rc1 writes such full ones, of functions that are zero
            _fail(path, f"an active set of functions for {element}", "a diagonal matrix")
        found.append(np.asarray(values, float))
        full.add(len(values) != n)
    if len(full) > 1:
        _fail(path, "linear or full active sets of all elements", "both")
    return found


def _fail(path, expected, found):
    raise PotentialFileError(f"{path}: expected {expected}, found {found}: {_REMEDY}")


class LargestCoefficient:
    """gamma of atoms from their sums.

    Args:
      number: places of variables.
      first: element of the neighbours and n of functions of one factor.
      inverses: of each element.
    """

    def __init__(
        self,
        potential: Potential,
        number: Mapping[Variable, int],
        first: Sequence[tuple[int, int]],
        inverses: Sequence[np.ndarray],
    ):
        self.inverses = inverses
        self.full = any(
            len(a) > len(f) for a, f in zip(inverses, potential.projections, strict=True)
        )
        self.first, self.ranks = [], []
        for functions in potential.projections:
            alone = [f for f in functions if len(f.n) == 1]
            self.first.append([first.index((f.neighbours[0], f.n[0])) for f in alone])
            self.ranks.append(self._terms(functions, number))

    @staticmethod
    def _terms(functions, number):
        """For each number of factors: places `[t, factors]`, weights and functions of products."""
        ranks = []
        for rank in sorted({len(f.n) for f in functions} - {1}):
            group = [f for f in functions if len(f.n) == rank]
            places, weights, owners = [], [], []
            for k, f in enumerate(group):
                for ms, (weight,) in zip(f.m.tolist(), f.weights, strict=True):
                    product, sign = signed_product(number, f, ms)
                    places.append([v if v >= 0 else len(number) + ~v for v in product])
                    weights.append(sign * weight)
                    owners.append(k)
            arrays = np.array(places, np.int32), np.array(weights), np.array(owners, np.int32)
            ranks.append((*arrays, len(group)))
        return ranks

    def __call__(self, place, first, real, imaginary, slopes):
        """Return gamma, `[n]`.

        Args:
          place: of the elements, `int[n]`.
          first: functions of one factor, `[f, n]`.
          real, imaginary: parts of the variables, `[v, n]`.
          slopes: dF/drho, `[p, n]`; None for a linear active set.
        """
        real = jnp.concatenate([real, real])
        imaginary = jnp.concatenate([imaginary, -imaginary])
        grade = jnp.full(place.shape, jnp.inf, real.dtype)
        for k, inverse in enumerate(self.inverses):
            values = [first[np.array(self.first[k], np.int32)]]
            for places, weights, owners, n_functions in self.ranks[k]:
                x, y = real[places[:, 0]], imaginary[places[:, 0]]
                for column in places.T[1:]:
                    x, y = (
                        x * real[column] - y * imaginary[column],
                        x * imaginary[column] + y * real[column],
                    )
                x = x * jnp.asarray(weights, x.dtype)[:, None]
                values.append(jax.ops.segment_sum(x, owners, n_functions, indices_are_sorted=True))
            b = jnp.concatenate(values)  # -> [b, n]
            if slopes is not None:
                n_densities = len(inverse) // len(b)
                b = jnp.concatenate([slope * b for slope in slopes[:n_densities]])
            largest = jnp.max(jnp.abs(jnp.asarray(inverse.T, b.dtype) @ b), axis=0)
            grade = jnp.where(place == k, largest, grade)
        return grade
