"""A potential of one's own: data, two models, their runs of `fix gcmc`, and the picture.

Does what docs/your-own-model.md says, block by block, and nothing else: files that the page tells
to save are saved, its commands are run. Everything goes to the folder `demo`, the picture as
own-model.png. The files are there to be changed.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from running import BIN, HERE, options, run

PAGE = HERE.parent / "docs" / "your-own-model.md"
BLOCK = re.compile(r"(?:Save\s+this\s+as\s+`(\S+)`:\s+)?^```(\w+)\n(.*?)^```$", re.S | re.M)
# what is smaller in the short form
SHORT = {
    "STRUCTURES, RUN = 180, 100": "STRUCTURES, RUN = 18, 15",
    "CUTOFF, STEPS = 4.5, 800": "CUTOFF, STEPS = 4.5, 40",
    "INSERTIONS = 100": "INSERTIONS = 20",
    "order, degree = 3, 6": "order, degree = 2, 4",
    "spacing index 0.15": "spacing index 0.6",
    "points index 5": "points index 2",
    "steps index 2500": "steps index 250",
}


def blocks(short: bool = False) -> list[tuple[str, str, str]]:
    """Name of the file to save or "", kind, text: of each block of the page."""
    text = PAGE.read_text()
    for long, smaller in (SHORT if short else {}).items():
        assert text.count(long) == 1, f"{PAGE} has not one {long!r}"
        text = text.replace(long, smaller)
    return BLOCK.findall(text)


def main() -> None:
    arguments = options(__doc__).parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    show = re.compile(r"^(step|ace|network|reference|all |wrote|ok|mliap_local:|ERROR|WARNING|mu )")
    for name, kind, text in blocks(arguments.short):
        if kind != "sh":
            (folder / name).write_text(text)
        elif not text.startswith("pip install"):
            print(f"\n{text.strip()}", flush=True)
            start = time.perf_counter()
            run(["bash", "-e", "-c", text], folder, show)
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    print(f"picture: {folder / 'own-model.png'}")


if __name__ == "__main__":
    main()
