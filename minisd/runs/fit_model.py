"""Train a network, optimiser and data of your own: `minisd.fit`.

It is the loop of `minisd train`, `minisd.runs.fit`, with the same run folder.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minisd import machine
from minisd.backend import is_cupy
from minisd.data.batches import NO_AUGMENTATION, Augmentation
from minisd.distributed import ALONE, Group
from minisd.distributed.launch import started_with, threads_per_rank
from minisd.errors import ConfigError
from minisd.layer import Layer
from minisd.ops.check import cannot_take, number, whole_number
from minisd.optim import Optimizer, Schedule, StepSchedule, bound, check_optimizer
from minisd.runs import folder as runfolder
from minisd.runs import origin as origins
from minisd.runs import session
from minisd.runs.callbacks import Callbacks
from minisd.runs.described import (
    described_model,
    described_optimizer,
    described_schedule,
    name_of,
)
from minisd.runs.fit import fit as run_loop
from minisd.runs.interrupt import StopSignals
from minisd.runs.introduction import introduce
from minisd.runs.material import Images, Material, material_of
from minisd.runs.progress import Console, Progress, Silent
from minisd.runs.run import spawned
from minisd.runs.training import Callback, Training
from minisd.stochastic_depth import Sampler


def fit(
    model: Layer,
    optimizer: Optimizer,
    train: Images,
    validation: Images | None = None,
    *,
    epochs: int,
    test: Images | None = None,
    batch_size: int = 128,
    schedule: Schedule | float | None = None,
    gates: Sampler | str | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    normalise: bool = True,
    validate_every: int | None = None,
    flow: int | None = None,
    callbacks: Iterable[Callback] = (),
    seed: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
    group: Group = ALONE,
) -> Training:
    """Train ``model`` and return the run: its ``history``, ``best`` evaluation, and so on.

    The network then has the weights of the last step. Those of the lowest validation error are
    put into it by ``run.use_best()``, or read later with ``minisd.load_model(out)``.

    With ``out``, everything is saved there as `minisd train` does, after each epoch and on Ctrl-C.
    Called again with the same arguments, in the same program or in another process, training goes
    on from there, and ends with the same bits as if it had never stopped. With more ``epochs`` it
    goes on longer. ``model`` and ``optimizer`` are changed in place.

    Parameters
    ----------
    model : Layer
        For instance a `minisd.ResNet`; its gates are drawn if it has ``blocks``.
    optimizer : Optimizer
        Such as ``SGD(model, 0.1)``, made for this model, or one of your own.
    train, validation, test : Split, (images, labels), or Dataset
        Images (N, C, H, W), uint8 or floats, and labels (N,) from 0, NumPy arrays. The validation
        error decides which weights are the best; the test error is reported only. A `Dataset` for
        ``train`` brings its test images, and part of its training images for ``validation`` unless
        that is given.
    epochs : int
        Passes through the training images, in all.
    batch_size : int
        Images per mini-batch.
    schedule : function of the epoch, or float, optional
        The learning rate: such as ``cosine(0.1)``, or any function of the epoch counted from 1 (1.5
        is the middle of the first epoch). None: that of the optimiser, always.
    gates : function of (probabilities, rng), or "image", optional
        Draws the gates of a mini-batch, one bool for each block. Default: each block by itself.
        "image": a gate for each image in each block (`minisd.draw_image_gates`). It saves no time.
    augmentation : Augmentation
        Random changes of the training images. Default: none.
    normalise : bool
        Subtract the mean training image and divide by the standard deviation.
    validate_every : int, optional
        Validate every N steps, in addition to the end of each epoch.
    flow : int, optional
        Record the gradient flow in ``out/flow.jsonl``, averaged over every N steps.
    callbacks : list of functions
        Called with (moment, run), as `minisd.runs.callbacks` says; or a `minisd.flow.Recorder`.
    seed : int
        Of the validation split, the order of the images with their augmentation, and the gates.
        Initial weights are those of ``model``.
    out : path, optional
        The folder of the run. None: nothing is written.
    force : bool
        Replace an earlier run in ``out``.
    quiet : bool
        Print nothing.
    group : Group
        For a program that ``mpiexec`` has started: `minisd.distributed.join()`. Every rank calls
        ``fit`` with the same arguments, and each computes a part of every mini-batch. Only the
        first has to do with ``out``. Callbacks are called on every rank.

    Returns
    -------
    run : Training

    Raises
    ------
    UserError
        If arguments do not fit together, or ``out`` has another run: of another network, optimiser,
        data or settings. Nothing is changed then.
    Interrupted
        With ``out``: after Ctrl-C, SIGTERM or SIGHUP, once the state is saved.
    NonFiniteError
        If the loss is not finite.

    Examples
    --------
    >>> from minisd import SGD, data, resnet
    >>> model = resnet(8, width=2, in_channels=1, rng=np.random.default_rng(0))
    >>> run = fit(model, SGD(model, 0.1), data.load("digits").limited(100), epochs=1, quiet=True)
    >>> run.is_complete, run.best["epoch"]
    (True, 1)
    """
    try:
        seed = whole_number("seed", seed, 0)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    run = _training(
        model,
        optimizer,
        material_of(train, validation, test, augmentation, normalise, spawned(seed)[1]),
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule,
        gates=gates,
        validate_every=validate_every,
        flow=flow,
        callbacks=callbacks,
        normalise=normalise,
        seed=seed,
        group=group,
    )
    progress = Silent() if group.rank > 0 else Progress() if quiet else Console()
    if started_with() > group.size:
        progress.warn(
            f"a launcher has started {started_with()} processes, and each trains a run of its own: "
            "to share one, give fit(..., group=minisd.distributed.join())"
        )
    if out is None:
        if flow is not None:
            raise ConfigError("flow is recorded in the folder of the run: give out as well")
        return _in_memory(run, progress)
    folder = Path(out)
    if group.first(lambda: force or not runfolder.is_there(folder)):
        group.first(lambda: runfolder.check_free(folder, force=force))
        with session.claimed(folder, group, create=True):
            group.first(lambda: runfolder.clear_free(folder, force=force))
            session.train_in(folder, run, progress)
            return run
    with session.claimed(folder, group, create=False):
        before = group.first(lambda: _go_on(run, folder))
        run.share()
        if before != run.epochs:
            origins.change_length(run, before, bound(run.given_schedule, before))
        session.train_in(folder, run, progress)
    return run


def _go_on(run: Training, folder: Path) -> int:
    """Restore the run of a folder, if it is this one; return how many epochs it was to have."""
    path = folder / runfolder.CONFIG
    content = runfolder.read_json(path)
    if content.get("made_by") != "minisd.fit":
        raise ConfigError(
            f"{folder} has a run of 'minisd train', or of something else: choose another out"
        )
    run.origin = origins.read(path)
    with runfolder.SETTINGS.checking(path):
        epochs = whole_number("epochs", content["epochs"], 1)
        digest = content["resolved"]["data_digest"]
    different = run.first_difference({**content, "epochs": run.epochs})
    if different:
        raise ConfigError(
            f"{folder} has another run: {different} is {content.get(different)!r} there, "
            f"{run.settings[different]!r} here. Choose another out, or replace it with force=True"
        )
    if digest != run.digest:
        raise ConfigError(
            f"{folder} has a run on other images or labels: choose another out, or replace it with "
            "force=True"
        )
    session.restore(run, folder, epochs)
    return epochs


def _in_memory(run: Training, progress: Progress) -> Training:
    """Train without a folder."""
    callbacks = Callbacks(run)
    run.share()
    with machine.threads(run.threads):
        introduce(run, None, progress)
        try:
            callbacks.tell("start")
            progress.start(done=0, total=run.steps_per_epoch * run.epochs)
            run_loop(
                run, lambda: callbacks.tell("save"), progress, StopSignals(run.group), callbacks
            )
        finally:
            progress.stop()
            callbacks.tell("end")
    return run


def _training(
    model: Layer,
    optimizer: Optimizer,
    material: Material,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule | float | None,
    gates: Sampler | str | None,
    validate_every: int | None,
    flow: int | None,
    callbacks: Iterable[Callback],
    normalise: bool,
    seed: int,
    group: Group,
) -> Training:
    """Check the arguments, and return the state at the start."""
    if not isinstance(model, Layer):
        raise ConfigError(f"fit trains a network, a Layer; got {model!r}")
    try:
        check_optimizer("fit", optimizer)
        _check_belongs(model, optimizer)
        epochs, batch_size = (
            whole_number("epochs", epochs, 1),
            whole_number("batch_size", batch_size, 1),
        )
        for name, value in (("validate_every", validate_every), ("flow", flow)):
            if value is not None:
                whole_number(name, value, 1)
        if schedule is None:
            schedule = optimizer.lr
        if isinstance(schedule, int | float | np.number):
            schedule = StepSchedule(number("schedule", schedule, "(0, inf)"), drops=())
        over_epochs = bound(schedule, epochs)
        number("the learning rate that the schedule gives", over_epochs(1.0), "[0, inf)")
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if gates is not None and gates != "image" and not callable(gates):
        raise ConfigError(f"gates is a function of (probabilities, rng), or 'image'; got {gates!r}")
    if gates is not None and not getattr(model, "blocks", []):
        raise ConfigError(f"gates are for residual blocks, and {type(model).__name__} has none")
    blocks = [block.survival_prob for block in getattr(model, "blocks", [])]
    if callable(gates) and (reason := cannot_take(gates, blocks, np.random.default_rng())):
        raise ConfigError(f"gates is called as {name_of(gates)}(probabilities, rng): {reason}")
    if not isinstance(callbacks, Iterable):
        raise ConfigError(f"callbacks is a list of functions (moment, run); got {callbacks!r}")
    callbacks = list(callbacks)
    _, _, data_rng, gate_rng = spawned(seed)
    settings = {
        "made_by": "minisd.fit",
        "model": described_model(model),
        "survival": list(getattr(model, "survival_probs", [])),
        "optimizer": described_optimizer(optimizer),
        "schedule": described_schedule(schedule),
        "gates": gates if gates is None or isinstance(gates, str) else name_of(gates),
        "epochs": epochs,
        "batch_size": batch_size,
        "augmentation": dataclasses.asdict(material.augmentation),
        "normalise": bool(normalise),
        "validate_every": validate_every,
        "flow": flow,
        "seed": seed,
    }
    first = next((p.data for _, p in model.parameters()), None)
    run = Training(
        model,
        optimizer,
        material,
        schedule=over_epochs,
        epochs=epochs,
        batch_size=batch_size,
        validate_every=validate_every,
        data_rng=data_rng,
        gate_rng=gate_rng,
        device="cuda" if is_cupy(first) else "cpu",
        threads=min(machine.num_threads(), threads_per_rank(group, machine.available_cores())),
        flow=flow,
        gates=None if isinstance(gates, str) else gates,
        per_image=gates == "image",
        callbacks=callbacks,
        settings=settings,
        group=group,
    )
    run.given_schedule = schedule
    return run


def _check_belongs(model: Layer, optimizer: Optimizer) -> None:
    """Raise a ValueError if the optimiser moves parameters that are not the model's."""
    of_model = {id(parameter) for _, parameter in model.parameters()}
    strangers = [name for name, p in optimizer.parameters.items() if id(p) not in of_model]
    if strangers:
        raise ValueError(
            f"the optimiser was made for another network ({strangers[0]} is not a parameter of "
            f"this one): make it again, {type(optimizer).__name__}(model, ...)"
        )
