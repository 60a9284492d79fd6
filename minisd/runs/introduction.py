"""What is printed before training: data, network, depth, learning rate, settings."""

from pathlib import Path
from typing import Any

from minisd import machine
from minisd.distributed import ShardedGroup
from minisd.optim import StepSchedule
from minisd.runs.progress import Progress, counted
from minisd.runs.run import Run
from minisd.runs.training import Training
from minisd.stochastic_depth import expected_depth


def introduce(run: Training, folder: Path | None, progress: Progress) -> None:
    """Print what is about to be trained."""
    progress.say(f"data      {_data(run)}")
    if isinstance(run, Run) and run.data_remark:
        progress.say(f"          {run.data_remark}")
    if isinstance(run, Run) and run.config.preset == "own" and not run.config.flip:
        progress.say(
            "          not mirrored in training: --flip, if a mirrored image has the same label"
        )
    library = machine.blas_description() if run.device == "cpu" else "CuPy"
    progress.say(f"network   {_network(run)}, on the {run.device} with {library}")
    if run.is_shared:
        progress.say(f"ranks     {_ranks(run)}")
    if isinstance(run, Run) and run.why_device:
        progress.say(f"device    {run.device} ({run.why_device})")
    if run.survival_probs:
        progress.say(f"depth     {_depth(run)}")
    progress.say(
        f"training  {counted(run.epochs, 'epoch')} of {counted(run.steps_per_epoch, 'step')}, "
        f"batches of {run.batch_size}; {_rate(run)}; seed {run.settings['seed']}"
    )
    for line in _origin(run.origin):
        progress.say(line)
    if isinstance(run, Run):
        settings = " ".join(f"{key}={_short(value)}" for key, value in run.settings.items())
        progress.say(f"settings  {settings}")
    if run.is_complete:
        done = "the only epoch was" if run.epochs == 1 else f"all {run.epochs} epochs were"
        progress.say(f"complete  {done} done before")
    elif run.steps_done:
        progress.say(
            f"resuming  at epoch {run.position.epoch}, after {counted(run.steps_done, 'step')}"
        )
    if folder is not None:
        progress.say(f"run       {folder}")


def heading(run: Training) -> str:
    """Return a title for the learning curve."""
    what = (
        f"ResNet-{run.config.depth} on {run.config.data_name}"
        if isinstance(run, Run)
        else type(run.model).__name__
    )
    probs, settings = run.survival_probs, run.settings
    if not probs:
        return what
    if min(probs) == 1:
        return f"{what}: constant depth"
    if isinstance(run, Run) and isinstance(run.config.survival, str):
        return f"{what}: stochastic depth, {settings['survival']} p_L = {settings['p_last']:g}"
    return f"{what}: stochastic depth, p_l from {probs[0]:g} to {probs[-1]:g}"


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _data(run: Training) -> str:
    C, H, W = run.image_shape
    name = f"{run.config.data_name}: " if isinstance(run, Run) else ""
    test = "no" if run.test is None else str(len(run.test))
    classes = "" if run.num_classes is None else f", {run.num_classes} classes"
    return (
        f"{name}{len(run.train)} training, {len(run.validation)} validation, {test} test images of "
        f"{C}x{H}x{W}{classes}"
    )


def _network(run: Training) -> str:
    number = sum(parameter.data.size for _, parameter in run.model.parameters())
    if isinstance(run, Run):
        return f"ResNet-{run.config.depth}, {number:,} parameters, shortcut {run.config.shortcut}"
    return f"{type(run.model).__name__}, {number:,} parameters, {type(run.optimizer).__name__}"


def _ranks(run: Training) -> str:
    group = run.group
    words = "1 process" if group.size == 1 else f"{group.size} processes"
    if isinstance(group, ShardedGroup):
        words += f", {group.num_shards} shards of every batch"
    if group.size > 1 and run.device == "cuda":
        words += "; sums go through the host, which is slow"
    return words


def _depth(run: Training) -> str:
    probs = run.survival_probs
    L, depth = len(probs), expected_depth(probs)
    return (
        f"L = {L} blocks; {rule_in_words(run.settings, probs)}; expected depth {depth:.2f} open "
        f"blocks per step ({depth / L:.0%})"
    )


def rule_in_words(settings: dict[str, Any], probs: list[float]) -> str:
    """Return what the survival probabilities are."""
    p_last = settings.get("p_last", probs[-1])
    named = {
        "linear": f"p_l falls linearly to p_L = {p_last:g}",
        "uniform": f"p_l = {p_last:g} for all",
        "cosine": f"p_l falls along half a cosine to p_L = {p_last:g}",
        "constant": "constant depth, no block is ever dropped",
    }
    if isinstance(settings["survival"], str) and settings["survival"] in named:
        return named[settings["survival"]]
    if min(probs) == 1:
        return named["constant"]
    return f"own p_l from {probs[0]:g} to {probs[-1]:g}"


def _rate(run: Training) -> str:
    if not isinstance(run, Run):
        return f"rate {run.rate():g} at first" if not run.is_complete else "rate by schedule"
    config = run.config
    if not isinstance(run.schedule, StepSchedule):
        shape = {"cosine": "along half a cosine to 0", "one-cycle": "up and down in one cycle"}
        warm = f", warm-up of {counted(config.warmup_epochs, 'epoch')}"
        return f"rate {config.lr:g}, {shape[config.schedule]}{warm if config.warmup_epochs else ''}"
    drops = [str(drop) for drop in run.schedule.drop_epochs if drop < config.epochs]
    rate = f"rate {config.lr:g}"
    if drops:
        epochs = "epoch" if len(drops) == 1 else "epochs"
        rate += f", divided by 10 after {epochs} {' and '.join(drops)}"
    if config.warmup_epochs:
        rate += f", warm-up {config.warmup_lr:g} for {counted(config.warmup_epochs, 'epoch')}"
    return rate


def _origin(origin: dict[str, Any]) -> list[str]:
    """Return a line for each thing in a run's past."""
    lines = []
    if "survival" in origin:
        lines.append(f"survival  probabilities by {origin['survival']}")
    if "init" in origin:
        init = origin["init"]
        lines.append(f"init      weights of {init['run']}, epoch {init['epoch']}")
        lines += [f"          {remark}" for remark in init["remarks"]]
    lines += [f"length    {change['remark']}" for change in origin.get("lengths", [])]
    return lines
