"""The table of ``minisd gradcheck``: every operation, layer and block, and whole networks.

Both editions are checked: the book, and the engine with its fused layers.

Shapes are small and asymmetric (N, C, H and W all differ), with odd sizes, strides of two, and some
blocks closed. So the checks notice when two axes are swapped, or when a closed block leaks.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

from minisd import fast, ops
from minisd.backend import Array, array_module, beside, to_device
from minisd.fused import fuse
from minisd.gradcheck import KinkError, Report, check_layer, check_op, compare
from minisd.layers import BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, ReLU, Sequential
from minisd.models import resnet
from minisd.preactivation import PreActBlock, preact_branch
from minisd.residual import (
    SCALES,
    SHORTCUTS,
    ResidualBlock,
    basic_branch,
    bottleneck_branch,
    make_shortcut,
)
from minisd.stochastic_depth import linear_decay, set_gates

DTYPE = np.float64


def all_checks(seed: int = 0, device: str = "cpu") -> Iterator[Report]:
    """Yield the report of every check. Each check has its own random inputs."""
    checks: list[Callable[[ModuleType, np.random.Generator, str], Iterator[Report]]] = [
        check_ops,
        check_layers,
        check_blocks,
        check_networks,
    ]
    for edition in (ops, fast):
        seeds = np.random.SeedSequence(seed).spawn(len(checks))  # the same inputs for both
        for check, child in zip(checks, seeds, strict=True):
            for report in check(edition, np.random.default_rng(child), device):
                report.name = f"{'book' if edition is ops else 'fast'}  {report.name}"
                yield report


def check_ops(ops: ModuleType, rng: np.random.Generator, device: str) -> Iterator[Report]:
    """Check the functions of `minisd.ops` or `minisd.fast`."""

    def normal(*shape: int) -> Array:
        return to_device(rng.standard_normal(shape), device)

    for (C, F), (KH, KW), stride, padding, (H, W) in (
        ((3, 4), (3, 3), 1, 1, (5, 6)),
        ((3, 4), (3, 3), 2, 1, (7, 6)),
        ((3, 4), (1, 1), 2, 0, (5, 7)),
        ((3, 4), (5, 5), 1, 2, (6, 5)),
        ((3, 4), (2, 3), 3, 2, (5, 8)),
        ((3, 4), (4, 1), 1, 0, (4, 3)),
        ((64, 64), (3, 3), 1, 1, (4, 3)),  # by pairs of rows: see `minisd.fast.winograd`
    ):
        yield check_op(
            f"conv2d, {KH}x{KW} kernel, {C} to {F} channels, stride {stride}, padding {padding}",
            lambda x, w, b, s=stride, p=padding: ops.conv2d_forward(x, w, b, stride=s, padding=p),
            ops.conv2d_backward,
            {"x": normal(2, C, H, W), "w": normal(F, C, KH, KW), "b": normal(F)},
            rng=rng,
        )
    for training in (True, False):
        mean, var = normal(4), to_device(1 + rng.random(4), device)
        yield check_op(
            f"batchnorm2d, {'training' if training else 'evaluation'}",
            lambda x, gamma, beta, t=training, m=mean, v=var: ops.batchnorm2d_forward(
                x, gamma, beta, m.copy(), v.copy(), training=t
            ),
            ops.batchnorm2d_backward,
            {"x": 3 + 2 * normal(3, 4, 5, 2), "gamma": normal(4), "beta": normal(4)},
            rng=rng,
        )
    yield check_op(
        "relu", ops.relu_forward, ops.relu_backward, {"x": _off_zero(normal(3, 2, 4, 5))}, rng=rng
    )
    yield check_op(
        "add_relu",
        ops.add_relu_forward,
        lambda dy, cache: (ops.relu_backward(dy, cache), ops.relu_backward(dy, cache)),
        {"a": _off_zero(normal(3, 2, 4, 5)), "b": 1e-3 * normal(3, 2, 4, 5)},
        rng=rng,
    )
    yield check_op(
        "add",
        lambda a, b: (ops.add(a, b), None),
        lambda dy, _: (dy, dy),
        {"a": normal(3, 2, 4, 5), "b": normal(3, 2, 4, 5)},
        rng=rng,
    )
    for name, forward, backward, shape in (
        ("avg_pool2d, 2x2", lambda x: ops.avg_pool2d_forward(x, 2), ops.avg_pool2d_backward,
         (2, 3, 4, 6)),
        ("avg_pool2d, 3x3", lambda x: ops.avg_pool2d_forward(x, 3), ops.avg_pool2d_backward,
         (2, 3, 9, 6)),
        ("global_avg_pool", ops.global_avg_pool_forward, ops.global_avg_pool_backward,
         (2, 3, 5, 4)),
        ("pad_channels", lambda x: ops.pad_channels_forward(x, 5), ops.pad_channels_backward,
         (2, 3, 4, 6)),
        ("subsample, stride 2", lambda x: ops.subsample_forward(x, 2), ops.subsample_backward,
         (2, 3, 5, 6)),
    ):  # fmt: skip
        yield check_op(name, forward, backward, {"x": normal(*shape)}, rng=rng)
    yield check_op(
        "linear",
        ops.linear_forward,
        ops.linear_backward,
        {"x": normal(3, 5), "w": normal(4, 5), "b": normal(4)},
        rng=rng,
    )
    logits, labels = 2 * normal(5, 4), to_device(rng.integers(0, 4, 5), device)
    yield compare(
        "softmax_cross_entropy",
        lambda: float(ops.softmax_cross_entropy(logits, labels)[0]),
        {"logits": logits},
        {"logits": ops.softmax_cross_entropy(logits, labels)[1]},
        rng=rng,
        batch_size=5,
    )


def _off_zero(x: Array) -> Array:
    """Move ``x`` away from ReLU's kink."""
    return array_module(x).where(abs(x) < 0.01, 0.5, x)


