"""A temporary folder on the disk where files will be, and moving them from there into place."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from minisd.errors import DataError
from minisd.files import write_atomically

_MARK = "made-by-minisd"  # a file in each temporary folder: only such a folder is ever removed


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Say which folder cannot be written. Errors without a number are not the system's."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise DataError(
            f"{folder} cannot be filled ({error.strerror}): "
            f"{'free some space, or ' if full else ''}choose another --data-dir; no partial file "
            "was kept"
        ) from error


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder ``path``, locked for this process, and remove it at the end."""
    lock_file = path.with_suffix(".lock")
    if os.path.lexists(lock_file) and (lock_file.is_symlink() or lock_file.stat().st_size):
        raise DataError(f"{lock_file} was not made by minisd: move it away")
    lock = FileLock(lock_file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"another process is fetching into {path.parent}: wait for it") from None
    try:
        _clear(path)
        path.mkdir()
        try:
            (path / _MARK).touch()
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock_file)  # while it is locked, so that nobody else's is unlinked
        lock.release()


def _clear(path: Path) -> None:
    """Remove the folder that a killed download has left; refuse to remove any other."""
    if not os.path.lexists(path):
        return
    is_folder = path.is_dir() and not path.is_symlink()
    if not is_folder or (any(path.iterdir()) and not (path / _MARK).exists()):
        raise DataError(f"{path} was not made by minisd: move it away")
    shutil.rmtree(path)


def move(path: Path, target: Path) -> None:
    """Move a file, also to another disk: at the target there is the whole file, or none."""
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the folder may be a disk of its own
            raise
        with open(path, "rb") as stream:
            write_atomically(target, lambda out: shutil.copyfileobj(stream, out))
