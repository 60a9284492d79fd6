"""Batch normalisation of images, per channel (Ioffe and Szegedy 2015), forward and backward."""

from typing import Any

from minisd.backend import Array
from minisd.ops.check import check_arrays, check_batchnorm2d, check_ndim, check_upstream
from minisd.ops.sums import mean_over, sum_over

Cache = tuple[Any, ...]

IMAGES = (0, 2, 3)
"""The axes that a channel's numbers lie along: N, H and W."""


def batchnorm2d_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    group: Any = None,
) -> tuple[Array, Cache]:
    """Give every channel mean ``beta`` and standard deviation ``gamma`` (up to ``eps``).

        x_hat = (x - mean) / sqrt(var + eps)        y = gamma * x_hat + beta

    In training, mean and (biased) variance are the batch's own, and the running statistics move in
    place: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance.
    In evaluation they are the running ones, which are then constants.

    Parameters
    ----------
    x : (N, C, H, W)
    gamma, beta : (C,)
        Scale and shift.
    running_mean, running_var : (C,)
        Moved in place when ``training``.
    group : object with ``gather``, optional
        For a batch in several parts, of which ``x`` is one: ``group.gather(mine)`` returns a list
        of what all parts gave. None: ``x`` is the whole batch.

    Returns
    -------
    y : (N, C, H, W)
    cache
        For `batchnorm2d_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, or if ``training`` with one single number per channel, whose
        variance says nothing.
    """
    xp = check_batchnorm2d(
        x, gamma, beta, running_mean, running_var, training, momentum, eps, group
    )
    momentum, M = float(momentum), x.size // x.shape[1]  # M numbers of each channel
    if training:
        mean, var = channel_moments(x)
        if group is not None:
            M, mean, var = pooled_moments(group.gather((M, mean, var)))
        running_mean[...] = (1 - momentum) * running_mean + momentum * mean
        running_var[...] = (1 - momentum) * running_var + momentum * var * (M / (M - 1))
    else:
        mean, var = running_mean, running_var

    inv_std = 1 / xp.sqrt(var + float(eps))
    x_hat = (x - mean[:, None, None]) * inv_std[:, None, None]
    y = gamma[:, None, None] * x_hat + beta[:, None, None]
    return y, (x_hat, inv_std, gamma, training, M, group)


def batchnorm2d_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradients of `batchnorm2d_forward`.

    In training, mean and variance depend on every ``x``, which takes two terms out of ``dx``:

        dx = gamma / std * (dy - mean(dy) - x_hat * mean(dy * x_hat))

    the part of ``dy`` along the constant and the part along ``x_hat``: a change of ``x`` in
    either direction is normalised away. In evaluation the statistics are constants and
    ``dx = gamma / std * dy``.

    Parameters
    ----------
    dy : (N, C, H, W)

    Returns
    -------
    dx : (N, C, H, W)
    dgamma, dbeta : (C,)
    """
    x_hat, inv_std, gamma, training, M, group = cache
    check_upstream("batchnorm2d_backward", dy, x_hat.shape, x_hat)
    dgamma, dbeta = sum_over(dy * x_hat, axis=IMAGES), sum_over(dy, axis=IMAGES)
    if group is not None:
        parts = group.gather((dgamma, dbeta))
        dgamma, dbeta = sum(part[0] for part in parts), sum(part[1] for part in parts)
    dx = dy
    if training:
        mean_dy, mean_dy_x_hat = dbeta / M, dgamma / M
        dx = dy - mean_dy[:, None, None] - x_hat * mean_dy_x_hat[:, None, None]
    return (gamma * inv_std)[:, None, None] * dx, dgamma, dbeta


def channel_moments(x: Array) -> tuple[Array, Array]:
    """Return every channel's mean and (biased) variance.

    The variance is taken in two passes, as the mean of squared deviations: the shorter
    ``E[x^2] - E[x]^2`` cancels catastrophically in float32 when the mean is large.

    Parameters
    ----------
    x : (N, C, H, W)

    Returns
    -------
    mean, var : (C,)
    """
    check_arrays("channel_moments", x=x)
    check_ndim("channel_moments", "x", x, "NCHW")
    mean = mean_over(x, axis=IMAGES)
    return mean, mean_over((x - mean[:, None, None]) ** 2, axis=IMAGES)


def pooled_moments(parts: list[tuple[int, Array, Array]]) -> Any:
    """Return count, mean and (biased) variance of several parts together (Chan et al. 1979).

    M = sum of M_r        mean = sum of M_r mean_r / M
    var = sum of M_r (var_r + (mean_r - mean)^2) / M
    """
    M = sum(count for count, _, _ in parts)
    if M == 1:
        raise ValueError("batchnorm2d: training needs more than one number per channel")
    mean = sum(count * mean for count, mean, _ in parts) / M
    var = sum(count * (var + (part - mean) ** 2) for count, part, var in parts) / M
    return M, mean, var
