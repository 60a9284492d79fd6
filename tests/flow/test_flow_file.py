"""The recorder beside its numbers: the network it leaves alone, its file, and runs that go on."""

import json
import re
import signal
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from test_flow import L, batch, network, recorded, rows_of

from devices import Device
from minisd import SGD, ConvChain, GlobalAvgPool, Linear, Sequential, set_gates
from minisd.errors import ConfigError, NonFiniteError, RunFolderError
from minisd.flow import Recorder, load
from minisd.flow.hooks import is_hooked
from minisd.flow.records import COUNTS, OF_BLOCKS, OF_PARAMETERS
from minisd.layer import kind
from minisd.runs.interrupt import Interrupted
from minisd.runs.progress import Progress
from minisd.runs.session import resume, train
from minisd.train import train_step
from tiny_runs import STEPS_PER_EPOCH, outcome, tiny

CPU = Device("cpu")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flow.jsonl"


def train_for(steps, model, optimizer, recorder):
    images, labels = batch(np.random.default_rng(6), CPU)
    for _ in range(steps):
        train_step(model, optimizer, images, labels, recorder=recorder)


# The network is left alone


def hooked(layer):
    """The classes of this layer and of those inside it that are being watched."""
    return [kind(each) for each in layer.walk() if is_hooked(each)]


@pytest.mark.parametrize("leave", ["close", "detach", "error"])
def test_nothing_stays_on_the_network(path, leave):
    model, optimizer = network(CPU, shortcut="projection")
    assert hooked(model) == []
    with (
        pytest.raises(ZeroDivisionError) if leave == "error" else nullcontext(),
        Recorder(model, optimizer, path) as recorder,
    ):
        assert len(hooked(model)) == 3 * L  # each block, its branch and its shortcut
        getattr(recorder, leave, lambda: 1 / 0)()
    assert hooked(model) == []


