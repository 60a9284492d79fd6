"""What ``config.json`` says of objects that a program hands to `minisd.fit`.

It is compared when the run goes on, so that a folder is never continued with other objects. A
function can only be known by its name.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from minisd.layer import Layer
from minisd.optim import Optimizer, Schedule
from minisd.runs import checkpoint


def described_model(model: Layer) -> dict[str, Any]:
    """Return the kind of a network, and a checksum of the names and shapes of all its arrays."""
    declared = checkpoint.declare(checkpoint.layer_arrays(model))
    text = "\n".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in declared.items())
    return {
        "class": type(model).__name__,
        "arrays": len(declared),
        "shapes": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    }


def described_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings of an optimiser, but for the learning rate, which is the schedule's."""
    describe = getattr(optimizer, "describe", None)
    if describe is not None:
        return {k: v for k, v in checkpoint.as_json(describe()).items() if k != "lr"}
    numbers = {k: v for k, v in vars(optimizer).items() if isinstance(v, float | str | bool)}
    numbers = {k: v for k, v in numbers.items() if k != "lr" and not k.startswith("_")}
    return {"name": type(optimizer).__name__, **numbers}


def described_schedule(schedule: Schedule) -> Any:
    """Return the settings of a schedule, or the name of a function."""
    try:
        return checkpoint.as_json(schedule.describe())  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        return name_of(schedule)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of an object that is called."""
    return getattr(function, "__qualname__", type(function).__qualname__)
