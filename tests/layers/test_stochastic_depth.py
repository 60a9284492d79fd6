"""The paper: survival rules, gates, what a closed block does not do, and the test-time rule."""

from itertools import product

import numpy as np
import pytest

from devices import assert_close, assert_equal, ones_like
from minisd import (
    SGD,
    Conv2d,
    ResidualBlock,
    depth_distribution,
    draw_gates,
    expected_depth,
    fast,
    linear_decay,
    ops,
    resnet,
    set_gates,
    uniform,
)
from minisd.backend import array_module
from minisd.layers import Layer
from minisd.residual import IdentityShortcut


def patterns(L):
    return [list(gates) for gates in product([False, True], repeat=L)]


def probability(gates, probs):
    return np.prod([p if gate else 1 - p for gate, p in zip(gates, probs, strict=True)])


def small(rng, **options):
    return resnet(8, num_classes=4, width=2, rng=rng, **options)


# Survival rules and the number of open blocks


def test_linear_decay_is_equation_4():
    L = 54
    probs = linear_decay(L, 0.5)
    for block in range(1, L + 1):
        assert probs[block - 1] == pytest.approx(1 - block / L * (1 - 0.5))
    assert probs[0] < 1  # block 1 is not certain either
    assert [linear_decay(L, p)[-1] for p in (0.1, 0.2, 0.5)] == [0.1, 0.2, 0.5]
    assert uniform(3, 0.7) == [0.7, 0.7, 0.7]


@pytest.mark.parametrize(
    ("probs", "mean", "sd", "low", "high"),
    [  # the table of the paper's settings; low to high is the central 95 %
        (linear_decay(54, 0.5), 40.25, 3.02, 34, 46),
        (linear_decay(54, 0.2), 32.0, 3.19, 26, 38),
        (uniform(54, 0.5), 27, 3.67, 20, 34),
        (linear_decay(9, 0.5), 6.5, 1.27, 4, 9),
        (linear_decay(600, 0.5), 449.75, 10.0, 430, 469),
    ],
)
def test_depth_distribution_has_the_published_mean_and_spread(probs, mean, sd, low, high):
    distribution = depth_distribution(probs)
    k = np.arange(len(probs) + 1)
    assert distribution.shape == k.shape
    assert distribution.sum() == pytest.approx(1, abs=1e-12)
    assert expected_depth(probs) == pytest.approx(mean, abs=0.1)
    assert (distribution * k).sum() == pytest.approx(expected_depth(probs))
    assert np.sqrt((distribution * (k - mean) ** 2).sum()) == pytest.approx(sd, abs=0.05)
    cumulative = distribution.cumsum()
    assert abs(int(np.searchsorted(cumulative, 0.025)) - low) <= 1
    assert abs(int(np.searchsorted(cumulative, 0.975)) - high) <= 1


def test_expected_depth_is_three_quarters():
    for L in (3, 9, 54, 600):
        assert expected_depth(linear_decay(L)) == pytest.approx((3 * L - 1) / 4)


def test_depth_distribution_is_exact(rng):
    """Against the sum over all 2^L patterns."""
    probs = [*rng.random(8), 0.0, 1.0]
    counted = np.zeros(11)
    for gates in patterns(10):
        counted[sum(gates)] += probability(gates, probs)
    np.testing.assert_allclose(depth_distribution(probs), counted, atol=1e-15)
    assert depth_distribution([]).tolist() == [1.0]


# Gates


def test_draw_gates_sets_what_it_returns_and_follows_the_probabilities(rng):
    probs = [0.0, 0.25, 1.0]
    model = small(rng, survival=probs)
    draws = []
    for _ in range(2000):
        gates = draw_gates(model, rng)
        assert [block.is_open for block in model.blocks] == gates
        assert all(type(gate) is bool for gate in gates)
        draws.append(gates)
    assert np.mean(draws, axis=0) == pytest.approx(probs, abs=0.04)


def test_the_number_of_draws_does_not_depend_on_the_probabilities(rng):
    ends = set()
    for survival in (None, [0.5] * 3, [0.0, 1.0, 0.3]):
        gates_rng = np.random.default_rng(3)
        draw_gates(small(rng, survival=survival), gates_rng)
        ends.add(gates_rng.random())
    assert len(ends) == 1


