"""Residual blocks: a branch and a shortcut side by side, added (He et al. 2015, arXiv:1512.03385).

    H_l = ReLU(b_l f_l(H_{l-1}) + id(H_{l-1}))          (Huang et al. 2016, eq. 2)

The branch f_l is two or three convolutions: see `minisd.branches`. The shortcut id is the identity,
or the cheapest map to the new shape where channels double and the image halves. The gate b_l is
what stochastic depth adds: see `minisd.stochastic_depth`, which draws it.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minisd.backend import Array, beside
from minisd.branches import basic_branch, bottleneck_branch
from minisd.layer import check_layers, kind
from minisd.layers import BatchNorm2d, Conv2d, Layer, ReLU, Sequential
from minisd.ops.check import number

__all__ = [  # the branches are in a file of their own, and were here
    "SCALES",
    "SHORTCUTS",
    "IdentityShortcut",
    "NoShortcut",
    "PadShortcut",
    "ResidualBlock",
    "Weight",
    "basic_branch",
    "bottleneck_branch",
    "check_has_parts",
    "make_shortcut",
    "misfit",
    "projection_shortcut",
]

SHORTCUTS = ("A", "A-subsample", "projection", "none")
SCALES = ("test", "train")
Weight = float | Array
"""What a branch is multiplied by: one number, or (N, 1, 1, 1), one for each image."""


class ResidualBlock(Layer):
    """H = ReLU(b f(x) + id(x)), with a gate b that closes the branch f.

    In training an open block is an ordinary residual block (eq. 1). In a closed one the branch is
    not entered: its layers run neither forward nor backward, allocate nothing, and move no running
    statistics, and their parameters' gradients stay None. The shortcut and the ReLU after the
    addition always run.

    In evaluation the gate plays no part. Every branch runs, weighted by its survival probability:
    ReLU(p f(x) + id(x)) (Huang et al. 2016, eq. 5). With p = 0 it does not run, since nothing of it
    would be left.

    A subclass with other mathematics has its own ``open_forward``, ``open_backward``,
    ``closed_forward`` and ``closed_backward``; gates, surgery and recorders then go on working. See
    `minisd.preactivation` for an example. Its class, or a function that makes such blocks, is the
    ``block`` of `minisd.models.resnet`.

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
    image_gates : (N,) bool on the host, or None
        One more gate for each image, if the block is open: see `minisd.gates.draw_image_gates`.
    pre_activation : bool
        Of the class: whether batch norm and ReLU come before the convolutions and not after the
        sum. A network of such blocks has them once more before the pooling, and none after the
        first convolution.
    """

    pre_activation: bool = False
    image_gates: NDArray[np.bool_] | None = None

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
        weight: Weight = self.branch_weight
        is_open = self.is_open if self.training else weight > 0
        if self.training and self.image_gates is not None:
            weight = weight * self._gate_of_each(x)
        y = self.open_forward(x, weight) if is_open else self.closed_forward(x)
        self.save((is_open, weight))
        return y

    def backward(self, dy: Array) -> Array:  # noqa: D102
        was_open, weight = self.take()
        return self.open_backward(dy, weight) if was_open else self.closed_backward(dy)

    def open_forward(self, x: Array, weight: Weight) -> Array:
        """Return ReLU(weight f(x) + id(x)): eq. 2 with an open gate, and eq. 5.

        ``weight`` is a number, or (N, 1, 1, 1) where each image has a gate of its own.
        """
        shortcut, branch = self.shortcut.forward(x), self.run_branch(x)
        if shortcut.shape != branch.shape:
            raise misfit(self, shortcut.shape, branch.shape)
        return self.relu.forward(self.ops.add(shortcut, weight * branch))

    def open_backward(self, dy: Array, weight: Weight) -> Array:
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

    def _gate_of_each(self, x: Array) -> Array:
        """Return the gates of the images (N, 1, 1, 1), as 1 and 0, where the images are."""
        gates = self.image_gates
        assert gates is not None
        if len(gates) != len(x):
            raise ValueError(
                f"the block has gates for {len(gates)} images, and was given {len(x)}: call "
                "draw_image_gates before each mini-batch with its number of images, or set_gates "
                "to go back to one gate for all"
            )
        return beside(gates.astype(x.dtype), x).reshape(-1, 1, 1, 1)

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Return that of the weighted sum, a multiply-add for each number."""
        return 2 * prod(y_shape)

    def run_branch(self, x: Array) -> Any:
        """Return f(x). A recorder looks at what this returns."""
        return self.branch.forward(x)


def misfit(block: ResidualBlock, shortcut: tuple[int, ...], branch: tuple[int, ...]) -> ValueError:
    """Return the error that the outputs of shortcut and branch have other shapes."""
    return ValueError(
        f"the branch of a {kind(block).__name__} gives {branch}, but its shortcut {shortcut}, and "
        "the two are added: a branch must make out_channels channels, and divide height and width "
        "by stride, rounded up"
    )


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


# ---- shortcuts ----


class IdentityShortcut(Layer):
    """The input itself."""

    def forward(self, x: Array) -> Array:  # noqa: D102
        return x

    def backward(self, dy: Array) -> Array:  # noqa: D102
        return dy

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return 0


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

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return 0 if self.subsample else prod(x_shape)


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

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:  # noqa: D102
        return 0


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
