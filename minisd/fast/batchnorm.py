"""`minisd.ops.batchnorm` slab by slab, for images by rows.

By rows, (H, C, W*N), the numbers of one channel in one row of all images are one run. Sums are
taken run by run, then over the rows. That is fast, and keeps them accurate in float32: a run is
summed in short stretches, and the rows in float64.
"""

from typing import Any

from minisd import machine
from minisd.backend import Array, array_module, one_kernel
from minisd.fast.layout import as_images, by_rows, empty_rows, flat, joined, slab
from minisd.ops.batchnorm import pooled_moments
from minisd.ops.check import check_arrays, check_batchnorm2d, check_ndim, check_upstream

Cache = tuple[Any, ...]


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
    """Normalise every channel: see `minisd.ops.batchnorm2d_forward`."""
    check_batchnorm2d(x, gamma, beta, running_mean, running_var, training, momentum, eps, group)
    N, _, H, W = x.shape
    M = N * H * W
    rows, y = by_rows(x), empty_rows(x.shape, x)
    if training:
        mean, var = moments_by_rows(rows)
        if group is not None:
            M, mean, var = pooled_moments(group.gather((M, mean, var)))
        move_running(running_mean, running_var, mean, var, float(momentum), M)
    else:
        mean, var = running_mean.copy(), running_var  # a training forward may move it meanwhile
    inv_std, scale, _ = scale_and_shift(mean, var, gamma, beta, float(eps))

    def one_slab(part: slice) -> None:
        x_runs, y_runs = flat(rows[part]), flat(y[part])
        normalise_deviations(x_runs, mean[:, None], scale[:, None], beta[:, None], y_runs)

    machine.in_slabs(one_slab, H, slab(y), y)
    return as_images(y), (x, mean, inv_std, gamma, training, M, group)


def batchnorm2d_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradients of `batchnorm2d_forward`: see `minisd.ops.batchnorm2d_backward`.

    The cache has ``x``, which is in memory anyway, and not ``x_hat``, which is computed again.
    """
    x, mean, inv_std, gamma, training, M, group = cache
    xp = check_upstream("batchnorm2d_backward", dy, x.shape, x)
    H = x.shape[2]
    x_rows, dy_rows, dx = by_rows(x), by_rows(dy), empty_rows(x.shape, x)

    parts = machine.in_slabs(
        lambda part: gradient_sums(flat(dy_rows[part]), flat(x_rows[part]), mean), H, slab(dx), dx
    )
    along_x, dbeta = sums(parts, group)
    dgamma = along_x * inv_std

    scale, along = (gamma * inv_std)[:, None], (-inv_std * dgamma / M)[:, None]
    mean_dy = (dbeta / M)[:, None]

    def one_slab(part: slice) -> None:
        dx_runs, dy_runs = flat(dx[part]), flat(dy_rows[part])
        if training:
            x_runs = flat(x_rows[part])
            gradient_of_norm(dy_runs, x_runs, mean[:, None], along, mean_dy, scale, dx_runs)
        else:
            xp.multiply(dy_runs, scale, out=dx_runs)

    machine.in_slabs(one_slab, H, slab(dx), dx)
    return as_images(dx), dgamma, dbeta


@one_kernel
def normalise_deviations(
    xp: Any, x: Array, mean: Array, scale: Array, beta: Array, out: Array
) -> None:
    """Write scale * (x - mean) + beta into ``out``."""
    xp.subtract(x, mean, out=out)
    out *= scale
    out += beta


@one_kernel
def gradient_of_norm(
    xp: Any,
    dy: Array,
    x: Array,
    mean: Array,
    along: Array,
    mean_dy: Array,
    scale: Array,
    out: Array,
) -> None:
    """Write scale * (dy + along * (x - mean) - mean_dy) into ``out``."""
    xp.subtract(x, mean, out=out)
    out *= along
    out += dy
    out -= mean_dy
    out *= scale


def channel_moments(x: Array) -> tuple[Array, Array]:
    """Return every channel's mean and (biased) variance (C,), of images (N, C, H, W)."""
    check_arrays("channel_moments", x=x)
    check_ndim("channel_moments", "x", x, "NCHW")
    return moments_by_rows(by_rows(x))


def moments_by_rows(rows: Array) -> tuple[Array, Array]:
    """`channel_moments` of images by rows (H, C, W, N)."""
    H, _, W, N = rows.shape
    parts = machine.in_slabs(lambda part: run_moments(flat(rows[part])), H, slab(rows), rows)
    return moments(parts, W * N)


