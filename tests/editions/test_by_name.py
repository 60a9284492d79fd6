"""The book and the engine, held against each other name by name, and both against naive loops.

Geometry, memory order and dtype are drawn, a few hundred times in all; corners besides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import references
from devices import host
from minisd import fast, machine, ops
from minisd.backend import array_module

EPS = {np.float64: 2.3e-16, np.float32: 1.2e-7}
ORDERS = ("C", "transposed", "by rows", "negative strides", "read-only")


def in_order(array: Any, order: str) -> Any:
    """The same numbers, lying in memory in this order."""
    xp = array_module(array)
    if array.ndim == 0:
        return array
    if order == "transposed":
        return xp.ascontiguousarray(array.T).T
    if order == "by rows" and array.ndim == 4:
        return xp.ascontiguousarray(array.transpose(2, 1, 3, 0)).transpose(3, 1, 0, 2)
    if order == "negative strides":
        turned = (slice(None, None, -1),) * array.ndim
        return xp.ascontiguousarray(array[turned])[turned]
    array = xp.ascontiguousarray(array)
    if order == "read-only" and isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


@dataclass
class Case:
    """Arguments of one call: arrays by name, whole numbers by name, and what is expected."""

    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


def whole(rng, low, high):
    return int(rng.integers(low, high + 1))


def images(rng, H=None, W=None):
    """Random images; H and W differ, N may be 1."""
    N, C = whole(rng, 1, 3), whole(rng, 1, 4)
    H = H or whole(rng, 1, 7)
    W = W or rng.choice([size for size in range(1, 8) if size != H])
    return rng.standard_normal((N, C, int(H), int(W)))


CONVOLUTIONS = {  # (N, C, H, W), (F, KH, KW), stride, padding
    "kernel larger than the image": ((2, 2, 2, 3), (3, 5, 4), 1, 2),
    "one output pixel": ((2, 3, 4, 3), (2, 4, 3), 1, 0),
    "stride that does not divide": ((2, 2, 7, 6), (3, 2, 3), 3, 1),
    "stride larger than the kernel": ((2, 2, 7, 8), (3, 2, 1), 4, 0),
    "one image": ((1, 3, 5, 6), (4, 3, 3), 1, 1),
    "many channels, by pairs of rows": ((2, 64, 4, 3), (64, 3, 3), 1, 1),
}
NORMS = {"two numbers": (2, 3, 1, 1), "one image, evenly": (1, 2, 3, 4)}


# ---- one class for each operation: how a case is drawn, called, and done by loops ----


class Conv2d:
    names = ("conv2d_forward", "conv2d_backward")

    @staticmethod
    def draw(rng, special=None):
        if special:
            shape, (F, KH, KW), S, P = CONVOLUTIONS[special]
            x = rng.standard_normal(shape)
        else:
            x, F, S, P = images(rng), whole(rng, 1, 4), whole(rng, 1, 3), whole(rng, 0, 3)
            KH, KW = (whole(rng, 1, min(5, size + 2 * P)) for size in x.shape[2:])
        arrays = {"x": x, "w": rng.standard_normal((F, x.shape[1], KH, KW))}
        if special or rng.random() < 0.7:
            arrays["b"] = rng.standard_normal(F)
        return Case(arrays, {"stride": S, "padding": P})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.conv2d_forward(a["x"], a["w"], a.get("b"), **n)
        dx, dw, db = edition.conv2d_backward(dy(y.shape), cache)
        assert (db is None) == ("b" not in a)
        return [y, dx, dw, *([] if db is None else [db])]

    @staticmethod
    def loops(a, n, dy):
        y = references.conv2d(a["x"], a["w"], a.get("b"), n["stride"], n["padding"])
        gradients = references.conv2d_gradients(
            dy(y.shape), a["x"], a["w"], n["stride"], n["padding"]
        )
        return [y, *gradients[: len(a)]]


class BatchNorm2d:
    names = ("batchnorm2d_forward", "batchnorm2d_backward")

    @staticmethod
    def draw(rng, special=None):
        x = rng.standard_normal(NORMS[special]) if special else images(rng)
        while x[:, 0].size < 2:
            x = images(rng)
        C = x.shape[1]
        arrays = {"x": 3 + 2 * x, "gamma": rng.standard_normal(C), "beta": rng.standard_normal(C)}
        arrays |= {"mean": rng.standard_normal(C), "var": 0.5 + rng.random(C)}
        numbers = {
            "training": bool(special or rng.random() < 0.6),
            "eps": 10 ** rng.uniform(-6, -2),
        }
        return Case(arrays, {**numbers, "momentum": rng.random()})

    @staticmethod
    def call(edition, a, n, dy):
        mean, var = a["mean"].copy(), a["var"].copy()
        y, cache = edition.batchnorm2d_forward(a["x"], a["gamma"], a["beta"], mean, var, **n)
        return [y, *edition.batchnorm2d_backward(dy(y.shape), cache), mean, var]

    @staticmethod
    def loops(a, n, dy):
        x, mean, var = a["x"], a["mean"], a["var"]
        if n["training"]:
            m = n["momentum"]
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            moved = [
                (1 - m) * a["mean"] + m * mean,
                (1 - m) * a["var"] + m * x.var(axis=(0, 2, 3), ddof=1),
            ]
        else:
            moved = [mean, var]
        y = references.batchnorm2d(x, a["gamma"], a["beta"], mean, var, n["eps"])
        gradients = references.batchnorm2d_gradients(
            dy(y.shape), x, a["gamma"], mean, var, n["eps"], n["training"]
        )
        return [y, *gradients, *moved]


class ChannelMoments:
    names = ("channel_moments",)

    @staticmethod
    def draw(rng):
        return Case({"x": 3 + images(rng)}, {})

    @staticmethod
    def call(edition, a, n, dy):
        return list(edition.channel_moments(a["x"]))

    @staticmethod
    def loops(a, n, dy):
        return [a["x"].mean(axis=(0, 2, 3)), a["x"].var(axis=(0, 2, 3))]


class ReLU:
    names = ("relu_forward", "relu_backward")

    @staticmethod
    def draw(rng):
        shape = [(), (5,), (3, 4), (2, 3, 2), None][whole(rng, 0, 4)]
        x = images(rng) if shape is None else np.asarray(rng.standard_normal(shape))
        return Case({"x": x * (rng.random(x.shape) < 0.8)}, {})  # some are exactly 0

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.relu_forward(a["x"])
        assert edition.relu_forward(a["x"], keep=False)[1] is None
        return [y, edition.relu_backward(dy(y.shape), cache)]

    @staticmethod
    def loops(a, n, dy):
        y = references.relu(a["x"])
        return [y, references.relu_gradient(dy(y.shape), a["x"])]


class Add:
    names = ("add", "add_relu_forward")

    @staticmethod
    def draw(rng):
        a = images(rng)
        return Case({"a": a, "b": rng.standard_normal(a.shape)}, {})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.add_relu_forward(a["a"], a["b"])
        return [edition.add(a["a"], a["b"]), y, edition.relu_backward(dy(y.shape), cache)]

    @staticmethod
    def loops(a, n, dy):
        total = a["a"] + a["b"]
        return [total, references.relu(total), references.relu_gradient(dy(total.shape), total)]


class AvgPool2d:
    names = ("avg_pool2d_forward", "avg_pool2d_backward")

    @staticmethod
    def draw(rng):
        K = whole(rng, 1, 3)
        return Case({"x": images(rng, H=K * whole(rng, 1, 3), W=K * whole(rng, 4, 5))}, {"K": K})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.avg_pool2d_forward(a["x"], n["K"])
        return [y, edition.avg_pool2d_backward(dy(y.shape), cache)]

    @staticmethod
    def loops(a, n, dy):
        y = references.avg_pool2d(a["x"], n["K"])
        return [y, references.avg_pool2d_gradient(dy(y.shape), a["x"].shape, n["K"])]


class GlobalAvgPool:
    names = ("global_avg_pool_forward", "global_avg_pool_backward")

    @staticmethod
    def draw(rng):
        return Case({"x": images(rng)}, {})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.global_avg_pool_forward(a["x"])
        return [y, edition.global_avg_pool_backward(dy(y.shape), cache)]

    @staticmethod
    def loops(a, n, dy):
        y = references.global_avg_pool(a["x"])
        return [y, references.global_avg_pool_gradient(dy(y.shape), a["x"].shape)]


class PadChannels:
    names = ("pad_channels_forward", "pad_channels_backward", "zeros")

    @staticmethod
    def draw(rng):
        x = images(rng)
        return Case({"x": x}, {"F": x.shape[1] + whole(rng, 0, 3)})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.pad_channels_forward(a["x"], n["F"])
        dx = edition.pad_channels_backward(dy(y.shape), cache)
        return [y, dx, edition.zeros(y.shape, a["x"])]

    @staticmethod
    def loops(a, n, dy):
        y = references.pad_channels(a["x"], n["F"])
        dx = references.pad_channels_gradient(dy(y.shape), a["x"].shape)
        return [y, dx, np.zeros(y.shape)]


class Subsample:
    names = ("subsample_forward", "subsample_backward")

    @staticmethod
    def draw(rng):
        return Case({"x": images(rng)}, {"S": whole(rng, 1, 3)})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.subsample_forward(a["x"], n["S"])
        return [y, edition.subsample_backward(dy(y.shape), cache)]

    @staticmethod
    def loops(a, n, dy):
        y = references.subsample(a["x"], n["S"])
        return [y, references.subsample_gradient(dy(y.shape), a["x"].shape, n["S"])]


class Linear:
    names = ("linear_forward", "linear_backward")

    @staticmethod
    def draw(rng):
        N, D, K = (whole(rng, 1, 6) for _ in range(3))
        arrays = {"x": rng.standard_normal((N, D)), "w": rng.standard_normal((K, D))}
        if rng.random() < 0.7:
            arrays["b"] = rng.standard_normal(K)
        return Case(arrays, {})

    @staticmethod
    def call(edition, a, n, dy):
        y, cache = edition.linear_forward(a["x"], a["w"], a.get("b"))
        dx, dw, db = edition.linear_backward(dy(y.shape), cache)
        assert (db is None) == ("b" not in a)
        return [y, dx, dw, *([] if db is None else [db])]

    @staticmethod
    def loops(a, n, dy):
        y = references.linear(a["x"], a["w"], a.get("b"))
        return [y, *references.linear_gradients(dy(y.shape), a["x"], a["w"])[: len(a)]]


class Loss:
    names = ("softmax_cross_entropy",)

    @staticmethod
    def draw(rng):
        N, K = whole(rng, 1, 6), whole(rng, 1, 5)
        labels = rng.integers(0, K, N)
        return Case(
            {"logits": 3 * rng.standard_normal((N, K)), "labels": labels},
            {"of": N + whole(rng, 0, 2)},
        )

    @staticmethod
    def call(edition, a, n, dy):
        loss, dlogits = edition.softmax_cross_entropy(a["logits"], a["labels"], **n)
        return [loss.reshape(1), dlogits]

    @staticmethod
    def loops(a, n, dy):
        loss, dlogits = references.softmax_cross_entropy(a["logits"], a["labels"], n["of"])
        return [np.array([loss]), dlogits]


OPERATIONS = (
    Conv2d, BatchNorm2d, ChannelMoments, ReLU, Add, AvgPool2d, GlobalAvgPool, PadChannels,
    Subsample, Linear, Loss,
)  # fmt: skip
SPECIAL = [(Conv2d, name) for name in CONVOLUTIONS] + [(BatchNorm2d, name) for name in NORMS]


def test_every_name_of_both_editions_is_held():
    names = sorted(name for kind in OPERATIONS for name in kind.names)
    assert names == sorted(ops.__all__) == sorted(fast.__all__)


def test_where_the_engine_has_nothing_better_it_is_the_book():
    same = [name for name in ops.__all__ if getattr(ops, name) is getattr(fast, name)]
    assert same == ["softmax_cross_entropy"]


def hold(kind, case, dtype, rng, device):
    """Compare one call of both editions, in drawn memory orders, with loops in float64."""
    rounded = {  # what is given to all: the numbers that this dtype can hold
        name: array.astype(dtype) if array.dtype == np.float64 else array
        for name, array in case.arrays.items()
    }
    upstream: dict[tuple[int, ...], np.ndarray] = {}

    def dy_of(shape):
        if shape not in upstream:
            upstream[shape] = np.asarray(rng.standard_normal(shape)).astype(dtype)
        return upstream[shape]

    exact = {
        name: array.astype(np.float64) if array.dtype == dtype else array
        for name, array in rounded.items()
    }
    right = kind.loops(exact, case.numbers, lambda shape: dy_of(shape).astype(np.float64))
    errors = {}
    for edition in (ops, fast):
        order = dict(zip(rounded, rng.choice(ORDERS, len(rounded)), strict=True))
        given = {name: in_order(device.put(rounded[name]), order[name]) for name in rounded}
        dy_order = str(rng.choice(ORDERS))
        results = kind.call(
            edition,
            given,
            case.numbers,
            lambda shape, o=dy_order: in_order(device.put(dy_of(shape)), o),
        )
        assert len(results) == len(right)
        errors[edition] = []
        for result, expected in zip(results, right, strict=True):
            assert result.dtype == dtype, (edition.__name__, order)
            assert result.shape == expected.shape
            scale = max(np.abs(expected).max(), 1e-3)
            error = np.abs(host(result).astype(np.float64) - expected).max() / scale
            assert error < 300 * EPS[dtype], (edition.__name__, order, case.numbers, error)
            errors[edition].append(error)
    for book, engine in zip(errors[ops], errors[fast], strict=True):
        assert engine <= 3 * book + 8 * EPS[dtype], (case.numbers, book, engine)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_the_engine_is_the_book_and_both_are_the_loops(kind, dtype, device, monkeypatch):
    for seed in range(12 if device.name == "cpu" else 4):
        rng = np.random.default_rng([seed, OPERATIONS.index(kind)])
        if kind is Conv2d and seed % 2:  # by pairs of rows, however few channels there are
            monkeypatch.setattr(machine, "additions_pay", lambda w: isinstance(w, np.ndarray))
        hold(kind, kind.draw(rng), dtype, rng, device)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("kind", "special"), SPECIAL, ids=lambda item: getattr(item, "__name__", item)
)
def test_the_corners(kind, special, dtype, rng, device):
    hold(kind, kind.draw(rng, special), dtype, rng, device)


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_a_planted_difference_is_seen(kind, rng, device, monkeypatch):
    """One number off by a thousandth, in the first result of each function of the engine."""
    for name in kind.names:
        right = getattr(fast, name)

        def wrong(*arguments, right=right, **options):
            result = right(*arguments, **options)
            first, *rest = result if isinstance(result, tuple) else (result,)
            moved = array_module(*(a for a in arguments if hasattr(a, "dtype"))).array(first)
            moved[(0,) * moved.ndim] = 1e-3 + 1.001 * moved[(0,) * moved.ndim]
            return (moved, *rest) if rest else moved

        if kind is Loss:  # the same function: only the loops can tell
            monkeypatch.setattr(ops, name, wrong)
        monkeypatch.setattr(fast, name, wrong)
        with pytest.raises(AssertionError):
            hold(kind, kind.draw(np.random.default_rng(3)), np.float64, rng, device)
        monkeypatch.undo()


class TwoParts:
    """A batch in two parts, one after the other: what each gives is kept for both."""

    def __init__(self):
        self.given, self.answers = [], None

    def gather(self, mine):
        self.given.append(mine)
        return self.answers if self.answers is not None else [mine]


def test_batch_norm_of_a_batch_in_parts_is_that_of_the_whole(ops, rng, device):
    """Uneven parts; the sums meet where the group is asked, forward and backward."""
    x, dy = (5 + device.standard_normal(rng, (5, 3, 4, 2)) for _ in range(2))
    gamma, beta = device.standard_normal(rng, 3), device.standard_normal(rng, 3)

    def statistics():
        return device.put(np.zeros(3)), device.put(np.ones(3))

    whole_statistics = statistics()
    y, cache = ops.batchnorm2d_forward(x, gamma, beta, *whole_statistics, training=True)
    expected = (y, *ops.batchnorm2d_backward(dy, cache))
    parts = [slice(0, 1), slice(1, 5)]

    def run(group_of):
        """Forward of both parts, then backward of both."""
        moved, caches, ys = [statistics() for _ in parts], [], []
        for part, moving, group in zip(parts, moved, group_of, strict=True):
            y, cache = ops.batchnorm2d_forward(
                x[part], gamma, beta, *moving, training=True, group=group
            )
            ys.append(y)
            caches.append(cache)
        return moved, caches, ys

    first = [TwoParts(), TwoParts()]
    run(first)  # to learn what each part gives
    for group in first:
        group.answers = [each.given[0] for each in first]
    moved, caches, ys = run(first)
    for group in first:
        group.answers, group.given = None, []
    for part, cache in zip(parts, caches, strict=True):
        ops.batchnorm2d_backward(dy[part], cache)
    for group in first:
        group.answers = [each.given[0] for each in first]
    for part, cache, y, moving in zip(parts, caches, ys, moved, strict=True):
        dx, dgamma, dbeta = ops.batchnorm2d_backward(dy[part], cache)
        np.testing.assert_allclose(host(y), host(expected[0][part]), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(host(dx), host(expected[1][part]), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(host(dgamma), host(expected[2]), rtol=1e-11)
        np.testing.assert_allclose(host(dbeta), host(expected[3]), rtol=1e-11)
        for ours, right in zip(moving, whole_statistics, strict=True):
            np.testing.assert_allclose(host(ours), host(right), rtol=1e-12)
