"""Random walks over points against looking at all pairs: changes, energies of atoms, stages."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")


def walk(
    folder: Path, name: str, sources: list[str], steps: int, sanitizers: str = "address,undefined"
) -> list[int]:
    """Compile a walk with these files of the bridge, run it, and return what it counted."""
    rooms = ROOT / "cpp_bridge", ROOT / "cpp_bridge" / "local"
    files = [rooms[1] / f"{source}.cpp" for source in sources]
    options = ["-std=c++17", "-O2", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    options += [f"-I{room}" for room in rooms]
    command = ["g++", *options, "-o", folder / name]
    subprocess.run([*command, Path(__file__).with_name(f"{name}.cpp"), *files], check=True)
    done = subprocess.run([folder / name, str(steps)], capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:  # before main, where addresses are too random
        pytest.skip("ThreadSanitizer of this compiler cannot run on this kernel")
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(word) for word in done.stdout.split()]


def test_random_walks(tmp_path):
    """Every energy is that of all pairs, whatever moved, came, went or changed places."""
    sources = ["changes", "packed_change", "point_list", "neighbours"]
    settled, proposed, overlap, changed, unknown, kept = walk(
        tmp_path, "changes_walk", sources, 20000
    )
    assert changed > 10000 and settled > 100 and proposed > 100 and unknown > 50 and kept > 5000
    assert overlap == 0


def test_random_flips(tmp_path):
    """Every energy of an atom is that of all pairs, whatever the cache holds."""
    derived, whole, known = walk(
        tmp_path, "energies_walk", ["atomic_energies", "packed_change", "neighbours"], 1000
    )
    assert derived > 4000 and whole > 4000 and known > 20000


def test_random_trials(tmp_path):
    """Every difference of a stage, summed over processes, is that of all pairs, in all boxes; and
    what no trial has touched is not evaluated."""
    sources = ["stage", "cells", "packed_change", "point_list", "neighbours", "shares"]
    counts = walk(tmp_path, "stage_walk", sources, 350)
    proposed, accepted, overlap, none, unsound, failed, compacted, filled, asked, crossed = counts
    assert proposed > 2500 and accepted > 1000 and overlap > 100 and none > 500 and asked > 200
    assert unsound > 50 and failed > 2 and compacted > 0 and filled > 500 and crossed > 100


def test_shares_from_many_threads(tmp_path):
    """No thread touches what another does, and sums are those of one thread, to the last bit."""
    handed_over, shares = walk(
        tmp_path, "shares_threads", ["shares", "neighbours"], 60, "thread,undefined"
    )
    assert shares > 1000 and handed_over > 20
