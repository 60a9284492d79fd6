"""How the checks of assignment 2 are changed where kernels are dilated."""

from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

from minisd.course.checks import Case, Check
from minisd.course.handouts.a2.checks import redrawn, sizes

DILATIONS = (2, 3, 2, 1)


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with a dilation in each case. Pooling (2.5) has none."""
    return [check if check.task == "2.5" else _dilated(check) for check in checks]


def _dilated(check: Check) -> Check:
    change = of_sizes if check.task == "2.1" else of_images
    if "refusal" in check.points:
        would_fit = sizes((1, 1, 4, 4), (1, 1, 3, 3), 1, 1)  # without its gaps
        return replace(check, cases=[_with(case, 3) for case in [*check.cases, would_fit]])
    cases = [change(*pair) for pair in zip(check.cases, cycle(DILATIONS), strict=False)]
    return replace(check, cases=cases)


def of_sizes(case: Case, dilation: int) -> Case:
    """Return a case of `conv_output_size` with gaps in the kernel."""
    values: dict[str, Any] = case.draw(np.random.default_rng())  # nothing is drawn
    larger = _larger(values["x_shape"], values["w_shape"], dilation)
    return _with(sizes(larger, values["w_shape"], values["stride"], values["padding"]), dilation)


def of_images(case: Case, dilation: int) -> Case:
    """Return a case with gaps in the kernel, and images that are larger by as much as it is."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        values = case.draw(rng)
        shape = _larger(values["x"].shape, values["w"].shape, dilation)
        return {**values, "x": redrawn(rng, values["x"], shape)}

    return _with(replace(case, draw=draw), dilation)


def _larger(x_shape: tuple[int, ...], w_shape: tuple[int, ...], dilation: int) -> tuple[int, ...]:
    N, C, H, W = x_shape
    KH, KW = w_shape[2:]
    return N, C, H + (KH - 1) * (dilation - 1), W + (KW - 1) * (dilation - 1)


def _with(case: Case, dilation: int) -> Case:
    return replace(case, name=f"{case.name}, dilation {dilation}", more={"dilation": dilation})
