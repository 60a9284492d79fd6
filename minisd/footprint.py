"""How much memory the forward of a training step leaves behind, for its backward.

Every layer's cache is looked through for arrays, after a forward. Arrays that share memory count
once; parameters and running statistics do not count.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minisd.backend import Array, beside, is_cupy

LayerLike = Any
"""A `minisd.layer.Layer`. That module imports this one, and not the other way round."""


def copy_of(layer: LayerLike) -> LayerLike:
    """Return a copy that shares nothing, without what the last forward saved, which may be large.

    Nor does it have the ``group`` of a batch norm: other processes are not asked.
    """
    held = {id(each): (each, each._cache, getattr(each, "group", None)) for each in layer.walk()}
    try:
        for each, _, group in held.values():
            each._cache = None
            if group is not None:
                each.group = None
        return copy.deepcopy(layer)
    finally:
        for each, cache, group in held.values():
            each._cache = cache
            if group is not None:
                each.group = group


def images_for(layer: LayerLike, shape: Sequence[int], N: int) -> Array:
    """Return random images (N, *shape) of the dtype of the layer's parameters, where they are."""
    like = next((parameter.data for _, parameter in layer.parameters()), np.zeros(1, np.float32))
    x = np.random.default_rng(0).standard_normal((N, *shape)).astype(like.dtype)
    return beside(x, like)


def saved_bytes(layer: LayerLike, shape: Sequence[int], N: int) -> int:
    """Return the size of all arrays that a training forward of N inputs saves for its backward."""
    layer.train()
    for each in layer.walk():
        if hasattr(each, "is_open"):
            each.is_open, each.image_gates = True, None
    x = images_for(layer, shape, N)
    layer.forward(x)
    total = _caches(layer, [layer])
    every = getattr(layer, "recompute_every", None)
    if every is not None:  # only inputs of groups are saved; one group at a time is computed again
        layer.recompute_every = None
        layer.forward(x)
        starts = range(0, len(layer.blocks), every)
        total += max(_caches(layer, layer.blocks[start : start + every]) for start in starts)
        layer.recompute_every = every
    layer.forget()
    return total


def _caches(model: LayerLike, layers: Sequence[LayerLike]) -> int:
    """Return how many bytes the caches of some layers hold, but for parameters and statistics."""
    kept = [parameter.data for _, parameter in model.parameters()]
    kept += [buffer for _, buffer in model.buffers()]
    caches = [each._cache for layer in layers for each in layer.walk()]
    ours = [_extent(array) for array in kept]
    return _union([*ours, *map(_extent, _arrays(caches, set()))]) - _union(ours)


def _arrays(value: Any, seen: set[int]) -> Iterator[Array]:
    """Yield the arrays in a cache, also those in containers and in objects such as sources."""
    if id(value) in seen or isinstance(value, type | ModuleType) or hasattr(value, "walk"):
        return
    seen.add(id(value))
    inside: Iterable[Any] = ()
    if isinstance(value, np.ndarray) or is_cupy(value):
        if getattr(value, "size", 0):
            yield value
    elif isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple):
        inside = value
    elif hasattr(value, "__dict__"):
        inside = vars(value).values()
    for each in inside:
        yield from _arrays(each, seen)


def _extent(array: Any) -> tuple[int, int]:
    """Return where an array begins and ends in memory, so that views are not counted twice."""
    start = array.data.ptr if is_cupy(array) else array.__array_interface__["data"][0]
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
    return start + low, start + high + array.itemsize


def _union(extents: Iterable[tuple[int, int]]) -> int:
    """Return how many bytes lie in at least one of the intervals."""
    total, reached = 0, 0
    for start, end in sorted(extents):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
