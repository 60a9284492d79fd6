"""Train many runs on the workers of a Dask scheduler, each in its own process.

The scheduler and its workers are started by others, on any machines that share a drive with this
one. `minisd.experiments.on_worker` is the other side. Needs ``pip install 'minisd[dask]'``.
"""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from minisd.errors import SchedulerError, UserError
from minisd.experiments.pool import IN_USE
from minisd.experiments.process import epochs_done, is_complete
from minisd.experiments.scheduler import PATIENCE, SAME_VERSIONS, connected
from minisd.runs import folder as runfolder
from minisd.runs.config import Config
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.version import __version__

_POLL_INTERVAL = 0.2  # seconds between two looks at tasks and logs
_LOOK_INTERVAL = 1.0  # seconds between two questions to the scheduler what its workers do
_SEEN_WITHIN = 30.0  # seconds in which a shared drive shows what a worker has written
_SAVED_WITHIN = 120.0  # seconds in which a worker ends a step and saves its run
_DEATHS = 4  # of workers during one epoch of a run: then it is the run's fault
_WORKER_KILLED = "worker killed"
_KEY = "minisd train "  # how the key of each task begins


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
    SchedulerError
        If the scheduler does not answer, or not any more, or has other versions of the packages.
    """
    sweep = _Sweep(jobs, device, stop, report, say)
    was_lost = False
    while sweep.left:
        with connected(scheduler, stop, was_lost) as client:
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
        self._tasks: dict[Path, _Task] = {}
        self._unfit: dict[str, str] = {}  # workers that cannot train, and what they lack
        self._deaths: dict[Path, tuple[int, int]] = {}  # of workers, since how many epochs
        self._ended: dict[Path, float] = {}  # complete, as a worker says: when it said so
        self._told: set[str] = set()
        report(sum(map(epochs_done, jobs)))

    def follow(self, client: Any) -> None:
        """Have the runs trained until none is left, or the scheduler is lost.

        Each worker gets one run at a time, so runs wait here and not in a queue of the scheduler.
        """
        from distributed import Event

        event = Event(f"minisd-{uuid.uuid4().hex}", client=client)
        self._tasks, self._unfit, next_look = {}, {}, 0.0
        try:
            while self.left:
                if client.status != "running" or any(t.is_lost for t in self._tasks.values()):
                    raise ConnectionError
                if time.monotonic() >= next_look:
                    self._take_back(_at_work(client))
                    # asked again, so that the scheduler has forgotten a key before it is new
                    self._hand_out(client, _at_work(client), event)
                    self.report(sum(map(epochs_done, self.jobs)))
                    next_look = time.monotonic() + _LOOK_INTERVAL
                time.sleep(_POLL_INTERVAL)
                for folder in [folder for folder, task in self._tasks.items() if task.is_done]:
                    self._note(folder, self._tasks.pop(folder))
                    next_look = 0.0
                self._look_for_complete_runs()
                self.stop.check()
            self.report(sum(map(epochs_done, self.jobs)))
        except Interrupted:
            with suppress(OSError):  # the scheduler was lost: trainings end with their workers
                _wait_until_saved(client, event, {task.key for task in self._tasks.values()})
            raise
        except OSError as error:
            if isinstance(error, UserError):
                raise
            self._tell_once("the scheduler does not answer; trying to reach it again")

    def _take_back(self, at_work: dict[str, set[str]]) -> None:
        """Take runs from workers that are no more, or that do not begin."""
        for folder, task in list(self._tasks.items()):
            if task.is_done or task.key in at_work.get(task.worker, ()):
                task.missing_since = None
                continue
            task.missing_since = task.missing_since or time.monotonic()
            if task.worker not in at_work:
                self._tasks.pop(folder).release()
                self._count_death(folder)
            elif time.monotonic() > task.missing_since + _LOOK_INTERVAL:  # its end is not known yet
                self._tasks.pop(folder).release()

    def _hand_out(self, client: Any, at_work: dict[str, set[str]], event: Any) -> None:
        """Give a run to every worker that has none, whichever sweep it may be from."""
        taken = {task.worker for task in self._tasks.values()} | self._unfit.keys()
        taken |= {
            worker for worker, keys in at_work.items() if any(key.startswith(_KEY) for key in keys)
        }
        free = [worker for worker in at_work if worker not in taken]
        if not at_work:
            self._tell_once("waiting for workers: 'dask worker ADDRESS' starts one")
        elif at_work.keys() <= self._unfit.keys():
            worker = next(iter(at_work))
            raise SchedulerError(f"no worker can train; {worker}: {self._unfit[worker]}")
        for folder in self.left:
            if not free:
                return
            if folder not in self._tasks and folder not in self._ended and self._is_free(folder):
                config, worker = self.jobs[folder], free.pop(0)
                self._tasks[folder] = _Task(client, worker, config, folder, self.device, event)

    def _count_death(self, folder: Path) -> None:
        """Note that a run's worker is no more. A run that kills them must not do so for ever."""
        epochs, count = self._deaths.get(folder, (0, 0))
        done = epochs_done(folder)
        count = count + 1 if epochs == done else 1
        self._deaths[folder] = done, count
        if count == _DEATHS:
            self._fail(folder, f"{count} workers were killed, one after the other, in one epoch")

    def _fail(self, folder: Path, message: str) -> None:
        self.failures[folder] = message
        self.left.remove(folder)

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
        task.release()
        if how == on_worker.COMPLETE:
            self._ended[folder] = time.monotonic()
        elif how == on_worker.IN_USE:
            self._tell_once(IN_USE.format(folder))
        elif how == on_worker.UNFIT:
            self._unfit[task.worker] = message
            self._tell_once(f"{task.worker} gets no run: {message}")
        elif how == on_worker.FAILED:
            self._fail(folder, message)
        elif how == _WORKER_KILLED:
            self._count_death(folder)

    def _look_for_complete_runs(self) -> None:
        """Take runs off the list when this machine, too, sees that they are complete."""
        for folder, since in list(self._ended.items()):
            if is_complete(folder, self.jobs[folder]):
                self.left.remove(folder)
            elif time.monotonic() > since + _SEEN_WITHIN:
                self._fail(
                    folder,
                    f"a worker has completed it, but {folder.absolute()} is not complete here: "
                    "--out must be on a drive that all workers share",
                )
            else:
                continue
            del self._ended[folder]

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self.say(text)
        self._told.add(text)


