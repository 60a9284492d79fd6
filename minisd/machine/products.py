"""Matrix products and sums in the form that the machine does best: see `minisd.machine`.

**On a CPU, products in pieces.** OpenBLAS has kernels for small matrices, which skip the packing of
their operands. On AVX-512 they are up to twice as fast for the long, thin products of a
convolution. For AVX2 there are none, and the pieces cost up to a tenth. Sums over runs are products
as well, of stretches of a run: during a ``matmul`` whose result has fewer than 500 numbers NumPy
keeps the interpreter lock, however long it takes, and the other threads wait.

**On a GPU, few launches.** CuPy copies an operand that is a view with overlaps, so the sum of K
products is one product of the K matrices side by side: one copy, one launch and no additions. Sums
over runs are reductions, part of the kernel that computes what is summed.

**Long sums of float32.** Down the columns of an array NumPy adds one number after the other, so a
million of them lose three digits or more. Here such a sum is taken in float64 (`sum_over`), or in
pairs (`sum_over_rows`). A GPU adds in a tree, whatever the axis.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from minisd.backend import Array, array_module
from minisd.machine.memory import empty

_SMALL = 1_000_000  # largest rows * columns * depth of OpenBLAS's kernels for small matrices
_SMALL_TRANSPOSED = 1200  # for a product with a transpose: most numbers in the result
_LONGEST = 512  # columns of a piece, so that its rows stay in the first-level cache
_SHORTEST = 64
_MANY_CHANNELS = 64


def sum_of_products(a: Array, b: Array, out: Array) -> None:
    """Write the sum over k of ``a[k] @ b[k]`` into ``out``, cut along the columns of ``b``.

    Parameters
    ----------
    a : (K, M, D)
        Or with axes before M, that broadcast with those of b.
    b : (K, ..., D, L)
        Its rows are runs of neighbouring numbers.
    out : (..., M, L)
    """
    xp = array_module(a, b, out)
    M, D = a.shape[-2:]
    if xp is not np:
        K, *outer, _, L = b.shape
        side_by_side = xp.broadcast_to(xp.moveaxis(a, 0, -2), (*outer, M, K, D))
        stacked = xp.moveaxis(b, 0, -3).reshape(*outer, K * D, L)
        xp.matmul(side_by_side.reshape(*outer, M, K * D), stacked, out=out)
        return
    pieces = _pieces(b.shape[-1], min(_LONGEST, _SMALL // (M * D)))
    a, b_pieces = a[..., None, :, :], _cut(b, pieces)
    xp.matmul(a[0], b_pieces[0], out=_cut(out, pieces))
    if len(a) > 1:
        term = empty(out.shape, out.dtype, out)
        term_pieces = _cut(term, pieces)
        for k in range(1, len(a)):
            xp.matmul(a[k], b_pieces[k], out=term_pieces)
            out += term


def products_with_transpose(a: Array, b: Array) -> Array:
    """Return ``a[k, r] @ b[r].T``, cut along the rows of ``a`` and along L.

    Parameters
    ----------
    a : (K, R, M, L)
    b : (R, F, L)

    Returns
    -------
    (R, K, M, F)
    """
    xp = array_module(a, b)
    K, R, M, L = a.shape
    F = b.shape[1]
    if xp is not np:
        stacked = a.transpose(1, 0, 2, 3).reshape(R, K * M, L)
        return xp.matmul(stacked, b.swapaxes(-1, -2)).reshape(R, K, M, F)
    groups = _groups(M, F)
    size = M // groups * F
    most = _SMALL // size if size <= _SMALL_TRANSPOSED else 2 * _LONGEST
    pieces = _pieces(L, min(2 * _LONGEST, most))
    a = _cut(a, pieces).reshape(K, R, pieces, groups, M // groups, L // pieces)
    b = _cut(b, pieces)[:, :, None].swapaxes(-1, -2)
    return xp.matmul(a, b).sum(axis=2).reshape(K, R, M, F).swapaxes(0, 1)


def additions_pay(w: Array) -> bool:
    """Whether fewer multiplications with the filters ``w`` (F, C, ...) are worth more additions.

    With 64 channels they made a step 18 % faster on two cores, with 32 they made no difference. On
    a GPU every addition is a launch.
    """
    return array_module(w) is np and min(w.shape[:2]) >= _MANY_CHANNELS


def run_sums(xp: Any, runs: Array) -> Array:
    """Return the sum of every run: (rows, C, L) to (rows, C)."""
    if xp is not np:
        return xp.sum(runs, axis=2)
    ones = _ones(runs.dtype)
    return _total([part @ ones[: part.shape[3]] for part in _stretches(runs)])


def run_dots(xp: Any, a: Array, b: Array) -> Array:
    """Return the dot products of runs: (rows, C, L) and (rows, C, L) to (rows, C)."""
    if xp is not np:
        return xp.sum(a * b, axis=2)
    stretches = zip(_stretches(a), _stretches(b), strict=True)
    return _total([(x[..., None, :] @ y[..., None])[..., 0, 0] for x, y in stretches])


def sum_over(xp: Any, x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the sum over the given axes, in the dtype of ``x``."""
    if xp is not np:
        return xp.sum(x, axis=axis)
    return x.sum(axis=axis, dtype=np.float64).astype(x.dtype)


