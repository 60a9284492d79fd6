"""The table of gradient checks, and the test of the tester: planted wrong gradients must fail."""

import numpy as np
import pytest

from devices import assert_equal, ones_like
from minisd import fast, ops
from minisd.backend import array_module, beside
from minisd.gradcheck import GradientError, check_layer, check_op, compare
from minisd.gradcheck.table import all_checks, check_ops
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, Linear, ReLU, Sequential
from minisd.models import resnet
from minisd.residual import PadShortcut, ResidualBlock, basic_branch, make_shortcut
from minisd.stochastic_depth import linear_decay, set_gates

F64 = np.float64


def test_every_gradient_is_right(device):
    reports = list(all_checks(0, device.name))
    assert len(reports) > 60
    for report in reports:
        report.raise_if_failed()


def test_the_table_covers_every_operation():
    """But for zeros, and for moments, which have no backward: batch norm's has them in it."""
    rng = np.random.default_rng(0)
    checked = {
        edition: " ".join(report.name for report in check_ops(edition, rng, "cpu"))
        for edition in (ops, fast)
    }
    for edition, names in checked.items():
        for name in edition.__all__:
            operation = name.removesuffix("_forward").removesuffix("_backward")
            assert operation in names or operation in ("zeros", "channel_moments")


# Planted wrong gradients. Each takes what the right backward gives and spoils it, in a way that
# somebody has really got it wrong. name: (operation, spoil(ops, dy, inputs, gradients)
# -> gradients)

CONV, CONV2, BN, BN_EVAL, RELU, POOL, GLOBAL, LINEAR = (
    "conv", "conv stride 2", "batchnorm", "batchnorm evaluation", "relu", "pool", "global pool",
    "linear",
)  # fmt: skip


def operations(ops, rng, device):
    def normal(shape):
        return device.standard_normal(rng, shape)

    def bn(training):
        return lambda x, gamma, beta: ops.batchnorm2d_forward(
            x, gamma, beta, device.put(np.zeros(4)), device.put(np.full(4, 0.5)), training=training
        )

    def conv(stride):
        return lambda x, w, b: ops.conv2d_forward(x, w, b, stride=stride, padding=1)

    image = {"x": normal((2, 3, 5, 6)), "w": normal((4, 3, 3, 3)), "b": normal(4)}
    bn_in = {"x": 1 + 2 * normal((3, 4, 5, 2)), "gamma": normal(4), "beta": normal(4)}
    return {
        CONV: (conv(1), ops.conv2d_backward, image),
        CONV2: (conv(2), ops.conv2d_backward, image),
        BN: (bn(True), ops.batchnorm2d_backward, bn_in),
        BN_EVAL: (bn(False), ops.batchnorm2d_backward, bn_in),
        RELU: (ops.relu_forward, ops.relu_backward, {"x": normal((3, 2, 4, 5))}),
        POOL: (lambda x: ops.avg_pool2d_forward(x, 2), ops.avg_pool2d_backward,
               {"x": normal((2, 3, 4, 6))}),
        GLOBAL: (ops.global_avg_pool_forward, ops.global_avg_pool_backward,
                 {"x": normal((2, 3, 4, 5))}),
        LINEAR: (ops.linear_forward, ops.linear_backward,
                 {"x": normal((3, 5)), "w": normal((4, 5)), "b": normal(4)}),
    }  # fmt: skip


def batchnorm_without(mean=1.0, variance=1.0):
    """The right formula, with its two terms times these factors."""

    def spoil(ops, dy, inputs, gradients):
        x, gamma = inputs["x"], inputs["gamma"]
        axes = {"axis": (0, 2, 3), "keepdims": True}
        inv_std = (x.var(**axes) + 1e-5) ** -0.5
        x_hat = (x - x.mean(**axes)) * inv_std
        dx_hat = dy - mean * dy.mean(**axes) - variance * x_hat * (dy * x_hat).mean(**axes)
        return (gamma[:, None, None] * inv_std * dx_hat, *gradients[1:])

    return spoil


def conv_with_the_kernel_not_flipped_back(ops, dy, inputs, gradients):
    x, w = inputs["x"], inputs["w"]
    _, cache = ops.conv2d_forward(x, w[:, :, ::-1, ::-1], padding=1)
    return (ops.conv2d_backward(dy, cache)[0], *gradients[1:])


