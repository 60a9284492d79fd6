"""Where the first number that is not finite comes from."""

from typing import Any

from minisd.backend import Array, array_module
from minisd.chain import ConvChain
from minisd.layer import Layer
from minisd.layers import Sequential


def first_nonfinite(model: Layer, x: Array) -> str:
    """Run a forward again and name the first layer whose output is not finite.

    Running statistics are put back as they were.
    """
    xp = array_module(x)
    if not xp.isfinite(x).all():
        return "no layer: the images themselves are not finite"
    found: list[str] = []
    watched: list[tuple[Layer, str, Any]] = []

    def cover_later(layer: Layer, method: str) -> Any:
        """Return a method, and note what stood on the layer itself, such as a recorder's."""
        watched.append((layer, method, vars(layer).get(method)))
        return getattr(layer, method)

    def watch(name: str, layer: Layer) -> None:
        original = cover_later(layer, "forward")

        def forward(*inputs: Any, **named: Any) -> Array:
            y = original(*inputs, **named)
            if not found and not xp.isfinite(y).all():
                found.append(name)
            return y

        setattr(layer, "forward", forward)  # noqa: B010 (on the instance, for this once)

    def watch_chain(chain: ConvChain) -> None:
        original = cover_later(chain, "read")

        def read(x: Array) -> Any:
            Sequential.forward(chain, x)  # layer by layer: a chain does not call its layers
            return original(x)

        setattr(chain, "read", read)  # noqa: B010

    def walk(prefix: str, layer: Layer) -> None:
        for name, child in layer.children():
            walk(f"{prefix}{name}.", child)
        if isinstance(layer, ConvChain):
            watch_chain(layer)
        elif prefix:
            watch(f"{prefix[:-1]} ({type(layer).__name__})", layer)

    walk("", model)
    statistics = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    try:
        model.forward(x)
    finally:
        for buffer, original in statistics:
            buffer[...] = original
        for layer, method, before in reversed(watched):  # a layer may stand in two places
            if before is None:
                vars(layer).pop(method, None)
            else:
                setattr(layer, method, before)
    return found[0] if found else "the loss: the logits are finite but too far apart"
