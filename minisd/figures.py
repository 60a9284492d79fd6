"""Plots, drawn without a display and without matplotlib's global state."""

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from minisd.files import write_atomically

INK, GRID = "#2b2b2b", "#e6e6e6"
TEST, VALIDATION, LOSS = "#c1432e", "#3a6ea5", "#5b8c5a"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches. It can be saved without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(draw: Callable[[], Any], dpi: int = 140) -> bytes:
    """Return the figure that ``draw`` returns as the bytes of a PNG file.

    Raises
    ------
    RuntimeError
        Instead of an OSError, of a font that cannot be read, say: an OSError is of a file to write.
    """
    content = io.BytesIO()
    try:
        draw().savefig(content, format="png", dpi=dpi)
    except OSError as error:
        raise RuntimeError(str(error)) from error
    return content.getvalue()


def tidy(axes: Any, *, changes: Sequence[float] = ()) -> None:
    """Give ``axes`` a light grid, and a dotted line at each of ``changes`` of the learning rate."""
    for x in changes:
        axes.axvline(x, color=INK, lw=0.8, ls=(0, (2, 3)), alpha=0.6)
    axes.grid(True, which="major", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


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


def learning_curve(description: dict[str, Any], history: list[dict[str, Any]], path: Path) -> None:
    """Draw errors and training loss against the epoch. Circles mark the best validation epoch.

    Parameters
    ----------
    description : dict
        The contents of ``config.json``, and a ``heading``.
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
    from matplotlib.ticker import MaxNLocator, NullLocator

    resolved = description["resolved"]
    points = evaluations(history, resolved["steps_per_epoch"])
    best = min(points, key=lambda point: point["val_error"])
    x = [point["x"] for point in points]

    figure = new_figure(8, 5.8)
    errors, losses = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for key, label, colour in (
        ("val_error", "validation", VALIDATION),
        ("test_error", "test", TEST),
    ):
        if best[key] is None:  # there are no test images
            continue
        errors.plot(
            x,
            [100 * point[key] for point in points],
            ".-",
            color=colour,
            lw=1.8,
            ms=4,
            label=f"{label}, {best[key]:.2%} at the circle",
        )
        at_best = (best["x"], 100 * best[key])
        errors.plot(*at_best, "o", ms=10, mfc="none", mew=1.8, color=colour, clip_on=False)
    errors.set_yscale("symlog", linthresh=1, linscale=0.3)  # logarithmic, but also shows 0 %
    errors.set_ylim(0, 100)
    errors.set_yticks([0, 1, 2, 5, 10, 20, 50, 100])
    errors.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    errors.yaxis.set_minor_locator(NullLocator())
    errors.set_ylabel("error (%)")
    errors.legend(frameon=False, loc="lower left")

    losses.plot(
        [row["epoch"] for row in history],
        [row["train_loss"] for row in history],
        ".-",
        color=LOSS,
        lw=1.8,
        ms=4,
    )
    losses.set_ylim(bottom=0)
    losses.set_ylabel("training loss")
    losses.set_xlabel("epoch")
    losses.set_xlim(0, history[-1]["epoch"] * 1.02)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))

    changes = rate_changes(history)
    for axes in (errors, losses):
        tidy(axes, changes=changes)

    figure.suptitle(
        description["heading"],
        x=0.02,
        ha="left",
        fontweight="bold",
        color=INK,
    )
    notes = [
        f"{resolved['expected_depth']:.2f} of {resolved['num_blocks']} blocks open on average",
        f"circle: lowest validation error (epoch {best['epoch']})",
        *(["dotted: learning rate changes"] if changes else []),
        f"seed {description['seed']}",
    ]
    errors.set_title("; ".join(notes), loc="left", fontsize=8, color=INK)
    return figure
