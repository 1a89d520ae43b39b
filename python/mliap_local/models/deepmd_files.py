"""What a model of DeePMD-kit holds, and its two formats, `.dp` (HDF5) and `.yaml`.

Source: deepmd-kit's numpy backend (`deepmd.dpmodel`, version 3.2), which defines both. Every failure
names the file and the place in it. Other models than sums over neighbours are refused by name.
Evaluates nothing but the constants that empty slots of neighbours contribute.
"""

import json
import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..model_file.errors import printable
from . import atomic_numbers
from .text import MOST_BYTES, PotentialFileError

#: Larger numbers are mistakes, and would ask for all memory.
MOST_ELEMENTS, MOST_LAYERS, MOST_NEURONS, MOST_SLOTS, MOST_PARTS = 118, 32, 1 << 14, 1 << 16, 16
MOST_VALUES = 1 << 26  # of one array

ACTIVATIONS = (
    *("tanh", "relu", "relu6", "gelu", "gelu_tf", "softplus", "sigmoid", "silu", "linear", "none"),
)
_SYNONYMS = {"gelu_tf": "gelu", "none": "linear"}
_SILUT = ("silut", "custom_silu")  # with a threshold after a colon, or 3

_ENDINGS = (".dp", ".yaml", ".yml")
# Of other backends, with what they are asked to do; the rest is no model that we know.
_CONVERTED = (".pb", ".pbtxt", ".pth", ".pt", ".pt2", ".pte", ".pd", ".json", ".hlo", ".jax")

_ANGULAR, _RADIAL, _ATTENTION = ("se_e2_a", "se_a"), ("se_e2_r", "se_r"), ("se_atten", "dpa1")
_STRIPPED = "se_atten_v2"
_DESCRIPTORS = (*_ANGULAR, *_RADIAL, *_ATTENTION, _STRIPPED, "hybrid")
_WHY_NOT = {
    "dpa2": "messages travel more than once",
    "dpa3": "messages travel more than once",
    "se_e3": "a sum over pairs of neighbours",
    "se_at": "a sum over pairs of neighbours",
    "se_a_3be": "a sum over pairs of neighbours",
    "se_e3_tebd": "a sum over pairs of neighbours",
    "linear": "a sum of models: convert the one that is needed",
    "linear_ener": "a sum of models: convert the one that is needed",
    "zbl": "its switch follows the nearest neighbour, which no sum knows",
    "pairtab": "a table without a network: LAMMPS has pair_style table",
    "spin_ener": "it needs spins",
    "native_spin": "it needs spins",
    "dipole": "no energy",
    "polar": "no energy",
    "dos": "no energy",
    "property": "no energy",
}


class Layer(NamedTuple):
    """`y = step * activation(x @ weight + bias)`, and `x`, or `x` twice, if it is residual."""

    weight: np.ndarray  #: `[in, out]`
    bias: np.ndarray  #: `[out]`
    step: np.ndarray | None  #: `[out]`
    activation: str
    residual: int  #: 0, 1 or 2: how often x is added, side by side


Network = tuple[Layer, ...]


class Table(NamedTuple):
    """Networks of one number as splines: the outputs are `functions @ basis`."""

    start: float  #: of the first interval
    step: float
    coefficients: np.ndarray  #: `[networks, intervals, 6, r]`, of powers of 0 to 1 in an interval
    basis: np.ndarray  #: `[networks, r, m]`


