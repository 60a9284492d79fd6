"""The ensemble view (section 3): M sampled sub-networks averaged, against the p-scaled network.

Stochastic depth trains 2^L networks that share weights. At test time the paper takes one network,
each branch weighted by p_l, in place of their average. How good a stand-in is it?
"""

from typing import Any

import numpy as np

from minisd import machine
from minisd.backend import array_module, to_numpy
from minisd.data.batches import evaluation_batches
from minisd.experiments.drawing import INK, new_figure, tidy, title
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.experiments.trained import TrainedRun, label
from minisd.runs.run import Run
from minisd.stochastic_depth import sample_gates
from minisd.surgery import blocks_replaced, sub_network

NAME = "ensemble"
SUMMARY = "M sampled sub-networks averaged against the p-scaled network, as M grows"
RULES = [("linear", 0.5)]
SIZES = {
    "quick": {"images": 100, "members": 8},
    "digits": {"images": 359, "members": 64},
    "laptop": {"images": 1000, "members": 32},
    "paper": {"images": 10_000, "members": 100},
}
SHUFFLES = 20
"""Orders in which the members are added, for the spread."""


def probabilities(run: Run, count: int, gates: list[bool] | None) -> np.ndarray:
    """Return class probabilities (count, classes) of a sub-network; None: the p-scaled network."""
    model = run.model
    blocks = model.blocks if gates is None else sub_network(model, gates)
    found = []
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
                found.append(to_numpy(odds / odds.sum(axis=1, keepdims=True)))
    finally:
        model.train()
    return np.concatenate(found)


def member_gates(survival_probs: list[float], seed: int, member: int) -> list[bool]:
    """Return the gates of a member, drawn as in training."""
    return sample_gates(survival_probs, np.random.default_rng([seed, member]))


def errors_of_averages(
    members: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the error of the average of the first 1 to M members, (SHUFFLES, M), in many orders.

    Parameters
    ----------
    members : (M, N, classes)
    """
    M = len(members)
    found = []
    for _ in range(SHUFFLES):
        sums = np.cumsum(members[rng.permutation(M)], axis=0)
        found.append((sums.argmax(axis=2) != labels).mean(axis=1))
    return np.array(found)


def run(study: Study) -> Result:
    """Train with stochastic depth, or take what is trained, sample and average."""
    size = SIZES[study.scale]
    rows: list[dict[str, Any]] = []
    runs = study.runs(RULES)
    for one in runs:
        rows += _of_network(study, one, **size)
    images = min(size["images"], runs[0].config["resolved"]["test_images"])
    caption = (
        "Test error of M sub-networks whose class probabilities are averaged, gates drawn as in "
        f"training, best weights, {images:,} test images: mean over {SHUFFLES} orders of the same "
        f"{size['members']} members, and their range up to M = {size['members'] // 2}. Dashed: the "
        "p-scaled network, the paper's test rule."
    )
    return Result(draw(rows), rows, caption)


def _of_network(study: Study, one: TrainedRun, images: int, members: int) -> list[dict[str, Any]]:
    def compute(key: str) -> Any:
        run = one.network
        member = key.rpartition("/")[2]
        gates = None
        if member != "scaled":
            gates = member_gates(run.model.survival_probs, one.seed, int(member))
        return np.round(probabilities(run, images, gates).astype(float), 5).tolist()

    where = f"{one.name}/{study.fingerprint(one.seed)}/{images}"
    with machine.threads():
        keys = [f"{where}/{member}" for member in ("scaled", *range(members))]
        found = [np.array(table) for table in study.each(NAME, keys, compute).values()]
    labels = one.network.test.labels[:images]
    scaled = float((found[0].argmax(axis=1) != labels).mean())
    errors = errors_of_averages(np.array(found[1:]), labels, np.random.default_rng(one.seed))
    return [
        {
            "rule": one.rule,
            "p_last": one.p_last,
            "seed": one.seed,
            "members": m + 1,
            "error": errors[:, m].mean(),
            "lowest": errors[:, m].min(),
            "highest": errors[:, m].max(),
            "p_scaled": scaled,
        }
        for m in range(members)
    ]


def draw(rows: list[dict[str, Any]]) -> Any:
    """Draw error against M."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    shades = ("#c1432e", "#3a6ea5", "#4f8f7b", "#d9922b", "#7b5ea7")
    for place, seed in enumerate(dict.fromkeys(row["seed"] for row in rows)):
        mine = [row for row in rows if row["seed"] == seed]
        M = np.array([row["members"] for row in mine])
        shade = shades[place % len(shades)]
        name = f"{label(mine[0]['rule'], mine[0]['p_last'])}, seed {seed}"
        axes.plot(M, [100 * row["error"] for row in mine], color=shade, lw=1.4, label=name)
        half = slice(0, len(M) // 2)  # all orders end with the same members
        low, high = (np.array([100 * row[side] for row in mine]) for side in ("lowest", "highest"))
        axes.fill_between(M[half], low[half], high[half], color=shade, alpha=0.15, lw=0)
        axes.axhline(100 * mine[0]["p_scaled"], color=shade, ls="--", lw=0.9)
    axes.plot([], [], color=INK, ls="--", lw=0.9, label="p-scaled network")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("M, sub-networks averaged")
    axes.set_ylabel("test error (%)")
    tidy(axes)
    title(figure, "An ensemble of sub-networks, and the network that stands for it")
    return figure
