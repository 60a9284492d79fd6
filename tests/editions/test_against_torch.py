"""PyTorch as the judge, in float64: operations, blocks, whole networks, optimiser.

Skipped where PyTorch is not installed; the package never needs it.
"""

import numpy as np
import pytest

from minisd import (
    SGD,
    PreActBlock,
    draw_gates,
    linear_decay,
    ops,
    preact_branch,
    resnet,
    set_gates,
    set_image_gates,
)
from minisd.footprint import copy_of
from minisd.layers import Layer
from minisd.residual import IdentityShortcut, NoShortcut, PadShortcut, ResidualBlock
from minisd.summary import Calls

torch = pytest.importorskip("torch")
F = torch.nn.functional
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


def tensor(array):
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64, requires_grad=True)


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), **CLOSE)


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"), [(1, 1, 3), (2, 1, 3), (3, 2, 5), (1, 0, 1)]
)
def test_conv2d(ops, stride, padding, kernel, rng):
    x, w, b = (rng.standard_normal(s) for s in ((2, 3, 9, 7), (4, 3, kernel, kernel), (4,)))
    y, cache = ops.conv2d_forward(x, w, b, stride=stride, padding=padding)
    tx, tw, tb = map(tensor, (x, w, b))
    ty = F.conv2d(tx, tw, tb, stride=stride, padding=padding)
    agree(y, ty)
    dy = rng.standard_normal(y.shape)
    ty.backward(torch.tensor(dy))
    for ours, theirs in zip(ops.conv2d_backward(dy, cache), (tx, tw, tb), strict=True):
        agree(ours, theirs.grad)


@pytest.mark.parametrize("training", [True, False])
def test_batchnorm2d(ops, training, rng):
    x = 2 + 3 * rng.standard_normal((3, 4, 5, 2))
    gamma, beta, mean = (rng.standard_normal(4) for _ in range(3))
    var = 1 + rng.random(4)
    tx, tg, tb = map(tensor, (x, gamma, beta))
    tm, tv = torch.tensor(mean), torch.tensor(var)
    y, cache = ops.batchnorm2d_forward(x, gamma, beta, mean, var, training=training, momentum=0.2)
    ty = F.batch_norm(tx, tm, tv, tg, tb, training=training, momentum=0.2)
    agree(y, ty)
    agree(mean, tm)
    agree(var, tv)
    dy = rng.standard_normal(y.shape)
    ty.backward(torch.tensor(dy))
    for ours, theirs in zip(ops.batchnorm2d_backward(dy, cache), (tx, tg, tb), strict=True):
        agree(ours, theirs.grad)


def test_the_other_operations(ops, rng):
    x = rng.standard_normal((2, 3, 4, 6))
    for forward, backward, judge in (
        (ops.relu_forward, ops.relu_backward, F.relu),
        (lambda x: ops.avg_pool2d_forward(x, 2), ops.avg_pool2d_backward,
         lambda x: F.avg_pool2d(x, 2)),
        (ops.global_avg_pool_forward, ops.global_avg_pool_backward, lambda x: x.mean((2, 3))),
    ):  # fmt: skip
        y, cache = forward(x)
        tx = tensor(x)
        ty = judge(tx)
        agree(y, ty)
        dy = rng.standard_normal(y.shape)
        ty.backward(torch.tensor(dy))
        agree(backward(dy, cache), tx.grad)


def test_linear_and_cross_entropy(ops, rng):
    x, w, b = (rng.standard_normal(s) for s in ((5, 7), (4, 7), (4,)))
    labels = rng.integers(0, 4, 5)
    y, cache = ops.linear_forward(x, w, b)
    loss, dlogits = ops.softmax_cross_entropy(y, labels)
    tx, tw, tb = map(tensor, (x, w, b))
    tloss = F.cross_entropy(F.linear(tx, tw, tb), torch.tensor(labels))
    tloss.backward()
    agree(loss, tloss)
    for ours, theirs in zip(ops.linear_backward(dlogits, cache), (tx, tw, tb), strict=True):
        agree(ours, theirs.grad)


