"""Who takes part: our training step, evaluation and convolution, and the peers', on equal terms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import minisd
from minisd import fast, ops
from minisd.flow import Recorder
from minisd.train import train_step

from .bench import Bench

Contestants = dict[str, Callable[[int], Any]]
FORMATS = ("channels_last", "contiguous")


def batch(bench: Bench, size: int, channels: int = 3, side: int = 32) -> tuple[Any, Any]:
    """Images and labels out of nothing: what they show makes no difference to the time."""
    rng = bench.rng(2, size)
    images = rng.standard_normal((size, channels, side, side), dtype=np.float32)
    return images, rng.integers(0, 10, size)


def our_step(
    model: minisd.ResNet, images: Any, labels: Any, patterns: Sequence[Sequence[bool]] | None = None
) -> Callable[[int], float]:
    """Our training step; with ``patterns``, with another one of them each round."""
    optimizer = minisd.SGD(model, lr=0.1)  # Nesterov, momentum 0.9, weight decay 1e-4

    def step(number: int) -> float:
        if patterns:
            minisd.set_gates(model, patterns[number % len(patterns)])
        return train_step(model, optimizer, images, labels)

    return step


def training(
    bench: Bench,
    depth: int,
    kinds: Sequence[str],
    *,
    patterns: Sequence[Sequence[bool]] | None = None,
    formats: dict[str, str] | None = None,
    size: int | None = None,
    channels: int = 3,
    side: int = 32,
    width: int = 16,
) -> Contestants:
    """Our step, and PyTorch's with each kind of network, from the same weights.

    ``formats`` names the one memory format of each kind; without it there are both.
    """
    images, labels = batch(bench, size or bench.sizes.batch, channels, side)
    model = minisd.resnet(depth, in_channels=channels, width=width, rng=bench.rng(3))
    found: Contestants = {"ours": our_step(model, images, labels, patterns)}
    for kind in kinds:
        from . import torch_peer

        for memory_format in FORMATS if formats is None else [formats[kind]]:
            net = torch_peer.Net(depth, channels=channels, width=width, kind=kind)
            torch_peer.copy_weights(net, model)
            step = torch_peer.trainer(net, memory_format, images, labels)

            def peer(number: int, net: Any = net, step: Callable[[], float] = step) -> float:
                if patterns:
                    net.gates = patterns[number % len(patterns)]
                return step()

            found[f"PyTorch {kind} {memory_format}"] = peer
    return found


def recorded(bench: Bench, depth: int, steps: int, folder: Path, **shape: int) -> Contestants:
    """So many of our steps, with a recorder that looks, averages and writes once, and without."""
    images, labels = batch(bench, **shape)
    found: Contestants = {}
    for name in ("with", "without"):
        model = minisd.resnet(depth, in_channels=images.shape[1], rng=bench.rng(3))
        optimizer = minisd.SGD(model, lr=0.1)
        recorder = None
        if name == "with":
            recorder = Recorder(
                model, optimizer, folder / f"{depth}.jsonl",
                average=steps, look_every=steps, write_every=steps,
            )  # fmt: skip

        def run(_: int, model: Any = model, optimizer: Any = optimizer, r: Any = recorder) -> float:
            for _ in range(steps):
                loss = train_step(model, optimizer, images, labels, recorder=r)
            return loss

        found[name] = run
    return found


def evaluation(bench: Bench, depth: int) -> Contestants:
    from . import torch_peer

    images, _ = batch(bench, bench.sizes.batch)
    model = minisd.resnet(depth, rng=bench.rng(3))
    model.eval()
    found: Contestants = {"ours": lambda _: model.forward(images)}
    for memory_format in FORMATS:
        net = torch_peer.Net(depth, kind="constant")
        torch_peer.copy_weights(net, model)
        run = torch_peer.classifier(net, memory_format, images)
        found[f"PyTorch {memory_format}"] = lambda _, run=run: run()
    return found


def convolution(
    bench: Bench, channels: int, side: int, *, size: int, kernel: int = 3, peers: Sequence[str]
) -> Contestants:
    """Forward and backward of one convolution that keeps channels and size.

    Every library finds the images in the order in memory in which its own layers hand them on;
    "ours, NCHW" finds them as DeZero does, and has to copy them first.
    """
    rng = bench.rng(4, channels, kernel)
    x, dy = (rng.standard_normal((size, channels, side, side), dtype=np.float32) for _ in range(2))
    w = rng.standard_normal((channels, channels, kernel, kernel), dtype=np.float32)
    padding = kernel // 2

    def in_order(images: Any, axes: tuple[int, ...]) -> Any:
        back = np.argsort(axes)
        return np.ascontiguousarray(images.transpose(axes)).transpose(back)

    def plainly(forward: Any, backward: Any, x: Any, dy: Any) -> Callable[[int], tuple]:
        def run(_: int) -> tuple:
            y, cache = forward(x, w, padding=padding)
            dx, dw, _ = backward(dy, cache)
            return y, dx, dw

        return run

    rows, columns = (2, 1, 3, 0), (1, 2, 3, 0)  # (H, C, W, N) and (C, H, W, N)
    ours = (fast.conv2d_forward, fast.conv2d_backward)
    found: Contestants = {
        "ours": plainly(*ours, in_order(x, rows), in_order(dy, rows)),
        "ours, NCHW": plainly(*ours, x, dy),
        "our im2col": plainly(
            ops.conv2d_forward,
            ops.conv2d_backward,
            in_order(x, columns),
            in_order(dy, columns),
        ),
    }
    if "dezero" in peers:
        from . import dezero_peer

        theirs = dezero_peer.convolution(x, w, dy, padding)
        found["DeZero"] = lambda _: theirs()
    if "torch" in peers:
        from . import torch_peer

        for memory_format in FORMATS:
            run = torch_peer.convolution(x, w, dy, padding, memory_format)
            found[f"PyTorch {memory_format}"] = lambda _, run=run: run()
    return found