class Descriptor(NamedTuple):
    """One descriptor of `n` elements, in Angstrom; `[n, n]` are receiver and sender.

    Its sums are of `R G(R_0)`, or of `G(R_0)` if it is not `angular`, over `divisor`, with
    `R_0 = gain w / r + offset` and three others `vector_gain w x / r^2`; w falls from 1 at `inner`
    to 0 at `cutoff`. G is a network of `R_0` and `inputs`, times `1 + factors`.

    An empty slot contributes what `w = 0` does, so sums over neighbours are of differences from it,
    and `empty` is what is there without neighbours. Pairs that do not see each other have no gain.
    """

    angular: bool
    cutoff: float
    inner: float
    protection: float  #: added to r where it divides
    axis: int  #: columns of the second factor of the square
    divisor: float
    gain: np.ndarray  #: `[n, n]`
    vector_gain: np.ndarray  #: `[n, n]`
    offset: np.ndarray  #: `[n, n]`
    networks: tuple[Network, ...]
    network: np.ndarray  #: `[n, n]`, the network of a pair
    inputs: np.ndarray  #: `[n, n, k]`
    factors: np.ndarray | None  #: `[n, n, m]`
    smooth: bool  #: the factors are multiplied with w
    slot: np.ndarray  #: `[n, n, m]`, of an empty slot, the first component of an angular one
    empty: np.ndarray  #: `[n, m]`, of all slots
    appended: np.ndarray  #: `[n, k]`, joined to the descriptor
    sel: np.ndarray  #: slots of each element, or of all together
    table: Table | None = None  #: instead of the networks, which the fitting then knows of

    @property
    def columns(self) -> int:
        """Of G."""
        return self.networks[0][-1].weight.shape[1]

    def joined(self, i: int) -> np.ndarray:
        """What G's sums around element i are with a table: of each sender's functions, and 1."""
        assert self.table is not None
        return np.concatenate([*self.table.basis[self.network[i]], self.empty[i][None]])

    @property
    def width(self) -> int:
        """Of the descriptor."""
        return self.columns * (self.axis if self.angular else 1) + self.appended.shape[1]


class DeepPotential(NamedTuple):
    """The content of a file, in eV and Angstrom, for `n` elements."""

    elements: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]
    fittings: tuple[Network, ...]  #: one, or one for each element
    fitting: np.ndarray  #: `[n]`, the network of an element
    silent: np.ndarray  #: bool `[n]`: the element has no energy
    energies: np.ndarray  #: `[n]`, added

    @property
    def cutoff(self) -> float:
        """Largest distance of neighbours."""
        return max(d.cutoff for d in self.descriptors)

    @property
    def slots(self) -> str:
        """How many neighbours DeePMD-kit takes, in words."""

        def words(d):
            if len(d.sel) == 1:
                return f"{d.sel[0]}"
            return " and ".join(f"{n} {e}" for n, e in zip(d.sel, self.elements, strict=True))

        return ", ".join(dict.fromkeys(f"{words(d)} within {d.cutoff:g}" for d in self.descriptors))

    def keeping(self, elements: Sequence[str]) -> "DeepPotential":
        """Return the potential of some of the elements; the slots of the others stay empty.

        Raises:
          ValueError: an element that it does not know, or one named twice.
        """
        atomic_numbers(elements)
        if missing := [element for element in elements if element not in self.elements]:
            raise ValueError(
                f"the model has no {' '.join(missing)}: expected elements among "
                f"{' '.join(self.elements)}"
            )
        kept = np.array([self.elements.index(element) for element in elements])
        pairs = np.ix_(kept, kept)
        descriptors = []
        for d in self.descriptors:
            used, network = np.unique(d.network[pairs], return_inverse=True)
            tables = ("gain", "vector_gain", "offset", "inputs", "slot")
            descriptors.append(
                d._replace(
                    **{name: getattr(d, name)[pairs] for name in tables},
                    networks=tuple(d.networks[k] for k in used),
                    network=network.reshape(len(kept), len(kept)),
                    factors=None if d.factors is None else d.factors[pairs],
                    empty=d.empty[kept],
                    appended=d.appended[kept],
                    sel=d.sel[kept] if len(d.sel) == len(self.elements) else d.sel,
                )
            )
        used, fitting = np.unique(self.fitting[kept], return_inverse=True)
        return DeepPotential(
            elements=tuple(elements),
            descriptors=tuple(descriptors),
            fittings=tuple(self.fittings[k] for k in used),
            fitting=fitting,
            silent=self.silent[kept],
            energies=self.energies[kept],
        )


