"""Schedules: the learning rate at any time of a run.

The time is the epoch counted from 1, with the part of it that is done: 1 at the first step, 1.5 in
the middle of the first epoch, and ``epochs + 1`` after the last step.

A schedule need not know how long the run is: ``cosine(0.1)`` does not, until ``over(epochs)``
returns a copy that does.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Self

from minisd.ops.check import number, whole_number
from minisd.optim.protocol import Schedule


class _Described:
    """What the schedules of this file share: the length of the run, and settings as plain data."""

    kind: ClassVar[str]
    epochs: int | None

    def over(self, epochs: int) -> Self:
        """Return the same schedule for a run of so many epochs."""
        return dataclasses.replace(self, epochs=whole_number("epochs", epochs, 1))  # type: ignore[type-var]

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain data; `schedule_from` makes the schedule from them."""
        if SCHEDULES.get(self.kind) is not type(self):  # a subclass computes something else
            raise TypeError(
                f"a {type(self).__name__} cannot be described as a {self.kind} schedule"
            )
        settings = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {"name": self.kind} | {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in settings.items()
        }

    def _length(self) -> int:
        """Return the number of epochs; raise a ValueError if it is not known."""
        if self.epochs is None:
            raise ValueError(
                f"this {self.kind} schedule does not know the length of the run: call "
                "schedule.over(epochs), and use what it returns"
            )
        return self.epochs

    def _share(self, epoch: float) -> float:
        """Return the part of the run that is done, from 0 to 1."""
        epochs, epoch = self._length(), _time(epoch)
        if epoch > epochs + 1:
            raise ValueError(
                f"this schedule is for {epochs} epochs, and epoch {epoch:g} is after their end: "
                "call schedule.over(epochs) with the new number, and use what it returns"
            )
        return (epoch - 1) / epochs


def _time(epoch: float) -> float:
    return number("an epoch, counted from 1,", epoch, "[1, inf)")


