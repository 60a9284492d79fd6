"""The products of a convolution as its definition has them: see `minisd.ops.conv`."""

from collections.abc import Sequence

from minisd import parallel
from minisd.backend import Array, array_module
from minisd.ops.sources import Source
from minisd.ops.windows import views, windows


class Direct:
    """Products of filters with what they see.

        y[h] = sum over k of  W_k @ X_k[h]        W_k[f, (i, c)] = w[f, c, i, k]

    Parameters
    ----------
    w : (F, C, KH, KW)
    stride : int
    """

    rows = 1
    """A slab has a multiple of so many."""

    def __init__(self, w: Array, stride: int = 1) -> None:
        self.KH, self.KW = w.shape[2:]
        self.stride = stride
        self.W = by_column(w)

    def correlate(self, x: Source, part: slice, OW: int, top: int, left: int, y: Array) -> None:
        """Write the output rows ``part`` of the cross-correlation into ``y``, (R, F, OW*N)."""
        kernel = self.KH, self.KW
        for number, (taps, X) in enumerate(windows(x, kernel, part, OW, self.stride, top, left)):
            if number == 0:
                parallel.sum_of_products(self.W[taps], X, y)
            else:  # another place between two windows
                term = parallel.empty(y.shape, y.dtype, y)
                parallel.sum_of_products(self.W[taps], X, term)
                y += term

    def of_seen(self, seen: Array, y: Array) -> None:
        """Write what the padded rows ``seen`` give, with stride 1, into ``y`` (R, F, OW*N)."""
        parallel.sum_of_products(self.W, views(seen, self.KH, self.KW), y)

    def filter_products(self, seen: Array, dy: Array) -> Array:
        """Return dy[h] X_k[h]^T, transposed, of every row: (R, KW, KH*C, F)."""
        return parallel.products_with_transpose(views(seen, self.KH, self.KW), dy)

    def filter_gradient(self, parts: Sequence[Array]) -> Array:
        """Return dw (F, C, KH, KW) from the results of `filter_products` for all rows."""
        return filters(parallel.sum_over_rows(parts), self.KH)


def by_column(w: Array) -> Array:
    """Return the filters (F, C, KH, KW) as KW matrices (F, KH*C)."""
    F, C, KH, KW = w.shape
    return array_module(w).ascontiguousarray(w.transpose(3, 0, 2, 1).reshape(KW, F, KH * C))


def filters(W: Array, KH: int) -> Array:
    """View KW matrices (KH*C, F) as filters (F, C, KH, KW)."""
    KW, rows, F = W.shape
    return W.reshape(KW, KH, rows // KH, F).transpose(3, 2, 1, 0)
