"""The pixels that windows of a convolution see, as operands of matrix products."""

from minisd import machine
from minisd.backend import Array, array_module
from minisd.fast.sources import Source


class Windows:
    """The rows of the input that a band of output rows sees, with zeros around them.

    They are read from the source slab by slab, each once: the last rows that a slab sees are also
    the first rows of the next slab.

    Parameters
    ----------
    x : source of (H, C, W, N)
    kernel : (KH, KW)
    band : slice
        Rows of the output.
    OW, S : int
        The output's width; the stride.
    top, left : int
        Where in x the window of output pixel (0, 0) begins; negative above, or left of, x.
    """

    def __init__(
        self, x: Source, kernel: tuple[int, int], band: slice, OW: int, S: int, top: int, left: int
    ) -> None:
        KH, KW = kernel
        self.KH, self.S, self.first = KH, S, band.start
        rows = range(top + S * band.start, top + S * (band.stop - 1) + KH)
        self.padded = [
            Padded(x, rows, range(place, place + S * (OW + (KW - 1 - k) // S), S))
            for k, place in enumerate(range(left, left + min(S, KW)))
        ]

    def __getitem__(self, part: slice) -> list[Array]:
        """Return the input rows that the output rows ``part`` see; slabs in ascending order.

        With stride 1 that is one array, (R + KH - 1, C, OW + KW - 1, N). With stride S there are S
        arrays, each of every S-th column; number k is for the kernel columns ``k::S``.
        """
        start = self.S * (part.start - self.first)
        stop = self.S * (part.stop - 1 - self.first) + self.KH
        return [padded.until(stop)[start:] for padded in self.padded]


class Padded:
    """Rows and columns of a source (H, C, W, N); those outside of it are zero."""

    def __init__(self, x: Source, rows: range, columns: range) -> None:
        H, C, W, N = x.shape
        (r0, r1), (c0, c1) = inside(rows, H), inside(columns, W)
        self.array = machine.framed((len(rows), C, len(columns), N), (r0, r1), (c0, c1), x.like)
        self.x, self.rows, self.columns = x, rows, columns
        self.read, self.last = r0, r1 if c0 < c1 else r0
        self.inside = slice(c0, c1)

    def until(self, stop: int) -> Array:
        """Return the first ``stop`` rows."""
        start, end = self.read, min(stop, self.last)
        if start < end:
            rows = slice(self.rows[start], self.rows[end - 1] + 1)
            columns = self.columns[self.inside]
            there = slice(columns[0], columns[-1] + 1, columns.step)
            self.x.read(rows, there, self.array[start:end, :, self.inside])
            self.read = end
        return self.array[:stop]


def views(seen: Array, KH: int, KW: int, S: int = 1) -> Array:
    """View padded rows as the operands of the products; nothing is copied.

    Parameters
    ----------
    seen : (S*(R - 1) + KH, C, OW + KW - 1, N)

    Returns
    -------
    X : (KW, R, KH*C, OW*N)
        ``X[j, h, (i, c), (v, n)] = seen[S*h + i, c, v + j, n]``
    """
    height, C, width, N = seen.shape
    sH, sC, sW, sN = seen.strides
    return array_module(seen).lib.stride_tricks.as_strided(
        seen,
        (KW, (height - KH) // S + 1, KH * C, (width - KW + 1) * N),
        (sW, S * sH, sC, sN),
    )


def inside(places: range, size: int) -> tuple[int, int]:
    """Return (first, end): ``places[first:end]`` lie between 0 and size - 1."""
    first = min(max(-(places.start // places.step), 0), len(places))
    end = min(max(-((places.start - size) // places.step), first), len(places))
    return first, end
