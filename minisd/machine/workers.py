"""Threads that wait to be asked for help: see `minisd.machine.slabs`.

`concurrent.futures` does this and much more. With it an operation took some 30 microseconds longer,
and a training step, which has some hundred of them, 2 to 4 %.
"""

import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue


class Help:
    """Work that a worker shares in; until one has begun, who asked can take it back."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._context = contextvars.copy_context()  # NumPy's error state is part of it
        self._begun = threading.Lock()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def begin(self) -> None:
        """Do the work, on a worker's thread."""
        if not self._begun.acquire(blocking=False):
            return  # taken back
        try:
            self._context.run(self._work)
        except BaseException as error:
            self._ended.put(error)
        else:
            self._ended.put(None)

    def end(self) -> BaseException | None:
        """Wait for the end if it has begun, else take it back; return what was raised, or None."""
        if self._begun.acquire(blocking=False):
            del self._work  # and with it the arrays that it holds: all workers may be busy for long
            return None
        return self._ended.get()


class _Team:
    """Workers, and what they are asked for."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[Help | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.growing = threading.Lock()

    def grow(self, size: int) -> None:
        """Begin threads until there are ``size``."""
        with self.growing:
            for number in range(len(self.threads), size):
                thread = threading.Thread(target=self.serve, name=f"minisd_{number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending: who asks does all the work alone
                    return
                self.threads.append(thread)

    def serve(self) -> None:
        while (request := self.asked.get()) is not None:
            request.begin()
            del request  # or it would hold its arrays while this thread waits


_team = _Team()


def ask(work: Callable[[], None], workers: int) -> Help:
    """Have one of at least so many workers call ``work`` in the present context.

    It may be busy with what other threads of the program ask, or there may be none (while `release`
    ends them): so whoever asks does the work as well, and calls `Help.end` when there is no more.
    """
    team = _team
    if len(team.threads) < workers:
        team.grow(workers)
    asked = Help(work)
    team.asked.put(asked)
    return asked


def release() -> None:
    """End the workers; who asks from now on gets new ones."""
    team = _team
    forget()
    for _ in team.threads:
        team.asked.put(None)
    for thread in team.threads:
        thread.join()


def forget() -> None:
    """Begin without workers: in a forked child their threads do not exist."""
    global _team
    _team = _Team()
