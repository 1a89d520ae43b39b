"""Every block of docs/python.md runs, in its order."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def test_blocks(tmp_path, monkeypatch, capsys):
    for package in ("ase", "flax"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == PAGE.read_text().count("```") / 2 == 13
    names = {"__name__": "page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    # The simulation did something, of both kinds.
    assert np.all(names["accepted"] > 0) and np.all(names["accepted"] < 20)
    assert np.abs(names["forces"]).max() > 0.01 and np.abs(names["stress"]).max() > 1e-4
    assert (tmp_path / "model.zip").exists() and (tmp_path / "flax.zip").exists()
    assert len(capsys.readouterr().out) > 50
