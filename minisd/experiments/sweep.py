"""Train many runs on the workers of a Dask scheduler, each in its own process.

The scheduler and its workers are started by others, on any machines that share a drive with this
one. `minisd.experiments.on_worker` is the other side. Needs ``pip install 'minisd[dask]'``.
"""

import asyncio
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from minisd.errors import ConfigError, MissingPackageError, SchedulerError, UserError
from minisd.experiments.pool import IN_USE
from minisd.experiments.process import epochs_done, is_complete
from minisd.runs import folder as runfolder
from minisd.runs.config import Config
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.version import __version__

OLDEST = (2026, 1)
"""The first version of Dask that is known to work."""
_SAME_VERSIONS = "install the same versions for scheduler, workers and this command"
_MUST_AGREE = ("distributed", "dask", "minisd")  # packages, in their versions
_PATIENCE = 30.0  # seconds without an answer of a scheduler that was there
_FIRST_PATIENCE = 10.0  # seconds for the first answer
_ONE_TRY = 5.0  # seconds for one attempt to reach it
_POLL_INTERVAL = 0.2  # seconds between two looks at tasks and logs
_SEEN_WITHIN = 30.0  # seconds in which a shared drive shows what a worker has written
_SAVED_WITHIN = 120.0  # seconds in which a worker ends a step and saves its run
_LOOK_INTERVAL = 5.0  # seconds between two questions to the scheduler


def train_on(
    scheduler: str,
    jobs: dict[Path, Config],
    *,
    device: str | None = None,
    stop: StopSignals,
    report: Callable[[int], None],
    say: Callable[[str], None] = lambda text: None,
) -> dict[Path, str]:
    """Train the incomplete runs on the workers of a scheduler, and wait for all of them.

    As `minisd.experiments.pool.train_all`; the workers decide how many train at the same time. A
    run whose worker is killed goes on from what it has saved, on the same worker or another.

    Parameters
    ----------
    scheduler : str
        Its address, such as ``"tcp://node1:8786"``.

    Raises
    ------
    Interrupted
        After all runs are saved.
    MissingPackageError
        If Dask is not installed, or too old.
    SchedulerError
        If the scheduler does not answer, or not any more, or has other versions of the packages.
    """
    _check_installed()
    sweep = _Sweep(jobs, device, stop, report, say)
    was_lost = False
    while sweep.left:
        with _connected(scheduler, stop, was_lost) as client:
            sweep.follow(client)
        was_lost = True
    return sweep.failures


