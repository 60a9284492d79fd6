"""Solutions to the exercises of tutorial 4, to be read as if they stood in it."""

import numpy as np


def fold(w, gamma, beta, running_mean, running_var, eps):
    """y = scale * (conv(x, w) - mean) + beta, and a convolution is linear in its weights."""
    scale = gamma / np.sqrt(running_var + eps)
    return w * scale[:, None, None, None], beta - scale * running_mean


def pooled(counts, means, variances):
    """The mean of the variances, and the variance of the means.

    A batch's squared deviations from the common mean are those from its own, n * variance, and
    n * (its mean - the common mean)^2; the mixed term is a sum of deviations, which is zero.
    """
    n = counts[:, None]
    mean = (n * means).sum(axis=0) / n.sum()
    squares = (n * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, squares / (n.sum() - 1)


def groupnorm_backward(dy, cache):
    """Gamma is no longer one number in what is normalised together, so it stays in the means."""
    x_hat, std, gamma, groups = cache
    dgamma, dbeta = (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
    dx_hat = (gamma[:, None, None] * dy).reshape(len(dy), groups, -1)
    x_hat = x_hat.reshape(dx_hat.shape)
    along_ones = dx_hat.mean(axis=2, keepdims=True)
    along_x_hat = x_hat * (dx_hat * x_hat).mean(axis=2, keepdims=True)
    dx = (dx_hat - along_ones - along_x_hat) / std
    return dx.reshape(dy.shape), dgamma, dbeta
