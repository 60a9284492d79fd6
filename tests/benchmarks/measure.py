"""How time and memory are measured."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STATUS = Path("/proc/self/status")
PAUSE = 0.1  # seconds, in which another library's threads stop spinning: OpenBLAS's take 0.03


def alternate(
    contestants: dict[str, Callable[[int], Any]],
    repeat: int,
    *,
    in_a_row: int = 1,
    after_warm_up: Callable[[dict[str, Any]], None] = lambda first: None,
    after_round: Callable[[int, dict[str, list[float]]], None] = lambda number, seconds: None,
) -> dict[str, list[float]]:
    """Time the contestants in turn, ``repeat`` rounds after one that does not count.

    In turn, because a machine is faster in one minute than in the next: whatever slows it down
    meets all of them. A contestant is called with the number of the round, 0 to warm up. What takes
    milliseconds only is called several times ``in_a_row``, and each time counts: a thread that
    wakes up after a pause takes milliseconds to be given a core of its own.
    """
    after_warm_up({name: run(0) for name, run in contestants.items()})
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    gc.freeze()  # what is there stays: collecting is then quick
    try:
        for number in range(1, repeat + 1):
            for name, run in contestants.items():
                gc.collect()  # one's garbage must not be collected in another's time
                time.sleep(PAUSE)
                for _ in range(in_a_row):
                    start = time.perf_counter()
                    run(number)
                    seconds[name].append(time.perf_counter() - start)
            after_round(number, seconds)
    finally:
        gc.unfreeze()
    return seconds


def differences(first: dict[str, Any], tolerance: float) -> dict[str, float]:
    """Return how far each contestant's numbers are from the first's, as share of the largest.

    Raises
    ------
    ValueError
        If that is more than ``tolerance``.
    """
    (_, expected), *others = ((name, _arrays(result)) for name, result in first.items())
    found = {}
    for name, arrays in others:
        found[name] = max(
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(arrays, expected, strict=True)
        )
        if not found[name] <= tolerance:
            raise ValueError(f"{name} computes something else: it is off by {found[name]:.2g}")
    return found


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def statistics_of(seconds: list[float]) -> dict[str, float]:
    low, high = min(seconds), max(seconds)
    return {
        "minimum": low,
        "median": statistics.median(seconds),
        "spread": (high - low) / low,
    }


def milliseconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def straight_line(x: list[int], y: list[float]) -> dict[str, float]:
    """Fit by least squares; R^2 is the share of the variance that the line explains."""
    slope, intercept = np.polyfit(x, y, 1)
    left = np.square(np.asarray(y) - (slope * np.asarray(x) + intercept)).sum()
    total = np.square(np.asarray(y) - np.mean(y)).sum()
    return {"slope": float(slope), "intercept": float(intercept), "r2": float(1 - left / total)}


# ---- memory: of a process of its own, as the highest mark of a process never falls ----


def memory_is_known() -> bool:
    return STATUS.exists()


def memory(field: str) -> int:
    """Bytes of this process, now (``VmRSS``) or at the highest (``VmHWM``)."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {field}")


def in_child(**task: Any) -> dict[str, Any]:
    """Run `tests.benchmarks.child` on a task in a fresh process, and return what it found."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.child", json.dumps(task)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    if done.returncode < 0:
        raise RuntimeError(
            f"the child process was ended by signal {-done.returncode}"
            + (": probably there was not enough memory" if done.returncode == -9 else "")
        )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "the child process failed").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])
