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

from minisd import ops
from minisd.backend import Array, array_module, to_device
from minisd.data import Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.errors import NonFiniteError
from minisd.interrupt import StopSignals
from minisd.layer import Layer
from minisd.nonfinite import first_nonfinite
from minisd.optim import SGD
from minisd.progress import Progress
from minisd.run import Run
from minisd.stochastic_depth import draw_gates


def train_step(model: Layer, optimizer: SGD, images: Array, labels: Array) -> float:
    """Train on one mini-batch, with the gates as they are, and return its loss.

    `minisd.stochastic_depth.draw_gates` comes first; without it all blocks are open.

    Raises
    ------
    NonFiniteError
        If the loss is not finite. The weights are then as they were; the running statistics have
        moved.
    """
    model.zero_grad()
    logits = model.forward(images)
    loss, dlogits = ops.softmax_cross_entropy(logits, labels)
    value = float(loss)
    if not math.isfinite(value):
        raise NonFiniteError(
            f"the loss is {value}; the first output that is not finite is that of "
            f"{first_nonfinite(model, images)}"
        )
    model.backward(dlogits)
    optimizer.step()
    return value


def evaluate(
    model: Layer,
    batches: Iterable[tuple[Array, Array]],
    *,
    device: str = "cpu",
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
            images, labels = to_device(images, device), to_device(labels, device)
            logits = model.forward(images)
            if not array_module(logits).isfinite(logits).all():
                raise NonFiniteError(
                    "the network's output for an image to classify is not finite; the first is "
                    f"that of {first_nonfinite(model, images)}"
                )
            count += len(labels)
            wrong += int((logits.argmax(axis=1) != labels).sum())
    finally:
        model.train()
    return wrong / count


def fit(run: Run, save: Callable[[], None], progress: Progress, stop: StopSignals) -> None:
    """Train until all epochs are done, from wherever ``run`` is.

    Parameters
    ----------
    save : function without arguments
        Called whenever the state is worth keeping: at the end of each epoch.
    stop : StopSignals
        Asked after every step and during evaluation.

    Raises
    ------
    Interrupted
        With ``run`` in a state that can be saved and gone on from.
    NonFiniteError
        Saying step, learning rate and the first layer whose output is not finite.
    """
    config, position = run.config, run.position
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
            ):
                gates = draw_gates(run.model, run.gate_rng)
                images, labels = to_device(images, run.device), to_device(labels, run.device)
                with (
                    _explained(run, run.steps_done + 1),
                    np.errstate(over="ignore", invalid="ignore"),
                ):
                    loss = train_step(run.model, run.optimizer, images, labels)
                position.step += 1
                position.loss_sum += loss * len(labels)
                position.open_sum += sum(gates)
                progress.step(
                    epoch=position.epoch,
                    epochs=config.epochs,
                    loss=loss,
                    num_open=sum(gates),
                    num_blocks=len(gates),
                )
                stop.check()
                validate_if_due(run, stop)
        row = position.end_epoch(
            num_images=len(run.train), num_steps=run.steps_per_epoch, lr=run.optimizer.lr
        )
        run.mark_epoch_start()
        save()
        progress.epoch(row, config.epochs)


def error_rate(run: Run, split: Split, check: Callable[[], None] = lambda: None) -> float:
    """`evaluate` a run's network on one of its splits."""
    batches = evaluation_batches(split, run.config.batch_size, normaliser=run.normaliser)
    return evaluate(run.model, batches, device=run.device, check=check)


def validate_if_due(run: Run, stop: StopSignals) -> None:
    """Validate and test at the end of an epoch and every ``validate_every`` steps.

    The lowest validation error decides which weights are the best; the test error is only noted.
    """
    position, every = run.position, run.config.validate_every
    due = position.step == run.steps_per_epoch or (every and run.steps_done % every == 0)
    if not due or position.evaluated_at == run.steps_done:
        return
    with _explained(run, run.steps_done), np.errstate(over="ignore", invalid="ignore"):
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


@contextmanager
def _explained(run: Run, step: int) -> Iterator[None]:
    """Add to a NonFiniteError where in the run it happened and what may help."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(
            f"training stopped at step {step} (epoch {run.position.epoch}, learning "
            f"rate {run.optimizer.lr:g}): {error}. Resuming would meet the same; begin a new "
            "run with a smaller --lr, or with --warmup-epochs"
        ) from None
