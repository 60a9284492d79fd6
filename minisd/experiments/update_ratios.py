"""How far a step moves each layer: update / weight, with the rule of thumb of 1e-3."""

from typing import Any

import numpy as np

from minisd.experiments.drawing import (
    INK,
    convolutions,
    grouped,
    mean_where_there_is,
    new_figure,
    tidy,
    title,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.experiments.trained import TrainedRun

NAME = "update-ratios"
SUMMARY = "update/weight ratio of every convolution over the steps, with the 1e-3 guide"
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


def run(study: Study) -> Result:
    """Train both kinds of network, if necessary, and draw."""
    runs = study.runs(RULES)
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
    return Result(lambda: draw(runs), rows, caption)


def draw(runs: list[TrainedRun]) -> Any:
    """Draw a panel for each rule. Early layers are dark."""
    import matplotlib as mpl

    groups = grouped(runs)
    figure = new_figure(11, 4.2)
    shades = mpl.colormaps["viridis"]
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, seeds in zip(panels, groups.values(), strict=True):
        trained = seeds[0]
        names, steps, _ = ratios(trained)
        table = mean_where_there_is([ratios(one)[2] for one in seeds])
        for column in range(len(names)):
            shade = shades(0.95 * column / max(1, len(names) - 1))
            axes.plot(steps, table[:, column], color=shade, lw=0.8)
        axes.axhline(GUIDE, color=INK, ls="--", lw=1)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_title(trained.label, loc="left", fontsize=9)
        per_epoch = trained.config["resolved"]["steps_per_epoch"]
        tidy(axes, changes=[epoch * per_epoch for epoch in trained.rate_changes])
    panels[0].set_ylabel("update / weight")
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, len(names)), shades)
    figure.colorbar(scale, ax=list(panels), label="layer, first to last")
    title(figure, f"Update / weight, ResNet-{runs[0].config['depth']}")
    return figure
