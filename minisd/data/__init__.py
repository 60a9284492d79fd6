"""Data sets of small images, read from their official files, and images of your own.

`load` reads a data set by name or path, `minisd.data.batches` cuts it into mini-batches, and
`minisd.data.download` downloads data sets. Only the digits come with the package.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minisd.data import cifar, digits, own, svhn
from minisd.data.dataset import Dataset, Normaliser, Split, split_validation
from minisd.data.files import found_in
from minisd.errors import DataError, known_or_close

LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits.load,
    "cifar10": cifar.load_cifar10,
    "cifar100": cifar.load_cifar100,
    "svhn": svhn.load,
}


def load(name: str | Path, data_dir: str | Path = "data", **options: Any) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    name : "digits", "cifar10", "cifar100" or "svhn"; or a path
        A path of images of your own: an NPZ file or a folder (`minisd.data.own`). A `Path` is
        always one.
    data_dir : path
        The folder with the data set's files, or its parent; ``~`` is the home folder. The digits
        come with the package, and need none. Not used for a path.
    **options
        Options of the data set's own loader, such as ``labels="coarse"`` for CIFAR-100, or
        ``seed=2``, of the split, for images of your own.

    Raises
    ------
    DataError
        If files are missing or damaged. The message says which, and what to do.
    """
    if isinstance(name, Path) or is_path(name):
        return own.load(name, **options)
    if name not in LOADERS:
        raise DataError(
            f"unknown data set {name!r}; {known_or_close(name, LOADERS)} (images of your own are "
            "given by the path of an .npz file, or of a folder with class folders)"
        )
    return LOADERS[name](Path(os.path.expanduser(data_dir)), **options)


def is_path(data: str) -> bool:
    """Whether ``data`` is the path of images of one's own, not the name of a data set."""
    return own.is_path(data, LOADERS)


__all__ = [
    "LOADERS",
    "Dataset",
    "Normaliser",
    "Split",
    "found_in",
    "is_path",
    "load",
    "split_validation",
]
