"""Train many runs at the same time, each in its own process."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

from minisd.experiments.process import TrainingProcess, command, epochs_done, is_complete
from minisd.machine import available_cores
from minisd.runs import folder as runfolder
from minisd.runs.config import Config
from minisd.runs.interrupt import Interrupted, StopSignals

IN_USE = "waiting for another process, which is training into {}"
_POLL_INTERVAL = 0.2  # seconds between two checks of the processes


def train_all(
    jobs: dict[Path, Config],
    *,
    processes: int,
    device: str | None = None,
    stop: StopSignals,
    report: Callable[[int], None],
    say: Callable[[str], None] = lambda text: None,
) -> dict[Path, str]:
    """Train the incomplete runs, ``processes`` of them at a time, and wait for all of them.

    The processes share the cores. They end, saved, when this process ends, even if it is killed.
    A run that another process is training is waited for.

    Parameters
    ----------
    jobs : dict
        The settings by folder. An interrupted run in a folder is resumed.
    device : str, optional
        The device for interrupted runs, if it is not the same as before.
    stop : StopSignals
        When a signal arrives, every process saves its run and ends.
    report : function of an int
        Called with the number of epochs that all runs together have done.
    say : function of a str, optional
        Called with a line when a run has to be waited for.

    Returns
    -------
    dict
        Error messages by folder. The other runs are complete.

    Raises
    ------
    Interrupted
        After all runs are saved.
    """

    waiting = [folder for folder in jobs if not is_complete(folder, jobs[folder])]
    report(sum(map(epochs_done, jobs)))
    threads = max(1, available_cores() // max(1, min(processes, len(waiting))))
    running: dict[Path, TrainingProcess] = {}
    failures: dict[Path, str] = {}
    in_use: set[Path] = set()
    try:
        while waiting or running:
            for folder in waiting[:]:
                if len(running) == processes:
                    break
                if runfolder.is_in_use(folder):
                    if folder not in in_use:
                        say(IN_USE.format(folder))
                    in_use.add(folder)
                    continue
                waiting.remove(folder)
                if folder in in_use and is_complete(folder, jobs[folder]):
                    continue
                running[folder] = TrainingProcess(command(jobs[folder], folder, threads, device))
            time.sleep(_POLL_INTERVAL)
            for folder in [folder for folder, process in running.items() if process.has_ended]:
                if failure := running.pop(folder).close():
                    failures[folder] = failure
            report(sum(map(epochs_done, jobs)))
            stop.check()
    except Interrupted:
        for process in running.values():
            process.ask_to_stop()
        for process in running.values():
            process.wait()
        raise
    finally:
        for process in running.values():
            process.close()
    return failures


def same_run(recorded: dict[str, object], config: Config, besides: tuple[str, ...]) -> str:
    """Return the first setting that differs between ``config.json`` and ``config``, or ""."""
    for name, value in json.loads(json.dumps(dataclasses.asdict(config))).items():
        if name not in besides and recorded.get(name) != value:
            return name
    return ""
