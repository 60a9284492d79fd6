"""Are the gradients right? Compare them with finite differences.

Let ``L = sum(y * dy)`` for a random ``dy``: then ``dx``, computed by a backward from that ``dy``,
is the gradient of the number L, and its slope along any direction ``d`` can also be had without
any calculus:

    sum(dx * d)  =  (L(x + h d) - L(x - h d)) / 2h  +  O(h^2)

in float64 with h = 1e-5, to nine digits or so. The ``dy`` must be random: with a gradient of ones
the sum over batch norm's output is constant, and a ``dx`` scaled by 0, -1 or 3 would still pass.

Each tensor is checked along random directions, which see all its elements at once, and element by
element, which says where an error is. Where a step crosses a kink of a ReLU (some pre-activation
changes its sign), the difference means nothing, and the step is taken elsewhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.layers import Layer, ReLU

TOLERANCE = 1e-6
STEP = 1e-5
_FLOOR = 1e-3  # slopes below this are compared absolutely: rounding in L / 2h is about 1e-10


class GradientError(AssertionError):
    """A gradient that finite differences contradict."""


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
    """How many steps were taken elsewhere because of a kink."""

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
        ratios = np.array([s.analytic / s.numeric for s in slopes if abs(s.numeric) > _FLOOR])
        if len(ratios) == 0:
            return "the true gradient is zero here: is something propagated that should not be?"
        ratio, N = float(np.median(ratios)), self.batch_size
        if not np.all(np.abs(ratios - ratio) <= 1e-4 * max(1.0, abs(ratio))):
            return "the ratio varies from element to element: a missing term, or a wrong index?"
        if abs(ratio) < 1e-9:
            return (
                "the analytic gradient is zero everywhere: is this path left out of the backward?"
            )
        for value, guess in (
            (-1.0, "a wrong sign?"),
            (float(N), f"off by the batch size N = {N}: sum or mean over the batch?"),
            (1.0 / N, f"off by the batch size N = {N}: sum or mean over the batch?"),
        ):
            if abs(ratio / value - 1) < 1e-4:
                return f"the ratio is {ratio:.6g} everywhere: {guess}"
        return f"the ratio is {ratio:.6g} everywhere: a constant factor, such as a scale, is off"


def compare(
    name: str,
    loss: Callable[[], float],
    tensors: dict[str, Array],
    gradients: dict[str, Array | None],
    *,
    rng: np.random.Generator,
    batch_size: int = 1,
    pattern: Callable[[], bytes] = bytes,
    directions: int = 3,
    elements: int = 24,
    h: float = STEP,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare analytic gradients with central differences of ``loss``.

    Parameters
    ----------
    name : str
        Stands before what is said.
    loss : function of nothing
        Computes L from ``tensors`` as they are now. They are changed in place and restored.
    tensors, gradients : dict of float64 arrays
        Each tensor and dL/dtensor. None claims that L does not depend on the tensor at all.
    pattern : function of nothing, optional
        After a ``loss()``, the signs at its kinks as bytes; a step that changes them is not used.
    directions, elements : int
        Random directions per tensor; elements per tensor (all, where there are no more).

    Raises
    ------
    TypeError
        If a tensor is not float64: float32 has too few digits to tell.
    ValueError
        If a gradient has another shape than its tensor.
    """
    report = Report(name, batch_size, tolerance)
    loss()
    base = pattern()
    for tensor, x in tensors.items():
        gradient = gradients[tensor]
        if x.dtype != np.float64:
            raise TypeError(f"{name}: gradient checks need float64, {tensor} is {x.dtype}")
        if gradient is not None and gradient.shape != x.shape:
            raise ValueError(
                f"{name}: the gradient of {tensor} has shape {gradient.shape}, not {x.shape}"
            )
        g = np.zeros_like(x) if gradient is None else gradient
        scale = max(float(np.sqrt(np.mean(g * g))), _FLOOR)
        used = 0
        for index, direction in _steps(x, rng, directions, elements):
            analytic = float(np.sum(g * direction))
            original = x.copy()
            x += h * direction
            above, kink = loss(), pattern() != base
            x[...] = original - h * direction
            below, kink = loss(), kink or pattern() != base
            x[...] = original
            if kink:
                report.kinks += 1
                continue
            numeric = (above - below) / (2 * h)
            used += 1
            size = max(abs(analytic), abs(numeric), scale)
            report.slopes.append(
                Slope(tensor, index, analytic, numeric, abs(analytic - numeric) / size)
            )
        if used == 0:
            raise ValueError(f"{name}: every step along {tensor} crosses a kink; try another seed")
    return report


