"""Start a run in its folder, or resume it there."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minisd import machine
from minisd.distributed import ALONE, Group
from minisd.distributed.launch import threads_per_rank
from minisd.errors import CheckpointError, ConfigError, RunFolderError
from minisd.runs import folder as runfolder
from minisd.runs import origin as origins
from minisd.runs import snapshot
from minisd.runs.config import Config, resolve, with_present_names
from minisd.runs.in_folder import train_in
from minisd.runs.progress import Progress
from minisd.runs.run import MACHINE_SETTINGS, Run, may_have_moved
from minisd.runs.training import Training
from minisd.runs.weights import start_from

MAY_CHANGE = (*MACHINE_SETTINGS, "epochs")
"""Settings that may change when a run is resumed."""


def train(
    config: Config,
    folder: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    origin: dict[str, Any] | None = None,
    group: Group = ALONE,
) -> Run:
    """Train a new run into ``folder``.

    Parameters
    ----------
    force : bool
        Replace an earlier run there.
    origin : dict, optional
        Where its settings came from: see `minisd.runs.origin`.
    group : Group
        Ranks that train it together; all call this. Only the first has to do with the folder.

    Returns
    -------
    Run
        All its epochs are done; ``run.position.best`` is the result.

    Raises
    ------
    UserError
        If settings, data or folder are invalid. Nothing is written then.
    Interrupted
        After Ctrl-C, SIGTERM or SIGHUP, once the state is saved.
    """
    folder = Path(folder)
    # first: reading the data may take long
    group.first(lambda: runfolder.check_free(folder, force=force))
    if config.init is not None and Path(config.init).resolve() == folder.resolve():
        raise ConfigError(f"init {config.init} is the folder of the new run: choose another --out")
    run = _make(config, origin, group)

    def start_from_init() -> None:
        if config.init is not None:
            run.origin["init"] = start_from(run.model, Path(config.init), config.scale)

    group.first(start_from_init)
    snapshot.share(run)
    with claimed(folder, group, create=True):
        group.first(lambda: runfolder.clear_free(folder, force=force))
        return train_in(folder, run, progress or Progress())


def resume(
    folder: str | Path,
    overrides: dict[str, Any] | None = None,
    *,
    progress: Progress | None = None,
    group: Group = ALONE,
) -> Run:
    """Resume a run that was interrupted or killed. The result is as if it had never stopped.

    Parameters
    ----------
    overrides : dict, optional
        Other values of `minisd.runs.run.MACHINE_SETTINGS`: where it runs, not what is trained. And
        ``epochs``: the run, finished or not, is to have this length (`origin.change_length`).
    group : Group
        As for `train`. The run may have had another number of ranks before.

    Returns
    -------
    Run
        As for `train`.

    Raises
    ------
    UserError
        As for `train`; a CheckpointError if the checkpoint does not fit.
    Interrupted
        As for `train`.
    """
    folder = Path(folder)
    group.first(lambda: _check_is_run(folder))

    def read() -> tuple[Config, Config, dict[str, Any]]:
        recorded = read_settings(folder, {})
        config = read_settings(folder, overrides or {}, may_change=MAY_CHANGE)
        return recorded, config, origins.read(folder / runfolder.CONFIG)

    with claimed(folder, group, create=False):
        recorded, config, origin = group.first(read)
        run = _make(config, origin, group)

        def find() -> None:
            if not restore(run, folder, recorded.epochs) and config.init is not None:
                _start_again_from(run, Path(config.init))

        group.first(find)
        snapshot.share(run)
        if config.epochs != recorded.epochs:
            origins.change_length(run, recorded.epochs, recorded.rates)
        return train_in(folder, run, progress or Progress())


def _make(config: Config, origin: dict[str, Any] | None, group: Group) -> Run:
    """Make the run on every rank. By default, ranks share the cores of their machine."""
    threads = config.threads or threads_per_rank(group, machine.available_cores())
    config = dataclasses.replace(config, threads=threads)
    with machine.threads(threads):
        run = group.together(lambda: Run(config, origin=origin, group=group))
    snapshot.check_same_for_all(run)
    return run


@contextlib.contextmanager
def claimed(folder: Path, group: Group, *, create: bool) -> Iterator[None]:
    """`runfolder.claim`, by the first rank for all."""
    with contextlib.ExitStack() as held:

        def claim() -> None:
            held.enter_context(runfolder.claim(folder, create=create))

        group.first(claim)
        yield


def _check_is_run(folder: Path) -> None:
    if (folder / runfolder.CONFIG).exists() and not runfolder.is_run(folder):
        raise RunFolderError(
            f"{folder} is not a run folder: its {runfolder.CONFIG} is damaged, or minisd did not "
            "write it"
        )


def restore(run: Training, folder: Path, epochs: int) -> bool:
    """Restore the state of a run from its folder; return whether there was one.

    Parameters
    ----------
    epochs : int
        The length of the run by its ``config.json``.
    """
    if (folder / runfolder.CHECKPOINT).exists():
        # a kill may have come between the writing of a new length and the next checkpoint
        snapshot.restore(
            run, folder / runfolder.CHECKPOINT, epochs={epochs, *origins.lengths(run.origin)}
        )
        return True
    if (folder / runfolder.LOG).exists():
        raise CheckpointError(f"{folder} has a log but no checkpoint: it cannot be resumed")
    return False


def _start_again_from(run: Run, init: Path) -> None:
    """Read the initial weights again, for a run that was killed before its first checkpoint."""
    found = start_from(run.model, init, run.config.scale)
    if found["digest"] != run.origin["init"]["digest"]:
        raise CheckpointError(
            f"{init} has other weights than those that this run has started from, and there is no "
            "checkpoint yet: start a new run"
        )


def settings_in(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON file: your own, or the ``config.json`` of a run.

    Raises
    ------
    RunFolderError
        If it is missing or damaged, or the run was made by `minisd.fit`, whose settings are those
        of a program.
    """
    content = runfolder.read_json(path)
    if content.get("made_by") == "minisd.fit":
        raise RunFolderError(
            f"{path} is of a run that a program made with minisd.fit: run that program again"
        )
    return {name: value for name, value in content.items() if name not in runfolder.NOT_SETTINGS}


def read_settings(
    folder: Path, overrides: dict[str, Any], *, may_change: tuple[str, ...] = MACHINE_SETTINGS
) -> Config:
    """Read a run's settings from its ``config.json``; ``overrides`` replace some of them.

    Raises
    ------
    ConfigError
        If an override changes another setting than those of ``may_change``.
    """
    path = folder / runfolder.CONFIG
    settings = settings_in(path)
    try:
        settings = with_present_names(settings)
        recorded = resolve(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    overrides = with_present_names(overrides)
    config = resolve({**settings, **overrides})
    for name in overrides:
        old, new = getattr(recorded, name), getattr(config, name)
        if name == "data" and may_have_moved(old, new):
            continue  # the checkpoint knows whether they are the same images
        if name not in may_change and old != new:
            raise ConfigError(
                f"{name} is {old} in this run and cannot become {new}: only "
                f"{', '.join(may_change)} may change; to change {name}, start a new run"
            )
    return config
