"""The training loop.

`fit` is the loop itself, and `train_step` one step of it. `minisd.session` puts a run folder around
them.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisd import ops, parallel
from minisd.backend import Array, array_module, values
from minisd.data import Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.errors import NonFiniteError
from minisd.explain import explained, memory_explained
from minisd.flow import Recorder
from minisd.interrupt import Interrupted, StopSignals
from minisd.layer import Layer
from minisd.losses import Losses
from minisd.nonfinite import first_nonfinite
from minisd.optim import SGD
from minisd.progress import Progress
from minisd.run import Run
from minisd.stochastic_depth import draw_gates


@parallel.one_blas_thread()  # for the whole step; each operation would ask for it
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
    loss, dlogits = ops.softmax_cross_entropy(logits, labels, labels_are_checked=not wait)
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


def fit(
    run: Run,
    save: Callable[[], None],
    progress: Progress,
    stop: StopSignals,
    recorder: Recorder | None = None,
) -> None:
    """Train until all epochs are done, from wherever ``run`` is.

    Parameters
    ----------
    save : function without arguments
        Called whenever the state is worth keeping: at the end of each epoch.
    stop : StopSignals
        Asked after every step and during evaluation.
    recorder : Recorder, optional
        Told of every step.

    Raises
    ------
    Interrupted
        With ``run`` in a state that can be saved and gone on from.
    NonFiniteError
        Saying step and learning rate and, on a CPU, the first layer whose output is not finite.
    OutOfMemoryError
        Saying what to change.
    """
    with memory_explained(run):
        _fit(run, save, progress, stop, recorder)


def _fit(
    run: Run,
    save: Callable[[], None],
    progress: Progress,
    stop: StopSignals,
    recorder: Recorder | None,
) -> None:
    config, position = run.config, run.position
    losses = Losses(run)
    while not run.is_complete:
        run.optimizer.lr = run.schedule(position.epoch)
        run.rewind_epoch()  # its draws are made again up to where it stopped; the gates' are not
        with _timed(position):
            validate_if_due(run, stop)  # an interrupted run may have stopped just before
            for images, labels in training_batches(
                run.train,
                config.batch_size,
                normaliser=run.normaliser,
                augmentation=run.augmentation,
                rng=run.data_rng,
                skip=position.step,
                device=run.device,
            ):
                gates = draw_gates(run.model, run.gate_rng)
                with (
                    explained(run, run.steps_done + 1),
                    np.errstate(over="ignore", invalid="ignore"),
                ):
                    loss = train_step(
                        run.model,
                        run.optimizer,
                        images,
                        labels,
                        wait=run.device == "cpu",
                        recorder=recorder,
                    )
                position.step += 1
                position.open_sum += sum(gates)
                losses.add(loss, len(labels))
                if losses.are_due or validation_is_due(run):
                    losses.book()
                progress.step(
                    epoch=position.epoch,
                    epochs=config.epochs,
                    loss=losses.last,
                    num_open=sum(gates),
                    num_blocks=len(gates),
                )
                try:
                    stop.check()
                except Interrupted:
                    losses.book()  # what is saved is complete
                    raise
                validate_if_due(run, stop)
        row = position.end_epoch(
            num_images=len(run.train), num_steps=run.steps_per_epoch, lr=run.optimizer.lr
        )
        run.mark_epoch_start()
        save()
        progress.epoch(row, config.epochs)


def error_rate(run: Run, split: Split, check: Callable[[], None] = lambda: None) -> float:
    """`evaluate` a run's network on one of its splits."""
    batches = evaluation_batches(
        split, run.config.batch_size, normaliser=run.normaliser, device=run.device
    )
    return evaluate(run.model, batches, check=check)


def validation_is_due(run: Run) -> bool:
    """Whether to validate now: at the end of an epoch and every ``validate_every`` steps, once."""
    position, every = run.position, run.config.validate_every
    due = position.step == run.steps_per_epoch or (every and run.steps_done % every == 0)
    return bool(due) and position.evaluated_at != run.steps_done


def validate_if_due(run: Run, stop: StopSignals) -> None:
    """Validate and test, if `validation_is_due`.

    The lowest validation error decides which weights are the best; the test error is only noted.
    """
    if not validation_is_due(run):
        return
    position = run.position
    with explained(run, run.steps_done), np.errstate(over="ignore", invalid="ignore"):
        found = {
            "epoch": position.epoch,
            "step": run.steps_done,
            "val_error": error_rate(run, run.validation, stop.check),
            "test_error": error_rate(run, run.test, stop.check),
        }
    position.evaluated_at = run.steps_done
    position.evaluations.append(found)
    if position.best is None or found["val_error"] < position.best["val_error"]:
        position.best = found
        run.keep_best()


@contextmanager
def _timed(position: Any) -> Iterator[None]:
    """Add the seconds inside the block to the epoch's, also when it is left early."""
    started = time.perf_counter()
    try:
        yield
    finally:
        position.seconds += time.perf_counter() - started
