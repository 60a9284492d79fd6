"""Right answers to assignment 4 in an unusual form. They must have full marks."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ops, bn, bn_backward = solution.ops, solution.bn, solution.bn_backward


# ---- 4.1 ----


@right("4.1", "mean of x and its absolute value")
def _():
    def relu_forward(x):
        return (x + abs(x)) / 2, np.sign(x)

    def relu_backward(dy, cache):
        return dy * (cache + 1 > 1.5)

    return locals()


@right("4.1", "y as the cache, in another order of memory")
def _():
    def relu_forward(x):
        y = np.asfortranarray(np.where(x > 0, x, 0.0).astype(x.dtype))
        y.flags.writeable = False
        return y, {"y": y}

    def relu_backward(dy, cache):
        dx = np.array(dy)
        dx[cache["y"] == 0] = 0
        return dx

    return locals()


@right("4.1", "clip and copyto")
def _():
    def relu_forward(x):
        return x.clip(min=0), (x, x.shape)

    def relu_backward(dy, cache):
        x, shape = cache
        dx = np.zeros(shape, dy.dtype)
        np.copyto(dx, dy, where=x > 0)
        return dx

    return locals()


@right("4.1", "the cache becomes dx")
def _():
    def relu_forward(x):
        positive = (x > 0).astype(x.dtype)
        return x * positive, positive

    def relu_backward(dy, cache):
        cache *= dy
        return cache

    return locals()


# ---- 4.2 and 4.3 ----


@right("4.3", "a loop over layers, an object as the cache")
def _():
    class Tape:
        """What the backward undoes, from its end."""

        def __init__(self):
            self.steps = []

    def block_forward(x, p):
        tape, h = Tape(), x
        for i in (1, 2):
            h, conv = ops.conv2d_forward(h, p[f"w{i}"], stride=1, padding=1)
            h, norm = bn(h, p[f"gamma{i}"], p[f"beta{i}"])
            h = h if i == 1 else ops.add(h, x)
            tape.steps.append((i, conv, norm, h > 0))
            h = h * (h > 0)
        return h, tape

    def block_backward(dy, tape):
        grads, d, around = {}, dy, 0
        while tape.steps:
            i, conv, norm, positive = tape.steps.pop()
            d = d * positive
            around = d if i == 2 else around
            d, grads[f"gamma{i}"], grads[f"beta{i}"] = bn_backward(d, norm)
            d, grads[f"w{i}"], _ = ops.conv2d_backward(d, conv)
        return [np.asfortranarray(d + around), grads]

    return locals()


@right("4.3", "nothing is kept but x and p")
def _():
    def block_forward(x, p):
        return solution.block_forward(x, p)[0], (x, p)

    def block_backward(dy, cache):
        x, p = cache
        return solution.block_backward(dy, solution.block_forward(x, p)[1])

    return locals()


@right("4.3", "convolution and norm written out, by windows and einsum")
def _():
    def conv(x, w):
        frame = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(frame, (3, 3), axis=(2, 3))
        return np.einsum("nchvkl,fckl->nfhv", windows, w, optimize=True), windows

    def norm(x, gamma, beta):
        M = x.size // x.shape[1]
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        std = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
        x_hat = (x - mean) / std
        return x_hat * gamma[:, None, None] + beta[:, None, None], (x_hat, std, gamma, M)

    def norm_back(dy, cache):
        x_hat, std, gamma, M = cache
        dbeta = np.einsum("nchv->c", dy)
        dgamma = np.einsum("nchv,nchv->c", dy, x_hat)
        away = (dbeta[:, None, None] + x_hat * dgamma[:, None, None]) / M
        return gamma[:, None, None] / std * (dy - away), dgamma, dbeta

    def block_forward(x, p):
        c = {"p": p}
        z, c["windows 1"] = conv(x, p["w1"])
        z, c["norm 1"] = norm(z, p["gamma1"], p["beta1"])
        c["mask 1"] = (z > 0).astype(x.dtype)
        z, c["windows 2"] = conv(z * c["mask 1"], p["w2"])
        z, c["norm 2"] = norm(z, p["gamma2"], p["beta2"])
        y = np.where(z + x > 0, z + x, x.dtype.type(0))
        c["mask 2"] = np.sign(y)
        return y, c

    def block_backward(dy, c):
        d = ds = dy * c["mask 2"]
        grads = {}
        for i in (2, 1):
            d, dgamma, dbeta = norm_back(d, c[f"norm {i}"])
            dw = np.einsum("nfhv,nchvkl->fckl", d, c[f"windows {i}"], optimize=True)
            grads |= {f"beta{i}": dbeta, f"w{i}": dw, f"gamma{i}": dgamma}
            turned = c["p"][f"w{i}"][:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
            d, _ = conv(d, turned)
            d = d * c["mask 1"] if i == 2 else d
        return d + ds, grads

    return locals()


# ---- 4.4 ----


@right("4.4", "shifted images, and np.pad")
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        if out_channels < x.shape[1] or x.shape[2] % stride or x.shape[3] % stride:
            raise ValueError
        total = sum(x[:, :, i::stride, j::stride] for i, j in np.ndindex(stride, stride))
        more = out_channels - x.shape[1]
        return np.pad(total / stride**2, ((0, 0), (0, more), (0, 0), (0, 0))), (x, stride)

    def pad_shortcut_backward(dy, cache):
        x, stride = cache
        dx = np.empty_like(x)
        for i, j in np.ndindex(stride, stride):
            dx[:, :, i::stride, j::stride] = dy[:, : x.shape[1]] / stride**2
        return dx

    return locals()


@right("4.4", "two matrices, refused by reshape and np.zeros")
def _():
    def means(n, stride, dtype):
        return np.kron(np.eye(n // stride), np.full(stride, 1 / stride)).astype(dtype)

    def pad_shortcut_forward(x, out_channels, stride):
        N, C, H, W = x.shape
        x.reshape(N, C, H // stride, stride, W // stride, stride)
        rows, columns = means(H, stride, x.dtype), means(W, stride, x.dtype)
        small = rows @ x @ columns.T
        more = np.zeros((N, out_channels - C, *small.shape[2:]), x.dtype)
        return np.concatenate([small, more], axis=1), (C, rows, columns)

    def pad_shortcut_backward(dy, cache):
        C, rows, columns = cache
        return np.einsum("nchv,hr,vs->ncrs", dy[:, :C], rows, columns)

    return locals()


@right("4.4", "convolution of each channel with a constant kernel")
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        N, C, H, W = x.shape
        if out_channels < C or H % stride or W % stride:
            raise ValueError("it does not fit")
        w = np.zeros((out_channels, C, stride, stride), x.dtype)
        w[np.arange(C), np.arange(C)] = 1 / stride**2
        return ops.conv2d_forward(x, w, stride=stride)

    def pad_shortcut_backward(dy, cache):
        return ops.conv2d_backward(dy, cache)[0]

    return locals()


# ---- 4.5 ----


@right("4.5", "the plain block with scaled gamma2 and beta2")
def _():
    def scaled_block_forward(x, p, alpha):
        q = {**p, "gamma2": alpha * p["gamma2"], "beta2": alpha * p["beta2"]}
        y, cache = solution.block_forward(x, q)
        return y, (p, alpha, cache)

    def scaled_block_backward(dy, cache):
        p, alpha, inner = cache
        dx, grads = solution.block_backward(dy, inner)
        dalpha = grads["gamma2"] @ p["gamma2"] + grads["beta2"] @ p["beta2"]
        of_norm = {key: alpha * grads[key] for key in ("gamma2", "beta2")}
        return dx, {**grads, **of_norm}, dalpha

    return locals()


@right("4.5", "f from the sum, dalpha as an array without dimensions")
def scaled_block_backward(dy, cache):
    alpha, f, relu2, rest = cache
    dx, grads, _ = solution.scaled_block_backward(dy, cache)
    ds = np.where(relu2, dy, 0).astype(dy.dtype)
    return dx, dict(reversed(grads.items())), np.array(np.vdot(f, ds))


@right("4.5", "everything again from x, p and alpha; dalpha as a float")
def _():
    def scaled_block_forward(x, p, alpha):
        return solution.scaled_block_forward(x, p, alpha)[0], (x, p, alpha)

    def scaled_block_backward(dy, cache):
        _, again = solution.scaled_block_forward(*cache)
        dx, grads, dalpha = solution.scaled_block_backward(dy, again)
        return dx, grads, float(dalpha)

    return locals()
