"""Run folders: what is in them, who may write into them, and what happens to those of others."""

import io
import json
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr

import numpy as np
import pytest

import minisd as package
from minisd.cli import main
from minisd.errors import CheckpointError, RunFolderError
from minisd.flow.nonfinite import first_nonfinite
from minisd.models import resnet
from minisd.runs import folder as runfolder
from minisd.runs.run import MACHINE_SETTINGS
from minisd.runs.session import resume, train
from systems import not_as_root, posix_only
from tiny_runs import (
    STEPS_PER_EPOCH,
    TINY,
    command,
    contents,
    is_one_sentence,
    minisd,
    options,
    outcome,
    read_log,
    state,
    tiny,
)

LOG_KEYS = {"epoch", "train_loss", "val_error", "test_error", "lr", "seconds", "mean_open"}
RUN_FILES = {"config.json", "log.jsonl", "checkpoint.npz", "curve.png"}


@pytest.fixture
def complete(tmp_path):
    """The folder of a complete run, and what is in it."""
    folder = tmp_path / "run"
    train(tiny(epochs=2), folder)
    return folder, contents(folder)


def refused(*arguments):
    """Run the command, which has to refuse; return what it says."""
    said = io.StringIO()
    with redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    assert code == 2, said.getvalue()
    assert is_one_sentence(said.getvalue()), said.getvalue()
    return said.getvalue()


# What is in a folder


def test_the_files_of_a_run(complete):
    assert set(complete[1]) == RUN_FILES


@pytest.mark.parametrize("changes", [{}, {"validate_every": 2}], ids=["plain", "validate_every"])
def test_log(tmp_path, changes):
    train(tiny(drops=(2,), **changes), tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes().endswith(b"}\n")
    rows = read_log(tmp_path)  # refuses NaN and Infinity
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    for row in rows:
        assert row.keys() == LOG_KEYS | ({"evaluations"} if changes else set())
        assert 0 < row["mean_open"] <= tiny().num_blocks
        assert 0 <= row["val_error"] <= 1
        assert 0 <= row["test_error"] <= 1
        assert 0 < row["seconds"] < 60
        for found in row.get("evaluations", []):
            assert found["epoch"] == row["epoch"]
            assert found["step"] % 2 == 0 or found["step"] % STEPS_PER_EPOCH == 0
    steps = [found["step"] for row in rows for found in row.get("evaluations", [])]
    if changes:
        assert steps == sorted({*range(2, 29, 2), 7, 14, 21, 28})


def test_best_is_the_first_of_the_lowest_validation_errors(tmp_path):
    run = train(tiny(epochs=8, validate_every=3), tmp_path)
    found = [entry for row in read_log(tmp_path) for entry in row["evaluations"]]
    lowest = min(entry["val_error"] for entry in found)
    first = next(entry for entry in found if entry["val_error"] == lowest)
    assert run.position.best == first
    assert state(tmp_path / "checkpoint.npz")["position"]["best"] == first


def test_config_json(complete):
    config = json.loads((complete[0] / "config.json").read_bytes())
    assert {name: config[name] for name in TINY} == {**TINY, "epochs": 2}
    assert config["preset"] == "digits"
    assert config["versions"]["minisd"] == package.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"blas", "platform"} <= config["versions"].keys()
    resolved = config["resolved"]
    assert resolved["survival_probs"] == pytest.approx([1 - 0.2 / 3, 1 - 0.4 / 3, 0.8])
    assert resolved["expected_depth"] == pytest.approx(2.6)
    assert resolved["steps_per_epoch"] == STEPS_PER_EPOCH
    assert resolved["training_images"] + resolved["validation_images"] == TINY["limit"]
    assert (config["device"], config["threads"]) == ("cpu", 1)


def test_the_same_settings_make_the_same_run(complete, tmp_path):
    train(tiny(epochs=2), tmp_path / "again")
    assert outcome(tmp_path / "again") == outcome(complete[0])


def test_free_name(tmp_path):
    assert runfolder.free_name(tmp_path, "digits") == tmp_path / "digits-1"
    (tmp_path / "digits-1").mkdir()
    (tmp_path / "digits-2").write_text("a file")
    assert runfolder.free_name(tmp_path, "digits") == tmp_path / "digits-3"


def test_without_out_each_run_has_a_new_folder(tmp_path):
    for _ in range(2):
        line = command("train", "--quiet", *options(epochs=1))
        subprocess.run(line, cwd=tmp_path, check=True, timeout=60)
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert runs == ["digits-1", "digits-2"]
    assert outcome(tmp_path / "runs" / "digits-1") == outcome(tmp_path / "runs" / "digits-2")


