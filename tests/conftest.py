"""Fixtures and helpers that several test files share."""

from collections.abc import Iterator

import numpy as np
import pytest

from minisd import parallel


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of the test's own, so that tests do not depend on their order."""
    return np.random.default_rng(20160330)


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """Tests run side by side: more threads than cores only wait for one another."""
    with parallel.threads(1):
        yield
