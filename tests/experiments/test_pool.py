"""Training runs of a study: many at once, gone on with, left out when they fail."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from minisd.cli import main
from minisd.errors import ConfigError
from minisd.experiments import pool
from minisd.experiments.pool import epochs_done, train_all
from minisd.runs import folder as runfolder
from minisd.runs import session
from minisd.runs.interrupt import Interrupted, StopSignals
from systems import KILL, posix_only
from tiny_runs import command, contents, is_one_sentence, leftovers, minisd, outcome, state
from tiny_studies import TINY_STUDY, arguments, study

RULES = [("constant", 1.0), ("linear", 0.5)]
NAMES = ["digits-8-constant-seed1", "digits-8-linear-0.5-seed1"]
ONE, OTHER = NAMES


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study with both runs complete."""
    out = tmp_path_factory.mktemp("study")
    runs = study(out).runs(RULES)
    return out, runs


def end(folder):
    """The outcome of a run, whatever threads it had."""
    found = outcome(folder)
    del found["config"]["threads"]
    return found


def ends(out):
    return {name: end(out / "runs" / name) for name in NAMES}


def jobs(folder, count=2, **changes):
    config = study(folder, **changes).config("constant", 1.0, 1)
    return {folder / str(number): config for number in range(count)}


def train(jobs, processes, stop=None, report=lambda done: None):
    return train_all(jobs, processes=processes, stop=stop or StopSignals(), report=report)


def replace_command(monkeypatch, code, which=""):
    """Let runs whose folder ends in ``which`` be this piece of Python, told its folder."""
    original = pool.command

    def planted(config, folder, *more):
        if folder.name.endswith(which):
            return [sys.executable, "-c", code, str(folder)]
        return original(config, folder, *more)

    monkeypatch.setattr(pool, "command", planted)


MEET = """
import sys, time
from pathlib import Path
me = Path(sys.argv[1])
me.mkdir()
end = time.monotonic() + 30
while len(list(me.parent.iterdir())) < 2 and time.monotonic() < end:
    time.sleep(0.01)
sys.exit(time.monotonic() >= end)
"""
ALONE = """
import sys, time
from pathlib import Path
me = Path(sys.argv[1])
me.mkdir()
time.sleep(0.1)
assert list(me.parent.iterdir()) == [me], "another process is at work"
me.rmdir()
"""


def test_runs_train_at_the_same_time(tmp_path, monkeypatch):
    replace_command(monkeypatch, MEET)
    assert train(jobs(tmp_path), 2) == {}


def test_no_more_runs_than_asked_for_train_at_the_same_time(tmp_path, monkeypatch):
    replace_command(monkeypatch, ALONE)
    assert train(jobs(tmp_path, 3), 1) == {}


RANK = "import os, sys; sys.exit('SLURM_STEP_NUM_TASKS' in os.environ)"


def test_a_run_of_a_worker_that_srun_has_started_is_no_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    replace_command(monkeypatch, RANK)
    assert train(jobs(tmp_path, 1), 1) == {}


def test_a_run_of_a_study_is_the_run_of_the_command(trained, tmp_path):
    out, runs = trained
    assert [run.name for run in runs] == NAMES
    assert [(run.rule, run.p_last, run.seed) for run in runs] == [(*rule, 1) for rule in RULES]
    config = study(out).config("linear", 0.5, 1)
    session.train(config, tmp_path / OTHER)
    assert end(tmp_path / OTHER) == ends(out)[OTHER]


def test_a_second_call_trains_nothing(trained, monkeypatch):
    out, _ = trained
    before = contents(out)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert [run.name for run in study(out).runs(RULES)] == NAMES
    assert contents(out) == before


@pytest.mark.slow
def test_interrupted_runs_go_on_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_POLL_INTERVAL", 0.01)
    stop, folders = StopSignals(), jobs(tmp_path / "pool", epochs=60, limit=100)

    def report(done):
        if done:
            stop.received = signal.SIGTERM

    with pytest.raises(Interrupted):
        train(folders, 2, stop, report)
    assert 0 < sum(map(epochs_done, folders)) < 2 * 60
    assert train(folders, 2) == {}
    session.train(next(iter(folders.values())), tmp_path / "whole")
    for folder in folders:
        assert end(folder) == end(tmp_path / "whole")


@pytest.mark.slow
def test_a_study_that_is_stopped_before_it_begins_is_done_later(tmp_path, trained):
    first = study(tmp_path)
    first.stop.received = signal.SIGINT
    with pytest.raises(Interrupted):
        first.runs(RULES)
    assert not first.failures
    study(tmp_path).runs(RULES)
    assert ends(tmp_path) == ends(trained[0])


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, KILL])
def test_the_same_command_goes_on_to_the_same_end(tmp_path, number):
    out, settings = tmp_path / "out", {"epochs": 60, "limit": 100}
    line = arguments(out, "gradients", **settings)
    folders = [out / "runs" / name for name in NAMES]
    configs = [folder / "config.json" for folder in folders]
    with subprocess.Popen(command(*line), stderr=subprocess.PIPE, text=True) as stopped:
        while not (any(map(epochs_done, folders)) and all(map(Path.exists, configs))):
            assert stopped.poll() is None
            time.sleep(0.01)
        stopped.send_signal(number)
        _, said = stopped.communicate()
    assert not (out / "gradients.png").exists()
    if number == signal.SIGINT:
        assert stopped.returncode == 130
        assert said == "\nSIGINT: saved. Go on with the same command\n"
    done = minisd(*line)  # waits for processes that are still saving
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "gradients.png").exists()
    session.train(study(out, **settings).config("linear", 0.5, 1), tmp_path / "whole")
    assert end(folders[1]) == end(tmp_path / "whole")


