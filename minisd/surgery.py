"""Trained networks with blocks taken out, put in another order, or fixed to one sub-network.

Evaluation only. The network is put back together at the end of the ``with`` block.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from minisd.backend import Array
from minisd.layer import Layer
from minisd.models import ResNet
from minisd.residual import IdentityShortcut, ResidualBlock, check_has_parts


class FixedBlock(Layer):
    """ReLU(weight * f(x) + id(x)) with the branch and shortcut of a block.

    Whatever its gate and its survival probability say. With weight 0 the branch is not entered.
    """

    def __init__(self, block: ResidualBlock, weight: float) -> None:
        check_has_parts(block)
        self.block = block
        self.weight = float(weight)

    def forward(self, x: Array) -> Array:  # noqa: D102
        if self.weight:
            return self.block.open_forward(x, self.weight)
        return self.block.closed_forward(x)


@contextmanager
def blocks_replaced(model: ResNet, blocks: Sequence[Layer]) -> Iterator[ResNet]:
    """Let ``blocks`` stand for those of the network, inside the block."""
    before = model.blocks
    model.blocks = list(blocks)  # type: ignore[arg-type]
    try:
        yield model
    finally:
        model.blocks = before


def without(model: ResNet, removed: Iterable[int]) -> list[Layer]:
    """Return the network's blocks, those numbered ``removed`` (from 0) with their shortcut only."""
    gone = set(removed)
    return [FixedBlock(block, 0) if i in gone else block for i, block in enumerate(model.blocks)]


def sub_network(model: ResNet, gates: Sequence[bool]) -> list[Layer]:
    """Return the blocks of the network that trained with these gates: open in full, or closed.

    With ``scale="train"`` an open branch is weighted by 1/p, as it was in training.
    """
    return [
        FixedBlock(block, (1 / block.survival_prob if block.scale == "train" else 1) if gate else 0)
        for block, gate in zip(model.blocks, gates, strict=True)
    ]


def interchangeable(model: ResNet) -> list[list[int]]:
    """Return the numbers of the blocks that may change places: runs of one shape to the same."""
    runs: list[list[int]] = []
    for number, block in enumerate(model.blocks):
        if not isinstance(block.shortcut, IdentityShortcut):
            runs.append([])  # this one changes the shape
            continue
        if not runs:
            runs.append([])
        runs[-1].append(number)
    return [run for run in runs if len(run) > 1]
