"""What every operation asks of its arguments, answered with a sentence when it does not hold."""

import functools
import inspect
import math
import operator
from typing import Any

import numpy as np

from minisd.backend import Array, array_module

FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def check_arrays(operation: str, **given: Array) -> Any:
    """Check that the arrays belong together and return their array module.

    All must be of one library and of one dtype, float32 or float64, and none may be empty.

    Raises
    ------
    TypeError
        On anything but arrays, a mix of NumPy and CuPy, another dtype, or two dtypes.
    ValueError
        On an array without elements, such as an empty batch.
    """
    for name, array in given.items():
        if array is None:
            raise TypeError(f"{operation}: {name} is None, but must be an array")
    try:
        xp = array_module(*given.values())
    except TypeError as error:
        raise TypeError(f"{operation}: {error}") from None
    for name, array in given.items():
        if array.dtype not in FLOATS:
            raise TypeError(
                f"{operation}: {name} is {array.dtype}; use float32 or float64 "
                f"(for instance {name}.astype(numpy.float32))"
            )
        if array.size == 0:
            raise ValueError(f"{operation}: {name} is empty, its shape is {array.shape}")
    if len({array.dtype for array in given.values()}) > 1:
        dtypes = ", ".join(f"{name} {array.dtype}" for name, array in given.items())
        raise TypeError(f"{operation}: the arrays must have one dtype, got {dtypes}")
    return xp


def check_ndim(operation: str, name: str, array: Array, axes: str) -> None:
    """Check that ``array`` has one dimension for each letter of ``axes``, such as ``"NCHW"``."""
    if array.ndim != len(axes):
        raise ValueError(
            f"{operation}: {name} must be ({', '.join(axes)}), {len(axes)} dimensions; "
            f"got shape {array.shape}"
        )


