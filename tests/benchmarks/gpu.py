"""What a training step asks of a GPU: launches, bytes, operations; and the time those would need.

    python -m tests.benchmarks.gpu

Bytes and operations are computed from the shapes, kernel by kernel; no GPU was timed. The time for
the products is a bound. That for the bytes is one if all of them go to memory: what a kernel leaves
in the cache for the next costs less. Padding, the bits of the ReLUs and what is done once per
channel are not counted. Launches are counted, where something counts them (see `counter` in
tests/conftest.py).
"""

import importlib
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisd import resnet

from .rows_limits import convolution_operations

DEPTH, BATCH, WIDTH = 110, 128, 16
FLOAT = 4  # bytes

PUBLISHED = {  # bytes/s of memory; float32 operations/s outside the tensor cores
    "A100 SXM 80 GB": (2039e9, 19.5e12),
    "H100 SXM 80 GB": (3350e9, 67e12),
}
"""NVIDIA's data sheets."""


@dataclass
class Traffic:
    """Numbers read and written by the kernels of one convolution, its batch norm and ReLU.

    ``x`` and ``y`` are the numbers of its input and output.
    """

    x: int
    y: int
    taps: int = 9

    @property
    def forward(self) -> int:
        read_in = 2 * self.x  # normalised on the way into the padded buffer
        windows = self.x + self.taps * self.x  # CuPy's product wants them side by side
        product = self.taps * self.x + self.y
        moments = 2 * self.y  # two passes
        return read_in + windows + product + moments

    @property
    def backward(self) -> int:
        read_in = 2 * self.x + 3 * self.y  # x again, and dz from dy and z
        filters = self.x + 2 * self.taps * self.x + 3 * self.y
        images = self.y + 2 * self.taps * self.y + self.x
        mask_and_sums = 5 * self.x + 3 * self.x
        return read_in + filters + images + mask_and_sums


def numbers_moved(depth: int, batch: int, width: int) -> tuple[int, int]:
    """(all convolutions and blocks, the optimiser): numbers read or written in a step, all open."""
    n = (depth - 2) // 6
    total, before = 0, width
    stem = Traffic(3 * 32 * 32 * batch, width * 32 * 32 * batch)
    total += stem.forward + stem.backward
    for group in range(3):
        channels, side = width * 2**group, 32 // 2**group
        y = channels * side * side * batch
        for block in range(n):
            x = before * (side * channels // before) ** 2 * batch
            for convolution in (Traffic(x, y), Traffic(y, y)):
                total += convolution.forward + convolution.backward
            total += (2 + 3 + 1) * y + (2 + 3) * y  # H = ReLU(f + id), and its backward
            before = channels if block == 0 else before
    parameters = resnet(depth, width=width, rng=np.random.default_rng(0)).num_parameters
    return total, 5 * parameters


def launches(counter: Any) -> dict[str, Counter[str]]:
    """Launches of an open and of a closed block, by kernel, forward and backward."""
    from minisd.backend import to_device
    from minisd.fused import fuse
    from minisd.residual import IdentityShortcut, ResidualBlock, basic_branch

    rng = np.random.default_rng(0)
    block = fuse(ResidualBlock(basic_branch(WIDTH, WIDTH, rng=rng), IdentityShortcut()))
    block.to("cuda")
    x = to_device(rng.standard_normal((4, WIDTH, 8, 8)).astype(np.float32), "cuda")
    found = {}
    for is_open in (True, False):
        block.is_open = is_open
        block.backward(block.forward(x))
        block.zero_grad()
        marks = [Counter(counter.kernels())]
        y = block.forward(x)
        marks.append(Counter(counter.kernels()))
        block.backward(y)
        marks.append(Counter(counter.kernels()))
        for number, way in enumerate(("forward", "backward")):
            found[f"{'open' if is_open else 'closed'} block, {way}"] = (
                marks[number + 1] - marks[number]
            )
    return found


def main() -> int:
    name = os.environ.get("MINISD_DEVICE_COUNTER")
    if not name:
        print("launches: nothing counts them here (MINISD_DEVICE_COUNTER is not set)")
    found = launches(importlib.import_module(name)) if name else {}
    for what, kernels in found.items():
        print(f"{what}: {sum(kernels.values())} launches, and cuBLAS's products")
        for name, count in kernels.most_common():
            print(f"  {count:3d}  {name}")
    network, optimiser = (FLOAT * count for count in numbers_moved(DEPTH, BATCH, WIDTH))
    operations = convolution_operations(DEPTH, BATCH, width=WIDTH)
    print(
        f"\nComputed, not measured: ResNet-{DEPTH}, batch {BATCH}, float32, all blocks open\n"
        f"  arrays that its kernels read and write  {(network + optimiser) / 1e9:.1f} GB "
        f"(the optimiser's {optimiser / 1e9:.2f} GB)\n"
        f"  operations of its convolutions  {operations / 1e9:.0f} GFLOP"
    )
    for name, (bandwidth, rate) in PUBLISHED.items():
        memory, products = (network + optimiser) / bandwidth, operations / rate
        print(
            f"  {name}: {memory * 1e3:.0f} ms if all of them go to memory, at "
            f"{bandwidth / 1e9:.0f} GB/s; at least {products * 1e3:.1f} ms for the products, at "
            f"{rate / 1e12:g} TFLOP/s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
