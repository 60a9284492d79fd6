"""Where a run came from, if that is more than its settings; ``config.json`` keeps it.

survival   the rule, in a file of the user's, whose probabilities are the run's
init       the run whose weights it started from, and a checksum of them
lengths    each change of the number of epochs, and what it did to the learning rate
"""

from pathlib import Path
from typing import Any

from minisd.errors import ConfigError
from minisd.optim import Schedule
from minisd.runs import folder as runfolder
from minisd.runs.progress import counted
from minisd.runs.training import Training


def read(path: Path) -> dict[str, Any]:
    """Return the origin in a ``config.json``; raise a RunFolderError if none can be like that."""
    origin = runfolder.read_json(path).get("origin", {})
    with runfolder.SETTINGS.checking(path):
        _check(isinstance(origin, dict), "origin")
        _check(isinstance(origin.get("survival", ""), str), "origin: survival")
        if "init" in origin:
            init = origin["init"]
            for name, kind in (("run", str), ("epoch", int), ("digest", str), ("remarks", list)):
                _check(isinstance(init[name], kind), f"origin: init: {name}")
        for change in origin.get("lengths", []):
            for name, kind in (("from", int), ("to", int), ("remark", str)):
                _check(isinstance(change[name], kind), f"origin: lengths: {name}")
    return dict(origin)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} is not as minisd writes it")


def lengths(origin: dict[str, Any]) -> set[int]:
    """Return all numbers of epochs that the run has had."""
    return {change[name] for change in origin.get("lengths", []) for name in ("from", "to")}


def change_length(run: Training, before: int, schedule: Schedule) -> None:
    """Note that ``run``, which had ``before`` epochs and another schedule, has a new length.

    The epochs that are done stay as they are. From the next step on, the learning rate is that of a
    run which had the new length from the start.

    Raises
    ------
    ConfigError
        If more than that is done already.
    """
    epoch, step = run.position.epoch, run.position.step
    begun = epoch if step else epoch - 1
    if begun > run.epochs:
        raise ConfigError(
            f"this run cannot end after {counted(run.epochs, 'epoch')}: "
            f"{'it is in epoch ' + str(epoch) if step else counted(begun, 'epoch') + ' are done'}"
        )
    change: dict[str, Any] = {"from": before, "to": run.epochs, "steps_done": run.steps_done}
    remark = f"{before} epochs become {run.epochs}, after {counted(run.steps_done, 'step')}"
    if run.steps_done and not run.is_complete:
        last = (run.steps_done - 1) / run.steps_per_epoch + 1
        change["rate_before"], change["rate_after"] = float(schedule(last)), run.rate()
        remark += (
            f"; the schedule is now that of {counted(run.epochs, 'epoch')}: the rate goes from "
            f"{change['rate_before']:g} to {change['rate_after']:g} here"
        )
    run.origin["lengths"] = [*run.origin.get("lengths", []), {**change, "remark": remark}]
