"""The result of a gradient check, with hints that help to find a mistake."""

from dataclasses import dataclass, field

import numpy as np

TOLERANCE = 1e-6
FLOOR = 1e-3
"""Errors of slopes below this are relative to this number: rounding alone gives about 1e-10."""


class GradientError(AssertionError):
    """A gradient differs from finite differences."""


class KinkError(ValueError):
    """The input is so close to a kink of a ReLU that every step crosses it."""


@dataclass
class Slope:
    """One comparison: the slope of L along one element or one random direction of a tensor."""

    tensor: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    error: float

    def __str__(self) -> str:
        place = self.tensor + (
            " along a random direction" if self.index is None else str(list(self.index))
        )
        ratio = f"{self.analytic / self.numeric:.6g}" if self.numeric else "undefined"
        return (
            f"{place}: analytic {self.analytic:.9g}, numeric {self.numeric:.9g}, "
            f"ratio {ratio}, relative error {self.error:.2g}"
        )


@dataclass
class Report:
    """All comparisons of one operation, layer or network."""

    name: str
    batch_size: int
    tolerance: float = TOLERANCE
    slopes: list[Slope] = field(default_factory=list)
    kinks: int = 0
    """Number of steps that crossed a kink and were replaced by others."""

    @property
    def worst(self) -> Slope:
        """The comparison with the largest error."""
        return max(self.slopes, key=lambda slope: np.nan_to_num(slope.error, nan=np.inf))

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance (NaN is not)."""
        return all(slope.error <= self.tolerance for slope in self.slopes)

    def raise_if_failed(self) -> "Report":
        """Return the report itself, or raise a GradientError that says where, and perhaps why."""
        if not self.passed:
            raise GradientError(self.explain())
        return self

    def explain(self) -> str:
        """Return the worst comparison of each tensor that failed, and a hint from its ratios."""
        lines = [f"{self.name}: the gradient is wrong (tolerance {self.tolerance:g})"]
        for tensor in dict.fromkeys(slope.tensor for slope in self.slopes):
            slopes = [slope for slope in self.slopes if slope.tensor == tensor]
            failed = [slope for slope in slopes if not slope.error <= self.tolerance]
            if failed:
                elements = [slope for slope in failed if slope.index is not None]
                worst = max(elements or failed, key=lambda slope: slope.error)
                lines.append(f"  {worst}; {len(failed)} of {len(slopes)} comparisons fail")
                hint = self._hint(slopes)
                if hint:
                    lines.append(f"    {hint}")
        return "\n".join(lines)

    def _hint(self, slopes: list[Slope]) -> str:
        ratios = np.array([s.analytic / s.numeric for s in slopes if abs(s.numeric) > FLOOR])
        if len(ratios) == 0:
            return "the true gradient is zero here: does the backward add a term too many?"
        ratio, N = float(np.median(ratios)), self.batch_size
        if not np.all(np.abs(ratios - ratio) <= 1e-4 * max(1.0, abs(ratio))):
            return "the ratio differs from element to element: a missing term, or a wrong index?"
        if abs(ratio) < 1e-9:
            return (
                "the analytic gradient is zero everywhere: is this path left out of the backward?"
            )
        if abs(ratio - 1) < 1e-2:
            return f"the ratio is {ratio:.6g} everywhere: a small term, such as eps, is off"
        if abs(ratio + 1) < 1e-4:
            return f"the ratio is {ratio:.6g} everywhere: a wrong sign?"
        guess = "a constant factor, such as a scale, is off"
        if abs(ratio / N - 1) < 1e-4 or abs(ratio * N - 1) < 1e-4:
            guess = f"off by the batch size N = {N}: sum or mean over the batch? Or else {guess}"
        return f"the ratio is {ratio:.6g} everywhere: {guess}"
