"""Where arrays live, and what is said of a GPU that cannot be used."""

import importlib
import inspect
import pkgutil
import sys
import types

import numpy as np
import pytest

import minisd
from devices import assert_close, host
from minisd import gpu as gpus
from minisd.backend import array_module, beside, to_device
from minisd.errors import DeviceError
from minisd.gpu import resolve_device, usable_cupy

# A GPU that cannot be used: with pretended libraries, so that every machine tests every sentence


class CUDARuntimeError(RuntimeError):
    pass


class Pretended(types.ModuleType):
    """As much of CuPy as the proof uses, with NumPy underneath, and something wrong with it."""

    __version__ = "14.0.0"
    float32 = np.float32

    def __init__(self, *, devices=1, allocate=None, add=None, multiply=None):
        super().__init__("cupy")
        runtime = types.SimpleNamespace(getDeviceCount=lambda: run(devices))
        self.cuda = types.SimpleNamespace(runtime=runtime)
        self.allocate, self.add, self.multiply = allocate, add, multiply

    def zeros(self, count, dtype):
        found = np.zeros(count, dtype) if self.allocate is None else run(self.allocate)
        return types.SimpleNamespace(get=lambda: found)

    def arange(self, count, dtype):
        return Numbers(np.arange(count, dtype=dtype), self)


def run(found):
    if isinstance(found, Exception):
        raise found
    return found


class Numbers:
    def __init__(self, array, library):
        self.array, self.library = array, library
        self.T = array.T

    def reshape(self, *shape):
        return Numbers(self.array.reshape(shape), self.library)

    def __add__(self, other):
        return self.array + other if self.library.add is None else np.asarray(run(self.library.add))

    def __matmul__(self, other):
        product = self.array @ other
        return product if self.library.multiply is None else np.asarray(run(self.library.multiply))


@pytest.fixture
def pretend(monkeypatch):
    def with_library(library):
        monkeypatch.setattr(gpus, "_tried_cupy", None)
        monkeypatch.setitem(sys.modules, "cupy", library)

    return with_library


