"""Average pooling: over small tiles (shortcut A), and over the image (before the classifier)."""

from typing import Any

from minisd.backend import Array
from minisd.fast.layout import as_images, by_rows, empty_rows
from minisd.ops.check import check_arrays, check_ndim, check_tiles, check_upstream

Cache = tuple[Any, ...]


def avg_pool2d_forward(x: Array, kernel: int) -> tuple[Array, Cache]:
    """Average over tiles of ``kernel`` x ``kernel`` pixels that do not overlap.

    Parameters
    ----------
    x : (N, C, H, W)
        H and W must be multiples of ``kernel``.
    kernel : int
        Side of a tile, in pixels; also the step between tiles.

    Returns
    -------
    y : (N, C, H/kernel, W/kernel)
    cache
        For `avg_pool2d_backward`.

    Raises
    ------
    ValueError
        If the tiles do not cover the image exactly: no pixel is dropped silently.
    """
    K = check_tiles(x, kernel)
    N, C, H, W = x.shape
    tiles = by_rows(x).reshape(H // K, K, C, W // K, K, N)
    return as_images(tiles.mean(axis=(1, 4))), (x.shape, K, x.dtype)


def avg_pool2d_backward(dy: Array, cache: Cache) -> Array:
    """Share each output's gradient equally among the pixels of its tile.

    Parameters
    ----------
    dy : (N, C, H/kernel, W/kernel)

    Returns
    -------
    dx : (N, C, H, W)
    """
    (N, C, H, W), K, dtype = cache
    check_upstream("avg_pool2d_backward", dy, (N, C, H // K, W // K), dy, dtype)
    dx = empty_rows((N, C, H, W), dy)
    share = by_rows(dy) / (K * K)
    for i in range(K):
        for j in range(K):
            dx[i::K, :, j::K] = share
    return as_images(dx)


def global_avg_pool_forward(x: Array) -> tuple[Array, Cache]:
    """Average each channel over the whole image.

    Parameters
    ----------
    x : (N, C, H, W)

    Returns
    -------
    y : (N, C)
    cache
        For `global_avg_pool_backward`.
    """
    check_arrays("global_avg_pool", x=x)
    check_ndim("global_avg_pool", "x", x, "NCHW")
    return by_rows(x).mean(axis=(0, 2)).T, (x.shape, x.dtype)


def global_avg_pool_backward(dy: Array, cache: Cache) -> Array:
    """Share each channel's gradient equally among its pixels.

    Parameters
    ----------
    dy : (N, C)

    Returns
    -------
    dx : (N, C, H, W)
    """
    (N, C, H, W), dtype = cache
    check_upstream("global_avg_pool_backward", dy, (N, C), dy, dtype)
    dx = empty_rows((N, C, H, W), dy)
    dx[...] = (dy.T / (H * W))[:, None, :]
    return as_images(dx)