def test_nothing_stays_on_the_network_when_the_disk_is_full(path, monkeypatch):
    model, optimizer = network(CPU)
    recorder = Recorder(model, optimizer, path)
    train_for(1, model, optimizer, recorder)
    monkeypatch.setattr("minisd.files.os.fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recorder.close()
    assert hooked(model) == []


def test_a_second_recorder_is_refused_and_changes_nothing(path):
    model, optimizer = network(CPU)
    other, _ = network(CPU)
    other.blocks[2].branch = model.blocks[2].branch  # another network, with a part in common
    with Recorder(model, optimizer, path, write_every=1) as recorder:
        train_for(3, model, optimizer, recorder)
        watched, before = hooked(model), path.read_bytes()
        for where, done in ((path, 1), (path.with_name("new"), 0)):
            with pytest.raises(RuntimeError, match="close the other recorder first"):
                Recorder(model, optimizer, where, done=done)
        with pytest.raises(RuntimeError, match="close the other recorder first"):
            Recorder(other, optimizer, path.with_name("new"))
        assert hooked(model) == watched
        assert hooked(other) == [ConvChain]  # which the first recorder watches
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    Recorder(model, optimizer, path.with_name("new")).close()


def test_a_loss_that_is_not_finite_does_not_stop_the_recorder(path):
    """Looking for the layer runs the network again; the next step is recorded all the same."""
    model, optimizer = network(CPU)
    bias = model.head.b.data
    with Recorder(model, optimizer, path, look_every=1) as recorder:
        bias += np.nan
        with pytest.raises(NonFiniteError, match="head"):
            train_for(1, model, optimizer, recorder)
        bias[...] = 0
        set_gates(model, [0, 1, 0])
        train_for(2, model, optimizer, recorder)
    assert [row["open"] for row in rows_of(path)] == [[0, 1, 0]] * 2


def test_after_step_and_after_backward_want_what_comes_before_them(path):
    model, optimizer = network(CPU)
    images, _ = batch(np.random.default_rng(6), CPU)
    with Recorder(model, optimizer, path) as recorder:
        with pytest.raises(RuntimeError, match="call after_backward and"):
            recorder.after_step()
        for _ in range(2):
            model.eval().forward(images)  # is no training forward
            model.train()
            with pytest.raises(RuntimeError, match="block 1 has had no training forward"):
                recorder.after_backward()
            train_for(1, model, optimizer, recorder)
        model.forward(images)
        with pytest.raises(RuntimeError, match="block 1 has had no backward"):
            recorder.after_backward()
    assert [row["step"] for row in rows_of(path)] == [1, 2]


# The file


def test_load(path):
    names, rows, _ = recorded(CPU, path, average=4, look_every=2)
    flow = load(path)
    assert flow["parameter"].tolist() == names
    assert flow["step"].tolist() == [4, 6]
    assert flow["steps"].tolist() == [4, 2]
    for name, array in flow.items():
        if name in ("parameter", "step", "steps", "loss", "lr"):
            continue
        assert array.shape == (2, len(names) if name in (*OF_PARAMETERS, "reached") else L), name
        assert array.dtype == (int if name in COUNTS else float), name
        for found, row in zip(array.tolist(), rows, strict=True):
            expected = [np.nan if value is None else value for value in row[name]]
            np.testing.assert_array_equal(found, expected)
    for name in ("loss", "lr"):
        assert flow[name].tolist() == [row[name] for row in rows]
    saved = path.with_name("flow.npz")
    np.savez(saved, **flow)
    with np.load(saved) as again:
        for name, array in load(path.parent).items():
            np.testing.assert_array_equal(again[name], array)


def test_load_before_there_is_a_record(path):
    model, optimizer = network(CPU)
    P = len(optimizer.parameters)
    with Recorder(model, optimizer, path):
        flow = load(path)
    shapes = {"parameter": (P,)} | dict.fromkeys(("step", "steps", "loss", "lr"), (0,))
    shapes |= dict.fromkeys((*OF_PARAMETERS, "reached"), (0, P))
    shapes |= dict.fromkeys((*OF_BLOCKS, "closed_grad_norm"), (0, L))
    shapes |= dict.fromkeys(("open", "looked", "closed_looked"), (0, L))
    assert {name: array.shape for name, array in flow.items()} == shapes


def test_a_network_without_blocks(path):
    model = Sequential(GlobalAvgPool(), Linear(2, 10, rng=np.random.default_rng(1)))
    model.to("cpu", np.float64)
    optimizer = SGD(model, 0.1)
    with Recorder(model, optimizer, path) as recorder:
        train_for(2, model, optimizer, recorder)
    flow = load(path)
    assert flow["block_grad_norm"].shape == (2, 0)
    assert (flow["update_norm"] > 0).all()


def test_numbers_that_are_not_finite(path):
    model, optimizer = network(CPU)
    images, _ = batch(np.random.default_rng(6), CPU)
    inf, nan = model.stem.layers[0].w, model.blocks[1].branch.layers[0].w
    with Recorder(model, optimizer, path, average=2) as recorder:
        for loss in (1.0, np.inf):
            model.zero_grad()
            model.backward(model.forward(images))
            inf.grad[...], nan.grad[...] = np.inf, np.nan
            recorder.after_backward(loss)
            recorder.after_step()
    (row,), flow = rows_of(path), load(path)
    assert row["loss"] == "inf"
    assert flow["loss"] == [np.inf]
    names = flow["parameter"].tolist()
    for key in ("grad_mean", "grad_norm", "grad_max"):
        assert flow[key][0, names.index("stem.0.w")] == np.inf, key
        assert np.isnan(flow[key][0, names.index("blocks.1.branch.0.w")]), key
        assert row[key][names.index("blocks.1.branch.0.w")] == "nan"  # and not None
        assert np.isfinite(flow[f"block_{key}"][0]).tolist() == [True, False, True], key
    assert np.isfinite(flow["grad_max"]).sum() == len(names) - 2


@pytest.mark.parametrize("every", [1, 3, 50])
def test_no_more_than_write_every_steps_are_held(path, every):
    model, optimizer = network(CPU)
    held, lines = [], []
    with Recorder(model, optimizer, path, average=2, write_every=every) as recorder:
        for _ in range(7):
            train_for(1, model, optimizer, recorder)
            held.append(len(recorder._steps))
            lines.append(len(rows_of(path)))
    assert held == [step % every for step in range(1, 8)]
    assert lines == [step // every * every // 2 for step in range(1, 8)]
    flow = load(path)
    assert flow["step"].tolist() == [2, 4, 6, 7]
    assert flow["steps"].tolist() == [2, 2, 2, 1]


def test_after_an_error_only_what_was_written_stays(path):
    model, optimizer = network(CPU)
    with (
        suppress(ZeroDivisionError),
        Recorder(model, optimizer, path, write_every=2) as recorder,
    ):
        train_for(3, model, optimizer, recorder)
        before = path.read_bytes()
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert load(path)["step"].tolist() == [1, 2]


@pytest.fixture
def written(path):
    """Network, optimiser, and the lines of their file: a header and three records."""
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path) as recorder:
        train_for(3, model, optimizer, recorder)
    return model, optimizer, path.read_text().splitlines(keepends=True)


def test_going_on(written, path):
    """Later records are dropped, as is a last line that was cut: those steps are done again."""
    model, optimizer, lines = written
    path.write_text("".join(lines) + lines[3][:-1])
    assert load(path)["step"].tolist() == [1, 2, 3]
    with Recorder(model, optimizer, path, done=2) as recorder:
        assert path.read_text() == "".join(lines[:3])
        train_for(2, model, optimizer, recorder)
    assert load(path)["step"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (0, "", "is not a whole record of gradient flow"),
        (0, "{}\n", "is not a whole record of gradient flow"),
        (0, '{"format": 7}\n', "has format 7, but this version of minisd reads 2"),
        (0, '{"format": 1}\n', "line 1"),
        (2, '{"step": 2, "st\n', "line 3"),
        (2, "[]\n", "line 3"),
        (2, '{"step": 2, "steps": 1}\n', "line 3"),
        (2, '{"step": "2", "steps": 1}\n', "line 3"),
        (2, "\udcff\n", "is not a whole record of gradient flow"),
    ],
)
def test_a_damaged_file_is_refused_and_stays_as_it_is(written, path, number, line, said):
    model, optimizer, lines = written
    lines[number] = line
    text = "".join(lines) if line else ""
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = path.read_bytes()
    for read in (lambda: load(path), lambda: Recorder(model, optimizer, path, done=3)):
        with pytest.raises(RunFolderError, match=f"{path}.*{said}"):
            read()
    assert path.read_bytes() == before
    assert hooked(model) == []