class Judge(torch.nn.Module):
    """The same network in PyTorch, made from one of ours, with an ``if`` around each branch."""

    def __init__(self, model):
        super().__init__()
        self.parameters_by_name = {
            name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in model.parameters()
        }
        self.weights = torch.nn.ParameterList(self.parameters_by_name.values())
        self.statistics = {name: torch.tensor(b) for name, b in model.buffers()}
        self.model = model
        self.gates = [True] * model.num_blocks

    def layer(self, name, layer, x):
        kind = type(layer).__name__
        p = self.parameters_by_name
        if kind == "Conv2d":
            return F.conv2d(x, p[f"{name}.w"], stride=layer.stride, padding=layer.padding)
        if kind == "BatchNorm2d":
            return F.batch_norm(
                x, self.statistics[f"{name}.running_mean"], self.statistics[f"{name}.running_var"],
                p[f"{name}.gamma"], p[f"{name}.beta"], training=self.training,
            )  # fmt: skip
        if kind == "ReLU":
            return F.relu(x)
        assert kind in ("Sequential", "ConvChain")
        for i, inner in enumerate(layer.layers):
            x = self.layer(f"{name}.{i}", inner, x)
        return x

    def shortcut(self, name, layer, x):
        if isinstance(layer, IdentityShortcut):
            return x
        if isinstance(layer, PadShortcut):
            x = x[:, :, ::2, ::2] if layer.subsample else F.avg_pool2d(x, layer.stride)
            return F.pad(x, (0, 0, 0, 0, 0, layer.out_channels - layer.in_channels))
        return self.layer(name, layer, x)

    def block(self, i, block: ResidualBlock, x):
        name = f"blocks.{i}"
        if isinstance(block.shortcut, NoShortcut):
            return F.relu(self.layer(f"{name}.branch", block.branch, x))
        h = self.shortcut(f"{name}.shortcut", block.shortcut, x)
        of_images = isinstance(self.gates[i], np.ndarray)
        if of_images or self.gates[i] or not self.training:
            f = self.layer(f"{name}.branch", block.branch, x)
            if self.training and of_images:
                f = f * torch.tensor(self.gates[i].astype(float)).reshape(-1, 1, 1, 1)
            if block.scale == "test":
                h = h + (f if self.training else block.survival_prob * f)
            else:
                h = h + (f / block.survival_prob if self.training else f)
        return h if block.pre_activation else F.relu(h)

    def forward(self, x):
        h = self.layer("stem", self.model.stem, x)
        for i, block in enumerate(self.model.blocks):
            h = self.block(i, block, h)
        for i, layer in enumerate(getattr(self.model.pool, "layers", [])[:-1]):
            h = self.layer(f"pool.{i}", layer, h)  # before the mean, with pre-activation
        p = self.parameters_by_name
        return F.linear(h.mean((2, 3)), p["head.w"], p["head.b"])


def gradients_agree(model: Layer, judge: Judge):
    for name, p in model.parameters():
        theirs = judge.parameters_by_name[name].grad
        assert (p.grad is None) == (theirs is None), name
        if p.grad is not None:
            agree(p.grad, theirs)


NETWORKS = [
    {"depth": 8, "shortcut": "A"},
    {"depth": 14, "shortcut": "A-subsample", "scale": "train"},
    {"depth": 8, "shortcut": "projection", "gamma": "uniform"},
    {"depth": 11, "shortcut": "projection", "branch": "bottleneck", "width": 2},
    {"depth": 11, "shortcut": "A", "branch": "bottleneck", "width": 2, "scale": "train"},
    {"depth": 8, "shortcut": "projection", "branch": preact_branch, "block": PreActBlock},
]
PLAIN = [{"depth": 14}, {"depth": 11, "branch": "bottleneck", "width": 2}]


def network(options, rng):
    L = (options["depth"] - 2) // (3 if options.get("branch") == "bottleneck" else 2)
    options = {"width": 3, "survival": linear_decay(L, 0.4), **options}
    return resnet(num_classes=4, in_channels=2, rng=rng, dtype=np.float64, **options)


@pytest.mark.parametrize("options", NETWORKS)
@pytest.mark.parametrize("gates", ["open", "closed", "mixed", "other"])
def test_whole_networks_with_gates(options, gates, rng):
    model = network(options, rng)
    L = model.num_blocks
    check_network(model, {"open": [True] * L, "closed": [False] * L,
                          "mixed": [i % 2 == 0 for i in range(L)],
                          "other": [i % 2 == 1 for i in range(L)]}[gates], rng)  # fmt: skip