@pytest.mark.slow
def test_runs_that_start_at_once_have_folders_of_their_own(tmp_path):
    line = command("train", "--quiet", *options(epochs=1))
    runs = [subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(5)]
    for run in runs:
        assert (run.communicate(timeout=120)[1], run.returncode) == (b"", 0)
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name for folder in folders] == [f"digits-{number}" for number in range(1, 6)]
    assert len({str(outcome(folder)) for folder in folders}) == 1


def test_a_new_folder_is_not_one_that_another_process_has_just_made(tmp_path, monkeypatch):
    original = runfolder.free_name

    def slow(parent, stem):
        path = original(parent, stem)
        if path.name == "digits-1":
            path.mkdir()  # by another process, which was faster
        return path

    monkeypatch.setattr(runfolder, "free_name", slow)
    with runfolder.new_folder(tmp_path / "runs", "digits") as folder:
        assert folder == tmp_path / "runs" / "digits-2"
        (folder / "file").touch()
    assert folder.is_dir()


def test_nothing_is_left_of_a_new_folder_in_which_nothing_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("train", "--data", "cifar10", "--data-dir", "nowhere")
    assert list(tmp_path.iterdir()) == []


# Folders that are taken


def test_a_run_is_not_overwritten(complete):
    folder, before = complete
    said = refused("train", "--out", folder, *options(epochs=2, seed=5))
    assert "--force" in said
    assert "--resume" in said
    assert contents(folder) == before


def test_force_replaces_a_run(complete):
    folder, before = complete
    done = minisd("train", "--quiet", "--force", "--out", folder, *options(epochs=1, seed=5))
    assert done.returncode == 0, done.stderr
    after = contents(folder)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert len(read_log(folder)) == 1


def test_force_does_nothing_when_the_settings_are_wrong(complete):
    folder, before = complete
    refused("train", "--force", "--out", folder, *options(depth=9))
    refused("train", "--force", "--out", folder, *options(batch_size=0))
    refused("train", "--force", "--out", folder, *options(data="cifar10", data_dir="nowhere"))
    assert contents(folder) == before


OTHER_FOLDERS = {
    "thesis": {"thesis.tex": b"\\end", "data/raw.csv": b"1,2"},
    "hidden": {".git/HEAD": b"ref"},
    "another's config": {"config.json": b'{"scripts": {}}', "index.js": b"//"},
    "another's log": {"log.jsonl": b"{}\n", "keep/me.txt": b"me"},
}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize("kind", OTHER_FOLDERS)
def test_a_folder_with_other_files_is_never_taken(tmp_path, kind, force):
    folder = tmp_path / "other"
    for name, content in OTHER_FOLDERS[kind].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    refused("train", *force, "--out", folder, *options(epochs=1))
    assert contents(folder) == OTHER_FOLDERS[kind]


def test_force_never_touches_a_file_that_was_added_to_a_run(complete):
    folder, _ = complete
    (folder / "notes.txt").write_bytes(b"the good one")
    minisd("train", "--quiet", "--force", "--out", folder, *options(epochs=1, seed=5))
    assert contents(folder)["notes.txt"] == b"the good one"


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    train(tiny(epochs=1), tmp_path / "empty")
    assert set(contents(tmp_path / "empty")) == RUN_FILES


@pytest.mark.parametrize("below", ["", "run", "runs/deep/run"])
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_a_file_in_the_way(tmp_path, below, force):
    (tmp_path / "file").write_bytes(b"mine")
    said = refused("train", *force, "--out", tmp_path / "file" / below, *options(epochs=1))
    assert "is a file" in said
    assert contents(tmp_path) == {"file": b"mine"}


@not_as_root
@posix_only
@pytest.mark.parametrize("below", ["", "run"])
def test_a_read_only_folder(tmp_path, below):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    said = refused("train", "--out", folder / below, *options(epochs=1))
    assert "no permission" in said
    assert contents(folder) == {}


@not_as_root
@posix_only
def test_resuming_in_a_read_only_folder(complete):
    folder, before = complete
    (folder / ".lock").unlink()
    folder.chmod(0o555)
    try:
        refused("train", "--resume", folder)
        assert contents(folder) == before
    finally:
        folder.chmod(0o755)


@posix_only
def test_a_file_system_that_takes_no_folders_is_a_sentence(tmp_path):
    """/proc takes no folders, not even from root."""
    said = refused("train", "--out", "/proc/minisd-run", *options(epochs=1))
    assert "/proc/minisd-run" in said


