"""How many blocks are open in training: drawn gates and the exact distribution (section 3)."""

from typing import Any

import numpy as np

from minisd.experiments.drawing import colour, new_figure, tidy, title, whole_numbers
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.models import resnet
from minisd.stochastic_depth import depth_distribution, draw_gates, expected_depth

NAME = "depth-distribution"
SUMMARY = "histogram of open blocks against the exact distribution"
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
)
RULES = [("linear", 0.5), ("linear", 0.8), ("uniform", 0.5)]
DRAWS = {"quick": 2_000, "digits": 20_000, "laptop": 20_000, "paper": 100_000}


def run(study: Study) -> Result:
    """Draw the gates of many mini-batches and count the open blocks."""
    draws = DRAWS[study.scale]
    rows: list[dict[str, Any]] = []
    for rule, p_last in RULES:
        probs = study.config(rule, p_last, study.seeds[0]).survival_probs  # of no seed
        assert probs is not None
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
    return Result(lambda: draw(rows), rows, caption, data=False)


def open_counts(probs: list[float], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often 0 to L blocks are open in ``draws`` mini-batches, (L + 1,)."""
    model = resnet(2 + 2 * len(probs), width=1, survival=probs, rng=np.random.default_rng(0))
    opened = [sum(draw_gates(model, rng)) for _ in range(draws)]
    return np.bincount(opened, minlength=len(probs) + 1)


def draw(rows: list[dict[str, Any]]) -> Any:
    """Draw a histogram for each rule, mean of the seeds."""
    figure = new_figure(11, 3.6)
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    L = max(row["open"] for row in rows)
    for axes, (rule, p_last) in zip(figure.subplots(1, len(RULES)), RULES, strict=True):
        of_rule = [row for row in rows if (row["rule"], row["p_last"]) == (rule, p_last)]
        panel = [row for row in of_rule if row["seed"] == seeds[0]]
        shares = np.reshape([row["share"] for row in of_rule], (len(seeds), -1)).mean(axis=0)
        shade = colour(rule, p_last)
        opened = [row["open"] for row in panel]
        axes.bar(opened, shares, color=shade, alpha=0.45, label="drawn")
        exact = [row["probability"] for row in panel]
        axes.plot(opened, exact, ".", color=shade, label="exact")
        mean = panel[0]["expected_depth"]
        axes.axvline(mean, color=shade, ls="--", lw=1, label=f"expected depth {mean:.2f}")
        axes.set_title(f"{rule}, $p_L$ = {p_last:g}", loc="left", fontsize=9)
        axes.set_xlabel(f"open blocks of {L}")
        axes.set_ylabel("share of mini-batches")
        axes.set_ylim(0, 1.35 * max(exact))  # room for the legend
        whole_numbers(axes.xaxis)
        axes.legend(frameon=False, fontsize=8)
        tidy(axes)
    title(figure, f"Depth of the network in training, L = {L}")
    return figure
