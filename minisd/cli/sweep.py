"""``minisd experiment NAME --list``: the commands of its trainings, for a cluster's own queue."""

import shlex
from pathlib import Path
from typing import Any

from minisd.cli.commands import ALL, OK
from minisd.cli.named_data import check_study_data
from minisd.errors import ConfigError
from minisd.experiments.catalogue import EXPERIMENTS, trainings
from minisd.experiments.process import command, is_complete
from minisd.experiments.study import Study
from minisd.runs.progress import Progress, counted


def list_trainings(
    *,
    name: str | None,
    out: Path,
    size: str,
    processes: int | None,
    scheduler: str | None,
    quiet: bool,
    **changes: Any,
) -> int:
    """Print the commands of the trainings that are not complete, one a line, as a shell reads it.

    Each uses the cores that it finds where it runs. Nothing is written, and no data is read.
    """
    if name is None:
        raise ConfigError(f"--list needs a name: {', '.join(EXPERIMENTS)}, or {ALL}")
    if scheduler is not None:
        raise ConfigError(
            "--list prints commands for others to run, and trains nothing: leave out --scheduler"
        )
    check_study_data(changes, size)
    study = Study(out, size=size, processes=processes, quiet=quiet, **changes)
    jobs = trainings(EXPERIMENTS if name == ALL else (name,), study)
    left = [folder for folder, config in jobs.items() if not is_complete(folder, config)]
    for folder in left:
        print(shlex.join(command(jobs[folder], folder, None, changes.get("device"))))
    if not jobs:
        Progress().warn(f"{name} trains no runs")
    elif not left:
        Progress().warn(f"nothing is left to train: {counted(len(jobs), 'run')} complete in {out}")
    return OK
