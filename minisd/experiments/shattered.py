"""Shattered gradients (Balduzzi et al. 2017, arXiv:1702.08591).

In a deep plain network the gradients at two inputs are almost unrelated, even if the inputs are
close. Along a line in input space, they look like white noise. Each ReLU halves their correlation:
a neuron that is active for one of two independent inputs is active for the other only half of the
time. After L ReLUs it is 2^-L (theorem 1). Shortcuts preserve the correlation.
"""

from typing import Any

import numpy as np

from minisd import machine
from minisd.experiments.drawing import (
    INK,
    Rows,
    decimal_ticks,
    legend_below,
    look,
    new_figure,
    tidy,
    title,
    whole_numbers,
)
from minisd.experiments.input_gradients import (
    autocorrelation,
    correlation,
    fully_connected_correlation,
    input_gradients,
)
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Study
from minisd.experiments.trained import label
from minisd.models import ResNet, resnet
from minisd.runs.run import Run
from minisd.stochastic_depth import draw_gates

NAME = "shattered-gradients"
SUMMARY = "how alike gradients at two inputs are, by depth"
ALT = (
    "Three line charts of the autocorrelation of the input gradient against the distance of two "
    "inputs, for plain, constant and stochastic networks of several depths; and one of the "
    "correlation at independent inputs against the depth, on a logarithmic axis."
)
IGNORES = ("epochs", "batch_size", "lr", "flow", "device", "processes", "scheduler")
RULES = [("plain", 1.0), ("constant", 1.0), ("linear", 0.5)]
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"depths": (8, 20), "points": 32, "draws": 2},
    "digits": {"depths": (8, 20, 32, 56), "points": 128, "draws": 10},
    "laptop": {"depths": (8, 20, 32, 56), "points": 64, "draws": 4},
    "paper": {"depths": (8, 20, 56, 110), "points": 256, "draws": 20},
}


WIDTH = 256
"""Neurons per layer of the fully connected networks."""
DEEPEST = 10
"""The fully connected networks have 1 to so many layers."""
LINES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)))
"""Lines of the depths, shallow to deep."""
NETWORKS = 12
"""How many fully connected networks have each number of layers."""


def network(
    study: Study, rule: str, p_last: float, depth: int, in_channels: int, rng: np.random.Generator
) -> ResNet:
    """Return a network at initialisation, with gates drawn."""
    config = study.config(rule, p_last, study.seeds[0], depth=depth)
    model = resnet(
        depth,
        in_channels=in_channels,
        width=config.width,
        survival=config.survival_probs,
        shortcut=config.shortcut,
        rng=rng,
    )
    draw_gates(model, rng)
    return model


