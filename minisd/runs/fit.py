"""The training loop of a whole run: epochs, mini-batches, validation, and the best weights.

One step is `minisd.train.train_step`. `minisd.runs.in_folder` runs this loop in a run folder.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisd.data import Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.runs.callbacks import Callbacks
from minisd.runs.explain import explained, memory_explained
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.pending_losses import PendingLosses
from minisd.runs.progress import Progress
from minisd.runs.training import Training
from minisd.train import evaluate, train_step


def fit(
    run: Training,
    save: Callable[[], None],
    progress: Progress,
    stop: StopSignals,
    callbacks: Callbacks | None = None,
) -> None:
    """Train until all epochs are done, starting from the present position of ``run``.

    Parameters
    ----------
    save : function without arguments
        Called at the end of each epoch, to save the state.
    stop : StopSignals
        Checked after every step and during evaluation.
    callbacks : Callbacks, optional
        Those of the run; the caller may want to know whether one has failed.

    Raises
    ------
    Interrupted
        ``run`` is then in a state that can be saved and resumed.
    NonFiniteError
        The message has step, learning rate and, on a CPU, the first layer whose output is not
        finite.
    OutOfMemoryError
        The message says what to change.
    """
    with memory_explained(run):
        _fit(run, save, progress, stop, callbacks or Callbacks(run))


def _fit(
    run: Training,
    save: Callable[[], None],
    progress: Progress,
    stop: StopSignals,
    callbacks: Callbacks,
) -> None:
    position = run.position
    losses, is_first = PendingLosses(run), True
    while not run.is_complete:
        run.optimizer.lr = run.rate()
        # The draws for the data are repeated from the start of the epoch; those for the gates not.
        run.rewind_epoch()
        with _timed(position):
            # a run may have been interrupted just before validation
            validate_if_due(run, stop, callbacks)
            for images, labels in training_batches(
                run.train,
                run.batch_size,
                normaliser=run.normaliser,
                augmentation=run.augmentation,
                rng=run.data_rng,
                skip=position.step,
                device=run.device,
                part=run.group.part,
            ):
                run.optimizer.lr = run.rate()
                num_images = run.images_in_step()
                gates = run.draw_gates(num_images)
                with (
                    explained(run, run.steps_done + 1),
                    np.errstate(over="ignore", invalid="ignore"),
                ):
                    loss = train_step(
                        run.model,
                        run.optimizer,
                        images,
                        labels,
                        wait=run.device == "cpu" or run.is_shared,
                        recorder=callbacks,
                        group=run.group,
                        of=num_images if run.is_shared else None,
                    )
                position.step += 1
                position.open_sum += sum(gates)
                losses.add(loss, num_images)
                try:
                    callbacks.tell("step")
                except Exception:
                    losses.collect()
                    raise
                if is_first:
                    run.check_alike()
                    is_first = False
                if losses.are_due or validation_is_due(run):
                    losses.collect()
                progress.step(
                    epoch=position.epoch,
                    epochs=run.epochs,
                    loss=losses.last,
                    num_open=sum(gates),
                    num_blocks=len(gates),
                )
                try:
                    stop.check()
                except Interrupted:
                    losses.collect()  # the saved state needs all losses up to here
                    raise
                validate_if_due(run, stop, callbacks)
        row = position.end_epoch(
            num_images=len(run.train), num_steps=run.steps_per_epoch, lr=run.optimizer.lr
        )
        run.mark_epoch_start()
        run.check_alike()
        callbacks.tell("epoch")
        save()
        progress.epoch(row, run.epochs)


def error_rate(run: Training, split: Split, check: Callable[[], None] = lambda: None) -> float:
    """Return the error rate of a run's network on one of its splits."""
    group = run.group
    batches = evaluation_batches(
        split,
        run.batch_size,
        normaliser=run.normaliser,
        device=run.device,
        rank=group.rank,
        size=group.size,
    )
    return evaluate(run.model, batches, check=check, group=group)


def validation_is_due(run: Training) -> bool:
    """Whether to validate now: at the end of an epoch and every ``validate_every`` steps, once."""
    position, every = run.position, run.validate_every
    due = position.step == run.steps_per_epoch or (every and run.steps_done % every == 0)
    return bool(due) and position.evaluated_at != run.steps_done


def validate_if_due(run: Training, stop: StopSignals, callbacks: Callbacks) -> None:
    """Validate and test, if `validation_is_due`.

    The lowest validation error decides which weights are the best. The test error is recorded, but
    decides nothing.
    """
    if not validation_is_due(run):
        return
    position = run.position
    with explained(run, run.steps_done), np.errstate(over="ignore", invalid="ignore"):
        evaluation = {
            "epoch": position.epoch,
            "step": run.steps_done,
            "val_error": error_rate(run, run.validation, stop.check),
            "test_error": None if run.test is None else error_rate(run, run.test, stop.check),
        }
    position.evaluated_at = run.steps_done
    position.evaluations.append(evaluation)
    if position.best is None or evaluation["val_error"] < position.best["val_error"]:
        position.best = evaluation
        run.keep_best()
    callbacks.tell("validation")


@contextmanager
def _timed(position: Any) -> Iterator[None]:
    """Add the seconds spent inside the ``with`` block to the epoch's, even after an error."""
    started = time.perf_counter()
    try:
        yield
    finally:
        position.seconds += time.perf_counter() - started
