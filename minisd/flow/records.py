"""The records of a `minisd.flow.Recorder`: what they hold, and their averages over steps."""

import math
from typing import Any

import numpy as np

from minisd.errors import RunFolderError
from minisd.readers import Kind

FLOW = "flow.jsonl"
"""Name of the file in the folder of a run."""

RECORDING = Kind(
    "a whole record of gradient flow",
    RunFolderError,
    if_missing="train with --flow N to record the gradient flow",
    if_damaged="move it away; recording it again needs a new run",
)

OF_TENSORS = ("grad_mean", "grad_norm", "grad_max", "weight_norm", "update_norm", "update_ratio")
"""Of a parameter. For all parameters of a block's branch together they are ``block_...``."""
OF_PARAMETERS = (*OF_TENSORS, "coasted_norm")
OF_BLOCKS = (
    *(f"block_{name}" for name in OF_TENSORS),
    "output_grad_norm",
    "branch_ratio",
    "activation_mean",
    "activation_std",
    "dead_channels",
)
OF_CLOSED_BLOCKS = ("closed_grad_norm",)
COUNTS = ("reached", "open", "looked", "closed_looked")
"""How many steps had a gradient (by parameter), an open block, an open block that was looked at,
a closed block that was looked at."""
LARGEST = ("grad_max", "block_grad_max")
"""A record has the largest value of these, and the mean of all others."""


def count_of(statistic: str) -> str:
    """Return the one of `COUNTS` that says how many steps had this statistic."""
    if statistic in OF_PARAMETERS:
        return "reached"
    if statistic in OF_CLOSED_BLOCKS:
        return "closed_looked"
    return "open" if statistic.startswith("block_") else "looked"


RESERVED = (
    *("parameter", "step", "steps", "loss", "lr"),
    *(*COUNTS, *OF_PARAMETERS, *OF_BLOCKS, *OF_CLOSED_BLOCKS),
)
"""Names that a record has already, and which a quantity of one's own cannot have."""

Values = dict[str, tuple[np.ndarray, np.ndarray]]
"""By statistic: (values of one step, whether each of them exists)."""


class Record:
    """Averages over steps. Each value is averaged over the steps that have it."""

    def __init__(self) -> None:
        self.steps = 0
        self.last: dict[str, Any] = {}
        self._losses: list[float] = []
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._steps_with: dict[str, np.ndarray] = {}
        self._own: dict[str, np.ndarray] = {}

    def add(
        self,
        values: Values,
        counts: dict[str, np.ndarray],
        *,
        step: int,
        lr: float,
        loss: float | None,
        own: dict[str, np.ndarray],
    ) -> None:
        """Add one more step. ``own`` are quantities of one's own, each a number or of one axis."""
        self.steps += 1
        self.last = {"step": step, "lr": lr}
        if loss is not None:
            self._losses.append(loss)
        for name, (numbers, exists) in values.items():
            if name in LARGEST:
                numbers = np.where(exists, numbers, -math.inf)
                largest = self._sums.get(name)
                self._sums[name] = numbers if largest is None else np.maximum(largest, numbers)
            else:
                self._sums[name] = self._sums.get(name, 0) + np.where(exists, numbers, 0)
            self._counts[name] = self._counts.get(name, 0) + exists.astype(int)
        for name, steps in counts.items():
            self._steps_with[name] = self._steps_with.get(name, 0) + steps.astype(int)
        for name, numbers in own.items():
            self._own[name] = self._own.get(name, 0) + numbers

    def row(self) -> dict[str, Any]:
        """Return the record as its line in the file has it."""
        row: dict[str, Any] = {**self.last, "steps": self.steps}
        row["loss"] = _number(float(np.mean(self._losses))) if self._losses else None
        row |= {name: self._steps_with[name].tolist() for name in COUNTS}
        for name, total in self._sums.items():
            counts = self._counts[name]
            means = total if name in LARGEST else total / np.maximum(counts, 1)
            row[name] = [
                _number(mean) if count else None
                for mean, count in zip(means.tolist(), counts.tolist(), strict=True)
            ]
        for name, total in self._own.items():
            mean = (total / self.steps).tolist()
            row[name] = [_number(each) for each in mean] if total.ndim else _number(mean)
        return row


def _number(value: float) -> float | str:
    """Round to eight digits, enough for float32; return a string if the value is not finite."""
    return float(f"{value:.8g}") if math.isfinite(value) else str(value)
