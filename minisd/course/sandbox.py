"""Starting the student's process, asking it with a deadline, and ending it with all it started."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from minisd.course import worker
from minisd.course.checks import Failure, Student
from minisd.errors import UserError

LEVELS = {
    3: "a process of another user or in a container, without files and network",
    2: "a process that can read the libraries only, and has no network",
    1: "a process with limits of time and memory, which can read your files",
}

_PATIENCE = {"load": 2, "confine": 4, "count": 12}
"""How many times longer than a call these may take."""


class Sandbox(Student):
    """A student's file, loaded in a process of its own.

    Parameters
    ----------
    source : str
        The student's file.
    given, again, helpers : str
        See `minisd.course.worker.Worker.load`.
    staged : list of path
        Folders of modules that the task allows.
    seconds_per_call, memory_mb : float, int
        Limits. A call that takes longer ends the process.
    user : str, optional
        The user that the process runs as; only root can choose.

    Attributes
    ----------
    level : int
        How far the process is isolated: one of `LEVELS`.
    has_waited : bool
        Whether a call that took too long was made again.
    """

    def __init__(
        self,
        source: str,
        *,
        given: str = "",
        again: str = "",
        helpers: str = "",
        staged: tuple[Path, ...] = (),
        seconds_per_call: float = 5,
        memory_mb: int = 512,
        user: str | None = None,
    ) -> None:
        super().__init__()
        if os.name != "posix":
            raise UserError("student code is run on Linux or macOS only; on Windows, use WSL")
        self._load = {"source": source, "given": given, "again": again, "helpers": helpers}
        self._staged = [str(path) for path in staged]
        self._seconds = seconds_per_call
        self._memory = memory_mb
        self._user = user
        self._folder = Path(tempfile.mkdtemp(prefix="minisd-course-"))
        self.level = 1
        self.has_waited = False
        self._start()

    def _start(self) -> None:
        self._is_ended = False
        to_worker, self._to = os.pipe()
        self._from, from_worker = os.pipe()
        numbers = (to_worker, from_worker)
        folder = self._folder / "empty"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        environment = {
            "PATH": os.defpath,
            "TMPDIR": str(folder),
            "HOME": str(folder),
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        as_user: dict[str, Any] = {}
        if self._user is not None:
            self._folder.chmod(0o711)
            as_user = _as_user(self._user)
            os.chown(folder, as_user["user"], as_user["group"])
        with open(self._folder / "output", "wb") as output, _in_words(self._user):
            self._process = subprocess.Popen(
                [sys.executable, "-I", worker.__file__, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                pass_fds=numbers,
                start_new_session=True,
                **as_user,
            )
        for number in numbers:
            os.close(number)
        library, arrays = os.path.dirname(os.__file__), os.path.dirname(np.__file__)
        limits = {
            "staged": self._staged,
            "readable": [
                *(library, arrays, arrays + ".libs", "/usr/lib", "/lib", "/lib64"),
                *("/dev/null", "/dev/urandom", *self._staged),
            ],
            "resources": {
                "AS": self._memory * 2**20,
                "FSIZE": 2**16,
                "NOFILE": 64,
                "CORE": 0,
                "CPU": 600,
                "NPROC": 0,
            },
        }
        given_up = self.ask("confine", limits=limits)
        self.level = 2 if {"files", "network"} <= set(given_up) else 1
        self.level += self._user is not None and self.level == 2
        try:
            self.ask("load", **self._load)
        except Failure as failure:  # each later call fails in the same way
            self.broken = failure

    def again(self) -> None:
        """Start a fresh process with the same file: nothing is remembered."""
        self._end()
        self.broken = None
        self._start()

    # ---- frames ----

    def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the process, and wait for its answer, but not for ever."""
        if self.broken:
            raise self.broken
        if self._process.poll() is not None:
            raise Failure("Ended")
        request = {"do": do, "with": arguments}
        deadline = time.monotonic() + self._seconds * _PATIENCE.get(do, 1)
        try:
            self._write(worker.pack(request), deadline)
            text, raw = worker.read_length(self._read(8, deadline))
            answer = worker.unpack(self._read(text, deadline), self._read(raw, deadline))
        except TimeoutError:
            self._end()
            raise Failure("Timeout") from None
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            self._end()
            raise Failure("Ended") from None
        if self._is_flooded():
            self._end()
            raise Failure("TooMuchOutput")
        if "error" in answer:
            name = str(answer["error"])  # of a class, which may be the student's
            raise Failure(name if name.isidentifier() else "Exception", answer["line"])
        return answer["ok"]

    def _write(self, frame: bytes, deadline: float) -> None:
        os.set_blocking(self._to, False)
        view = memoryview(frame)
        while view:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [self._to], [], left)[1]:
                raise TimeoutError
            view = view[os.write(self._to, view) :]

    def _read(self, size: int, deadline: float) -> bytes:
        parts = []
        while size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError
            part = os.read(self._from, min(size, 2**20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _is_flooded(self) -> bool:
        """Whether the student's code has written more than 64 kB of output or of files."""
        files = [self._folder / "output", *self._folder.glob("empty/**/*")]
        return len(files) > 50 or sum(f.lstat().st_size for f in files if f.exists()) > 2**16

    # ---- the end ----

    def _end(self) -> None:
        if self._is_ended:  # its numbers of pipes and process may be others' by now
            return
        self._is_ended = True
        for number in (self._to, self._from):
            os.close(number)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and all that it has started, and remove its folder."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_user(name: str) -> dict[str, Any]:
    """Return how a process is started as another user; raise a UserError if it cannot be."""
    import pwd

    if os.geteuid() != 0:
        raise UserError(f"only root can run student code as {name}: run this as root, or without")
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise UserError(f"this machine has no user {name!r}: add one, or name another") from error
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _in_words(user: str | None) -> Iterator[None]:
    """Say what is wrong if another user cannot start Python."""
    try:
        yield
    except PermissionError as error:
        if user is None:
            raise
        raise UserError(
            f"{user} cannot run {sys.executable}: install Python and minisd where other users can "
            "read them"
        ) from error
