"""Arguments that make no sense, modes that a helper leaves, numbers that do not fit: a sentence."""

import numpy as np
import pytest

from devices import host
from minisd import SGD, StepSchedule, machine, resnet, uniform
from minisd.data import Normaliser, Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.errors import ConfigError, DataError, NonFiniteError
from minisd.gradcheck import check_layer, check_op, compare
from minisd.layer import Layer, Parameter
from minisd.layers import BatchNorm2d, Conv2d, Linear, ReLU, Sequential
from minisd.residual import ResidualBlock
from minisd.surgery import FixedBlock, sub_network, without
from minisd.train import evaluate, train_step

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (6, 3, 4, 4)).astype(np.uint8)
SPLIT = Split(IMAGES, np.arange(6))
NAN = np.where(np.arange(6 * 48).reshape(6, 3, 4, 4) == 7, np.nan, 1.0)


LABELS = np.arange(6)
BATCH = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32), LABELS


def tiny_net(recompute_every=None):
    model = resnet(8, width=2, rng=np.random.default_rng(0))
    model.recompute_every = recompute_every
    return model


def having(made, **attributes):
    vars(made).update(attributes)
    return made


def norm_with(**attributes):
    return having(BatchNorm2d(3), **attributes).forward(BATCH[0])


def block_with(**attributes):
    return having(ResidualBlock(ReLU(), ReLU()), **attributes).eval().forward(BATCH[0])


def step_with(**attributes):
    model = tiny_net()
    train_step(model, having(SGD(model, 0.1), **attributes), *BATCH)


def there_and_back(dy):
    layer = ReLU()
    layer.forward(BATCH[0])
    return layer.backward(dy)


def evaluated_with(labels):
    return evaluate(tiny_net(), [(BATCH[0], labels)])


def check_square(x=None, **options):
    x = np.ones((3, 2)) if x is None else x
    return check_op(
        "square", lambda x: (x * x, x), lambda dy, x: 2 * x * dy, {"x": x}, **{"rng": RNG} | options
    )


def batches(maker, size):
    options = {"rng": RNG} if maker is training_batches else {}
    return list(maker(SPLIT, size, normaliser=Normaliser.fit(IMAGES), **options))


