"""The products of a convolution as its definition has them: see `minisd.fast.conv`."""

from collections.abc import Sequence

from minisd import machine
from minisd.backend import Array, array_module
from minisd.fast.windows import views


class Direct:
    """Multiply filters with the pixels that they see, as the definition has it.

        y[h] = sum over j of  W_j @ X_j[h]        W_j[f, (i, c)] = w[f, c, i, j]

    Parameters
    ----------
    w : (F, C, KH, KW)
    stride : int
    """

    rows = 1
    """The number of rows in a slab is a multiple of this."""

    def __init__(self, w: Array, stride: int = 1) -> None:
        self.kernel = w.shape[2:]
        self.stride = stride
        self.W = by_column(w)

    def correlate(self, seen: Sequence[Array], y: Array) -> None:
        """Write the convolution of ``seen``, which is `Windows[part]`, into y (R, F, OW*N)."""
        for place, X in enumerate(operands(seen, self.kernel, self.stride)):
            W = self.W[place :: self.stride]
            if place == 0:
                machine.sum_of_products(W, X, y)
            else:
                term = machine.empty(y.shape, y.dtype, y)
                machine.sum_of_products(W, X, term)
                y += term

    def filter_products(self, seen: Sequence[Array], dy: Array) -> Array:
        """Return X_j[h] dy[h]^T of every row: (R, KW, KH*C, F)."""
        return filter_products(seen, dy, self.kernel, self.stride)

    def filter_gradient(self, parts: Sequence[Array]) -> Array:
        """Return dw (F, C, KH, KW) from the results of `filter_products` for all rows."""
        return filters(machine.sum_over_rows(parts), self.kernel[0])


def filter_products(
    seen: Sequence[Array], dy: Array, kernel: tuple[int, ...], stride: int
) -> Array:
    """Return X_j[h] dy[h]^T of every row: (R, KW, KH*C, F), for dy (R, F, OW*N)."""
    R, F, _ = dy.shape
    dW = [machine.products_with_transpose(X, dy) for X in operands(seen, kernel, stride)]
    if len(dW) == 1:
        return dW[0]
    sorted_by_column = array_module(dy).empty((R, kernel[1], dW[0].shape[2], F), dy.dtype)
    for place, products in enumerate(dW):
        sorted_by_column[:, place::stride] = products
    return sorted_by_column


def operands(seen: Sequence[Array], kernel: tuple[int, ...], stride: int) -> list[Array]:
    """Return X_j for all kernel columns j; those a stride apart are in one array."""
    KH, KW = kernel
    return [
        views(padded, KH, len(range(place, KW, stride)), stride)
        for place, padded in enumerate(seen)
    ]


def by_column(w: Array) -> Array:
    """Return the filters (F, C, KH, KW) as KW matrices (F, KH*C)."""
    F, C, KH, KW = w.shape
    return array_module(w).ascontiguousarray(w.transpose(3, 0, 2, 1).reshape(KW, F, KH * C))


def filters(W: Array, KH: int) -> Array:
    """View KW matrices (KH*C, F) as filters (F, C, KH, KW)."""
    KW, rows, F = W.shape
    return W.reshape(KW, KH, rows // KH, F).transpose(3, 2, 1, 0)


def flipped(w: Array) -> Array:
    """View filters (F, C, KH, KW) upside down and from right to left."""
    return w[:, :, ::-1, ::-1]
