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

NAME = "gradients"
SUMMARY = "Fig. 7: gradient magnitude by epoch, constant against stochastic depth"
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


def run(study: Study) -> Result:
    """Train both kinds of network, if necessary, and draw."""
    runs = study.runs(RULES)
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
        "the first block's branch over the last block's. Dotted: the learning rate changes. Grey: "
        "the paper's Fig. 7 (110 layers, 500 epochs), its epochs shrunk to ours, moved up or down "
        "as a whole."
    )
    return Result(lambda: draw(runs), rows, caption)


def draw(runs: list[TrainedRun]) -> Any:
    """Draw four panels over the epochs."""
    figure = new_figure(10, 7)
    panels = {
        "stem": "first convolution: mean |gradient|",
        "block": "first block's first convolution: mean |gradient|",
        "stem_by_loss": "first convolution: mean |gradient| / training loss",
        "first_by_last": "first block / last block: mean |gradient|",
    }
    with_legend: list[Any] = []
    for axes, (name, heading) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for (rule, p_last), seeds in grouped(runs).items():
            epochs = [row["epoch"] for row in seeds[0].log]
            values = [curves(trained)[name] for trained in seeds]
            spread(axes, epochs, values, color=colour(rule, p_last), label=seeds[0].label, lw=1.8)
        axes.set_yscale("log")
        axes.set_title(heading, loc="left", fontsize=9)
        axes.set_xlabel("epoch")
        whole_numbers(axes.xaxis)
        tidy(axes, changes=runs[0].rate_changes)
        if name == "stem":
            with_legend = [axes, _overlay(axes, len(runs[0].log))]
    handles = [line for axes in with_legend for line in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower left", ncols=4)
    title(figure, f"Gradient magnitude, ResNet-{runs[0].config['depth']}")
    return figure


def _overlay(axes: Any, epochs: int) -> Any:
    """Draw the paper's curves, scaled to our epochs, on a second axis with as many decades."""
    paper_axes = axes.twinx()
    series = paper_curves.first_gradient()
    for style, (name, (x, y)) in zip(("-", ":"), series.items(), strict=True):
        paper_axes.plot(x * epochs / 500, y, ls=style, color=PAPER, lw=0.9, label=f"paper, {name}")
    middles, reaches = [], []
    for scale in (axes, paper_axes):
        scale.set_yscale("log")
        low, high = np.log10(scale.get_ylim())
        middles.append((low + high) / 2)
        reaches.append((high - low) / 2)
    for scale, middle in zip((axes, paper_axes), middles, strict=True):
        scale.set_ylim(10 ** (middle - max(reaches)), 10 ** (middle + max(reaches)))
    paper_axes.set_yticks([], minor=False)
    paper_axes.minorticks_off()
    paper_axes.spines[["top", "right"]].set_visible(False)
    axes.set_zorder(paper_axes.get_zorder() + 1)  # our curves in front
    axes.patch.set_visible(False)
    return paper_axes
