"""Whether there is a usable GPU, and which.

Only this file and `minisd.backend` use CuPy by name. It is imported when a GPU is requested.
"""

from typing import Any

from minisd.errors import DeviceError


def resolve_device(device: str) -> tuple[str, str]:
    """Turn ``"auto"`` into ``"cuda"`` if a GPU is usable, else ``"cpu"``; check other names.

    Returns
    -------
    device : "cpu" or "cuda"
    why : str
        Which GPU it is, or why none is used. Empty if ``"cpu"`` was requested.

    Raises
    ------
    DeviceError
        If ``"cuda"`` is requested but not usable.
    """
    if device == "auto":
        try:
            return "cuda", f"auto: {describe_gpu()}"
        except DeviceError as error:
            return "cpu", f"auto: {error}"
    if device == "cuda":
        return device, describe_gpu()
    check_device(device)
    return device, ""


def check_device(device: str) -> None:
    """Raise a DeviceError unless ``device`` is the name of one."""
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; use 'cpu' or 'cuda'")


def gpu_available() -> bool:
    """Whether there is a GPU that passes the trials of `usable_cupy`."""
    try:
        usable_cupy()
    except DeviceError:
        return False
    return True


def describe_gpu() -> str:
    """Return name, memory and versions of the GPU; raise a DeviceError if none is usable."""
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


_tried_cupy: Any = None


def usable_cupy() -> Any:
    """Import CuPy and try the GPU, once; return the module.

    That the import works proves little. Without a driver, a device or a compiler, CuPy can still be
    imported, and fails at the first allocation or kernel.

    Raises
    ------
    DeviceError
        The message says what is wrong and what to do.
    """
    global _tried_cupy
    if _tried_cupy is None:
        _tried_cupy = _try_cupy()
    return _tried_cupy


def _try_cupy() -> Any:
    try:
        import cupy
    except Exception as error:  # CuPy without a fitting CUDA raises more than ImportError
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        problem = "CuPy is not installed" if missing else f"CuPy cannot be imported ({error})"
        raise DeviceError(f"no GPU: {problem}; {_INSTALL}, or use --device cpu") from error
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
    "pip install 'minisd[cuda13]', or 'minisd[cuda12]' for a driver without CUDA 13; both include "
    "CuPy, its compiler and cuBLAS"
)


def _count_devices(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() == 0:
        raise RuntimeError("cudaErrorNoDevice: the driver lists none")


def _allocate(cupy: Any) -> None:
    """Allocate memory, clear it and read it back. This runs no kernel yet."""
    _compare("a zero", float(cupy.zeros(1, cupy.float32).get()[0]), 0)


def _add(cupy: Any) -> None:
    """Compile a kernel, run it and read the result."""
    _compare("a sum", float((cupy.arange(6, dtype=cupy.float32) + 1).sum()), 21)


def _multiply(cupy: Any) -> None:
    a = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
    _compare("a product of matrices", float((a @ a.T).sum()), 83)  # [[5, 14], [14, 50]]


def _compare(what: str, result: float, expected: float) -> None:
    if result != expected:
        raise DeviceError(
            f"the GPU gives a wrong result for {what} ({result:g} instead of {expected:g}): do not "
            "trust it; check its memory and driver (nvidia-smi -q), or use --device cpu"
        )


def _diagnosis(trial: str, problem: str) -> tuple[str, str]:
    """Return what failed, in words, and what to do about it."""
    if any(word in problem for word in ("Memory", "memory", "ALLOC", "Unavailable", "busy")):
        return "the GPU gives no memory", "another process may have it (nvidia-smi)"
    if "InsufficientDriver" in problem or "libcuda.so" in problem:
        return "there is no NVIDIA driver, or it is too old", "update the driver (nvidia-smi)"
    if "NoDevice" in problem:
        return "there is no GPU", "check that nvidia-smi lists one and CUDA_VISIBLE_DEVICES"
    if trial in ("_count_devices", "_allocate"):
        return "the GPU or its driver did not answer", "check them with nvidia-smi"
    part = "its compiler (NVRTC)" if trial == "_add" else "its matrix library (cuBLAS)"
    return f"{part} does not work", _INSTALL
