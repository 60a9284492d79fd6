"""A pool of worker threads: see `minisd.machine`.

`concurrent.futures` does this and much more. With it an operation took about 30 microseconds
longer, and a training step, which has about a hundred of them, 2 to 4 %.
"""

import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue


class Task:
    """A task for a worker thread; the caller may cancel it until it has started."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._context = contextvars.copy_context()  # NumPy's error state is part of it
        self._started = threading.Lock()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(self) -> None:
        """Do the work, on a worker's thread, unless it was cancelled."""
        if not self._started.acquire(blocking=False):
            return
        try:
            self._context.run(self._work)
        except BaseException as error:
            self._ended.put(error)
        else:
            self._ended.put(None)

    def wait(self) -> BaseException | None:
        """Wait for its end if it has started, else cancel it; return its error, or None."""
        if self._started.acquire(blocking=False):
            del self._work  # and its arrays: the task may stay in the queue for long
            return None
        return self._ended.get()


class _Pool:
    """Worker threads, and the queue of their tasks."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.growing = threading.Lock()

    def grow(self, size: int) -> None:
        """Start threads until there are ``size``."""
        with self.growing:
            for number in range(len(self.threads), size):
                thread = threading.Thread(target=self.serve, name=f"minisd_{number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending: the caller does all the work
                    return
                self.threads.append(thread)

    def serve(self) -> None:
        while (task := self.tasks.get()) is not None:
            task.run()
            del task  # or it would hold its arrays while this thread waits


_pool = _Pool()


def start(work: Callable[[], None], workers: int) -> Task:
    """Let one of at least ``workers`` threads call ``work``, in the present context.

    All may be busy with tasks of other threads of the program, or none may be there while `release`
    ends them. So the caller does the work as well, and calls `Task.wait` when nothing is left to
    do.
    """
    pool = _pool
    if len(pool.threads) < workers:
        pool.grow(workers)
    task = Task(work)
    pool.tasks.put(task)
    return task


def release() -> None:
    """End the worker threads; the next `start` makes new ones."""
    pool = _pool
    forget()
    for _ in pool.threads:
        pool.tasks.put(None)
    for thread in pool.threads:
        thread.join()


def forget() -> None:
    """Begin without workers: in a forked child their threads do not exist."""
    global _pool
    _pool = _Pool()
