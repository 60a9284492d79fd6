"""What every layer has: parameters, a forward, a backward, and a memory between the two."""

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from minisd import fast, summary
from minisd.backend import Array, array_module, to_device
from minisd.ops.check import check_arrays, whole_number

CONTAINERS = (list, tuple, dict)
"""Where a layer may keep parameters and inner layers, besides in attributes of its own."""


class Parameter:
    """An array that training moves, and its gradient.

    Attributes
    ----------
    data : array
    grad : array of the same shape, or None
        None means *not reached in this step*: neither zero nor what the last step left behind.
    """

    def __init__(self, data: Array) -> None:
        check_arrays("Parameter", data=data)
        self.data = data
        self.grad: Array | None = None

    def accumulate(self, gradient: Array) -> None:
        """Add to the gradient; the first of a step is taken as it is.

        Raises
        ------
        ValueError, TypeError
            If it has not the parameter's shape and dtype.
        """
        self.check_gradient(gradient)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def check_gradient(self, gradient: Array) -> None:
        """Raise an error unless it has the parameter's shape and dtype, and is where it is."""
        if gradient is None:
            raise TypeError("the gradient of a parameter is None: a backward returned nothing")
        if np.shape(gradient) != self.data.shape:
            raise ValueError(
                f"the gradient of a parameter of shape {self.data.shape} has shape "
                f"{np.shape(gradient)}"
            )
        array_module(self.data, gradient)
        if gradient.dtype != self.data.dtype:
            raise TypeError(f"the gradient of a parameter of {self.data.dtype} is {gradient.dtype}")

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class Layer:
    """A forward and a backward, perhaps with parameters and with layers inside.

    A layer's parameters and inner layers are its ordinary attributes, in the order in which
    ``__init__`` made them. They may also stand in lists, tuples and dicts.

    A forward in training mode saves a cache for the backward (`save`), and the backward takes it
    (`take`). So each backward needs a forward of its own. A forward in evaluation saves nothing,
    unless asked (`eval`), and drops what an earlier one saved: a backward is always that of the
    last forward, or an error. A forward that raises leaves nothing saved, in this layer and all
    inside it: some layers would have the cache of this forward, others that of the one before.

    Layers inside save if, and only if, the layer does whose forward was called.

    A layer computes with ``self.ops``: see `use`.
    """

    training: bool = True
    saves: bool = True
    """Whether a forward saves what its backward needs, if it is not called by another layer's."""
    buffer_names: tuple[str, ...] = ()
    """Attributes that hold arrays of the state that are not trained, such as running statistics."""
    _cache: Any = None
    _edition: str = fast.__name__

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            cls.forward = _guarded(cls.forward)  # type: ignore[method-assign]

    @property
    def ops(self) -> Any:
        """The operations that this layer computes with: `minisd.fast`, or the book, `minisd.ops`.

        A layer keeps the module's name only, as a module can be neither copied nor pickled.
        """
        return sys.modules.get(self._edition) or import_module(self._edition)

    def use(self, edition: ModuleType) -> Self:
        """Let this layer and all inside it compute with ``edition`` from now on.

        ``model.use(ops)`` puts the book under a network, ``model.use(fast)`` takes it back. What
        forwards have saved is dropped.

        Parameters
        ----------
        edition : module
            `minisd.ops`, `minisd.fast`, or another module with all of their functions.

        Raises
        ------
        TypeError
            If it is no module, or lacks a function.
        """
        if not isinstance(edition, ModuleType):
            raise TypeError(f"use takes a module such as minisd.ops, got {edition!r}")
        if sys.modules.get(edition.__name__) is not edition:
            raise TypeError(f"use finds a module by its name: import {edition.__name__} first")
        missing = [name for name in fast.__all__ if not hasattr(edition, name)]
        if missing:
            raise TypeError(f"{edition.__name__} has no {', '.join(missing)}")
        for layer in self.walk():
            layer._edition = edition.__name__
        self.forget()
        return self

    def forward(self, x: Array) -> Array:
        """Return the layer's output, ``y``."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Return ``dx``, given ``dy``; add each parameter's gradient to its ``grad``."""
        raise NotImplementedError

    def save(self, cache: Any) -> None:
        """Keep ``cache`` for the backward, if there may be one."""
        saves = self.saves if running.saves is None else running.saves
        self._cache = (cache,) if saves else None  # in a tuple: a cache may be None

    def take(self) -> Any:
        """Return what the last forward saved; only once."""
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: there is no saved forward. Call forward before "
                "each backward, in training mode or after eval(keep=True) (a backward that raised "
                "has used its forward up)"
            )
        (cache,) = self._cache
        self._cache = None
        return cache

    def forget(self) -> None:
        """Drop what forwards have saved, in this layer and all inside it."""
        self._cache = None
        for _, child in self.children():
            child.forget()

    def kinks(self) -> bytes:
        """Return on which side of each kink the last forward was; takes what it saved.

        For `minisd.gradcheck`: a finite difference across a kink means nothing. A layer without
        kinks, such as this one, returns nothing.
        """
        return b""

    def details(self) -> str:
        """Return the layer's settings as its ``repr`` shows them, such as ``3, 16, stride=2``."""
        return summary.details(vars(self))

    def __repr__(self) -> str:
        return summary.nested(self)

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int | None:
        """Return how many floating point operations a forward in evaluation is, for `summary`.

        Only those of this layer: not those of layers inside it, which are asked themselves. A
        multiply-add is 2.

        Parameters
        ----------
        x_shape, y_shape : tuple of int
            The shapes of its input and its output, such as (N, C, H, W).

        Returns
        -------
        int, or None
            None, as here: it is not known.
        """
        return None

    def summary(self, input_shape: Sequence[int] | None = None, *, batch_size: int = 128) -> str:
        """Return a table of the layers inside: shapes, parameters, p_l, FLOPs, memory of a step.

        See `minisd.summary` for what is counted. A copy is looked at; this layer does not change.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of one input, (C, H, W) or (D,). Without it: parameters and p_l only.
        batch_size : int
            Inputs in a training step, for its memory.

        Raises
        ------
        ValueError, TypeError
            If the layer does not take such inputs, or these are no shape or batch size.
        """
        if input_shape is not None:
            if not isinstance(input_shape, Sequence):
                raise TypeError(f"input_shape is (C, H, W) or (D,), got {input_shape!r}")
            input_shape = [whole_number("input_shape", size, 1) for size in input_shape]
        return summary.table(self, input_shape, whole_number("batch_size", batch_size, 1))

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (name, layer) of each layer directly inside this one."""
        yield from self._own(Layer)

    def _own(self, cls: type) -> Iterator[tuple[str, Any]]:
        """Yield (name, value) of the attributes of a class, also in lists, tuples and dicts."""
        for name, value in vars(self).items():
            if isinstance(value, cls):
                yield name, value
            elif isinstance(value, CONTAINERS) and name != "_cache":
                for inner, item in _items(value):
                    if isinstance(item, cls):
                        yield f"{name}.{inner}", item

    def walk(self) -> Iterator["Layer"]:
        """Yield this layer and all inside it."""
        yield self
        for _, child in self.children():
            yield from child.walk()

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter) of this layer and all inside it."""
        yield from self._own(Parameter)
        for prefix, child in self.children():
            for name, parameter in child.parameters():
                yield f"{prefix}.{name}", parameter

    def buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield (dotted name, array) of the running statistics of this layer and all inside it."""
        for name in self.buffer_names:
            yield name, getattr(self, name)
        for prefix, child in self.children():
            for name, buffer in child.buffers():
                yield f"{prefix}.{name}", buffer

    def train(self, mode: bool = True) -> Self:
        """Switch this layer and all inside it to training, or with ``False`` to evaluation."""
        self.training = self.saves = mode
        for _, child in self.children():
            child.train(mode)
        return self

    def eval(self, *, keep: bool = False) -> Self:
        """Switch to evaluation: running statistics, every block present.

        Parameters
        ----------
        keep : bool
            Let forwards save what a backward needs: the gradient of the network as it is tested.
            Running statistics are constants there, and a branch counts as often as it was open.
            A layer in evaluation alone, such as a frozen batch norm, saves if the one around it
            does.
        """
        self.train(False)
        for layer in self.walk():
            layer.saves = keep
        return self

    def zero_grad(self) -> None:
        """Forget all gradients. They become None: "not reached yet", which is not zero."""
        for layer in self.walk():
            for _, parameter in layer._own(Parameter):
                parameter.grad = None

    def to(self, device: str, dtype: DTypeLike | None = None) -> Self:
        """Move parameters, gradients and buffers to ``"cpu"`` or ``"cuda"``, and to ``dtype``.

        Caches are dropped. Make the optimiser afterwards: its momentum does not move along.
        """
        if dtype is not None:
            dtype = floats(dtype)

        def moved(array: Array) -> Array:
            array = to_device(array, device)
            return array if dtype is None else array.astype(dtype, copy=False)

        for _, parameter in self.parameters():
            parameter.data = moved(parameter.data)
            if parameter.grad is not None:
                parameter.grad = moved(parameter.grad)
        self._move_buffers(moved)
        self.forget()
        return self

    def _move_buffers(self, moved: Callable[[Array], Array]) -> None:
        for name in self.buffer_names:
            setattr(self, name, moved(getattr(self, name)))
        for _, child in self.children():
            child._move_buffers(moved)


class _Running(threading.local):
    """The forward that runs in this thread, if any.

    Attributes
    ----------
    saves : bool or None
        Whether it keeps what its backward needs: the outermost layer says so. None: none runs.
    """

    saves: bool | None = None


running = _Running()


def is_saving(layer: Layer) -> bool:
    """Whether a forward of this layer would save what its backward needs, here and now."""
    return layer.saves if running.saves is None else running.saves


def _guarded(forward: Callable[..., Array]) -> Callable[..., Array]:
    """Let ``forward`` say whether the layers inside save, and forget everything if it raises.

    So no container has to, and none can forget to.
    """

    @functools.wraps(forward)
    def method(self: Layer, *arguments: Any, **named: Any) -> Array:
        outer = running.saves
        running.saves = self.saves if outer is None else outer
        try:
            return forward(self, *arguments, **named)
        except BaseException:
            self.forget()
            raise
        finally:
            running.saves = outer

    return method


def _items(container: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything in a list, tuple or dict, and in those inside it."""
    pairs = container.items() if isinstance(container, dict) else enumerate(container)
    for name, value in pairs:
        if isinstance(value, CONTAINERS):
            for inner, item in _items(value):
                yield f"{name}.{inner}", item
        else:
            yield str(name), value


