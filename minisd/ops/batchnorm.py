"""Batch normalisation of images, per channel (Ioffe and Szegedy 2015), forward and backward."""

from typing import Any

from minisd.backend import Array
from minisd.ops.check import check_arrays, check_ndim, check_shape, check_upstream

Cache = tuple[Any, ...]

_PER_CHANNEL = (0, 2, 3)  # the axes that a channel's statistics are taken over: N, H, W


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
) -> tuple[Array, Cache]:
    """Give every channel mean ``beta`` and standard deviation ``gamma`` (up to ``eps``).

        x_hat = (x - mean) / sqrt(var + eps)        y = gamma * x_hat + beta

    In training, mean and (biased) variance are the batch's own, and the running statistics move in
    place: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance.
    In evaluation they are the running ones, which are then constants.

    The variance is taken in two passes, as the mean of squared deviations: the shorter
    ``E[x^2] - E[x]^2`` cancels catastrophically in float32 when the mean is large.

    Parameters
    ----------
    x : (N, C, H, W)
    gamma, beta : (C,)
        Scale and shift.
    running_mean, running_var : (C,)
        Moved in place when ``training``.

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
    xp = check_arrays(
        "batchnorm2d",
        x=x,
        gamma=gamma,
        beta=beta,
        running_mean=running_mean,
        running_var=running_var,
    )
    check_ndim("batchnorm2d", "x", x, "NCHW")
    N, C, H, W = x.shape
    for name, array in (
        ("gamma", gamma),
        ("beta", beta),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ):
        check_shape("batchnorm2d", name, array, (C,))

    momentum, eps = float(momentum), float(eps)  # a NumPy float64 would turn float32 into float64
    if training:
        M = N * H * W
        if M == 1:
            raise ValueError(
                f"batchnorm2d: training needs more than one number per channel, x is {x.shape}"
            )
        mean = x.mean(axis=_PER_CHANNEL)
        centred = x - _column(mean)
        var = (centred * centred).mean(axis=_PER_CHANNEL)
        running_mean *= 1 - momentum
        running_mean += momentum * mean
        running_var *= 1 - momentum
        running_var += momentum * (M / (M - 1)) * var
    else:
        centred = x - _column(running_mean)
        var = running_var

    inv_std = 1 / xp.sqrt(var + eps)
    x_hat = centred * _column(inv_std)
    y = _column(gamma) * x_hat + _column(beta)
    return y, (x_hat, inv_std, gamma, training)


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
    x_hat, inv_std, gamma, training = cache
    check_upstream("batchnorm2d_backward", dy, x_hat.shape, x_hat)

    dgamma = (dy * x_hat).sum(axis=_PER_CHANNEL)
    dbeta = dy.sum(axis=_PER_CHANNEL)
    if training:
        M = x_hat.size // x_hat.shape[1]
        dx = dy - _column(dbeta / M) - x_hat * _column(dgamma / M)
    else:
        dx = dy
    return _column(gamma * inv_std) * dx, dgamma, dbeta


def _column(per_channel: Array) -> Array:
    """View (C,) as (1, C, 1, 1), to broadcast against (N, C, H, W)."""
    return per_channel[None, :, None, None]
