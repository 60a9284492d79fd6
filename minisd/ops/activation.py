"""The rectifier, max(x, 0)."""

from minisd.backend import Array, array_module
from minisd.ops.check import check_arrays, check_upstream


def relu_forward(x: Array) -> tuple[Array, Array]:
    """Keep what is positive.

    Parameters
    ----------
    x : any shape

    Returns
    -------
    y : the shape of x
        ``max(x, 0)``.
    cache : the shape of x, bool
        Where x was positive. At 0, where ReLU has no slope, we take 0.
    """
    xp = check_arrays("relu", x=x)
    return xp.maximum(x, 0), x > 0


def relu_backward(dy: Array, cache: Array) -> Array:
    """Let ``dy`` through where x was positive: the slope there is 1, elsewhere 0.

    Parameters
    ----------
    dy : the shape of x

    Returns
    -------
    dx : the shape of x
    """
    check_upstream("relu_backward", dy, cache.shape, dy)
    array_module(dy, cache)  # refuses a mix of NumPy and CuPy
    return dy * cache
