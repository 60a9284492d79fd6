"""Recomputation in the backward changes memory and time, and not one bit of the result."""

import numpy as np
import pytest

from devices import assert_equal
from minisd import SGD, draw_gates, linear_decay, resnet, set_gates
from minisd.errors import ConfigError
from minisd.machine import memory
from minisd.runs.checkpoint import layer_arrays
from minisd.runs.session import resume, train
from minisd.train import train_step
from tiny_runs import outcome, tiny

L = 6


def network(checkpoint_every, **options):
    settings = {"survival": linear_decay(L, 0.5), "width": 4, "in_channels": 2} | options
    return resnet(14, checkpoint_every=checkpoint_every, rng=np.random.default_rng(1), **settings)


def trained(checkpoint_every, device, **options):
    """Weights, running statistics and momentum after four steps, and all gradients on the way."""
    rng = np.random.default_rng(8)
    model = network(checkpoint_every, **options).to(device.name)
    optimizer = SGD(model, 0.1)
    found = {}
    for step in range(4):
        gates = draw_gates(model, rng)
        images = device.standard_normal(rng, (6, 2, 8, 8), np.float32)
        loss = train_step(model, optimizer, images, device.put(rng.integers(0, 10, 6)))
        found[f"loss {step}"], found[f"gates {step}"] = loss, gates
        for name, parameter in model.parameters():
            grad = parameter.grad
            found[f"{name} {step}"] = None if grad is None else grad.tobytes()
    found |= {name: array.tobytes() for name, array in layer_arrays(model).items()}
    return found | {f"v {name}": v.tobytes() for name, v in optimizer.buffers()}


@pytest.mark.parametrize("every", [1, 2, 4, 6, 100])
@pytest.mark.parametrize("options", [{}, {"scale": "train"}, {"shortcut": "projection"}])
def test_not_one_bit_differs(every, options, device):
    assert trained(every, device, **options) == trained(None, device, **options)


def test_gates_set_between_forward_and_backward_do_no_harm(rng, device):
    x = device.standard_normal(rng, (3, 2, 8, 8), np.float32)
    dy = device.standard_normal(rng, (3, 10), np.float32)
    models = network(2).to(device.name), network(None).to(device.name)
    for model in models:
        set_gates(model, [1, 0, 1, 1, 0, 0])
        model.forward(x)
        set_gates(model, [0, 1, 1, 0, 1, 0])
    a, b = (model.backward(dy) for model in models)
    assert_equal(a, b)
    for (name, p), (_, q) in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
    assert [block.is_open for block in models[0].blocks] == [False, True, True, False, True, False]


def test_an_open_branch_runs_forward_twice_and_a_closed_one_never(rng, device):
    model = network(2).to(device.name)
    gates = [True, False, True, False, False, True]
    runs = [0] * L
    for number, block in enumerate(model.blocks):

        def read(x, original=block.branch.read, number=number):
            runs[number] += 1
            return original(x)

        block.branch.read = read
    set_gates(model, gates)
    logits = model.forward(device.standard_normal(rng, (3, 2, 8, 8), np.float32))
    assert runs == [int(gate) for gate in gates]
    model.backward(logits)
    assert runs == [2 * gate for gate in gates]


def test_a_second_backward_is_refused(rng, device):
    model = network(2).to(device.name)
    logits = model.forward(device.standard_normal(rng, (3, 2, 8, 8), np.float32))
    model.backward(logits)
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        model.backward(logits)


def test_less_is_kept(rng):
    x = rng.standard_normal((32, 2, 32, 32)).astype(np.float32)
    kept = {}
    for every in (None, 1, 3):
        model = network(every, width=8)
        before = memory.bytes_in_use()
        model.forward(x)
        kept[every] = memory.bytes_in_use() - before
    assert kept[1] < kept[None] / 2
    assert kept[3] < kept[1]


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "3"])
def test_a_bad_number_is_refused(every):
    with pytest.raises(ValueError, match="checkpoint_every must be a whole number of at least 1"):
        network(every)
    with pytest.raises(ConfigError, match="checkpoint_every"):
        tiny(checkpoint_every=every)


def test_a_run_may_change_it_when_it_goes_on(tmp_path):
    train(tiny(epochs=2), tmp_path / "plain")
    train(tiny(epochs=2, checkpoint_every=2), tmp_path / "recomputed")
    resume(tmp_path / "recomputed", {"checkpoint_every": 1})
    plain, recomputed = outcome(tmp_path / "plain"), outcome(tmp_path / "recomputed")
    del plain["config"], recomputed["config"]
    assert plain == recomputed
