"""Convolution as matrix products on views of memory: `minisd.ops.conv` without the copies.

`minisd.ops.conv` copies what each output pixel sees into a column, and so every pixel KH*KW times.
Read that first. Here nothing is copied but the padding.

Images lie in memory by rows, (H, C, W, N): see `minisd.fast.layout`. Fix a kernel column j and an
output row h. What the KH kernel rows and C channels contribute to that row is the matrix

    X_j[h]:  KH*C rows (i, c)  by  OW*N columns (v, n)

and it is in memory already. Its row (i, c) begins (h*S + i)*C + c runs from the start, j pixels
into the run; consecutive rows are one run apart. So X_j is a view (`minisd.fast.windows`), and

- the output is a sum of KW matrix products (`minisd.fast.direct`);
- the filters' gradient takes KW products more;
- the images' gradient is again a convolution, of dy with the kernel flipped.

With many channels, two rows at a time need fewer products (`minisd.fast.winograd`).
"""

from collections.abc import Callable
from typing import Any

from minisd import machine
from minisd.backend import Array
from minisd.fast.direct import Direct, filter_products, filters, flipped
from minisd.fast.layout import as_images, by_rows, empty_rows, flat, in_bands, slab
from minisd.fast.sources import Plain, Source, fold_factor, unfold_factors
from minisd.fast.windows import Windows
from minisd.fast.winograd import RowPairs
from minisd.ops.check import check_conv2d, check_upstream

Cache = tuple[Any, ...]


def conv2d_forward(
    x: Array, w: Array, b: Array | None = None, *, stride: int = 1, padding: int = 0
) -> tuple[Array, Cache]:
    """Cross-correlate images with filters: see `minisd.ops.conv2d_forward`.

    ``y`` is a transposed view of memory by rows.
    """
    OH, OW = check_conv2d(x, w, b, stride, padding)
    y = empty_rows((x.shape[0], w.shape[0], OH, OW), x)
    correlate(Plain(by_rows(x)), w, b, y, stride=stride, top=-padding, left=-padding)
    return as_images(y), (x, w, b is not None, stride, padding)


def conv2d_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """Gradients of `conv2d_forward`: see `minisd.ops.conv2d_backward`."""
    x, w, has_bias, stride, padding = cache
    y_shape = (x.shape[0], w.shape[0], *check_conv2d(x, w, None, stride, padding))
    check_upstream("conv2d_backward", dy, y_shape, x)
    source = Plain(by_rows(dy))
    dx, dw, _ = convolution_gradients(source, Plain(by_rows(x)), w, stride, padding)
    return as_images(dx), dw, sum_per_channel(source) if has_bias else None


def correlate(
    x: Source,
    w: Array,
    b: Array | None,
    y: Array,
    *,
    stride: int,
    top: int,
    left: int,
    finish: Callable[[Array], Any] | None = None,
) -> list[Any]:
    """Write the cross-correlation of ``x`` and ``w`` into ``y``, both by rows, in slabs of rows.

    Parameters
    ----------
    x : source of (H, C, W, N)
    w : (F, C, KH, KW)
    b : (F,) or None
    y : (OH, F, OW, N)
        Of any height and width: outside of x, a window sees zeros.
    top, left : int
        Where in x the window of output pixel (0, 0) begins; negative above, or left of, x.
    finish : function of (rows, F, OW*N), optional
        Called with every slab of y while it is in the processor's cache.

    Returns
    -------
    list
        The results of ``finish``, in the order of the slabs.
    """
    OH, _, OW, _ = y.shape
    scheme = fastest(fold_factor(w, x), stride, OH)

    def one_band(band: slice, slabs: list[slice]) -> list[Any]:
        seen = Windows(x, w.shape[2:], band, OW, stride, top, left)
        finished = []
        for part in slabs:
            y_runs = flat(y[part])
            scheme.correlate(seen[part], y_runs)
            if b is not None:
                y_runs += b[:, None]
            finished.append(finish(y_runs) if finish is not None else None)
        return finished

    return in_bands(one_band, y, scheme.rows)


def fastest(w: Array, stride: int, OH: int) -> Direct | RowPairs:
    """Return the faster way to multiply with the filters ``w``: as defined, or by pairs of rows."""
    if stride == 1 and w.shape[2] == 3 and OH % RowPairs.rows == 0 and machine.additions_pay(w):
        return RowPairs(w)
    return Direct(w, stride)