def shifted(array, by, axis):
    return array_module(array).roll(array, by, axis=axis)


def where_a_corner_is(images):
    """1 in the first corner of each 2x2 tile, elsewhere 0."""
    return beside(np.indices(images.shape)[2:].sum(0) % 4 == 0, images)


def only_at(place, array):
    """1 at one element, counted in order, elsewhere 0."""
    return beside((np.arange(array.size) == place).reshape(array.shape), array)


def scaled(place, factor):
    def spoil(ops, dy, inputs, gradients):
        return tuple(factor * g if i == place else g for i, g in enumerate(gradients))

    return spoil


def replaced(place, make):
    def spoil(ops, dy, inputs, gradients):
        return tuple(make(dy, inputs, g) if i == place else g for i, g in enumerate(gradients))

    return spoil


PLANTED = {
    "BN without the mean term": (BN, batchnorm_without(mean=0)),
    "BN without the variance term": (BN, batchnorm_without(variance=0)),
    "BN with statistics held constant": (BN, batchnorm_without(mean=0, variance=0)),
    "BN dx times -1": (BN, scaled(0, -1)),
    "BN dx times 0": (BN, scaled(0, 0)),
    "BN dx times 3": (BN, scaled(0, 3)),
    "BN dgamma averaged": (BN, scaled(1, 1 / 30)),
    "BN dbeta doubled": (BN, scaled(2, 2)),
    "BN evaluation dx without 1/std": (BN_EVAL, scaled(0, np.sqrt(0.5 + 1e-5))),
    "conv dx with flipped kernels": (CONV, conv_with_the_kernel_not_flipped_back),
    "conv dw flipped": (CONV, replaced(1, lambda dy, given, g: g[:, :, ::-1, ::-1])),
    "conv dw averaged over the batch": (CONV, scaled(1, 1 / 2)),
    "conv db missing one row": (
        CONV, replaced(2, lambda dy, given, g: dy[:, :, 1:].sum((0, 2, 3)))),
    "conv stride 2 dx shifted": (CONV2, replaced(0, lambda dy, given, g: shifted(g, 1, axis=3))),
    "conv dx scaled by 2.001/2": (CONV, scaled(0, 1.0005)),
    "relu lets everything through": (RELU, replaced(0, lambda dy, given, g: dy)),
    "relu mask the wrong way round": (RELU, replaced(0, lambda dy, given, g: dy - g)),
    "pool shares without dividing": (POOL, scaled(0, 4)),
    "pool gives all to one corner": (
        POOL, replaced(0, lambda dy, given, g: g * 4 * where_a_corner_is(g))),
    "global pool sum instead of mean": (GLOBAL, scaled(0, 20)),
    "linear dw from a wrong x": (
        LINEAR, replaced(1, lambda dy, given, g: dy.T @ given["x"][::-1])),
    "linear db averaged": (LINEAR, scaled(2, 1 / 3)),
    "a gradient off in one element": (
        LINEAR, replaced(0, lambda dy, given, g: g + 1e-4 * only_at(7, g))),
}  # fmt: skip


