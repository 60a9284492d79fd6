"""Colours, lines and helpers that all figures of the experiments share."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from minisd.figures import (
    GRID,
    INK,
    MANY,
    decimal,
    decimal_ticks,
    error_axis,
    legend_below,
    new_figure,
    rate_changes,
    tidy,
)

__all__ = [
    "GRID", "INK", "PAPER", "SEEDS", "Look", "Rows", "by_rule", "changes_of", "colour",
    "convolutions", "decimal", "decimal_ticks", "error_axis", "for_paper", "legend_below", "look",
    "mean_where_there_is", "new_figure", "seeds_of", "spread", "tidy", "title", "whole_numbers",
]  # fmt: skip

Rows = list[dict[str, Any]]
"""The numbers of a figure: a line of its CSV each."""

PAPER = "#9a9a9a"
"""The colour of what the paper found."""
PAGE = 7.0
"""The width of text on a page, in inches."""


class Look(NamedTuple):
    """How a curve is drawn: its colour, its line (as matplotlib's ``ls``), and its marks."""

    colour: str
    line: Any
    mark: str

    @property
    def style(self) -> dict[str, Any]:
        """The keyword arguments of matplotlib's ``plot``."""
        return {"color": self.colour, "ls": self.line, "marker": self.mark}


_DASHED, _DOTTED = (0, (5, 1.5)), (0, (1, 1))
_LOOKS = {
    "constant": Look("#14315f", "-", "o"),
    "plain": Look("#b8a3dd", (0, (4, 1, 1, 1)), "v"),
    "uniform": Look("#0b4f46", (0, (3, 1, 1, 1, 1, 1)), "D"),
}
_BY_P = (
    (0.45, Look("#8a1c1c", _DOTTED, "P")),
    (0.65, Look("#c9472a", _DASHED, "s")),
    (0.85, Look("#d9a92e", (0, (6, 1.5, 1, 1.5)), "^")),
    (1.01, Look("#7f8f2a", (0, (2, 1)), "X")),
)
SEEDS = (
    Look("#14315f", "-", "o"),
    Look("#c9472a", "-", "s"),
    Look("#d9a92e", "-", "^"),
    Look("#5c9e86", "-", "D"),
    Look("#8a1c1c", "-", "v"),
)
"""For figures that tell the seeds of one rule apart.

Curves of one panel differ in line or mark. Their colours also differ in lightness, so that a grey
print and colour-blind eyes can tell them apart.
"""


def look(rule: str, p_last: float) -> Look:
    """Return how the curves of a rule are drawn. It is the same in every figure."""
    if rule in _LOOKS:
        return _LOOKS[rule]
    return next(drawn for limit, drawn in _BY_P if p_last < limit)


def colour(rule: str, p_last: float) -> str:
    """Return the colour of a rule. It is the same in every figure."""
    return look(rule, p_last).colour


def by_rule(rows: Rows) -> dict[tuple[str, float], Rows]:
    """Return the rows of each (rule, p_L), in the order in which they first appear."""
    groups: dict[tuple[str, float], Rows] = {}
    for row in rows:
        groups.setdefault((row["rule"], row["p_last"]), []).append(row)
    return groups


def seeds_of(rows: Rows) -> list[Rows]:
    """Return the rows of each seed."""
    groups: dict[int, Rows] = {}
    for row in rows:
        groups.setdefault(row["seed"], []).append(row)
    return list(groups.values())


def changes_of(rows: Rows) -> list[int]:
    """Return the last epoch before each change of the learning rate, of rows with an ``lr``."""
    by_epoch = {int(np.ceil(row["epoch"])): row["lr"] for row in seeds_of(rows)[0]}
    return rate_changes([{"epoch": epoch, "lr": lr} for epoch, lr in sorted(by_epoch.items())])


def spread(axes: Any, x: Any, curves: Any, **options: Any) -> None:
    """Plot the mean of ``curves`` (seeds, points), and their range as a band.

    Curves with many points have no marks.
    """
    curves = np.asarray(curves, float)
    options = {"marker": ".", **options} if len(x) < MANY else {**options, "marker": ""}
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

    axis.set_major_locator(MaxNLocator("auto", integer=True))


def for_paper(figure: Any) -> None:
    """Make a figure fit for a paper: a page wide, with letters instead of a title.

    The panels of a figure that has several begin with (a), (b), and so on.
    """
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    for letter, axes in zip(ascii_lowercase, panels if len(panels) > 1 else [], strict=False):
        heading = axes.get_title(loc="left")
        axes.set_title(rf"$\bf{{({letter})}}$ {heading}".rstrip(), loc="left")
    width, height = figure.get_size_inches()
    figure.suptitle("")
    is_wide = height < 0.6 * width  # its panels would become flat
    figure.set_size_inches(PAGE, (1.15 if is_wide else 1) * height * PAGE / width)


def convolutions(parameters: list[str]) -> list[int]:
    """Return the indices of the weights of stem and branches, first layer to last."""
    return [
        index
        for index, name in enumerate(parameters)
        if name.endswith(".w") and "shortcut" not in name and not name.startswith("head")
    ]
