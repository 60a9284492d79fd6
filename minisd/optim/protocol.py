"""What is asked of an optimiser, and of a schedule: those of this package, and your own."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from minisd.backend import Array
from minisd.layer import Parameter

State = dict[str, Array | int | float]
"""What an optimiser remembers between two steps: arrays and plain numbers by name."""


@runtime_checkable
class Optimizer(Protocol):
    """What training asks of an optimiser. It need not derive from this class.

    Attributes
    ----------
    parameters : dict of str to Parameter
        What it moves, by the names that ``model.parameters()`` gives.
    lr : float
        Learning rate. Training sets it before each step, from the schedule.
    dropped : "coast" or "freeze"
        What `step` does to a parameter whose gradient is None because its block was closed.
        "coast": the gradient counts as zero. "freeze": neither the parameter nor what is remembered
        of it changes.

    Examples
    --------
    RMSProp (Tieleman and Hinton 2012), which divides by the root of a running mean of g^2:

    >>> import numpy as np
    >>> class RMSProp:
    ...     def __init__(self, model, lr):
    ...         self.parameters, self.lr, self.dropped = dict(model.parameters()), lr, "freeze"
    ...         self.square = {name: 0 * p.data for name, p in self.parameters.items()}
    ...     def step(self):
    ...         for name, p in self.parameters.items():
    ...             if p.grad is not None:
    ...                 self.square[name] = 0.9 * self.square[name] + 0.1 * p.grad**2
    ...                 p.data -= self.lr * p.grad / (self.square[name] ** 0.5 + 1e-8)
    ...     def state(self):
    ...         return {f"square/{name}": s for name, s in self.square.items()}
    ...     def restore(self, state):
    ...         self.square = {name: state[f"square/{name}"] for name in self.square}
    >>> from minisd import Linear
    >>> isinstance(RMSProp(Linear(2, 2, rng=np.random.default_rng(0)), 1e-3), Optimizer)
    True
    """

    lr: float

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name."""

    @property
    def dropped(self) -> str:
        """The rule for a gradient that is None."""

    def step(self) -> None:
        """Move every parameter, in place (``parameter.data`` stays the same array)."""

    def state(self) -> State:
        """Return everything that `step` remembers, such as momentum: what a checkpoint saves.

        Names, shapes and dtypes are the same from the first step to the last, with zeros where
        nothing is remembered yet. So it is known what a checkpoint must hold before it is read. The
        arrays need not be copies, and may be on a GPU.
        """

    def restore(self, state: State) -> None:
        """Take back what `state` returned. The arrays are on the host."""


def check_optimizer(what: str, optimizer: object) -> None:
    """Raise a TypeError unless ``optimizer`` has all that `Optimizer` lists."""
    names = ("parameters", "lr", "dropped", "step", "state", "restore")
    missing = [name for name in names if not hasattr(optimizer, name)]
    if isinstance(optimizer, type):
        raise TypeError(
            f"{what} takes an optimiser: {optimizer.__name__}(model, lr), not its class"
        )
    if missing:
        raise TypeError(
            f"{what} takes an optimiser such as SGD(model, lr); a {type(optimizer).__name__} has "
            f"no {' and no '.join(missing)} (see minisd.Optimizer)"
        )


@runtime_checkable
class Schedule(Protocol):
    """The learning rate as a function of the time in a run.

    Any function will do, such as ``lambda epoch: 0.1 * 0.97**epoch``. If it has a method ``over``,
    training calls it first, and goes on with what it returns (`minisd.optim.bound`).
    """

    def __call__(self, epoch: float, /) -> float:
        """Return the learning rate.

        Parameters
        ----------
        epoch : float
            The epoch counted from 1, with the part of it that is done: 1 at the first step, 1.5 in
            the middle of the first epoch. It is below ``epochs + 1``.
        """
