"""Plots, drawn without a display and in a style of our own, whatever the user's settings are."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import log10
from pathlib import Path, PurePath
from typing import Any

from minisd.files import write_atomically

INK, GRID = "#2b2b2b", "#e6e6e6"
TEST, VALIDATION, LOSS = "#c9472a", "#14315f", "#6fae62"
"""Red, blue and green. They differ in lightness, too: on a grey print, and to colour-blind eyes."""

STYLES: dict[str, Any] = {
    "screen": {
        "legend.frameon": False,
        "axes.titlesize": 9.5,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
    },
    "paper": {
        "legend.frameon": False,
        "font.size": 7.5,
        "axes.titlesize": 7.5,
        "axes.labelsize": 7.5,
        "axes.linewidth": 0.6,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.fontsize": 7,
        "lines.linewidth": 1.2,
        "lines.markersize": 3,
        "pdf.fonttype": 42,  # letters, not shapes: publishers ask for it
    },
}
"""Settings of matplotlib by style, where they are not its defaults. Sizes are in points."""

MANY = 20
"""Curves with fewer points than this have a mark at each point."""


@contextmanager
def own_style(style: str = "screen") -> Iterator[None]:
    """Draw with one of `STYLES` inside the ``with`` block, and none of the user's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLES[style])
        yield


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches. It can be saved without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(draw: Callable[[], Any], dpi: int = 140) -> bytes:
    """Return the figure that ``draw`` returns, in our own style, as the bytes of a PNG file.

    Raises
    ------
    RuntimeError
        Instead of an OSError, of a font that cannot be read, say: an OSError is of a file to write.
    """
    content = io.BytesIO()
    try:
        with own_style():
            draw().savefig(content, format="png", dpi=dpi)
    except OSError as error:
        raise RuntimeError(str(error)) from error
    return content.getvalue()


def tidy(axes: Any, *, changes: Sequence[float] = ()) -> None:
    """Give ``axes`` a light grid, and a dotted line at each of ``changes`` of the learning rate."""
    dotted = {"color": INK, "lw": 0.8, "ls": (0, (2, 3)), "alpha": 0.6}
    for number, x in enumerate(changes):
        axes.axvline(x, **dotted, label="" if number else "learning rate changes")
    axes.grid(True, which="major", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Any, panels: Iterable[Any]) -> None:
    """Put one legend for all panels below them, where it can hide nothing. A label is shown once.

    It has as many columns as fit into the narrower of the figure and a page.
    """
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    longest = max(len(label.replace("$", "")) for label in shown) / 14 + 0.8  # inches
    columns = max(1, int(min(8, figure.get_figwidth()) / longest))
    figure.legend(shown.values(), shown, loc="outside lower left", ncols=columns)


def decimal(value: float, _: object = None) -> str:
    """Return a number as a label of an axis: 0.009, not 9 x 10^-3. Far from 1: a power of ten.

    Examples
    --------
    >>> decimal(0.009), decimal(20.0), decimal(1e-5)
    ('0.009', '20', '$10^{-5}$')
    """
    if value == 0 or 0.99e-4 <= abs(value) < 1e5:
        return f"{value:g}"
    factor, exponent = f"{value:.2e}".split("e")
    times = "" if float(factor) == 1 else rf"{float(factor):g} \times "
    return f"${times}10^{{{int(exponent)}}}$"


def decimal_ticks(axis: Any, most: int = 8) -> None:
    """Give a logarithmic axis about ``most`` ticks at most, as numbers. Call it when all is drawn.

    An axis shorter than a decade has ticks at the same distance, as a linear one has.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = log10(high / low)
    if decades < 1:
        axis.set_major_locator(MaxNLocator(most - 2, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
    else:
        between = ((1, 2, 5), (1, 3)) if low > 1e-5 else ()
        fits = (subs for subs in between if len(subs) * decades <= most)
        axis.set_major_locator(LogLocator(subs=next(fits, (1,))))
    axis.set_major_formatter(decimal)
    axis.set_minor_formatter(NullFormatter())


_ERROR_TICKS = (
    (0, 1, 2, 5, 10, 20, 50, 100),
    (0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100),
)


def error_axis(axes: Any, errors: Iterable[float], name: str) -> None:
    """Show errors from 100 % down to 0 % so that small ones can be told apart; and say how.

    The vertical axis is logarithmic. If an error is below 1 %, it is linear below 1 %, so that it
    can show 0 %.

    Parameters
    ----------
    errors : iterable of float
        All that are drawn, in percent.
    name : str
        What the axis shows.
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    errors = list(errors)
    low, high = min(errors), max(errors)
    if low < 1:
        axes.set_yscale("symlog", linthresh=1, linscale=0.3)
        low, how = 0, "logarithmic; linear below 1"
    else:
        axes.set_yscale("log")
        low, how = 0.8 * low, "logarithmic"
    high = max(min(100, 1.1 * high), 2)
    axes.set_ylim(low, high)
    evenly = tuple(MaxNLocator(5).tick_values(low, high))
    choices = [[t for t in ticks if low <= t <= high] for ticks in (*_ERROR_TICKS, evenly)]
    axes.set_yticks(next((ticks for ticks in choices if len(ticks) > 3), choices[-1]))
    axes.yaxis.set_major_formatter(decimal)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(f"{name} (%)\n{how}")


