"""What a network is made of: layers, shapes, parameters, p_l, FLOPs, and the memory of a step.

``print(model)`` shows this for a `minisd.models.ResNet`; ``layer.summary((C, H, W))`` for any.

Nothing here is looked up in a table of layers. A copy of the network runs one image forward, to see
which layer gets and gives which shape. Each layer then says how much work that was (its ``flops``),
and a layer of one's own that does not say so is counted as "?", not as nothing. The copy also does
the forward of a training step, and the arrays that its layers have saved for the backward are
added up (`minisd.footprint`). The network itself is not touched, neither its statistics nor what
its last forward saved.

What is counted:

- FLOPs: of the forward of one image in evaluation, with every block open. A multiply-add is 2. So a
  convolution is 2 C K K for each number that it gives, and 1 more with a bias; a linear layer 2 D,
  and 1 more; batch norm 2 (scale and shift); a block's weighted sum 2; ReLU 1; pooling 1 for each
  number that it takes. A backward takes about twice that.
- Memory: parameters, their gradients, one momentum each (that of SGD), running statistics, and what
  is saved for the backward, with all blocks open. Not: arrays that live only within one layer.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.footprint import LayerLike, copy_of, images_for, saved_bytes

COLUMNS = (("layer", 15), ("kind", 18), ("output", 13), ("parameters", 11), ("p_l", 9))
"""Heading and width; what follows them is FLOPs. Together with the gaps it is below 80."""

# ---- repr ----


def nested(layer: LayerLike) -> str:
    """Return the layer's class and settings, with the layers inside it, one a line."""
    head = f"{type(layer).__name__}({layer.details()}"
    inside = [(name, repr(child)) for name, child in layer.children()]
    if not inside:
        return head + ")"
    lines = []
    for text, equal in groupby(inside, key=lambda pair: pair[1]):
        names = [name for name, _ in equal]
        times = f"{len(names)} x " if len(names) > 1 else ""
        lines.append(f"({_joined(names)}): {times}{text}")
    return head + "".join("\n" + line for line in lines).replace("\n", "\n  ") + "\n)"


def details(attributes: dict[str, Any]) -> str:
    """Return ``name=value`` of numbers and strings, and ``name=shape`` of arrays and parameters."""
    found = []
    for name, value in attributes.items():
        array: Any = value if hasattr(value, "shape") else getattr(value, "data", None)
        if name.startswith("_") or name in ("training", "saves"):
            continue
        if isinstance(value, float):
            found.append(f"{name}={value:.4g}")
        elif isinstance(value, bool | int | str | np.number):
            found.append(f"{name}={value!r}")
        elif hasattr(array, "shape"):
            found.append(f"{name}={tuple(array.shape)}")
    return ", ".join(found)


def _joined(names: Sequence[str]) -> str:
    """Return ``blocks.0`` and ``blocks.2`` and what is between them as ``blocks.0-2``."""
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1].rpartition('.')[2]}"


# ---- FLOPs ----


class Calls:
    """Which forwards a network calls for one input, with which shapes.

    Parameters
    ----------
    layer : Layer
        It is spoilt: give a copy.
    shape : tuple of int
        Of one input.
    """

    def __init__(self, layer: LayerLike, shape: Sequence[int]) -> None:
        self.flops: dict[int, list[int | None]] = {}
        self.outputs: dict[int, tuple[int, ...]] = {}
        self.unknown: dict[str, None] = {}  # names of classes, in order
        layer.eval()
        for each in {id(each): each for each in layer.walk()}.values():
            if hasattr(each, "survival_prob"):
                each.survival_prob = 1.0  # or with 0 the branch would not run
            self._watch(each)
        layer.forward(images_for(layer, shape, 1))

    def _watch(self, layer: LayerLike) -> None:
        original = layer.forward

        def forward(x: Array) -> Array:
            y = original(x)
            work = known_flops(layer, x.shape, y.shape)
            self.flops.setdefault(id(layer), []).append(work)
            self.outputs[id(layer)] = y.shape[1:]
            if work is None:
                self.unknown[type(layer).__name__] = None
            return y

        layer.forward = forward  # its own: a chain then calls its layers, instead of one pass

    def work(self, layer: LayerLike) -> tuple[int, bool]:
        """Return the FLOPs of a layer and all inside it, and whether all of them are known."""
        ids = {id(each) for each in layer.walk()}
        counted = [work for each in ids for work in self.flops.get(each, [])]
        return sum(work or 0 for work in counted), None not in counted


