"""What a student's `two_arms` returns may be anything: here it becomes records, or an error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minisd.course.handouts.a5.checks import numbers
from minisd.course.handouts.a6.experiment import (
    ARM,
    ARMS,
    COLUMNS,
    GRADIENTS,
    MEASURED,
    STEP,
    WHOLE,
    Record,
)


def records_of(value: Any) -> list[Record]:
    """Return records with numbers of Python's own.

    Raises
    ------
    ValueError
        If it is no list of records; it ends the sentence "your function returns ...".
    """
    if not isinstance(value, list | tuple) or not all(isinstance(r, dict) for r in value):
        raise ValueError("no list of dicts")
    return [_record(record) for record in value]


def _record(record: dict[str, Any]) -> Record:
    for name in (*COLUMNS, GRADIENTS):
        if name not in record:
            raise ValueError(f"records without {name!r}")
    if record[ARM] not in ARMS:
        raise ValueError(f"records whose {ARM!r} is neither {' nor '.join(ARMS)}")
    found: Record = {ARM: record[ARM]}
    for name in COLUMNS:
        if name != ARM:
            number = numbers(record[name])
            if not isinstance(number, np.ndarray) or number.size != 1:
                raise ValueError(f"records whose {name!r} is no number")
            found[name] = int(number.item()) if name in WHOLE else float(number.item())
    gradients = numbers(record[GRADIENTS])
    if not isinstance(gradients, np.ndarray) or gradients.ndim != 1:
        raise ValueError(f"records whose {GRADIENTS!r} are no list of numbers")
    found[GRADIENTS] = gradients.tolist()
    return found


def arrays(records: Sequence[Record], arm: str, steps: int) -> dict[str, np.ndarray]:
    """Return what one run has measured, by step.

    Returns
    -------
    arrays : dict
        "loss" (steps,), "errors" (steps, 2): validation and test, "gradients" (steps, L).

    Raises
    ------
    ValueError
        If the steps are not 1, 2, ..., or the gradients have different lengths.
    """
    of_arm = sorted((r for r in records if r[ARM] == arm), key=lambda r: int(r[STEP]))
    if [record[STEP] for record in of_arm] != list(range(1, steps + 1)):
        raise ValueError(f"other steps of the {arm} arm than 1 to {steps}")
    if len({len(record[GRADIENTS]) for record in of_arm}) > 1:
        raise ValueError("more gradients in one step than in another")
    loss, *errors = (np.array([record[name] for record in of_arm]) for name in MEASURED)
    return {
        "loss": loss,
        "errors": np.stack(errors, axis=1),
        GRADIENTS: np.array([record[GRADIENTS] for record in of_arm]),
    }
