"""The other operations against references, and what all of them have in common."""

import numpy as np
import pytest

import minisd
import references
from devices import assert_close, assert_equal, host, ones_like, unwritten
from minisd.backend import array_module


def operations(ops):
    """name: (forward, backward, shapes of the inputs), of one edition."""
    return {
        "conv2d": (
            lambda x, w, b: ops.conv2d_forward(x, w, b, stride=2, padding=1),
            ops.conv2d_backward,
            {"x": (2, 3, 5, 6), "w": (4, 3, 3, 3), "b": (4,)},
        ),
        "batchnorm2d training": (
            lambda x, gamma, beta: ops.batchnorm2d_forward(
                x, gamma, beta, 0 * beta, ones_like(beta), training=True
            ),
            ops.batchnorm2d_backward,
            {"x": (2, 3, 5, 4), "gamma": (3,), "beta": (3,)},
        ),
        "batchnorm2d evaluation": (
            lambda x, gamma, beta: ops.batchnorm2d_forward(
                x, gamma, beta, 0 * beta, ones_like(beta), training=False
            ),
            ops.batchnorm2d_backward,
            {"x": (2, 3, 5, 4), "gamma": (3,), "beta": (3,)},
        ),
        "relu": (ops.relu_forward, ops.relu_backward, {"x": (2, 3, 4, 5)}),
        "avg_pool2d": (
            lambda x: ops.avg_pool2d_forward(x, 2),
            ops.avg_pool2d_backward,
            {"x": (2, 3, 4, 6)},
        ),
        "global_avg_pool": (
            ops.global_avg_pool_forward,
            ops.global_avg_pool_backward,
            {"x": (2, 3, 4, 5)},
        ),
        "linear": (ops.linear_forward, ops.linear_backward, {"x": (3, 5), "w": (4, 5), "b": (4,)}),
    }


NAMES = list(operations(minisd.ops))


def inputs_of(shapes, rng, device, dtype=np.float64):
    return {key: device.standard_normal(rng, shape, dtype) for key, shape in shapes.items()}


def apply(operation, rng, device, dtype):
    forward, backward, shapes = operation
    inputs = inputs_of(shapes, rng, device, dtype)
    y, cache = forward(**inputs)
    dy = device.standard_normal(rng, y.shape, dtype)
    gradients = backward(dy, cache)
    return inputs, y, dy, gradients if isinstance(gradients, tuple) else (gradients,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_shapes_are_kept(ops, name, dtype, rng, device):
    inputs, y, _, gradients = apply(operations(ops)[name], rng, device, dtype)
    assert y.dtype == dtype
    for x, dx in zip(inputs.values(), gradients, strict=True):
        assert dx.dtype == dtype
        assert dx.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_not_written(ops, name, rng, device):
    forward, backward, shapes = operations(ops)[name]
    inputs = inputs_of(shapes, rng, device)
    with unwritten(*inputs.values()):
        y, cache = forward(**inputs)
        dy = device.standard_normal(rng, y.shape)
        with unwritten(dy):
            backward(dy, cache)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(ops, name, rng, device):
    forward, backward, shapes = operations(ops)[name]
    exact = inputs_of(shapes, rng, device)
    y64, cache64 = forward(**exact)
    y32, cache32 = forward(**{key: a.astype(np.float32) for key, a in exact.items()})
    assert_close(y32, y64, rtol=1e-5, atol=1e-5)
    dy, results = device.standard_normal(rng, y64.shape), []
    for cache, dtype in ((cache64, np.float64), (cache32, np.float32)):
        gradients = backward(dy.astype(dtype), cache)
        results.append(gradients if isinstance(gradients, tuple) else (gradients,))
    for g64, g32 in zip(*results, strict=True):
        assert_close(g32, g64, rtol=1e-4, atol=1e-5)


LINEAR = sorted(set(NAMES) - {"batchnorm2d training", "relu"})


@pytest.mark.parametrize("name", LINEAR)
def test_backward_of_a_linear_map_is_its_adjoint(ops, name, rng, device):
    """<f(x) - f(0), dy> = <x, f'(dy)> for everything that is (affine) linear in x."""
    forward, backward, shapes = operations(ops)[name]
    inputs = inputs_of(shapes, rng, device)
    y, cache = forward(**inputs)
    zero, _ = forward(**{**inputs, "x": 0 * inputs["x"]})
    dy = device.standard_normal(rng, y.shape)
    gradients = backward(dy, cache)
    dx = gradients[0] if isinstance(gradients, tuple) else gradients
    before, after = float(((y - zero) * dy).sum()), float((inputs["x"] * dx).sum())
    assert before == pytest.approx(after, rel=1e-11)


def channels(rng, device):
    """gamma, beta, running mean and running variance of three channels."""
    normal = [device.standard_normal(rng, 3) for _ in range(3)]
    return *normal, device.put(1 + rng.random(3))


def batchnorm_reference(*arrays):
    return references.batchnorm2d(*(host(array) for array in arrays))


def test_batchnorm_training_normalises_and_moves_the_running_statistics(ops, rng, device):
    x = 5 + 3 * device.standard_normal(rng, (4, 3, 2, 5))
    gamma, beta, running_mean, running_var = channels(rng, device)
    expected_mean = 0.7 * running_mean + 0.3 * x.mean(axis=(0, 2, 3))
    expected_var = 0.7 * running_var + 0.3 * x.var(axis=(0, 2, 3), ddof=1)
    y, _ = ops.batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, training=True, momentum=0.3
    )
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    assert_close(y, batchnorm_reference(x, gamma, beta, mean, var), rtol=1e-12)
    assert_close(running_mean, expected_mean, rtol=1e-12)
    assert_close(running_var, expected_var, rtol=1e-12)


