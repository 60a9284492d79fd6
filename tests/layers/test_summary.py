"""What `print(model)`, ``summary`` and ``repr`` say, against independent counts."""

import copy
import gc
import re
import tracemalloc

import numpy as np
import pytest

from devices import assert_equal, host, ones_like
from minisd import (
    SGD,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool,
    Layer,
    Linear,
    PreActBlock,
    ReLU,
    Sequential,
    fast,
    flow,
    linear_decay,
    ops,
    preact_branch,
    resnet,
    set_gates,
    set_image_gates,
)
from minisd.data import Normaliser
from minisd.footprint import copy_of, saved_bytes
from minisd.machine import memory
from minisd.residual import make_shortcut
from minisd.summary import Calls
from minisd.train import train_step

SHAPE = (2, 8, 8)


def network(rng, depth=8, **options):
    return resnet(depth, rng=rng, **{"in_channels": 2, "width": 3} | options)


def rows(text):
    """The table's lines by name of the layer, each as a list of words."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("layer "))
    found = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        found[line.split()[0]] = line.split()[1:]
    return found


# FLOPs, against a count by naive loops


class Counted:
    """A number; every addition, multiplication and comparison counts 1."""

    count = 0

    def __add__(self, other):
        Counted.count += 1
        return self

    __mul__ = __gt__ = __add__


N = Counted()


def images(C, H, W):
    return [[[N] * W for _ in range(H)] for _ in range(C)]


def sum_of(numbers):
    total, *others = numbers
    for number in others:
        total = total + number
    return total


def naive(layer, x):
    """A layer in evaluation, on a list of channels, number by number."""
    kind = type(layer).__name__
    if kind == "Sequential":
        for inner in layer.layers:
            x = naive(inner, x)
        return x
    if kind == "Conv2d":
        F, C, K, _ = layer.w.data.shape
        H, W = len(x[0]), len(x[0][0])
        OH, OW = ((size + 2 * layer.padding - K) // layer.stride + 1 for size in (H, W))
        y = images(F, OH, OW)
        for f in range(F):
            for i in range(OH):
                for j in range(OW):
                    total = N  # 0, or the bias: every product is multiplied and added
                    for _ in range(C * K * K):
                        total = total + N * N
                    y[f][i][j] = total + N if layer.b is not None else total
        return y
    if kind == "BatchNorm2d":
        return [[[number * N + N for number in row] for row in channel] for channel in x]
    if kind == "ReLU":
        return [[[(number > N, number)[1] for number in row] for row in channel] for channel in x]
    if kind == "GlobalAvgPool":
        return [sum_of([number for row in channel for number in row]) * N for channel in x]
    if kind == "Linear":
        return [sum_of([N, *(number * N for number in x), N]) for _ in range(len(layer.w.data))]
    if kind == "PadShortcut":
        s = layer.stride
        small = [
            [
                [channel[i][j] if layer.subsample else
                 sum_of([channel[i + a][j + b] for a in range(s) for b in range(s)]) * N
                 for j in range(0, len(channel[0]), s)]
                for i in range(0, len(channel), s)
            ]
            for channel in x
        ]  # fmt: skip
        return small + images(layer.out_channels - len(x), len(small[0]), len(small[0][0]))
    if kind == "IdentityShortcut":
        return x
    if kind == "NoShortcut":
        zeros = range(0, len(x[0]), layer.stride)
        return images(layer.out_channels, len(zeros), len(range(0, len(x[0][0]), layer.stride)))
    f, skip = naive(layer.branch, x), naive(layer.shortcut, x)
    y = [
        [[a * N + b for a, b in zip(*both, strict=True)] for both in zip(*channels, strict=True)]
        for channels in zip(f, skip, strict=True)
    ]
    return y if layer.pre_activation else naive(layer.relu, y)


def counted(model, shape):
    Counted.count = 0
    h = naive(model.stem, images(*shape))
    for block in model.blocks:
        h = naive(block, h)
    naive(model.head, naive(model.pool, h))
    return Counted.count


@pytest.mark.parametrize(
    "options",
    [
        {"shortcut": "A"},
        {"shortcut": "A-subsample", "survival": [0.0, 0.5, 1.0]},
        {"shortcut": "projection", "branch": preact_branch, "block": PreActBlock},
        {"shortcut": "none"},
        {"depth": 11, "branch": "bottleneck", "width": 2},
    ],
    ids=lambda options: str(options.get("shortcut", "bottleneck")),
)
def test_flops_are_those_of_naive_loops(options, rng):
    plain = network(rng, fused=False, **options)
    expected = counted(plain, (2, 4, 4))
    for model in (plain, network(rng, **options), copy.deepcopy(plain).use(ops)):
        assert flops(model, (2, 4, 4)) == (expected, True)


def flops(layer, shape):
    copied = copy_of(layer)
    return Calls(copied, shape).work(copied)


def test_flops_of_single_layers_by_hand(rng):
    conv = Conv2d(3, 4, 3, stride=2, padding=1, bias=True, rng=rng)
    assert flops(conv, (3, 5, 7)) == ((2 * 3 * 9 + 1) * 4 * 3 * 4, True)
    assert flops(Linear(5, 2, rng=rng), (5,)) == (22, True)
    assert flops(BatchNorm2d(3), (3, 2, 2)) == (24, True)
    assert flops(Sequential(ReLU(), GlobalAvgPool()), (3, 2, 2)) == (24, True)


def test_the_flops_of_a_published_network(rng):
    """ResNet-20 on CIFAR-10: 40.8 million multiply-adds in convolutions and the linear layer."""
    table = resnet(20, rng=rng).summary((3, 32, 32))
    total = float(re.search(r"FLOPs +([\d.]+) M forward", table)[1])
    assert 2 * 40.55 < total < 2 * 41.2  # and a little for all else


class Half(Layer):
    """A layer of one's own that does not say what it costs."""

    def __init__(self, rng):
        self.conv = Conv2d(2, 2, 1, rng=rng)
        self.strength = 0.5

    def forward(self, x):
        return self.conv.forward(x) / 2

    def backward(self, dy):
        return self.conv.backward(dy / 2)


