"""How images lie in memory: by rows, (H, C, W, N), the batch last.

Callers see NCHW, as a transposed view of memory. In memory the first row of all images comes first;
in it the first channel; in it the first pixel of every image. That has three reasons:

- a convolution finds its operands in memory as they are (see `minisd.fast.conv`);
- the numbers of one channel in one row, of all images, are one run of W*N neighbours, so an
  operation for each channel, such as batch norm, works on long runs;
- a slab of rows is one stretch of memory, which a thread can have to itself.

Arrays in any other order are welcome and give the same numbers; they cost a copy.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

from minisd import machine
from minisd.backend import Array, array_module

T = TypeVar("T")


def by_rows(images: Array) -> Array:
    """View images (N, C, H, W) as rows (H, C, W, N)."""
    return images.transpose(2, 1, 3, 0)


def as_images(rows: Array) -> Array:
    """View rows (H, C, W, N) as images (N, C, H, W)."""
    return rows.transpose(3, 1, 0, 2)


def empty_rows(images_shape: tuple[int, ...], like: Array) -> Array:
    """Return new rows (H, C, W, N) for images of shape (N, C, H, W), of the dtype of ``like``."""
    N, C, H, W = images_shape
    return machine.empty((H, C, W, N), like.dtype, like)


def flat(rows: Array) -> Array:
    """View rows (H, C, W, N) as (H, C, W*N), a run for each row and channel.

    A copy if they lie in another order in memory.
    """
    H, C, W, N = rows.shape
    return array_module(rows).ascontiguousarray(rows.reshape(H, C, W * N))


def joined(parts: Sequence[Array]) -> Array:
    """Join the results of slabs, one entry a row, to one array."""
    return parts[0] if len(parts) == 1 else array_module(parts[0]).concatenate(parts)


def slab(rows: Array, multiple_of: int = 1) -> int:
    """Return how many rows of ``rows`` one thread takes at a time: see `minisd.machine.slabs`."""
    count = machine.rows_per_slab(len(rows), rows[0].nbytes, rows)
    return -(-count // multiple_of) * multiple_of


def in_bands(
    task: Callable[[slice, list[slice]], list[T]], rows: Array, multiple_of: int = 1
) -> list[T]:
    """Call ``task(band, its slabs)`` for bands of ``rows``, on all threads.

    For operations that read neighbouring rows. A thread takes a band and goes through its slabs in
    order, so that rows read for one slab serve the next. There is one band for each thread; but a
    band has at least one slab, and at most eight.

    Parameters
    ----------
    task : function of (band, list of slabs)
        Returns a list, one result for each slab.

    Returns
    -------
    list
        All results, in the order of the slabs.
    """
    thickness = slab(rows, multiple_of)
    for_each_thread = -(-len(rows) // (machine.num_threads() * multiple_of)) * multiple_of

    def one_band(band: slice) -> list[T]:
        starts = range(band.start, band.stop, thickness)
        return task(band, [slice(at, min(at + thickness, band.stop)) for at in starts])

    height = min(max(for_each_thread, thickness), 8 * thickness)
    return list(chain.from_iterable(machine.in_slabs(one_band, len(rows), height, rows)))


def numbers_per_slab(x: Array) -> int:
    """Return how many numbers of ``x`` one thread takes at a time: whole rows, of images."""
    if x.ndim == 0:
        return 1
    rows = by_rows(x) if x.ndim == 4 else x
    return slab(rows) * (rows.size // len(rows))


def in_order(x: Array) -> Array:
    """View ``x``, images or an array of other shape, as one run of numbers in our memory order.

    A copy if it lies in another order in memory. For operations that treat all numbers alike.
    """
    return (by_rows(x) if x.ndim == 4 else x).reshape(-1)


def empty_like(x: Array) -> Array:
    """Return a new array of the shape of ``x``, images or other, in our memory order."""
    if x.ndim == 4:
        return as_images(empty_rows(x.shape, x))
    return machine.empty(x.shape, x.dtype, x)