def known_flops(layer: LayerLike, x: tuple[int, ...], y: tuple[int, ...]) -> int | None:
    """Return the layer's own ``flops``; None if its class has another ``forward`` and no flops."""
    for cls in type(layer).__mro__:
        if "flops" in vars(cls):
            return layer.flops(x, y)
        if "forward" in vars(cls):
            return None
    return None


# ---- the table ----


@dataclass
class Row:
    """A line of the table: a layer, or several equal ones in a row."""

    names: list[str]
    kind: str
    output: str
    parameters: int
    probs: list[float]
    flops: int
    is_known: bool

    def equals(self, other: "Row") -> bool:
        """Whether the other layer is equal, and the next one of the same list."""
        mine, theirs = (row.names[-1].rpartition(".")[0] for row in (self, other))
        return bool(mine) and mine == theirs and self._what() == other._what()

    def _what(self) -> tuple[Any, ...]:
        n = len(self.names)
        return self.kind, self.output, self.parameters / n, self.flops / n, self.is_known

    def add(self, other: "Row") -> None:
        """Add an equal layer."""
        self.names += other.names
        self.probs += other.probs
        self.parameters += other.parameters
        self.flops += other.flops


def table(layer: LayerLike, input_shape: Sequence[int] | None, batch_size: int) -> str:
    """Return the table and the sums below it, as text of at most 80 columns.

    Parameters
    ----------
    layer : Layer
        It is not changed.
    input_shape : tuple of int, or None
        The shape of one input, such as (C, H, W). None: no shapes, FLOPs and memory.
    batch_size : int
        Inputs in a training step, for its memory.
    """
    copied = copy_of(layer)
    probs = {id(each): getattr(each, "survival_prob", None) for each in copied.walk()}
    saved = None
    if input_shape is not None:
        two, three = (saved_bytes(copied, input_shape, N) for N in (2, 3))
        saved = two + (batch_size - 2) * (three - two)
    calls = None if input_shape is None else Calls(copied, input_shape)
    rows: list[Row] = []
    for name, each in _shown(copied):
        row = _row(name, each, probs, calls)
        if rows and rows[-1].equals(row):
            rows[-1].add(row)
        else:
            rows.append(row)
    title = type(layer).__name__
    if input_shape is not None:
        title += f" for inputs of {_times(input_shape)}"
    lines = [title, "", _line([heading for heading, _ in COLUMNS], "FLOPs")]
    lines += [_line(_cells(row), _work(row, calls)) for row in rows]
    lines += ["", f"parameters  {_size(layer):,}"]
    if calls is not None and saved is not None:
        lines += _sums(copied, probs, calls)
        lines += _memory(layer, saved, batch_size)
    else:
        lines.append("For shapes, FLOPs and memory: summary((C, H, W)), the shape of one input.")
    return "\n".join(lines)


def _shown(layer: LayerLike) -> Iterator[tuple[str, LayerLike]]:
    """Yield the layers that have a row: those inside, and for a `Sequential`, those in there."""
    children = list(layer.children())
    if not children:
        yield "", layer
    for name, child in children:
        inside = list(child.children()) if hasattr(child, "layers") else []
        if inside and not any(list(each.children()) for _, each in inside):
            yield from ((f"{name}.{inner}", each) for inner, each in inside)
        else:
            yield name, child


