"""Sums of a million float32 numbers: in any memory order as accurate as PyTorch's, or nearly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minisd
from minisd import SGD, fast, fuse
from minisd.data import Normaliser
from minisd.flow import Recorder, load
from minisd.layer import Layer, Parameter
from minisd.layers import BatchNorm2d, Conv2d, Sequential

EPS = float(np.finfo(np.float32).eps)
M = 10**6
SHAPES = {  # (N, C, H, W): along which axis the numbers of a channel lie decides how they are added
    "square": (1, 2, 1000, 1000),
    "tall": (1, 2, 8000, 125),
    "wide": (1, 2, 2, 499979),  # a prime: a run that cannot be cut into equal pieces
    "many": (15625, 2, 8, 8),
}
SUM, PRODUCT = 8, 400_000
"""Bounds in units of eps * sum |x|. Of equal numbers PyTorch shows 5 where they lie side by side,
80,000 where they do not, and 110,000 in products of matrices, which are up to the BLAS library."""


def like(axes):
    """Let images lie in memory in this order of axes; a matrix is transposed in memory."""

    def order(array):
        if array.ndim != 4:
            return np.asfortranarray(array)
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))

    return order


def strided(array):
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def reversed_in_memory(array):
    turned = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[turned])[turned]


ORDERS = {
    "C": np.ascontiguousarray,
    "by rows": like((2, 1, 3, 0)),
    "NHWC": like((0, 2, 3, 1)),
    "transposed": like((3, 2, 1, 0)),
    "reversed": reversed_in_memory,
    "strided": strided,
}


@dataclass
class Sum:
    """A reduction: shapes of its arguments; what an edition, float64 and PyTorch make of them."""

    shapes: dict[str, tuple[int, ...]]
    run: Any
    exact: Any
    torch: Any
    bound: float = SUM


def linear(number):
    def run(edition, a):
        y, cache = edition.linear_forward(a["x"], a["w"], np.zeros(len(a["w"]), np.float32))
        return edition.linear_backward(a["dy"], cache)[number] if "dy" in a else y

    return run


def conv(number):
    def run(edition, a):
        y, cache = edition.conv2d_forward(a["x"], a["w"], np.zeros(len(a["w"]), np.float32))
        return edition.conv2d_backward(a["dy"], cache)[number] if "dy" in a else y

    return run


def of_torch_conv(number):
    def run(torch, a):
        x, w, b = a["x"], a["w"], torch.zeros(len(a["w"]))
        given = [tensor.requires_grad_() for tensor in (x, w, b)]
        y = torch.nn.functional.conv2d(*given)
        if "dy" not in a:
            return y.detach()
        y.backward(a["dy"])
        return given[number].grad

    return run


def norm(number):
    """dgamma (1) or dbeta (2) of a batch norm in evaluation, whose x_hat is x."""

    def run(edition, a):
        zeros, ones = (make(a["x"].shape[1], np.float32) for make in (np.zeros, np.ones))
        _, cache = edition.batchnorm2d_forward(
            a["x"], ones, zeros, zeros.copy(), ones.copy(), training=False, eps=0
        )
        return edition.batchnorm2d_backward(a["dy"], cache)[number]

    return run


def of_torch_norm(number):
    def run(torch, a):
        C = a["x"].shape[1]
        parts = [torch.ones(C, requires_grad=True), torch.zeros(C, requires_grad=True)]
        moments = torch.zeros(C), torch.ones(C)
        torch.nn.functional.batch_norm(a["x"], *moments, *parts, eps=1e-30).backward(a["dy"])
        return parts[number - 1].grad

    return run


def chain(what):
    """The sums of a convolution with its batch norm; in the engine they are one operation."""

    def run(edition, a):
        C = a["x"].shape[1]
        net = Sequential(Conv2d(C, C, 1, rng=np.random.default_rng(0)), BatchNorm2d(C, momentum=1))
        conv, norm = net.layers
        conv.w.data[...] = np.eye(C)[:, :, None, None]
        net = fuse(net).use(edition)
        if what == "beta":
            norm.eval()
        net.forward(a["x"])
        if what == "mean":
            return norm.running_mean
        net.backward(a["dy"])
        return norm.beta.grad

    return run


def of_channels(a):
    return a["dy"].sum(axis=(0, 2, 3))


SUMS = {
    "average of a tile": Sum(
        {"x": SHAPES["square"]},
        lambda edition, a: edition.avg_pool2d_forward(a["x"], 1000)[0],
        lambda a: a["x"].mean(axis=(2, 3), keepdims=True),
        lambda torch, a: torch.nn.functional.avg_pool2d(a["x"], 1000),
    ),
    "linear db": Sum(
        {"x": (M, 1), "w": (2, 1), "dy": (M, 2)}, linear(2),
        lambda a: a["dy"].sum(axis=0), lambda torch, a: a["dy"].sum(dim=0),
    ),
    "linear dw": Sum(
        {"x": (M, 1), "w": (2, 1), "dy": (M, 2)}, linear(1),
        lambda a: a["dy"].T @ a["x"], lambda torch, a: a["dy"].T @ a["x"], PRODUCT,
    ),
    "linear dx": Sum(
        {"x": (2, 1), "w": (M, 1), "dy": (2, M)}, linear(0),
        lambda a: a["dy"] @ a["w"], lambda torch, a: a["dy"] @ a["w"], PRODUCT,
    ),
    "linear y": Sum(
        {"x": (2, M), "w": (3, M)}, linear(0),
        lambda a: a["x"] @ a["w"].T, lambda torch, a: a["x"] @ a["w"].T, PRODUCT,
    ),
    "conv y": Sum(
        {"x": (2, M, 1, 1), "w": (2, M, 1, 1)}, conv(0),
        lambda a: np.einsum("ncij,fcij->nf", a["x"], a["w"])[:, :, None, None], of_torch_conv(0),
        PRODUCT,
    ),
    "conv dx": Sum(
        {"x": (2, 1, 1, 1), "w": (M, 1, 1, 1), "dy": (2, M, 1, 1)}, conv(0),
        lambda a: np.einsum("nfij,fcij->nc", a["dy"], a["w"])[:, :, None, None], of_torch_conv(0),
        PRODUCT,
    ),
    "softmax": Sum(
        {"logits": (2, M)},
        lambda edition, a: edition.softmax_cross_entropy(a["logits"], np.zeros(2, int))[1][:, 1:],
        lambda a: (e := np.exp(a["logits"]))[:, 1:] / e.sum(axis=1, keepdims=True) / 2,
        lambda torch, a: torch.softmax(a["logits"], dim=1)[:, 1:] / 2,
    ),
    "loss": Sum(
        {"logits": (M, 1)},  # and a second class with a score of 0
        lambda edition, a: edition.softmax_cross_entropy(
            np.concatenate([a["logits"], 0 * a["logits"]], axis=1), np.zeros(M, int)
        )[0],
        lambda a: np.log1p(np.exp(-a["logits"])).mean(),
        lambda torch, a: torch.nn.functional.cross_entropy(
            torch.cat([a["logits"], 0 * a["logits"]], dim=1), torch.zeros(M, dtype=torch.long)
        ),
    ),
}  # fmt: skip
for _name, _shape in SHAPES.items():
    _both = {"x": _shape, "dy": _shape}
    SUMS |= {
        f"average of an image, {_name}": Sum(
            {"x": _shape}, lambda edition, a: edition.global_avg_pool_forward(a["x"])[0],
            lambda a: a["x"].mean(axis=(2, 3)), lambda torch, a: a["x"].mean(dim=(2, 3)),
        ),
        f"mean, {_name}": Sum(
            {"x": _shape}, lambda edition, a: edition.channel_moments(a["x"])[0],
            lambda a: a["x"].mean(axis=(0, 2, 3)), lambda torch, a: a["x"].mean(dim=(0, 2, 3)),
        ),
        f"var, {_name}": Sum(
            {"x": _shape}, lambda edition, a: edition.channel_moments(a["x"])[1],
            lambda a: a["x"].var(axis=(0, 2, 3)),
            lambda torch, a: a["x"].var(dim=(0, 2, 3), unbiased=False),
        ),
        f"dgamma, {_name}": Sum(
            _both, norm(1), lambda a: (a["dy"] * a["x"]).sum(axis=(0, 2, 3)), of_torch_norm(1)
        ),
        f"dbeta, {_name}": Sum(_both, norm(2), of_channels, of_torch_norm(2)),
        f"chain mean, {_name}": Sum(
            {"x": _shape}, chain("mean"),
            lambda a: a["x"].mean(axis=(0, 2, 3)), lambda torch, a: a["x"].mean(dim=(0, 2, 3)),
        ),
        f"chain dbeta, {_name}": Sum(_both, chain("beta"), of_channels, of_torch_norm(2)),
        f"conv db, {_name}": Sum(
            _both | {"w": (2, 2, 1, 1)}, conv(2), of_channels, of_torch_conv(2)
        ),
        f"conv dw, {_name}": Sum(
            _both | {"w": (2, 2, 1, 1)}, conv(1),
            lambda a: np.einsum("nfhw,nchw->fc", a["dy"], a["x"], optimize=True)[:, :, None, None],
            of_torch_conv(1), PRODUCT,
        ),
    }  # fmt: skip


def numbers(case, data):
    if data == "random":
        rng = np.random.default_rng(0)
        return {key: rng.random(shape, np.float32) for key, shape in case.shapes.items()}
    return {key: np.full(shape, 0.1, np.float32) for key, shape in case.shapes.items()}


def error_of(found, right):
    """The largest error, in units of eps * sum |x|: all numbers are positive."""
    return float((abs(np.asarray(found, np.float64) - right) / abs(right)).max() / EPS)


def cases(name, orders):
    """Yield (arrays, exact result), of equal numbers, which are the harder ones, and of random."""
    case = SUMS[name]
    for data in ["random"] if name.startswith("var") else ["equal", "random"]:
        arrays = numbers(case, data)
        right = case.exact({key: array.astype(np.float64) for key, array in arrays.items()})
        for order in orders:
            yield {key: ORDERS[order](array) for key, array in arrays.items()}, right


def worst_of(name, orders, edition):
    """The largest error over these orders, of equal numbers and of random ones."""
    run = SUMS[name].run
    return max(error_of(run(edition, arrays), right) for arrays, right in cases(name, orders))


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_accurate(name, ops):
    assert worst_of(name, ["NHWC"], ops) < SUMS[name].bound


@pytest.mark.slow
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_accurate_in_any_memory_order(name):
    """Where it is no product, our worst is also at most four times PyTorch's worst."""
    ours = max(worst_of(name, ORDERS, edition) for edition in (minisd.ops, fast))
    assert ours < SUMS[name].bound
    if SUMS[name].bound == SUM:
        assert ours <= 4 * max(1, worst_of_torch(name))


