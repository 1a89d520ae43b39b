"""The `mliap-local` command: model files, reports of runs, checks of the installation.

Reads arguments and prints; what it does is in `model_file`, `models`, `report` and `doctor`. JAX is
imported when a command needs it, so that `--help` answers at once.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path

from .models import FAMILIES

_DESCRIPTION = "Model files of LAMMPS's pair_style mliap_local, and what its runs did."
_PATIENCE = 2.0  # seconds that nobody wonders about


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after one line on standard error.

    Args:
      arguments: those of the process where None.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(arguments).parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError, ImportError) as error:
        from .model_file.errors import printable

        print(f"mliap-local: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 1


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mliap-local", description=_DESCRIPTION)
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions and leave")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="make a model file from a published potential")
    kinds = convert.add_subparsers(required=True, metavar="FAMILY")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("-o", "--output", required=True, help="model file to write")
    output.add_argument("--precision", choices=("32bit", "64bit"), default="64bit")
    for name, text in FAMILIES.items():
        family = kinds.add_parser(name, parents=[output], help=text, description=text)
        if name in arguments:  # only the module that is asked for is imported: it needs JAX
            module = import_module(f"{__package__}.models.{name}")
            module.add_arguments(family)
            _, words = output.parse_known_args(arguments[arguments.index(name) + 1 :])
            family.set_defaults(
                command=lambda options, name=name, words=words, module=module: _convert(
                    options, name, words, module
                )
            )

    for name, command, text in (
        ("info", _info, "print what a model file says about itself"),
        ("check", _check, "check a model file; exit code 1 if it fails"),
    ):
        describe = commands.add_parser(name, help=text)
        describe.add_argument("file", metavar="MODEL")
        describe.set_defaults(command=command)

    for name, text in (
        ("report", "what Monte Carlo runs did: a page with pictures from LAMMPS log files"),
        ("doctor", "check the installation: a line for each part, and what to do if one fails"),
    ):
        judge = commands.add_parser(name, help=text, description=text)
        if name in arguments:
            module = import_module(f"{__package__}.{name}")
            module.add_arguments(judge)
            judge.set_defaults(command=module.run)
    return parser


class _Version(argparse.Action):
    """What a report of a fault should begin with; looked up only when it is asked for."""

    def __call__(self, parser, *_):
        packages = ("mliap-local", "lammps", "jax", "jaxlib", "numpy")
        versions = [f"{name} {metadata.version(name)}" for name in packages]
        print(", ".join([*versions, f"Python {sys.version.split()[0]}"]))
        parser.exit()


def _use_64_bit():
    import jax

    # Before any array is made; 32bit models do not mind.
    jax.config.update("jax_enable_x64", True)


def _convert(options, name, words, family):
    _use_64_bit()
    from . import __version__
    from .model_file import export_model
    from .model_file.origin import files_of, origin_of

    with _progress("reading and building the functions"):
        made = family.convert(options)
    for file in files_of(options).values():
        if _same(file, options.output):
            raise ValueError(f"{file}: would be replaced by its model file")
    masses = {element: mass for element, mass in (made.masses or {}).items() if mass > 0}
    with _progress("exporting, with derivatives, and checking"):
        model = export_model(
            options.output,
            *made.functions,
            cutoff=made.cutoff,
            elements=made.elements,
            precision=options.precision,
            units=made.units,
            name=Path(options.output).stem,
            source=made.source,
            masses=masses or None,
            overlap=made.overlap,
            allow_jump=True,  # it is what was published
            origin=origin_of(name, words, options, __version__),
            grade=made.grade,
            half=made.half,
        )
    jumps = model.metadata.jumps
    print(
        f"wrote {options.output}: {' '.join(made.elements)}, cutoff {made.cutoff:g}, "
        f"units {made.units}" + (f"; {jumps} ({made.jump})" if jumps else "")
    )
    if made.note:
        print(f"note: {made.note}")
    return 0


def _same(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


@contextmanager
def _progress(what: str):
    """Say what is going on once it has taken two seconds, and how long it took."""
    start = time.monotonic()
    slow = threading.Timer(_PATIENCE, lambda: print(f"{what} ...", flush=True))
    slow.daemon = True
    slow.start()
    try:
        yield
    finally:
        slow.cancel()
    if (seconds := time.monotonic() - start) > _PATIENCE:
        print(f"{what}: {seconds:.1f} s")


def _info(options):
    from .model_file.apart import run_apart
    from .model_file.errors import printable

    model = run_apart("describe", options.file)
    metadata = model["metadata"]
    elements, energies = metadata["elements"], metadata["isolated_energies"] or {}
    masses = metadata["masses"] or {}
    lines = {
        "name": metadata["name"],
        "source": metadata["source"],
        "elements": " ".join(elements) if elements else None,
        "units": metadata["units"],
        "cutoff": f"{metadata['cutoff']:g}",
        "precision": metadata["precision"],
        "overlap": metadata["overlap"],
        "masses": " ".join(f"{e} {value:.6g}" for e, value in masses.items()) or None,
        "smooth at the cutoff": model["jumps"] or ("yes" if metadata["smooth"] else None),
        "isolated energies": " ".join(f"{e} {value:.10g}" for e, value in energies.items()) or None,
        "derivatives": ("none: energies only", "forces", "forces and Hessians")[model["vjp_order"]],
        "grade": "of extrapolation" if model["grade"] else "none",
        "equal elements": "a message does for both ends" if metadata["parity"] else None,
        "widths": f"embedding {model['embedding_width']}, message {model['message_width']}",
        "exported by jax": metadata["jax_version"],
        "converted from": _origin(metadata["converted"]),
        "programs": "built anew from what it was converted from, this JAX cannot read them"
        if model["built_anew"]
        else "read",
    }
    for key, value in lines.items():
        print(f"{key:<22}{printable('not given' if value is None else value)}")
    return 0


def _origin(converted):
    if converted is None:
        return None
    family, arguments, names, _, version = converted
    words = [names[word] if isinstance(word, int) else word for word in arguments]
    return f"{family} {' '.join(words)} by mliap-local {version}; the file carries it"


def _check(options):
    from .model_file.errors import printable
    from .model_file.vetting import check

    checks = check(options.file)
    for name, ok, detail, warning in checks:
        verdict = "FAILED" if not ok else "warning" if warning else "ok"
        print(f"{verdict:<8}{name}: {printable(detail)}")
    failed = [name for name, ok, *_ in checks if not ok]
    if failed:
        raise ValueError(f"{options.file}: failed {len(failed)} checks: {', '.join(failed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
