"""Whether there is a GPU that can be used, and which.

With `minisd.backend` the only file that names CuPy. It is imported when a GPU is asked for.
"""

from typing import Any

from minisd.errors import DeviceError


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
    check_device(device)
    return device, ""


def check_device(device: str) -> None:
    """Raise a DeviceError unless ``device`` is the name of one."""
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; use 'cpu' or 'cuda'")


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
