"""Right answers to assignment 2 with dilation, written without an ordinary convolution."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


@right("2.3", "windows with gaps, and a loop over the weights")
def _():
    def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
        KH, KW = w.shape[2:]
        frame = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        reach = ((KH - 1) * dilation + 1, (KW - 1) * dilation + 1)
        windows = sliding_window_view(frame, reach, axis=(2, 3))
        windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
        y = np.einsum("nchwkl,fckl->nfhw", windows, w, optimize=True)
        y = y if b is None else y + b[:, None, None]
        return y, (windows, frame.shape, w, b is not None, stride, padding, dilation)

    def conv2d_backward(dy, cache):
        windows, shape, w, has_bias, stride, padding, dilation = cache
        dw = np.einsum("nfhw,nchwkl->fckl", dy, windows, optimize=True)
        dframe = np.zeros(shape, dy.dtype)
        OH, OW = dy.shape[2:]
        for k, j in np.ndindex(w.shape[2:]):
            part = dframe[:, :, k * dilation :, j * dilation :]
            part = part[:, :, ::stride, ::stride][:, :, :OH, :OW]
            part += np.einsum("nfhw,fc->nchw", dy, w[:, :, k, j])
        H, W = shape[2] - 2 * padding, shape[3] - 2 * padding
        dx = dframe[:, :, padding:, padding:][:, :, :H, :W]
        return dx, dw, dy.sum(axis=(0, 2, 3)) if has_bias else None

    return locals()


@right("2.3", "a matrix of places")
def _():
    def places(n, k, stride, padding, dilation):
        first = np.arange(0, n + 2 * padding - (k - 1) * dilation, stride)
        return first[:, None] + dilation * np.arange(k)

    def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
        frame = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        sizes = zip(x.shape[2:], w.shape[2:], strict=True)
        i, j = (places(n, k, stride, padding, dilation) for n, k in sizes)
        place = np.s_[:, :, i[:, None, :, None], j[None, :, None, :]]
        y = np.tensordot(frame[place], w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        return (y if b is None else y + b.reshape(-1, 1, 1)), (frame, place, w, b, padding)

    def conv2d_backward(dy, cache):
        frame, place, w, b, P = cache
        dw = np.tensordot(dy, frame[place], axes=((0, 2, 3), (0, 2, 3)))
        dframe = np.zeros_like(frame)
        np.add.at(dframe, place, np.tensordot(dy, w, axes=(1, 0)).transpose(0, 3, 1, 2, 4, 5))
        dx = dframe[:, :, P : frame.shape[2] - P, P : frame.shape[3] - P]
        return dx, dw, None if b is None else dy.sum(axis=(0, 2, 3))

    return locals()


@right("2.1", "by ranges")
def conv_output_size(x_shape, w_shape, stride, padding, dilation):
    size = []
    for n, k in zip(x_shape[2:], w_shape[2:], strict=True):
        size.append(len(range(0, n + 2 * padding - (k - 1) * dilation, stride)))
    if 0 in size:
        raise ValueError("it does not fit")
    return size
