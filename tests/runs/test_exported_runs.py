"""Log and gradient flow as CSV, and for TensorBoard: every number is there, read back."""

import csv
import json
import struct
import sys

import numpy as np
import pytest

from minisd import flow
from minisd.errors import MissingPackageError, RunFolderError
from minisd.runs.export import to_csv, to_tensorboard
from minisd.runs.session import train
from tiny_runs import STEPS_PER_EPOCH, contents, read_log, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    train(tiny(epochs=2, flow=3, validate_every=4, p_last=0.3), folder)
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, column):
    return [float(row[column]) if row[column] else np.nan for row in rows]


def test_tables(run, tmp_path):
    before = contents(run)
    paths = to_csv(run, tmp_path / "new" / "tables")
    assert [path.name for path in paths] == ["log.csv", "evaluations.csv", "flow.csv"]
    log, recorded = read_log(run), flow.load(run)
    found = table(paths[0])
    for name in ("epoch", "train_loss", "val_error", "lr", "mean_open"):
        assert numbers(found, name) == [row[name] for row in log]
    evaluations = [point for row in log for point in row["evaluations"]]
    assert numbers(table(paths[1]), "step") == [point["step"] for point in evaluations]
    found = table(paths[2])
    assert list(found[0])[:4] == ["step", "steps", "loss", "lr"]
    assert numbers(found, "step") == recorded["step"].tolist()
    for statistic, of, values in recorded.columns():
        column = f"{statistic}/{of}" if of else statistic
        np.testing.assert_array_equal(numbers(found, column), values, column)
    assert "" in {row["closed_grad_norm/blocks.0"] for row in found}
    assert contents(run) == before


def test_tables_are_replaced_but_nothing_of_anothers(run, tmp_path):
    first = contents(to_csv(run, tmp_path)[0].parent)
    to_csv(run, tmp_path)
    assert contents(tmp_path) == first
    (tmp_path / "log.csv").write_text("mine,epoch\n")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="is not as minisd writes it"):
        to_csv(run, tmp_path)
    assert contents(tmp_path) == before
    with pytest.raises(RunFolderError, match=r"cannot be a folder for the tables .*: choose"):
        to_csv(run, tmp_path / "log.csv")


def test_a_run_without_flow_has_its_log_alone(run, tmp_path):
    (tmp_path / "run").mkdir()
    config, log = ((run / name).read_text() for name in ("config.json", "log.jsonl"))
    (tmp_path / "run" / "config.json").write_text(config)
    rows = [
        {k: v for k, v in json.loads(r).items() if k != "evaluations"} for r in log.splitlines()
    ]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [path.name for path in to_csv(tmp_path / "run", tmp_path)] == ["log.csv"]
    with pytest.raises(RunFolderError, match="there is no run folder"):
        to_csv(tmp_path / "none", tmp_path)


def events(path):
    """What a TensorBoard file has: (tag, step) to value. Each event has a length and checksums."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    content, found = path.read_bytes(), {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        content = content[12 + length + 4 :]
    return found


def test_tensorboard(run, tmp_path):
    pytest.importorskip("tensorboardX")
    before = contents(run)
    found = events(to_tensorboard(run, tmp_path / "board"))
    for row in read_log(run):
        for name in ("train_loss", "val_error", "lr"):
            value = found.pop((f"log/{name}", row["epoch"] * STEPS_PER_EPOCH))
            assert value == pytest.approx(row[name], rel=1e-6)
    recorded = flow.load(run)
    for statistic, of, values in recorded.columns():
        for step, value in zip(recorded["step"].tolist(), values.tolist(), strict=True):
            at = (f"{statistic}/{of}" if of else f"flow/{statistic}", step)
            assert (at in found) == (not np.isnan(value)), at
            assert at not in found or found.pop(at) == pytest.approx(value, rel=1e-6), at
    assert {tag for tag, _ in found} == {"log/test_error", "log/seconds", "log/mean_open"}
    assert contents(run) == before
    files = contents(tmp_path)
    with pytest.raises(RunFolderError, match="is not empty: give a new folder"):
        to_tensorboard(run, tmp_path / "board")
    assert contents(tmp_path) == files


def test_without_tensorboardx_it_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'minisd\[tensorboard\]'"):
        to_tensorboard(run, tmp_path / "board")
    assert not (tmp_path / "board").exists()
