"""Every death of a run on several processes, with real processes over MPI.

However it comes, all of them end, the reason is said once, the exit code is right, no process is
left, and the folder is whole: the run goes on with any number of processes.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import killing
from minisd import flow
from minisd.cli import main
from minisd.machine import available_cores
from minisd.runs import checkpoint
from minisd.runs.folder import count_epochs
from minisd.runs.session import resume, train
from ranks import BOUND, Ended, Ranks, arrived, under_mpiexec, why_no_mpi
from tiny_runs import TINY, command, is_one_sentence, options, outcome, read_log, state, tiny

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

SIZE = {"width": 4, "limit": 200, "batch_size": 32}  # 6 steps an epoch
EPOCHS = 4
ROUNDING = 1e-3
"""Sums over parts of a batch round differently, in float32: 1e-6 is usual. Once in a while a number
beside the kink of a ReLU falls to its other side; that makes 1e-4."""


@pytest.fixture(scope="module", autouse=True)
def mpi():
    if why_no_mpi():
        pytest.skip(f"NO MPI HERE: {why_no_mpi()}")


@pytest.fixture(autouse=True)
def _clean(without_pictures):
    """Also a test that fails leaves no process. Runs draw no curve: `faulty_rank` draws none."""
    yield
    while Ranks.running:
        Ranks.running.pop().kill()


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


def started(folder: Path, *more: Any, faults: str = "", **others: Any) -> Ranks:
    """A new run into a folder; ``HERE`` in the faults is the file that says where they are."""
    return Ranks(
        "train", "--quiet", "--out", folder, *options(**SIZE), *more,
        faults=faults.replace("HERE", repr(str(here(folder)))), **others,
    )  # fmt: skip


def here(folder: Path) -> Path:
    return folder.with_name("here")


def resumed(folder: Path, processes: int) -> None:
    """Let a run go on, on so many processes, to its end."""
    if processes == 1:
        resume(folder)
    else:
        ended = Ranks("train", "--quiet", "--resume", folder, processes=processes).end()
        check_ended(ended, 0, *warned(processes))


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
        meta["config"] |= dict.fromkeys(("threads", "recompute_every", "flow"))  # change nothing
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


def in_a_terminal(folder: Path, action: str, presses: int) -> tuple[int, str]:
    """Train in a terminal of its own, and press Ctrl-C; return the exit code and what is shown."""
    ours, theirs = os.openpty()
    faults = f"at(STEP, 9, {action}({str(here(folder))!r}), rank=0)"
    line = [sys.executable, "-c", IN_A_TERMINAL, *under_mpiexec(2, faults)]
    run = started(folder, line=line, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    arrived(here(folder))
    os.write(ours, b"\x03")
    shown = b""
    with contextlib.suppress(OSError):  # when the last process has left the terminal
        while piece := os.read(ours, 1000):
            shown += piece
            if presses == 2 and b"again to force abort" in shown:
                os.write(ours, b"\x03")
                presses = 1
    os.close(ours)
    return run.end().code, shown.decode()


def test_ctrl_c_in_a_terminal(tmp_path, alone):
    code, shown = in_a_terminal(tmp_path / "run", "wait", presses=1)
    assert code == 130
    assert shown.count("Go on with") == 1
    check_whole(tmp_path / "run", (2, 3), alone)


def test_a_second_ctrl_c_is_answered_by_mpich(tmp_path, alone):
    """Its ``mpiexec`` kills all ranks: what the last epoch saved stays.

    The exit code is its own: 255, and 0 if its proxy sees the ranks end before it is told to end,
    which is seen once in some fifty.
    """
    code, shown = in_a_terminal(tmp_path / "run", "sleep", presses=2)
    assert code in (0, 255)
    assert shown.count("cleaning up processes") == 1
    assert "Go on with" not in shown
    check_whole(tmp_path / "run", (2, 0), alone)


def test_ctrl_c_with_the_option_processes(tmp_path):
    """The command becomes ``mpiexec``: nothing stands between it and the signal."""
    line = command("train", "--quiet", "--processes", 2, "--out", tmp_path / "run")
    run = Ranks(*options(**SIZE, epochs=2000), line=line)
    while count_epochs(tmp_path / "run") == 0:
        time.sleep(0.02)
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    check_ended(ended, 130, SAVED)
    assert (tmp_path / "run" / "curve.png").exists()
    assert position(tmp_path / "run") > (1, 0)


def test_ctrl_c_before_training(tmp_path):
    run = started(tmp_path / "run", faults="at(SET_UP, 1, sleep(HERE), rank=1)")
    arrived(tmp_path / "here")
    run.process.send_signal(signal.SIGINT)
    check_ended(run.end(), 130, "stopped immediately; everything saved so far is intact")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_rank_waits_for_one_that_has_not_begun(tmp_path, number):
    """It waits in MPI's own code. The exit code is MPICH's: the numbers of signals, joined."""
    run = started(tmp_path / "run", faults="at_once(sleep(HERE), rank=1)")
    arrived(tmp_path / "here")
    waits = time.monotonic() + BOUND
    while b"libmpi" not in Path(f"/proc/{run.number_of(0)}/maps").read_bytes():
        assert time.monotonic() < waits
        time.sleep(0.05)
    run.process.send_signal(number)
    assert run.end().code in (number, number | signal.SIGKILL)
    assert not (tmp_path / "run").exists()


def test_sigkill_of_mpiexec_leaves_no_rank(tmp_path, alone):
    run = started(tmp_path / "run", faults="at(STEP, 9, wait(HERE), rank=0)")
    arrived(tmp_path / "here")
    run.process.kill()
    assert run.end().code == -signal.SIGKILL
    check_whole(tmp_path / "run", (2, 0), alone)


KILLS = {
    "rank 0 in a step": "at(STEP, 9, kill(HERE), rank=0)",
    "rank 1 in a step": "at(STEP, 9, kill(HERE), rank=1)",
    "rank 0 in an evaluation": "at(EVALUATION, 10, kill(HERE), rank=0)",
    "rank 1 in an evaluation": "at(EVALUATION, 10, kill(HERE), rank=1)",
    "rank 0 in a save": "at_writing('checkpoint.npz', 3, kill(HERE))",
}


@pytest.mark.parametrize("moment", KILLS)
def test_sigkill_of_a_rank_ends_all_at_once(tmp_path, alone, moment):
    """MPICH says on standard output which signal has ended a process, and exits with its number."""
    ended = started(tmp_path / "run", faults=KILLS[moment]).end()
    assert ended.at - (tmp_path / "here").stat().st_mtime < 20
    check_ended(ended, signal.SIGKILL)
    assert ended.out.count("Killed (signal 9)") == 1
    check_whole(tmp_path / "run", (2, 0), alone, (2,) if "save" in moment else (1,))


def test_sigkill_of_the_other_rank_in_a_save(tmp_path, alone):
    run = started(tmp_path / "run", faults="at_writing('checkpoint.npz', 3, wait(HERE))")
    arrived(tmp_path / "here")
    os.kill(run.number_of(1), signal.SIGKILL)
    check_ended(run.end(), signal.SIGKILL)
    check_whole(tmp_path / "run", (2, 0), alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_stopped_is_missed_and_goes_on(tmp_path, of_two, rank):
    """Nothing is lost: not a bit differs from a run that was left alone."""
    patience = f"at(STEP, 9, lambda *_, **__: setattr(mpi, 'PATIENCE', 1.0), rank={1 - rank})"
    run = started(tmp_path / "run", faults=f"at(STEP, 9, stop(HERE), rank={rank}); {patience}")
    number = arrived(tmp_path / "here")
    said = run.next_line()
    assert re.match(rf"minisd: rank {1 - rank} of 2 has waited 1 seconds for the others", said)
    os.kill(number, signal.SIGCONT)
    ended = run.end()
    assert ended.code == 0, ended.err
    assert all("has waited" in line for line in ended.said), ended.err
    assert outcome(tmp_path / "run") == outcome(of_two)


# Errors on one rank

SPOILED = {
    "images": ("at(STEP, 9, spoil_images", "comes from no layer: the images themselves"),
    "filters": ("at(STEP, 9, spoil_filters", r"comes from blocks\.1\.branch\.0 \(Conv2d\)"),
    "loss": ("at(LOSS, 9, spoil_loss", "comes from the loss: the logits are finite"),
}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("what", SPOILED)
def test_a_number_that_is_not_finite_on_one_rank(tmp_path, alone, what, rank):
    fault, layer = SPOILED[what]
    ended = started(tmp_path / "run", faults=f"{fault}, rank={rank})").end()
    check_ended(ended, 3, f"^minisd: training stopped at step 9 .* {layer}")
    assert is_one_sentence(ended.err)
    check_whole(tmp_path / "run", (2, 0), alone)


MEMORY = {
    "forward": ("at(FORWARD, 15, NO_MEMORY", r"on rank 1: .*too small for batches of 32"),
    "evaluation": ("at(EVALUATION, 10, NO_MEMORY", r"too small for batches of 32 .*\(on rank 1: "),
    "set-up": ("at(SET_UP, 1, NO_MEMORY", "the memory is too small: on rank 1: Unable to"),
}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", MEMORY)
def test_too_little_memory_on_one_rank(tmp_path, alone, moment, rank):
    fault, pattern = MEMORY[moment]
    ended = started(tmp_path / "run", faults=f"{fault}, rank={rank})").end()
    check_ended(ended, 2, pattern if rank == 1 else "too small")
    assert is_one_sentence(ended.err)
    assert ("on rank" in ended.err) == (rank == 1)
    if moment == "set-up":
        assert not (tmp_path / "run").exists()
    else:
        check_whole(tmp_path / "run", (2, 0), alone)


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
def test_a_fault_of_the_program(tmp_path, alone, ranks):
    faults = "; ".join(f"at(STEP, 9, FAULT, rank={rank})" for rank in ranks)
    ended = started(tmp_path / "run", faults=faults).end()
    whose = "on rank 1: " if ranks == (1,) else ""
    check_ended(ended, 1, f"^minisd: {whose}an error that was not foreseen:$")
    assert ended.err.count("Traceback") == 1
    assert ended.err.strip().endswith("ZeroDivisionError: a fault of the program")
    check_whole(tmp_path / "run", (2, 0), alone)


FULL = {
    "checkpoint": ("at_writing('checkpoint.npz', 3, DISK_FULL)", [], (2, 0)),
    "log": ("at_writing('log.jsonl', 3, DISK_FULL)", [], (3, 0)),
    "settings": ("at_writing('config.json', 1, DISK_FULL)", [], None),
    "flow": ("at(RECORDING, 2, DISK_FULL, rank=0)", ["--flow", 4], (1, 0)),
}


@pytest.mark.parametrize("file", FULL)
def test_the_disk_is_full(tmp_path, alone, file):
    faults, more, at = FULL[file]
    ended = started(tmp_path / "run", *more, faults=faults).end()
    check_ended(ended, 2, "cannot be written.*No space left on device")
    assert is_one_sentence(ended.err)
    if at:
        check_whole(tmp_path / "run", at, alone)


OWN = {"width": 4, "batch_size": 16, "limit": 60, "epochs": 1}


def own_images(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "mine.npz", images=images, labels=np.arange(100) % 4)
    return folder / "mine.npz"


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("damaged", "mine.npz is damaged"),
        ("missing", "there is no .*mine.npz"),
        ("another", "^minisd: the ranks have different images"),
    ],
)
def test_a_data_file_of_one_rank(tmp_path, kind, pattern, rank):
    """As on a machine of its own: here that rank is in a folder of its own."""
    own_images(tmp_path / "good", seed=1)
    bad = own_images(tmp_path / "bad", seed=2)
    if kind == "damaged":
        bad.write_bytes(bad.read_bytes()[:-100])
    elif kind == "missing":
        bad.unlink()
    ended = Ranks(
        "train", "--out", tmp_path / "run", "--data", "mine.npz", *options(**OWN),
        faults=f"at_once(lambda: os.chdir({str(tmp_path / 'bad')!r}), rank={rank})",
        cwd=tmp_path / "good",
    ).end()  # fmt: skip
    whose = "on rank 1: .*" if rank == 1 and kind != "another" else ""
    check_ended(ended, 2, f"{whose}{pattern}")
    assert is_one_sentence(ended.err)
    assert not (tmp_path / "run").exists()


# What cannot be done

REFUSED = {
    "a batch smaller than the ranks": (
        ["--batch-size", "179"],
        r"the smallest mini-batch has 1 images .*, too few for 2 processes: use another batch size",
    ),
    "another number": (["--processes", "3"], "mpiexec has started 2 processes: leave out"),
    "a wrong value": (["--depth", "9"], "depth must be 6n"),
    "a wrong option": (["--nonsense"], "unknown option --nonsense"),
    "three shards": (["--shards", "3"], "shards must be a power of two"),
    "one shard": (["--shards", "1"], "cannot be shared out evenly among 2 processes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said_once(tmp_path, case):
    more, pattern = REFUSED[case]
    ended = started(tmp_path / "run", *more).end()
    check_ended(ended, 2, pattern)
    assert is_one_sentence(ended.err)
    assert not ended.out
    assert not (tmp_path / "run").exists()


def test_the_flow_cannot_be_recorded_in_shards(tmp_path):
    ended = started(tmp_path / "run", "--shards", 2, "--flow", 1).end()
    check_ended(ended, 2, "the gradient flow cannot be recorded in shards")
    assert is_one_sentence(ended.err)


def test_a_folder_with_a_run(of_two):
    before = outcome(of_two)
    ended = started(of_two).end()
    check_ended(ended, 2, "contains a run: continue it with --resume")
    assert is_one_sentence(ended.err)
    assert outcome(of_two) == before


@pytest.mark.parametrize("line", [["experiment", "gradients"], ["evaluate", "run"]])
def test_other_commands_are_not_for_mpiexec(line):
    ended = Ranks(*line).end()
    check_ended(ended, 2, "mpiexec is for 'minisd train'.* Start this command without it")
    assert is_one_sentence(ended.err)


def test_without_mpi4py(tmp_path):
    ended = started(tmp_path / "run", faults="hide('mpi4py')").end()
    check_ended(ended, 2, r"need mpi4py and an MPI library: install 'minisd\[mpich\]'")
    assert is_one_sentence(ended.err)


def test_without_mpiexec(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert main(["train", "--processes", "2"]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "there is no mpiexec: several processes need mpi4py" in said


@pytest.mark.parametrize("number", ["0", "-1"])
def test_no_processes(number, capsys):
    assert main(["train", "--processes", number]) == 2
    assert f"--processes must be at least 1, got {number}\n" in capsys.readouterr().err


def test_processes_and_seeds(tmp_path):
    line = command("train", "--out", tmp_path / "run", "--processes", 2, "--seeds", 1, 2)
    ended = Ranks(line=line).end()
    check_ended(ended, 2, "--seeds trains each run in a process of its own")
    assert is_one_sentence(ended.err)


# What goes on working

OPTIONS: dict[str, dict[str, Any]] = {
    "validate_every": {"validate_every": 4},
    "gates of images": {"gates": "image", "seed": 4},
    "recomputation": {"recompute_every": 2},
    "a flow": {"flow": 4},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_on_two_processes(tmp_path, case):
    settings = {**SIZE, **OPTIONS[case]}
    train(tiny(**settings), tmp_path / "one")
    check_ended(Ranks("train", "--quiet", "--out", tmp_path / "two", *options(**settings)).end(), 0)
    assert difference(tmp_path / "two", tmp_path / "one") < ROUNDING
    if case == "a flow":
        check_flow(tmp_path / "two", tmp_path / "one")


def check_flow(folder: Path, other: Path) -> None:
    """Assert that a recorder has written the same, except for rounding."""
    ours, theirs = (flow.load(path / "flow.jsonl") for path in (folder, other))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], values, rtol=1e-3, atol=1e-6, err_msg=name)
        else:
            assert (ours[name] == values).all(), name


def test_a_run_replaces_another_or_starts_from_its_weights(tmp_path, alone):
    """``--force``, ``--init`` and ``--config`` on two processes."""
    folder, init, config = tmp_path / "run", tmp_path / "init", tmp_path / "settings.json"
    shutil.copytree(alone, folder)
    shutil.copytree(alone, init)
    config.write_text(json.dumps({**TINY, **SIZE, "epochs": 2}))
    more = ["--init", str(init), "--config", str(config), "--seed", "5"]
    check_ended(Ranks("train", "--quiet", "--out", folder, "--force", *more).end(), 0)
    assert main(["train", "--quiet", "--out", str(tmp_path / "one"), *more]) == 0
    assert difference(folder, tmp_path / "one") < ROUNDING
    assert len(read_log(folder)) == 2


@pytest.mark.parametrize(("first", "then"), [(1, 2), (3, 1)])
def test_a_run_goes_on_with_another_number(tmp_path, alone, first, then):
    """From 2 to 1, 2 and 3 it goes after Ctrl-C, above."""
    run = started(tmp_path / "run", faults="at(STEP, 9, wait(HERE), rank=0)", processes=first)
    os.kill(arrived(tmp_path / "here"), signal.SIGTERM)
    assert run.end().code == 143
    check_whole(tmp_path / "run", (2, 3), alone, (then,))


def test_the_same_bits_on_one_two_and_four_processes(tmp_path):
    settings = options(**SIZE, epochs=2, shards=4)
    ends = {}
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        line = ["train", "--quiet", "--out", folder, *settings]
        check_ended(Ranks(*line, processes=processes).end(), 0, *warned(processes))
        ends[processes] = outcome(folder)
    run = Ranks(
        "train", "--quiet", "--out", tmp_path / "stopped", *settings,
        faults=f"at(STEP, 9, wait({str(tmp_path / 'here')!r}), rank=0)",
    )  # fmt: skip
    arrived(tmp_path / "here")
    run.process.send_signal(signal.SIGTERM)
    assert run.end().code == 143
    line = ["train", "--quiet", "--resume", tmp_path / "stopped"]
    check_ended(Ranks(*line, processes=4).end(), 0, *warned(4))
    ends["stopped"] = outcome(tmp_path / "stopped")
    assert all(end == ends[1] for end in ends.values())


def warned(processes: int) -> list[str]:
    """What is said of more processes than cores."""
    return ["cores: those that wait keep a core busy"] if processes > available_cores() else []


def test_info_tells_where_each_rank_is():
    ended = Ranks("info").end()
    check_ended(ended, 0)
    for line in (r"mpi +mpi4py .*, 2 processes", r"rank 0 +.*1 thread", r"rank 1 +.*1 thread"):
        assert len(re.findall(rf"^{line}$", ended.out, re.MULTILINE)) == 1, ended.out
    assert ended.out.count("numpy ") == 1


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
def test_ranks_that_are_bound_to_cores_of_their_own_are_not_too_many(tmp_path):
    bind = "os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[launcher_rank()]})"
    check_ended(started(tmp_path / "run", "--epochs", 1, faults=bind).end(), 0)
