"""The same network in tinygrad, with its own layers and optimiser, replayed by ``TinyJit``."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from .network import EPS, RUNNING, Task, Weights


def limit_threads(threads: int) -> str:
    if not shutil.which(os.environ.get("CC", "clang")):
        raise FileNotFoundError(
            "tinygrad compiles for the CPU with clang, which is not there: install clang"
        )
    os.environ["DEV"] = "CPU"
    os.environ["NUM_CPU_THREADS"] = str(threads)
    os.environ["CACHELEVEL"] = "0"  # compile now, so that the time of it is true
    return f"NUM_CPU_THREADS={threads}"


def training(task: Task) -> Callable[[int], float]:
    """Return one training step as a function of the round."""
    from tinygrad import Context, Tensor, TinyJit, nn

    weights = Weights(task.model())
    images, labels = task.images()

    class ConvNorm:
        def __init__(self, w: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> None:
            self.w = Tensor(w)
            self.bn = nn.BatchNorm(len(gamma), eps=EPS, momentum=RUNNING)
            self.bn.weight, self.bn.bias = Tensor(gamma), Tensor(beta)

        def __call__(self, x: Any, stride: int = 1) -> Any:
            return self.bn(x.conv2d(self.w, stride=stride, padding=1))

    def shortcut(x: Any, channels: int) -> Any:
        new = channels - x.shape[1]
        return x.avg_pool2d(2).pad((None, (0, new), None, None)) if new else x

    layers = [ConvNorm(*layer) for layer in weights.layers]
    head_w, head_b = (Tensor(a) for a in weights.head)

    def forward(x: Any) -> Any:
        rest = iter(layers)
        x = next(rest)(x).relu()
        for channels, stride in weights.blocks:
            h = next(rest)(x, stride).relu()
            x = (next(rest)(h) + shortcut(x, channels)).relu()
        return x.mean((2, 3)).linear(head_w.T, head_b)

    trained = [w for layer in layers for w in (layer.w, layer.bn.weight, layer.bn.bias)]
    optimizer = nn.optim.SGD(
        [*trained, head_w, head_b],
        lr=task.lr,
        momentum=task.momentum,
        weight_decay=task.weight_decay,
        nesterov=True,
    )
    x, target = Tensor(images).realize(), Tensor(labels.astype(np.int32)).realize()

    @TinyJit
    def update() -> Any:
        optimizer.zero_grad()
        loss = forward(x).sparse_categorical_crossentropy(target)
        loss.backward()
        running = [a for layer in layers for a in (layer.bn.running_mean, layer.bn.running_var)]
        return loss.realize(*optimizer.schedule_step(), *running)

    def step(_: int) -> float:
        with Context(TRAINING=1):
            return update().item()

    return step
