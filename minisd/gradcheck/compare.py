"""Are the gradients right? Compare them with finite differences.

Let ``L = sum(y * dy)`` for a random ``dy``. A backward that gets this ``dy`` returns ``dx``, the
gradient of L. The slope of L along any direction ``d`` can also be computed without calculus:

    sum(dx * d)  =  (L(x + h d) - L(x - h d)) / 2h  +  O(h^2)

In float64 with h = 1e-5 both sides agree to about nine digits. The ``dy`` must be random: with a
gradient of ones, the sum over batch norm's output is constant, and a ``dx`` scaled by 0, -1 or 3
would still pass. All random numbers are drawn on the host, so a GPU gets the same checks.

Each tensor is checked along random directions, which involve all its elements, and element by
element, which shows where an error is. Some steps cross a kink of a ReLU: a pre-activation changes
its sign. The difference then means nothing, and another step is tried instead.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisd.backend import Array, array_module, beside
from minisd.gradcheck.report import (
    FLOOR,
    TOLERANCE,
    GradientError,
    KinkError,
    Report,
    Slope,
)
from minisd.layer import Layer, check_generator, restore, settings
from minisd.ops.check import check_arrays, number, whole_number

STEP_SIZE = 1e-5

Step = tuple[tuple[int, ...] | None, Array]
"""A step: (index, direction); the index is None for a random direction."""

__all__ = ["GradientError", "KinkError", "Report", "Slope", "check_layer", "check_op", "compare"]


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
    h: float = STEP_SIZE,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare analytic gradients with central differences of ``loss``.

    Parameters
    ----------
    name : str
        The name of the check, for the report and for errors.
    loss : function without arguments
        Computes L from the present values of ``tensors``. These are changed in place and restored.
    tensors, gradients : dict of float64 arrays
        Each tensor and dL/dtensor. None claims that L does not depend on the tensor at all.
    pattern : function without arguments, optional
        Called after ``loss()``. Returns the signs at its kinks as bytes. A step that changes them
        is replaced by another.
    directions, elements : int
        Number of random directions and of elements that are checked per tensor.

    Raises
    ------
    TypeError
        If a tensor is not float64: float32 has too few digits.
    ValueError
        If there are no tensors, one is empty, a gradient has another shape than its tensor, or two
        calls of ``loss`` differ.
    KinkError
        If all steps along a tensor cross kinks.
    """
    if not tensors:
        raise ValueError(f"{name}: there are no tensors to check")
    directions = whole_number(f"{name}: directions", directions, 0)
    elements = whole_number(f"{name}: elements", elements, 0)
    if directions == elements == 0:
        raise ValueError(f"{name}: no directions and no elements: nothing would be compared")
    h, tolerance = number("h", h, "(0, inf)"), number("tolerance", tolerance, "(0, inf)")
    check_generator("a gradient check", rng)
    report = Report(name, batch_size, tolerance)
    first, second = loss(), loss()
    base = pattern()
    if not (math.isfinite(first) and math.isfinite(second)):
        raise ValueError(f"{name}: the outputs are not finite, so there are no slopes to compare")
    if abs(first - second) > 1e-12 * max(1.0, abs(first)):
        raise ValueError(
            f"{name}: two forwards of the same input differ ({first:.9g} and {second:.9g}); a "
            "gradient check needs a forward that draws no random numbers: draw them outside"
        )
    for tensor, x in tensors.items():
        if tensor not in gradients:
            raise ValueError(f"{name}: there is no gradient of {tensor}; None says that it is 0")
        gradient = gradients[tensor]
        array_module(x, gradient)
        if x.dtype != np.float64:
            raise TypeError(f"{name}: gradient checks need float64, {tensor} is {x.dtype}")
        if not getattr(x.flags, "writeable", True):  # CuPy arrays always are
            raise ValueError(f"{name}: {tensor} is read-only, but is moved: pass a copy")
        if x.size == 0:
            raise ValueError(f"{name}: {tensor} is empty, its shape is {x.shape}")
        if gradient is not None and gradient.shape != x.shape:
            raise ValueError(
                f"{name}: the gradient of {tensor} has shape {gradient.shape}, not {x.shape}"
            )
        g = array_module(x).zeros_like(x) if gradient is None else gradient
        scale = max(float((g * g).mean()) ** 0.5, FLOOR)
        sources: list[tuple[Iterator[Step], int]] = [
            (_random_directions(x, rng, 10 * directions), directions),
            (_single_elements(x, rng), min(elements, x.size)),
        ]
        for steps, wanted in sources:
            used = 0
            for index, direction in steps:
                if used == wanted:
                    break
                numeric = _central_difference(loss, pattern, base, x, direction, h)
                if numeric is None:
                    report.kinks += 1
                    continue
                used += 1
                analytic = float((g * direction).sum())
                size = max(abs(analytic), abs(numeric), scale)
                error = abs(analytic - numeric) / size
                report.slopes.append(Slope(tensor, index, analytic, numeric, error))
            if used == 0 and wanted > 0:
                raise KinkError(f"{name}: all steps along {tensor} cross kinks; try another input")
    return report


