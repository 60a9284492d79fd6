"""Writing a file so that at every moment there is a whole one: the old, or the new."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def aside_name(name: str) -> str:
    """The name under which a file is written before it gets its own; a kill may leave it behind."""
    return f".{name}.part"


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, then rename it to ``path``.

    Killed at any moment, or out of space, this leaves what was there before.

    Raises
    ------
    OSError
        If it could not be written; nothing half-written stays behind.
    """
    aside = path.with_name(aside_name(path.name))
    try:
        with open(aside, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    _flush_folder(path.parent)


def append_durably(path: Path, text: str) -> None:
    """Append lines to a file, so that they survive a power cut. A kill may cut the last one."""
    with open(path, "ab") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file that was appended to, without one that a kill has cut."""
    *lines, _ = path.read_text().split("\n")
    return lines


def _flush_folder(folder: Path) -> None:
    """Make the renaming itself durable, where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
