"""Memory that is kept: see `minisd.parallel`."""

import math
import threading
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array, array_module

_POOLED = 1 << 16  # bytes; smaller arrays come from NumPy, which keeps those itself
_ALIGN = 64  # bytes of a cache line
_idle: defaultdict[int, deque[tuple[Array, dict[str, Any]]]] = defaultdict(deque)
_lock = threading.Lock()
_allocated = 0  # bytes, in use or idle


class _Lease:
    """A stretch of the pool's memory, on loan to the arrays that look into it."""

    def __init__(self, size: int) -> None:
        self.size = size
        try:
            self.memory, self.__array_interface__ = _idle[size].pop()
        except IndexError:
            global _allocated
            self.memory = np.empty(size + _ALIGN, np.uint8)
            with _lock:
                _allocated += size
            address = self.memory.ctypes.data
            self.__array_interface__ = {
                "version": 3,
                "typestr": "|u1",
                "shape": (size,),
                "data": (address + -address % _ALIGN, False),
            }

    def __del__(self) -> None:
        _idle[self.size].append((self.memory, self.__array_interface__))


def empty(shape: tuple[int, ...], dtype: DTypeLike, like: Array) -> Array:
    """``xp.empty`` of the array module of ``like``; large ones from the pool, aligned."""
    xp = array_module(like)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if xp is not np or size < _POOLED:
        return xp.empty(shape, dtype)
    lease = _Lease(-(-size // _POOLED) * _POOLED)
    return np.asarray(lease)[:size].view(dtype).reshape(shape)


def bytes_in_use() -> int:
    """Return how much of the pool's memory is in use by arrays."""
    return _allocated - sum(size * len(blocks) for size, blocks in list(_idle.items()))


def release_idle() -> None:
    """Give the pool's idle memory back to the system."""
    global _allocated
    for size, blocks in list(_idle.items()):
        with suppress(IndexError):
            while True:
                blocks.pop()
                with _lock:
                    _allocated -= size
