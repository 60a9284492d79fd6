"""DeZero's convolution. DeZero 0.0.13 is older than NumPy 2, and needs names that NumPy dropped."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

OLD_NAMES = {"int": int, "float": float, "bool": bool, "object": object, "complex": complex}


@contextmanager
def old_names() -> Iterator[None]:
    """Put NumPy's old names back inside the block, where it has none of its own now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asking for some of the names warns
        gone = [name for name in OLD_NAMES if not hasattr(np, name)]
    for name in gone:
        setattr(np, name, OLD_NAMES[name])
    try:
        yield
    finally:
        for name in gone:
            delattr(np, name)


def convolution(x, w, dy, padding: int) -> Callable[[], tuple]:
    """Return a convolution, forward and backward, as a function."""
    with old_names():  # only while it is imported: what we call does not use them
        from dezero import Variable
        from dezero.functions import conv2d
    x, w = Variable(x), Variable(w)

    def forward_and_backward() -> tuple:
        x.cleargrad()
        w.cleargrad()
        y = conv2d(x, w, None, stride=1, pad=padding)
        y.grad = Variable(dy)
        y.backward()
        return y.data, x.grad.data, w.grad.data

    return forward_and_backward
