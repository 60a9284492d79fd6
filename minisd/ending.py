"""The command ends quietly when a signal tells it to, also while it is being loaded.

Python answers Ctrl-C with a KeyboardInterrupt, whose traceback says where in NumPy's imports it is.
So `minisd` imports this module before all others. In a program that imports minisd, this does
nothing.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType

STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""A terminal that closes sends SIGHUP; Windows has none."""


def leave(number: int, frame: FrameType | None) -> None:
    """Handle a signal: end the process at once, when there is nothing to save and to say."""
    os._exit(128 + number)


def _raise_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, leave)  # a further one must not interrupt how this one is handled
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise a KeyboardInterrupt inside the ``with`` block, if this is the command."""
    ours = signal.getsignal(signal.SIGINT) is leave
    if ours:
        signal.signal(signal.SIGINT, _raise_once)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, leave)


def is_over() -> None:
    """Let Ctrl-C do nothing from now on: all is said, and the exit code shall tell of it."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_the_command() -> bool:
    """Whether the ``minisd`` command, or ``python -m minisd``, is importing this."""
    return sys.argv[:1] == ["-m"] or PurePath(*sys.argv[:1]).stem == "minisd"


if _is_the_command():
    for _number in STOPPING:
        if signal.getsignal(_number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(_number, leave)  # and not if it is ignored, as under nohup
