"""What a gradient check found, said so that it helps to find the mistake."""

from dataclasses import dataclass, field

import numpy as np

TOLERANCE = 1e-6
FLOOR = 1e-3
"""Slopes below this are compared absolutely: rounding alone makes differences of about 1e-10."""


class GradientError(AssertionError):
    """A gradient that finite differences contradict."""


class KinkError(ValueError):
    """The input lies so close to a kink of a ReLU that no step can be taken from it."""


@dataclass
class Slope:
    """One comparison: the slope of L along one element or one random direction of a tensor."""

    tensor: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    error: float

    def __str__(self) -> str:
        where = self.tensor + (
            " along a random direction" if self.index is None else str(list(self.index))
        )
        ratio = f"{self.analytic / self.numeric:.6g}" if self.numeric else "undefined"
        return (
            f"{where}: analytic {self.analytic:.9g}, numeric {self.numeric:.9g}, "
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
    """How many steps crossed a kink, and were replaced by others."""

    @property
    def worst(self) -> Slope:
        """The comparison with the largest error."""
        return max(self.slopes, key=lambda slope: np.nan_to_num(slope.error, nan=np.inf))

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance (NaN is not)."""
        return all(slope.error <= self.tolerance for slope in self.slopes)

    def raise_if_failed(self) -> "Report":
        """Return the report itself, or raise a GradientError that says where and guesses why."""
        if not self.passed:
            raise GradientError(self.explain())
        return self

    def explain(self) -> str:
        """Name the worst comparison of each tensor that failed, and what its ratios suggest."""
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
            return "the true gradient is zero here: is something propagated that should not be?"
        ratio, N = float(np.median(ratios)), self.batch_size
        if not np.all(np.abs(ratios - ratio) <= 1e-4 * max(1.0, abs(ratio))):
            return "the ratio varies from element to element: a missing term, or a wrong index?"
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
