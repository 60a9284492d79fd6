"""Arguments that make no sense, modes that a helper leaves, numbers that do not fit: a sentence."""

import numpy as np
import pytest

from devices import host
from minisd import SGD, StepSchedule, machine, resnet
from minisd.data import Normaliser, Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.errors import ConfigError, DataError, NonFiniteError
from minisd.gradcheck import check_layer, check_op, compare
from minisd.layer import Layer, Parameter
from minisd.layers import BatchNorm2d, Conv2d, Linear
from minisd.train import evaluate, train_step

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (6, 3, 4, 4)).astype(np.uint8)
SPLIT = Split(IMAGES, np.arange(6))
NAN = np.where(np.arange(6 * 48).reshape(6, 3, 4, 4) == 7, np.nan, 1.0)


def batches(maker, size):
    options = {"rng": RNG} if maker is training_batches else {}
    return list(maker(SPLIT, size, normaliser=Normaliser.fit(IMAGES), **options))


REFUSED = {
    "no channels": (lambda: BatchNorm2d(0), ValueError, "channels must be a whole number"),
    "momentum above 1": (lambda: BatchNorm2d(3, momentum=1.5), ValueError, "momentum must lie"),
    "momentum NaN": (lambda: BatchNorm2d(3, momentum=float("nan")), ValueError, "momentum"),
    "negative eps": (lambda: BatchNorm2d(3, eps=-1e-3), ValueError, "eps must be"),
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
