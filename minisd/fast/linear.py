"""`minisd.ops.linear` on one BLAS thread: its products are too small for more."""

from typing import Any

from minisd import machine
from minisd.backend import Array
from minisd.ops.check import check_linear, check_upstream

Cache = tuple[Any, ...]


def linear_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Cache]:
    """Multiply by a matrix and add a bias: see `minisd.ops.linear_forward`."""
    check_linear(x, w, b)
    with machine.one_blas_thread():
        y = x @ w.T
    if b is not None:
        y += b
    return y, (x, w, b is not None)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """Gradients of `linear_forward`: see `minisd.ops.linear_backward`."""
    x, w, has_bias = cache
    xp = check_upstream("linear_backward", dy, (x.shape[0], w.shape[0]), x)
    with machine.one_blas_thread():
        dx, dw = dy @ w, dy.T @ x
    return dx, dw, machine.sum_over(xp, dy, axis=0) if has_bias else None
