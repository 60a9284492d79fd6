"""What a worker of Dask does in a sweep: one training at a time, in a process of its own.

`minisd.experiments.sweep` is the other side.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from minisd.experiments.process import TrainingProcess, command
from minisd.runs import folder as runfolder
from minisd.runs.config import Config
from minisd.version import __version__

COMPLETE, FAILED, STOPPED, IN_USE, UNFIT = "complete", "failed", "stopped", "in use", "unfit"
"""How a task may end."""
_POLL_INTERVAL = 0.2  # seconds between two looks at the process and the worker
_ASK_INTERVAL = 1.0  # seconds between two questions to the scheduler
_PATIENCE = 10.0  # seconds to wait for a process that saves its run and ends


def train_here(
    config: Config, folder: Path, where: Path, device: str | None, stop: str, version: str
) -> tuple[str, str]:
    """Train or resume a run on this worker, with as many threads as the worker has.

    Parameters
    ----------
    folder : path
        Absolute: the folder of the run.
    where : path
        The folder in which the sweep was started: other paths are relative to it.
    stop : str
        The name of an event. When it is set, the run is saved, and the task ends.
    version : str
        Of minisd, where the sweep was started.

    Returns
    -------
    how : str
        `COMPLETE`, or why not: `FAILED`; `STOPPED`, because of the event, or because this worker is
        to end; `IN_USE`, because another process trains into the folder; `UNFIT`, because no run
        can be trained on this worker.
    message : str
        What failed, or what the worker lacks.
    """
    from distributed import get_worker

    worker = get_worker()
    if version != __version__:
        return UNFIT, f"it has minisd {__version__}, and the sweep {version}"
    if not where.is_dir():
        return UNFIT, f"{where}, where the sweep was started, does not exist on it"
    asked = _Asked(worker, stop)
    deadline = time.monotonic() + _PATIENCE
    while runfolder.is_in_use(folder):  # perhaps by a training whose worker was killed
        if asked() or time.monotonic() > deadline:
            return (STOPPED if asked() else IN_USE), ""
        time.sleep(_POLL_INTERVAL)
    if asked():
        return STOPPED, ""
    process = TrainingProcess(command(config, folder, worker.state.nthreads, device), where)
    try:
        while not process.has_ended and not asked():
            time.sleep(_POLL_INTERVAL)
    finally:  # whatever happened here, it may save its run
        process.ask_to_stop()
        process.wait()
        failure = process.close()
    if not failure:
        return COMPLETE, ""
    if process.was_stopped:
        return STOPPED, ""
    return (IN_USE, "") if runfolder.is_in_use(folder) else (FAILED, failure)


class _Asked:
    """Whether a task is to save its run and to end."""

    def __init__(self, worker: Any, stop: str) -> None:
        from distributed import Event, Status

        self._at_work = (Status.running, Status.paused)
        self._worker, self._event = worker, Event(stop)
        self._task: Any = worker.state.tasks[worker.get_current_task()]
        self._is_set, self._next = False, 0.0

    def __call__(self) -> bool:
        """The sweep asks, or the worker is about to end, or nobody wants the task any more."""
        is_wanted = self._task.state == "executing"  # not if the sweep's own process was killed
        if self._worker.status not in self._at_work or not is_wanted:
            return True
        if not self._is_set and time.monotonic() >= self._next:
            with suppress(Exception):  # the scheduler was lost: the worker notices it as well
                self._is_set = self._event.is_set()
            self._next = time.monotonic() + _ASK_INTERVAL
        return self._is_set
