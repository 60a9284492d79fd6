"""Street View House Numbers, cropped digits, from the official MATLAB files (Netzer et al. 2011).

``train_32x32.mat``, ``test_32x32.mat`` and, for the paper's setting, ``extra_32x32.mat``; see
http://ufldl.stanford.edu/housenumbers/. Reading them needs SciPy (``pip install 'minisd[svhn]'``).
"""

import os
from pathlib import Path

import numpy as np

from minisd.data.cifar import find_folder
from minisd.data.dataset import Dataset, Split
from minisd.errors import DataError, damaged

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
    folder = find_folder(data_dir, "svhn", "test_32x32.mat", "svhn")
    train = read_mat(folder / "train_32x32.mat")
    rule = [(0, len(train), per_class[0])]
    if os.path.lexists(folder / "extra_32x32.mat"):
        extra = read_mat(folder / "extra_32x32.mat")
        rule.append((len(train), len(train) + len(extra), per_class[1]))
        train = Split(
            np.concatenate([train.images, extra.images]),
            np.concatenate([train.labels, extra.labels]),
        )
    return Dataset("svhn", train, read_mat(folder / "test_32x32.mat"), 10, rule)


def read_mat(path: Path) -> Split:
    """Read one file: ``X`` (32, 32, 3, N) uint8 and ``y`` (N, 1), where label 10 is the digit 0."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(
            "SVHN comes as MATLAB files, and reading them needs SciPy: pip install 'minisd[svhn]'"
        ) from error
    try:
        content = loadmat(path, variable_names=("X", "y"))
    except Exception as error:  # SciPy's parser fails on damaged files in many ways
        raise damaged(path, f"it cannot be read as a MATLAB file ({error})", "svhn") from error
    if "X" not in content or "y" not in content:
        raise damaged(path, "it lacks the variables X and y of the cropped digits", "svhn")
    X, y = content["X"], content["y"].ravel()
    if X.ndim != 4 or X.shape[:3] != (32, 32, 3) or X.dtype != np.uint8:
        raise damaged(path, f"X must be (32, 32, 3, N) uint8, got {X.shape} {X.dtype}", "svhn")
    if y.size == 0 or y.size != X.shape[3]:
        raise damaged(path, f"{X.shape[3]} images and {y.size} labels", "svhn")
    if y.dtype.kind not in "iuf":
        raise damaged(path, f"labels must be numbers, got {y.dtype}", "svhn")
    bad = np.flatnonzero(~np.isin(y, np.arange(1, 11)))
    if len(bad):
        raise damaged(
            path,
            f"label {y[bad[0]]} of image {bad[0]} is not 1 to 10 (10 is the digit 0)",
            "svhn",
        )
    return Split(np.ascontiguousarray(X.transpose(3, 2, 0, 1)), y.astype(np.int64) % 10)
