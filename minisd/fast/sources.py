"""Images that are computed while they are read, and never written to memory as a whole.

A convolution reads its input slab by slab into a padded buffer (`minisd.fast.windows`). If that
input is the batch norm and ReLU of another convolution's output, both can be computed on the way
into the buffer, in the core's cache. So can the gradient of batch norm, on its way into the
convolution's backward. That saves the memory of the results, and the time to write and read them.

A source has a ``shape`` (H, C, W, N), and ``read(rows, columns, out)`` writes that part of the
images into ``out``. A factor per channel may be left out: it is in `Source.factor`. The mathematics
is that of `minisd.fast.batchnorm` and `minisd.fast.activation`, for one slab.
`minisd.fast.conv_norm` uses it.
"""

from typing import Any, Protocol

import numpy as np

from minisd import machine
from minisd.backend import Array, array_module, one_kernel
from minisd.fast.batchnorm import moments_by_rows
from minisd.fast.layout import as_images, by_rows, empty_rows, slab

_SMALL_SCALE = 1e-12  # a threshold is divided by the scale, and must not overflow
_FAR = 16  # standard deviations; the rounding error grows with that number


class Source(Protocol):
    """Images by rows that can be read in parts."""

    shape: tuple[int, ...]
    """(H, C, W, N)"""
    like: Array
    """An array of the same shape, dtype and device."""

    @property
    def factor(self) -> Array | None:
        """(C,), or None for 1. Per-channel factor still missing from what `read` returns.

        image = factor * read. Fold it into the filters (`fold_factor`): that is C multiplications
        for each filter, instead of H*W*N for each channel.
        """

    def read(self, rows: slice, columns: slice, out: Array) -> None:
        """Write the part ``[rows, :, columns]`` into ``out``."""


class Plain:
    """Images as they are.

    Parameters
    ----------
    rows : (H, C, W, N)
    factor : (C,), optional
        They are this times ``rows``: see `Source.factor`.
    """

    def __init__(self, rows: Array, factor: Array | None = None) -> None:
        self.rows = self.like = rows
        self.shape = rows.shape
        self.factor = factor

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        out[...] = self.rows[rows, :, columns]


