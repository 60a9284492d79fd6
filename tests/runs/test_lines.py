"""The lines that one wants to write, with images, networks and settings that make them quick.

`test_lines_as_written.py` runs them with nothing added, in minutes.
"""

import json

import numpy as np
import pytest

import minisd
from minisd import (
    Adam,
    PreActBlock,
    cosine,
    data,
    every_other,
    flow,
    linear_decay,
    preact_branch,
    resnet,
    set_survival,
)
from minisd.cli import main
from minisd.flow import Recorder
from tiny_runs import options

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which a person works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def my_probs(L):
    return [1 - 0.2 * (block / L) ** 2 for block in range(1, L + 1)]


def objects():
    """A network, images, and a recorder, all tiny."""
    rng = np.random.default_rng(1)
    model = resnet(8, width=2, in_channels=1, survival=my_probs, rng=rng)
    split = data.load("digits").train
    return model, split[:20], split[20:40], Recorder(model)


def test_a_network_of_ones_own_branch_block_and_rule():
    rng = np.random.default_rng(0)
    model = resnet(32, branch=preact_branch, block=PreActBlock, survival=my_probs, rng=rng)
    assert model.survival_probs == my_probs(15)


def test_ones_own_training_resumed_and_read(here):
    for _ in range(2):
        model, train, validation, recorder = objects()
        run = minisd.fit(model, Adam(model, 1e-3), train, validation, epochs=16,
                         schedule=cosine(1e-3), gates=every_other, callbacks=[recorder],
                         out="runs/x")  # fmt: skip
    assert run.is_complete  # the second call has nothing left to do
    assert len(flow.load("runs/x")["step"]) == 16
    assert minisd.load_model("runs/x").survival_probs == my_probs(3)


def test_the_flow_of_a_run_in_pandas(here):
    pytest.importorskip("pandas")
    model, train, validation, recorder = objects()
    minisd.fit(
        model, Adam(model, 1e-3), train, validation, epochs=2, callbacks=[recorder], out="runs/x"
    )
    frame = flow.load("runs/x").to_frame()
    assert len(frame) > 0


def trained(*arguments):
    assert main(["train", "--quiet", *arguments]) == 0


def test_a_trained_network_and_other_probabilities(here, capsys):
    trained(*options(epochs=1, limit=40))
    model = minisd.load_model("runs/digits-1")
    probs = [0.9, 0.8, 0.7]
    set_survival(model, probs);  print(model)  # fmt: skip  # noqa: E702
    assert model.survival_probs == probs
    assert "ResNet" in capsys.readouterr().out
    assert not model.training


def test_a_study_of_ones_own_rules(here, monkeypatch):
    """Which runs it wants; the slow test trains them."""
    monkeypatch.setattr(minisd.Study, "train", lambda self, jobs: list(jobs))
    jobs = minisd.Study("s").runs({"cosine": my_probs, "linear": linear_decay(15)}, seeds=[1, 2, 3])
    assert len(jobs) == 6


def test_the_commands(here):
    """Each line of the second block, with options that make it small."""
    (here / "my_rules.py").write_text("def rule(L): return [1.0] * L\n")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(here / "mine.npz", images=images, labels=np.arange(60) % 3)
    small = options(epochs=1, limit=40)
    trained("--data", "mine.npz", *(each for each in small if "limit" not in each))
    for survival in ("0.9,0.8,0.7", "cosine", "my_rules.py:rule"):
        trained("--survival", survival, *small)
    trained("--out", "runs/a", *small)
    (here / "a.json").write_bytes((here / "runs" / "a" / "config.json").read_bytes())
    trained("--config", "a.json", "--lr", "0.05", "--out", "runs/b")
    assert json.loads((here / "runs" / "b" / "config.json").read_text())["lr"] == 0.05
    trained("--init", "runs/a", *options(epochs=2, limit=40))
    trained("--resume", "runs/a", "--epochs", "2")
    assert json.loads((here / "runs" / "a" / "config.json").read_text())["epochs"] == 2


@pytest.mark.slow
def test_seeds_without_a_folder_have_one_made(here):
    small = [option for option in options(epochs=1, limit=40) if "seed" not in option]
    trained("--seeds", "1", "2", "3", *small)
    folders = sorted(path.name for path in (here / "runs" / "digits-1").iterdir())
    assert folders == ["seed-1", "seed-2", "seed-3"]
