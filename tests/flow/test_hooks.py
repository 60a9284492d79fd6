"""Looking into a network: copies are watched by nobody, subclasses are looked at as they are."""

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from devices import assert_close, assert_equal
from minisd import (
    SGD,
    ResidualBlock,
    draw_gates,
    fuse,
    linear_decay,
    one_by_one,
    ops,
    resnet,
    set_gates,
)
from minisd.experiments.path_lengths import backward_along
from minisd.flow import Recorder, load
from minisd.flow.hooks import Hooks, is_hooked
from minisd.flow.nonfinite import first_nonfinite
from minisd.flow.watch import Watch
from minisd.fused import FusedBlock
from minisd.layer import Layer, kind
from minisd.layers import Conv2d, Sequential
from minisd.residual import IdentityShortcut, basic_branch
from minisd.surgery import FixedBlock, blocks_replaced, sub_network, without


class WithoutLastReLU(ResidualBlock):
    """A block as in networks with pre-activation: nothing comes after the addition."""

    def open_forward(self, x, weight):
        return self.shortcut.forward(x) + weight * self.branch.forward(x)

    def open_backward(self, dy, weight):
        return self.shortcut.backward(dy) + self.branch.backward(weight * dy)

    def closed_forward(self, x):
        return self.shortcut.forward(x)

    def closed_backward(self, dy):
        return self.shortcut.backward(dy)


class WithAForwardOfItsOwn(ResidualBlock):
    def forward(self, x):
        return self.shortcut.forward(x) + self.branch.forward(x)

    def backward(self, dy):
        return self.shortcut.backward(dy) + self.branch.backward(dy)


class ScaledConv(Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)

    def backward(self, dy):
        return super().backward(2 * dy)


def network(kind=None, fused=True):
    model = resnet(8, width=4, rng=np.random.default_rng(1), dtype=np.float64, fused=fused)
    if kind is not None:
        for place, block in enumerate(model.blocks):
            model.blocks[place] = kind(block.branch, block.shortcut, survival_prob=0.7)
    return model


def batch(rng):
    x, labels = rng.standard_normal((8, 3, 8, 8)), rng.integers(0, 10, 8)
    return x, labels


def gradients(model):
    return {name: p.grad for name, p in model.parameters() if p.grad is not None}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_made_while_a_recorder_is_on_is_watched_by_nobody(fused, make, rng, tmp_path):
    model = network(fused=fused)
    x, labels = batch(rng)
    with Recorder(model, SGD(model, 0.1), tmp_path / "flow.jsonl"):
        copied, shallow = make(model), copy.copy(model.blocks[0])
        assert not any(is_hooked(each) for each in copied.walk())
        assert type(shallow) is kind(model.blocks[0])
        assert [type(b) for b in copied.blocks] == [kind(b) for b in model.blocks]
        model.zero_grad()
        y = copied.forward(x)
        copied.backward(ops.softmax_cross_entropy(y, labels)[1])
        assert gradients(model) == {}
        assert len(gradients(copied)) == len(list(copied.parameters()))
    again = make(copied)
    again.zero_grad()
    copied.zero_grad()
    again.backward(ops.softmax_cross_entropy(again.forward(x), labels)[1])
    assert gradients(copied) == {}


@pytest.mark.parametrize("fused", [True, False])
def test_recording_changes_nothing_that_is_computed(fused, rng, tmp_path):
    x, labels = batch(rng)
    results = []
    for record in (False, True):
        model = network(fused=fused)
        set_gates(model, [True, False, True])
        optimizer = SGD(model, 0.1)
        if record:
            recorder = Recorder(model, optimizer, tmp_path / "flow.jsonl", look_every=1)
        y = model.forward(x)
        dx = model.backward(ops.softmax_cross_entropy(y, labels)[1])
        if record:
            recorder.close()
        results.append({"y": y, "dx": dx} | gradients(model))
    for name, right in results[0].items():
        assert_equal(results[1][name], right)


def test_hooks_may_be_removed_in_any_order(rng):
    layer, seen = Conv2d(3, 4, 3, rng=rng, dtype=np.float64), []
    x = rng.standard_normal((2, 3, 5, 6))
    first, second = Hooks(), Hooks()

    def note(word):
        def forward(original, x):
            seen.append(word)
            return original(x)

        return forward

    first.add(layer, forward=note("first"))
    second.add(layer, forward=note("second"))
    layer.forward(x)
    assert seen == ["second", "first"]
    first.remove()
    layer.forward(x)
    assert seen == ["second", "first", "second"]
    second.remove()
    layer.forward(x)
    assert len(seen) == 3
    assert type(layer) is Conv2d


