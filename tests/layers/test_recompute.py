"""Recomputation in the backward changes memory and time, and not one bit of the result."""

import gc
import json
from functools import partial

import numpy as np
import pytest

from devices import assert_equal
from minisd import SGD, BatchNorm2d, draw_gates, linear_decay, resnet, set_gates
from minisd.cli import main
from minisd.errors import ConfigError
from minisd.gradcheck import check_layer
from minisd.machine import memory
from minisd.models import ResNet
from minisd.runs import checkpoint
from minisd.runs.checkpoint import layer_arrays
from minisd.runs.progress import Progress
from minisd.runs.session import resume, train
from minisd.train import train_step
from tiny_runs import options, outcome, tiny

L = 6


def network(recompute_every, **options):
    settings = {"survival": linear_decay(L, 0.5), "width": 4, "in_channels": 2} | options
    return resnet(14, recompute_every=recompute_every, rng=np.random.default_rng(1), **settings)


def trained(recompute_every, device, **options):
    """Weights, running statistics and momentum after four steps, and all gradients on the way."""
    rng = np.random.default_rng(8)
    model = network(recompute_every, **options).to(device.name)
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
        gc.collect()  # what earlier tests left must not be freed between the two measurements
        before = memory.bytes_in_use()
        model.forward(x)
        kept[every] = memory.bytes_in_use() - before
    assert kept[1] < kept[None] / 2
    assert kept[3] < kept[1]


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "3"])
def test_a_bad_number_is_refused(every):
    with pytest.raises(ValueError, match="recompute_every must be a whole number of at least 1"):
        network(every)
    with pytest.raises(ConfigError, match="recompute_every"):
        tiny(recompute_every=every)


def test_the_older_name_builds_the_same_network():
    rng = np.random.default_rng
    assert resnet(14, checkpoint_every=3, rng=rng(1)).recompute_every == 3
    assert resnet(14, recompute_every=3, checkpoint_every=3, rng=rng(1)).recompute_every == 3
    model = resnet(14, rng=rng(1))
    assert model.recompute_every is model.checkpoint_every is None
    parts = model.stem, model.blocks, model.pool, model.head
    assert ResNet(*parts, checkpoint_every=2).recompute_every == 2
    for make in (partial(resnet, 14, rng=rng(1)), partial(ResNet, *parts)):
        with pytest.raises(ValueError, match="are 3 and 2: give recompute_every only"):
            make(recompute_every=2, checkpoint_every=3)
        with pytest.raises(ValueError, match="recompute_every must be a whole number"):
            make(checkpoint_every=0)


def test_the_older_name_reads_and_sets_the_attribute(rng):
    model = network(2)
    assert model.checkpoint_every == 2
    model.checkpoint_every = 3
    assert model.recompute_every == 3
    model.checkpoint_every = None
    assert model.recompute_every is None
    assert "checkpoint_every" not in vars(model)


def test_the_older_name_of_the_setting():
    assert tiny(checkpoint_every=2) == tiny(recompute_every=2)
    assert tiny(checkpoint_every=2, recompute_every=2) == tiny(recompute_every=2)
    assert tiny(checkpoint_every=None, recompute_every=2) == tiny(recompute_every=2)
    assert tiny(checkpoint_every=2, recompute_every=None) == tiny(recompute_every=2)
    assert tiny(checkpoint_every=None) == tiny()
    with pytest.raises(ConfigError, match="are 3 and 2: give recompute_every only"):
        tiny(checkpoint_every=3, recompute_every=2)
    with pytest.raises(ConfigError, match="recompute_every"):
        tiny(checkpoint_every=0)


@pytest.mark.parametrize("option", ["--recompute-every=2", "--checkpoint-every=2"])
def test_the_older_name_of_the_option(tmp_path, option, capsys):
    folder = tmp_path / "run"
    main(["train", "--quiet", *options(epochs=1), option, "--out", str(folder)])
    assert recorded(folder) == 2
    main(["train", "--quiet", "--resume", str(folder), option.replace("2", "3")])
    assert recorded(folder) == 3
    assert main(["evaluate", str(folder), option]) == 0
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "--recompute-every" in text
    assert "--checkpoint-every" not in text


