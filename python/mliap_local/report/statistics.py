"""Which part of a series is in equilibrium, and how well its mean is known.

The estimators are pymbar's: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), and Chodera et
al., J. Chem. Theory Comput. 3, 26 (2007). They count independent samples, whatever their variance,
and keep a way into equilibrium that is as short as the correlation; the rule of K. P. White,
Simulation 69, 323 (1997), looks at the variance and finds that. Pure functions of one series.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

#: Fewer independent samples than that say little.
ENOUGH = 30
#: Fewer than that are no equilibrium: the slowest change takes as long as the run.
SOME = 5
# of all samples, that are kept at least: any series ends in a piece that looks flat
_KEPT = 0.5
# standard errors that the halves of the equilibrated part may differ by: correlated series without
# a drift exceed them once in a hundred times
_APART = 4.0
_STARTS = 200  # where equilibrium may begin, as pymbar tries them one by one


class Estimate(NamedTuple):
    """The mean of the equilibrated part of a series; what is not known is not a number."""

    mean: float
    error: float  #: one standard error
    start: int  #: first sample of the equilibrated part, in the first half
    inefficiency: float  #: samples for each independent one, 1 + 2 tau
    independent: float  #: number of independent samples
    settled: bool  #: whether there is an equilibrated part

    @property
    def sound(self) -> bool:
        """Whether mean and error may be believed."""
        return self.settled and self.independent >= ENOUGH


def timeseries():
    """pymbar's module of that name, without the words that it writes to standard error at import.

    Raises:
      ImportError: it is not installed.
    """
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from pymbar import timeseries
    except ImportError as error:
        raise ImportError(
            f"expected pymbar, got {error}: pip install 'mliap-local[report]'"
        ) from error
    finally:
        logger.setLevel(level)
    return timeseries


def estimate(series: np.ndarray) -> Estimate:
    """Find the equilibrated part of a series, half of it at least, and the mean of that.

    Args:
      series: float [n_samples], at equal distances in time.
    """
    series = np.asarray(series, float)
    n_samples = len(series)
    if n_samples < 2 or not np.ptp(series) > 0 or not np.isfinite(series).all():
        return Estimate(float(series.mean()), np.nan, 0, np.nan, np.nan, True)
    every = max(1, n_samples // _STARTS)
    start = int(timeseries().detect_equilibration(series, nskip=every)[0])
    latest = n_samples - int(np.ceil(_KEPT * n_samples))
    start = min(max(start, _steadiest(series, latest)), latest)
    kept = series[start:]
    inefficiency, error = _error(kept)
    independent = len(kept) / inefficiency
    settled = independent >= SOME and not _drifts(kept)
    return Estimate(float(kept.mean()), error, start, inefficiency, independent, settled)


def _steadiest(series: np.ndarray, latest: int) -> int:
    """The start, `latest` at most, after which variance over number of samples is least."""
    backwards = (series - series.mean())[::-1]
    number = np.arange(1, len(series) + 1)
    mean, square = np.cumsum(backwards) / number, np.cumsum(backwards**2) / number
    return int(np.argmin(((square - mean**2) / number)[::-1][: latest + 1]))


def _error(series: np.ndarray) -> tuple[float, float]:
    """Statistical inefficiency, and the standard error of the mean that follows from it."""
    if len(series) < 2 or np.ptp(series) == 0:
        return float(max(len(series), 1)), np.nan
    # looking at every time costs the square of a long series
    fast = len(series) > 20_000
    inefficiency = float(timeseries().statistical_inefficiency(series, fast=fast))
    return inefficiency, float(np.std(series, ddof=1) * np.sqrt(inefficiency / len(series)))


def _drifts(series: np.ndarray) -> bool:
    halves = np.array_split(series, 2)
    errors = np.nan_to_num([_error(half)[1] for half in halves])  # 0 where one is constant
    apart = abs(halves[0].mean() - halves[1].mean())
    return bool(apart > _APART * np.hypot(*errors))
