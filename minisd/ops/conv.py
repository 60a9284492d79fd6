"""Convolution as one matrix product (im2col), forward and backward.

As everywhere in deep learning, "convolution" means cross-correlation: the kernel is not flipped.

    y[n, f, h, v] = b[f] + sum over c, i, j of  w[f, c, i, j] * x_padded[n, c, h*S + i, v*S + j]

where ``x_padded`` is ``x`` with ``P`` zeros around it and ``S`` is the stride. Write the
``C*KH*KW`` numbers that one output pixel sees as a column, and all output pixels side by side: then
the sum is a product of two matrices, and so are both gradients.

The columns lie in memory with the batch last, (C, KH, KW, OH, OW, N): they are then copied in long
runs of neighbouring numbers. `minisd.fast.conv` does the same without the copies.
"""

from typing import Any

from minisd.backend import Array, array_module
from minisd.ops.check import check_conv2d, check_upstream, conv2d_output_size
from minisd.ops.sums import sum_over

Cache = tuple[Any, ...]


def conv2d_forward(
    x: Array, w: Array, b: Array | None = None, *, stride: int = 1, padding: int = 0
) -> tuple[Array, Cache]:
    """Cross-correlate a batch of images with a set of filters.

        Y = W X + b        W (F, C*KH*KW), the filters as rows        X the columns of `im2col`

    Parameters
    ----------
    x : (N, C, H, W)
        Images.
    w : (F, C, KH, KW)
        Filters.
    b : (F,), optional
        One number added to all of a filter's output.
    stride, padding : int
        Step between windows; rows and columns of zeros put around each image.

    Returns
    -------
    y : (N, F, OH, OW)
        ``OH = (H + 2*padding - KH) // stride + 1`` and likewise ``OW``.
    cache
        For `conv2d_backward`.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes, stride or padding do not fit.
    """
    OH, OW = check_conv2d(x, w, b, stride, padding)
    N, F = x.shape[0], w.shape[0]
    y = w.reshape(F, -1) @ im2col(x, w.shape, stride, padding)
    if b is not None:
        y += b[:, None]
    return y.reshape(F, OH, OW, N).transpose(3, 0, 1, 2), (x, w, b is not None, stride, padding)


def conv2d_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """Gradients of `conv2d_forward`.

        dW = dY X^T        dX = W^T dY, added up by `col2im`        db = sum of dY over each row

    The columns are gathered again rather than kept: they are KH*KW times as large as ``x``.

    Parameters
    ----------
    dy : (N, F, OH, OW)

    Returns
    -------
    dx : (N, C, H, W)
    dw : (F, C, KH, KW)
    db : (F,) or None
        None if the forward had no ``b``.
    """
    x, w, has_bias, stride, padding = cache
    N, F = x.shape[0], w.shape[0]
    OH, OW = conv2d_output_size(x.shape, w.shape, stride, padding)
    check_upstream("conv2d_backward", dy, (N, F, OH, OW), x)

    db = sum_over(dy, axis=(0, 2, 3)) if has_bias else None
    dy = dy.transpose(1, 2, 3, 0).reshape(F, OH * OW * N)
    dw = (dy @ im2col(x, w.shape, stride, padding).T).reshape(w.shape)
    dx = col2im(w.reshape(F, -1).T @ dy, x.shape, w.shape, stride, padding)
    return dx, dw, db


def im2col(x: Array, w_shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Lay out what each output pixel sees as a column.

    Returns
    -------
    cols : (C*KH*KW, OH*OW*N)
        Row (c, i, j) holds, for each output pixel, the input at row i and column j of its window.
    """
    xp = array_module(x)
    N, C, H, W = x.shape
    KH, KW = w_shape[2:]
    OH, OW = conv2d_output_size(x.shape, w_shape, stride, padding)
    S, P = stride, padding
    padded = xp.zeros((C, H + 2 * P, W + 2 * P, N), x.dtype)
    padded[:, P : P + H, P : P + W] = x.transpose(1, 2, 3, 0)
    sC, sH, sW, sN = padded.strides
    windows = xp.lib.stride_tricks.as_strided(  # a view: every window, nothing copied yet
        padded, (C, KH, KW, OH, OW, N), (sC, sH, sW, sH * S, sW * S, sN)
    )
    return windows.reshape(C * KH * KW, OH * OW * N)


def col2im(
    cols: Array, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: int, padding: int
) -> Array:
    """Add every column back to where `im2col` took it from: the adjoint of `im2col`.

    A pixel that several windows saw collects the sum, as the chain rule asks.

    Returns
    -------
    x : (N, C, H, W)
    """
    xp = array_module(cols)
    N, C, H, W = x_shape
    KH, KW = w_shape[2:]
    OH, OW = conv2d_output_size(x_shape, w_shape, stride, padding)
    S, P = stride, padding
    windows = cols.reshape(C, KH, KW, OH, OW, N)
    padded = xp.zeros((C, H + 2 * P, W + 2 * P, N), cols.dtype)
    for i in range(KH):
        for j in range(KW):
            padded[:, i : i + S * OH : S, j : j + S * OW : S] += windows[:, i, j]
    return padded[:, P : P + H, P : P + W].transpose(3, 0, 1, 2)
