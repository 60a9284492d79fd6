"""The BLAS libraries of the process, held to one thread while our own threads compute."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_info


class _Blas:
    """The BLAS libraries of the process, and how many callers hold them to one thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.holders = 0
        self.before: list[int] = []

    def hold(self) -> None:
        with self.lock:
            if self.holders == 0:
                self.before = [library.get_num_threads() for library in self.libraries]
                self._set([1] * len(self.libraries))
            self.holders += 1

    def let_go(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                self._set(self.before)

    def _set(self, counts: list[int]) -> None:
        for library, count in zip(self.libraries, counts, strict=True):
            if library.get_num_threads() != count:
                # Newer threadpoolctl lets one thread of the process set OpenBLAS and passes over
                # the others' wishes in silence. Ours do not fight: they count, under a lock.
                getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


_blas = _Blas()
_VARIABLES = {"accelerate": "set VECLIB_MAXIMUM_THREADS=1"}
"""What holds BLAS libraries to one thread that threadpoolctl does not know."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the BLAS libraries to one thread inside the block."""
    _blas.hold()
    try:
        yield
    finally:
        _blas.let_go()


def blas_library() -> str:
    """Return name and version of the BLAS library behind NumPy's ``matmul``.

    Also what to do about its threads, if it is one that cannot be held to one.
    """
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            return f"{pool['internal_api']} {pool['version']}"
    built_with = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
    name = built_with.get("name", "unknown")
    how = _VARIABLES.get(name, "see its manual for how to set it to one")
    return f"{name} (which cannot be held to one thread from here: {how})"


def _after_fork() -> None:
    """Begin afresh in a child process: the lock may be held, and nobody there holds the BLAS."""
    if _blas.holders:
        _blas._set(_blas.before)
    _blas.lock, _blas.holders = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
