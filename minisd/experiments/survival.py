"""The paper's Fig. 8: test error against p_L, linear and uniform; and depth against p_L."""

from typing import Any

import numpy as np

from minisd.experiments import paper_curves
from minisd.experiments.drawing import (
    GRID,
    INK,
    PAPER,
    Rows,
    legend_below,
    look,
    new_figure,
    tidy,
    title,
)
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Job, Study

NAME = "survival"
SUMMARY = "Fig. 8: test error against p_L, and against depth"
ALT = (
    "Two line charts of the test error against p_L, linear decay and uniform, ours and the "
    "paper's; and a table in colours of the test error by depth and p_L."
)
SWEEPS: dict[str, dict[str, Any]] = {
    "quick": {"p": (0.5, 1.0), "depths": (8, 14), "epochs": 3},
    "digits": {"p": (0.3, 0.5, 0.7, 0.9, 1.0), "depths": (8, 14, 20), "epochs": 10},
    "laptop": {"p": (0.5, 0.8, 1.0), "depths": (8, 14, 20), "epochs": 6},
    "paper": {
        "p": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        "depths": (20, 38, 56, 74, 92, 110),
    },
}


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs: every combination of rule, depth, p_L and seed."""
    sweep = SWEEPS[study.scale]
    depth, depths = depths_of(study)
    epochs = study.changes.get("epochs", sweep.get("epochs"))
    changes = {} if epochs == study.settings.get("epochs") else {"epochs": epochs}
    jobs = [("linear", layers, p) for layers in depths for p in sweep["p"]]
    jobs += [("uniform", depth, p) for p in sweep["p"] if p < 1]
    return [
        (rule if p < 1 else "constant", p, seed, {"depth": layers, **changes})
        for rule, layers, p in jobs
        for seed in study.seeds
    ]


def depths_of(study: Study) -> tuple[int, list[int]]:
    """Return the study's own depth, and all depths that are trained."""
    depth = study.config("constant", 1.0, study.seeds[0]).depth
    return depth, sorted({*SWEEPS[study.scale]["depths"], depth})


def run(study: Study) -> Result:
    """Train every combination, each in its own process, and draw the complete ones."""
    depth, depths = depths_of(study)
    runs = study.train(trainings(study))
    rows = [
        {
            "rule": rule,
            "depth": trained.config["depth"],
            "p_last": trained.p_last,
            "seed": trained.seed,
            "test_error": 100 * trained.best["test_error"],
            "epoch": trained.best["x"],
        }
        for trained in runs
        for rule in both_rules(trained.rule, trained.config["depth"] == depth)
    ]
    caption = (
        "Test error at the epoch of lowest validation error against p_L, linear decay and "
        f"uniform, at {depth} layers (mean of the seeds, bars: lowest and highest), and by depth "
        "with linear decay (mean of the seeds). p_L = 1 is constant depth. "
        f"{place(study, 'In the middle', '(b)')}, and the numbers in brackets: the paper's Fig. 8 "
        f"(CIFAR-10, {place(study, 'in the middle', 'in (b)')} 110 layers)."
    )
    return Result(lambda: draw(rows, depth), rows, caption, depths=depths, alt=ALT)


def both_rules(rule: str, is_swept: bool) -> tuple[str, ...]:
    """Return the rules that a run belongs to. With p_L = 1, the two rules are the same."""
    if rule != "constant":
        return (rule,)
    return ("linear", "uniform") if is_swept else ("linear",)


def means(rows: list[dict[str, Any]], rule: str, depth: int) -> dict[float, list[float]]:
    """Return the test errors of all seeds by p_L."""
    errors: dict[float, list[float]] = {}
    for row in rows:
        if row["rule"] == rule and row["depth"] == depth:
            errors.setdefault(row["p_last"], []).append(row["test_error"])
    return dict(sorted(errors.items()))


def draw(rows: Rows, depth: int) -> Any:
    """Draw our sweep, the paper's sweep, and the table."""
    figure = new_figure(13, 4.6)
    ours, paper, table = figure.subplots(1, 3, width_ratios=(3, 3, 4))
    for rule in ("linear", "uniform"):
        errors, drawn = means(rows, rule, depth), look(rule, 0.5)
        if not errors:
            continue
        middle = [np.mean(of_seeds) for of_seeds in errors.values()]
        reach = [
            [m - min(of_seeds) for m, of_seeds in zip(middle, errors.values(), strict=True)],
            [max(of_seeds) - m for m, of_seeds in zip(middle, errors.values(), strict=True)],
        ]
        ours.errorbar(list(errors), middle, reach, capsize=3, label=rule, **drawn.style)
        x, y = paper_curves.series("fig8_left_pL_sweep")[rule]
        paper.plot(x, y, **{**drawn.style, "color": PAPER}, label=f"paper, {rule}")
    for axes, heading in ((ours, f"ResNet-{depth}"), (paper, "the paper's, 110 layers")):
        axes.set_title(heading, loc="left")
        axes.set_xlabel("$p_L$")
        axes.set_ylabel("test error (%)")
        tidy(axes)
    legend_below(figure, [ours, paper])
    _table(figure, table, rows)
    title(figure, "Survival probability of the last block")
    return figure


def _table(figure: Any, axes: Any, rows: Rows) -> None:
    """Draw the test error of linear decay by depth and p_L, with the paper's in brackets."""
    depths = sorted({row["depth"] for row in rows if row["rule"] == "linear"})
    probs = sorted({row["p_last"] for row in rows}, reverse=True)
    table = np.full((len(probs), len(depths)), np.nan)
    for column, layers in enumerate(depths):
        for p, of_seeds in means(rows, "linear", layers).items():
            table[probs.index(p), column] = np.mean(of_seeds)
    image = axes.imshow(table, cmap="cividis_r", aspect="auto")
    figure.colorbar(image, ax=axes, label="test error (%)")
    paper_probs, paper_depths, paper_table = paper_curves.depth_table()
    for (i, j), value in np.ndenumerate(table):
        text, shade = "failed", INK
        if np.isfinite(value):
            text = f"{value:.1f}"
            r, g, b, _ = image.cmap(image.norm(value))
            shade = INK if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.5 else "white"
        if depths[j] in paper_depths and probs[i] in paper_probs:
            paper = paper_table[paper_probs.index(probs[i]), paper_depths.index(depths[j])]
            text += f"\n({paper:.2f})"
        axes.text(j, i, text, ha="center", va="center", color=shade)
    axes.set_xticks(range(len(depths)), [str(layers) for layers in depths])
    axes.set_yticks(range(len(probs)), [f"{p:g}" for p in probs])
    axes.set_xlabel("depth (layers)")
    axes.set_ylabel("$p_L$")
    axes.set_title("linear decay: test error (the paper's)", loc="left")
    axes.spines[:].set_color(GRID)
