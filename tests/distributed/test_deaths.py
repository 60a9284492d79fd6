"""Every death of a run on several processes, with real processes over MPI.

However it comes, all of them end, the reason is said once, the exit code is right, no process is
left, and the folder is whole: the run goes on with any number of processes.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import killing
from minisd.cli import main
from minisd.runs import checkpoint
from minisd.runs.session import resume, train
from ranks import Ended, Ranks, arrived, mpiexec, under_mpiexec, why_no_mpi
from tiny_runs import command, is_one_sentence, options, outcome, read_log, state, tiny

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

SIZE = {"width": 4, "limit": 200, "batch_size": 32}  # 6 steps an epoch
EPOCHS = 4
ROUNDING = 1e-5
"""Sums over parts of a batch round differently, in float32."""


@pytest.fixture(scope="module", autouse=True)
def mpi():
    if why_no_mpi():
        pytest.skip(f"NO MPI HERE: {why_no_mpi()}")


@pytest.fixture(autouse=True)
def _quick(without_pictures):
    """Runs within this process draw no curve; `faulty_rank` draws none either."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory, without_pictures):
    """A run of one process that was left alone."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(tiny(**SIZE), folder)
    return folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """A run of two processes that was left alone."""
    folder = tmp_path_factory.mktemp("of_two") / "run"
    assert started(folder).end().code == 0
    return folder


def started(folder: Path, *more: object, faults: str = "", **others: Any) -> Ranks:
    """A new run into a folder; ``HERE`` in the faults is the file that says where they are."""
    return Ranks(
        "train", "--quiet", "--out", folder, *options(**SIZE), *more,
        faults=faults.replace("HERE", repr(str(here(folder)))), **others,
    )  # fmt: skip


def here(folder: Path) -> Path:
    return folder.with_name("here")


def resumed(folder: Path, processes: int, *more: object) -> None:
    """Let a run go on, on so many processes, to its end."""
    if processes == 1:
        resume(folder)
    else:
        ended = Ranks("train", "--quiet", "--resume", folder, *more, processes=processes).end()
        assert ended.code == 0, ended.err
        assert not ended.err


def copies(folder: Path, numbers: tuple[int, ...]) -> dict[int, Path]:
    """Copies of a folder, for a number of processes each."""
    return {n: Path(shutil.copytree(folder, folder.with_name(f"on {n}"))) for n in numbers}


def position(folder: Path) -> tuple[int, int]:
    """Epoch and steps in it, of the checkpoint."""
    found = state(folder / "checkpoint.npz")["position"]
    return found["epoch"], found["step"]


def difference(folder: Path, other: Path) -> float:
    """The largest difference between the arrays of two runs, all else of which is the same."""
    (a, one), (b, two) = (checkpoint.load(path / "checkpoint.npz") for path in (folder, other))
    for meta in (one, two):
        meta["config"]["threads"] = meta["config"]["recompute_every"] = None
    assert one["config"] == two["config"]
    assert one["data_rng"] == two["data_rng"]
    assert one["gate_rng"] == two["gate_rng"]
    ours, theirs = read_log(folder), read_log(other)
    assert len(ours) == len(theirs)
    for row, same in zip(ours, theirs, strict=True):
        for name in ("epoch", "val_error", "test_error", "lr", "mean_open"):
            assert row[name] == same[name]
        assert row["train_loss"] == pytest.approx(same["train_loss"], rel=ROUNDING)
    assert a.keys() == b.keys()
    return max(float(abs(a[name] - b[name]).max()) for name in a)


def check_ended(ended: Ended, code: int, *said: str) -> None:
    """Assert how a command has ended: with this code, and these lines of minisd, each once."""
    assert ended.code == code, ended.err
    assert len(ended.said) == len(said), ended.err
    for line, pattern in zip(ended.said, said, strict=True):
        assert re.search(pattern, line), ended.err


def check_whole(folder: Path, at: tuple[int, int], alone: Path, on: tuple[int, ...] = (1,)) -> None:
    """Assert that a folder is whole, how far the run is, and that it goes on."""
    killing.check_run(folder, EPOCHS)
    assert position(folder) == at
    for processes, copy in copies(folder, on).items():
        resumed(copy, processes)
        assert difference(copy, alone) < ROUNDING


# Signals

SAVED = r"^SIG(INT|TERM): saved\. Go on with: minisd train --resume .* --processes 2$"


@pytest.mark.parametrize(
    ("number", "code", "on"), [(signal.SIGINT, 130, (1, 2, 3)), (signal.SIGTERM, 143, (1,))]
)
def test_a_signal_to_mpiexec(tmp_path, alone, number, code, on):
    run = started(tmp_path / "run", faults="at(STEP, 9, wait(HERE), rank=0)")
    arrived(tmp_path / "here")
    run.process.send_signal(number)
    check_ended(run.end(), code, SAVED)
    check_whole(tmp_path / "run", (2, 3), alone, on)


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_to_one_rank_stops_both_at_the_same_step(tmp_path, alone, rank):
    run = started(tmp_path / "run", faults=f"at(STEP, 9, wait(HERE), rank={rank})")
    os.kill(arrived(tmp_path / "here"), signal.SIGTERM)
    check_ended(run.end(), 143, SAVED)
    check_whole(tmp_path / "run", (2, 3), alone)


IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A terminal sends Ctrl-C to ``mpiexec``, and to all processes of its group."""


def in_a_terminal(folder: Path, presses: int) -> tuple[int, str]:
    """Train in a terminal of its own, and press Ctrl-C; return the exit code and what is shown."""
    ours, theirs = os.openpty()
    line = [sys.executable, "-c", IN_A_TERMINAL, *under_mpiexec(2, faults)] if (
        faults := f"at(STEP, 9, wait({str(here(folder))!r}), rank=0)"
    ) else []  # fmt: skip
    run = started(folder, line=line, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    arrived(here(folder))
    shown = b""
    for _ in range(presses):
        os.write(ours, b"\x03")
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(ours, 1000):
            shown += piece
    os.close(ours)
    return run.end().code, shown.decode().replace("\r\n", "\n")
