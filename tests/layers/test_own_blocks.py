"""Networks of one's own branches and blocks: what the builder asks of them, and what it refuses."""

from functools import partial

import numpy as np
import pytest

from devices import assert_close, assert_equal, ones_like
from minisd import (
    ConvChain,
    PreActBlock,
    ReLU,
    ResidualBlock,
    Sequential,
    basic_branch,
    bottleneck_branch,
    ops,
    preact_branch,
    resnet,
    set_gates,
)
from minisd.layers import BatchNorm2d, Conv2d, Layer
from minisd.models import num_blocks


def one_layer(in_channels, out_channels, *, stride=1, gamma="one", rng, dtype=np.float32):
    """conv 3x3 - BN: one layer of the depth, and twice the width comes out."""
    return Sequential(
        Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, gamma=gamma, rng=rng, dtype=dtype),
    )


one_layer.layers = 1
one_layer.expansion = 2


class Tripled(ResidualBlock):
    """A block with mathematics of its own: ReLU(3 weight f(x) + id(x))."""

    def open_forward(self, x, weight):
        return super().open_forward(x, 3 * weight)

    def open_backward(self, dy, weight):
        return super().open_backward(dy, 3 * weight)


class Branch(Sequential):
    """A branch may be a class."""

    def __init__(self, in_channels, out_channels, **options):
        super().__init__(*basic_branch(in_channels, out_channels, **options).layers)


@pytest.mark.parametrize(
    ("branch", "depth", "L"),
    [("basic", 14, 6), ("bottleneck", 20, 6), (basic_branch, 14, 6), (bottleneck_branch, 20, 6),
     (one_layer, 8, 6), (preact_branch, 14, 6), (Branch, 14, 6),
     (partial(one_layer, gamma="uniform"), 8, 6), (partial(partial(bottleneck_branch)), 20, 6)],
)  # fmt: skip
def test_a_branch_says_how_many_layers_it_is(branch, depth, L, rng):
    assert num_blocks(depth, branch) == L
    model = resnet(depth, branch=branch, width=4, in_channels=2, rng=rng)
    assert model.num_blocks == L
    with pytest.raises(ValueError, match=f"{depth + 1} is not: try {depth} or"):
        resnet(depth + 1, branch=branch, rng=rng)


def test_a_function_is_the_same_as_its_name(rng):
    for name, function in (("basic", basic_branch), ("bottleneck", bottleneck_branch)):
        a, b = (
            resnet(20, branch=branch, width=4, rng=np.random.default_rng(3))
            for branch in (name, function)
        )
        for (m, p), (n, q) in zip(a.parameters(), b.parameters(), strict=True):
            assert m == n
            assert_equal(p.data, q.data)


def test_expansion_is_the_channels_per_unit_of_width(rng, device):
    model = resnet(5, branch=one_layer, width=3, in_channels=2, rng=rng).to(device.name)
    h = model.stem.forward(device.standard_normal(rng, (2, 2, 8, 8), np.float32))
    shapes = [h.shape[1:]]
    for block in model.blocks:
        h = block.forward(h)
        shapes.append(h.shape[1:])
    assert shapes == [(3, 8, 8), (6, 8, 8), (12, 4, 4), (24, 2, 2)]
    assert model.head.w.data.shape == (10, 24)


@pytest.mark.parametrize("fused", [True, False])
def test_a_block_of_ones_own_runs_as_it_is_written(fused, rng, device):
    """Also in a network that is fused; its branch may be done in one pass."""
    model = resnet(8, block=Tripled, survival=[0.5] * 3, width=3, in_channels=2, fused=fused,
                   rng=rng, dtype=np.float64).to(device.name)  # fmt: skip
    assert all(type(block) is Tripled for block in model.blocks)
    assert all(isinstance(block.branch, ConvChain) == fused for block in model.blocks)
    x = device.standard_normal(rng, (3, 2, 8, 4))
    set_gates(model, [True, False, True])
    y = model.forward(x)
    h = model.stem.forward(x)
    for block, gate in zip(model.blocks, (1, 0, 1), strict=True):
        h = block.shortcut.forward(h) + (3 * block.branch.forward(h) if gate else 0)
        h = h * (h > 0)
    assert_close(y, model.head.forward(model.pool.forward(h)), rtol=1e-11)
    other = resnet(8, block=Tripled, survival=[0.5] * 3, width=3, in_channels=2, fused=False,
                   rng=np.random.default_rng(20160330), dtype=np.float64)  # fmt: skip
    other.to(device.name).use(ops)
    set_gates(other, [True, False, True])
    model.forward(x)
    other.forward(x)
    for (_, p), (_, q) in zip(model.parameters(), other.parameters(), strict=True):
        assert_equal(p.data, q.data)
    assert_close(model.backward(ones_like(y)), other.backward(ones_like(y)), rtol=1e-9, atol=1e-13)


