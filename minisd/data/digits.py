"""The UCI handwritten digits, which come with the package (E. Alpaydin and C. Kaynak 1998).

1,797 real images of 8x8 pixels with values from 0 to 16. Licence (CC BY 4.0) and citation are in
``bundled/LICENSE.txt``. Every fifth image in file order is a test image. So the same people wrote
training and test images, as usual with this data set. Digits of other people would be harder.
"""

import os
from importlib import resources
from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split
from minisd.errors import DataError
from minisd.readers import Kind

TEST_EVERY = 5
BUNDLED = Kind(
    "the file of the bundled digits",
    DataError,
    if_missing="install minisd again",
    if_damaged="install minisd again",
)


def load(data_dir: Path | None = None) -> Dataset:
    """Return 1,438 training and 359 test images, (N, 1, 8, 8). ``data_dir`` is not used.

    Raises
    ------
    DataError
        If it is a file, which somebody expects to be read.
    """
    if data_dir is not None and os.path.exists(data_dir) and not os.path.isdir(data_dir):
        raise DataError(
            f"{data_dir} is a file, and --data digits does not read it: these come with "
            "the package. Leave out --data-dir; to train on images of your own, in an .npz file or "
            "a folder, use --data PATH"
        )
    bundled = resources.files("minisd.data") / "bundled" / "digits.npz"
    with (
        resources.as_file(bundled) as path,
        BUNDLED.reading(path) as file,
        file.npz(most=1_000_000) as npz,
    ):
        if npz.declared["images"][0] != (1797, 8, 8) or npz.declared["labels"][0] != (1797,):
            raise ValueError(f"its arrays are {npz.declared}")
        images, labels = npz["images"][:, None], npz["labels"].astype(np.int64)
    everything = Split(images, labels)
    is_test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    return Dataset("digits", everything[~is_test], everything[is_test], num_classes=10)
