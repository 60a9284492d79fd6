"""Networks by depth: sizes, shapes, and what they refuse."""

import numpy as np
import pytest

from devices import assert_close, assert_equal, host, ones_like
from minisd import fast, linear_decay, ops, resnet
from minisd.errors import ConfigError
from minisd.models import check_image_size, depth_of, num_blocks
from minisd.residual import SHORTCUTS, PadShortcut, make_shortcut
from minisd.runs.config import resolve


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (56, 853_018), (110, 1_727_962), (1202, 19_421_274)],
)
def test_parameter_counts_are_the_published_ones(depth, parameters, rng):
    assert resnet(depth, rng=rng).num_parameters == parameters


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 38, 44, 56, 74, 92, 110, 152, 1202])
def test_depth_counts_layers(depth):
    L = num_blocks(depth)
    assert depth == 2 * L + 2 == depth_of(L)
    assert L % 3 == 0


def test_the_number_of_blocks_decides_the_depth():
    def of_five(*_, **__): ...

    of_five.layers = 5
    assert [depth_of(6, branch) for branch in ("basic", "bottleneck", of_five)] == [14, 20, 32]
    assert num_blocks(32, of_five) == 6
    with pytest.raises(ValueError, match=r"3n blocks \(3, 6, 9, \.\.\.\), so none has 4"):
        depth_of(4)
    with pytest.raises(ValueError, match="num_blocks"):
        depth_of(0)


@pytest.mark.parametrize("branch", ["basic", "bottleneck"])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_every_combination_runs_forward_and_backward(branch, shortcut, rng, device):
    depth = 8 if branch == "basic" else 11
    model = resnet(depth, num_classes=5, in_channels=2, width=4, branch=branch, shortcut=shortcut,
                   survival=None if shortcut == "none" else linear_decay(3),
                   rng=rng).to(device.name)  # fmt: skip
    x = device.standard_normal(rng, (2, 2, 12, 8), np.float32)
    y = model.forward(x)
    assert y.shape == (2, 5)
    assert y.dtype == np.float32
    dx = model.backward(ones_like(y))
    assert dx.shape == x.shape
    assert dx.dtype == np.float32
    assert all(p.grad is not None and p.grad.dtype == np.float32 for _, p in model.parameters())
    assert model.eval().forward(x).shape == (2, 5)


def test_groups_halve_the_image_and_double_the_channels(rng, device):
    model = resnet(14, width=4, rng=rng).to(device.name)
    h = model.stem.forward(device.standard_normal(rng, (1, 3, 16, 8), np.float32))
    shapes = [h.shape]
    for block in model.blocks:
        h = block.forward(h)
        shapes.append(h.shape)
    assert shapes == [(1, 4, 16, 8)] * 3 + [(1, 8, 8, 4)] * 2 + [(1, 16, 4, 2)] * 2


@pytest.mark.parametrize("shortcut", ["A-subsample", "projection", "none"])
def test_odd_images_work_where_nothing_is_tiled(shortcut, rng, device):
    model = resnet(8, width=2, shortcut=shortcut, rng=rng).to(device.name)
    x = device.standard_normal(rng, (2, 3, 9, 7), np.float32)
    assert model.backward(model.forward(x)).shape == x.shape


def test_shortcut_a_averages_and_appends_zeros(rng, device):
    x = device.standard_normal(rng, (2, 3, 4, 6), np.float32)
    y = PadShortcut(3, 7, 2).forward(x)
    assert_equal(y[:, :3], fast.avg_pool2d_forward(x, 2)[0])
    assert not y[:, 3:].any()
    y = PadShortcut(3, 7, 2, subsample=True).forward(x)
    assert_equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()


