"""Layers: operations together with the parameters and caches that they need.

A layer only remembers. The mathematics, forward and backward, is in `minisd.ops`; or in
`minisd.fast`, which computes the same and is what ``self.ops`` is by default.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array
from minisd.layer import Layer, Parameter, check_generator, check_layers, floats, running
from minisd.ops.check import number, whole_number

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "GlobalAvgPool",
    "Layer",
    "Linear",
    "Parameter",
    "ReLU",
    "Sequential",
]


GAMMAS = ("one", "uniform")


class Conv2d(Layer):
    """Convolution with square filters; see `minisd.fast.conv`.

    Weights are drawn from N(0, 2 / (in_channels * kernel_size^2)), which keeps the variance of
    activations through ReLUs (He et al. 2015, arXiv:1502.01852, eq. 10). The bias starts at 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_generator("Conv2d", rng)
        in_channels = whole_number("Conv2d: in_channels", in_channels, 1)
        out_channels = whole_number("Conv2d: out_channels", out_channels, 1)
        kernel_size = whole_number("Conv2d: kernel_size", kernel_size, 1)
        fan_in = in_channels * kernel_size * kernel_size
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        w = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        self.w = Parameter(w.astype(floats(dtype)))
        self.b = Parameter(np.zeros(out_channels, dtype)) if bias else None
        self.stride = whole_number("Conv2d: stride", stride, 1)
        self.padding = whole_number("Conv2d: padding", padding, 0)

    def forward(self, x: Array) -> Array:  # noqa: D102 (here and below: see Layer)
        b = None if self.b is None else self.b.data
        y, cache = self.ops.conv2d_forward(
            x, self.w.data, b, stride=self.stride, padding=self.padding
        )
        self.save(cache)
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        dx, dw, db = self.ops.conv2d_backward(dy, self.take())
        self.w.accumulate(dw)
        if self.b is not None and db is not None:
            self.b.accumulate(db)
        return dx

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        _, C, KH, KW = self.w.data.shape
        return (2 * C * KH * KW + (self.b is not None)) * prod(y_shape)

    def details(self) -> str:  # noqa: D102
        F, C, K, _ = self.w.data.shape
        stride = f", stride={self.stride}" if self.stride != 1 else ""
        padding = f", padding={self.padding}" if self.padding else ""
        return f"{C}, {F}, {K}{stride}{padding}" + (", bias=True" if self.b is not None else "")


class BatchNorm2d(Layer):
    """Batch normalisation per channel; see `minisd.fast.batchnorm`.

    Parameters
    ----------
    channels : int
    gamma : "one" or "uniform"
        Where the scale starts: at 1, or drawn from U(0, 1), Torch's default in 2016 and so that of
        the paper's released code.
    rng : numpy Generator
        Needed by ``gamma="uniform"``.

    Attributes
    ----------
    group : object with ``gather``, or None
        If a batch is normalised in several parts: see `minisd.ops.batchnorm2d_forward`.
    """

    buffer_names = ("running_mean", "running_var")

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        gamma: str = "one",
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if gamma not in GAMMAS:
            raise ValueError(f"BatchNorm2d: gamma must be 'one' or 'uniform', got {gamma!r}")
        channels, dtype = whole_number("BatchNorm2d: channels", channels, 1), floats(dtype)
        scale = np.ones(channels, dtype)
        if gamma == "uniform":
            check_generator("BatchNorm2d with gamma='uniform'", rng)
            assert rng is not None
            scale = rng.random(channels).astype(dtype)
        self.gamma = Parameter(scale)
        self.beta = Parameter(np.zeros(channels, dtype))
        self.running_mean = np.zeros(channels, dtype)
        self.running_var = np.ones(channels, dtype)
        self.momentum = number("BatchNorm2d: momentum", momentum, "[0, 1]")
        self.eps = number("BatchNorm2d: eps", eps, "[0, inf)")
        self.group: Any = None

    def forward(self, x: Array) -> Array:  # noqa: D102
        y, cache = self.ops.batchnorm2d_forward(
            x,
            self.gamma.data,
            self.beta.data,
            self.running_mean,
            self.running_var,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
            group=self.group,
        )
        self.save(cache)
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        dx, dgamma, dbeta = self.ops.batchnorm2d_backward(dy, self.take())
        self.gamma.accumulate(dgamma)
        self.beta.accumulate(dbeta)
        return dx

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return 2 * prod(y_shape)  # in evaluation it is a scale and a shift

    def details(self) -> str:  # noqa: D102
        return f"{self.gamma.data.size}, momentum={self.momentum:g}, eps={self.eps:g}"


class ReLU(Layer):
    """max(x, 0); see `minisd.fast.activation`."""

    def forward(self, x: Array) -> Array:  # noqa: D102
        y, cache = self.ops.relu_forward(x, keep=bool(running.saves))
        self.save(cache)
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        return self.ops.relu_backward(dy, self.take())

    def kinks(self) -> bytes:
        """Where the last forward's x was positive."""
        if self._cache is None:
            return b""
        positive, *_ = self.take()
        return b"".join(part.tobytes() for part in positive)

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return prod(y_shape)


class GlobalAvgPool(Layer):
    """(N, C, H, W) to (N, C), the mean over the image; see `minisd.fast.pooling`."""

    def forward(self, x: Array) -> Array:  # noqa: D102
        y, cache = self.ops.global_avg_pool_forward(x)
        self.save(cache)
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        return self.ops.global_avg_pool_backward(dy, self.take())

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return prod(x_shape)


class Linear(Layer):
    """Fully connected layer with a bias; see `minisd.fast.linear`.

    Weights are drawn from U(-1/sqrt(in), 1/sqrt(in)), as Torch does; the bias, which Torch draws
    likewise, starts at 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_generator("Linear", rng)
        in_features = whole_number("Linear: in_features", in_features, 1)
        out_features = whole_number("Linear: out_features", out_features, 1)
        bound = 1 / np.sqrt(in_features)
        w = rng.uniform(-bound, bound, (out_features, in_features))
        self.w = Parameter(w.astype(floats(dtype)))
        self.b = Parameter(np.zeros(out_features, dtype))

    def forward(self, x: Array) -> Array:  # noqa: D102
        y, cache = self.ops.linear_forward(x, self.w.data, self.b.data)
        self.save(cache)
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        dx, dw, db = self.ops.linear_backward(dy, self.take())
        self.w.accumulate(dw)
        if db is not None:
            self.b.accumulate(db)
        return dx

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return (2 * self.w.data.shape[1] + 1) * prod(y_shape)

    def details(self) -> str:  # noqa: D102
        out_features, in_features = self.w.data.shape
        return f"{in_features}, {out_features}"


class Sequential(Layer):
    """Layers one after another; backward goes through them in reverse."""

    def __init__(self, *layers: Layer) -> None:
        check_layers("Sequential", *layers)
        self.layers = list(layers)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers, named by their place ("0", "1", ...), and those that a subclass has."""
        for name, layer in super().children():
            yield name.removeprefix("layers."), layer

    def forward(self, x: Array) -> Array:  # noqa: D102
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array:  # noqa: D102
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Return 0: all the work is that of the layers inside."""
        return 0
