"""Files that are missing, too large for the memory, damaged or false: a sentence each."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from minisd import flow, readers
from minisd.cli import main
from minisd.errors import CheckpointError, OutOfMemoryError, RunFolderError, UserError
from minisd.experiments.trained import TrainedRun
from minisd.runs import checkpoint, snapshot
from minisd.runs.folder import read_config, read_log
from minisd.runs.run import Run
from minisd.runs.session import train
from tiny_runs import python, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(epochs=2, flow=3), folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, to be damaged."""
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edited(path, change):
    """Change a JSON file, or the second line of JSON lines."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    row = json.loads(lines[len(lines) > 1])
    change(row)
    lines[len(lines) > 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")


def evaluate(folder, capsys):
    """What the command says of a run that it refuses."""
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert str(folder) in captured.err
    return captured.err


DAMAGES = {
    "checkpoint is a folder": lambda f: folder_instead(f / "checkpoint.npz"),
    "config is a folder": lambda f: folder_instead(f / "config.json"),
    "config nested deeply": lambda f: (f / "config.json").write_text('{"a":' + "[" * 100_000),
    "config not UTF-8": lambda f: (f / "config.json").write_bytes(b'{"depth": "\xff"}'),
    "config a pipe": lambda f: ((f / "config.json").unlink(), os.mkfifo(f / "config.json")),
    "checkpoint a pipe": lambda f: (
        (f / "checkpoint.npz").unlink(),
        os.mkfifo(f / "checkpoint.npz"),
    ),
    "config with a long number": lambda f: (f / "config.json").write_text(
        '{"depth": ' + "9" * 6000 + "}"
    ),
}


def folder_instead(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_by_the_command(run, damage, capsys):
    DAMAGES[damage](run)
    evaluate(run, capsys)


def test_a_terminal_obeys_nothing_that_a_damaged_file_says(run, capsys):
    edited(run / "config.json", lambda c: c.update({"\x1b[31m\nred": 1}))
    said = evaluate(run, capsys)
    assert "\x1b" not in said
    assert "[31m" in said


def test_every_flipped_bit_of_a_header_is_refused_in_a_sentence(run, capsys):
    """Of an array of several KB, whose checksum is verified only after its header is parsed."""
    path = run / "checkpoint.npz"
    whole = path.read_bytes()
    network = Run(tiny(epochs=2, flow=3))
    start = max(whole.find(b"\x93NUMPY", place) for place in range(0, len(whole), len(whole) // 8))
    for bit in range(0, 8 * 128, 3):
        damaged = bytearray(whole)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{path} is (damaged|of another network)"):
            snapshot.load_weights(network, path, "model")


def repacked(path, change, *, how=zipfile.ZIP_STORED):
    """Write a checkpoint as `save` would after ``change(arrays, meta)``: its digest is right."""
    arrays, meta = checkpoint.load(path)
    change(arrays, meta)
    meta = {"format": meta.pop("format"), **meta}
    text = json.dumps({"digest": checkpoint._digest(arrays, meta), **meta})
    stream = io.BytesIO()
    save = np.savez if how == zipfile.ZIP_STORED else np.savez_compressed
    save(stream, **arrays, **{"meta.json": np.frombuffer(text.encode(), np.uint8)})
    path.write_bytes(stream.getvalue())


def poison(name, value):
    def change(arrays, meta):
        arrays[name].flat[-1] = value

    return change


def at(**position):
    return lambda arrays, meta: meta["position"].update(position)


FALSE = {
    "a NaN weight": (poison("model/stem.0.w", np.nan), "stem.0.w has numbers that are not finite"),
    "an infinite momentum": (poison("optimizer/velocity/head.b", np.inf), "head.b has numbers"),
    "a NaN best weight": (poison("best/head.w", np.nan), "head.w has numbers"),
    "no momentum of one": (lambda a, m: a.pop("optimizer/velocity/head.b"), "lacks head.b"),
    "no momentum": (
        lambda a, m: [a.pop(name) for name in list(a) if name.startswith("optimizer")],
        "lacks",
    ),
    "an epoch too late": (at(epoch=9), "epoch is 9"),
    "an epoch of 0": (at(epoch=0), "epoch is 0"),
    "an epoch that is true": (at(epoch=True), "epoch is True"),
    "a step too far": (at(step=99), "step is 99"),
    "a step below 0": (at(step=-1), "step is -1"),
    "a validation in the future": (at(evaluated_at=10**6), "evaluated_at"),
    "a history cut": (at(history=[]), "the history of epoch 3 has 0 epochs"),
    "a history of text": (at(history=["a", "b"]), "damaged"),
    "a loss that is text": (at(loss_sum="1"), "loss_sum"),
    "a time below 0": (at(seconds=-1.0), "seconds"),
    "no best": (at(best=None), "best is missing"),
    "an error above 1": (
        lambda a, m: m["position"]["best"].update(val_error=1.5),
        "val_error of an evaluation is 1.5",
    ),
    "a best without step": (lambda a, m: m["position"]["best"].pop("step"), "lacks 'step'"),
}


@pytest.mark.parametrize("kind", FALSE)
def test_a_checkpoint_that_no_run_could_have_saved_is_refused(run, kind):
    change, said = FALSE[kind]
    path = run / "checkpoint.npz"
    repacked(path, change)
    network = Run(tiny(epochs=2, flow=3))
    for read in (snapshot.restore, lambda *of: snapshot.load_weights(*of, "model")):
        with pytest.raises(CheckpointError, match=f"{path}.*{said}"):
            read(network, path)


def test_the_digest_is_of_everything(run):
    """The old digest left out the meta data: another position went unnoticed."""
    path = run / "checkpoint.npz"
    arrays, meta = checkpoint.load(path)
    digest = checkpoint._digest(arrays, meta)
    meta["position"]["seconds"] = 1.25
    stream = io.BytesIO()
    text = json.dumps({"digest": digest, **meta})
    np.savez(stream, **arrays, **{"meta.json": np.frombuffer(text.encode(), np.uint8)})
    path.write_bytes(stream.getvalue())
    with pytest.raises(CheckpointError, match="not the ones that were saved"):
        checkpoint.load(path)


def test_a_checkpoint_of_the_first_format_is_still_read(run):
    """Its digest is of the arrays only, and it leaves out a momentum that nothing has moved yet."""
    path = run / "checkpoint.npz"
    whole = checkpoint.load(path)
    repacked(path, lambda arrays, meta: meta.update(format=1))
    assert checkpoint.load(path)[0].keys() == whole[0].keys()
    snapshot.restore(Run(tiny(epochs=2, flow=3)), path)


MEMORY = """
import sys, tracemalloc
from pathlib import Path
from minisd.errors import CheckpointError
from minisd.runs import snapshot
from minisd.runs.run import Run
from tiny_runs import tiny
run, path = Run(tiny(epochs=2, flow=3)), Path(sys.argv[1])
tracemalloc.start()
for read in (snapshot.restore, lambda *of: snapshot.load_weights(*of, "best")):
    try:
        read(run, path)
        raise SystemExit("taken")
    except CheckpointError as error:
        print(error)
