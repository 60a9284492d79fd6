"""What a group of ranks is asked for. A group of one does nothing."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

from minisd.backend import Array
from minisd.errors import UserError

T = TypeVar("T")
Message = tuple[Any, ...]
"""Arrays and numbers. Every rank gives as many, of the same shapes and dtypes."""


class RankLost(Exception):
    """Another rank has ended, so that no sum can be completed."""


class Group:
    """One process alone, and the face of all groups.

    Attributes
    ----------
    rank : int
        The number of this member, from 0.
    size : int
        The number of members.
    speaks : bool
        Whether it is this member that says how all have ended: the first that has something to say.
    messages, bytes : int
        How often this member has called `gather` and `add`, and how many bytes it gave to them.
    """

    rank = 0
    size = 1
    speaks = True

    def __init__(self) -> None:
        self.messages = self.bytes = 0

    def __deepcopy__(self, memo: Any) -> Self:
        """A copy of a network has the same group."""
        return self

    # ---- sums ----

    def gather(self, mine: Message) -> list[Message]:
        """Return what every member gave, in the order of ranks: the same list for all.

        Who adds up such a list gets the same bits on every rank.
        """
        return [mine]

    def add(self, array: Array) -> Array:
        """Return the sum over all members of an array (n,): the same bits for all."""
        return array

    def highest(self, number: int) -> int:
        """Return the largest number that a member gave."""
        return max(int(theirs) for (theirs,) in self.gather((number,)))

    def part(self, count: int) -> slice:
        """Return which of ``count`` images are this member's. Parts differ by one image at most."""
        return part_of(count, self.rank, self.size)

    # ---- decisions ----

    def exchange(self, value: Any) -> list[Any]:
        """Return what every member gave: any objects, also large ones. Slower than `gather`."""
        return [value]

    def first(self, do: Callable[[], T]) -> T:
        """Let rank 0 call ``do``; its result is everybody's, and so is its error for the user."""
        result, error = _outcome(do) if self.rank == 0 else (None, None)
        result, told = self.exchange((result, _told(error)))[0]
        _raise(error, told)
        return result

    def together(self, do: Callable[[], T]) -> T:
        """Call ``do`` on every rank. If it raises an error for the user on some, all raise one."""
        result, error = _outcome(do)
        for rank, told in enumerate(self.exchange(_told(error))):
            _raise(error if rank == self.rank else None, told, rank)
        return result

    def ranks_of_this_machine(self) -> list[int]:
        """Return the ranks that share a machine, and so its cores, with this one."""
        return list(range(self.size))

    # ---- the end ----

    def farewell(self, words: str) -> bool:
        """End with an error, whose words are given; return whether all other members end as well.

        One that does not, after a while, waits for a sum that will never be complete: see `abort`.
        """
        return True

    def abort(self, code: int) -> None:
        """End all members at once, with this exit code."""


ALONE = Group()


def _outcome(do: Callable[[], T]) -> tuple[Any, Exception | None]:
    """Call ``do``; return its result, or the error for the user that it has raised.

    That is a `UserError`, one of a file or the disk, or too little memory. Any other error is one
    of the program. It is raised here, and ends all ranks.
    """
    try:
        return do(), None
    except (UserError, OSError, MemoryError) as error:
        return None, error


def _told(error: Exception | None) -> tuple[type, str] | None:
    """Return what the other ranks are told of an error: they make one of the same class."""
    return None if error is None else (type(error), str(error))


def _raise(error: Exception | None, told: tuple[type, str] | None, rank: int = 0) -> None:
    """Raise the error that a rank has told of, on that rank the original."""
    if told is None:
        return
    kind, text = told
    # rank 0 is the process that the user looks at; another one may be on another machine
    raise error or kind(text if rank == 0 else f"on rank {rank}: {text}")


def part_of(count: int, number: int, parts: int) -> slice:
    """Return which of ``count`` things are in this one of so many parts."""
    return slice(count * number // parts, count * (number + 1) // parts)


def sum_in_pairs(arrays: list[Array]) -> Array:
    """Return the sum of arrays, added as in ((a + b) + (c + d)) + ((e + f) + (g + h)).

    For a power of two, neighbours can be added first by one member and the rest by others: the
    order of the additions, and so the result, is the same.
    """
    while len(arrays) > 1:
        pairs = [a + b for a, b in zip(arrays[::2], arrays[1::2], strict=False)]
        arrays = pairs + arrays[len(pairs) * 2 :]
    return arrays[0]


def size_of(message: Message) -> int:
    """Return the bytes in a message: a number takes 8."""
    return sum(getattr(value, "nbytes", 8) for value in message)
