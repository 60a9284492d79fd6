"""The paper's Fig. 7: how large gradients are in early layers; and the question behind it.

The paper shows that the mean gradient magnitude of the first convolution is larger with stochastic
depth, and takes that as a remedy for vanishing gradients. But a gradient is also large where the
loss is: so beside it stand the gradient divided by the loss, and the first block's over the last
block's, which a loss cannot change.
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

    ``stem``, ``block``: mean |gradient| of the first convolution (the paper's caption), and of the
    first convolution of the first block (the paper's text), over the steps in which it was open.
    ``stem_by_loss``: divided by the training loss. ``first_by_last``: mean |gradient| of the first
    block's branch over the last block's.
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
    """Train both kinds of network, or take them as trained, and draw."""
    runs = study.runs(RULES)
    rows: list[dict[str, Any]] = []
    for one in runs:
        columns = curves(one)
        rows += [
            {
                "rule": one.rule,
                "p_last": one.p_last,
                "seed": one.seed,
                "epoch": entry["epoch"],
                "lr": entry["lr"],
                "train_loss": entry["train_loss"],
                **{name: column[i] for name, column in columns.items()},
            }
            for i, entry in enumerate(one.log)
        ]
    caption = (
        "Mean gradient magnitude over all batches of each epoch (seeds: mean, and range as a "
        "band): of the first convolution; of the first block's first convolution, over the steps "
        "in which the block was open; of the first convolution divided by the training loss; of "
        "the first block's branch over the last block's. Dotted: the learning rate changes. Grey: "
        "the paper's Fig. 7 (110 layers, 500 epochs), its epochs shrunk to ours, moved up or down "
        "as a whole."
    )
    return Result(draw(runs), rows, caption)


def draw(runs: list[TrainedRun]) -> Any:
    """Draw four panels over the epochs."""
    figure = new_figure(10, 7)
    panels = {
        "stem": "first convolution: mean |gradient|",
        "block": "first block's first convolution: mean |gradient|",
        "stem_by_loss": "first convolution: mean |gradient| / training loss",
        "first_by_last": "first block / last block: mean |gradient|",
    }
    shown: list[Any] = []
    for axes, (name, heading) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for (rule, p_last), seeds in grouped(runs).items():
            epochs = [row["epoch"] for row in seeds[0].log]
            values = [curves(one)[name] for one in seeds]
            spread(axes, epochs, values, color=colour(rule, p_last), label=seeds[0].label, lw=1.8)
        axes.set_yscale("log")
        axes.set_title(heading, loc="left", fontsize=9)
        axes.set_xlabel("epoch")
        whole_numbers(axes.xaxis)
        tidy(axes, changes=runs[0].rate_changes)
        if name == "stem":
            shown = [axes, _overlay(axes, len(runs[0].log))]
    handles = [line for each in shown for line in each.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower left", ncols=4)
    title(figure, f"Gradient magnitude, ResNet-{runs[0].config['depth']}")
    return figure


def _overlay(axes: Any, epochs: int) -> Any:
    """Draw the paper's curves, their epochs shrunk to ours, on an axis with as many decades."""
    other = axes.twinx()
    found = paper_curves.first_gradient()
    for style, (name, (x, y)) in zip(("-", ":"), found.items(), strict=True):
        other.plot(x * epochs / 500, y, ls=style, color=PAPER, lw=0.9, label=f"paper, {name}")
    middle, reach = [], []
    for scale in (axes, other):
        scale.set_yscale("log")
        low, high = np.log10(scale.get_ylim())
        middle.append((low + high) / 2)
        reach.append((high - low) / 2)
    for scale, place in zip((axes, other), middle, strict=True):
        scale.set_ylim(10 ** (place - max(reach)), 10 ** (place + max(reach)))
    other.set_yticks([], minor=False)
    other.minorticks_off()
    other.spines[["top", "right"]].set_visible(False)
    axes.set_zorder(other.get_zorder() + 1)  # ours in front
    axes.patch.set_visible(False)
    return other
