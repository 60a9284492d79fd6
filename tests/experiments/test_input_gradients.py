"""Gradients at inputs: each is its own, right, and correlated as the theory says."""

import numpy as np
import pytest

from minisd import linear_decay, resnet, set_gates
from minisd.experiments import input_gradients as module
from minisd.experiments import shattered
from minisd.experiments.input_gradients import (
    autocorrelation,
    correlation,
    fixed_statistics,
    fully_connected,
    fully_connected_correlation,
    input_gradients,
    norms_of,
)
from minisd.layers import ReLU

pytestmark = pytest.mark.usefixtures("in_every_form")

KINDS = [
    {},
    {"shortcut": "none", "survival": None},
    {"shortcut": "projection"},
    {"scale": "train"},
]
GATES = [True, False, True]


@pytest.fixture(params=KINDS, ids=str)
def model(request, rng):
    options = {"in_channels": 2, "width": 3, "survival": linear_decay(3), **request.param}
    net = resnet(8, rng=rng, dtype=np.float64, **options)
    if options["survival"]:
        set_gates(net, GATES)
    return net


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 2, 8, 8))


@pytest.fixture
def dy(rng):
    return rng.standard_normal(10)


def test_the_gradient_at_an_input_does_not_depend_on_the_others(model, x, dy):
    together = input_gradients(model, x, dy)
    assert together.shape == (4, 2 * 8 * 8)
    with fixed_statistics(model, x):
        for one, expected in zip(x, together, strict=True):
            model.forward(one[None])
            np.testing.assert_allclose(model.backward(dy[None]).ravel(), expected, rtol=1e-9)


def test_the_gradient_at_an_input_is_the_finite_difference(model, x, dy, rng):
    analytic = input_gradients(model, x, dy)[1].reshape(x.shape[1:])
    eps = 1e-6
    with fixed_statistics(model, x):
        for _ in range(10):
            place = tuple(rng.integers(0, x.shape[1:]))
            ends = np.stack([x[1], x[1]])
            ends[0][place] += eps
            ends[1][place] -= eps
            up, down = model.forward(ends) @ dy
            np.testing.assert_allclose(analytic[place], (up - down) / (2 * eps), rtol=1e-5)


def test_statistics_are_those_of_the_inputs_and_then_what_they_were(model, x):
    norm, before = model.stem.layers[1], [buffer.copy() for _, buffer in model.buffers()]
    with fixed_statistics(model, 5 + 3 * x):
        h = model.stem.layers[0].forward(5 + 3 * x)
        np.testing.assert_allclose(norm.running_mean, h.mean(axis=(0, 2, 3)))
        count = h[:, 0].size
        np.testing.assert_allclose(norm.running_var, h.var(axis=(0, 2, 3)) * count / (count - 1))
    for (_, buffer), old in zip(model.buffers(), before, strict=True):
        np.testing.assert_array_equal(buffer, old)


def settings(model):
    return [(norm.momentum, norm.training) for norm in norms_of(model)]


def test_all_batch_norms_are_found(rng):
    assert len(settings(resnet(14, rng=rng))) == 1 + 6 * 2
    assert len(settings(resnet(14, shortcut="projection", rng=rng))) == 1 + 6 * 2 + 2
    assert len(settings(fully_connected(4, 3, rng))) == 4


@pytest.mark.parametrize("training", [True, False])
def test_momentum_and_mode_are_put_back(model, x, training):
    model.train(training)
    for number, norm in enumerate(norms_of(model)):
        norm.momentum = 0.1 + 0.01 * number
    before = settings(model)
    with fixed_statistics(model, x):
        assert [mode for _, mode in settings(model)] == [False] * len(before)
    assert settings(model) == before


def test_momentum_and_mode_are_put_back_after_an_error_inside(model, x):
    before = settings(model)
    with pytest.raises(KeyError), fixed_statistics(model, x):
        raise KeyError
    assert settings(model) == before


def test_momentum_and_mode_are_put_back_after_inputs_that_do_not_fit(model, x):
    before = settings(model)
    with pytest.raises(ValueError, match="channels"), fixed_statistics(model, x[:, :1]):
        pass
    assert settings(model) == before


# Correlations


def test_autocorrelation_is_exact_where_it_is_known(rng):
    gradient = rng.standard_normal(7)
    np.testing.assert_allclose(autocorrelation(np.tile(gradient, (9, 1))), np.ones(9))
    signs = (-1.0) ** np.arange(9)
    np.testing.assert_allclose(autocorrelation(signs[:, None] * gradient), signs)
    assert autocorrelation(rng.standard_normal((9, 3)))[0] == pytest.approx(1)


def test_autocorrelation_by_hand():
    gradients = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    size = (1 + 2 + 4) / 3
    expected = [1, (1 + 2) / 2 / size, 0]
    np.testing.assert_allclose(autocorrelation(gradients), expected)


def test_autocorrelation_of_white_noise_vanishes(rng):
    N, numbers = 50, 400
    found = autocorrelation(rng.standard_normal((N, numbers)))[1:]
    noise = 1 / np.sqrt(numbers * (N - np.arange(1, N)))
    assert (abs(found) < 6 * noise).all()


def test_correlation_by_hand(rng):
    assert correlation(np.array([[1.0, 0], [3, 0]])) == pytest.approx(1)
    assert correlation(np.array([[1.0, 0], [0, 3]])) == pytest.approx(0)
    assert correlation(np.array([[1.0, 0], [-3, 0]])) == pytest.approx(-1)
    three = np.array([[2.0, 0], [0, 1], [1, 1]])  # angles of 90, 45 and 45 degrees
    assert correlation(three) == pytest.approx(2 * np.sqrt(0.5) / 3)


def check_theory(L, repetitions=8):
    """The correlation at independent inputs is 2^-L (Balduzzi et al., theorem 1)."""
    found = [
        fully_connected_correlation(L, 256, 256, np.random.default_rng([seed, L]))
        for seed in range(repetitions)
    ]
    np.testing.assert_allclose(np.mean(found), 2.0**-L, rtol=0.2)


@pytest.mark.parametrize("L", range(1, 7))
def test_each_relu_halves_the_correlation_in_a_fully_connected_network(L):
    check_theory(L)


@pytest.mark.parametrize("L", [1, 3, 6])
def test_a_planted_error_of_the_theory_is_found(L, monkeypatch):
    def one_relu_too_few(*arguments):
        chain = fully_connected(*arguments)
        assert isinstance(chain.layers.pop(2), ReLU)
        return chain

    monkeypatch.setattr(module, "fully_connected", one_relu_too_few)
    with pytest.raises(AssertionError, match="Not equal"):
        check_theory(L)


def measured(shortcut, depth):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((2, 1, 8, 8)).astype(np.float32)
        net = resnet(depth, in_channels=1, width=8, shortcut=shortcut, rng=rng)
        yield shattered.measure(net, images, 64, rng)


@pytest.mark.slow
def test_a_residual_network_keeps_more_of_the_correlation_than_a_plain_one():
    for plain, residual in zip(measured("none", 20), measured("A", 20), strict=True):
        assert len(plain["line"]) == 64
        assert plain["line"][0] == pytest.approx(1)
        assert residual["line"][1] > plain["line"][1] + 0.2
    plain, residual = (
        np.mean([found["independent"] for found in measured(kind, 8)]) for kind in ("none", "A")
    )
    assert residual > 2 * plain > 0
