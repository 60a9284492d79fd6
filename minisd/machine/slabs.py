"""Slabs of image rows on threads: how one array operation uses the cores.

See `minisd.machine` for the ideas.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minisd.backend import Array, array_module
from minisd.errors import ConfigError
from minisd.machine import workers
from minisd.machine.blas import blas_library, one_blas_thread
from minisd.machine.memory import release_idle

T = TypeVar("T")


# ---- how many threads ----


def available_cores() -> int:
    """Return the number of cores that this process may use: the least of what sets a limit.

    That is the process's affinity mask (or the machine's cores), the quota of its control group, as
    containers have it, and the environment variable OMP_NUM_THREADS.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    limits += [limit for limit in (_quota(), _omp_num_threads()) if limit is not None]
    return max(1, min(limits))


@cache  # every operation asks, and reading these files takes longer than many an operation
def _quota() -> int | None:
    """Cores that a control group of Linux leaves, rounded up; None if there is no quota."""
    group = Path("/sys/fs/cgroup")
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return -(-int(quota) // int(period)) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None


def _omp_num_threads() -> int | None:
    """The first number of OMP_NUM_THREADS, which may be a list; None if there is none."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


_num_threads: int | None = None  # of the process
_blocks: ContextVar[tuple[int | None, ...]] = ContextVar("minisd_threads", default=())
"""The counts of the `threads` blocks that the calling thread is in."""


def num_threads() -> int:
    """The number of threads that operations use."""
    blocks = _blocks.get()
    return (blocks[-1] if blocks else _num_threads) or available_cores()


def set_threads(count: int | None) -> None:
    """Use ``count`` threads from now on; None for `available_cores`. Results do not depend on it.

    It holds for the process; inside a block of `threads`, for the rest of that block.

    Raises
    ------
    ConfigError
        If it is not a whole number of at least 1.
    """
    global _num_threads
    count, blocks = _checked(count), _blocks.get()
    if blocks:
        _blocks.set((*blocks[:-1], count))
    else:
        _num_threads = count


@contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Use ``count`` threads inside the block only, and in the calling thread only.

    What other threads of the program compute meanwhile, also those that are started inside the
    block, has as many as they, or else `set_threads`, say.

    Yields
    ------
    int
        The number in force.
    """
    try:
        with at_most(count):
            yield num_threads()
    finally:
        release()


@contextmanager
def at_most(count: int | None) -> Iterator[None]:
    """`threads`, but keep the worker threads and the memory afterwards: for a part of a step."""
    before = _blocks.get()
    _blocks.set((*before, _checked(count)))
    try:
        yield
    finally:
        _blocks.set(before)


def _checked(count: int | None) -> int | None:
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigError(
            f"the number of threads must be a whole number, at least 1, got {count!r}"
        )
    return int(count)


# ---- slabs on threads, with one BLAS thread each ----


def in_slabs(task: Callable[[slice], T], size: int, thickness: int, like: Array) -> list[T]:
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
        The results, in the order of the slabs: a sum over them is reproducible.
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
        tasks = [workers.start(work, helpers) for _ in range(helpers)]
        try:
            work()
        finally:
            waiting.clear()
            errors = [task.wait() for task in tasks]
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
    """Return the number of rows in a slab: as many as fill a core's second-level cache, 1 to 2 MB.

    With smaller slabs, all that is computed from a slab would fit into the cache as well, but the
    additional calls cost more than that gains. Slabs are smaller, down to half a megabyte, where
    threads would have none; less is not worth waking a thread. On a GPU there is one slab.
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


def blas_description() -> str:
    """Return the BLAS library's name and version, and the number of our threads.

    Also whether it keeps threads of its own beside ours, because it cannot be held to one.
    """
    count = num_threads()
    return f"{blas_library()}, {count} {'thread' if count == 1 else 'threads'}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=workers.forget)  # threads do not survive a fork