@pytest.mark.parametrize("kind", [WithoutLastReLU, None])
@pytest.mark.parametrize("fused", [True, False])
def test_the_recorder_looks_at_subclasses_as_they_are(kind, fused, rng, tmp_path):
    """What it says of them is what one computes from their own inputs and outputs."""
    model = network(kind, fused)
    x, labels = batch(rng)
    optimizer = SGD(model, 0.1)
    with Recorder(model, optimizer, tmp_path / "flow.jsonl", look_every=1) as recorder:
        model.zero_grad()
        y = model.forward(x)
        model.backward(ops.softmax_cross_entropy(y, labels)[1])
        recorder.after_backward()
        optimizer.step()
        recorder.after_step()
    flow = load(tmp_path / "flow.jsonl")
    h = network(kind, fused).stem.forward(x)
    for number, block in enumerate(network(kind, fused).blocks):
        f, skip = block.branch.forward(h), block.shortcut.forward(h)
        h = block.forward(h)
        ratio = np.linalg.norm(f) / np.linalg.norm(skip)
        assert flow["branch_ratio"][0, number] == pytest.approx(ratio, rel=1e-6)
        assert flow["activation_mean"][0, number] == pytest.approx(h.mean(), rel=1e-6, abs=1e-9)
    if kind is WithoutLastReLU:
        assert h.min() < 0


def test_a_block_that_hides_its_branch_is_refused(rng, tmp_path):
    class Hiding(ResidualBlock):
        def open_forward(self, x, weight):
            return self.relu.forward(self.shortcut.forward(x))

    model = network(Hiding)
    x, _ = batch(rng)
    with (
        Recorder(model, SGD(model, 0.1), tmp_path / "flow.jsonl", look_every=1) as recorder,
        pytest.raises(
            RuntimeError, match=r"block 1 \(Hiding\) is open, but did not call .* branch"
        ),
    ):
        model.forward(x)
    recorder.detach()


def test_the_first_layer_that_is_not_finite_is_named_in_subclasses_too(rng):
    model = network(WithoutLastReLU)
    x, _ = batch(rng)
    model.blocks[1].branch.layers[3].w.data[0, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        assert first_nonfinite(model, x) == "blocks.1.branch.3 (Conv2d)"
    assert not any(is_hooked(each) for each in model.walk())


@pytest.mark.parametrize("fused", [True, False])
def test_surgery_asks_the_blocks_own_methods(fused, rng):
    model = network(WithoutLastReLU, fused).eval()
    x, _ = batch(rng)
    h = model.stem.forward(x)
    with blocks_replaced(model, without(model, [1])):
        found = model.forward(x)
    h = model.blocks[0].forward(h)
    h = model.blocks[1].shortcut.forward(h)  # and no ReLU
    h = model.blocks[2].forward(h)
    assert_equal(found, model.head.forward(model.pool.forward(h)))
    assert h.min() < 0
    for block in sub_network(model, [True, True, False]):
        assert isinstance(block, FixedBlock)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [WithoutLastReLU, None])
