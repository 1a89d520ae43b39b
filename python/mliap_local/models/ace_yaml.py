"""Reads `.yace`, the YAML format of pacemaker.

Source: the C++ library that defines it, ICAMS/lammps-user-pace (`ace_c_basis.cpp`,
`ace_abstract_basis.h`). `ace_jax` reads the format too, but its failures name no line. YAML is
taken apart event by event, so that no file can make this recurse or expand. Evaluates nothing.
"""

import math
from os import PathLike
from typing import Any, NamedTuple, NoReturn

import numpy as np

from . import atomic_numbers
from .ace_files import (
    EMBEDDINGS,
    INNER,
    MOST_DENSITIES,
    MOST_ELEMENTS,
    MOST_L,
    MOST_RADIAL,
    MOST_RANK,
    MOST_TERMS,
    RADIAL,
    Bond,
    Embedding,
    Function,
    Potential,
    leading_comment,
)
from .text import PotentialFileError, read_text

_DEEPEST = 12
_KEYS = {"elements", "E0", "deltaSplineBins", "embeddings", "bonds", "functions", "metadata"}
_WHY = {
    "zbl": "its repulsion is weighted by the distance of the nearest neighbour, which no sum knows",
    "Tabulated": "convert the model.npz that it was made from",
}


def read_yace(path: str | PathLike) -> Potential:
    """Read a `.yace` file.

    Raises:
      PotentialFileError: the file cannot be opened, is none of these, holds what does not fit or
        what is not evaluated here.
      ImportError: there is no PyYAML.
    """
    text = read_text(path)
    root = parse(path, text)
    if unknown := root.keys() - _KEYS:
        root[min(unknown)].fail(f"only the keys {', '.join(sorted(_KEYS))}", min(unknown))
    symbols = root["elements"].items(1, MOST_ELEMENTS)
    elements = tuple(symbol.text() for symbol in symbols)
    try:
        atomic_numbers(elements)
    except ValueError as error:
        root["elements"].fail("symbols of elements, each once", error)
    n = len(elements)
    isolated = tuple(item.number() for item in root["E0"].items(n, n))
    embeddings = tuple(_embedding(root["embeddings"][str(i)]) for i in range(n))
    pairs = [(i, j) for i in range(n) for j in range(n)]
    bonds = {(i, j): _bond(root["bonds"][str(i), str(j)]) for i, j in pairs}
    inner = {
        root["bonds"][str(i), str(j)].choice("inner_cutoff_type", INNER, INNER[0]) for i, j in pairs
    }
    if len(inner) > 1:
        root["bonds"].fail("the same inner_cutoff_type for all bonds", " and ".join(sorted(inner)))
    # what a function may name: the C++ gives every bond the largest sizes of all
    n_base = max(item["nradbasemax"].integer(1, MOST_RADIAL) for item in root["bonds"].values())
    shapes = [bond.coefficients.shape for bond in bonds.values()]
    sizes = n_base, max(shape[0] for shape in shapes), max(shape[1] for shape in shapes) - 1
    functions = []
    for key in root["functions"].keys():
        if key not in map(str, range(n)):
            root["functions"][key].fail(f"functions of elements 0 to {n - 1}", key)
        for item in root["functions"][key].items(0, MOST_TERMS):
            centre = int(key)
            functions.append(_function(item, centre, n, len(embeddings[centre].parameters), sizes))
    return Potential(
        elements, isolated, embeddings, bonds, inner.pop(), functions, leading_comment(text)
    )


def _embedding(item):
    name = item.choice("npoti", EMBEDDINGS)
    n_densities = item["ndensity"].integer(1, MOST_DENSITIES)
    values = item["FS_parameters"].numbers(2 * n_densities, 2 * MOST_DENSITIES)[: 2 * n_densities]
    core_cutoff = item["rho_core_cutoff"].number(), item["drho_core_cutoff"].number()
    return Embedding(name, tuple(zip(values[::2], values[1::2], strict=True)), core_cutoff)


def _bond(item):
    core = item["prehc"].number(), item["lambdahc"].number()
    inner = [item[key].number() if key in item.keys() else 0.0 for key in ("rcut_in", "dcut_in")]
    return bond(
        item,
        Keys("radbasename", "nradmax", "lmax", "nradbasemax", "rcut", "dcut"),
        core,
        (inner[0], inner[1]),
    )


class Keys(NamedTuple):
    """What a format calls what a bond has."""

    radial: str
    n_max: str
    l_max: str
    n_base: str
    cutoff: str
    width: str


def bond(item, keys: Keys, core: tuple[float, ...], inner: tuple[float, float]) -> Bond:
    """Read a bond but for its core repulsion and its inner cutoff."""
    radial = item.choice(keys.radial, RADIAL)
    n_max = item[keys.n_max].integer(0, MOST_RADIAL)
    l_max = item[keys.l_max].integer(0, MOST_L)
    n_base = item[keys.n_base].integer(1, MOST_RADIAL)
    coefficients = np.array(
        [
            [row.numbers(n_base, n_base) for row in rows.items(l_max + 1, l_max + 1)]
            for rows in item["radcoefficients"].items(n_max, n_max)
        ]
    ).reshape(n_max, l_max + 1, n_base)
    cutoff = item[keys.cutoff].number()
    if not cutoff > 0:
        item[keys.cutoff].fail("a positive cutoff", cutoff)
    parameter = item["radparameters"].numbers(1, MOST_RADIAL)[0]
    width = item[keys.width].number()
    return Bond(radial, parameter, cutoff, width, (core[0], core[1]), inner, coefficients)


