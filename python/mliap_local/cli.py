"""The `mliap-local` command: make, describe and check model files.

Reads arguments and prints; what it does is in `model_file` and `models`. JAX is imported when a
command needs it, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = "Make, describe and check the model files of LAMMPS's pair_style mliap_local."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after one line on standard error.

    Args:
      arguments: those of the process where None.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"mliap-local: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mliap-local", description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="make a model file from a published potential")
    kinds = convert.add_subparsers(required=True, metavar="POTENTIAL")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("-o", "--output", required=True, help="model file to write")
    output.add_argument("--precision", choices=("32bit", "64bit"), default="64bit")

    eam = kinds.add_parser("eam", parents=[output], help="embedded-atom tables in setfl format")
    eam.add_argument("file", metavar="FILE", help="a .eam.alloy or .eam.fs file")
    eam.add_argument("--format", choices=("alloy", "fs"), help="where the name does not tell")
    eam.set_defaults(command=_convert_eam)

    lj = kinds.add_parser("lj", parents=[output], help="Lennard-Jones 12-6, one element")
    lj.add_argument("--element", required=True, help="symbol, such as Ar")
    lj.add_argument("--epsilon", type=float, required=True, help="depth of the well, energy")
    lj.add_argument("--sigma", type=float, required=True, help="where phi is zero, length")
    lj.add_argument("--cutoff", type=float, required=True, help="length, not in units of sigma")
    lj.add_argument(
        "--shift",
        choices=("none", "energy", "force"),
        default="none",
        help="made zero at the cutoff: nothing (lj/cut), the energy (pair_modify shift yes), "
        "the force too (lj/smooth/linear)",
    )
    lj.add_argument("--units", choices=("metal", "real", "lj"), default="metal")
    lj.set_defaults(command=_convert_lj)

    for name, command, text in (
        ("info", _info, "print what a model file says about itself"),
        ("check", _check, "check a model file; exit code 1 if it fails"),
    ):
        describe = commands.add_parser(name, help=text)
        describe.add_argument("file", metavar="MODEL")
        describe.set_defaults(command=command)
    return parser


def _use_64_bit():
    import jax

    # Before any array is made; 32bit models do not mind.
    jax.config.update("jax_enable_x64", True)


def _convert_eam(options):
    _use_64_bit()
    from .models.eam import eam, read_setfl

    table = read_setfl(options.file, options.format)
    source = f"converted from {Path(options.file).name}: {table.comment}"
    return _export(options, eam(table), table.cutoff, table.elements, table.units, source)


def _convert_lj(options):
    _use_64_bit()
    from .models.lj import lj

    model = lj([options.element], options.epsilon, options.sigma, options.cutoff, options.shift)
    source = (
        f"Lennard-Jones 12-6, epsilon {options.epsilon:g}, sigma {options.sigma:g}, "
        f"cutoff {options.cutoff:g}, shift {options.shift}"
    )
    return _export(options, model, options.cutoff, [options.element], options.units, source)


def _export(options, functions, cutoff, elements, units, source):
    from .model_file import export_model

    model = export_model(
        options.output,
        *functions,
        cutoff=cutoff,
        elements=elements,
        precision=options.precision,
        units=units,
        name=Path(options.output).stem,
        source=source,
    )
    jump = "" if model.metadata.smooth else "; its energy or force jumps at the cutoff"
    print(f"wrote {options.output}: {' '.join(elements)}, cutoff {cutoff:g}, units {units}{jump}")
    return 0


def _info(options):
    _use_64_bit()
    from .model_file import read_model

    model = read_model(options.file)
    metadata = model.metadata
    energies = metadata.isolated_energies or {}
    lines = {
        "name": metadata.name,
        "source": metadata.source,
        "elements": " ".join(metadata.elements) if metadata.elements else None,
        "units": metadata.units,
        "cutoff": f"{metadata.cutoff:g}",
        "precision": metadata.precision,
        "overlap": metadata.overlap,
        "smooth at the cutoff": None if metadata.smooth is None else ("no", "yes")[metadata.smooth],
        "isolated energies": " ".join(f"{e} {value:.10g}" for e, value in energies.items()) or None,
        "derivatives": ("none: energies only", "forces", "forces and Hessians")[model.vjp_order],
        "widths": f"embedding {model.embedding_width}, message {model.message_width}",
        "exported by jax": metadata.jax_version,
    }
    for key, value in lines.items():
        # What a file says must not be able to disturb the terminal.
        text = "not given" if value is None else str(value)
        print(f"{key:<22}{''.join(c if c.isprintable() else ' ' for c in text)}")
    return 0


def _check(options):
    _use_64_bit()
    from .model_file import check_model

    checks = check_model(options.file)
    for check in checks:
        print(f"{'ok' if check.ok else 'FAILED':<8}{check.name}: {check.detail}")
    failed = [check.name for check in checks if not check.ok]
    if failed:
        raise ValueError(f"{options.file}: failed {len(failed)} checks: {', '.join(failed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
