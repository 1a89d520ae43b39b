"""The pictures of a report: one of each state, and one of all where they differ by something.

Draws what `summary` found, and finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .statistics import Estimate
from .summary import State

_COLOURS = {"translation": "tab:gray", "insertion": "tab:green", "deletion": "tab:red"}
_WINDOWS = 40  # of acceptance
# of the axes: a curve may be anywhere in them
_ABOVE = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "borderaxespad": 0, "frameon": False}


def pyplot():
    """matplotlib's pyplot, for files only.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f"expected matplotlib, got {error}: pip install 'mliap-local[report]'"
        ) from error
    return pyplot


def draw_state(state: State, column: str, path: Path) -> None:
    """The reported column against step, its equilibrated part and mean, and below acceptance."""
    rows = 2 if state.moves else 1
    figure, axes = pyplot().subplots(
        rows,
        1,
        sharex=True,
        squeeze=False,
        figsize=(7.5, 5.0 if rows == 2 else 3.2),
        height_ratios=(3, 2)[:rows],
        layout="constrained",
    )
    upper = axes[0, 0]
    found = state.estimate
    begin = state.steps[found.start]
    upper.plot(state.steps, state.values, color="tab:blue", linewidth=0.9)
    if found.settled and np.isfinite(found.error):
        span = [begin, state.steps[-1]]
        upper.axvspan(*span, color="tab:blue", alpha=0.08, linewidth=0)
        label = f"mean {with_error(found)}, equilibrated from step {begin:.0f} on"
        upper.plot(span, [found.mean] * 2, color="black", linewidth=1.3, label=label)
        low, high = found.mean - found.error, found.mean + found.error
        upper.fill_between(span, low, high, color="black", alpha=0.25, linewidth=0)
        upper.legend(**_ABOVE)
    elif not found.settled:
        upper.set_title("no equilibrated part", loc="right", fontsize="medium", color="tab:red")
    upper.set_ylabel(column)
    if state.moves:
        _draw_acceptance(axes[1, 0], state)
    axes[-1, 0].set_xlabel("step")
    for one in axes[:, 0]:
        one.spines[["top", "right"]].set_visible(False)
        one.margins(x=0)
    figure.savefig(path, dpi=110)
    pyplot().close(figure)


def _draw_acceptance(lower, state: State) -> None:
    """Accepted of tried, in windows: log scale, since moves differ by orders of magnitude."""
    from matplotlib.ticker import LogLocator, NullFormatter

    edges = np.unique(np.linspace(0, len(state.steps) - 1, _WINDOWS + 1).astype(int))
    several = len({move.fix for move in state.moves}) > 1
    for move in state.moves:
        tried, kept = (np.diff(count[edges]) for count in move.counts)
        share = np.divide(kept, tried, out=np.full(len(tried), np.nan), where=tried > 0)
        share[share <= 0] = np.nan  # no place for it on this scale
        label = f"{move.name} {percent(move.share)}"
        lower.stairs(
            100 * share,
            state.steps[edges],
            baseline=None,
            label=f"{move.fix}: {label}" if several else label,
            color=_COLOURS.get(move.name),
        )
    lower.set_yscale("log")
    lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lower.yaxis.set_minor_formatter(NullFormatter())
    lower.set_ylabel("accepted, %")
    lower.legend(ncols=4, handlelength=1.2, **_ABOVE)


def draw_curve(
    states: Sequence[State], values: Sequence[float], name: str, column: str, path: Path
) -> None:
    """The mean of each state over what they differ by; hollow where a run says little."""
    figure, axes = pyplot().subplots(figsize=(6.5, 4.2), layout="constrained")
    order = np.argsort(values, kind="stable")
    x = np.asarray(values)[order]
    means = np.array([states[k].estimate.mean for k in order])
    errors = np.array([_bar(states[k].estimate) for k in order])
    sound = np.array([states[k].estimate.sound for k in order])
    if len(set(values)) == len(values):
        axes.plot(x, means, color="tab:blue", linewidth=0.8, alpha=0.5)
    for chosen, face, label in (
        (sound, "tab:blue", "mean and standard error"),
        (~sound, "white", "too short, or no equilibrium"),
    ):
        if chosen.any():
            axes.errorbar(
                x[chosen],
                means[chosen],
                yerr=errors[chosen],
                fmt="o",
                color="tab:blue",
                markerfacecolor=face,
                capsize=3,
                label=label,
            )
    axes.set_xlabel(name)
    axes.set_ylabel(column)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot().close(figure)


def _bar(found: Estimate) -> float:
    """Length of an error bar, none where the error means nothing."""
    return found.error if found.settled and np.isfinite(found.error) else 0.0


def with_error(found: Estimate) -> str:
    """The mean to the second digit of its error: `12.34 ± 0.56`; `12.34 ± ?` out of equilibrium."""
    unknown = "" if found.settled else " ± ?"
    if not np.isfinite(found.error) or found.error <= 0:
        return f"{found.mean:.6g}{unknown}"
    digits = max(0, 1 - int(np.floor(np.log10(found.error))))
    return f"{found.mean:.{digits}f}{unknown or f' ± {found.error:.{digits}f}'}"


def percent(share: float) -> str:
    """A share as text of two digits."""
    if np.isnan(share):
        return "-"
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
