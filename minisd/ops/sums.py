"""Sums and means of many numbers, added up in float64 whatever they are.

A float32 has seven digits. Added one by one, a million of them lose three, and how many they lose
depends on the order in which they lie in memory.
"""

from minisd.backend import Array


def sum_over(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the sum over the given axes, in the dtype of ``x``."""
    return x.sum(axis=axis, dtype="float64").astype(x.dtype)


def mean_over(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the mean over the given axes, in the dtype of ``x``."""
    return x.mean(axis=axis, dtype="float64").astype(x.dtype)