def _row(name: str, layer: LayerLike, probs: dict[int, Any], calls: Calls | None) -> Row:
    flops, is_known = (0, False) if calls is None else calls.work(layer)
    shape = None if calls is None else calls.outputs.get(id(layer))
    p = probs[id(layer)]
    return Row(
        [name],
        type(layer).__name__,
        "not called" if calls is not None and shape is None else _times(shape or ()),
        _size(layer),
        [] if p is None else [float(p)],
        flops,
        is_known,
    )


def _size(layer: LayerLike) -> int:
    """Return how many numbers are trained; a parameter in two places counts once."""
    return sum({id(p): int(p.data.size) for _, p in layer.parameters()}.values())


def _cells(row: Row) -> list[str]:
    """Return what stands in the columns; of several p_l the highest and the lowest."""
    probs = sorted({f"{p:.2f}" for p in row.probs}, reverse=True)
    parameters = f"{row.parameters:,}" if row.parameters else ""
    return [
        _joined(row.names),
        row.kind,
        row.output,
        parameters,
        "-".join(probs[:1] + probs[1:][-1:]),
    ]


def _line(cells: Sequence[str], work: str) -> str:
    """Return a line of the table. A name that is too long loses its end."""
    text = ""
    for cell, (heading, width) in zip(cells, COLUMNS, strict=True):
        cell = cell if len(cell) <= width else cell[: width - 3] + "..."
        text += f"{cell:>{width}}  " if heading == "parameters" else f"{cell:<{width}} "
    return (text + f"{work:>8}").rstrip()


def _work(row: Row, calls: Calls | None) -> str:
    """Return what stands in the last column."""
    if calls is None:
        return ""
    return _si(row.flops) if row.is_known else "?"


def _sums(model: LayerLike, probs: dict[int, Any], calls: Calls) -> list[str]:
    """Return the lines about FLOPs."""
    total, is_known = calls.work(model)
    least = "" if is_known else "at least "
    lines = [
        f"FLOPs       {least}{_si(total)} forward, one input, all blocks open; multiply-add = 2"
    ]
    if not is_known:
        lines.append(f"            unknown for {', '.join(calls.unknown)}"[:80])
        lines.append("            (a layer says it with a method flops(x_shape, y_shape))")
    branches = [
        (probs[id(each)], calls.work(each.branch)[0])
        for each in model.walk()
        if probs.get(id(each)) is not None and hasattr(each, "branch")
    ]
    if any(p < 1 for p, _ in branches):
        expected = total - round(math.fsum((1 - p) * work for p, work in branches))
        depth = math.fsum(p for p, _ in branches)
        lines.append(
            f"            {least}{_si(expected)} with blocks closed as in training: "
            f"{depth:.4g} of {len(branches)} are open"
        )
    return lines


def _memory(layer: LayerLike, saved: int, batch_size: int) -> list[str]:
    """Return the lines about the memory of a step."""
    unique = {id(p): int(p.data.nbytes) for _, p in layer.parameters()}
    parameters = sum(unique.values())
    statistics = sum(int(buffer.nbytes) for _, buffer in layer.buffers())
    fixed = 3 * parameters + statistics
    inputs = "input" if batch_size == 1 else "inputs"
    return [
        f"memory      {_bytes(fixed + saved)} for a training step with {batch_size} {inputs}:",
        f"            {_bytes(saved)} saved for the backward, all blocks open; and",
        f"            {_bytes(fixed)} for parameters, gradients, momentum and statistics",
    ]


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _si(number: float) -> str:
    """Return a count with three digits, such as 40.8 M."""
    return _with_unit(number, 1000, ("", "k", "M", "G", "T"))


def _bytes(number: float) -> str:
    """Return a size with three digits, such as 143 MiB."""
    return _with_unit(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _with_unit(number: float, step: int, units: Sequence[str]) -> str:
    power = 0
    while number >= 999.5 and power < len(units) - 1:
        number, power = number / step, power + 1
    digits = f"{number:.0f}" if power == 0 or number >= 999.5 else f"{number:#.3g}".rstrip(".")
    return f"{digits} {units[power]}".rstrip()
