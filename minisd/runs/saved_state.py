"""Reading the state of a training from a checkpoint: what no such training has saved is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.errors import CheckpointError
from minisd.readers import Declared
from minisd.runs import checkpoint
from minisd.runs.position import Position

PARTS = ("model", "best", "optimizer", "normaliser")
Parts = dict[str, dict[str, Array]]
"""The arrays in a checkpoint by part, one of `PARTS`."""


@dataclass
class Expected:
    """What a checkpoint of one training must have.

    Attributes
    ----------
    weights : dict
        Shape and dtype of the parameters and running statistics, by name.
    optimizer : dict of arrays
        What the optimiser remembers, as it is now.
    counts : dict of numbers
        The same, of plain numbers.
    mean : tuple
        Shape of the mean image.
    may_leave_out : bool
        Whether the first format left out the momentum of a parameter that has not moved yet.
    """

    weights: Declared
    optimizer: dict[str, Array]
    counts: dict[str, float]
    mean: tuple[int, ...]
    steps_per_epoch: int
    num_blocks: int
    may_leave_out: bool


def read_state(
    path: Path, expected: Expected, check_run: Callable[[dict[str, Any]], None], help: str
) -> tuple[Parts, dict[str, Any], Position]:
    """Return the parts of a checkpoint, its meta, and the position.

    Parameters
    ----------
    check_run : function of the meta
        Raises an error if it is of another run. Called before memory is taken for the arrays.
    help : str
        What may help if numbers are not finite.

    Raises
    ------
    CheckpointError
        If it is damaged, or no such training can have saved it.
    """

    def check(meta: dict[str, Any], declared: Declared) -> None:
        check_run(meta)
        known: Declared = {"normaliser/mean": (expected.mean, np.dtype(np.float32))}
        for part in ("model", "best"):
            known |= checkpoint.with_prefix(part, expected.weights)
        known |= checkpoint.with_prefix("optimizer", checkpoint.declare(expected.optimizer))
        checkpoint.check_known(known, declared, path)

    arrays, meta = checkpoint.load(path, check)
    with checkpoint.CHECKPOINT.checking(path):
        position = Position(**meta["position"])
        position.check(
            epochs=meta["config"]["epochs"],
            steps_per_epoch=expected.steps_per_epoch,
            num_blocks=expected.num_blocks,
        )
        if meta.setdefault("optimizer", {}).keys() != expected.counts.keys():
            raise CheckpointError(f"{path} is of another optimiser: its counts have other names")
    parts = {part: checkpoint.without_prefix(part, arrays) for part in PARTS}
    if meta["format"] == checkpoint.FIRST_FORMAT:  # which left out a momentum of zeros
        started = position.steps_done(expected.steps_per_epoch) > 0
        if not started or expected.may_leave_out:
            parts["optimizer"] = expected.optimizer | parts["optimizer"]
    wanted = {"model": expected.weights, "optimizer": checkpoint.declare(expected.optimizer)}
    if position.best is not None:
        wanted["best"] = expected.weights
    for part, declared in wanted.items():
        checkpoint.check_fits(declared, checkpoint.declare(parts[part]), path)
    checkpoint.check_finite(arrays, path, help)
    return parts, meta, position
