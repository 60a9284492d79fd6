"""Pre-activation blocks: the worked example of a block of one's own, through every tool."""

import copy
from itertools import product

import numpy as np
import pytest

from devices import assert_close, assert_equal, ones_like
from minisd import (
    SGD,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool,
    PreActBlock,
    ReLU,
    draw_gates,
    fast,
    flow,
    ops,
    preact_branch,
    resnet,
    set_gates,
    set_image_gates,
)
from minisd.experiments.path_lengths import backward_along, unmoved
from minisd.gradcheck import check_layer
from minisd.residual import SHORTCUTS, ResidualBlock, make_shortcut
from minisd.surgery import blocks_replaced, interchangeable, sub_network, without
from minisd.train import train_step

F64 = np.float64
PROBS = [0.9, 0.7, 0.5]


def block(kind, rng, device, *, shortcut="A", stride=1, **options):
    made = kind(
        preact_branch(2, 2 * stride, stride=stride, gamma="uniform", rng=rng, dtype=F64),
        make_shortcut(shortcut, 2, 2 * stride, stride, rng=rng, dtype=F64),
        survival_prob=0.7,
        **options,
    )
    return made.to(device.name)


def network(rng, depth=8, **options):
    settings = {"branch": preact_branch, "block": PreActBlock, "in_channels": 2, "width": 3}
    settings |= {"survival": PROBS if depth == 8 else None, "dtype": F64}
    return resnet(depth, rng=rng, **settings | options)


@pytest.fixture
def x(rng, device):
    return device.standard_normal(rng, (3, 2, 8, 4))


