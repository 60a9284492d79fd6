"""What layers remember, name and move."""

import numpy as np
import pytest

from devices import assert_close, assert_equal, ones_like
from minisd import SGD, ConvChain, Parameter, fast, fuse, ops, set_gates
from minisd.gradcheck import check_layer
from minisd.layers import BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, ReLU, Sequential
from minisd.models import resnet


def layers(rng):
    return {
        "Conv2d": (Conv2d(3, 2, 3, padding=1, bias=True, rng=rng), (2, 3, 4, 5)),
        "BatchNorm2d": (BatchNorm2d(3), (2, 3, 4, 5)),
        "ReLU": (ReLU(), (2, 3, 4, 5)),
        "GlobalAvgPool": (GlobalAvgPool(), (2, 3, 4, 5)),
        "Linear": (Linear(5, 4, rng=rng), (3, 5)),
        "Sequential": (Sequential(Conv2d(3, 2, 1, rng=rng), ReLU()), (2, 3, 4, 5)),
        "ResNet": (resnet(8, width=2, rng=rng), (2, 3, 8, 4)),
        "ResidualBlock": (resnet(8, width=3, rng=rng).blocks[0], (2, 3, 8, 4)),
    }


@pytest.mark.parametrize("name", layers(np.random.default_rng(0)))
def test_a_backward_needs_a_training_forward_of_its_own(name, rng, device):
    layer, shape = layers(rng)[name]
    layer.to(device.name)
    x = device.standard_normal(rng, shape, np.float32)
    dy = ones_like(layer.eval().forward(x))
    with pytest.raises(RuntimeError, match="Call forward before each backward, in training mode"):
        layer.backward(dy)  # an evaluation saves nothing
    layer.train()
    layer.backward(ones_like(layer.forward(x)))
    with pytest.raises(RuntimeError, match="backward: there is no saved forward"):
        layer.backward(dy)  # a second one
    layer.forward(x)
    layer.eval().forward(x)
    with pytest.raises(RuntimeError):
        layer.backward(dy)  # not from the forward before the last


@pytest.mark.parametrize("name", layers(np.random.default_rng(0)))
def test_gradients_accumulate_and_zero_grad_makes_them_none(name, rng, device):
    layer, shape = layers(rng)[name]
    layer.to(device.name)
    x = device.standard_normal(rng, shape, np.float32)
    assert all(p.grad is None for _, p in layer.parameters())
    dy = device.standard_normal(rng, layer.forward(x).shape, np.float32)
    layer.backward(dy)
    once = {key: p.grad.copy() for key, p in layer.parameters()}
    layer.forward(x)
    layer.backward(dy)
    for key, p in layer.parameters():
        assert_close(p.grad, 2 * once[key], rtol=1e-5, atol=1e-6)
    layer.zero_grad()
    assert all(p.grad is None for _, p in layer.parameters())


def test_names_are_dotted_and_in_order_of_definition(rng):
    model = resnet(8, width=2, shortcut="projection", rng=rng)
    names = [name for name, _ in model.parameters()]
    assert names[:3] == ["stem.0.w", "stem.1.gamma", "stem.1.beta"]
    assert names[3] == "blocks.0.branch.0.w"
    assert "blocks.1.shortcut.0.w" in names
    assert names[-2:] == ["head.w", "head.b"]
    assert len(set(names)) == len(names)
    buffers = [name for name, _ in model.buffers()]
    assert buffers[:2] == ["stem.1.running_mean", "stem.1.running_var"]
    assert [name for name, _ in model.children()][:2] == ["stem", "blocks.0"]


def test_buffers_are_the_arrays_themselves(rng, device):
    norm = BatchNorm2d(3).to(device.name)
    norm.forward(device.standard_normal(rng, (2, 3, 4, 5), np.float32))
    assert dict(norm.buffers())["running_mean"] is norm.running_mean
    assert norm.running_mean.any()


def test_train_and_eval_reach_every_layer(rng):
    model = resnet(8, width=2, rng=rng)

    def modes(layer):
        return [layer.training] + [m for _, child in layer.children() for m in modes(child)]

    assert model.eval() is model
    assert set(modes(model)) == {False}
    assert set(modes(model.train())) == {True}
    assert len(modes(model)) > 30


