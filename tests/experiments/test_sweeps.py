"""Sweeps over machines: real schedulers, nannies and workers of Dask on this one, and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from killing import living
from minisd.experiments.process import epochs_done
from minisd.runs import session
from systems import killed, posix_only
from tiny_runs import command, is_one_sentence, leftovers, outcome, state
from tiny_studies import TINY_STUDY, study

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'minisd[dask]'")

RULES = [("constant", 1.0), ("linear", 0.5)]
NAMES = ["digits-8-constant-seed1", "digits-8-linear-0.5-seed1"]
PATIENCE = 90  # seconds
LONG = {"epochs": 60, "limit": 100}


def with_all(test):
    """For tests of many processes, some of which are killed."""
    for mark in (posix_only, pytest.mark.slow, pytest.mark.xdist_group("processes")):
        test = mark(test)
    return test


def arguments(out: Path, address: str, *more: str, **changes) -> list[str]:
    settings = {**TINY_STUDY, **changes}
    options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
    where = ["--scheduler", address, "--out", str(out)]
    return ["experiment", "gradients", *where, "--quick", "--quiet", *options, *more]


def until(condition, process: subprocess.Popen | None = None) -> None:
    """Wait until something is so, while a process goes on."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(folder: Path) -> dict:
    """The outcome of a run, whatever threads it had."""
    found = outcome(folder)
    del found["config"]["threads"]
    return found


def folders(out: Path) -> list[Path]:
    return [out / "runs" / name for name in NAMES]


def training(out: Path) -> list[str]:
    """The commands of the trainings that are alive."""
    return [line for line in living(out) if " train " in line]


def none_is_left(out: Path) -> None:
    """Wait until no training is left; assert that all are saved, in the midst of an epoch."""
    until(lambda: not training(out))
    for folder in folders(out):
        FileLock(folder / ".lock").acquire(timeout=PATIENCE).lock.release()
        assert state(folder / "checkpoint.npz")["position"]["step"] > 0
        assert not leftovers(folder)