REFUSED = {
    "no channels": (lambda: BatchNorm2d(0), ValueError, "channels must be a whole number"),
    "momentum above 1": (lambda: BatchNorm2d(3, momentum=1.5), ValueError, "momentum must lie"),
    "momentum NaN": (lambda: BatchNorm2d(3, momentum=float("nan")), ValueError, "momentum"),
    "negative eps": (lambda: BatchNorm2d(3, eps=-1e-3), ValueError, "eps must lie"),
    "norm of integers": (lambda: BatchNorm2d(3, dtype=int), TypeError, "float32 or float64"),
    "conv of integers": (lambda: Conv2d(1, 1, 1, rng=RNG, dtype=np.int32), TypeError, "float32"),
    "linear of float16": (lambda: Linear(1, 1, rng=RNG, dtype=np.float16), TypeError, "float32"),
    "threads 2.0": (lambda: machine.set_threads(2.0), ConfigError, "whole number"),
    "batches of none": (lambda: batches(training_batches, 0), ValueError, "batch_size"),
    "batches of -1": (lambda: batches(training_batches, -1), ValueError, "batch_size"),
    "batches of 2.5": (lambda: batches(evaluation_batches, 2.5), ValueError, "batch_size"),
    "no images": (lambda: Normaliser.fit(np.zeros((0, 1, 2, 2))), DataError, "no training images"),
    "images of NaN": (lambda: Normaliser.fit(NAN), DataError, "not finite"),
    "grey for colour": (lambda: Normaliser.fit(IMAGES)(IMAGES[:, :1]), DataError, "normaliser is"),
    "survival .5": (lambda: resnet(8, survival=0.5, rng=RNG), TypeError, "one for each block"),
    "epoch 0": (lambda: StepSchedule(0.1, 4, (2,))(0), ValueError, "counted from 1"),
    "gradient of a sum": (
        lambda: Parameter(np.ones(3)).accumulate(np.ones(3).sum()), ValueError, r"shape \(\)"),
    "gradient of another dtype": (
        lambda: Parameter(np.ones(3)).accumulate(np.ones(3, np.float32)), TypeError, "float32"),
    "nothing to check": (lambda: compare("x", float, {}, {}, rng=RNG), ValueError, "no tensors"),
    "an empty tensor": (
        lambda: check_op("x", lambda x: (x, 0), lambda dy, _: dy, {"x": np.ones((0, 2))}, rng=RNG),
        ValueError, "empty"),
    "an eps that is a text": (lambda: BatchNorm2d(3, eps="1e-3"), ValueError, "eps must lie"),
    "momentum True": (lambda: BatchNorm2d(3, momentum=True), ValueError, "momentum must lie"),
    "eps set to -1": (lambda: norm_with(eps=-1), ValueError, r"eps must lie in \[0, inf\)"),
    "momentum set to NaN": (lambda: norm_with(momentum=NAN.max()), ValueError, "momentum must"),
    "p set to NaN": (lambda: block_with(survival_prob=float("nan")), ValueError, "survival_prob"),
    "survival_prob True": (
        lambda: ResidualBlock(ReLU(), ReLU(), survival_prob=True), ValueError, "survival_prob"),
    "recompute_every set to 0": (
        lambda: tiny_net(recompute_every=0).forward(BATCH[0]), ValueError, "recompute_every must"),
    "a list of layers": (lambda: Sequential([ReLU(), ReLU()]), TypeError, "one argument each"),
    "a class of layers": (lambda: Sequential(ReLU), TypeError, "made of layers"),
    "no branch": (lambda: ResidualBlock(None, ReLU()), TypeError, "made of layers"),
    "a parameter of integers": (lambda: Parameter(np.ones(3, int)), TypeError, "float32 or"),
    "a parameter that is a list": (lambda: Parameter([1.0]), TypeError, "got list"),
    "no gradient": (lambda: Parameter(np.ones(3)).accumulate(None), TypeError, "returned nothing"),
    "a gradient that is a number": (
        lambda: Parameter(np.ones(())).accumulate(1.0), TypeError, "got float"),
    "dy None": (lambda: there_and_back(None), TypeError, "dy is None"),
    "dy a number": (lambda: there_and_back(1.0), TypeError, "got float"),
    "x None": (lambda: ReLU().forward(None), TypeError, "x is None"),
    "a masked array": (
        lambda: ReLU().forward(np.ma.masked_equal(np.ones((2, 3)), 0)), TypeError, "MaskedArray"),
    "lr True": (lambda: SGD(tiny_net(), True), ValueError, "lr must lie"),
    "lr a text": (lambda: SGD(tiny_net(), "0.1"), ValueError, "lr must lie"),
    "lr set to NaN": (lambda: step_with(lr=float("nan")), ValueError, "lr must lie"),
    "lr of 400 digits": (lambda: SGD(tiny_net(), 10**400), ValueError, "lr must lie"),
    "p of 400 digits": (lambda: uniform(3, 10**400), ValueError, "must lie in .0, 1."),
    "SGD of a list": (lambda: SGD([], 0.1), TypeError, "SGD trains a network"),
    "epochs 2.5": (lambda: StepSchedule(0.1, 2.5), ValueError, "epochs must be a whole"),
    "warm-up 1.5": (
        lambda: StepSchedule(0.1, 4, warmup_epochs=1.5), ValueError, "warmup_epochs must be"),
    "epoch NaN": (lambda: StepSchedule(0.1, 4)(float("nan")), ValueError, "counted from 1"),
    "a lesion of block -1": (lambda: without(tiny_net(), [-1]), ValueError, "no -1"),
    "a lesion of block 9": (lambda: without(tiny_net(), [9]), ValueError, "blocks 0 to 2"),
    "a sub-network of probabilities": (
        lambda: sub_network(tiny_net(), [0.5] * 3), TypeError, "a gate must be True"),
    "a branch of weight True": (
        lambda: FixedBlock(tiny_net().blocks[0], True), ValueError, "weight must lie"),
    "labels that are floats": (lambda: evaluated_with(LABELS.astype(float)), TypeError, "integers"),
    "labels that are bool": (lambda: evaluated_with(LABELS > 0), TypeError, "integers"),
    "labels in a list": (lambda: evaluated_with(LABELS.tolist()), TypeError, "got list"),
    "a label -1": (lambda: evaluated_with(LABELS - 1), ValueError, "1 labels are no classes"),
    "labels of more classes": (lambda: evaluated_with(LABELS + 9), ValueError, "0 to 9"),
    "no direction to check along": (
        lambda: check_square(directions=0, elements=0), ValueError, "nothing would be compared"),
    "-1 elements": (lambda: check_square(elements=-1), ValueError, "elements must be"),
    "a tolerance that lets all pass": (
        lambda: check_square(tolerance=float("inf")), ValueError, "tolerance must lie"),
    "a step of 0": (lambda: check_square(h=0), ValueError, r"h must lie in \(0, inf\)"),
    "no generator": (lambda: check_square(rng=None), TypeError, "needs a generator"),
    "a check at NaN": (lambda: check_square(x=NAN), ValueError, "not finite"),
    "a check of what cannot be moved": (
        lambda: check_square(x=np.broadcast_to(1.0, (3, 2))), ValueError, "read-only"),
    "a gradient that is left out": (
        lambda: compare("x", lambda: 0.0, {"w": np.ones(3)}, {}, rng=RNG), ValueError, "gradient"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_a_sentence(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


def images(rng, count=8):
    return rng.standard_normal((count, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def model(rng):
    return resnet(8, width=2, rng=rng)


def test_an_error_rate_needs_one_label_per_image(model, rng):
    with pytest.raises(ValueError, match=r"8 images need labels of shape \(8,\), got \(8, 1\)"):
        evaluate(model, [(images(rng), np.zeros((8, 1), int))])
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, [])


def test_evaluation_leaves_every_layer_in_the_mode_that_it_was_in(model, rng):
    norms = [layer for layer in model.walk() if isinstance(layer, BatchNorm2d)]
    for norm in norms[::2]:
        norm.eval()
    before = [(layer.training, layer.saves) for layer in model.walk()]
    batch = (images(rng), np.zeros(8, int))
    evaluate(model, [batch])
    assert before == [(layer.training, layer.saves) for layer in model.walk()]
    with pytest.raises(NonFiniteError), np.errstate(invalid="ignore"):
        evaluate(model, [(batch[0] * np.nan, batch[1])])
    assert before == [(layer.training, layer.saves) for layer in model.walk()]
    model.eval()
    evaluate(model, [batch])
    assert not any(layer.training for layer in model.walk())


def test_a_users_floating_point_settings_do_not_stop_the_loss(ops, device):
    logits = device.put(np.array([[0.0, -2000.0, 1.0]]))
    with np.errstate(all="raise"):
        loss, dlogits = ops.softmax_cross_entropy(logits, device.put([0]))
    assert float(loss) == pytest.approx(np.log(1 + np.e))
    assert host(dlogits)[0, 1] == 0


@pytest.mark.parametrize("wait", [True, False])
def test_a_step_that_waits_checks_the_labels_and_one_that_does_not_wait_does_not(wait, model, rng):
    """A label that is none: -1 is NumPy's last class."""
    step = (model, SGD(model, 0.1), images(rng), np.full(8, -1))
    if wait:
        with pytest.raises(ValueError, match="labels must lie between 0 and 9"):
            train_step(*step)
    else:
        assert np.isfinite(train_step(*step, wait=False))


def test_a_forward_that_draws_is_told_so(rng):
    class Dropout(Layer):
        def forward(self, x):
            self.save(mask := rng.random(x.shape) < 0.5)
            return mask * x

        def backward(self, dy):
            return self.take() * dy

    with pytest.raises(ValueError, match="two forwards of the same input differ"):
        check_layer(Dropout(), rng.standard_normal((3, 4)), rng=rng)


def test_no_parameter_moves_if_one_gradient_does_not_fit(model):
    """Set by hand, it would be broadcast."""
    optimizer = SGD(model, 0.1)
    before = [p.data.copy() for _, p in model.parameters()]
    for _, parameter in model.parameters():
        parameter.grad = np.ones_like(parameter.data)
    parameter.grad = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="has shape"):
        optimizer.step()
    for (_, parameter), old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.data, old)


def test_numbers_of_numpy_are_numbers(rng):
    """Of any precision; what is computed stays float32."""
    layer = BatchNorm2d(3, momentum=np.float64(0.5), eps=np.float32(0.001))
    layer.forward(images(rng))
    assert layer.running_mean.dtype == np.float32
    block = ResidualBlock(ReLU(), ReLU(), survival_prob=np.float64(0.5))
    block.survival_prob = np.float64(0.25)
    assert block.eval().forward(images(rng)).dtype == np.float32
    assert StepSchedule(np.float32(0.1), np.int64(4))(np.int32(1)) == pytest.approx(0.1)
