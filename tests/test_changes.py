"""What changed between two calls: random walks against looking at all pairs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_random_walks(tmp_path):
    """Every energy is that of all pairs, whatever moved, came, went or changed places."""
    sources = [
        ROOT / "cpp_bridge" / f"{name}.cpp" for name in ("changes", "point_list", "neighbours")
    ]
    walk = tmp_path / "walk"
    options = ["-std=c++17", "-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["g++", *options, "-I", ROOT / "cpp_bridge", "-o", walk]
    subprocess.run([*command, Path(__file__).with_name("changes_walk.cpp"), *sources], check=True)
    done = subprocess.run([walk, "20000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    settled, proposed, overlap, changed, unknown, kept = map(int, done.stdout.split())
    assert changed > 10000 and settled > 100 and proposed > 100 and unknown > 50 and kept > 5000
    assert overlap == 0
