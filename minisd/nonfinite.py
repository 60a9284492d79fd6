"""Where the first number that is not finite comes from."""

from minisd.backend import Array, array_module
from minisd.layer import Layer


def first_nonfinite(model: Layer, x: Array) -> str:
    """Run a forward again and name the first layer whose output is not finite.

    Running statistics are put back as they were.
    """
    xp = array_module(x)
    if not xp.isfinite(x).all():
        return "no layer: the images themselves are not finite"
    found: list[str] = []
    watched: list[Layer] = []

    def watch(name: str, layer: Layer) -> None:
        original = layer.forward

        def forward(x: Array) -> Array:
            y = original(x)
            if not found and not xp.isfinite(y).all():
                found.append(name)
            return y

        setattr(layer, "forward", forward)  # noqa: B010 (on the instance, for this once)
        watched.append(layer)

    def walk(prefix: str, layer: Layer) -> None:
        for name, child in layer.children():
            walk(f"{prefix}{name}.", child)
        if prefix:
            watch(f"{prefix[:-1]} ({type(layer).__name__})", layer)

    walk("", model)
    statistics = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    try:
        model.forward(x)
    finally:
        for buffer, original in statistics:
            buffer[...] = original
        for layer in watched:
            vars(layer).pop("forward", None)  # a layer may stand in two places
    return found[0] if found else "the loss: the logits are finite but too far apart"
