"""Writing a file so that there is always a whole one: the old file or the new one."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def aside_name(name: str) -> str:
    """Return the temporary name of a file being written. A kill may leave such a file behind."""
    return f".{name}.part"


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, then rename it to ``path``.

    If the process is killed or the disk is full, the file that was there before is unchanged.

    Raises
    ------
    OSError
        If the file could not be written. No half-written file stays behind.
    """
    path = Path(path)
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
    """Append lines to a file so that they survive a power cut. A kill may cut the last line."""
    with open(path, "ab") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def whole_lines(path: Path) -> list[str]:
    """Return the complete lines of a file: a last line that was cut by a kill is left out."""
    *lines, _ = path.read_text().split("\n")
    return lines


def _flush_folder(folder: Path) -> None:
    """Flush the renaming itself to the disk, where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
