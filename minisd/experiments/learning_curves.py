"""The paper's Fig. 3 and Fig. 4: test error and training loss by epoch."""

from math import ceil
from typing import Any

from minisd.experiments import paper_curves
from minisd.experiments.drawing import (
    INK,
    PAPER,
    Rows,
    by_rule,
    changes_of,
    decimal_ticks,
    error_axis,
    legend_below,
    look,
    new_figure,
    seeds_of,
    spread,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import label
from minisd.figures import data_label

NAME = "learning-curves"
SUMMARY = "Fig. 3 and 4: test error and training loss by epoch"
ALT = (
    "Two line charts over the epochs, for constant depth and for linear decay to 0.5 and to 0.8: "
    "test error, with a circle at the chosen epoch of every seed; and training loss."
)
RULES = [("constant", 1.0), ("linear", 0.5), ("linear", 0.8)]
PAPER_FIGURES = {
    "cifar10": ("fig3_cifar10_test_error", 500, 110),
    "cifar10, 1202 layers": ("fig4_1202_test_error", 300, 1202),
    "svhn": ("fig4_svhn_test_error", 50, 152),
}
"""By data set: (name of the paper's curve, its number of epochs, and of layers)."""


def paper_figure(data: str, depth: int) -> tuple[str, int, int] | None:
    """Return the entry of `PAPER_FIGURES` to compare with, if any."""
    deepest = f"{data}, {depth} layers"
    return PAPER_FIGURES.get(deepest, PAPER_FIGURES.get(data))


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train with constant depth, p_L = 0.5 and 0.8, if necessary, and draw."""
    runs = study.train(trainings(study))
    rows: list[dict[str, Any]] = []
    for trained in runs:
        best = trained.best
        for point in trained.evaluations:
            rows.append(
                {
                    "rule": trained.rule,
                    "p_last": trained.p_last,
                    "seed": trained.seed,
                    "epoch": point["x"],
                    "lr": point["lr"],
                    "train_loss": point["train_loss"],
                    "val_error": point["val_error"],
                    "test_error": point["test_error"],
                    "mean_open": point["mean_open"],
                    "chosen": int(point == best),
                }
            )
    caption = (
        "Test error and training loss by epoch (seeds: mean, and range as a band); circles: test "
        "error at the epoch of lowest validation error, one for each seed, which is the result. "
        "Dotted: the learning rate changes."
    )
    if paper_figure(study.settings["data"], runs[0].config["depth"]):
        caption += " Grey: the paper's test error, its epochs shrunk to ours, on the same scale."
    config = runs[0].config
    return Result(lambda: draw(rows, config["data"], config["depth"]), rows, caption, alt=ALT)


def draw(rows: Rows, data: str, depth: int) -> Any:
    """Draw errors above losses."""
    figure = new_figure(8, 6.8)
    errors, losses = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    shown = [100 * row["test_error"] for row in rows]
    paper = paper_figure(data, depth)
    if paper:
        name, length, layers = paper
        epochs = rows[-1]["epoch"]
        for kind, (x, y) in paper_curves.series(name).items():
            line = look(*RULES[0 if kind == "constant" else 1]).line
            text = f"paper, {layers} layers, {kind}"
            errors.plot(x * epochs / length, y, ls=line, color=PAPER, lw=1, label=text)
            shown += y.tolist()
    for rule, of_rule in by_rule(rows).items():
        drawn, seeds = look(*rule), seeds_of(of_rule)
        best = [row for row in of_rule if row["chosen"]]
        results = ", ".join(f"{100 * row['test_error']:.1f}" for row in best)
        spread(
            errors,
            [row["epoch"] for row in seeds[0]],
            [[100 * row["test_error"] for row in seed] for seed in seeds],
            label=f"{label(*rule)}: {results} %",
            **drawn.style,
        )
        by_epoch = [{ceil(row["epoch"]): row["train_loss"] for row in seed} for seed in seeds]
        spread(losses, list(by_epoch[0]), [list(seed.values()) for seed in by_epoch], **drawn.style)
        errors.plot(
            [row["epoch"] for row in best], [100 * row["test_error"] for row in best],
            "o", ms=10, mfc="none", mew=1.6, color=drawn.colour, clip_on=False,
        )  # fmt: skip
    error_axis(errors, shown, "test error")
    losses.set_ylabel("training loss\nlogarithmic")
    losses.set_yscale("log")
    losses.set_xlabel("epoch")
    for axes in (errors, losses):
        tidy(axes, changes=changes_of(rows))
        whole_numbers(axes.xaxis)
    decimal_ticks(losses.yaxis)
    errors.plot([], [], "o", ms=10, mfc="none", mew=1.6, color=INK, label="lowest validation error")
    legend_below(figure, [errors])
    title(figure, f"ResNet-{depth} on {data_label(data)}")
    return figure