@pytest.mark.parametrize("options", PLAIN)
def test_plain_networks(options, rng):
    model = network({"shortcut": "none", "survival": None, **options}, rng)
    check_network(model, [True] * model.num_blocks, rng)


@pytest.mark.parametrize("options", [*NETWORKS[:3], NETWORKS[-1]])
def test_a_gate_for_each_image(options, rng):
    """As torchvision's mode "row": the branch times noise of shape (N, 1, 1, 1).

    With scale "train" the noise is over p, as it is theirs.
    """
    model = network(options, rng)
    gates = rng.random((model.num_blocks, 3)) < 0.5
    gates[0] = [True, False, True]
    check_network(model, gates, rng)


def test_torchvisions_row_mode_is_what_we_say_it_is():
    """If it is installed: each image is 0, or over p."""
    theirs = pytest.importorskip("torchvision.ops")
    rows = theirs.stochastic_depth(torch.ones(200, 2, 3), p=0.75, mode="row").flatten(1)
    assert (rows == rows[:, :1]).all()
    assert set(rows[:, 0].tolist()) == {0, 4}


def check_network(model, gates, rng):
    judge = Judge(model)
    judge.gates = gates
    (set_image_gates if isinstance(gates, np.ndarray) else set_gates)(model, gates)
    x, labels = rng.standard_normal((3, 2, 8, 12)), rng.integers(0, 4, 3)
    tx = tensor(x)
    loss, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
    tloss = F.cross_entropy(judge(tx), torch.tensor(labels))
    tloss.backward()
    agree(loss, tloss)
    agree(model.backward(dlogits), tx.grad)
    gradients_agree(model, judge)
    for name, buffer in model.buffers():
        agree(buffer, judge.statistics[name])
    model.eval()
    judge.eval()
    agree(model.forward(x), judge(tx))


@pytest.mark.parametrize(
    ("nesterov", "dropped"),
    [
        (True, "coast"),
        pytest.param(True, "freeze", marks=pytest.mark.slow),
        pytest.param(False, "coast", marks=pytest.mark.slow),
        pytest.param(False, "freeze", marks=pytest.mark.slow),
    ],
)
def test_ten_sgd_steps(dropped, nesterov, rng):
    model = network({"depth": 14, "shortcut": "A"}, rng)
    judge = Judge(model)
    ours = SGD(model, 0.05, momentum=0.9, nesterov=nesterov, weight_decay=1e-2, dropped=dropped)
    theirs = torch.optim.SGD(judge.weights, 0.05, momentum=0.9, nesterov=nesterov,
                             weight_decay=1e-2)  # fmt: skip
    closed = 0
    for _ in range(10):
        judge.gates = draw_gates(model, rng)
        closed += judge.gates.count(False)
        x, labels = rng.standard_normal((4, 2, 8, 8)), rng.integers(0, 4, 4)
        model.zero_grad()
        loss, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
        model.backward(dlogits)
        ours.step()
        theirs.zero_grad(set_to_none=True)
        tloss = F.cross_entropy(judge(torch.tensor(x)), torch.tensor(labels))
        tloss.backward()
        if dropped == "coast":  # the released code: a gradient of zero
            for p in judge.weights:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        theirs.step()
        np.testing.assert_allclose(float(loss), tloss.item(), rtol=1e-9)
    assert closed > 5
    for name, p in model.parameters():
        np.testing.assert_allclose(
            p.data, judge.parameters_by_name[name].detach().numpy(), rtol=1e-8, atol=1e-10
        )
    for name, buffer in model.buffers():
        np.testing.assert_allclose(buffer, judge.statistics[name].numpy(), rtol=1e-8, atol=1e-10)


def test_flops_of_convolutions_and_linear_layers(rng):
    """PyTorch counts these only, and takes a bias for free."""
    counter = pytest.importorskip("torch.utils.flop_counter").FlopCounterMode(display=False)
    model = network({"depth": 11, "shortcut": "projection", "branch": "bottleneck"}, rng)
    copied = copy_of(model)
    calls = Calls(copied, (2, 8, 12))
    products = [layer for layer in copied.walk() if hasattr(layer, "w")]
    ours = sum(calls.flops[id(layer)][0] for layer in products) - len(model.head.b.data)
    judge = Judge(model).eval()
    with counter, torch.no_grad():
        judge(torch.zeros((1, 2, 8, 12), dtype=torch.float64))
    assert ours == counter.get_total_flops()
