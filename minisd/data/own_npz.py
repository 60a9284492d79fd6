"""Images of one's own in an NPZ file, as ``numpy.savez`` writes it.

The arrays are ``images`` and ``labels``; or ``train_images``, ``train_labels``, ``test_images`` and
``test_labels`` and, if there are any, ``val_images`` and ``val_labels``. Images are uint8,
(N, C, H, W), (N, H, W, C) or (N, H, W), and labels are whole numbers from 0, (N,) or (N, 1).
"""

from pathlib import Path

import numpy as np

from minisd.backend import Array
from minisd.data.dataset import Split
from minisd.errors import DataError, closest
from minisd.readers import Declared, Kind, Npz

PREFIXES = {"all": "", "train": "train_", "test": "test_", "validation": "val_"}
"""What the names of the arrays of a part begin with. "all": it is to be split."""
_LONG = "validation_"  # is taken for val_, too

_MOST_COMPRESSED, _SLACK = 100, 2**20
"""The arrays of a file have at most this many times its bytes, and as many more."""

FILE = Kind(
    "an NPZ file of images and labels",
    DataError,
    if_missing="check the path given with --data; if the data was moved, --resume and evaluate "
    "take its new place with --data, too",
    if_damaged="write it with numpy.savez(path, images=images, labels=labels)",
)


def read(path: Path) -> dict[str, Split]:
    """Return the parts that a file has: "all", or "train", "test" and perhaps "validation".

    Raises
    ------
    OutOfMemoryError, DataError
        As for `minisd.readers.Kind.reading`; also if arrays are missing, are unknown, or do not
        have shapes and dtypes of images and labels. Nothing is read then.
    """
    with FILE.reading(path) as file, file.npz(_MOST_COMPRESSED * file.size + _SLACK) as npz:
        prefixes = _prefixes(path, npz.declared)
        for prefix in prefixes.values():
            _check_declared(path, prefix, npz.declared)
        return {part: _split(path, prefix, npz) for part, prefix in prefixes.items()}


def _prefixes(path: Path, declared: Declared) -> dict[str, str]:
    """Return the prefix of each part whose arrays the file has, and check that it has them all."""
    prefixes = dict(PREFIXES)
    if any(name.startswith(_LONG) for name in declared):
        prefixes["validation"] = _LONG
    known = {f"{prefix}{what}" for prefix in prefixes.values() for what in ("images", "labels")}
    for name in declared:
        if name not in known:
            close = closest(name, sorted(known))
            raise DataError(
                f"{path} has an array {name!r}, which is not known: "
                + (f"did you mean {close!r}? " if close else "")
                + "The arrays are images and labels, or train_images, train_labels, test_images, "
                "test_labels (and val_images, val_labels); save those alone"
            )
    found = {
        part: prefix
        for part, prefix in prefixes.items()
        if {f"{prefix}images", f"{prefix}labels"} & declared.keys()
    }
    if "all" in found and len(found) > 1:
        raise DataError(
            f"{path} has both images or labels to be split and others that are already: save "
            "either images and labels, or train_, test_ (and val_) images and labels"
        )
    wanted = {"all": ""} if "all" in found else {"train": "train_", "test": "test_"} | found
    if not found:
        raise DataError(f"{path} has no arrays: {FILE.if_damaged}")
    for prefix in wanted.values():
        for what in ("images", "labels"):
            if prefix + what not in declared:
                raise DataError(
                    f"{path} has {', '.join(sorted(declared))}, but no {prefix}{what}: add this "
                    "array, or save images and labels alone, which are split for you"
                )
    return wanted


def _check_declared(path: Path, prefix: str, declared: Declared) -> None:
    """Raise a DataError unless images and labels of a part have shapes and dtypes of such."""
    (shape, dtype), (shape_of_labels, dtype_of_labels) = (
        declared[prefix + "images"],
        declared[prefix + "labels"],
    )
    if dtype != np.uint8:
        how = (
            "if they lie between 0 and 1, (255 * images).round().astype(numpy.uint8) converts them"
            if dtype.kind == "f"
            else "images.astype(numpy.uint8) converts them"
        )
        raise DataError(
            f"{path}: {prefix}images must be uint8, 0 to 255, but they are {dtype}: {how}"
        )
    image_axes(shape, f"{path}: {prefix}images")
    if 0 in shape:
        raise DataError(f"{path}: {prefix}images has shape {shape}: there are no images in it")
    if dtype_of_labels.kind not in "iu":
        raise DataError(
            f"{path}: {prefix}labels must be integers, but they are {dtype_of_labels}: "
            "labels.astype(int) converts them"
        )
    if shape_of_labels not in ((shape[0],), (shape[0], 1)):
        raise DataError(
            f"{path}: {prefix}images has {shape[0]} images, but {prefix}labels has shape "
            f"{shape_of_labels}: one label for each image is wanted"
        )


def image_axes(shape: tuple[int, ...], what: str) -> str:
    """Return which axes an array of images has: "NHW", "NHWC" or "NCHW".

    Four axes are (N, H, W, C) if the last is 1 or 3 and the second is not.

    Raises
    ------
    DataError
        If there are not three or four, or if both orders fit.

    Examples
    --------
    >>> image_axes((10, 28, 28, 3), "photos"), image_axes((10, 3, 28, 28), "photos")
    ('NHWC', 'NCHW')
    """
    if len(shape) == 3:
        return "NHW"
    if len(shape) != 4:
        raise DataError(
            f"{what} must be (N, C, H, W), (N, H, W, C) or (N, H, W), but the shape is {shape}"
        )
    channels_first, channels_last = shape[1] in (1, 3), shape[3] in (1, 3)
    if channels_first and channels_last:
        raise DataError(
            f"{what} has shape {shape}, which may be (N, C, H, W) or (N, H, W, C): pad the "
            "images until they are more than 3 pixels high and wide"
        )
    return "NHWC" if channels_last else "NCHW"


def _split(path: Path, prefix: str, npz: Npz) -> Split:
    """Read images, in the order (N, C, H, W), and labels."""
    images, labels = npz[prefix + "images"], npz[prefix + "labels"].reshape(-1)
    return Split(_channels_first(images, path), labels)


def _channels_first(images: Array, path: Path) -> Array:
    match image_axes(images.shape, str(path)):
        case "NHW":
            images = images[:, None]
        case "NHWC":
            images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)
