"""Adam and AdamW against their formulas; parameter groups; what an optimiser remembers."""

import copy

import numpy as np
import pytest

from devices import assert_close, assert_equal, host, ones_like, unwritten
from minisd import SGD, Adam, AdamW, Linear, Optimizer, no_decay_on_batchnorm, resnet
from minisd.layers import BatchNorm2d
from minisd.optim import check_optimizer

RULES = {
    "SGD": lambda model, **options: SGD(model, 0.05, **{"weight_decay": 0.1} | options),
    "Adam": lambda model, **options: Adam(model, 0.05, **{"weight_decay": 0.1} | options),
    "AdamW": lambda model, **options: AdamW(model, 0.05, **{"weight_decay": 0.1} | options),
}


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


def layer_on(device, rng, dtype=np.float64):
    return Linear(3, 2, rng=rng, dtype=dtype).to(device.name)


def random_step(layer, optimizer, device, rng, reached=("w", "b")):
    for name, p in layer.parameters():
        g = device.standard_normal(rng, p.data.shape, p.data.dtype)
        p.grad = g if name in reached else None
    optimizer.step()


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_follows_its_formula(decoupled, rng, device):
    layer = layer_on(device, rng)
    cls = AdamW if decoupled else Adam
    optimizer = cls(layer, 0.2, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3)
    w, m, v = layer.w.data.copy(), 0.0, 0.0
    for t in range(1, 6):
        optimizer.lr = lr = 0.2 / t
        random_step(layer, optimizer, device, rng)
        g = layer.w.grad + (0 if decoupled else 0.3) * w
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        w = (1 - lr * 0.3) * w if decoupled else w
        w = w - lr * (m / (1 - 0.8**t)) / ((v / (1 - 0.95**t)) ** 0.5 + 1e-3)
        assert_close(layer.w.data, w, rtol=1e-12)


def test_a_first_step_of_adam_has_the_size_of_the_rate(rng, device):
    layer = layer_on(device, rng)
    before = layer.w.data.copy()
    optimizer = Adam(layer, 0.01)
    layer.w.grad, layer.b.grad = 1e-3 * ones_like(layer.w.data), None
    optimizer.step()
    assert_close(before - layer.w.data, 0.01, rtol=1e-4)


def test_the_gradient_is_not_written_and_dtypes_stay(rule, rng, device):
    layer = layer_on(device, rng, np.float32)
    optimizer, data = rule(layer), layer.w.data
    layer.w.grad = device.standard_normal(rng, data.shape, np.float32)
    with unwritten(layer.w.grad):
        optimizer.step()
    assert layer.w.data is data  # moved in place
    assert data.dtype == np.float32
    assert all(array.dtype == np.float32 for _, array in optimizer.buffers())


@pytest.mark.parametrize("dropped", ["coast", "freeze"])
def test_what_is_remembered_can_be_taken_up_again(rule, dropped, rng, device):
    """The second optimiser goes on to the same bits; the arrays are not shared."""
    layer = layer_on(device, rng)
    first = rule(layer, dropped=dropped)
    random_step(layer, first, device, rng)
    random_step(layer, first, device, rng, reached=("w",))
    state = {k: host(v).copy() if hasattr(v, "shape") else v for k, v in first.state().items()}
    remembered = copy.deepcopy(state)
    twin = layer_on(device, rng)
    twin.w.data[...], twin.b.data[...] = layer.w.data, layer.b.data
    second = rule(twin, dropped=dropped)
    second.restore(state)
    for one, optimizer in ((layer, first), (twin, second)):
        random_step(one, optimizer, device, np.random.default_rng(1), reached=("b",))
    assert_equal(twin.w.data, layer.w.data)
    assert_equal(twin.b.data, layer.b.data)
    for name, value in state.items():  # what was restored is not moved by later steps
        np.testing.assert_array_equal(value, remembered[name])


def test_the_state_has_the_same_names_and_shapes_from_the_start(rule, rng, device):
    layer = layer_on(device, rng)
    optimizer = rule(layer, dropped="freeze")

    def declared():
        return {name: np.shape(value) for name, value in optimizer.state().items()}

    before = declared()
    random_step(layer, optimizer, device, rng, reached=("w",))
    assert declared() == before
    assert before[f"{optimizer.BUFFERS[0]}/w"] == (2, 3)


WRONG_STATES = {
    "too little": (lambda s: s.pop("first/w"), "lacks first/w"),
    "too much": (lambda s: s.update({"third/w": np.zeros(2)}), "has third/w"),
    "a shape": (lambda s: s.update({"second/b": np.zeros(3)}), r"second/b is \(3,\) float64 there"),
    "a dtype": (lambda s: s.update({"first/b": np.zeros(2, np.float32)}), "float32 there"),
    "no array": (lambda s: s.update({"first/b": 1.0}), "first/b is None None there"),
    "a count": (lambda s: s.update({"steps/b": -1}), "steps/b must be a whole number"),
}