def test_constant_depth_is_always_open(rng):
    model = small(rng)
    assert model.survival_probs == [1.0] * 3
    assert all(draw_gates(model, rng) == [True] * 3 for _ in range(50))


def test_a_forward_draws_nothing(rng, device):
    model = small(rng, survival=[0.5] * 3).to(device.name)
    x = device.standard_normal(rng, (2, 3, 8, 8), np.float32)
    set_gates(model, [True, False, True])
    first = model.forward(x)
    for _ in range(5):
        assert_equal(model.forward(x), first)


@pytest.mark.parametrize(
    ("gates", "error"),
    [([True], ValueError), ([True] * 4, ValueError), ([], ValueError),
     ([0.5, 1.0, 1.0], TypeError), ([2, 1, 1], TypeError),
     ([None, True, True], TypeError), (["y", "n", "y"], TypeError)],
)  # fmt: skip
def test_gates_that_are_not_gates_are_refused(gates, error, rng):
    model = small(rng)
    with pytest.raises(error):
        set_gates(model, gates)
    assert all(block.is_open for block in model.blocks)


@pytest.mark.parametrize("kind", [tuple, np.array, lambda g: [int(x) for x in g]])
def test_gates_may_be_any_sequence_of_truths(kind, rng):
    model = small(rng)
    set_gates(model, kind([True, False, True]))
    assert [block.is_open for block in model.blocks] == [True, False, True]
    assert all(type(block.is_open) is bool for block in model.blocks)


# What an open and a closed block do


class Spy(Layer):
    """A branch that counts and remembers nothing else; stands around the real one."""

    def __init__(self, inner):
        self.inner = inner
        self.forwards = self.backwards = 0

    def forward(self, x):
        self.forwards += 1
        return self.inner.forward(x)

    def backward(self, dy):
        self.backwards += 1
        return self.inner.backward(dy)


@pytest.mark.parametrize("gates", patterns(3))
@pytest.mark.parametrize("shortcut", ["A", "A-subsample", "projection"])
def test_a_closed_block_is_not_entered_at_all(gates, shortcut, rng, device):
    """All 2^L patterns, transition blocks included: forward, backward, statistics, gradients."""
    model = small(rng, survival=[0.5] * 3, shortcut=shortcut).to(device.name)
    for block in model.blocks:
        block.branch = Spy(block.branch)
    set_gates(model, gates)
    before = {name: buffer.copy() for name, buffer in model.buffers()}
    y = model.forward(device.standard_normal(rng, (2, 3, 8, 8), np.float32))
    model.backward(ones_like(y))
    assert y.shape == (2, 4)
    for i, (block, gate) in enumerate(zip(model.blocks, gates, strict=True)):
        assert gate or all(layer._cache is None for layer in block.branch.inner.layers)
        assert block.branch.forwards == block.branch.backwards == int(gate)
        for _, parameter in block.branch.parameters():
            assert (parameter.grad is not None) == gate
        for name, buffer in block.branch.buffers():
            moved = (buffer != before[f"blocks.{i}.branch.{name}"]).any()
            assert moved == gate
        for _, parameter in block.shortcut.parameters():
            assert parameter.grad is not None  # a projection always runs
    assert all(p.grad is not None for _, p in model.stem.parameters())


def test_a_closed_block_passes_its_input_through(rng, device):
    model = small(rng, survival=[0.5] * 3).to(device.name)
    block = model.blocks[0]
    block.is_open = False
    x = abs(device.standard_normal(rng, (2, 2, 4, 4), np.float32))
    assert_equal(block.forward(x), x)
    assert_equal(block.forward(-x), 0 * x)  # the ReLU always runs


def test_a_closed_transition_block_pools_and_pads(rng, device):
    block = small(rng, survival=[0.5] * 3).blocks[1].to(device.name)
    block.is_open = False
    x = abs(device.standard_normal(rng, (2, 2, 4, 6), np.float32))
    y = block.forward(x)
    assert_equal(y[:, :2], fast.avg_pool2d_forward(x, 2)[0])
    assert y.shape == (2, 4, 2, 3)
    assert not y[:, 2:].any()