Settings = list[tuple[Layer, str, Any]]
"""(layer, name of an attribute, its value)"""

_OF_THE_CLASS = object()  # in place of a value, if the layer has none of its own


def settings(layers: Iterable[Layer], names: Sequence[str]) -> Settings:
    """Return the named attributes of the layers, to be put back by `restore`."""
    return [(layer, n, vars(layer).get(n, _OF_THE_CLASS)) for layer in layers for n in names]


def restore(before: Settings) -> None:
    """Put attributes back; take away those that a layer did not have of its own."""
    for layer, name, value in before:
        if value is _OF_THE_CLASS:
            vars(layer).pop(name, None)
        else:
            setattr(layer, name, value)


def check_generator(what: str, rng: object) -> None:
    """Raise a TypeError unless ``rng`` is a NumPy Generator: no layer draws from a hidden one."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{what} draws random numbers and needs a generator, such as "
            f"numpy.random.default_rng(0); got {type(rng).__name__}"
        )


def check_layers(what: str, *layers: object) -> None:
    """Raise a TypeError unless all are layers; a list of layers, or a class, is none."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(
                f"{what} is made of layers, one argument each (*layers for a list), got {layer!r}"
            )


def kind(layer: Layer) -> Any:
    """Return the class of a layer; of one that is watched, that which it had before.

    See `minisd.flow.hooks`.
    """
    return getattr(type(layer), "kind_before_hooks", type(layer))


def floats(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as NumPy's; raise a TypeError unless it is float32 or float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)
