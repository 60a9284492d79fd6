"""Street View House Numbers, cropped digits, from the official MATLAB files (Netzer et al. 2011).

``train_32x32.mat``, ``test_32x32.mat`` and, for the paper's setting, ``extra_32x32.mat``; see
http://ufldl.stanford.edu/housenumbers/. Reading them needs SciPy (``pip install 'minisd[svhn]'``).
"""

import math
from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split
from minisd.data.files import Files
from minisd.errors import DataError

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
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise DataError(
            "SVHN comes as MATLAB files, and reading them needs SciPy: pip install 'minisd[svhn]'"
        ) from error
    with files.reading(name, most=MOST_BYTES, trusted_only=True) as file:
        file.stream.seek(0)
        declared = {variable: (shape, kind) for variable, shape, kind in whosmat(file.stream)}
        (shape, kind), (shape_y, _) = declared["X"], declared["y"]
        if len(shape) != 4 or shape[:3] != (32, 32, 3) or shape[3] > MOST or kind != "uint8":
            kind = {"double": "float64", "single": "float32"}.get(kind, kind)
            raise ValueError(f"X must be (32, 32, 3, N) uint8, got {shape} {kind}")
        if math.prod(shape_y) != shape[3] or shape[3] == 0:
            raise ValueError(f"{shape[3]} images and {math.prod(shape_y)} labels")
        file.stream.seek(0)
        content = loadmat(file.stream, variable_names=("X", "y"))
        X, y = content["X"], np.asarray(content["y"]).ravel()
        if X.shape != shape or X.dtype != np.uint8 or y.dtype.kind not in "iuf":
            raise ValueError(f"X is {X.shape} {X.dtype}, and y {y.dtype}")
        bad = np.flatnonzero(~np.isin(y, np.arange(1, 11)))
        if len(bad):
            raise ValueError(
                f"label {y[bad[0]]} of image {bad[0]} is not 1 to 10 (10 is the digit 0)"
            )
        return Split(np.ascontiguousarray(X.transpose(3, 2, 0, 1)), y.astype(np.int64) % 10)
