"""Average pooling over tiles and over the image, and what else a shortcut without weights does.

Where a group of blocks begins, channels double and the image halves. Shortcut A then averages tiles
of 2x2 pixels (or takes the first of each), and appends channels of zeros.
"""

from minisd.backend import Array, array_module
from minisd.ops.check import check_arrays, check_ndim, check_tiles, check_upstream, whole_number
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
    tiles = xp.zeros((N, C, H // K, K, W // K, K), dy.dtype)
    tiles += (dy / K**2)[:, :, :, None, :, None]
    return tiles.reshape(N, C, H, W)


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
    check_arrays("global_avg_pool", x=x)
    check_ndim("global_avg_pool", "x", x, "NCHW")
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
    return array_module(x).zeros((N, C, H, W), dy.dtype) + (dy / (H * W))[:, :, None, None]


def pad_channels_forward(x: Array, out_channels: int) -> tuple[Array, Cache]:
    """Append channels of zeros (shortcut A; He et al. 2015, section 3.3).

    Parameters
    ----------
    x : (N, C, H, W)
    out_channels : int
        F, at least C.

    Returns
    -------
    y : (N, F, H, W)
        The zero channels come after the real ones.
    cache
        For `pad_channels_backward`.
    """
    check_arrays("pad_channels", x=x)
    check_ndim("pad_channels", "x", x, "NCHW")
    N, C, H, W = x.shape
    F = whole_number("pad_channels: out_channels", out_channels, C)
    y = array_module(x).zeros((N, F, H, W), x.dtype)
    y[:, :C] = x
    return y, (x, F)


def pad_channels_backward(dy: Array, cache: Cache) -> Array:
    """Take the real channels' gradient: the zeros were constants, and theirs ends here.

    Parameters
    ----------
    dy : (N, F, H, W)

    Returns
    -------
    dx : (N, C, H, W)
    """
    x, F = cache
    N, C, H, W = x.shape
    check_upstream("pad_channels_backward", dy, (N, F, H, W), x)
    return dy[:, :C]


def subsample_forward(x: Array, stride: int) -> tuple[Array, Cache]:
    """Take the first pixel of each ``stride`` x ``stride`` tile.

    Parameters
    ----------
    x : (N, C, H, W)
        Of any size: the last tiles may be cut.
    stride : int

    Returns
    -------
    y : (N, C, ceil(H/stride), ceil(W/stride))
    cache
        For `subsample_backward`.
    """
    check_arrays("subsample", x=x)
    check_ndim("subsample", "x", x, "NCHW")
    S = whole_number("subsample: stride", stride, 1)
    return x[:, :, ::S, ::S], (x, S)


def subsample_backward(dy: Array, cache: Cache) -> Array:
    """Put the gradient where the pixel was taken; the others have no influence, and get 0.

    Parameters
    ----------
    dy : (N, C, ceil(H/stride), ceil(W/stride))

    Returns
    -------
    dx : (N, C, H, W)
    """
    x, S = cache
    check_upstream("subsample_backward", dy, x[:, :, ::S, ::S].shape, x)
    dx = array_module(x).zeros(x.shape, x.dtype)
    dx[:, :, ::S, ::S] = dy
    return dx


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros of ``shape``, of the dtype and on the device of ``like``."""
    return array_module(like).zeros(shape, like.dtype)
