"""Train many runs at the same time, each in its own process."""

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

_POLL_INTERVAL = 0.2  # seconds between two checks of the processes


def command(config: Config, folder: Path, threads: int, device: str | None) -> list[str]:
    """Return the command that trains or resumes a run, as a person would type it."""
    line = [sys.executable, "-m", "minisd", "train", "--quiet", f"--threads={threads}"]
    if (folder / runfolder.CONFIG).exists():
        line += [f"--device={device}"] if device else []
        line += ["--resume", str(folder), f"--data-dir={config.data_dir}"]
        return [*line, f"--epochs={config.epochs}"]
    line += ["--out", str(folder)]
    for name, value in dataclasses.asdict(config).items():
        option = "--" + name.replace("_", "-")
        if value is None or name == "threads":
            continue
        if name == "survival" and isinstance(value, tuple):
            line.append(f"{option}={','.join(map(str, value))}")
        elif isinstance(value, bool):
            line.append(option if value else f"--no-{option.removeprefix('--')}")
        elif isinstance(value, tuple):
            line += [option, *map(str, value)]
        else:
            line.append(f"{option}={value}")
    return line


def epochs_done(folder: Path) -> int:
    """Return the number of epochs in a run's log."""
    return runfolder.count_epochs(folder)


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

    def is_complete(folder: Path) -> bool:
        return epochs_done(folder) >= jobs[folder].epochs

    waiting = [folder for folder in jobs if not is_complete(folder)]
    report(sum(epochs_done(folder) for folder in jobs))
    threads = max(1, available_cores() // max(1, min(processes, len(waiting))))
    running: dict[Path, subprocess.Popen[bytes]] = {}
    errors: dict[Path, IO[str]] = {}  # what the processes print to standard error
    failures: dict[Path, str] = {}
    in_use: set[Path] = set()
    with ExitStack() as files:
        try:
            while waiting or running:
                for folder in waiting[:]:
                    if len(running) == processes:
                        break
                    if runfolder.is_in_use(folder):
                        if folder not in in_use:
                            say(f"waiting for another process, which is training into {folder}")
                        in_use.add(folder)
                        continue
                    waiting.remove(folder)
                    if folder in in_use and is_complete(folder):
                        continue
                    errors[folder] = files.enter_context(tempfile.TemporaryFile("w+"))
                    running[folder] = _start(
                        command(jobs[folder], folder, threads, device), errors[folder]
                    )
                time.sleep(_POLL_INTERVAL)
                for folder, process in list(running.items()):
                    if process.poll() is not None:
                        _close(running.pop(folder))
                        if process.returncode:
                            last = _last_line(errors[folder]).removeprefix("minisd: ")
                            failures[folder] = last or f"ended with exit code {process.returncode}"
                report(sum(epochs_done(folder) for folder in jobs))
                stop.check()
        except Interrupted:
            for process in running.values():
                _close(process)  # asks it to stop
            for process in running.values():
                process.wait()
            raise
        finally:
            for process in running.values():
                process.kill()
                _close(process)
                process.wait()
    return failures


def _start(line: list[str], errors: IO[str]) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one (`minisd.runs.interrupt.end_with_parent`)."""
    return subprocess.Popen(
        [*line, "--end-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,  # so that Ctrl-C reaches this process only; on Windows:
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe whose end tells a process to stop."""
    assert process.stdin is not None
    process.stdin.close()


def _last_line(stream: IO[str]) -> str:
    stream.seek(0)
    lines = stream.read().strip().splitlines()
    return lines[-1] if lines else ""


def same_run(recorded: dict[str, object], config: Config, besides: tuple[str, ...]) -> str:
    """Return the first setting that differs between ``config.json`` and ``config``, or ""."""
    for name, value in json.loads(json.dumps(dataclasses.asdict(config))).items():
        if name not in besides and recorded.get(name) != value:
            return name
    return ""