def check_shape(operation: str, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Check that ``array`` has exactly ``shape``."""
    if array.shape != shape:
        raise ValueError(f"{operation}: {name} must have shape {shape}, got {array.shape}")


def check_conv2d(x: Array, w: Array, b: Array | None, stride: int, padding: int) -> tuple[int, int]:
    """Check the arguments of a convolution; return the output's size, `conv2d_output_size`."""
    check_arrays("conv2d", x=x, w=w, **({} if b is None else {"b": b}))
    check_ndim("conv2d", "x", x, "NCHW")
    check_ndim("conv2d", "w", w, "FCKK")
    if x.shape[1] != w.shape[1]:
        raise ValueError(
            f"conv2d: x has {x.shape[1]} channels but the filters want {w.shape[1]} "
            f"(x {x.shape}, w {w.shape})"
        )
    if b is not None:
        check_shape("conv2d", "b", b, w.shape[:1])
    return conv2d_output_size(x.shape, w.shape, stride, padding)


def conv2d_output_size(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: int, padding: int
) -> tuple[int, int]:
    """Return (OH, OW); raise a ValueError if the kernel does not fit into the padded image."""
    stride = whole_number("conv2d: stride", stride, 1)
    padding = whole_number("conv2d: padding", padding, 0)
    OH, OW = (
        (size + 2 * padding - kernel) // stride + 1
        for size, kernel in zip(x_shape[2:], w_shape[2:], strict=True)
    )
    if OH < 1 or OW < 1:
        raise ValueError(
            f"conv2d: a {w_shape[2]}x{w_shape[3]} kernel does not fit into a "
            f"{x_shape[2]}x{x_shape[3]} image with padding {padding}"
        )
    return OH, OW


def whole_number(what: str, value: object, least: int, most: int = 2**31 - 1) -> int:
    """Return ``value``, a Python or NumPy integer from ``least`` to ``most``, as an int.

    Raises
    ------
    ValueError
        If it is something else; True and False are no numbers here.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or isinstance(value, bool | np.bool_):
        raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}")
    if number > most:
        raise ValueError(f"{what} must be at most {most:,}, got {number:,}")
    return number


def number(what: str, value: object, interval: str) -> float:
    """Return ``value``, a Python or NumPy number in an interval such as ``"[0, 1)"``, as a float.

    Raises
    ------
    ValueError
        If it is something else, or NaN; True and False are no numbers here.
    """
    low, high = _ends(interval)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        converted = math.nan
    else:
        try:
            converted = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            converted = math.nan
    above = converted >= low if interval[0] == "[" else converted > low
    below = converted <= high if interval[-1] == "]" else converted < high
    if not (above and below):
        raise ValueError(f"{what} must lie in {interval}, got {value!r}")
    return converted


@functools.cache
def _ends(interval: str) -> tuple[float, float]:
    """Return the ends of an interval."""
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def cannot_take(function: Any, *arguments: object, **options: object) -> str:
    """Return why a function or class cannot be called with these arguments; "" if it can.

    It is not called. What is built in, and does not say what it takes, counts as a function that
    can.
    """
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        return str(error)
    except ValueError:
        return ""
    return ""


def check_upstream(
    operation: str, dy: Array, y_shape: tuple[int, ...], like: Array, dtype: Any = None
) -> Any:
    """Check the upstream gradient ``dy`` and return its array module.

    It must have the output's shape, and be where ``like`` is, an array of the forward, and of its
    dtype (or of ``dtype``).
    """
    xp = check_arrays(operation, dy=dy)
    check_shape(operation, "dy", dy, y_shape)
    try:
        array_module(dy, like)
    except TypeError as error:
        raise TypeError(f"{operation}: {error}") from None
    dtype = dtype or like.dtype
    if dy.dtype != dtype:
        raise TypeError(
            f"{operation}: the arrays must have one dtype, got dy {dy.dtype}, the forward's input "
            f"{dtype}"
        )
    return xp


# ---- one for each operation that has several arguments ----


def check_batchnorm2d(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    training: bool,
    momentum: float,
    eps: float,
    group: object = None,
) -> Any:
    """Check the arguments of batch norm; return their array module."""
    number("batchnorm2d: momentum", momentum, "[0, 1]")
    number("batchnorm2d: eps", eps, "[0, inf)")
    of_channels = {
        "gamma": gamma,
        "beta": beta,
        "running_mean": running_mean,
        "running_var": running_var,
    }
    xp = check_arrays("batchnorm2d", x=x, **of_channels)
    check_ndim("batchnorm2d", "x", x, "NCHW")
    for name, array in of_channels.items():
        check_shape("batchnorm2d", name, array, x.shape[1:2])
    if training and group is None:  # a group has more numbers than this part of the batch
        check_statistics(x.shape)
    return xp


def check_statistics(shape: tuple[int, ...]) -> None:
    """Raise a ValueError if images of this shape (N, C, H, W) have one number per channel."""
    N, _, H, W = shape
    if N * H * W == 1:
        raise ValueError(
            f"batchnorm2d: training needs more than one number per channel, x is {shape}"
        )


def check_tiles(x: Array, kernel: int) -> int:
    """Check that images can be cut into tiles of ``kernel`` x ``kernel`` pixels; return it."""
    check_arrays("avg_pool2d", x=x)
    check_ndim("avg_pool2d", "x", x, "NCHW")
    K = whole_number("avg_pool2d: kernel", kernel, 1)
    H, W = x.shape[2:]
    if H % K or W % K:
        raise ValueError(f"avg_pool2d: a {H}x{W} image cannot be cut into {K}x{K} tiles")
    return K


def check_linear(x: Array, w: Array, b: Array | None) -> None:
    """Check the arguments of a fully connected layer."""
    check_arrays("linear", x=x, w=w, **({} if b is None else {"b": b}))
    check_ndim("linear", "x", x, "ND")
    check_ndim("linear", "w", w, "KD")
    if x.shape[1] != w.shape[1]:
        raise ValueError(
            f"linear: x has {x.shape[1]} features but w wants {w.shape[1]} "
            f"(x {x.shape}, w {w.shape})"
        )
    if b is not None:
        check_shape("linear", "b", b, w.shape[:1])


def check_labels(labels: Array, N: int, K: int) -> None:
    """Check that ``labels`` are N integers between 0 and K - 1.

    CuPy wraps an index out of range silently, and NumPy takes -1 for the last class, so a bad
    label would train quietly towards the wrong answer.
    """
    array_module(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != (N,):
        raise ValueError(f"labels must have shape ({N},), one per image, got {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= K:
        raise ValueError(
            f"labels must lie between 0 and {K - 1} for {K} classes, got {low} to {high}"
        )