def evaluate(network: Network, x, xp: Any = np):
    """Apply a network to rows, `[..., in] -> [..., out]`, in the precision of x.

    Args:
      xp: numpy, or what takes its place.
    """
    for layer in network:
        y = x @ xp.asarray(layer.weight, x.dtype) + xp.asarray(layer.bias, x.dtype)
        y = activation(layer.activation, y, xp)
        if layer.step is not None:
            y = y * xp.asarray(layer.step, x.dtype)
        if layer.residual:
            y = y + xp.concatenate([x] * layer.residual, axis=-1)
        x = y
    return x


def activation(name: str, x, xp: Any = np):
    """Apply an activation function, as DeePMD-kit has it."""

    def sigmoid(x):
        # of the negative size: nothing overflows
        decay = xp.exp(-xp.abs(x))
        return xp.where(x >= 0, 1, decay) / (1 + decay)

    word, _, threshold = name.partition(":")
    if word in _SILUT:
        t = float(threshold or 3)
        s = 1 / (1 + math.exp(-t))
        return xp.where(x < t, x * sigmoid(x), xp.tanh((s + t * s * (1 - s)) * (x - t)) + t * s)
    return {
        "tanh": lambda: xp.tanh(x),
        "relu": lambda: xp.where(x > 0, x, 0),
        "relu6": lambda: xp.clip(x, 0, 6),
        "gelu": lambda: 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "softplus": lambda: xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x))),
        "sigmoid": lambda: sigmoid(x),
        "silu": lambda: x * sigmoid(x),
        "linear": lambda: x,
    }[_SYNONYMS.get(name, name)]()


