"""Recomputation: save less in the forward, and run blocks forward again in the backward.

A backward needs what its forward saved. For all blocks together, that is most of the memory of
training. A group of blocks can instead save its input only, and run forward again just before its
backward (Chen et al. 2016, arXiv:1604.06174). This costs one more forward. It needs the memory of
one group of blocks and one input per group, instead of the memory of all blocks.

The second forward gives the same bits as the first, because it uses the same gates. It would move
the running statistics a second time, so they are restored after it.
"""

from collections.abc import Sequence
from typing import Any

from minisd.backend import Array
from minisd.residual import ResidualBlock

Saved = tuple[Array, list[bool]]


def forward_forgetting(blocks: Sequence[ResidualBlock], x: Array) -> tuple[Array, Saved]:
    """Run ``blocks`` and save only ``x`` and the gates, for `backward_again`."""
    saved = (x, [block.is_open for block in blocks])
    for block in blocks:
        x = block.forward(x)
        block.forget()
    return x, saved


def backward_again(blocks: Sequence[ResidualBlock], saved: Saved, dy: Array) -> Array:
    """Run ``blocks`` forward again, with the gates of the first time, then backward; return dx."""
    x, gates = saved
    gates_now = [block.is_open for block in blocks]
    statistics: list[tuple[Any, Any]] = [
        (buffer, buffer.copy()) for block in blocks for _, buffer in block.buffers()
    ]
    try:
        for block, gate in zip(blocks, gates, strict=True):
            block.is_open = gate
            x = block.forward(x)
    finally:
        for buffer, moved_once in statistics:
            buffer[...] = moved_once
        for block, gate in zip(blocks, gates_now, strict=True):
            block.is_open = gate
    for block in reversed(blocks):
        dy = block.backward(dy)
    return dy
