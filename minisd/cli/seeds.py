"""``minisd train --seeds``: the same run with several seeds, and how much they differ."""

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from minisd.data import is_path
from minisd.errors import ConfigError, UserError
from minisd.experiments.pool import same_run, train_all
from minisd.experiments.trained import TrainedRun
from minisd.machine import available_cores
from minisd.runs import folder as runfolder
from minisd.runs.config import Config, resolve
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.progress import Counting, Progress
from minisd.runs.run import MACHINE_SETTINGS


def train_seeds(
    seeds: Sequence[int],
    settings: dict[str, Any],
    out: Path | None,
    progress: Progress,
    quiet: bool,
) -> None:
    """Train one run for each seed, in parallel as cores allow, and print mean and spread.

    The runs are in ``out/seed-1`` and so on. The same command continues those that were
    interrupted.

    Raises
    ------
    UserError
        If runs failed; the message names them. The others are complete.
    Interrupted
        After all runs are saved.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("--seeds needs at least one number, and no number twice")
    configs = {seed: resolve({**settings, "seed": seed}) for seed in seeds}
    first = configs[seeds[0]]
    with ExitStack() as made:
        if out is None:
            stem = first.data_name if is_path(first.data) else first.preset  # as for a single run
            out = made.enter_context(runfolder.new_folder(Path("runs"), stem))
        if (out / runfolder.CONFIG).exists():
            raise ConfigError(f"{out} is the folder of a single run: choose another --out")
        folders = {out / f"seed-{seed}": config for seed, config in configs.items()}
        for folder, config in folders.items():
            _check_same(folder, config)
            if not runfolder.is_there(folder):
                runfolder.check_free(folder, force=False)
        progress.say(f"runs      {len(seeds)} in {out}{os.sep}, seeds {' '.join(map(str, seeds))}")
        failures = _train(folders, out, quiet)
    done = {
        folder: TrainedRun(folder, (str(config.survival), config.p_last, config.seed), {})
        for folder, config in folders.items()
        if folder not in failures
    }
    errors = []
    for run in done.values():
        best = run.best
        errors.append(best["test_error"])
        progress.say(
            f"seed {run.seed:<5}test error {best['test_error']:.2%} at epoch {best['epoch']}, of "
            f"lowest validation error ({best['val_error']:.2%})"
        )
    if errors:
        spread = (
            f"standard deviation {statistics.stdev(errors):.2%}, n = {len(errors)}"
            if len(errors) > 1
            else "one seed, so no spread"
        )
        progress.say(f"result    test error {statistics.fmean(errors):.2%} on average ({spread})")
    if failures:
        reasons = "; ".join(f"{folder.name}: {reason}" for folder, reason in failures.items())
        others = "the others are complete; " if done else ""
        raise UserError(
            f"{len(failures)} of {len(seeds)} runs failed ({reasons}); {others}the same command "
            f"with --out {out} tries again"
        )


def _check_same(folder: Path, config: Config) -> None:
    """Raise a ConfigError if the folder has a run of other settings."""
    if not (folder / runfolder.CONFIG).exists():
        return
    recorded = runfolder.read_json(folder / runfolder.CONFIG)
    name = same_run(recorded, config, ("preset", "epochs", *MACHINE_SETTINGS))
    if name:
        raise ConfigError(
            f"{folder} is a run with {name} {recorded.get(name)}, but {getattr(config, name)} is "
            "wanted here: choose another --out"
        )


def _train(folders: dict[Path, Config], out: Path, quiet: bool) -> dict[Path, str]:
    """Train all runs in processes of their own; return the errors of those that failed."""
    first = next(iter(folders.values()))
    processes = 1 if first.device != "cpu" else available_cores()
    epochs = sum(config.epochs for config in folders.values())
    try:
        with (
            StopSignals() as stop,
            closing(Counting(epochs, "epochs of training", quiet=quiet)) as counting,
        ):
            return train_all(
                folders,
                processes=processes,
                stop=stop,
                report=counting.reach,
                say=Progress().say if quiet else Progress().warn,
            )
    except Interrupted as stopped:
        print(f"\n{stopped}: saved. Go on with the same command and --out {out}", file=sys.stderr)
        raise
