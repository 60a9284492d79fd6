"""Convolution, batch norm and ReLU as one operation: the links of a residual branch.

The mathematics is that of `minisd.fast.conv`, `minisd.fast.batchnorm` and `minisd.fast.activation`,
term for term, and tests hold them against each other. The difference is when numbers are written to
memory. For y = ReLU(BN(z)), z = conv(x):

- forward: z is written. While a slab of it is in the processor's cache, its mean and variance are
  taken. y is never written: the next convolution computes it as it reads (`minisd.fast.sources`).
- backward, given g, the gradient of BN's output, and its sums: dz is computed as the convolution's
  backward reads it. While a slab of dx is in the cache, it goes back through the ReLU before, and
  the sums for the batch norm before are taken.

Where the next operation multiplies with filters, they take over the factor of each channel.

So the backward needs one array for each convolution, z; layer by layer there are two.
"""

from typing import Any

from minisd import machine
from minisd.backend import Array, one_kernel
from minisd.fast.activation import bits_of, keep_where, relu_backward_in_slabs
from minisd.fast.batchnorm import (
    gradient_sums,
    gradient_sums_above,
    moments,
    move_running,
    run_moments,
    scale_and_shift,
    sums,
)
from minisd.fast.conv import convolution_gradients, correlate
from minisd.fast.layout import as_images, by_rows, empty_rows, flat, slab
from minisd.fast.sources import (
    Normalised,
    NormGradient,
    Plain,
    Source,
    Thresholded,
    leave_scale_to_filters,
)
from minisd.ops.batchnorm import pooled_moments
from minisd.ops.check import check_batchnorm2d, check_conv2d

Cache = tuple[Any, ...]


def conv_norm_forward(
    x: Source,
    w: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    stride: int,
    padding: int,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
    group: Any = None,
) -> tuple[Normalised, Cache]:
    """Return BN(conv(x, w)), or its ReLU, as a source for the next operation to read.

    Parameters
    ----------
    x : source of (H, C, W, N)
    w, stride, padding
        As `minisd.ops.conv2d_forward` has them.
    gamma, beta, running_mean, running_var, training, momentum, eps, group
        As `minisd.ops.batchnorm2d_forward` has them.
    """
    N = x.shape[3]
    OH, OW = check_conv2d(as_images(x.like), w, None, stride, padding)
    M = OH * OW * N
    z = empty_rows((N, w.shape[0], OH, OW), w)
    check_batchnorm2d(
        as_images(z), gamma, beta, running_mean, running_var, training, momentum, eps, group
    )
    seen = leave_scale_to_filters(x)
    parts = correlate(
        seen,
        w,
        None,
        z,
        stride=stride,
        top=-padding,
        left=-padding,
        finish=run_moments if training else None,
    )
    if training:
        mean, var = moments(parts, OW * N)
        if group is not None:
            M, mean, var = pooled_moments(group.gather((M, mean, var)))
        move_running(running_mean, running_var, mean, var, float(momentum), M)
    else:
        mean, var = running_mean.copy(), running_var  # a training forward may move it meanwhile
    inv_std, scale, shift = scale_and_shift(mean, var, gamma, beta, float(eps))
    y = Normalised(z, mean, inv_std, scale, shift, relu)
    return y, (x, seen, w, y, gamma, stride, padding, training, M, group)


