"""One training run in a process of its own: its command, how far it is, and how it ended."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from minisd.distributed import launch
from minisd.ending import STOPPING
from minisd.runs import folder as runfolder
from minisd.runs.config import Config


def command(config: Config, folder: Path, threads: int | None, device: str | None) -> list[str]:
    """Return the command that trains or resumes a run, as a person would type it.

    The folder is its last word. Without ``threads`` the run uses the cores that it finds.
    """
    line = [sys.executable, "-m", "minisd", "train", "--quiet"]
    line += [] if threads is None else [f"--threads={threads}"]
    if (folder / runfolder.CONFIG).exists():
        line += [f"--device={device}"] if device else []
        line += [f"--data-dir={config.data_dir}", f"--epochs={config.epochs}"]
        return [*line, "--resume", str(folder)]
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
    return [*line, "--out", str(folder)]


def epochs_done(folder: Path) -> int:
    """Return the number of epochs in a run's log."""
    return runfolder.count_epochs(folder)


def is_complete(folder: Path, config: Config) -> bool:
    """Whether a run has all its epochs."""
    return epochs_done(folder) >= config.epochs


class TrainingProcess:
    """A process that trains. It ends, saved, with the process that has started it.

    Parameters
    ----------
    line : list of str
        The `command`.
    where : path, optional
        The folder in which the command is given.
    """

    def __init__(self, line: list[str], where: Path | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # until `close`
        try:
            self._process = subprocess.Popen(
                [*line, "--end-with-parent"],  # see `minisd.runs.interrupt.end_with_parent`
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                cwd=where,
                env=launch.alone(os.environ),
                start_new_session=True,  # so that Ctrl-C reaches the parent only; on Windows:
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except BaseException:
            self._errors.close()
            raise

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    @property
    def was_stopped(self) -> bool:
        """Whether it has ended because it was asked to, by `ask_to_stop` or a signal."""
        return self._process.returncode in [128 + number for number in STOPPING]

    def ask_to_stop(self) -> None:
        """Let it save and end, by closing the pipe that it watches."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def close(self) -> str:
        """Kill it, unless it has ended. Return why it failed: "" if it did not."""
        self._process.kill()
        self.ask_to_stop()
        self.wait()
        with self._errors:
            if not self._process.returncode:
                return ""
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
        last = lines[-1].removeprefix("minisd: ") if lines else ""
        return last or f"ended with exit code {self._process.returncode}"
