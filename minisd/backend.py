"""Which array library an operation runs on. The only file that names CuPy.

Every function in `minisd.ops` asks its own arguments (``xp = array_module(x, w)``) and then
calls ``xp.matmul``, ``xp.exp`` and so on, so the same lines run on the CPU and on a GPU, and
there is no global switch to forget. CuPy is imported only when a GPU is asked for.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.errors import DeviceError

Array = NDArray[Any]
"""A `numpy.ndarray`, or a `cupy.ndarray`, which has the same methods."""


def is_cupy(array: object) -> bool:
    """Whether ``array`` lives on a GPU. Does not import CuPy."""
    return type(array).__module__.partition(".")[0] == "cupy"


def array_module(*arrays: object) -> Any:
    """Return the library, `numpy` or `cupy`, that all of ``arrays`` belong to.

    Parameters
    ----------
    *arrays : array or None
        ``None`` (a bias that is not there) is passed over.

    Raises
    ------
    TypeError
        If one is not an array, or if NumPy and CuPy arrays are mixed.
    """
    on_gpu = on_cpu = False
    for array in arrays:
        if array is None:
            continue
        if isinstance(array, np.ndarray):
            on_cpu = True
        elif is_cupy(array):
            on_gpu = True
        else:
            raise TypeError(
                f"expected a NumPy or CuPy array, got {type(array).__name__}; "
                "convert it with numpy.asarray first"
            )
    if on_cpu and on_gpu:
        raise TypeError(
            "NumPy and CuPy arrays are mixed in one operation; "
            "move them to one device with minisd.backend.to_device or model.to(...)"
        )
    return sys.modules["cupy"] if on_gpu else np


def to_numpy(array: Array) -> Array:
    """Return ``array`` on the host: itself if it is NumPy, else a copy from the GPU."""
    return array.get() if is_cupy(array) else np.asarray(array)  # type: ignore[attr-defined]


def to_device(array: Array, device: str) -> Array:
    """Return ``array`` on ``device`` (``"cpu"`` or ``"cuda"``); no copy if it is there already."""
    if device == "cpu":
        return to_numpy(array)
    if device == "cuda":
        return usable_cupy().asarray(array)
    raise DeviceError(f"unknown device {device!r}; use 'cpu' or 'cuda'")


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into ``"cuda"`` if a GPU is usable, else ``"cpu"``; check the others."""
    if device == "auto":
        return "cuda" if gpu_available() else "cpu"
    to_device(np.zeros(1, np.float32), device)
    return device


def gpu_available() -> bool:
    """Whether a GPU is there that has added, multiplied and been read back."""
    try:
        usable_cupy()
    except DeviceError:
        return False
    return True


def usable_cupy() -> Any:
    """Import CuPy and make the GPU prove itself.

    An import that works says little: without a driver, a device or a compiler CuPy still
    imports, and fails at the first kernel.

    Raises
    ------
    DeviceError
        Saying what was found and what to do.
    """
    try:
        import cupy
    except Exception as error:  # a CuPy that does not fit its CUDA fails with more than ImportError
        raise DeviceError(
            f"no GPU: CuPy cannot be imported ({error}); install the CuPy package that fits your "
            "CUDA (pip install cupy-cuda12x or cupy-cuda13x), or use --device cpu"
        ) from error
    try:
        a = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
        answer = float((a @ a.T + 1).sum())  # [[5, 14], [14, 50]] + 1
    except Exception as error:
        raise DeviceError(
            f"no usable GPU: CuPy {cupy.__version__} is installed but failed on a small product "
            f"({type(error).__name__}: {error}); check the driver and the CUDA libraries, "
            "or use --device cpu"
        ) from error
    if answer != 87.0:
        raise DeviceError(
            f"the GPU gives a wrong answer to a small product ({answer} instead of 87)"
        )
    return cupy
