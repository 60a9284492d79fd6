"""Images of one's own in a folder: a folder for each class, with PNG and JPEG files in it.

    photos/cat/1.png            one set of images, which is split
    photos/train/cat/1.png      or parts that are taken as they are: train/, test/ and perhaps val/

Classes are numbered in the order of their names. Names that begin with a dot are left out. Links
are followed. Reading needs Pillow (``pip install 'minisd[images]'``).
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array
from minisd.data.dataset import Split
from minisd.errors import DataError
from minisd.readers import Kind

PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
"""The part of a data set by the name of its folder."""
SUFFIXES = (".png", ".jpg", ".jpeg")
_OTHER_IMAGES = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".jfif", ".ppm")

MOST_PIXELS = 2048 * 2048
"""Of one image. A file of few bytes can hold so many pixels that no memory is enough."""
_MOST_BYTES = 2**26  # of one file

FOLDER = Kind(
    "a folder of images",
    DataError,
    if_missing="check the path given with --data; if the data was moved, --resume and evaluate "
    "take its new place with --data, too",
    if_damaged="give a folder with a folder for each class",
)
IMAGE = Kind(
    "a PNG or JPEG image",
    DataError,
    if_missing="it is a link to nowhere: remove it",
    if_damaged="save it again, or remove it",
)


def read(path: Path) -> tuple[dict[str, Split], tuple[str, ...], list[str]]:
    """Read all images.

    Returns
    -------
    parts : dict of str to Split
        "all", or "train", "test" and perhaps "validation". Images are (N, C, H, W) uint8, C = 1 if
        all images are grey, otherwise 3.
    class_names : tuple of str
        By label.
    remarks : list of str
        What should be said: files that were left out, grey images that were read as colour.

    Raises
    ------
    OutOfMemoryError, DataError
        If a folder or a file cannot be read, an image is damaged or too large, their sizes differ,
        a class is empty, or the parts do not have the same classes.
    """
    with FOLDER.checking(path):
        left_out: list[Path] = []
        classes = {part: _classes(folder, left_out) for part, folder in _parts(path).items()}
        class_names = _same_classes(classes)
        files = [file for by_name in classes.values() for n in class_names for file in by_name[n]]
        images, grey = _decoded(files)
        parts, start = {}, 0
        for part, by_name in classes.items():
            counts = [len(by_name[name]) for name in class_names]
            labels = np.repeat(np.arange(len(class_names)), counts)
            parts[part] = Split(images[start : start + len(labels)], labels)
            start += len(labels)
    remarks = []
    if grey and images.shape[1] == 3:
        remarks.append(f"{_some(grey, path)} grey, read as colour like the others")
    if left_out:
        remarks.append(f"{_some(left_out, path)} no image, left out")
    return parts, class_names, remarks


def _some(files: list[Path], folder: Path) -> str:
    """Return how many files there are, and the first of them, with the verb."""
    name = str(files[0].relative_to(folder))
    first = "".join(c if c.isprintable() else " " for c in name)  # nothing a terminal would obey
    return f"{first} is" if len(files) == 1 else f"{len(files)} files, such as {first}, are"


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted by name, without hidden files and those of macOS."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name != "__MACOSX"
    )


def _parts(path: Path) -> dict[str, Path]:
    """Return the folder of each part: the whole folder is "all", unless it has parts in it.

    A folder "train" with images directly in it is a class, of trains.
    """
    inside = _visible(path)
    named = [
        entry
        for entry in inside
        if entry.name in PARTS and entry.is_dir() and not any(map(_is_image, _visible(entry)))
    ]
    if not named:
        return {"all": path}
    parts: dict[str, Path] = {}
    for folder in named:
        if PARTS[folder.name] in parts:
            raise DataError(f"{path} has both val and validation in it: leave one out")
        parts[PARTS[folder.name]] = folder
    for part in ("train", "test"):
        if part not in parts:
            raise DataError(
                f"{path} has {named[0].name} in it, but no {part}: make train, test and, if there "
                "is one, val beside one another, or give a folder with class folders alone"
            )
    for entry in inside:
        if entry.is_dir() and entry not in named:
            raise DataError(
                f"{path} has train and test in it, and {entry.name} beside them, which is neither "
                "(nor val): move it away"
            )
    return parts


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIXES, *_OTHER_IMAGES) and not path.is_dir()


def _classes(folder: Path, left_out: list[Path]) -> dict[str, list[Path]]:
    """Return the image files of each class, by name; add those that are not images to a list."""
    classes: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        if not entry.is_dir():
            left_out.append(entry)
            continue
        files = classes[entry.name] = []
        for file in _visible(entry):
            if file.is_dir():
                raise DataError(
                    f"{file} is a folder inside the folder of a class: put all images of "
                    f"{entry.name} into {entry} itself"
                )
            if file.suffix.lower() in _OTHER_IMAGES:
                raise DataError(f"{file} is neither PNG nor JPEG: convert it, or move it away")
            (files if _is_image(file) else left_out).append(file)
        if not files:
            raise DataError(f"{entry} has no PNG or JPEG image in it: add some, or remove it")
    if not classes:
        raise DataError(
            f"{folder} has no folder in it: put the images of each class into a folder of its own, "
            f"such as {folder / 'cat' / '1.png'}"
        )
    return classes


def _same_classes(files: dict[str, dict[str, list[Path]]]) -> tuple[str, ...]:
    """Return the names of the classes in order, if all parts have the same."""
    first, *others = files.items()
    for part, classes in others:
        for name in sorted(first[1].keys() ^ classes.keys()):
            here, there = (first[0], part) if name in first[1] else (part, first[0])
            raise DataError(
                f"the {here} images have a class {name!r}, but the {there} images do not: give "
                "every part the same class folders"
            )
    return tuple(sorted(first[1]))


def _decoded(files: list[Path]) -> tuple[Array, list[Path]]:
    """Return all images, (N, 1 or 3, H, W), and which files are grey."""
    grey: list[Path] = []
    for number, file in enumerate(files):
        image = decode(file)
        height, width, channels = image.shape
        if number == 0:
            H, W = height, width
            images = np.empty((len(files), 3, H, W), np.uint8)  # too large: known at once
        if (height, width) != (H, W):
            raise DataError(
                f"{files[0]} is {W} pixels wide and {H} high, but {file} is {width} wide and "
                f"{height} high: all images must have one size; resize them first, with Pillow's "
                f"Image.resize(({W}, {H})) for instance"
            )
        images[number] = image.transpose(2, 0, 1)  # grey: the same in every channel
        if channels == 1:
            grey.append(file)
    return (images[:, :1].copy() if len(grey) == len(files) else images), grey


def decode(path: Path) -> Array:
    """Read one image file, turned as its camera says: (H, W, 1) if it is grey, else (H, W, 3).

    Raises
    ------
    DataError
        If it is damaged, has more than `MOST_PIXELS`, or has pixels that are not 8-bit grey or
        colour: 16 bits, CMYK, transparency.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise DataError(
            f"{path} is an image, and reading it needs Pillow: pip install 'minisd[images]'"
        ) from error
    with IMAGE.reading(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; and the size is checked here
        if file.size > _MOST_BYTES:
            raise ValueError(f"it has {file.size:,} bytes")
        content = file.bytes()

        def opened() -> Any:
            return Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))

        try:
            image = opened()
            is_too_large = image.width * image.height > MOST_PIXELS
        except UnidentifiedImageError as error:  # whose text is an address in memory
            raise ValueError("it is neither PNG nor JPEG") from error
        except Image.DecompressionBombError:
            is_too_large = True
        if is_too_large:
            raise DataError(
                f"{path} has more than {MOST_PIXELS:,} pixels: resize the images first; networks "
                "here are for small ones"
            )
        image.verify()  # the checksums of a PNG; then it has to be opened again
        image = opened()
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "P" or "transparency" in image.info:
            image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
        if image.mode in ("LA", "RGBA"):
            if image.getchannel("A").getextrema() != (255, 255):
                raise DataError(
                    f"{path} has transparent pixels: put the image on a background, and save it "
                    "without transparency"
                )
            image = image.convert(image.mode.removesuffix("A"))
        if image.mode == "1":
            image = image.convert("L")
        if image.mode not in ("L", "RGB"):
            raise DataError(
                f"{path} has pixels of mode {image.mode}, which are not read: convert it to 8-bit "
                "grey or RGB, with Pillow's Image.convert('RGB') for instance"
            )
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels
