"""Choosing images class by class, so that every part has the same mix of classes.

Files of one's own are often sorted by class: there the first tenth of all images is one class.
"""

from collections.abc import Sequence

import numpy as np

from minisd.backend import Array
from minisd.errors import DataError


def tenths(
    labels: Array, parts: int, rng: np.random.Generator, *, of: str, class_names: Sequence[str] = ()
) -> list[Array]:
    """Draw ``parts`` tenths of the images of every class, at random; the rest comes first.

    Of a class with n images each tenth has n / 10, rounded, and at least one.

    Parameters
    ----------
    labels : (N,), integers from 0
    of : str
        What the images are, for an error: "mine.npz (training images)".
    class_names : sequence of str, optional
        By label, for an error.

    Returns
    -------
    list of (n,) arrays
        The indices of the rest and of each tenth, in rising order. Each index is in one of them.

    Raises
    ------
    DataError
        If a class has too few images for one in every part.
    """
    part_of = np.zeros(len(labels), int)
    for label, members in enumerate(_members(labels)):
        if 0 < len(members) <= parts:
            raise DataError(
                f"{of}: class {_called(label, class_names)} has {len(members)} "
                f"image{'s' * (len(members) > 1)}, but at least {parts + 1} are needed to have one "
                "in each part: add images of this class, leave it out, or split the data yourself "
                "(train, val, test)"
            )
        count = max(1, (len(members) + 5) // 10)
        drawn = rng.permutation(members)[: parts * count]
        part_of[drawn] = 1 + np.arange(len(drawn)) // count
    return [np.flatnonzero(part_of == part) for part in range(parts + 1)]


def in_turn(labels: Array, count: int) -> Array:
    """Return the indices of ``count`` images, in rising order: the first of each class in turn.

    Classes with few images are used up, and the others go on.

    Examples
    --------
    >>> in_turn(np.array([0, 0, 0, 0, 1, 1, 2]), 5).tolist()
    [0, 1, 4, 5, 6]
    """
    turn = np.empty(len(labels), int)  # 0 for the first image of its class, 1 for the second, ...
    for members in _members(labels):
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((labels, turn))[:count])


def _members(labels: Array) -> list[Array]:
    """Return the indices of the images of each class, in rising order."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])


def _called(label: int, class_names: Sequence[str]) -> str:
    return f"{label} ({class_names[label]})" if class_names else str(label)