def check_layers(edition: ModuleType, rng: np.random.Generator, device: str) -> Iterator[Report]:
    """Check the layers of `minisd.layers`, with their parameters."""
    x = rng.standard_normal((3, 4, 6, 5))

    def conv_norm(in_channels: int, out_channels: int, kernel: int, **options: Any) -> list[Layer]:
        conv = Conv2d(in_channels, out_channels, kernel, rng=rng, dtype=DTYPE, **options)
        return [conv, BatchNorm2d(out_channels, gamma="uniform", rng=rng, dtype=DTYPE)]

    layers: list[tuple[str, Layer, Array]] = [
        ("Conv2d with bias", Conv2d(4, 2, 3, padding=1, bias=True, rng=rng, dtype=DTYPE), x),
        ("Conv2d, stride 2", Conv2d(4, 5, 3, stride=2, padding=1, rng=rng, dtype=DTYPE), x),
        ("BatchNorm2d", BatchNorm2d(4, gamma="uniform", rng=rng, dtype=DTYPE), x),
        ("ReLU", ReLU(), x),
        ("GlobalAvgPool", GlobalAvgPool(), x),
        ("Linear", Linear(7, 4, rng=rng, dtype=DTYPE), rng.standard_normal((3, 7))),
        (
            "Sequential(Conv2d, BatchNorm2d, ReLU)",
            Sequential(Conv2d(4, 3, 3, rng=rng, dtype=DTYPE), BatchNorm2d(3, dtype=DTYPE), ReLU()),
            x,
        ),
        (
            "a chain of five convolutions: strides, kernels, with and without ReLU",
            Sequential(
                *conv_norm(4, 3, 3, padding=1), ReLU(), *conv_norm(3, 2, 3, stride=2, padding=1),
                *conv_norm(2, 3, 1), ReLU(), *conv_norm(3, 4, 5, padding=2), *conv_norm(4, 2, 2),
                ReLU(),
            ),
            x,
        ),
    ]  # fmt: skip
    for name, layer, x_in in layers:
        layer = (fuse(layer) if edition is fast else layer).to(device).use(edition)
        yield check_layer(layer, to_device(x_in, device), rng=rng, name=name)


