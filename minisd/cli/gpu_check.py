"""The checks of ``minisd gpu-check``: is the GPU correct, and how fast is a training step?

The command starts this module as a process, ``python -m minisd.cli.gpu_check``, and does not touch
the GPU itself: some GPUs are set to serve one process at a time.

To see whether the GPU is correct, the same network is trained from the same seed on NumPy and on
the GPU, with open and closed blocks. Every weight, running statistic and momentum is compared. And
the GPU must give the same bits when the training is repeated.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minisd import fast, ops
from minisd.backend import Array, synchronize, to_device, to_numpy
from minisd.cli.commands import NO_GPU
from minisd.errors import DeviceError
from minisd.gpu import describe_gpu, usable_cupy
from minisd.gradcheck.table import check_ops
from minisd.models import num_blocks, resnet
from minisd.optim import SGD
from minisd.runs.checkpoint import layer_arrays
from minisd.stochastic_depth import draw_gates, linear_decay, set_gates
from minisd.streams import with_safe_streams
from minisd.train import train_step

AGREEMENT = {"float64": 1e-10, "float32": 1e-4}
"""Largest difference from NumPy's float64 after ten steps; see `difference`."""


@dataclass
class Finding:
    """One comparison: what was compared, the largest difference, and the tolerance for it."""

    what: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether it is within the tolerance (NaN is not)."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        mark = "" if self.passed else f"  FAILED, tolerance {self.tolerance:g}"
        return f"{self.error:9.1e}  {self.what}{mark}"


def trained(
    device: str, dtype: DTypeLike = np.float64, *, steps: int = 10, **options: Any
) -> tuple[dict[str, Array], list[list[bool]]]:
    """Train a small network with gates; return all its arrays, on the host, and the gates.

    Parameters
    ----------
    **options
        For `minisd.resnet`.
    """
    rng, gate_rng = np.random.default_rng(3), np.random.default_rng(4)
    settings: dict[str, Any] = {
        "width": 4,
        "survival": linear_decay(6, 0.5),
        "gamma": "uniform",
        **options,
    }
    model = resnet(14, rng=np.random.default_rng(2), dtype=dtype, **settings).to(device)
    optimizer = SGD(model, 0.05)
    losses, gates = [], []
    for _ in range(steps):
        gates.append(draw_gates(model, gate_rng))
        images = to_device(rng.standard_normal((6, 3, 8, 12)).astype(dtype), device)
        labels = to_device(rng.integers(0, 10, 6), device)
        losses.append(train_step(model, optimizer, images, labels))
    arrays = layer_arrays(model) | {f"momentum {name}": v for name, v in optimizer.buffers()}
    arrays["logits"] = model.eval().forward(images)
    return {k: to_numpy(v) for k, v in arrays.items()} | {"losses": np.array(losses)}, gates


def difference(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Largest difference of any array, relative to its largest number (to at least 0.001)."""
    differences = [
        np.abs(found[name] - array).max() / max(np.abs(array).max(), 1e-3)
        for name, array in expected.items()
    ]
    return float(np.max(differences))  # NaN if one is NaN


def comparisons(device: str) -> Iterator[Finding]:
    """Yield the comparisons, one after the other."""
    for name, edition in {"book": ops, "fast": fast}.items():
        for report in check_ops(edition, np.random.default_rng(0), device):
            what = f"gradient of {report.name} ({name})"
            yield Finding(what, report.worst.error, report.tolerance)
    for shortcut in ("A", "projection"):
        exact, gates = trained("cpu", shortcut=shortcut)
        for dtype, tolerance in AGREEMENT.items():
            arrays, gates_there = trained(device, dtype, shortcut=shortcut)
            what = f"ten steps with gates, shortcut {shortcut}, {dtype}, from NumPy's float64"
            error = difference(arrays, exact) if gates == gates_there else np.inf
            yield Finding(what, error, tolerance)
    first, second = (trained(device, "float32")[0] for _ in range(2))
    num_changed = sum(second[name].tobytes() != array.tobytes() for name, array in first.items())
    yield Finding("arrays with other bits when ten steps are repeated", num_changed, 0)


@dataclass
class StepTime:
    """Seconds of a training step: the fastest of several, each timed until the GPU is done."""

    num_open: int
    num_blocks: int
    seconds: float


def step_times(depth: int, batch_size: int, *, repeat: int = 5) -> Iterator[StepTime]:
    """Time training steps on the GPU with all blocks open, three quarters, half and none."""
    rng = np.random.default_rng(0)
    L = num_blocks(depth)
    model = resnet(depth, survival=linear_decay(L, 0.5), rng=rng).to("cuda")
    optimizer = SGD(model, 0.1)
    images = to_device(rng.standard_normal((batch_size, 3, 32, 32)).astype(np.float32), "cuda")
    labels = to_device(rng.integers(0, 10, batch_size), "cuda")
    order = rng.permutation(L)
    for num_open in (L, round(0.75 * L), L // 2, 0):
        set_gates(model, [bool(rank < num_open) for rank in order])
        train_step(model, optimizer, images, labels)  # compiles, and fills the memory pool
        seconds = []
        for _ in range(repeat):
            synchronize("cuda")
            start = time.perf_counter()
            train_step(model, optimizer, images, labels, wait=False)
            synchronize("cuda")
            seconds.append(time.perf_counter() - start)
        yield StepTime(num_open, L, min(seconds))


def compare() -> int:
    """Print device, accelerators and each comparison; return 1 if one failed."""
    accelerators = os.environ.get("CUPY_ACCELERATORS", "not set")
    print(f"{describe_gpu()}; CUPY_ACCELERATORS {accelerators!r}", flush=True)
    failed = 0
    for finding in comparisons("cuda"):
        print(finding, flush=True)
        failed |= not finding.passed
    return failed


def time_steps(depth: int, batch_size: int) -> int:
    """Print how long a training step takes; return 1 if the memory is too small."""
    try:
        for step in step_times(depth, batch_size):
            print(
                f"{step.seconds * 1e3:9.1f} ms  {batch_size / step.seconds:8.0f} images/s  "
                f"{step.num_open} of {step.num_blocks} blocks open",
                flush=True,
            )
    except MemoryError as error:
        print(f"the GPU's memory is too small: use a smaller --batch-size or --depth ({error})")
        return 1
    return 0


def main(*sizes: int) -> int:
    """Compare, or time if depth and batch size are given. Return 2 without a usable GPU."""
    try:
        usable_cupy()
    except DeviceError as error:
        print(f"minisd: {error}", file=sys.stderr)
        return NO_GPU
    return time_steps(*sizes) if sizes else compare()


if __name__ == "__main__":
    sys.exit(with_safe_streams(lambda output: main(*map(int, sys.argv[1:]))))
