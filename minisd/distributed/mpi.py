"""Ranks as processes, over MPI.

Arrays of a GPU go through the host: right, but slow.
"""

import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisd.backend import Array, beside, to_numpy
from minisd.distributed.group import Group, Message, part_of, size_of, sum_in_pairs
from minisd.streams import Stream

PATIENCE = 60.0
"""Seconds after which a rank says that it is waiting for the others."""
FAREWELL = 3.0
"""Seconds that a rank waits, when it ends with an error, for the others to end with it."""
HEARD = 0.2
"""Seconds in which the launcher passes on what a rank has said. Whoever ends all ranks waits so
long, because after that it passes on nothing more."""


class MPIGroup(Group):
    """The processes that ``mpiexec`` has started.

    Parameters
    ----------
    world : mpi4py communicator
    """

    def __init__(self, world: Any) -> None:
        super().__init__()
        self.rank, self.size = world.Get_rank(), world.Get_size()
        self._world = world.Dup()
        self._farewells = world.Dup()  # whoever ends may have left a sum of the others incomplete
        self._waiting_since: float | None = None
        if self.rank < 2:  # if one of these two is itself the one who is missing, the other says so
            threading.Thread(target=self._watch, daemon=True).start()

    # ---- sums ----

    def gather(self, mine: Message) -> list[Message]:  # noqa: D102
        packed = b"".join([_packed(value) for value in mine])
        received = bytearray(len(packed) * self.size)
        with self._waiting():
            self._world.Allgather(packed, received)
        self.messages += 1
        self.bytes += size_of(mine)
        return [_unpacked(received, rank * len(packed), mine) for rank in range(self.size)]

    def add(self, array: Array) -> Array:
        """Return the sum over all members of an array (n,): the same bits for all.

        Every rank adds up a part of the array, in the order of ranks, and all gather the parts.
        MPI's own sum may add in any order, and need not give all ranks the same bits.
        """
        mine = np.ascontiguousarray(to_numpy(array))
        parts = [part_of(len(mine), rank, self.size) for rank in range(self.size)]
        lengths = [part.stop - part.start for part in parts]
        starts = [part.start for part in parts]
        own = lengths[self.rank]
        theirs = np.empty((self.size, own), mine.dtype)
        total = np.empty_like(mine)
        kind = mine.dtype.char
        with self._waiting():
            self._world.Alltoallv(
                [mine, (lengths, starts), kind],
                [theirs, ([own] * self.size, [own * r for r in range(self.size)]), kind],
            )
        summed = sum_in_pairs(list(theirs))
        with self._waiting():
            self._world.Allgatherv([summed, own, kind], [total, (lengths, starts), kind])
        self.messages += 1
        self.bytes += mine.nbytes
        return beside(total, array)

    # ---- decisions ----

    def exchange(self, value: Any) -> list[Any]:  # noqa: D102
        with self._waiting():
            return self._world.allgather(value)

    def ranks_of_this_machine(self) -> list[int]:  # noqa: D102
        from mpi4py import MPI

        here = self._world.Split_type(MPI.COMM_TYPE_SHARED)
        ranks: list[int] = here.allgather(self.rank)
        here.Free()
        return ranks

    # ---- the end ----

    def farewell(self, words: str) -> bool:  # noqa: D102
        mine = np.array([bool(words)])
        with_words = np.empty((self.size, 1), bool)
        request = self._farewells.Iallgather(mine, with_words)
        ends = time.monotonic() + FAREWELL
        while not request.Test():
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        self.speaks = bool(with_words.any()) and int(with_words.argmax()) == self.rank
        if with_words.any() and not self.speaks:
            time.sleep(HEARD)  # a program's own end may be an abort
        return True

    def abort(self, code: int) -> None:
        """End all members at once, with this exit code. The command has said why: MPI need not."""
        time.sleep(HEARD)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        self._world.Abort(code)

    # ---- waiting ----

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _watch(self) -> None:
        """Say, once for each time, that this rank has waited for long. Nobody else could."""
        said: float | None = None
        while True:
            time.sleep(min(1.0, PATIENCE / 4))
            since = self._waiting_since
            if since is not None and since != said and time.monotonic() - since > PATIENCE:
                said = since
                print(
                    f"minisd: rank {self.rank} of {self.size} has waited {PATIENCE:g} seconds for "
                    "the others: is one of them stopped? It goes on as soon as they do",
                    file=Stream(sys.stderr),
                    flush=True,
                )


def _packed(value: Any) -> bytes:
    if isinstance(value, int | np.integer):
        return struct.pack("=q", value)
    if isinstance(value, float):
        return struct.pack("=d", value)
    return to_numpy(value).tobytes()


def _unpacked(buffer: bytearray, at: int, like: Message) -> Message:
    """Return the values that begin at byte ``at``, of the kinds that ``like`` has."""
    values: list[Any] = []
    for value in like:
        if isinstance(value, int | np.integer | float):
            code = "=d" if isinstance(value, float) else "=q"
            values.append(struct.unpack_from(code, buffer, at)[0])
            at += 8
        else:
            array = np.frombuffer(buffer, value.dtype, value.size, at).reshape(value.shape)
            values.append(beside(array, value))
            at += array.nbytes
    return tuple(values)
