"""Plots. Drawn without a display and without matplotlib's global state."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from minisd.files import write_atomically

INK, GRID = "#2b2b2b", "#e6e6e6"
TEST, VALIDATION, LOSS = "#c1432e", "#3a6ea5", "#5b8c5a"


def learning_curve(description: dict[str, Any], history: list[dict[str, Any]], path: Path) -> None:
    """Draw errors and training loss against the epoch, the best validation epoch circled.

    Parameters
    ----------
    description : dict
        What ``config.json`` holds.
    history : list of dict
        The rows of the log; not empty.
    path : path
        The PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    resolved = description["resolved"]
    epochs = [row["epoch"] for row in history]
    points = [  # an epoch has one evaluation, or several
        {**row, **point, "epoch": point["step"] / resolved["steps_per_epoch"]}
        for row in history
        for point in row.get("evaluations", [{"step": row["epoch"] * resolved["steps_per_epoch"]}])
    ]
    best = min(points, key=lambda point: point["val_error"])
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    errors, losses = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))

    for key, label, colour in (
        ("val_error", "validation", VALIDATION),
        ("test_error", "test", TEST),
    ):
        percent = [100 * point[key] for point in points]
        where = [point["epoch"] for point in points]
        errors.plot(where, percent, color=colour, lw=1.8, label=label)
        at_best = 100 * best[key]
        errors.plot(best["epoch"], at_best, "o", ms=9, mfc="none", mew=1.8, color=colour)
    errors.annotate(
        f"test {best['test_error']:.2%}",
        (best["epoch"], 100 * best["test_error"]),
        xytext=(0, 26),
        textcoords="offset points",
        ha="center",
        color=TEST,
        fontweight="bold",
        arrowprops={"arrowstyle": "-", "color": TEST, "lw": 0.8, "shrinkB": 6},
    )
    errors.set_yscale("symlog", linthresh=1, linscale=0.3)  # logarithmic, and yet shows 0 %
    errors.set_ylim(bottom=0)
    errors.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    errors.set_ylabel("error (%)")
    errors.legend(frameon=False, loc="upper right", ncols=2)

    losses.plot(epochs, [row["train_loss"] for row in history], color=LOSS, lw=1.8)
    losses.set_yscale("log")
    losses.set_ylabel("training loss")
    losses.set_xlabel("epoch")
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))

    for before, after in pairwise(history):
        if after["lr"] != before["lr"]:
            for axes in (errors, losses):
                axes.axvline(before["epoch"] + 0.5, color=INK, lw=0.8, ls=(0, (2, 3)), alpha=0.6)
    for axes in (errors, losses):
        axes.grid(True, which="major", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    rule = (
        "constant depth"
        if description["survival"] == "constant"
        else f"stochastic depth, {description['survival']} p_L = {description['p_last']:g}"
    )
    figure.suptitle(
        f"ResNet-{description['depth']} on {description['data']}: {rule}",
        x=0.02,
        ha="left",
        fontweight="bold",
        color=INK,
    )
    errors.set_title(
        f"{resolved['expected_depth']:.1f} of {resolved['num_blocks']} blocks open on average; "
        f"circles: epoch of lowest validation error ({best['epoch']:g}); "
        "dotted: learning rate drops; "
        f"seed {description['seed']}",
        loc="left",
        fontsize=9,
        color=INK,
    )
    write_atomically(path, lambda stream: figure.savefig(stream, format="png", dpi=140))
