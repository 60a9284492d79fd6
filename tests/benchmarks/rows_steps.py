"""Rows about the time of a training step, of evaluation, and of loading."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from minisd.data import Normaliser, Split
from minisd.data.batches import Augmentation, training_batches

from . import contestants
from .bench import Bench
from .measure import milliseconds, straight_line
from .report import Row, ratio

RECORDED = 10
SAME_LOSS = 0.01  # of a first step: float32 through a hundred layers


def best_torch(seconds: dict[str, list[float]], kind: str = "") -> str:
    """PyTorch in the memory format in which it is faster."""
    formats = [name for name in seconds if name.startswith(f"PyTorch {kind}".strip())]
    return min(formats, key=lambda name: min(seconds[name]))


def constant_steps(bench: Bench, depth: int) -> dict[str, list[float]]:
    return bench.measure(
        f"step, ResNet-{depth}, constant",
        lambda: contestants.training(bench, depth, ["constant"]),
        tolerance=SAME_LOSS,
    )


def step(bench: Bench, name: str, depth: int) -> Iterator[Row]:
    seconds = constant_steps(bench, depth)
    figure = f"training step, ResNet-{depth}, batch {bench.sizes.batch}, constant depth"
    yield ratio(name, figure, seconds, "ours", best_torch(seconds), must=1.25, aim=1.0)


def stochastic_patterns(bench: Bench) -> tuple[list[list[bool]], float]:
    """Three quarters of the blocks open, others each round; and what share that is exactly."""
    L = (bench.sizes.deep - 2) // 2
    num_open = round(0.75 * L)
    return bench.patterns(L, num_open, bench.repeat + 1), num_open / L


def stochastic(bench: Bench, kind: str, **targets: float) -> Iterator[Row]:
    depth = bench.sizes.deep
    patterns, share = stochastic_patterns(bench)
    seconds = bench.measure(
        f"step, ResNet-{depth}, {kind}",
        lambda: contestants.training(bench, depth, [kind], patterns=patterns),
        tolerance=SAME_LOSS,
    )
    figure = f"stochastic-depth step, ResNet-{depth}, {share:.0%} open; PyTorch: {kind}"
    yield ratio(f"stochastic-{kind}", figure, seconds, "ours", best_torch(seconds), **targets)


def stochastic_share(bench: Bench) -> Iterator[Row]:
    depth = bench.sizes.deep
    patterns, share = stochastic_patterns(bench)

    def make() -> contestants.Contestants:
        return {
            "stochastic": contestants.training(bench, depth, [], patterns=patterns)["ours"],
            "constant": contestants.training(bench, depth, [])["ours"],
        }

    seconds = bench.measure(f"step, ResNet-{depth}, ours stochastic and constant", make)
    row = ratio("stochastic-share", "", seconds, "stochastic", "constant", must=0.03, aim=0.01)
    row.figure = f"ours, stochastic / constant, minus the share of open blocks ({share:.4f})"
    row.value, row.medians = row.value - share, row.medians - share
    yield row


def evaluation(bench: Bench) -> Iterator[Row]:
    depth, size = bench.sizes.deep, bench.sizes.batch
    seconds = bench.measure(
        f"evaluation, ResNet-{depth}",
        lambda: contestants.evaluation(bench, depth),
        tolerance=SAME_LOSS,
    )
    peer = best_torch(seconds)
    row = ratio("evaluation", f"images per second in evaluation, ResNet-{depth}, batch {size}",
                seconds, "ours", peer, must=0.8, aim=1.0, higher_is_better=True)  # fmt: skip
    row.value, row.medians = 1 / row.value, 1 / row.medians  # of rates, not of times
    row.ours = f"{size / min(seconds['ours']):.0f}/s: {row.ours}"
    row.peer = f"{size / min(seconds[peer]):.0f}/s: {row.peer}"
    yield row


def loading(bench: Bench) -> Iterator[Row]:
    size, depth = bench.sizes.batch, bench.sizes.shallow
    rng = bench.rng(6)
    images = rng.integers(0, 256, (bench.sizes.loaded_images, 3, 32, 32), dtype=np.uint8)
    split = Split(images, rng.integers(0, 10, len(images)))
    normaliser = Normaliser.fit(images)

    def full_batches() -> Iterator[int]:
        while True:
            for _, labels in training_batches(
                split, size, normaliser=normaliser, augmentation=Augmentation(), rng=rng
            ):
                if len(labels) == size:
                    yield size

    batches = full_batches()

    def make() -> contestants.Contestants:
        ours = contestants.training(bench, depth, [])["ours"]
        return {"loading": lambda _: next(batches), "step": ours}

    seconds = bench.measure(f"loading, and step of ResNet-{depth}", make)
    figure = f"loading and augmenting a batch of {size}, as share of our step of ResNet-{depth}"
    yield ratio("loading", figure, seconds, "loading", "step", must=0.03, aim=0.01)


def recorder(bench: Bench) -> Iterator[Row]:
    """What `minisd.flow.Recorder` costs, with the statistics that it has by default."""
    for name, depth, shape in (
        ("recorder", bench.sizes.shallow, {"size": bench.sizes.batch}),
        ("recorder-digits", bench.sizes.odd, {"size": 64, "channels": 1, "side": 8}),
    ):
        figure = f"{RECORDED} training steps of ResNet-{depth} with a recorder, {shape}"
        with TemporaryDirectory() as folder:
            seconds = bench.measure(
                figure,
                lambda depth=depth, shape=shape, folder=folder: contestants.recorded(
                    bench, depth, RECORDED, Path(folder), **shape
                ),
                tolerance=SAME_LOSS,
            )
        yield ratio(name, figure, seconds, "with", "without", must=1.05)


def linear(bench: Bench) -> Iterator[Row]:
    depth, size = bench.sizes.shallow, bench.sizes.batch
    L = (depth - 2) // 2
    order = bench.rng(7).permutation(L)  # the blocks are opened one after the other in this order
    opened = sorted({round(k) for k in np.linspace(0, L, 9)})
    kinds = ["masked", "if"] if bench.has("torch") else []
    gates: list[bool] = []

    def formats() -> dict[str, str]:
        """The better format of each kind, where this run has measured it."""
        found = dict.fromkeys(kinds, "channels_last")
        for kind in kinds:
            known = bench.report.measurements.get(f"step, ResNet-{bench.sizes.deep}, {kind}")
            if known:
                found[kind] = best_torch(known, kind).split()[-1]
        return found

    gates_now = [gates]  # one "pattern", rewritten in place for every point

    def make() -> contestants.Contestants:
        """Every point of everyone takes its turn in every round, so no drift looks like a slope."""
        everyone = contestants.training(bench, depth, kinds, patterns=gates_now, formats=formats())

        def at(num_open: int, run: Callable[[int], Any]) -> Callable[[int], Any]:
            def step(number: int) -> Any:
                gates[:] = np.isin(np.arange(L), order[:num_open]).tolist()
                return run(number)

            return step

        return {f"{name}, {k} open": at(k, run) for k in opened for name, run in everyone.items()}

    seconds = bench.measure(f"step, ResNet-{depth}, 0 to {L} open", make, repeat=5)
    minima: dict[str, list[float]] = {}
    for label, of in seconds.items():
        minima.setdefault(label.rpartition(",")[0], []).append(min(of))
    lines = {name: straight_line(opened, of) for name, of in minima.items()}
    title = f"ResNet-{depth}, batch {size}, {bench.threads} threads"
    yield Row(
        "linear",
        f"R² of step time against open blocks, ResNet-{depth}, 0 to {L} open",
        f"{milliseconds(lines['ours']['slope'])} per block + "
        f"{milliseconds(lines['ours']['intercept'])}",
        "; ".join(
            f"{name}: {milliseconds(line['slope'])} per block + "
            f"{milliseconds(line['intercept'])}, R² {line['r2']:.4f}"
            for name, line in lines.items()
            if name != "ours"
        )
        or "-",
        lines["ours"]["r2"],
        must=0.99,
        higher_is_better=True,
        details={"open": opened, "seconds": minima, "lines": lines, "title": title},
    )


def shapes(bench: Bench) -> Iterator[Row]:
    sizes = bench.sizes
    cases = [
        ("32", sizes.shallow, {"size": max(1, sizes.batch // 4)}),
        ("64", sizes.shallow, {"size": max(1, sizes.batch // 2)}),
        ("odd", sizes.odd, {"size": sizes.odd_batch, "channels": 1, "side": 28, "width": 8}),
    ]
    for name, depth, options in cases if bench.has("torch") else []:
        what = ", ".join(f"{key} {value}" for key, value in options.items())
        what = what.replace("size", "batch")
        seconds = bench.measure(
            f"step, ResNet-{depth}, {what}",
            lambda depth=depth, options=options: contestants.training(
                bench, depth, ["constant"], **options
            ),
            tolerance=SAME_LOSS,
        )
        figure = f"training step, ResNet-{depth}, {what}"
        yield ratio(f"shapes-{name}", figure, seconds, "ours", best_torch(seconds))
    seconds = bench.measure(
        "convolution 5x5",
        lambda: contestants.convolution(bench, 8, 28, size=sizes.odd_batch, kernel=5, peers=()),
        tolerance=1e-3,
    )
    figure = f"convolution 5x5 and its gradients, 8 channels, 28x28, batch {sizes.odd_batch}"
    yield ratio("shapes-conv5", figure, seconds, "ours", "our im2col")
