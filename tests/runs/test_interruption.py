"""A run that is stopped or killed, at whatever moment, ends like one that never was."""

import json
import multiprocessing
import re
import shlex
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

import killing
from minisd.files import aside_name
from minisd.runs import snapshot
from minisd.runs.fit import fit
from minisd.runs.interrupt import STOPPING, Interrupted, StopSignals
from minisd.runs.progress import Progress
from minisd.runs.run import Run
from minisd.runs.session import resume, train
from systems import KILL, posix_only
from tiny_runs import (
    STEPS_PER_EPOCH,
    command,
    go_on,
    leftovers,
    minisd,
    options,
    outcome,
    python,
    read_log,
    state,
    tiny,
    train_and_die,
    train_watched,
)

SETTINGS = [{}, {"validate_every": 3}, {"validate_every": 1, "survival": "constant", "epochs": 2}]
NAMES = ["plain", "validate_every", "every_step"]


@pytest.fixture(scope="module", params=SETTINGS, ids=NAMES)
def uninterrupted(request, tmp_path_factory):
    """Settings, and how a run with them ends when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(**request.param), folder)
    return request.param, outcome(folder)


@pytest.fixture(scope="module")
def plain_outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    train(tiny(), folder)
    return outcome(folder)


class StopAt(StopSignals):
    """Sends a signal the n-th time that training asks for one: after a step, or in evaluation."""

    def __init__(self, ask, number=signal.SIGTERM):
        super().__init__()
        self.left = ask
        self.number = number
        self.asked = 0

    def check(self):
        assert threading.current_thread() is threading.main_thread()
        self.asked += 1
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)
        super().check()


def sitting(path, config, ask):
    """Train from where ``path`` is until the ``ask``-th question; return run and stop."""
    run = Run(config)
    if path.exists():
        snapshot.restore(run, path)
    with StopAt(ask) as stop:
        try:
            fit(run, lambda: snapshot.save(run, path), Progress(), stop)
        except Interrupted:
            snapshot.save(run, path)
    return run, stop


def whole(path, config):
    """The end state of an uninterrupted run, and how often it asked for signals."""
    run, stop = sitting(path, config, ask=-1)
    assert run.is_complete
    return state(path), stop.asked


class SignalAt(Progress):
    """Sends signals to this process after given steps."""

    def __init__(self, *steps, number=signal.SIGTERM):
        self.steps = set(steps)
        self.number = number
        self.done = 0

    def start(self, *, done, total):
        self.done = done

    def step(self, **_):
        self.done += 1
        if self.done in self.steps:
            signal.raise_signal(self.number)


def test_outcomes_of_different_runs_differ_in_every_part(tmp_path, plain_outcome):
    """Or the comparisons below would prove nothing."""
    train(tiny(seed=4), tmp_path / "run")
    other = outcome(tmp_path / "run")
    for part in ("data_rng", "gate_rng", "log", "position"):
        assert plain_outcome[part] != other[part]
    ours, theirs = plain_outcome["arrays"], other["arrays"]
    assert ours.keys() == theirs.keys()
    for kind in ("model/", "optimizer/", "best/"):
        assert any(ours[name] != theirs[name] for name in ours if name.startswith(kind))
    assert ours["model/stem.1.running_mean"] != theirs["model/stem.1.running_mean"]


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGINT, 1),
        (signal.SIGTERM, 3),
        (signal.SIGINT, STEPS_PER_EPOCH),
        (signal.SIGTERM, STEPS_PER_EPOCH + 1),
        (signal.SIGTERM, 4 * STEPS_PER_EPOCH),
    ],
)
def test_a_signal_finishes_the_step_and_saves(tmp_path, plain_outcome, number, step):
    with pytest.raises(Interrupted) as caught:
        train(tiny(), tmp_path, progress=SignalAt(step, number=number))
    assert caught.value.number == number
    position = state(tmp_path / "checkpoint.npz")["position"]
    assert STEPS_PER_EPOCH * (position["epoch"] - 1) + position["step"] == step
    assert resume(tmp_path).is_complete
    assert outcome(tmp_path) == plain_outcome


def test_a_run_interrupted_after_every_fifth_step(tmp_path, uninterrupted):
    settings, expected = uninterrupted
    config, stops = tiny(**settings), 0
    for first in range(5, STEPS_PER_EPOCH * config.epochs, 5):
        go_on = partial(resume, tmp_path) if stops else partial(train, config, tmp_path)
        with pytest.raises(Interrupted):
            go_on(progress=SignalAt(first))
        stops += 1
    resume(tmp_path)
    assert stops == (STEPS_PER_EPOCH * config.epochs - 1) // 5
    assert outcome(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_interrupted_at_any_question_in_steps_and_evaluation(tmp_path, rng, settings):
    config = tiny(**settings)
    expected, asked = whole(tmp_path / "whole.npz", config)
    in_evaluation = 0
    for ask in {1, asked, *rng.integers(2, asked, 5).tolist()}:
        path = tmp_path / f"{ask}.npz"
        run, stop = sitting(path, config, ask)
        assert stop.asked == ask
        assert not run.is_complete
        at = state(path)["position"]
        every = config.validate_every
        due = at["step"] == STEPS_PER_EPOCH or (every and run.steps_done % every == 0)
        in_evaluation += bool(due)
        run, _ = sitting(path, config, ask=-1)
        assert run.is_complete
        assert state(path) == expected
    assert in_evaluation >= 2


@pytest.mark.parametrize("settings", SETTINGS[:2], ids=NAMES[:2])
def test_interrupted_again_and_again(tmp_path, rng, settings):
    config = tiny(**settings)
    expected, asked = whole(tmp_path / "whole.npz", config)
    path, sittings = tmp_path / "run.npz", 0
    longest = 24 + 10  # an evaluation is begun anew, and has 24 questions
    run, _ = sitting(path, config, ask=5)
    while not run.is_complete:
        run, _ = sitting(path, config, ask=int(rng.integers(15, longest)))
        sittings += 1
        assert sittings < asked, "no sitting gets on"
    assert sittings > 4
    assert state(path) == expected


@pytest.mark.parametrize("ask", [3, STEPS_PER_EPOCH + 5], ids=["step", "evaluation"])
def test_an_interrupted_run_can_go_on_as_it_is(tmp_path, ask):
    """Without the way through a file: ``fit`` goes on from wherever a run is."""
    config = tiny()
    expected, _ = whole(tmp_path / "whole.npz", config)
    run = Run(config)
    path = tmp_path / "run.npz"
    with StopAt(ask) as stop, pytest.raises(Interrupted):
        fit(run, lambda: snapshot.save(run, path), Progress(), stop)
    assert run.model.training
    with StopAt(-1) as stop:
        fit(run, lambda: snapshot.save(run, path), Progress(), stop)
    assert run.is_complete
    assert state(path) == expected


def test_signal_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path, progress=SignalAt(2))
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, plain_outcome):
    """As under nohup, or for Ctrl-C in a background job of a script."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        train(tiny(), tmp_path, progress=SignalAt(2))
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert outcome(tmp_path) == plain_outcome


