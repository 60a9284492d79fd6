"""Residual blocks: a branch and a shortcut side by side, added (He et al. 2015, arXiv:1512.03385).

    H_l = ReLU(b_l f_l(H_{l-1}) + id(H_{l-1}))          (Huang et al. 2016, eq. 2)

The branch f_l is two or three convolutions; the shortcut id is the identity, or the cheapest map
to the new shape where channels double and the image halves. The gate b_l is what stochastic depth
adds: see `minisd.stochastic_depth`, which draws it.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array
from minisd.layer import check_layers, kind
from minisd.layers import BatchNorm2d, Conv2d, Layer, ReLU, Sequential
from minisd.ops.check import number

SHORTCUTS = ("A", "A-subsample", "projection", "none")
SCALES = ("test", "train")
BOTTLENECK_EXPANSION = 4


class ResidualBlock(Layer):
    """H = ReLU(b f(x) + id(x)), with a gate b that closes the branch f.

    In training an open block is an ordinary residual block (eq. 1). In a closed one the branch is
    not entered: its layers run neither forward nor backward, allocate nothing, and move no running
    statistics, and their parameters' gradients stay None. The shortcut and the ReLU after the
    addition always run.

    In evaluation the gate plays no part. Every branch runs, weighted by its survival probability:
    ReLU(p f(x) + id(x)) (Huang et al. 2016, eq. 5). Only with p = 0 it does not: nothing of it
    would be left.

    A subclass with other mathematics has its own ``open_forward``, ``open_backward``,
    ``closed_forward`` and ``closed_backward``; gates, surgery and recorders then go on working.

    Parameters
    ----------
    branch, shortcut : Layer
        f and id; their outputs must have one shape.
    survival_prob : float
        p_l, the probability of being open in training. 1 for constant depth.
    scale : "test" or "train"
        Where the branch is weighted. "test", the paper: f in training, p f in evaluation. "train",
        as in torchvision and timm: f/p in training, f in evaluation. The expectation of the sum
        before the ReLU agrees between training and evaluation in both.

    Attributes
    ----------
    is_open : bool
        The gate b_l that the next training forward uses. The backward uses the gate of its
        forward, whatever has been set since.
    """

    def __init__(
        self, branch: Layer, shortcut: Layer, *, survival_prob: float = 1.0, scale: str = "test"
    ) -> None:
        check_layers("ResidualBlock", branch, shortcut)
        survival_prob = number("survival_prob", survival_prob, "[0, 1]")
        if scale not in SCALES:
            raise ValueError(f"scale must be 'test' or 'train', got {scale!r}")
        if scale == "train" and survival_prob == 0:
            raise ValueError("scale='train' divides by the survival probability, which is 0 here")
        self.branch = branch
        self.shortcut = shortcut
        self.relu = ReLU()
        self.survival_prob = survival_prob
        self.scale = scale
        self.is_open = True

    @property
    def branch_weight(self) -> float:
        """What the output of a branch that runs is multiplied by, in the present mode."""
        p = number("survival_prob", self.survival_prob, "[0, 1]")
        if self.scale == "train":
            return 1 / p if self.training else 1.0
        return 1.0 if self.training else p

    def forward(self, x: Array) -> Array:  # noqa: D102
        weight = self.branch_weight
        is_open = self.is_open if self.training else weight > 0
        y = self.open_forward(x, weight) if is_open else self.closed_forward(x)
        self.save((is_open, weight))
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        was_open, weight = self.take()
        return self.open_backward(dy, weight) if was_open else self.closed_backward(dy)

    def open_forward(self, x: Array, weight: float) -> Array:
        """Return ReLU(weight f(x) + id(x)): eq. 2 with an open gate, and eq. 5."""
        return self.relu.forward(
            self.ops.add(self.shortcut.forward(x), weight * self.run_branch(x))
        )

    def open_backward(self, dy: Array, weight: float) -> Array:
        """Return dx: the sum's gradient goes back both ways, and the two meet at x."""
        ds = self.relu.backward(dy)
        return self.ops.add(self.shortcut.backward(ds), self.branch.backward(weight * ds))

    def closed_forward(self, x: Array) -> Array:
        """Return ReLU(id(x)): eq. 2 with a closed gate (eq. 3). The branch is not entered."""
        self.branch.forget()
        return self.relu.forward(self.shortcut.forward(x))

    def closed_backward(self, dy: Array) -> Array:
        """Return dx: nothing goes back through the branch."""
        return self.shortcut.backward(self.relu.backward(dy))

    def run_branch(self, x: Array) -> Any:
        """Return f(x). A recorder looks at what this returns."""
        return self.branch.forward(x)


