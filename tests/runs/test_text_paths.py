"""A path may be a str wherever a Path may be."""

import numpy as np
import pytest

from minisd import SGD, data, flow, resnet
from minisd.errors import CheckpointError
from minisd.experiments.study import Study
from minisd.files import write_atomically
from minisd.runs import checkpoint
from minisd.runs.session import resume, train
from tiny_runs import outcome, tiny


def test_a_checkpoint_is_saved_and_loaded(tmp_path):
    path = str(tmp_path / "here.npz")
    checkpoint.save(path, {"w": np.arange(3)}, {"epoch": 1})
    arrays, meta = checkpoint.load(path)
    assert arrays["w"].tolist() == [0, 1, 2]
    assert meta["epoch"] == 1
    with pytest.raises(CheckpointError, match=r"here\.npz cannot be written"):
        checkpoint.save(str(tmp_path / "nowhere" / "here.npz"), {}, {})


def test_a_run_is_trained_and_resumed(tmp_path):
    train(tiny(epochs=1), tmp_path / "path")
    train(tiny(epochs=1), str(tmp_path / "text"))
    resume(str(tmp_path / "text"))
    assert outcome(tmp_path / "path") == outcome(tmp_path / "text")


def test_what_else_takes_a_path(tmp_path, rng):
    write_atomically(str(tmp_path / "file"), lambda stream: stream.write(b"right"))
    assert (tmp_path / "file").read_bytes() == b"right"
    assert Study(str(tmp_path / "study")).out == tmp_path / "study"
    assert len(data.load("digits", str(tmp_path)).train) == 1438
    model = resnet(8, width=2, rng=rng)
    flow.Recorder(model, SGD(model, 0.1), str(tmp_path / "flow.jsonl")).close()
    assert len(flow.load(str(tmp_path / "flow.jsonl"))["step"]) == 0