@posix_only
@pytest.mark.parametrize(
    "name", ["SIGKILL", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGHUP", "SIGTERM"))]
)
def test_the_processes_end_saved_with_the_one_that_started_them(tmp_path, name):
    number = getattr(signal, name)
    folders = [tmp_path / "runs" / run for run in NAMES]
    line = command(*arguments(tmp_path, "gradients", epochs=100_000))
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as parent:
        while not all(map(epochs_done, folders)):
            assert parent.poll() is None
            time.sleep(0.01)
        parent.send_signal(number)
        parent.communicate(timeout=60)
    assert parent.returncode == (-number if name == "SIGKILL" else 128 + number)
    for folder in folders:
        FileLock(folder / ".lock").acquire(timeout=60).lock.release()  # ended, whatever happened
        assert state(folder / "checkpoint.npz")["position"]["step"] > 0  # in the midst of an epoch
        assert not leftovers(folder)


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_waited_for(tmp_path):
    folder = tmp_path / "runs" / ONE
    line = [item for item in arguments(tmp_path, "gradients") if item != "--quiet"]
    with runfolder.claim(folder, create=True):
        waiting = subprocess.Popen(command(*line), stderr=subprocess.PIPE, text=True)
        said = ""
        while "waiting for another process" not in said:
            said = waiting.stderr.readline()
            assert waiting.poll() is None
        while epochs_done(tmp_path / "runs" / OTHER) < TINY_STUDY["epochs"]:
            assert waiting.poll() is None
            time.sleep(0.01)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, said
    assert epochs_done(folder) == TINY_STUDY["epochs"]


# Failures


FAILING = "import sys; sys.exit('minisd: something\\nminisd: planted')"


def copied(trained, tmp_path, *, without):
    """A copy of the trained study, one of whose runs is not there."""
    for name, content in contents(trained[0]).items():
        if without not in name:
            path = tmp_path / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("code", "said"),
    [(FAILING, "planted"), ("import os; os.abort()", f"exit code {-signal.SIGABRT}")],
)
def test_a_run_that_fails_is_told_of_and_left_out(trained, tmp_path, monkeypatch, code, said):
    out = copied(trained, tmp_path, without=OTHER)
    with monkeypatch.context() as patch:
        replace_command(patch, code, which=OTHER)
        now = study(out)
        assert [run.name for run in now.runs(RULES)] == [ONE]
        assert list(now.failures) == [OTHER]
        assert said in now.failures[OTHER]
    assert len(study(out).runs(RULES)) == 2  # the same command tries it again


def test_the_command_names_the_failed_run_beside_the_figure(trained, tmp_path, monkeypatch, capsys):
    out = copied(trained, tmp_path, without=OTHER)
    replace_command(monkeypatch, FAILING, which=OTHER)
    assert main(arguments(out, "gradients")) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert f"{OTHER}: planted" in said
    assert "1 run failed" in said
    caption, header, *rows = (out / "gradients.csv").read_text().splitlines()
    assert f"Missing, because they failed: {OTHER}." in caption
    assert header.startswith("rule,")
    assert [row.split(",")[0] for row in rows] == ["constant"] * TINY_STUDY["epochs"]
    assert (out / "gradients.png").exists()
    assert (out / "gradients.svg").exists()


def test_runs_whose_loss_is_not_finite_fail_in_a_sentence(tmp_path, capsys):
    assert main(arguments(tmp_path, "gradients", lr=1e30)) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "no run could be trained" in said
    assert "finite" in said


def test_only_one_process_works_in_a_folder(tmp_path, capsys):
    with study(tmp_path).at_work():
        before = contents(tmp_path)
        assert main(arguments(tmp_path, "depth-distribution")) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert contents(tmp_path) == before == {}
    assert main(arguments(tmp_path, "depth-distribution")) == 0


@pytest.mark.parametrize(("name", "value"), [("width", 4), ("lr", 0.5), ("epochs", 3)])
def test_a_folder_with_runs_of_other_settings_is_refused(trained, name, value, capsys):
    out, _ = trained
    before = contents(out)
    with pytest.raises(ConfigError, match=f"{name} .* wants {value}: choose another --out"):
        study(out, **{name: value}).runs(RULES)
    assert main(arguments(out, "gradients", **{name: value})) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert contents(out) == before


def test_where_it_runs_may_change(trained):
    out, _ = trained
    for run in study(out, device="auto", data_dir="elsewhere").runs(RULES):
        assert run.load().model.num_blocks == 3
