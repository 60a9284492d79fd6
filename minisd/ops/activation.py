"""The rectifier, max(x, 0), and addition: the two at the end of every residual block."""

from typing import Any

from minisd.backend import Array
from minisd.ops.check import check_arrays, check_shape, check_upstream

Cache = tuple[Any, ...]


def relu_forward(x: Array, *, keep: bool = True) -> tuple[Array, Cache | None]:
    """Return max(x, 0).

    Parameters
    ----------
    x : any shape
    keep : bool
        False if there will be no backward: the cache is then None.

    Returns
    -------
    y : the shape of x
    cache
        Where x was positive. At 0, where ReLU has no slope, we take 0.
    """
    xp = check_arrays("relu", x=x)
    return xp.maximum(x, 0), (x > 0, x) if keep else None


def relu_backward(dy: Array, cache: Cache) -> Array:
    """Pass ``dy`` on where x was positive: the slope is 1 there, and 0 elsewhere.

    Parameters
    ----------
    dy : the shape of x

    Returns
    -------
    dx : the shape of x
    """
    positive, x = cache
    xp = check_upstream("relu_backward", dy, x.shape, x)
    return xp.where(positive, dy, dy.dtype.type(0))  # and not a product: 0 * inf is NaN


def add(a: Array, b: Array) -> Array:
    """Return a + b; refuse to broadcast.

    Where a path forked in the forward, the backward adds the two gradients.

    Parameters
    ----------
    a, b : any shape, the same

    Returns
    -------
    the same shape
    """
    check_arrays("add", a=a, b=b)
    check_shape("add", "b", b, a.shape)
    return a + b


def add_relu_forward(a: Array, b: Array, *, keep: bool = True) -> tuple[Array, Cache | None]:
    """Return max(a + b, 0): the end of a residual block (Huang et al. 2016, eq. 2).

    Its backward is `relu_backward`: the gradient of a sum goes to both terms as it is.

    Parameters
    ----------
    a, b : any shape, the same
    keep : bool
        As `relu_forward` has it.

    Returns
    -------
    y : the shape of a
    cache
        For `relu_backward`.
    """
    xp = check_arrays("add_relu", a=a, b=b)
    check_shape("add_relu", "b", b, a.shape)
    total = a + b
    return xp.maximum(total, 0), (total > 0, a) if keep else None