@pytest.mark.parametrize("operation", [CONV, CONV2, BN, BN_EVAL, RELU, POOL, GLOBAL, LINEAR])
def test_the_operations_below_are_right_before_they_are_spoilt(ops, operation, rng, device):
    forward, backward, inputs = operations(ops, rng, device)[operation]
    check_op(operation, forward, backward, inputs, rng=rng).raise_if_failed()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_wrong_gradient_fails(ops, name, rng, device):
    operation, spoil = PLANTED[name]
    forward, backward, inputs = operations(ops, rng, device)[operation]

    def wrong(dy, cache):
        gradients = backward(dy, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return spoil(ops, dy, inputs, gradients)

    report = check_op(operation, forward, wrong, inputs, rng=rng)
    assert not report.passed
    with pytest.raises(GradientError, match="the gradient is wrong"):
        report.raise_if_failed()


class BlockWithoutShortcutGradient(ResidualBlock):
    def backward(self, dy):
        self.take()
        return self.branch.backward(self.relu.backward(dy))


class ClosedBlockThatBackPropagates(ResidualBlock):
    def forward(self, x):
        y = super().forward(x)
        self.branch.forward(x)  # as those do that multiply by zero, and then forget the zero
        return y

    def backward(self, dy):
        self.take()
        dh = self.relu.backward(dy)
        return self.shortcut.backward(dh) + self.branch.backward(dh)


class BlockThatForgetsItsWeight(ResidualBlock):
    def backward(self, dy):
        self.take()
        dh = self.relu.backward(dy)
        return self.shortcut.backward(dh) + self.branch.backward(dh)


class ShortcutThatPadsInFront(PadShortcut):
    def backward(self, dy):
        return super().backward(shifted(dy, -self.in_channels, axis=1))


class ConvThatKeepsLastStepsGradient(Conv2d):
    """A stale gradient: added to by the next backward, although zero_grad was called."""

    stale = None

    def backward(self, dy):
        dx = super().backward(dy)
        if self.stale is not None:
            self.w.accumulate(self.stale)
        self.stale = self.w.grad
        return dx


class DetachedBatchNorm(BatchNorm2d):
    """Reaches gamma, and forgets beta."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.beta.grad = None
        return dx


def block(kind, rng, *, is_open, scale="test", stride=1):
    made = kind(
        basic_branch(3, 3 * stride, stride=stride, rng=rng, dtype=F64),
        make_shortcut("A", 3, 3 * stride, stride, rng=rng, dtype=F64),
        survival_prob=0.5,
        scale=scale,
    )
    made.is_open = is_open
    return made


def block_with_a_wrong_shortcut(rng, _device):
    wrong = block(ResidualBlock, rng, is_open=True, stride=2)
    wrong.shortcut = ShortcutThatPadsInFront(3, 6, 2)
    return wrong


def layer_with_a_stale_gradient(rng, device):
    layer = ConvThatKeepsLastStepsGradient(3, 2, 3, rng=rng, dtype=F64).to(device.name)
    x = device.standard_normal(rng, (2, 3, 6, 4))
    layer.backward(layer.forward(x))
    return layer


PLANTED_LAYERS = {
    "missing shortcut gradient": lambda rng, _: block(
        BlockWithoutShortcutGradient, rng, is_open=True),
    "closed block that back-propagates": lambda rng, _: block(
        ClosedBlockThatBackPropagates, rng, is_open=False),
    "branch gradient without 1/p": lambda rng, _: block(
        BlockThatForgetsItsWeight, rng, is_open=True, scale="train"),
    "shortcut gradient from the zero channels": block_with_a_wrong_shortcut,
    "stale gradient": layer_with_a_stale_gradient,
    "parameter that claims not to matter": lambda rng, _: Sequential(
        DetachedBatchNorm(3, dtype=F64), Conv2d(3, 2, 1, rng=rng, dtype=F64)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED_LAYERS)
def test_a_planted_wrong_layer_fails(name, rng, device):
    layer = PLANTED_LAYERS[name](rng, device).to(device.name)
    report = check_layer(layer, device.standard_normal(rng, (2, 3, 6, 4)), rng=rng)
    assert not report.passed


def test_a_gradient_of_ones_would_have_let_batchnorm_errors_pass(ops, rng, device):
    """Why the upstream gradient is random: with ones, a dx scaled by 3 agrees with the slopes."""
    x = device.standard_normal(rng, (3, 2, 4, 5))

    def forward(x):
        one_zero_zero_one = (device.put(np.full(2, number)) for number in (1.0, 0.0, 0.0, 1.0))
        return ops.batchnorm2d_forward(x, *one_zero_zero_one, training=True)

    y, cache = forward(x)
    dx = 3 * ops.batchnorm2d_backward(ones_like(y), cache)[0]
    report = compare("ones", lambda: float(forward(x)[0].sum()), {"x": x}, {"x": dx}, rng=rng)
    assert report.passed


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (-1, "a wrong sign?"),
        (3, "batch size N = 3: sum or mean"),
        (1 / 3, "batch size N = 3: sum or mean"),
        (0, "left out of the backward"),
        (2, "a constant factor"),
        (1.0001, "a small term"),
    ],
)
def test_a_failure_names_the_tensor_and_what_a_constant_ratio_suggests(
    ops, factor, words, rng, device
):
    forward, backward, inputs = operations(ops, rng, device)[LINEAR]

    def wrong(dy, cache):
        dx, dw, db = backward(dy, cache)
        return dx, factor * dw, db

    with pytest.raises(GradientError) as caught:
        check_op("linear", forward, wrong, inputs, rng=rng).raise_if_failed()
    message = str(caught.value)
    assert words in message
    assert "w[" in message
    for word in ("analytic", "numeric", "ratio", "relative error"):
        assert word in message
    assert "\n  x" not in message  # the tensors that are right are not accused


def test_a_closed_blocks_parameters_must_not_matter(rng, device):
    closed = block(ResidualBlock, rng, is_open=False).to(device.name)
    x = device.standard_normal(rng, (2, 3, 6, 4))
    report = check_layer(closed, x, rng=rng).raise_if_failed()
    assert all(slope.numeric == 0 for slope in report.slopes if slope.tensor.startswith("branch"))


def test_a_step_across_a_kink_is_replaced_by_another(rng, device):
    x = rng.standard_normal((3, 8))
    x[0, :3] = [2e-6, -2e-6, 1.0]
    report = check_layer(ReLU(), device.put(x), rng=rng, directions=4, elements=20)
    assert report.kinks >= 2
    assert report.passed
    assert sum(slope.index is None for slope in report.slopes) == 4
    assert sum(slope.index is not None for slope in report.slopes) == 20


def test_where_every_direction_crosses_a_kink_nothing_is_claimed(rng, device):
    x = rng.standard_normal((3, 8))
    x[0] = 1e-8
    with pytest.raises(ValueError, match="all steps along x cross kinks"):
        check_layer(ReLU(), device.put(x), rng=rng)


def test_what_a_forward_before_the_check_left_behind_does_not_matter(rng, device):
    model = resnet(8, width=2, rng=rng, dtype=F64).to(device.name)
    x = device.standard_normal(rng, (2, 3, 4, 8))
    model.forward(x)
    set_gates(model, [False] * 3)
    check_layer(model, x, rng=rng, directions=1, elements=2).raise_if_failed()


@pytest.mark.parametrize(
    ("forward", "backward", "words"),
    [
        (lambda x: x, lambda dy, cache: dy, r"must return \(y, cache\)"),
        (lambda x: (x, None), lambda dy, cache: (dy, dy), r"2 gradients for 1 inputs \(x\)"),
    ],
)
def test_functions_of_the_wrong_form_are_told_so(forward, backward, words, rng):
    with pytest.raises(TypeError, match=words):
        check_op("mine", forward, backward, {"x": rng.standard_normal((2, 3))}, rng=rng)


def test_a_list_of_gradients_and_a_scalar_output_are_fine(rng, device):
    def forward(x):
        return (x**2).sum(), x

    def backward(dy, x):
        return [2 * x * dy]

    inputs = {"x": device.standard_normal(rng, (2, 3))}
    assert check_op("sum of squares", forward, backward, inputs, rng=rng).passed


def test_float32_is_refused(rng):
    layer = Linear(3, 2, rng=rng, dtype=np.float32)
    with pytest.raises(TypeError, match="float64"):
        check_layer(layer, rng.standard_normal((2, 3)).astype(np.float32), rng=rng)


def test_a_check_leaves_everything_as_it_was(rng, device):
    model = resnet(8, width=2, survival=linear_decay(3), rng=rng, dtype=F64).to(device.name)
    set_gates(model, [True, False, True])
    x = device.standard_normal(rng, (2, 3, 4, 8))
    before = [p.data.copy() for _, p in model.parameters()]
    before += [b.copy() for _, b in model.buffers()] + [x.copy()]
    check_layer(model, x, rng=rng, directions=1, elements=2)
    after = [p.data for _, p in model.parameters()] + [b for _, b in model.buffers()] + [x]
    for a, b in zip(after, before, strict=True):
        assert_equal(a, b)
    assert [b.is_open for b in model.blocks] == [True, False, True]


def test_nan_is_a_failure(rng, device):
    class NaN(Layer):
        def forward(self, x):
            return x

        def backward(self, dy):
            return dy * np.nan

    assert not check_layer(NaN(), device.standard_normal(rng, (2, 3)), rng=rng).passed


def test_a_check_that_raises_leaves_everything_as_it_was_too(rng):
    model = resnet(8, width=4, rng=rng, dtype=F64)
    before = model.stem.layers[1].running_mean.copy()
    with pytest.raises(ValueError, match="cross kinks"):
        check_layer(model, rng.standard_normal((4, 3, 8, 8)), rng=rng, h=3.0)
    assert_equal(model.stem.layers[1].running_mean, before)
    assert all(layer._cache is None for layer in model.walk())
