"""Adam, and AdamW, which takes weight decay out of the gradient."""

import math
from typing import Any

from minisd.backend import Array, one_kernel
from minisd.layer import Layer
from minisd.optim.groups import Groups
from minisd.optim.rule import UpdateRule


class Adam(UpdateRule):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1): steps of about ``lr`` in size.

        g = dw + weight_decay * w
        m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
        w = w - lr m' / (sqrt(v') + eps),    m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)

    m and v are running means of the gradient and of its square that begin at 0. After t steps of
    a constant g, m is (1 - beta1^t) g: so m' and v' are without the bias of that beginning. t
    counts the updates of each parameter. With "freeze", a closed block is not counted.

    Computed in the order of section 2 of the paper, which spares two divisions of arrays:
    ``w - rate m / (sqrt(v) + eps c)`` with c = sqrt(1 - beta2^t) and rate = lr c / (1 - beta1^t).

    Parameters
    ----------
    model : Layer
    lr : float
    betas : (float, float)
        beta1 and beta2, the share of the old mean.
    eps : float
    weight_decay : float
        Added to the gradient, as in `SGD`: so it is divided by sqrt(v'), too. See `AdamW`.
    dropped : "coast" or "freeze"
    groups : function of (name, parameter), optional
        For these and for what they raise see `UpdateRule`.

    Attributes
    ----------
    first, second : dict of str to array
        m and v by parameter name; a name is missing until its first update.
    steps : dict of str to int
        t by parameter name.
    """

    NUMBERS = {  # noqa: RUF012
        "beta1": "[0, 1)",
        "beta2": "[0, 1)",
        "eps": "(0, inf)",
        "weight_decay": "[0, inf)",
    }
    BUFFERS = ("first", "second")
    COUNTERS = ("steps",)
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    first: dict[str, Array]
    second: dict[str, Array]
    steps: dict[str, int]

    def __init__(
        self,
        model: Layer,
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        dropped: str = "coast",
        groups: Groups | None = None,
    ) -> None:
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, beta1 and beta2; got {betas!r}") from None
        super().__init__(
            model,
            lr,
            dropped=dropped,
            groups=groups,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
        )

    def _move(
        self, name: str, w: Array, g: Array | float, buffers: list[Array], numbers: dict[str, float]
    ) -> None:
        adam_step(w, g, *buffers, numbers["weight_decay"], *self._rates(name, numbers))

    def _rates(self, name: str, numbers: dict[str, float]) -> tuple[float, ...]:
        """Count an update, and return the last six arguments of the kernels."""
        t = self.steps[name] = self.steps.get(name, 0) + 1
        beta1, beta2 = numbers["beta1"], numbers["beta2"]
        c = math.sqrt(1 - beta2**t)
        rate, eps = numbers["lr"] * c / (1 - beta1**t), numbers["eps"] * c
        return rate, eps, beta1, 1 - beta1, beta2, 1 - beta2  # in float64: see `one_kernel`


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2).

        w = w - lr weight_decay w,    then Adam's update with g = dw

    In `Adam`, weight decay is part of g and is divided by sqrt(v'): weights with large gradients
    decay less. Here all decay at the same rate.

    So the schedule multiplies the decay, too, as in the paper, whose lambda is the initial
    ``lr * weight_decay``. PyTorch has the same ``weight_decay`` as here.

    Parameters
    ----------
    weight_decay : float
    model, lr, betas, eps, dropped, groups
        As in `Adam`.
    """

    def __init__(
        self,
        model: Layer,
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        dropped: str = "coast",
        groups: Groups | None = None,
    ) -> None:
        super().__init__(
            model,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            dropped=dropped,
            groups=groups,
        )

    def _move(
        self, name: str, w: Array, g: Array | float, buffers: list[Array], numbers: dict[str, float]
    ) -> None:
        shrink = 1 - numbers["lr"] * numbers["weight_decay"]
        adamw_step(w, g, *buffers, shrink, *self._rates(name, numbers))


def _descend(
    xp: Any,
    w: Array,
    g: Array | float,
    m: Array,
    v: Array,
    rate: float,
    eps: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
) -> None:
    """Update the means and the weights. Part of both kernels; ``rest1`` is 1 - beta1."""
    m *= beta1
    m += rest1 * g
    v *= beta2
    v += rest2 * (g * g)
    w -= rate * m / (xp.sqrt(v) + eps)


@one_kernel
def adam_step(
    xp: Any, w: Array, dw: Array | float, m: Array, v: Array, decay: float, *rates: float
) -> None:
    """Update ``w`` and its means ``m`` and ``v`` by Adam's rule."""
    _descend(xp, w, dw + decay * w, m, v, *rates)


@one_kernel
def adamw_step(
    xp: Any, w: Array, dw: Array | float, m: Array, v: Array, shrink: float, *rates: float
) -> None:
    """Shrink ``w``, then update it and its means ``m`` and ``v`` by Adam's rule."""
    w *= shrink
    _descend(xp, w, dw, m, v, *rates)
