"""A converted model of DeePMD-kit, beside DeePMD-kit's own plugin for LAMMPS.

The model and the Cu-Ni atoms are those of models.py, on one core: the plugin with the model as it
is and compressed, ours in float64, in float32 and tabulated. The plugin needs a LAMMPS of its own,
so each variant lives in a process that waits for its turn. First whether they say the same at step
0, then milliseconds of a step of molecular dynamics and of a trial of fix gcmc, medians of rounds.
Writes results/deepmd.json.

    python benchmarks/deepmd.py [--rounds 5] [--data FOLDER]

Makes build/deepmd-peer once, an environment with deepmd-kit and its LAMMPS (some 2 GB).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))  # last: this file must not hide deepmd-kit, see Process

import models  # noqa: E402

RESULTS = HERE / "results" / "deepmd.json"
PEER = HERE.parent / "build" / "deepmd-peer"
PACKAGE = "deepmd-kit[cpu,lmp]==3.2.0"
NAME = "deepmd Cu-Ni"
REFERENCE = "plugin"
QUESTIONS = ("step", "trial")
PAIRS = (("plugin", "64bit"), ("plugin, compressed", "64bit, tabulated"))  # equally exact
ONE_THREAD = dict.fromkeys(
    [f"{p}_{k}_OP_PARALLELISM_THREADS" for p in ("DP", "TF") for k in ("INTRA", "INTER")], "1"
) | {"OMP_NUM_THREADS": "1"}

# `dp convert-backend` wants the input script in the file, `dp compress` the smallest distance of
# the training data (Angstrom). In 3.2.0 it also wants a learning rate, which no converted model
# has, and forgets out_bias, which therefore goes where it says the same.
FREEZE = """
import json, sys
from unittest.mock import patch

from deepmd.dpmodel.utils.serialization import load_dp_model, save_dp_model
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.tf.entrypoints import compress
from deepmd.tf.entrypoints.main import main

path, script = sys.argv[1], json.loads(sys.argv[2])
found = load_dp_model(path)
out, fitting = (part["@variables"] for part in (found["model"], found["model"]["fitting"]))
fitting["bias_atom_e"] += out["out_bias"][0]
out["out_bias"][:] = 0
found |= {"model_def_script": script, "@variables": {"min_nbor_dist": 2.0}}
save_dp_model("model.dp", found)
convert_backend(INPUT="model.dp", OUTPUT="plugin.pb")
module = sys.modules[compress.__module__]
complete, rate = module.normalize, {"start_lr": 1e-3, "stop_lr": 1e-8}
with patch.object(module, "normalize", lambda script: complete(script | {"learning_rate": rate})):
    main(["--tf", "compress", "-i", "plugin.pb", "-o", "compressed.pb"])
