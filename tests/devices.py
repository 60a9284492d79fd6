"""One test body for both array libraries: the `device` fixture of conftest.py."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisd.backend import array_module, to_device, to_numpy

NAMES = ("cpu", "cuda")


@dataclass(frozen=True)
class Device:
    """Where a test runs: ``"cpu"`` with NumPy, or ``"cuda"`` with CuPy."""

    name: str

    def put(self, array: Any) -> Any:
        """A host array, there."""
        return to_device(np.asarray(array), self.name)

    def standard_normal(self, rng: np.random.Generator, shape: Any, dtype: Any = np.float64) -> Any:
        """Numbers that are the same on both: drawn on the host."""
        return self.put(np.asarray(rng.standard_normal(shape)).astype(dtype))


def host(array: Any) -> Any:
    """An array of either library as NumPy's."""
    return to_numpy(array)


def ones_like(array: Any) -> Any:
    """Ones where ``array`` is, of its shape and dtype."""
    return array_module(array).ones_like(array)


@contextmanager
def unwritten(*arrays: Any) -> Iterator[None]:
    """Assert that nobody writes into ``arrays``. NumPy's become read-only, so a write raises."""
    before = [host(array).copy() for array in arrays]
    for array in arrays:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    yield
    for array, old in zip(arrays, before, strict=True):
        assert_equal(array, old)


def on_host(function: Callable[..., None]) -> Callable[..., None]:
    """Let an assertion of `numpy.testing` take arrays of either library."""

    def check(*arrays: Any, **options: Any) -> None:
        function(*(to_numpy(array) for array in arrays), **options)

    return check


assert_equal = on_host(np.testing.assert_array_equal)
assert_close = on_host(np.testing.assert_allclose)
