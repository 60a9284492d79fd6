"""The ensemble view (section 3): the average of M sampled sub-networks and the p-scaled network.

Stochastic depth trains 2^L networks that share weights. At test time, the paper does not average
them. It uses one network, with each branch weighted by p_l. How close is this to the average?
"""

from typing import Any

import numpy as np

from minisd import machine
from minisd.backend import array_module, to_numpy
from minisd.data.batches import evaluation_batches
from minisd.experiments.drawing import (
    SEEDS,
    Rows,
    decimal,
    error_axis,
    legend_below,
    new_figure,
    seeds_of,
    tidy,
    title,
)
from minisd.experiments.publish import Result
from minisd.experiments.study import Job, Study
from minisd.experiments.trained import TrainedRun, label
from minisd.layer import restore, settings
from minisd.runs.run import Run
from minisd.stochastic_depth import sample_gates
from minisd.surgery import blocks_replaced, sub_network

NAME = "ensemble"
SUMMARY = "M sub-networks averaged against the p-scaled network"
ALT = (
    "A line chart of the test error of M averaged sub-networks against M, one line for each seed, "
    "with a dashed line at the error of the p-scaled network of the same seed."
)
RULES = [("linear", 0.5)]
SIZES = {
    "quick": {"images": 100, "members": 8},
    "digits": {"images": 359, "members": 64},
    "laptop": {"images": 1000, "members": 32},
    "paper": {"images": 10_000, "members": 100},
}
SHUFFLES = 20
"""Number of random orders in which the members are added. They give the spread."""


def probabilities(run: Run, count: int, gates: list[bool] | None) -> np.ndarray:
    """Return class probabilities (count, classes) of the sub-network with these gates.

    ``gates=None`` means the p-scaled network.
    """
    model = run.model
    blocks = model.blocks if gates is None else sub_network(model, gates)
    batches = []
    modes = settings(model.walk(), ("training", "saves"))
    model.eval()
    try:
        with blocks_replaced(model, blocks):
            for images, _ in evaluation_batches(
                run.test[:count],
                run.config.batch_size,
                normaliser=run.normaliser,
                device=run.device,
            ):
                logits = model.forward(images)
                xp = array_module(logits)
                odds = xp.exp(logits - logits.max(axis=1, keepdims=True))
                batches.append(to_numpy(odds / odds.sum(axis=1, keepdims=True)))
    finally:
        restore(modes)
    return np.concatenate(batches)


def member_gates(survival_probs: list[float], seed: int, member: int) -> list[bool]:
    """Return the gates of a member, drawn as in training."""
    return sample_gates(survival_probs, np.random.default_rng([seed, member]))


def errors_of_averages(
    members: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the errors of averages of 1 to M members, in `SHUFFLES` random orders.

    Parameters
    ----------
    members : (M, N, classes)

    Returns
    -------
    errors : (SHUFFLES, M)
    """
    M = len(members)
    errors = []
    for _ in range(SHUFFLES):
        sums = np.cumsum(members[rng.permutation(M)], axis=0)
        errors.append((sums.argmax(axis=2) != labels).mean(axis=1))
    return np.array(errors)


def trainings(study: Study) -> list[Job]:
    """Return the runs that it needs."""
    return study.jobs(RULES)


def run(study: Study) -> Result:
    """Train with stochastic depth, if necessary; then sample sub-networks and average them."""
    size = SIZES[study.scale]
    rows: list[dict[str, Any]] = []
    runs = study.train(trainings(study))
    for trained in runs:
        rows += _of_network(study, trained, **size)
    images = min(size["images"], runs[0].config["resolved"]["test_images"])
    caption = (
        "Test error of M sub-networks whose class probabilities are averaged, gates drawn as in "
        f"training, best weights, {images:,} test images: mean over {SHUFFLES} orders of the same "
        f"{size['members']} members, and their range up to M = {size['members'] // 2}. Dashed: the "
        "p-scaled network, the paper's test rule."
    )
    return Result(lambda: draw(rows), rows, caption, alt=ALT)


def _of_network(
    study: Study, trained: TrainedRun, images: int, members: int
) -> list[dict[str, Any]]:
    def compute(key: str) -> Any:
        run = trained.network
        member = key.rpartition("/")[2]
        gates = None
        if member != "scaled":
            gates = member_gates(run.model.survival_probs, trained.seed, int(member))
        return np.round(probabilities(run, images, gates).astype(float), 5).tolist()

    prefix = f"{trained.name}/{study.fingerprint(trained.seed)}/{images}"
    with machine.threads():
        keys = [f"{prefix}/{member}" for member in ("scaled", *range(members))]
        tables = [np.array(table) for table in study.each(NAME, keys, compute).values()]
    labels = trained.network.test.labels[:images]
    scaled = float((tables[0].argmax(axis=1) != labels).mean())
    errors = errors_of_averages(np.array(tables[1:]), labels, np.random.default_rng(trained.seed))
    return [
        {
            "rule": trained.rule,
            "p_last": trained.p_last,
            "seed": trained.seed,
            "members": m + 1,
            "error": errors[:, m].mean(),
            "lowest": errors[:, m].min(),
            "highest": errors[:, m].max(),
            "p_scaled": scaled,
        }
        for m in range(members)
    ]


def draw(rows: Rows) -> Any:
    """Draw error against M."""
    figure = new_figure(8, 5.2)
    axes = figure.subplots()
    for number, of_seed in enumerate(seeds_of(rows)):
        drawn, seed = SEEDS[number % len(SEEDS)], of_seed[0]["seed"]
        M = np.array([row["members"] for row in of_seed])
        errors, low, high = (
            np.array([100 * row[name] for row in of_seed])
            for name in ("error", "lowest", "highest")
        )
        marks = [m - 1 for m in 2 ** np.arange(10) if m <= len(M)]
        axes.plot(M, errors, label=f"seed {seed}: average of M", markevery=marks, **drawn.style)
        half = slice(0, len(M) // 2)  # all orders end with the same members
        axes.fill_between(M[half], low[half], high[half], color=drawn.colour, alpha=0.15, lw=0)
        scaled = 100 * of_seed[0]["p_scaled"]
        axes.axhline(
            scaled, color=drawn.colour, ls="--", lw=1.2,
            label=f"seed {seed}: p-scaled network, {scaled:.1f} %",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(decimal)
    axes.set_xlabel("M, sub-networks averaged")
    error_axis(
        axes, [100 * row[of] for row in rows for of in ("lowest", "highest", "p_scaled")],
        "test error",
    )  # fmt: skip
    tidy(axes)
    legend_below(figure, [axes])
    rule = label(rows[0]["rule"], rows[0]["p_last"])
    title(figure, f"Sub-networks averaged, and the network that replaces them: {rule}")
    return figure