class HalfThatSays(Half):
    def flops(self, x_shape, y_shape):
        return int(np.prod(y_shape))


class AnotherConv(Conv2d):
    """Has the `flops` of its base class, which knows nothing of this forward."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_what_is_not_known_is_a_question_mark_and_not_nothing(rng):
    text = Sequential(Half(rng), AnotherConv(2, 3, 1, rng=rng), ReLU()).summary((2, 4, 4))
    table = rows(text)
    assert table["0"] == ["Half", "2x4x4", "4", "?"]
    assert table["1"][-1] == "?"
    assert table["2"][-1] == "48"
    assert "at least 176 forward" in text
    assert "unknown for Half, AnotherConv" in text
    assert "flops(x_shape, y_shape)" in text
    known = Sequential(HalfThatSays(rng), ReLU()).summary((2, 4, 4))
    assert "?" not in known
    assert f"FLOPs       {128 + 32 + 32} forward" in known


# The table


def test_print_shows_the_table(rng, capsys):
    model = resnet(20, survival=linear_decay, rng=rng)
    print(model)
    text = capsys.readouterr().out
    assert "ResNet for inputs of 3x32x32" in text
    assert "269,722" in text
    assert "81.9 M forward" in text
    assert "6.5 of 9 are open" in text
    assert "model.summary((C, H, W))" in text
    table = rows(text)
    assert list(table) == ["stem.0", "stem.1", "stem.2", "blocks.0-2", "blocks.3", "blocks.4-5",
                           "blocks.6", "blocks.7-8", "pool", "head"]  # fmt: skip
    assert table["blocks.0-2"][1:4] == ["16x32x32", "14,016", "0.94-0.83"]
    assert table["blocks.7-8"][1:4] == ["64x8x8", "147,968", "0.56-0.50"]
    assert table["head"][1:3] == ["10", "650"]


def test_the_rows_add_up(rng):
    model = network(rng, branch=preact_branch, block=PreActBlock, shortcut="projection")
    sizes = [words[1] for words in rows(model.summary()).values() if len(words) > 1]
    assert sum(int(size.replace(",", "")) for size in sizes) == model.num_parameters
    assert f"parameters  {model.num_parameters:,}" in model.summary(SHAPE)


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: network(rng, 218, survival=linear_decay, width=2),
        lambda rng: network(rng, branch=preact_branch, block=PreActBlock),
        lambda rng: Sequential(
            *(type(f"Layer{'OfALongName' * 3}{i}", (Half,), {})(rng) for i in range(3))
        ),
    ],
)
def test_it_fits_in_80_columns(make, rng):
    text = make(rng).summary((2, 4, 4))
    assert max(map(len, text.splitlines())) <= 80
    assert max(map(len, make(rng).summary().splitlines())) <= 80


def test_without_a_shape_there_are_parameters_and_probabilities(rng):
    model = network(rng, survival=[0.9, 0.5, 0.25])
    text = model.summary()
    assert rows(text)["blocks.0"][1:] == ["174", "0.90"]
    assert "FLOPs and memory: summary((C, H, W))" in text
    assert "memory of" not in text


def test_the_shapes_are_those_of_the_input(rng):
    model = network(rng)
    assert rows(model.summary((2, 12, 8)))["blocks.2"][1] == "12x3x2"
    with pytest.raises(ValueError, match="channels"):
        model.summary((3, 8, 8))
    with pytest.raises(ValueError, match="input_shape must be a whole number"):
        model.summary((2, 8, 0.5))
    with pytest.raises(TypeError, match=r"input_shape is \(C, H, W\) or \(D,\), got 8"):
        model.summary(8)
    assert "for a training step with 1 input:" in model.summary((2, 8, 8), batch_size=1)


def test_print_of_a_network_that_takes_no_images_of_32_pixels(rng):
    model = network(rng)
    model.stem.layers[0] = Conv2d(2, 3, 40, rng=rng)
    assert "Images of 32x32 pixels do not fit: conv2d: a 40x40 kernel" in str(model)
    model.stem = Sequential(ReLU())
    assert "summary((C, H, W))" in str(model)


def test_print_of_a_network_that_was_loaded_is_for_its_own_images(rng):
    model = network(rng)
    model.normaliser = Normaliser(np.zeros((2, 12, 8), np.float32), 1.0)
    assert str(model).startswith(model.summary((2, 12, 8)))
    model.normaliser = Normaliser(np.zeros((3, 12, 8), np.float32), 1.0)
    assert "Images of 12x8 pixels do not fit" in str(model)


def test_expected_flops_in_training(rng):
    """Those of the branches times p_l, and all the rest."""
    never, always = (flops_in_training(network(rng, survival=[p] * 3)) for p in (0.0, 1 - 1e-12))
    model = network(rng)
    calls = Calls(copied := copy_of(model), SHAPE)
    branches = sum(calls.work(block.branch)[0] for block in copied.blocks)
    total = calls.work(copied)[0]
    assert always == pytest.approx(total / 1000, abs=0.06)
    assert never == pytest.approx((total - branches) / 1000, abs=0.06)
    assert "as in training" not in model.summary(SHAPE)


def flops_in_training(model):
    return float(re.search(r"([\d.]+) k with blocks closed as", model.summary(SHAPE))[1])


# Nothing changes


def test_the_network_is_not_touched(rng, device, tmp_path):
    """In the middle of a step, with a recorder, closed blocks and gates of images."""
    model = network(rng, survival=[0.9, 0.5, 0.1]).to(device.name)
    optimizer = SGD(model, 0.1)
    x = device.standard_normal(rng, (4, *SHAPE), np.float32)
    expected = copy.deepcopy(model)
    for each in (model, expected):
        set_gates(each, [True, False, True])
    y = expected.forward(x)
    dx = expected.backward(ones_like(y))
    with flow.Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        assert_equal(model.forward(x), y)
        assert "2x8x8" in model.summary(SHAPE)
        assert repr(model)
        assert_equal(model.backward(ones_like(y)), dx)
        recorder.after_backward(1.0)
        optimizer.step()
        recorder.after_step()
        labels = device.put(np.array([0, 1, 2, 3]))
        train_step(model, optimizer, x, labels, recorder=recorder)
    for (name, a), (_, b) in zip(model.buffers(), expected.buffers(), strict=True):
        is_closed = name.startswith("blocks.1.branch")
        assert (host(a) == host(b)).all() == is_closed, name  # it has done a step more
    assert model.survival_probs == [0.9, 0.5, 0.1]
    assert [block.is_open for block in model.blocks] == [True, False, True]
    set_image_gates(model, np.zeros((3, 4), bool))
    model.eval().summary(SHAPE)
    assert not model.training
    assert model.blocks[0].image_gates is not None


class NotToBeAsked:
    def gather(self, *arrays):
        raise AssertionError("other processes were asked")

    def __deepcopy__(self, memo):
        raise AssertionError("was copied")


def test_other_processes_are_not_asked(rng):
    model = network(rng)
    model.stem.layers[1].group = group = NotToBeAsked()
    assert "stem.1" in model.summary(SHAPE)
    assert model.stem.layers[1].group is group


# Memory


class Saves(Layer):
    """Saves its input, parts of it again, and its weights."""

    def __init__(self):
        self.w = Conv2d(2, 2, 1, rng=np.random.default_rng(0)).w

    def forward(self, x):
        self.save({"x": [x, x[:, :1], x.T], "w": self.w.data, "more": (np.zeros(7), None, "x")})
        return x


def test_memory_by_hand():
    assert saved_bytes(Saves(), SHAPE, 5) == 5 * 128 * 4 + 56
    book = Sequential(ReLU()).use(ops)
    assert saved_bytes(book, SHAPE, 3) == 3 * 128 * (4 + 1)  # x, and whether it is positive
    engine = Sequential(ReLU()).use(fast)
    assert saved_bytes(engine, SHAPE, 3) == 3 * 128 / 8  # one bit for each number


@pytest.mark.parametrize("form", ["fused", "plain", "book"])
def test_memory_is_what_the_allocator_says(form, rng):
    """What is in use after a forward and was not before it: as Python's tracer and our pool say."""
    model = network(rng, 14, width=8, fused=form == "fused")
    if form == "book":
        model.use(ops)
    x = rng.standard_normal((16, 2, 16, 16)).astype(np.float32)
    for _ in range(2):  # from then on, the pool has the buffers that it needs
        model.forward(x)
    model.forget()
    gc.collect()
    tracemalloc.start()
    try:
        before = memory.bytes_in_use()
        y = model.forward(x)
        gc.collect()
        in_use = tracemalloc.get_traced_memory()[0] + memory.bytes_in_use() - before - y.nbytes
    finally:
        tracemalloc.stop()
    found = saved_bytes(copy_of(model), (2, 16, 16), 16)
    assert found == pytest.approx(in_use, rel=0.1)


