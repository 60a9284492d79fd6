"""What can be said of Windows without one: nothing that only POSIX has is needed to begin."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minisd
from minisd import files
from minisd.experiments import pool
from minisd.files import patiently, write_atomically
from minisd.runs import folder as runfolder
from tiny_runs import contents

ROOT = Path(minisd.__file__).parents[1]

WITHOUT = """
import os, signal, sys

for module, names in (
    (signal, "SIGKILL SIGHUP SIGPIPE SIGALRM SIGSTOP SIGCONT SIGXFSZ pthread_kill setitimer"),
    (os, "geteuid fork forkpty sched_getaffinity openpty setsid killpg mkfifo O_NOFOLLOW"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "pty", "tty", "termios"):
    sys.modules[name] = None

import pytest
no_locks = ["-W", "ignore:only soft file lock:UserWarning"]  # of filelock; Windows has others
sys.exit(pytest.main(["--collect-only", "-qq", "-n0", "-p", "no:cacheprovider", *no_locks]))
"""


@pytest.mark.slow
def test_the_tests_are_collected_without_what_only_posix_has():
    line = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "tests/runs/test_interruption.py: " in done.stdout.replace("\\", "/")


@pytest.fixture
def windows(monkeypatch):
    """A file is refused twice, as if another process had it open."""
    monkeypatch.setattr(files, "_TRIES", 5)
    monkeypatch.setattr(files, "_PAUSE", 0)

    def refusing(original):
        calls = []

        def function(*arguments, **options):
            calls.append(arguments)
            if len(calls) % 3:
                raise PermissionError(13, "used by another process")
            return original(*arguments, **options)

        return function

    return refusing


def test_replacing_waits_until_a_reader_has_closed_the_file(tmp_path, monkeypatch, windows):
    monkeypatch.setattr(os, "replace", windows(os.replace))
    write_atomically(tmp_path / "file", lambda stream: stream.write(b"new"))
    assert contents(tmp_path) == {"file": b"new"}


def test_reading_a_log_waits_until_it_has_been_replaced(tmp_path, monkeypatch, windows):
    (tmp_path / "log.jsonl").write_text("{}\n{}\n")
    monkeypatch.setattr("minisd.readers.open", windows(io.open), raising=False)
    assert runfolder.count_epochs(tmp_path) == pool.epochs_done(tmp_path) == 2


def test_patience_ends(monkeypatch):
    monkeypatch.setattr(files, "_TRIES", 3)
    monkeypatch.setattr(files, "_PAUSE", 0)
    tries = []

    def refuse():
        tries.append(1)
        raise PermissionError

    with pytest.raises(PermissionError):
        patiently(refuse)
    assert len(tries) == 3
