"""The fully connected layer, y = x w^T + b."""

from typing import Any

from minisd.backend import Array
from minisd.ops.check import check_linear, check_upstream
from minisd.ops.sums import sum_over

Cache = tuple[Any, ...]


def linear_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Cache]:
    """Multiply by a matrix and add a bias.

    Parameters
    ----------
    x : (N, D)
    w : (K, D)
        One row per output.
    b : (K,), optional

    Returns
    -------
    y : (N, K)
    cache
        For `linear_backward`.
    """
    check_linear(x, w, b)
    y = x @ w.T if b is None else x @ w.T + b
    return y, (x, w, b is not None)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """Gradients of `linear_forward`.

        dx = dy w        dw = dy^T x        db = sum of dy over the batch

    Parameters
    ----------
    dy : (N, K)

    Returns
    -------
    dx : (N, D)
    dw : (K, D)
    db : (K,) or None
        None if the forward had no ``b``.
    """
    x, w, has_bias = cache
    check_upstream("linear_backward", dy, (len(x), len(w)), x)
    return dy @ w, dy.T @ x, sum_over(dy, axis=0) if has_bias else None
