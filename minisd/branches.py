"""What is in a residual block: the branches f_l, by name, and one's own.

A branch is made by a function of (in_channels, out_channels, *, stride, gamma, rng, dtype), such as
`basic_branch`. It returns a layer that takes images (N, in_channels, H, W) and gives
(N, out_channels, H/stride, W/stride), rounded up, as its shortcut does.

Two attributes of the function tell `minisd.models.resnet` about it:

- ``layers`` (default 2): how many layers of the network's depth one branch is;
- ``expansion`` (default 1): how many channels come out of it per unit of width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.layers import BatchNorm2d, Conv2d, Layer, ReLU, Sequential
from minisd.ops.check import cannot_take

Branch = Callable[..., Layer]
"""A function that makes a branch."""

BOTTLENECK_EXPANSION = 4


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


bottleneck_branch.layers = 3  # type: ignore[attr-defined]
bottleneck_branch.expansion = BOTTLENECK_EXPANSION  # type: ignore[attr-defined]

BRANCHES: dict[str, Branch] = {"basic": basic_branch, "bottleneck": bottleneck_branch}
"""The branches that have a name."""


def branch_function(branch: str | Branch) -> tuple[Branch, str]:
    """Return the function that makes a branch, and its name in messages."""
    if isinstance(branch, str):
        if branch not in BRANCHES:
            raise ValueError(
                f"branch must be one of {', '.join(BRANCHES)}, or a function with the signature "
                f"of basic_branch; got {branch!r}"
            )
        return BRANCHES[branch], branch
    name = getattr(unwrapped(branch), "__name__", type(branch).__name__)
    if why := cannot_take(branch, 1, 1, stride=1, gamma="one", rng=None, dtype=np.float32):
        raise TypeError(
            "branch must be a name or a function with the signature of basic_branch, (in_channels, "
            f"out_channels, *, stride, gamma, rng, dtype); {name} is not: {why}"
        )
    return branch, name


def unwrapped(function: Any) -> Any:
    """Return the function or class inside a `functools.partial`, which has its attributes."""
    while isinstance(function, partial):
        function = function.func
    return function


def attribute(function: Any, name: str, default: Any) -> Any:
    """Return what a branch function, or the block's class, says of itself."""
    return getattr(function, name, getattr(unwrapped(function), name, default))
