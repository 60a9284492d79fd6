"""A complete training run, as the experiments read it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minisd import figures, flow
from minisd.flow.records import FLOW, LARGEST, RECORDING, count_of
from minisd.runs import folder as runfolder
from minisd.runs import session, snapshot
from minisd.runs.run import Run

Key = tuple[str, float, int]
"""Survival rule ("constant", "linear", "uniform" or "plain") or a label of one's own, p_L, seed."""


def label(rule: str, p_last: float) -> str:
    """Return the name of a rule for legends."""
    names = {"constant": "constant depth", "plain": "plain (no shortcut)"}
    return names.get(rule, f"{rule} $p_L$ = {p_last:g}")


class TrainedRun:
    """Settings, log, recorded flow and weights of one run.

    Parameters
    ----------
    title : str, optional
        Its name in legends. Default: rule and p_L.
    """

    def __init__(
        self, folder: Path, key: Key, machine: dict[str, Any], *, title: str | None = None
    ) -> None:
        self.folder = folder
        self.rule, self.p_last, self.seed = key
        self.machine = machine
        self.title = title

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def label(self) -> str:
        """Its name in legends."""
        return label(self.rule, self.p_last) if self.title is None else self.title

    @cached_property
    def config(self) -> dict[str, Any]:
        """The contents of ``config.json``."""
        return runfolder.read_config(self.folder)

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """One row per epoch."""
        log = runfolder.read_log(self.folder, self.config["resolved"]["steps_per_epoch"])
        with runfolder.TABLE.checking(self.folder / runfolder.LOG):
            if len(log) != self.config["epochs"]:
                raise ValueError(f"it has {len(log)} of {self.config['epochs']} epochs")
        return log

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """See `minisd.figures.evaluations`."""
        return figures.evaluations(self.log, self.config["resolved"]["steps_per_epoch"])

    @property
    def best(self) -> dict[str, Any]:
        """The evaluation with the lowest validation error; the earliest if several share it."""
        return min(self.evaluations, key=lambda point: point["val_error"])

    @property
    def rate_changes(self) -> list[int]:
        """The last epoch before each change of the learning rate."""
        return figures.rate_changes(self.log)

    @cached_property
    def flow(self) -> dict[str, np.ndarray]:
        """The recorded gradient flow, which must be that of all steps."""
        recorded = flow.load(self.folder)
        with RECORDING.checking(self.folder / FLOW):
            steps, wanted = recorded["steps"].sum(), self.config["resolved"]["steps_per_epoch"]
            if steps != len(self.log) * wanted:
                raise ValueError(f"it has {steps} of {len(self.log) * wanted} steps")
        return recorded

    def per_epoch(self, statistic: str) -> np.ndarray:
        """Return a recorded statistic by epoch, (E, P) or (E, L).

        It is averaged over the steps in which the parameter or block has a value. For `LARGEST` it
        is the largest of these values. It is NaN if there are none.
        """
        record = self.flow
        steps_with = {"coasted_norm": record["steps"][:, None] - record["reached"]}
        counts = steps_with.get(statistic, record[count_of(statistic)])
        epoch = -(-record["step"] // self.config["resolved"]["steps_per_epoch"])
        rows = []
        for number in range(1, len(self.log) + 1):
            values, weight = (a[epoch == number] for a in (record[statistic], counts))
            # While the weights are 0 there is a gradient, but no ratio of update and weights.
            weight = np.where(np.isnan(values) & (statistic == "update_ratio"), 0, weight)
            if statistic in LARGEST:
                rows.append(np.where(weight > 0, values, -np.inf).max(axis=0))
                rows[-1][weight.sum(axis=0) == 0] = np.nan
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                total = (np.where(weight > 0, values, 0) * weight).sum(axis=0)
                rows.append(total / weight.sum(axis=0))
        return np.array(rows)

    def parameter(self, statistic: str, name: str) -> np.ndarray:
        """Return `per_epoch` of one parameter: (E,)."""
        (column,) = np.flatnonzero(self.flow["parameter"] == name)
        return self.per_epoch(statistic)[:, column]

    def load(self, which: str = "best") -> Run:
        """Read the run again, with its data and its trained weights."""
        run = Run(session.read_settings(self.folder, self.machine))
        snapshot.load_weights(run, self.folder / runfolder.CHECKPOINT, which)
        return run

    @cached_property
    def network(self) -> Run:
        """The result of `load`, read only once."""
        return self.load()
