"""The numbers with which assignment 4 is checked."""

from typing import Any

import numpy as np


def numbers(*shape: int, zeros: bool = False) -> Any:
    """Return a function that draws x, if asked with exact zeros, and dy."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        x = rng.standard_normal(shape)
        if zeros:
            x[rng.random(shape) < 0.4] = 0
        return {"x": x, "dy": rng.standard_normal(shape)}

    return draw


def block(
    N: int, C: int, H: int, W: int, *, constant: bool = False, zeros: bool = False, alpha: float = 1
) -> Any:
    """Return a function that draws images, the block's parameters, alpha, and dy.

    ``constant``: gamma2 is 0, so the branch gives beta2. ``zeros``: exact zeros before both ReLUs.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        x = rng.standard_normal((N, C, H, W))
        p = {}
        for i in "12":
            p[f"w{i}"] = rng.standard_normal((C, C, 3, 3))
            p[f"gamma{i}"] = rng.uniform(0.5, 1.5, C) * rng.choice([-1, 1], C)
            p[f"beta{i}"] = rng.standard_normal(C)
        if constant:
            p["gamma2"][:] = 0
        if zeros:
            p["gamma1"][0] = p["beta1"][0] = p["gamma2"][1] = p["beta2"][1] = 0
            x[:, 1, ::2] = 0
        dy = rng.standard_normal((N, C, H, W))
        return {"x": x, "p": p, "alpha": alpha, "dy": dy, "zeros": zeros}

    return draw


def shrinking(
    N: int, C: int, H: int, W: int, out_channels: int, stride: int, *, uniform: bool = False
) -> Any:
    """Return a function that draws images and dy; ``uniform``: each tile has one value."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        small = (N, C, H // stride, W // stride)
        x = rng.standard_normal((N, C, H, W))
        if uniform:
            x[...] = np.kron(rng.standard_normal(small), np.ones((stride, stride)))
        dy = rng.standard_normal((N, out_channels, *small[2:]))
        return {"x": x, "out_channels": out_channels, "stride": stride, "dy": dy}

    return draw


def misfit(H: int, W: int, out_channels: int, stride: int) -> Any:
    """Return a function that draws images of 3 channels that cannot be shrunk so."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        x = rng.standard_normal((2, 3, H, W))
        return {"x": x, "out_channels": out_channels, "stride": stride}

    return draw
