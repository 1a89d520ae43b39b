"""How programs that read and write few rows of large tables are compiled.

Options only: decides nothing about what is computed.
"""

from __future__ import annotations

import jax

FEW_ROWS: dict[str, str] = (
    {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    if jax.__version_info__ >= (0, 10)  # older ones cannot take this option from jit
    else {}
)
"""`jax.jit(update, compiler_options=FEW_ROWS)`.

XLA estimates the cost of a lookup on a CPU by the size of the table and shares it among threads
from some thousand rows on. For a hundred rows the handing over takes longer than the lookup, the
more so the busier the machine: an update at 64 000 atoms took 1.8 times as long as at 1 000
(benchmarks/update.py).
"""