assert tracemalloc.get_traced_memory()[1] < 3_000_000, tracemalloc.get_traced_memory()
"""


@pytest.mark.parametrize("name", ["model/stem.0.w", "x", "meta.json"])
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["sparse", "zip"])
def test_what_a_file_declares_is_compared_before_memory_is_taken(run, name, how):
    """A zip bomb of 100 MB, and the same without compression."""
    path = run / "checkpoint.npz"
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    stream = io.BytesIO()
    np.save(stream, np.zeros(100_000_000, np.uint8))
    with zipfile.ZipFile(path, "w", how) as archive:
        for entry, content in {**entries, f"{name}.npy": stream.getvalue()}.items():
            archive.writestr(entry, content)
    done = python(f"import sys; sys.path.insert(0, 'tests')\n{MEMORY}", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(path)) == 2


def test_missing_too_large_and_damaged_are_three_sentences(run, monkeypatch):
    network, path = Run(tiny(epochs=2, flow=3)), run / "checkpoint.npz"

    def too_large(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(readers, "_array", too_large)
        with pytest.raises(OutOfMemoryError, match=f"too little memory to read {path}"):
            snapshot.restore(network, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=f"{path} is damaged.*backup"):
        snapshot.restore(network, path)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"there is no {path}: give the folder"):
        snapshot.restore(network, path)


OF_RUN = {
    "no resolved": ("config.json", lambda c: c.pop("resolved"), "it lacks 'resolved'"),
    "resolved a list": ("config.json", lambda c: c.update(resolved=[]), "list"),
    "no steps": (
        "config.json",
        lambda c: c["resolved"].update(steps_per_epoch=0),
        "steps_per_epoch is 0",
    ),
    "400 digits": ("config.json", lambda c: c.update(p_last=10**400), "number of 401 digits"),
    "an error of text": ("log.jsonl", lambda row: row.update(val_error="0.1"), "line 2: val_error"),
    "no loss": ("log.jsonl", lambda row: row.pop("train_loss"), "line 2: it lacks 'train_loss'"),
    "another epoch": ("log.jsonl", lambda row: row.update(epoch=1), "line 2: epoch"),
    "a huge step": ("flow.jsonl", lambda row: row.update(step=1e30), "line 2: .*whole number"),
    "a step back": ("flow.jsonl", lambda row: row.update(step=0), "line 2: 3 steps up to step 0"),
    "text": ("flow.jsonl", lambda row: row.update(loss="high"), "line 2: 'high' is not a number"),
}


@pytest.mark.parametrize("kind", OF_RUN)
def test_what_experiments_read_of_a_run_is_checked(run, kind):
    name, change, said = OF_RUN[kind]
    edited(run / name, change)
    trained = TrainedRun(run, ("linear", 0.8, 3), {})
    with pytest.raises(RunFolderError, match=f"{run / name} is damaged.*{said}"):
        _ = trained.log, trained.flow, trained.best


def test_numbers_near_the_largest_have_a_mean_without_a_warning(run):
    edited(run / "flow.jsonl", lambda row: row.update(grad_mean=[1e308] * len(row["grad_mean"])))
    means = TrainedRun(run, ("linear", 0.8, 3), {}).per_epoch("grad_mean")
    assert np.isinf(means).any()


@pytest.mark.parametrize("name", ["log.jsonl", "flow.jsonl"])
def test_lines_that_are_not_text_or_too_few_are_told_of(run, name):
    path = run / name
    whole = path.read_bytes()
    for content, said in (
        (whole[:50] + b"\xff" + whole[51:], "not UTF-8"),
        (whole[: whole.index(b"\n") + 1], "it has .* of"),  # the first line only
        (b"", "it has 0 of|it is empty"),
    ):
        path.write_bytes(content)
        trained = TrainedRun(run, ("linear", 0.8, 3), {})
        with pytest.raises(RunFolderError, match=f"{path} is damaged.*({said})"):
            _ = trained.log, trained.flow


@pytest.mark.parametrize("blocks", [-1, 1.5, None, "3", 10**400, [3]])
def test_the_header_of_a_recording_is_checked(run, blocks):
    path = run / "flow.jsonl"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps({**json.loads(first), "blocks": blocks}) + "\n" + rest)
    with pytest.raises(RunFolderError, match=f"{path} is damaged.*line 1"):
        flow.load(run)


def test_proper_files_are_read(run):
    config = read_config(run)
    assert len(read_log(run, config["resolved"]["steps_per_epoch"])) == 2
    assert TrainedRun(run, ("linear", 0.8, 3), {}).flow["step"].tolist() == [3, 6, 7, 10, 13, 14]


@pytest.mark.slow
def test_an_experiment_over_a_damaged_recording_says_so_and_draws_nothing(tmp_path, capsys):
    from tiny_studies import arguments

    assert main(arguments(tmp_path, "gradients")) == 0
    for path in tmp_path.glob("gradients.*"):
        path.unlink()
    (path,) = list(tmp_path.glob("runs/*constant*/flow.jsonl"))
    path.write_text(path.read_text().split("\n", 1)[0] + "\n")
    capsys.readouterr()
    assert main(arguments(tmp_path, "gradients")) == 2
    assert f"{path} is damaged" in capsys.readouterr().err
    assert not list(tmp_path.glob("gradients.*"))


def test_a_long_sentence_loses_its_middle():
    said = str(UserError("a" * 5000 + "end"))
    assert len(said) < 900
    assert said.endswith("aend")