def read_deepmd(path: str | PathLike) -> DeepPotential:
    """Read a `.dp` or `.yaml` file.

    Raises:
      PotentialFileError: the file cannot be opened, is none of these, lacks something, holds what
        does not fit, is not finite, or is not evaluated here.
      ImportError: there is no h5py, or no PyYAML.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in _CONVERTED or path.is_dir():
        raise PotentialFileError(
            f"{path}: expected a model of the backend that needs no library ({_ENDINGS[0]}, "
            f"{_ENDINGS[1]}), found {ending or 'a folder'}; where DeePMD-kit is installed, "
            f"`dp convert-backend {path.name} {path.stem}.dp` makes one"
        )
    if ending not in _ENDINGS:
        raise PotentialFileError(
            f"{path}: expected a name ending in {', '.join(_ENDINGS)}, found {ending or 'none'}"
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PotentialFileError(f"{path}: expected a model of at most {MOST_BYTES} bytes")
        tree = _dp_tree(path) if ending == ".dp" else _yaml_tree(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PotentialFileError(f"{path}: cannot be read: {printable(reason, 200)}") from error
    return _model(tree["model"])


class _Item:
    """A value in the tree and where it stands. What is not as asked for fails.

    Args:
      path: of the file, for messages.
      value: what json or yaml made of it.
      name: the way to it.
      array_of: makes an array of what stands for one, or raises `ValueError`.
    """

    def __init__(self, path, value: Any, name: str, array_of: Callable[[Any], np.ndarray]):
        self._path, self._value, self._name, self._array_of = path, value, name, array_of

    def fail(self, expected: str, found: object) -> NoReturn:
        where = f"{self._path}: {self._name}" if self._name else f"{self._path}"
        text = printable(found if isinstance(found, str) else repr(found), 80)
        raise PotentialFileError(f"{where}: expected {expected}, found {text}")

    def _below(self, value, key):
        name = f"{self._name}/{printable(key, 40)}" if self._name else str(key)
        return _Item(self._path, value, name, self._array_of)

    def __contains__(self, key: str) -> bool:
        """Is there something of that name, and not nothing?"""
        return isinstance(self._value, dict) and self._value.get(key) is not None

    def __getitem__(self, key: str) -> "_Item":
        if not isinstance(self._value, dict):
            self.fail("a mapping", self._value)
        if key not in self._value:
            self.fail(f"an entry {key}", f"only {', '.join(map(str, self._value))}")
        return self._below(self._value[key], key)

    def items(self, least: int, most: int) -> "list[_Item]":
        if not isinstance(self._value, list):
            self.fail("a list", self._value)
        if not least <= len(self._value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            self.fail(f"{count} entries", f"{len(self._value)}")
        return [self._below(value, k) for k, value in enumerate(self._value)]

    def text(self) -> str:
        if not isinstance(self._value, str):
            self.fail("text", self._value)
        return self._value

    def number(self) -> float:
        if isinstance(self._value, bool) or not isinstance(self._value, int | float):
            self.fail("a number", self._value)
        if not abs(self._value) < 1e300:
            self.fail("a finite number", self._value)
        return float(self._value)

    def integer(self, least: int, most: int) -> int:
        if isinstance(self._value, bool) or not isinstance(self._value, int):
            self.fail("a whole number", self._value)
        if not least <= self._value <= most:
            self.fail(f"a number from {least} to {most}", self._value)
        return self._value

    def flag(self) -> bool:
        if not isinstance(self._value, bool):
            self.fail("true or false", self._value)
        return self._value

    def missing(self) -> bool:
        return self._value is None

    def entry(self, key: str, default: Any) -> "_Item":
        """The entry, or `default` where there is none, as in files of older versions."""
        return self[key] if key in self else self._below(default, key)

    def version(self, most: int) -> None:
        """Expect a layout that is known."""
        self.entry("@version", 1).integer(1, most)

    def nothing(self, key: str, why: str) -> None:
        """Expect an entry to be missing, null, false, 0 or empty."""
        if self._value.get(key):
            self[key].fail(f"none: {why}", self._value[key])

    def refuse(self, known: Sequence[str], what: str) -> str:
        """Return the text if it is a known one, else say why not."""
        word = self.text()
        if word not in known:
            why = f" ({_WHY_NOT[word]})" if word in _WHY_NOT else ""
            self.fail(f"{what} of one round of messages ({', '.join(known)})", f"{word}{why}")
        return word

    def array(self, *shape: int | None) -> np.ndarray:
        """Return finite numbers, float64; None: any length."""
        try:
            array = self._array_of(self._value)
        except ValueError as error:
            self.fail("an array of numbers", str(error))
        wanted = "x".join("any" if n is None else str(n) for n in shape)
        if len(array.shape) != len(shape) or any(
            n is not None and n != m for n, m in zip(shape, array.shape, strict=True)
        ):
            self.fail(f"an array of {wanted}", "x".join(map(str, array.shape)) or "one number")
        if not np.all(np.isfinite(array)):
            self.fail("finite numbers", f"{np.sum(~np.isfinite(array))} others")
        return array

    def pairs(self, n: int) -> np.ndarray:
        """Return pairs of elements as a symmetric mask, bool `[n, n]`."""
        mask = np.zeros((n, n), bool)
        for pair in self.items(0, n * n * 4):
            i, j = (item.integer(0, n - 1) for item in pair.items(2, 2))
            mask[i, j] = mask[j, i] = True
        return mask


def _dp_tree(path) -> _Item:
    """Open HDF5: a tree in JSON, whose variables are names of datasets."""
    import h5py

    arrays: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        room = MOST_VALUES
        for name in file:
            # a link may lead into any other file
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                continue
            dataset = file[name]
            if isinstance(dataset, h5py.Dataset):
                arrays["/" + name] = found = _dataset(dataset, room)
                room -= found.size if isinstance(found, np.ndarray) else 0
        text = file.attrs.get("json")
    if not isinstance(text, str):
        raise PotentialFileError(f"{path}: expected HDF5 with an attribute json, found none")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PotentialFileError(
            f"{path}: expected JSON in its attribute json, found {printable(error, 120)}"
        ) from error

    def array_of(value) -> np.ndarray:
        found = arrays.get(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"no dataset {value!r}")
        if isinstance(found, Exception):
            raise ValueError(str(found))
        return found

    return _Item(path, tree, "", array_of)


def _dataset(dataset, room: int) -> np.ndarray | Exception:
    """The numbers, or why there are none: only those that the tree names must be good."""
    try:
        if dataset.is_virtual or dataset.external:
            raise ValueError("numbers in another file")
        if dataset.dtype.kind not in "fiu":
            raise ValueError(f"values of type {dataset.dtype}")
        if dataset.size is None or dataset.size > room:  # a little file can stand for much
            raise ValueError(f"{dataset.shape}, more than any model has")
        return np.array(dataset[()], float)
    except (OSError, ValueError) as error:
        return error


def _yaml_tree(path) -> _Item:
    """Read YAML: a tree whose variables are mappings with `dtype` and `value`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times faster, where it is built
    try:
        tree = yaml.load(path.read_text(encoding="utf-8", errors="replace"), loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else f"{path}"
        problem = printable(getattr(error, "problem", None) or error, 120)
        raise PotentialFileError(f"{where}: expected YAML, found {problem}") from error
    except (ValueError, RecursionError) as error:
        found = printable(error, 120)
        raise PotentialFileError(f"{path}: expected YAML, found {found}") from error

    def array_of(value) -> np.ndarray:
        if not isinstance(value, dict) or not isinstance(value.get("value"), list | int | float):
            raise ValueError("no value of one")
        array = np.array(value["value"])  # ragged lists are a ValueError
        if array.size and array.dtype.kind not in "fiu":
            raise ValueError(f"values of type {array.dtype}")
        return array.astype(float)

    return _Item(path, tree, "", array_of)


def _model(model: _Item) -> DeepPotential:
    """Read the model; `standard` is a descriptor with a fitting."""
    model["type"].refuse(("standard",), "a model")
    model.version(2)
    symbols = model["type_map"].items(1, MOST_ELEMENTS)
    elements = tuple(symbol.text() for symbol in symbols)
    try:
        atomic_numbers(elements)
    except ValueError as error:
        model["type_map"].fail("symbols of elements, each once", str(error))
    n = len(elements)
    apart = model.entry("pair_exclude_types", []).pairs(n)
    descriptors = tuple(_descriptor(item, n, apart) for item in _parts(model["descriptor"]))
    fittings, energies = _fitting(model["fitting"], n, sum(d.width for d in descriptors))
    energies = energies + model["@variables"]["out_bias"].array(1, n, 1)[0, :, 0]
    silent = np.zeros(n, bool)
    for item in model.entry("atom_exclude_types", []).items(0, n):
        silent[item.integer(0, n - 1)] = True
    return DeepPotential(
        elements=elements,
        descriptors=descriptors,
        fittings=fittings,
        fitting=np.arange(n) if len(fittings) == n else np.zeros(n, int),
        silent=silent,
        energies=np.where(silent, 0, energies),
    )


def _fitting(fitting: _Item, n: int, width: int):
    """Read networks, and energies to add, `[n]`. Which elements have no energy the model says."""
    fitting["type"].refuse(("ener",), "a fitting")
    fitting.version(4)
    for key, why in (
        ("numb_fparam", "a frame's parameters are no sum over neighbours"),
        ("numb_aparam", "no atom has parameters here"),
        ("dim_case_embd", "convert a model of one task"),
        ("spin", "no atom has a spin here"),
    ):
        fitting.nothing(key, why)
    mixed = fitting.entry("mixed_types", False).flag()
    count = 1 if mixed else n
    fittings = _networks(fitting["nets"], count, width, 1)
    energies = fitting["@variables"]["bias_atom_e"].array(n, 1)[:, 0]
    # with energies of free atoms, what the network says of zeros is taken away: from those that
    # have one, or that the list does not reach; from all where they share the network
    given = [not item.missing() for item in fitting.entry("atom_ener", []).items(0, n)]
    if any(given):
        taken = [mixed or k >= len(given) or given[k] for k in range(n)]
        zeros = np.zeros(width)
        vacuum = [evaluate(fittings[0 if mixed else k], zeros)[0] for k in range(n)]
        energies = energies - np.where(taken, vacuum, 0)
    return fittings, energies


def _parts(descriptor: _Item) -> list[_Item]:
    """The descriptors that are joined to one."""
    if descriptor["type"].refuse(_DESCRIPTORS, "a descriptor") != "hybrid":
        return [descriptor]
    descriptor.version(1)
    items = descriptor["list"].items(1, MOST_PARTS)
    return [part for item in items for part in _parts(item)]


def _descriptor(item: _Item, n: int, apart: np.ndarray) -> Descriptor:
    """Read a descriptor; pairs that are `apart`, bool `[n, n]`, leave their slots empty."""
    kind = item["type"].text()
    angular, attention = kind not in _RADIAL, kind in (*_ATTENTION, _STRIPPED)
    item.version(4 if attention else 3)
    item.nothing("compress", "convert the model that was compressed")
    item.nothing("spin", "no atom has a spin here")
    item.nothing("attn_layer", "attention is no sum over neighbours")
    if item.entry("lmax", 1).integer(1, 9) > 1:
        item["lmax"].fail("1", item["lmax"].integer(1, 9))
    if "env_mat" in item and item["env_mat"].entry("use_exp_switch", False).flag():
        item["env_mat"]["use_exp_switch"].fail("false", "true")
    cutoff, inner = item["rcut"].number(), item["rcut_smth"].number()
    if not 0 <= inner < cutoff <= 100:
        item["rcut"].fail("0 <= rcut_smth < rcut <= 100", f"{inner:g} and {cutoff:g}")
    protection = item.entry("env_protection", 0.0).number()
    if protection < 0:
        item["env_protection"].fail("no negative number", protection)
    slots = item["sel"].items(1, n) if attention else item["sel"].items(n, n)
    sel = np.array([slot.integer(int(not angular), MOST_SLOTS) for slot in slots])
    if not 0 < (total := int(sel.sum())) <= MOST_SLOTS:
        item["sel"].fail(f"1 to {MOST_SLOTS} neighbours", str(total))
    shift, scale = _statistics(item, n, total, 4 if angular else 1, [total] if attention else sel)
    if attention and np.any(shift):
        item["@variables"]["davg"].fail(
            "zeros in a descriptor with type embedding, where an empty slot is taken for a "
            "neighbour of the system's first element",
            "others",
        )
    networks, network, inputs, factors, appended = (_embedded if attention else _one_each)(item, n)
    columns = networks[0][-1].weight.shape[1]
    offset = -shift[..., 0] / scale[..., 0]
    slot = np.array([
        [
            evaluate(networks[network[i, j]], np.array([offset[i, j], *inputs[i, j]]))
            for j in range(n)
        ]
        for i in range(n)
    ])
    if angular:
        slot = offset[..., None] * slot
    empty = np.zeros((n, columns)) if attention else np.einsum("t,ntm->nm", sel, slot)
    # an excluded neighbour is not an empty slot: it is one at R = 0, as is one that has no slot
    unseen = item.entry("exclude_types", []).pairs(n)
    blind = np.broadcast_to(False if attention else sel == 0, (n, n))
    return Descriptor(
        angular=angular,
        cutoff=cutoff,
        inner=inner,
        protection=protection,
        axis=item["axis_neuron"].integer(1, columns) if angular else 0,
        divisor=total * (1.0 if angular else 5.0),
        gain=np.where(unseen | apart | blind, 0, 1 / scale[..., 0]),
        vector_gain=np.where(unseen | apart | blind, 0, 1 / scale[..., -1]),
        offset=np.where((unseen & ~apart) | blind, 0, offset),
        networks=networks,
        network=network,
        inputs=inputs,
        factors=factors,
        smooth=factors is not None and (kind == _STRIPPED or item["smooth_type_embedding"].flag()),
        slot=slot,
        empty=empty,
        appended=appended,
        sel=sel if not attention else np.array([total]),
    )



def _statistics(item: _Item, n: int, total: int, components: int, sel):
    """Read means and deviations of slots, `[n, n, components]`, which must be those of elements."""
    found = []
    for key in ("davg", "dstd"):
        where = item["@variables"][key]
        values = where.array(n, total, components)
        starts = np.cumsum([0, *sel])
        of_pairs = np.full((n, n, components), float(key == "dstd"))
        for k, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
            if end > start:
                of_pairs[:, slice(None) if len(sel) == 1 else k] = (
                    values[:, None, start] if len(sel) == 1 else values[:, start]
                )
                if np.ptp(values[:, start:end], axis=1).any():
                    where.fail("the same numbers for all slots of an element", "different ones")
        vector = of_pairs[..., 1:]
        if components > 1 and (vector[..., :1] != vector if key == "dstd" else vector != 0).any():
            where.fail("no direction that differs from others", "some")
        if key == "dstd" and not np.all(of_pairs > 0):
            where.fail("positive numbers", str(of_pairs.min()))
        found.append(of_pairs)
    return found


def _one_each(item: _Item, n: int):
    """Networks of senders, or of pairs, the receiver running fastest."""
    one_side = item["type_one_side"].flag()
    count = n if one_side else n * n
    networks = _networks(item["embeddings"], count, 1, None)
    i, j = np.indices((n, n))
    return networks, j if one_side else i + n * j, np.zeros((n, n, 0)), None, np.zeros((n, 0))


def _embedded(item: _Item, n: int):
    """One network, which sees the elements' embeddings, or is multiplied by a network of them."""
    embedding = item["type_embedding"]
    embedding.version(2)
    if embedding.entry("use_econf_tebd", False).flag():
        embedding["use_econf_tebd"].fail("false: electron configurations are in no file", "true")
    vectors = evaluate(_network(embedding["embedding"], n, None), np.eye(n))  # -> [n, k]
    i, j = np.indices((n, n))
    pairs = vectors[j]
    if not item.entry("type_one_side", False).flag():
        pairs = np.concatenate([pairs, vectors[i]], axis=-1)
    stripped = item["type"].text() == _STRIPPED or (
        item.entry("tebd_input_mode", "concat").refuse(("concat", "strip"), "a way") == "strip"
    )
    appended = vectors if item.entry("concat_output_tebd", True).flag() else np.zeros((n, 0))
    width = 1 if stripped else 1 + pairs.shape[-1]
    networks = _networks(item["embeddings"], 1, width, None)
    network = np.zeros((n, n), int)
    if not stripped:
        return networks, network, pairs, None, appended
    columns = networks[0][-1].weight.shape[1]
    (strip,) = item["embeddings_strip"]["networks"].items(1, 1)
    factors = evaluate(_network(strip, pairs.shape[-1], columns), pairs)
    return networks, network, np.zeros((n, n, 0)), factors, appended


def _networks(item: _Item, count: int, width: int, last: int | None) -> tuple[Network, ...]:
    """Read networks of one architecture."""
    items = item["networks"].items(count, count)
    networks = tuple(_network(net, width, last) for net in items)
    for net, where in zip(networks, items, strict=True):
        if _architecture(net) != _architecture(networks[0]):
            where.fail("a network of the same architecture as the first", "another")
    return networks


def _architecture(network: Network) -> list[tuple]:
    return [(n.weight.shape, n.step is None, n.activation, n.residual) for n in network]


def _network(item: _Item, width: int, last: int | None) -> Network:
    """Read a network of `width` inputs and `last` outputs, None: any number."""
    layers = []
    for entry in item["layers"].items(1, MOST_LAYERS):
        variables = entry["@variables"]
        weight = variables["w"].array(width, None)
        rows, columns = weight.shape
        if not 1 <= columns <= MOST_NEURONS:
            variables["w"].fail(f"1 to {MOST_NEURONS} columns", str(columns))
        bias, step = (
            variables[key].array(columns) if key in variables else None for key in ("b", "idt")
        )
        residual = columns // rows if columns in (rows, 2 * rows) else 0
        layers.append(
            Layer(
                weight,
                np.zeros(columns) if bias is None else bias,
                step,
                _activation(entry["activation_function"]),
                residual if entry["resnet"].flag() else 0,
            )
        )
        width = columns
    if last is not None and width != last:
        item["layers"].fail(f"a last layer of {last} columns", str(width))
    return tuple(layers)


def _activation(item: _Item) -> str:
    """Read the name of an activation function."""
    name = item.text().lower()
    word, colon, threshold = name.partition(":")
    if word in _SILUT:
        try:
            if not abs(float(threshold or 3)) < 1e3:
                raise ValueError
        except ValueError:
            item.fail("a threshold after the colon", name)
    elif name not in ACTIVATIONS:
        item.fail(f"an activation function ({', '.join((*ACTIVATIONS, _SILUT[0]))})", name)
    return name
