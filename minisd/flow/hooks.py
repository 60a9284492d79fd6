"""Hooks: functions around the methods of single layers, to look into a network.

While a layer is hooked, it has a class of its own, derived from its class. That class has only the
hooked methods, and each of them calls the function that was given. So other layers of the same
class are not affected. A copy or a pickle of the layer is of the old class: nobody watches it.
"""

import weakref
from collections.abc import Callable
from typing import Any

from minisd.layer import Layer, kind

Around = Callable[..., Any]
"""``function(original, *arguments)``: what a call of ``original(*arguments)`` gives instead."""


class Hooks:
    """The hooks of one observer, until `remove`."""

    def __init__(self) -> None:
        self._hooked: list[tuple[Layer, Any]] = []

    def add(self, layer: Layer, **functions: Around) -> None:
        """Replace each named method by a call of ``function(original, *arguments)``."""
        of = weakref.ref(layer)
        base: Any = type(layer)
        hooked: Any = type(base)(
            base.__name__,
            (base,),
            {
                "__module__": base.__module__,
                "__qualname__": base.__qualname__,
                "__doc__": base.__doc__,
                "__reduce_ex__": _reduce_as_before,
                "kind_before_hooks": kind(layer),
                "is_hooked": True,
            },
        )
        for name, function in functions.items():
            setattr(hooked, name, _method(hooked, of, name, function))
        layer.__class__ = hooked
        self._hooked.append((layer, hooked))

    def remove(self) -> None:
        """Give the layers their classes back, also when others have hooked them since."""
        while self._hooked:
            layer, hooked = self._hooked.pop()
            hooked.is_hooked = False
            while not getattr(type(layer), "is_hooked", True):
                layer.__class__ = type(layer).__bases__[0]


def is_hooked(layer: Layer) -> bool:
    """Whether somebody watches this layer."""
    return type(layer) is not kind(layer)


def _method(hooked: Any, of: Any, name: str, function: Around) -> Callable[..., Any]:
    def method(self: Layer, *arguments: Any, **named: Any) -> Any:
        original = getattr(super(hooked, self), name)
        if self is not of() or not hooked.is_hooked:
            return original(*arguments, **named)
        return function(original, *arguments, **named)

    return method


def _reduce_as_before(self: Layer, protocol: int) -> Any:
    """What `copy` and `pickle` make of a hooked layer: one of the class that it had before."""
    make, arguments, *state = kind(self).__reduce_ex__(self, protocol)
    arguments = [kind(self) if each is type(self) else each for each in arguments]
    return _made, (make, *arguments), *state


def _made(make: Callable[..., Any], *arguments: Any) -> Any:
    """Call what makes a copy; `pickle` calls it by this name, and does not ask for the class."""
    return make(*arguments)