def test_training_in_another_thread_leaves_signals_alone(tmp_path, plain_outcome):
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=train, args=(tiny(), tmp_path))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert outcome(tmp_path) == plain_outcome


SIGNALLING = """
import signal, sys
from minisd import cli
from minisd.runs.progress import Console

step, number, times = (int(sys.argv.pop(1)) for _ in range(3))
done = 0
original = Console.step

def signalling(self, **what):
    global done
    original(self, **what)
    done += 1
    if done == step:
        for _ in range(times):
            signal.raise_signal(number)

Console.step = signalling
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(number, 128 + number, marks=[pytest.mark.slow] * (number != signal.SIGINT))
        for number in STOPPING
    ],
)
@pytest.mark.parametrize("folder", ["run", pytest.param("with a space", marks=pytest.mark.slow)])
def test_the_command_says_how_to_go_on(tmp_path, plain_outcome, number, code, folder):
    folder = tmp_path / folder
    done = python(SIGNALLING, 10, int(number), 1, "train", "--out", folder, *options())
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    position = state(folder / "checkpoint.npz")["position"]
    assert (position["epoch"], position["step"]) == (2, 3)
    assert len(read_log(folder)) == 1
    said = re.search(r"Go on with: minisd (.*)", done.stderr)
    assert said, done.stderr
    resumed = minisd(*shlex.split(said[1]))  # just as a shell would read it
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming  at epoch 2, after 10 steps" in resumed.stdout
    assert outcome(folder) == plain_outcome


def test_a_second_ctrl_c_leaves_the_checkpoint_before(tmp_path, plain_outcome):
    done = python(
        SIGNALLING, 10, int(signal.SIGINT), 2, "train", "--out", tmp_path / "run", *options()
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "stopped immediately" in done.stderr
    assert not leftovers(tmp_path / "run")
    position = state(tmp_path / "run" / "checkpoint.npz")["position"]
    assert (position["epoch"], position["step"]) == (2, 0)
    assert minisd("train", "--resume", tmp_path / "run").returncode == 0
    assert outcome(tmp_path / "run") == plain_outcome


STUCK = """
import sys, time
from minisd import cli
from minisd.runs.progress import Console

def stuck(self, **what):
    print("stuck", flush=True)
    time.sleep(60)

