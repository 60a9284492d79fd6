"""How the checks of assignment 2 are changed where channels and filters are in groups."""

from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

from minisd.course.checks import Case, Check
from minisd.course.handouts.a2.checks import redrawn

GROUPS = (2, 4, 2, 1)


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with groups in each case of 2.2 and 2.3. In 2.4 there is one."""
    number = {"2.2": GROUPS, "2.3": GROUPS, "2.4": (1,)}
    return [
        replace(
            check,
            cases=[
                _grouped(*pair)
                for pair in zip(check.cases, cycle(number[check.task]), strict=False)
            ],
        )
        if check.task in number
        else check
        for check in checks
    ]


def _grouped(case: Case, groups: int) -> Case:
    """Return a case in which there are as many filters, and more channels in the image."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        values = case.draw(rng)
        N, C, H, W = values["x"].shape
        return {**values, "x": redrawn(rng, values["x"], (N, C * groups, H, W))}

    filters = len(case.draw(np.random.default_rng(0))["w"])
    groups = groups if filters % groups == 0 else filters
    name = f"{case.name}, {groups} group{'s' * (groups > 1)}"
    return replace(case, name=name, draw=draw, more={"groups": groups})
