"""Blocks taken out, put in another order, fixed to a sub-network: against hand computation."""

import numpy as np
import pytest

from devices import assert_close, assert_equal, host
from minisd import linear_decay, ops, resnet, set_gates
from minisd.data.batches import evaluation_batches
from minisd.experiments import lesion
from minisd.experiments.input_gradients import norms_of
from minisd.layer import Layer
from minisd.residual import IdentityShortcut
from minisd.runs.run import Run
from minisd.surgery import FixedBlock, blocks_replaced, interchangeable, sub_network, without
from minisd.train import evaluate
from tiny_runs import tiny

pytestmark = pytest.mark.usefixtures("in_every_form")

L = 6
KINDS = [{"scale": s, "shortcut": k} for s in ("test", "train") for k in ("A", "projection")]
GATES = [True, False, True, False, False, True]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind.values()))
def model(request, rng, device):
    """A network in evaluation, with running statistics that have moved."""
    net = resnet(14, in_channels=2, width=3, survival=linear_decay(L), gamma="uniform",
                 rng=rng, dtype=np.float64, **request.param).to(device.name)  # fmt: skip
    for _ in range(3):
        net.forward(device.standard_normal(rng, (4, 2, 8, 8)))
    return net.eval()


@pytest.fixture
def x(rng, device):
    return device.standard_normal(rng, (5, 2, 8, 8))


class NotToBeEntered(Layer):
    def forward(self, x):
        raise AssertionError("a removed branch was entered")


def logits(model, x, blocks):
    with blocks_replaced(model, blocks):
        return model.forward(x)


def by_hand(model, x, weights):
    """Logits when the branch of every block is multiplied by the number in ``weights``."""
    h = model.stem.forward(x)
    for block, weight in zip(model.blocks, weights, strict=True):
        y = block.shortcut.forward(h)
        if weight:
            y = y + weight * block.branch.forward(h)
        h = y * (y > 0)
    return model.head.forward(model.pool.forward(h))


def check_removal(model, x, removed):
    weights = [0 if i in removed else block.branch_weight for i, block in enumerate(model.blocks)]
    assert_close(logits(model, x, without(model, removed)), by_hand(model, x, weights), rtol=1e-11)


def test_nothing_removed_changes_no_bit(model, x):
    plain = model.forward(x)
    assert_equal(logits(model, x, without(model, [])), plain)
    copies = [FixedBlock(block, block.branch_weight) for block in model.blocks]
    assert_equal(logits(model, x, copies), plain)


@pytest.mark.parametrize("removed", [[0], [2], [4], [1, 2, 5], range(L)])
def test_what_is_left_of_a_removed_block_is_its_shortcut(model, x, removed):
    check_removal(model, x, removed)


def test_a_planted_error_of_removal_is_found(model, x, monkeypatch):
    monkeypatch.setattr(FixedBlock, "forward", lambda self, x: self.block.forward(x))
    with pytest.raises(AssertionError):
        check_removal(model, x, [2])


@pytest.mark.parametrize("removed", [1, 2], ids=["identity", "transition"])
def test_a_removed_block_gives_the_rectified_shortcut(model, rng, device, removed):
    channels = 3
    h = device.standard_normal(rng, (2, channels, 8, 8))
    shortcut = model.blocks[removed].shortcut
    assert isinstance(shortcut, IdentityShortcut) == (removed == 1)
    model.blocks[removed].branch = NotToBeEntered()
    y = host(without(model, [removed])[removed].forward(h))
    if removed == 1:
        expected = host(h)
    elif hasattr(shortcut, "subsample"):
        small, _ = ops.avg_pool2d_forward(h, 2)
        expected = np.concatenate([host(small), np.zeros((2, channels, 4, 4))], axis=1)
    else:
        expected = host(shortcut.forward(h))
    assert_close(y, np.maximum(expected, 0), rtol=1e-12)


def test_branches_of_closed_and_removed_blocks_are_not_entered(model, x):
    for gate, block in zip(GATES, model.blocks, strict=True):
        if not gate:
            block.branch = NotToBeEntered()
    removed = [i for i, gate in enumerate(GATES) if not gate]
    for blocks in (without(model, removed), sub_network(model, GATES)):
        logits(model, x, blocks)
    with pytest.raises(AssertionError, match="entered"):
        logits(model, x, without(model, [0]))


@pytest.mark.parametrize("gates", [[True] * L, [False] * L, GATES])
def test_a_sub_network_has_the_weights_of_training(model, x, gates):
    """1, or with scale "train" 1/p; the p of evaluation plays no part."""
    probs = model.survival_probs
    open_weight = [1 / p if model.blocks[0].scale == "train" else 1 for p in probs]
    weights = [w if gate else 0 for w, gate in zip(open_weight, gates, strict=True)]
    found = logits(model, x, sub_network(model, gates))
    assert_close(found, by_hand(model, x, weights), rtol=1e-11)
    if any(gates):
        assert abs(found - model.forward(x)).max() > 1e-3


@pytest.mark.parametrize("gates", [[True] * L, GATES])
def test_a_sub_network_is_the_training_network_with_statistics_held(model, x, gates):
    found = logits(model, x, sub_network(model, gates))
    model.train()
    set_gates(model, gates)
    for norm in norms_of(model):
        norm.training = False
    assert_equal(found, model.forward(x))


def test_a_sub_network_needs_a_gate_for_every_block(model):
    with pytest.raises(ValueError, match="6 blocks need 6 gates, got 5"):
        sub_network(model, GATES[1:])


def test_the_network_is_put_back_together(model, x):
    blocks, plain = model.blocks, model.forward(x)
    with blocks_replaced(model, without(model, [0, 3])) as same:
        assert same is model
        assert model.blocks is not blocks
    assert model.blocks is blocks
    assert_equal(model.forward(x), plain)


def test_the_network_is_put_back_together_after_an_error(model, x):
    blocks = model.blocks
    model.blocks[3].branch = NotToBeEntered()
    with pytest.raises(AssertionError, match="entered"):
        logits(model, x, without(model, [0]))
    assert model.blocks is blocks


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({"shortcut": "A"}, [[0, 1, 2], [4, 5], [7, 8]]),
        ({"shortcut": "projection"}, [[0, 1, 2], [4, 5], [7, 8]]),
        ({"branch": "bottleneck"}, []),
        ({"shortcut": "none"}, []),
    ],
)
def test_blocks_of_one_shape_may_change_places(options, runs, rng):
    assert interchangeable(resnet(20, width=4, rng=rng, **options)) == runs


def test_blocks_that_changed_places_run_in_the_new_order(model, x):
    a, b, *rest = model.blocks
    h = model.stem.forward(x)
    for block in (b, a, *rest):
        h = block.forward(h)
    swapped = logits(model, x, [b, a, *rest])
    assert_equal(swapped, model.head.forward(model.pool.forward(h)))
    assert abs(swapped - model.forward(x)).max() > 1e-6


def test_the_error_with_nothing_removed_is_that_of_evaluation():
    run = Run(tiny(depth=14, width=4))
    plain = evaluate(
        run.model, evaluation_batches(run.test, run.config.batch_size, normaliser=run.normaliser)
    )
    blocks = run.model.blocks
    assert lesion.error(run, run.test, without(run.model, [])) == plain
    assert lesion.error(run, run.test, lesion.operate(run, "none", 0, 0)[0]) == plain
    assert run.model.blocks is blocks
    assert lesion.error(run, run.test, without(run.model, range(L))) != plain
