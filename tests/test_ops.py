"""The other operations against references, and what all of them have in common."""

import numpy as np
import pytest

import references
from minisd import ops

# name: (forward, backward, inputs as a function of rng)
OPERATIONS = {
    "conv2d": (
        lambda x, w, b: ops.conv2d_forward(x, w, b, stride=2, padding=1),
        ops.conv2d_backward,
        {"x": (2, 3, 5, 6), "w": (4, 3, 3, 3), "b": (4,)},
    ),
    "batchnorm2d training": (
        lambda x, gamma, beta: ops.batchnorm2d_forward(
            x, gamma, beta, np.zeros_like(beta), np.ones_like(beta), training=True
        ),
        ops.batchnorm2d_backward,
        {"x": (2, 3, 5, 4), "gamma": (3,), "beta": (3,)},
    ),
    "batchnorm2d evaluation": (
        lambda x, gamma, beta: ops.batchnorm2d_forward(
            x, gamma, beta, np.zeros_like(beta), np.ones_like(beta), training=False
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


def apply(name, rng, dtype):
    forward, backward, shapes = OPERATIONS[name]
    inputs = {key: rng.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}
    y, cache = forward(**inputs)
    dy = rng.standard_normal(y.shape).astype(dtype)
    gradients = backward(dy, cache)
    return inputs, y, dy, gradients if isinstance(gradients, tuple) else (gradients,)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_shapes_are_kept(name, dtype, rng):
    inputs, y, _, gradients = apply(name, rng, dtype)
    assert y.dtype == dtype
    for x, dx in zip(inputs.values(), gradients, strict=True):
        assert dx.dtype == dtype
        assert dx.shape == x.shape


@pytest.mark.parametrize("name", OPERATIONS)
def test_arguments_are_not_written(name, rng):
    """Read-only arguments, so a write into one raises."""
    forward, backward, shapes = OPERATIONS[name]
    inputs = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    for array in inputs.values():
        array.flags.writeable = False
    y, cache = forward(**inputs)
    dy = rng.standard_normal(y.shape)
    dy.flags.writeable = False
    backward(dy, cache)


@pytest.mark.parametrize("name", OPERATIONS)
def test_float32_agrees_with_float64(name, rng):
    forward, backward, shapes = OPERATIONS[name]
    exact = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    y64, cache64 = forward(**exact)
    y32, cache32 = forward(**{key: a.astype(np.float32) for key, a in exact.items()})
    np.testing.assert_allclose(y32, y64, rtol=1e-5, atol=1e-5)
    dy, results = rng.standard_normal(y64.shape), []
    for cache, dtype in ((cache64, np.float64), (cache32, np.float32)):
        gradients = backward(dy.astype(dtype), cache)
        results.append(gradients if isinstance(gradients, tuple) else (gradients,))
    for g64, g32 in zip(*results, strict=True):
        np.testing.assert_allclose(g32, g64, rtol=1e-4, atol=1e-5)


LINEAR = sorted(set(OPERATIONS) - {"batchnorm2d training", "relu"})


@pytest.mark.parametrize("name", LINEAR)
def test_backward_of_a_linear_map_is_its_adjoint(name, rng):
    """<f(x) - f(0), dy> = <x, f'(dy)> for everything that is (affine) linear in x."""
    forward, backward, shapes = OPERATIONS[name]
    inputs = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    y, cache = forward(**inputs)
    zero, _ = forward(**{**inputs, "x": np.zeros_like(inputs["x"])})
    dy = rng.standard_normal(y.shape)
    gradients = backward(dy, cache)
    dx = gradients[0] if isinstance(gradients, tuple) else gradients
    assert np.sum((y - zero) * dy) == pytest.approx(np.sum(inputs["x"] * dx), rel=1e-11)


def test_batchnorm_training_normalises_and_moves_the_running_statistics(rng):
    x = 5 + 3 * rng.standard_normal((4, 3, 2, 5))
    gamma, beta = rng.standard_normal(3), rng.standard_normal(3)
    running_mean, running_var = rng.standard_normal(3), 1 + rng.random(3)
    expected_mean = 0.7 * running_mean + 0.3 * x.mean(axis=(0, 2, 3))
    expected_var = 0.7 * running_var + 0.3 * x.var(axis=(0, 2, 3), ddof=1)
    y, _ = ops.batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, training=True, momentum=0.3
    )
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    np.testing.assert_allclose(y, references.batchnorm2d(x, gamma, beta, mean, var), rtol=1e-12)
    np.testing.assert_allclose(running_mean, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(running_var, expected_var, rtol=1e-12)


def test_batchnorm_evaluation_uses_and_keeps_the_running_statistics(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    gamma, beta = rng.standard_normal(3), rng.standard_normal(3)
    mean, var = rng.standard_normal(3), 1 + rng.random(3)
    before = mean.copy(), var.copy()
    y, _ = ops.batchnorm2d_forward(x, gamma, beta, mean, var, training=False)
    np.testing.assert_allclose(y, references.batchnorm2d(x, gamma, beta, mean, var), rtol=1e-12)
    np.testing.assert_array_equal((mean, var), before)


def test_batchnorm_variance_does_not_cancel(rng):
    """With mean 1000 and std 0.01, E[x^2] - E[x]^2 in float32 is noise, even negative."""
    x = (1000 + 0.01 * rng.standard_normal((8, 1, 16, 16))).astype(np.float32)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    y, _ = ops.batchnorm2d_forward(x, one, zero, zero.copy(), one.copy(), training=True)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    assert np.corrcoef(y.ravel(), exact.ravel())[0, 1] > 0.999
    assert y.std() == pytest.approx(exact.std(), rel=0.02)


def test_batchnorm_dx_has_no_part_along_the_constant_or_x_hat(rng):
    x = rng.standard_normal((3, 2, 4, 5))
    y, cache = ops.batchnorm2d_forward(
        x, np.ones(2), np.zeros(2), np.zeros(2), np.ones(2), training=True, eps=0.0
    )
    dx, _, _ = ops.batchnorm2d_backward(rng.standard_normal(y.shape), cache)
    np.testing.assert_allclose(dx.sum(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose((dx * y).sum(axis=(0, 2, 3)), 0, atol=1e-12)


def test_avg_pool_is_the_mean_of_tiles(rng):
    x = rng.standard_normal((2, 3, 4, 6))
    y, _ = ops.avg_pool2d_forward(x, 2)
    for n, c, h, w in np.ndindex(*y.shape):
        tile = x[n, c, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
        assert y[n, c, h, w] == pytest.approx(tile.mean())


def test_relu_keeps_nan_visible():
    y, _ = ops.relu_forward(np.array([np.nan, -1.0, 0.0, 2.0]))
    assert np.isnan(y[0])
    assert y[1:].tolist() == [0, 0, 2]


def test_cross_entropy_of_huge_logits_is_finite_and_right():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]], np.float32)
    loss, dlogits = ops.softmax_cross_entropy(logits, np.array([0, 0]))
    assert loss == pytest.approx(5e3)
    assert dlogits.tolist() == [[0, 0], [-0.5, 0.5]]


def test_cross_entropy_gradient_sums_to_zero_in_each_row(rng):
    _, dlogits = ops.softmax_cross_entropy(rng.standard_normal((5, 4)), np.array([0, 3, 1, 1, 2]))
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_cross_entropy_takes_any_integer_labels(dtype, rng):
    logits = rng.standard_normal((3, 4))
    loss, _ = ops.softmax_cross_entropy(logits, np.array([0, 3, 2], dtype))
    expected = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert loss == pytest.approx(np.mean(expected[[0, 1, 2], [0, 3, 2]]))


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (1, 1, 1, 1, 2)]
)
def test_relu_and_addition_take_any_shape(shape, rng):
    a, b = np.asarray(rng.standard_normal(shape)), np.asarray(rng.standard_normal(shape))
    y, cache = ops.relu_forward(a)
    np.testing.assert_array_equal(y, np.maximum(a, 0))
    np.testing.assert_array_equal(ops.relu_backward(b, cache), b * (a > 0))
    y, cache = ops.add_relu_forward(a, b)
    np.testing.assert_array_equal(y, np.maximum(a + b, 0))
    np.testing.assert_array_equal(ops.relu_backward(b, cache), b * (a + b > 0))
    np.testing.assert_array_equal(ops.add(a, b), a + b)
