"""Turn Ctrl-C, SIGTERM and SIGHUP into an exception at a point where the state can be saved.

So does the end of standard input in a process that another one has started: `end_with_parent`.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from minisd.distributed import ALONE, Group
from minisd.ending import STOPPING

__all__ = ["STOPPING", "Interrupted", "StopSignals", "end_with_parent"]


class Interrupted(Exception):
    """A signal has asked the program to stop.

    Attributes
    ----------
    number : int
        Number of the signal. The command then exits with 128 + number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_parent_has_ended = threading.Event()


def end_with_parent() -> None:
    """Let this process stop, as after SIGTERM, when its standard input ends.

    The other end of that pipe is held by the process that started this one. It closes it to ask
    this one to stop, and the system closes it if it is killed. Windows, too, has pipes, but no
    SIGTERM for other processes.
    """

    def wait() -> None:
        try:
            while os.read(0, 1024):  # not sys.stdin, whose lock would be held at the end
                pass
        except OSError:
            pass
        _parent_has_ended.set()

    threading.Thread(target=wait, daemon=True).start()


class StopSignals:
    """Inside the ``with`` block, a signal waits for the next call of `check`.

    A second Ctrl-C does not wait: it raises KeyboardInterrupt immediately. Python delivers signals
    to the main thread only; in other threads this class does nothing. A signal that was ignored
    before stays ignored.

    Parameters
    ----------
    group : Group
        Ranks that stop together, at the same call of `check`, if one of them is told to.
    """

    def __init__(self, group: Group = ALONE) -> None:
        self.group = group
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def check(self) -> None:
        """Raise `Interrupted` if a signal has arrived, or if the parent has ended."""
        if self.received is None and _parent_has_ended.is_set():
            self.received = signal.SIGTERM
        number = self.group.highest(self.received or 0)
        if number:
            raise Interrupted(number)
