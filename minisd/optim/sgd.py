"""Stochastic gradient descent with momentum, plain or Nesterov's, as in Torch."""

from typing import Any

from minisd.backend import Array, one_kernel
from minisd.layer import Layer
from minisd.optim.groups import Groups
from minisd.optim.rule import UpdateRule


class SGD(UpdateRule):
    """Gradient descent with momentum and weight decay on every parameter, as in Torch.

        g = dw + weight_decay * w        v = momentum * v + g
        w = w - lr * (g + momentum * v)  (nesterov)    or    w - lr * v

    Parameters
    ----------
    model : Layer
    lr : float
    momentum, weight_decay : float
    nesterov : bool
    dropped : "coast" or "freeze"
    groups : function of (name, parameter), optional
        For these and for what they raise see `UpdateRule`.

    Attributes
    ----------
    velocity : dict of str to array
        Momentum buffers by parameter name; a name is missing until its first update.
    """

    NUMBERS = {"momentum": "[0, 1)", "weight_decay": "[0, inf)"}  # noqa: RUF012
    BUFFERS = ("velocity",)
    momentum: float
    weight_decay: float
    velocity: dict[str, Array]

    def __init__(
        self,
        model: Layer,
        lr: float,
        *,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        dropped: str = "coast",
        groups: Groups | None = None,
    ) -> None:
        self.nesterov = nesterov
        super().__init__(
            model, lr, dropped=dropped, groups=groups, momentum=momentum, weight_decay=weight_decay
        )

    def _move(
        self, name: str, w: Array, g: Array | float, buffers: list[Array], numbers: dict[str, float]
    ) -> None:
        move = nesterov_step if self.nesterov else momentum_step
        move(w, g, *buffers, numbers["lr"], numbers["momentum"], numbers["weight_decay"])

    def _check_numbers(self, numbers: dict[str, float]) -> None:
        if self.nesterov and numbers["momentum"] == 0:
            raise ValueError("Nesterov's rule needs momentum > 0 (or pass nesterov=False)")

    def describe(self) -> dict[str, Any]:  # noqa: D102
        return {**super().describe(), "nesterov": self.nesterov}


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
