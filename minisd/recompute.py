"""Recomputation: save less in the forward, and run blocks forward again in the backward.

A backward needs what its forward saved. For all blocks together, that is most of the memory of
training. A group of blocks can instead save its input only, and run forward again just before its
backward (Chen et al. 2016, arXiv:1604.06174). This costs one more forward. It needs the memory of
one group of blocks and one input per group, instead of the memory of all blocks.

The second forward gives the same bits as the first: it uses the gates, modes and probabilities of
the first. It would move the running statistics a second time, so they are restored after it.
"""

from collections.abc import Sequence

from minisd.backend import Array
from minisd.layer import Layer, Settings, restore, running, settings
from minisd.residual import ResidualBlock

Saved = tuple[Array, Settings, bool]

SETTINGS = ("is_open", "image_gates", "survival_prob", "scale", "training", "saves", "eps")
"""Attributes of blocks, and of layers inside, that decide what a forward computes."""


def forward_forgetting(blocks: Sequence[ResidualBlock], x: Array) -> tuple[Array, Saved]:
    """Run ``blocks`` and save only ``x`` and the settings of their layers, for `backward_again`."""
    saved = (x, settings(inside(blocks), SETTINGS), bool(running.saves))
    for block in blocks:
        x = block.forward(x)
        block.forget()
    return x, saved


def backward_again(blocks: Sequence[ResidualBlock], saved: Saved, dy: Array) -> Array:
    """Run ``blocks`` forward again as they ran the first time, then backward; return dx."""
    x, settings_then, running_saves = saved
    settings_now = settings(inside(blocks), SETTINGS)
    statistics = [(buffer, buffer.copy()) for block in blocks for _, buffer in block.buffers()]
    try:
        restore(settings_then)
        for block in blocks:
            block.saves = running_saves  # here it is the outermost layer; then it was not
            x = block.forward(x)
    finally:
        for buffer, moved_once in statistics:
            buffer[...] = moved_once
        restore(settings_now)
    for block in reversed(blocks):
        dy = block.backward(dy)
    return dy


def inside(blocks: Sequence[ResidualBlock]) -> list[Layer]:
    """Return the blocks and all layers inside them."""
    return [layer for block in blocks for layer in block.walk()]