def _command_line(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class Cluster:
    """A scheduler and workers, each with its nanny, in processes of their own."""

    def __init__(self, base: Path) -> None:
        self.base, self.started, self.clients = base, [], []
        self.start_scheduler("tcp://127.0.0.1:0")
        self.workers: list[subprocess.Popen] = []

    def _start(self, *line: str, where: Path | None = None, **options: str) -> subprocess.Popen:
        number = len(self.started)
        env = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"} | options
        with (self.base / f"{number}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *line, "--no-dashboard"],
                stderr=log,
                stdout=log,
                env=env,
                cwd=where or self.base,
            )
        self.started.append(process)
        return process

    def start_scheduler(self, address: str) -> None:
        self.scheduler = self._start("scheduler", "--host", address)
        self.address = self._line(self.scheduler, "Scheduler at:").split()[-1]

    def log(self, process: subprocess.Popen) -> str:
        return (self.base / f"{self.started.index(process)}.log").read_text()

    def _line(self, process: subprocess.Popen, text: str) -> str:
        until(lambda: any(text in line for line in self.log(process).splitlines()[:-1]), process)
        return next(line for line in self.log(process).splitlines() if text in line)

    def add_worker(self, *more: str, where: Path | None = None, **options: str) -> None:
        line = ["worker", self.address, "--nthreads", "1", *more]
        line += ["--local-directory", str(self.base / f"scratch{len(self.started)}")]
        worker = self._start(*line, where=where, **options)
        self._line(worker, "Registered to:")
        self.workers.append(worker)

    def pid_of_worker(self, nanny: subprocess.Popen) -> int:
        """The number of the worker's own process, which its nanny watches and starts again."""
        threads = Path(f"/proc/{nanny.pid}/task").glob("*/children")
        children = " ".join(path.read_text() for path in threads).split()
        (found,) = [pid for pid in children if b"spawn_main" in _command_line(pid)]
        return int(found)

    def stop(self) -> None:
        for process in [*self.clients, *reversed(self.started)]:
            killed(process)
            if process.stderr is not None:
                process.stderr.close()


@pytest.fixture
def cluster(tmp_path):
    base = tmp_path / "cluster"
    base.mkdir()
    made = Cluster(base)
    yield made
    made.stop()


def start(cluster: Cluster, out: Path, **changes) -> subprocess.Popen:
    line = command(*arguments(out, cluster.address, **changes))
    client = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    cluster.clients.append(client)
    return client


def finished(client: subprocess.Popen) -> str:
    """What a client has said at its end, which must come."""
    return client.communicate(timeout=PATIENCE)[1]


def has_begun(out: Path, *, all_of_them: bool = True) -> bool:
    return (all if all_of_them else any)(epochs_done(folder) for folder in folders(out))


def assert_ended_as_if_left_alone(out: Path, whole: Path) -> None:
    for folder in folders(out):
        assert end(folder) == end(whole / folder.name), folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The runs of a long study, which nobody has stopped."""
    base = tmp_path_factory.mktemp("whole")
    for (rule, p_last), name in zip(RULES, NAMES, strict=True):
        session.train(study(base, **LONG).config(rule, p_last, 1), base / name)
    return base


# What may die


@with_all
def test_a_killed_worker_is_started_again_and_the_run_ends_in_the_same_bits(
    cluster, tmp_path, whole
):
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG)
    until(lambda: has_begun(tmp_path / "out"), client)
    for worker in cluster.workers:
        os.kill(cluster.pid_of_worker(worker), signal.SIGKILL)
    assert finished(client) == ""
    assert client.returncode == 0
    assert_ended_as_if_left_alone(tmp_path / "out", whole)
    assert all("Restarting worker" in cluster.log(worker) for worker in cluster.workers)


@with_all
def test_the_runs_of_a_machine_that_is_no_more_move_to_another(cluster, tmp_path, whole):
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG)
    until(lambda: has_begun(tmp_path / "out", all_of_them=False), client)
    cluster.add_worker()
    gone, worker = cluster.workers[0], cluster.pid_of_worker(cluster.workers[0])
    gone.kill()
    os.kill(worker, signal.SIGKILL)
    assert finished(client) == ""
    assert_ended_as_if_left_alone(tmp_path / "out", whole)


@with_all
def test_a_training_ends_saved_when_its_worker_is_killed(cluster, tmp_path):
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", epochs=100_000)
    until(lambda: has_begun(tmp_path / "out"), client)
    client.send_signal(signal.SIGSTOP)  # so that nobody starts them again
    cluster.scheduler.send_signal(signal.SIGSTOP)
    for worker in cluster.workers:
        pid = cluster.pid_of_worker(worker)
        worker.kill()
        os.kill(pid, signal.SIGKILL)
    none_is_left(tmp_path / "out")
    client.kill()
    client.communicate()


@with_all
def test_without_its_scheduler_a_sweep_gives_up_and_goes_on_later(cluster, tmp_path, whole):
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG | {"epochs": 100_000})
    until(lambda: has_begun(tmp_path / "out"), client)
    cluster.scheduler.kill()
    began = time.monotonic()
    none_is_left(tmp_path / "out")
    assert time.monotonic() - began < 20
    said = finished(client)
    assert 25 < time.monotonic() - began < 45
    assert client.returncode == 2
    assert is_one_sentence(said)
    assert "the scheduler at 127.0.0.1" in said or "the scheduler at tcp" in said
    assert "the same command goes on" in said


@with_all
def test_a_scheduler_that_is_started_again_gets_the_runs_again(cluster, tmp_path, whole):
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG)
    until(lambda: has_begun(tmp_path / "out", all_of_them=False), client)
    cluster.scheduler.kill()
    cluster.scheduler.wait()
    cluster.start_scheduler(cluster.address)
    cluster.add_worker()
    assert finished(client) == ""
    assert client.returncode == 0
    assert_ended_as_if_left_alone(tmp_path / "out", whole)


@with_all
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_for_the_sweep_saves_and_ends_all_runs(cluster, tmp_path, name):
    number = getattr(signal, name)
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", epochs=100_000)
    until(lambda: has_begun(tmp_path / "out"), client)
    client.send_signal(number)
    said = finished(client)
    assert (client.returncode, said) == (
        128 + number,
        f"\n{name}: saved. Go on with the same command\n",
    )
    assert not training(tmp_path / "out"), "it has said that all are saved"
    none_is_left(tmp_path / "out")


@with_all
def test_runs_end_saved_with_the_sweep_that_was_killed_and_go_on_with_the_next(
    cluster, tmp_path, whole
):
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG)
    until(lambda: has_begun(tmp_path / "out"), client)
    client.kill()
    client.communicate()
    again = start(cluster, tmp_path / "out", **LONG)
    assert finished(again) == ""
    assert_ended_as_if_left_alone(tmp_path / "out", whole)


@with_all
def test_the_processes_of_a_killed_sweep_are_no_more(cluster, tmp_path):
    cluster.add_worker()
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", epochs=100_000)
    until(lambda: has_begun(tmp_path / "out"), client)
    client.kill()
    client.communicate()
    none_is_left(tmp_path / "out")


@with_all
def test_a_worker_that_is_told_to_end_saves_its_run_which_goes_on_elsewhere(
    cluster, tmp_path, whole
):
    cluster.add_worker()
    client = start(cluster, tmp_path / "out", **LONG)
    until(lambda: has_begun(tmp_path / "out", all_of_them=False), client)
    cluster.workers[0].terminate()  # as SLURM does
    until(lambda: cluster.workers[0].poll() is not None)
    until(lambda: not training(tmp_path / "out"))
    cluster.add_worker()
    assert finished(client) == ""
    assert_ended_as_if_left_alone(tmp_path / "out", whole)