SETTINGS = [
    {"shortcut": "A"},
    {"shortcut": "A", "stride": 2, "scale": "train"},
    {"shortcut": "A-subsample", "stride": 2},
    {"shortcut": "projection", "stride": 2},
    {"shortcut": "none", "stride": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(map(str, s.values())))
@pytest.mark.parametrize("mode", ["open", "closed", "evaluation", "per image"])
def test_the_gradient_is_right(settings, mode, ops, rng, device):
    if settings["shortcut"] == "none" and mode == "closed":
        pytest.skip("nothing passes")
    made = block(PreActBlock, rng, device, **settings).use(ops)
    x = device.standard_normal(rng, (3, 2, 4, 6))
    made.is_open = mode != "closed"
    if mode == "evaluation":
        made.forward(x)  # statistics that are not 0 and 1
        made.eval(keep=True)
    if mode == "per image":
        made.image_gates = np.array([True, False, True])
    check_layer(made, x, rng=rng, directions=1, elements=1).raise_if_failed()


class WithoutTheOne(PreActBlock):
    """Forgets the 1 of eq. 5."""

    def open_backward(self, dy, weight):
        self.shortcut.backward(dy)
        return self.branch.backward(weight * dy)


class WithoutTheWeight(PreActBlock):
    def open_backward(self, dy, weight):
        return self.shortcut.backward(dy) + self.branch.backward(dy)


@pytest.mark.parametrize("kind", [WithoutTheOne, WithoutTheWeight])
def test_a_planted_wrong_gradient_is_found(kind, rng, device):
    wrong = block(kind, rng, device, scale="train")
    x = device.standard_normal(rng, (3, 2, 4, 6))
    assert not check_layer(wrong, x, rng=rng, directions=1, elements=2).passed


def by_hand(model, x, weights):
    h = model.stem.forward(x)
    for each, weight in zip(model.blocks, weights, strict=True):
        skip = each.shortcut.forward(h)
        h = skip + weight * each.branch.forward(h) if weight else skip
    return model.head.forward(model.pool.forward(h))


def trained(rng, device, **options):
    """A network with statistics and parameters that have moved, in evaluation."""
    model = network(rng, **options).to(device.name)
    for _ in range(2):
        model.forward(device.standard_normal(rng, (4, 2, 8, 4)))
    return model.eval()


def test_batch_norm_and_relu_stand_before_the_pooling_and_not_after_the_stem(rng):
    model = network(rng, width=4)
    assert [type(layer) for layer in model.stem.layers] == [Conv2d]
    assert [type(layer) for layer in model.pool.layers] == [BatchNorm2d, ReLU, GlobalAvgPool]
    assert model.pool.layers[0].gamma.data.shape == (16,)
    assert all(type(each) is PreActBlock for each in model.blocks)
    usual = resnet(8, in_channels=2, width=4, rng=rng)
    assert type(usual.pool) is GlobalAvgPool
    # 20: the stem's batch norm of 4 channels has become one of 16, and the branches' first ones
    # are of what goes in (4, 4, 8) and not of what comes out (4, 8, 16)
    assert model.num_parameters - usual.num_parameters == 2 * (16 - 4 + 4 + 4 + 8 - 4 - 8 - 16)


def test_evaluation_is_the_sum_of_weighted_branches(x, rng, device):
    model = trained(rng, device)
    assert_close(model.forward(x), by_hand(model, x, PROBS), rtol=1e-12)


@pytest.mark.parametrize("gates", list(product([True, False], repeat=3)))
def test_a_closed_block_does_nothing_but_its_shortcut(gates, x, rng, device):
    model = network(rng).to(device.name)
    set_gates(model, gates)
    y = model.forward(x)
    model.backward(ones_like(y))
    for each, gate in zip(model.blocks, gates, strict=True):
        assert all((p.grad is not None) == gate for _, p in each.branch.parameters())
    assert_close(by_hand(model, x, gates), y, rtol=1e-12)


def test_both_editions_and_fused_or_not_agree(x, device):
    results = []
    for fused, edition in product((True, False), (fast, ops)):
        model = network(np.random.default_rng(4), fused=fused, shortcut="projection")
        model.to(device.name).use(edition)
        y = model.forward(x)
        results.append([y, model.backward(y), *(p.grad for _, p in model.parameters())])
    for others in results[1:]:
        for a, b in zip(results[0], others, strict=True):
            assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_recomputation_gives_the_same_bits(x, device):
    results = []
    for every in (None, 2):
        model = network(np.random.default_rng(4), recompute_every=every).to(device.name)
        set_gates(model, [True, False, True])
        y = model.forward(x)
        results.append([y, model.backward(y), *(b for _, b in model.buffers())])
    for a, b in zip(*results, strict=True):
        assert_equal(a, b)


def test_surgery_and_lesions(x, rng, device):
    model = trained(rng, device, depth=14, survival=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    plain = model.forward(x)
    weights = model.survival_probs
    for removed in ([], [1], [0, 2, 5]):
        with blocks_replaced(model, without(model, removed)):
            found = model.forward(x)
        kept = [0 if i in removed else w for i, w in enumerate(weights)]
        assert_close(found, by_hand(model, x, kept), rtol=1e-12)
    gates = [True, False, True, True, False, False]
    with blocks_replaced(model, sub_network(model, gates)):
        found = model.forward(x)
    assert_close(found, by_hand(model, x, gates), rtol=1e-12)
    assert interchangeable(model) == [[0, 1]]
    a, b, *rest = model.blocks
    with blocks_replaced(model, [b, a, *rest]):
        assert abs(model.forward(x) - plain).max() > 1e-6
    assert_equal(model.forward(x), plain)


def test_the_gradients_along_all_paths_add_up(x, rng, device):
    model = network(rng, survival=[1, 1, 1]).to(device.name)
    dy = device.standard_normal(rng, (3, 10))
    model.forward(x)
    whole, parts = model.backward(dy), 0
    for path in product([True, False], repeat=3):
        with unmoved(model):
            model.forward(x)
            parts = parts + backward_along(model, dy, path)
    assert_close(parts, whole, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", [ResidualBlock, PreActBlock])
def test_a_branch_that_is_not_wanted_is_neither_run_nor_remembered(kind, rng, device):
    made = block(kind, rng, device)
    x = device.standard_normal(rng, (3, 2, 8, 4))
    made.forward(x)
    assert made.branch._cache is not None or made.branch.layers[0]._cache is not None
    made.is_open = False
    made.forward(x)
    assert all(layer._cache is None for layer in made.branch.walk())

    def must_not_run(x):
        raise AssertionError("the branch ran")

    made.branch.forward = made.run_branch = must_not_run
    made.survival_prob = 0.0
    made.eval().forward(x)  # p = 0: nothing of it would be left


def test_a_recorder_sees_branch_and_shortcut(x, rng, device, tmp_path):
    model = network(rng, survival=[1, 1, 0.5]).to(device.name)
    optimizer = SGD(model, 0.01)
    labels = device.put(np.array([0, 1, 2]))
    with flow.Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        set_gates(model, [True, True, False])
        train_step(model, optimizer, x, labels, recorder=recorder)
    records = flow.load(tmp_path / "flow.jsonl")
    assert records["open"].tolist() == [[1, 1, 0]]
    assert (records["branch_ratio"][0, :2] > 0).all()
    h = model.stem.forward(x)
    assert h.min() < 0  # not rectified, unlike in an ordinary network


def test_a_channel_whose_mean_is_0_is_not_dead(rng, device, tmp_path):
    """Nothing rectifies the sum, so a channel can have numbers of both signs."""
    model = network(rng, 8, width=2, in_channels=2).to(device.name)
    for _, parameter in [*model.stem.parameters(), *model.blocks[0].branch.parameters()]:
        parameter.data[...] = 0  # the first block then gives what the stem gives: zeros
    model.stem.layers[0].w.data[0, 0, 1, 1] = 1  # but for the first channel: that of the images
    x = device.put(np.tile([1.0, -1.0], (3, 2, 4, 2)))
    with flow.Recorder(model, SGD(model, 0.1), tmp_path / "flow.jsonl", look_every=1) as recorder:
        train_step(model, recorder.optimizer, x, device.put(np.array([0, 1, 2])), recorder=recorder)
    assert flow.load(tmp_path / "flow.jsonl")["dead_channels"][0, 0] == 0.5


def test_it_learns(rng, device):
    model = network(rng, num_classes=2).to(device.name)
    optimizer = SGD(model, 0.05)
    labels = rng.integers(0, 2, 16)
    x = device.put(rng.standard_normal((16, 2, 4, 4)) + labels[:, None, None, None])
    losses = []
    for _ in range(20):
        draw_gates(model, rng)
        losses.append(train_step(model, optimizer, x, device.put(labels)))
    assert np.mean(losses[-3:]) < 0.3 * losses[0]


def test_a_copy_is_independent(x, rng, device):
    model = network(rng).to(device.name)
    other = copy.deepcopy(model)
    assert_equal(model.forward(x), other.forward(x))


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_every_shortcut_trains_a_step_per_image_or_not(shortcut, x, rng, device):
    model = network(rng, shortcut=shortcut, survival=None if shortcut == "none" else PROBS)
    model.to(device.name)
    set_image_gates(model, rng.random((3, 3)) < 0.5)
    y = model.forward(x)
    assert model.backward(ones_like(y)).shape == x.shape
