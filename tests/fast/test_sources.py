"""Batch norm and ReLU as a convolution reads them: whole, or up to a factor for its filters."""

import numpy as np
import pytest

from devices import Device, assert_close, host
from minisd import BatchNorm2d, ConvChain, Sequential
from minisd.fast import conv, conv_norm
from minisd.fast.sources import Normalised, Plain, Thresholded, leave_scale_to_filters
from minisd.gradcheck import check_layer
from minisd.residual import basic_branch

GAMMAS = {
    "all positive": [0.5, 2.0, 1.0],
    "one negative": [0.5, -2.0, 1.0],
    "one zero": [0.5, 0.0, 1.0],
    "one next to nothing": [0.5, 1e-30, 1.0],
    "one small": [0.5, 1e-6, 1.0],
}


def normalised(device, rng, scale, relu=True):
    z, shift = device.standard_normal(rng, (6, 3, 5, 4)), device.standard_normal(rng, 3)
    zeros, ones = device.put(np.zeros(3)), device.put(np.ones(3))
    return Normalised(z, zeros, ones, device.put(scale), shift, relu)


def read(source, rows, columns):
    part = source.like[rows, :, columns]
    out = part.copy()
    source.read(rows, columns, out)
    return out if source.factor is None else source.factor[:, None, None] * out


@pytest.mark.parametrize("gammas", GAMMAS)
def test_what_filters_take_is_the_same_images(gammas, rng, device):
    y = normalised(device, rng, GAMMAS[gammas])
    for where in (
        (slice(0, 6), slice(0, 5)),
        (slice(1, 3), slice(0, 5, 2)),
        (slice(5, 6), slice(3, 5)),
    ):
        assert_close(
            read(leave_scale_to_filters(y), *where), read(y, *where), rtol=1e-12, atol=1e-12
        )


def test_only_scales_that_are_positive_and_not_small_are_left_to_the_filters(rng, device):
    """And on a GPU none, where to look at them would be to wait."""
    for gammas, scale in GAMMAS.items():
        taken = isinstance(leave_scale_to_filters(normalised(device, rng, scale)), Thresholded)
        assert taken == (device.name == "cpu" and gammas == "all positive")
    plain, linear = (
        Plain(device.put(np.ones((1, 1, 1, 1)))),
        normalised(device, rng, [1.0] * 3, False),
    )
    assert leave_scale_to_filters(plain) is plain
    assert leave_scale_to_filters(linear) is linear


def branch(kind, gammas, device, dtype):
    """A branch with these gammas before its ReLU."""
    layers = basic_branch(3, 3, rng=np.random.default_rng(5), dtype=dtype).layers
    norm = layers[1]
    assert isinstance(norm, BatchNorm2d)
    norm.gamma.data[...] = gammas
    norm.beta.data[...] = [0.3, -0.2, 0.1]
    return kind(*layers).to(device.name)


def results(model, x, dy):
    y, dx = model.forward(x), model.backward(dy)
    return [y, dx, *(parameter.grad for _, parameter in model.parameters())]


@pytest.mark.parametrize("gammas", GAMMAS)
def test_a_chain_equals_its_layers_whatever_the_gammas(gammas, rng, device):
    x, dy = (device.standard_normal(rng, (4, 3, 6, 5)) for _ in range(2))
    chain, plain = (
        results(branch(kind, GAMMAS[gammas], device, np.float64), x, dy)
        for kind in (ConvChain, Sequential)
    )
    for found, right in zip(chain, plain, strict=True):
        assert_close(found, right, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("gammas", ["all positive", "one negative", "one small"])
@pytest.mark.parametrize("mean", [0, 30])
def test_in_float32_it_is_within_a_few_ulps_of_the_layers(gammas, mean, rng, device):
    """Also far from zero."""
    x, dy = (device.standard_normal(rng, (8, 3, 8, 8)) for _ in range(2))
    x += mean
    exact = results(branch(Sequential, GAMMAS[gammas], device, np.float64), x, dy)
    x, dy = x.astype(np.float32), dy.astype(np.float32)
    chain, plain = (
        results(branch(kind, GAMMAS[gammas], device, np.float32), x, dy)
        for kind in (ConvChain, Sequential)
    )
    for found, luck, right in zip(chain, plain, exact, strict=True):
        error, theirs = (float(abs(host(a) - host(right)).max()) for a in (found, luck))
        assert error <= 3 * theirs + 1e-6 * float(abs(host(right)).max())


PLANTED = {
    "the forward's filters without the factor": ("fold_factor", lambda w, x: w),
    "the gradients without the factors": ("unfold_factors", lambda dw, dy, x: dw),
}


@pytest.mark.parametrize("name", [None, *PLANTED])
def test_gradcheck_finds_a_factor_left_out(name, rng, device, monkeypatch):
    if name is not None:
        monkeypatch.setattr(conv, *PLANTED[name])
    chain = branch(ConvChain, GAMMAS["all positive"], device, np.float64)
    x = device.standard_normal(rng, (3, 3, 5, 4))
    assert check_layer(chain, x, rng=rng).passed == (name is None)


RIGHT_SUMS = conv_norm.gradient_sums_above

PLANTED_SUMS = {
    "about the threshold": lambda dy, excess, above_mean: RIGHT_SUMS(dy, excess, 0 * above_mean),
    "about the mean's mirror image": lambda dy, excess, above_mean: RIGHT_SUMS(
        dy, excess, -above_mean
    ),
}


@pytest.mark.parametrize("name", [None, *PLANTED_SUMS])
def test_gradcheck_finds_sums_about_a_wrong_place(name, rng, monkeypatch):
    if name is not None:
        monkeypatch.setattr(conv_norm, "gradient_sums_above", PLANTED_SUMS[name])
    cpu = Device("cpu")
    chain = branch(ConvChain, GAMMAS["all positive"], cpu, np.float64)
    x = cpu.standard_normal(rng, (3, 3, 5, 4))
    assert check_layer(chain, x, rng=rng).passed == (name is None)


@pytest.mark.parametrize("beta", [0.0, 3.0, -7.0, 15.0, 30.0])
def test_sums_are_as_exact_far_from_the_mean(beta, rng):
    """A threshold many standard deviations from the mean costs no accuracy: it is not used."""
    x, dy = (rng.standard_normal((8, 3, 8, 8)) for _ in range(2))

    def gradients(kind, dtype):
        model = branch(kind, [1.0, 0.9, 1.1], Device("cpu"), dtype)
        model.layers[1].beta.data[...] = beta
        _, _, *parameters = results(model, x.astype(dtype), dy.astype(dtype))
        return parameters[1:3]  # of gamma and beta

    exact = gradients(Sequential, np.float64)
    found, plain = (gradients(kind, np.float32) for kind in (ConvChain, Sequential))
    for ours, luck, right in zip(found, plain, exact, strict=True):
        error, theirs = (abs(a - right).max() for a in (ours, luck))
        assert error <= 3 * theirs + 1e-6 * abs(right).max()
