"""Rows about convolutions, memory, and where the rest of the time goes."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minisd import machine

from . import contestants
from .bench import Bench
from .measure import in_child, memory_is_known, milliseconds
from .report import Row, ratio
from .rows_steps import best_torch, constant_steps

LINUX = "it reads /proc/self/status, which is there on Linux only"
GIB = 2**30


def conv(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.batch
    peers = [peer for peer in ("dezero", "torch") if bench.has(peer)]
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        name = f"conv-{channels}"
        what = (
            f"convolution 3x3 and its gradients, {channels} channels, {side}x{side}, batch {size}"
        )
        seconds = bench.measure(
            what,
            lambda channels=channels, side=side: contestants.convolution(
                bench, channels, side, size=size, peers=peers
            ),
            in_a_row=5,  # they are short
            tolerance=1e-3,
        )
        if "dezero" in peers:
            yield ratio(name, what, seconds, "ours", "DeZero", must=0.1, aim=0.07)
            yield ratio(f"{name}-nchw", f"{what}, ours from NCHW", seconds, "ours, NCHW", "DeZero")
        else:
            yield Row(name, what, missing="DeZero is not installed")
        if "torch" in peers:
            yield ratio(f"{name}-torch", what, seconds, "ours", best_torch(seconds))
        yield ratio(f"{name}-im2col", what, seconds, "ours", "our im2col")


def memory(bench: Bench, name: str, depth: int) -> Iterator[Row]:
    size = bench.sizes.batch
    figure = f"growth of peak memory over training steps, ResNet-{depth}, batch {size}"
    if not memory_is_known():
        yield Row(name, figure, missing=LINUX)
        return
    task = {"depth": depth, "batch": size, "steps": 3, "threads": bench.threads, "seed": bench.seed}
    found = {}
    for who, how in {
        "ours": {"network": "ours"},
        **{f"PyTorch {f}": {"network": "torch", "format": f} for f in contestants.FORMATS},
    }.items():
        bench.say(f"{name}: {who}, three steps in a process of its own")
        found[who] = in_child(**task, **how)
    growth = {who: of["growth"] for who, of in found.items()}
    peer = min((who for who in growth if who != "ours"), key=growth.__getitem__)
    yield Row(
        name,
        figure,
        f"{growth['ours'] / GIB:.2f} GiB",
        f"{peer}: {growth[peer] / GIB:.2f} GiB",
        growth["ours"] / growth[peer],
        must=1.0,
        aim=0.7,
        details=found,
    )


def deepest(bench: Bench) -> Iterator[Row]:
    sizes = bench.sizes
    task = {"network": "ours", "depth": sizes.deepest, "batch": sizes.batch, "steps": 2,
            "p_last": 0.5, "threads": bench.threads, "seed": bench.seed}  # fmt: skip
    every = sizes.recompute_every
    for way, options in {"plain": {}, "recompute": {"recompute_every": every}}.items():
        name = f"resnet-1202-{way}"
        figure = f"peak resident memory, ResNet-{sizes.deepest}, batch {sizes.batch}, p_L = 0.5"
        figure += f", recompute_every={every}" if options else ""
        if not memory_is_known():
            yield Row(name, figure, missing=LINUX)
            continue
        bench.say(f"{name}: two steps in a process of its own; that may take a minute or two")
        try:
            found = in_child(**task, **options)
        except RuntimeError as error:  # out of memory, say; the other way may have enough
            yield Row(name, figure, missing=str(error))
            continue
        peak = found["peak"] / GIB
        text = f"{peak:.2f} GiB; second step {milliseconds(found['seconds'][1])}"
        yield Row(name, figure, text, "-", peak, must=16, aim=6, unit=" GiB", details=found)


# ---- where the rest of the time goes ----


def summed_rate(threads: int, make_task: Callable[[], Callable[[], Any]], amount: float) -> float:
    """Amount per second that Python threads get done together, each with a task of its own."""
    start_line = threading.Barrier(threads, timeout=60)

    def one_thread() -> float:
        task = make_task()
        task()
        start_line.wait()
        calls, start = 0, time.perf_counter()
        while calls < 5 or time.perf_counter() - start < 1:
            task()
            calls += 1
        return calls * amount / (time.perf_counter() - start)

    with ThreadPoolExecutor(threads) as pool:
        return sum(work.result() for work in [pool.submit(one_thread) for _ in range(threads)])


def gemm_rate(threads: int, size: int) -> float:
    """Floating-point operations per second in float32 matrix products, on all threads."""

    def make() -> Callable[[], Any]:
        a, b = np.ones((2, size, size), np.float32)
        out = np.empty_like(a)
        return lambda: np.matmul(a, b, out=out)

    with machine.one_blas_thread():
        return summed_rate(threads, make, 2.0 * size**3)


def copy_rate(threads: int, size: int) -> float:
    """Bytes per second, read and written, in copies that no cache can hold."""

    def make() -> Callable[[], Any]:
        source, target = np.ones((2, size), np.uint8)
        return lambda: np.copyto(target, source)

    return summed_rate(threads, make, 2.0 * size)


def convolution_operations(depth: int, batch: int, *, channels: int = 3, width: int = 16) -> int:
    """Floating-point operations of all convolutions in a step at constant depth.

    Forward 2*F*C*9*OH*OW*N, and the same for each of the two gradients.
    """
    n = (depth - 2) // 6
    layers = [(width, channels, 32)]
    before = width
    for group in range(3):
        F, side = width * 2**group, 32 // 2**group
        layers += [(F, before, side)] + [(F, F, side)] * (2 * n - 1)
        before = F
    return 3 * sum(2 * F * C * 9 * side * side * batch for F, C, side in layers)


def roofline(bench: Bench) -> Iterator[Row]:
    sizes, threads = bench.sizes, bench.threads
    bench.say("roofline: rates of matrix products and of copies")
    products = max(gemm_rate(threads, sizes.gemm) for _ in range(3))
    copies = max(copy_rate(threads, sizes.copy_bytes) for _ in range(3))
    on = f"{threads} threads"
    yield Row(
        "roofline-gemm", f"float32 matrix products {sizes.gemm}x{sizes.gemm}, {on}",
        f"{products / 1e9:.0f} GFLOP/s", details={"rate": products},
    )  # fmt: skip
    yield Row(
        "roofline-copy", f"copies of {sizes.copy_bytes / 2**20:g} MiB, {on}",
        f"{copies / 1e9:.1f} GB/s read and written", details={"rate": copies},
    )  # fmt: skip
    if not bench.has("torch"):
        seconds = bench.measure(
            f"step, ResNet-{sizes.deep}, ours alone",
            lambda: contestants.training(bench, sizes.deep, []),
        )
    else:
        seconds = constant_steps(bench, sizes.deep)
    operations = convolution_operations(sizes.deep, sizes.batch)
    least = operations / products
    figure = (
        f"share of the ResNet-{sizes.deep} step that its convolutions' {operations / 1e9:.0f} "
        "GFLOP take at that rate"
    )
    details = {"operations": operations, "seconds": least}
    for name in ["ours", best_torch(seconds)] if bench.has("torch") else ["ours"]:
        step = min(seconds[name])
        text = f"{milliseconds(least)} of {milliseconds(step)}"
        texts = (text, "-") if name == "ours" else ("-", f"{name}: {text}")
        yield Row(f"roofline-{name.split()[0].lower()}", figure, *texts, least / step,
                  details={**details, "step": step})  # fmt: skip
