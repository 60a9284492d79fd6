"""Parameter groups: other settings for some of the parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from minisd.layer import Parameter
from minisd.ops.check import number

Groups = Callable[[str, Parameter], Mapping[str, float]]
"""Function of (name, parameter), which returns the settings that are different for it.

They are numbers of the optimiser, such as ``weight_decay``, and ``lr_factor``: the parameter's
learning rate is this factor times the rate of the schedule.
"""

FACTOR = "lr_factor"


def no_decay_on_batchnorm(name: str, parameter: Parameter) -> dict[str, float]:
    """Let weight decay leave scale and shift of batch norm alone: ``SGD(..., groups=this)``.

    A convolution before a batch norm computes the same function when its weights are halved. So
    decay of weights does not make the function simpler; decay of gamma and beta changes it. The
    paper's code has decay on all parameters, the default here.

    The two are known by their names, ``gamma`` and ``beta``.
    """
    return {"weight_decay": 0.0} if name.rpartition(".")[2] in ("gamma", "beta") else {}


def overrides_of(
    optimizer: str, groups: Groups | None, parameters: Mapping[str, Parameter], known: Any
) -> dict[str, dict[str, float]]:
    """Return the settings that are different by parameter name, checked.

    Raises
    ------
    TypeError, ValueError
        If ``groups`` is no function, or returns anything but settings of the optimiser.
    """
    if groups is None:
        return {}
    if not callable(groups):
        raise TypeError(
            f"{optimizer}: groups is a function of (name, parameter) that returns the settings "
            f"which are different for it, such as no_decay_on_batchnorm; got {groups!r}"
        )
    intervals = {FACTOR: "[0, inf)", **known}
    overrides = {}
    for name, parameter in parameters.items():
        settings = groups(name, parameter)
        if not isinstance(settings, Mapping):
            raise TypeError(
                f"{optimizer}: groups must return a dict of settings, and an empty one for none; "
                f"for {name} it returned {settings!r}"
            )
        for setting, value in settings.items():
            if setting not in intervals:
                raise ValueError(
                    f"{optimizer}: groups set {setting!r} for {name}; there are "
                    f"{', '.join(intervals)}"
                )
            number(f"{setting} of {name}", value, intervals[setting])
        if settings:
            overrides[name] = {setting: float(value) for setting, value in settings.items()}
    return overrides