def mean_over(xp: Any, x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the mean over the given axes, in the dtype of ``x``."""
    if xp is not np:
        return xp.mean(x, axis=axis)
    return x.mean(axis=axis, dtype=np.float64).astype(x.dtype)


def sum_over_rows(parts: Sequence[Array]) -> Array:
    """Add up the rows of all slabs in pairs: row 0 with 1, 2 with 3, then those sums, and so on.

    Which rows are a pair depends on their numbers alone. So the result does not depend on how rows
    were cut into slabs.
    """
    if array_module(*parts) is not np:
        return parts[0].sum(axis=0)  # the only slab
    sums: list[Array] = []  # of fewer and fewer rows: of 4, 2 and 1 when there were 7
    for number, row in enumerate(chain.from_iterable(parts)):
        total = row
        while number % 2:  # there is a sum of as many rows before it
            total = sums.pop() + total
            number //= 2
        sums.append(total)
    total = sums.pop()
    while sums:
        total = sums.pop() + total
    return total


@cache
def _ones(dtype: np.dtype[Any]) -> Array:
    return np.ones(_LONGEST, dtype)


def _stretches(runs: Array) -> list[Array]:
    """View runs (rows, C, L) as stretches (rows, C, pieces, P): how many depends on L alone.

    If L cannot be cut into equal ones, what is left of it is a second array, one piece.
    """
    rows, C, L = runs.shape
    if L <= _LONGEST:
        return [runs[:, :, None]]
    P = min(L // _pieces(L, _LONGEST), _LONGEST)
    cut = L - L % P
    stretches = [runs[:, :, :cut].reshape(rows, C, cut // P, P)]
    return stretches if cut == L else [*stretches, runs[:, :, None, cut:]]


def _total(parts: list[Array]) -> Array:
    """Add up what each piece of each stretch gave: (rows, C, pieces) each, to (rows, C)."""
    sums = [part[:, :, 0] if part.shape[2] == 1 else part.sum(axis=2) for part in parts]
    return sum(sums[1:], sums[0])


def _groups(rows: int, columns: int) -> int:
    """Into how many groups the rows of a product with a transpose are cut, to make it small."""
    for groups in range(1, rows // 16 + 1):
        if rows % groups == 0 and rows // groups * columns <= _SMALL_TRANSPOSED:
            return groups
    return 1


def _pieces(columns: int, most: int) -> int:
    """How many equal pieces of at most ``most`` columns there are; 1 if they cannot be equal."""
    for pieces in range(-(-columns // max(most, 1)), columns // _SHORTEST + 1):
        if columns % pieces == 0:
            return pieces
    return 1


def _cut(x: Array, pieces: int) -> Array:
    """View (..., M, pieces * P) as (..., pieces, M, P)."""
    *outer, M, columns = x.shape
    return x.reshape(*outer, M, pieces, columns // pieces).swapaxes(-3, -2)
