"""Right answers to assignment 3 with unbiased variances, written without an ordinary one."""

import numpy as np


@right("3.4", "ddof, and the formula with M - 1")
def _():
    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        mean, var = running_mean, running_var
        if training:
            if x.size == x.shape[1]:
                raise ValueError("one number has no variance")
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (var - running_var)
        std = np.sqrt(var + eps)
        x_hat = (x - mean[:, None, None]) / std[:, None, None]
        return gamma[:, None, None] * x_hat + beta[:, None, None], (x_hat, std, gamma, training)

    def batchnorm2d_backward(dy, cache):
        x_hat, std, gamma, training = cache
        dbeta, dgamma = dy.sum(axis=(0, 2, 3)), (dy * x_hat).sum(axis=(0, 2, 3))
        dx = dy
        if training:
            M = dy.size // dy.shape[1]
            dx = dy - (dbeta / M)[:, None, None] - x_hat * (dgamma / (M - 1))[:, None, None]
        return (gamma / std)[:, None, None] * dx, dgamma, dbeta

    return locals()


@right("3.4", "rows of numbers, one path at a time")
def _():
    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        N, C, H, W = x.shape
        rows = x.transpose(0, 2, 3, 1).reshape(-1, C)
        mean, var = running_mean.copy(), running_var.copy()
        if training:
            if len(rows) < 2:
                raise ValueError
            mean = rows.mean(axis=0)
            var = np.square(rows - mean).sum(axis=0) / (len(rows) - 1)
            running_mean[:] = (1 - momentum) * running_mean + momentum * mean
            running_var[:] = (1 - momentum) * running_var + momentum * var
        centred, root = rows - mean, np.sqrt(var + eps)
        y = (gamma * (centred / root) + beta).reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return y, [centred, root, gamma, training]

    def batchnorm2d_backward(dy, cache):
        centred, root, gamma, training = cache
        N, C, H, W = dy.shape
        drows = dy.transpose(0, 2, 3, 1).reshape(-1, C)
        dhat = drows * gamma
        d = dhat / root
        if training:
            dvar = -0.5 * (dhat * centred).sum(axis=0) / root**3
            d = d + dvar * 2 * centred / (len(drows) - 1)
            d = d - d.mean(axis=0)
        dx = d.reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return dx, (drows * centred / root).sum(axis=0), drows.sum(axis=0)

    return locals()