"""


class Timed(models.Variant):
    """What a process answers."""

    def start(self) -> tuple[float, list[float], float]:
        """Energy (eV), forces (eV/Angstrom) by ID, and pressure (bar) at step 0."""
        self.lmp.commands_string("thermo_style custom step pe press\nrun 0")
        found = self.lmp.get_thermo("pe"), list(self.lmp.gather_atoms("f", 1, 3))
        pressure = self.lmp.get_thermo("press")
        self.lmp.command("thermo_style custom step atoms pe")
        return *found, pressure

    def versions(self) -> dict[str, str]:
        installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
        asked = ("lammps", "deepmd-kit", "tensorflow_cpu", "jax")
        return {name: installed[name] for name in asked if name in installed}


class Process:
    """A variant in a process of its own, which rests until it is asked."""

    def __init__(self, style: str, folder: Path, peer: bool) -> None:
        python = PEER / "bin" / "python" if peer else sys.executable
        environment = {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("NPROC", None)
        if peer:  # its libmpi lies there, and TensorFlow is talkative
            environment |= {"LD_LIBRARY_PATH": str(PEER / "lib"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        folder.mkdir()
        self.said = folder / "said"
        self.connection, theirs = Pipe()
        # -P: `import deepmd` finds deepmd-kit, not this file
        command = [python, "-P", __file__, "answer", str(theirs.fileno()), style, folder / "log"]
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdout=said, stderr=said
            )
        theirs.close()

    def ask(self, question: str) -> Any:
        try:
            self.connection.send(question)
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the process ended:\n{self.said.read_text()[-3000:]}") from error

    def end(self) -> None:
        self.connection.close()
        self.process.wait()


def answer(connection: Connection, style: str, log: Path) -> None:
    """What a process does: methods of its variant, until nobody asks any more."""
    variant = Timed(models.POTENTIALS[NAME], style, log)
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return variant.lmp.close()
        connection.send(getattr(variant, question)())


def install() -> None:
    """The environment of DeePMD-kit, unless it is there."""
    if not (PEER / "bin" / "dp").exists():
        venv.create(PEER, clear=True, with_pip=True)
        subprocess.check_call([PEER / "bin" / "python", "-m", "pip", "install", "-q", PACKAGE])


def styles(data: Path, folder: Path) -> dict[str, str]:
    """Input lines of each variant."""
    path = (data / Path(models.DEEPMD).name).absolute()
    script = json.dumps(models.make_deepmd(path))
    command = [PEER / "bin" / "python", "-P", "-c", FREEZE, path, script]
    environment = {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"deepmd-kit failed:\n{done.stderr[-3000:]}")
    found = {
        "plugin": f"pair_style deepmd {folder}/plugin.pb",
        "plugin, compressed": f"pair_style deepmd {folder}/compressed.pb",
    }
    found = {name: f"{style}\npair_coeff * * Cu Ni" for name, style in found.items()}
    ours = {
        "64bit": ("64bit", []),
        "32bit": ("32bit", []),
        "64bit, tabulated": ("64bit", ["--tabulate", "1e-8"]),
    }
    for name, (precision, words) in ours.items():
        file = folder / f"{len(found)}.zip"
        models.convert(["deepmd", str(path), *words], precision, file)
        found[name] = f"pair_style mliap_local\npair_coeff * * {file} Cu Ni"
    return found


def compare(states: dict[str, tuple[float, list[float], float]]) -> dict[str, dict[str, float]]:
    """How far each variant is from the reference: forces where farthest. And the values there."""
    energy, forces, pressure = states[REFERENCE]
    atoms = len(forces) // 3
    columns = "energy, eV an atom", "force, eV/Angstrom", "pressure, bar"
    rows = {
        name: (
            abs(e - energy) / atoms,
            max(abs(a - b) for a, b in zip(f, forces, strict=True)),
            abs(p - pressure),
        )
        for name, (e, f, p) in states.items()
    }
    rows["largest value"] = energy / atoms, max(map(abs, forces)), pressure
    return {name: dict(zip(columns, row, strict=True)) for name, row in rows.items()}


def measure(styles: dict[str, str], rounds: int, folder: Path) -> dict[str, Any]:
    processes = {
        name: Process(style, folder / f"process{k}", "mliap_local" not in style)
        for k, (name, style) in enumerate(styles.items())
    }
    report: dict[str, Any] = {
        "differences at step 0": compare({n: p.ask("start") for n, p in processes.items()}),
        "versions": {n: processes[n].ask("versions") for n in (REFERENCE, "64bit")},
    }
    print(json.dumps(report, indent=1), flush=True)
    for name, process in processes.items():
        process.ask("warm")
        print(f"  {name} is warm", flush=True)
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for name, process in processes.items():
            for question in QUESTIONS:
                seconds[name][question].append(process.ask(question))
        print(f"  round {number + 1} of {rounds}", flush=True)
    for process in processes.values():
        process.end()
    report["ms"] = ms = {
        name: {what: 1e3 * statistics.median(values) for what, values in row.items()}
        for name, row in seconds.items()
    }
    report["seconds"] = seconds
    report["ratios"] = {
        f"{what}, {theirs} ÷ {ours}": ms[theirs][what] / ms[ours][what]
        for what in QUESTIONS
        for theirs, ours in PAIRS
    }
    return report


def show(report: dict[str, Any]) -> None:
    differences = report["differences at step 0"]
    columns = ["", *(f"{what}, ms" for what in QUESTIONS), *differences[REFERENCE]]
    print(f"\n| {' | '.join(columns)} |\n|---|" + "---:|" * (len(columns) - 1))
    for name, row in differences.items():
        times = [
            f"{report['ms'][name][what]:.3g}" if name in report["ms"] else "" for what in QUESTIONS
        ]
        print(f"| {' | '.join([name, *times, *(f'{value:.2g}' for value in row.values())])} |")
    for name, value in report["ratios"].items():
        print(f"{name}: {value:.2f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--data", type=Path, default=Path("data"), help="where the model goes")
    arguments = options.parse_args()
    install()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(styles(arguments.data, Path(folder)), arguments.rounds, Path(folder))
    show(report)
    RESULTS.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(Connection(int(sys.argv[2])), sys.argv[3], Path(sys.argv[4]))
    else:
        main()
