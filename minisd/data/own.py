"""Images of one's own: an NPZ file (`own_npz`) or a folder of class folders (`own_folder`).

One set of images is split class by class, by a seed: 80 % train, 10 % validate and 10 % test.
Parts that are there already, train and test and perhaps validation, are taken as they are.
"""

import os
from collections.abc import Collection
from pathlib import Path, PurePath

import numpy as np

from minisd.data import own_folder, own_npz
from minisd.data.by_class import tenths
from minisd.data.dataset import Dataset, Split
from minisd.data.files import found_in
from minisd.errors import DataError


def is_path(data: str, names: Collection[str]) -> bool:
    """Whether ``data`` is the path of an NPZ file or a folder, not one of the ``names``.

    A file or folder with the name of a data set is written with its folder: ``./digits``.
    """
    if data in names:
        return False
    return any(c in data for c in ("/", os.sep)) or data.endswith(".npz") or os.path.exists(data)


def short_name(data: str) -> str:
    """Return the name of a data set, or of the file or folder: "mine" for "/home/me/mine.npz"."""
    return PurePath(data).name.removesuffix(".npz") or "own"


def absolute(path: str) -> str:
    """Return the whole path; ``~`` is the home folder."""
    return os.path.abspath(os.path.expanduser(path))


def load(path: str | Path, *, seed: int = 1) -> Dataset:
    """Read images of one's own.

    Parameters
    ----------
    path : path
        An NPZ file or a folder.
    seed : int
        Of the split, if there is one set of images. ``minisd train --seed S`` splits as ``seed=S``
        does.

    Raises
    ------
    OutOfMemoryError, DataError
        If files are missing, damaged or too large, or do not fit together. The message says which,
        and what to do.
    """
    path = Path(absolute(str(path)))
    class_names: tuple[str, ...] = ()
    remarks: list[str] = []
    if os.path.isdir(path):
        if official := found_in(path):
            raise DataError(
                f"{path} has the official files of {official[0]} in it: use --data {official[0]} "
                "with this folder as --data-dir"
            )
        parts, class_names, remarks = own_folder.read(path)
    else:
        parts = own_npz.read(path)
    name = short_name(str(path))
    num_classes = _num_classes(path, parts)
    _check_sizes(path, parts)
    parts = {part: Split(s.images, s.labels.astype(np.int64)) for part, s in parts.items()}
    if "all" in parts:
        # The stream of the validation split: see `minisd.runs.run.Run`.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        whole = parts["all"]
        drawn = tenths(whole.labels, 2, rng, of=str(path), class_names=class_names)
        names = ("train", "test", "validation")
        parts = {part: whole[index] for part, index in zip(names, drawn, strict=True)}
        remarks.insert(0, f"split 80/10/10, class by class, by seed {seed}")
    elif "validation" not in parts:
        remarks.insert(0, "a tenth of each class of the training images validates")
    return Dataset(
        name,
        parts["train"],
        parts["test"],
        num_classes,
        remark="; ".join(remarks),
        validation=parts.get("validation"),
        by_class=True,
        class_names=class_names,
    )


def _check_sizes(path: Path, parts: dict[str, Split]) -> None:
    (first, split), *others = parts.items()
    for part, other in others:
        here, there = split.images.shape[1:], other.images.shape[1:]
        if here != there:
            raise DataError(
                f"{path}: images (C, H, W) of {first} are {here}, but those of {part} are {there}: "
                "all must have one shape"
            )


def _num_classes(path: Path, parts: dict[str, Split]) -> int:
    """Return the number of classes, if labels number them 0, 1, 2, ... without gaps."""
    for part, split in parts.items():
        lowest = int(split.labels.min())
        if lowest < 0:
            where = "" if part == "all" else f" of {part}"
            raise DataError(
                f"{path}: image {int(split.labels.argmin())}{where} has label {lowest}: labels "
                "number the classes 0, 1, 2, ..."
            )
    highest = max(int(split.labels.max()) for split in parts.values())
    if highest == 0:
        raise DataError(f"{path}: all labels are 0, but at least two classes are needed")
    labels = parts["all" if "all" in parts else "train"].labels
    present = set(np.unique(labels).tolist())
    missing = next((label for label in range(highest + 1) if label not in present), None)
    if missing is not None:
        raise DataError(
            f"{path}: labels go up to {highest}, but no training image has label {missing}: number "
            "the classes 0, 1, 2, ... without gaps"
        )
    return highest + 1
