"""A pool of reusable buffers, so that large arrays do not pay for a page fault per page each time.

The pool hands out buffers by size, and takes each back when the last array in it is gone. It grows
to the largest size that was in use at once. When sizes change, so that most of it lies idle, it
gives the idle buffers back to the system.
"""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd.backend import Array, array_module

_POOLED = 1 << 16  # bytes; smaller arrays come from NumPy, which has a pool for them
_ALIGN = 64  # bytes of a cache line
_ALWAYS_KEPT = 1 << 28  # bytes that may lie idle however little is in use
_MOST_KINDS = 512  # of buffers that may lie idle; a network has about fifty for each batch size

Kind = tuple[int, Any]
"""Bytes, and the frame or None: a buffer with a frame is handed out for that frame only."""

# No lock, which a fork or a signal handler could meet while it is held: each line below that
# changes one of these does so at once, and how much memory there is is counted when it is asked.
_lent: set["_Loan"] = set()
_returned: deque["_Loan"] = deque()
_idle: dict[Kind, deque[tuple[Array, int]]] = {}
_zeros: dict[Any, Array] = {}


class _Lease:
    """What the arrays in a buffer have in common, and hold: when it goes, all of them are gone."""

    __array_interface__: dict[str, Any]


class _Loan(weakref.ref[_Lease]):
    """A buffer that is lent until its lease goes.

    It is then put into `_returned` by ``deque.append`` itself. A destructor in Python could be
    interrupted by a signal handler, whose exception would be lost.
    """

    __slots__ = ("address", "kind", "memory")
    kind: Kind
    memory: Array
    address: int


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
    kind = -(-size // _POOLED) * _POOLED, frame
    memory, address = _idle_buffer(kind) or _new_buffer(kind)
    lease = _Lease()
    lease.__array_interface__ = {
        "version": 3,
        "typestr": dtype.str,
        "shape": shape,
        "data": (address, False),
    }
    loan = _Loan(lease, _returned.append)
    loan.kind, loan.memory, loan.address = kind, memory, address
    _lent.add(loan)
    return np.asarray(lease)


def _idle_buffer(kind: Kind) -> tuple[Array, int] | None:
    """Take an idle buffer of this kind, if there is one."""
    _sort_returned()
    buffers = _idle.get(kind)
    try:
        return buffers.pop() if buffers else None
    except IndexError:  # another thread was faster
        return None


def _new_buffer(kind: Kind) -> tuple[Array, int]:
    """Return a buffer from the system; of zeros, if it is for a frame."""
    idle = bytes_idle()
    if idle > max(_ALWAYS_KEPT, bytes_in_use()) or len(_idle) > _MOST_KINDS:
        release_idle()
    size, frame = kind
    memory = _fresh((size + _ALIGN,), np.dtype(np.uint8), frame)
    address = memory.ctypes.data
    return memory, address + -address % _ALIGN


def _sort_returned() -> None:
    """Move the buffers that came back to the idle ones of their kind."""
    while _returned:
        try:
            loan = _returned.popleft()
        except IndexError:  # another thread was faster
            return
        _lent.discard(loan)
        _idle.setdefault(loan.kind, deque()).append((loan.memory, loan.address))


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
    _sort_returned()
    return sum(size * len(buffers) for (size, _), buffers in list(_idle.items()))


def bytes_in_use() -> int:
    """Return the bytes of the pool that arrays use."""
    _sort_returned()
    in_use = 0
    for loan in list(_lent):
        if loan() is None:  # an interrupt came between its return and its being sorted
            _lent.discard(loan)
        else:
            in_use += loan.kind[0]
    return in_use


def release_idle() -> None:
    """Give the pool's idle memory back to the system."""
    _sort_returned()
    _idle.clear()