# Two processes


@contextmanager
def training(folder, *arguments):
    """Let another process train, for as long as the block lasts, and then kill it."""
    before = len(read_log(folder)) if folder.exists() else 0
    with subprocess.Popen(
        command("train", "--quiet", *arguments), stdout=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not (folder / "log.jsonl").exists() or len(read_log(folder)) == before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    folder = tmp_path / "run"
    settings = options(epochs=100_000)
    with training(folder, "--out", folder, *settings) as process:
        config = (folder / "config.json").read_bytes()
        epochs = len(read_log(folder))
        for arguments in (["--resume", folder], ["--force", "--out", folder, *settings]):
            assert "another process is training" in refused("train", *arguments)
        assert "--force" in refused("train", "--out", folder, *settings)
        deadline = time.monotonic() + 30
        while len(read_log(folder)) == epochs:  # until the first goes on, undisturbed
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (folder / "config.json").read_bytes() == config
    with runfolder.claim(folder, create=False):
        pass  # the system has let go of it
    with training(folder, "--resume", folder) as process:
        assert "another process is training" in refused("train", "--resume", folder)
    assert len(read_log(folder)) > epochs


def test_claim(tmp_path):
    with runfolder.claim(tmp_path / "a" / "b", create=True) as folder:
        assert folder.is_dir()
        with (
            pytest.raises(RunFolderError, match="another process"),
            runfolder.claim(folder, create=True),
        ):
            pass
    (folder / runfolder.CONFIG).write_text("{}")
    with runfolder.claim(folder, create=False):
        pass
    with (
        pytest.raises(RunFolderError, match="no run folder"),
        runfolder.claim(tmp_path / "none", create=False),
    ):
        pass
    assert not (tmp_path / "none").exists()


# Going on


@pytest.mark.parametrize(
    "more",
    [
        ["--epochs", "1"],
        ["--seed", "4"],
        ["--lr", "0.2"],
        ["--drops", "1"],
        ["--preset", "cifar10"],
        ["--data", "cifar10"],
        ["--flip"],
        ["--out", "elsewhere"],
        ["--force"],
    ],
    ids=lambda more: more[0],
)
def test_settings_cannot_change_when_a_run_goes_on(complete, more):
    folder, before = complete
    said = refused("train", "--resume", folder, *more)
    assert more[0].strip("-").removeprefix("no-") in said
    assert contents(folder) == before


def test_settings_may_be_given_again_as_they_are(complete):
    same = ["--epochs", "2", "--preset", "digits", "--data", "digits", "--no-flip"]
    done = minisd("train", "--resume", complete[0], *same)
    assert done.returncode == 0, done.stderr
    assert "complete  all 2 epochs were done before" in done.stdout


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--threads", "2"],
        *(
            pytest.param(more, marks=pytest.mark.slow)
            for more in (["--quiet"], ["--device", "auto"], ["--data-dir", "else"])
        ),
    ],
)
def test_what_belongs_to_the_machine_may_change(tmp_path, more):
    """The run then ends as it would have (two threads may round otherwise: not compared)."""
    run = tmp_path / "run"
    train(tiny(epochs=1), run)
    whole = outcome(run)
    for name in ("log.jsonl", "checkpoint.npz"):  # as after a kill before the first save
        (run / name).unlink()
    done = minisd("train", "--resume", run, *more)
    assert done.returncode == 0, done.stderr
    assert ("resum" in done.stdout or "epoch" in done.stdout) == (more != ["--quiet"])
    assert len(read_log(run)) == 1
    config = json.loads((run / "config.json").read_bytes())
    if more and more[0] != "--quiet":
        name, value = more[0].strip("-").replace("-", "_"), more[1]
        chosen = {"auto": ("cpu", "cuda")}.get(value, (value,))  # what was chosen is kept
        assert str(config[name]) in chosen
    if "--threads" not in more:
        ours = outcome(run)
        for name in MACHINE_SETTINGS:
            ours["config"][name] = whole["config"][name]
        assert ours == whole


