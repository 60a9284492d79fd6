"""Solutions to the exercises of tutorial 2, to be read as if they stood in it."""

import numpy as np


def smoothed_cross_entropy(logits, labels, epsilon):
    """Return the mean loss and (p - q) / N.

    Nothing in the derivation needed the target to be 0 or 1, only that it sums to 1. The gradient
    is zero where p = q, which finite logits reach: the minimum is not at infinity any more.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    N, K = logits.shape
    q = np.full((N, K), epsilon / K)
    q[np.arange(N), labels] += 1 - epsilon
    return -(q * log_p).sum(axis=1).mean(), (np.exp(log_p) - q) / N


def long_run_factor(rule, a, m):
    """The columns of the matrix are what a step does to (1, 0) and to (0, 1), with lr = 1.

    For momentum it is [[1 - a, -m], [a, m]], for Nesterov [[1 - a - ma, -m^2], [a, m]]. The product
    of the eigenvalues is the determinant, m and m(1 - a). While they are a complex pair they are of
    one size, sqrt(m) or sqrt(m(1 - a)). So momentum damps all directions alike, however steep (for
    m = 0.9, over a factor of a thousand in a), and Nesterov the steep ones more: it swings less.
    Both end where an eigenvalue reaches -1, where 1 + trace + determinant = 0: at a = 2(1 + m), and
    at a = 2(1 + m) / (1 + 2m). That is the price.
    """
    columns = [rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0))]
    return abs(np.linalg.eigvals(np.array(columns).T)).max()


def hessian_times(x, w, d):
    """The scores move by z = x d^T, p by p (z - sum p z), and dw = (p - onehot)^T x / N with p.

    The labels enter the gradient only as a constant, so the Hessian does not know them. And
    sum(d * Hd) is the mean over the images of z's variance under p. It is never negative, so the
    loss is convex, and all its minima, if it has any, are equally low. Where p is certain of one
    class, z has no variance and the loss no curvature.
    """
    s = x @ w.T
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    z = x @ d.T
    dp = p * (z - (p * z).sum(axis=1, keepdims=True))
    return dp.T @ x / len(x)
