"""How one array operation uses the machine: its cores, its matrix products, its memory.

The mathematics in `minisd.ops` says *what* is computed. This file, with `minisd.workers`,
`minisd.products` and `minisd.memory`, knows how a machine does it fast. Its ideas can be read one
by one:

1. **Slabs on threads** (`slabs`). An operation is cut into slabs of image rows, and Python threads
   take one slab after the other: NumPy lets go of the interpreter lock while it computes. A slab is
   small enough to stay in a core's cache while several operations run over it. Where an operation
   reads rows around its own, a thread's slabs lie side by side (`minisd.ops.rows.in_bands`).
2. **One BLAS thread each.** Inside `slabs` the BLAS library is held to one thread, so that two
   levels of threads do not fight for the cores.
3. **Products in pieces** (`minisd.products`). A long, thin matrix product is cut into pieces for
   which OpenBLAS has a faster kernel.
4. **Memory kept** (`minisd.memory`). Fresh memory costs a page fault per page on first touch. Large
   arrays come from a pool, aligned to cache lines, and go back to it when nobody holds them.
5. **Few calls.** A thread that comes back from NumPy needs the interpreter lock; while another has
   it, it is put to sleep, and waking up takes longer than many a call. So operations do much in
   each call, and leave out what can be left out, such as zeros that are there already.

**The same bits at any thread count.** What a slab computes for one of its rows does not depend on
which other rows are in the slab; and a sum over rows is taken over numbers found row by row, in
their order. So neither the cut nor who computed what can be seen in the result.

**What changes in the process, and when it is undone.** While `slabs` or `one_blas_thread` run, in
any thread, the BLAS libraries are at one thread; when the last of them ends they get back what they
had. NumPy's buffer size is smaller inside `slabs`, in the calling context only. The worker threads
sleep between operations; the pool keeps as much memory as was ever in use at once. `release` ends
the one and frees the other, and is called at the end of `threads`. After a ``fork`` the child
begins without workers and makes its own. On a GPU none of this applies: CuPy's arrays are one slab,
one product, and CuPy's own memory.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_info

from minisd import workers
from minisd.backend import Array, array_module
from minisd.errors import ConfigError
from minisd.memory import empty, framed, release_idle, scratch, zeros
from minisd.products import (
    additions_pay,
    products_with_transpose,
    run_dots,
    run_sums,
    sum_of_products,
    sum_over_rows,
)

__all__ = [
    "additions_pay",
    "available_cores",
    "blas_description",
    "empty",
    "framed",
    "num_threads",
    "one_blas_thread",
    "products_with_transpose",
    "release",
    "rows_per_slab",
    "run_dots",
    "run_sums",
    "scratch",
    "set_threads",
    "slabs",
    "sum_of_products",
    "sum_over_rows",
    "threads",
    "zeros",
]

T = TypeVar("T")


# ---- how many threads ----


def available_cores() -> int:
    """The number of cores that this process may use (fewer than the machine's under a mask)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_num_threads: int | None = None


def num_threads() -> int:
    """The number of threads that operations use."""
    return _num_threads or available_cores()


def set_threads(count: int | None) -> None:
    """Use ``count`` threads from now on; None for `available_cores`. Results do not depend on it.

    Raises
    ------
    ConfigError
        If it is less than 1.
    """
    global _num_threads
    if count is not None and count < 1:
        raise ConfigError(f"the number of threads must be at least 1, got {count}")
    _num_threads = count


@contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """`set_threads` inside the block; before and after it, whatever was set before.

    Yields
    ------
    int
        The number in force.
    """
    before = _num_threads
    set_threads(count)
    try:
        yield num_threads()
    finally:
        set_threads(before)
        release()


# ---- slabs on threads, with one BLAS thread each ----


class _Blas:
    """The BLAS libraries of the process, and how many callers hold them to one thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.holders = 0
        self.before: list[int] = []

    def hold(self) -> None:
        with self.lock:
            if self.holders == 0:
                self.before = [library.get_num_threads() for library in self.libraries]
                self._set([1] * len(self.libraries))
            self.holders += 1

    def let_go(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                self._set(self.before)

    def _set(self, counts: list[int]) -> None:
        for library, count in zip(self.libraries, counts, strict=True):
            if library.get_num_threads() != count:
                # Newer threadpoolctl lets one thread of the process set OpenBLAS and passes over
                # the others' wishes in silence. Ours do not fight: they count, under a lock.
                getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


_blas = _Blas()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the BLAS libraries to one thread inside the block."""
    _blas.hold()
    try:
        yield
    finally:
        _blas.let_go()


def slabs(task: Callable[[slice], T], size: int, thickness: int, like: Array) -> list[T]:
    """Call ``task(slice)`` for every slab of ``range(size)``, on all threads.

    Parameters
    ----------
    task : function of a slice
        Writes its own part of a result, or returns a partial sum.
    size, thickness : int
        Slabs have ``thickness`` rows, the last one perhaps fewer.
    like : array
        Of the operation. If it is on a GPU there is one slab and no thread.

    Returns
    -------
    list
        What the calls returned, in the order of the slabs: sums over it are reproducible.
    """
    if array_module(like) is not np:
        return [task(slice(0, size))]
    parts = [slice(at, min(at + thickness, size)) for at in range(0, size, thickness)]
    waiting = deque(range(len(parts)))
    results: list[Any] = [None] * len(parts)

    def work() -> None:
        while waiting:
            try:
                i = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                results[i] = task(parts[i])
            except BaseException:
                waiting.clear()
                raise

    with one_blas_thread(), _short_buffers():
        helpers = min(num_threads(), len(parts)) - 1
        asked = [workers.ask(work, helpers) for _ in range(helpers)]
        try:
            work()
        finally:
            waiting.clear()
            errors = [request.end() for request in asked]
    for error in filter(None, errors):
        raise error
    return results


@contextmanager
def _short_buffers() -> Iterator[None]:
    """Keep NumPy from copying per-channel numbers into buffers before it broadcasts them.

    In x * scale[:, None] it would fill a buffer of 8192 numbers with copies of each scale, which
    takes longer than the product. The setting is of the calling context, so no other code sees it.
    """
    before = np.setbufsize(1024)
    try:
        yield
    finally:
        np.setbufsize(before)


def _second_level_cache() -> int:
    """The bytes of a core's second-level cache, as Linux tells them; 0 where it is not known."""
    try:
        size = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text()
        return int(size.strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return 0


_SLAB = min(max(1 << 20, _second_level_cache()), 1 << 21)  # bytes
_SMALLEST_SLAB = 1 << 19


def rows_per_slab(num_rows: int, bytes_per_row: int, like: Array) -> int:
    """Rows of one slab: as much as fits into a core's second-level cache, 1 to 2 MB.

    Smaller ones stay there with all that is computed from them, and take more calls, which costs
    more. Down to half a megabyte, so that every thread has a slab; less is not worth waking a
    thread for. On a GPU a slab is everything.
    """
    if array_module(like) is not np:
        return num_rows
    for_each_thread = -(-num_rows // num_threads())
    least, most = (-(-size // bytes_per_row) for size in (_SMALLEST_SLAB, _SLAB))
    return min(max(for_each_thread, least), most)


def release() -> None:
    """End the worker threads and give the pool's idle memory back."""
    workers.release()
    release_idle()


def _after_fork() -> None:
    """Begin afresh in a child process: threads do not survive a fork, and locks may be held."""
    workers.forget()
    if _blas.holders:
        _blas._set(_blas.before)
    _blas.lock, _blas.holders = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def blas_description() -> str:
    """Name, version and kernels of the BLAS library behind NumPy's ``matmul``, and our threads."""
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            name, version = pool["internal_api"], pool["version"]
            return f"{name} {version}, {num_threads()} threads"
    return "unknown"