def run_moments(runs: Array) -> tuple[Array, Array]:
    """Return m and Q (rows, C): every run's mean and sum of squared deviations from it.

    Parameters
    ----------
    runs : (rows, C, W*N)
    """
    xp = array_module(runs)
    m = machine.run_sums(xp, runs) / runs.shape[2]
    return m, squared_deviations(runs, m[:, :, None], *machine.scratch(runs))


@one_kernel
def squared_deviations(xp: Any, runs: Array, m: Array, centred: Array | None = None) -> Array:
    """Sum of (runs - m)^2 over every run; ``centred`` may be overwritten."""
    centred = xp.subtract(runs, m, out=centred)
    return machine.run_dots(xp, centred, centred)


def moments(parts: list[tuple[Array, Array]], n: int) -> tuple[Array, Array]:
    """Return the channels' mean and (biased) variance (C,) from the moments of runs of n numbers.

        mean = mean over runs of m        var = mean over runs of (Q / n + (m - mean)^2)

    The identity is exact. In float32 it is no less accurate than two passes over the whole.
    """
    m, Q = (joined(part) for part in zip(*parts, strict=True))
    mean = machine.mean_over(array_module(m), m, axis=0)
    return mean, summed_variance(m, Q, mean, n) / len(m)


@one_kernel
def summed_variance(xp: Any, m: Array, Q: Array, mean: Array, n: int) -> Array:
    """Sum over the runs of Q / n + (m - mean)^2."""
    return machine.sum_over(xp, Q / n + xp.square(m - mean), axis=0)


@one_kernel
def scale_and_shift(
    xp: Any, mean: Array, var: Array, gamma: Array, beta: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Return 1 / std, and scale and shift of y = gamma * (x - mean) / std + beta."""
    inv_std = 1 / xp.sqrt(var + eps)
    scale = gamma * inv_std
    return inv_std, scale, beta - mean * scale


def move_running(
    running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float, M: int
) -> None:
    """Move the running statistics towards those of a batch of M numbers per channel, in place."""
    unbiased = momentum * (M / (M - 1))
    move_statistics(running_mean, running_var, mean, var, 1 - momentum, momentum, unbiased)


@one_kernel
def move_statistics(
    xp: Any,
    running_mean: Array,
    running_var: Array,
    mean: Array,
    var: Array,
    stay: float,
    move: float,
    move_unbiased: float,
) -> None:
    """Multiply the running statistics by ``stay``, and add the batch's times ``move``."""
    running_mean *= stay
    running_mean += move * mean
    running_var *= stay
    running_var += move_unbiased * var


def gradient_sums(dy_runs: Array, x_runs: Array, mean: Array) -> tuple[Array, Array]:
    """Return the sums of dy * (x - mean) and of dy over every run: (rows, C) each."""
    xp = array_module(dy_runs)
    along_x = products_with_deviations(dy_runs, x_runs, mean[:, None], *machine.scratch(x_runs))
    return along_x, machine.run_sums(xp, dy_runs)


def gradient_sums_above(dy_runs: Array, excess: Array, above_mean: Array) -> tuple[Array, Array]:
    """`gradient_sums`, computed from max(x - threshold, 0).

    Only valid if dy is 0 wherever that maximum is 0. Then

        sum of dy (x - mean)  =  sum of dy (x - threshold)  +  (threshold - mean) * sum of dy

    Parameters
    ----------
    above_mean : (C,)
        threshold - mean.
    """
    xp = array_module(dy_runs)
    sum_dy = machine.run_sums(xp, dy_runs)
    return machine.run_dots(xp, dy_runs, excess) + above_mean * sum_dy, sum_dy


@one_kernel
def products_with_deviations(
    xp: Any, dy_runs: Array, x_runs: Array, mean: Array, centred: Array | None = None
) -> Array:
    """Sum of dy * (x - mean) over every run; ``centred`` may be overwritten."""
    return machine.run_dots(xp, dy_runs, xp.subtract(x_runs, mean, out=centred))


def sums(parts: list[tuple[Array, Array]], group: Any = None) -> tuple[Array, Array]:
    """Return the sums over all runs, (C,) each, from those of `gradient_sums`.

    With a ``group``, over those of all parts of the batch.
    """
    xp = array_module(parts[0][0])
    first, second = (
        machine.sum_over(xp, joined(part), axis=0) for part in zip(*parts, strict=True)
    )
    if group is None:
        return first, second
    gathered = zip(*group.gather((first, second)), strict=True)
    first, second = (sum(of_parts) for of_parts in gathered)
    return first, second
