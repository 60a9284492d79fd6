"""The folder of one run: who may write into it, and the small files in it.

config.json      settings, what follows from them, seed and versions
log.jsonl        one line per epoch
checkpoint.npz   everything needed to go on, and the best weights (`minisd.runs.checkpoint`)
curve.png        the learning curve
flow.jsonl       what `minisd.flow` recorded, if it was asked for
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minisd.errors import RunFolderError
from minisd.files import aside_name, write_atomically
from minisd.flow.records import FLOW

CONFIG, LOG, CHECKPOINT, CURVE = "config.json", "log.jsonl", "checkpoint.npz", "curve.png"
_FILES = {CONFIG, LOG, CHECKPOINT, CURVE, FLOW}
_LOCK = ".lock"
_TRACES = {_LOCK} | {aside_name(name) for name in _FILES}  # what a run killed early may leave


def free_name(parent: Path, stem: str) -> Path:
    """Return the first of ``parent/stem-1``, ``-2``, ... that does not exist."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def check_free(path: Path, *, force: bool) -> None:
    """Raise a RunFolderError unless a new run may go to ``path``. Changes nothing.

    With ``force`` an earlier run there may be replaced; a folder of other things may not.
    """
    try:
        present = {entry.name for entry in path.iterdir()} - _TRACES if path.exists() else set()
    except NotADirectoryError:
        raise RunFolderError(f"{path} is a file, not a folder: choose another --out") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    others = present - _FILES
    if others:
        raise RunFolderError(
            f"{path} has other files in it, such as {min(others)}: choose a new folder for --out"
        )
    if present and not force:
        raise RunFolderError(
            f"{path} has a run in it: go on with --resume {shlex.quote(str(path))}, replace it "
            "with --force, or choose another --out"
        )
    nearest = path
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise RunFolderError(f"{path} cannot be made: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunFolderError(f"{path} cannot be written: no permission to write in {nearest}")


@contextmanager
def claim(path: Path, *, create: bool) -> Iterator[Path]:
    """Hold ``path`` for this process alone; the system lets go of it however the process ends.

    Raises
    ------
    RunFolderError
        If another process trains there, or the folder is missing or cannot be written.
    """
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True)
        elif path.is_file():
            raise RunFolderError(f"{path} is a file: give the run's folder")
        elif not path.is_dir():
            raise RunFolderError(f"there is no run folder {path}")
        elif not (path / CONFIG).exists():
            raise RunFolderError(f"{path} is not a run folder: there is no {CONFIG} in it")
        lock = FileLock(path / _LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another process is training into {path}") from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(f"{path} cannot be written: {error}") from error
    try:
        yield path
    finally:
        lock.release()


def clear(path: Path) -> None:
    """Remove an earlier run's files, and only those."""
    for name in _FILES | _TRACES - {_LOCK}:
        (path / name).unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, indented."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_log(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the log whole: as many lines as epochs, and never half a line."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in history)
    write_atomically(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object; raise a RunFolderError if it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        what = "is not a run folder: there is no" if path.parent.is_dir() else "does not exist: no"
        raise RunFolderError(f"{path.parent} {what} {path.name} in it") from None
    except NotADirectoryError:
        raise RunFolderError(f"{path.parent} is a file: give the run's folder") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object")
    return content