def _central_difference(
    loss: Callable[[], float],
    pattern: Callable[[], bytes],
    base: bytes,
    x: Array,
    direction: Array,
    h: float,
) -> float | None:
    """Return the slope of ``loss`` from x - h d to x + h d, or None if it crosses a kink.

    x is restored.
    """
    original = x.copy()
    values = []
    try:
        for signed in (h, -h):
            x[...] = original + signed * direction
            values.append(loss())
            if pattern() != base:
                return None
    finally:
        x[...] = original
    return (values[0] - values[1]) / (2 * h)


def _random_directions(x: Array, rng: np.random.Generator, count: int) -> Iterator[Step]:
    """Yield (None, random unit vector) in the shape of x."""
    for _ in range(count):
        direction = rng.standard_normal(x.shape)
        yield None, beside(direction / np.linalg.norm(direction), x)


def _single_elements(x: Array, rng: np.random.Generator) -> Iterator[Step]:
    """Yield (index, unit vector) of every element, in random order."""
    for flat in rng.permutation(x.size):
        index = tuple(int(i) for i in np.unravel_index(flat, x.shape))
        unit = np.zeros(x.shape)
        unit[index] = 1
        yield index, beside(unit, x)


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
        ``forward(**inputs)`` returns ``(y, cache)``.
    backward : function
        ``backward(dy, cache)`` returns the gradients in the order of ``inputs``.
    inputs : dict of float64 arrays
    **options
        Options of `compare`.

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
    check_generator(f"the check of {name}", rng)
    result = forward(**inputs)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name}: the forward must return (y, cache), got {type(result).__name__}")
    y, cache = result
    dy = beside(np.asarray(rng.standard_normal(y.shape)), y)
    gradients = backward(dy, cache)
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    if len(gradients) != len(inputs):
        raise TypeError(
            f"{name}: the backward returned {len(gradients)} gradients for {len(inputs)} inputs "
            f"({', '.join(inputs)})"
        )
    return compare(
        name,
        lambda: float((forward(**inputs)[0] * dy).sum()),
        inputs,
        dict(zip(inputs, gradients, strict=True)),
        rng=rng,
        batch_size=len(y) if y.ndim else 1,
        **options,
    )


def check_layer(
    layer: Layer, x: Array, *, rng: np.random.Generator, name: str = "", **options: Any
) -> Report:
    """Check a layer, block or network: the gradients of its input and of every parameter.

    A parameter whose ``grad`` is None after the backward must not affect the output at all. Gates
    do not change. Running statistics are restored afterwards.

    Parameters
    ----------
    layer : Layer
        In float64 and training mode.
    x : float64 array
        It is not changed.
    **options
        Options of `compare`.
    """
    check_arrays("check_layer", x=x)
    check_generator("check_layer", rng)
    x = x.copy()

    def pattern() -> bytes:
        return b"".join(each.kinks() for each in layer.walk())

    with restored(layer):
        layer.zero_grad()
        layer.forget()
        y = layer.forward(x)
        dy = beside(rng.standard_normal(y.shape), y)
        dx = layer.backward(dy)
        parameters = dict(layer.parameters())
        gradients: dict[str, Array | None] = {"x": dx}
        gradients |= {key: parameter.grad for key, parameter in parameters.items()}
        for each in layer.walk():
            if hasattr(each, "recompute_every"):
                each.recompute_every = None  # or a forward would forget on which side it was
        return compare(
            name or type(layer).__name__,
            lambda: float((layer.forward(x) * dy).sum()),
            {"x": x} | {key: parameter.data for key, parameter in parameters.items()},
            gradients,
            rng=rng,
            batch_size=len(x),
            pattern=pattern,
            **options,
        )


@contextmanager
def restored(layer: Layer) -> Iterator[None]:
    """Put running statistics and settings back at the end of the block; drop caches."""
    buffers = [(buffer, buffer.copy()) for _, buffer in layer.buffers()]
    before = settings(layer.walk(), ("recompute_every", "saves"))
    try:
        yield
    finally:
        for buffer, original in buffers:
            buffer[...] = original
        restore(before)
        layer.forget()
