"""The values of one step on the device, and their transfer to the host, for `statistics`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minisd.backend import Array, array_module, is_cupy, to_numpy
from minisd.flow.watch import Look
from minisd.optim import Optimizer
from minisd.residual import ResidualBlock

RUN = 256
"""Length of a run: the device sums each run of so many numbers, and the host adds up those sums."""


class Tensors:
    """The parameters in one array, each padded with zeros to whole runs of `RUN` numbers.

    So a statistic of all parameters is a single operation. The numbers of a parameter are in memory
    order, because a gradient is often a transposed view. The order makes no difference to sums.
    """

    def __init__(self, optimizer: Optimizer, blocks: list[ResidualBlock]) -> None:
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
        """The number of the block whose branch has the parameter; -1: no block's."""

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
    """What is recorded of one step."""

    number: int
    lr: float
    loss: Any
    reached: np.ndarray
    """Whether each parameter has a gradient."""
    blocks: list[Look]
    sums: list[Array]
    """For each run: sum |g|; max |g|; sum (g / `scales`)^2; sum w^2; sum (w' - w)^2."""
    own: dict[str, Array]
    """Quantities of one's own: see `minisd.flow.also`."""

    def arrays(self) -> list[Array]:
        """Return all arrays that are needed on the host."""
        moments = [array for block in self.blocks for array in block.arrays.values()]
        own = [array for array in self.own.values() if is_cupy(array)]
        return self.sums + moments + own + ([self.loss.reshape(1)] if is_cupy(self.loss) else [])

    def take(self, copies: list[np.ndarray]) -> None:
        """Replace `arrays` by their copies on the host."""
        remaining = iter(copies)
        self.sums = [next(remaining) for _ in self.sums]
        for block in self.blocks:
            block.arrays = {what: next(remaining) for what in block.arrays}
        self.own = {
            name: next(remaining) if is_cupy(array) else array for name, array in self.own.items()
        }
        if is_cupy(self.loss):
            self.loss = float(next(remaining)[0])


def scales(largest: Array) -> Array:
    """Return the divisors of numbers up to ``largest``, applied before they are squared."""
    xp = array_module(largest)
    return xp.where(xp.isfinite(largest) & (largest > 0), largest, 1)


def sums_of_squares(runs: Array) -> Array:
    """Return the sum of the squares of each run: (runs, RUN) to (runs,)."""
    return array_module(runs).einsum("ij,ij->i", runs, runs)


def to_host(arrays: list[Array]) -> list[np.ndarray]:
    """Return the arrays on the host. Those of a GPU are copied in one transfer."""
    if not arrays or array_module(*arrays) is np:
        return arrays
    packed = to_numpy(array_module(*arrays).concatenate([array.reshape(-1) for array in arrays]))
    ends = np.cumsum([array.size for array in arrays]).tolist()
    return [
        packed[end - array.size : end].reshape(array.shape)
        for array, end in zip(arrays, ends, strict=True)
    ]
