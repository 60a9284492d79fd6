"""Errors of training that say where in the run they happened and what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

from minisd.errors import NonFiniteError, OutOfMemoryError
from minisd.runs.training import Training


@contextmanager
def explained(run: Training, step: int) -> Iterator[None]:
    """Add to a NonFiniteError where in the run it happened, and what may help."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(
            f"training stopped at step {step} (epoch {run.position.epoch}, learning "
            f"rate {run.optimizer.lr:g}): {error}. Start a new run {run.rate_help}; resuming this "
            "one would fail again"
        ) from None


@contextmanager
def memory_explained(run: Training) -> Iterator[None]:
    """Raise an OutOfMemoryError that says what to change, instead of a MemoryError."""
    try:
        yield
    except MemoryError as error:
        if isinstance(error, OutOfMemoryError):
            raise
        reason = str(error).rstrip(".")
        raise OutOfMemoryError(
            f"the memory of the {'GPU' if run.device == 'cuda' else 'computer'} is too small for "
            f"batches of {run.batch_size} through {run.what} ({reason}): {run.memory_help}"
        ) from error
