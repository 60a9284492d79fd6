"""What the windows of a convolution see, as operands of matrix products: see `minisd.ops.conv`."""

from collections.abc import Iterator

from minisd import parallel
from minisd.backend import Array, array_module
from minisd.ops.sources import Source


def windows(
    x: Source, kernel: tuple[int, int], part: slice, OW: int, S: int, top: int, left: int
) -> Iterator[tuple[slice, Array]]:
    """Yield (taps, X): what the output rows ``part`` see through the kernel columns ``taps``.

    With stride 1 that is once, for all columns. With a stride S it is once for each of the S places
    that a column can have between two windows, and the taps are every S-th column.
    """
    KH, KW = kernel
    rows = range(top + S * part.start, top + S * (part.stop - 1) + KH)
    for place in range(min(S, KW)):
        taps = range(place, KW, S)
        columns = range(left + place, left + place + S * (OW + len(taps) - 1), S)
        yield slice(place, KW, S), views(cut_out(x, rows, columns), KH, len(taps), S)


def views(seen: Array, KH: int, KW: int, S: int = 1) -> Array:
    """View padded rows as the operands of the products, nothing copied.

    Parameters
    ----------
    seen : (S*(R - 1) + KH, C, OW + KW - 1, N)

    Returns
    -------
    X : (KW, R, KH*C, OW*N)
        ``X[k, h, (i, c), (w, n)] = seen[S*h + i, c, w + k, n]``
    """
    height, C, width, N = seen.shape
    sH, sC, sW, sN = seen.strides
    return array_module(seen).lib.stride_tricks.as_strided(
        seen,
        (KW, (height - KH) // S + 1, KH * C, (width - KW + 1) * N),
        (sW, S * sH, sC, sN),
    )


def cut_out(x: Source, rows: range, columns: range) -> Array:
    """Read these rows and columns of ``x`` (H, C, W, N); those outside of it are zero."""
    H, C, W, N = x.shape
    (r0, r1), (c0, c1) = inside(rows, H), inside(columns, W)
    seen = parallel.framed((len(rows), C, len(columns), N), (r0, r1), (c0, c1), x.like)
    if r0 < r1 and c0 < c1:
        there = slice(columns[c0], columns[c1 - 1] + 1, columns.step)
        x.read(slice(rows[r0], rows[r1 - 1] + 1), there, seen[r0:r1, :, c0:c1])
    return seen


def inside(places: range, size: int) -> tuple[int, int]:
    """Return (i, j): ``places[i:j]`` are those from 0 to size - 1."""
    i = min(max(-(places.start // places.step), 0), len(places))
    j = min(max(-((places.start - size) // places.step), i), len(places))
    return i, j