def test_the_paths_of_a_network_add_up_to_its_gradient(kind, fused, rng):
    model = network(kind, fused)
    x, labels = batch(rng)
    dlogits = ops.softmax_cross_entropy(model.forward(x), labels)[1]
    whole = model.backward(dlogits)
    paths = np.ndindex(2, 2, 2)
    parts = [(model.forward(x), backward_along(model, dlogits, path))[1] for path in paths]
    assert_close(sum(parts), whole, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_taken_apart_is_refused(rng):
    model = network(WithAForwardOfItsOwn)
    x, labels = batch(rng)
    with pytest.raises(TypeError, match="WithAForwardOfItsOwn cannot be taken apart"):
        without(model, [1])
    dlogits = ops.softmax_cross_entropy(model.forward(x), labels)[1]
    with pytest.raises(TypeError, match="cannot be taken apart"):
        backward_along(model, dlogits, [True] * 3)


# What stands in a fused network is asked at every forward


def exchanged(model, how):
    block = model.blocks[1]
    chain = block.branch
    conv = chain.layers[0]
    if how == "a subclass of a convolution":
        conv.__class__ = ScaledConv
    elif how == "one layer more":
        chain.layers.append(Conv2d(8, 8, 1, rng=np.random.default_rng(3), dtype=np.float64))
    elif how == "a bias":
        chain.layers[0] = Conv2d(
            4, 8, 3, stride=2, padding=1, bias=True, rng=np.random.default_rng(3), dtype=np.float64
        )
        chain.layers[0].b.data += 1.5
    elif how == "layers that changed places":
        chain.layers[2], chain.layers[4] = chain.layers[4], chain.layers[2]
    elif how == "another last layer":
        block.relu = IdentityShortcut()
    elif how == "another branch":
        block.branch = basic_branch(4, 8, stride=2, rng=np.random.default_rng(3), dtype=np.float64)
    return model


EXCHANGES = [
    "a subclass of a convolution", "one layer more", "a bias", "layers that changed places",
    "another last layer", "another branch",
]  # fmt: skip


@pytest.mark.parametrize("how", EXCHANGES)
def test_an_exchanged_layer_is_simply_computed(how, rng):
    x, labels = batch(rng)
    found = []
    for fused in (True, False):
        model = exchanged(network(fused=fused), how)
        y = model.forward(x)
        dx = model.backward(ops.softmax_cross_entropy(y, labels)[1])
        found.append({"y": y, "dx": dx, **gradients(model), **dict(model.buffers())})
    assert type(exchanged(network(), how).blocks[0]) is FusedBlock
    for name, right in found[1].items():
        assert_close(found[0][name], right, rtol=1e-9, atol=1e-12, err_msg=name)


def test_fusing_keeps_parameters_names_and_settings(rng):
    model = resnet(
        14, width=4, survival=linear_decay(6), shortcut="projection", scale="train", rng=rng,
        fused=False,
    ).eval()  # fmt: skip
    draw_gates(model, rng)
    before = dict(model.parameters()), [name for name, _ in model.buffers()]
    settings = [(b.survival_prob, b.scale, b.is_open, b.training, b.relu) for b in model.blocks]
    assert fuse(model) is model
    after = dict(model.parameters())
    assert list(after) == list(before[0])
    assert all(after[name] is parameter for name, parameter in before[0].items())
    assert [name for name, _ in model.buffers()] == before[1]
    assert settings == [
        (b.survival_prob, b.scale, b.is_open, b.training, b.relu) for b in model.blocks
    ]
    assert all(type(block) is FusedBlock for block in model.blocks)
    assert fuse(model) is model  # and once more changes nothing


def test_a_layer_that_two_observers_watch_can_be_copied(rng):
    layer = Conv2d(3, 4, 3, rng=rng)
    for _ in range(2):
        Hooks().add(layer, forward=lambda original, x: original(x))
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(copied) is Conv2d
        assert_equal(copied.w.data, layer.w.data)


@dataclass
class Scale(Layer):
    """A layer that cannot be hashed."""

    factor: float = 2.0

    def forward(self, x):
        return self.factor * x


def test_layers_that_cannot_be_hashed_are_looked_at_too(rng):
    model = Sequential(Conv2d(3, 4, 3, rng=rng), Scale(np.inf))
    with np.errstate(invalid="ignore"):
        assert first_nonfinite(model, np.ones((2, 3, 5, 5), np.float32)) == "1 (Scale)"


def test_what_is_no_residual_block_is_refused_and_nothing_stays_hooked():
    model = network()
    model.blocks[2] = Sequential(model.blocks[2])
    with pytest.raises(RuntimeError, match="block 3 is a Sequential, not a ResidualBlock"):
        Watch(model.blocks, lambda: True)
    assert not any(is_hooked(each) for each in model.walk())


def test_nothing_stays_saved_after_looking_for_a_number_that_is_not_finite(rng):
    model = network()
    x, _ = batch(rng)
    first_nonfinite(model, x)
    assert all(layer._cache is None for layer in model.walk())
    with one_by_one(model):
        model.forward(x)
    model.forward(x)
    model.backward(np.ones((8, 10)))
    assert all(layer._cache is None for layer in model.walk())


@pytest.mark.parametrize("where", ["layer", "branch", "relu"])
def test_a_method_that_stands_on_the_object_is_called_in_a_fused_network_too(where, rng):
    x, _ = batch(rng)
    found = []
    for fused in (True, False):
        model = network(fused=fused)
        block = model.blocks[1]
        layer = {"layer": block.branch.layers[0], "branch": block.branch, "relu": block.relu}[where]
        layer.forward = lambda x, original=layer.forward: 2 * original(x)
        found.append(model.forward(x))
    assert_close(*found, rtol=1e-10, atol=1e-12)


def test_a_branch_exchanged_between_forward_and_backward_is_a_sentence(rng):
    model = network()
    x, labels = batch(rng)
    y = model.forward(x)
    model.blocks[1].branch = basic_branch(4, 8, stride=2, rng=rng, dtype=np.float64)
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        model.backward(ops.softmax_cross_entropy(y, labels)[1])


def test_a_fused_chain_asks_of_its_batch_norms_what_layers_ask(rng):
    for spoil, error in (
        (lambda norm: setattr(norm.gamma, "data", np.ones(1)), ValueError),
        (lambda norm: setattr(norm, "running_mean", np.zeros(1)), ValueError),
        (lambda norm: setattr(norm.gamma, "data", np.ones(4, np.float32)), TypeError),
    ):
        for fused in (True, False):
            model = network(fused=fused).eval()
            spoil(model.blocks[0].branch.layers[1])
            with pytest.raises(error, match="batchnorm2d"):
                model.forward(batch(rng)[0])
