"""The paper's Fig. 3 and Fig. 4: test error and training loss by epoch."""

from typing import Any

from minisd.experiments import paper_curves
from minisd.experiments.drawing import (
    PAPER,
    colour,
    grouped,
    new_figure,
    spread,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.experiments.trained import TrainedRun

NAME = "learning-curves"
SUMMARY = "Fig. 3 and 4: test error and training loss by epoch, the chosen epoch circled"
RULES = [("constant", 1.0), ("linear", 0.5), ("linear", 0.8)]
PAPER_FIGURES = {
    "cifar10": ("fig3_cifar10_test_error", 500),
    "cifar10, 1202 layers": ("fig4_1202_test_error", 300),
    "svhn": ("fig4_svhn_test_error", 50),
}
"""By data set: (name of the paper's curve, its number of epochs)."""


def paper_figure(data: str, depth: int) -> tuple[str, int] | None:
    """Return the entry of `PAPER_FIGURES` to compare with, if any."""
    deepest = f"{data}, {depth} layers"
    return PAPER_FIGURES.get(deepest, PAPER_FIGURES.get(data))


def run(study: Study) -> Result:
    """Train with constant depth, p_L = 0.5 and 0.8, if necessary, and draw."""
    runs = study.runs(RULES)
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
    return Result(lambda: draw(runs), rows, caption)


def draw(runs: list[TrainedRun]) -> Any:
    """Draw errors above losses."""
    figure = new_figure(8, 6.5)
    errors, losses = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    config, epochs = runs[0].config, len(runs[0].log)
    paper = paper_figure(config["data"], config["depth"])
    if paper:
        name, length = paper
        for style, (kind, (x, y)) in zip(
            ("-", ":"), paper_curves.series(name).items(), strict=True
        ):
            scaled = x * epochs / length
            errors.plot(scaled, y, ls=style, color=PAPER, lw=0.9, label=f"paper, {kind}")
    for (rule, p_last), seeds in grouped(runs).items():
        best = [trained.best for trained in seeds]
        results = ", ".join(f"{100 * point['test_error']:.1f}" for point in best)
        shade = colour(rule, p_last)
        spread(
            errors,
            [point["x"] for point in seeds[0].evaluations],
            [[100 * point["test_error"] for point in trained.evaluations] for trained in seeds],
            label=f"{seeds[0].label}: {results} %",
            color=shade,
            lw=1.8,
        )
        spread(
            losses,
            [row["epoch"] for row in seeds[0].log],
            [[row["train_loss"] for row in trained.log] for trained in seeds],
            color=shade,
            lw=1.8,
        )
        errors.plot(
            [point["x"] for point in best], [100 * point["test_error"] for point in best],
            "o", ms=9, mfc="none", mew=1.6, color=shade,
        )  # fmt: skip
    errors.set_ylabel("test error (%)")
    errors.set_ylim(bottom=0)
    errors.legend(frameon=False, fontsize=8)
    losses.set_ylabel("training loss")
    losses.set_yscale("log")
    losses.set_xlabel("epoch")
    for axes in (errors, losses):
        tidy(axes, changes=runs[0].rate_changes)
        whole_numbers(axes.xaxis)
    title(figure, f"ResNet-{config['depth']} on {config['data']}")
    return figure