def test_a_block_may_be_a_function(rng):
    def make(branch, shortcut, *, survival_prob, scale):
        return Tripled(branch, shortcut, survival_prob=survival_prob, scale=scale)

    for block in (make, partial(Tripled)):
        assert {type(b) for b in resnet(8, block=block, width=2, rng=rng).blocks} == {Tripled}
    model = resnet(8, block=partial(PreActBlock), branch=preact_branch, width=2, rng=rng)
    assert len(model.stem.layers) == 1  # what a partial is made of is asked


def preact(branch, shortcut, **options):
    return PreActBlock(branch, shortcut, **options)


def without_gamma(in_channels, out_channels, *, stride, rng, dtype):
    raise AssertionError("must not be called")


class NoBlock(Layer):
    def __init__(self, branch, shortcut, **options):
        self.branch = branch


def many(count):
    def branch(in_channels, out_channels, *, stride, gamma, rng, dtype):
        raise AssertionError("must not be called")

    branch.layers = count
    return branch


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"branch": "wide"}, ValueError, "one of basic, bottleneck, or a function .* got 'wide'"),
        ({"branch": without_gamma}, TypeError, "without_gamma is not: .*'gamma'"),
        ({"branch": 3}, TypeError, "signature of basic_branch.* int is not"),
        ({"branch": many(0)}, ValueError, "branch: layers must be a whole number of at least 1"),
        ({"branch": many("two")}, ValueError, "branch: layers must be .* got 'two'"),
        ({"branch": lambda c, d, **options: None}, TypeError,
         "branch function <lambda> must return a layer, got None"),
        ({"block": "PreActBlock"}, TypeError, "block=str must make a block .* not a callable"),
        ({"block": ReLU}, TypeError, r"block=ReLU must make a block of \(branch, shortcut, "),
        ({"block": NoBlock}, TypeError, "block=NoBlock must make a ResidualBlock"),
        ({"block": lambda f, s, **_: None}, TypeError, "must make a ResidualBlock.* got None"),
        ({"block": preact}, TypeError, "block=preact made a PreActBlock, whose pre_activation is "
                                       "True, .* set preact.pre_activation = True"),
    ],
)  # fmt: skip
def test_what_is_no_branch_or_block_is_refused(options, error, words, rng):
    with pytest.raises(error, match=words):
        resnet(8, width=2, rng=rng, **options)


def too_small(in_channels, out_channels, *, stride, gamma, rng, dtype):
    """Forgets the padding."""
    return Sequential(
        Conv2d(in_channels, out_channels, 3, stride=stride, rng=rng, dtype=dtype),
        BatchNorm2d(out_channels, dtype=dtype),
        ReLU(),
    )


def one_channel(in_channels, out_channels, *, stride, gamma, rng, dtype):
    """NumPy would add it to all channels."""
    return Conv2d(in_channels, 1, 3, stride=stride, padding=1, rng=rng, dtype=dtype)


@pytest.mark.parametrize("block", [ResidualBlock, PreActBlock])
@pytest.mark.parametrize("edition", ["fused", "book"])
@pytest.mark.parametrize(
    ("branch", "shape"), [(too_small, r"\(2, 3, 6, 6\)"), (one_channel, r"\(2, 1, 8, 8\)")]
)
def test_a_branch_that_does_not_fit_its_shortcut_is_refused(
    branch, shape, edition, block, rng, device
):
    model = resnet(8, branch=branch, block=block, width=3, fused=edition == "fused", rng=rng)
    model.to(device.name)
    if edition == "book":
        model.use(ops)
    words = rf"gives {shape}, but its shortcut \(2, 3, 8, 8\).*out_channels channels"
    with pytest.raises(ValueError, match=words):
        model.forward(device.standard_normal(rng, (2, 3, 8, 8), np.float32))


def test_the_line_one_wants_to_write(rng):
    probs = [1 - 0.02 * block for block in range(15)]
    model = resnet(32, branch=preact_branch, block=PreActBlock, survival=probs, rng=rng)
    assert model.survival_probs == probs
    assert model.eval().forward(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 10)
