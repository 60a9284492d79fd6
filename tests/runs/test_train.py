"""The training loop: what it draws, counts, selects and reports."""

import dataclasses
import io
import json
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from minisd import figures, ops
from minisd.cli import main
from minisd.data.batches import training_batches
from minisd.errors import OutOfMemoryError
from minisd.runs import snapshot
from minisd.runs.config import resolve
from minisd.runs.fit import error_rate, train_step
from minisd.runs.progress import Console, Progress
from minisd.runs.run import Run
from minisd.runs.session import resume, train
from minisd.streams import Stream
from tiny_runs import options

TINY = {"depth": 8, "width": 2, "limit": 120, "batch_size": 32, "epochs": 3, "threads": 1}


def tiny(**changes):
    return resolve(TINY | changes)


class Recorder(Progress):
    def __init__(self):
        self.open, self.losses, self.rows, self.lines = [], [], [], []

    def say(self, text):
        self.lines.append(text)

    def step(self, *, epoch, epochs, loss, num_open, num_blocks):
        self.open.append(num_open)
        self.losses.append(loss)

    def epoch(self, row, epochs):
        self.rows.append(row)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, recorder = tmp_path_factory.mktemp("run") / "run", Recorder()
    return train(tiny(validate_every=2), folder, progress=recorder), folder, recorder


