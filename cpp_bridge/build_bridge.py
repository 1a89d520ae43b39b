"""Writes the C source of the embedding library from bridge.h: `build_bridge.py bridge.h out.c`.

The library defines the functions of bridge.h; each calls the Python function of the same name in
`mliap_local.lammps.bridge`. Must not hold any behaviour of its own: what stands in INIT is frozen
into the library, and an exception there is lost on stderr while every call answers 0 without a
text. That is why it catches all of them and keeps the text for the caller.
"""

import sys
from pathlib import Path

import cffi

MODULE = "mliap_local.lib._bridge_cffi"

INIT = """
try:
    import mliap_local.lammps.bridge
except BaseException as exception:
    import sys
    import traceback

    ffi = sys.modules["{module}"].ffi
    text = (
        "mliap_local: expected to import mliap_local.lammps.bridge in "
        f"{{sys.executable or 'this program'}} (Python {{sys.version.split()[0]}}, "
        f"sys.prefix {{sys.prefix}}), got {{type(exception).__name__}}: {{exception}}. "
        "Run `pip install` for mliap-local with that Python\\n\\n" + traceback.format_exc()
    ).encode()

    def failed(*arguments):
        error, size = arguments[-2:]
        if error and size > 0:
            kept = text[: size - 1] + b"\\0"
            ffi.memmove(error, kept, len(kept))
        return 0

    for name in {functions}:
        ffi.def_extern(name=name)(failed)
"""

FUNCTIONS = ("mliap_local_open", "mliap_local_full", "mliap_local_update", "mliap_local_close")


def builder(header: str) -> cffi.FFI:
    """The library's description: `header` is the text of bridge.h."""
    ffi = cffi.FFI()
    ffi.embedding_api(header)
    ffi.set_source(MODULE, header)
    ffi.embedding_init_code(INIT.format(module=MODULE, functions=FUNCTIONS))
    return ffi


if __name__ == "__main__":
    source, target = sys.argv[1:]
    builder(Path(source).read_text()).emit_c_code(target)
