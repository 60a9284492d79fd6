"""Recomputation: blocks run a second time in the backward, instead of keeping what they saved.

A backward needs what its forward saved, and all blocks' together is most of what training holds in
memory. A run of blocks can instead keep its input only, and do its forward again just before its
backward (Chen et al. 2016, arXiv:1604.06174): one forward more, and memory for one run of blocks
and one input per run instead of for all blocks.

The second forward gives the same bits as the first: it uses the gates of the first, and running
statistics, which the first has moved, are put back.
"""

from collections.abc import Sequence
from typing import Any

from minisd.backend import Array
from minisd.residual import ResidualBlock

Saved = tuple[Array, list[bool]]


def forward_forgetting(blocks: Sequence[ResidualBlock], x: Array) -> tuple[Array, Saved]:
    """Run ``blocks`` and keep nothing but ``x`` and the gates, for `backward_again`."""
    saved = (x, [block.is_open for block in blocks])
    for block in blocks:
        x = block.forward(x)
        block.forget()
    return x, saved


def backward_again(blocks: Sequence[ResidualBlock], saved: Saved, dy: Array) -> Array:
    """Run ``blocks`` forward again as they ran before, then backward; return ``dx``."""
    x, gates = saved
    present = [block.is_open for block in blocks]
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
        for block, gate in zip(blocks, present, strict=True):
            block.is_open = gate
    for block in reversed(blocks):
        dy = block.backward(dy)
    return dy
