"""The gradient at every input, and how the gradients at different inputs are correlated.

Batch norm's statistics are computed once, from all inputs, and are constant from then on. So all
gradients belong to the same function, and the gradient at one input does not depend on the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minisd.backend import Array
from minisd.experiments.path_lengths import unmoved
from minisd.fused import fuse
from minisd.layer import Layer, restore, settings
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential


def norms_of(layer: Layer) -> Iterator[BatchNorm2d]:
    """Yield all batch norms inside a layer."""
    return (each for each in layer.walk() if isinstance(each, BatchNorm2d))


@contextmanager
def fixed_statistics(model: Layer, x: Array) -> Iterator[None]:
    """Let batch norm use the statistics of ``x``, as constants, inside the ``with`` block."""
    norms = list(norms_of(model))
    before = settings(norms, ("momentum", "training"))
    with unmoved(model):
        try:
            for norm in norms:
                norm.momentum, norm.training = 1.0, True  # running statistics become those of x
            model.forward(x)
            for norm in norms:
                norm.training = False
            yield
        finally:
            restore(before)


def input_gradients(model: Layer, x: Array, dy: Array) -> np.ndarray:
    """Return the gradient of sum(dy * y) at every input, flattened: (N, size of an input).

    Parameters
    ----------
    x : (N, ...)
    dy : array in the shape of a single output
        It is the same for every input.
    """
    with fixed_statistics(model, x):
        y = model.forward(x)
        gradients = model.backward(np.broadcast_to(dy, y.shape).astype(y.dtype))
    return gradients.reshape(len(x), -1).astype(np.float64)


def autocorrelation(gradients: np.ndarray) -> np.ndarray:
    """Return R(lag) of gradients along a line, (N,). R(0) is 1."""
    N = len(gradients)
    products = gradients @ gradients.T
    size = np.trace(products) / N
    return np.array([np.trace(products, lag) / (N - lag) / size for lag in range(N)])


def correlation(gradients: np.ndarray) -> float:
    """Return the mean correlation of the gradients at two different inputs."""
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    N = len(unit)
    return float(((unit @ unit.T).sum() - N) / (N * (N - 1)))


def fully_connected(L: int, width: int, rng: np.random.Generator) -> Sequential:
    """Return L layers of ``width`` neurons, each with batch norm and ReLU, for images of one pixel.

    The theorem is about such networks: plain, and without padding.
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
    """Return the `correlation` at independent inputs of a network with L ReLUs."""
    x = rng.standard_normal((points, width, 1, 1)).astype(np.float32)
    dy = rng.standard_normal((width, 1, 1)).astype(np.float32)
    return correlation(input_gradients(fully_connected(L, width, rng), x, dy))