class _Sweep:
    """The runs that are still to be trained, and what their tasks have said.

    Attributes
    ----------
    left : list of path
        Folders of runs that are neither complete nor have failed.
    failures : dict
        Error messages by folder.
    """

    def __init__(
        self,
        jobs: dict[Path, Config],
        device: str | None,
        stop: StopSignals,
        report: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self.jobs, self.device = jobs, device
        self.stop, self.report, self.say = stop, report, say
        self.left = [folder for folder, config in jobs.items() if not is_complete(folder, config)]
        self.failures: dict[Path, str] = {}
        self._told: set[str] = set()
        self._ended: dict[Path, float] = {}  # complete, as a worker says: when it said so
        report(sum(map(epochs_done, jobs)))

    def follow(self, client: Any) -> None:
        """Have the runs trained until none is left, or the scheduler is lost."""
        from distributed import Event

        event = Event(f"minisd-{uuid.uuid4().hex}", client=client)
        tasks: dict[Path, _Task] = {}
        next_look = time.monotonic() + _LOOK_INTERVAL
        try:
            while self.left:
                for folder in self.left:
                    if folder not in tasks and folder not in self._ended and self._is_free(folder):
                        tasks[folder] = _Task(client, self.jobs[folder], folder, self.device, event)
                time.sleep(_POLL_INTERVAL)  # also lets go of a task's key before it is used again
                if time.monotonic() > next_look:
                    self._look_at_workers(client)
                    next_look = time.monotonic() + _LOOK_INTERVAL
                if client.status != "running" or any(task.is_lost for task in tasks.values()):
                    raise ConnectionError
                for folder in [folder for folder, task in tasks.items() if task.is_done]:
                    self._note(folder, tasks.pop(folder))
                self._look_for_complete_runs()
                self.report(sum(map(epochs_done, self.jobs)))
                self.stop.check()
        except Interrupted:
            with suppress(OSError):  # the scheduler was lost: trainings end with their workers
                _wait_until_saved(client, event, tasks)
            raise
        except OSError as error:
            if isinstance(error, UserError):
                raise
            self._tell_once("the scheduler does not answer; trying to reach it again")

    def _look_at_workers(self, client: Any) -> None:
        """Say so if there is no worker.

        Raises
        ------
        OSError
            If the scheduler does not answer.
        """
        if not client.sync(client.scheduler.ncores, workers=None, callback_timeout=_PATIENCE):
            self._tell_once("waiting for workers: 'dask worker ADDRESS' starts one")

    def _is_free(self, folder: Path) -> bool:
        """Whether no other process trains into the folder of a run."""
        if runfolder.is_in_use(folder):
            self._tell_once(IN_USE.format(folder))
            return False
        return True

    def _note(self, folder: Path, task: "_Task") -> None:
        """Note how a task has ended. A run that is neither complete nor has failed gets another."""
        from minisd.experiments import on_worker

        how, message = task.result()
        if how == on_worker.COMPLETE:
            self._ended[folder] = time.monotonic()
        elif how == on_worker.IN_USE:
            self._tell_once(IN_USE.format(folder))
        elif how == on_worker.FAILED:
            self.failures[folder] = message
            self.left.remove(folder)

    def _look_for_complete_runs(self) -> None:
        """Take runs off the list when this machine, too, sees that they are complete."""
        for folder, since in list(self._ended.items()):
            if is_complete(folder, self.jobs[folder]):
                self.left.remove(folder)
            elif time.monotonic() > since + _SEEN_WITHIN:
                self.failures[folder] = (
                    f"a worker has completed it, but {folder.absolute()} is not complete here: "
                    "--out must be on a drive that all workers share"
                )
                self.left.remove(folder)
            else:
                continue
            del self._ended[folder]

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self.say(text)
        self._told.add(text)


class _Task:
    """A task of the scheduler: to train a run from where it is to its end."""

    def __init__(
        self, client: Any, config: Config, folder: Path, device: str | None, event: Any
    ) -> None:
        from minisd.experiments import on_worker

        self.folder, self.epochs = folder, epochs_done(folder)
        self.future = client.submit(
            on_worker.train_here,
            config,
            folder.absolute(),
            Path.cwd(),
            device,
            event.name,
            key=f"minisd train {folder.absolute()}",  # so that two clients have one task
            resources={on_worker.TRAINING: 1},
        )

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler knows nothing of it any more."""
        return self.future.status in ("cancelled", "lost")

    @property
    def is_done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return bool(self.future.done())

    def result(self) -> tuple[str, str]:
        """Return how the task has ended: see `minisd.experiments.on_worker.train_here`."""
        from distributed import KilledWorker

        from minisd.experiments import on_worker

        if self.future.status == "finished":
            how, message = self.future.result()
            return how, message
        error = self.future.exception()
        if not isinstance(error, KilledWorker):
            return on_worker.FAILED, f"{type(error).__name__}: {error}"
        if epochs_done(self.folder) > self.epochs:  # workers come and go, but the run goes on
            return on_worker.STOPPED, ""
        return on_worker.FAILED, "its workers were killed, several times within an epoch"


def _wait_until_saved(client: Any, event: Any, tasks: dict[Path, _Task]) -> None:
    """Ask all tasks to save their runs, and wait until no worker has one of them."""
    event.set()
    keys = {task.future.key for task in tasks.values()}
    deadline = time.monotonic() + _SAVED_WITHIN
    while client.status == "running" and time.monotonic() < deadline:
        at_work = {key for of_worker in client.processing().values() for key in of_worker}
        if not keys & at_work:
            return
        time.sleep(_POLL_INTERVAL)


# ---- the scheduler ----


def _check_installed() -> None:
    """Raise a MissingPackageError if Dask is not installed, or too old."""
    oldest = ".".join(map(str, OLDEST))
    try:
        installed = metadata.version("distributed")
    except metadata.PackageNotFoundError:
        raise MissingPackageError(
            "a sweep with --scheduler needs Dask: pip install 'minisd[dask]'"
        ) from None
    if tuple(int(part) for part in installed.split(".")[:2]) < OLDEST:
        raise MissingPackageError(
            f"a sweep with --scheduler needs Dask {oldest} or newer, and {installed} is here: "
            "pip install --upgrade 'minisd[dask]', also where scheduler and workers run"
        )


@contextmanager
def _connected(address: str, stop: StopSignals, was_lost: bool) -> Iterator[Any]:
    """Yield a client of the scheduler, whose workers then take one training at a time.

    Parameters
    ----------
    was_lost : bool
        Whether it had answered before.
    """
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    from minisd.experiments.on_worker import OneTraining

    with _without_log(), warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # `_check_versions` says it
        _check_versions(address, _versions(address, stop, was_lost))
        try:
            client = Client(address, timeout=_ONE_TRY, set_as_default=False, name="minisd")
        except OSError as error:
            raise _not_answering(address, was_lost) from error
        try:
            try:
                client.register_plugin(OneTraining(__version__))
            except Exception as error:  # whatever a worker has met
                raise SchedulerError(
                    f"a worker of {address} cannot take trainings ({type(error).__name__}: "
                    f"{error}): {_SAME_VERSIONS}"
                ) from error
            yield client
        finally:
            client.close(timeout=_ONE_TRY)


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep Dask from writing into standard error that it has lost a connection: we say so."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _versions(address: str, stop: StopSignals, was_lost: bool) -> dict[str, str | None]:
    """Return the versions of the packages at the scheduler, as soon as it answers.

    A client of Dask is made only later: one that does not get through leaves a traceback behind.
    """
    deadline = time.monotonic() + (_PATIENCE if was_lost else _FIRST_PATIENCE)
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop in the main thread
        while True:
            try:
                return thread.submit(asyncio.run, _ask_for_versions(address)).result()
            except OSError as error:  # a TimeoutError is one
                if time.monotonic() > deadline:
                    raise _not_answering(address, was_lost) from error
            except ValueError as error:
                raise ConfigError(
                    f"--scheduler {address} is not an address such as tcp://node1:8786 ({error})"
                ) from error
            except Exception as error:  # any bytes may have been read as if they were Dask's
                raise SchedulerError(
                    f"what answers at {address} is not a scheduler of this version of Dask "
                    f"({type(error).__name__}): give the address that 'dask scheduler' prints"
                ) from error
            stop.check()
            time.sleep(_POLL_INTERVAL)


async def _ask_for_versions(address: str) -> dict[str, str | None]:
    from distributed.core import rpc
    from distributed.security import Security

    connection = Security().get_connection_args("client")
    async with asyncio.timeout(_ONE_TRY):
        async with rpc(address, timeout=_ONE_TRY, connection_args=connection) as scheduler:
            if (await scheduler.identity())["type"] != "Scheduler":
                raise TypeError("it is a worker")
            packages = (await scheduler.versions(packages=["minisd"]))["packages"]
            return dict(packages)


def _check_versions(address: str, there: dict[str, str | None]) -> None:
    """Raise a SchedulerError if the scheduler has other versions of Dask or minisd."""
    for package in _MUST_AGREE:
        here = metadata.version(package)
        if there.get(package) != here:
            raise SchedulerError(
                f"the scheduler at {address} has {package} {there.get(package) or 'not installed'}"
                f", and here it is {here}: {_SAME_VERSIONS}"
            )


def _not_answering(address: str, was_lost: bool) -> SchedulerError:
    if was_lost:
        return SchedulerError(
            f"the scheduler at {address} has not answered for {_PATIENCE:.0f} seconds; trainings "
            "are saved, and end with their workers: start it again, and the same command goes on"
        )
    return SchedulerError(
        f"no scheduler answers at {address}: start one with 'dask scheduler', and give the address "
        "that it prints"
    )
