"""Find the layer whose output is the first that is not finite."""

from collections.abc import Callable
from typing import Any

from minisd.backend import Array, array_module
from minisd.distributed import ALONE, Group
from minisd.flow.hooks import Hooks
from minisd.fused import one_by_one
from minisd.layer import Layer


def first_nonfinite(model: Layer, x: Array, group: Group = ALONE) -> str:
    """Run a forward again and name the first layer whose output is not finite.

    Running statistics are restored afterwards, and what forwards have saved is dropped.

    Parameters
    ----------
    group : Group
        Several ranks, each with a part ``x`` of the images. All call this, also those whose part is
        finite: forwards meet in batch norms. All get the same answer.
    """
    xp = array_module(x)
    if group.highest(not xp.isfinite(x).all()):
        return "no layer: the images themselves are not finite"
    forwards = 0
    first: list[tuple[int, str]] = []
    hooks = Hooks()

    def look_at(name: str) -> Callable[..., Any]:
        def forward(original: Callable[..., Array], *inputs: Any, **named: Any) -> Array:
            nonlocal forwards
            y = original(*inputs, **named)
            forwards += 1
            if not first and not xp.isfinite(y).all():
                first.append((forwards, name))
            return y

        return forward

    def walk(prefix: str, layer: Layer) -> None:
        for name, child in layer.children():
            walk(f"{prefix}{name}.", child)
        if prefix:
            hooks.add(layer, forward=look_at(f"{prefix[:-1]} ({type(layer).__name__})"))

    statistics = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    try:
        walk("", model)
        with one_by_one(model):
            model.forward(x)
    finally:
        for buffer, original in statistics:
            buffer[...] = original
        hooks.remove()
        model.forget()
    on_any_rank = [found for of_rank in group.exchange(first) for found in of_rank]
    return (
        min(on_any_rank)[1] if on_any_rank else "the loss: the logits are finite, but too far apart"
    )
