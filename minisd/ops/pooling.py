"""Average pooling: over small tiles (shortcut A), and over the image (before the classifier)."""

from minisd.backend import Array, array_module
from minisd.ops.check import check_images, check_tiles, check_upstream
from minisd.ops.sums import mean_over

Cache = tuple[Array, int]


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
    tiles = x.reshape(N, C, H // K, K, W // K, K)
    return mean_over(tiles, axis=(3, 5)), (x, K)


def avg_pool2d_backward(dy: Array, cache: Cache) -> Array:
    """Share each output's gradient equally among the pixels of its tile.

    Parameters
    ----------
    dy : (N, C, H/kernel, W/kernel)

    Returns
    -------
    dx : (N, C, H, W)
    """
    x, K = cache
    N, C, H, W = x.shape
    xp = check_upstream("avg_pool2d_backward", dy, (N, C, H // K, W // K), x)
    share = (dy / K**2)[:, :, :, None, :, None]
    return xp.broadcast_to(share, (N, C, H // K, K, W // K, K)).reshape(N, C, H, W)


def global_avg_pool_forward(x: Array) -> tuple[Array, Array]:
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
    check_images("global_avg_pool", x)
    return mean_over(x, axis=(2, 3)), x


def global_avg_pool_backward(dy: Array, cache: Array) -> Array:
    """Share each channel's gradient equally among its pixels.

    Parameters
    ----------
    dy : (N, C)

    Returns
    -------
    dx : (N, C, H, W)
    """
    x = cache
    N, C, H, W = x.shape
    check_upstream("global_avg_pool_backward", dy, (N, C), x)
    return array_module(x).zeros_like(x) + (dy / (H * W))[:, :, None, None]
