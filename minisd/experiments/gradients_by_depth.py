"""Gradients of every layer, at initialisation and in training: plain, residual, stochastic."""

import tempfile
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from minisd.data.batches import training_batches
from minisd.experiments.drawing import (
    colour,
    convolutions,
    mean_where_there_is,
    new_figure,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.experiments.trained import label
from minisd.flow import Recorder, load
from minisd.runs.run import Run
from minisd.stochastic_depth import draw_gates
from minisd.train import train_step

NAME = "gradients-by-depth"
SUMMARY = "gradient of every layer at initialisation and by epoch; plain, residual, stochastic"
RULES = [("plain", 1.0), ("constant", 1.0), ("linear", 0.5)]
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
    for trained in study.runs(RULES):
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
        f"that have one). Above: each of the first {steps} training steps (hatched: the block was "
        "closed, there is no gradient); "
        "right: the first step, at the initial weights. Below: mean of every epoch, over the steps "
        "in which the block was open; right: the last epoch. Plain: the same network without "
        "shortcuts."
    )
    return Result(lambda: draw(mean_of_seeds(starts), mean_of_seeds(epochs), depth), rows, caption)


def mean_of_seeds(tables: dict[tuple[str, float, int], Table]) -> dict[tuple[str, float], Table]:
    """Return the mean table of every (rule, p_L), over the seeds that have a value."""
    return {
        key: mean_where_there_is([table for (*of, _), table in tables.items() if tuple(of) == key])
        for key in dict.fromkeys((rule, p_last) for rule, p_last, _ in tables)
    }


def draw(
    starts: dict[tuple[str, float], Table], epochs: dict[tuple[str, float], Table], depth: int
) -> Any:
    """Draw two rows of heatmaps, with lines at the right."""
    figure = new_figure(13, 6.5)
    grid = figure.subplots(2, len(RULES) + 1)
    for row, (tables, unit, column) in enumerate(((starts, "step", 0), (epochs, "epoch", -1))):
        finite = np.concatenate([np.log10(table[table > 0]) for table in tables.values()])
        lines = grid[row, -1]
        for axes, key in zip(grid[row], RULES, strict=False):
            axes.set_title(label(*key), loc="left", fontsize=9)
            axes.set_xlabel(unit)
            whole_numbers(axes.xaxis)
            whole_numbers(axes.yaxis)
            if key not in tables:
                axes.text(0.5, 0.5, "failed", transform=axes.transAxes, ha="center")
                continue
            table = tables[key]
            with np.errstate(divide="ignore"):
                image = axes.imshow(
                    np.log10(table), origin="lower", aspect="auto", cmap="viridis",
                    vmin=finite.min(), vmax=finite.max(), interpolation="nearest",
                    extent=(0.5, table.shape[1] + 0.5, 0.5, len(table) + 0.5),
                )  # fmt: skip
            axes.set_facecolor("white")
            axes.patch.set(hatch="////", edgecolor="#b0b0b0")
            layers = np.arange(1, len(table) + 1)
            lines.plot(table[:, column], layers, color=colour(*key), lw=1.5, label=label(*key))
        grid[row, 0].set_ylabel("layer")
        figure.colorbar(image, ax=list(grid[row, :-1]), label="log10 mean |gradient|")
        lines.set_xscale("log")
        lines.xaxis.set_minor_formatter("")
        whole_numbers(lines.yaxis)
        lines.set_xlabel("mean |gradient|")
        lines.set_title("first step" if column == 0 else "last epoch", loc="left", fontsize=9)
        lines.legend(frameon=False, fontsize=7)
        tidy(lines)
    title(figure, f"Gradients by depth, {depth} layers")
    return figure
