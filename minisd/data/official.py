"""The official files of the data sets: names, sizes, addresses, and how they are recognised.

Published checksums exist for what can be downloaded: CIFAR's archives, SVHN's files. None exist for
the files inside the archives. ``minisd data get`` computes them while it unpacks an archive whose
own checksum is right, and keeps them beside the files, in `CHECKSUMS`. A file with a checksum is
verified whenever it is read: of CIFAR-10, that takes a third of a second.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from minisd.errors import DataError
from minisd.files import write_atomically
from minisd.readers import Kind

CHECKSUMS = "official.md5"
"""Lines of MD5 and name, as ``md5sum -c`` takes them."""


@dataclass(frozen=True)
class Remote:
    """A file to download.

    Attributes
    ----------
    url, md5 : str
        Its address and its published checksum.
    members : dict of str to int
        Files to extract from the archive, and their sizes in bytes. Empty: it is not an archive.
    """

    url: str
    md5: str
    members: dict[str, int]

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """The files to download for a data set, and the folder where they go.

    Attributes
    ----------
    others : dict of str to str
        Files and folders of other versions of the data set, and what they are.
    """

    folder: str
    remotes: tuple[Remote, ...]
    others: dict[str, str] = field(default_factory=dict)

    @property
    def archives(self) -> list[str]:
        """Names of the archives."""
        return [remote.name for remote in self.remotes if remote.members]

    @property
    def files(self) -> list[str]:
        """Names of the files that are read."""
        return [name for remote in self.remotes for name in remote.members or (remote.name,)]


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_STANFORD = "http://ufldl.stanford.edu/housenumbers/"
_PYTHON, _MATLAB = "the version for Python", "the version for MATLAB"

SOURCES = {
    "cifar10": Source(
        "cifar-10-batches-bin",
        (
            Remote(
                _TORONTO + "cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
                {f"data_batch_{i}.bin": 10_000 * 3073 for i in range(1, 6)}
                | {"test_batch.bin": 10_000 * 3073},
            ),
        ),
        {
            "cifar-10-batches-py": _PYTHON,
            "cifar-10-python.tar.gz": _PYTHON,
            "data_batch_1": _PYTHON,
            "cifar-10-batches-mat": _MATLAB,
            "cifar-10-matlab.tar.gz": _MATLAB,
            "data_batch_1.mat": _MATLAB,
        },
    ),
    "cifar100": Source(
        "cifar-100-binary",
        (
            Remote(
                _TORONTO + "cifar-100-binary.tar.gz",
                "03b5dce01913d631647c71ecec9e9cb8",
                {"train.bin": 50_000 * 3074, "test.bin": 10_000 * 3074},
            ),
        ),
        {
            "cifar-100-python": _PYTHON,
            "cifar-100-python.tar.gz": _PYTHON,
            "cifar-100-matlab": _MATLAB,
            "cifar-100-matlab.tar.gz": _MATLAB,
        },
    ),
    "svhn": Source(
        "svhn",
        (
            Remote(_STANFORD + "train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", {}),
            Remote(_STANFORD + "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", {}),
            Remote(_STANFORD + "extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7", {}),
        ),
        {"train.tar.gz": "the full numbers", "digitStruct.mat": "the full numbers"},
    ),
}


_CHECKSUMS = Kind(
    "a list of checksums",
    DataError,
    if_missing="'minisd data get' writes it",
    if_damaged="move it away; 'minisd data get' writes it again",
)


def kept_checksums(folder: Path) -> dict[str, str]:
    """Return the MD5 of each file that `CHECKSUMS` in ``folder`` has; none if it is not there.

    Raises
    ------
    DataError
        If it is there but cannot be read.
    """
    if not os.path.lexists(folder / CHECKSUMS):
        return {}
    with _CHECKSUMS.reading(folder / CHECKSUMS) as file:
        if file.size > 100_000:
            raise ValueError(f"it has {file.size:,} bytes")
        matches = [re.fullmatch("([0-9a-f]{32})  (.+)", line) for line in file.text().splitlines()]
        if not all(matches):
            raise ValueError("a line is not an MD5 and a name")
        return {match[2]: match[1] for match in matches if match}


def keep_checksums(folder: Path, computed: dict[str, str]) -> None:
    """Add checksums to those kept in ``folder``, or replace them."""
    kept = sorted((kept_checksums(folder) | computed).items())
    text = "".join(f"{md5}  {name}\n" for name, md5 in kept)
    write_atomically(folder / CHECKSUMS, lambda stream: stream.write(text.encode()))
