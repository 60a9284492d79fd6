"""The command ends quietly when a signal tells it to, also while it is being loaded.

Python answers Ctrl-C with a KeyboardInterrupt, whose traceback says where in NumPy's imports it is.
So `minisd` imports this module before all others, and it imports next to nothing itself. In a
program that imports minisd, it does nothing.
"""

import os
import signal
import sys

STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""A terminal that closes sends SIGHUP; Windows has none."""


def leave(number: int, frame: object) -> None:
    """Handle a signal: end the process at once, when there is nothing to save and to say."""
    os._exit(128 + number)


def _is_the_command() -> bool:
    """Whether the ``minisd`` command, or ``python -m minisd``, is importing this."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return program == "-m" or os.path.splitext(program)[0] == "minisd"


if _is_the_command():
    for _number in STOPPING:
        if signal.getsignal(_number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(_number, leave)  # and not if it is ignored, as under nohup


def _raise_once(number: int, frame: object) -> None:
    signal.signal(signal.SIGINT, leave)  # a further one must not interrupt how this one is handled
    raise KeyboardInterrupt


class Interruptible:
    """Inside the ``with`` block, Ctrl-C raises a KeyboardInterrupt, if this is the command."""

    def __enter__(self) -> None:
        self._is_ours = signal.getsignal(signal.SIGINT) is leave
        if self._is_ours:
            signal.signal(signal.SIGINT, _raise_once)

    def __exit__(self, *error: object) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, leave)


def is_over() -> None:
    """Let Ctrl-C do nothing from now on: all is said, and the exit code shall tell of it."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
