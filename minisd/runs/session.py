"""Train a run in its folder: start it, or resume it."""

import dataclasses
from pathlib import Path
from typing import Any

from minisd import figures, machine
from minisd.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    RunFolderError,
    UserError,
)
from minisd.flow import Recorder
from minisd.runs import folder as runfolder
from minisd.runs.config import Config, resolve, with_present_names
from minisd.runs.fit import fit
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.progress import Progress, counted
from minisd.runs.run import MACHINE_SETTINGS, Run, may_have_moved
from minisd.stochastic_depth import expected_depth


def train(
    config: Config, folder: str | Path, *, force: bool = False, progress: Progress | None = None
) -> Run:
    """Train a new run into ``folder``.

    Parameters
    ----------
    force : bool
        Replace an earlier run there.

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
    runfolder.check_free(folder, force=force)  # first: reading the data may take long
    with machine.threads(config.threads):
        run = Run(config)
    with runfolder.claim(folder, create=True):
        runfolder.check_free(folder, force=force)
        runfolder.clear(folder)
        return _train_in(folder, run, progress or Progress())


def resume(
    folder: str | Path, overrides: dict[str, Any] | None = None, *, progress: Progress | None = None
) -> Run:
    """Resume a run that was interrupted or killed. The result is as if it had never stopped.

    Parameters
    ----------
    overrides : dict, optional
        Other values of `minisd.runs.run.MACHINE_SETTINGS`: where it runs, not what is trained.

    Returns, Raises
    ---------------
    As for `train`. Also raises a CheckpointError if the checkpoint does not fit.
    """
    folder = Path(folder)
    if (folder / runfolder.CONFIG).exists() and not runfolder.is_run(folder):
        raise RunFolderError(
            f"{folder} is not a run folder: its {runfolder.CONFIG} is damaged, or minisd did not "
            "write it"
        )
    with runfolder.claim(folder, create=False):
        config = read_settings(folder, overrides or {})
        with machine.threads(config.threads):
            run = Run(config)
        if (folder / runfolder.CHECKPOINT).exists():
            run.restore(folder / runfolder.CHECKPOINT)
        elif (folder / runfolder.LOG).exists():
            raise CheckpointError(f"{folder} has a log but no checkpoint: it cannot be resumed")
        return _train_in(folder, run, progress or Progress())


def read_settings(folder: Path, overrides: dict[str, Any]) -> Config:
    """Read a run's settings from its ``config.json``; ``overrides`` replace some of them.

    Raises
    ------
    ConfigError
        If an override changes what is trained: only `MACHINE_SETTINGS` may change.
    """
    path = folder / runfolder.CONFIG
    settings = runfolder.read_json(path)
    settings = {k: v for k, v in settings.items() if k not in ("resolved", "versions")}
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
        if name not in MACHINE_SETTINGS and old != new:
            raise ConfigError(
                f"{name} is {old} in this run and cannot become {new}: only "
                f"{', '.join(MACHINE_SETTINGS)} may change; to change {name}, start a new run"
            )
    return config


def _train_in(folder: Path, run: Run, progress: Progress) -> Run:
    """Train in a folder that is already locked for this process."""
    recorder: Recorder | None = None
    with machine.threads(run.config.threads):
        _introduce(run, folder, progress)

        def write_log() -> None:
            runfolder.write_log(folder / runfolder.LOG, run.position.history)

        def save() -> None:
            if recorder is not None:
                recorder.flush()  # first: the checkpoint must never be ahead of the record
            run.save(folder / runfolder.CHECKPOINT)
            write_log()

        try:
            runfolder.write_json(folder / runfolder.CONFIG, run.describe())
            if run.config.flow is not None and not run.is_complete:
                recorder = Recorder(
                    run.model,
                    run.optimizer,
                    folder / runfolder.FLOW,
                    average=run.config.flow,
                    done=run.steps_done,
                )
            if run.is_complete:
                write_log()  # the run may have been killed between its checkpoint and its log
            else:
                save()
            progress.start(done=run.steps_done, total=run.steps_per_epoch * run.config.epochs)
            with StopSignals() as stop:
                try:
                    fit(run, save, progress, stop, recorder)
                except Interrupted:
                    save()
                    _draw(run, folder, progress)
                    raise
                except NonFiniteError:
                    if recorder is not None:
                        recorder.flush()  # keep the steps that led to it
                    raise
            _draw(run, folder, progress)
        except OSError as error:
            if isinstance(error, UserError | BrokenPipeError):  # not an error of the folder
                raise
            raise CheckpointError(f"{folder} cannot be written: {error}") from error
        finally:
            progress.stop()
            if recorder is not None:
                recorder.detach()
    return run


def _draw(run: Run, folder: Path, progress: Progress) -> None:
    """Draw the learning curve. A picture that cannot be drawn does not cost the result."""
    if not run.position.history:
        return
    path = folder / runfolder.CURVE
    try:
        figures.learning_curve(run.describe(), run.position.history, path)
    except FileExistsError as error:  # a link, or a folder of that name
        progress.warn(f"{path} was not drawn: {error}")
    except OSError:
        raise
    except Exception as error:  # matplotlib's settings are the user's, and need TeX or a backend
        progress.warn(f"{path} was not drawn: {type(error).__name__}: {error}")


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _introduce(run: Run, folder: Path, progress: Progress) -> None:
    """Print what is about to be trained."""
    config, model, position = run.config, run.model, run.position
    C, H, W = run.image_shape
    progress.say(
        f"data      {config.data_name}: {len(run.train)} training, {len(run.validation)} "
        f"validation, {len(run.test)} test images of {C}x{H}x{W}, {run.num_classes} classes"
    )
    if run.data_remark:
        progress.say(f"          {run.data_remark}")
    if config.preset == "own" and not config.flip:
        progress.say(
            "          not mirrored in training: --flip, if a mirrored image has the same label"
        )
    library = machine.blas_description() if run.device == "cpu" else "CuPy"
    progress.say(
        f"network   ResNet-{config.depth}, {model.num_parameters:,} parameters, shortcut "
        f"{config.shortcut}, on the {run.device} with {library}"
    )
    if run.why_device:
        progress.say(f"device    {run.device} ({run.why_device})")
    depth = expected_depth(model.survival_probs)
    rule = {
        "linear": f"p_l falls linearly to p_L = {config.p_last:g}",
        "uniform": f"p_l = {config.p_last:g} for all",
        "constant": "constant depth, no block is ever dropped",
    }[config.survival]
    progress.say(
        f"depth     L = {model.num_blocks} blocks; {rule}; expected depth {depth:.2f} open blocks "
        f"per step ({depth / model.num_blocks:.0%})"
    )
    drops = [str(drop) for drop in run.schedule.drop_epochs if drop < config.epochs]
    rate = f"rate {config.lr:g}"
    if drops:
        epochs = "epoch" if len(drops) == 1 else "epochs"
        rate += f", divided by 10 after {epochs} {' and '.join(drops)}"
    if config.warmup_epochs:
        rate += f", warm-up {config.warmup_lr:g} for {counted(config.warmup_epochs, 'epoch')}"
    progress.say(
        f"training  {counted(config.epochs, 'epoch')} of {counted(run.steps_per_epoch, 'step')}, "
        f"batches of {config.batch_size}; {rate}; seed {config.seed}"
    )
    settings = " ".join(
        f"{key}={_short(value)}" for key, value in dataclasses.asdict(config).items()
    )
    progress.say(f"settings  {settings}")
    if run.is_complete:
        done = "the only epoch was" if config.epochs == 1 else f"all {config.epochs} epochs were"
        progress.say(f"complete  {done} done before")
    elif run.steps_done:
        progress.say(
            f"resuming  at epoch {position.epoch}, after {counted(run.steps_done, 'step')}"
        )
    progress.say(f"run       {folder}")
