"""Slow, obvious versions of the operations, to compare with. Loops, no cleverness."""

import numpy as np


def conv2d(x, w, b, stride, padding):
    """Seven loops, as the definition in `minisd.fast.conv` has it."""
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH, OW = (H + 2 * padding - KH) // stride + 1, (W + 2 * padding - KW) // stride + 1
    y = np.zeros((N, F, OH, OW), x.dtype)
    for n, f, oh, ow in np.ndindex(N, F, OH, OW):
        total = 0.0 if b is None else b[f]
        for c, i, j in np.ndindex(C, KH, KW):
            h, v = oh * stride + i - padding, ow * stride + j - padding
            if 0 <= h < H and 0 <= v < W:
                total += w[f, c, i, j] * x[n, c, h, v]
        y[n, f, oh, ow] = total
    return y


def conv2d_gradients(dy, x, w, stride, padding):
    """Every product of the forward, once more, sent back to both of its factors."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    H, W = x.shape[2:]
    for n, f, oh, ow in np.ndindex(*dy.shape):
        for c, i, j in np.ndindex(*w.shape[1:]):
            h, v = oh * stride + i - padding, ow * stride + j - padding
            if 0 <= h < H and 0 <= v < W:
                dx[n, c, h, v] += w[f, c, i, j] * dy[n, f, oh, ow]
                dw[f, c, i, j] += x[n, c, h, v] * dy[n, f, oh, ow]
    return dx, dw, dy.sum(axis=(0, 2, 3))


def batchnorm2d(x, gamma, beta, mean, var, eps=1e-5):
    """One channel at a time."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = gamma[c] * (x[:, c] - mean[c]) / np.sqrt(var[c] + eps) + beta[c]
    return y
