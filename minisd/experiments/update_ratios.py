"""How far a step moves each layer: update / weight, with the rule of thumb of 1e-3."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minisd.experiments.drawing import (
    INK,
    Rows,
    by_rule,
    convolutions,
    decimal_ticks,
    legend_below,
    mean_where_there_is,
    new_figure,
    seeds_of,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import TrainedRun, label

NAME = "update-ratios"
SUMMARY = "how far a step moves each layer: update / weight"
ALT = (
    "Two line charts over the training steps, constant and stochastic depth: the ratio of update "
    "and weights, one line for each convolution, on a logarithmic axis with a dashed guide at "
    "0.001."
)
RULES = [("constant", 1.0), ("linear", 0.5)]
GUIDE = 1e-3


def ratios(one: TrainedRun) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return (names, steps, ratios (records, layers)) of the convolutions, first to last.

    Incomplete records are left out. They have fewer steps, because the epoch ends, and the last
    batch is smaller.
    """
    names = one.flow["parameter"].tolist()
    columns = convolutions(names)
    full = one.flow["steps"] == one.config["flow"]
    table = one.flow["update_ratio"][full][:, columns]
    return [names[column] for column in columns], one.flow["step"][full], table


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train both kinds of network, if necessary, and draw."""
    runs = study.train(trainings(study))
    rows: list[dict[str, Any]] = []
    for trained in runs:
        names, steps, table = ratios(trained)
        for step, record in zip(steps.tolist(), table.tolist(), strict=True):
            for name, ratio in zip(names, record, strict=True):
                rows.append(
                    {
                        "rule": trained.rule,
                        "p_last": trained.p_last,
                        "seed": trained.seed,
                        "step": step,
                        "parameter": name,
                        "update_ratio": "" if np.isnan(ratio) else ratio,
                    }
                )
    caption = (
        "Norm of the actual update (momentum and weight decay included) over the norm of the "
        f"weights, for every convolution, mean of {runs[0].config['flow']} steps, over those in "
        "which its block was open (a gap: in none); what is left of an epoch after the last whole "
        f"{runs[0].config['flow']} steps is not shown. Mean of the seeds; dashed: "
        f"the guide {GUIDE:g}; dotted: the learning rate changes."
    )
    config = runs[0].config
    changes = [epoch * config["resolved"]["steps_per_epoch"] for epoch in runs[0].rate_changes]
    return Result(lambda: draw(rows, config["depth"], changes), rows, caption, alt=ALT)


def draw(rows: Rows, depth: int, changes: Sequence[int]) -> Any:
    """Draw a panel for each rule. ``changes`` are the steps at which the learning rate changes."""
    import matplotlib as mpl

    groups = by_rule(rows)
    figure = new_figure(11, 4.6)
    shades = mpl.colors.ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.9, 256)))
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (rule, of_rule) in zip(panels, groups.items(), strict=True):
        names = list(dict.fromkeys(row["parameter"] for row in of_rule))
        steps = list(dict.fromkeys(row["step"] for row in of_rule))
        tables = [
            np.array([np.nan if row["update_ratio"] == "" else row["update_ratio"] for row in seed])
            for seed in seeds_of(of_rule)
        ]
        table = mean_where_there_is(tables).reshape(len(steps), len(names))
        for column in range(len(names)):
            axes.plot(steps, table[:, column], color=shades(column / (len(names) - 1)), lw=0.8)
        axes.axhline(GUIDE, color=INK, ls="--", lw=1, label=f"guide, {GUIDE:g}")
        axes.set_yscale("log")
        axes.set_xlabel("step")
        whole_numbers(axes.xaxis)
        axes.set_title(label(*rule), loc="left")
        tidy(axes, changes=changes)
    panels[0].set_ylabel("update / weight")
    decimal_ticks(panels[0].yaxis)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, len(names)), shades)
    figure.colorbar(scale, ax=list(panels), label="layer, first to last")
    legend_below(figure, panels)
    title(figure, f"Update / weight, ResNet-{depth}")
    return figure