def check_has_parts(block: Layer) -> None:
    """Raise a TypeError unless the four methods above are what the block computes.

    Surgery, paths and lesions call these methods. A block whose ``forward`` does something else
    would silently become another one.
    """
    cls = kind(block)
    if (
        not isinstance(block, ResidualBlock)
        or cls.forward is not ResidualBlock.forward
        or cls.backward is not ResidualBlock.backward
    ):
        raise TypeError(
            f"{cls.__name__} cannot be taken apart: it must be a ResidualBlock whose own "
            "mathematics is in open_forward, open_backward, closed_forward and closed_backward, "
            "not in forward or backward"
        )


# ---- branches ----


def basic_branch(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    gamma: str = "one",
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """conv 3x3 - BN - ReLU - conv 3x3 - BN: the branch of the CIFAR and SVHN networks."""
    return Sequential(
        Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
        ReLU(),
        Conv2d(out_channels, out_channels, 3, padding=1, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
    )


def bottleneck_branch(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    gamma: str = "one",
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """conv 1x1 - BN - ReLU - conv 3x3 - BN - ReLU - conv 1x1 - BN, narrow in the middle.

    The middle has a quarter of ``out_channels``; the 3x3 convolution carries the stride.
    """
    middle = out_channels // BOTTLENECK_EXPANSION
    return Sequential(
        Conv2d(in_channels, middle, 1, rng=rng, dtype=dtype),
        BatchNorm2d(middle, gamma=gamma, rng=rng, dtype=dtype),
        ReLU(),
        Conv2d(middle, middle, 3, stride=stride, padding=1, rng=rng, dtype=dtype),
        BatchNorm2d(middle, gamma=gamma, rng=rng, dtype=dtype),
        ReLU(),
        Conv2d(middle, out_channels, 1, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
    )


# ---- shortcuts ----


class IdentityShortcut(Layer):
    """The input itself."""

    def forward(self, x: Array) -> Array:  # noqa: D102
        return x

    def backward(self, dy: Array) -> Array:  # noqa: D102
        return dy


class PadShortcut(Layer):
    """Shortcut A: shrink the image, then append channels of zeros. Nothing to learn.

    Parameters
    ----------
    in_channels, out_channels : int
        All ``out_channels - in_channels`` zero channels come after the real ones.
    stride : int
        The image shrinks by this factor.
    subsample : bool
        False: the mean of each stride x stride tile (the paper's words). True: its first pixel (the
        released code until February 2017), which also takes images of odd size.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, subsample: bool = False
    ) -> None:
        if out_channels < in_channels:
            raise ValueError(
                f"shortcut A can only append channels, not go from {in_channels} to {out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.subsample = subsample

    def forward(self, x: Array) -> Array:  # noqa: D102
        ops = self.ops
        shrink = ops.subsample_forward if self.subsample else ops.avg_pool2d_forward
        small, shrunk = shrink(x, self.stride)
        y, padded = ops.pad_channels_forward(small, self.out_channels)
        self.save((shrunk, padded))
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        shrunk, padded = self.take()
        dsmall = self.ops.pad_channels_backward(dy, padded)
        if self.subsample:
            return self.ops.subsample_backward(dsmall, shrunk)
        return self.ops.avg_pool2d_backward(dsmall, shrunk)


class NoShortcut(Layer):
    """Nothing: zeros of the branch's shape. What is left of the network is a plain one."""

    def __init__(self, out_channels: int, stride: int) -> None:
        self.out_channels = out_channels
        self.stride = stride

    def forward(self, x: Array) -> Array:  # noqa: D102
        N, _, H, W = x.shape
        self.save(x.shape)
        height, width = -(-H // self.stride), -(-W // self.stride)
        return self.ops.zeros((N, self.out_channels, height, width), x)

    def backward(self, dy: Array) -> Array:  # noqa: D102
        return self.ops.zeros(self.take(), dy)


def projection_shortcut(
    in_channels: int,
    out_channels: int,
    stride: int,
    *,
    gamma: str = "one",
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """Shortcut B: a learned 1x1 convolution with batch norm, as in the ImageNet networks."""
    return Sequential(
        Conv2d(in_channels, out_channels, 1, stride=stride, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
    )


def make_shortcut(
    kind: str,
    in_channels: int,
    out_channels: int,
    stride: int,
    *,
    gamma: str = "one",
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Layer:
    """Return the identity where the shape stays, else a shortcut of ``kind`` (see `SHORTCUTS`).

    With "none" there is no shortcut anywhere, not even the identity.
    """
    if kind not in SHORTCUTS:
        raise ValueError(f"shortcut must be one of {', '.join(SHORTCUTS)}; got {kind!r}")
    if kind == "none":
        return NoShortcut(out_channels, stride)
    if stride == 1 and in_channels == out_channels:
        return IdentityShortcut()
    if kind == "projection":
        return projection_shortcut(
            in_channels, out_channels, stride, gamma=gamma, rng=rng, dtype=dtype
        )
    return PadShortcut(in_channels, out_channels, stride, subsample=kind == "A-subsample")