def evaluations(history: list[dict[str, Any]], steps_per_epoch: int) -> list[dict[str, Any]]:
    """Return all evaluations of a run, with the values in the log and ``x``, the time in epochs.

    An epoch has one evaluation, at its end, or several. The first one with the lowest ``val_error``
    is the best.
    """
    return [
        {"x": point["step"] / steps_per_epoch, "epoch": row["epoch"], **row, **point}
        for row in history
        for point in row.get("evaluations", [{"step": row["epoch"] * steps_per_epoch}])
    ]


def rate_changes(history: list[dict[str, Any]]) -> list[int]:
    """Return the last epoch before each change of the learning rate."""
    return [row["epoch"] for row, next_row in pairwise(history) if row["lr"] != next_row["lr"]]


def data_label(data: str) -> str:
    """Return the name of a data set for a title; of a path, its last part. Not as mathematics.

    Examples
    --------
    >>> data_label("cifar10"), data_label("/home/me/mine.npz")
    ('cifar10', 'mine')
    """
    return PurePath(data).name.removesuffix(".npz").replace("$", r"\$")


def learning_curve(description: dict[str, Any], history: list[dict[str, Any]], path: Path) -> None:
    """Draw errors and training loss against the epoch. Circles mark the best validation epoch.

    Parameters
    ----------
    description : dict
        The contents of ``config.json``.
    history : list of dict
        The rows of the log; not empty.
    path : path
        The PNG to write.

    Raises
    ------
    OSError
        If it cannot be written. Whatever else goes wrong in drawing raises something else.
    """
    content = png(lambda: _curve(description, history))
    write_atomically(path, lambda stream: stream.write(content))


def _curve(description: dict[str, Any], history: list[dict[str, Any]]) -> Any:
    from matplotlib.ticker import MaxNLocator

    resolved = description["resolved"]
    points = evaluations(history, resolved["steps_per_epoch"])
    best = min(points, key=lambda point: point["val_error"])
    x = [point["x"] for point in points]

    figure = new_figure(8, 6)
    errors, losses = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for key, label, colour, line, mark in (
        ("val_error", "validation", VALIDATION, "-", "o"),
        ("test_error", "test", TEST, (0, (5, 1.5)), "s"),
    ):
        style = {"color": colour, "ls": line, "marker": mark if len(x) < MANY else ""}
        name = f"{label} error, {best[key]:.2%} at the circle"
        errors.plot(x, [100 * point[key] for point in points], **style, label=name, clip_on=False)
        at_best = (best["x"], 100 * best[key])
        errors.plot(*at_best, "o", ms=10, mfc="none", mew=1.8, color=colour, clip_on=False)
    shown = [100 * point[key] for point in points for key in ("val_error", "test_error")]
    error_axis(errors, shown, "error")

    losses.plot(
        [row["epoch"] for row in history],
        [row["train_loss"] for row in history],
        color=LOSS,
        marker="o" if len(history) < MANY else "",
    )
    losses.set_ylim(bottom=0)
    losses.set_ylabel("training loss")
    losses.set_xlabel("epoch")
    losses.set_xlim(0, history[-1]["epoch"] * 1.02)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))

    changes = rate_changes(history)
    for axes in (errors, losses):
        tidy(axes, changes=changes)
    legend_below(figure, [errors])

    rule = (
        "constant depth"
        if description["survival"] == "constant"
        else f"stochastic depth, {description['survival']} p_L = {description['p_last']:g}"
    )
    figure.suptitle(
        f"ResNet-{description['depth']} on {data_label(description['data'])}: {rule}",
        x=0.02,
        ha="left",
        fontweight="bold",
        color=INK,
    )
    notes = [
        f"{resolved['expected_depth']:.2f} of {resolved['num_blocks']} blocks open on average",
        f"circle: lowest validation error (epoch {best['epoch']})",
        f"seed {description['seed']}",
    ]
    errors.set_title("; ".join(notes), loc="left", fontsize=8, color=INK)
    return figure
