"""Writing a file so that there is always a whole one, and so that nobody else's is ever replaced.

All that minisd writes goes through here. Nothing but a regular file is ever replaced: neither a
folder nor a link, and what a link leads to is not touched either. In a folder that is not
minisd's own, the caller says how its files are known, and another's file of the same name is left
as it is.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

_T = TypeVar("_T")


_TRIES, _PAUSE = (50 if os.name == "nt" else 1), 0.02
"""On Windows a file cannot be replaced while it is read, nor read at the moment it is replaced."""


def patiently(action: Callable[[], _T]) -> _T:
    """Return ``action()``. On Windows, wait up to a second for another process to close the file.

    Raises
    ------
    OSError
        As the action does in the end.
    """
    for _ in range(_TRIES - 1):
        try:
            return action()
        except PermissionError:
            time.sleep(_PAUSE)
    return action()


def aside_name(name: str) -> str:
    """Return the temporary name of a file being written. A kill may leave such a file behind."""
    return f".{name}.minisd.part"  # a name that nobody else uses


def check_ours(path: Path, is_ours: Callable[[bytes], bool] | None = None) -> None:
    """Raise a FileExistsError if ``path`` has something that may not be replaced.

    Parameters
    ----------
    is_ours : function of the bytes of a file, optional
        Whether minisd wrote them. Default: every regular file of this name is minisd's.
    """
    if path.is_symlink():
        raise FileExistsError(f"{path} is a link, which is not replaced: put a file in its place")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is not a file: move it away")
    if is_ours is not None and path.exists() and not is_ours(patiently(path.read_bytes)):
        raise FileExistsError(
            f"{path} is not as minisd writes it and is not replaced: move it away"
        )


def write_atomically(
    path: str | Path,
    write: Callable[[IO[bytes]], object],
    *,
    is_ours: Callable[[bytes], bool] | None = None,
) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, then rename it to ``path``.

    If the process is killed or the disk is full, the file that was there before is unchanged.

    Raises
    ------
    OSError
        If the file could not be written. No half-written file stays behind. A FileExistsError if
        what is there is not ours (`check_ours`).
    """
    path = Path(path)
    check_ours(path, is_ours)
    aside = path.with_name(aside_name(path.name))
    try:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()  # left by a kill
        with open(aside, "xb") as stream:  # "x": never through a link
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        patiently(lambda: os.replace(aside, path))
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


def _flush_folder(folder: Path) -> None:
    """Flush the renaming itself to the disk, where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