def _between(high: float, low: float, share: float) -> float:
    """Return a rate on the half of a cosine from ``high`` (share 0) to ``low`` (share 1)."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class StepSchedule(_Described):
    """Learning rate by epoch: constant, divided at given epochs, after an optional warm-up.

    Within an epoch the rate does not change.

    Parameters
    ----------
    lr : float
    epochs : int, optional
        Length of the run, which ``drops`` below 1 are fractions of. None: see `over`.
    drops : sequence of float
        The rate is divided by ``divisor`` *after* each of these epochs, as in the paper. (In the
        released code, epoch 250 itself already has the new rate.) Numbers below 1 are fractions of
        ``epochs``.
    warmup_epochs, warmup_lr : int, float
        The first epochs have this rate instead (for 1202 layers: 10 epochs at 0.01).

    Examples
    --------
    >>> schedule = StepSchedule(0.1, epochs=500, drops=(0.5, 0.75))
    >>> [schedule(epoch) for epoch in (1, 250, 251, 375, 376, 500)]
    [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    """

    kind = "step"
    lr: float
    epochs: int | None = None
    drops: Sequence[float] = (0.5, 0.75)
    divisor: float = 10.0
    warmup_epochs: int = 0
    warmup_lr: float = 0.01

    def __post_init__(self) -> None:
        if self.epochs is not None:
            whole_number("epochs", self.epochs, 1)
        whole_number("warmup_epochs", self.warmup_epochs, 0)
        for name in ("lr", "divisor", "warmup_lr"):
            number(name, getattr(self, name), "(0, inf)")
        for drop in self.drops:
            if number("a drop", drop, "(0, inf)") > 1 and drop != int(drop):
                raise ValueError(f"a drop is a fraction below 1 or a whole epoch, got {drop}")

    @property
    def drop_epochs(self) -> list[int]:
        """The last epoch before each drop; fractions are rounded up."""
        return sorted(
            # round first, because 0.07 * 100 is 7.000000000000001, then up to a whole epoch
            math.ceil(round(drop * self._length(), 6)) if drop < 1 else int(drop)
            for drop in self.drops
        )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate of the epoch, counted from 1, that ``epoch`` lies in."""
        whole = math.floor(_time(epoch))
        if whole <= self.warmup_epochs:
            return self.warmup_lr
        passed = sum(whole > drop for drop in self.drop_epochs)
        return self.lr / self.divisor**passed


@dataclass(frozen=True)
class CosineSchedule(_Described):
    """Half a cosine from ``lr`` down to ``lr_min`` at the end of the run; changes at every step.

        lr(t) = lr_min + (lr - lr_min) (1 + cos(pi t / T)) / 2

    (Loshchilov and Hutter 2017, SGDR, arXiv:1608.03983, eq. 5, without restarts.) T is the length
    of the run in epochs, and t how many of them are done; both are counted from the end of the
    warm-up. In the warm-up the rate rises evenly from 0 to ``lr`` (Goyal and others 2017,
    arXiv:1706.02677).

    Parameters
    ----------
    lr : float
        The highest rate.
    lr_min : float
        The rate at the end.
    warmup_epochs : float
        Fewer than the run has.
    epochs : int, optional
        Length of the run; None until it is known: see `over`.

    Raises
    ------
    ValueError
        When it is called before its length is known, or with a time after the end.

    Examples
    --------
    >>> schedule = cosine(0.1).over(epochs=4)
    >>> [round(schedule(epoch), 4) for epoch in (1, 2, 3, 4, 4.99)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """

    kind = "cosine"
    lr: float
    _: KW_ONLY
    lr_min: float = 0.0
    warmup_epochs: float = 0.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        number("lr", self.lr, "(0, inf)")
        number("warmup_epochs", self.warmup_epochs, "[0, inf)")
        if number("lr_min", self.lr_min, "[0, inf)") > self.lr:
            raise ValueError(f"lr_min {self.lr_min:g} is above lr {self.lr:g}: exchange the two")
        if self.epochs is not None and whole_number("epochs", self.epochs, 1) <= self.warmup_epochs:
            raise ValueError(
                f"a warm-up of {self.warmup_epochs:g} epochs leaves nothing of a run of "
                f"{self.epochs}: choose fewer warmup_epochs"
            )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at a time: see `minisd.optim.schedules`."""
        done, epochs = self._share(epoch) * self._length(), self._length()
        if done < self.warmup_epochs:
            return self.lr * done / self.warmup_epochs
        share = (done - self.warmup_epochs) / (epochs - self.warmup_epochs)
        return _between(self.lr, self.lr_min, min(share, 1.0))


@dataclass(frozen=True)
class OneCycleSchedule(_Described):
    """One cycle: up to ``lr_max``, then down, far below the start; changes at every step.

        from lr_max / div    to lr_max                      in the first part of the run, ``rise``
        from lr_max          to lr_max / div / final_div    in the rest of it

    Each is half a cosine. (In Smith 2018, arXiv:1803.09820, both are straight lines.) The momentum
    does not change.

    PyTorch's ``OneCycleLR`` is the same curve with the same defaults; ``rise``, ``div`` and
    ``final_div`` are its ``pct_start``, ``div_factor`` and ``final_div_factor``. It is up to one
    step ahead: the curve ends *at* its last step, and here *after* it.

    Parameters
    ----------
    lr_max : float
        The highest rate.
    rise : float
        The part of the run in which the rate rises, between 0 and 1.
    div, final_div : float
        The run starts at ``lr_max / div``, and ends at the ``final_div``-th part of that.
    epochs : int, optional
        Length of the run; None until it is known: see `over`.

    Raises
    ------
    ValueError
        When it is called before its length is known, or with a time after the end.

    Examples
    --------
    >>> schedule = one_cycle(0.1).over(epochs=10)
    >>> [round(schedule(epoch), 4) for epoch in (1, 2.5, 4, 7.5, 11)]
    [0.004, 0.052, 0.1, 0.05, 0.0]
    """

    kind = "one-cycle"
    lr_max: float
    _: KW_ONLY
    rise: float = 0.3
    div: float = 25.0
    final_div: float = 1e4
    epochs: int | None = None

    def __post_init__(self) -> None:
        number("lr_max", self.lr_max, "(0, inf)")
        number("rise", self.rise, "(0, 1)")
        number("div", self.div, "[1, inf)")
        number("final_div", self.final_div, "[1, inf)")
        if self.epochs is not None:
            whole_number("epochs", self.epochs, 1)

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at a time: see `minisd.optim.schedules`."""
        share, first = self._share(epoch), self.lr_max / self.div
        if share < self.rise:
            return _between(first, self.lr_max, share / self.rise)
        return _between(self.lr_max, first / self.final_div, (share - self.rise) / (1 - self.rise))


cosine, one_cycle = CosineSchedule, OneCycleSchedule
"""The names that one writes: ``schedule=cosine(0.1)``."""

SCHEDULES: dict[str, Any] = {
    each.kind: each for each in (StepSchedule, CosineSchedule, OneCycleSchedule)
}
"""By the name that is saved with a run."""


def schedule_from(settings: Mapping[str, Any]) -> Schedule:
    """Return the schedule that ``describe()`` has described.

    Raises
    ------
    ValueError, TypeError
        If there is no such schedule, or a setting is unknown or cannot be used.
    """
    name = settings.get("name")
    if name not in SCHEDULES:
        raise ValueError(f"there is no schedule {name!r}; there are {', '.join(SCHEDULES)}")
    known = {field.name for field in dataclasses.fields(SCHEDULES[name])}
    unknown = settings.keys() - known - {"name"}
    if unknown:
        raise ValueError(
            f"a {name} schedule has no {min(unknown)}; it has {', '.join(sorted(known))}"
        )
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings.items()
        if key != "name"
    }
    return SCHEDULES[name](**values)


def bound(schedule: Schedule, epochs: int) -> Schedule:
    """Return a schedule for a run of so many epochs: what its ``over`` returns, if it has one."""
    if not callable(schedule) or isinstance(schedule, type):  # a class is not one, but makes one
        raise TypeError(
            "a schedule is a function of the epoch, such as cosine(0.1) or lambda epoch: 0.1; got "
            f"{schedule!r}"
        )
    over = getattr(schedule, "over", None)
    return schedule if over is None else over(epochs)