def measure(
    model: ResNet, images: np.ndarray, points: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the autocorrelation on a line between two images, and that at independent inputs.

    Parameters
    ----------
    images : (N, C, H, W)
        Two random ones of them are the ends of the line.
    """
    dy = rng.standard_normal(10)  # of the logits
    start, end = images[rng.choice(len(images), 2, replace=False)]
    t = np.linspace(0, 1, points, dtype=np.float32)[:, None, None, None]
    line = input_gradients(model, (1 - t) * start + t * end, dy)
    independent = rng.standard_normal((points, *images.shape[1:])).astype(np.float32)
    return {
        "line": autocorrelation(line).tolist(),
        "independent": correlation(input_gradients(model, independent, dy)),
    }


def mean_and_error(values: list[float]) -> dict[str, float]:
    """Return the mean over networks and its standard error (NaN for a single network)."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return {"correlation": float(np.mean(values)), "error": float(error)}


def run(study: Study) -> Result:
    """Measure networks at initialisation and draw."""
    size, points = SIZES[study.scale], SIZES[study.scale]["points"]
    own = {study.changes["depth"]} if "depth" in study.changes else set()
    depths = sorted({*size["depths"], *own})
    plans = {
        f"{study.fingerprint(study.seeds[0])}/{points}/{rule}/{p_last}/{depth}/{seed}/{draw}": (
            rule, p_last, depth, seed, draw
        )
        for rule, p_last in RULES
        for depth in depths
        for seed in study.seeds
        for draw in range(size["draws"])
    }  # fmt: skip
    images: list[np.ndarray] = []

    def compute(key: str) -> Any:
        rule, p_last, depth, seed, number = plans[key]
        if not images:
            run = Run(study.config("constant", 1.0, study.seeds[0]))
            images.append(run.normaliser(run.train.images[:1000]))
        rng = np.random.default_rng([seed, depth, number])
        model = network(study, rule, p_last, depth, images[0].shape[1], rng)
        return measure(model, images[0], points, rng)

    with machine.threads():
        measured = study.each(NAME, plans, compute)
    rows: list[dict[str, Any]] = []
    for rule, p_last in RULES:
        for depth in depths:
            results = [
                measured[key] for key, plan in plans.items() if plan[:3] == (rule, p_last, depth)
            ]
            columns = {"rule": rule, "p_last": p_last, "depth": depth, "networks": len(results)}
            lines = np.mean([result["line"] for result in results], axis=0)
            rows += [
                {**columns, "figure": "line", "lag": lag, "correlation": value, "error": ""}
                for lag, value in enumerate(lines.tolist())
            ]
            values = [result["independent"] for result in results]
            rows.append({**columns, "figure": "independent", "lag": "", **mean_and_error(values)})
    theory = {
        f"fully connected/{L}/{points}/{number}": (L, number)
        for L in range(1, DEEPEST + 1)
        for number in range(NETWORKS)
    }

    def of_theory(key: str) -> float:
        return fully_connected_correlation(
            theory[key][0], WIDTH, points, np.random.default_rng(theory[key])
        )

    correlations = study.each(NAME, theory, of_theory)
    for L in range(1, DEEPEST + 1):
        values = [value for key, value in correlations.items() if theory[key][0] == L]
        columns = {"rule": "fully connected", "p_last": "", "depth": L + 1, "networks": len(values)}
        rows.append({**columns, "figure": "independent", "lag": "", **mean_and_error(values)})
    caption = (
        "Networks at initialisation, batch norm's statistics fixed, one draw of the gates each. "
        f"{place(study, 'First three panels', '(a) to (c)')}: autocorrelation of the input "
        f"gradient at {points} points on a line between two training images, mean of "
        f"{size['draws'] * len(study.seeds)} networks and lines. "
        f"{place(study, 'Last panel', '(d)')}: correlation of the gradients at two independent "
        "random inputs, mean of as many networks and two standard errors; crosses: plain fully "
        f"connected networks of {WIDTH} neurons a layer, {NETWORKS} each; dashed: their theory, "
        "2^-L, with L ReLUs, one less than layers. Means within two standard errors of 0 are left "
        "out."
    )
    return Result(lambda: draw(rows), rows, caption, depths=depths, alt=ALT)


def draw(rows: Rows) -> Any:
    """Draw autocorrelations by rule, and correlation against depth."""
    import matplotlib as mpl

    figure = new_figure(10, 7.6)
    *panels, right = figure.subplots(2, 2).ravel()
    depths = sorted({row["depth"] for row in rows if row["figure"] == "line"})
    for axes, (rule, p_last) in zip(panels, RULES, strict=True):
        for number, depth in enumerate(depths):
            values = [
                row["correlation"]
                for row in rows
                if (row["rule"], row["depth"], row["figure"]) == (rule, depth, "line")
            ]
            lags = np.arange(len(values)) / (len(values) - 1)
            first_half = slice(0, -(-len(values) // 2))  # few pairs are farther apart
            shade = mpl.colormaps["cividis_r"](0.1 + 0.9 * number / max(1, len(depths) - 1))
            axes.plot(
                lags[first_half], values[first_half], color=shade, ls=LINES[number % len(LINES)],
                label=f"{depth} layers",
            )  # fmt: skip
        axes.set_title(label(rule, p_last), loc="left")
        axes.set_xlabel("distance on the line")
        axes.set_ylabel("autocorrelation")
        axes.set_ylim(-0.15, 1.02)
        tidy(axes)
    for rule, p_last in (*RULES, ("fully connected", 1.0)):
        points = [
            (row["depth"] - 1, row["correlation"], 2 * row["error"])
            for row in rows
            if (row["rule"], row["figure"]) == (rule, "independent")
            and row["correlation"] > 2 * row["error"]
        ]
        if points:
            style = {"color": INK, "marker": "x", "ls": ""}
            name = "fully connected"
            if rule != name:
                style, name = look(rule, p_last).style, label(rule, p_last)
            right.errorbar(*np.array(points, float).T, capsize=2, label=name, **style)
    L = np.arange(1, DEEPEST + 4)
    right.plot(L, 2.0**-L, "--", color=INK, lw=1, label="$2^{-L}$, theory of fully connected")
    right.set_yscale("log")
    right.set_ylim(1e-4, 1.2)
    right.set_title("independent inputs", loc="left")
    right.set_xlabel("layers - 1 (the ReLUs of a plain network)")
    right.set_ylabel("correlation")
    whole_numbers(right.xaxis)
    tidy(right)
    decimal_ticks(right.yaxis)
    legend_below(figure, [panels[0], right])
    title(figure, "Shattered gradients")
    return figure
