"""Convolution against loops, its adjoint, and its habits."""

import numpy as np
import pytest

import references
from minisd import ops

GEOMETRIES = [  # (N, C, H, W), (F, KH, KW), stride, padding
    ((2, 3, 5, 6), (4, 3, 3), 1, 1),
    ((2, 3, 7, 6), (4, 3, 3), 2, 1),
    ((1, 2, 8, 5), (3, 3, 3), 3, 0),
    ((3, 1, 4, 7), (2, 1, 1), 2, 0),
    ((2, 2, 6, 5), (3, 5, 5), 1, 2),
    ((2, 4, 5, 8), (1, 2, 3), 3, 2),
    ((1, 1, 3, 4), (2, 3, 4), 1, 0),
    ((2, 2, 2, 2), (2, 3, 3), 1, 3),
    ((2, 3, 9, 7), (2, 4, 2), 4, 1),
]


def make(geometry, rng, dtype=np.float64):
    x_shape, (F, KH, KW), stride, padding = geometry
    x = rng.standard_normal(x_shape).astype(dtype)
    w = rng.standard_normal((F, x_shape[1], KH, KW)).astype(dtype)
    b = rng.standard_normal(F).astype(dtype)
    return x, w, b, {"stride": stride, "padding": padding}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_forward_and_backward_equal_the_loops(geometry, with_bias, rng):
    x, w, b, where = make(geometry, rng)
    b = b if with_bias else None
    y, cache = ops.conv2d_forward(x, w, b, **where)
    np.testing.assert_allclose(y, references.conv2d(x, w, b, **where), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx, dw, db = ops.conv2d_backward(dy, cache)
    expected = references.conv2d_gradients(dy, x, w, **where)
    np.testing.assert_allclose(dx, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dw, expected[1], rtol=1e-12, atol=1e-12)
    if with_bias:
        np.testing.assert_allclose(db, expected[2], rtol=1e-12, atol=1e-12)
    else:
        assert db is None


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_backward_is_the_adjoint(geometry, rng):
    """<conv(x), y> = <x, conv^T(y)> = <w, ...>: no step size, no reference."""
    x, w, _, where = make(geometry, rng)
    y, cache = ops.conv2d_forward(x, w, **where)
    other = rng.standard_normal(y.shape)
    dx, dw, _ = ops.conv2d_backward(other, cache)
    inner = np.sum(y * other)
    assert np.sum(x * dx) == pytest.approx(inner, rel=1e-12)
    assert np.sum(w * dw) == pytest.approx(inner, rel=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES[:4])
def test_memory_order_of_the_arguments_changes_nothing(geometry, rng):
    x, w, b, where = make(geometry, rng)
    y, cache = ops.conv2d_forward(x, w, b, **where)
    dy = rng.standard_normal(y.shape)
    gradients = ops.conv2d_backward(dy, cache)
    for order in [(1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 1, 0)]:
        back = tuple(np.argsort(order))

        def reordered(a, order=order, back=back):
            return np.ascontiguousarray(a.transpose(order)).transpose(back)

        y2, cache2 = ops.conv2d_forward(reordered(x), reordered(w), b, **where)
        np.testing.assert_array_equal(y2, y)
        for g2, g in zip(ops.conv2d_backward(reordered(dy), cache2), gradients, strict=True):
            np.testing.assert_array_equal(g2, g)


def test_a_float32_result_is_close_to_float64(rng):
    x, w, b, where = make(GEOMETRIES[0], rng, np.float32)
    y, cache = ops.conv2d_forward(x, w, b, **where)
    exact = references.conv2d(*(a.astype(np.float64) for a in (x, w, b)), **where)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    assert all(g.dtype == np.float32 for g in ops.conv2d_backward(y, cache))
