"""Many training runs at once, each in a process of its own."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from minisd.machine import available_cores
from minisd.runs import folder as runfolder
from minisd.runs.config import Config
from minisd.runs.interrupt import Interrupted, StopSignals

_LOOK = 0.2  # seconds between looks at the processes


def command(config: Config, folder: Path, threads: int, device: str | None) -> list[str]:
    """Return the command that trains a run, or goes on with it: what a person would type."""
    line = [sys.executable, "-m", "minisd", "train", "--quiet", f"--threads={threads}"]
    if (folder / runfolder.CONFIG).exists():
        line += [f"--device={device}"] if device else []
        return [*line, "--resume", str(folder), f"--data-dir={config.data_dir}"]
    line += ["--out", str(folder)]
    for name, value in dataclasses.asdict(config).items():
        option = "--" + name.replace("_", "-")
        if value is None or name == "threads":
            continue
        if isinstance(value, bool):
            line.append(option if value else f"--no-{option.removeprefix('--')}")
        elif isinstance(value, tuple):
            line += [option, *map(str, value)]
        else:
            line.append(f"{option}={value}")
    return line


def epochs_done(folder: Path) -> int:
    """Return how many epochs a run's log has."""
    try:
        return (folder / runfolder.LOG).read_bytes().count(b"\n")
    except OSError:
        return 0


def train_all(
    jobs: dict[Path, Config],
    *,
    processes: int,
    device: str | None = None,
    stop: StopSignals,
    report: Callable[[int], None],
) -> dict[Path, str]:
    """Train runs that are not complete yet, ``processes`` at a time, and wait for all of them.

    The cores are shared out among the processes.

    Parameters
    ----------
    jobs : dict
        The settings by folder. An interrupted run in a folder is gone on with.
    device : str, optional
        Where an interrupted run goes on, if not where it was.
    stop : StopSignals
        When a signal comes, every process saves its run and ends.
    report : function of an int
        Told how many epochs all runs together have done.

    Returns
    -------
    dict
        What went wrong, by folder; the other runs are complete.

    Raises
    ------
    Interrupted
        When all are saved.
    """
    waiting = [folder for folder in jobs if epochs_done(folder) < jobs[folder].epochs]
    report(sum(epochs_done(folder) for folder in jobs))
    threads = max(1, available_cores() // max(1, min(processes, len(waiting))))
    running: dict[Path, subprocess.Popen[bytes]] = {}
    said: dict[Path, IO[str]] = {}
    failures: dict[Path, str] = {}
    with ExitStack() as files:
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    folder = waiting.pop(0)
                    said[folder] = files.enter_context(tempfile.TemporaryFile("w+"))
                    running[folder] = subprocess.Popen(
                        command(jobs[folder], folder, threads, device),
                        stdout=subprocess.DEVNULL,
                        stderr=said[folder],
                        start_new_session=True,  # Ctrl-C reaches us alone, and we tell them
                    )
                time.sleep(_LOOK)
                for folder, process in list(running.items()):
                    if process.poll() is not None:
                        del running[folder]
                        if process.returncode:
                            last = _last_line(said[folder]).removeprefix("minisd: ")
                            failures[folder] = last or f"ended with exit code {process.returncode}"
                report(sum(epochs_done(folder) for folder in jobs))
                stop.check()
        except Interrupted:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
            raise
        finally:
            for process in running.values():
                if process.poll() is None:
                    process.kill()
    return failures


def _last_line(stream: IO[str]) -> str:
    stream.seek(0)
    lines = stream.read().strip().splitlines()
    return lines[-1] if lines else ""


def same_run(recorded: dict[str, object], config: Config, besides: tuple[str, ...]) -> str:
    """Return the first setting in which a run's ``config.json`` differs from ``config``, or ""."""
    for name, value in json.loads(json.dumps(dataclasses.asdict(config))).items():
        if name not in besides and recorded.get(name) != value:
            return name
    return ""
