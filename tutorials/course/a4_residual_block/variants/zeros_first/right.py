"""Right answers to assignment 4 with zero channels first, written without the ordinary shortcut."""

import numpy as np


@right("4.4", "slices from the end")
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        N, C, H, W = x.shape
        if out_channels < C or H % stride or W % stride:
            raise ValueError("it does not fit")
        y = np.zeros((N, out_channels, H // stride, W // stride), x.dtype)
        tiles = x.reshape(N, C, H // stride, stride, W // stride, stride)
        y[:, out_channels - C :] = tiles.mean(axis=(3, 5))
        return y, (out_channels - C, stride)

    def pad_shortcut_backward(dy, cache):
        new, stride = cache
        share = np.full((stride, stride), 1 / stride**2, dy.dtype)
        return np.kron(dy[:, new:], share)

    return locals()


@right("4.4", "np.pad and shifted images")
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        more = out_channels - x.shape[1]
        if more < 0 or x.shape[2] % stride or x.shape[3] % stride:
            raise ValueError
        total = sum(x[:, :, i::stride, j::stride] for i, j in np.ndindex(stride, stride))
        return np.pad(total / stride**2, ((0, 0), (more, 0), (0, 0), (0, 0))), x

    def pad_shortcut_backward(dy, x):
        stride, dx = x.shape[2] // dy.shape[2], np.empty_like(x)
        for i, j in np.ndindex(stride, stride):
            dx[:, :, i::stride, j::stride] = dy[:, -x.shape[1] :] / stride**2
        return dx

    return locals()
