"""Which array library an operation runs on. The only file that names CuPy.

Every function in `minisd.ops` asks its own arguments (``xp = array_module(x, w)``) and then
calls ``xp.matmul``, ``xp.exp`` and so on, so the same lines run on the CPU and on a GPU, and
there is no global switch to forget. CuPy is imported only when a GPU is asked for.

A GPU works on what it was told while Python goes on: an operation *launches* a kernel and returns.
Two things cost time there that cost none on a CPU. Every launch does, some microseconds, so
elementwise mathematics is launched as one kernel (`fused`). And asking for a value does, as Python
then waits until all that was launched is done: no operation here does, but the check of labels.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisd.errors import DeviceError

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


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
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
    """Return the fused kernel; CuPy makes one for every combination of dtypes and dimensions."""
    cupy = sys.modules["cupy"]
    return cupy.fuse(kernel_name=function.__name__)(functools.partial(function, cupy))


# ---- from device to device ----


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


# ---- a GPU that can be used ----


def resolve_device(device: str) -> tuple[str, str]:
    """Turn ``"auto"`` into ``"cuda"`` if a GPU is usable, else ``"cpu"``; check the others.

    Returns
    -------
    device : "cpu" or "cuda"
    why : str
        What was found, in a few words.

    Raises
    ------
    DeviceError
        If ``"cuda"`` was asked for and is not usable.
    """
    if device == "auto":
        try:
            return "cuda", f"auto: {describe_gpu()}"
        except DeviceError as error:
            return "cpu", f"auto: {error}"
    if device == "cuda":
        return device, describe_gpu()
    to_device(np.zeros(1, np.float32), device)
    return device, ""


def gpu_available() -> bool:
    """Whether a GPU is there that has added, multiplied and been read back."""
    try:
        usable_cupy()
    except DeviceError:
        return False
    return True


def describe_gpu() -> str:
    """Name, memory and versions of the GPU in use; a DeviceError if there is none to use."""
    cupy = usable_cupy()
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"].decode()
    return (
        f"{name}, {properties['totalGlobalMem'] / 2**30:.1f} GiB, compute capability "
        f"{properties['major']}.{properties['minor']}; CuPy {cupy.__version__}, CUDA runtime "
        f"{_cuda_version(runtime.runtimeGetVersion())}, driver "
        f"{_cuda_version(runtime.driverGetVersion())}"
    )


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


_proven: Any = None


def usable_cupy() -> Any:
    """Import CuPy and make the GPU prove itself, once.

    An import that works says little: without a driver, a device or a compiler CuPy still
    imports, and fails at the first allocation or kernel.

    Raises
    ------
    DeviceError
        Saying what was found and what to do.
    """
    global _proven
    if _proven is None:
        _proven = _prove()
    return _proven


def _prove() -> Any:
    try:
        import cupy
    except Exception as error:  # a CuPy that does not fit its CUDA fails with more than ImportError
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        found = "CuPy is not installed" if missing else f"CuPy cannot be imported ({error})"
        raise DeviceError(f"no GPU: {found}; {_INSTALL}, or use --device cpu") from error
    for trial in (_count_devices, _allocate, _add, _multiply):
        try:
            trial(cupy)
        except DeviceError:
            raise
        except Exception as error:
            what, advice = _diagnosis(trial.__name__, f"{type(error).__name__}: {error}")
            raise DeviceError(
                f"no usable GPU: CuPy {cupy.__version__} is installed, but {what} "
                f"({type(error).__name__}: {error}); {advice}, or use --device cpu"
            ) from error
    return cupy


_INSTALL = (
    "pip install 'minisd[cuda13]', or 'minisd[cuda12]' for a driver that knows no CUDA 13; both "
    "bring CuPy, its compiler and cuBLAS"
)


def _count_devices(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() == 0:
        raise RuntimeError("cudaErrorNoDevice: the driver lists none")


def _allocate(cupy: Any) -> None:
    """Take memory, clear it and read it back: no kernel yet."""
    _compare("a zero", float(cupy.zeros(1, cupy.float32).get()[0]), 0)


def _add(cupy: Any) -> None:
    """Compile a kernel, run it and read the answer."""
    _compare("a sum", float((cupy.arange(6, dtype=cupy.float32) + 1).sum()), 21)


def _multiply(cupy: Any) -> None:
    a = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
    _compare("a product of matrices", float((a @ a.T).sum()), 83)  # [[5, 14], [14, 50]]


def _compare(what: str, answer: float, right: float) -> None:
    if answer != right:
        raise DeviceError(
            f"the GPU gives a wrong answer to {what} ({answer:g} instead of {right:g}): do not "
            "trust it; check its memory and driver (nvidia-smi -q), or use --device cpu"
        )


def _diagnosis(trial: str, problem: str) -> tuple[str, str]:
    """Say in words what failed, and what to do about it."""
    if any(word in problem for word in ("Memory", "memory", "ALLOC", "Unavailable", "busy")):
        return "the GPU gives no memory", "another process may have it (nvidia-smi)"
    if "InsufficientDriver" in problem or "libcuda.so" in problem:
        return "there is no NVIDIA driver, or one too old for it", "update the driver (nvidia-smi)"
    if "NoDevice" in problem:
        return "there is no GPU", "check that nvidia-smi lists one and CUDA_VISIBLE_DEVICES"
    if trial in ("_count_devices", "_allocate"):
        return "the GPU or its driver did not answer", "check them with nvidia-smi"
    part = "its compiler (NVRTC)" if trial == "_add" else "its library for products (cuBLAS)"
    return f"{part} does not work", _INSTALL