def test_resuming_a_complete_run_changes_nothing(complete):
    folder, before = complete
    done = minisd("train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert "result" in done.stdout
    assert contents(folder) == before


def test_resuming_what_is_not_a_run(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    for name, match in (
        ("none", "no run folder"),
        ("empty", "not a run folder"),
        ("other", "not a run folder"),
        ("file", "is a file: give the folder of a run"),
    ):
        assert match in refused("train", "--resume", tmp_path / name)
    everything = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert everything == {"empty", "other", "other/notes.txt", "file"}  # and no lock left behind


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"depth": "deep"}',
        b'{"depth": 9}',
        b'{"colour": 1}',
        b'{"preset": 7}',
        b'{"preset": [1]}',
        b'{"data": {}}',
        b'{"drops": [[1]]}',
        b'{"lr": NaN}',
    ],
)
def test_a_damaged_config_is_refused(tmp_path, damaged):
    train(tiny(epochs=1), tmp_path)
    (tmp_path / "config.json").write_bytes(damaged)
    before = contents(tmp_path)
    with pytest.raises((RunFolderError, CheckpointError, ValueError)) as caught:
        resume(tmp_path)
    assert type(caught.value).__module__ == "minisd.errors"
    assert contents(tmp_path) == before


def test_an_edited_config_does_not_go_with_the_checkpoint(complete):
    folder, _ = complete
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "lr": 0.5}))
    before = contents(folder)
    assert "lr is 0.1 there, 0.5 here" in refused("train", "--resume", folder)
    assert contents(folder) == before


# Numbers that are not finite


@pytest.mark.parametrize("rate", ["1e30", "1e300", "1e12"])
def test_training_stops_at_a_number_that_is_not_finite(tmp_path, rate):
    """In the third epoch, when the warm-up ends: two whole ones are saved."""
    folder = tmp_path / "run"
    settings = {"lr": rate, "warmup_epochs": 2, "warmup_lr": 0.1, "drops": 3}
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error"),
            *command("train", "--out", folder, *options(**settings))[1:],
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done
    assert is_one_sentence(done.stderr), done.stderr
    step = int(done.stderr.partition("at step ")[2].split()[0])
    assert 2 * STEPS_PER_EPOCH < step <= 3 * STEPS_PER_EPOCH
    assert "epoch 3" in done.stderr
    assert f"learning rate {float(rate):g}" in done.stderr
    assert any(f"({name})" in done.stderr for name in ("Conv2d", "BatchNorm2d", "Linear"))
    saved = state(folder / "checkpoint.npz")
    assert (saved["position"]["epoch"], saved["position"]["step"]) == (3, 0)
    assert len(read_log(folder)) == 2
    for kind, _, content in saved["arrays"].values():
        assert np.isfinite(np.frombuffer(content, kind)).all()
    assert minisd("evaluate", folder, "--which", "last").returncode == 0


def network():
    return resnet(8, width=2, in_channels=1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name",
    ["stem.0.w", "stem.1.gamma", "stem.1.beta", "head.b", "head.w"]
    + [f"blocks.{block}.branch.{layer}" for block in (0, 2) for layer in ("0.w", "1.beta", "3.w")],
)
def test_the_first_layer_that_is_not_finite_is_named(rng, name, value):
    model = network()
    parameters = dict(model.parameters())
    parameters["head.w"].data[0, 0] = np.nan  # later, so not the one to be named
    parameters[name].data.flat[0] = value
    with np.errstate(invalid="ignore"):
        said = first_nonfinite(model, rng.standard_normal((4, 1, 8, 8)).astype(np.float32))
    assert said.split()[0] == name.rpartition(".")[0]
    kinds = {"stem.0": "Conv2d", "stem.1": "BatchNorm2d", "head": "Linear"}
    assert said.split()[0] not in kinds or said.endswith(f" ({kinds[said.split()[0]]})")


def test_a_closed_block_is_not_blamed(rng):
    model = network()
    dict(model.parameters())["blocks.1.branch.0.w"].data[:] = np.nan
    model.blocks[1].is_open = False
    said = first_nonfinite(model, rng.standard_normal((4, 1, 8, 8)).astype(np.float32))
    assert said.startswith("the loss")


def test_images_and_loss_are_named_too(rng):
    model = network()
    images = rng.standard_normal((4, 1, 8, 8)).astype(np.float32)
    assert first_nonfinite(model, images).startswith("the loss")
    images[0, 0, 0, 0] = np.nan
    assert first_nonfinite(model, images).startswith("no layer: the images")


def walk(layer):
    yield layer
    for _, child in layer.children():
        yield from walk(child)


@pytest.mark.parametrize("fails", [False, True])
def test_looking_for_it_leaves_nothing_behind(rng, fails):
    model = network()
    images = rng.standard_normal((4, 2 if fails else 1, 8, 8)).astype(np.float32)
    if fails:
        with pytest.raises(ValueError, match="channels"):
            first_nonfinite(model, images)
    else:
        first_nonfinite(model, images)
    assert not any("forward" in vars(layer) for layer in walk(model))
