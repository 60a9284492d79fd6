"""CIFAR-10 and CIFAR-100 from their official binary files (A. Krizhevsky 2009).

A file is a sequence of records. A record has one label byte (CIFAR-10) or two (CIFAR-100: coarse,
then fine), and 3,072 bytes of pixels: 32x32 in red, then green, then blue. See
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split
from minisd.data.files import Files
from minisd.errors import DataError

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


def load_cifar10(data_dir: Path) -> Dataset:
    """Read ``test_batch.bin`` and those of ``data_batch_1.bin`` to ``_5.bin`` that exist.

    With fewer than five training batches the data set is valid, but smaller.
    """
    files = Files("cifar10", data_dir)
    present = [name for i in range(1, 6) if files.has(name := f"data_batch_{i}.bin")]
    if not present:
        raise DataError(
            f"no training images: none of data_batch_1.bin to _5.bin is in {files.folder}; fetch "
            "them with 'minisd data get cifar10'"
        )
    train = files.joined([read_records(files, name, 1, 0, 10, most=10_000) for name in present])
    test = read_records(files, "test_batch.bin", 1, 0, 10, most=10_000)
    return Dataset("cifar10", train, test, num_classes=10, remark=files.remark)


def load_cifar100(data_dir: Path, *, labels: str = "fine") -> Dataset:
    """Read ``train.bin`` and ``test.bin``, with the 100 "fine" or the 20 "coarse" labels."""
    if labels not in ("fine", "coarse"):
        raise DataError(f"CIFAR-100 labels are 'fine' or 'coarse', not {labels!r}")
    index, num_classes = {"coarse": (0, 20), "fine": (1, 100)}[labels]
    files = Files("cifar100", data_dir)
    train = read_records(files, "train.bin", 2, index, num_classes, most=50_000)
    test = read_records(files, "test.bin", 2, index, num_classes, most=10_000)
    return Dataset("cifar100", train, test, num_classes, remark=files.remark)


def read_records(
    files: Files, name: str, label_bytes: int, label_index: int, num_classes: int, *, most: int
) -> Split:
    """Read one file of records.

    Parameters
    ----------
    name : str
        Of the file.
    label_bytes, label_index : int
        Labels per record, and the index of the label to return.
    most : int
        Number of records in the official file. A file with more is another file.

    Raises
    ------
    DataError
        If the file cannot be read, is not a whole number of records, has no records or too many,
        has a label out of range, or does not have its checksum.
    """
    record = label_bytes + IMAGE_BYTES
    with files.reading(name) as file:
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
                f"{num_classes} classes"
            )
        return Split(records[:, label_bytes:].reshape(count, *IMAGE_SHAPE), labels)
