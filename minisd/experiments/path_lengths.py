"""Gradient by path length (Veit, Wilber and Belongie 2016, arXiv:1605.06431, section 4.3).

A residual network of L blocks has 2^L paths: each block can be passed along the branch or along the
shortcut. The backward is linear, so the gradient is a sum over all paths. The part of a single path
can be computed alone: at each block, go back through the branch only, or the shortcut only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import comb

import numpy as np

from minisd.backend import Array, array_module, to_numpy
from minisd.flow.hooks import Hooks
from minisd.layer import Layer, restore, settings
from minisd.models import ResNet
from minisd.residual import check_has_parts
from minisd.stochastic_depth import set_gates


def backward_along(model: ResNet, dy: Array, along_branch: Sequence[bool]) -> Array:
    """Return the part of dx that comes along one path. Call it after a training forward.

    Parameters
    ----------
    dy : (N, num_classes)
    along_branch : list of L bool
        For each block, whether the path goes along the branch or along the shortcut.
    """
    for block in model.blocks:
        check_has_parts(block)
    if model.recompute_every is not None:
        raise ValueError("a path needs what forwards save: set the model's recompute_every to None")
    model.take()
    dh = model.pool.backward(model.head.backward(dy))
    for block, through_branch in zip(reversed(model.blocks), reversed(along_branch), strict=True):
        is_open, weight = block.take()
        if through_branch and not is_open:
            raise ValueError("a path cannot go along the branch of a closed block")
        if through_branch:
            with nothing_back_through(block.shortcut):
                dh = block.open_backward(dh, weight)
        else:
            dh = block.closed_backward(dh)
        block.forget()
    return model.stem.backward(dh)


@contextmanager
def nothing_back_through(layer: Layer) -> Iterator[None]:
    """Let the layer's backward return zeros inside the ``with`` block."""

    def backward(original: Callable[[Array], Array], dy: Array) -> Array:
        dx = original(dy)
        return array_module(dx).zeros_like(dx)

    hooks = Hooks()
    hooks.add(layer, backward=backward)
    try:
        yield
    finally:
        hooks.remove()


@contextmanager
def unmoved(model: Layer) -> Iterator[None]:
    """Restore statistics, gradients and settings at the end of the block; drop caches."""
    statistics = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    grads = [(parameter, parameter.grad) for _, parameter in model.parameters()]
    names = ("training", "saves", "is_open", "image_gates", "recompute_every")
    before = settings(model.walk(), names)
    model.zero_grad()  # new gradients must not be added to those
    try:
        yield
    finally:
        for buffer, original in statistics:
            buffer[...] = original
        for parameter, grad in grads:
            parameter.grad = grad
        restore(before)
        model.forget()


def sampled_norms(
    model: ResNet,
    images: Array,
    labels: Array,
    k: int,
    *,
    samples: int,
    rng: np.random.Generator,
) -> list[float]:
    """Return ||dx|| of a batch along ``samples`` random paths through exactly ``k`` branches.

    The network is as in training with all blocks open: branches have weight 1, and batch norm uses
    the statistics of the batch. dx is the gradient of the mean loss.
    """
    L = model.num_blocks
    norms = []
    with unmoved(model):
        model.train()
        model.recompute_every = None
        set_gates(model, [True] * L)
        for _ in range(samples):
            path = (rng.permutation(L) < k).tolist()
            _, dlogits = model.ops.softmax_cross_entropy(model.forward(images), labels)
            dx = to_numpy(backward_along(model, dlogits, path)).astype(np.float64)
            norms.append(float(np.sqrt((dx**2).sum())))
    return norms


def by_length(norms: Sequence[Sequence[float]]) -> np.ndarray:
    """Return (L + 1,): mean norm along a path through k branches, times C(L, k) such paths.

    Norms do not add up as gradients do. So this is not a share of the gradient, but, up to
    sampling, an upper bound of the contribution of all paths of one length.
    """
    L = len(norms) - 1
    return np.array([np.mean(samples) * comb(L, k) for k, samples in enumerate(norms)])
