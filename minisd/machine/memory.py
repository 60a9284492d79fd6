"""A pool of reusable buffers, so that large arrays do not pay for a page fault per page each time.

The pool hands out buffers by size, and takes each back when the last array in it is gone. It grows
to the largest size that was in use at once. When sizes change, so that most of it lies idle, it
gives the idle buffers back to the system.
"""

import math
import threading
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array, array_module

_POOLED = 1 << 16  # bytes; smaller arrays come from NumPy, which has a pool for them
_ALIGN = 64  # bytes of a cache line
_ALWAYS_KEPT = 1 << 28  # bytes that may lie idle however little is in use
_idle: defaultdict[tuple[int, Any], deque[tuple[Array, int]]] = defaultdict(deque)
_zeros: dict[Any, Array] = {}
_lock = threading.Lock()
_allocated = 0  # bytes, in use or idle


class _Lease:
    """A buffer of the pool, on loan to the arrays that lie in it.

    With a ``frame`` it comes from the system as zeros, and is only handed out for that frame again.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], size: int, frame: Any) -> None:
        self.kind = size, frame
        try:
            self.memory, self.address = _idle[self.kind].pop()
        except IndexError:
            global _allocated
            idle = bytes_idle()
            if idle > max(_ALWAYS_KEPT, _allocated - idle):
                release_idle()
            self.memory = _fresh((size + _ALIGN,), np.dtype(np.uint8), frame)
            self.address = self.memory.ctypes.data
            self.address += -self.address % _ALIGN
            with _lock:
                _allocated += size
        self.__array_interface__ = {
            "version": 3,
            "typestr": dtype.str,
            "shape": shape,
            "data": (self.address, False),
        }

    def __del__(self, idle: Any = _idle) -> None:  # an argument outlives the module
        idle[self.kind].append((self.memory, self.address))


def empty(shape: tuple[int, ...], dtype: DTypeLike, like: Array) -> Array:
    """``xp.empty`` of the array module of ``like``; large ones from the pool, aligned."""
    xp = array_module(like)
    if xp is not np:
        return xp.empty(shape, dtype)
    return _from_pool(shape, np.dtype(dtype), None)


def framed(
    shape: tuple[int, int, int, int], rows: tuple[int, int], columns: tuple[int, int], like: Array
) -> Array:
    """Return images by rows (H, C, W, N) that are zero around ``[rows, :, columns]``.

    That part is unset, and only that part may be written to. The buffer is handed out again as it
    is, for the same shape and frame, so its zeros are written once. To write them each time would
    be little work, but in many short calls, after each of which a thread waits for the interpreter.
    """
    xp = array_module(like)
    if xp is not np:
        images = xp.empty(shape, like.dtype)
        images.fill(0)  # one launch
        return images
    return _from_pool(shape, like.dtype, (shape, like.dtype.char, rows, columns))


def _from_pool(shape: tuple[int, ...], dtype: np.dtype[Any], frame: Any) -> Array:
    size = math.prod(shape) * dtype.itemsize
    if size < _POOLED:
        return _fresh(shape, dtype, frame)
    return np.asarray(_Lease(shape, dtype, -(-size // _POOLED) * _POOLED, frame))


def _fresh(shape: tuple[int, ...], dtype: np.dtype[Any], frame: Any) -> Array:
    return np.empty(shape, dtype) if frame is None else np.zeros(shape, dtype)


def scratch(like: Array) -> tuple[Array, ...]:
    """Return (array,), space for an intermediate result, so that NumPy takes no fresh memory.

    On a GPU (): a kernel holds intermediate results in registers.
    """
    return (empty(like.shape, like.dtype, like),) if array_module(like) is np else ()


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros of ``shape`` for ``maximum`` to compare with; on a GPU a single zero.

    NumPy's maximum of two arrays takes a third of the time of its maximum of an array and a number.
    The zeros are read-only, as all callers share them.
    """
    xp = array_module(like)
    if xp is not np:
        return xp.zeros((1,) * len(shape), like.dtype)
    size = math.prod(shape)
    kept = _zeros.get(like.dtype)
    if kept is None or kept.size < size:
        kept = _zeros[like.dtype] = np.zeros(size, like.dtype)
        kept.flags.writeable = False
    return kept[:size].reshape(shape)


def bytes_idle() -> int:
    """Return the bytes of the pool that lie idle."""
    return sum(size * len(blocks) for (size, _), blocks in list(_idle.items()))


def bytes_in_use() -> int:
    """Return the bytes of the pool that arrays use."""
    return _allocated - bytes_idle()


def release_idle() -> None:
    """Give the pool's idle memory back to the system."""
    global _allocated
    for (size, _), blocks in list(_idle.items()):
        with suppress(IndexError):
            while True:
                blocks.pop()
                with _lock:
                    _allocated -= size
