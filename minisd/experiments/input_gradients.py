"""The gradient at every input, and how those of different inputs are correlated.

Batch norm's statistics are taken once, from the inputs at hand, and are constants from then on: the
gradient at one input is then that of one function, and does not depend on the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minisd.backend import Array
from minisd.experiments.path_lengths import unmoved
from minisd.fused import fuse
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential


def norms_of(layer: Layer) -> Iterator[BatchNorm2d]:
    """All batch norms inside a layer."""
    return (each for each in layer.walk() if isinstance(each, BatchNorm2d))


@contextmanager
def fixed_statistics(model: Layer, x: Array) -> Iterator[None]:
    """Let batch norm use the statistics of ``x``, as constants, inside the block."""
    norms = list(norms_of(model))
    before = [(norm.momentum, norm.training) for norm in norms]
    with unmoved(model):
        try:
            for norm in norms:
                norm.momentum, norm.training = 1.0, True  # the running statistics become x's own
            model.forward(x)
            for norm in norms:
                norm.training = False
            yield
        finally:
            for norm, (momentum, training) in zip(norms, before, strict=True):
                norm.momentum, norm.training = momentum, training


def input_gradients(model: Layer, x: Array, dy: Array) -> np.ndarray:
    """Return the gradient of sum(dy * y) at every input, flat: (N, numbers of one input).

    Parameters
    ----------
    x : (N, ...)
    dy : of the shape of one output
        The same for every input.
    """
    with fixed_statistics(model, x):
        y = model.forward(x)
        gradients = model.backward(np.broadcast_to(dy, y.shape).astype(y.dtype))
    return gradients.reshape(len(x), -1).astype(np.float64)


def autocorrelation(gradients: np.ndarray) -> np.ndarray:
    """Return R(lag) of gradients along a line, (N,): 1 at lag 0."""
    N = len(gradients)
    products = gradients @ gradients.T
    size = np.trace(products) / N
    return np.array([np.trace(products, lag) / (N - lag) / size for lag in range(N)])


def correlation(gradients: np.ndarray) -> float:
    """Return the mean correlation of the gradients of two different inputs."""
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    N = len(unit)
    return float(((unit @ unit.T).sum() - N) / (N * (N - 1)))


def fully_connected(L: int, width: int, rng: np.random.Generator) -> Sequential:
    """Return L layers of ``width`` neurons, each with batch norm and ReLU, for images of a pixel.

    The theorem is about these plain networks without padding.
    """
    return fuse(
        Sequential(
            *(
                layer
                for _ in range(L)
                for layer in (Conv2d(width, width, 1, rng=rng), BatchNorm2d(width), ReLU())
            )
        )
    )


def fully_connected_correlation(L: int, width: int, points: int, rng: np.random.Generator) -> float:
    """Return `correlation` at independent inputs of a network of L ReLUs."""
    x = rng.standard_normal((points, width, 1, 1)).astype(np.float32)
    dy = rng.standard_normal((width, 1, 1)).astype(np.float32)
    return correlation(input_gradients(fully_connected(L, width, rng), x, dy))
