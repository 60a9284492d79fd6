"""The recorder's numbers against hand computation; None where a block was closed."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

from devices import Device, host
from minisd import SGD, Sequential, linear_decay, ops, resnet, set_gates
from minisd.flow import Recorder
from minisd.flow.records import COUNTS, OF_BLOCKS, OF_CLOSED_BLOCKS, OF_PARAMETERS, OF_TENSORS
from minisd.flow.statistics import statistics
from minisd.flow.watch import Watch
from minisd.runs.checkpoint import layer_arrays
from minisd.train import train_step
from tiny_runs import bits

pytestmark = pytest.mark.usefixtures("in_every_form")

L = 3
GATES = ([1, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1])


def network(device, *, sequential=False, rule=None, **options):
    """A network, one of whose channels is dead while its block is open, and its optimiser."""
    settings = {"width": 3, "in_channels": 2, "survival": linear_decay(L), "dtype": np.float64}
    model = resnet(8, rng=np.random.default_rng(1), **settings | options)
    model.blocks[1].branch.layers[-1].beta.data[-1] = -50
    for block in model.blocks:
        if sequential:
            block.branch = Sequential(*block.branch.layers)
    model.to(device.name)
    return model, SGD(model, 0.1, **{"weight_decay": 0.01} | (rule or {}))


def batch(rng, device, dtype=np.float64):
    return device.standard_normal(rng, (6, 2, 8, 8), dtype), device.put(rng.integers(0, 10, 6))


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def norm(array):
    return np.sqrt((host(array).astype(np.float64) ** 2).sum())


# By hand


def forward_by_hand(block, x):
    """The block's output, and of an open one what there is to say of it."""
    if not block.is_open:
        return block.forward(x), {}
    f = Sequential(*block.branch.layers).forward(x)  # layer by layer, past what is watched
    shortcut = type(block.shortcut).forward(block.shortcut, x)
    y = block.forward(x)
    h = host(y).astype(np.float64)
    return y, {
        "branch_ratio": block.branch_weight * norm(f) / norm(shortcut),
        "activation_mean": h.mean(),
        "activation_std": h.std(),
        "dead_channels": (h == 0).all(axis=(0, 2, 3)).mean(),
    }


def of_tensor(g, w, moved):
    return {
        "grad_mean": np.abs(g).mean(),
        "grad_norm": norm(g),
        "grad_max": np.abs(g).max(),
        "weight_norm": norm(w),
        "update_norm": norm(moved),
        "update_ratio": norm(moved) / norm(w) if norm(w) else None,
    }


def step_by_hand(model, optimizer, recorder, images, labels):
    """One step, block by block, and what the recorder should say of it."""
    model.zero_grad()
    h, blocks = model.stem.forward(images), []
    for block in model.blocks:
        h, entry = forward_by_hand(block, h)
        blocks.append(entry)
    logits = model.head.forward(model.pool.forward(h))
    loss, dlogits = ops.softmax_cross_entropy(logits, labels)
    dh = model.pool.backward(model.head.backward(dlogits))
    for block, entry in zip(reversed(model.blocks), reversed(blocks), strict=True):
        if block.is_open:
            entry["output_grad_norm"] = norm(dh)
        else:
            entry["closed_grad_norm"] = norm(dh)
        dh = block.backward(dh)
    model.stem.backward(dh)

    parameters = dict(model.parameters())
    before = {name: host(p.data).copy() for name, p in parameters.items()}
    grads = {name: None if p.grad is None else host(p.grad) for name, p in parameters.items()}
    recorder.after_backward(loss)
    optimizer.step()
    recorder.after_step()
    moved = {name: host(p.data) - before[name] for name, p in parameters.items()}

    tensors = [
        {"coasted_norm": norm(moved[name])}
        if grads[name] is None
        else of_tensor(grads[name], before[name], moved[name])
        for name in parameters
    ]
    for number, (block, entry) in enumerate(zip(model.blocks, blocks, strict=True)):
        names = [f"blocks.{number}.branch.{name}" for name, _ in block.branch.parameters()]
        if block.is_open:
            joined = [np.concatenate([a[n].ravel() for n in names]) for a in (grads, before, moved)]
            entry |= {f"block_{key}": value for key, value in of_tensor(*joined).items()}
    found = {key: [entry.get(key) for entry in tensors] for key in OF_PARAMETERS}
    keys = (*OF_BLOCKS, *OF_CLOSED_BLOCKS)
    found |= {key: [entry.get(key) for entry in blocks] for key in keys}
    return {**found, "loss": [float(loss)]}