def test_memory_grows_with_the_batch_and_the_table_says_how(rng):
    model = network(rng)
    per_image = saved_bytes(copy_of(model), SHAPE, 3) - saved_bytes(copy_of(model), SHAPE, 2)
    for N in (5, 64):
        exact = saved_bytes(copy_of(model), SHAPE, N)
        text = model.summary(SHAPE, batch_size=N)
        said = float(re.search(r"([\d.]+) KiB saved for the backward", text)[1])
        assert said == pytest.approx(exact / 1024, rel=0.02)
        assert exact > 0.9 * N * per_image
    assert f"with {128} inputs" in model.summary(SHAPE)
    statistics = sum(buffer.nbytes for _, buffer in model.buffers())
    fixed = 3 * 4 * model.num_parameters + statistics  # float32: weight, gradient and momentum
    assert f"{fixed / 1024:#.3g} KiB for parameters, gradients, momentum and statistics" in text


def test_recomputation_needs_less_memory(rng):
    sizes = [
        saved_bytes(copy_of(network(rng, 14, recompute_every=every)), SHAPE, 8)
        for every in (1, 2, 6, None)
    ]
    assert sizes[0] < sizes[1] < sizes[3] <= sizes[2]


# repr


def test_repr_says_what_a_layer_is(rng):
    for text, layer in {
        "Conv2d(3, 8, 5, stride=2, padding=1, bias=True)":
            Conv2d(3, 8, 5, stride=2, padding=1, bias=True, rng=rng),
        "Conv2d(3, 8, 1)": Conv2d(3, 8, 1, rng=rng),
        "BatchNorm2d(4, momentum=0.1, eps=1e-05)": BatchNorm2d(4),
        "Linear(3, 2)": Linear(3, 2, rng=rng),
        "ReLU()": ReLU(),
        "PadShortcut(in_channels=2, out_channels=4, stride=2, subsample=True)":
            make_shortcut("A-subsample", 2, 4, 2, rng=rng),
        "Saves(w=(2, 2, 1, 1))": Saves(),
        "Half(strength=0.5\n  (conv): Conv2d(2, 2, 1)\n)": Half(rng),
        "Sequential(\n  (0-1): 2 x ReLU()\n  (2): GlobalAvgPool()\n)":
            Sequential(ReLU(), ReLU(), GlobalAvgPool()),
    }.items():  # fmt: skip
        assert repr(layer) == text
        assert str(layer) == text
    assert repr(network(rng)) == f"ResNet(3 blocks, {network(rng).num_parameters:,} parameters)"
    block = network(rng, fused=False, survival=[0.5] * 3).blocks[0]
    assert repr(block).startswith(
        "ResidualBlock(survival_prob=0.5, scale='test', is_open=True\n  (branch): Sequential(\n"
        "    (0): Conv2d(3, 3, 3, padding=1)\n"
    )
