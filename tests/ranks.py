"""Processes under ``mpiexec``: start them, see how they end, and what they leave."""

import importlib.util
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

FAULTY = Path(__file__).with_name("faulty_rank.py")
BOUND = 60
"""Seconds after which a command that has not ended is taken to hang."""


def mpiexec() -> str:
    """The launcher, that of this environment first; "" if there is none."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("mpiexec", path=beside) or shutil.which("mpiexec") or ""


def why_no_mpi() -> str:
    """Why tests with several processes cannot run here; empty if they can."""
    if not Path("/proc/self/environ").exists():
        return "without /proc nothing can be known of what processes leave"
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    return "" if mpiexec() else "there is no mpiexec"


def under_mpiexec(processes: int, faults: str) -> list[str]:
    """The command line, without the arguments of ``minisd``."""
    return [mpiexec(), "-n", str(processes), sys.executable, str(FAULTY), faults]


@dataclass
class Ended:
    """How a command has ended."""

    code: int
    out: str
    err: str
    seconds: float
    """From the start."""
    at: float
    """The time of day, as that of a file."""

    @property
    def said(self) -> list[str]:
        """Lines of minisd itself on standard error: those of MPICH may stand beside them."""
        return [line for line in self.err.splitlines() if re.match(r"minisd: |SIG[A-Z]+: ", line)]


class Ranks:
    """A command on several processes.

    Parameters
    ----------
    arguments : of any type
        Those of ``minisd``.
    faults : str
        What happens to which rank: calls of functions of `faulty_rank`.
    line : list, optional
        Another command than ``mpiexec`` with `faulty_rank`; it is followed by the arguments.
    options : of `subprocess.Popen`
    """

    running: ClassVar[list[Self]] = []
    """Those that were started, and whose end nobody has seen."""

    def __init__(
        self,
        *arguments: Any,
        processes: int = 2,
        faults: str = "",
        line: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._mark = f"MINISD_RANKS={uuid.uuid4().hex}"  # all that come from it inherit that
        line = under_mpiexec(processes, faults) if line is None else line
        pipe = subprocess.PIPE
        self.running.append(self)
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            [*line, *map(str, arguments)],
            env={**os.environ, **(environment or {}), **dict([self._mark.split("=")])},
            **{"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True} | options,
        )

    def end(self) -> Ended:
        """Wait for the end; assert that it comes, and that a moment later no process is left."""
        hangs, out, err = False, "", ""
        try:
            out, err = self.process.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            hangs = True
        seconds, at = time.monotonic() - self._started, time.time()
        left = self.living() if hangs else self._left()
        self.kill()
        if hangs:
            _, err = self.process.communicate()
        self.running.remove(self)
        assert not hangs, f"it hangs, with the processes {sorted(left)}; it said {err}"
        assert not left, f"processes are left: {sorted(left)}"
        return Ended(self.process.returncode, out or "", err or "", seconds, at)

    def next_line(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr is not None
        there, _, _ = select.select([self.process.stderr], [], [], BOUND)
        assert there, "nothing was said"
        return self.process.stderr.readline()

    def kill(self) -> None:
        """End all processes that are left."""
        for number in self.living():
            os.kill(number, signal.SIGKILL)

    def living(self) -> dict[int, bytes]:
        """The processes that came from this command, with their environments."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes()
            except OSError:  # it has just ended, or is another user's
                continue
            if self._mark.encode() in environment:
                found[int(path.parent.name)] = environment
        return found

    def number_of(self, rank: int) -> int:
        """The process number of a rank, as MPICH tells it to the ranks."""
        (number,) = (n for n, has in self.living().items() if b"PMI_RANK=%d\0" % rank in has)
        return number

    def _left(self) -> dict[int, bytes]:
        deadline = time.monotonic() + 5
        while (left := self.living()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


def arrived(file: Path) -> int:
    """Wait until a process says that it is here; return its number."""
    deadline = time.monotonic() + BOUND
    while not file.exists():
        assert time.monotonic() < deadline, f"nobody wrote {file}"
        time.sleep(0.01)
    return int(file.read_text())
