"""Locks: who has one, and what stands for one where the file system has none."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from minisd.errors import RunFolderError
from minisd.locks import Taken, is_taken, locked, mark_of
from minisd.runs import folder as runfolder
from minisd.runs.session import resume, train
from tiny_runs import contents, outcome, tiny

fcntl = pytest.importorskip("fcntl")  # not on Windows
ERRORS = ["ENOLCK", "EBADF", "EOPNOTSUPP", "EIO", "ENOSYS", "EINVAL"]


@pytest.fixture(params=ERRORS)
def no_locks(request, monkeypatch):
    """A file system whose locks fail in one of the ways that are known."""
    number = getattr(errno, request.param)

    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def one_without_locks(monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / ".lock"
    assert not is_taken(path)
    with locked(path):
        assert is_taken(path)
        with pytest.raises(Taken), locked(path):
            pass
    assert not is_taken(path)
    assert [each.name for each in tmp_path.iterdir()] in ([".lock"], [])


def test_training_where_there_are_no_locks(tmp_path, no_locks, capsys):
    folder = tmp_path / "run"
    train(tiny(epochs=1), folder)
    said = capsys.readouterr().err
    assert ".lock.held stands for one" in said or "falling back to SoftFileLock" in said
    (folder / "log.jsonl").unlink()
    (folder / "checkpoint.npz").unlink()
    with runfolder.claim(folder, create=False):
        with pytest.raises(RunFolderError, match="another process is training"):
            resume(folder)
        assert runfolder.is_in_use(folder)
    assert not runfolder.is_in_use(folder)
    resume(folder)
    assert not mark_of(folder / ".lock").exists()
    train(tiny(epochs=1, seed=9), folder, force=True)
    assert outcome(folder)["config"]["seed"] == 9


def ended_process():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize(
    ("mark", "is_held"),
    [
        (lambda: f"{os.getppid()} {socket.gethostname()}", True),
        (lambda: f"{ended_process()} {socket.gethostname()}", False),
        (lambda: f"{os.getpid()} {socket.gethostname()}", False),  # of a process before us
        (lambda: f"{ended_process()} another.host", True),  # nobody can know
        (lambda: "", True),
        (lambda: "what is this", True),
    ],
    ids=["alive", "ended", "our number", "another host", "empty", "damaged"],
)
def test_a_mark_that_was_left_behind(tmp_path, one_without_locks, mark, is_held):
    path = tmp_path / ".lock"
    mark_of(path).write_text(mark())
    if is_held:
        with pytest.raises(Taken, match="if it is no more, remove"), locked(path):
            pass
        assert mark_of(path).exists()
    else:
        with locked(path, warn=lambda text: None):
            assert mark_of(path).read_text() == f"{os.getpid()} {socket.gethostname()}"
        assert not mark_of(path).exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError), locked(tmp_path / ".lock"):
        pass
    assert contents(tmp_path) == {"mine": b"mine"}