def check_blocks(edition: ModuleType, rng: np.random.Generator, device: str) -> Iterator[Report]:
    """Check residual blocks: every shortcut, branch and scale; open, closed, and per image."""
    make = {"basic": basic_branch, "bottleneck": bottleneck_branch}
    for branch, shortcut, stride in product(make, SHORTCUTS, (1, 2)):
        channels, out = 8, 8 * stride  # bottleneck branches have 2 or 4 in the middle
        if stride == 1 and shortcut not in ("A", "none"):
            continue  # all other shortcuts are the identity, too, if the shape stays
        for scale, is_open in product(SCALES, (True, False)):
            if shortcut == "none" and not is_open:
                continue  # nothing passes this block: there is no gradient to check
            block = ResidualBlock(
                make[branch](channels, out, stride=stride, rng=rng, dtype=DTYPE),
                make_shortcut(shortcut, channels, out, stride, rng=rng, dtype=DTYPE),
                survival_prob=0.7,
                scale=scale,
            )
            block.is_open = is_open
            shortcut_name = f"shortcut {shortcut}, stride {stride}"
            if stride == 1 and shortcut == "A":
                shortcut_name = "identity"
            gate = "open" if is_open else "closed"
            name = f"block, {branch}, {shortcut_name}, scale {scale}, {gate}"
            block = (fuse(block) if edition is fast else block).to(device).use(edition)
            yield _away_from_kinks(block, (3, channels, 6, 2), rng, name)
    for scale, is_open in (("test", True), ("train", True), ("test", False)):
        block = PreActBlock(
            preact_branch(3, 6, stride=2, rng=rng, dtype=DTYPE),
            make_shortcut("A", 3, 6, 2, rng=rng, dtype=DTYPE),
            survival_prob=0.7,
            scale=scale,
        )
        block.is_open = is_open
        gate = "open" if is_open else "closed"
        name = f"block, pre-activation, shortcut A, stride 2, scale {scale}, {gate}"
        yield _away_from_kinks(block.to(device).use(edition), (3, 3, 6, 2), rng, name)
    block = ResidualBlock(
        basic_branch(3, 3, rng=rng, dtype=DTYPE),
        make_shortcut("A", 3, 3, 1, rng=rng, dtype=DTYPE),
        survival_prob=0.7,
        scale="train",
    )
    block.image_gates = np.array([True, False, True])
    block = (fuse(block) if edition is fast else block).to(device).use(edition)
    yield _away_from_kinks(block, (3, 3, 6, 2), rng, "block, basic, a gate for each image")


def check_networks(edition: ModuleType, rng: np.random.Generator, device: str) -> Iterator[Report]:
    """Check whole networks, with gates open, closed and mixed."""
    for shortcut in SHORTCUTS:
        closed_blocks = [(0, 0, 0), (1, 0, 1), (0, 1, 0)] if shortcut != "none" else []
        for gates in ((1, 1, 1), *closed_blocks):
            model = resnet(
                8,
                num_classes=5,
                in_channels=2,
                width=3,
                shortcut=shortcut,
                survival=linear_decay(3) if closed_blocks else None,
                fused=edition is fast,
                rng=rng,
                dtype=DTYPE,
            )
            set_gates(model, [bool(gate) for gate in gates])
            pattern = "".join(map(str, gates))
            name = f"ResNet-8, shortcut {shortcut}, gates {pattern}"
            model.to(device).use(edition)
            yield _away_from_kinks(model, (4, 2, 8, 12), rng, name, elements=8)
    model = resnet(
        14,
        num_classes=3,
        in_channels=1,
        width=2,
        survival=linear_decay(6),
        gamma="uniform",
        fused=edition is fast,
        rng=rng,
        dtype=DTYPE,
    )
    set_gates(model, [True, False, True, False, True, False])
    model.to(device).use(edition)
    yield _away_from_kinks(model, (4, 1, 8, 8), rng, "ResNet-14, gates 101010", elements=8)


def _away_from_kinks(
    layer: Layer, shape: tuple[int, ...], rng: np.random.Generator, name: str, **options: Any
) -> Report:
    """Check a layer at a random input; try another one if the first is on a kink."""
    for _ in range(10):
        with suppress(KinkError):
            x = beside(rng.standard_normal(shape), next(layer.parameters())[1].data)
            return check_layer(layer, x, rng=rng, name=name, **options)
    raise KinkError(f"{name}: ten random inputs are on kinks")
