"""The training that the arguments of `minisd.fit` describe, once they are checked."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from minisd import machine
from minisd.backend import is_cupy
from minisd.distributed import Group
from minisd.distributed.launch import threads_per_rank
from minisd.errors import ConfigError
from minisd.layer import Layer
from minisd.ops.check import cannot_take, number, whole_number
from minisd.optim import Optimizer, Schedule, StepSchedule, bound, check_optimizer
from minisd.runs.described import (
    described_model,
    described_optimizer,
    described_schedule,
    name_of,
)
from minisd.runs.material import Material
from minisd.runs.run import spawned
from minisd.runs.training import Callback, Training
from minisd.stochastic_depth import Sampler


def training_of(
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
    """Return the training at its start, from the arguments of `minisd.fit`.

    Raises
    ------
    ConfigError
        If they do not fit together.
    """
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
