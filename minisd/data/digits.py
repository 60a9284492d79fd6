"""The UCI handwritten digits, which come with the package (E. Alpaydin and C. Kaynak 1998).

1,797 real images of 8x8 pixels with values from 0 to 16. Licence (CC BY 4.0) and citation are in
``bundled/LICENSE.txt``. Every fifth image in file order is a test image. So the same people wrote
training and test images, as usual with this data set. Digits of other people would be harder.
"""

from importlib import resources
from pathlib import Path

import numpy as np

from minisd.data.dataset import Dataset, Split

TEST_EVERY = 5


def load(data_dir: Path | None = None) -> Dataset:
    """Return 1,438 training and 359 test images, (N, 1, 8, 8). ``data_dir`` is not used."""
    file = resources.files("minisd.data") / "bundled" / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        images, labels = arrays["images"][:, None], arrays["labels"].astype(np.int64)
    everything = Split(images, labels)
    is_test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    return Dataset("digits", everything[~is_test], everything[is_test], num_classes=10)
