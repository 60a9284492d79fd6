"""Stochastic gradient descent with Nesterov momentum, and the learning rate by epoch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minisd.backend import Array, array_module, one_kernel
from minisd.layer import Layer, Parameter
from minisd.ops.check import number, whole_number

DROPPED = ("coast", "freeze")


class SGD:
    """Gradient descent with momentum and weight decay on every parameter, as in Torch.

        g = dw + weight_decay * w        v = momentum * v + g
        w = w - lr * (g + momentum * v)  (nesterov)    or    w - lr * v

    Parameters
    ----------
    model : Layer
        Its parameters are listed once, when the optimiser is made.
    lr : float
        Learning rate. The attribute may be changed between steps.
    dropped : "coast" or "freeze"
        What happens to a parameter whose gradient is None because its block was closed. Paper and
        released code disagree. "coast" (the code): the gradient counts as zero, so momentum and
        weight decay still move the weight. "freeze" (the paper, section 3: no updates; also
        PyTorch's rule): weight and momentum do not change, bit for bit.
    """

    def __init__(
        self,
        model: Layer,
        lr: float,
        *,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        dropped: str = "coast",
    ) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"SGD trains a network, and lists its parameters itself; got {model!r}")
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self._numbers()
        if nesterov and momentum == 0:
            raise ValueError("Nesterov's rule needs momentum > 0 (or pass nesterov=False)")
        if dropped not in DROPPED:
            raise ValueError(f"dropped must be 'coast' or 'freeze', got {dropped!r}")
        self.parameters: dict[str, Parameter] = {}
        for name, parameter in model.parameters():
            if not any(parameter is other for other in self.parameters.values()):  # shared: once
                self.parameters[name] = parameter
        if not self.parameters:
            raise ValueError(f"{type(model).__name__} has no parameters to train")
        self.velocity: dict[str, Array] = {}
        """Momentum buffers by parameter name; a name is missing until its first update."""
        self.nesterov = nesterov
        self.dropped = dropped

    def step(self) -> None:
        """Move every parameter, in place, along its gradient.

        Raises
        ------
        ValueError, TypeError
            If a gradient has not its parameter's shape and dtype, or the learning rate or another
            number is not one. No parameter has moved then.
        """
        numbers = self._numbers()
        for parameter in self.parameters.values():
            if parameter.grad is not None:
                parameter.check_gradient(parameter.grad)
        for name, parameter in self.parameters.items():
            w, dw = parameter.data, parameter.grad
            if dw is None and self.dropped == "freeze":
                continue
            v = self.velocity.get(name)
            if v is None:
                v = self.velocity[name] = array_module(w).zeros_like(w)
            if (v.dtype, v.shape) != (w.dtype, w.shape) or array_module(v) is not array_module(w):
                raise TypeError(
                    f"the momentum of {name} has another shape, dtype or device than the "
                    "parameter: make a new SGD after changing a network"
                )
            move = nesterov_step if self.nesterov else momentum_step
            g = 0.0 if dw is None else dw  # of a closed block: the gradient counts as zero
            move(w, g, v, *numbers)

    def _numbers(self) -> tuple[float, float, float]:
        """Return learning rate, momentum and weight decay as floats, checked."""
        return (
            number("lr", self.lr, "[0, inf)"),
            number("momentum", self.momentum, "[0, 1)"),
            number("weight_decay", self.weight_decay, "[0, inf)"),
        )

    def buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield (parameter name, momentum buffer) of each parameter that has one."""
        yield from self.velocity.items()


def _gather(w: Array, dw: Array | float, v: Array, momentum: float, decay: float) -> Array:
    """Return g, the gradient with weight decay, and add it to ``v``. Part of both kernels."""
    g = dw + decay * w
    v *= momentum
    v += g
    return g


@one_kernel
def nesterov_step(
    xp: Any, w: Array, dw: Array | float, v: Array, lr: float, momentum: float, decay: float
) -> None:
    """Update ``w`` and its momentum ``v`` by Nesterov's rule."""
    g = _gather(w, dw, v, momentum, decay)
    w -= lr * (g + momentum * v)


@one_kernel
def momentum_step(
    xp: Any, w: Array, dw: Array | float, v: Array, lr: float, momentum: float, decay: float
) -> None:
    """Update ``w`` and its momentum ``v`` by plain momentum."""
    _gather(w, dw, v, momentum, decay)
    w -= lr * v


@dataclass(frozen=True)
class StepSchedule:
    """Learning rate by epoch: constant, divided at given epochs, after an optional warm-up.

    Parameters
    ----------
    lr : float
    epochs : int
        Length of the run.
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

    lr: float
    epochs: int
    drops: Sequence[float] = (0.5, 0.75)
    divisor: float = 10.0
    warmup_epochs: int = 0
    warmup_lr: float = 0.01

    def __post_init__(self) -> None:
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
            math.ceil(round(drop * self.epochs, 6)) if drop < 1 else int(drop)
            for drop in self.drops
        )

    def __call__(self, epoch: int) -> float:
        """Return the learning rate of ``epoch``, counted from 1."""
        epoch = whole_number("an epoch, counted from 1,", epoch, 1)
        if epoch <= self.warmup_epochs:
            return self.warmup_lr
        passed = sum(epoch > drop for drop in self.drop_epochs)
        return self.lr / self.divisor**passed