class Normalised:
    """Batch norm of ``z``, or its ReLU: y = scale * z + shift, or max(y, 0).

    Parameters
    ----------
    z : (H, C, W, N)
    mean, inv_std, scale, shift : (C,)
        ``scale = gamma * inv_std`` and ``shift = beta - mean * scale``; mean and standard deviation
        themselves are for the gradient.
    relu : bool
    """

    factor = None

    def __init__(
        self, z: Array, mean: Array, inv_std: Array, scale: Array, shift: Array, relu: bool
    ) -> None:
        self.z, self.mean, self.inv_std, self.relu = z, mean, inv_std, relu
        self.like = z
        self.scale, self.shift = scale[:, None, None], shift[:, None, None]
        self.shape = z.shape
        self.zeros = machine.zeros(z.shape[2:], z)

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        z = self.z[rows, :, columns]
        if self.relu:
            zeros = self.zeros if len(self.zeros) == 1 else self.zeros[columns]
            normalise_and_rectify(z, self.scale, self.shift, zeros, out)
        else:
            normalise(z, self.scale, self.shift, out)

    @property
    def images_shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return as_images(self.z).shape

    def rows_of(self, part: slice) -> slice:
        """Return which rows the numbers ``part`` of the images, taken as one run, are."""
        row = self.z[0].size
        return slice(part.start // row, part.stop // row)

    def read_run(self, part: slice, out: Array) -> None:
        """Write numbers ``part``, whole rows, of the images as one run into ``out``."""
        _, C, W, N = self.shape
        self.read(self.rows_of(part), slice(0, W), out.reshape(-1, C, W, N))

    @property
    def size(self) -> int:
        """How many numbers these are."""
        return int(self.z.size)

    def channel_moments(self) -> tuple[Array, Array]:
        """Return every channel's mean and (biased) variance (C,)."""
        if self.relu:
            return moments_by_rows(by_rows(to_array(self)))
        mean, var = moments_by_rows(self.z)
        scale, shift = self.scale[:, 0, 0], self.shift[:, 0, 0]
        return scale * mean + shift, scale**2 * var

    def scaled(self, weight: float) -> "Normalised":
        """``weight`` (at least 0) times these images."""
        if weight == 1:
            return self
        scale, shift = weight * self.scale[:, 0, 0], weight * self.shift[:, 0, 0]
        return Normalised(self.z, self.mean, self.inv_std, scale, shift, self.relu)


class Thresholded:
    """Batch norm and ReLU without the scale: max(z - threshold, 0), with y = scale * that.

    For scale > 0: max(scale * z + shift, 0) = scale * max(z + shift / scale, 0).

    Parameters
    ----------
    y : Normalised

    Attributes
    ----------
    above_mean : (C,)
        threshold - mean, needed for the gradient's sums.
    """

    def __init__(self, y: Normalised) -> None:
        self.z = self.like = y.z
        self.shape = y.shape
        self.factor = y.scale[:, 0, 0]
        self.threshold, self.zeros = -y.shift / y.scale, y.zeros
        self.above_mean = self.threshold[:, 0, 0] - y.mean

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        excess(self.z[rows, :, columns], self.threshold, self.zeros[columns], out)


def leave_scale_to_filters(x: Source) -> Source:
    """Return ``x`` as `Thresholded`, whose scale the filters take; or ``x`` itself.

    `Thresholded` needs positive scales (gammas start at 1), and thresholds that are not far from
    the means: far away, float32 would lose the difference. If one channel is not so, all are read
    as they are. On a GPU nothing is gained: reading is one kernel, and looking at the scales would
    wait for them.
    """
    if not isinstance(x, Normalised) or not x.relu or array_module(x.z) is not np:
        return x
    if not (x.scale > _SMALL_SCALE).all():
        return x
    without_scale = Thresholded(x)
    near = (abs(without_scale.above_mean * x.inv_std) < _FAR).all()
    return without_scale if near else x


@one_kernel
def normalise(xp: Any, z: Array, scale: Array, shift: Array, out: Array) -> None:
    """Write scale * z + shift into ``out``."""
    xp.multiply(z, scale, out=out)
    out += shift


@one_kernel
def normalise_and_rectify(
    xp: Any, z: Array, scale: Array, shift: Array, zeros: Array, out: Array
) -> None:
    """Write max(scale * z + shift, 0) into ``out``."""
    xp.multiply(z, scale, out=out)
    out += shift
    xp.maximum(out, zeros, out=out)


@one_kernel
def excess(xp: Any, z: Array, threshold: Array, zeros: Array, out: Array) -> None:
    """Write max(z - threshold, 0) into ``out``."""
    xp.subtract(z, threshold, out=out)
    xp.maximum(out, zeros, out=out)


class NormGradient:
    """Gradient of batch norm's input: factor * (g + of_z * z + constant).

    Parameters
    ----------
    g : (H, C, W, N)
        Gradient of its output.
    z : (H, C, W, N)
    factor, of_z, constant : (C,)
        See `minisd.fast.conv_norm.gradient_coefficients`.
    """

    def __init__(self, g: Array, z: Array, factor: Array, of_z: Array, constant: Array) -> None:
        self.g, self.z, self.factor = g, z, factor
        self.like = g
        self.of_z, self.constant = of_z[:, None, None], constant[:, None, None]
        self.shape = g.shape

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        part = (rows, slice(None), columns)
        norm_gradient(self.g[part], self.z[part], self.of_z, self.constant, out)


@one_kernel
def norm_gradient(xp: Any, g: Array, z: Array, of_z: Array, constant: Array, out: Array) -> None:
    """Write g + of_z * z + constant into ``out``."""
    xp.multiply(z, of_z, out=out)
    out += constant
    out += g


def to_array(source: Source) -> Array:
    """Return the images of a source without factor as an array (N, C, H, W)."""
    H, C, W, N = source.shape
    rows = empty_rows((N, C, H, W), source.like)

    def one_slab(part: slice) -> None:
        source.read(part, slice(0, W), rows[part])

    machine.in_slabs(one_slab, H, slab(rows), rows)
    return as_images(rows)


def fold_factor(w: Array, x: Source) -> Array:
    """Return ``w`` (F, C, KH, KW) times the factor of x, to be multiplied with what x reads."""
    return w if x.factor is None else x.factor[:, None, None] * w


def unfold_factors(dw: Array, dy: Source, x: Source) -> Array:
    """Return the filters' gradient, given ``dw`` computed from what dy and x read."""
    return fold_factor(fold_factor(dw, x).swapaxes(0, 1), dy).swapaxes(0, 1)
