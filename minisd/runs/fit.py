"""The loop of a whole run: epochs, mini-batches, validation, and what is kept.

One step of it is `minisd.train.train_step`. `minisd.runs.session` puts a run folder around it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisd.data import Split
from minisd.data.batches import evaluation_batches, training_batches
from minisd.flow import Recorder
from minisd.runs.explain import explained, memory_explained
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.pending_losses import PendingLosses
from minisd.runs.progress import Progress
from minisd.runs.run import Run
from minisd.stochastic_depth import draw_gates
from minisd.train import evaluate, train_step


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
    losses = PendingLosses(run)
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
                    losses.collect()
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
                    losses.collect()  # what is saved is complete
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