def test_the_log_adds_up(trained):
    run, folder, recorder = trained
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows == recorder.rows == run.position.history
    steps = -(-108 // 32)  # 120 images less 12 for validation; the last batch has 12
    assert len(recorder.losses) == 3 * steps
    sizes = [32, 32, 32, 12]
    for i, row in enumerate(rows):
        losses = recorder.losses[i * steps : (i + 1) * steps]
        assert row["train_loss"] == pytest.approx(np.dot(losses, sizes) / 108)
        assert row["mean_open"] == np.mean(recorder.open[i * steps : (i + 1) * steps])
        assert row["epoch"] == i + 1
        assert row["lr"] == run.schedule(i + 1)
        assert [e["step"] for e in row["evaluations"]] == [4 * i + 2, 4 * i + 4]
        assert row["evaluations"][-1]["val_error"] == row["val_error"]


def test_the_result_is_at_the_best_validation_not_the_best_test(trained):
    run, _, recorder = trained
    evaluations = [e for row in recorder.rows for e in row["evaluations"]]
    first_best = min(evaluations, key=lambda e: e["val_error"])
    assert run.position.best == first_best


def test_the_kept_weights_are_those_of_the_best_validation(trained):
    run, folder, _ = trained
    again = Run(run.config)
    snapshot.load_weights(again, folder / "checkpoint.npz", "best")
    assert error_rate(again, again.validation) == run.position.best["val_error"]
    assert error_rate(again, again.test) == run.position.best["test_error"]


def test_config_json_has_everything_resolved(trained):
    run, folder, _ = trained
    config = json.loads((folder / "config.json").read_text())
    assert {key: config[key] for key in TINY} == TINY
    assert config["seed"] == 1
    assert config["versions"]["numpy"] == np.__version__
    resolved = config["resolved"]
    assert resolved["survival_probs"] == run.model.survival_probs
    assert resolved["expected_depth"] == pytest.approx(sum(resolved["survival_probs"]))
    assert resolved["training_images"] == 108
    assert resolved["num_parameters"] == run.model.num_parameters


def test_the_introduction_says_network_blocks_and_expected_depth(trained):
    _, folder, recorder = trained
    text = "\n".join(recorder.lines)
    for words in ("ResNet-8", "L = 3 blocks", "expected depth 2.80", "108 training", str(folder)):
        assert words in text


def test_one_epoch_of_one_step_is_singular(tmp_path):
    recorder = Recorder()
    config = tiny(limit=20, epochs=1, warmup_epochs=1)
    train(config, tmp_path / "run", progress=recorder)
    resume(tmp_path / "run", progress=recorder)
    text = "\n".join(recorder.lines)
    assert "1 epoch of 1 step, batches" in text
    assert "warm-up 0.01 for 1 epoch;" in text
    assert "complete  the only epoch was done before" in text


def test_the_bar_has_no_stray_comma(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    console = Console()
    console.start(done=0, total=20)
    console.step(epoch=1, epochs=2, loss=0.5, num_open=9, num_blocks=9)
    console._bar.refresh()
    console.stop()
    shown = terminal.getvalue()
    assert re.search(r"epoch 1/2 \|.*\|   5%  open 9/9  loss 0.500  \S+ left", shown)
    assert "," not in shown


ROW = {"epoch": 499, "lr": 1 / 9000, "train_loss": 12.3456, "val_error": 1.0, "mean_open": 40.51}


@pytest.mark.parametrize(("columns", "lines"), [("80", 1), ("50", 2)])
def test_the_line_of_an_epoch_fits_the_terminal(columns, lines, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(Stream, "isatty", lambda self: True, raising=False)
    console = Console()
    console.start(done=0, total=20)
    console.epoch(ROW | {"seconds": 12.34}, 500)
    console.stop()
    shown = [line for line in re.split(r"[\r\n]+", capsys.readouterr().out) if "|" not in line]
    epoch = [line.rstrip() for line in shown if line.strip()]
    assert len(epoch) == lines
    assert max(map(len, epoch)) <= int(columns)
    assert " ".join(" ".join(epoch).split()) == (
        "epoch 499/500 lr 0.000111 loss 12.346 val error 100.00% open 40.5 12.3 s"
    )


def test_the_curve_is_a_picture(trained):
    picture = (trained[1] / "curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


@pytest.mark.parametrize("error", [RuntimeError("no latex"), ImportError("no backend")])
def test_a_picture_that_cannot_be_drawn_does_not_cost_the_result(
    error, tmp_path, monkeypatch, capsys
):
    """matplotlib's settings are the user's, and may ask for TeX or a backend that is not there."""

    def fail(*arguments):
        raise error

    monkeypatch.setattr("minisd.figures.learning_curve", fail)
    assert main(["train", "--out", str(tmp_path / "run"), *options(epochs=1)]) == 0
    printed = capsys.readouterr()
    assert "test error" in printed.out
    assert f"curve.png was not drawn: {type(error).__name__}: {error}" in printed.err
    assert (tmp_path / "run" / "checkpoint.npz").exists()


def test_another_survival_changes_neither_weights_nor_data_nor_split():
    a, b = Run(tiny()), Run(tiny(survival="uniform", p_last=0.1))
    for (_, p), (_, q) in zip(a.model.parameters(), b.model.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    np.testing.assert_array_equal(a.validation.images, b.validation.images)
    epochs = []
    for run in (a, b):
        batches = training_batches(run.train, 32, normaliser=run.normaliser,
                                   augmentation=run.augmentation, rng=run.data_rng)  # fmt: skip
        epochs.append(list(batches))
    for (x, labels), (other_x, other_labels) in zip(*epochs, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(labels, other_labels)


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path):
    runs = [train(tiny(seed=seed), tmp_path / str(i)) for i, seed in enumerate((5, 5, 6))]
    weights = [run.model.head.w.data for run in runs]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_statistics_come_from_the_training_split_alone():
    run = Run(tiny())
    mean = run.train.images.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(run.normaliser.mean, mean, rtol=1e-6)
    assert run.normaliser.std == pytest.approx((run.train.images - mean).std(), rel=1e-9)


def test_a_step_lowers_the_loss_on_its_own_batch():
    run = Run(tiny(lr=0.1))
    images = run.normaliser(run.train.images[:64])
    labels = run.train.labels[:64]
    losses = [train_step(run.model, run.optimizer, images, labels) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


def test_evaluation_changes_nothing_and_counts_by_hand():
    run = Run(tiny())
    before = [b.copy() for _, b in run.model.buffers()]
    error = error_rate(run, run.test)
    for (_, b), old in zip(run.model.buffers(), before, strict=True):
        np.testing.assert_array_equal(b, old)
    assert run.model.training
    logits = run.model.eval().forward(run.normaliser(run.test.images))
    assert error == pytest.approx(np.mean(logits.argmax(axis=1) != run.test.labels), abs=1 / 300)


def test_scale_and_dropped_reach_the_network():
    run = Run(tiny(scale="train", dropped="freeze", gamma="uniform", shortcut="projection"))
    assert all(block.scale == "train" for block in run.model.blocks)
    assert run.optimizer.dropped == "freeze"
    assert any("shortcut" in name for name, _ in run.model.parameters())
    assert run.model.stem.layers[1].gamma.data.std() > 0


def test_training_works_in_another_thread(tmp_path):
    """Signals are delivered to the main thread only; elsewhere there is nothing to install."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train(tiny(epochs=1), tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert results[0].is_complete


def test_learning_curve_of_a_single_epoch_and_of_zero_errors(tmp_path):
    row = {"epoch": 1, "train_loss": 0.5, "val_error": 0.0, "test_error": 0.0, "lr": 0.1}
    description = {
        **dataclasses.asdict(tiny()),
        "heading": "ResNet-8",
        "resolved": {"expected_depth": 2.6, "num_blocks": 3, "steps_per_epoch": 4},
    }
    for number, history in enumerate(([row], [row, row | {"epoch": 2, "lr": 0.01}])):
        path = Path(tmp_path / f"{number}.png")
        figures.learning_curve(description, history, path)
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_test_split_plays_no_part_in_training(tmp_path, monkeypatch):
    """Other test images: the same weights, the same best epoch."""
    plain = train(tiny(), tmp_path / "plain")
    loaded = Run(tiny()).test

    original = Run.__init__

    def with_shuffled_test_labels(self, config, **options):
        original(self, config, **options)
        self.test.labels = (loaded.labels + 1) % 10

    monkeypatch.setattr(Run, "__init__", with_shuffled_test_labels)
    other = train(tiny(), tmp_path / "other")
    np.testing.assert_array_equal(plain.model.head.w.data, other.model.head.w.data)
    assert plain.position.best["epoch"] == other.position.best["epoch"]
    assert plain.position.best["test_error"] != other.position.best["test_error"]


def test_gradients_flow_to_every_parameter_of_a_trained_step():
    run = Run(tiny(survival="constant"))
    images = run.normaliser(run.train.images[:8])
    _, dlogits = ops.softmax_cross_entropy(run.model.forward(images), run.train.labels[:8])
    run.model.backward(dlogits)
    for name, p in run.model.parameters():
        assert np.abs(p.grad).max() > 0, name


def test_too_little_memory_is_a_sentence_that_says_what_to_change(tmp_path, monkeypatch):
    def no_memory(*arguments, **options):
        raise MemoryError("Unable to allocate 7.00 GiB.")

    monkeypatch.setattr("minisd.runs.fit.train_step", no_memory)
    sentence = (
        r"computer is too small for batches of 32 through 8 layers "
        r"\(Unable to allocate 7.00 GiB\): resume with --recompute-every"
    )
    with pytest.raises(OutOfMemoryError, match=sentence):
        train(tiny(), tmp_path / "run")
