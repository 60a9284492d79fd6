"""The sums of a training step whose batch lies in several parts: see `minisd.distributed`."""

import copy
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minisd import machine
from minisd.backend import Array, array_module, to_numpy
from minisd.distributed import Group, ShardedGroup
from minisd.distributed.in_threads import Meeting, on_threads
from minisd.flow.hooks import is_hooked
from minisd.layer import Layer, Parameter
from minisd.layers import BatchNorm2d

Gradients = Callable[[Layer, Array, Array, Group, int], Any]
"""Forward and backward of one part of a batch: (model, images, labels, group, of) to loss."""


UNLIKE = (
    "the ranks have different weights or running statistics: does a layer keep statistics of its "
    "own, or draw random numbers, or a callback change weights on one rank only?"
)


@contextmanager
def grouped(model: Layer, group: Group) -> Iterator[None]:
    """Inside the block, let every batch norm of ``model`` ask ``group`` for its sums."""
    norms = [layer for layer in model.walk() if isinstance(layer, BatchNorm2d)]
    before = [norm.group for norm in norms]
    for norm in norms:
        norm.group = group
    try:
        yield
    finally:
        for norm, group_before in zip(norms, before, strict=True):
            norm.group = group_before


def travelling(model: Layer) -> list[Parameter]:
    """Return the parameters whose gradients are to be added up: those that some image reached.

    Those of batch norms are not among them. Their sums were completed in the backward.
    """
    complete: set[int] = set()
    others: set[int] = set()
    for layer in model.walk():
        is_norm = isinstance(layer, BatchNorm2d) and layer.group is not None
        (complete if is_norm else others).update(
            id(value) for value in vars(layer).values() if isinstance(value, Parameter)
        )
    if complete & others:
        raise ValueError(
            "a parameter of a batch norm is one of another layer, too: its gradient cannot be "
            "added up over the ranks"
        )
    return [p for _, p in model.parameters() if p.grad is not None and id(p) not in complete]


def add_gradients(model: Layer, group: Group) -> None:
    """Replace each gradient of this part of the batch by the sum over all parts, in one message.

    A gradient that is None stays None: a closed block is closed on every rank.
    """
    there = travelling(model)
    mine: list[Any] = [parameter.grad for parameter in there]
    if not mine:
        return
    total = group.add(array_module(*mine).concatenate([grad.ravel() for grad in mine]))
    end = 0
    for parameter, grad in zip(there, mine, strict=True):
        end += grad.size
        part = total[end - grad.size : end].reshape(grad.shape)
        parameter.grad = part.astype(grad.dtype, copy=False)


def whole_loss(loss: float, num_images: int, model: Layer, of: int, group: Group) -> float:
    """Return the loss of the whole batch: the sum of the shares of all parts.

    The message also says how many images each part has, and which network they went through. If
    ranks disagree about that, for instance because one has drawn other gates, every later sum would
    be wrong.

    Raises
    ------
    RuntimeError
        If they disagree.
    ValueError
        If the parts together are not the whole batch.
    """
    gates = [bool(block.is_open) for block in getattr(model, "blocks", [])]
    parts = group.gather((loss, num_images, zlib.crc32(repr((of, gates)).encode())))
    if len({seen for *_, seen in parts}) > 1:
        raise RuntimeError(
            "the ranks train different networks or batches: they need the same generators, in the "
            "same state, and the same callbacks"
        )
    counts = [count for _, count, _ in parts]
    if sum(counts) != of:
        raise _not_the_parts(counts, of)
    return float(sum(share for share, *_ in parts))


def _not_the_parts(counts: list[int], of: int) -> ValueError:
    return ValueError(
        f"the parts have {counts} images, but the mini-batch {of}: give each rank "
        "images[group.part(len(images))]"
    )


def alike(model: Layer, group: Group) -> bool:
    """Whether all ranks have the same parameters, running statistics among them, bit for bit."""
    seen = 0
    for _, array in (*((n, p.data) for n, p in model.parameters()), *model.buffers()):
        seen = zlib.crc32(to_numpy(array).tobytes(), seen)
    return len(set(group.gather((seen,)))) == 1


def in_shards(
    gradients: Gradients, model: Layer, images: Array, labels: Array, of: int, group: ShardedGroup
) -> Any:
    """Compute the gradients of all shards that this process carries, on a thread each.

    Each thread has a copy of the network that shares the weights. The first has the network itself,
    so that gradients and running statistics end there; those of the copies are the same.

    Returns
    -------
    loss : float
        Of the whole batch.
    """
    if any(is_hooked(layer) for layer in model.walk()):
        raise ValueError("the gradient flow cannot be recorded in shards")
    whole = group.part(of)
    if len(images) != whole.stop - whole.start:
        raise _not_the_parts([len(images)] * group.size, of)
    meeting = Meeting(group.carried)
    members = group.members(meeting)
    model.forget()
    weights = {id(p.data): p.data for _, p in model.parameters()}
    models = [model] + [copy.deepcopy(model, dict(weights)) for _ in members[1:]]
    threads = max(1, machine.num_threads() // len(members))

    def task(member: Group, network: Layer) -> Callable[[], Any]:
        mine = member.part(of)
        part = slice(mine.start - whole.start, mine.stop - whole.start)

        def compute() -> Any:
            with machine.at_most(threads), grouped(network, member), gates_of(network, part):
                return gradients(network, images[part], labels[part], member, of)

        return compute

    tasks = [task(member, network) for member, network in zip(members, models, strict=True)]
    loss, *_ = on_threads(meeting, tasks)
    for buffers in zip(*(dict(each.buffers()).values() for each in models), strict=True):
        if any((other != buffers[0]).any() for other in buffers[1:]):
            raise RuntimeError(UNLIKE)
    return loss


@contextmanager
def gates_of(model: Any, part: slice) -> Iterator[None]:
    """Inside the block, gates of images (`minisd.draw_image_gates`) are those of a part of them."""
    blocks = [b for b in getattr(model, "blocks", []) if b.image_gates is not None]
    before: list[np.ndarray] = [block.image_gates for block in blocks]
    for block in blocks:
        block.image_gates = block.image_gates[part]
    try:
        yield
    finally:
        for block, gates in zip(blocks, before, strict=True):
            block.image_gates = gates


class Traffic(NamedTuple):
    """What each rank gives to the others in one training step.

    Attributes
    ----------
    messages : int
        Small ones: two for each batch norm, and one for the loss.
    bytes : int
        In those.
    gradient_bytes : int
        In the one message with gradients.
    """

    messages: int
    bytes: int
    gradient_bytes: int


def traffic(model: Any, gates: Sequence[bool]) -> Traffic:
    """Return what a step sends, given its gates: closed blocks send nothing.

    For a batch norm of C channels, whose numbers take s bytes: forward 8 + 2 C s (count, mean,
    variance), backward 2 C s (dgamma, dbeta). For the loss, with its checks: 24. With
    recomputation, the forward of a block, and what it sends, comes twice; that is not counted here.

    Parameters
    ----------
    model : a network with ``blocks``
    gates : L bools
    """
    closed = {
        id(layer)
        for block, is_open in zip(model.blocks, gates, strict=True)
        if not is_open
        for layer in block.branch.walk()
    }
    messages, small, gradients = 1, 24, 0
    for layer in model.walk():
        if id(layer) in closed:
            continue
        own = sum(
            value.data.nbytes for value in vars(layer).values() if isinstance(value, Parameter)
        )
        if isinstance(layer, BatchNorm2d):
            messages += 2
            small += 8 + 2 * own
        else:
            gradients += own
    return Traffic(messages, small, gradients)
