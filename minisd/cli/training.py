"""``minisd train``: which run is asked for, and whether its options fit together."""

import shlex
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from minisd.cli.commands import OK
from minisd.cli.idle_options import check_effect
from minisd.cli.named_data import check_data_is_named
from minisd.cli.seeds import train_seeds
from minisd.cli.survival_option import chosen_survival
from minisd.data import is_path, own
from minisd.distributed import Group
from minisd.distributed.launch import join, ranks_that_share_cores
from minisd.errors import ConfigError
from minisd.machine import available_cores
from minisd.runs import folder as runfolder
from minisd.runs import interrupt, session
from minisd.runs.config import resolve, with_present_names
from minisd.runs.interrupt import Interrupted
from minisd.runs.progress import Console, Progress


def train(
    *,
    out: Path | None = None,
    force: bool = False,
    resume: Path | None = None,
    config: Path | None = None,
    seeds: list[int] | None = None,
    quiet: bool = False,
    end_with_parent: bool = False,
    processes: int | None = None,
    **settings: Any,
) -> int:
    """Train a residual network with stochastic depth. Without options: on the bundled digits."""
    if end_with_parent:
        interrupt.end_with_parent()
    group = join()
    _check_processes(processes, group, seeds)
    progress = Progress() if quiet or group.rank > 0 else Console()
    if resume is not None and (out is not None or force):
        raise ConfigError("--resume continues in the run's own folder: leave out --out and --force")
    if force and out is None:
        raise ConfigError("--force replaces the run in --out: give --out as well")
    if resume is not None and config is not None:
        raise ConfigError("--resume has the run's own settings: leave out --config")
    if seeds is not None and (force or resume is not None or "seed" in settings):
        raise ConfigError(
            "--seeds is for new runs, each with its seed: leave out --seed, --resume and --force"
        )
    origin = {}
    if "survival" in settings:
        settings["survival"], remark = chosen_survival(settings["survival"])
        origin = {} if remark is None else {"survival": remark}
        if remark is not None and resume is not None:
            raise ConfigError("a run that is resumed keeps its probabilities: leave out --survival")
    if "init" in settings:  # so that the run, if killed at once, finds it from any folder
        settings["init"] = own.absolute(settings["init"])
    given = with_present_names(settings)
    if config is not None:
        settings = _with_file(config, settings)
    if resume is None:
        check_data_is_named(settings)
        if not end_with_parent:  # else a program has chosen the options
            check_effect(given, resolve(settings))
    if seeds is not None:
        train_seeds(seeds, settings, out, progress, quiet)
        return OK
    with ExitStack() as made:
        if resume is not None:
            folder = resume
            start = partial(session.resume, folder, settings, group=group)
        else:
            chosen = resolve(settings)
            stem = chosen.data_name if is_path(chosen.data) else chosen.preset
            folder = out or group.first(
                lambda: made.enter_context(runfolder.new_folder(Path("runs"), stem))
            )
            start = partial(session.train, chosen, folder, force=force, origin=origin, group=group)
        try:
            run = start(progress=progress)
        except Interrupted as stopped:
            if group.rank == 0:
                line = shlex.join(["minisd", "train", "--resume", str(folder)])
                line += f" --processes {group.size}" if group.size > 1 else ""
                print(f"\n{stopped}: saved. Go on with: {line}", file=sys.stderr)
            raise
    best = run.position.best
    assert best is not None
    progress.say(
        f"result    test error {best['test_error']:.2%} at epoch {best['epoch']}, of lowest "
        f"validation error ({best['val_error']:.2%})\n"
        f"files     {folder}/  config.json  log.jsonl  checkpoint.npz  curve.png"
    )
    return OK


def _check_processes(processes: int | None, group: Group, seeds: list[int] | None) -> None:
    """Refuse numbers of processes that do not fit together."""
    size = group.size
    if processes is not None and processes != size:  # `minisd.cli.running` has started the others
        raise ConfigError(
            f"mpiexec has started {size} processes: leave out --processes {processes}"
            if size > 1
            else f"--processes must be at least 1, got {processes}"
        )
    if seeds is not None and size > 1:
        raise ConfigError("--seeds trains each run in a process of its own: leave out --processes")
    cores, ranks = available_cores(), ranks_that_share_cores(group)
    if group.rank == 0 and ranks > cores:
        Progress().warn(
            f"{ranks} processes on {cores} cores: those that wait keep a core busy, which makes "
            "all of them slow"
        )


def _with_file(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file, or of the run in a folder, with those of the command line."""
    if "preset" in settings:
        raise ConfigError(
            "--config has all settings, so a preset has no effect: leave out --preset"
        )
    path = path / runfolder.CONFIG if path.is_dir() else path
    if not path.exists():
        raise ConfigError(f"there is no file {path}: give settings, such as a run's config.json")
    there = with_present_names(session.settings_in(path))
    chosen = {**there, **with_present_names(settings)}
    try:
        resolve(chosen)
    except ConfigError as error:
        raise ConfigError(f"with the settings of {path}: {error}") from error
    return chosen
