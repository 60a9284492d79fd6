"""How one process uses the machine: the number of threads of the matrix products.

Everything this changes is changed inside a ``with`` block and undone at its end.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

from minisd.errors import ConfigError


def available_cores() -> int:
    """The number of cores that this process may use (fewer than the machine's under a mask)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Hold the BLAS library to ``count`` threads (default: `available_cores`) inside the block.

    Yields
    ------
    int
        The number in force.
    """
    count = available_cores() if count is None else count
    if count < 1:
        raise ConfigError(f"the number of threads must be at least 1, got {count}")
    with threadpool_limits(limits=count, user_api="blas"):
        yield count


def blas_description() -> str:
    """Name, version and thread count of the BLAS library behind NumPy's ``matmul``."""
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            name, version = pool["internal_api"], pool["version"]
            return f"{name} {version}, {pool['num_threads']} threads"
    return "unknown"
