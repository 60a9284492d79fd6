"""What a network is trained on: images with labels in three parts, made of what a user has."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minisd.backend import Array, is_cupy
from minisd.data import Dataset, Normaliser, Split, split_validation
from minisd.data.batches import Augmentation
from minisd.errors import ConfigError

Images = Split | Dataset | tuple[Array, Array]


@dataclass
class Material:
    """What a network is trained on.

    Attributes
    ----------
    test : Split or None
        Plays no part in training. None: the test error is not reported.
    digest : str
        Recognises the same images.
    """

    train: Split
    validation: Split
    test: Split | None
    normaliser: Normaliser
    augmentation: Augmentation
    digest: str


def material_of(
    train: Images,
    validation: Images | None,
    test: Images | None,
    augmentation: Augmentation,
    normalise: bool,
    split_rng: np.random.Generator,
) -> Material:
    """Return the checked splits."""
    if isinstance(train, Dataset):
        test = train.test if test is None else test
        if validation is None:
            train, validation = split_validation(train, split_rng)
    if validation is None:
        raise ConfigError(
            "fit needs validation images, which decide on the best weights: give "
            "fit(model, optimizer, train, validation, ...), or a Dataset for train"
        )
    splits = {"train": _split(train, "train"), "validation": _split(validation, "validation")}
    if test is not None:
        splits["test"] = _split(test, "test")
    shape = splits["train"].images.shape[1:]
    hasher = hashlib.blake2b(digest_size=16)
    classes = 1 + max(
        (int(split.labels.max()) for split in splits.values() if split.labels.size), default=0
    )
    for name, split in splits.items():
        split.check(name, classes)
        if split.images.shape[1:] != shape:
            raise ConfigError(
                f"images of train are {shape}, but of {name} {split.images.shape[1:]}"
            )
        for array in (split.images, split.labels):
            hasher.update(f"{array.dtype}{array.shape}".encode())
            hasher.update(np.ascontiguousarray(array).data)
    if not isinstance(augmentation, Augmentation):
        raise ConfigError(
            f"augmentation is a minisd.data.batches.Augmentation, got {augmentation!r}"
        )
    images = splits["train"].images
    normaliser = (
        Normaliser.fit(images) if normalise else Normaliser(np.zeros(shape, np.float32), 1.0)
    )
    return Material(
        splits["train"],
        splits["validation"],
        splits.get("test"),
        normaliser,
        augmentation,
        hasher.hexdigest(),
    )


def _split(given: Images, name: str) -> Split:
    """Return images and labels as a Split."""
    if isinstance(given, Dataset):
        return given.test if name == "test" else given.train
    if isinstance(given, Split):
        return given
    if isinstance(given, Sequence) and len(given) == 2:
        images, labels = given
        if is_cupy(images) or is_cupy(labels):
            raise ConfigError(
                f"{name}: images and labels are NumPy arrays; batches go to the GPU one by one"
            )
        return Split(np.asarray(images), np.asarray(labels))
    raise ConfigError(
        f"{name} is a Split, a pair (images, labels) or a Dataset; got a {type(given).__name__}"
    )
