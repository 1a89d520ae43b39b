"""How programs are compiled that touch few rows of large tables, or evaluate blocks of rows.

Options only: decides nothing about what is computed.
"""

from __future__ import annotations

import functools

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


@functools.cache
def blocks(platform: str) -> dict[str, str]:
    """The same for programs that evaluate blocks of rows.

    XLA hands a network's gradient on a CPU to a library of kernels, from one matrix product to the
    next and the sum behind them, in one piece. The library then multiplies half as fast as where it
    is given each product alone: steps of a network took 1.25 times as long (benchmarks/kernel.py).
    """
    options = few_rows(platform)
    alone = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    return options | alone if platform == "cpu" and _compiles(alone) else options


def _compiles(options: dict[str, str]) -> bool:
    """Whether this XLA knows the options, which others may not have."""
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except Exception:  # of whatever kind
        return False
    return True