def test_batchnorm_evaluation_uses_and_keeps_the_running_statistics(ops, rng, device):
    x = device.standard_normal(rng, (2, 3, 4, 5))
    gamma, beta, mean, var = channels(rng, device)
    before = mean.copy(), var.copy()
    y, _ = ops.batchnorm2d_forward(x, gamma, beta, mean, var, training=False)
    assert_close(y, batchnorm_reference(x, gamma, beta, mean, var), rtol=1e-12)
    assert_equal(mean, before[0])
    assert_equal(var, before[1])


def test_batchnorm_variance_does_not_cancel(ops, rng, device):
    """With mean 1000 and std 0.01, E[x^2] - E[x]^2 in float32 is noise, even negative."""
    x = (1000 + 0.01 * rng.standard_normal((8, 1, 16, 16))).astype(np.float32)
    one, zero = device.put(np.ones(1, np.float32)), device.put(np.zeros(1, np.float32))
    y, _ = ops.batchnorm2d_forward(device.put(x), one, zero, zero.copy(), one.copy(), training=True)
    y, exact = host(y), x.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    assert np.corrcoef(y.ravel(), exact.ravel())[0, 1] > 0.999
    assert y.std() == pytest.approx(exact.std(), rel=0.02)


def test_batchnorm_dx_has_no_part_along_the_constant_or_x_hat(ops, rng, device):
    x = device.standard_normal(rng, (3, 2, 4, 5))
    one_zero_zero_one = (device.put(np.full(2, number)) for number in (1.0, 0.0, 0.0, 1.0))
    y, cache = ops.batchnorm2d_forward(x, *one_zero_zero_one, training=True, eps=0.0)
    dx, _, _ = ops.batchnorm2d_backward(device.standard_normal(rng, y.shape), cache)
    assert_close(dx.sum(axis=(0, 2, 3)), 0, atol=1e-12)
    assert_close((dx * y).sum(axis=(0, 2, 3)), 0, atol=1e-12)


def test_avg_pool_is_the_mean_of_tiles(ops, rng, device):
    x = rng.standard_normal((2, 3, 4, 6))
    y = host(ops.avg_pool2d_forward(device.put(x), 2)[0])
    for n, c, h, w in np.ndindex(*y.shape):
        tile = x[n, c, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
        assert y[n, c, h, w] == pytest.approx(tile.mean())


def test_relu_keeps_nan_visible(ops, device):
    y, _ = ops.relu_forward(device.put([np.nan, -1.0, 0.0, 2.0]))
    assert np.isnan(float(y[0]))
    assert y[1:].tolist() == [0, 0, 2]


def test_cross_entropy_of_huge_logits_is_finite_and_right(ops, device):
    logits = device.put(np.array([[1e4, 0.0], [0.0, 1e4]], np.float32))
    loss, dlogits = ops.softmax_cross_entropy(logits, device.put([0, 0]))
    assert float(loss) == pytest.approx(5e3)
    assert dlogits.tolist() == [[0, 0], [-0.5, 0.5]]


def test_cross_entropy_gradient_sums_to_zero_in_each_row(ops, rng, device):
    logits = device.standard_normal(rng, (5, 4))
    _, dlogits = ops.softmax_cross_entropy(logits, device.put([0, 3, 1, 1, 2]))
    assert_close(dlogits.sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_cross_entropy_takes_any_integer_labels(ops, dtype, rng, device):
    logits = rng.standard_normal((3, 4))
    loss, _ = ops.softmax_cross_entropy(device.put(logits), device.put(np.array([0, 3, 2], dtype)))
    expected = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert float(loss) == pytest.approx(np.mean(expected[[0, 1, 2], [0, 3, 2]]))


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (1, 1, 1, 1, 2)]
)
def test_relu_and_addition_take_any_shape(ops, shape, rng, device):
    a, b = device.standard_normal(rng, shape), device.standard_normal(rng, shape)
    xp = array_module(a)
    y, cache = ops.relu_forward(a)
    assert_equal(y, xp.maximum(a, 0))
    assert_equal(ops.relu_backward(b, cache), b * (a > 0))
    y, cache = ops.add_relu_forward(a, b)
    assert_equal(y, xp.maximum(a + b, 0))
    assert_equal(ops.relu_backward(b, cache), b * (a + b > 0))
    assert_equal(ops.add(a, b), a + b)
    for y, cache in (
        ops.relu_forward(a, keep=False),
        ops.add_relu_forward(a, xp.zeros_like(a), keep=False),
    ):
        assert_equal(y, xp.maximum(a, 0))
        assert cache is None


@pytest.mark.parametrize("name", NAMES)
def test_results_are_new_arrays_that_may_be_written_to(ops, name, rng, device):
    """A gradient is often added to in place. (Of views of dy and x, see the shortcut's.)"""
    forward, backward, shapes = operations(ops)[name]
    inputs = inputs_of(shapes, rng, device)
    y, cache = forward(**inputs)
    dy = device.standard_normal(rng, y.shape)
    with unwritten(dy, *inputs.values()):
        gradients = backward(dy, cache)
        for array in (y, *(gradients if isinstance(gradients, tuple) else (gradients,))):
            array += 1


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_the_gradient_of_any_tile_may_be_written_to(ops, kernel, rng, device):
    x = device.standard_normal(rng, (2, 3, 4, 4))
    y, cache = ops.avg_pool2d_forward(x, kernel)
    dx = ops.avg_pool2d_backward(y, cache)
    dx += 1
    assert_close(dx.sum(axis=(2, 3)), y.sum(axis=(2, 3)) + 16, rtol=1e-12)
