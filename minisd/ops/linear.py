"""The fully connected layer, y = x w^T + b."""

from typing import Any

from minisd import parallel
from minisd.backend import Array
from minisd.ops.check import check_arrays, check_ndim, check_shape, check_upstream

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
    check_arrays("linear", x=x, w=w, b=b)
    check_ndim("linear", "x", x, "ND")
    check_ndim("linear", "w", w, "KD")
    if x.shape[1] != w.shape[1]:
        raise ValueError(
            f"linear: x has {x.shape[1]} features but w wants {w.shape[1]} "
            f"(x {x.shape}, w {w.shape})"
        )
    with parallel.one_blas_thread():
        y = x @ w.T
    if b is not None:
        check_shape("linear", "b", b, w.shape[:1])
        y += b
    return y, (x, w, b is not None)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """Gradients of `linear_forward`.

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
    check_upstream("linear_backward", dy, (x.shape[0], w.shape[0]), x)
    with parallel.one_blas_thread():
        return dy @ w, dy.T @ x, dy.sum(axis=0) if has_bias else None
