"""A lift makes the variant's function from the ordinary one: compared with PyTorch, where it is."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_assignments import PAIRS, made

from minisd.course import material

torch = pytest.importorskip("torch")
RNG = np.random.default_rng


def tensor(array: Any) -> Any:
    return torch.tensor(array, requires_grad=True)


def assert_gradients(y: Any, dy: np.ndarray, **pairs: Any) -> None:
    """Compare gradients with those of PyTorch. A pair is a tensor and the gradient of it."""
    y.backward(torch.tensor(dy))
    for name, (leaf, gradient) in pairs.items():
        np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-9, atol=1e-9, err_msg=name)


def temperature(f: SimpleNamespace) -> None:
    for T in (0.3, 1.0, 2.5):
        logits, labels = 3 * RNG(0).standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])
        s = tensor(logits)
        loss = torch.nn.functional.cross_entropy(s / T, torch.tensor(labels))
        mine, dlogits = f.softmax_cross_entropy(logits, labels, T)
        assert mine == pytest.approx(loss.item(), rel=1e-12)
        assert_gradients(loss, np.array(1.0), dlogits=(s, dlogits))
        images, w, b = RNG(1).standard_normal((5, 3)), np.zeros((4, 3)), np.zeros(4)
        rng = RNG(2)
        for _ in range(4):
            chosen = rng.choice(5, 3, replace=False)
            wt, bt = tensor(w), tensor(b)
            scores = torch.tensor(images[chosen]) @ wt.T + bt
            torch.nn.functional.cross_entropy(scores / T, torch.tensor(labels[chosen])).backward()
            w, b = w - 0.7 * wt.grad.numpy(), b - 0.7 * bt.grad.numpy()
        found = f.train(images, labels, 4, 3, 0.7, RNG(2), T)
        np.testing.assert_allclose(found[0], w, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[1], b, rtol=1e-10, atol=1e-12)


def dilation(f: SimpleNamespace) -> None:
    for stride, padding, D in ((1, 1, 2), (2, 0, 3), (3, 2, 1), (2, 1, 2)):
        x, w = RNG(0).standard_normal((2, 3, 11, 12)), RNG(1).standard_normal((4, 3, 3, 2))
        b, options = RNG(2).standard_normal(4), {"stride": stride, "padding": padding}
        leaves = tensor(x), tensor(w), tensor(b)
        expected = torch.nn.functional.conv2d(*leaves, **options, dilation=D)
        y, cache = f.conv2d_forward(x, w, b, **options, dilation=D)
        np.testing.assert_allclose(y, expected.detach(), rtol=1e-9, atol=1e-9)
        assert tuple(f.conv_output_size(x.shape, w.shape, stride, padding, D)) == y.shape[2:]
        dy = RNG(3).standard_normal(y.shape)
        gradients = f.conv2d_backward(dy, cache)
        pairs = zip(leaves, gradients, strict=True)
        assert_gradients(expected, dy, **dict(zip(("dx", "dw", "db"), pairs, strict=True)))
    with pytest.raises(ValueError, match="fit"):
        f.conv_output_size((1, 1, 4, 9), (1, 1, 3, 3), 1, 0, 2)


def groups(f: SimpleNamespace) -> None:
    for stride, padding, G in ((1, 1, 2), (2, 0, 4), (3, 2, 1)):
        x, w = RNG(0).standard_normal((2, 3 * G, 7, 8)), RNG(1).standard_normal((4, 3, 3, 2))
        b, options = RNG(2).standard_normal(4), {"stride": stride, "padding": padding, "groups": G}
        leaves = tensor(x), tensor(w), tensor(b)
        expected = torch.nn.functional.conv2d(*leaves, **options)
        y, cache = f.conv2d_forward(x, w, b, **options)
        np.testing.assert_allclose(y, expected.detach(), rtol=1e-9, atol=1e-9)
        dy = RNG(3).standard_normal(y.shape)
        pairs = zip(leaves, f.conv2d_backward(dy, cache), strict=True)
        assert_gradients(expected, dy, **dict(zip(("dx", "dw", "db"), pairs, strict=True)))


def pairs(f: SimpleNamespace) -> None:
    for training in (True, False):
        x = 2 + RNG(0).standard_normal((3, 4, 2, 3)) * np.arange(1.0, 5)[:, None, None]
        leaves = tensor(x), tensor(np.array([0.7, -2.0])), tensor(np.array([0.1, 0.2]))
        running = np.array([0.5, -0.5]), np.array([2.0, 0.4])
        moved, options = [array.copy() for array in running], {"training": training, "eps": 0.3}
        arrays = [leaf.detach().numpy() for leaf in leaves]
        y, cache = f.batchnorm2d_forward(*arrays, *moved, **options, momentum=0.3)
        in_torch = [torch.tensor(array) for array in running]
        three = leaves[0].reshape(3, 2, 12)  # PyTorch, too, takes what is behind the channels
        expected = torch.nn.functional.batch_norm(
            three, *in_torch, *leaves[1:], training=training, momentum=0.3, eps=0.3
        ).reshape(x.shape)
        np.testing.assert_allclose(y, expected.detach(), rtol=1e-10)
        for array, other in zip(moved, in_torch, strict=True):
            np.testing.assert_allclose(array, other)
        dy = RNG(3).standard_normal(y.shape)
        found = zip(leaves, f.batchnorm2d_backward(dy, cache), strict=True)
        assert_gradients(expected, dy, **dict(zip(("dx", "dgamma", "dbeta"), found, strict=True)))
    w, b = RNG(0).standard_normal((4, 2, 3, 3)), RNG(1).standard_normal(4)
    z = torch.nn.functional.conv2d(
        torch.tensor(x[:, :2]), torch.tensor(w), torch.tensor(b), padding=1
    )
    expected, _ = f.batchnorm2d_forward(z.numpy(), *arrays[1:], *running, **options)
    folded = map(torch.tensor, f.fold(w, b, *arrays[1:], *running, 0.3))
    found = torch.nn.functional.conv2d(torch.tensor(x[:, :2]), *folded, padding=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="more than one"):
        f.batchnorm2d_forward(x[:, :3], *arrays[1:], *running, training=True)


def unbiased(f: SimpleNamespace) -> None:
    for training in (True, False):
        x, eps = 2 + RNG(0).standard_normal((3, 2, 2, 3)), 0.3
        leaves = tensor(x), tensor(np.array([0.7, -2.0])), tensor(np.array([0.1, 0.2]))
        running = np.array([0.5, -0.5]), np.array([2.0, 0.4])
        # PyTorch normalises by the biased variance, but it has the unbiased one, too
        mean, var = (torch.tensor(array) for array in running)
        if training:
            mean, var = leaves[0].mean(dim=(0, 2, 3)), leaves[0].var(dim=(0, 2, 3), correction=1)
        x_hat = (leaves[0] - mean[:, None, None]) / torch.sqrt(var + eps)[:, None, None]
        expected = leaves[1][:, None, None] * x_hat + leaves[2][:, None, None]
        arrays = [leaf.detach().numpy() for leaf in leaves]
        moved = [array.copy() for array in running]
        y, cache = f.batchnorm2d_forward(*arrays, *moved, training=training, momentum=0.3, eps=eps)
        np.testing.assert_allclose(y, expected.detach(), rtol=1e-10)
        share = 0.3 if training else 0.0
        for array, old, new in zip(moved, running, (mean, var), strict=True):
            np.testing.assert_allclose(array, (1 - share) * old + share * new.detach().numpy())
        dy = RNG(3).standard_normal(y.shape)
        pairs = zip(leaves, f.batchnorm2d_backward(dy, cache), strict=True)
        named = dict(zip(("dx", "dgamma", "dbeta"), pairs, strict=True))
        assert_gradients(expected, dy, **named)


def zeros_first(f: SimpleNamespace) -> None:
    for channels, stride in ((7, 2), (3, 3), (4, 1)):
        x = RNG(0).standard_normal((2, 3, 6, 12))
        leaf = tensor(x)
        tiles = torch.nn.functional.avg_pool2d(leaf, stride)
        expected = torch.nn.functional.pad(tiles, (0, 0, 0, 0, channels - 3, 0))
        y, cache = f.pad_shortcut_forward(x, channels, stride)
        np.testing.assert_allclose(y, expected.detach(), rtol=1e-12)
        dy = RNG(1).standard_normal(y.shape)
        assert_gradients(expected, dy, dx=(leaf, f.pad_shortcut_backward(dy, cache)))


def power(f: SimpleNamespace) -> None:
    np.testing.assert_allclose(f.polynomial_decay(2, 0.6, 2), [0.9, 0.6])
    np.testing.assert_allclose(f.polynomial_decay(4, 0.0, 0.5)[0], 0.5)
    np.testing.assert_allclose(f.polynomial_decay(54, 0.5, 1), 1 - np.arange(1, 55) / 108)
    assert f.expected_depth([0.25, 1, 0.5]) == 1.75


COMPARED: dict[tuple[str, str], Callable[[SimpleNamespace], None]] = {
    ("a1", "temperature"): temperature,
    ("a2", "dilation"): dilation,
    ("a2", "groups"): groups,
    ("a3", "unbiased"): unbiased,
    ("a3", "pairs"): pairs,
    ("a4", "zeros_first"): zeros_first,
    ("a5", "power"): power,
}


@pytest.mark.parametrize(("name", "variant"), COMPARED)
def test_a_lifted_reference_is_right(name, variant):
    COMPARED[name, variant](SimpleNamespace(**made(name, variant).solution))


def test_every_variant_with_a_lift_is_compared():
    lifting = {pair for pair in PAIRS if "ordinary." in made(*pair).assignment.lift}
    assert set(COMPARED) == lifting
    assert {pair for pair in PAIRS if pair[1] != "none"} - lifting == {("a6", "own")}


WRONG = [
    ("a1", "temperature", "return loss, dlogits / temperature", "return loss, dlogits"),
    ("a1", "temperature", "logits / temperature, labels", "logits * temperature, labels"),
    ("a1", "temperature", "lr / temperature**2", "lr / temperature"),
    ("a1", "temperature", "return temperature * w", "return w"),
    ("a2", "dilation", "wide[:, :, ::dilation, ::dilation] = w", "wide[:, :, :KH, :KW] = w"),
    ("a2", "dilation", "return dx, dw[:, :, ::dilation, ::dilation]", "return dx, dw"),
    ("a2", "dilation", "(kernel - 1) * dilation + 1", "kernel * dilation"),
    ("a2", "groups", "np.concatenate([y for y, _ in found], axis=1)", "found[0][0]"),
    ("a2", "groups", "np.split(x, groups, axis=1)", "[x[:, i::groups] for i in range(groups)]"),
    ("a2", "groups", "return np.concatenate(dx, axis=1)", "return sum(dx)"),
    ("a3", "pairs", "y.reshape(N, 2 * pairs, H // 2, W)", "y.reshape(N, H // 2, 2 * pairs, W)"),
    ("a3", "pairs", "x.reshape(N, C // 2, 2 * H, W)", "x[:, ::2]"),
    ("a3", "pairs", "np.stack(ws, axis=1)", "np.stack(ws)"),
    ("a3", "pairs", "if x.shape[1] % 2:", "if False:"),
    ("a3", "unbiased", "(M / (M - 1)) ** 0.5", "M / (M - 1)"),
    ("a3", "unbiased", "gamma / factor, running", "gamma, running"),
    ("a3", "unbiased", "return dx, dgamma / cache", "return dx, dgamma * cache"),
    ("a3", "unbiased", "result = called(x", "result = called(wide"),
    ("a4", "zeros_first", "return y[:, ::-1], cache", "return y, cache"),
    ("a4", "zeros_first", "(dy[:, ::-1], cache)", "(dy, cache)"),
    ("a4", "zeros_first", "(x[:, ::-1], out", "(x, out"),
    ("a5", "power", "depth**power * (1 - p_last)", "(depth * (1 - p_last)) ** power"),
    ("a5", "power", "range(1, num_blocks + 1)", "range(num_blocks)"),
]


@pytest.mark.parametrize(("name", "variant", "right", "wrong"), WRONG)
def test_a_wrong_lift_is_seen(name, variant, right, wrong):
    found = made(name, variant).assignment
    assert found.lift.count(right) == 1
    altered = replace(found, lift=found.lift.replace(right, wrong))
    functions = {**made(name).solution, **material.lifted(altered, made(name).solution)}
    with pytest.raises((AssertionError, ValueError)):
        COMPARED[name, variant](SimpleNamespace(**functions))
