"""How many blocks are open in training: drawn gates and the exact distribution (section 3)."""

from typing import Any

import numpy as np

from minisd.experiments.drawing import (
    INK,
    Rows,
    by_rule,
    colour,
    legend_below,
    new_figure,
    seeds_of,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.models import depth_of, resnet
from minisd.stochastic_depth import depth_distribution, draw_gates, expected_depth

NAME = "depth-distribution"
SUMMARY = "histogram of open blocks, and the exact distribution"
ALT = (
    "Three histograms of the number of open blocks, for linear decay to 0.5 and to 0.8 and for "
    "uniform 0.5, with dots for the exact probabilities and a dashed line at the expected depth."
)
IGNORES = (
    "data",
    "data_dir",
    "width",
    "epochs",
    "batch_size",
    "lr",
    "limit",
    "flow",
    "device",
    "processes",
    "scheduler",
)
RULES = [("linear", 0.5), ("linear", 0.8), ("uniform", 0.5)]
BARS = "#a9b9d3"
DRAWS = {"quick": 2_000, "digits": 20_000, "laptop": 20_000, "paper": 100_000}


def run(study: Study) -> Result:
    """Draw the gates of many mini-batches and count the open blocks."""
    draws = DRAWS[study.scale]
    rows: list[dict[str, Any]] = []
    for rule, p_last in RULES:
        probs = study.config(rule, p_last, study.seeds[0]).survival_probs
        for seed in study.seeds:
            counts = open_counts(probs, draws, np.random.default_rng(seed))
            rows += [
                {
                    "rule": rule,
                    "p_last": p_last,
                    "seed": seed,
                    "open": k,
                    "share": counts[k] / draws,
                    "probability": probability,
                    "expected_depth": expected_depth(probs),
                }
                for k, probability in enumerate(depth_distribution(probs))
            ]
    caption = (
        f"Open blocks in {draws:,} mini-batches (bars; seeds: mean) and the exact "
        "Poisson-binomial distribution (dots); dashed: its mean, (3L-1)/4 for linear decay to 0.5."
    )
    return Result(lambda: draw(rows), rows, caption, data=False, alt=ALT)


def open_counts(probs: list[float], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often 0 to L blocks are open in ``draws`` mini-batches, (L + 1,)."""
    model = resnet(depth_of(len(probs)), width=1, survival=probs, rng=np.random.default_rng(0))
    opened = [sum(draw_gates(model, rng)) for _ in range(draws)]
    return np.bincount(opened, minlength=len(probs) + 1)


def draw(rows: Rows) -> Any:
    """Draw a histogram for each rule, mean of the seeds."""
    figure = new_figure(11, 3.8)
    L = max(row["open"] for row in rows)
    panels = figure.subplots(1, len(RULES), sharey=True)
    for axes, (rule, of_rule) in zip(panels, by_rule(rows).items(), strict=True):
        seeds = seeds_of(of_rule)
        shares = np.mean([[row["share"] for row in seed] for seed in seeds], axis=0)
        opened = [row["open"] for row in seeds[0]]
        mean = of_rule[0]["expected_depth"]
        axes.bar(opened, shares, color=BARS, label="drawn")
        exact = [row["probability"] for row in seeds[0]]
        axes.plot(opened, exact, "o", ms=4, color=INK, label="exact")
        axes.axvline(mean, color=colour("linear", 0.5), ls="--", lw=1.4, label="expected depth")
        axes.set_title(f"{rule[0]}, $p_L$ = {rule[1]:g}: mean {mean:.2f}", loc="left")
        axes.set_xlabel(f"open blocks of {L}")
        whole_numbers(axes.xaxis)
        tidy(axes)
    panels[0].set_ylabel("share of mini-batches")
    legend_below(figure, panels)
    title(figure, f"Depth of the network in training, L = {L}")
    return figure
