"""What the rows have in common: sizes, the seed, and a way to measure that loses nothing."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from minisd import machine

from .measure import alternate, differences, milliseconds
from .report import Report


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    shallow: int = 56
    deep: int = 110
    deepest: int = 1202
    recompute_every: int = 25
    odd: int = 20
    batch: int = 128
    odd_batch: int = 50
    gemm: int = 1024
    copy_bytes: int = 64 * 2**20
    loaded_images: int = 10_000


FULL = Sizes()
QUICK = Sizes(
    shallow=8,
    deep=14,
    deepest=20,
    recompute_every=2,
    odd=8,
    batch=8,
    odd_batch=5,
    gemm=128,
    copy_bytes=2**20,
    loaded_images=200,
)


@dataclass
class Bench:
    """One run of the benchmark."""

    sizes: Sizes
    seed: int
    repeat: int
    threads: int
    report: Report

    def __post_init__(self) -> None:
        self._done: dict[str, dict[str, list[float]]] = {}

    def has(self, peer: str) -> bool:
        return find_spec(peer) is not None

    def rng(self, *purpose: int) -> np.random.Generator:
        """A generator of its own for every purpose: no row depends on which others ran before."""
        return np.random.default_rng([self.seed, *purpose])

    def patterns(self, L: int, num_open: int, count: int) -> list[list[bool]]:
        """Draw ``count`` gate patterns of L blocks, each with exactly ``num_open`` open."""
        rng = self.rng(1, L, num_open)
        closed = [rng.permutation(L) >= num_open for _ in range(count)]
        return [(~pattern).tolist() for pattern in closed]

    def measure(
        self,
        label: str,
        make: Callable[[], dict[str, Callable[[int], Any]]],
        *,
        repeat: int | None = None,
        in_a_row: int = 1,
        tolerance: float | None = None,
    ) -> dict[str, list[float]]:
        """Return seconds of each contestant that ``make()`` builds; once per label.

        With a ``tolerance``, what they return in the warm-up round must be the same up to it: a
        peer that computes something else is no peer.
        """
        if label in self._done:
            return self._done[label]
        repeat = repeat or self.repeat
        self.say(f"{label}: warming up")

        def keep(number: int, seconds: dict[str, list[float]]) -> None:
            self.report.measurements[label] = seconds
            self.report.save()
            last = ", ".join(
                f"{name} {milliseconds(min(of[-in_a_row:]))}" for name, of in seconds.items()
            )
            self.say(f"{label}: {number}/{repeat}  {last}")

        def check(first: dict[str, Any]) -> None:
            if tolerance is not None:
                self.report.agreement[label] = differences(first, tolerance)

        self._done[label] = alternate(
            make(), repeat, in_a_row=in_a_row, after_warm_up=check, after_round=keep
        )
        self.fresh_start()
        return self._done[label]

    def fresh_start(self) -> None:
        """Leave nothing of one measurement to the next: neither garbage nor idle memory."""
        gc.collect()
        machine.release()

    def say(self, line: str) -> None:
        # Progress goes where it does not mix with the table, should that be redirected to a file.
        print(f"  {line}", file=sys.stderr, flush=True)