def test_the_shortcut_is_the_identity_where_the_shape_stays(rng, device):
    x = device.standard_normal(rng, (2, 3, 4, 6))
    for kind in ("A", "A-subsample", "projection"):
        shortcut = make_shortcut(kind, 3, 3, 1, rng=rng).to(device.name)
        assert shortcut.forward(x) is x
        assert shortcut.backward(x) is x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_a_plain_network_is_its_branches_rectified(training, size, rng, device):
    model = resnet(14, width=3, shortcut="none", rng=rng, dtype=np.float64).to(device.name)
    x = device.standard_normal(rng, (4, 3, *size))
    model.forward(x)
    model.train(training)
    h, undo = model.stem.forward(x), []
    for block in model.blocks:
        f = block.branch.forward(h)
        h = f * (f > 0)
        undo.append((block.branch, f > 0))
    y = model.head.forward(model.pool.forward(h))
    if training:
        dy = device.standard_normal(rng, (4, 10))
        dh = model.pool.backward(model.head.backward(dy))
        for branch, positive in reversed(undo):
            dh = branch.backward(dh * positive)
        dx = model.stem.backward(dh)
        assert_close(model.forward(x), y, rtol=1e-11)
        assert_close(model.backward(dy), dx, rtol=1e-9, atol=1e-14)
    assert_close(model.forward(x), y, rtol=1e-11)


def test_nothing_would_pass_a_closed_block_of_a_plain_network(rng):
    with pytest.raises(ValueError, match="shortcut 'none'"):
        resnet(8, shortcut="none", survival=[1, 1, 0.5], rng=rng)
    for survival in ({"survival": "linear", "p_last": 0.5}, {"survival": "uniform"}):
        with pytest.raises(ConfigError, match="shortcut 'none'"):
            resolve({"shortcut": "none", **survival})
    assert resnet(8, shortcut="none", survival=[1, 1, 1], rng=rng).survival_probs == [1, 1, 1]
    assert resolve({"shortcut": "none", "survival": "constant"}).survival_probs == [1] * 9
    assert resolve({"shortcut": "none", "p_last": 1.0}).shortcut == "none"


def test_a_plain_network_has_the_parameters_of_its_branches(rng):
    plain, residual = (resnet(20, shortcut=kind, rng=rng) for kind in ("none", "A"))
    assert plain.num_parameters == residual.num_parameters
    x = np.ones((2, 4, 6, 6))
    shortcut = make_shortcut("none", 4, 4, 1, rng=rng)
    assert not shortcut.forward(x).any()
    assert not shortcut.backward(x).any()


def test_evaluation_does_not_depend_on_the_batch(rng, device):
    model = resnet(8, width=4, survival=linear_decay(3), rng=rng).to(device.name)
    x = device.standard_normal(rng, (6, 3, 8, 8), np.float32)
    model.forward(x)
    model.eval()
    together = model.forward(x)
    alone = np.concatenate([host(model.forward(x[i : i + 1])) for i in range(6)])
    assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "options"),
    [(10, 8, {}), (8, 9, {}), (6, 6, {}), (0, 4, {}),
     (4, 4, {"smallest_batch": 1}), (3, 4, {"shortcut": "projection", "smallest_batch": 1})],
)  # fmt: skip
def test_images_that_the_network_cannot_take(height, width, options):
    with pytest.raises(ValueError, match="images of"):
        check_image_size(height, width, **options)


def test_images_that_it_can_take():
    check_image_size(8, 8, smallest_batch=1)
    check_image_size(4, 4)
    check_image_size(9, 7, shortcut="A-subsample")


def signs(layer):
    """Of everything that went into a ReLU in the last forward, which is forgotten."""
    return b"".join(each.kinks() for each in layer.walk())


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_float32_is_within_a_few_ulps_per_layer_of_float64(depth, rng, device):
    single = resnet(depth, rng=np.random.default_rng(0)).to(device.name)
    double = resnet(depth, rng=np.random.default_rng(0)).to(device.name, np.float64)
    labels = device.put(np.arange(16) % 10)
    ulp = np.finfo(np.float32).eps
    for _ in range(20):  # a number that a ReLU takes once as 1e-9, once as -1e-9, has two gradients
        x = device.standard_normal(rng, (16, 3, 16, 16), np.float32)
        y, exact = single.forward(x), double.forward(x.astype(np.float64))
        assert abs(y - exact).max() / abs(exact).max() < 2 * depth * ulp
        if signs(single) == signs(double):
            break
    else:
        pytest.fail("no input found at which all signs agree")
    y, exact = single.forward(x), double.forward(x.astype(np.float64))
    single.backward(ops.softmax_cross_entropy(y, labels)[1])
    double.backward(ops.softmax_cross_entropy(exact, labels)[1])
    for (name, p), (_, q) in zip(single.parameters(), double.parameters(), strict=True):
        assert abs(p.grad - q.grad).max() / abs(q.grad).max() < 10 * depth * ulp, name