NO_DRIVER = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
NO_DEVICE = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
UNUSABLE = {
    "no CuPy": (None, "no GPU: CuPy is not installed; pip install 'minisd"),
    "no driver": (Pretended(devices=NO_DRIVER), "no NVIDIA driver, or it is too old .* update"),
    "no device": (Pretended(devices=NO_DEVICE), "there is no GPU .* CUDA_VISIBLE_DEVICES"),
    "no devices": (Pretended(devices=0), "there is no GPU .* CUDA_VISIBLE_DEVICES"),
    "a driver that is broken": (Pretended(devices=CUDARuntimeError("cudaErrorUnknown")),
                                "its driver did not answer .*cudaErrorUnknown.* nvidia-smi"),
    "a device that is full": (Pretended(allocate=MemoryError("Out of memory allocating 512 bytes")),
                              "the GPU gives no memory .*another process"),
    "a device that is taken": (Pretended(allocate=CUDARuntimeError("cudaErrorDevicesUnavailable: "
                               "CUDA-capable device(s) is/are busy or unavailable")),
                               "the GPU gives no memory .*another process"),
    "a wrong zero": (Pretended(allocate=np.ones(1)), r"wrong result for a zero \(1 instead of 0\)"),
    "no memory for cuBLAS": (Pretended(multiply=RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")),
                             "the GPU gives no memory"),
    "no CUDA runtime": (Pretended(add=ImportError("libcudart.so.13: cannot open")),
                        r"its compiler \(NVRTC\) does not work .*pip install"),
    "no compiler": (Pretended(add=RuntimeError("CuPy failed to load libnvrtc.so.13")),
                    r"its compiler \(NVRTC\) does not work .*libnvrtc.* pip install 'minisd"),
    "no cuBLAS": (Pretended(multiply=ImportError("libcublas.so.13: cannot open")),
                  r"\(cuBLAS\) does not work .*libcublas.* pip install 'minisd"),
    "a wrong sum": (Pretended(add=20.0), r"wrong result for a sum \(20 instead of 21\)"),
    "a wrong product": (Pretended(multiply=82.0), r"wrong result for a product .*\(82 instead of"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_is_wrong_with_a_gpu_is_said_with_what_to_do(case, pretend):
    library, sentence = UNUSABLE[case]
    pretend(library)
    with pytest.raises(DeviceError, match=sentence) as caught:
        usable_cupy()
    assert "--device cpu" in str(caught.value)
    assert not gpus.gpu_available()
    with pytest.raises(DeviceError, match=sentence):
        minisd.Linear(2, 2, rng=np.random.default_rng(0)).to("cuda")
    device, why = resolve_device("auto")
    assert device == "cpu"
    assert why == f"auto: {caught.value}"


def test_a_cupy_that_cannot_be_imported_is_no_accident(pretend, monkeypatch):
    pretend(None)
    original = importlib.import_module("builtins").__import__

    def broken(name, *rest):
        if name == "cupy":
            raise AttributeError("module 'numpy' has no attribute 'float128'")
        return original(name, *rest)

    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(DeviceError, match=r"CuPy cannot be imported .*float128"):
        usable_cupy()


def test_a_pretended_gpu_without_a_fault_is_usable(pretend):
    library = Pretended()
    pretend(library)
    assert usable_cupy() is library


def test_auto_says_which_gpu_it_chose(gpu):
    device, why = resolve_device("auto")
    assert device == "cuda"
    assert why.startswith("auto: ")
    assert "compute capability" in why
    assert resolve_device("cuda") == ("cuda", why.removeprefix("auto: "))
    assert resolve_device("cpu") == ("cpu", "")


# Arrays


@pytest.mark.parametrize("wrong", [3.0, [1.0], np.float32(2), "x"])
def test_host_scalars_and_lists_are_no_arrays(wrong, device):
    with pytest.raises(TypeError, match=r"expected a NumPy or CuPy array, got"):
        array_module(device.put(np.ones(2)), wrong)


def test_arrays_of_two_libraries_do_not_mix(gpu):
    there, here = gpu.put(np.ones((2, 3))), np.ones((2, 3))
    for operation in (
        lambda: array_module(there, here),
        lambda: minisd.ops.linear_forward(there, here),
        lambda: minisd.ops.add(there, here),
        lambda: minisd.ops.softmax_cross_entropy(there, np.zeros(2, int)),
        lambda: minisd.Linear(3, 2, rng=np.random.default_rng(0), dtype=np.float64).forward(there),
        lambda: (
            minisd.Linear(3, 2, rng=np.random.default_rng(0), dtype=np.float64)
            .to("cuda")
            .forward(here)
        ),
    ):
        with pytest.raises(TypeError, match="NumPy and CuPy arrays are mixed"):
            operation()


def test_arrays_of_two_gpus_do_not_mix():
    """Pretended: the class of a CuPy array and its device are all that is asked."""
    kind = type("ndarray", (), {"__module__": "cupy"})
    first, second = kind(), kind()
    first.device, second.device = "<CUDA Device 0>", "<CUDA Device 1>"
    with pytest.raises(TypeError, match="arrays of <CUDA Device 0> and <CUDA Device 1> are mixed"):
        array_module(first, second)


def test_momentum_on_another_device_is_refused(gpu, rng):
    layer = minisd.Linear(3, 2, rng=rng)
    optimizer = minisd.SGD(layer, 0.1)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    layer.backward(layer.forward(x))
    optimizer.step()
    layer.to("cuda")
    with pytest.raises(TypeError, match="make a new SGD"):
        optimizer.step()


def test_an_array_goes_beside_another(device):
    array = beside(np.arange(3.0), device.put(np.ones(1)))
    assert array_module(array) is array_module(device.put(np.ones(1)))
    assert host(array).tolist() == [0, 1, 2]


def test_an_unknown_device_is_refused():
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        to_device(np.ones(1), "tpu")


# One kernel


def fused_functions():
    """Every function of the package that is made one kernel, by name."""
    found = {}
    for module in pkgutil.walk_packages(minisd.__path__, "minisd."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                plain = getattr(value, "__wrapped__", None)
                if plain and "xp" in inspect.signature(plain).parameters:
                    found[name] = value
    return found


CHANNELS = {"scale", "shift", "of_g", "of_z", "constant", "mean", "along", "mean_dy", "beta", "m"}
VECTORS = {"summed_variance", "scale_and_shift", "move_statistics", "gradient_coefficients"}
NUMBERS = {"lr": 0.3, "momentum": 0.7, "decay": 0.01, "eps": 1e-3, "std": 1.7, "n": 12, "M": 60.0,
           "stay": 0.9, "move": 0.1, "move_unbiased": 0.15}  # fmt: skip
POSITIVE = {"var", "running_var", "inv_std"}


def arguments(name, function, rng, dtype):
    """Random arguments that fit, told by their names."""
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        key = parameter.name
        if parameter.default is not inspect.Parameter.empty:
            continue  # scratch: a GPU needs none
        if key in NUMBERS:
            found.append(NUMBERS[key])
            continue
        shape = (4, 3, 5)
        if name in VECTORS:
            shape = (4, 3) if key in ("m", "Q") else (3,)
        elif name == "normalised_images":
            shape = (4, 3, 5) if key == "images" else (3, 5)
        elif key in CHANNELS:
            shape = (3, 1)
        array = rng.standard_normal(shape)
        found.append((abs(array) + 0.1 if key in POSITIVE else array).astype(dtype))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", fused_functions())
def test_a_kernel_computes_what_its_plain_form_does(name, dtype, gpu, rng):
    """Results and everything that is written in place, on the device and on the host."""
    function = fused_functions()[name]
    given = arguments(name, function, rng, dtype)
    there = [gpu.put(a) if isinstance(a, np.ndarray) else a for a in given]
    plain, kernel = function(*given), function(*there)
    results = [(plain, kernel)] if not isinstance(plain, tuple) else zip(plain, kernel, strict=True)
    changed = [(a, b) for a, b in zip(given, there, strict=True) if isinstance(a, np.ndarray)]
    tolerance = 20 * np.finfo(dtype).eps
    for ours, theirs in [pair for pair in [*results, *changed] if pair[0] is not None]:
        assert theirs.dtype == ours.dtype == dtype
        assert_close(theirs, ours, rtol=tolerance, atol=tolerance)


def test_there_are_kernels():
    assert len(fused_functions()) >= 14
