"""The three programs of a model file: JAX functions to bytes and back, by `jax.export`.

What comes back has been checked: readable by this JAX, made for the platform, the signatures agree
with each other and with the precision, widths are bounded, nothing in it calls out of StableHLO.
XLA's own parser runs before that can be seen and does not survive every byte that somebody may put
there on purpose: what nobody vouches for is read in a process of its own first, see `vetting`.
Knows nothing of zips and of physics, evaluates nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from ..models import ModelFunctions
from .errors import ModelFileError, failure_text, file_error

#: Members of the zip that hold a program.
PROGRAMS = ("node_init.jax", "edge.jax", "readout.jax")
#: A fourth, which a file need not have.
GRADE = "grade.jax"

#: Types of integers and reals for each precision.
DTYPES = {"32bit": (jnp.int32, jnp.float32), "64bit": (jnp.int64, jnp.float64)}

_READABLE = (
    "JAX promises that an export is readable by a JAX up to six months newer or three weeks older; "
    "export the model again with the JAX in use here"
)
_SYMBOLIC = "export the model again with jax.export.symbolic_shape"
_RANK_REMEDIES = {
    "node_init.jax": "return a row for each atom, values[:, None] if it is one number",
    "edge.jax": "return a row for each edge, values[:, None] if it is one number",
    "readout.jax": "return one number for each atom, values[:, 0] or values.sum(axis=1)",
    "grade.jax": "return one number for each atom, values[:, 0] or values.max(axis=1)",
}

#: A row of an embedding or of messages is kept for each atom: no model known needs a tenth of this.
MOST_COLUMNS = {"embedding": 1 << 12, "message": 1 << 16}

# The one call out of StableHLO that a model may make, written as MLIR prints it, in no other way:
# the check of a shape, gone when XLA compiles. All others run native code on operands that the file
# describes: a Python callback, or LAPACK, which believes in any shapes.
_SHAPE_ASSERTION = "custom_call @shape_assertion("

# The last step of an edge function that computes with edges as the last axis.
_TRANSPOSED = re.compile(r"(%\w+) = stablehlo\.transpose\b[^\n]*\n\s*return \1 : tensor<\?x\d+x")


class PlatformError(ModelFileError):
    """A program that was exported for `platforms`, not for the one it shall run on."""

    def __init__(self, message: str, platforms: Sequence[str]):
        super().__init__(message)
        self.platforms = tuple(platforms)


class UnreadableError(ModelFileError):
    """A program that this JAX cannot read, as far as can be seen for its age."""


def require_x64(path: Any, precision: str) -> None:
    """Refuse 64bit models while JAX makes 32 bit numbers of everything.

    Raises:
      ModelFileError: so it is.
    """
    if precision == "64bit" and not jax.config.read("jax_enable_x64"):
        remedy = 'call jax.config.update("jax_enable_x64", True) before using JAX'
        raise file_error(path, None, "64 bit numbers switched on in JAX", "them off", remedy)


def serialise(
    path: Any,
    functions: Sequence[Any],
    precision: str,
    vjp_order: int,
    platforms: Sequence[str],
) -> dict[str, bytes]:
    """Return the export of each function, by member name; results cast to the precision. A fourth
    is the grade of extrapolation.

    Raises:
      ModelFileError: a function that cannot be exported, or has another signature.
    """
    integer, real = DTYPES[precision]
    (n,), (e,) = export.symbolic_shape("n"), export.symbolic_shape("e")
    arguments = {
        "node_init.jax": [jax.ShapeDtypeStruct((n,), integer)],
        "edge.jax": [],
        "readout.jax": [],
    }
    arguments[GRADE] = arguments["readout.jax"]
    blobs = {}
    for name, function in zip((*PROGRAMS, GRADE), functions, strict=False):

        def program(*args, function=function):
            return jax.tree.map(lambda x: jnp.asarray(x, real), function(*args))

        program.__name__ = name.removesuffix(".jax")
        try:
            jitted = jax.jit(program)
            exported = export.export(jitted, platforms=tuple(platforms))(*arguments[name])
            signature = _signature(path, exported, name, precision)
            blobs[name] = bytes(exported.serialize(vjp_order=0 if name == GRADE else vjp_order))
        except ImportError:
            raise
        except Exception as error:  # whatever the function raises while it is traced
            if isinstance(error, ModelFileError):
                raise
            expected = "a function that jax.export takes with symbolic leading dimensions"
            found = f"{type(error).__name__}: {error}"
            remedy = "let no shape or branch depend on the number of rows or their values"
            raise file_error(path, name, expected, found, remedy) from error
        width = signature[-1].shape[-1]
        if name == "node_init.jax":
            arguments["edge.jax"] = [
                jax.ShapeDtypeStruct((e, columns), real) for columns in (width, width, 3)
            ]
        if name in PROGRAMS[:2]:
            arguments["readout.jax"].append(jax.ShapeDtypeStruct((n, width), real))
    return blobs


def deserialise(
    path: Any, blobs: Mapping[str, bytes], precision: str, platform: str | None
) -> tuple[ModelFunctions, int, int, int, int]:
    """Return the functions, their order of derivatives, the widths of embedding and message, and
    1 where the edge function ends in a transposition, else 0.

    Args:
      path: for messages.
      blobs: the three programs by member name.
      precision: `32bit` or `64bit`; the functions cast their arguments to it.
      platform: where they shall run; JAX's default where None.

    Raises:
      ModelFileError: anything unsound about the programs.
    """
    require_x64(path, precision)
    platform = platform or export.default_export_platform()
    exports = [_deserialise(path, name, blobs[name], platform) for name in PROGRAMS]
    node_init, edge, readout = exports
    d, m = _widths(path, node_init, edge, readout, precision)
    orders = [_check_program(path, name, e) for name, e in zip(PROGRAMS, exports, strict=True)]
    functions = casting(ModelFunctions(*(exported.call for exported in exports)), precision)
    # Nobody differentiates with respect to atomic numbers.
    edges_last = int(_TRANSPOSED.search(edge.mlir_module()) is not None)
    return functions, min(orders[1:]), d, m, edges_last


def deserialise_grade(
    path: Any, blob: bytes, precision: str, platform: str | None, widths: tuple[int, int]
) -> Callable[..., Any]:
    """Return the grade of extrapolation, `h, messages -> float[n]`.

    Args:
      widths: of embedding and message, which it must take.

    Raises:
      ModelFileError: anything unsound about the program.
    """
    exported = _deserialise(path, GRADE, blob, platform or export.default_export_platform())
    h, sums, _ = _signature(path, exported, GRADE, precision)
    if (h.shape[1], sums.shape[1]) != widths:
        found = f"{h.shape[1]} and {sums.shape[1]}"
        raise file_error(path, GRADE, f"arguments of widths {widths[0]} and {widths[1]}", found)
    _check_program(path, GRADE, exported)
    _, real = DTYPES[precision]

    def grade(h, messages):
        return exported.call(jnp.asarray(h, real), jnp.asarray(messages, real))

    return grade


def casting(functions: ModelFunctions, precision: str) -> ModelFunctions:
    """Return the functions with their arguments cast to the precision."""
    integer, real = DTYPES[precision]

    def node_init(numbers):
        return functions.node_init(jnp.asarray(numbers, integer))

    def edge(h_i, h_j, r_ij):
        return functions.edge(*(jnp.asarray(x, real) for x in (h_i, h_j, r_ij)))

    def readout(h, messages):
        return functions.readout(jnp.asarray(h, real), jnp.asarray(messages, real))

    return ModelFunctions(node_init, edge, readout)


def _deserialise(path, name, blob, platform):
    try:
        exported = export.deserialize(bytearray(blob))
    except ImportError:  # jax needs flatbuffers and says so
        raise
    except Exception as error:  # flatbuffers has no error of its own for bytes that are not one
        found = f"{type(error).__name__}: {error}"
        raise _unreadable(path, name, "a serialised jax.export", found) from error
    oldest = export.minimum_supported_calling_convention_version
    newest = export.maximum_supported_calling_convention_version
    version = exported.calling_convention_version
    if not oldest <= version <= newest:
        expected = f"a calling convention of {oldest} to {newest}"
        raise _unreadable(path, name, expected, str(version))
    if platform not in exported.platforms:
        remedy = "export the model again for this platform too, or run it where it can"
        found = f"an export for {', '.join(exported.platforms)}"
        message = str(file_error(path, name, f"an export for {platform}", found, remedy))
        raise PlatformError(message, exported.platforms or (platform,))
    if exported.nr_devices != 1:
        raise file_error(path, name, "an export for one device", f"{exported.nr_devices} devices")
    return exported


def _unreadable(path, name, expected, found):
    return UnreadableError(str(file_error(path, name, expected, found, _READABLE)))


def _widths(path, node_init, edge, readout, precision) -> tuple[int, int]:
    """Return the widths of embedding and message; the three functions must agree about them."""
    *_, h = _signature(path, node_init, "node_init.jax", precision)
    *h_edge, r_ij, message = _signature(path, edge, "edge.jax", precision)
    h_readout, sums, _ = _signature(path, readout, "readout.jax", precision)
    d, m = h.shape[1], message.shape[1]
    embedding, sum_of = "the embedding that node_init makes", "the message that edge makes"
    for member, argument, aval, expected, meaning in (
        ("edge.jax", 1, h_edge[0], d, embedding),
        ("edge.jax", 2, h_edge[1], d, embedding),
        ("edge.jax", 3, r_ij, 3, "r_ij"),
        ("readout.jax", 1, h_readout, d, embedding),
        ("readout.jax", 2, sums, m, sum_of),
    ):
        if aval.shape[1] != expected:
            wanted = f"argument {argument} of width {expected}, {meaning}"
            raise file_error(path, member, wanted, f"width {aval.shape[1]}")
    for member, what, width in (("node_init.jax", "embedding", d), ("edge.jax", "message", m)):
        if width > MOST_COLUMNS[what]:
            wanted = f"{what}s of at most {MOST_COLUMNS[what]} columns"
            raise file_error(path, member, wanted, str(width), "make them narrower")
    return d, m


def _signature(path, exported, name, precision) -> tuple[Any, ...]:
    """Check an export's arguments and result, and return them, the result last."""
    integer, real = DTYPES[precision]
    *arguments, _ = expected_dimensions = {
        "node_init.jax": ((integer, 1), (real, 2)),
        "edge.jax": ((real, 2), (real, 2), (real, 2), (real, 2)),
        "readout.jax": ((real, 2), (real, 2), (real, 1)),
        GRADE: ((real, 2), (real, 2), (real, 1)),
    }[name]
    shown = f"{', '.join(map(str, exported.in_avals))} -> {', '.join(map(str, exported.out_avals))}"
    if exported.in_tree != jax.tree.structure((tuple([0] * len(arguments)), {})):
        raise file_error(path, name, f"{len(arguments)} arrays as positional arguments", shown)
    if exported.out_tree != jax.tree.structure(0):
        raise file_error(path, name, "one array as result", shown)
    avals = (*exported.in_avals, *exported.out_avals)
    for place, (aval, (dtype, n_dimensions)) in enumerate(
        zip(avals, expected_dimensions, strict=True), 1
    ):
        what = f"argument {place}" if place <= len(arguments) else "the result"
        if aval.dtype != dtype or len(aval.shape) != n_dimensions:
            expected = f"{what} of {jnp.dtype(dtype).name} with {n_dimensions} dimensions"
            remedy = "export for the precision of the model"
            if len(aval.shape) != n_dimensions:
                remedy = _RANK_REMEDIES[name]
            raise file_error(path, name, expected, shown, remedy)
        leading, *widths = aval.shape
        if not (export.is_symbolic_dim(leading) and str(leading).isidentifier()):
            raise file_error(
                path, name, f"{what} with a symbolic first dimension", shown, _SYMBOLIC
            )
        if not all(isinstance(width, int) and width > 0 for width in widths):
            raise file_error(path, name, f"{what} with a fixed width", shown, _SYMBOLIC)
        if leading != avals[0].shape[0]:
            raise file_error(path, name, "one symbol for all first dimensions", shown, _SYMBOLIC)
    return avals