def worst_of_torch(name):
    torch = pytest.importorskip("torch")
    errors = []
    for arrays, right in cases(name, ORDERS):
        tensors = {  # PyTorch has no negative strides
            key: torch.from_numpy(a if min(a.strides) > 0 else a.copy())
            for key, a in arrays.items()
        }
        errors.append(error_of(SUMS[name].torch(torch, tensors).detach().numpy(), right))
    return max(errors)


class Heap(Layer):
    """A parameter of a million numbers."""

    def __init__(self, data):
        self.w = Parameter(data)


def test_what_a_recorder_sums_is_accurate(rng, tmp_path):
    for data in (np.full((10, M // 10), 0.1, np.float32), rng.random((10, M // 10), np.float32)):
        model = Heap(data)
        optimizer = SGD(model, 0.1, momentum=0, nesterov=False, weight_decay=0)
        path = tmp_path / f"{data[0, 0]}.jsonl"
        with Recorder(model, optimizer, path) as recorder:
            model.w.grad = np.asfortranarray(data)
            recorder.after_backward()
            recorder.after_step()
        flow, exact = load(path), data.astype(np.float64)
        norm = np.sqrt((exact**2).sum())
        right = {"grad_mean": exact.mean(), "grad_norm": norm, "weight_norm": norm}
        for name, value in right.items():
            assert flow[name][0, 0] == pytest.approx(value, rel=8 * EPS), name


def test_what_a_normaliser_sums_is_accurate(rng):
    images = 100 + rng.random((20000, 1, 5, 10), np.float32)
    for order in ORDERS.values():
        fitted = Normaliser.fit(order(images))
        exact = images.astype(np.float64)
        np.testing.assert_allclose(fitted.mean, exact.mean(axis=0), rtol=2 * EPS)
        assert fitted.std == pytest.approx((exact - exact.mean(axis=0)).std(), rel=1e-9)
