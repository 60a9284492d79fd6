"""Right answers to assignment 2 in an unusual form. They must have full marks."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


@right("2.3", "loops over everything", loses=("growth",))
def _():
    def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
        N, C, H, W = x.shape
        F, _, KH, KW = w.shape
        OH, OW = solution.conv_output_size(x.shape, w.shape, stride, padding)
        frame = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        y = np.empty((N, F, OH, OW), x.dtype)
        for n in range(N):
            for f in range(F):
                for i in range(OH):
                    for j in range(OW):
                        part = frame[n, :, i * stride : i * stride + KH, j * stride :][:, :, :KW]
                        y[n, f, i, j] = (part * w[f]).sum() + (0 if b is None else b[f])
        return y, {"x": x, "frame": frame, "w": w, "b": b, "stride": stride, "padding": padding}

    def conv2d_backward(dy, cache):
        x, frame, w, stride, P = (cache[k] for k in ("x", "frame", "w", "stride", "padding"))
        KH, KW = w.shape[2:]
        dframe, dw = np.zeros_like(frame), np.zeros_like(w)
        for n, f, i, j in np.ndindex(dy.shape):
            place = np.s_[n, :, i * stride : i * stride + KH, j * stride : j * stride + KW]
            dw[f] += dy[n, f, i, j] * frame[place]
            dframe[place] += dy[n, f, i, j] * w[f]
        dx = dframe[:, :, P:-P, P:-P] if P else dframe
        return dx, dw, None if cache["b"] is None else dy.sum((0, 2, 3))

    return locals()


@right("2.3", "im2col")
def _():
    class Cache:
        """An object as a cache."""

    def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
        cache = Cache()
        cache.x, cache.w, cache.has_bias = x, w, b is not None
        cache.stride, cache.padding = stride, padding
        frame = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        windows = sliding_window_view(frame, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        N, C, OH, OW, KH, KW = windows.shape
        cache.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(N * OH * OW, C * KH * KW)
        y = cache.columns @ w.reshape(len(w), -1).T
        if b is not None:
            y = y + b
        return y.reshape(N, OH, OW, -1).transpose(0, 3, 1, 2), cache

    def conv2d_backward(dy, cache):
        w, S, P = cache.w, cache.stride, cache.padding
        F, C, KH, KW = w.shape
        N, _, OH, OW = dy.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, F)
        dw = (rows.T @ cache.columns).reshape(w.shape)
        parts = (rows @ w.reshape(F, -1)).reshape(N, OH, OW, C, KH, KW)
        H, W = cache.x.shape[2:]
        dframe = np.zeros((N, C, H + 2 * P, W + 2 * P), dy.dtype)
        i = np.arange(OH)[:, None] * S + np.arange(KH)
        j = np.arange(OW)[:, None] * S + np.arange(KW)
        place = (slice(None), slice(None), i[:, None, :, None], j[None, :, None, :])
        np.add.at(dframe, place, parts.transpose(0, 3, 1, 2, 4, 5))
        db = rows.sum(axis=0) if cache.has_bias else None
        return dframe[:, :, P : P + H, P : P + W], dw, db

    return locals()


@right("2.3", "einsum over windows, results in Fortran order")
def _():
    def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
        frame = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        windows = sliding_window_view(frame, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        y = np.einsum("nchwkl,fckl->nfhw", windows, w, optimize=True)
        y = y if b is None else y + b.reshape(1, -1, 1, 1)
        return np.asfortranarray(y), [windows, frame.shape, w, b, stride, padding]

    def conv2d_backward(dy, cache):
        windows, shape, w, b, stride, padding = cache
        dw = np.einsum("nfhw,nchwkl->fckl", dy, windows, optimize=True)
        dframe = np.zeros(shape, dy.dtype)
        OH, OW = dy.shape[2:]
        for k, j in np.ndindex(w.shape[2:]):
            part = dframe[:, :, k:, j:][:, :, ::stride, ::stride][:, :, :OH, :OW]
            part += np.tensordot(dy, w[:, :, k, j], axes=(1, 0)).transpose(0, 3, 1, 2)
        H, W = shape[2] - 2 * padding, shape[3] - 2 * padding
        dx = dframe[:, :, padding:, padding:][:, :, :H, :W]
        dx.flags.writeable = False
        return [np.asfortranarray(dx), dw, b if b is None else np.einsum("nfhw->f", dy)]

    return locals()


@right("2.3", "gradient by a convolution with the turned kernel")
def conv2d_backward(dy, cache):
    x, w, b, stride, padding = cache
    _, dw, db = solution.conv2d_backward(dy, cache)
    N, F, OH, OW = dy.shape
    KH, KW = w.shape[2:]
    H, W = x.shape[2] + 2 * padding, x.shape[3] + 2 * padding
    spread = np.zeros((N, F, H + KH - 1, W + KW - 1), dy.dtype)
    spread[:, :, KH - 1 :: stride, KW - 1 :: stride][:, :, :OH, :OW] = dy
    turned = np.ascontiguousarray(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
    dframe, _ = solution.conv2d_forward(spread, turned)
    H, W = x.shape[2:]
    return dframe[:, :, padding : padding + H, padding : padding + W], dw, db


@right("2.1", "a list of floor divisions")
def conv_output_size(x_shape, w_shape, stride, padding):
    room = np.array(x_shape[2:]) + 2 * padding - np.array(w_shape[2:])
    if room.min() < 0:
        raise ValueError("too large")
    return (room // stride + 1).tolist()


@right("2.5", "sums of shifted images")
def _():
    def avg_pool2d_forward(x, kernel):
        if x.shape[2] % kernel or x.shape[3] % kernel:
            raise ValueError
        total = 0
        for i in range(kernel):
            for j in range(kernel):
                total = total + x[:, :, i::kernel, j::kernel]
        return total / kernel**2, (x, kernel)

    def avg_pool2d_backward(dy, cache):
        x, kernel = cache
        share = np.ones((kernel, kernel), dy.dtype) / dy.dtype.type(kernel**2)
        return np.kron(dy, share)

    return locals()
