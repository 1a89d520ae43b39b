"""Where NEP89 comes from: the foundation model for 89 elements lies in a package's source archive.

    python lammps_examples/nep89.py FOLDER

T. Liang et al., "NEP89: Universal neuroevolution potential for inorganic and organic materials
across 89 elements", arXiv:2504.21286 (2025). The archive is that of PyPI's `neptrainkit`
(GPL-3.0-or-later): the file is fetched by whoever runs this, and is no part of this project.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE, VERSION = "neptrainkit", "3.1.5"
MEMBER = f"{PACKAGE}-{VERSION}/src/NepTrainKit/Config/nep89.txt"


def fetch(folder: Path) -> Path:
    """Return nep89.txt in `folder`, downloaded by pip where it is not there yet.

    Raises:
      RuntimeError: pip cannot get the package.
    """
    target = folder / "nep89.txt"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    wanted = ["--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    archive = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if done.returncode != 0 or not archive.exists():
        raise RuntimeError(
            f"expected pip to download the source of {PACKAGE} {VERSION}, got: "
            f"{done.stderr.strip()[-300:]}"
        )
    with tarfile.open(archive) as opened:
        content = opened.extractfile(MEMBER)
        assert content is not None, f"{archive} has no {MEMBER}"
        target.write_bytes(content.read())
    archive.unlink()
    return target


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
