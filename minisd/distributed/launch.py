"""Starting ranks, and finding out whether this process is one."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from minisd.distributed.group import ALONE, Group
from minisd.ending import STOPPING
from minisd.errors import ConfigError, MissingPackageError

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Environment variables in which MPICH, Open MPI, MVAPICH and srun tell how many they started."""
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")
_RANKS_OF_MACHINE = (
    *("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    "SLURM_LOCALID",
)
_NEEDED = (
    "several processes need mpi4py and an MPI library: install 'minisd[mpich]', or 'minisd[mpi]' "
    "beside the MPI of a cluster"
)

_joined: Group = ALONE


def started_with() -> int:
    """Return how many processes the launcher has started, this one among them; 1 without one."""
    for name in _SIZES:
        size = os.environ.get(name, "")
        if size.isdecimal() and int(size) > 1:
            return int(size)
    return 1


def launcher_rank() -> int:
    """Return the rank that the launcher has given to this process; 0 without one."""
    return _number_in(_RANKS)


def is_first_of_its_machine() -> bool:
    """Whether this is the process that speaks for its machine before it has joined the others."""
    return _number_in(_RANKS_OF_MACHINE) == 0


def _number_in(names: Sequence[str]) -> int:
    there = [os.environ[name] for name in names if os.environ.get(name, "").isdecimal()]
    return int(there[0]) if there and started_with() > 1 else 0


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that is no rank, though this one may be one.

    Under ``srun`` that may be a worker of Dask, which starts trainings of its own.
    """
    return {name: value for name, value in environment.items() if name not in _SIZES}


def join() -> Group:
    """Return the group of the processes that ``mpiexec`` has started; without it, `ALONE`.

    Raises
    ------
    UserError
        If mpi4py is not there, or finds another MPI than that of the launcher.
    """
    global _joined
    expected = started_with()
    if expected == 1 or _joined.size > 1:
        return _joined
    try:
        with _ended_by_signals():
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # without a library it is a RuntimeError
        raise MissingPackageError(f"{_NEEDED} ({str(error).splitlines()[0]})") from error
    if MPI.COMM_WORLD.Get_size() != expected:
        library = MPI.Get_library_version().splitlines()[0]
        raise ConfigError(
            f"the launcher has started {expected} processes, but MPI sees "
            f"{MPI.COMM_WORLD.Get_size()}: mpi4py uses {library}; start with the mpiexec of that "
            "library"
        )
    from minisd.distributed.mpi import MPIGroup

    _joined = MPIGroup(MPI.COMM_WORLD)
    sys.excepthook = _end_all
    return _joined


def _end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say which error ends this rank, and end the others, or they would wait for it for ever.

    The ``minisd`` command does that itself; this is for programs.
    """
    words = "".join(traceback.format_exception(kind, error, trace)).rstrip()
    others_end = _joined.farewell(words)
    if _joined.speaks or not others_end:
        print(words, file=sys.stderr, flush=True)
    if not others_end:
        _joined.abort(1)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside the block, let a signal end this process at once.

    The import of MPI waits for all ranks. It does so in C, where no handler of Python's runs: if
    one rank is told to end before it comes, the others would wait for ever.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def joined() -> Group:
    """Return the group that `join` has returned; `ALONE` before."""
    return _joined


def mpiexec() -> str:
    """Return the path of ``mpiexec``.

    That of an environment's own wheel comes first: mpi4py finds the library of the same wheel.

    Raises
    ------
    MissingPackageError
        If there is none.
    """
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which("mpiexec", path=beside_python) or shutil.which("mpiexec")
    if found is None:
        raise MissingPackageError(f"there is no mpiexec: {_NEEDED}")
    return found


def start(processes: int, arguments: Sequence[str]) -> NoReturn:
    """Become ``mpiexec -n processes minisd arguments``: this process ends here.

    So signals reach ``mpiexec`` itself, which passes them on to the ranks.

    Raises
    ------
    UserError
        If there is no ``mpiexec``.
    """
    launcher = mpiexec()
    command = [launcher, "-n", str(processes), sys.executable, "-m", "minisd", *arguments]
    if os.name == "nt":  # where a process cannot become another one
        sys.exit(subprocess.call(command))
    os.execv(launcher, command)


def described(group: Group, threads: int) -> list[str]:
    """Return lines about the ranks, for ``minisd info``: where each is, its cores, its threads."""
    if group.size == 1:
        return [f"mpi       {_library()}"]
    affinity = getattr(os, "sched_getaffinity", None)
    cores = _in_ranges(sorted(affinity(0))) if affinity else "any"
    mine = f"{platform.node()}, bound to cores {cores}, {threads} thread{'s' * (threads > 1)}"
    return [
        f"mpi       {_library()}, {group.size} processes",
        *(f"rank {rank:<4} {theirs}" for rank, theirs in enumerate(group.exchange(mine))),
    ]


def _library() -> str:
    """Return the name and version of mpi4py and its library, without starting MPI."""
    try:
        import mpi4py

        mpi4py.rc.initialize = _joined is not ALONE
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return f"not usable: {str(error).splitlines()[0]} (extra 'mpich' or 'mpi')"
    lines = MPI.Get_library_version().splitlines()
    return f"mpi4py {mpi4py.__version__}, {' '.join(lines[0].split())}"


def _in_ranges(numbers: list[int]) -> str:
    """Return sorted numbers as in "0-3,8"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if a < b else str(a) for a, b in runs)


def threads_per_rank(group: Group, cores: int) -> int:
    """Return how many threads each rank uses: its cores, divided by the ranks that share them.

    A launcher may bind every rank to cores of its own. Then they share none.

    Parameters
    ----------
    cores : int
        `minisd.machine.available_cores` of this process.
    """
    return max(1, cores // ranks_that_share_cores(group))


def ranks_that_share_cores(group: Group) -> int:
    """Return how many ranks share cores with this one, itself among them. All ranks call this.

    They are on the same machine, and the launcher has not bound them to cores of their own.
    """
    if group.size == 1:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    mask = frozenset(affinity(0)) if affinity else frozenset()
    ranks = set(group.ranks_of_this_machine())
    masks = [theirs for r, theirs in enumerate(group.exchange(mask)) if r in ranks]
    return sum(bool(theirs & mask) or not mask for theirs in masks)