@pytest.mark.parametrize("wrong", WRONG_STATES)
def test_a_state_that_does_not_fit_changes_nothing(wrong, rng):
    layer = Linear(3, 2, rng=rng, dtype=np.float64)
    optimizer = Adam(layer, 0.1)
    layer.w.grad, layer.b.grad = np.ones((2, 3)), np.ones(2)
    optimizer.step()
    state, before = dict(optimizer.state()), dict(optimizer.first)
    change, sentence = WRONG_STATES[wrong]
    change(state)
    with pytest.raises(ValueError, match=sentence):
        optimizer.restore(state)
    assert all(optimizer.first[name] is before[name] for name in before)


def test_an_adam_does_not_survive_a_move_unnoticed(rng, device):
    layer = layer_on(device, rng, np.float32)
    optimizer = Adam(layer, 0.1)
    random_step(layer, optimizer, device, rng)
    layer.to(device.name, np.float64)
    before = layer.w.data.copy()
    with pytest.raises(TypeError, match="make a new Adam"):
        random_step(layer, optimizer, device, rng)
    assert_equal(layer.w.data, before)


def test_only_batch_norm_is_free_of_decay(rng):
    model = resnet(8, width=4, shortcut="projection", rng=rng)
    optimizer = SGD(model, 0.1, groups=no_decay_on_batchnorm)
    norms = {
        id(parameter)
        for layer in model.walk()
        if isinstance(layer, BatchNorm2d)
        for _, parameter in layer.parameters()
    }
    free = {id(p) for name, p in optimizer.parameters.items() if name in optimizer.overrides}
    assert free == norms
    assert all(override == {"weight_decay": 0} for override in optimizer.overrides.values())


def test_groups_change_what_they_say_and_nothing_else(rule, rng, device):
    """Each parameter moves as under an optimiser with these numbers for all of them."""

    def groups(name, parameter):
        return {"lr_factor": 0.5, "weight_decay": 0.0} if name == "b" else {}

    moved = {}
    for kind, make in {
        "grouped": lambda layer: rule(layer, groups=groups),
        "w": rule,
        "b": lambda layer: rule(layer, weight_decay=0.0),
    }.items():
        layer = layer_on(device, np.random.default_rng(2))
        optimizer = make(layer)
        for _ in range(3):
            optimizer.lr = 0.02 if kind == "b" else 0.04  # as a schedule does
            random_step(layer, optimizer, device, np.random.default_rng(3))
        moved[kind] = layer
    assert_equal(moved["grouped"].w.data, moved["w"].w.data)
    assert_equal(moved["grouped"].b.data, moved["b"].b.data)


WRONG = {
    "betas": (lambda m: Adam(m, 0.1, betas=(0.9, 1.0)), ValueError, r"beta2 must lie in \[0, 1\)"),
    "one beta": (lambda m: Adam(m, 0.1, betas=0.9), ValueError, "two numbers"),
    "eps": (lambda m: AdamW(m, 0.1, eps=0), ValueError, r"eps must lie in \(0, inf\)"),
    "dropped": (lambda m: Adam(m, 0.1, dropped="drop"), ValueError, "'coast' or 'freeze'"),
    "no network": (lambda m: Adam([m], 0.1), TypeError, "Adam trains a network"),
    "groups": (lambda m: SGD(m, 0.1, groups={"b": {}}), TypeError, "groups is a function"),
    "a group": (lambda m: SGD(m, 0.1, groups=lambda *_: None), TypeError, "must return a dict"),
    "a setting": (
        lambda m: SGD(m, 0.1, groups=lambda *_: {"eps": 1}), ValueError, "'eps' for w; there are"),
    "a number": (
        lambda m: SGD(m, 0.1, groups=lambda *_: {"lr_factor": -1}), ValueError, "lr_factor of w"),
    "Nesterov": (
        lambda m: SGD(m, 0.1, groups=lambda *_: {"momentum": 0}), ValueError, "Nesterov's rule"),
    "a class": (lambda m: check_optimizer("fit", Adam), TypeError, r"Adam\(model, lr\), not its"),
    "a layer": (lambda m: check_optimizer("fit", m), TypeError, "has no lr and no dropped"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_said(wrong, rng):
    make, error, sentence = WRONG[wrong]
    with pytest.raises(error, match=sentence):
        make(Linear(3, 2, rng=rng))


def test_ours_satisfy_the_protocol_and_can_be_described(rule, rng):
    optimizer = rule(Linear(3, 2, rng=rng), groups=lambda name, p: {"lr_factor": 0.5})
    assert isinstance(optimizer, Optimizer)
    check_optimizer("fit", optimizer)
    described = optimizer.describe()
    assert described["name"] == type(optimizer).__name__.lower()
    assert described["weight_decay"] == 0.1
    assert described["overrides"]["b"] == {"lr_factor": 0.5}
    assert repr(optimizer).startswith(f"{type(optimizer).__name__}(lr=0.05")
