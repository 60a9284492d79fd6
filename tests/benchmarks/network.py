"""What every library trains: the same network, weights, images and rule, made from a seed.

A peer in a process of its own is sent a `Task` as JSON and makes the rest of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import minisd

EPS, RUNNING = 1e-5, 0.1  # batch norm's: of minisd, and of PyTorch


@dataclass(frozen=True)
class Task:
    """Training steps of a ResNet with shortcut A, by SGD with Nesterov momentum, in float32.

    Attributes
    ----------
    library : str
        Who does it: a key of `tests.benchmarks.peer.LIBRARIES`.
    memory_format : str
        Of PyTorch alone: see `tests.benchmarks.torch_peer.FORMATS`.
    patterns : list of lists of bool
        Gates of all blocks, the next ones in each round. Empty: all blocks are open.
    lr : float
        Small, since losses are compared over several steps: with 0.1, a rounding error of 1e-7 in
        the first loss of ResNet-110 becomes 5e-3 in the third.
    """

    library: str
    depth: int
    batch: int
    threads: int
    seed: int = 0
    memory_format: str = ""
    patterns: Sequence[Sequence[bool]] = ()
    lr: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def model(self) -> minisd.ResNet:
        return minisd.resnet(self.depth, rng=np.random.default_rng([self.seed, 3]))

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, 32, 32) and labels (N,): what they show makes no difference to the time."""
        rng = np.random.default_rng([self.seed, 2, self.batch])
        images = rng.standard_normal((self.batch, 3, 32, 32), dtype=np.float32)
        return images, rng.integers(0, 10, self.batch)


class Weights:
    """The initial weights of a network of minisd, in the order in which they are used.

    Attributes
    ----------
    layers : list of (w, gamma, beta)
        Of each convolution (F, C, 3, 3) and the batch norm after it: the first layer, then two for
        each block.
    blocks : list of (channels, stride)
        Of each block.
    head : w (classes, C), b (classes,)
        Of the linear layer.
    """

    def __init__(self, model: minisd.ResNet) -> None:
        *inner, w, b = (parameter.data for _, parameter in model.parameters())
        self.layers = [(inner[i], inner[i + 1], inner[i + 2]) for i in range(0, len(inner), 3)]
        shapes = [first.shape for first, _, _ in self.layers[1::2]]
        self.blocks = [(F, F // C) for F, C, _, _ in shapes]  # wider by what the image shrinks
        self.head = w, b
