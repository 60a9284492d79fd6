"""The table of ``tutorials/site/findings.md``, made from the CSVs in ``tutorials/results/``.

    python -m tests.results          # write it there

A test compares the two, so that the page cannot say what the experiments did not find.
"""

import csv
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from minisd.experiments import paper_curves

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tutorials" / "results"
PAGE = ROOT / "tutorials" / "site" / "findings.md"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
DEPTHS = (20, 56)
RULES = {"constant depth": ("constant", 1.0), "p_L = 0.5": ("linear", 0.5)}
RULES["p_L = 0.8"] = ("linear", 0.8)
PHASES = {"before the first drop of the rate": 0, "between the drops": 1, "after the second": 2}
PAPER_PHASES = ((1, 250), (251, 375), (376, 500))

Rows = list[dict[str, str]]


def rows(depth: int, experiment: str) -> Rows:
    """Read what an experiment wrote."""
    path = RESULTS / f"resnet{depth}" / f"{experiment}.csv"
    lines = path.read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def of(found: Rows, rule: tuple[str, float], **equal: Any) -> Rows:
    wanted = {name: str(value) for name, value in equal.items()}
    return [
        row
        for row in found
        if (row["rule"], float(row["p_last"])) == rule
        and all(row[name] == value for name, value in wanted.items())
    ]


def listed(values: list[float], digits: int = 1) -> str:
    """Write mean and single values; the value alone if there is one."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})"


def test_errors(depth: int, rule: tuple[str, float]) -> str:
    chosen = of(rows(depth, "learning-curves"), rule, chosen=1)
    return listed([100 * float(row["test_error"]) for row in chosen])


def paper_error(depth: int, rule: tuple[str, float]) -> float:
    probs, depths, table = paper_curves.depth_table()
    return float(table[probs.index(rule[1]), depths.index(depth)])


def phase_means(depth: int, rule: tuple[str, float], column: str, phase: int) -> dict[str, float]:
    """Return the mean of a column of ``gradients.csv`` over the epochs of a phase, by seed."""
    found = of(rows(depth, "gradients"), rule)
    rates = sorted({float(row["lr"]) for row in found}, reverse=True)
    by_seed: dict[str, list[float]] = {}
    for row in found:
        if float(row["lr"]) == rates[phase]:
            by_seed.setdefault(row["seed"], []).append(float(row[column]))
    return {seed: mean(values) for seed, values in by_seed.items()}


def stochastic_over_constant(depth: int, column: str, phase: int) -> str:
    constant, stochastic = (
        phase_means(depth, RULES[rule], column, phase) for rule in ("constant depth", "p_L = 0.5")
    )
    return listed([stochastic[seed] / constant[seed] for seed in constant], 2)


def paper_over_constant(phase: int) -> str:
    curves, (first, last) = paper_curves.first_gradient(), PAPER_PHASES[phase]
    means = {name: np.nanmean(y[(x >= first) & (x <= last)]) for name, (x, y) in curves.items()}
    return f"{means['stochastic'] / means['constant']:.1f}"


def step_time(depth: int) -> str:
    found = {float(r["x"]): r for r in rows(depth, "training-time") if r["figure"] == "p_L"}
    ratio = float(found[0.5]["seconds"]) / float(found[1.0]["seconds"])
    return f"{ratio:.2f} (blocks open: {float(found[0.5]['expected']):.2f})"


def one_block_removed(depth: int, rule: tuple[str, float]) -> str:
    """By how much the error rises: median over the blocks, and the worst of them, by seed."""
    found = of(rows(depth, "lesion"), rule)
    texts = []
    for seed in sorted({row["seed"] for row in found}):
        mine = [row for row in found if row["seed"] == seed]
        (whole,) = (float(row["y"]) for row in mine if row["figure"] == "none")
        rises = [100 * (float(row["y"]) - whole) for row in mine if row["figure"] == "block"]
        texts.append(f"{median(rises):.1f} / {max(rises):.1f}")
    return "; ".join(texts)


def path_length(depth: int, rule: tuple[str, float]) -> str:
    """The mean number of branches, weighted by the share of the gradient, by seed."""
    found = of(rows(depth, "lesion"), rule, figure="share")
    seeds = sorted({row["seed"] for row in found})
    return listed(
        [sum(float(r["x"]) * float(r["y"]) for r in found if r["seed"] == s) for s in seeds]
    )


def table() -> str:
    """Return paper against here, as Markdown."""
    lines: list[tuple[str, Any]] = []
    for name, rule in RULES.items():
        paper = " / ".join(f"{paper_error(depth, rule):.2f}" for depth in DEPTHS)
        lines.append((f"test error %, {name}", [paper, *(test_errors(d, rule) for d in DEPTHS)]))
    for name, phase in PHASES.items():
        here = [stochastic_over_constant(depth, "stem", phase) for depth in DEPTHS]
        what = f"first convolution's mean gradient, p_L = 0.5 / constant, {name}"
        lines.append((what, [paper_over_constant(phase), *here]))
    for column, what in (
        ("stem_by_loss", "the same divided by the training loss, after the second drop"),
        ("first_by_last", "first block's over last block's, p_L = 0.5 / constant, after it"),
    ):
        here = [stochastic_over_constant(depth, column, 2) for depth in DEPTHS]
        lines.append((what, ["-", *here]))
    lines.append(("training time, p_L = 0.5 / constant", ["0.73", *(step_time(d) for d in DEPTHS)]))
    for name, rule in list(RULES.items())[:2]:
        what = f"points of error that one removed block adds, {name}: median / worst block"
        lines.append((what, ["-", *(one_block_removed(depth, rule) for depth in DEPTHS)]))
    for name, rule in list(RULES.items())[:2]:
        what = f"branches on a path, mean weighted by gradient norm x C(L, k), {name}"
        lines.append((what, ["-", *(path_length(depth, rule) for depth in DEPTHS)]))
    head = "| | paper | here, ResNet-20, seeds 1 to 3 | here, ResNet-56, seed 1 |"
    body = [f"| {what} | {' | '.join(cells)} |" for what, cells in lines]
    return "\n".join([head, "| --- | --- | --- | --- |", *body]) + "\n"


if __name__ == "__main__":
    from tests.benchmarks.readme import parts_of

    before, _, after = parts_of(PAGE.read_text(encoding="utf-8"), BEGIN, END)
    PAGE.write_text(before + table() + after, encoding="utf-8")
