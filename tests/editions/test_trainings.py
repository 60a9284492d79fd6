"""The same training with fused layers, layer by layer, and with the book: one function, rounded.

In float64, as whole trainings in float32 drift apart by the size of the weights in ten steps.
"""

import copy
import pickle
import sys
from itertools import product
from types import ModuleType

import numpy as np
import pytest

from minisd import SGD, draw_gates, fast, fuse, linear_decay, one_by_one, ops, resnet
from minisd.fused import ConvChain, FusedBlock
from minisd.gradcheck import check_layer
from minisd.layers import Sequential
from minisd.models import num_blocks
from minisd.residual import ResidualBlock
from minisd.train import train_step

SETTINGS = [
    {"shortcut": shortcut, "branch": branch, "scale": scale}
    for shortcut, branch, scale in product(
        ("A", "A-subsample", "projection", "none"), ("basic", "bottleneck"), ("test", "train")
    )
]
DEPTHS = {"basic": 14, "bottleneck": 20}
TOLERANCE = {"basic": 1e-9, "bottleneck": 1e-7}


def network(device="cpu", edition=fast, fused=True, **settings):
    depth = DEPTHS[settings.get("branch", "basic")]
    L = num_blocks(depth, settings.get("branch", "basic"))
    survival = None if settings.get("shortcut") == "none" else linear_decay(L, 0.5)
    rng = np.random.default_rng(5)
    model = resnet(
        depth, width=4, survival=survival, fused=fused, rng=rng, dtype=np.float64, **settings
    )
    return model.to(device).use(edition)


def trained(model, device, steps=10):
    """Weights, statistics and momentum after ten steps with gates mixed, and what it then says."""
    optimizer, rng = SGD(model, 0.05), np.random.default_rng(6)
    for _ in range(steps):
        x, labels = rng.standard_normal((6, 3, 8, 12)), rng.integers(0, 10, 6)
        draw_gates(model, rng)
        train_step(model, optimizer, device.put(x), device.put(labels))
    found = {name: parameter.data for name, parameter in model.parameters()}
    found |= dict(model.buffers()) | {f"momentum {n}": v for n, v in optimizer.buffers()}
    return found | {"logits": model.eval().forward(device.put(x))}


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float(abs(a[name] - b[name]).max()) for name in a)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s.values()))
def test_fused_plain_and_book_train_alike(settings, device):
    fused = trained(network(device.name, **settings), device)
    for edition in (fast, ops):
        plain = trained(network(device.name, edition, fused=False, **settings), device)
        assert largest_difference(fused, plain) < TOLERANCE[settings["branch"]]


def test_a_control_that_forgets_a_sum_is_seen(device, monkeypatch):
    """The comparison above fails where a planted error is small: batch norm without one term."""
    right = trained(network(device.name, fused=False), device)
    original = ops.batchnorm2d_backward

    def wrong(dy, cache):
        dx, dgamma, dbeta = original(dy, cache)
        return dx, dgamma, dbeta * (1 + 1e-6)

    monkeypatch.setattr(ops, "batchnorm2d_backward", wrong)
    spoilt = trained(network(device.name, ops, fused=False), device)
    assert largest_difference(right, spoilt) > TOLERANCE["basic"]


def test_recomputing_and_the_book_change_no_bit_of_each_other(device):
    plain = trained(network(device.name, ops, fused=False), device)
    again = network(device.name, ops, fused=False)
    again.recompute_every = 2
    assert largest_difference(plain, trained(again, device)) == 0


def test_a_fused_network_with_the_book_under_it_runs_the_book(device, monkeypatch):
    """The pages are entered, and the bits are those of a network that was never fused."""
    entered = []
    original = ops.conv2d_backward
    monkeypatch.setattr(ops, "conv2d_backward", lambda *a: entered.append(len(a)) or original(*a))
    fused = trained(network(device.name, ops), device, steps=2)
    assert len(entered) > 10
    plain = trained(network(device.name, ops, fused=False), device, steps=2)
    assert largest_difference(fused, plain) == 0


