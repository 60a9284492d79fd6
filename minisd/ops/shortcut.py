"""What a shortcut without weights does where the shape changes: fewer pixels, more channels."""

from minisd.backend import Array, array_module
from minisd.ops.check import check_images, check_upstream, whole_number

Cache = tuple[Array, int]


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
    N, C, H, W = check_images("pad_channels", x)
    F = whole_number("pad_channels: out_channels", out_channels, C)
    y = zeros((N, F, H, W), x)
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
    check_images("subsample", x)
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
    dx = zeros(x.shape, x)
    dx[:, :, ::S, ::S] = dy
    return dx


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros of ``shape``, of the dtype and on the device of ``like``."""
    return array_module(like).zeros(shape, like.dtype)
