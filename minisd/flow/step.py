"""One step as the device has it, and how it comes to the host; `statistics` goes on from there."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minisd.backend import Array, array_module, is_cupy, to_numpy
from minisd.flow.watch import Look
from minisd.optim import SGD
from minisd.residual import ResidualBlock

RUN = 256
"""Numbers of a parameter that are summed on the device; the host adds up those sums."""


class Tensors:
    """The parameters, laid end to end, each filled up with zeros to whole runs of `RUN` numbers.

    So that a statistic of all of them is one operation, however many there are. The numbers of one
    stand in the order of memory: sums do not mind, and a gradient is often a transposed view.
    """

    def __init__(self, optimizer: SGD, blocks: list[ResidualBlock]) -> None:
        self.names = list(optimizer.parameters)
        self.parameters = list(optimizer.parameters.values())
        self.sizes = np.array([parameter.data.size for parameter in self.parameters])
        runs = -(-self.sizes // RUN)
        self.first_runs = np.cumsum(runs) - runs
        of_block = {
            id(parameter): number
            for number, block in enumerate(blocks)
            for _, parameter in block.branch.parameters()
        }
        self.block = np.array([of_block.get(id(parameter), -1) for parameter in self.parameters])
        """Whose branch each parameter is in; -1: none's."""

    def weights(self) -> Array:
        """Return the numbers of all parameters (runs, RUN)."""
        return self._joined([parameter.data for parameter in self.parameters])

    def grads(self) -> Array:
        """Return the numbers of all gradients (runs, RUN), 0 for those that are None."""
        return self._joined([parameter.grad for parameter in self.parameters])

    def _joined(self, arrays: list[Array | None]) -> Array:
        like = self.parameters[0].data
        xp = array_module(like)
        zeros = xp.zeros(int(self.sizes.max()) + RUN, like.dtype)
        pieces = []
        for size, array in zip(self.sizes.tolist(), arrays, strict=True):
            pieces.append(zeros[:size] if array is None else array.ravel(order="K"))
            pieces.append(zeros[: -size % RUN])
        return xp.concatenate(pieces).reshape(-1, RUN)


@dataclass
class Step:
    """One step."""

    number: int
    lr: float
    loss: Any
    reached: np.ndarray
    """Which parameters have a gradient."""
    blocks: list[Look]
    sums: list[Array]
    """By runs: of |g|; max |g|; of (g / `scales`)^2; of w^2; of the update's squares."""

    def arrays(self) -> list[Array]:
        """Return all that has to come to the host."""
        seen = [array for block in self.blocks for array in block.arrays.values()]
        return self.sums + seen + ([self.loss.reshape(1)] if is_cupy(self.loss) else [])

    def take(self, copies: list[np.ndarray]) -> None:
        """Put the host's copies in the place of `arrays`."""
        rest = iter(copies)
        self.sums = [next(rest) for _ in self.sums]
        for block in self.blocks:
            block.arrays = {what: next(rest) for what in block.arrays}
        if is_cupy(self.loss):
            self.loss = float(next(rest)[0])


def scales(largest: Array) -> Array:
    """Return what numbers up to ``largest`` are divided by before they are squared."""
    xp = array_module(largest)
    return xp.where(xp.isfinite(largest) & (largest > 0), largest, 1)


def sums_of_squares(runs: Array) -> Array:
    """Return the sum of the squares of every run (runs, RUN) to (runs,)."""
    return array_module(runs).einsum("ij,ij->i", runs, runs)


def to_host(arrays: list[Array]) -> list[np.ndarray]:
    """Return host copies; of a GPU's arrays in one transfer."""
    if not arrays or array_module(*arrays) is np:
        return arrays
    together = to_numpy(array_module(*arrays).concatenate([array.reshape(-1) for array in arrays]))
    ends = np.cumsum([array.size for array in arrays]).tolist()
    return [
        together[end - array.size : end].reshape(array.shape)
        for array, end in zip(arrays, ends, strict=True)
    ]
