"""What `SGD`, `Adam` and `AdamW` share: all but the mathematics of one parameter's update."""

from collections.abc import Iterator
from typing import Any, ClassVar

from minisd.backend import Array, array_module, beside
from minisd.layer import Layer, Parameter
from minisd.ops.check import number, whole_number
from minisd.optim.groups import FACTOR, Groups, overrides_of
from minisd.optim.protocol import State

DROPPED = ("coast", "freeze")

Group = tuple[tuple[str, float], ...]
"""The settings that are different for some parameters."""


class UpdateRule:
    """An optimiser that moves each parameter by its own gradient and buffers alone.

    A subclass lists its numbers and its buffers, and has the mathematics in `_move`.

    Parameters
    ----------
    model : Layer
        Its parameters are listed once, when the optimiser is made.
    lr : float
        Learning rate. The attribute may be changed between steps, as may the other numbers.
    dropped : "coast" or "freeze"
        What happens to a parameter whose gradient is None because its block was closed. Paper and
        released code disagree. "coast" (the code): the gradient counts as zero, so momentum and
        weight decay still move the weight. "freeze" (the paper, section 3: no updates; also
        PyTorch's rule): the weight and all that is remembered of it do not change, bit for bit.
    groups : function of (name, parameter), optional
        Returns the settings that are different for this parameter: see `minisd.optim.groups`.

    Attributes
    ----------
    parameters : dict of str to Parameter
        A parameter with two names is there once.
    overrides : dict of str to dict
        The settings that ``groups`` changed, by parameter name.
    """

    NUMBERS: ClassVar[dict[str, str]]
    """Names of the attributes that are numbers, and the interval of each."""
    BUFFERS: ClassVar[tuple[str, ...]]
    """Names of the attributes that are dicts of arrays by parameter name, each array of the shape
    of its parameter. A name is missing until the first update: that is an array of zeros."""
    COUNTERS: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that are dicts of whole numbers by parameter name, 0 if missing."""

    lr: float

    def __init__(
        self, model: Layer, lr: float, *, dropped: str, groups: Groups | None, **numbers: float
    ) -> None:
        kind = type(self).__name__
        if not isinstance(model, Layer):
            raise TypeError(
                f"{kind} trains a network, and lists its parameters itself; got {model!r}"
            )
        self.lr = lr
        for name, value in numbers.items():
            setattr(self, name, value)
        if dropped not in DROPPED:
            raise ValueError(f"dropped must be 'coast' or 'freeze', got {dropped!r}")
        self.dropped = dropped
        self.parameters: dict[str, Parameter] = {}
        for name, parameter in model.parameters():
            if not any(parameter is other for other in self.parameters.values()):  # shared: once
                self.parameters[name] = parameter
        if not self.parameters:
            raise ValueError(f"{type(model).__name__} has no parameters to train")
        for attribute in (*self.BUFFERS, *self.COUNTERS):
            setattr(self, attribute, {})
        self.overrides = overrides_of(kind, groups, self.parameters, self.NUMBERS)
        self._group: dict[str, Group] = {
            name: tuple(sorted(self.overrides.get(name, {}).items())) for name in self.parameters
        }
        self._numbers_by_group()  # raises an error if a number is none

    def step(self) -> None:
        """Move every parameter, in place, along its gradient.

        Raises
        ------
        ValueError, TypeError
            If a gradient has not its parameter's shape and dtype, or the learning rate or another
            number is not one. No parameter has moved then.
        """
        by_group = self._numbers_by_group()
        buffers = [getattr(self, kind) for kind in self.BUFFERS]
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.check_gradient(parameter.grad)
            for kept in buffers:
                if name in kept:
                    self._check_buffer(name, kept[name], parameter.data)
        for name, parameter in self.parameters.items():
            if parameter.grad is not None or self.dropped == "coast":
                g = 0.0 if parameter.grad is None else parameter.grad  # closed: counts as zero
                w = parameter.data
                for kept in buffers:
                    if name not in kept:
                        kept[name] = array_module(w).zeros_like(w)
                numbers = by_group[self._group[name]]
                self._move(name, w, g, [kept[name] for kept in buffers], numbers)

    def _move(
        self, name: str, w: Array, g: Array | float, buffers: list[Array], numbers: dict[str, float]
    ) -> None:
        """Update ``w`` and its buffers in place; ``numbers`` are ``lr`` and `NUMBERS`."""
        raise NotImplementedError

    def _check_numbers(self, numbers: dict[str, float]) -> None:
        """Raise a ValueError if numbers that are right by themselves do not go together."""

    def _numbers_by_group(self) -> dict[Group, dict[str, float]]:
        """Return learning rate and all other numbers of each group, as floats, checked."""
        own = {name: number(name, getattr(self, name), i) for name, i in self.NUMBERS.items()}
        lr = number("lr", self.lr, "[0, inf)")
        by_group = {}
        for group in set(self._group.values()):
            different = dict(group)
            factor = different.pop(FACTOR, 1.0)
            by_group[group] = {"lr": lr * factor, **own, **different}
            self._check_numbers(by_group[group])
        return by_group

    def _check_buffer(self, name: str, kept: Array, w: Array) -> None:
        if (kept.dtype, kept.shape) != (w.dtype, w.shape) or (
            array_module(kept) is not array_module(w)
        ):
            raise TypeError(
                f"the momentum of {name} has another shape, dtype or device than the parameter: "
                f"make a new {type(self).__name__} after changing a network"
            )

    # ---- what a checkpoint saves ----

    def state(self) -> State:
        """Return the buffers and step counts as ``BUFFER/PARAMETER``; see `Optimizer.state`.

        A buffer that is missing yet is one of zeros, from which training goes on in the same way.
        """
        state: State = {}
        for kind in self.BUFFERS:
            for name, parameter in self.parameters.items():
                kept = getattr(self, kind).get(name)
                w = parameter.data
                state[f"{kind}/{name}"] = array_module(w).zeros_like(w) if kept is None else kept
        for kind in self.COUNTERS:
            state |= {
                f"{kind}/{name}": getattr(self, kind).get(name, 0) for name in self.parameters
            }
        return state

    def restore(self, state: State) -> None:
        """Take back copies of what `state` returned.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or an array has another shape or dtype than its
            parameter. Nothing has changed then.
        """
        wanted, kind = self.state(), type(self).__name__
        for names, word in ((wanted.keys() - state, "lacks"), (state.keys() - wanted, "has")):
            if names:
                raise ValueError(
                    f"this is not the state of {kind} for this network: it {word} {min(names)}"
                )
        restored: dict[str, dict[str, Any]] = {k: {} for k in (*self.BUFFERS, *self.COUNTERS)}
        for key, like in wanted.items():
            attribute, _, name = key.partition("/")
            value = state[key]
            if attribute in self.COUNTERS:
                restored[attribute][name] = whole_number(key, value, 0)
                continue
            there = (getattr(value, "shape", None), getattr(value, "dtype", None))
            if there != (like.shape, like.dtype):  # type: ignore[union-attr]
                raise ValueError(
                    f"this is not the state of {kind} for this network: {key} is {there[0]} "
                    f"{there[1]} there, {like.shape} {like.dtype} here"  # type: ignore[union-attr]
                )
            w = self.parameters[name].data
            restored[attribute][name] = copy = array_module(w).empty_like(w)
            copy[...] = beside(value, w)  # type: ignore[arg-type]
        for attribute, kept in restored.items():
            setattr(self, attribute, kept)

    def buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield (parameter name, array) of each buffer that there is."""
        for kind in self.BUFFERS:
            yield from getattr(self, kind).items()

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain data, to be saved with a run."""
        described = {
            "name": type(self).__name__.lower(),
            "lr": float(self.lr),
            **{name: float(getattr(self, name)) for name in self.NUMBERS},
            "dropped": self.dropped,
        }
        return {**described, "overrides": self.overrides} if self.overrides else described

    def __repr__(self) -> str:
        numbers = "".join(f", {name}={getattr(self, name)}" for name in self.NUMBERS)
        return f"{type(self).__name__}(lr={self.lr}{numbers}, dropped={self.dropped!r})"
