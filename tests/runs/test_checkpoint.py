"""Checkpoints: whole or refused, the one before surviving, and nothing touched by a bad one."""

import io
import json
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest

from minisd.errors import CheckpointError
from minisd.files import write_atomically
from minisd.runs import checkpoint, snapshot
from minisd.runs.fit import fit
from minisd.runs.interrupt import StopSignals
from minisd.runs.progress import Progress
from minisd.runs.run import Run
from minisd.runs.session import train
from systems import posix_only
from tiny_runs import (
    bits,
    contents,
    is_one_sentence,
    leftovers,
    minisd,
    no_constant,
    options,
    outcome,
    python,
    state,
    tiny,
)

# One bit turns the name "w" into "s": of two arrays with one name, the first would be lost.
ARRAYS = {
    "model/w": np.arange(8, dtype=np.float32),
    "model/s": np.linspace(-1, 1, 18, dtype=np.float32).reshape(2, 1, 3, 3),
    "steps": np.array(7, np.int64),
}
META = {"position": {"epoch": 2, "best": None}, "state": 2**127 + 1}


@pytest.fixture
def saved(tmp_path):
    """A small checkpoint and its bytes."""
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, ARRAYS, META)
    return path, path.read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Path of the checkpoint of a run of two epochs."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(epochs=2), folder)
    return folder / "checkpoint.npz"


def all_of(run, folder):
    """Everything that a run holds: what it would save, and what it computes with."""
    snapshot.save(run, folder / "as-it-is.npz")
    rng = run.data_rng.bit_generator.state
    return {**state(folder / "as-it-is.npz"), "now": rng, "training": run.model.training}


def partly_trained(folder):
    """A run in the middle of an epoch: nothing in it is as at the start."""

    class Enough(Exception):
        pass

    class StopSoon(Progress):
        steps = 0

        def step(self, **_):
            self.steps += 1
            if self.steps == 9:
                raise Enough

    run = Run(tiny(epochs=2))
    with pytest.raises(Enough):
        fit(run, lambda: None, StopSoon(), StopSignals())
    assert run.position.epoch == 2
    assert run.best_arrays
    assert run.optimizer.velocity
    return run


def refused(path, folder, match=None):
    """Whether a run refuses ``path`` with a sentence and stays as it was; new, and in training."""
    for run in (Run(tiny(epochs=2)), partly_trained(folder)):
        before = all_of(run, folder)
        with pytest.raises(CheckpointError, match=match) as caught:
            snapshot.restore(run, path)
        assert all_of(run, folder) == before
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return True


def rewritten(path, target, change, *, digest=True):
    """Write ``path`` again, whole and with right checksums, after ``change(arrays, meta)``."""
    arrays, meta = checkpoint.load(path)
    kept = checkpoint._digest(arrays, meta)
    change(arrays, meta)
    digest = checkpoint._digest(arrays, meta) if digest else kept
    text = json.dumps({"digest": digest, **meta})
    np.savez(target, **{"meta.json": np.frombuffer(text.encode(), np.uint8)}, **arrays)
    return target


def test_round_trip(saved):
    arrays, meta = checkpoint.load(saved[0])
    assert bits(arrays) == bits(ARRAYS)
    assert meta == {"format": checkpoint.FORMAT, **META}


def test_the_file_is_an_npz_without_pickle_and_json(saved):
    with np.load(saved[0], allow_pickle=False) as file:
        assert set(file.files) == {*ARRAYS, "meta.json"}
        assert not any(file[name].dtype.hasobject for name in file.files)
        json.loads(file["meta.json"].tobytes(), parse_constant=no_constant)
    with zipfile.ZipFile(saved[0]) as file:
        assert file.testzip() is None


def test_a_real_checkpoint_restores_what_was_saved(trained, tmp_path):
    run = partly_trained(tmp_path)
    snapshot.restore(run, trained)
    snapshot.save(run, tmp_path / "again.npz")
    assert state(tmp_path / "again.npz") == state(trained)
    assert run.is_complete


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, np.float32(1)])
def test_what_json_cannot_say_is_refused_and_changes_nothing(saved, value):
    path, before = saved
    with pytest.raises((ValueError, TypeError)):
        checkpoint.save(path, ARRAYS, {"position": value})
    assert path.read_bytes() == before
    assert not leftovers(path.parent)


def test_truncated_at_any_length(saved):
    path, whole = saved
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