def test_a_block_remembers_the_gate_it_used(device):
    results = []
    for meddle in (False, True):
        model = small(np.random.default_rng(1), survival=[0.5] * 3).to(device.name)
        set_gates(model, [True, False, True])
        x = device.standard_normal(np.random.default_rng(2), (2, 3, 8, 8), np.float32)
        y = model.forward(x)
        if meddle:
            set_gates(model, [False, True, False])
        dx = model.backward(ones_like(y))
        results.append([dx] + [p.grad for _, p in model.parameters()])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert_equal(a, b)


@pytest.mark.parametrize("scale", ["test", "train"])
def test_a_block_remembers_the_weight_it_used(scale, rng, device):
    model = small(rng, survival=[0.5] * 3, scale=scale).to(device.name)
    x = device.standard_normal(rng, (2, 3, 8, 8), np.float32)
    dy = ones_like(model.forward(x))
    expected = model.backward(dy)
    model.forward(x)
    model.training = False
    for block in model.blocks:
        block.training = False
    assert_equal(model.backward(dy), expected)


# Against the plain network


def plain_resnet(model, x):
    """The constant-depth network written out with operations only: no blocks, no gates."""
    xp = array_module(x)

    def conv_bn(h, conv, norm):
        h, _ = ops.conv2d_forward(h, conv.w.data, stride=conv.stride, padding=conv.padding)
        return ops.batchnorm2d_forward(
            h, norm.gamma.data, norm.beta.data,
            norm.running_mean.copy(), norm.running_var.copy(), training=True,
        )[0]  # fmt: skip

    h = xp.maximum(conv_bn(x, *model.stem.layers[:2]), 0)
    for block in model.blocks:
        conv1, norm1, _, conv2, norm2 = block.branch.layers
        f = conv_bn(xp.maximum(conv_bn(h, conv1, norm1), 0), conv2, norm2)
        if f.shape != h.shape:
            small, _ = ops.avg_pool2d_forward(h, 2)
            h = xp.concatenate([small, 0 * small], axis=1)
        h = xp.maximum(h + f, 0)
    return ops.linear_forward(h.mean(axis=(2, 3)), model.head.w.data, model.head.b.data)[0]


def test_all_open_equals_the_constant_resnet_bit_for_bit(rng, device):
    x = device.standard_normal(rng, (3, 3, 8, 12), np.float32)
    stochastic = small(np.random.default_rng(7), survival=[0.5, 0.1, 0.9]).to(device.name)
    constant = small(np.random.default_rng(7)).to(device.name)
    set_gates(stochastic, [True] * 3)
    # operation by operation the rounding is another: a chain folds batch norm's mean into its shift
    assert_close(stochastic.forward(x), plain_resnet(constant, x), atol=2e-6)
    assert_equal(stochastic.forward(x), constant.forward(x))
    dy = device.standard_normal(rng, (3, 4), np.float32)
    assert_equal(stochastic.backward(dy), constant.backward(dy))
    for (_, p), (_, q) in zip(stochastic.parameters(), constant.parameters(), strict=True):
        assert_equal(p.grad, q.grad)


@pytest.mark.parametrize("gates", patterns(3))
def test_a_pattern_equals_the_network_with_those_blocks_taken_out(gates, rng, device):
    """Closing identity blocks is the same as a shorter network made of the others."""
    x = device.standard_normal(rng, (2, 2, 4, 5), np.float32)
    maximum = array_module(x).maximum
    blocks = [small(np.random.default_rng(i)).blocks[0].to(device.name) for i in range(3)]
    h = maximum(x, 0)
    for block, gate in zip(blocks, gates, strict=True):
        block.is_open = gate
        h = block.forward(h)
    shorter = maximum(x, 0)
    for block, gate in zip(blocks, gates, strict=True):
        if gate:
            shorter = block.forward(shorter)
    assert_equal(h, shorter)


# The test-time rule


def linear_net(rng, probs, scale, device):
    """Blocks of positive weights on positive inputs: each ReLU is the identity, all is linear."""
    blocks = []
    for p in probs:
        conv = Conv2d(2, 2, 3, padding=1, rng=rng, dtype=np.float64)
        conv.w.data[...] = np.abs(conv.w.data) / 3
        block = ResidualBlock(conv, IdentityShortcut(), survival_prob=p, scale=scale)
        blocks.append(block.to(device.name))
    return blocks


