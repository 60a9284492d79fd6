"""Train a network, optimiser and data of your own: `minisd.fit`.

It is the loop of `minisd train`, `minisd.runs.fit`, with the same run folder.
"""

from collections.abc import Iterable
from pathlib import Path

from minisd import machine
from minisd.data.batches import NO_AUGMENTATION, Augmentation
from minisd.distributed import ALONE, Group
from minisd.distributed.launch import started_with
from minisd.errors import ConfigError
from minisd.layer import Layer
from minisd.ops.check import whole_number
from minisd.optim import Optimizer, Schedule, bound
from minisd.runs import folder as runfolder
from minisd.runs import origin as origins
from minisd.runs import session, snapshot
from minisd.runs.callbacks import Callbacks
from minisd.runs.fit import fit as run_loop
from minisd.runs.given import training_of
from minisd.runs.in_folder import train_in
from minisd.runs.interrupt import StopSignals
from minisd.runs.introduction import introduce
from minisd.runs.material import Images, material_of
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
    >>> import numpy as np
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
    run = training_of(
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
            snapshot.share(run)
            train_in(folder, run, progress)
            return run
    with session.claimed(folder, group, create=False):
        before = group.first(lambda: _go_on(run, folder))
        snapshot.share(run)
        if before != run.epochs:
            origins.change_length(run, before, bound(run.given_schedule, before))
        train_in(folder, run, progress)
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
    snapshot.share(run)
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