def test_use_changes_the_edition_of_everything_and_drops_what_was_saved(rng):
    model = network()
    x = rng.standard_normal((4, 3, 8, 12))
    y = model.forward(x)
    assert model.use(ops) is model
    assert all(layer.ops is ops for layer in model.walk())
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        model.backward(y)
    assert all(layer.ops is fast for layer in model.use(fast).walk())
    np.testing.assert_array_equal(model.forward(x), y)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("minisd.ops", "takes a module such as"), (None, "takes a module such as"),
     (np, "numpy has no .*conv2d_forward"), (ModuleType("mine"), "import mine first"),
     (ModuleType("minisd.ops"), "import minisd.ops first")],
)  # fmt: skip
def test_what_is_no_edition_is_refused(wrong, words):
    with pytest.raises(TypeError, match=words):
        network().use(wrong)


def test_an_edition_of_ones_own(monkeypatch, rng):
    """A module with the same names, such as a student's: here with a convolution of its own."""
    mine = ModuleType("mine")
    vars(mine).update({name: getattr(ops, name) for name in ops.__all__})
    calls = []
    mine.conv2d_forward = lambda *a, **k: calls.append(1) or ops.conv2d_forward(*a, **k)
    monkeypatch.setitem(sys.modules, "mine", mine)
    x = rng.standard_normal((4, 3, 8, 12))
    np.testing.assert_array_equal(network(edition=mine).forward(x), network(edition=ops).forward(x))
    assert len(calls) == 13


@pytest.mark.parametrize("edition", [ops, fast])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_model_can_be_copied_and_pickled(edition, fused, copied, rng):
    model = network(edition=edition, fused=fused)
    x = rng.standard_normal((4, 3, 8, 12))
    model.forward(x)  # with caches in it
    other = copied(model)
    assert [type(layer) for layer in other.walk()] == [type(layer) for layer in model.walk()]
    assert all(layer.ops is edition for layer in other.walk())
    y, again = model.forward(x), other.forward(x)
    np.testing.assert_array_equal(y, again)
    np.testing.assert_array_equal(model.backward(y), other.backward(again))


def test_a_copy_made_inside_one_by_one_is_a_model_like_any_other(rng):
    model = network()
    with one_by_one(model):
        other = copy.deepcopy(model)
        assert all(not layer.links for layer in model.walk() if isinstance(layer, ConvChain))
        assert all(layer.links for layer in other.walk() if isinstance(layer, ConvChain))
        with one_by_one(model):
            pass
        assert all(not layer.links for layer in model.walk() if isinstance(layer, ConvChain))
    assert all(layer.links for layer in model.walk() if isinstance(layer, ConvChain))


def test_one_by_one_between_forward_and_backward_does_no_harm(rng):
    """The backward goes the way of its forward."""
    x, dy = rng.standard_normal((4, 3, 8, 12)), rng.standard_normal((4, 10))
    results = []
    for inside in (False, True):
        model = network()
        if inside:
            model.forward(x)
            with one_by_one(model):
                dx = model.backward(dy)
        else:
            model.forward(x)
            dx = model.backward(dy)
        results.append(dx)
    np.testing.assert_array_equal(*results)


def test_fuse_takes_a_block_and_a_sequential_alone(rng):
    model = network(fused=False)
    block, stem = model.blocks[0], model.stem
    assert type(fuse(block)) is FusedBlock
    assert type(fuse(stem)) is ConvChain
    assert type(block) is ResidualBlock
    assert type(stem) is Sequential


@pytest.mark.parametrize("edition", [ops, fast])
def test_gradients_of_a_network_that_is_not_fused(edition, rng, device):
    model = network(device.name, edition, fused=False)
    for place, block in enumerate(model.blocks):
        block.is_open = place % 2 == 0
    x = device.standard_normal(rng, (4, 3, 8, 12))
    check_layer(model, x, rng=rng, directions=2, elements=2).raise_if_failed()
