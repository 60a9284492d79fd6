"""Quantities of one's own, which a `minisd.flow.Recorder` records beside its statistics."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minisd.backend import Array, is_cupy
from minisd.flow.file import LONGEST_NAME
from minisd.flow.records import RESERVED
from minisd.layer import Layer

Also = Mapping[str, Callable[[Layer], Any]]
"""Functions of the network by name. Each returns a number, or an array of one axis."""


def check_also(also: Also | None) -> dict[str, Callable[[Layer], Any]]:
    """Return the functions by name; raise an error if one of them cannot be recorded.

    Raises
    ------
    TypeError, ValueError
        If a name is no text, or is that of a statistic, or its function is none.
    """
    if also is None:
        return {}
    if not isinstance(also, Mapping):
        raise TypeError(
            "also is a dict of functions, such as {'bias': lambda model: model.head.b.data}; got "
            f"{also!r}"
        )
    for name, function in also.items():
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise TypeError(f"also: a name is a text of 1 to {LONGEST_NAME} letters, got {name!r}")
        if name in RESERVED:
            raise ValueError(f"also: {name!r} is recorded already: choose another name")
        if not callable(function):
            raise TypeError(f"also: {name!r} must be a function of the model, got {function!r}")
    return dict(also)


def measured(also: Also, model: Layer, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return what the functions return now, copied, in float64, on the device that it is on.

    Parameters
    ----------
    shapes : dict
        Of the step before; filled by the first.

    Raises
    ------
    TypeError, ValueError
        If a function returns anything but a number or an array of one axis, or changes its length.
    """
    own = {}
    for name, function in also.items():
        value = function(model)
        array = value if is_cupy(value) else np.asarray(value)
        if array.dtype.kind not in "biuf" or array.ndim > 1:
            raise TypeError(
                f"also: {name!r} must return a number or an array of one axis; it returned "
                f"{type(value).__name__} of shape {array.shape}"
            )
        shape = shapes.setdefault(name, array.shape)
        if array.shape != shape:
            raise ValueError(
                f"also: {name!r} returned shape {shape} at first, and {array.shape} now"
            )
        own[name] = array.astype(np.float64)  # a copy, as it may be a view that training changes
    return own
