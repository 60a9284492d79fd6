"""Errors of training that say where in the run they came and what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

from minisd.errors import NonFiniteError, OutOfMemoryError
from minisd.runs.run import Run


@contextmanager
def explained(run: Run, step: int) -> Iterator[None]:
    """Add to a NonFiniteError where in the run it happened and what may help."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(
            f"training stopped at step {step} (epoch {run.position.epoch}, learning "
            f"rate {run.optimizer.lr:g}): {error}. Begin a new run with a smaller --lr, or with "
            "--warmup-epochs; resuming would meet the same"
        ) from None


@contextmanager
def memory_explained(run: Run) -> Iterator[None]:
    """Say what to change where memory runs out, the CPU's or the GPU's."""
    try:
        yield
    except MemoryError as error:
        if isinstance(error, OutOfMemoryError):
            raise
        found = str(error).rstrip(".")
        raise OutOfMemoryError(
            f"the memory of the {'GPU' if run.device == 'cuda' else 'computer'} is too small for "
            f"batches of {run.config.batch_size} through {run.config.depth} layers ({found}): "
            "--checkpoint-every 25 keeps less of them, also for a run that is resumed; or begin a "
            "new run with a smaller --batch-size"
        ) from error
