"""The first input of README.md runs as it stands: its blocks are pasted into an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "README.md"


def test_first_input(tmp_path):
    use = PAGE.read_text().partition("\n## Start in five minutes\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", use, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "lammps", "sh", "lammps"]
    (saved,) = re.findall(r"Save this as `(\S+)`", use)
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["HOME"] = os.environ.get("HOME", "/")
    output = ""
    for kind, text in blocks[:3]:  # the last is a part of an input
        if kind == "lammps":
            (tmp_path / saved).write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        output += done.stdout
        assert done.returncode == 0, output + done.stderr
    assert "WARNING" not in output
    _, atoms, temperature, *_, inserted, _, deleted, incremental = map(
        float, re.findall(r"^ +500 .*", output, re.MULTILINE)[0].split()
    )
    # It does what it is there for: hydrogen came and went, at about the temperature asked for.
    assert atoms - 256 == inserted - deleted > 0 and deleted > 0
    assert incremental > 1000 and 450 < temperature < 750