def convolution_gradients(
    dy: Source,
    x: Source,
    w: Array,
    stride: int,
    padding: int,
    finish: Callable[[slice, Array, Array], Any] | None = None,
) -> tuple[Array, Array, list[Any]]:
    """Gradients with respect to images and filters.

    Where y has the size of x, one pass over the slabs computes both, and reads dy once.

    Parameters
    ----------
    dy : source of (OH, F, OW, N)
    x : source of (H, C, W, N)
    finish : function of (part, x_runs, dx_runs), optional
        Called with every slab of dx, and of x, while they are in the processor's cache.

    Returns
    -------
    dx : (H, C, W, N)
    dw : (F, C, KH, KW)
    list
        The results of ``finish``, in the order of the slabs.
    """
    _, C, KH, KW = w.shape
    H, _, W, N = x.shape
    P = padding
    dx = empty_rows((N, C, H, W), w)
    if not (stride == 1 and KH == KW == 2 * P + 1):
        return _gradients_one_by_one(dy, x, w, stride, padding, dx, finish)
    scheme = fastest(flipped(fold_factor(w.swapaxes(0, 1), dy)), stride, H)

    def one_band(band: slice, slabs: list[slice]) -> list[tuple[Array, Any]]:
        x_windows, dy_windows = (
            Windows(source, (KH, KW), band, W, 1, top=-P, left=-P) for source in (x, dy)
        )
        results = []
        for part in slabs:
            x_seen, dy_seen = x_windows[part], dy_windows[part]
            R = part.stop - part.start
            x_runs, dy_runs = (
                padded[P : P + R, :, P : P + W].reshape(R, -1, W * N)
                for padded in (*x_seen, *dy_seen)
            )
            dW = scheme.filter_products(x_seen, dy_runs)
            dx_runs = flat(dx[part])
            scheme.correlate(dy_seen, dx_runs)
            results.append((dW, finish(part, x_runs, dx_runs) if finish is not None else None))
        return results

    dW, finished = zip(*in_bands(one_band, dx, scheme.rows), strict=True)
    return dx, unfold_factors(scheme.filter_gradient(dW), dy, x), list(finished)


def _gradients_one_by_one(
    dy: Source,
    x: Source,
    w: Array,
    stride: int,
    padding: int,
    dx: Array,
    finish: Callable[[slice, Array, Array], Any] | None,
) -> tuple[Array, Array, list[Any]]:
    """`convolution_gradients` of any geometry: the filters' first, then the images'."""
    dw = filter_gradient(dy, x, w.shape, stride, padding)
    input_gradient(dy, dx, w, stride, padding)
    if finish is None:
        return dx, dw, []
    H, _, W, _ = dx.shape

    def finish_rows(part: slice) -> Any:
        x_runs = machine.empty(dx[part].shape, dx.dtype, dx)
        x.read(part, slice(0, W), x_runs)
        return finish(part, flat(x_runs), flat(dx[part]))

    return dx, dw, machine.in_slabs(finish_rows, H, slab(dx), dx)


def filter_gradient(
    dy: Source, x: Source, w_shape: tuple[int, ...], stride: int, padding: int
) -> Array:
    """Gradient with respect to the filters: y[h] = W_j X_j[h], so dW_j = sum of dy[h] X_j[h]^T."""
    KH, KW = w_shape[2:]
    _, F, OW, N = dy.shape

    def one_band(band: slice, slabs: list[slice]) -> list[Array]:
        seen = Windows(x, (KH, KW), band, OW, stride, top=-padding, left=-padding)
        products = []
        for part in slabs:
            dy_rows = machine.empty((part.stop - part.start, F, OW, N), x.like.dtype, x.like)
            dy.read(part, slice(0, OW), dy_rows)
            products.append(filter_products(seen[part], flat(dy_rows), (KH, KW), stride))
        return products

    dw = filters(machine.sum_over_rows(in_bands(one_band, dy.like)), KH)
    return unfold_factors(dw, dy, x)


def input_gradient(dy: Source, dx: Array, w: Array, stride: int, padding: int) -> None:
    """Write the gradient with respect to the images: dy correlated with the kernel flipped.

    Output h sees row r of the padded image through kernel row i = r - h*S. With S = 1 every i
    occurs; with S > 1 only every S-th, beginning with r mod S. So dx consists of S*S interleaved
    images. Each is a correlation, with stride 1, of dy and its own entries of the kernel.

    Parameters
    ----------
    dy : source of (OH, F, OW, N)
    dx : (H, C, W, N)
    """
    S, P = stride, padding
    dx[...] = 0  # a pixel that no window saw has no influence
    for down in range(S):
        for right in range(S):
            entries = w[:, :, (down + P) % S :: S, (right + P) % S :: S]
            part = dx[down::S, :, right::S]
            if part.size and entries.size:
                phase = machine.empty(part.shape, dx.dtype, dx)
                correlate(
                    dy,
                    flipped(entries.swapaxes(0, 1)),
                    None,
                    phase,
                    stride=1,
                    top=(down + P) // S - (entries.shape[2] - 1),
                    left=(right + P) // S - (entries.shape[3] - 1),
                )
                part[...] = phase


def sum_per_channel(dy: Source) -> Array:
    """Return the sum of (H, F, W, N) over all axes but F: the gradient of the bias."""
    H, F, W, N = dy.shape

    def one_slab(part: slice) -> Array:
        rows = machine.empty((part.stop - part.start, F, W, N), dy.like.dtype, dy.like)
        dy.read(part, slice(0, W), rows)
        return flat(rows).sum(axis=2)

    return machine.sum_over_rows(machine.in_slabs(one_slab, H, slab(dy.like), dy.like))
