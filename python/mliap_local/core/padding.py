"""Capacities: the few array sizes that are compiled for.

A new shape is a new compilation, so every array is padded to one of few sizes. No other file
knows a capacity, and no size ever runs out: what does not fit gets the next capacity.
"""

from __future__ import annotations

import math

BLOCK_EDGES = {"cpu": 768, "gpu": 2**18}
"""Edges that a block of rows should have. On a CPU its intermediates then stay in the second-level
cache, 2 MB where that was measured, and smaller blocks pay for the starts of their operations:
beside 2048 edges, steps of adp took 0.86, of eam 0.66 (benchmarks/models.py)."""

BLOCK_VALUES = {"cpu": 2**17, "gpu": 2**26}
"""Values that messages of a block may have. On a CPU 16 rows of SNAP with 2J = 8 took 0.82 of 64
rows; on a GPU they are half a gigabyte, and a model stores a few times as much for its gradient."""

MOST_BLOCK_ROWS = 2**8  # on a CPU

SHARE_EDGES = {"cpu": 2**17, "gpu": 2**19}
"""Edges of a share of atoms. On a CPU 6 MB with their gradient in float64: blocks keep the
processor's cache warm, and each share costs Python 0.1 ms: with a quarter of it steps of eam took
1.2 to 1.4 times as long, with an eighth 1.5 times."""

MANY_SHARES = 16
"""Shares from which on those of a GPU are twice as large: of 18, steps of a GPU took 0.78 (eam) and
0.62 (a network) of the time."""

SMALLEST_CHANGE = 64
EDGES_PER_ROW = 1.5
"""One size serves rows and edges of a change. A moved atom has about 1.5 edges a row (its own and
each neighbour's, old and new), an inserted one 2, a deleted one 1."""


def grown(needed: int, current: int = 0) -> int:
    """The power of two that holds `needed`, or `current` while that is not four times too large."""
    if needed <= current <= 4 * needed:
        return current
    return 2 ** math.ceil(math.log2(max(needed, 1)))


def block_rows(width: int, message_width: int, n_rows: int, platform: str = "cpu") -> int:
    """Rows that are evaluated at once, for rows of `width` neighbours: a power of two. On a GPU,
    whose blocks are large, no more than hold `n_rows`."""
    platform = "cpu" if platform == "cpu" else "gpu"
    edges = min(BLOCK_EDGES[platform], BLOCK_VALUES[platform] / message_width)
    rows = 2 ** max(0, round(math.log2(edges / max(width, 1))))
    most = MOST_BLOCK_ROWS if platform == "cpu" else grown(max(n_rows, SMALLEST_CHANGE))
    return min(rows, most)