def _steps(
    x: Array, rng: np.random.Generator, directions: int, elements: int
) -> Iterator[tuple[tuple[int, ...] | None, Array]]:
    """Yield (None, random unit direction) and (index, unit vector), each shaped like x."""
    for _ in range(directions):
        direction = rng.standard_normal(x.shape)
        yield None, direction / np.linalg.norm(direction)
    for flat in rng.permutation(x.size)[:elements]:
        index = tuple(int(i) for i in np.unravel_index(flat, x.shape))
        unit = np.zeros_like(x)
        unit[index] = 1
        yield index, unit


def check_op(
    name: str,
    forward: Callable[..., tuple[Array, Any]],
    backward: Callable[[Array, Any], Any],
    inputs: dict[str, Array],
    *,
    rng: np.random.Generator,
    **options: Any,
) -> Report:
    """Check a forward/backward pair of functions.

    Parameters
    ----------
    forward : function
        Called as ``forward(**inputs)``, returns ``(y, cache)``.
    backward : function
        ``backward(dy, cache)`` returns the gradients in the order of ``inputs``.
    inputs : dict of float64 arrays
    **options
        For `compare`.

    Examples
    --------
    >>> from minisd import ops
    >>> rng = np.random.default_rng(0)
    >>> inputs = {"x": rng.standard_normal((2, 3)), "w": rng.standard_normal((4, 3))}
    >>> def backward(dy, cache):
    ...     return ops.linear_backward(dy, cache)[:2]
    >>> check_op("linear", ops.linear_forward, backward, inputs, rng=rng).passed
    True
    """
    y, cache = forward(**inputs)
    dy = rng.standard_normal(y.shape)
    gradients = backward(dy, cache)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    return compare(
        name,
        lambda: float(np.sum(forward(**inputs)[0] * dy)),
        inputs,
        dict(zip(inputs, gradients, strict=True)),
        rng=rng,
        batch_size=len(y),
        **options,
    )


def check_layer(
    layer: Layer, x: Array, *, rng: np.random.Generator, name: str = "", **options: Any
) -> Report:
    """Check a layer, block or network: the gradients of its input and of every parameter.

    A parameter whose ``grad`` is None after the backward must not move the output at all. Gates
    stay as they are. Running statistics are restored afterwards.

    Parameters
    ----------
    layer : Layer
        In float64 and training mode.
    x : float64 array
        Left as it was.
    **options
        For `compare`.
    """
    buffers = [(buffer, buffer.copy()) for _, buffer in layer.buffers()]
    relus = list(_relus(layer))
    x = x.copy()

    def pattern() -> bytes:
        masks = [relu.take() if relu._cache is not None else np.empty(0, bool) for relu in relus]
        return b"".join(np.packbits(mask).tobytes() for mask in masks)

    layer.zero_grad()
    y = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(dy)
    parameters = dict(layer.parameters())
    gradients: dict[str, Array | None] = {"x": dx}
    gradients |= {key: parameter.grad for key, parameter in parameters.items()}
    report = compare(
        name or type(layer).__name__,
        lambda: float(np.sum(layer.forward(x) * dy)),
        {"x": x} | {key: parameter.data for key, parameter in parameters.items()},
        gradients,
        rng=rng,
        batch_size=len(x),
        pattern=pattern,
        **options,
    )
    for buffer, original in buffers:
        buffer[...] = original
    return report


def _relus(layer: Layer) -> Iterator[ReLU]:
    if isinstance(layer, ReLU):
        yield layer
    for _, child in layer.children():
        yield from _relus(child)
