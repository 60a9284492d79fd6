"""Convolution against loops, its adjoint, and its habits."""

import numpy as np
import pytest

import references
from devices import assert_close, assert_equal, host
from minisd import fast, machine, ops
from minisd.fast import winograd
from minisd.fast.conv import fastest
from minisd.gradcheck import check_op

WAYS = {
    "views": (fast.conv2d_forward, fast.conv2d_backward),
    "row pairs": (fast.conv2d_forward, fast.conv2d_backward),
    "im2col": (ops.conv2d_forward, ops.conv2d_backward),
}

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
    ((2, 3, 6, 5), (4, 3, 3), 1, 1),
    ((2, 4, 2, 1), (3, 3, 3), 1, 1),
    ((3, 2, 4, 6), (5, 3, 4), 1, 2),
    ((2, 2, 8, 7), (3, 3, 1), 1, 0),
    ((1, 2, 1, 2), (3, 3, 2), 1, 4),
]


@pytest.fixture
def row_pairs(monkeypatch):
    """Convolve by pairs of rows however few channels there are, wherever it can be done."""
    monkeypatch.setattr(machine, "additions_pay", lambda w: True)


def make(geometry, rng, device, dtype=np.float64):
    x_shape, (F, KH, KW), stride, padding = geometry
    x = device.standard_normal(rng, x_shape, dtype)
    w = device.standard_normal(rng, (F, x_shape[1], KH, KW), dtype)
    b = device.standard_normal(rng, F, dtype)
    return x, w, b, {"stride": stride, "padding": padding}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_forward_and_backward_equal_the_loops(way, geometry, with_bias, rng, device, request):
    if way == "row pairs":
        request.getfixturevalue("row_pairs")
    forward, backward = WAYS[way]
    x, w, b, where = make(geometry, rng, device)
    b, host_b = (b, host(b)) if with_bias else (None, None)
    y, cache = forward(x, w, b, **where)
    expected = references.conv2d(host(x), host(w), host_b, **where)
    assert_close(y, expected, rtol=1e-12, atol=1e-12)
    dy = device.standard_normal(rng, y.shape)
    dx, dw, db = backward(dy, cache)
    expected = references.conv2d_gradients(host(dy), host(x), host(w), **where)
    assert_close(dx, expected[0], rtol=1e-12, atol=1e-12)
    assert_close(dw, expected[1], rtol=1e-12, atol=1e-12)
    if with_bias:
        assert_close(db, expected[2], rtol=1e-12, atol=1e-12)
    else:
        assert db is None


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_backward_is_the_adjoint(geometry, rng, device):
    """<conv(x), y> = <x, conv^T(y)> = <w, ...>: no step size, no reference."""
    x, w, _, where = make(geometry, rng, device)
    y, cache = fast.conv2d_forward(x, w, **where)
    other = device.standard_normal(rng, y.shape)
    dx, dw, _ = fast.conv2d_backward(other, cache)
    inner = float((y * other).sum())
    assert float((x * dx).sum()) == pytest.approx(inner, rel=1e-12)
    assert float((w * dw).sum()) == pytest.approx(inner, rel=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES[:4])
def test_memory_order_of_the_arguments_changes_nothing(geometry, rng, device):
    x, w, b, where = make(geometry, rng, device)
    y, cache = fast.conv2d_forward(x, w, b, **where)
    dy = device.standard_normal(rng, y.shape)
    gradients = fast.conv2d_backward(dy, cache)
    for order in [(1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 1, 0)]:
        back = tuple(np.argsort(order))

        def reordered(a, order=order, back=back):
            return a.transpose(order).copy(order="C").transpose(back)

        y2, cache2 = fast.conv2d_forward(reordered(x), reordered(w), b, **where)
        assert_equal(y2, y)
        for g2, g in zip(fast.conv2d_backward(reordered(dy), cache2), gradients, strict=True):
            assert_equal(g2, g)


def test_a_float32_result_is_close_to_float64(rng, device):
    x, w, b, where = make(GEOMETRIES[0], rng, device, np.float32)
    y, cache = fast.conv2d_forward(x, w, b, **where)
    exact = references.conv2d(*(host(a).astype(np.float64) for a in (x, w, b)), **where)
    assert y.dtype == np.float32
    assert_close(y, exact, rtol=1e-5, atol=1e-5)
    assert all(g.dtype == np.float32 for g in fast.conv2d_backward(y, cache))


BIG = [  # several slabs, several pieces, and sizes that cannot be cut evenly
    ((32, 16, 16, 16), (16, 3, 3), 1, 1),
    ((50, 1, 28, 28), (8, 3, 3), 1, 1),
    ((50, 8, 28, 28), (8, 5, 5), 1, 2),
    ((7, 64, 9, 11), (64, 3, 3), 1, 1),
    ((128, 64, 8, 8), (64, 3, 3), 1, 1),
    ((6, 64, 10, 13), (96, 3, 3), 1, 1),
    ((5, 80, 6, 7), (64, 3, 3), 1, 0),
    ((64, 16, 16, 16), (32, 3, 3), 2, 1),
    ((64, 24, 8, 8), (48, 1, 1), 2, 0),
    ((33, 5, 17, 31), (7, 4, 4), 1, 1),
]


