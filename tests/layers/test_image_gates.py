"""Stochastic depth per image: one gate for each image in each block."""

import copy

import numpy as np
import pytest

from devices import assert_close, assert_equal, host, ones_like
from minisd import (
    ResidualBlock,
    draw_gates,
    draw_image_gates,
    fast,
    fuse,
    ops,
    resnet,
    set_gates,
    set_image_gates,
)
from minisd.backend import array_module
from minisd.flow import Recorder, load
from minisd.gradcheck import check_layer
from minisd.optim import SGD
from minisd.residual import SCALES, basic_branch, make_shortcut

in_every_form = pytest.mark.usefixtures("in_every_form")

GATES = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]], bool)


def network(rng, **options):
    settings = {"survival": [0.8, 0.6, 0.5], "in_channels": 2, "width": 3, "dtype": np.float64}
    return resnet(8, rng=rng, **settings | options)


@pytest.fixture
def x(rng, device):
    return device.standard_normal(rng, (4, 2, 8, 4))


@in_every_form
@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_the_gradient_of_a_network_is_right(scale, x, rng, device):
    model = network(rng, scale=scale, shortcut="projection").to(device.name)
    set_image_gates(model, GATES)
    check_layer(model, x, rng=rng, directions=1, elements=2).raise_if_failed()


def small_block(kind, rng, device, *, shortcut="A", **options):
    stride = 1 if shortcut == "A" else 2
    branch = basic_branch(2, 2 * stride, stride=stride, rng=rng, dtype=np.float64)
    skip = make_shortcut(shortcut, 2, 2 * stride, stride, rng=rng, dtype=np.float64)
    block = kind(branch, skip, survival_prob=0.5, **options)
    block.image_gates = GATES[0]
    return block.to(device.name)


@pytest.mark.parametrize("edition", [None, fast, ops], ids=["fused", "fast", "book"])
@pytest.mark.parametrize(("shortcut", "scale"), [("A", "test"), ("projection", "train")])
def test_the_gradient_is_right(shortcut, scale, edition, rng, device):
    block = small_block(ResidualBlock, rng, device, shortcut=shortcut, scale=scale)
    block = block.use(edition) if edition else fuse(block)
    x = device.standard_normal(rng, (4, 2, 3, 5))
    check_layer(block, x, rng=rng, directions=1, elements=2).raise_if_failed()


class BackwardWithoutGates(ResidualBlock):
    """Lets the gradient of every image into the branch, as is easily done."""

    def open_backward(self, dy, weight):
        return super().open_backward(dy, 1.0)


def test_a_backward_that_forgets_the_gates_is_found(rng, device):
    block = small_block(BackwardWithoutGates, rng, device)
    x = device.standard_normal(rng, (4, 2, 3, 5))
    assert not check_layer(block, x, rng=rng, directions=1, elements=2).passed


@in_every_form
@pytest.mark.parametrize("scale", SCALES)
def test_each_image_goes_through_its_own_branches(scale, x, rng, device):
    """By hand, one block after another; batch norms in the branch see the whole batch."""
    model = network(rng, scale=scale).to(device.name)
    maximum = array_module(x).maximum
    set_image_gates(model, GATES)
    h = model.stem.forward(x)
    for block, gates, p in zip(model.blocks, GATES, [0.8, 0.6, 0.5], strict=True):
        weights = device.put((gates / (p if scale == "train" else 1)).reshape(4, 1, 1, 1))
        y = maximum(block.shortcut.forward(h) + weights * block.branch.forward(h), 0)
        assert_close(block.forward(h), y, rtol=1e-12, atol=1e-14)
        h = y


@in_every_form
def test_with_all_gates_open_it_is_the_open_network(x, rng, device):
    model = network(rng).to(device.name)
    y = model.forward(x)
    dx = model.backward(ones_like(y))
    set_image_gates(model, np.ones((3, 4), bool))
    assert_close(model.forward(x), y, rtol=1e-11, atol=1e-13)
    assert_close(model.backward(ones_like(y)), dx, rtol=1e-9, atol=1e-13)


def test_it_saves_nothing_and_says_so(x, rng, device):
    """With all gates closed every branch runs: statistics move, gradients are 0 and not None."""
    model = network(rng).to(device.name)
    before = {name: host(buffer).copy() for name, buffer in model.buffers()}
    set_image_gates(model, np.zeros((3, 4), bool))
    y = model.forward(x)
    model.backward(ones_like(y))
    for block in model.blocks:
        assert all(not p.grad.any() for _, p in block.branch.parameters())
    moved = {name for name, buffer in model.buffers() if (host(buffer) != before[name]).any()}
    assert moved == set(before)
    assert "saves no time" in draw_image_gates.__doc__