class _Task:
    """What one worker is to do: train a run from where it is to its end.

    Attributes
    ----------
    worker : str
        Its address.
    key : str
        The scheduler's name for the task: two sweeps that want the same run have one task.
    missing_since : float or None
        When the worker was first seen without it.
    """

    def __init__(
        self,
        client: Any,
        worker: str,
        config: Config,
        folder: Path,
        device: str | None,
        event: Any,
    ) -> None:
        from minisd.experiments import on_worker

        self.worker, self.key = worker, f"{_KEY}{folder.absolute()}"
        self.missing_since: float | None = None
        self._future = client.submit(
            on_worker.train_here,
            config,
            folder.absolute(),
            Path.cwd(),
            device,
            event.name,
            __version__,
            key=self.key,
            workers=[worker],
        )

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler knows nothing of it any more."""
        return self._future.status in ("cancelled", "lost")

    @property
    def is_done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return bool(self._future.done())

    def release(self) -> None:
        """Let the scheduler forget it, so that its key may be used again."""
        self._future.release()

    def result(self) -> tuple[str, str]:
        """Return how it has ended: see `minisd.experiments.on_worker.train_here`.

        Raises
        ------
        ConnectionError
            If it `is_lost`.
        """
        from distributed import KilledWorker

        from minisd.experiments import on_worker

        if self._future.status == "finished":
            how, message = self._future.result()
            return how, message
        if self.is_lost:
            raise ConnectionError
        error = self._future.exception()
        if isinstance(error, KilledWorker):
            return _WORKER_KILLED, ""
        return on_worker.UNFIT, f"{type(error).__name__}: {error}; {SAME_VERSIONS}"


def _at_work(client: Any) -> dict[str, set[str]]:
    """Return the keys of the tasks of each worker, by its address.

    Raises
    ------
    OSError
        If the scheduler does not answer.
    """
    found = client.sync(client.scheduler.processing, workers=None, callback_timeout=PATIENCE)
    return {worker: set(map(str, keys)) for worker, keys in found.items()}


def _wait_until_saved(client: Any, event: Any, tasks: set[str]) -> None:
    """Ask the tasks to save their runs, and wait until no worker has one of them."""
    event.set()
    deadline = time.monotonic() + _SAVED_WITHIN
    while time.monotonic() < deadline and any(tasks & keys for keys in _at_work(client).values()):
        time.sleep(_POLL_INTERVAL)