Console.step = stuck
sys.exit(cli.main(sys.argv[1:]))
"""


@posix_only
def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path):
    line = [sys.executable, "-c", STUCK, "train", "--out", str(tmp_path / "run"), *options()]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            while "stuck" not in run.stdout.readline():
                assert run.poll() is None
            run.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(0.5)  # the first waits for the end of the step
            run.send_signal(signal.SIGINT)
            assert run.wait(20) == 130
        finally:
            run.kill()
    position = state(tmp_path / "run" / "checkpoint.npz")["position"]
    assert (position["epoch"], position["step"]) == (1, 0)


@posix_only
def test_sigterm_from_outside(tmp_path):
    folder = tmp_path / "run"
    line = command("train", "--out", folder, *options(epochs=100_000))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            while not run.stdout.readline().startswith("epoch"):
                assert run.poll() is None
            run.send_signal(signal.SIGTERM)
            _, said = run.communicate(timeout=30)
        finally:
            run.kill()
    assert run.returncode == 143
    assert f"--resume {folder}" in said
    state_then = state(folder / "checkpoint.npz")
    assert state_then["position"]["epoch"] == len(read_log(folder)) + 1 > 1


@posix_only
@pytest.mark.parametrize("kills", [2, pytest.param(17, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, rng, kills):
    """Real processes and SIGKILL, one run again and again; a new one whenever it gets through."""
    moments = killing.kill_training(tmp_path / "0", kills, rng)
    for attempt in range(1, 4 * (kills > 10)):  # a few may all come before or after the training
        if moments["in training"] == 0:
            moments += killing.kill_training(tmp_path / str(attempt), kills, rng)
    assert kills < 10 or moments["in training"] > 0


@posix_only
@pytest.mark.slow
def test_an_experiment_killed_at_random_moments(tmp_path, rng):
    killing.kill_experiment(tmp_path, 3, rng)


def in_own_process(target, *arguments):
    """Run ``target`` in a process forked from a clean one, which has minisd loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tiny_runs", "minisd.runs.session", "matplotlib.backends.backend_agg"]
    )
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Config, end, and everything that one run does to files: (what, file name)."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("reads the names of open files in /proc")
    parent, config = tmp_path_factory.mktemp("watched"), tiny(epochs=2)
    folder, record = parent / "run", parent / "moments.json"
    assert in_own_process(train_watched, folder, config, record) == 0
    return config, outcome(folder), [tuple(moment) for moment in json.loads(record.read_text())]


MOMENTS = ["middle", "flush", "before renaming", "after renaming"]
WRITES = ["config.json", *["checkpoint.npz", "log.jsonl"] * 3, "curve.png"]
ONE_OF_EACH = 0, 3, 4, 7


def moments_of_write(moments, number):
    """Numbers of the moments of the ``number``-th file written, by what happens in them."""
    ends = [i for i, (what, _) in enumerate(moments) if what == "after"]
    begin = 0 if number == 0 else ends[number - 1] + 1
    part = range(begin, ends[number] + 1)
    name = WRITES[number]
    (flushing,) = (i for i in part if moments[i] == ("fsync", aside_name(name)))
    writing = [i for i in part if moments[i] == ("write", aside_name(name))]
    writing = writing or [flushing]  # the log of no epochs is empty
    return {
        "middle": writing[len(writing) // 2],
        "flush": flushing,
        "before renaming": part[-2],
        "after renaming": part[-1],
    }


def test_files_are_written_aside_flushed_and_renamed_checkpoint_before_log(watched):
    _, _, moments = watched
    assert [name for what, name in moments if what == "after"] == WRITES
    for number, name in enumerate(WRITES):
        found = moments_of_write(moments, number)
        at = [found[what] for what in MOMENTS]
        assert at == sorted(at)
        assert ("write", name) not in moments  # never in place


@pytest.mark.parametrize("what", MOMENTS)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, marks=[] if n in ONE_OF_EACH else pytest.mark.slow, id=f"{n}-{name}")
        for n, name in enumerate(WRITES)
    ],
)
def test_killed_while_saving(tmp_path, watched, number, what):
    config, expected, moments = watched
    folder = tmp_path / "run"
    moment = moments_of_write(moments, number)[what]
    assert in_own_process(train_and_die, folder, config, moment) == -KILL

    there = [name for kind, name in moments[: moment + 1] if kind == "after"]
    assert sorted(set(there)) == sorted(p.name for p in folder.iterdir() if p.name[0] != ".")
    saves = there.count("checkpoint.npz")
    if saves:
        position = state(folder / "checkpoint.npz")["position"]
        assert (position["epoch"], position["step"]) == (saves, 0)
    if "log.jsonl" in there:
        assert len(read_log(folder)) == there.count("log.jsonl") - 1

    go_on(folder, config)
    assert outcome(folder) == expected
    assert not leftovers(folder)