def test_the_draws_follow_the_probabilities_and_are_set(rng, device):
    model = network(rng).to(device.name)
    gates = draw_image_gates(model, rng, 2000)
    assert gates.shape == (3, 2000)
    assert gates.mean(axis=1) == pytest.approx([0.8, 0.6, 0.5], abs=0.05)
    assert abs(np.corrcoef(gates)[0, 1]) < 0.1  # blocks are independent
    for block, of_images in zip(model.blocks, gates, strict=True):
        assert (block.image_gates == of_images).all()
        assert isinstance(block.image_gates, np.ndarray)


def test_a_block_remembers_the_gates_of_its_forward(x, rng, device):
    results = []
    for meddle in (False, True):
        model = network(np.random.default_rng(1)).to(device.name)
        set_image_gates(model, GATES)
        dy = ones_like(model.forward(x))
        if meddle:
            set_image_gates(model, ~GATES)
            set_gates(model, [False] * 3)
        results.append([model.backward(dy), *(p.grad for _, p in model.parameters())])
    for a, b in zip(*results, strict=True):
        assert_equal(a, b)


def test_evaluation_takes_no_notice_of_them(x, rng, device):
    model = network(rng).to(device.name)
    model.forward(x)
    expected = model.eval().forward(x)
    set_image_gates(model, GATES)
    assert_equal(model.forward(x), expected)
    assert_equal(model.forward(x[:3]), expected[:3])


def test_one_gate_for_all_images_is_back_with_set_gates(x, rng, device):
    model = network(rng, survival=[1, 1, 1]).to(device.name)
    y = model.forward(x)
    set_image_gates(model, GATES)
    assert abs(model.forward(x) - y).max() > 1e-3
    draw_gates(model, rng)
    assert_equal(model.forward(x), y)


@in_every_form
def test_recomputation_and_copies_have_the_same_gates(x, rng, device):
    results = []
    for every in (None, 2):
        model = network(np.random.default_rng(1), recompute_every=every).to(device.name)
        set_image_gates(model, GATES)
        model = copy.deepcopy(model)
        y = model.forward(x)
        set_gates(model, [True] * 3)
        results.append([y, model.backward(ones_like(y)), *(p.grad for _, p in model.parameters())])
    for a, b in zip(*results, strict=True):
        assert_equal(a, b)


@in_every_form
def test_a_recorder_looks_at_it(x, rng, device, tmp_path):
    model = network(rng).to(device.name)
    optimizer = SGD(model, 0.1)
    with Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        draw_image_gates(model, rng, 4)
        model.backward(ones_like(model.forward(x)))
        recorder.after_backward(1.0)
        optimizer.step()
        recorder.after_step()
    recorded = load(tmp_path / "flow.jsonl")
    assert recorded["open"].tolist() == [[1, 1, 1]]  # whatever the gates of the images are
    assert (recorded["branch_ratio"] > 0).all()


@in_every_form
def test_gates_of_images_are_all_that_counts(x, rng, device):
    """Neither those that were closed before, nor what later becomes of the array."""
    model, gates = network(rng).to(device.name), GATES.copy()
    set_image_gates(model, gates)
    y = model.forward(x)
    set_gates(model, [False] * 3)
    set_image_gates(model, gates)
    gates[:] = False
    assert_equal(model.forward(x), y)


@in_every_form
def test_another_number_of_images_is_refused(x, rng, device):
    model = network(rng).to(device.name)
    set_image_gates(model, GATES[:, :3])
    with pytest.raises(ValueError, match="gates for 3 images, and was given 4: call draw_image"):
        model.forward(x)


@pytest.mark.parametrize(
    ("gates", "error", "words"),
    [
        (GATES.tolist(), TypeError, "NumPy array of bool, on the host, got list"),
        (GATES.astype(float), TypeError, "got float64"),
        (GATES[:2], ValueError, r"of shape \(3, batch size\), got \(2, 4\)"),
        (GATES[0], ValueError, r"got \(4,\)"),
        (GATES[:, :0], ValueError, r"got \(3, 0\)"),
    ],
)
def test_what_is_no_array_of_gates_is_refused(gates, error, words, rng):
    with pytest.raises(error, match=words):
        set_image_gates(network(rng), gates)
