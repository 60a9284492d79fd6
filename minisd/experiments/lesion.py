"""Lesion study and path lengths (Veit, Wilber and Belongie 2016, arXiv:1605.06431).

A trained residual network without one of its blocks still works, because only half of its paths
go through that block. Does training with stochastic depth make it more robust?
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from minisd import machine
from minisd.data import Split
from minisd.data.batches import evaluation_batches
from minisd.experiments.drawing import (
    Rows,
    by_rule,
    legend_below,
    look,
    new_figure,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.path_lengths import by_length, sampled_norms
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import TrainedRun, label
from minisd.layer import Layer
from minisd.runs.run import Run
from minisd.surgery import blocks_replaced, interchangeable, without
from minisd.train import evaluate

NAME = "lesion"
SUMMARY = "lesion study: blocks removed or swapped; path lengths"
ALT = (
    "Four charts, constant against stochastic depth: test error with one block removed, with k "
    "random blocks removed, with blocks shuffled; and the share of the gradient by path length."
)
RULES = [("constant", 1.0), ("linear", 0.5)]
SIZES = {
    "quick": {"images": 100, "repeats": 2, "batch": 16, "samples": 1},
    "digits": {"images": 359, "repeats": 10, "batch": 64, "samples": 8},
    "laptop": {"images": 1000, "repeats": 4, "batch": 32, "samples": 4},
    "paper": {"images": 10_000, "repeats": 10, "batch": 128, "samples": 20},
}


def shuffled_order(
    rows: list[list[int]], L: int, swaps: int, rng: np.random.Generator
) -> list[int]:
    """Return the order of L blocks after random swaps. Each swaps two blocks of one of ``rows``."""
    order = list(range(L))
    pairs = [pair for row in rows for pair in combinations(row, 2)]
    for i, j in rng.choice(np.array(pairs), swaps):
        order[i], order[j] = order[j], order[i]
    return order


def kendall(rows: list[list[int]], order: list[int]) -> float:
    """Return Kendall's rank correlation of an order with the original order, within ``rows``.

    It is 1 for the original order, and -1 if each row is reversed.
    """
    signs = [1 if order[i] < order[j] else -1 for row in rows for i, j in combinations(row, 2)]
    return sum(signs) / len(signs)


def error(run: Run, images: Split, blocks: Sequence[Layer]) -> float:
    """Return the error rate of the network with these blocks."""
    with blocks_replaced(run.model, blocks) as model:
        batches = evaluation_batches(
            images, run.config.batch_size, normaliser=run.normaliser, device=run.device
        )
        return evaluate(model, batches)


SWAPS = (1, 2, 3, 6, 13, 32)


def lesions(L: int, swappable: bool, repeats: int) -> list[str]:
    """Return all lesions of a network of L blocks, as ``what/amount/repetition``."""
    steps = sorted({max(1, round(L * share)) for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)})
    plans = ["none/0/0", *(f"block/{number}/0" for number in range(L))]
    plans += [f"random/{k}/{r}" for k in steps for r in range(repeats)]
    if swappable:
        plans += [f"swaps/{k}/{r}" for k in SWAPS for r in range(repeats)]
    return plans


def operate(run: Run, what: str, amount: int, repetition: int) -> tuple[list[Layer], float]:
    """Return the blocks after a lesion, and its x in the figure."""
    model, rng = run.model, np.random.default_rng([amount, repetition])
    if what == "none":
        return list(model.blocks), 0
    if what == "block":
        return without(model, [amount]), amount + 1
    if what == "random":
        return without(model, rng.permutation(model.num_blocks)[:amount].tolist()), amount
    rows = interchangeable(model)
    order = shuffled_order(rows, model.num_blocks, amount, rng)
    return [model.blocks[number] for number in order], kendall(rows, order)


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train both kinds of network, if necessary. Then remove or swap their blocks."""
    size = SIZES[study.scale]
    rows: list[dict[str, Any]] = []
    runs = study.train(trainings(study))
    for trained in runs:
        rows += _of_network(study, trained, size)
    images = min(size["images"], runs[0].config["resolved"]["test_images"])
    caption = (
        f"Best weights, {images:,} test images. Test error with one block removed, its shortcut "
        f"left; with k random blocks removed; after {SWAPS[0]} to {SWAPS[-1]} swaps of two blocks "
        f"of one shape ({size['repeats']} times each), where there are two such blocks; points: "
        "single results; lines: means; dotted: nothing removed. "
        f"{place(study, 'Lower right', '(d)')}, in the network as it is in training with all "
        f"blocks open: norm of the gradient of the loss of {size['batch']} training images along "
        f"one path through exactly k branches (mean of {size['samples']} random paths), times the "
        "number of such paths, C(L, k); each curve over its sum."
    )
    return Result(lambda: draw(rows), rows, caption, alt=ALT)


