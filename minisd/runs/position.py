"""How far a run has come, and whether what a file says of it can be true."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """How far a run has come. Its values are numbers, lists and dicts, as JSON can hold them."""

    epoch: int = 1
    """The epoch in progress, from 1. After the last epoch: one more than there are epochs."""
    step: int = 0
    """Steps done in this epoch."""
    evaluated_at: int = 0
    """Steps done in the whole run when it was last validated."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's images so far."""
    open_sum: float = 0
    """Sum of the numbers of open blocks, over the steps of this epoch; a mean over the images of a
    mini-batch, if each has gates of its own."""
    seconds: float = 0.0
    """Time spent in this epoch."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations in this epoch: epoch, step, val_error, test_error."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per complete epoch, as in the log."""
    best: dict[str, Any] | None = None
    """The evaluation with the lowest validation error; the earliest if several share it."""

    def end_epoch(self, *, num_images: int, num_steps: int, lr: float) -> dict[str, Any]:
        """Add the epoch to the history and return its row; then start the next epoch."""
        row = {
            "epoch": self.epoch,
            "train_loss": self.loss_sum / num_images,
            "val_error": self.evaluations[-1]["val_error"],
            "test_error": self.evaluations[-1]["test_error"],
            "lr": lr,
            "seconds": round(self.seconds, 3),
            "mean_open": self.open_sum / num_steps,
        }
        if len(self.evaluations) > 1:
            row["evaluations"] = self.evaluations
        self.history.append(row)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum, self.open_sum, self.seconds, self.evaluations = 0.0, 0, 0.0, []
        return row

    def steps_done(self, steps_per_epoch: int) -> int:
        """Return the number of steps since the start of the run."""
        return (self.epoch - 1) * steps_per_epoch + self.step

    def check(self, *, epochs: int, steps_per_epoch: int, num_blocks: int) -> None:
        """Raise an exception if no run of this length can be here."""
        total = epochs * steps_per_epoch
        _whole(self.epoch, "epoch", 1, epochs + 1)
        _whole(self.step, "step", 0, steps_per_epoch if self.epoch <= epochs else 0)
        _whole(self.evaluated_at, "evaluated_at", 0, self.steps_done(steps_per_epoch))
        _real(self.loss_sum, "loss_sum", 0)
        _real(self.open_sum, "open_sum", 0, self.step * num_blocks)
        _real(self.seconds, "seconds", 0)
        _check_evaluations(self.evaluations, total)
        for number, row in enumerate(self.history, start=1):
            check_row(row, number, steps_per_epoch)
        if len(self.history) != self.epoch - 1:
            raise ValueError(f"the history of epoch {self.epoch} has {len(self.history)} epochs")
        evaluations = [*self.evaluations, *self.history]
        if (self.best is None) != (not evaluations):
            raise ValueError("best is missing, or is there before any evaluation")
        if self.best is not None:
            _check_evaluations([self.best], total)


def check_row(row: dict[str, Any], epoch: int, steps_per_epoch: int) -> dict[str, Any]:
    """Return ``row``. Raise an exception if `Position.end_epoch` cannot have made it."""
    _whole(row["epoch"], "epoch", epoch, epoch)
    for name in ("train_loss", "lr", "seconds", "mean_open"):
        _real(row[name], f"{name} of epoch {epoch}", 0)
    _check_errors(row, f"of epoch {epoch}")
    _check_evaluations(row.get("evaluations", []), epoch * steps_per_epoch)
    return row


def _check_evaluations(evaluations: list[dict[str, Any]], last_step: int) -> None:
    for evaluation in evaluations:
        _whole(evaluation["epoch"], "epoch of an evaluation", 1, last_step)
        _whole(evaluation["step"], "step of an evaluation", 1, last_step)
        _check_errors(evaluation, "of an evaluation")


def _check_errors(row: dict[str, Any], of: str) -> None:
    _real(row["val_error"], f"val_error {of}", 0, 1)
    if row["test_error"] is not None:  # there are no test images
        _real(row["test_error"], f"test_error {of}", 0, 1)


def _whole(value: Any, name: str, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}, not a whole number from {lowest} to {highest}")


def _real(value: Any, name: str, lowest: float, highest: float = math.inf) -> None:
    if type(value) not in (int, float) or not lowest <= value <= highest or value == math.inf:
        raise ValueError(f"{name} is {value!r}, not a number from {lowest} to {highest}")
