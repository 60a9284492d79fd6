"""A rank of ``minisd`` to which something happens at a chosen moment; `ranks.Ranks` starts it.

    mpiexec -n 2 python tests/faulty_rank.py 'at(STEP, 9, kill("here"), rank=1)' train ...

Actions write the number of this process into a file first, so that a test knows that it is here.
"""
# ruff: noqa: E402

import errno
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.argv[0] = "minisd"  # so that `minisd.ending` takes this process for the command

import numpy as np

from minisd import cli
from minisd.distributed import mpi  # noqa: F401 (named by tests)
from minisd.distributed.launch import launcher_rank
from minisd.files import aside_name
from minisd.runs import in_folder
from minisd.runs.interrupt import StopSignals
from ranks import BOUND
from tiny_runs import die, watch_writing

Action = Callable[..., Any]

# functions before whose call something can happen: where, and the name
SET_UP = "minisd.runs.run", "resnet"
STEP = "minisd.runs.fit", "train_step"
FORWARD = "minisd.models:ResNet", "forward"
LOSS = "minisd.train", "whole_loss"
EVALUATION = "minisd.train", "mistakes"
RECORDING = "minisd.flow.file:RecordFile", "append"

signals: list[int] = []
"""Those that training has been told of."""


def at(place: tuple[str, str], call: int, action: Action, rank: int) -> None:
    """Let ``action`` come before the call of that number at a place, on one rank.

    It is given the arguments of the call, and may return others.
    """
    if rank != launcher_rank():
        return
    owner, name = pkgutil.resolve_name(place[0]), place[1]
    original, calls = getattr(owner, name), 0

    def instead(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            arguments = action(*arguments, **named) or arguments
        return original(*arguments, **named)

    setattr(owner, name, instead)


def at_writing(file: str, number: int, action: Action) -> None:
    """Let ``action`` come on rank 0 when a half of ``file`` is written for the n-th time."""
    written = 0

    def tick(what: str, name: str) -> None:
        nonlocal written
        written += (what, name) == ("after", file)
        if (what, name) == ("write", aside_name(file)) and written == number - 1:
            action()

    if launcher_rank() == 0:
        watch_writing(tick)


def at_once(action: Action, rank: int) -> None:
    """Let ``action`` come before the command begins, on one rank."""
    if rank == launcher_rank():
        action()


def here(file: str, do: Callable[[], Any]) -> Action:
    """Say that this process is here, in a file that is whole as soon as it is there."""

    def action(*_: Any, **__: Any) -> None:
        aside = Path(f"{file}.part")
        aside.write_text(str(os.getpid()))
        aside.replace(file)
        do()

    return action


def wait(file: str) -> Action:
    """Wait until training is told of a signal."""

    def until_told() -> None:
        while not signals:
            time.sleep(0.01)

    return here(file, until_told)


def stop(file: str) -> Action:
    """Stop as Ctrl-Z does it, until somebody lets this process go on."""
    return here(file, lambda: os.kill(os.getpid(), signal.SIGSTOP))


def sleep(file: str) -> Action:
    return here(file, lambda: time.sleep(BOUND))


def kill(file: str) -> Action:
    return here(file, die)


def error(raised: BaseException) -> Action:
    def action(*_: Any, **__: Any) -> None:
        raise raised

    return action


NO_MEMORY = error(MemoryError("Unable to allocate 5.00 GiB"))
FAULT = error(ZeroDivisionError("a fault of the program"))
DISK_FULL = error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def spoil_images(model: Any, optimizer: Any, images: Any, *_: Any, **__: Any) -> None:
    images[-1] = np.nan


def spoil_filters(model: Any, *_: Any, **__: Any) -> None:
    _, filters = next(iter(model.blocks[1].branch.parameters()))
    filters.data[...] = np.nan


def spoil_loss(loss: float, *others: Any) -> tuple[Any, ...]:
    return np.nan, *others


def hide(package: str) -> None:
    """Let a package seem not to be installed."""
    sys.modules[package] = None  # type: ignore[assignment]


def main(faults: str) -> int:
    """Run the command with what is to happen; no learning curve is drawn, to be quick."""
    receive = StopSignals._receive

    def noted(self: StopSignals, number: int, frame: Any) -> None:
        signals.append(number)
        receive(self, number, frame)

    StopSignals._receive = noted  # type: ignore[method-assign]
    in_folder._draw = lambda *_: None
    exec(faults, globals())
    return cli.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv.pop(1)))