def compare(row, found, rel):
    row = {**row, "loss": [row["loss"]]}
    for key, expected in found.items():
        assert [value is None for value in row[key]] == [value is None for value in expected], key
        for value, by_hand in zip(row[key], expected, strict=True):
            assert value is None or value == pytest.approx(by_hand, rel=rel), key


@pytest.mark.parametrize(
    ("options", "rel"),
    [
        ({"shortcut": "A"}, 1e-6),
        ({"shortcut": "projection", "rule": {"nesterov": False}}, 1e-6),
        ({"shortcut": "projection", "scale": "train", "rule": {"dropped": "freeze"}}, 1e-6),
        ({"sequential": True, "scale": "train"}, 1e-6),
        ({"dtype": np.float32}, 1e-4),
    ],
    ids=["A", "projection", "train-freeze", "sequential", "float32"],
)
def test_every_number_is_what_hand_computation_gives(device, tmp_path, options, rel):
    model, optimizer = network(device, **options)
    path, expected, rng = tmp_path / "flow.jsonl", [], np.random.default_rng(5)
    with Recorder(model, optimizer, path, look_every=1) as recorder:
        for gates in GATES:
            set_gates(model, gates)
            data = batch(rng, device, options.get("dtype", np.float64))
            expected.append(step_by_hand(model, optimizer, recorder, *data))
    rows = rows_of(path)
    assert [row["open"] for row in rows] == [row["looked"] for row in rows] == list(GATES)
    assert rows[1]["dead_channels"] == pytest.approx([0, 1 / 6, 0])
    for row, found in zip(rows, expected, strict=True):
        compare(row, found, rel)


@pytest.mark.parametrize("nesterov", [True, False], ids=["nesterov", "momentum"])
@pytest.mark.parametrize("dropped", ["coast", "freeze"])
def test_an_update_has_momentum_and_weight_decay(device, tmp_path, nesterov, dropped):
    rule = {"nesterov": nesterov, "dropped": dropped, "momentum": 0.8, "weight_decay": 0.3}
    model, optimizer = network(device, rule=rule)
    parameters, v, expected = [p for _, p in model.parameters()], {}, []
    images, labels = batch(np.random.default_rng(5), device)
    with Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        for gates in ([1, 1, 1], [1, 0, 1]):
            set_gates(model, gates)
            before = [host(p.data).copy() for p in parameters]
            train_step(model, optimizer, images, labels, recorder=recorder)
            norms = []
            for i, (p, w) in enumerate(zip(parameters, before, strict=True)):
                g = (0 if p.grad is None else host(p.grad)) + 0.3 * w
                if p.grad is None and dropped == "freeze":
                    norms.append(0)
                else:
                    v[i] = 0.8 * v.get(i, 0) + g
                    norms.append(norm(0.1 * (g + 0.8 * v[i] if nesterov else v[i])))
            expected.append(norms)
    rows = rows_of(tmp_path / "flow.jsonl")
    for row, norms in zip(rows, expected, strict=True):
        moved = zip(row["update_norm"], row["coasted_norm"], strict=True)
        found = [coasted if update is None else update for update, coasted in moved]
        assert found == pytest.approx(norms, rel=1e-6)
    for update, p in zip(rows[1]["update_norm"], parameters, strict=True):
        assert update is None or update != pytest.approx(0.1 * norm(p.grad), rel=1e-3)


