"""The time that closed blocks save: per step, and in total for each p_L (section 4)."""

import time
from itertools import islice
from typing import Any

import numpy as np

from minisd import machine
from minisd.backend import synchronize
from minisd.data.batches import training_batches
from minisd.experiments.drawing import INK, Rows, legend_below, look, new_figure, tidy, title
from minisd.experiments.publish import Result, place
from minisd.experiments.study import Study
from minisd.gpu import resolve_device
from minisd.rules import set_survival
from minisd.runs.run import Run
from minisd.stochastic_depth import draw_gates, expected_depth, linear_decay, set_gates
from minisd.train import train_step

NAME = "training-time"
SUMMARY = "time of a step by open blocks, and by p_L"
ALT = (
    "Two charts: the time of a training step against the number of open blocks, with a straight "
    "line; and the mean time against p_L, with a dotted line at the expected share of open blocks."
)
IGNORES = ("epochs", "flow", "processes", "scheduler")
PROBS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
ROUNDS = {"quick": (3, 10), "digits": (7, 100), "laptop": (7, 40), "paper": (11, 100)}
"""By scale: (timed steps for every number of open blocks, timed steps for every p_L)."""


class Stopwatch:
    """Times training steps of one network on one batch."""

    def __init__(self, study: Study, seed: int) -> None:
        self.run = Run(study.config("constant", 1.0, seed))
        run = self.run
        batches = training_batches(
            run.train, run.config.batch_size, normaliser=run.normaliser,
            rng=np.random.default_rng(0), device=run.device,
        )  # fmt: skip
        ((self.images, self.labels),) = islice(batches, 1)
        self.L = run.model.num_blocks
        self.seconds()  # the first step allocates memory, too

    def seconds(self) -> float:
        """Return how many seconds a training step takes with the present gates."""
        run = self.run
        synchronize(run.device)
        started = time.perf_counter()
        train_step(run.model, run.optimizer, self.images, self.labels, wait=run.device == "cpu")
        synchronize(run.device)
        return time.perf_counter() - started

    def by_open_blocks(self, rng: np.random.Generator) -> dict[int, float]:
        """Time a step with every number of open blocks, in a random order."""
        seconds = {}
        for k in rng.permutation(self.L + 1).tolist():
            set_gates(self.run.model, rng.permutation(self.L) < k)
            seconds[k] = self.seconds()
        return dict(sorted(seconds.items()))

    def by_p_last(self, rng: np.random.Generator) -> dict[float, float]:
        """Time a step with gates drawn for every p_L, in a random order."""
        seconds = {}
        for p_last in rng.permutation(PROBS).tolist():
            set_survival(self.run.model, linear_decay(self.L, p_last))
            draw_gates(self.run.model, rng)
            seconds[p_last] = self.seconds()
        return dict(sorted(seconds.items()))