def recorded(folder):
    settings = json.loads((folder / "config.json").read_text())
    assert "checkpoint_every" not in settings
    return settings["recompute_every"]


def as_before_the_renaming(settings):
    names = {"recompute_every": "checkpoint_every"}
    return {names.get(name, name): value for name, value in settings.items()}


def make_older(folder):
    """Change a run's files to what they were when the setting was called checkpoint_every."""
    path = folder / "config.json"
    path.write_text(json.dumps(as_before_the_renaming(json.loads(path.read_text()))))
    arrays, meta = checkpoint.load(folder / "checkpoint.npz")
    meta["config"] = as_before_the_renaming(meta["config"])
    checkpoint.save(folder / "checkpoint.npz", arrays, meta)


@pytest.mark.parametrize("overrides", [{}, {"recompute_every": 1}, {"checkpoint_every": 1}])
@pytest.mark.parametrize("every", [None, 2])
def test_an_older_run_is_resumed_and_evaluated(tmp_path, monkeypatch, every, overrides, capsys):
    folder = tmp_path / "older"
    train(tiny(epochs=2), tmp_path / "expected")

    def stop_after_an_epoch(row, epochs):
        raise RuntimeError("the first epoch is over")

    progress = Progress()
    monkeypatch.setattr(progress, "epoch", stop_after_an_epoch)
    with pytest.raises(RuntimeError, match="first epoch"):
        train(tiny(epochs=2, recompute_every=every), folder, progress=progress)
    make_older(folder)
    assert main(["evaluate", str(folder)]) == 0
    assert "test error" in capsys.readouterr().out
    run = resume(folder, overrides)
    assert run.model.recompute_every == (1 if overrides else every)
    older, expected = outcome(folder), outcome(tmp_path / "expected")
    del older["config"], expected["config"]
    assert older == expected


def test_a_run_may_change_it_when_it_goes_on(tmp_path):
    train(tiny(epochs=2), tmp_path / "plain")
    train(tiny(epochs=2, recompute_every=2), tmp_path / "recomputed")
    resume(tmp_path / "recomputed", {"recompute_every": 1})
    plain, recomputed = outcome(tmp_path / "plain"), outcome(tmp_path / "recomputed")
    del plain["config"], recomputed["config"]
    assert plain == recomputed


def gradients_after(change, every):
    """Gradients of a network that ``change`` meddles with between forward and backward."""
    model = resnet(
        8, width=4, survival=[0.9, 0.8, 0.7], scale="train", recompute_every=every,
        rng=np.random.default_rng(1),
        dtype=np.float64,
    )  # fmt: skip
    x = np.random.default_rng(2).standard_normal((4, 3, 8, 8))
    model.forward(x)
    change(model)
    dx = model.backward(np.ones((4, 10)))
    return [dx, *(parameter.grad for _, parameter in model.parameters())]


def freeze_norms(model):
    for layer in model.walk():
        if isinstance(layer, BatchNorm2d):
            layer.training = False


def other_survival(model):
    for block in model.blocks:
        block.survival_prob = 0.5


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(
    "change",
    [lambda m: m.eval(), lambda m: m.eval(keep=True), freeze_norms, other_survival,
     lambda m: set_gates(m, [False] * 3)],
)  # fmt: skip
def test_what_changes_after_the_forward_does_not_matter(change, every):
    """The second forward is the first one: modes, probabilities and gates are those of then."""
    for found, right in zip(
        gradients_after(change, every), gradients_after(change, None), strict=True
    ):
        np.testing.assert_array_equal(found, right)


@pytest.mark.slow
def test_a_gradient_check_sees_the_kinks_of_what_is_recomputed():
    for every in (None, 1):
        first = np.random.default_rng(1)
        model = resnet(8, width=2, recompute_every=every, rng=first, dtype=np.float64)
        x = np.random.default_rng(51).standard_normal((4, 3, 8, 8))
        report = check_layer(model, x, rng=np.random.default_rng(1))
        assert report.passed
        assert report.kinks == 6
        assert model.recompute_every == every