def run(blocks, h, mode, gates=None):
    for i, block in enumerate(blocks):
        block.train(mode == "train")
        block.is_open = True if gates is None else gates[i]
        h = block.forward(h)
    return h


@pytest.mark.parametrize("scale", ["test", "train"])
@pytest.mark.parametrize("L", [1, 2, 5])
def test_in_a_linear_net_the_average_over_all_patterns_is_the_test_time_rule(scale, L, rng, device):
    probs = linear_decay(L, 0.3)
    blocks = linear_net(rng, probs, scale, device)
    x = abs(device.standard_normal(rng, (2, 2, 4, 3)))
    average = sum(
        probability(gates, probs) * run(blocks, x, "train", gates) for gates in patterns(L)
    )
    assert_close(run(blocks, x, "eval"), average, rtol=1e-12)


def test_equation_5(rng, device):
    """In evaluation every branch runs, whatever the gates, weighted by its p_l."""
    block = small(rng, survival=[0.25] * 3).blocks[0].to(device.name).eval()
    x = device.standard_normal(rng, (2, 2, 4, 4), np.float32)
    expected = array_module(x).maximum(x + np.float32(0.25) * block.branch.forward(x), 0)
    for gate in (True, False):
        block.is_open = gate
        assert_equal(block.forward(x), expected)


def test_scale_train_is_the_other_convention(rng, device):
    """f/p in training and f in evaluation, against f and p f."""
    x = device.standard_normal(rng, (2, 2, 4, 4), np.float32)
    maximum = array_module(x).maximum
    ours, theirs = (
        small(np.random.default_rng(3), survival=[0.25] * 3, scale=scale).blocks[0].to(device.name)
        for scale in ("test", "train")
    )
    f = theirs.branch.forward(x)
    assert_close(theirs.forward(x), maximum(x + 4 * f, 0), rtol=1e-6)
    assert_close(ours.forward(x), maximum(x + f, 0), rtol=1e-6)
    assert theirs.eval().branch_weight == 1
    assert ours.eval().branch_weight == 0.25


# The optimiser


@pytest.mark.parametrize("gates", patterns(3))
def test_freeze_does_not_touch_a_closed_block_bit_for_bit(gates, rng, device):
    model = small(rng, survival=[0.5] * 3).to(device.name)
    optimizer = SGD(model, 0.1, dropped="freeze")
    x = device.standard_normal(rng, (2, 3, 8, 8), np.float32)

    def step(gates):
        set_gates(model, gates)
        model.zero_grad()
        model.backward(ones_like(model.forward(x)))
        optimizer.step()

    step([True] * 3)
    before = {name: p.data.copy() for name, p in model.parameters()}
    velocity = {name: v.copy() for name, v in optimizer.buffers()}
    step(gates)
    for i, gate in enumerate(gates):
        names = [name for name in before if name.startswith(f"blocks.{i}.branch")]
        for name in names:
            same = (optimizer.parameters[name].data == before[name]).all()
            same_velocity = (optimizer.velocity[name] == velocity[name]).all()
            assert same == same_velocity == (not gate)


def test_coast_moves_a_closed_block_by_momentum_and_decay_only(rng, device):
    model = small(rng, survival=[0.5] * 3).to(device.name)
    optimizer = SGD(model, 0.1, momentum=0.9, weight_decay=0.01, dropped="coast")
    x = device.standard_normal(rng, (2, 3, 8, 8), np.float32)
    for gates in ([True] * 3, [True, False, True]):
        w = model.blocks[1].branch.layers[0].w
        before, v = w.data.copy(), optimizer.velocity.get("blocks.1.branch.0.w", 0 * w.data).copy()
        set_gates(model, gates)
        model.zero_grad()
        model.backward(ones_like(model.forward(x)))
        optimizer.step()
    g = 0.01 * before
    v = 0.9 * v + g
    assert_close(w.data, before - 0.1 * (g + 0.9 * v), rtol=1e-6, atol=1e-8)