def _of_network(study: Study, trained: TrainedRun, size: dict[str, int]) -> list[dict[str, Any]]:
    """Return the rows of one trained network."""
    L = trained.config["resolved"]["num_blocks"]

    def lesion_error(key: str) -> Any:
        run = trained.network
        *_, what, amount, repetition = key.split("/")
        blocks, x = operate(run, what, int(amount), int(repetition))
        return [x, error(run, run.test[: size["images"]], blocks)]

    def norms_of_length(key: str) -> Any:
        run = trained.network
        k = int(key.rpartition("/")[2])
        batch = run.train[: size["batch"]]
        ((images, labels),) = evaluation_batches(
            batch, len(batch), normaliser=run.normaliser, device=run.device
        )
        rng = np.random.default_rng([trained.seed, k])
        return sampled_norms(run.model, images, labels, k, samples=size["samples"], rng=rng)

    prefix = f"{trained.name}/{study.fingerprint(trained.seed)}"
    with machine.threads():
        swappable = bool(interchangeable(trained.network.model))
        plans = lesions(L, swappable, size["repeats"])
        errors = study.each(NAME, [f"{prefix}/{size['images']}/{p}" for p in plans], lesion_error)
        paths = f"{prefix}/paths/{size['batch']}/{size['samples']}"
        lengths = study.each(NAME, [f"{paths}/{k}" for k in range(L + 1)], norms_of_length)
    key = {"rule": trained.rule, "p_last": trained.p_last, "seed": trained.seed}
    rows: list[dict[str, Any]] = []
    for plan, (x, value) in errors.items():
        what, amount, repetition = plan.split("/")[-3:]
        columns = {**key, "figure": what, "amount": int(amount), "repetition": repetition}
        rows.append({**columns, "x": x, "y": value})
    norms = list(lengths.values())
    shares = by_length(norms)
    for k, (samples, share) in enumerate(zip(norms, shares, strict=True)):
        rows.append({**key, "figure": "norm along a path", "x": k, "y": float(np.mean(samples))})
        rows.append({**key, "figure": "share", "x": k, "y": float(share / shares.sum())})
    blank = {"amount": "", "repetition": ""}
    return [{**blank, **row} for row in rows]


PANELS = {
    "block": ("one block removed", "block", "test error (%)"),
    "random": ("k random blocks removed", "k, blocks removed", "test error (%)"),
    "swaps": ("blocks shuffled", "Kendall's rank correlation with the order", "test error (%)"),
    "share": ("gradient along paths through k branches", "k", "norm x C(L, k), over its sum"),
}


def draw(rows: Rows) -> Any:
    """Draw four panels."""
    figure = new_figure(11, 7.2)
    panels = figure.subplots(2, 2).ravel()
    for axes, (panel, (heading, x_label, y_label)) in zip(panels, PANELS.items(), strict=True):
        scale = 1 if panel == "share" else 100
        for rule, of_rule in by_rule(rows).items():
            by_x: dict[float, list[tuple[float, float]]] = {}
            for row in of_rule:
                if row["figure"] == panel:
                    by_x.setdefault(round(row["x"], 1), []).append((row["x"], scale * row["y"]))
            if not by_x:
                continue
            shade, line, mark = look(*rule)
            for points in by_x.values():
                axes.plot(*np.array(points).T, mark, color=shade, ms=3.5, alpha=0.4, mew=0)
            means = sorted(tuple(np.mean(points, axis=0)) for points in by_x.values())
            axes.plot(*np.array(means).T, color=shade, ls=line, label=f"{label(*rule)}: mean")
            if scale == 100:
                undamaged = [100 * row["y"] for row in of_rule if row["figure"] == "none"]
                name = f"{label(*rule)}: nothing removed"
                axes.axhline(np.mean(undamaged), color=shade, lw=1, ls=":", label=name)
        if not axes.lines:
            text = "no two blocks can be swapped"
            axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")
        axes.set_title(heading, loc="left")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if panel == "swaps":
            axes.invert_xaxis()  # the original order first
        else:
            whole_numbers(axes.xaxis)
        tidy(axes)
    legend_below(figure, panels)
    title(figure, "Lesion study and path lengths")
    return figure
