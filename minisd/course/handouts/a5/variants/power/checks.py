"""How the checks of assignment 5 are changed where survival decays by a power of the depth."""

from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace
from typing import Any

from minisd.course.checks import Case, Check, Student
from minisd.course.handouts.a5.checks import numbers

POWERS = (2.0, 0.5, 1.0, 3.0, 1.5)


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with another rule in the first one."""
    first, *others = checks
    cases = [_bent(*pair) for pair in zip(first.cases, cycle(POWERS), strict=False)]
    name = "polynomial decay"
    return [
        replace(first, points={name: first.points["linear decay"]}, run=decay, cases=cases),
        *others,
    ]


def _bent(case: Case, power: float) -> Case:
    return replace(case, name=f"{case.name}, power {power:g}", more={"power": power})


def decay(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the survival probabilities."""
    found = student.call("polynomial_decay", case.num_blocks, case.p_last, **case.more)
    return {"polynomial decay": numbers(found)}