def _check_program(path, name, exported) -> int:
    """Check the program and its derivatives; return how many orders of them there are."""
    order, program = 0, exported
    while True:
        try:
            text = program.mlir_module()
            derivative = program.vjp() if order < 2 and program.has_vjp() else None
        except Exception as error:  # MLIR and flatbuffers raise what they like
            found = failure_text(error)
            raise _unreadable(path, name, "a StableHLO program", found) from error
        effects = map(str, (*program.ordered_effects, *program.unordered_effects))
        targets = [t for line in text.splitlines() for t in _calls_out(line)]
        for target in (*targets, *effects):
            remedy = "export the model without callbacks, custom kernels and linear algebra"
            raise file_error(path, name, "StableHLO that only computes", target, remedy)
        if derivative is None:
            return order
        order, program = order + 1, derivative


def _calls_out(line):
    """Name what one line of a program calls outside of it, shape assertions left out; text in
    attributes may be counted too, which errs on the safe side."""
    line = line.replace(_SHAPE_ASSERTION, "")
    if "custom_call" in line:
        names = re.findall(
            r'custom_call @(?:"([^"]*)"|([^\s"(]+))|call_target_name = "([^"]*)"', line
        )
        return ["".join(name) for name in names] or [line.strip()]
    return re.findall(r"stablehlo\.(?:infeed|outfeed|send|recv)\b", line)
