"""What a model of DeePMD-kit holds, read from its tree.

Source: deepmd-kit's numpy backend (`deepmd.dpmodel`, version 3.2), which defines the format. Models
other than functions of sums over neighbours are refused by name. Evaluates nothing but the
constants that empty slots of neighbours contribute.
"""

import itertools
import math
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from . import atomic_numbers
from .deepmd_tree import Item, read_tree

#: Larger numbers are mistakes, and would ask for all memory.
MOST_ELEMENTS, MOST_LAYERS, MOST_NEURONS, MOST_SLOTS, MOST_PARTS = 118, 32, 1 << 14, 1 << 16, 16

ACTIVATIONS = (
    *("tanh", "relu", "relu6", "gelu", "gelu_tf", "softplus", "sigmoid", "silu", "linear", "none"),
)
_SYNONYMS = {"gelu_tf": "gelu", "none": "linear"}
_SILUT = ("silut", "custom_silu")  # with a threshold after a colon, or 3

_ANGULAR, _RADIAL, _ATTENTION = ("se_e2_a", "se_a"), ("se_e2_r", "se_r"), ("se_atten", "dpa1")
_STRIPPED = "se_atten_v2"
_DESCRIPTORS = (*_ANGULAR, *_RADIAL, *_ATTENTION, _STRIPPED, "hybrid")
_WANTED = "a descriptor of one round of messages"
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
    return _model(read_tree(path)["model"])


def _model(model: Item) -> DeepPotential:
    """Read the model; `standard` is a descriptor with a fitting."""
    model["type"].choice(("standard",), "a model of one round of messages", _WHY_NOT)
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


def _fitting(fitting: Item, n: int, width: int):
    """Read networks, and energies to add, `[n]`. Which elements have no energy the model says."""
    fitting["type"].choice(("ener",), "a fitting of energies", _WHY_NOT)
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


def _parts(descriptor: Item) -> list[Item]:
    """The descriptors that are joined to one."""
    if descriptor["type"].choice(_DESCRIPTORS, _WANTED, _WHY_NOT) != "hybrid":
        return [descriptor]
    descriptor.version(1)
    items = descriptor["list"].items(1, MOST_PARTS)
    return [part for item in items for part in _parts(item)]


def _descriptor(item: Item, n: int, apart: np.ndarray) -> Descriptor:
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
    slot = np.array(
        [
            [
                evaluate(networks[network[i, j]], np.array([offset[i, j], *inputs[i, j]]))
                for j in range(n)
            ]
            for i in range(n)
        ]
    )
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


def _statistics(item: Item, n: int, total: int, components: int, sel):
    """Read means and deviations of slots, `[n, n, components]`, which must be those of elements."""
    found = []
    for key in ("davg", "dstd"):
        where = item["@variables"][key]
        values = where.array(n, total, components)
        starts = np.cumsum([0, *sel])
        of_pairs = np.full((n, n, components), float(key == "dstd"))
        for k, (start, end) in enumerate(itertools.pairwise(starts)):
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


def _one_each(item: Item, n: int):
    """Networks of senders, or of pairs, the receiver running fastest."""
    one_side = item["type_one_side"].flag()
    count = n if one_side else n * n
    networks = _networks(item["embeddings"], count, 1, None)
    i, j = np.indices((n, n))
    return networks, j if one_side else i + n * j, np.zeros((n, n, 0)), None, np.zeros((n, 0))


def _embedded(item: Item, n: int):
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
        item.entry("tebd_input_mode", "concat").choice(("concat", "strip"), "a way") == "strip"
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


def _networks(item: Item, count: int, width: int, last: int | None) -> tuple[Network, ...]:
    """Read networks of one architecture."""
    items = item["networks"].items(count, count)
    networks = tuple(_network(net, width, last) for net in items)
    for net, where in zip(networks, items, strict=True):
        if _architecture(net) != _architecture(networks[0]):
            where.fail("a network of the same architecture as the first", "another")
    return networks


def _architecture(network: Network) -> list[tuple]:
    return [(n.weight.shape, n.step is None, n.activation, n.residual) for n in network]


def _network(item: Item, width: int, last: int | None) -> Network:
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


def _activation(item: Item) -> str:
    """Read the name of an activation function."""
    name = item.text().lower()
    word, _, threshold = name.partition(":")
    if word in _SILUT:
        try:
            if not abs(float(threshold or 3)) < 1e3:
                raise ValueError
        except ValueError:
            item.fail("a threshold after the colon", name)
    elif name not in ACTIVATIONS:
        item.fail(f"an activation function ({', '.join((*ACTIVATIONS, _SILUT[0]))})", name)
    return name
