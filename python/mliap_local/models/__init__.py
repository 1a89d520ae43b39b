"""What a model is: three pure functions, and the elements they speak of by atomic number.

Each module beside this one is a family of published potentials: `add_arguments(parser)` says what
`mliap-local convert FAMILY` takes, `convert(options)` reads a file and gives a `Converted`, and a
pure function makes the three functions from the parameters. Nothing here reads a file, keeps a
state or imports JAX.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

#: The families, each a module beside this one, and what `mliap-local convert --help` says of it.
FAMILIES = {
    "ace": "atomic cluster expansions of pacemaker (.yace, .ace) and ACEsuit (.npz)",
    "adp": "angular-dependent potentials: embedded atoms with dipoles and quadrupoles",
    "deepmd": "models of DeePMD-kit: se_e2_a, se_e2_r, se_atten without attention, hybrids",
    "eam": "embedded-atom tables: eam/alloy, eam/fs, eam/he, and eam (several files at once)",
    "lj": "Lennard-Jones 12-6, one element",
    "mtp": "moment tensor potentials of mlip-2 and mlip-3 (.mtp, .almtp)",
    "nep": "neuroevolution potentials, NEP3 to NEP5, in the format of GPUMD",
    "snap": "SNAP, linear and quadratic, several elements, with ZBL",
    "sw": "Stillinger-Weber, one or more elements",
}

#: Largest atomic number; node-init functions take 0 (no element) to this.
MAX_ATOMIC_NUMBER = 118

#: Symbols by atomic number; place 0 is empty, so a symbol's place is its atomic number.
ELEMENT_SYMBOLS: tuple[str, ...] = (
    "",
    *"H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn".split(),
    *"Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La".split(),
    *"Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po".split(),
    *"At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg".split(),
    *"Cn Nh Fl Mc Lv Ts Og".split(),
)

_ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(ELEMENT_SYMBOLS) if number}


class ModelFunctions(NamedTuple):
    """The three pure functions of a local one-round message-passing potential.

    `h_i = node_init(Z_i)`, `m_ij = edge(h_i, h_j, r_ij)` with `r_ij = r_j - r_i` and `i` the
    receiver, `M_i = sum_j m_ij`, `e_i = readout(h_i, M_i)`. Every row is computed from that row
    alone. An edge of `r_ij = 0` is padding: its result is dropped, so it has to be finite, in value
    and in gradient, and need not mean anything.
    """

    #: `int[n] -> float[n, d]`: atomic numbers, 0 to 118, to embeddings.
    node_init: Callable[..., Any]
    #: `float[e, d], float[e, d], float[e, 3] -> float[e, m]`: receiver's and sender's embeddings
    #: and `r_ij` in the model's unit of length, to messages.
    edge: Callable[..., Any]
    #: `float[n, d], float[n, m] -> float[n]`: embeddings and summed messages to energies.
    readout: Callable[..., Any]


class Converted(NamedTuple):
    """What a family makes of a published potential: the three functions and what a model file says
    of them."""

    functions: ModelFunctions
    cutoff: float  #: unit of length
    elements: tuple[str, ...]  #: symbols that the model knows
    units: str  #: `metal`, `real` or `lj`
    source: str  #: converted from what, with the citation that the file holds
    overlap: float | None = None  #: unit of length; closer, the model should not be asked
    masses: Mapping[str, float] | None = None  #: by symbol, where the format knows them
    #: Why energy or force may jump at the cutoff, told where they do.
    jump: str = "as the file has it"
    #: Of extrapolation, `h, messages -> float[n]`, where the potential comes with one.
    grade: Callable[..., Any] | None = None
    #: Is one message for both ends of a pair worth its detour? None: if an edge is dear.
    half: bool | None = None
    note: str = ""  #: where the model is not quite what its own code makes of it


def atomic_numbers(symbols: Iterable[str]) -> tuple[int, ...]:
    """Return the atomic numbers of element symbols, in their order.

    Raises:
      ValueError: a symbol that no element has, or the same symbol twice.
    """
    symbols = tuple(symbols)
    for symbol in symbols:
        if symbol not in _ATOMIC_NUMBERS:
            raise ValueError(
                f"unknown element {symbol!r}: expected a symbol of the periodic table such as 'Ni'"
            )
        if symbols.count(symbol) > 1:
            raise ValueError(f"element {symbol!r} is named twice: expected each element once")
    return tuple(_ATOMIC_NUMBERS[symbol] for symbol in symbols)


def element_positions(symbols: Iterable[str]) -> list[float]:
    """Return, for each atomic number 0 to 118, the element's place in `symbols`, or -1.

    The models here use that place as their embedding, a single column; -1 makes no message.

    Raises:
      ValueError: as `atomic_numbers`.
    """
    positions = [-1.0] * (MAX_ATOMIC_NUMBER + 1)
    for place, number in enumerate(atomic_numbers(symbols)):
        positions[number] = float(place)
    return positions
