"""Right answers to assignment 3 with pairs of channels, written without an ordinary batch norm."""

import numpy as np


@right("3.4", "an axis for the pairs")
def _():
    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        N, C, H, W = x.shape
        pairs = x.reshape(N, C // 2, 2, H, W)  # refuses an odd C
        axes = (0, 2, 3, 4)
        mean, var = running_mean.copy(), running_var.copy()
        if training:
            mean, var = pairs.mean(axis=axes), pairs.var(axis=axes)
            M = 2 * N * H * W
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (var * M / (M - 1) - running_var)
        std = np.sqrt(var + eps)
        x_hat = (pairs - mean[:, None, None, None]) / std[:, None, None, None]
        y = gamma[:, None, None, None] * x_hat + beta[:, None, None, None]
        return y.reshape(x.shape), (x_hat, std, gamma, training)

    def batchnorm2d_backward(dy, cache):
        x_hat, std, gamma, training = cache
        d, axes = dy.reshape(x_hat.shape), (0, 2, 3, 4)
        dgamma, dbeta = (d * x_hat).sum(axis=axes), d.sum(axis=axes)
        if training:
            away = d.mean(axis=axes, keepdims=True)
            d = d - away - x_hat * (d * x_hat).mean(axis=axes, keepdims=True)
        return ((gamma / std)[:, None, None, None] * d).reshape(dy.shape), dgamma, dbeta

    return locals()


@right("3.4", "pair by pair")
def _():
    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        if x.shape[1] % 2 == 1:
            raise ValueError("odd")
        y, kept = np.empty_like(x), []
        for g in range(len(gamma)):
            two = x[:, 2 * g : 2 * g + 2]
            mean, var = running_mean[g], running_var[g]
            if training:
                mean, var = two.mean(), two.var()
                running_mean[g] = (1 - momentum) * running_mean[g] + momentum * mean
                running_var[g] = (1 - momentum) * running_var[g] + momentum * two.var(ddof=1)
            std = np.sqrt(var + eps).astype(x.dtype)
            y[:, 2 * g : 2 * g + 2] = gamma[g] * ((two - mean) / std) + beta[g]
            kept.append(((two - mean) / std, std, gamma[g]))
        return y, [training, kept]

    def batchnorm2d_backward(dy, cache):
        training, kept = cache
        dx, dgamma, dbeta = np.empty_like(dy), [], []
        for g, (x_hat, std, gamma) in enumerate(kept):
            d = dy[:, 2 * g : 2 * g + 2]
            dgamma.append((d * x_hat).sum())
            dbeta.append(d.sum())
            if training:
                d = d - dbeta[-1] / d.size - x_hat * (dgamma[-1] / d.size)
            dx[:, 2 * g : 2 * g + 2] = gamma / std * d
        return dx, np.array(dgamma), np.array(dbeta)

    return locals()


@right("3.7", "everything repeated")
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    gamma, beta, mean, var = (np.repeat(v, 2) for v in (gamma, beta, running_mean, running_var))
    scale = gamma / np.sqrt(var + eps)
    old = np.zeros_like(beta) if b is None else b
    return np.einsum("fckl,f->fckl", w, scale), beta + scale * (old - mean)
