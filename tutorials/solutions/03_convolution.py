"""Solutions to the exercises of tutorial 3, to be read as if they stood in it."""

import numpy as np

from minisd import ops


def receptive_field(layers):
    """Go back from one pixel: n outputs of a layer see the windows of n, S apart."""
    seen = 1
    for K, S in reversed(layers):
        seen = (seen - 1) * S + K
    return seen


def depthwise_backward(dy, cache):
    """A sum over all uses: of a weight, over images and places; of a pixel, over its windows."""
    x, w, S, P = cache
    H, W = x.shape[2:]
    OH, OW = dy.shape[2:]
    padded = pad(x, P)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j in np.ndindex(w.shape[1:]):
        used = (..., slice(i, i + S * OH, S), slice(j, j + S * OW, S))
        dw[:, i, j] = (dy * padded[used]).sum(axis=(0, 2, 3))
        dpadded[used] += dy * w[:, i, j, None, None]
    return dpadded[:, :, P : P + H, P : P + W], dw


def dilated_backward(dy, cache):
    """Put zeros between the weights: an ordinary convolution, some of whose weights do not move.

    The test takes other x and w because at those that were given it asks too little: any dx with
    <x, dx> = <y, dy> would pass, among them a multiple of x itself.
    """
    x, w, S, P, D = cache
    KH, KW = ((side - 1) * D + 1 for side in w.shape[2:])
    spread = np.zeros((*w.shape[:2], KH, KW), w.dtype)
    spread[:, :, ::D, ::D] = w
    _, spread_cache = ops.conv2d_forward(x, spread, stride=S, padding=P)
    dx, dspread, _ = ops.conv2d_backward(dy, spread_cache)
    return dx, dspread[:, :, ::D, ::D]
