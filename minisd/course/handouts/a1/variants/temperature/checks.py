"""How the checks of assignment 1 are changed where the softmax has a temperature."""

from dataclasses import replace
from itertools import cycle

from minisd.course.checks import Case, Check

TEMPERATURES = (2.0, 1.5, 1.0, 3.0)
COLD = (0.5, 0.25)
"""So that large logits are too large for an exponential also when they are divided."""


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with a temperature in each case of 1.3 and 1.5."""
    return [_warmed(check) if check.task in ("1.3", "1.5") else check for check in checks]


def _warmed(check: Check) -> Check:
    temperatures = cycle(COLD if "large logits" in check.points else TEMPERATURES)
    return replace(
        check, cases=[_at(*pair) for pair in zip(check.cases, temperatures, strict=False)]
    )


def _at(case: Case, temperature: float) -> Case:
    name = f"{case.name} at temperature {temperature:g}"
    return replace(case, name=name, more={"temperature": temperature})
