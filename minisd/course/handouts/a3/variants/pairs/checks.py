"""How the checks of assignment 3 are changed where two neighbouring channels are normalised as one.

The running statistics, gamma and beta of a case stay as they are, and belong to pairs.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from minisd.course.checks import Case, Check
from minisd.course.handouts.a3.checks import altered, images


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with twice as many channels. What is refused is an odd number of them."""
    return [_paired(check) for check in checks]


def _paired(check: Check) -> Check:
    if "refusal" in check.points:
        shapes = [(3, 2, 4, 5), (2, 1, 3, 3)][: len(check.cases)]
        cases = [
            Case(f"{2 * shape[1] - 1} channels", altered(images(*shape), one_channel_less))
            for shape in shapes
        ]
    else:
        change = filters if check.task == "3.7" else channels
        cases = [replace(case, draw=altered(case.draw, change)) for case in check.cases]
    return replace(check, cases=cases)


def channels(values: dict[str, Any]) -> None:
    """Put another channel behind each: the same numbers turned round, spread and moved."""
    for name in ("x", "then", "dy"):
        if values[name] is not None:
            values[name] = _with_others(values[name])


def _with_others(x: np.ndarray) -> np.ndarray:
    mean, std = (f(x, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    N, C, H, W = x.shape
    both = np.empty_like(x, shape=(N, 2 * C, H, W))  # in the same order in memory
    both[:, 0::2] = x
    both[:, 1::2] = mean + 1.5 * (x[::-1, :, ::-1] - mean) + std
    return both


def one_channel_less(values: dict[str, Any]) -> None:
    """Leave the last pair with one channel."""
    channels(values)
    for name in ("x", "dy"):
        values[name] = values[name][:, :-1]


def filters(values: dict[str, Any]) -> None:
    """Put another filter behind each."""
    w, b = values["w"], values["b"]
    values["w"] = np.stack([w, 0.5 - w[:, ::-1]], axis=1).reshape(-1, *w.shape[1:])
    if b is not None:
        values["b"] = np.stack([b, 1 - b], axis=1).reshape(-1)
