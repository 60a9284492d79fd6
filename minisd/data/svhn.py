"""Street View House Numbers, cropped digits, from the official MATLAB files (Netzer et al. 2011).

``train_32x32.mat``, ``test_32x32.mat`` and, for the paper's setting, ``extra_32x32.mat``; see
http://ufldl.stanford.edu/housenumbers/.
"""

import math
from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split
from minisd.data.files import Files
from minisd.data.matlab import Mat

MOST = 531_131  # images of the largest of the official files
MOST_BYTES = MOST * (32 * 32 * 3 + 8) + 2**20  # also if it is not compressed
TRAIN_PER_CLASS, EXTRA_PER_CLASS = 400, 200  # the paper's validation images, section 4


def load(
    data_dir: Path, *, per_class: tuple[int, int] = (TRAIN_PER_CLASS, EXTRA_PER_CLASS)
) -> Dataset:
    """Read the data set. The extra file may be missing; there are then fewer training images.

    Parameters
    ----------
    per_class : (int, int)
        Validation images of every class, from the training file and from the extra file.
    """
    files = Files("svhn", data_dir)
    train = read_mat(files, "train_32x32.mat")
    rule = [(0, len(train), per_class[0])]
    if files.has("extra_32x32.mat"):
        extra = read_mat(files, "extra_32x32.mat")
        rule.append((len(train), len(train) + len(extra), per_class[1]))
        train = files.joined([train, extra])
    test = read_mat(files, "test_32x32.mat")
    return Dataset("svhn", train, test, 10, rule, files.remark)


def read_mat(files: Files, name: str) -> Split:
    """Read one file: ``X`` (32, 32, 3, N) uint8 and ``y`` (N, 1), where label 10 is the digit 0."""
    with files.reading(name) as file:
        if file.size > MOST_BYTES:
            raise ValueError(f"{file.size:,} bytes are more than any of the official files has")
        mat = Mat(file)
        shape, dtype = mat.declared["X"]
        if len(shape) != 4 or shape[:3] != (32, 32, 3) or dtype != np.uint8 or shape[3] > MOST:
            raise ValueError(f"X must be (32, 32, 3, N) uint8, got {shape} {dtype}")
        if math.prod(mat.declared["y"][0]) != shape[3] or shape[3] == 0:
            raise ValueError(f"{shape[3]} images and {math.prod(mat.declared['y'][0])} labels")
        X, y = mat["X"], mat["y"].ravel()
        bad = np.flatnonzero(~np.isin(y, np.arange(1, 11)))
        if len(bad):
            raise ValueError(
                f"label {y[bad[0]]} of image {bad[0]} is not 1 to 10 (10 is the digit 0)"
            )
        return Split(np.ascontiguousarray(X.transpose(3, 2, 0, 1)), y.astype(np.int64) % 10)