@pytest.mark.parametrize("geometry", BIG)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_convolutions_equal_im2col(geometry, dtype, rng, device):
    """And the error, against im2col in float64 on the host, is at most twice im2col's own."""
    arguments = make(geometry, rng, device)
    x, w, b = (a.astype(dtype) for a in arguments[:3])
    where = arguments[3]
    y, cache = fast.conv2d_forward(x, w, b, **where)
    dy = device.standard_normal(rng, y.shape, dtype)
    found = (y, *fast.conv2d_backward(dy, cache))
    as_64 = [host(a).astype(np.float64) for a in (x, w, b, dy)]
    y64, cache64 = ops.conv2d_forward(*as_64[:3], **where)
    exact = (y64, *ops.conv2d_backward(as_64[3], cache64))
    y32, cache32 = ops.conv2d_forward(x, w, b, **where)
    plain = (y32, *ops.conv2d_backward(dy, cache32))
    for ours, theirs, right in zip(found, plain, exact, strict=True):
        scale = abs(right).max()
        error, luck = (abs(host(a) - right).max() / scale for a in (ours, theirs))
        assert ours.dtype == dtype
        assert error <= 2 * luck + 40 * np.finfo(dtype).eps


# ---- by pairs of rows ----


def test_with_many_channels_it_is_done_by_pairs_of_rows():
    def scheme(F, C, KH=3, stride=1, OH=8):
        return type(fastest(np.ones((F, C, KH, 3), np.float32), stride, OH))

    assert scheme(64, 64) is scheme(64, 128) is winograd.RowPairs
    others = [scheme(64, 63), scheme(16, 64), scheme(64, 64, KH=5), scheme(64, 64, stride=2)]
    assert winograd.RowPairs not in [*others, scheme(64, 64, OH=7)]


def test_pairs_of_rows_take_two_thirds_of_the_multiplications(monkeypatch, rng):
    """In the forward and both gradients: counted, as rows * columns * depth of all products."""
    x, dy = rng.standard_normal((2, 4, 64, 8, 8))
    w = rng.standard_normal((64, 64, 3, 3))
    count = 0

    def counted(function, size):
        def run(*arguments):
            nonlocal count
            count += size(*arguments)
            return function(*arguments)

        return run

    for name, size in {
        "sum_of_products": lambda a, b, out: a.shape[0] * a.shape[-1] * out.size,
        "products_with_transpose": lambda a, b: a.size * b.shape[1],
    }.items():
        monkeypatch.setattr(machine, name, counted(getattr(machine, name), size))
    found = []
    for few in (False, True):
        monkeypatch.setattr(machine, "additions_pay", lambda w, few=few: few)
        count = 0
        _, cache = fast.conv2d_forward(x, w, padding=1)
        fast.conv2d_backward(dy, cache)
        found.append(count)
    assert found == [3 * 9 * 64 * 64 * x[:, 0].size, 3 * 6 * 64 * 64 * x[:, 0].size]


PLANTED = {
    "m_3 with the sign of g_2": ("filter_transform", lambda U: U[:, :, :, 1].__imul__(-1)),
    "m_1 and m_2 a little larger": ("filter_transform", lambda U: U[:, 1].__imul__(1.001)),
    "d_0 - d_2 twice as large": ("input_transform", lambda d: d[0].__imul__(2)),
    "dm_2 of the wrong sign": ("output_gradient_transform", lambda dm: dm[1::2].__imul__(-1)),
}


@pytest.mark.usefixtures("row_pairs")
@pytest.mark.parametrize("name", [None, *PLANTED])
def test_gradcheck_and_im2col_find_a_wrong_transform(name, rng, device, monkeypatch):
    """Against finite differences where forward and gradient part, against im2col where not."""
    x, w = device.standard_normal(rng, (2, 3, 6, 5)), device.standard_normal(rng, (4, 3, 3, 3))
    if name is not None:
        where, spoil = PLANTED[name]
        right = getattr(winograd, where)

        def wrong(given):
            made = right(given)
            spoil(made)
            return made

        monkeypatch.setattr(winograd, where, wrong)
    report = check_op(
        "conv2d", lambda x, w: fast.conv2d_forward(x, w, padding=1),
        lambda dy, cache: fast.conv2d_backward(dy, cache)[:2], {"x": x, "w": w}, rng=rng,
    )  # fmt: skip
    y, _ = fast.conv2d_forward(x, w, padding=1)
    plain, _ = ops.conv2d_forward(x, w, padding=1)
    close = np.allclose(host(y), host(plain), rtol=1e-12, atol=1e-12)
    assert (report.passed and close) == (name is None)
