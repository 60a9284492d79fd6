"""Gradients of every layer, at initialisation and in training: plain, residual, stochastic."""

import tempfile
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from minisd.data.batches import training_batches
from minisd.experiments.drawing import (
    Rows,
    convolutions,
    decimal_ticks,
    legend_below,
    look,
    mean_where_there_is,
    new_figure,
    seeds_of,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import label
from minisd.flow import Recorder, load
from minisd.runs.run import Run
from minisd.stochastic_depth import draw_gates
from minisd.train import train_step

NAME = "gradients-by-depth"
SUMMARY = "gradient of every layer, first steps and by epoch"
ALT = (
    "Six heatmaps of the mean gradient of every layer, for plain, constant and stochastic "
    "networks: in the first training steps, and by epoch; and two line charts of the first step "
    "and the last epoch."
)
RULES = [("plain", 1.0), ("constant", 1.0), ("linear", 0.5)]
HATCH = "#b0b0b0"
STEPS = {"quick": 12, "digits": 24, "laptop": 24, "paper": 48}

Table = np.ndarray
"""(layers, columns) of mean |gradient|; NaN where the block was closed."""


def first_steps(
    study: Study, rule: str, p_last: float, steps: int, seed: int | None = None
) -> list[list[float | None]]:
    """Train the first steps of a run and return mean |gradient| (layers, steps).

    It is None where the block was closed. The seed is the study's first, unless given.
    """
    run = Run(study.config(rule, p_last, study.seeds[0] if seed is None else seed))
    epochs = (
        training_batches(
            run.train, run.config.batch_size, normaliser=run.normaliser,
            augmentation=run.augmentation, rng=run.data_rng, device=run.device,
        )
        for _ in count()
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.jsonl"
        with Recorder(run.model, run.optimizer, path, look_every=steps) as recorder:
            for images, labels in islice(chain.from_iterable(epochs), steps):
                draw_gates(run.model, run.gate_rng)
                train_step(run.model, run.optimizer, images, labels, recorder=recorder)
        flow = load(path)
    table = flow["grad_mean"][:, convolutions(flow["parameter"].tolist())].T
    return [[None if np.isnan(value) else value for value in row] for row in table.tolist()]


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train the three kinds of network, if necessary, and draw."""
    steps = STEPS[study.scale]
    depth = study.config("constant", 1.0, study.seeds[0]).depth
    keys = {
        f"{study.fingerprint(seed)}/{steps}/{rule}": (rule, p_last, seed)
        for rule, p_last in RULES
        for seed in study.seeds
    }

    def compute(key: str) -> Any:
        rule, p_last, seed = keys[key]
        return first_steps(study, rule, p_last, steps, seed)

    early = study.each(NAME, keys, compute)
    starts = {keys[key]: np.array(table, float) for key, table in early.items()}
    epochs = {}
    for trained in study.train(trainings(study)):
        columns = convolutions(trained.flow["parameter"].tolist())
        key = trained.rule, trained.p_last, trained.seed
        epochs[key] = trained.per_epoch("grad_mean")[:, columns].T
    rows = [
        {
            "rule": rule,
            "seed": seed,
            "when": when,
            when_unit: column + 1,
            other_unit: "",
            "layer": layer + 1,
            "grad_mean": "" if np.isnan(value) else value,
        }
        for when, when_unit, other_unit, tables in (
            ("first steps", "step", "epoch", starts),
            ("by epoch", "epoch", "step", epochs),
        )
        for (rule, _, seed), table in tables.items()
        for (layer, column), value in np.ndenumerate(table)
    ]
    caption = (
        "Mean |gradient| of every convolution, first layer at the bottom (seeds: mean of those "
        f"that have one). {place(study, 'Above', '(a) to (c)')}: each of the first {steps} "
        "training steps (hatched: the block was closed, there is no gradient); "
        f"{place(study, 'right', '(d)')}: the first step, at the initial weights. "
        f"{place(study, 'Below', '(e) to (g)')}: mean of every epoch, over the steps in which the "
        f"block was open; {place(study, 'right', '(h)')}: the last epoch. Plain: the same network "
        "without shortcuts."
    )
    return Result(lambda: draw(rows, depth), rows, caption, alt=ALT)


def tables(rows: Rows, when: str, unit: str) -> dict[tuple[str, float], Table]:
    """Return the table of every (rule, p_L): the mean over the seeds that have a value."""
    found = {}
    for rule, p_last in RULES:
        mine = [row for row in rows if (row["rule"], row["when"]) == (rule, when)]
        if not mine:
            continue  # its runs failed
        shape = max(row["layer"] for row in mine), max(row[unit] for row in mine)
        of_seeds = []
        for seed in seeds_of(mine):
            table = np.full(shape, np.nan)
            for row in seed:
                if row["grad_mean"] != "":
                    table[row["layer"] - 1, row[unit] - 1] = row["grad_mean"]
            of_seeds.append(table)
        found[rule, p_last] = mean_where_there_is(of_seeds)
    return found


def draw(rows: Rows, depth: int) -> Any:
    """Draw two rows of heatmaps, with lines at the right."""
    from matplotlib.colors import LogNorm

    figure = new_figure(13, 7)
    grid = figure.subplots(2, len(RULES) + 1)
    for panels, (when, unit, column) in zip(
        grid, (("first steps", "step", 0), ("by epoch", "epoch", -1)), strict=True
    ):
        found = tables(rows, when, unit)
        finite = np.concatenate([table[table > 0] for table in found.values()])
        lines = panels[-1]
        for axes, key in zip(panels, RULES, strict=False):
            axes.set_title(label(*key), loc="left")
            axes.set_xlabel(unit)
            whole_numbers(axes.xaxis)
            whole_numbers(axes.yaxis)
            if key not in found:
                axes.text(0.5, 0.5, "failed", transform=axes.transAxes, ha="center")
                continue
            table = found[key]
            image = axes.imshow(
                table, origin="lower", aspect="auto", cmap="viridis", interpolation="nearest",
                norm=LogNorm(finite.min(), finite.max()),
                extent=(0.5, table.shape[1] + 0.5, 0.5, len(table) + 0.5),
            )  # fmt: skip
            axes.set_facecolor("white")
            axes.patch.set(hatch="////", edgecolor=HATCH)
            layers = np.arange(1, len(table) + 1)
            style = {**look(*key).style, "markevery": 2}
            lines.plot(table[:, column], layers, label=label(*key), **style)
        panels[0].set_ylabel("layer")
        bar = figure.colorbar(image, ax=list(panels[:-1]), label="mean |gradient|")
        decimal_ticks(bar.ax.yaxis)
        lines.set_xscale("log")
        whole_numbers(lines.yaxis)
        lines.set_xlabel("mean |gradient|")
        lines.set_title("first step" if column == 0 else "last epoch", loc="left")
        tidy(lines)
        decimal_ticks(lines.xaxis, most=4)
    closed = {"facecolor": "white", "edgecolor": HATCH, "hatch": "////"}
    grid[0, -1].fill_between([], [], **closed, label="block closed: no gradient")
    legend_below(figure, [grid[0, -1]])
    title(figure, f"Gradients by depth, {depth} layers")
    return figure
