"""The same bits with any number of processes.

Floating point sums depend on the order of additions, and so on the number of parts: training on 2
processes rounds differently from training on 1. Here the batch is cut into a fixed number of shards
V, a power of two, whatever the number of processes R. Each process computes V / R shards, on
threads, and sums are taken in the order of the shards. It costs time, above all alone, where each
operation sees small parts.
"""

from typing import Any

from minisd.backend import Array
from minisd.distributed.group import Group, Message, size_of, sum_in_pairs
from minisd.distributed.in_threads import Meeting
from minisd.errors import ConfigError


class ShardedGroup(Group):
    """A process that carries several shards of each batch.

    For everything but the sums of a step, it is the group of processes.

    Attributes
    ----------
    num_shards : int
        V, those of all processes together.
    carried : int
        Those of this process, V / R.
    """

    def __init__(self, processes: Group, num_shards: int) -> None:
        if num_shards < 1 or num_shards & (num_shards - 1):
            raise ConfigError(f"shards must be a power of two, such as 4, got {num_shards}")
        if num_shards % processes.size:
            raise ConfigError(
                f"{num_shards} shards cannot be shared out evenly among {processes.size} "
                "processes: their number must divide it"
            )
        super().__init__()
        self.processes, self.num_shards = processes, num_shards
        self.rank, self.size = processes.rank, processes.size
        self.carried = num_shards // processes.size

    def gather(self, mine: Message) -> list[Message]:  # noqa: D102
        return self.processes.gather(mine)

    def add(self, array: Array) -> Array:  # noqa: D102
        return self.processes.add(array)

    def exchange(self, value: Any) -> list[Any]:  # noqa: D102
        return self.processes.exchange(value)

    def ranks_of_this_machine(self) -> list[int]:  # noqa: D102
        return self.processes.ranks_of_this_machine()

    def farewell(self, words: str) -> bool:  # noqa: D102
        others_end = self.processes.farewell(words)
        self.speaks = self.processes.speaks
        return others_end

    def abort(self, code: int) -> None:  # noqa: D102
        self.processes.abort(code)

    def part(self, count: int) -> slice:
        """Return which images are this process's: those of its shards."""
        first = self.rank * self.carried
        return slice(
            count * first // self.num_shards, count * (first + self.carried) // self.num_shards
        )

    def members(self, meeting: Meeting) -> list["Shard"]:
        """Return a group member for each shard of this process."""
        return [Shard(self, number, meeting) for number in range(self.carried)]


class Shard(Group):
    """A shard as a member of the group of all shards, in all processes."""

    def __init__(self, of: ShardedGroup, number: int, meeting: Meeting) -> None:
        super().__init__()
        self.rank, self.size = of.rank * of.carried + number, of.num_shards
        self._of, self._number, self._meeting = of, number, meeting

    def gather(self, mine: Message) -> list[Message]:  # noqa: D102
        def of_all(here: list[Message]) -> list[Message]:
            """Send those of this process in one message."""
            length = len(here[0])
            joined = self._of.gather(tuple(value for message in here for value in message))
            return [
                message[at : at + length]
                for message in joined
                for at in range(0, len(message), length)
            ]

        self.messages += 1
        self.bytes += size_of(mine)
        return self._meeting.bring(self._number, mine, of_all)

    def exchange(self, value: Any) -> list[Any]:  # noqa: D102
        def of_all(here: list[Any]) -> list[Any]:
            return [theirs for process in self._of.exchange(here) for theirs in process]

        return self._meeting.bring(self._number, value, of_all)

    def add(self, array: Array) -> Array:  # noqa: D102
        def of_all(here: list[Array]) -> Array:
            return self._of.add(sum_in_pairs(here))

        self.messages += 1
        self.bytes += array.nbytes
        return self._meeting.bring(self._number, array, of_all)
