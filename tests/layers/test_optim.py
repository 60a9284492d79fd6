"""SGD against its formula, and the learning rate by epoch."""

import numpy as np
import pytest

from devices import assert_close, ones_like, unwritten
from minisd import SGD, Linear, StepSchedule


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_follows_its_formula(nesterov, weight_decay, rng, device):
    layer = Linear(3, 2, rng=rng, dtype=np.float64).to(device.name)
    optimizer = SGD(layer, 0.2, momentum=0.8, nesterov=nesterov, weight_decay=weight_decay)
    w, v = layer.w.data.copy(), 0.0
    for step in range(4):
        layer.w.grad = device.standard_normal(rng, w.shape)
        layer.b.grad = device.put(np.zeros(2))
        optimizer.lr = 0.2 / (step + 1)
        g = layer.w.grad + weight_decay * w
        v = 0.8 * v + g
        w = w - optimizer.lr * (g + 0.8 * v if nesterov else v)
        optimizer.step()
        assert_close(layer.w.data, w, rtol=1e-12)


def test_weight_decay_reaches_biases_too(rng, device):
    layer = Linear(3, 2, rng=rng).to(device.name)
    layer.b.data += 1
    layer.w.grad, layer.b.grad = 0 * layer.w.data, 0 * layer.b.data
    SGD(layer, 0.5, momentum=0.0, nesterov=False, weight_decay=0.1).step()
    assert_close(layer.b.data, 0.95, rtol=1e-6)


def test_the_gradient_is_not_written_and_dtypes_stay(rng, device):
    layer = Linear(3, 2, rng=rng).to(device.name)
    for p in (layer.w, layer.b):
        p.grad = device.standard_normal(rng, p.data.shape, np.float32)
    data = layer.w.data
    optimizer = SGD(layer, 0.1)
    with unwritten(layer.w.grad, layer.b.grad):
        optimizer.step()
    assert layer.w.data is data  # moved in place
    assert data.dtype == np.float32
    assert all(v.dtype == np.float32 for _, v in optimizer.buffers())


def test_a_frozen_parameter_that_was_never_reached_has_no_momentum(rng, device):
    layer = Linear(3, 2, rng=rng).to(device.name)
    layer.w.grad = ones_like(layer.w.data)
    optimizer = SGD(layer, 0.1, dropped="freeze")
    optimizer.step()
    assert [name for name, _ in optimizer.buffers()] == ["w"]


@pytest.mark.parametrize(
    ("options", "epochs_and_rates"),
    [
        ({"lr": 0.1, "epochs": 500}, {1: 0.1, 250: 0.1, 251: 0.01, 375: 0.01, 376: 0.001}),
        ({"lr": 0.1, "epochs": 50, "drops": (30, 35)}, {30: 0.1, 31: 0.01, 35: 0.01, 36: 0.001}),
        (
            {"lr": 0.1, "epochs": 300, "drops": (150, 225), "warmup_epochs": 10},
            {1: 0.01, 10: 0.01, 11: 0.1, 150: 0.1, 151: 0.01, 226: 0.001},
        ),
        ({"lr": 0.1, "epochs": 5, "drops": ()}, {1: 0.1, 5: 0.1}),
        ({"lr": 0.1, "epochs": 25}, {13: 0.1, 14: 0.01, 19: 0.01, 20: 0.001}),
        ({"lr": 0.1, "epochs": 100, "drops": (0.07, 0.29)}, {7: 0.1, 8: 0.01, 29: 0.01, 30: 0.001}),
        ({"lr": 0.1, "epochs": 1}, {1: 0.1}),
    ],
)
def test_schedule(options, epochs_and_rates):
    schedule = StepSchedule(**options)
    assert {epoch: schedule(epoch) for epoch in epochs_and_rates} == epochs_and_rates
