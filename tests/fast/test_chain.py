"""A chain in one pass against the same layers one after another, and what it keeps and computes."""

import itertools

import numpy as np
import pytest

from devices import assert_close, assert_equal
from minisd import BatchNorm2d, Conv2d, ConvChain, ReLU, ResidualBlock, Sequential, fuse
from minisd.fast import activation, conv_norm, sources
from minisd.gradcheck import check_layer
from minisd.machine import memory
from minisd.residual import basic_branch, bottleneck_branch, make_shortcut


def layers(dtype, rng):
    """Strides, even and odd kernels, wide padding, with and without ReLU."""

    def link(i, o, k, **where):
        norm = BatchNorm2d(o, gamma="uniform", rng=rng, dtype=dtype)
        norm.beta.data[...] = rng.standard_normal(o)
        return [Conv2d(i, o, k, rng=rng, dtype=dtype, **where), norm]

    return [
        *link(3, 6, 3, padding=1), ReLU(), *link(6, 4, 3, stride=2, padding=1),
        *link(4, 5, 1), ReLU(), *link(5, 5, 5, padding=2), *link(5, 4, 2, padding=3), ReLU(),
    ]  # fmt: skip


def pair(dtype, device, seed=0):
    """The same layers twice, in a chain and in a Sequential."""
    return tuple(
        kind(*layers(dtype, np.random.default_rng(seed))).to(device.name)
        for kind in (ConvChain, Sequential)
    )


def everything(model, x, dy):
    """Output, gradients and running statistics of one forward and backward."""
    y = model.forward(x)
    dx = model.backward(dy)
    found = {"y": y, "dx": dx}
    found |= {name: parameter.grad for name, parameter in model.parameters()}
    return found | {name: buffer.copy() for name, buffer in model.buffers()}


def inputs(rng, dtype, device):
    x = device.standard_normal(rng, (6, 3, 16, 13), dtype)
    y_shape = pair(dtype, device)[1].forward(x).shape
    return x, device.standard_normal(rng, y_shape, dtype)


def test_a_chain_computes_what_its_layers_compute(rng, device):
    x, dy = inputs(rng, np.float64, device)
    chain, plain = pair(np.float64, device)
    found, expected = everything(chain, x, dy), everything(plain, x, dy)
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        assert_close(found[name], right, rtol=1e-9, atol=1e-11, err_msg=name)


def test_in_float32_a_chain_is_as_accurate_as_its_layers(rng, device):
    x, dy = inputs(rng, np.float64, device)
    exact = everything(pair(np.float64, device)[1], x, dy)
    x, dy = x.astype(np.float32), dy.astype(np.float32)
    found, plain = (everything(model, x, dy) for model in pair(np.float32, device))
    for name, right in exact.items():
        scale = abs(right).max()
        error, luck = (float(abs(a[name] - right).max() / scale) for a in (found, plain))
        assert found[name].dtype == np.float32
        assert error <= 3 * luck + 1e-6, name


def test_in_evaluation(rng, device):
    x, dy = inputs(rng, np.float64, device)
    chain, plain = pair(np.float64, device)
    everything(chain, x, dy), everything(plain, x, dy)  # which moves the running statistics
    chain.eval(), plain.eval()
    assert_close(chain.forward(x), plain.forward(x), rtol=1e-9, atol=1e-11)
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        chain.backward(dy)


def test_arguments_are_left_as_they_were(rng, device):
    x, dy = inputs(rng, np.float32, device)
    kept = x.copy(), dy.copy()
    everything(pair(np.float32, device)[0], x, dy)
    assert_equal(x, kept[0])
    assert_equal(dy, kept[1])


