"""A few dozen seeds of benchmarks/walk.py: random LAMMPS commands, printed alike by native styles.

A seed that fails leaves both inputs and logs in the folder that the message names; more of them are
tried with `python benchmarks/walk.py SEEDS`. That the comparison sees what it should is tested too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import walk as walking
import walk_inputs

N_SEEDS = {1: 20, 2: 3, 3: 1}  # ranks that wait for each other are dear on few cores


@pytest.fixture(scope="module")
def walk(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("walk")
    for name in ("eam", "fs"):
        (folder / f"{name}.zip").symlink_to(model(name))
    return walking.Walk(folder, batch=40)


def test_seeds(walk):
    all_seeds = dict(walk.batches(range(40)))
    verdicts = []
    for ranks, number in N_SEEDS.items():
        assert len(all_seeds[ranks]) >= number
        verdicts += walk.run(ranks, all_seeds[ranks][:number])
    wrong = [verdict for verdict in verdicts if not verdict.good]
    assert not wrong, (walk.folder, wrong)
    assert sum(verdict.chaotic for verdict in verdicts) < len(verdicts) / 10
    logs = [walk.read("ours", verdict.seed) for verdict in verdicts]
    met = {name for log in logs for name in re.findall(r"^# (\w+)$", log, re.M)}
    assert len(met) > 0.8 * len(walk_inputs.COMMANDS), met
    assert sum(verdict.lines for verdict in verdicts) > 10 * len(verdicts)
    incremental = [re.findall(r"and (\d+) incremental evaluations", log) for log in logs]
    assert sum(max(map(int, found), default=0) > 5 for found in incremental) > len(verdicts) / 5


def test_seeds_of_our_fixes(walk):
    """With our pair style and beside the native one; all families are for the benchmark."""
    seeds, found = [], set()
    for seed in range(walk_inputs.WIDE, walk_inputs.WIDE + 1000):
        state = walk_inputs.begin(seed)
        if plain(state) and state.own and "mliap_local" in walk_text(walk, seed):
            seeds.append(seed)
            found.add(state.own)
        if len(seeds) == 8:
            break
    assert found == {"with", "beside"}
    wrong = [verdict for verdict in walk.run(1, seeds) if not verdict.good]
    assert not wrong, (walk.folder, wrong)
    logs = "".join(walk.read("ours", seed) for seed in seeds)
    tried = re.findall(r"(\d+) trials, \d+ answered", logs)
    assert len(tried) > 8 and sum(map(int, tried)) > 100


def walk_text(walk, seed: int) -> str:
    """Our fixes in the input that is ours."""
    walk.write(seed)
    text = (walk.folder / "ours" / f"{seed}.in").read_text()
    return "".join(re.findall(r"^fix .*/mliap_local.*", text, re.M))


LOG = """
Step Atoms PotEng Press Pxx Pxy f_gcmc[1]
0 32 -100.0 500.0 1000.0 0.001 0
1 32 -101.0 400.0 1010.0 0.002 3
Loop time of 1
Step Atoms PotEng
1 32 -101.0
Loop time of 1
"""


@pytest.mark.parametrize(
    "native, ours, good",
    [
        ("0.002 3", "0.002 3", True),
        ("0.002 3", "0.002000001 3", True),  # 1e-12 of the largest pressure
        ("0.002 3", "0.003 3", False),
        ("0.002 3", "0.002 4", False),
        ("-101.0\n", "-101.00001\n", False),
        ("-101.0\n", "nan\n", False),
        ("1 32 -101.0\n", "1 32 -101.0\n1 32 -101.0\n", False),
        ("Step Atoms PotEng\n1 32 -101.0\n", "", False),
    ],
)
def test_what_counts_as_a_difference(native, ours, good):
    tables = [walking.tables(text) for text in (LOG.replace(native, ours), LOG)]
    verdict = walking.difference(0, *tables)
    assert verdict.good is good and (not good or verdict.lines == 3), verdict


def test_compared_as_far_as_native_is_sure():
    twin, native = (walking.tables(text) for text in (LOG.replace("1010.0", "1010.01"), LOG))
    assert walking.difference(0, twin, native, enough=1e-9).lines == 1
    assert walking.difference(0, twin, native, lines=1).good


@pytest.mark.parametrize("seed", [1310, 1926])
def test_seeds_that_differed(walk, seed):
    """Stock fix gcmc leaves an atom outside of group all, on two and three ranks."""
    ranks, _ = walk.write(seed)
    assert ranks > 1
    [verdict] = walk.run(ranks, [seed])
    assert verdict.good and verdict.lines > 20, verdict


def plain(state: walk_inputs.State) -> bool:
    return state.ranks == 1 and state.pair == "eam" and not state.large


def test_a_seed_that_fails_is_named(walk, monkeypatch, capsys):
    """Where hydrogen is aluminium for ours, a seed and its inputs are named."""
    ours, native = walk_inputs.PAIRS["eam"]
    monkeypatch.setitem(walk_inputs.PAIRS, "eam", (ours.replace("Ni H", "Ni Al"), native))
    seed = next(seed for seed in range(100) if plain(walk_inputs.begin(seed)))
    monkeypatch.setattr(walking, "Walk", lambda folder, batch: walk)
    monkeypatch.setattr(sys, "argv", ["walk.py", f"{seed}:{seed + 1}", "--jobs", "1"])
    assert walking.main() == 1
    said = capsys.readouterr().out
    assert f"differ: {seed}" in said and str(walk.folder) in said
    assert all((walk.folder / side / f"{seed}.in").exists() for side in walking.SIDES[:2])