def share_rows(n_rows: int, width: int, block: int, threads: int, platform: str = "cpu") -> int:
    """Rows of a share: whole blocks; on a CPU what fits the processor's cache, as many shares for
    each thread, and as many rows in each share; on a GPU a power of two, which is not padded."""
    if platform != "cpu":
        edges = SHARE_EDGES["gpu"] * (2 if n_rows * width > MANY_SHARES * SHARE_EDGES["gpu"] else 1)
        return max(block, grown(edges // max(width, 1) // 2 + 1))
    most = max(block, SHARE_EDGES["cpu"] // max(width, 1))
    rounds = max(1, math.ceil(n_rows / most / threads))
    return block * max(1, math.ceil(n_rows / (rounds * threads) / block))


READ_ROWS = 16
"""Rows of a change that are read out together, where messages are wide; divides all capacities.
Trials of DeePMD took 0.55 of the time that they take where padding is read out too, of ACE 0.42, of
SNAP with 2J = 8 0.55, of a small MTP 0.81; with twice as many rows 0.68, 0.52, 0.59 and 0.95."""

WIDE = 100
"""Values of a message from which on its readout is dear."""


def read_rows(message_width: int) -> int:
    """Rows of a change that are read out together; 0: all, padding too."""
    return READ_ROWS if message_width >= WIDE else 0


def row_capacity(n_rows: int, block: int, current: int = 0) -> int:
    """Rows that are laid out together, a power of two; only the blocks in use are evaluated."""
    return max(grown(n_rows, current), block)


def fill_capacity(n_rows: int, block: int) -> int:
    """Rows that are evaluated to fill the cache: 64, 128, 256, ...; blocks not in use are free."""
    return grown(max(n_rows, SMALLEST_CHANGE, block))


def split_capacity(n_rows: int, block: int) -> int:
    """The same in steps of an eighth to a quarter, where some rows go on in others: their number is
    little more than a power of two, and another with each step."""
    step = max(SMALLEST_CHANGE, block, grown(n_rows) // 8)
    return step * math.ceil(n_rows / step)


def others_capacity(n_others: int) -> int:
    """Atoms at the other ends of a share's edges, and one more for edges without."""
    return grown(n_others + 1)


def points_capacity(n_points: int, current: int = 0) -> int:
    """Points and at least one that is none: an eighth more, so that images that come and go seldom
    ask for another compilation, in steps of a sixteenth to an eighth, kept until it is half too
    large."""
    if n_points < current <= 1.5 * n_points + 64:
        return current
    needed = n_points + max(n_points // 8, 64)
    step = grown(needed) // 16
    return step * math.ceil(needed / step)


def cache_capacity(n_rows: int, current: int = 0) -> int:
    """Rows of the cache: room for insertions too."""
    return grown(n_rows + max(n_rows // 16, 64), current)


def width_capacity(width: int, current: int = 0, half: bool = False) -> int:
    """Neighbours of a row: a multiple of two below 16, of four below 32, else of eight, kept until
    it is a quarter too wide. Few neighbours come in fine steps: all is in proportion to the width.
    Rows where one edge stands for two hold half as many, and always come in steps of two.
    """
    if 0 < current and width <= current <= 1.25 * width + 8:
        return current
    step = 2 if half or width < 16 else 4 if width < 32 else 8
    return step * math.ceil((width + 2) / step)


LEAST_HALF_ROWS = 500
"""Atoms from which on one edge may stand for two. With 108, 256 and 500 steps of the neural model
of benchmarks/half.py took 1.30, 1.15 and 1.05 times as long with it, of tabulated DeePMD 1.00, 0.86
and 0.82 times."""

MOST_HALF_ROOM = 0.58
"""Rows where one edge stands for two should take no more, as a part of the room that rows of all
edges take. In pure nickel it is 0.56, with 1, 2, 5 and 10 % of hydrogen in it 0.56, 0.57, 0.61 and
0.66: steps of a network took 0.88, 0.94, 0.93, 0.96 and 1.06 times as long as with all edges
(benchmarks/half.py --unlike). Atoms near those of other processes have long rows too: two with
2 000, 4 000 and 8 000 atoms each have 0.73, 0.65 and 0.60, and of these the last gains nothing."""

HALF_ROWS, FEWEST_HALF_SHARES = 2048, 2


def half_shares(n_rows: int) -> int:
    """Shares of atoms where one edge stands for two; 0: none should. Sums are added share by share
    then, and no digit shall depend on the number of threads: nor do these. Atoms at other ends are
    copied for each share, so shares are large: with 8 of 2 048 atoms steps of a network took 1.13
    times as long as with 2."""
    if n_rows < LEAST_HALF_ROWS:
        return 0
    return max(FEWEST_HALF_SHARES, math.ceil(n_rows / HALF_ROWS))


def change_capacity(n_rows: int, n_edges: int) -> tuple[int, int]:
    """Rows and edges of a change: 64, 96, 128, 192, ... rows and 1.5 times as many edges."""
    rows = SMALLEST_CHANGE
    while rows < n_rows or EDGES_PER_ROW * rows < n_edges:
        rows = rows * 3 // 2 if rows & (rows - 1) == 0 else rows * 4 // 3
    return rows, int(EDGES_PER_ROW * rows)


def question_capacity(n_rows: int, n_edges: int) -> tuple[int, int]:
    """Rows and edges of a question about atoms: 128, 256, 512, ... rows, 1.5 times as many edges.

    Questions of all sizes follow each other from the first step on, so their sizes are fewer than
    those of changes.
    """
    rows = grown(max(n_rows, math.ceil(n_edges / EDGES_PER_ROW), 2 * SMALLEST_CHANGE))
    return rows, int(EDGES_PER_ROW * rows)
