"""Ranks as threads of one process, which meet at a barrier: the mathematics without MPI."""

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from minisd.backend import Array
from minisd.distributed.group import Group, Message, RankLost, size_of, sum_in_pairs

T = TypeVar("T")


class Meeting:
    """Where the threads of one process meet: each brings a value, and each leaves with all values.

    Parameters
    ----------
    size : int
        The number of threads.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._brought: list[Any] = [None] * size
        self._result: Any = None
        self._then: Callable[[list[Any]], Any] = list
        self._error: BaseException | None = None
        self._barrier = threading.Barrier(size, action=self._conclude)

    def _conclude(self) -> None:  # by one thread, while all others wait
        try:
            self._result = self._then(self._brought)
        except BaseException as error:
            self._error = error
            raise

    def bring(self, number: int, value: Any, then: Callable[[list[Any]], Any] = list) -> Any:
        """Wait for all threads, and return ``then`` of what they brought, which one of them calls.

        Nobody comes to the next meeting before all have left this one with their result.

        Raises
        ------
        RankLost
            If a thread has left for good: see `leave`.
        """
        self._brought[number], self._then = value, then
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise RankLost("another rank has ended") from self._error
        return self._result

    def leave(self) -> None:
        """Leave for good, after an error: the others raise `RankLost` instead of waiting."""
        self._barrier.abort()


class ThreadGroup(Group):
    """A member of a group of threads."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        super().__init__()
        self.rank, self.size, self._meeting = rank, meeting.size, meeting

    def gather(self, mine: Message) -> list[Message]:  # noqa: D102
        self.messages += 1
        self.bytes += size_of(mine)
        return self._meeting.bring(self.rank, mine)

    def add(self, array: Array) -> Array:  # noqa: D102
        return sum_in_pairs([theirs for (theirs,) in self.gather((array,))])

    def exchange(self, value: Any) -> list[Any]:  # noqa: D102
        return self._meeting.bring(self.rank, value)


def run_ranks(size: int, work: Callable[[Group], T]) -> list[T]:
    """Call ``work(group)`` on ``size`` threads, the members of one group; return their results.

    Raises
    ------
    BaseException
        The error of the first rank, if one has failed by itself.
    """
    meeting = Meeting(size)
    members = [ThreadGroup(rank, meeting) for rank in range(size)]
    return on_threads(meeting, [partial(work, member) for member in members])


def on_threads(meeting: Meeting, tasks: list[Callable[[], T]]) -> list[T]:
    """Call each task on a thread, the first one on this thread; return their results.

    The threads see the context of the caller, such as its number of threads for an operation.
    """
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException | None] = [None] * len(tasks)

    def run(number: int) -> None:
        try:
            results[number] = tasks[number]()
        except BaseException as error:
            errors[number] = error
            meeting.leave()

    others = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, number), daemon=True)
        for number in range(1, len(tasks))
    ]
    for thread in others:
        thread.start()
    run(0)
    for thread in others:
        thread.join()
    failed = [error for error in errors if error is not None]
    for error in [e for e in failed if not isinstance(e, RankLost)] + failed:
        raise error
    return results
