"""Which array library an operation runs on.

Every operation takes the library from its own arguments (``xp = array_module(x, w)``) and then
calls ``xp.matmul``, ``xp.exp`` and so on. So the same lines run on the CPU and on a GPU, and there
is no global switch to forget. CuPy is imported only when a GPU is requested.

A GPU works while Python goes on: an operation *launches* a kernel and returns. Two things cost time
on a GPU, but none on a CPU:

- Each launch takes a few microseconds. So elementwise mathematics is launched as a single kernel
  (`one_kernel`).
- When Python reads a value, it waits until all launched kernels are done. So no operation reads a
  value, except the check of the labels.
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

_ALIGN = 256  # bytes; arrays that are transferred together start at multiples of this


def is_cupy(array: Any) -> bool:
    """Whether ``array`` lives on a GPU. Does not import CuPy."""
    return type(array).__module__.partition(".")[0] == "cupy"


def array_module(*arrays: Any) -> Any:
    """Return the library, `numpy` or `cupy`, that all of ``arrays`` belong to.

    Parameters
    ----------
    *arrays : array or None
        ``None`` (for instance no bias) is ignored.

    Raises
    ------
    TypeError
        If one is not an array, or if NumPy and CuPy arrays or arrays of several GPUs are mixed.
    """
    on_cpu = False
    gpu_array: Any = None
    for array in arrays:
        if type(array) is np.ndarray:
            on_cpu = True
        elif isinstance(array, np.ma.MaskedArray | np.matrix):
            raise TypeError(
                f"a {type(array).__name__} computes in its own way; pass an ordinary array, such "
                "as array.filled(0) or numpy.asarray(array)"
            )
        elif isinstance(array, np.ndarray):  # such as numpy.memmap
            on_cpu = True
        elif is_cupy(array):
            if gpu_array is not None and array.device != gpu_array.device:
                raise TypeError(
                    f"arrays of {gpu_array.device} and {array.device} are mixed in one operation; "
                    "make all of them inside one 'with cupy.cuda.Device(...)'"
                )
            gpu_array = array
        elif array is not None:
            raise TypeError(
                f"expected a NumPy or CuPy array, got {type(array).__name__}; "
                "convert it with numpy.asarray first"
            )
    if on_cpu and gpu_array is not None:
        raise TypeError(
            "NumPy and CuPy arrays are mixed in one operation; "
            "move them to one device with minisd.backend.to_device or model.to(...)"
        )
    return np if gpu_array is None else sys.modules["cupy"]


# ---- one kernel ----


def one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Write elementwise mathematics once, and run it as a single kernel on a GPU.

    Parameters
    ----------
    function : function of (xp, array, *arrays and numbers)
        For NumPy arrays it is simply called, with NumPy as ``xp``. For CuPy arrays `cupy.fuse`
        turns it into one kernel of the same name. It may write into its arguments and end in sums.
        Combine each number with an array first: CuPy computes ``1 - momentum`` in float16.

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
    """Return the kernel. CuPy compiles it for every combination of dtypes and dimensions."""
    cupy = sys.modules["cupy"]
    return cupy.fuse(kernel_name=function.__name__)(functools.partial(function, cupy))


# ---- between devices ----


def to_numpy(array: Array) -> Array:
    """Return ``array`` on the host: unchanged if it is NumPy, else a copy from the GPU."""
    return array.get() if is_cupy(array) else np.asarray(array)  # type: ignore[attr-defined]


def to_device(array: Array, device: str) -> Array:
    """Return ``array`` on ``device`` (``"cpu"`` or ``"cuda"``); copy only if necessary."""
    check_device(device)
    return to_numpy(array) if device == "cpu" else usable_cupy().asarray(array)


def beside(array: Array, like: Array) -> Array:
    """Return a host array on the device of ``like``."""
    return to_device(array, "cuda" if is_cupy(like) else "cpu")


def to_device_together(arrays: Sequence[Array], device: str) -> list[Array]:
    """`to_device` for several host arrays in one transfer, because each transfer takes time."""
    if device == "cpu":
        return list(arrays)
    starts, end = [], 0
    for array in arrays:
        starts.append(end)
        end += -(-array.nbytes // _ALIGN) * _ALIGN
    packed = np.empty(end, np.uint8)
    for array, start in zip(arrays, starts, strict=True):
        packed[start : start + array.nbytes].view(array.dtype)[...] = array.reshape(-1)
    on_device = to_device(packed, device)
    return [
        on_device[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        for array, start in zip(arrays, starts, strict=True)
    ]


def synchronize(device: str) -> None:
    """Wait until everything that was launched is done, for instance before reading a clock."""
    if device == "cuda":
        usable_cupy().cuda.Device().synchronize()


def values(numbers: Sequence[Any]) -> list[float]:
    """Return single numbers of one dtype as floats, with one transfer and one wait for all."""
    if not numbers or not is_cupy(numbers[0]):
        return [float(number) for number in numbers]
    xp = array_module(*numbers)
    return [float(number) for number in to_numpy(xp.stack(numbers))]
