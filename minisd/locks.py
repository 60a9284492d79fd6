"""One process at a time in a folder: a lock of the system, or where it has none, a marked file."""

import contextlib
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from minisd.files import check_ours
from minisd.streams import Stream

_marked: set[str] = set()
"""The marks that this process has made. One with its number may also be an earlier process's."""


class Taken(Exception):
    """Another process has the lock. The message says which one, if that is known."""


def mark_of(path: Path) -> Path:
    """Return the file that stands for the lock ``path`` where the file system has no locks."""
    return path.with_name(path.name + ".held")


def warn(text: str) -> None:
    """Print a line to standard error."""
    print(f"minisd: {text}", file=Stream(sys.stderr), flush=True)


@contextmanager
def locked(path: Path, warn: Callable[[str], None] = warn) -> Iterator[None]:
    """Hold the lock file ``path``. The system releases the lock however the process ends.

    Some network drives have no locks. Then a file beside it, `mark_of`, has the number and the host
    of this process; one that was left by a process of this host that is no more does not count.

    Parameters
    ----------
    warn : function of a str
        Called if there are no locks.

    Raises
    ------
    Taken
        If another process has the lock.
    OSError
        If the file cannot be made.
    """
    check_ours(path)
    lock = FileLock(path, timeout=0)
    with contextlib.ExitStack() as held:
        try:
            with warnings.catch_warnings(record=True, action="always") as caught:
                lock.acquire()
            held.callback(lock.release)
            for each in caught:  # for ENOSYS filelock itself has something that stands for a lock
                warn(f"{path.parent}: {each.message}")
        except Timeout:
            raise Taken from None
        except (OSError, NotImplementedError) as error:
            path.open("ab").close()  # if that fails, it is not for want of locks
            held.enter_context(_marked_file(mark_of(path)))
            warn(
                f"the file system of {path.parent} has no locks ({error}): the file "
                f"{mark_of(path).name} stands for one"
            )
        yield


def is_taken(path: Path) -> bool:
    """Whether another process holds the lock file ``path`` at present."""
    try:
        with locked(path, warn=lambda text: None):
            return False
    except Taken:
        return True
    except OSError:
        return False


@contextmanager
def _marked_file(mark: Path) -> Iterator[None]:
    """Hold a lock by having made the file ``mark``."""
    me = f"{os.getpid()} {socket.gethostname()}"
    _remove_stale(mark, me)
    try:
        stream = mark.open("x")
    except FileExistsError:
        raise Taken(
            f"process {_content(mark) or 'unknown'}; if it is no more, remove {mark}"
        ) from None
    try:
        with stream:
            stream.write(me)
        _marked.add(str(mark))
        yield
    finally:
        _marked.discard(str(mark))
        mark.unlink(missing_ok=True)


def _remove_stale(mark: Path, me: str) -> None:
    """Remove a mark whose process, of this host, is no more."""
    content = _content(mark)
    number, _, host = content.partition(" ")
    if not number.isdigit() or host != me.partition(" ")[2]:
        return
    alive = str(mark) in _marked if content == me else _is_alive(int(number))
    if not alive and _content(mark) == content:
        mark.unlink(missing_ok=True)


def _content(mark: Path) -> str:
    try:
        return mark.read_text().strip()
    except (OSError, ValueError):
        return ""


def _is_alive(number: int) -> bool:
    """Whether there is a process of this number on this host."""
    if os.name != "posix":
        return True  # Windows always has locks; there, asking would end the process
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
