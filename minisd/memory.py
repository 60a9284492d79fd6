"""Memory that is kept, and what is written into it first: see `minisd.parallel`.

The pool hands out stretches of memory by size and takes each back when the last array that looks
into it is gone. It grows to what was in use at once; when sizes change, so that most of it lies
idle, what is idle goes back to the system.
"""

import math
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array, array_module

_POOLED = 1 << 16  # bytes; smaller arrays come from NumPy, which keeps those itself
_ALIGN = 64  # bytes of a cache line
_ALWAYS_KEPT = 1 << 28  # bytes that may lie idle however little is in use
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
            idle = bytes_idle()
            if idle > max(_ALWAYS_KEPT, _allocated - idle):
                release_idle()
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

    def __del__(self, idle: Any = _idle) -> None:  # an argument outlives the module
        idle[self.size].append((self.memory, self.__array_interface__))


def empty(shape: tuple[int, ...], dtype: DTypeLike, like: Array) -> Array:
    """``xp.empty`` of the array module of ``like``; large ones from the pool, aligned."""
    xp = array_module(like)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if xp is not np or size < _POOLED:
        return xp.empty(shape, dtype)
    lease = _Lease(-(-size // _POOLED) * _POOLED)
    return np.asarray(lease)[:size].view(dtype).reshape(shape)


def scratch(like: Array) -> tuple[Array, ...]:
    """Return (array,), to write an intermediate result into; on a GPU nothing: ().

    A kernel there holds intermediate results in registers. Here NumPy would else take fresh memory.
    """
    return (empty(like.shape, like.dtype, like),) if array_module(like) is np else ()


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros that ``maximum`` compares with, of ``shape``; on a GPU a single one will do.

    NumPy's maximum of two arrays takes a third of the time of that of an array and a number.
    """
    xp = array_module(like)
    return xp.zeros(shape if xp is np else (1,) * len(shape), like.dtype)


def clear(parts: Sequence[Array], whole: Array) -> None:
    """Set ``parts`` of an array to 0; on a GPU all of ``whole``, which is one launch."""
    if array_module(whole) is not np:
        whole.fill(0)
        return
    for part in parts:
        if part.size:
            part[...] = 0


def bytes_idle() -> int:
    """Return how much of the pool's memory waits to be used again."""
    return sum(size * len(blocks) for size, blocks in list(_idle.items()))


def bytes_in_use() -> int:
    """Return how much of the pool's memory is in use by arrays."""
    return _allocated - bytes_idle()


def release_idle() -> None:
    """Give the pool's idle memory back to the system."""
    global _allocated
    for size, blocks in list(_idle.items()):
        with suppress(IndexError):
            while True:
                blocks.pop()
                with _lock:
                    _allocated -= size
