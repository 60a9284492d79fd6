"""Which array library an operation runs on.

Every operation asks its own arguments (``xp = array_module(x, w)``) and then calls ``xp.matmul``,
``xp.exp`` and so on, so the same lines run on the CPU and on a GPU, and there is no global switch
to forget. CuPy is imported only when a GPU is asked for.

A GPU works on what it was told while Python goes on: an operation *launches* a kernel and returns.
Two things cost time there that cost none on a CPU. Every launch does, some microseconds, so
elementwise mathematics is launched as one kernel (`one_kernel`). And asking for a value does, as
Python then waits until all that was launched is done: no operation here does, but the check of
labels.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.gpu import check_device, usable_cupy

Array = NDArray[Any]
"""A `numpy.ndarray`, or a `cupy.ndarray`, which has the same methods."""

_ALIGN = 256  # bytes: where arrays begin that travel together


def is_cupy(array: Any) -> bool:
    """Whether ``array`` lives on a GPU. Does not import CuPy."""
    return type(array).__module__.partition(".")[0] == "cupy"


def array_module(*arrays: Any) -> Any:
    """Return the library, `numpy` or `cupy`, that all of ``arrays`` belong to.

    Parameters
    ----------
    *arrays : array or None
        ``None`` (a bias that is not there) is passed over.

    Raises
    ------
    TypeError
        If one is not an array, if NumPy and CuPy arrays are mixed, or arrays of several GPUs.
    """
    on_cpu = False
    there: Any = None
    for array in arrays:
        if isinstance(array, np.ndarray):
            on_cpu = True
        elif is_cupy(array):
            if there is not None and array.device != there.device:
                raise TypeError(
                    f"arrays of {there.device} and {array.device} are mixed in one operation; "
                    "make all of them inside one 'with cupy.cuda.Device(...)'"
                )
            there = array
        elif array is not None:
            raise TypeError(
                f"expected a NumPy or CuPy array, got {type(array).__name__}; "
                "convert it with numpy.asarray first"
            )
    if on_cpu and there is not None:
        raise TypeError(
            "NumPy and CuPy arrays are mixed in one operation; "
            "move them to one device with minisd.backend.to_device or model.to(...)"
        )
    return np if there is None else sys.modules["cupy"]


# ---- one kernel ----


def one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run elementwise mathematics, written once, as one kernel on a GPU.

    Parameters
    ----------
    function : function of (xp, array, *arrays and numbers)
        NumPy arrays: it is called as it stands, with ``xp`` NumPy. CuPy arrays: `cupy.fuse` makes
        one kernel of it, named as the function. It may write into its arguments, and end in sums.
        A number must meet an array first: CuPy computes ``1 - momentum`` in float16.

    Returns
    -------
    function of (array, *arrays and numbers)
    """

    @functools.wraps(function)
    def call(first: Any, *others: Any) -> Any:
        on_cpu = isinstance(first, np.ndarray)
        return function(np, first, *others) if on_cpu else _kernel(function)(first, *others)

    return call


@functools.cache
def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the kernel; CuPy makes one for every combination of dtypes and dimensions."""
    cupy = sys.modules["cupy"]
    return cupy.fuse(kernel_name=function.__name__)(functools.partial(function, cupy))


# ---- from device to device ----


def to_numpy(array: Array) -> Array:
    """Return ``array`` on the host: itself if it is NumPy, else a copy from the GPU."""
    return array.get() if is_cupy(array) else np.asarray(array)  # type: ignore[attr-defined]


def to_device(array: Array, device: str) -> Array:
    """Return ``array`` on ``device`` (``"cpu"`` or ``"cuda"``); no copy if it is there already."""
    check_device(device)
    return to_numpy(array) if device == "cpu" else usable_cupy().asarray(array)


def beside(array: Array, like: Array) -> Array:
    """Return a host array where ``like`` is."""
    return to_device(array, "cuda" if is_cupy(like) else "cpu")


def to_device_together(arrays: Sequence[Array], device: str) -> list[Array]:
    """`to_device` for several host arrays, in one transfer: each has a price of its own."""
    if device == "cpu":
        return list(arrays)
    starts, end = [], 0
    for array in arrays:
        starts.append(end)
        end += -(-array.nbytes // _ALIGN) * _ALIGN
    packed = np.empty(end, np.uint8)
    for array, start in zip(arrays, starts, strict=True):
        packed[start : start + array.nbytes].view(array.dtype)[...] = array.reshape(-1)
    there = to_device(packed, device)
    return [
        there[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        for array, start in zip(arrays, starts, strict=True)
    ]


def synchronize(device: str) -> None:
    """Wait until all that was launched is done, so that a clock may be read."""
    if device == "cuda":
        usable_cupy().cuda.Device().synchronize()


def values(numbers: Sequence[Any]) -> list[float]:
    """Return single numbers of one dtype as floats: one copy back, and one wait, for all."""
    if not numbers or not is_cupy(numbers[0]):
        return [float(number) for number in numbers]
    xp = array_module(*numbers)
    return [float(number) for number in to_numpy(xp.stack(numbers))]