def recorded(device, path, gates=GATES, *, evaluate=False, model=(), **options):
    """Train, always in the same way; return names, rows and how it ends. No path: no recorder."""
    rng = np.random.default_rng(5)
    model, optimizer = network(device, **dict(model))
    recording = Recorder(model, optimizer, path, **options) if path else nullcontext()
    with recording as recorder:
        for present in gates:
            set_gates(model, present)
            images, labels = batch(rng, device)
            model.zero_grad()
            loss, dlogits = ops.softmax_cross_entropy(model.forward(images), labels)
            model.backward(dlogits)
            if evaluate:
                model.eval().forward(3 * images)
                model.train()
            if recorder:
                recorder.after_backward(loss)
            optimizer.step()
            if recorder:
                recorder.after_step()
    end = {name: host(a) for name, a in (*layer_arrays(model).items(), *optimizer.buffers())}
    return [name for name, _ in model.parameters()], rows_of(path) if path else [], bits(end)


@pytest.mark.parametrize("dropped", ["coast", "freeze"])
def test_a_closed_block_is_none_in_every_stream(device, tmp_path, dropped):
    """Not 0, and not what the step before had, in which the block was open."""
    options = {"shortcut": "projection", "rule": {"dropped": dropped}}
    names, (first, second), _ = recorded(
        device, tmp_path / "flow.jsonl", ([1, 1, 1], [1, 0, 1]), model=options, look_every=1
    )
    assert second["open"] == second["looked"] == [1, 0, 1]
    assert second["closed_looked"] == [0, 1, 0]
    assert first["closed_grad_norm"] == [None] * L
    assert [value is None for value in second["closed_grad_norm"]] == [True, False, True]
    assert second["closed_grad_norm"][1] > 0
    for key in OF_BLOCKS:
        assert None not in first[key], key
        assert [value is None for value in second[key]] == [False, True, False], key
    for i, name in enumerate(names):
        closed = name.startswith("blocks.1.branch.")
        assert second["reached"][i] == (not closed), name
        assert first["coasted_norm"][i] is None
        for key in OF_TENSORS:
            assert (second[key][i] is None) == closed, (name, key)
        coasted = second["coasted_norm"][i]
        if closed:
            assert coasted > 0 if dropped == "coast" else coasted == 0, name
        else:
            assert coasted is None, name
    shortcut = names.index("blocks.1.shortcut.0.w")
    assert second["grad_norm"][shortcut] > 0  # the block is closed, its shortcut never


def test_a_record_averages_over_the_steps_that_had_a_number(device, tmp_path):
    gates = ([0, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 1])
    _, singles, _ = recorded(device, tmp_path / "1", gates, look_every=2)
    _, (row,), _ = recorded(device, tmp_path / "4", gates, look_every=2, average=4)
    assert (row["step"], row["steps"]) == (4, 4)
    assert row["open"] == [0, 2, 3]
    assert row["looked"] == [0, 1, 1]
    assert row["closed_looked"] == [2, 1, 1]  # of the first and the third step, which it looks at
    assert set(row["reached"]) == {0, 2, 3, 4}
    assert row["loss"] == pytest.approx(np.mean([single["loss"] for single in singles]), rel=1e-6)
    for key in COUNTS:
        assert row[key] == np.sum([single[key] for single in singles], axis=0).tolist()
    for key in (*OF_PARAMETERS, *OF_BLOCKS, *OF_CLOSED_BLOCKS):
        for value, *each in zip(row[key], *(single[key] for single in singles), strict=True):
            there = [number for number in each if number is not None]
            combine = max if key in ("grad_max", "block_grad_max") else np.mean
            assert value == (pytest.approx(combine(there), rel=1e-6) if there else None), key


def test_activations_are_none_where_nothing_was_looked_at(device, tmp_path):
    _, rows, _ = recorded(device, tmp_path / "flow.jsonl", [[1, 1, 0]] * 4, look_every=3)
    assert [row["looked"] for row in rows] == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0]]
    for row in rows:
        for key in OF_BLOCKS:
            there = row["open"] if key.startswith("block_") else row["looked"]
            assert [value is not None for value in row[key]] == [bool(n) for n in there], key