def _function(item, centre, n_elements, n_densities, sizes):
    n_base, n_max, l_max = sizes
    rank = item["rank"].integer(1, MOST_RANK)
    item["mu0"].integer(centre, centre)
    item["ndensity"].integer(n_densities, n_densities)
    count = item["num_ms_combs"].integer(1, MOST_TERMS)
    neighbours = item["mus"].integers(rank, 0, n_elements - 1)
    n = item["ns"].integers(rank, 1, n_base if rank == 1 else n_max)
    l = item["ls"].integers(rank, 0, 0 if rank == 1 else l_max)  # noqa: E741
    m = np.reshape(item["ms_combs"].integers(count * rank, -l_max, l_max), (count, rank))
    if np.any(np.abs(m) > l):
        item["ms_combs"].fail("no m beyond its l", m[np.any(np.abs(m) > l, axis=1)][0].tolist())
    weights = item["ctildes"].numbers(count * n_densities, count * n_densities)
    return Function(centre, neighbours, n, l, m, np.reshape(weights, (count, n_densities)))


class _Item:
    """A scalar, a sequence or a mapping, and the line where it is; a mapping's keys are text or
    tuples of text. What is not as asked for fails."""

    def __init__(self, path, line: int, value: Any, name: str = "the file"):
        self._path, self._line, self._value, self._name = path, line, value, name

    def fail(self, expected: str, found: object) -> NoReturn:
        where = f"{self._path}:{self._line}"
        raise PotentialFileError(f"{where}: expected {expected}, found {str(found)[:80]!r}")

    def _need(self, kind, name):
        if not isinstance(self._value, kind):
            found = {str: self._value, list: "a sequence", dict: "a mapping"}[type(self._value)]
            self.fail(f"{name} as {self._name}", found)
        return self._value

    def keys(self):
        return self._need(dict, "a mapping").keys()

    def values(self):
        return self._need(dict, "a mapping").values()

    def __getitem__(self, key):
        if key not in self.keys():
            found = ", ".join(map(_name, self.keys()))
            self.fail(f"{_name(key)} in {self._name}", f"only {found}")
        item = self._value[key]
        item._name = _name(key)
        return item

    def items(self, least, most):
        values = self._need(list, "a sequence")
        if not least <= len(values) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            self.fail(f"{count} entries in {self._name}", f"{len(values)}")
        for value in values:
            value._name = f"an entry of {self._name}"
        return values

    def text(self):
        return self._need(str, "a word")

    def is_scalar(self):
        return isinstance(self._value, str)

    def number(self):
        word = self._need(str, "a number")
        try:
            value = float(word if len(word) <= 64 else "too long")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(f"a finite number as {self._name}", word)
        return value

    def integer(self, least, most):
        value = self.number()
        if not (value.is_integer() and least <= value <= most):
            self.fail(f"{self._name} from {least} to {most}", self._value)
        return int(value)

    def numbers(self, least, most):
        return [item.number() for item in self.items(least, most)]

    def integers(self, count, least, most):
        return tuple(item.integer(least, most) for item in self.items(count, count))

    def choice(self, key, names, default=None):
        if default is not None and key not in self.keys():
            return default
        item = self[key]
        if item.text() not in names:
            why = f": {_WHY[item.text()]}" if item.text() in _WHY else ""
            item.fail(f"{key} that can be converted ({', '.join(names)})", item.text() + why)
        return item.text()


def _name(key):
    return key if isinstance(key, str) else f"[{', '.join(key)}]"


def parse(path, text):
    """Return the document's root. Keys that are sequences, `[0, 1]`, become tuples."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    open_items: list[tuple[_Item, list]] = []
    root = None
    try:
        for event in yaml.parse(text, Loader=loader):
            mark = event.start_mark
            line = mark.line + 1 if mark else 1
            if isinstance(event, yaml.ScalarEvent):
                item = _Item(path, line, event.value)
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                kind: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
                open_items.append((_Item(path, line, kind), []))
                if len(open_items) > _DEEPEST:
                    open_items[-1][0].fail(f"at most {_DEEPEST} levels", "more of them")
                continue
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                item, content = open_items.pop()
                item._value = _filled(item, content)
            elif isinstance(event, yaml.AliasEvent):
                _Item(path, line, "").fail("no aliases", f"*{event.anchor}")
            else:
                continue
            if open_items:
                open_items[-1][1].append(item)
            elif root is None:
                root = item
            else:
                item.fail("one document", "another")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        _Item(path, line, "").fail("YAML", problem)
    return root if root is not None else _Item(path, 1, "").fail("a potential", "nothing")


def _filled(item, content):
    if isinstance(item._value, list):
        return content
    filled = {}
    for key, value in zip(content[::2], content[1::2], strict=True):
        word = key._value
        if isinstance(word, list):
            word = tuple(part.text() for part in word)
        if not isinstance(word, (str, tuple)) or word in filled:
            key.fail("keys, each once", word if isinstance(word, (str, tuple)) else "a mapping")
        filled[word] = value
    return filled