def conv_norm_backward(
    g: Array, parts: list[Any], cache: Cache, plus: Array | None = None
) -> tuple[Array, list[Any], Array, Array, Array]:
    """Gradients of `conv_norm_forward`.

    Parameters
    ----------
    g : (OH, F, OW, N)
        Gradient of BN's output, by rows: the gradient of y, taken back through the ReLU.
    parts : list
        Its sums: from `gradient_of_norm_output`, or from this function, called for the next link.
    plus : (H, C, W, N), optional
        Added to dx.

    Returns
    -------
    dx : (H, C, W, N)
        Gradient of x, taken back through its ReLU if x was normalised and rectified.
    parts : list
        Its sums, if x was normalised.
    dw, dgamma, dbeta
    """
    x, seen, w, y, gamma, stride, padding, training, M, group = cache
    along_z, dbeta = sums(parts, group)
    dz: Source
    if training:
        dgamma, factor, of_z, constant = gradient_coefficients(
            along_z, dbeta, gamma, y.inv_std, y.mean, float(M)
        )
        dz = NormGradient(g, y.z, factor, of_z, constant)
    else:  # no z moves the statistics
        dgamma = along_z * y.inv_std
        dz = Plain(g, gamma * y.inv_std)

    def finish(part: slice, x_runs: Array, dx_runs: Array) -> Any:
        if plus is not None:
            dx_runs += flat(plus[part])
        if isinstance(x, Normalised):
            if x.relu:
                rectify_gradient(bits_of(dx_runs), x_runs)
            if isinstance(seen, Thresholded):
                return gradient_sums_above(dx_runs, x_runs, seen.above_mean)
            return gradient_sums(dx_runs, flat(x.z[part]), x.mean)
        return None

    dx, dw, parts = convolution_gradients(dz, seen, w, stride, padding, finish)
    return dx, parts, dw, dgamma, dbeta


@one_kernel
def gradient_coefficients(
    xp: Any, along_z: Array, dbeta: Array, gamma: Array, inv_std: Array, mean: Array, M: float
) -> tuple[Array, Array, Array, Array]:
    """Return dgamma, and the coefficients a, -c and c mean - b of the gradient of BN's input.

    The formula of `minisd.ops.batchnorm2d_backward`, sorted by what it multiplies:

        dz = a (dy - b - c (z - mean))   =   a (dy  -  c z  +  (c mean - b))

    with a = gamma / std, b = sum(dy) / M and c = sum(dy (z - mean)) / (M std^2), per channel.
    """
    dgamma = along_z * inv_std
    a, b, c = gamma * inv_std, dbeta / M, dgamma * inv_std / M
    return dgamma, a, -c, c * mean - b


@one_kernel
def rectify_gradient(xp: Any, dx_bits: Array, x: Array) -> None:
    """Put 0 into ``dx``, given by its bits, where the ReLU that gave ``x`` was closed.

    ``x`` may also be a positive multiple of what it gave. See `minisd.fast.activation.keep_where`.
    """
    dx_bits *= x > 0


def gradient_of_norm_output(
    dy: Array, y: Normalised, rectified: Cache | None = None
) -> tuple[Array, list[Any]]:
    """Take a gradient back to BN's output, through the ReLU after it; return it with its sums.

    Parameters
    ----------
    dy : (N, F, H, W)
        Gradient of y; or of max(y + h, 0), of which ``rectified`` is the cache.

    Returns
    -------
    g : (H, F, W, N)
    parts : list
        For `conv_norm_backward`.
    """
    H, F, W, N = y.shape
    if rectified is not None:

        def sums_of(part: slice, g_run: Array) -> Any:
            z_rows = y.z[y.rows_of(part)]
            return gradient_sums(g_run.reshape(-1, F, W * N), flat(z_rows), y.mean)

        g, parts = relu_backward_in_slabs(dy, rectified, sums_of)
        return by_rows(g), parts

    dy = by_rows(dy)
    g = machine.empty(dy.shape, dy.dtype, dy) if y.relu else dy

    def one_slab(part: slice) -> Any:
        if y.relu:
            y_rows = machine.empty(g[part].shape, dy.dtype, dy)
            y.read(part, slice(0, W), y_rows)
            keep_where(dy[part], y_rows > 0, g[part])
        return gradient_sums(flat(g[part]), flat(y.z[part]), y.mean)

    return g, machine.in_slabs(one_slab, H, slab(y.z), dy)
