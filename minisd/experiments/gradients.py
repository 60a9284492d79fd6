"""The paper's Fig. 7: how large gradients are in early layers, and whether that means anything.

The paper shows that the mean gradient magnitude of the first convolution is larger with stochastic
depth, and sees this as a remedy for vanishing gradients. But gradients are also large if the loss
is large. So the figure also shows the gradient divided by the loss, and the gradient of the first
block divided by that of the last block. The loss cannot change this ratio.
"""

from typing import Any

import numpy as np

from minisd.experiments import paper_curves
from minisd.experiments.drawing import (
    PAPER,
    Rows,
    by_rule,
    changes_of,
    decimal_ticks,
    legend_below,
    look,
    new_figure,
    seeds_of,
    spread,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import TrainedRun, label

NAME = "gradients"
SUMMARY = "Fig. 7: gradient magnitude by epoch"
ALT = (
    "Five line charts over the epochs, constant against stochastic depth: mean gradient magnitude "
    "of the first convolution, of the first block, over the loss, of the first block over the last "
    "block; and the first convolution's in the paper."
)
STEM, BLOCK = "stem.0.w", "blocks.0.branch.0.w"
RULES = [("constant", 1.0), ("linear", 0.5)]


def curves(run: TrainedRun) -> dict[str, np.ndarray]:
    """Return (E,) means over all batches of every epoch.

    ``stem``: mean |gradient| of the first convolution (as the paper's caption says).
    ``block``: that of the first convolution of the first block (as the paper's text says), over the
    steps in which the block was open.
    ``stem_by_loss``: ``stem`` divided by the training loss.
    ``first_by_last``: mean |gradient| of the first block's branch over the last block's.
    """
    stem = run.parameter("grad_mean", STEM)
    blocks = run.per_epoch("block_grad_mean")
    loss = np.array([row["train_loss"] for row in run.log])
    return {
        "stem": stem,
        "block": run.parameter("grad_mean", BLOCK),
        "stem_by_loss": stem / loss,
        "first_by_last": blocks[:, 0] / blocks[:, -1],
    }


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train both kinds of network, if necessary, and draw."""
    runs = study.train(trainings(study))
    rows: list[dict[str, Any]] = []
    for trained in runs:
        columns = curves(trained)
        rows += [
            {
                "rule": trained.rule,
                "p_last": trained.p_last,
                "seed": trained.seed,
                "epoch": entry["epoch"],
                "lr": entry["lr"],
                "train_loss": entry["train_loss"],
                **{name: column[i] for name, column in columns.items()},
            }
            for i, entry in enumerate(trained.log)
        ]
    caption = (
        "Mean gradient magnitude over all batches of each epoch (seeds: mean, and range as a "
        "band): of the first convolution; of the first block's first convolution, over the steps "
        "in which the block was open; of the first convolution divided by the training loss; of "
        "the first block's branch over the last block's. Dotted: the learning rate changes. "
        f"{place(study, 'Last panel', '(e)')}, grey: the paper's Fig. 7 (first convolution, 110 "
        "layers, 500 epochs), on its own axes."
    )
    depth = runs[0].config["depth"]
    return Result(lambda: draw(rows, depth), rows, caption, alt=ALT)


PANELS = {
    "stem": "first convolution",
    "block": "first block's first convolution",
    "stem_by_loss": "first convolution / loss",
    "first_by_last": "first block / last block",
}


def draw(rows: Rows, depth: int) -> Any:
    """Draw four panels over the epochs, and a fifth with the paper's curves."""
    figure = new_figure(11, 6.6)
    *panels, paper, empty = figure.subplots(2, 3).flat
    for axes, (name, heading) in zip(panels, PANELS.items(), strict=True):
        for rule, of_rule in by_rule(rows).items():
            seeds = seeds_of(of_rule)
            epochs = [row["epoch"] for row in seeds[0]]
            values = [[row[name] for row in seed] for seed in seeds]
            spread(axes, epochs, values, label=label(*rule), **look(*rule).style)
        axes.set_yscale("log")
        axes.set_ylabel("ratio of gradients" if name == "first_by_last" else "mean |gradient|")
        axes.set_title(heading, loc="left")
        tidy(axes, changes=changes_of(rows))
        decimal_ticks(axes.yaxis)
    panels[2].set_ylabel("mean |gradient| / loss")
    for kind, (x, y) in paper_curves.first_gradient().items():
        line = look(*RULES[0 if kind == "constant" else 1]).line
        paper.plot(x, y, ls=line, color=PAPER, lw=1, label=f"paper, {kind}")
    paper.set_yscale("log")
    paper.set_ylabel("mean |gradient|")
    paper.set_title("the paper's first convolution", loc="left")
    tidy(paper)
    decimal_ticks(paper.yaxis)
    for axes in (*panels, paper):
        axes.set_xlabel("epoch")
        whole_numbers(axes.xaxis)
    empty.set_axis_off()
    legend_below(figure, [panels[0], paper])
    title(figure, f"Gradient magnitude, ResNet-{depth}")
    return figure
