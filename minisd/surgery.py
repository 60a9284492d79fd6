"""Trained networks with blocks removed, in another order, or fixed to one sub-network.

For evaluation only. At the end of the ``with`` block the network is as before.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from minisd.backend import Array
from minisd.layer import Layer
from minisd.models import ResNet
from minisd.ops.check import number
from minisd.residual import IdentityShortcut, ResidualBlock, check_has_parts
from minisd.stochastic_depth import check_gates


class FixedBlock(Layer):
    """ReLU(weight * f(x) + id(x)) with the branch and shortcut of a block.

    The gate and the survival probability of the block are ignored. With weight 0, the branch does
    not run.
    """

    def __init__(self, block: ResidualBlock, weight: float) -> None:
        check_has_parts(block)
        self.block = block
        self.weight = number("a branch's weight", weight, "[0, inf)")

    def forward(self, x: Array) -> Array:  # noqa: D102
        if self.weight:
            return self.block.open_forward(x, self.weight)
        return self.block.closed_forward(x)


@contextmanager
def blocks_replaced(model: ResNet, blocks: Sequence[Layer]) -> Iterator[ResNet]:
    """Replace the blocks of the network by ``blocks``, inside the ``with`` block."""
    original = model.blocks
    model.blocks = list(blocks)  # type: ignore[arg-type]
    try:
        yield model
    finally:
        model.blocks = original


def without(model: ResNet, removed: Iterable[int]) -> list[Layer]:
    """Return the network's blocks. Those numbered ``removed`` (from 0) keep only their shortcut."""
    removed = set(removed)
    for block in removed - set(range(model.num_blocks)):
        raise ValueError(f"there are blocks 0 to {model.num_blocks - 1}, but no {block!r}")
    return [FixedBlock(block, 0) if i in removed else block for i, block in enumerate(model.blocks)]


def sub_network(model: ResNet, gates: Sequence[bool]) -> list[Layer]:
    """Return the blocks of the sub-network with these gates, as it was in training.

    The branch of an open block has weight 1, or 1/p with ``scale="train"``. That of a closed block
    has weight 0.
    """
    gates = check_gates(model, gates)
    return [
        FixedBlock(block, (1 / block.survival_prob if block.scale == "train" else 1) if gate else 0)
        for block, gate in zip(model.blocks, gates, strict=True)
    ]


def interchangeable(model: ResNet) -> list[list[int]]:
    """Return groups of block numbers. The blocks of a group keep the shape and may be swapped."""
    groups: list[list[int]] = []
    for place, block in enumerate(model.blocks):
        if not isinstance(block.shortcut, IdentityShortcut):
            groups.append([])  # this block changes the shape
            continue
        if not groups:
            groups.append([])
        groups[-1].append(place)
    return [group for group in groups if len(group) > 1]
