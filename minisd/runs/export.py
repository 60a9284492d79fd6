"""A run's log and recorded gradient flow as CSV, and for TensorBoard.

`to_csv` needs nothing else; `to_tensorboard` needs the package tensorboardX
(``pip install 'minisd[tensorboard]'``).
"""

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from minisd import flow
from minisd.errors import MissingPackageError, RunFolderError
from minisd.files import write_atomically
from minisd.flow.records import FLOW
from minisd.runs import folder as runfolder

Log = list[dict[str, Any]]


def to_csv(run: str | Path, target: str | Path) -> list[Path]:
    """Write the tables of a run into a folder.

    ``log.csv`` has a line for each epoch. ``evaluations.csv`` has one for each evaluation, if there
    were several in an epoch. ``flow.csv`` has one for each record of the gradient flow, if it was
    recorded; a column such as ``grad_norm/stem.0.w`` is what `minisd.flow.Flow.columns` lists. A
    cell is empty where there is no number.

    Parameters
    ----------
    run : path
        The folder of a run, perhaps one that is still training.
    target : path
        A folder; made if it is missing. Earlier tables of minisd's are replaced.

    Returns
    -------
    list of path
        The files that were written.

    Raises
    ------
    RunFolderError
        If a file of the run is missing or damaged, or the target is no folder.
    FileExistsError
        If there is a file of such a name that minisd did not write. It stays.
    """
    log, _ = _read_log(Path(run))
    names = list(dict.fromkeys(name for row in log for name in row if name != "evaluations"))
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]] = {
        "log": (names or ["epoch"], [[row.get(name) for name in names] for row in log])
    }
    evaluations = [point for row in log for point in row.get("evaluations", ())]
    if evaluations:
        names = list(evaluations[0])
        tables["evaluations"] = names, [[point[name] for name in names] for point in evaluations]
    if (Path(run) / FLOW).exists():
        recorded = flow.load(run)
        columns = recorded.columns()
        names = [f"{statistic}/{of}" if of else statistic for statistic, of, _ in columns]
        numbers = [recorded["step"].tolist(), *(values.tolist() for *_, values in columns)]
        tables["flow"] = ["step", *names], zip(*numbers, strict=True)
    folder = _made(Path(target))
    paths = []
    for name, (header, rows) in tables.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)
        path = folder / f"{name}.csv"
        write_atomically(
            path, methodcaller("write", text.getvalue().encode()), is_ours=_begins_with(header[0])
        )
        paths.append(path)
    return paths


def to_tensorboard(run: str | Path, target: str | Path) -> Path:
    """Write a run for TensorBoard: ``tensorboard --logdir TARGET`` then shows it.

    The tags are ``log/train_loss`` and so on at the last step of each epoch, and of the recorded
    gradient flow ``grad_norm/stem.0.w`` and so on: a statistic, and what it is of. What is NaN, as
    the branch of a block that was closed, has no point.

    Parameters
    ----------
    run : path
        The folder of a run, perhaps one that is still training.
    target : path
        A new or an empty folder, because TensorBoard shows all that is in one as one run.

    Returns
    -------
    path
        The file of events.

    Raises
    ------
    MissingPackageError
        If tensorboardX is not installed.
    RunFolderError
        If a file of the run is missing or damaged, or the target is not empty.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise MissingPackageError(
            "to_tensorboard needs tensorboardX: pip install 'minisd[tensorboard]'"
        ) from error
    log, steps_per_epoch = _read_log(Path(run))
    points = [
        (f"log/{name}", value, row["epoch"] * steps_per_epoch)
        for row in log
        for name, value in row.items()
        if name not in ("epoch", "evaluations")
    ]
    if (Path(run) / FLOW).exists():
        recorded = flow.load(run)
        steps = recorded["step"].tolist()
        for statistic, of, values in recorded.columns():
            tag = f"{statistic}/{of}" if of else f"flow/{statistic}"
            numbers = zip(values.tolist(), steps, strict=True)
            points += [(tag, value, step) for value, step in numbers if not math.isnan(value)]
    folder = _made(Path(target))
    if os.listdir(folder):
        raise RunFolderError(f"{folder} is not empty: give a new folder for TensorBoard")
    with SummaryWriter(logdir=str(folder)) as writer:
        for tag, value, step in points:
            writer.add_scalar(tag, value, step)
    return next(folder.iterdir())


def _read_log(run: Path) -> tuple[Log, int]:
    """Return the log of a run, and its steps per epoch."""
    steps_per_epoch = runfolder.read_config(run)["resolved"]["steps_per_epoch"]
    return runfolder.read_log(run, steps_per_epoch), steps_per_epoch


def _made(folder: Path) -> Path:
    """Return a folder that exists now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be a folder for the tables ({error.strerror}): choose another"
        ) from error
    return folder


def _begins_with(column: str) -> Any:
    """Return a function that knows our tables by their first column."""
    return lambda content: content.startswith((f"{column},".encode(), f"{column}\n".encode()))


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
