"""Sweeps over machines: real schedulers, nannies and workers of Dask on this one, and signals."""

import dataclasses
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

from killing import living
from minisd.cli import main
from minisd.experiments import scheduler, sweep
from minisd.experiments.process import epochs_done
from minisd.experiments.study import Study
from minisd.runs import folder as runfolder
from minisd.runs import session
from minisd.runs.interrupt import StopSignals
from minisd.version import __version__
from systems import killed, posix_only
from tiny_runs import command, is_one_sentence, leftovers, outcome, state
from tiny_studies import TINY_STUDY, study

why = "Dask is not installed: pip install 'minisd[dask]'"
pytest.importorskip("distributed.client", reason=why)  # tests/processes is not what is meant

RULES = [("constant", 1.0), ("linear", 0.5)]
NAMES = ["digits-8-constant-seed1", "digits-8-linear-0.5-seed1"]
PATIENCE = 90  # seconds
LONG = {"epochs": 40, "limit": 100}


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
        line = ["worker", self.address, *(more or ("--nthreads", "1"))]
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
    with suppress(ProcessLookupError):  # it may see that its nanny is gone
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
        with suppress(ProcessLookupError):  # it may see that its nanny is gone
            os.kill(pid, signal.SIGKILL)
    none_is_left(tmp_path / "out")
    client.kill()
    client.communicate()


@with_all
def test_without_its_scheduler_a_sweep_gives_up_and_goes_on_later(cluster, tmp_path):
    cluster.add_worker()
    cluster.add_worker()
    longer = LONG | {"epochs": 1000}
    client = start(cluster, tmp_path / "out", **longer)
    until(lambda: has_begun(tmp_path / "out"), client)
    cluster.scheduler.kill()
    began = time.monotonic()
    none_is_left(tmp_path / "out")
    assert time.monotonic() - began < 60
    said = finished(client)
    assert 25 < time.monotonic() - began < 90
    assert client.returncode == 2
    assert is_one_sentence(said)
    assert "the scheduler at 127.0.0.1" in said or "the scheduler at tcp" in said
    assert "the same command goes on" in said
    before = list(map(epochs_done, folders(tmp_path / "out")))
    cluster.start_scheduler(cluster.address)
    cluster.add_worker()
    again = start(cluster, tmp_path / "out", **longer)
    until(lambda: sum(map(epochs_done, folders(tmp_path / "out"))) > sum(before), again)


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


# What may go wrong


@with_all
def test_a_run_that_fails_where_it_trains_fails_alone(cluster, tmp_path):
    cluster.add_worker()
    out = tmp_path / "out"
    blocked = folders(out)[1]
    blocked.mkdir(parents=True)
    (blocked / "mine").write_text("")
    client = start(cluster, out)
    said = finished(client)
    assert client.returncode == 2
    assert is_one_sentence(said)
    assert f"1 run failed, not in the figure ({NAMES[1]}: {blocked} contains other files" in said
    assert epochs_done(folders(out)[0]) == TINY_STUDY["epochs"]
    assert (out / "gradients.png").exists()
    (blocked / "mine").unlink()
    assert finished(start(cluster, out)) == ""
    assert epochs_done(blocked) == TINY_STUDY["epochs"]


@with_all
def test_data_that_a_worker_does_not_have_is_a_sentence(cluster, tmp_path):
    """Asked of the task itself, as if this machine had the data, and the worker had not."""
    from distributed import Client

    from minisd.experiments import on_worker

    cluster.add_worker()
    config = study(tmp_path, data="digits").config("linear", 0.5, 1)
    config = dataclasses.replace(config, data="cifar10", data_dir="nowhere")
    with Client(cluster.address, set_as_default=False) as client:
        given = config, tmp_path / "run", tmp_path, None, "stop", __version__
        how, message = client.submit(on_worker.train_here, *given).result(timeout=PATIENCE)
        assert how == on_worker.FAILED
        assert "nowhere" in message
        for planted, lacks in (
            ((*given[:5], "0.0"), "it has minisd"),
            ((*given[:2], Path("/no"), *given[3:]), "/no, where"),
        ):
            how, message = client.submit(on_worker.train_here, *planted).result(timeout=PATIENCE)
            assert how == on_worker.UNFIT
            assert lacks in message


@with_all
def test_a_folder_that_another_process_trains_into_is_waited_for(cluster, tmp_path):
    cluster.add_worker()
    out = tmp_path / "out"
    one, other = folders(out)
    with runfolder.claim(one, create=True):
        client = start(cluster, out)
        until(lambda: epochs_done(other) == TINY_STUDY["epochs"], client)
        time.sleep(1)
        assert client.poll() is None
    assert finished(client) == ""
    assert epochs_done(one) == TINY_STUDY["epochs"]


