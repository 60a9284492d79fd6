"""Where the files of a data set are, and reading them: found, compared with their checksums."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minisd.data.dataset import Split
from minisd.data.official import CHECKSUMS, SOURCES, Source, kept_checksums
from minisd.errors import DataError
from minisd.readers import Contents, Kind

TRUST = "MINISD_TRUST_DATA"
"""Environment variable: read MATLAB files that are not the official ones, too."""


class Files:
    """The files of a data set. All of them are read through `reading`.

    Attributes
    ----------
    folder : Path
        Where they are.
    """

    def __init__(self, dataset: str, data_dir: Path) -> None:
        self.dataset = dataset
        self.folder = find_folder(dataset, data_dir)
        source = SOURCES[dataset]
        self._published = {remote.name: remote.md5 for remote in source.remotes}
        self._kept = kept_checksums(self.folder)
        self._unknown: list[str] = []
        self._kind = Kind(
            "an official file of the data set",
            DataError,
            if_missing=f"fetch it with 'minisd data get {dataset}'",
            if_damaged=f"move it away and fetch it again with 'minisd data get {dataset}'",
        )

    def has(self, name: str) -> bool:
        """Whether there is such a file. A broken link counts: it fails when it is read."""
        return os.path.lexists(self.folder / name)

    @contextmanager
    def reading(
        self, name: str, *, most: int | None = None, trusted_only: bool = False
    ) -> Iterator[Contents]:
        """Read a file inside the block, as in `Kind.reading`, and then compare its checksum.

        Parameters
        ----------
        most : int, optional
            Bytes that it may have.
        trusted_only : bool
            Its format is read by a parser in C, which a damaged file can crash. So the file must be
            official, unless the user trusts it (the environment variable `TRUST`).

        Raises
        ------
        OutOfMemoryError, DataError
            As for `Kind.reading`; also if it does not have the checksum kept beside it.
        """
        with self._kind.reading(self.folder / name) as file:
            if most is not None and file.size > most:
                raise ValueError(f"{file.size:,} bytes are more than any of the official files has")
            if trusted_only and not os.environ.get(TRUST):
                self._check_official(name, file)
                yield file
                return
            yield file
            published, kept = self._published.get(name), self._kept.get(name)
            md5 = file.md5() if published or kept else ""
            if kept and md5 != kept:
                raise ValueError(f"its checksum is not the one that {CHECKSUMS} beside it has")
            if not md5 or md5 not in (published, kept):
                self._unknown.append(name)

    def _check_official(self, name: str, file: Contents) -> None:
        """Raise a DataError unless a file has its published checksum."""
        if file.md5() != self._published.get(name):
            raise DataError(
                f"{self.folder / name} is not the official file, and another one can crash the "
                f"reader: fetch it with 'minisd data get {self.dataset}', or set {TRUST}=1 to read "
                "it all the same"
            )

    def joined(self, parts: list[Split]) -> Split:
        """Return the images and labels of several files as one."""
        with self._kind.checking(self.folder):
            return Split(
                np.concatenate([part.images for part in parts]),
                np.concatenate([part.labels for part in parts]),
            )

    @property
    def remark(self) -> str:
        """What should be said of the files that were read; empty if all are official."""
        if not self._unknown:
            return ""
        return (
            f"not verified to be official: {', '.join(self._unknown)} "
            f"('minisd data get {self.dataset}' verifies)"
        )


def find_folder(dataset: str, data_dir: Path) -> Path:
    """Return the folder with the files of a data set: in ``data_dir``, or ``data_dir`` itself.

    Raises
    ------
    DataError
        If there is none. It says what is there instead, and what to do.
    """
    folder = place_for(SOURCES[dataset], data_dir)
    if not _count(folder, SOURCES[dataset]):
        raise DataError(_why_not_found(dataset, data_dir))
    return folder


def place_for(source: Source, data_dir: Path) -> Path:
    """Return the folder where the files are or, if there are none yet, should be."""
    return max(data_dir / source.folder, data_dir, key=lambda folder: _count(folder, source))


def found_in(data_dir: Path) -> list[str]:
    """Return the names of the data sets that have files in ``data_dir``."""
    return [n for n, source in SOURCES.items() if _count(place_for(source, data_dir), source)]


def _count(folder: Path, source: Source) -> int:
    return sum(os.path.lexists(folder / name) for name in source.files)


def _why_not_found(dataset: str, data_dir: Path) -> str:
    """Return what lies in or near ``data_dir`` in place of the files, and what to do."""
    source = SOURCES[dataset]
    inside, outside = data_dir / source.folder, data_dir.parent
    near = [outside]
    for folder in (inside, data_dir):
        try:
            near += sorted(folder.iterdir())[:1000]
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            return f"{folder} cannot be read: {error.strerror}"

    def get(folder: Path) -> str:
        return f"'minisd data get {dataset} --data-dir {_quoted(folder)}'"

    for folder in near:
        if _count(place_for(source, folder), source):
            return f"{dataset} is not in {data_dir}: use --data-dir {_quoted(folder)}"
    for path in (data_dir, *(f / name for f in (data_dir, inside) for name in source.archives)):
        if path.name in source.archives and os.path.isfile(path):
            return f"{path} is not unpacked yet: {get(path.parent)} does that"
    for path in (data_dir, *(f / name for f in (data_dir, inside) for name in source.others)):
        if path.name in source.others and os.path.exists(path):
            return (
                f"{path} is {source.others[path.name]}, which is not read: fetch the "
                f"right one with {get(path.parent)}"
            )
    instead = "point --data-dir to the unpacked files, or fetch them with "
    if os.path.lexists(data_dir) and not os.path.isdir(data_dir):
        return f"{data_dir} is not a folder: {instead}{get(outside)}"
    places = f"neither in {inside} nor in {data_dir}"
    return f"the files of {dataset} are {places}: {instead}{get(data_dir)}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