def test_to_changes_dtype_of_parameters_gradients_and_buffers(rng, device):
    model = resnet(8, width=2, rng=rng).to(device.name)
    x = device.standard_normal(rng, (2, 3, 8, 8), np.float32)
    model.backward(model.forward(x))
    model.to(device.name, np.float64)
    for _, p in model.parameters():
        assert p.data.dtype == p.grad.dtype == np.float64
    assert all(b.dtype == np.float64 for _, b in model.buffers())
    assert model.forward(x.astype(np.float64)).dtype == np.float64


def test_he_initialisation(rng):
    w = Conv2d(64, 128, 3, rng=rng).w.data
    assert w.dtype == np.float32
    assert w.mean() == pytest.approx(0, abs=1e-3)
    assert w.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.01)
    assert abs(Linear(100, 50, rng=rng).w.data).max() <= 0.1


def test_the_same_seed_gives_the_same_network():
    a, b = (resnet(8, width=2, rng=np.random.default_rng(5)) for _ in range(2))
    for (_, p), (_, q) in zip(a.parameters(), b.parameters(), strict=True):
        assert_equal(p.data, q.data)


def test_gamma_can_start_uniform(rng):
    assert (BatchNorm2d(50).gamma.data == 1).all()
    gamma = BatchNorm2d(1000, gamma="uniform", rng=rng).gamma.data
    assert gamma.min() >= 0
    assert gamma.max() <= 1
    assert gamma.mean() == pytest.approx(0.5, abs=0.05)
    model = resnet(8, width=4, gamma="uniform", rng=rng)
    gammas = [p.data for name, p in model.parameters() if name.endswith("gamma")]
    assert len(gammas) == 7
    assert all(0 < g.std() < 1 for g in gammas)


def test_a_layer_of_ones_own_needs_no_registration(rng):
    class Twice(Layer):
        def __init__(self):
            self.inner = Linear(3, 3, rng=rng)

        def forward(self, x):
            return self.inner.forward(2 * x)

        def backward(self, dy):
            return 2 * self.inner.backward(dy)

    assert [name for name, _ in Twice().parameters()] == ["inner.w", "inner.b"]


def test_numpy_integers_are_integers(rng, device):
    one, two = np.int64(1), np.uint8(2)
    conv = Conv2d(two, two, two, stride=one, rng=rng).to(device.name)
    assert conv.forward(device.put(np.ones((1, 2, 4, 4), np.float32))).shape == (1, 2, 3, 3)
    x = device.put(np.ones((1, 1, 4, 4)))
    assert ops.avg_pool2d_forward(x, two)[0].shape == (1, 1, 2, 2)
    assert resnet(np.int64(8), num_classes=np.int64(3), width=two, rng=rng).num_blocks == 3


def test_forget_drops_all_caches(rng, device):
    model = resnet(8, width=2, rng=rng).to(device.name)
    model.forward(device.put(np.ones((2, 3, 8, 8), np.float32)))
    model.forget()
    dy = device.put(np.ones((2, 2, 8, 8), np.float32))
    with pytest.raises(RuntimeError):
        model.blocks[0].branch.layers[-1].backward(dy)


def test_layers_in_a_tuple_are_found_and_shared_parameters_step_once(rng, device):
    class Twins(Layer):
        def __init__(self):
            self.pair = (Linear(2, 2, rng=rng), Linear(2, 2, rng=rng))
            self.pair[1].w = self.pair[0].w

    twins = Twins().to(device.name)
    assert len(list(twins.parameters())) == 4
    w = twins.pair[0].w
    w.grad, before = ones_like(w.data), w.data.copy()
    SGD(twins, 1.0, momentum=0, nesterov=False, weight_decay=0).step()
    assert_close(w.data, before - 1, rtol=1e-6)


def test_an_optimiser_does_not_survive_a_move_unnoticed(rng, device):
    layer = Linear(2, 2, rng=rng).to(device.name)
    optimizer = SGD(layer, 0.1)
    layer.w.grad, layer.b.grad = ones_like(layer.w.data), ones_like(layer.b.data)
    optimizer.step()
    layer.to(device.name, np.float64)
    with pytest.raises(TypeError, match="new SGD"):
        optimizer.step()


