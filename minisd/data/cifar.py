"""CIFAR-10 and CIFAR-100 from their official binary files (A. Krizhevsky 2009).

A file is a sequence of records. A record has one label byte (CIFAR-10) or two (CIFAR-100: coarse,
then fine), and 3,072 bytes of pixels: 32x32 in red, then green, then blue. See
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
import shlex
from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split
from minisd.errors import DataError
from minisd.readers import Kind

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


def load_cifar10(data_dir: Path) -> Dataset:
    """Read ``test_batch.bin`` and those of ``data_batch_1.bin`` to ``_5.bin`` that exist.

    With fewer than five training batches the data set is valid, but smaller.
    """
    folder = find_folder(data_dir, "cifar-10-batches-bin", "test_batch.bin", "cifar10")
    batches = [folder / f"data_batch_{i}.bin" for i in range(1, 6)]
    present = [path for path in batches if os.path.lexists(path)]
    if not present:
        raise DataError(
            f"no training images: none of data_batch_1.bin to _5.bin is in {folder}; fetch them "
            "with 'minisd data get cifar10'"
        )
    parts = [read_records(path, 1, 0, 10, most=10_000, dataset="cifar10") for path in present]
    train = Split(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    test = read_records(folder / "test_batch.bin", 1, 0, 10, most=10_000, dataset="cifar10")
    return Dataset("cifar10", train, test, num_classes=10)


def load_cifar100(data_dir: Path, *, labels: str = "fine") -> Dataset:
    """Read ``train.bin`` and ``test.bin``, with the 100 "fine" or the 20 "coarse" labels."""
    if labels not in ("fine", "coarse"):
        raise DataError(f"CIFAR-100 labels are 'fine' or 'coarse', not {labels!r}")
    index, num_classes = {"coarse": (0, 20), "fine": (1, 100)}[labels]
    folder = find_folder(data_dir, "cifar-100-binary", "test.bin", "cifar100")
    train = read_records(
        folder / "train.bin", 2, index, num_classes, most=50_000, dataset="cifar100"
    )
    test = read_records(folder / "test.bin", 2, index, num_classes, most=10_000, dataset="cifar100")
    return Dataset("cifar100", train, test, num_classes)


def official_file(dataset: str) -> Kind:
    """Return what is said of an official file that cannot be read."""
    return Kind(
        "an official file of the data set",
        DataError,
        if_missing=f"fetch it with 'minisd data get {dataset}'",
        if_damaged=f"move it away and fetch it again with 'minisd data get {dataset}'",
    )


def find_folder(data_dir: Path, name: str, wanted: str, dataset: str) -> Path:
    """Return the folder with the file ``wanted``: ``data_dir/name``, or ``data_dir`` itself."""
    for folder in (data_dir / name, data_dir):
        if os.path.lexists(folder / wanted):  # also a broken link, which fails when it is read
            return folder
    quoted = shlex.quote(str(data_dir))
    raise DataError(
        f"{wanted} is neither in {data_dir / name} nor in {data_dir}: point --data-dir to the "
        f"unpacked files, or fetch them with 'minisd data get {dataset} --data-dir {quoted}'"
    )


def read_records(
    path: Path, label_bytes: int, label_index: int, num_classes: int, *, most: int, dataset: str
) -> Split:
    """Read one file of records.

    Parameters
    ----------
    label_bytes, label_index : int
        Labels per record, and the index of the label to return.
    most : int
        Number of records in the official file. A file with more is another file.
    dataset : str
        Name of the data set, for the advice in error messages.

    Raises
    ------
    DataError
        If the file cannot be read, is not a whole number of records, has no records or too many, or
        has a label out of range.
    """
    record = label_bytes + IMAGE_BYTES
    with official_file(dataset).reading(path) as file:
        count, remainder = divmod(file.size, record)
        if remainder or count == 0:
            raise ValueError(
                f"{file.size} bytes is not a whole number (at least one) of records of {record} "
                "bytes: truncated, oversized, or another format than the binary one"
            )
        if count > most:
            raise ValueError(f"{count} records, but the official file has {most}")
        records = np.frombuffer(file.bytes(), np.uint8).reshape(count, record)
        labels = records[:, label_index].astype(np.int64)
        bad = np.flatnonzero(labels >= num_classes)
        if len(bad):
            offset = bad[0] * record + label_index
            raise ValueError(
                f"label {labels[bad[0]]} in record {bad[0]} (byte {offset}) is not one of the "
                f"{num_classes} classes: damaged, or another format"
            )
        return Split(records[:, label_bytes:].reshape(count, *IMAGE_SHAPE), labels)
