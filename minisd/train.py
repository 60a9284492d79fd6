"""One training step, and testing a network.

    draw the gates - forward - loss - backward - update

`minisd.runs` makes whole training runs of such steps. With a ``group``, several processes share the
images: see `minisd.distributed`.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import numpy as np

from minisd import machine
from minisd.backend import Array, array_module, values
from minisd.data_parallel import add_gradients, grouped, in_shards, whole_loss
from minisd.distributed import ALONE, Group, ShardedGroup
from minisd.errors import NonFiniteError
from minisd.flow.nonfinite import first_nonfinite
from minisd.layer import Layer, restore, settings
from minisd.optim import Optimizer

NOTHING = np.empty((0, 0)), np.empty(0, int)
"""A batch without images, of a rank that has no more while others have."""


class Observer(Protocol):
    """Looks at the gradients of a step, and at what the optimiser made of them."""

    def after_backward(self, loss: Any) -> None:
        """Called between the backward and the update."""

    def after_step(self) -> None:
        """Called after the update."""


@machine.one_blas_thread()  # once for the whole step, instead of in each operation
def train_step(
    model: Layer,
    optimizer: Optimizer,
    images: Array,
    labels: Array,
    *,
    wait: bool = True,
    recorder: Observer | None = None,
    group: Group = ALONE,
    of: int | None = None,
) -> Any:
    """Train on one mini-batch, with the present gates, and return its loss.

    Call `minisd.stochastic_depth.draw_gates` before. Without it, all blocks are open.

    Parameters
    ----------
    wait : bool
        True: check the labels, and check that the loss is finite before the weights change. False:
        do neither, so that Python can run ahead of a GPU. The caller must then check the labels
        before, on the host, and the loss afterwards.
    recorder : Observer, optional
        For instance a `minisd.flow.Recorder`, made for this model and optimiser.
    group : Group
        Several ranks, each with its own part of the mini-batch: ``images[group.part(of)]`` of the
        whole. Then ``wait`` must be True.
    of : int, optional
        Images of the whole mini-batch. Needed by a ``group`` of several.

    Returns
    -------
    loss : float, or a 0-d array if ``wait`` is False
        Of the whole mini-batch.

    Raises
    ------
    NonFiniteError
        If ``wait`` is True and the loss is not finite. The weights are then unchanged, but the
        running statistics have changed.
    """
    model.zero_grad()
    if isinstance(group, ShardedGroup):
        loss = in_shards(_gradients, model, images, labels, _known(of), group)
    elif group.size > 1:
        with grouped(model, group):
            loss = _gradients(model, images, labels, group, _known(of))
    else:
        loss = _gradients(model, images, labels, wait=wait)
    if recorder is not None:
        recorder.after_backward(loss)
    optimizer.step()
    if recorder is not None:
        recorder.after_step()
    return loss


def _gradients(
    model: Layer,
    images: Array,
    labels: Array,
    group: Group = ALONE,
    of: int | None = None,
    *,
    wait: bool = True,
) -> Any:
    """Forward and backward: leave the gradients of the whole mini-batch, and return its loss."""
    logits = model.forward(images)
    loss, dlogits = model.ops.softmax_cross_entropy(
        logits, labels, labels_are_checked=not wait, of=of
    )
    if wait:
        loss = float(loss)
        if of is not None:
            loss = whole_loss(loss, len(images), model, of, group)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"the loss is {loss}; the first output that is not finite comes from "
                f"{first_nonfinite(model, images, group)}"
            )
    model.backward(dlogits)
    if group.size > 1:
        add_gradients(model, group)
    return loss


def _known(of: int | None) -> int:
    if of is None:
        raise ValueError("train_step with a group needs of, the images of the whole mini-batch")
    return of


def evaluate(
    model: Layer,
    batches: Iterable[tuple[Array, Array]],
    *,
    check: Callable[[], None] = lambda: None,
    group: Group = ALONE,
) -> float:
    """Return the error rate, with every block present.

    Parameters
    ----------
    batches : iterable of (images, labels)
        For instance `minisd.data.batches.evaluation_batches`.
    check : function without arguments, optional
        Called between batches. It may raise an exception to stop.
    group : Group
        Several ranks, each with other batches.

    Raises
    ------
    TypeError, ValueError
        If there are no batches, or labels are not one class of the network's for each image.
    NonFiniteError
        If an output is not finite. Also then every layer is in the mode that it was in.
    """
    modes = settings(model.walk(), ("training", "saves"))
    model.eval()
    wrong = count = 0
    try:
        of_rank = iter(batches)
        while group.highest((batch := next(of_rank, None)) is not None):
            check()
            images, labels = batch or NOTHING
            wrong += group.together(partial(mistakes, model, images, labels))
            count += len(labels)
    finally:
        restore(modes)
    totals = group.gather((wrong, count))
    wrong, count = (sum(part) for part in zip(*totals, strict=True))
    if count == 0:
        raise ValueError("evaluate: there are no images, so there is no error rate")
    return wrong / count


def mistakes(model: Layer, images: Array, labels: Array) -> int:
    """Return how many images a network in evaluation takes for another class: see `evaluate`."""
    if len(images) == 0:
        return 0
    logits = model.forward(images)
    array_module(logits, labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"evaluate: labels must be integers, got {labels.dtype}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"evaluate: {len(logits)} images need labels of shape {logits.shape[:1]}, got "
            f"{labels.shape}"
        )
    finite = array_module(logits).isfinite(logits).all().astype(int)
    wrong = (logits.argmax(axis=1) != labels).sum()
    strange = ((labels < 0) | (labels >= logits.shape[1])).sum()
    # one wait per batch
    all_finite, num_wrong, num_strange = map(int, values([finite, wrong, strange]))
    if num_strange:
        raise ValueError(
            f"evaluate: {num_strange} labels are no classes of the network's, 0 to "
            f"{logits.shape[1] - 1}"
        )
    if not all_finite:
        raise NonFiniteError(
            "the network's output for a test or validation image is not finite; the first "
            f"output that is not finite comes from {first_nonfinite(model, images)}"
        )
    return num_wrong