def test_a_real_checkpoint_truncated_at_many_lengths(trained, tmp_path, rng):
    whole = trained.read_bytes()
    path = tmp_path / "checkpoint.npz"
    for length in [*rng.integers(0, len(whole), 60), 0, 1, 2, 4, 22, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            checkpoint.load(path)
    assert refused(path, tmp_path)


def refused_or_the_same(path, expected):
    """Whether a damaged file is refused; if it is not, nothing that matters was damaged."""
    try:
        arrays, meta = checkpoint.load(path)
    except CheckpointError:
        return True
    assert (bits(arrays), meta) == expected
    return False


@pytest.mark.slow
def test_any_single_flipped_bit(saved):
    """Every bit of the file: checksummed contents, headers, and the directory at its end."""
    path, whole = saved
    expected = (bits(ARRAYS), {"format": checkpoint.FORMAT, **META})
    accepted = []
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            if not refused_or_the_same(path, expected):
                accepted.append(place)
        except AssertionError as error:
            raise AssertionError(f"bit {place % 8} of byte {place // 8} of {whole!r}") from error
    assert len(accepted) < 8 * len(whole) / 4  # times and attributes of the files in the zip


def test_a_real_checkpoint_with_flipped_bits(trained, tmp_path, rng):
    whole, expected = trained.read_bytes(), checkpoint.load(trained)
    expected = (bits(expected[0]), expected[1])
    path, num_refused = tmp_path / "checkpoint.npz", 0
    for place in rng.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        num_refused += refused_or_the_same(path, expected)
    assert num_refused > 200


def test_a_header_that_promises_less_than_there_is(tmp_path):
    """One bit makes (80, 99) of (88, 99); what follows must be missed all the same."""
    path = tmp_path / "checkpoint.npz"
    arrays = {"model/w": np.ones((88, 99), np.float32)}
    checkpoint.save(path, arrays, META)
    whole = path.read_bytes()
    assert whole.count(b"(88, 99)") == 1
    path.write_bytes(whole.replace(b"(88, 99)", b"(80, 99)"))
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def as_meta(text):
    return npz(**{"meta.json": np.frombuffer(text.encode(), np.uint8)})


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_pickles_are_not_opened(tmp_path):
    path, trap = tmp_path / "checkpoint.npz", Trap(tmp_path / "sprung")
    objects = np.array([trap], object)
    meta = np.frombuffer(b'{"format": 1}', np.uint8)
    for content in (
        pickle.dumps(trap),
        npy(objects),
        npz(w=objects, **{"meta.json": meta}),
        npz(**{"meta.json": objects}),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "sprung").exists()  # it does work


OTHER_FILES = {
    "empty": b"",
    "text": b"minisd\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "array": npy(np.ones(3)),
    "empty zip": npz(),
    "no meta": npz(w=np.ones(3)),
    "meta of floats": npz(**{"meta.json": np.array([1.5, 2.5])}),
    "meta not JSON": as_meta("{"),
    "meta a list": as_meta("[1]"),
    "meta a number": as_meta("1"),
    "meta null": as_meta("null"),
    "no format": as_meta("{}"),
    "format text": as_meta('{"format": "1.0"}'),
    "only format": as_meta('{"format": 1}'),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_refused(tmp_path, kind):
    path = tmp_path / "other.npz"
    path.write_bytes(OTHER_FILES[kind])
    assert refused(path, tmp_path)


def test_a_missing_one_and_a_folder_are_refused(tmp_path):
    assert refused(tmp_path / "none.npz", tmp_path, "there is no .*none.npz")
    assert refused(tmp_path, tmp_path)


CHANGES = {
    "a later format": (lambda a, m: m.update(format=4), "format 4.*reads 3"),
    "an earlier format": (lambda a, m: m.update(format=0), "format 0"),
    "no config": (lambda a, m: m.pop("config"), "config"),
    "config a list": (lambda a, m: m.update(config=[1]), None),
    "no digest": (lambda a, m: m.pop("data_digest"), "data_digest"),
    "other data": (lambda a, m: m.update(data_digest="0" * 32), "other images.*--data-dir"),
    "no position": (lambda a, m: m.pop("position"), "position"),
    "position a list": (lambda a, m: m.update(position=[1]), None),
    "position a text": (lambda a, m: m.update(position="begin"), None),
    "position of more": (lambda a, m: m["position"].update(colour="red"), "colour"),
    "no data generator": (lambda a, m: m.pop("data_rng"), "data_rng"),
    "no gate generator": (lambda a, m: m.pop("gate_rng"), "gate_rng"),
    "data generator null": (lambda a, m: m.update(data_rng=None), None),
    "gate generator null": (lambda a, m: m.update(gate_rng=None), None),
    "gate generator empty": (lambda a, m: m.update(gate_rng={}), None),
    "gate generator of another kind": (
        lambda a, m: m["gate_rng"].update(bit_generator="MT19937"),
        None,
    ),
    "data generator of another kind": (
        lambda a, m: m["data_rng"].update(bit_generator="MT19937"),
        None,
    ),
    "a weight missing": (lambda a, m: a.pop("model/stem.0.w"), "lacks stem.0.w"),
    "a statistic missing": (lambda a, m: a.pop("model/stem.1.running_var"), "running_var"),
    "a best weight missing": (lambda a, m: a.pop("best/stem.0.w"), "lacks stem.0.w"),
    "all best weights missing": (
        lambda a, m: [a.pop(name) for name in list(a) if name.startswith("best/")],
        None,
    ),
    "a weight too many": (lambda a, m: a.update({"model/x": np.ones(1)}), "has x"),
    "a momentum too many": (lambda a, m: a.update({"momentum/x": np.ones(1)}), "x"),
    "a weight of another shape": (
        lambda a, m: a.update({"model/stem.0.w": a["model/stem.0.w"][:1]}),
        r"another network: stem.0.w is \(1, 1, 3, 3\)",
    ),
    "a weight of another dtype": (
        lambda a, m: a.update({"model/stem.0.w": a["model/stem.0.w"].astype(np.float64)}),
        "another network: stem.0.w .* float64",
    ),
    "a best weight of another shape": (
        lambda a, m: a.update({"best/stem.0.w": a["best/stem.0.w"][:1]}),
        "another network",
    ),
    "a momentum of another shape": (
        lambda a, m: a.update(
            {"optimizer/velocity/stem.0.w": a["optimizer/velocity/stem.0.w"][:1]}
        ),
        "another network",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_whole_checkpoint_that_does_not_fit_is_refused(trained, tmp_path, kind):
    change, match = CHANGES[kind]
    path = rewritten(trained, tmp_path / "changed.npz", change)
    assert refused(path, tmp_path, match)


def test_an_array_that_got_lost_or_changed_is_noticed(trained, tmp_path):
    """Even where a run could do without it: a momentum that is not there starts at zero."""
    for number, change in enumerate(
        (
            lambda a, m: a.pop("optimizer/velocity/stem.0.w"),
            lambda a, m: a.update({"model/head.b": a["model/head.b"] + 1}),
        )
    ):
        path = rewritten(trained, tmp_path / f"{number}.npz", change, digest=False)
        assert refused(path, tmp_path, "damaged")


def test_rewriting_alone_changes_nothing(trained, tmp_path):
    """So that what is refused above is refused for the change."""
    path = rewritten(trained, tmp_path / "changed.npz", lambda a, m: None)
    run = Run(tiny(epochs=2))
    snapshot.restore(run, path)
    snapshot.save(run, tmp_path / "again.npz")
    assert state(tmp_path / "again.npz") == state(trained)


OTHER_SETTINGS = [
    {"depth": 14},
    {"width": 4},
    {"limit": 130},
    {"shortcut": "projection"},
    {"survival": "constant"},
    {"survival": "uniform"},
    {"p_last": 0.7},
    {"scale": "train"},
    {"dropped": "freeze"},
    {"epochs": 3},
    {"batch_size": 20},
    {"lr": 0.2},
    {"drops": (1,)},
    {"momentum": 0.8},
    {"weight_decay": 0.0},
    {"validate_every": 2},
    {"max_shift": 2},
    {"flip": True},
    {"seed": 4},
]


@pytest.mark.parametrize("changes", OTHER_SETTINGS, ids=lambda c: next(iter(c)))
def test_a_checkpoint_of_other_settings_is_refused(trained, tmp_path, changes):
    run = Run(tiny(**{"epochs": 2, **changes}))
    before = all_of(run, tmp_path)
    with pytest.raises(CheckpointError, match=f"another run: {next(iter(changes))} is"):
        snapshot.restore(run, trained)
    assert all_of(run, tmp_path) == before


@pytest.mark.parametrize("changes", [{"threads": 2}, {"device": "auto"}, {"data_dir": "else"}])
def test_a_checkpoint_of_another_machine_is_taken(trained, changes):
    run = Run(tiny(**{"epochs": 2, **changes}))
    snapshot.restore(run, trained)
    assert run.is_complete


def test_restore_copies_nothing_when_one_array_is_of_another_network(tmp_path):
    targets = {"a": np.zeros(3, np.float32), "b": np.zeros((2, 2), np.float32)}
    for b in (np.ones((2, 3), np.float32), np.ones((2, 2))):
        with pytest.raises(CheckpointError, match="another network: b"):
            checkpoint.restore(targets, {"a": np.ones(3, np.float32), "b": b}, tmp_path)
    for arrays, match in (({"a": targets["a"]}, "lacks b"), ({**targets, "c": b}, "has c")):
        with pytest.raises(CheckpointError, match=match):
            checkpoint.restore(targets, arrays, tmp_path)
    assert not any(array.any() for array in targets.values())
    keep = targets["a"]
    checkpoint.restore(targets, {"a": np.ones(3, np.float32), "b": np.eye(2, dtype="f4")}, tmp_path)
    assert keep.tolist() == [1, 1, 1]  # in place


def test_resuming_from_a_damaged_checkpoint_leaves_the_folder_alone(tmp_path):
    train(tiny(epochs=1), tmp_path)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-1])
    before = contents(tmp_path)
    done = minisd("train", "--resume", tmp_path)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert "not a whole checkpoint" in done.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError("no space"), ValueError("a bug"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_file_before(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def write(stream):
        stream.write(b"half of what")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert contents(tmp_path) == {"file": b"before"}
    write_atomically(path, lambda stream: stream.write(b"after"))
    assert contents(tmp_path) == {"file": b"after"}


LIMITED = """
import resource, sys
from minisd import cli

limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Sizes of the files of a run, and of its first checkpoint, without momentum and best."""
    folder = tmp_path_factory.mktemp("sizes") / "run"
    train(tiny(), folder)
    snapshot.save(Run(tiny()), folder / "first.npz")
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@posix_only
def test_no_space_for_anything(tmp_path):
    done = python(LIMITED, 100, "train", "--out", tmp_path / "run", *options())
    assert done.returncode == 2, done.stderr
    assert is_one_sentence(done.stderr), done.stderr
    assert "cannot be written" in done.stderr
    assert contents(tmp_path / "run") == {}


@posix_only
def test_no_space_for_the_first_checkpoint(tmp_path, sizes):
    limit = sizes["first.npz"] - 1
    assert limit > sizes["config.json"]
    done = python(LIMITED, limit, "train", "--out", tmp_path / "run", *options())
    assert done.returncode == 2, done.stderr
    assert is_one_sentence(done.stderr), done.stderr
    assert set(contents(tmp_path / "run")) == {"config.json"}


@posix_only
def test_no_space_for_a_later_checkpoint(tmp_path, sizes):
    """The checkpoint before is still there, and the run goes on from it when there is space."""
    limit = (sizes["first.npz"] + sizes["checkpoint.npz"]) // 2
    folder = tmp_path / "run"
    done = python(LIMITED, limit, "train", "--quiet", "--out", folder, *options())
    assert state(folder / "checkpoint.npz")["position"]["epoch"] == 1
    assert not leftovers(folder)
    assert done.returncode == 2, done.stderr
    assert is_one_sentence(done.stderr), done.stderr
    assert "checkpoint.npz cannot be written" in done.stderr
    assert minisd("train", "--resume", folder).returncode == 0
    train(tiny(), tmp_path / "whole")
    assert outcome(folder) == outcome(tmp_path / "whole")


@posix_only
def test_no_space_for_the_curve(tmp_path, sizes):
    limit = (sizes["checkpoint.npz"] + sizes["curve.png"]) // 2
    assert sizes["checkpoint.npz"] < limit < sizes["curve.png"]
    folder = tmp_path / "run"
    done = python(LIMITED, limit, "train", "--quiet", "--out", folder, *options())
    assert state(folder / "checkpoint.npz")["position"]["epoch"] == tiny().epochs + 1
    assert set(contents(folder)) == {"config.json", "log.jsonl", "checkpoint.npz"}
    assert done.returncode == 2, done.stderr
    assert is_one_sentence(done.stderr), done.stderr


@pytest.fixture
def small_disk(tmp_path, sizes):
    """A file system with room for one checkpoint, but not for a second beside it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    room = (sizes["first.npz"] + sizes["checkpoint.npz"] + 16384) // 4096 * 4096
    line = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(line, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(tmp_path, small_disk):
    folder = small_disk / "run"
    done = minisd("train", "--quiet", "--out", folder, *options())
    position = state(folder / "checkpoint.npz")["position"]
    assert position["epoch"] < tiny().epochs + 1
    assert not leftovers(folder)
    assert done.returncode == 2, done.stderr
    assert is_one_sentence(done.stderr), done.stderr
    assert "No space left" in done.stderr
    assert subprocess.run(["mount", "-o", "remount,size=4M", str(small_disk)]).returncode == 0
    assert minisd("train", "--resume", folder).returncode == 0
    train(tiny(), tmp_path / "whole")
    assert outcome(folder) == outcome(tmp_path / "whole")