def test_a_loss_may_be_a_number_an_array_or_none(device, tmp_path):
    losses = (1.5, np.float32(2.5), device.put(np.float64(3.5)), None)
    model, optimizer = network(device)
    images, _ = batch(np.random.default_rng(5), device)
    with Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        for loss in losses:
            model.backward(model.forward(images))
            recorder.after_backward(loss)
            recorder.after_step()
    assert [row["loss"] for row in rows_of(tmp_path / "flow.jsonl")] == [1.5, 2.5, 3.5, None]


# Costs


@pytest.mark.parametrize("every", [None, 2])
def test_recording_changes_not_one_bit_and_recomputation_no_number(device, tmp_path, every):
    path = tmp_path / "flow.jsonl"
    _, _, without = recorded(device, None)
    _, expected, _ = recorded(device, path, look_every=2)
    for number, evaluate in enumerate((False, True)):
        _, rows, end = recorded(
            device, tmp_path / f"{number}", model={"recompute_every": every},
            evaluate=evaluate, look_every=2,
        )  # fmt: skip
        assert end == without
        assert rows == expected


def test_a_gpu_is_copied_from_once_in_write_every_steps(counter, gpu, rng, tmp_path):
    model, optimizer = network(gpu, dtype=np.float32)
    images, labels = batch(rng, gpu, np.float32)
    recorder = Recorder(model, optimizer, tmp_path / "flow.jsonl", look_every=2, write_every=3)
    found = []
    for gates in GATES:
        set_gates(model, gates)
        counter.reset_stats()
        train_step(model, optimizer, images, labels, wait=False, recorder=recorder)
        stats = counter.stats()
        found.append((stats["d2h"], stats["sync"], stats["bad_copy"]))
    assert found == [(0, 0, 0), (0, 0, 0), (1, 1, 0)] * 2


# The tests above would notice


def zeros_for_none(step, tensors):
    values, counts = statistics(step, tensors)
    return {
        name: (np.where(there, numbers, 0), np.ones_like(there))
        for name, (numbers, there) in values.items()
    }, counts


def update_without_momentum(step, tensors):
    values, counts = statistics(step, tensors)
    norms, there = values["grad_norm"]
    return values | {"update_norm": (step.lr * norms, there)}, counts


take = Watch.take


def stale_where_closed(watch):
    looks, old = take(watch), getattr(watch, "old", None)
    if old is not None:
        looks = [look if look.gate else before for look, before in zip(looks, old, strict=True)]
    watch.old = looks
    return looks


BY_HAND = test_every_number_is_what_hand_computation_gives, [{}, 1e-6]
CLOSED = test_a_closed_block_is_none_in_every_stream, ["coast"]
UPDATE = test_an_update_has_momentum_and_weight_decay, [True, "coast"]


@pytest.mark.parametrize(
    ("where", "planted", "tests"),
    [
        ("minisd.flow.recorder.statistics", zeros_for_none, [BY_HAND, CLOSED]),
        ("minisd.flow.recorder.statistics", update_without_momentum, [BY_HAND, UPDATE]),
        ("minisd.flow.watch.Watch.take", stale_where_closed, [BY_HAND, CLOSED]),
    ],
)
def test_a_planted_error_is_noticed(tmp_path, monkeypatch, where, planted, tests):
    monkeypatch.setattr(where, planted)
    for number, (test, arguments) in enumerate(tests):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(AssertionError):
            test(Device("cpu"), tmp_path / str(number), *arguments)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_norm_of_a_tiny_or_huge_gradient_is_recorded(device, tmp_path, size):
    model, optimizer = network(device, dtype=np.float32)
    images, labels = batch(np.random.default_rng(0), device, np.float32)
    with Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder:
        model.backward(ops.softmax_cross_entropy(model.forward(images), labels)[1])
        w = model.stem.layers[0].w
        w.grad = (w.grad * size).astype(np.float32)
        recorder.after_backward()
        recorder.after_step()
    (row,) = rows_of(tmp_path / "flow.jsonl")
    assert row["grad_norm"][0] == pytest.approx(norm(w.grad), rel=1e-5)
