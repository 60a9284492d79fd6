"""One training step, and the test of a network.

    gates drawn - forward - loss - backward - update

`minisd.runs` makes whole runs of it.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from minisd import machine
from minisd.backend import Array, array_module, values
from minisd.errors import NonFiniteError
from minisd.flow import Recorder
from minisd.flow.nonfinite import first_nonfinite
from minisd.layer import Layer
from minisd.optim import SGD


@machine.one_blas_thread()  # for the whole step; each operation would ask for it
def train_step(
    model: Layer,
    optimizer: SGD,
    images: Array,
    labels: Array,
    *,
    wait: bool = True,
    recorder: Recorder | None = None,
) -> Any:
    """Train on one mini-batch, with the gates as they are, and return its loss.

    `minisd.stochastic_depth.draw_gates` comes first; without it all blocks are open.

    Parameters
    ----------
    wait : bool
        True: check the labels, and look at the loss before the weights move. False: neither, so
        that Python runs ahead of a GPU. The labels must have been checked then, on the host, and
        the loss is the caller's to look at.
    recorder : Recorder, optional
        Of this model and optimiser.

    Returns
    -------
    loss : float; without ``wait`` a 0-d array

    Raises
    ------
    NonFiniteError
        If the loss is not finite, with ``wait``. The weights are then as they were; the running
        statistics have moved.
    """
    model.zero_grad()
    logits = model.forward(images)
    loss, dlogits = model.ops.softmax_cross_entropy(logits, labels, labels_are_checked=not wait)
    if wait:
        loss = float(loss)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"the loss is {loss}; the first output that is not finite is that of "
                f"{first_nonfinite(model, images)}"
            )
    model.backward(dlogits)
    if recorder is not None:
        recorder.after_backward(loss)
    optimizer.step()
    if recorder is not None:
        recorder.after_step()
    return loss


def evaluate(
    model: Layer,
    batches: Iterable[tuple[Array, Array]],
    *,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Return the share of images that the network, all blocks there, classifies wrongly.

    Parameters
    ----------
    batches : iterable of (images, labels)
        For instance `minisd.data.batches.evaluation_batches`.
    check : function without arguments, optional
        Called between batches; may raise to stop.
    """
    model.eval()
    wrong = count = 0
    try:
        for images, labels in batches:
            check()
            logits = model.forward(images)
            finite = array_module(logits).isfinite(logits).all().astype(int)
            mistakes = (logits.argmax(axis=1) != labels).sum()
            all_finite, mistakes = map(int, values([finite, mistakes]))  # one wait a batch
            if not all_finite:
                raise NonFiniteError(
                    "the network's output for an image to classify is not finite; the first is "
                    f"that of {first_nonfinite(model, images)}"
                )
            count += len(labels)
            wrong += mistakes
    finally:
        model.train()
    return wrong / count
