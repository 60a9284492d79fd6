"""`minisd.ops.pooling` in our memory order: pooling, and shortcuts without weights."""

from typing import Any

from minisd import machine
from minisd.backend import Array, array_module
from minisd.fast.layout import as_images, by_rows, empty_rows
from minisd.ops.check import check_arrays, check_ndim, check_tiles, check_upstream, whole_number

Cache = tuple[Any, ...]


def avg_pool2d_forward(x: Array, kernel: int) -> tuple[Array, Cache]:
    """Average over tiles: see `minisd.ops.avg_pool2d_forward`."""
    K, xp = check_tiles(x, kernel), array_module(x)
    N, C, H, W = x.shape
    tiles = by_rows(x).reshape(H // K, K, C, W // K, K, N)
    return as_images(machine.mean_over(xp, tiles, axis=(1, 4))), (x.shape, K, x.dtype)


def avg_pool2d_backward(dy: Array, cache: Cache) -> Array:
    """Share each output's gradient among its tile: see `minisd.ops.avg_pool2d_backward`."""
    (N, C, H, W), K, dtype = cache
    check_upstream("avg_pool2d_backward", dy, (N, C, H // K, W // K), dy, dtype)
    dx = empty_rows((N, C, H, W), dy)
    share = by_rows(dy) / (K * K)
    for i in range(K):
        for j in range(K):
            dx[i::K, :, j::K] = share
    return as_images(dx)


def global_avg_pool_forward(x: Array) -> tuple[Array, Cache]:
    """Average each channel: see `minisd.ops.global_avg_pool_forward`."""
    xp = check_arrays("global_avg_pool", x=x)
    check_ndim("global_avg_pool", "x", x, "NCHW")
    return machine.mean_over(xp, by_rows(x), axis=(0, 2)).T, (x.shape, x.dtype)


def global_avg_pool_backward(dy: Array, cache: Cache) -> Array:
    """Share each channel's gradient: see `minisd.ops.global_avg_pool_backward`."""
    (N, C, H, W), dtype = cache
    check_upstream("global_avg_pool_backward", dy, (N, C), dy, dtype)
    dx = empty_rows((N, C, H, W), dy)
    dx[...] = (dy.T / (H * W))[:, None, :]
    return as_images(dx)


def pad_channels_forward(x: Array, out_channels: int) -> tuple[Array, Cache]:
    """Append channels of zeros: see `minisd.ops.pad_channels_forward`."""
    check_arrays("pad_channels", x=x)
    check_ndim("pad_channels", "x", x, "NCHW")
    N, C, H, W = x.shape
    F = whole_number("pad_channels: out_channels", out_channels, C)
    y = empty_rows((N, F, H, W), x)
    y[:, :C] = by_rows(x)
    y[:, C:] = 0
    return as_images(y), (x.shape, F, x.dtype)


def pad_channels_backward(dy: Array, cache: Cache) -> Array:
    """Take the real channels' gradient: see `minisd.ops.pad_channels_backward`."""
    (N, C, H, W), F, dtype = cache
    check_upstream("pad_channels_backward", dy, (N, F, H, W), dy, dtype)
    return dy[:, :C]


def subsample_forward(x: Array, stride: int) -> tuple[Array, Cache]:
    """Take the first pixel of each tile: see `minisd.ops.subsample_forward`."""
    check_arrays("subsample", x=x)
    check_ndim("subsample", "x", x, "NCHW")
    S = whole_number("subsample: stride", stride, 1)
    y = x[:, :, ::S, ::S]
    return y, (x.shape, y.shape, S, x.dtype)


def subsample_backward(dy: Array, cache: Cache) -> Array:
    """Put the gradient where the pixel was taken: see `minisd.ops.subsample_backward`."""
    x_shape, y_shape, S, dtype = cache
    check_upstream("subsample_backward", dy, y_shape, dy, dtype)
    dx = zeros(x_shape, dy)
    dx[:, :, ::S, ::S] = dy
    return dx


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return images of zeros: see `minisd.ops.zeros`."""
    rows = empty_rows(shape, like)
    rows[...] = 0
    return as_images(rows)
