"""The folder of one run: which process may write into it, and the small files in it.

config.json      the settings and what follows from them, where the run came from, and versions
log.jsonl        one line per epoch
checkpoint.npz   everything needed to resume, and the best weights (`minisd.runs.checkpoint`)
curve.png        the learning curve
flow.jsonl       the recorded gradient flow (`minisd.flow`), if asked for
"""

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minisd.errors import CheckpointError, RunFolderError
from minisd.files import aside_name, write_atomically
from minisd.flow.records import FLOW
from minisd.locks import Taken, is_taken, locked, mark_of
from minisd.readers import Kind, json_object
from minisd.runs import checkpoint
from minisd.runs.position import check_row

CONFIG, LOG, CHECKPOINT, CURVE = "config.json", "log.jsonl", "checkpoint.npz", "curve.png"
_FILES = {CONFIG, LOG, CHECKPOINT, CURVE, FLOW}
NOT_SETTINGS = ("resolved", "origin", "versions")
"""What ``config.json`` has besides the settings."""
_LOCK = ".lock"
_LOCKS = {_LOCK, mark_of(Path(_LOCK)).name}
_COUNTS = ("num_blocks", "training_images", "test_images", "steps_per_epoch")
_MAY_BE_NONE = ("num_blocks", "test_images")  # of a network and images of the user's own
_TRACES = _LOCKS | {aside_name(name) for name in _FILES}  # may be left by a killed run

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
    while os.path.lexists(parent / f"{stem}-{number}"):  # also a link to nowhere
        number += 1
    return parent / f"{stem}-{number}"


@contextmanager
def new_folder(parent: Path, stem: str) -> Iterator[Path]:
    """Make the folder of the first free name; at the end, remove it if nothing was written there.

    Of several processes that do so at once, each has a folder of its own.

    Raises
    ------
    RunFolderError
        If it cannot be made.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = free_name(parent, stem)
            try:
                path.mkdir()
                break
            except FileExistsError:  # another process was faster
                continue
    except OSError as error:
        raise RunFolderError(
            f"{parent} cannot have a folder for the run ({error.strerror}): choose one with --out"
        ) from error
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # not empty: it has the run
            for folder in (path, *made):
                folder.rmdir()


def is_run(path: Path) -> bool:
    """Whether minisd wrote the run in a folder: its settings say so, or else its checkpoint."""
    try:
        recorded = read_json(path / CONFIG)
    except RunFolderError:  # missing or damaged
        with contextlib.suppress(CheckpointError):
            return "config" in checkpoint.load(path / CHECKPOINT)[1]
        return False
    versions = recorded.get("versions")
    return isinstance(versions, dict) and "minisd" in versions


def is_there(path: Path) -> bool:
    """Whether a folder has a run of minisd that could go on."""
    return (path / CONFIG).exists() and is_run(path)


def check_free(path: Path, *, force: bool) -> None:
    """Raise a RunFolderError unless a new run may use the folder ``path``. Changes nothing.

    With ``force``, the folder may have an earlier run in it, if minisd wrote that. Other files, and
    links in place of the files of a run, are never allowed.
    """
    try:
        entries = list(path.iterdir()) if path.exists() else []
        files = {entry.name for entry in entries if entry.is_file() and not entry.is_symlink()}
    except NotADirectoryError:
        raise RunFolderError(f"{path} is a file, not a folder: choose another --out") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    others = {entry.name for entry in entries} - (files & (_FILES | _TRACES))
    if others:
        raise RunFolderError(
            f"{path} contains other files, such as {min(others)}: choose a new folder for --out"
        )
    present = files - _TRACES
    if present and not is_run(path):
        raise RunFolderError(
            f"{path} contains {min(present)}, but not a run that minisd wrote, or a damaged one: "
            "move it away, or choose another --out"
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
    held = contextlib.ExitStack()
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True)
        elif path.is_file():
            raise RunFolderError(f"{path} is a file: give the folder of a run")
        elif not path.is_dir():
            raise RunFolderError(f"there is no run folder {path}")
        elif not (path / CONFIG).exists():
            raise RunFolderError(f"{path} is not a run folder: there is no {CONFIG} in it")
        held.enter_context(locked(path / _LOCK))
    except Taken as taken:
        who = f" ({taken})" if str(taken) else ""
        raise RunFolderError(f"another process is training into {path}{who}") from None
    except OSError as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(f"{path} cannot be written: {error}") from error
    with held:
        yield path


def is_in_use(path: Path) -> bool:
    """Whether another process is training into a run's folder."""
    return path.is_dir() and is_taken(path / _LOCK)


def clear_free(path: Path, *, force: bool) -> None:
    """Call `check_free`, and remove the files of an earlier run, and nothing else.

    Its settings stay until new ones replace them: so a kill leaves a folder that is known as ours.
    """
    check_free(path, force=force)
    for name in (_FILES | _TRACES) - _LOCKS - {CONFIG}:
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
        of_fit = content.get("made_by") == "minisd.fit"
        for name in _COUNTS:
            count, lowest = content["resolved"][name], int(not (of_fit and name in _MAY_BE_NONE))
            if type(count) is not int or count < lowest:
                raise ValueError(f"{name} is {count!r}, not a whole number of at least {lowest}")
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
