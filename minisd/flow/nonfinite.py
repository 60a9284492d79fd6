"""Find the layer whose output is the first that is not finite."""

from collections.abc import Callable
from typing import Any

from minisd.backend import Array, array_module
from minisd.flow.hooks import Hooks
from minisd.fused import one_by_one
from minisd.layer import Layer, restore, settings


def first_nonfinite(model: Layer, x: Array) -> str:
    """Run a forward again and name the first layer whose output is not finite.

    Running statistics are restored afterwards, and what forwards have saved is dropped.
    """
    xp = array_module(x)
    if not xp.isfinite(x).all():
        return "no layer: the images themselves are not finite"
    first: list[str] = []
    hooks = Hooks()

    def look_at(name: str) -> Callable[..., Any]:
        def forward(original: Callable[..., Array], *inputs: Any, **named: Any) -> Array:
            y = original(*inputs, **named)
            if not first and not xp.isfinite(y).all():
                first.append(name)
            return y

        return forward

    def walk(prefix: str, layer: Layer) -> None:
        for name, child in layer.children():
            walk(f"{prefix}{name}.", child)
        if prefix:
            hooks.add(layer, forward=look_at(f"{prefix[:-1]} ({type(layer).__name__})"))

    statistics = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    before = settings(model.walk(), ["saves"])
    try:
        walk("", model)
        with one_by_one(model):
            model.forward(x)
    finally:
        for buffer, original in statistics:
            buffer[...] = original
        hooks.remove()
        restore(before)
        model.forget()
    return first[0] if first else "the loss: the logits are finite, but too far apart"
