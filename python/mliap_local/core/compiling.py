"""How programs that read and write few rows of large tables are compiled.

Options only: decides nothing about what is computed.
"""

from __future__ import annotations

import jax


def few_rows(platform: str) -> dict[str, str]:
    """`jax.jit(update, compiler_options=few_rows("cpu"))`: options for JAX's platform of this name.

    XLA estimates the cost of a lookup on a CPU by the size of the table and shares it among threads
    from some thousand rows on. For a hundred rows the handing over takes longer than the lookup,
    the more so the busier the machine: an update at 64 000 atoms took 1.8 times as long as at 1 000
    (benchmarks/update.py). Other platforms have no such pass and need not know its name.
    """
    # older versions cannot take this option from jit
    if platform == "cpu" and jax.__version_info__ >= (0, 10):
        return {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    return {}