@pytest.mark.parametrize("make", [basic_branch, bottleneck_branch])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scale", ["test", "train"])
def test_a_block_with_a_chain_equals_one_with_its_layers(make, stride, scale, rng, device):
    """The block gives a chain its addition and its ReLU to do in one pass, too."""

    def block(kind):
        weights = np.random.default_rng(4)
        branch = make(8, 8 * stride, stride=stride, rng=weights, dtype=np.float64)
        shortcut = make_shortcut("A", 8, 8 * stride, stride, rng=weights, dtype=np.float64)
        made = ResidualBlock(branch, shortcut, survival_prob=0.6, scale=scale)
        return (fuse(made) if kind is ConvChain else made).to(device.name)

    x = device.standard_normal(rng, (5, 8, 6, 4))
    dy = device.standard_normal(rng, (5, 8 * stride, 6 // stride, 4 // stride))
    chain, plain = block(ConvChain), block(Sequential)
    found, expected = everything(chain, x, dy), everything(plain, x, dy)
    for name, right in expected.items():
        assert_close(found[name], right, rtol=1e-9, atol=1e-11, err_msg=name)
    assert_close(chain.eval().forward(x), plain.eval().forward(x), rtol=1e-9)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [("", "again and again"), ("B", "again and again"), ("CR", "again and again"),
     ("CBRR", "again and again"), ("CBC", "again and again"), ("c" "B", "bias=False")],
)  # fmt: skip
def test_other_layers_are_refused(kinds, words, rng):
    make = {
        "C": lambda: Conv2d(2, 2, 3, rng=rng),
        "c": lambda: Conv2d(2, 2, 3, bias=True, rng=rng),
        "B": lambda: BatchNorm2d(2),
        "R": ReLU,
    }
    with pytest.raises(TypeError, match=words):
        ConvChain(*(make[kind]() for kind in kinds))


def test_one_number_per_channel_is_refused(rng, device):
    chain = fuse(basic_branch(2, 2, rng=rng)).to(device.name)
    statistics = [buffer.copy() for _, buffer in chain.buffers()]
    with pytest.raises(ValueError, match="more than one number per channel"):
        chain.forward(device.put(np.ones((1, 2, 1, 1), np.float32)))
    for (_, buffer), before in zip(chain.buffers(), statistics, strict=True):
        assert_equal(buffer, before)


def test_frozen_statistics_in_a_chain_that_trains(rng, device):
    """Batch norm in evaluation, as in fine-tuning: its statistics are constants, also backward."""
    chain = pair(np.float64, device)[0]
    x = device.standard_normal(rng, (3, 3, 6, 5))
    chain.forward(x)  # which moves the statistics
    for layer in chain.layers:
        if isinstance(layer, BatchNorm2d):
            layer.eval()
    before = [buffer.copy() for _, buffer in chain.buffers()]
    assert check_layer(chain, x, rng=rng).passed
    for (_, buffer), old in zip(chain.buffers(), before, strict=True):
        assert_equal(buffer, old)


def kept_by(model, x):
    """Bytes that a forward leaves in use, its output not counted."""
    before = memory.bytes_in_use()
    y = model.forward(x)
    kept = memory.bytes_in_use() - before
    return kept - sum(-(-a.nbytes // 65536) * 65536 for a in (y,))


def test_what_batch_norm_and_relu_give_is_not_kept(rng):
    x = rng.standard_normal((64, 16, 16, 16)).astype(np.float32)
    chain, plain = fuse(basic_branch(16, 16, rng=rng)), basic_branch(16, 16, rng=rng)
    one = x.nbytes
    assert kept_by(chain, x) == 2 * one  # the output of each convolution
    # and of batch norm and ReLU in between: its y is the next convolution's x
    assert kept_by(plain, x) >= 3 * one
    assert memory.bytes_in_use() > 0


def test_a_backward_frees_as_it_goes(rng):
    x = rng.standard_normal((64, 16, 16, 16)).astype(np.float32)
    blocks = [fuse(ResidualBlock(basic_branch(16, 16, rng=rng), make_shortcut(
        "A", 16, 16, 1, rng=rng))) for _ in range(6)]  # fmt: skip
    h = x
    for block in blocks:
        h = block.forward(h)
    in_use = [memory.bytes_in_use()]
    dh = h
    del h
    for block in reversed(blocks):
        dh = block.backward(dh)
        in_use.append(memory.bytes_in_use())
    assert all(after < before for before, after in itertools.pairwise(in_use[1:]))


# Planted wrong gradients, of what only chains do


def planted_gradient(field):
    class Wrong(sources.NormGradient):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            setattr(self, field, 0 * getattr(self, field))

    return Wrong


def sums_of_twice(dy_runs, x_runs, mean):
    along, sums = RIGHT_SUMS(dy_runs, x_runs, mean)
    return along, 2 * sums


RIGHT_SUMS = conv_norm.gradient_sums

PLANTED = {
    "no part along z": ("NormGradient", planted_gradient("of_z")),
    "no constant part": ("NormGradient", planted_gradient("constant")),
    "sums of the wrong size": ("gradient_sums", sums_of_twice),
    "sums about zero": ("gradient_sums", lambda dy, z, mean: RIGHT_SUMS(dy, z, 0 * mean)),
    "ReLU of the sum lets all through": (
        "relu_backward_in_slabs", lambda dy, cache, finish: activation.relu_backward_in_slabs(
            dy, ([255 | bits for bits in cache[0]], *cache[1:]), finish)),
}  # fmt: skip


@pytest.mark.parametrize("name", [None, *PLANTED])
def test_a_planted_wrong_gradient_fails(name, rng, device, monkeypatch):
    block = ResidualBlock(
        basic_branch(3, 3, gamma="uniform", rng=rng, dtype=np.float64),
        make_shortcut("A", 3, 3, 1, rng=rng, dtype=np.float64),
    )
    block = fuse(block).to(device.name)
    x = 1 + device.standard_normal(rng, (3, 3, 5, 4))
    if name is not None:
        monkeypatch.setattr(conv_norm, *PLANTED[name])
    assert check_layer(block, x, rng=rng).passed == (name is None)


def test_a_block_whose_branch_ends_in_a_relu(rng, device):
    def block(kind):
        r = np.random.default_rng(3)
        conv = Conv2d(4, 4, 3, padding=1, rng=r, dtype=np.float64)
        branch = Sequential(conv, BatchNorm2d(4, dtype=np.float64), ReLU())
        made = ResidualBlock(branch, make_shortcut("A", 4, 4, 1, rng=r))
        return (fuse(made) if kind is ConvChain else made).to(device.name)

    x, dy = (device.standard_normal(rng, (3, 4, 6, 5)) for _ in range(2))
    chain, plain = (everything(block(kind), x, dy) for kind in (ConvChain, Sequential))
    for name, right in plain.items():
        assert_close(chain[name], right, rtol=1e-9, atol=1e-11, err_msg=name)


class Twice:
    """A group of two parts, of which the other has the same numbers."""

    def gather(self, mine):
        return [mine, mine]


def test_a_chain_asks_the_groups_of_its_batch_norms(rng, device):
    """As its layers do, forward and backward: the sums are those of the batch, twice."""
    x, dy = inputs(rng, np.float64, device)
    chain, plain = pair(np.float64, device)
    for model in (chain, plain):
        for layer in model.layers:
            if isinstance(layer, BatchNorm2d):
                layer.group = Twice()
    alone = everything(pair(np.float64, device)[0], x, dy)
    chain_results, plain_results = everything(chain, x, dy), everything(plain, x, dy)
    for name, right in plain_results.items():
        assert_close(chain_results[name], right, rtol=1e-9, atol=1e-11, err_msg=name)
    assert_close(chain_results["y"], alone["y"], rtol=1e-12)
    assert_close(chain_results["11.beta"], 2 * alone["11.beta"], rtol=1e-12)