def test_numpy_hyperparameters_do_not_change_the_dtype(rng, device):
    x = device.standard_normal(rng, (2, 3, 4, 5), np.float32)
    ones = (device.put(np.ones(3, np.float32)) for _ in range(4))
    y, _ = ops.batchnorm2d_forward(x, *ones, training=True, eps=np.float64(1e-5))
    assert y.dtype == np.float32


def test_a_layer_computes_what_its_operation_computes(rng, device):
    conv = Conv2d(3, 2, 3, stride=2, padding=1, bias=True, rng=rng).to(device.name)
    conv.b.data += 1
    x = device.standard_normal(rng, (2, 3, 5, 6), np.float32)
    y, _ = fast.conv2d_forward(x, conv.w.data, conv.b.data, stride=2, padding=1)
    assert_equal(conv.forward(x), y)
    y, _ = ops.conv2d_forward(x, conv.w.data, conv.b.data, stride=2, padding=1)
    assert_equal(conv.use(ops).forward(x), y)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("scale", ["test", "train"])
def test_the_gradient_of_a_network_in_evaluation_if_asked(fused, scale, rng, device):
    """Branches weighted by survival, running statistics as constants: that of what is tested."""
    model = resnet(
        8, width=3, survival=[0.9, 0.6, 0.5], scale=scale, fused=fused, rng=rng, dtype=np.float64
    ).to(device.name)
    x = device.standard_normal(rng, (5, 3, 8, 4))
    model.forward(x)  # moves the statistics
    set_gates(model, [False] * 3)  # which plays no part
    tested = model.eval().forward(x)
    with pytest.raises(RuntimeError, match="eval\\(keep=True\\)"):
        model.backward(ones_like(tested))
    assert_equal(model.eval(keep=True).forward(x), tested)
    before = [buffer.copy() for _, buffer in model.buffers()]
    assert check_layer(model, x, rng=rng, elements=6).passed
    for (_, buffer), old in zip(model.buffers(), before, strict=True):
        assert_equal(buffer, old)
    model.eval().forward(x)
    with pytest.raises(RuntimeError, match="forward"):
        model.backward(ones_like(tested))


@pytest.mark.parametrize("kind", [Sequential, ConvChain])
def test_batch_norm_frozen_alone_in_a_network_that_trains(kind, rng, device):
    chain = kind(
        Conv2d(3, 4, 3, rng=rng, dtype=np.float64), BatchNorm2d(4, dtype=np.float64), ReLU()
    ).to(device.name)
    x = device.standard_normal(rng, (3, 3, 6, 5))
    chain.forward(x)
    chain.layers[1].eval()
    before = [buffer.copy() for _, buffer in chain.buffers()]
    assert check_layer(chain, x, rng=rng).passed
    for (_, buffer), old in zip(chain.buffers(), before, strict=True):
        assert_equal(buffer, old)
    chain.eval().forward(x)
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        chain.backward(ones_like(chain.forward(x)))


def test_layers_and_parameters_in_lists_and_dicts_are_found(rng):
    class Mixed(Layer):
        def __init__(self):
            self.scale = Parameter(np.ones(3))
            self.towers = {
                "left": [Linear(2, 3, rng=rng)],
                "right": (ReLU(), [Linear(3, 3, rng=rng)]),
            }
            self.biases = [Parameter(np.zeros(3)), Parameter(np.zeros(3))]

    class Extended(Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.extra = Linear(3, 2, rng=rng)

    model = Extended(Mixed(), ReLU())
    names = [name for name, _ in model.parameters()]
    assert names == [
        "0.scale", "0.biases.0", "0.biases.1", "0.towers.left.0.w", "0.towers.left.0.b",
        "0.towers.right.1.0.w", "0.towers.right.1.0.b", "extra.w", "extra.b",
    ]  # fmt: skip
    assert len(SGD(model, 0.1).parameters) == len(names)
    assert len(list(model.eval().walk())) == 7
    assert not any(layer.training for layer in model.walk())
    assert [name for name, _ in fuse(model).parameters()] == names
