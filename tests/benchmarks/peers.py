"""The peers that train in processes of their own, in the order of the table."""

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from minisd.distributed.launch import mpiexec

from .network import Task

INSTALL = {
    "torch": "pip install 'torch==2.13.0' --extra-index-url https://download.pytorch.org/whl/cpu",
    "dezero": "pip install 'dezero==0.0.13'",
    "tensorflow": "pip install tensorflow",
    "jax": "pip install jax",
    "mpi4py": "pip install mpi4py mpich",
    "tinygrad": "pip install tinygrad",  # and a C compiler: see tinygrad_peer.py
}
"""How to have each peer, by the name under which Python imports it."""


CONSTANT, OPEN = ("20", "56", "110"), ("56-open", "110-open")
"""Rows at constant depth, and with other gates in each round. JAX, TensorFlow and tinygrad compile
the network as it stands, and with other gates once more: they take part in the first rows only."""


@dataclass(frozen=True)
class Peer:
    """A contestant that trains the network of a `Task` in a process of its own.

    Attributes
    ----------
    library, form : str
        In tables. Of several forms of one library the fastest is compared.
    package : str
        Without it the peer cannot be measured; empty if it is always there.
    options : dict
        What the task has beside that of the others: at least its ``library``.
    rows : tuple of str
        Those in which it takes part.
    module : str
        What the process runs: it is given the task as JSON, and calls `turns.serve`.
    launcher : tuple of str
        What stands before Python in the command, such as ("mpiexec", "-n", "2").
    """

    library: str
    package: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: tuple[str, ...] = CONSTANT
    module: str = "tests.benchmarks.peer"
    launcher: tuple[str, ...] = ()
    form: str = ""

    @property
    def name(self) -> str:
        return f"{self.library} {self.form}".strip()

    def command(self, task: Task) -> list[str]:
        own = json.dumps(asdict(replace(task, **self.options)))
        return [*self.launcher, sys.executable, "-m", self.module, own]


def torch(order: str) -> Peer:
    options = {"library": "torch", "memory_format": order}
    return Peer("PyTorch", "torch", options, CONSTANT + OPEN, form=order)


def ranks(processes: int) -> Peer:
    """Our own step on several processes, each with one thread."""
    launcher = (mpiexec(), "-n", str(processes))
    return Peer(
        f"{processes} processes", "mpi4py", {"library": "minisd"}, CONSTANT + OPEN,
        "tests.benchmarks.ranks", launcher,
    )  # fmt: skip


OURS = Peer("ours", "", {"library": "minisd"}, CONSTANT + OPEN)
PEERS = (
    torch("channels_last"),
    torch("contiguous"),
    Peer("TensorFlow", "tensorflow", {"library": "tensorflow"}),
    Peer("JAX", "jax", {"library": "jax"}),
    Peer("tinygrad", "tinygrad", {"library": "tinygrad"}, ("20",)),  # it takes seconds a step
)