def run(study: Study) -> Result:
    """Time training steps, and draw. Nothing else should run on the machine meanwhile."""
    rounds, steps = ROUNDS[study.scale]
    stopwatches: dict[int, Stopwatch] = {}
    config = study.config("constant", 1.0, study.seeds[0])
    device, gpu = resolve_device(config.device)
    with machine.threads() as threads:
        processor = f"{threads} thread{'s' if threads > 1 else ''} of a CPU"
        processor = processor if device == "cpu" else gpu

        def measured(what: str, count: int) -> np.ndarray:
            """Return (count * seeds, points, 2): x and seconds."""
            keys = {
                f"{study.fingerprint(seed)}/{processor.replace('/', ' ')}/{what}/{i}": (seed, i)
                for seed in study.seeds
                for i in range(count)
            }

            def compute(key: str) -> Any:
                seed, i = keys[key]
                if seed not in stopwatches:
                    stopwatches[seed] = Stopwatch(study, seed)
                times = getattr(stopwatches[seed], what)(np.random.default_rng(i))
                return [[x, seconds] for x, seconds in times.items()]

            return np.array(list(study.each(NAME, keys, compute).values()))

        opened = measured("by_open_blocks", rounds)
        drawn = measured("by_p_last", steps)
    L = config.num_blocks
    rows = [
        {"figure": "open blocks", "x": int(k), "seconds": fastest, "median": median, "expected": ""}
        for k, fastest, median in zip(
            opened[0, :, 0], opened[:, :, 1].min(axis=0), np.median(opened[:, :, 1], axis=0),
            strict=True,
        )
    ] + [
        {
            "figure": "p_L",
            "x": p_last,
            "seconds": mean,
            "median": median,
            "expected": expected_depth(linear_decay(L, p_last)) / L,
        }
        for p_last, mean, median in zip(
            drawn[0, :, 0], drawn[:, :, 1].mean(axis=0), np.median(drawn[:, :, 1], axis=0),
            strict=True,
        )
    ]  # fmt: skip
    slope, intercept, r2 = line(rows)
    caption = (
        f"{place(study, 'Left', '(a)')}: time of a training step, batch {config.batch_size}, "
        f"fastest of {len(opened)}, against open blocks; line: {1e3 * intercept:.0f} ms + "
        f"{1e3 * slope:.1f} ms per block, R^2 = {r2:.4f}. {place(study, 'Right', '(b)')}: mean "
        f"time of {len(drawn)} steps with gates drawn for p_L, linear decay, over that of constant "
        "depth, timed in turn; dotted: the share of blocks that are open on average, (3L-1)/4L at "
        "p_L = 0.5. A run has the same number of steps for every p_L, so this is also the share of "
        f"its total time, without validation. On {processor}."
    )
    return Result(lambda: draw(rows), rows, caption, alt=ALT)


def line(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Fit time = intercept + slope * open blocks; return slope, intercept and R^2."""
    points = [(row["x"], row["seconds"]) for row in rows if row["figure"] == "open blocks"]
    x, y = np.array(points, float).T
    slope, intercept = np.polyfit(x, y, 1)
    residuals = ((y - intercept - slope * x) ** 2).sum()
    return float(slope), float(intercept), float(1 - residuals / ((y - y.mean()) ** 2).sum())


def draw(rows: Rows) -> Any:
    """Draw both panels."""
    figure = new_figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    opened = [row for row in rows if row["figure"] == "open blocks"]
    measured, fitted = look("linear", 0.5), {"color": INK, "ls": "--", "lw": 1}
    x = np.array([row["x"] for row in opened])
    left.plot(
        x, [1e3 * row["seconds"] for row in opened], measured.mark, color=measured.colour,
        label="fastest step, measured",
    )  # fmt: skip
    slope, intercept, _ = line(rows)
    text = f"{1e3 * intercept:.0f} ms + {1e3 * slope:.1f} ms per open block"
    left.plot(x, 1e3 * (intercept + slope * x), **fitted, label=text)
    left.set_xlabel(f"open blocks of {max(x)}")
    left.set_ylabel("training step (ms)")
    left.set_title("one step, by open blocks", loc="left")
    left.set_ylim(bottom=0)
    drawn = [row for row in rows if row["figure"] == "p_L"]
    constant = next(row["seconds"] for row in drawn if row["x"] == 1)
    probs = [row["x"] for row in drawn]
    share = [row["seconds"] / constant for row in drawn]
    right.plot(probs, share, **{**measured.style, "ls": "-"}, label="mean step, measured")
    expected = [row["expected"] for row in drawn]
    right.plot(probs, expected, **{**fitted, "ls": ":", "lw": 1.6}, label="expected depth / L")
    right.set_xlabel("$p_L$ (linear decay)")
    right.set_ylabel("time / constant depth's time")
    right.set_title("mean step, gates drawn", loc="left")
    right.set_ylim(0, 1.1)
    for axes in (left, right):
        tidy(axes)
    legend_below(figure, [left, right])
    title(figure, "Training time")
    return figure
