"""Images that are computed while they are read, and never written down as a whole.

A convolution reads its input slab by slab into a padded buffer (`minisd.ops.windows.cut_out`).
Where that input is the batch norm and ReLU of another convolution's output, both can be done on the
way into the buffer, in the core's cache; the same goes for the gradient of batch norm on its way
into the convolution's backward. That saves the memory of the results, and the time to write them
and to read them again.

A source has a ``shape`` (H, C, W, N), and ``read(rows, columns, out)`` writes that part
of the images into ``out``. It is the mathematics of `minisd.ops.batchnorm` and
`minisd.ops.activation` once more, for one slab; `minisd.ops.conv_norm` puts it to work.
"""

from typing import Any, Protocol

from minisd import parallel
from minisd.backend import Array, fused
from minisd.ops.rows import as_images, empty_rows, slab


class Source(Protocol):
    """Images by rows that can be read in parts."""

    shape: tuple[int, ...]
    """(H, C, W, N)"""
    like: Array
    """An array of the same shape, dtype and device."""

    def read(self, rows: slice, columns: slice, out: Array) -> None:
        """Write the part ``[rows, :, columns]`` into ``out``."""


class Plain:
    """Images as they are.

    Parameters
    ----------
    rows : (H, C, W, N)
    """

    def __init__(self, rows: Array) -> None:
        self.rows = self.like = rows
        self.shape = rows.shape

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        out[...] = self.rows[rows, :, columns]


class Normalised:
    """Batch norm of ``z``, or its ReLU: y = scale * z + shift, or max(y, 0).

    Parameters
    ----------
    z : (H, C, W, N)
    mean, scale, shift : (C,)
        ``scale = gamma / std`` and ``shift = beta - mean * scale``; the mean itself is for the
        gradient.
    relu : bool
    """

    def __init__(self, z: Array, mean: Array, scale: Array, shift: Array, relu: bool) -> None:
        self.z, self.mean, self.relu = z, mean, relu
        self.like = z
        self.scale, self.shift = scale[:, None, None], shift[:, None, None]
        self.shape = z.shape
        self.zeros = parallel.zeros(z.shape[2:], z)

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

    def scaled(self, weight: float) -> "Normalised":
        """``weight`` (at least 0) times these images."""
        if weight == 1:
            return self
        scale, shift = weight * self.scale[:, 0, 0], weight * self.shift[:, 0, 0]
        return Normalised(self.z, self.mean, scale, shift, self.relu)


@fused
def normalise(xp: Any, z: Array, scale: Array, shift: Array, out: Array) -> None:
    """Write scale * z + shift into ``out``."""
    xp.multiply(z, scale, out=out)
    out += shift


@fused
def normalise_and_rectify(
    xp: Any, z: Array, scale: Array, shift: Array, zeros: Array, out: Array
) -> None:
    """Write max(scale * z + shift, 0) into ``out``."""
    xp.multiply(z, scale, out=out)
    out += shift
    xp.maximum(out, zeros, out=out)


class NormGradient:
    """Gradient of batch norm's input, but for a factor per channel: g + of_z * z + constant.

    The factor belongs to the filters: see `minisd.ops.conv_norm.conv_norm_backward`.

    Parameters
    ----------
    g : (H, C, W, N)
        Gradient of its output.
    z : (H, C, W, N)
    of_z, constant : (C,)
        See `minisd.ops.conv_norm.gradient_coefficients`.
    """

    def __init__(self, g: Array, z: Array, of_z: Array, constant: Array) -> None:
        self.g, self.z = g, z
        self.like = g
        self.of_z, self.constant = of_z[:, None, None], constant[:, None, None]
        self.shape = g.shape

    def read(self, rows: slice, columns: slice, out: Array) -> None:  # noqa: D102
        part = (rows, slice(None), columns)
        norm_gradient(
            self.g[part], self.z[part], self.of_z, self.constant, out, *parallel.scratch(out)
        )


@fused
def norm_gradient(
    xp: Any,
    g: Array,
    z: Array,
    of_z: Array,
    constant: Array,
    out: Array,
    term: Array | None = None,
) -> None:
    """Write g + of_z * z + constant into ``out``; ``term`` may be overwritten."""
    term = xp.multiply(z, of_z, out=term)
    term += constant
    xp.add(g, term, out=out)


def written_down(source: Source) -> Array:
    """Return a source's images as an array (N, C, H, W)."""
    H, C, W, N = source.shape
    rows = empty_rows((N, C, H, W), source.like)

    def some(part: slice) -> None:
        source.read(part, slice(0, W), rows[part])

    parallel.slabs(some, H, slab(rows), rows)
    return as_images(rows)