def test_a_file_that_is_not_this_recorders_is_refused_and_stays_as_it_is(written, path):
    model, optimizer, lines = written
    other = network(CPU, shortcut="projection")
    with pytest.raises(RunFolderError, match=f"{path} exists: move it away"):
        Recorder(model, optimizer, path)
    with pytest.raises(RunFolderError, match=f"{path} is the record of another network"):
        Recorder(*other, path, done=3)
    assert path.read_text() == "".join(lines)
    path.unlink()
    with pytest.raises(RunFolderError, match=f"there is no {path}: train with --flow"):
        load(path.parent)


# Runs


class At(Progress):
    """Does something after a step."""

    def __init__(self, step, action):
        self.left, self.action = step, action

    def step(self, **_):
        self.left -= 1
        if self.left == 0:
            self.action()


def interrupt():
    signal.raise_signal(signal.SIGTERM)


def kill():
    """Leave the folder as a kill would: nothing is saved on the way out."""
    raise ZeroDivisionError


def assert_each_step_once(folder):
    flow, total = load(folder), STEPS_PER_EPOCH * tiny().epochs
    assert flow["steps"].sum() == total
    assert flow["step"].tolist() == np.cumsum(flow["steps"]).tolist()
    assert (flow["open"] <= flow["steps"][:, None]).all()


@pytest.fixture(scope="module")
def without_flow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    train(tiny(), folder)
    return outcome(folder)


def assert_same_outcome(folder, without_flow):
    found = outcome(folder)
    assert found["config"].pop("flow") == 3
    assert found == without_flow | {"config": found["config"]}


def test_a_run_with_flow_ends_like_one_without(tmp_path, without_flow):
    train(tiny(flow=3), tmp_path)
    assert_each_step_once(tmp_path)
    assert set(load(tmp_path)["steps"].tolist()) == {3, 1}  # 7 steps an epoch, a save after each
    assert_same_outcome(tmp_path, without_flow)


@pytest.mark.parametrize("step", [1, 5, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 4])
@pytest.mark.parametrize(("stop", "error"), [(interrupt, Interrupted), (kill, ZeroDivisionError)])
def test_a_run_that_goes_on_records_each_step_once(tmp_path, without_flow, stop, error, step):
    with pytest.raises(error):
        train(tiny(flow=3), tmp_path, progress=At(step, stop))
    assert resume(tmp_path).is_complete
    assert_each_step_once(tmp_path)
    assert_same_outcome(tmp_path, without_flow)


def test_records_beyond_the_checkpoint_are_dropped(tmp_path):
    with pytest.raises(Interrupted):
        train(tiny(flow=3), tmp_path, progress=At(8, interrupt))
    file = tmp_path / "flow.jsonl"
    *_, last = rows_of(file)
    assert last["step"] == 8
    later = json.dumps({**last, "step": 11, "steps": 3, "loss": "nan"})
    file.write_text(f"{file.read_text()}{later}\n{later[:40]}")
    resume(tmp_path)
    assert_each_step_once(tmp_path)
    assert np.isfinite(load(tmp_path)["loss"]).all()


def test_force_replaces_the_record(tmp_path):
    train(tiny(flow=3, epochs=1), tmp_path)
    train(tiny(flow=2, epochs=1, width=3), tmp_path, force=True)
    assert load(tmp_path)["steps"].tolist() == [2, 2, 2, 1]
    train(tiny(epochs=1), tmp_path, force=True)
    assert not (tmp_path / "flow.jsonl").exists()


@pytest.mark.parametrize("flow", [0, -1, 2.5, True])
def test_flow_is_a_number_of_steps(flow):
    with pytest.raises(ConfigError, match="flow"):
        tiny(flow=flow)


def test_the_steps_before_a_loss_that_is_not_finite_are_recorded(tmp_path):
    with pytest.raises(NonFiniteError, match=r"at step (\d+)") as raised:
        train(tiny(flow=1, lr=1e12), tmp_path)
    failed = int(re.search(r"at step (\d+)", str(raised.value))[1])
    assert load(tmp_path)["step"].tolist() == list(range(1, failed))
