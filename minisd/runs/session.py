"""One sitting of training: a run and its folder, new or gone on with."""

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

from minisd import figures, machine
from minisd.errors import CheckpointError, ConfigError, NonFiniteError, UserError
from minisd.flow import Recorder
from minisd.runs import folder as runfolder
from minisd.runs.config import Config, resolve
from minisd.runs.fit import fit
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.progress import Progress
from minisd.runs.run import MACHINE_SETTINGS, Run
from minisd.stochastic_depth import expected_depth


def train(
    config: Config, folder: Path, *, force: bool = False, progress: Progress | None = None
) -> Run:
    """Train a new run into ``folder``.

    Parameters
    ----------
    force : bool
        Replace an earlier run there.

    Returns
    -------
    Run
        Complete; ``run.position.best`` is the result.

    Raises
    ------
    UserError
        Whatever is wrong with settings, data or folder, before anything is written.
    Interrupted
        On Ctrl-C or SIGTERM, when the state is saved.
    """
    runfolder.check_free(folder, force=force)  # first of all: reading the data may take long
    with machine.threads(config.threads):
        run = Run(config)
    with runfolder.claim(folder, create=True):
        runfolder.check_free(folder, force=force)
        runfolder.clear(folder)
        return _train_in(folder, run, progress or Progress())


def resume(
    folder: Path, overrides: dict[str, Any] | None = None, *, progress: Progress | None = None
) -> Run:
    """Go on with a run that was interrupted or killed, to the same end as if it had not been.

    Parameters
    ----------
    overrides : dict, optional
        Other values of `minisd.runs.run.MACHINE_SETTINGS`: where it runs, not what is trained.

    Returns, Raises
    ---------------
    As `train`; and a CheckpointError if the checkpoint does not fit.
    """
    with runfolder.claim(folder, create=False):
        config = read_settings(folder, overrides or {})
        with machine.threads(config.threads):
            run = Run(config)
        if (folder / runfolder.CHECKPOINT).exists():
            run.restore(folder / runfolder.CHECKPOINT)
        elif (folder / runfolder.LOG).exists():
            raise CheckpointError(f"{folder} has a log but no checkpoint: nothing to resume")
        return _train_in(folder, run, progress or Progress())


def read_settings(folder: Path, overrides: dict[str, Any]) -> Config:
    """Read a run's settings from its ``config.json``, with the machine's own on top."""
    settings = runfolder.read_json(folder / runfolder.CONFIG)
    settings = {k: v for k, v in settings.items() if k not in ("resolved", "versions")}
    recorded, config = resolve(settings), resolve({**settings, **overrides})
    for name in overrides:
        old, new = getattr(recorded, name), getattr(config, name)
        if name not in MACHINE_SETTINGS and old != new:
            raise ConfigError(
                f"{name} is {old} in this run and cannot become {new}: only "
                f"{', '.join(MACHINE_SETTINGS)} may change; start a new run for another {name}"
            )
    return config


def _train_in(folder: Path, run: Run, progress: Progress) -> Run:
    """Train in a folder that is claimed already."""
    recorder: Recorder | None = None
    with machine.threads(run.config.threads):
        _introduce(run, folder, progress)

        def write_log() -> None:
            runfolder.write_log(folder / runfolder.LOG, run.position.history)

        def save() -> None:
            if recorder is not None:
                recorder.flush()  # first: a checkpoint is never ahead of it
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
                write_log()  # a kill may have come between the last checkpoint and its log
            else:
                save()
            progress.start(done=run.steps_done, total=run.steps_per_epoch * run.config.epochs)
            with StopSignals() as stop:
                try:
                    fit(run, save, progress, stop, recorder)
                except Interrupted:
                    save()
                    _draw(run, folder)
                    raise
                except NonFiniteError:
                    if recorder is not None:
                        recorder.flush()  # the steps before it are what one wants to see
                    raise
            _draw(run, folder)
        except OSError as error:
            if isinstance(error, UserError | BrokenPipeError):  # nobody reads what we say any more
                raise
            raise CheckpointError(f"{folder} cannot be written: {error}") from error
        finally:
            progress.stop()
            if recorder is not None:
                recorder.detach()
    return run


def _draw(run: Run, folder: Path) -> None:
    if run.position.history:
        figures.learning_curve(run.describe(), run.position.history, folder / runfolder.CURVE)


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _introduce(run: Run, folder: Path, progress: Progress) -> None:
    """Say what is about to be trained."""
    config, model, position = run.config, run.model, run.position
    C, H, W = run.image_shape
    progress.say(
        f"data      {config.data}: {len(run.train)} training, {len(run.validation)} validation, "
        f"{len(run.test)} test images of {C}x{H}x{W}, {run.num_classes} classes"
    )
    with_what = machine.blas_description() if run.device == "cpu" else "CuPy"
    progress.say(
        f"network   ResNet-{config.depth}, {model.num_parameters:,} parameters, shortcut "
        f"{config.shortcut}, on the {run.device} with {with_what}"
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
        rate += f", divided by 10 after epoch {' and '.join(drops)}"
    if config.warmup_epochs:
        rate += f", warm-up {config.warmup_lr:g} for {config.warmup_epochs} epochs"
    progress.say(
        f"training  {config.epochs} epochs of {run.steps_per_epoch} steps, batches of "
        f"{config.batch_size}; {rate}; seed {config.seed}"
    )
    settings = " ".join(
        f"{key}={_short(value)}" for key, value in dataclasses.asdict(config).items()
    )
    progress.say(
        textwrap.fill(
            settings,
            100,
            initial_indent="settings  ",
            subsequent_indent=" " * 10,
            break_on_hyphens=False,
        )
    )
    if run.is_complete:
        progress.say(f"complete  all {config.epochs} epochs were done before")
    elif run.steps_done:
        progress.say(f"resuming  at epoch {position.epoch}, after {run.steps_done} steps")
    progress.say(f"run       {folder}")