@with_all
def test_a_worker_trains_one_run_at_a_time_with_its_own_threads(cluster, tmp_path):
    srun = {"SLURM_STEP_NUM_TASKS": "8"}  # it has started eight workers, which are no ranks of MPI
    cluster.add_worker("--nthreads", "3", **srun)
    client = start(cluster, tmp_path / "out", **LONG)
    at_once = set()
    while client.poll() is None:  # a process that starts another one has a double for a moment
        at_once.add(frozenset(training(tmp_path / "out")))
        time.sleep(0.05)
    assert finished(client) == ""
    assert max(map(len, at_once)) == 1, at_once
    for folder in folders(tmp_path / "out"):
        assert runfolder.read_json(folder / "config.json")["threads"] == 3


@with_all
def test_from_a_program_and_in_a_folder_that_is_relative(cluster, tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    cluster.add_worker()
    options = {"size": "quick", "quiet": True, "scheduler": cluster.address, **TINY_STUDY}
    runs = Study("out", **options).runs(RULES)
    assert [run.name for run in runs] == NAMES
    assert all(run.config["data_dir"] == "data" for run in runs)
    cluster.scheduler.kill()  # nobody needs it any more
    again = Study("out", **options).runs(RULES)
    assert [run.best for run in again] == [run.best for run in runs]
    assert not recwarn.list


def said_of(out: Path, address: str, capsys) -> str:
    assert main(arguments(out, address)) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    return said


@pytest.mark.parametrize("name", ["gradients", "all"])
def test_an_address_where_nobody_answers_is_one_sentence(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(scheduler, "_FIRST_PATIENCE", 0.3)
    monkeypatch.setattr(scheduler, "_ONE_TRY", 0.3)
    began = time.monotonic()
    line = arguments(tmp_path, "127.0.0.1:1")
    assert main([line[0], name, *line[2:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("minisd: no scheduler answers at 127.0.0.1:1: start one")
    assert is_one_sentence(said)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:abc", "foo://x:1"])
def test_what_is_no_address_is_a_sentence(tmp_path, capsys, address):
    assert f"--scheduler {address} is not an address" in said_of(tmp_path, address, capsys)


class Talks(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)


def test_another_server_than_dask_is_a_sentence(tmp_path, capsys):
    with socketserver.TCPServer(("127.0.0.1", 0), Talks) as server:
        threading.Thread(target=server.serve_forever).start()
        said = said_of(tmp_path, f"127.0.0.1:{server.server_address[1]}", capsys)
        server.shutdown()
    assert "is not a scheduler of this version of Dask" in said


@with_all
def test_other_versions_and_a_worker_for_a_scheduler_are_sentences(
    cluster, tmp_path, capsys, monkeypatch
):
    cluster.add_worker()
    worker = cluster.log(cluster.workers[0]).partition("Start worker at:")[2].split()[0]
    assert "is not a scheduler" in said_of(tmp_path, worker, capsys)
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "2026.1.0" if name == "dask" else real(name)
    )
    said = said_of(tmp_path, cluster.address, capsys)
    assert "has dask 20" in said
    assert "here it is 2026.1.0" in said


# Without a scheduler


def of_two_runs(out: Path) -> sweep._Sweep:
    configs = [study(out).config(*rule, 1) for rule in RULES]
    jobs = dict(zip(folders(out), configs, strict=True))
    return sweep._Sweep(jobs, None, StopSignals(), lambda done: None, lambda text: None)


def test_a_run_that_kills_its_workers_ends_with_the_fourth(tmp_path):
    two = of_two_runs(tmp_path)
    one, other = folders(tmp_path)
    for _ in range(3):
        two._count_death(one)
    one.mkdir(parents=True)
    (one / "log.jsonl").write_text("{}\n")
    for _ in range(3):
        two._count_death(one)
    assert two.left == [one, other]
    two._count_death(one)
    assert two.left == [other]
    assert "4 workers were killed" in two.failures[one]


def test_a_run_that_only_its_worker_sees_is_told_of(tmp_path, monkeypatch):
    two = of_two_runs(tmp_path)
    one, other = folders(tmp_path)
    two._ended = dict.fromkeys(folders(tmp_path), time.monotonic())
    two._look_for_complete_runs()
    assert two.left == [one, other]
    other.mkdir(parents=True)
    (other / "log.jsonl").write_text("{}\n{}\n")
    monkeypatch.setattr(sweep, "_SEEN_WITHIN", -1.0)
    two._look_for_complete_runs()
    assert two.left == []
    assert list(two.failures) == [one]
    assert "--out must be on a drive that all workers share" in two.failures[one]


def test_a_task_is_sent_by_name():
    from distributed.protocol.pickle import dumps

    from minisd.experiments import on_worker

    assert len(dumps(on_worker.train_here)) < 100
    assert len(dumps(study(Path("x")).config("linear", 0.5, 1))) < 2000
