"""Where nothing flows there is 0, also of what is infinite or NaN, and no warning."""

import numpy as np
import pytest

from devices import assert_equal, host
from minisd import ResidualBlock, fast, fuse
from minisd import ops as minisd_ops
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential
from minisd.residual import IdentityShortcut

BAD = [np.inf, -np.inf, np.nan]
FORMS = ("fused", "plain", "book")


@pytest.fixture(autouse=True)
def _no_floating_point_error():
    with np.errstate(all="raise"):
        yield


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2, 1)])
def test_a_closed_rectifier_lets_nothing_through(dtype, shape, ops, device):
    x = np.array([-1, 0, 2, -np.inf, 0, 1, -1, 0, 3, 0, 0, 4], dtype).reshape(shape)
    dy = np.array([*BAD, *BAD, *BAD, 1, -1, 5], dtype).reshape(shape)
    right = np.where(x > 0, dy, 0)
    for forward in (ops.relu_forward, lambda x: ops.add_relu_forward(x, 0 * x)):
        given = device.put(np.where(np.isinf(x), -1, x).astype(dtype))
        dx = ops.relu_backward(device.put(dy), forward(given)[1])
        assert_equal(dx, right)
        assert host(dx).dtype == dtype


def test_the_engine_keeps_every_bit_of_what_passes(rng):
    x, dy = (rng.standard_normal(10000).astype(np.float32) for _ in range(2))
    dx = fast.relu_backward(dy, fast.relu_forward(x)[1])
    assert dx[x > 0].tobytes() == dy[x > 0].tobytes()
    assert not dx[x <= 0].view(np.int32).any()


def in_form(form, layer):
    return fuse(layer) if form == "fused" else layer.use(minisd_ops) if form == "book" else layer


def conv(weight):
    layer = Conv2d(1, 1, 1, rng=np.random.default_rng(0), dtype=np.float64)
    layer.w.data[...] = weight
    return layer


def norm(shift=0.0):
    layer = BatchNorm2d(1, eps=0, dtype=np.float64)
    layer.beta.data[...] = shift
    layer.training = False  # its statistics are constants, so that pixels are apart
    return layer


X = np.array([-1.0, 1.0, 2.0, -2.0]).reshape(1, 1, 2, 2)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last_relu", [True, False])
def test_a_chain_lets_nothing_through_its_closed_rectifiers(form, last_relu, bad):
    """Closed where x < 0: the last ReLU, or the one inside, is met by a bad gradient there."""
    layers = [conv(1), norm(), ReLU()] if last_relu else [conv(1), norm(), ReLU(), conv(1), norm()]
    chain = in_form(form, Sequential(*layers))
    chain.forward(X)
    with np.errstate(all="ignore"):  # gradients of the second batch norm are not finite
        dx = chain.backward(np.where(X < 0, bad, 3.0))
    assert_equal(dx, np.where(X < 0, 0, 3.0))
    assert chain.layers[0].w.grad.item() == 3 * (1 + 2)
    assert chain.layers[1].beta.grad.item() == 6


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_block_lets_nothing_through_its_closed_rectifier(form, is_open, bad):
    block = ResidualBlock(Sequential(conv(1), norm()), IdentityShortcut())
    block = in_form(form, block)
    block.is_open = is_open
    block.forward(X)
    dx = block.backward(np.where(X < 0, bad, 3.0))
    assert_equal(dx, np.where(X < 0, 0, 6.0 if is_open else 3.0))
    grad = block.branch.layers[0].w.grad
    assert (grad.item() == 9) if is_open else grad is None


@pytest.mark.parametrize("form", FORMS)
def test_a_branch_of_weight_0_counts_for_nothing_whatever_it_holds(form):
    block = ResidualBlock(Sequential(conv(np.inf), norm()), IdentityShortcut(), survival_prob=0)
    block = in_form(form, block).eval(keep=True)
    assert_equal(block.forward(X), np.maximum(X, 0))
    assert_equal(block.backward(np.ones_like(X)), X > 0)
    assert block.branch.layers[0].w.grad is None
