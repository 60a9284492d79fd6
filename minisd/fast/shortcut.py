"""What a shortcut without weights does where the shape changes, in our memory order."""

from typing import Any

from minisd.backend import Array
from minisd.fast.layout import as_images, by_rows, empty_rows
from minisd.ops.check import check_images, check_upstream, whole_number

Cache = tuple[Any, ...]


def pad_channels_forward(x: Array, out_channels: int) -> tuple[Array, Cache]:
    """Append channels of zeros: see `minisd.ops.pad_channels_forward`."""
    N, C, H, W = check_images("pad_channels", x)
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
    check_images("subsample", x)
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
