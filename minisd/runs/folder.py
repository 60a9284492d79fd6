"""The folder of one run: which process may write into it, and the small files in it.

config.json      the settings and what follows from them, seed and versions
log.jsonl        one line per epoch
checkpoint.npz   everything needed to resume, and the best weights (`minisd.runs.checkpoint`)
curve.png        the learning curve
flow.jsonl       the recorded gradient flow (`minisd.flow`), if asked for
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
from minisd.readers import Kind, json_object
from minisd.runs.position import check_row

CONFIG, LOG, CHECKPOINT, CURVE = "config.json", "log.jsonl", "checkpoint.npz", "curve.png"
_FILES = {CONFIG, LOG, CHECKPOINT, CURVE, FLOW}
_LOCK = ".lock"
_COUNTS = ("num_blocks", "training_images", "test_images", "steps_per_epoch")
_TRACES = {_LOCK} | {aside_name(name) for name in _FILES}  # may be left by a killed run

SETTINGS = Kind(
    "the settings of a run",
    RunFolderError,
    if_missing="give the folder of a run",
    if_damaged="take the file from a backup, or train the run again into another folder",
)
TABLE = Kind(
    "the log of a run",
    RunFolderError,
    if_missing="give the folder of a run",
    if_damaged="move it away, and 'minisd train --resume' writes it again",
)


def free_name(parent: Path, stem: str) -> Path:
    """Return the first of ``parent/stem-1``, ``-2``, ... that does not exist."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def check_free(path: Path, *, force: bool) -> None:
    """Raise a RunFolderError unless a new run may use the folder ``path``. Changes nothing.

    With ``force``, the folder may have an earlier run in it. Other files are never allowed.
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
            f"{path} contains other files, such as {min(others)}: choose a new folder for --out"
        )
    if present and not force:
        raise RunFolderError(
            f"{path} contains a run: continue it with --resume {shlex.quote(str(path))}, replace "
            "it with --force, or choose another --out"
        )
    nearest = path
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise RunFolderError(f"{path} cannot be created: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunFolderError(f"{path} cannot be written: no permission to write in {nearest}")


@contextmanager
def claim(path: Path, *, create: bool) -> Iterator[Path]:
    """Lock ``path`` for this process. The system releases the lock however the process ends.

    Raises
    ------
    RunFolderError
        If another process trains there, or the folder is missing or cannot be written.
    """
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True)
        elif path.is_file():
            raise RunFolderError(f"{path} is a file: give the folder of a run")
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
    """Remove the files of an earlier run, and nothing else."""
    for name in _FILES | _TRACES - {_LOCK}:
        (path / name).unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, indented."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_log(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the whole log, one line per epoch. A kill never leaves half a line."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in history)
    write_atomically(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object; raise a RunFolderError if it is missing or damaged."""
    if not path.parent.exists():
        raise RunFolderError(f"there is no run folder {path.parent}")
    if path.parent.is_file():
        raise RunFolderError(f"{path.parent} is a file: give the folder of a run")
    if not os.path.lexists(path):
        raise RunFolderError(f"{path.parent} is not a run folder: there is no {path.name} in it")
    with SETTINGS.reading(path) as file:
        return file.json()


def read_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a run, with the counts that were resolved in it."""
    path = folder / CONFIG
    content = read_json(path)
    with SETTINGS.checking(path):
        for name in _COUNTS:
            if type(content["resolved"][name]) is not int or content["resolved"][name] < 1:
                raise ValueError(f"{name} is {content['resolved'][name]!r}, not a whole number > 0")
    return content


def read_log(folder: Path, steps_per_epoch: int) -> list[dict[str, Any]]:
    """Read the log: one row per epoch, in order; raise a RunFolderError if it is damaged."""
    with TABLE.reading(folder / LOG) as file:
        return file.rows(
            lambda line, before: check_row(json_object(line), len(before) + 1, steps_per_epoch)
        )


def count_epochs(folder: Path) -> int:
    """Return the number of rows in the log, also while another process writes it."""
    try:
        with TABLE.reading(folder / LOG) as file:
            return file.bytes().count(b"\n")
    except RunFolderError:  # not there yet
        return 0
