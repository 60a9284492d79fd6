"""Colours and helpers that all figures of the experiments share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minisd.experiments.trained import TrainedRun
from minisd.figures import GRID, INK, new_figure, tidy

__all__ = [
    "GRID", "INK", "PAPER", "colour", "convolutions", "grouped", "mean_where_there_is",
    "new_figure", "spread", "tidy", "title", "whole_numbers",
]  # fmt: skip

PAPER = "#9a9a9a"
FEW = 20
"""Curves with fewer points than this have a mark at each point."""
_COLOURS = {"constant": "#3a6ea5", "plain": "#7b5ea7", "uniform": "#4f8f7b"}
_BY_P = ((0.45, "#7f2a1d"), (0.65, "#c1432e"), (0.85, "#d9922b"), (1.01, "#8aa13a"))


def colour(rule: str, p_last: float) -> str:
    """Return the colour of a rule. It is the same in every figure."""
    if rule in _COLOURS:
        return _COLOURS[rule]
    return next(shade for limit, shade in _BY_P if p_last < limit)


def grouped(runs: list[TrainedRun]) -> dict[tuple[str, float], list[TrainedRun]]:
    """Return the runs by (rule, p_L). Each entry has the runs of all seeds."""
    groups: dict[tuple[str, float], list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault((run.rule, run.p_last), []).append(run)
    return groups


def spread(axes: Any, x: Any, curves: Any, **options: Any) -> None:
    """Plot the mean of ``curves`` (seeds, points), and their range as a band."""
    curves = np.asarray(curves, float)
    if len(x) < FEW:
        options = {"marker": ".", **options}
    (line,) = axes.plot(x, curves.mean(axis=0), **options)
    if len(curves) > 1:
        low, high = curves.min(axis=0), curves.max(axis=0)
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, lw=0)


def mean_where_there_is(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return the elementwise mean of the numbers that are not NaN; NaN where there are none.

    Examples
    --------
    >>> mean_where_there_is([np.array([1.0, np.nan]), np.array([3.0, np.nan])]).tolist()
    [2.0, nan]
    """
    stacked = np.array(tables)
    count = (~np.isnan(stacked)).sum(axis=0)
    return np.where(count > 0, np.nansum(stacked, axis=0), np.nan) / np.maximum(count, 1)


def title(figure: Any, text: str) -> None:
    """Put a title at the left of a figure."""
    figure.suptitle(text, x=0.02, ha="left", fontweight="bold", color=INK)


def whole_numbers(axis: Any) -> None:
    """Let an axis have whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def convolutions(parameters: list[str]) -> list[int]:
    """Return the indices of the weights of stem and branches, first layer to last."""
    return [
        index
        for index, name in enumerate(parameters)
        if name.endswith(".w") and "shortcut" not in name and not name.startswith("head")
    ]
