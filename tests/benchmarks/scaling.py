"""How the time of a training step grows with cores and processes: measured here, modelled beyond.

    python -m tests.benchmarks.scaling

Measured: a step with 1 to all threads, and with one thread and a part of the batch, as each of
several ranks has it. Modelled: what the messages of such ranks cost on networks that are assumed,
`NETWORKS`. A small message to R ranks takes log2(R) times the latency; the sum of the gradients
sends each number twice. Waiting for a slower rank is not modelled.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

import minisd
from minisd import machine
from minisd.data_parallel import Traffic, traffic
from minisd.train import train_step

from .measure import alternate

NETWORKS = {"10 GbE": (25e-6, 1.1e9), "InfiniBand": (2e-6, 11e9)}
"""Seconds from one machine to another, and bytes in a second."""
BATCH, OF_EACH = 128, 64


def stepper(model: minisd.ResNet, num_images: int, threads: int) -> Callable[[int], float]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((num_images, 3, 32, 32), dtype=np.float32)
    labels = rng.integers(0, 10, num_images)
    optimizer = minisd.SGD(model, lr=1e-4)

    def step(_: int) -> float:
        minisd.set_threads(threads)
        return train_step(model, optimizer, images, labels)

    return step


def seconds_of_messages(sent: Traffic, ranks: int, latency: float, bandwidth: float) -> float:
    """Return what the messages of a step take, on a network that is assumed."""
    if ranks == 1:
        return 0.0
    hops = math.ceil(math.log2(ranks))
    gradients = 2 * (ranks - 1) / ranks * sent.gradient_bytes / bandwidth + 2 * hops * latency
    return (sent.messages + 1) * hops * latency + gradients  # one more: whether to stop


def rows(seconds: dict[int, float], sent: Traffic, ranks: int) -> list[str]:
    """Return the cells of both tables for so many ranks: one batch for all, and `OF_EACH` each."""
    cells = []
    for images, whole in ((BATCH // ranks, seconds[BATCH]), (OF_EACH, ranks * seconds[OF_EACH])):
        for latency, bandwidth in NETWORKS.values():
            total = seconds[images] + seconds_of_messages(sent, ranks, latency, bandwidth)
            cells.append(f"{whole / (ranks * total):.0%}")
    return [str(ranks), f"{1000 * seconds[BATCH // ranks]:.0f} ms", *cells]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--depth", type=int, default=110)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    model = minisd.resnet(args.depth, rng=np.random.default_rng(1))
    sent = traffic(model, [True] * len(model.blocks))
    cores = machine.available_cores()
    with threadpool_limits(1, user_api="blas"):
        of_threads = {
            f"{threads}": stepper(model, BATCH, threads) for threads in range(1, cores + 1)
        }
        print("| threads | step, fastest (measured) |\n| --- | --- |")
        for threads, times in alternate(of_threads, args.repeat).items():
            print(f"| {threads} | {1000 * min(times):.0f} ms |")
        sizes = [BATCH >> k for k in range(7)]
        of_parts = {str(size): stepper(model, size, 1) for size in sizes}
        parts = {int(n): min(t) for n, t in alternate(of_parts, args.repeat).items()}
    strong, weak = (
        [f"{network}, {what}" for network in NETWORKS]
        for what in (f"batch {BATCH} for all", f"{OF_EACH} images each")
    )
    header = ["ranks of one thread", f"step of {BATCH} / ranks images (measured)", *strong, *weak]
    print(f"\nEfficiency (modelled)\n\n| {' | '.join(header)} |\n|" + " --- |" * len(header))
    for size in sizes:
        print(f"| {' | '.join(rows(parts, sent, BATCH // size))} |")


if __name__ == "__main__":
    main()
