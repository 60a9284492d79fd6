"""Data sets: images with labels, the split into three parts, and normalisation."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisd.backend import Array, one_kernel, to_device
from minisd.data.by_class import in_turn, tenths
from minisd.errors import DataError

_CHUNK = 4096  # images that are converted to floats at a time, for mean and deviation


@dataclass
class Split:
    """Images and their labels.

    Attributes
    ----------
    images : (N, C, H, W), uint8 or finite floats
    labels : (N,), integers from 0
    """

    images: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Array) -> "Split":
        return Split(self.images[index], self.labels[index])

    def check(self, name: str, num_classes: int) -> None:
        """Raise a DataError if images or labels are invalid. Its message starts with ``name``."""
        images, labels = self.images, self.labels
        if images.ndim != 4:
            raise DataError(f"{name}: images must be (N, C, H, W), got shape {images.shape}")
        if images.size == 0:
            raise DataError(f"{name}: there are no images (shape {images.shape})")
        if labels.shape != (len(images),):
            raise DataError(f"{name}: {len(images)} images but labels of shape {labels.shape}")
        if labels.dtype.kind not in "iu":
            raise DataError(f"{name}: labels must be integers, got {labels.dtype}")
        if images.dtype != np.uint8 and images.dtype not in (np.float32, np.float64):
            raise DataError(f"{name}: images must be uint8, float32 or float64, got {images.dtype}")
        bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if len(bad):
            raise DataError(
                f"{name}: label {labels[bad[0]]} of image {bad[0]} is not one of the "
                f"{num_classes} classes, 0 to {num_classes - 1}"
            )
        if images.dtype != np.uint8:
            finite = np.isfinite(images).all(axis=(1, 2, 3))
            if not finite.all():
                raise DataError(f"{name}: image {np.argmin(finite)} has pixels that are not finite")


@dataclass
class Dataset:
    """A data set in its official form: training images and test images.

    Attributes
    ----------
    num_classes : int
        Labels are 0 to ``num_classes`` - 1.
    validation_rule : list of (start, stop, count)
        Take ``count`` validation images of every class from training images start to stop (SVHN).
        Empty: take a tenth of all training images, for instance 5,000 of CIFAR's 50,000.
    remark : str
        What should be said of the files, if they are not known to be the official ones.
    validation : Split, optional
        Validation images, if the data set comes with some. `split_validation` then draws none.
    by_class : bool
        Split and limit the training images class by class, because they may be sorted by class.
    class_names : tuple of str
        By label; empty if they are not known.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    validation_rule: list[tuple[int, int, int]] = field(default_factory=list)
    remark: str = ""
    validation: Split | None = None
    by_class: bool = False
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.train.check(f"{self.name} (training images)", self.num_classes)
        others = {"test": self.test, "validation": self.validation}
        for part, split in others.items():
            if split is None:
                continue
            split.check(f"{self.name} ({part} images)", self.num_classes)
            if self.train.images.shape[1:] != split.images.shape[1:]:
                raise DataError(
                    f"{self.name}: training images are {self.train.images.shape[1:]} but {part} "
                    f"images {split.images.shape[1:]}"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.train.images.shape[1:]

    def limited(self, count: int) -> "Dataset":
        """Return the same data set with the first ``count`` training images only.

        With `by_class` they are the first of each class in turn. Validation images that the data
        set comes with stay all; otherwise a tenth of the ``count`` becomes the validation images.
        """
        if count < 1:
            raise DataError(f"the number of training images must be at least 1, got {count}")
        if count >= len(self.train):
            return self
        if self.by_class and count < self.num_classes:
            raise DataError(
                f"{self.name}: {count} training images cannot have one of each of the "
                f"{self.num_classes} classes: use a --limit of at least {self.num_classes}"
            )
        kept = in_turn(self.train.labels, count) if self.by_class else slice(count)
        return dataclasses.replace(self, train=self.train[kept], validation_rule=[])

    def digest(self) -> str:
        """Return a checksum of all images and labels, to recognise the same data."""
        hasher = hashlib.blake2b(digest_size=16)
        validation = [] if self.validation is None else [self.validation]
        for split in (self.train, self.test, *validation):
            for array in (split.images, split.labels):
                hasher.update(f"{array.dtype}{array.shape}".encode())
                hasher.update(np.ascontiguousarray(array).data)
        return hasher.hexdigest()


def split_validation(dataset: Dataset, rng: np.random.Generator) -> tuple[Split, Split]:
    """Split the training images at random into (train, validation), by the data set's rule.

    Where the data set has validation images of its own, these are returned, and nothing is drawn.

    Raises
    ------
    DataError
        If there are too few images.
    """
    train = dataset.train
    if dataset.validation is not None:
        return train, dataset.validation
    if dataset.by_class:
        of, names = f"{dataset.name} (training images)", dataset.class_names
        kept, tenth = tenths(train.labels, 1, rng, of=of, class_names=names)
        return train[kept], train[tenth]
    is_validation = np.zeros(len(train), bool)
    if dataset.validation_rule:
        for start, stop, count in dataset.validation_rule:
            for label in range(dataset.num_classes):
                members = start + np.flatnonzero(train.labels[start:stop] == label)
                if len(members) <= count:
                    raise DataError(
                        f"{dataset.name}: class {label} has {len(members)} images among training "
                        f"images {start} to {stop}, too few to take {count} for "
                        "validation: use the complete files, or --limit to split off a tenth"
                    )
                is_validation[rng.choice(members, count, replace=False)] = True
    else:
        if len(train) < 2:
            raise DataError(
                f"{dataset.name}: one training image cannot be split into training and validation"
            )
        count = max(1, len(train) // 10)
        is_validation[rng.permutation(len(train))[:count]] = True
    return train[~is_validation], train[is_validation]


@dataclass
class Normaliser:
    """Subtract the mean image and divide by one standard deviation, as the released code does.

    Attributes
    ----------
    mean : (C, H, W) float32
        Per-pixel mean of the training images.
    std : float
        Standard deviation of all their pixels around that mean.
    """

    mean: Array
    std: float

    @classmethod
    def fit(cls, images: Array) -> "Normaliser":
        """Compute mean and deviation of the training split, in float64.

        Raises
        ------
        DataError
            If there are no images, all are the same, or pixels are not finite.
        """
        if images.size == 0:
            raise DataError(f"there are no training images to normalise by, shape {images.shape}")
        chunks = [slice(i, i + _CHUNK) for i in range(0, len(images), _CHUNK)]
        mean = sum(images[chunk].sum(axis=0, dtype=np.float64) for chunk in chunks) / len(images)
        squares = sum(float(np.square(images[chunk] - mean).sum()) for chunk in chunks)
        std = float(np.sqrt(squares / images.size))
        if not np.isfinite(std):
            raise DataError("the training images have pixels that are not finite")
        if not std > 1e-7 * np.abs(mean).max():  # equal images; the rest is rounding
            raise DataError("all training images are the same: there is nothing to learn")
        return cls(np.asarray(mean, np.float32), std)

    def to(self, device: str) -> "Normaliser":
        """Return the same normaliser for images on ``device``."""
        return Normaliser(to_device(self.mean, device), self.std)

    def __call__(self, images: Array) -> Array:
        """Return ``images`` (N, C, H, W), or a single one, normalised, float32."""
        if images.shape[-3:] != self.mean.shape:
            raise DataError(
                f"these are images of {images.shape[-3:]}, but the normaliser is for "
                f"{self.mean.shape}"
            )
        return normalised_images(images.astype(np.float32), self.mean, self.std)


@one_kernel
def normalised_images(xp: Any, images: Array, mean: Array, std: float) -> Array:
    """Return (images - mean) / std."""
    return (images - mean) / std
