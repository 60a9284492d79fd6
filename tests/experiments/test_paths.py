"""Gradients along single paths: they add up to the gradient, and to what can be had by hand."""

from contextlib import nullcontext
from itertools import product
from math import comb

import numpy as np
import pytest

from devices import assert_close, assert_equal, host
from minisd import ops, resnet, set_gates
from minisd.experiments.path_lengths import backward_along, by_length, sampled_norms
from minisd.layer import Layer
from minisd.layers import Conv2d, GlobalAvgPool, Linear
from minisd.models import ResNet
from minisd.residual import IdentityShortcut, ResidualBlock
from tiny_runs import bits

pytestmark = pytest.mark.usefixtures("in_every_form")

PROBS = [0.9, 0.8, 0.5]
OPEN = [True, True, True]


class Through(Layer):
    """In the place of a ReLU, in a network that is to be linear."""

    def forward(self, x, plus=None):
        self.save(None)
        return x if plus is None else x + plus

    def backward(self, dy):
        self.take()
        return dy


def linear_net(rng, L, *, channels=2, kernel=3):
    """Convolutions and shortcuts only."""
    options = {"padding": kernel // 2, "rng": rng, "dtype": np.float64}
    blocks = [
        ResidualBlock(Conv2d(channels, channels, kernel, **options), IdentityShortcut())
        for _ in range(L)
    ]
    for block in blocks:
        block.relu = Through()
    stem = Conv2d(2, channels, kernel, **options)
    return ResNet(stem, blocks, GlobalAvgPool(), Linear(channels, 10, rng=rng, dtype=np.float64))


def network(rng, **options):
    settings = {"in_channels": 2, "width": 3, "survival": PROBS, "dtype": np.float64}
    return resnet(8, rng=rng, **settings | options)


def inputs(rng, device):
    return device.standard_normal(rng, (3, 2, 8, 8)), device.standard_normal(rng, (3, 10))


def along(model, x, dy, path):
    model.forward(x)
    return backward_along(model, dy, path)


def check_sum_over_paths(model, x, dy, gates):
    """All paths along open branches together carry the gradient."""
    set_gates(model, gates)
    paths = product(*([False, True] if gate else [False] for gate in gates))
    total = sum(along(model, x, dy, path) for path in paths)
    model.forward(x)
    assert_close(total, model.backward(dy), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gates", [OPEN, [True, False, True], [False, False, True], [False] * 3])
@pytest.mark.parametrize("scale", ["test", "train"])
@pytest.mark.parametrize("shortcut", ["A", "A-subsample", "projection"])
def test_all_paths_together_are_the_gradient(gates, scale, shortcut, rng, device):
    model = network(rng, shortcut=shortcut, scale=scale).to(device.name)
    check_sum_over_paths(model, *inputs(rng, device), gates)


@pytest.mark.parametrize("gates", [[True] * 4, [True, False, True, True]])
def test_all_paths_of_a_linear_network_together_are_the_gradient(gates, rng, device):
    check_sum_over_paths(linear_net(rng, 4).to(device.name), *inputs(rng, device), gates)


def test_a_planted_error_of_one_path_is_found(rng, device, monkeypatch):
    right = ResidualBlock.closed_backward
    monkeypatch.setattr(ResidualBlock, "closed_backward", lambda self, dy: 1.001 * right(self, dy))
    model = network(rng).to(device.name)  # in its own backward all blocks are open
    with pytest.raises(AssertionError):
        check_sum_over_paths(model, *inputs(rng, device), OPEN)


@pytest.mark.parametrize("gates", [[True, False, True], [False, True, True]])
def test_no_path_goes_along_a_closed_branch(gates, rng, device):
    model = network(rng).to(device.name)
    x, dy = inputs(rng, device)
    set_gates(model, gates)
    with pytest.raises(ValueError, match="closed"):
        along(model, x, dy, [not gate for gate in gates])


def test_a_path_needs_a_direction_for_every_block(rng, device):
    model = network(rng).to(device.name)
    x, dy = inputs(rng, device)
    with pytest.raises(ValueError, match="shorter"):
        along(model, x, dy, OPEN[1:])


def test_a_path_takes_what_the_forward_saved(rng, device):
    model = network(rng).to(device.name)
    x, dy = inputs(rng, device)
    along(model, x, dy, [True, False, True])
    with pytest.raises(RuntimeError, match="forward"):
        model.backward(dy)
    with pytest.raises(RuntimeError, match="forward"):
        model.blocks[1].branch.backward(dy)


def scalar_net(rng, weights):
    model = linear_net(rng, len(weights), channels=1, kernel=1)
    for block, weight in zip(model.blocks, weights, strict=True):
        block.branch.w.data[...] = weight
    return model


def sums_by_length(model, x, dy):
    """Sum of the gradients along exactly k branches, over that along none: (L + 1,)."""
    L = model.num_blocks
    start = along(model, x, dy, [False] * L)
    sums = [0.0] * (L + 1)
    for path in product([False, True], repeat=L):
        sums[sum(path)] += host(along(model, x, dy, path) / start).mean()
    return sums


def test_scalar_branches_give_the_elementary_symmetric_polynomials(rng, device):
    weights = rng.uniform(-1, 1, 5)
    model = scalar_net(rng, weights).to(device.name)
    found = sums_by_length(model, *inputs(rng, device))
    np.testing.assert_allclose(found, np.poly(-weights), rtol=1e-10)  # of (t + w_1)...(t + w_L)


def test_equal_scalar_branches_give_the_binomials(rng, device):
    w, L = 0.3, 5
    model = scalar_net(rng, [w] * L).to(device.name)
    found = sums_by_length(model, *inputs(rng, device))
    np.testing.assert_allclose(found, [comb(L, k) * w**k for k in range(L + 1)], rtol=1e-10)


def norms_along(model, x, labels, **options):
    """Of paths of every length."""
    lengths = range(model.num_blocks + 1)
    return [sampled_norms(model, x, labels, k, **options) for k in lengths]


def test_sampled_norms_of_equal_scalar_branches_are_powers(rng, device):
    w, L = 0.3, 4
    model = scalar_net(rng, [w] * L).to(device.name)
    x, labels = inputs(rng, device)[0], device.put(np.array([0, 3, 9]))
    norms = norms_along(model, x, labels, samples=2, rng=rng)
    _, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
    start = np.linalg.norm(host(backward_along(model, dlogits, [False] * L)))
    np.testing.assert_allclose(norms, start * w ** np.arange(L + 1)[:, None] * np.ones(2))
    shares = by_length(norms) / start
    np.testing.assert_allclose(shares, [comb(L, k) * w**k for k in range(L + 1)])


def test_sampled_norms_go_along_random_paths_of_every_length(rng, device):
    model = network(rng).to(device.name)
    x, labels = inputs(rng, device)[0], device.put(np.array([0, 3, 9]))
    found = [
        norms_along(model, x, labels, samples=20, rng=np.random.default_rng(1)) for _ in range(2)
    ]
    assert found[0] == found[1]
    set_gates(model, OPEN)
    possible = [set() for _ in range(4)]
    for path in product([False, True], repeat=3):
        _, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
        norm = np.linalg.norm(host(backward_along(model, dlogits, path)))
        possible[sum(path)].add(float(f"{norm:.9g}"))
    assert [{float(f"{norm:.9g}") for norm in norms} for norms in found[0]] == possible


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fitting", [True, False], ids=["fitting", "too few channels"])
def test_sampled_norms_leave_the_network_as_it_was(training, fitting, rng, device):
    model, gates = network(rng).to(device.name), [True, False, True]
    x, dy = inputs(rng, device)
    model.forward(x)
    model.backward(dy)
    model.train(training)
    set_gates(model, gates)
    of_images = np.array([True, False, True])
    model.blocks[2].image_gates = of_images
    before = bits({name: host(a) for name, a in model.buffers()})
    grads = {name: host(p.grad).copy() for name, p in model.parameters()}
    labels = device.put(np.array([0, 3, 9]))
    with nullcontext() if fitting else pytest.raises(ValueError, match="channels"):
        sampled_norms(model, x if fitting else x[:, :1], labels, 2, samples=2, rng=rng)
    assert bits({name: host(a) for name, a in model.buffers()}) == before
    assert [layer.training for layer in (model, model.blocks[1].branch)] == [training] * 2
    assert [block.is_open for block in model.blocks] == gates
    assert [block.image_gates is of_images for block in model.blocks] == [False, False, True]
    for name, p in model.parameters():
        assert p.grad is not None, name
        assert_equal(p.grad, grads[name])


def test_all_paths_of_a_length_are_counted():
    np.testing.assert_array_equal(by_length([[1, 3], [2, 2], [4, 4]]), [2, 2 * 2, 4])
    np.testing.assert_array_equal(by_length([[1.0]] * 5), [1, 4, 6, 4, 1])
