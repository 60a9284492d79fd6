"""Download the official files of a data set, verify their checksums, and unpack them.

Files are downloaded and unpacked in a temporary folder on the same disk as the data. When they are
complete and verified, they are moved into place one by one. So an interrupted download leaves no
partial file, and the next one removes the temporary folder and starts again. Files that are there
are never replaced. An archive that lies in the data folder is unpacked without a download. A
download needs pooch (``pip install 'minisd[download]'``).
"""

import os
import sys
from pathlib import Path
from typing import IO

from minisd.data.files import place_for
from minisd.data.official import SOURCES, Remote, Source, keep_checksums, kept_checksums
from minisd.data.staging import filling, move, staging_folder
from minisd.data.unpack import SLACK, unpack
from minisd.errors import DataError, UserError
from minisd.readers import Kind

_LARGEST = 2**31  # bytes; the largest file that is not an archive has 1.3e9
_CHUNK = 2**18  # bytes
_FILE = Kind(
    "an official file of the data set",
    DataError,
    if_missing="move the link away",
    if_damaged="move it away first, or choose another --data-dir",
)
_ARCHIVE = Kind(
    "the official archive",
    DataError,
    if_missing="the same command downloads it",
    if_damaged="move it away, and the same command downloads it",
)
_DOWNLOAD = Kind("the official archive", DataError, "nothing was kept", "nothing was kept")
__all__ = ["SOURCES", "Remote", "Source", "get"]


def get(source: Source, data_dir: Path, *, mirror: str | None = None, quiet: bool = False) -> Path:
    """Get the missing files of ``source`` into a folder in ``data_dir``, and return the folder.

    Parameters
    ----------
    data_dir : Path
        May also be the folder itself, if there are files in it, or an archive.
    mirror : str, optional
        Download from this address instead. Names and checksums of the files must be the same.

    Raises
    ------
    DataError
        If the address does not answer, a checksum differs, an archive is damaged, another file has
        the name of an official one, or the folder cannot be written. No partial file remains.
    """
    if data_dir.name in source.archives and os.path.isfile(data_dir):
        data_dir = data_dir.parent
    folder = place_for(source, data_dir)
    with filling(folder):
        needed = [remote for remote in source.remotes if not _is_complete(remote, folder)]
        if needed:
            if folder.is_symlink() and not folder.exists():
                raise DataError(f"{folder} is a link to a folder that is not there")
            folder.mkdir(parents=True, exist_ok=True)
            home = folder.resolve().parent  # the disk where the files will be
            with staging_folder(home / f".fetching-{source.folder}") as staging:
                for remote in needed:
                    _fill(folder, remote, source, data_dir, staging, mirror, quiet)
    return folder


def _is_complete(remote: Remote, folder: Path) -> bool:
    """Whether the files are there and are the official ones; False if nobody can know.

    Raises
    ------
    DataError
        If there is another file of the same name.
    """
    known = kept_checksums(folder) if remote.members else {remote.name: remote.md5}
    complete = True
    for name in remote.members or [remote.name]:
        if not os.path.lexists(folder / name):
            complete = False
            continue
        with _FILE.reading(folder / name) as file:
            size = remote.members.get(name, file.size)
            if file.size != size:
                raise ValueError(f"it has {file.size} bytes, the official file {size}")
            if name not in known:
                complete = False
            elif file.size > _most(remote) or file.md5() != known[name]:
                raise ValueError("its checksum differs")
    return complete


def _fill(
    folder: Path,
    remote: Remote,
    source: Source,
    data_dir: Path,
    staging: Path,
    mirror: str | None,
    quiet: bool,
) -> None:
    """Move the files of one download into the folder; compare those that are there already."""
    names = list(remote.members) or [remote.name]
    path, kind = _local_archive(remote, folder, data_dir), _ARCHIVE
    try:
        if path is None:
            path, kind = staging / remote.name, _DOWNLOAD
            _download(remote, path, folder, mirror, quiet)
    except DataError as error:
        if not all(os.path.lexists(folder / name) for name in names):
            raise
        raise DataError(
            f"only their archive tells whether the files in {folder} are the official "
            f"ones, and {error}"
        ) from error
    computed = {remote.name: remote.md5}
    if remote.members:
        if not quiet:
            print(f"unpacking {remote.name}", file=sys.stderr)
        with kind.reading(path) as file:
            computed = unpack(file, source.folder, remote.members, staging, folder)
    present = [name for name in names if os.path.lexists(folder / name)]
    for name in names:
        if name not in present:
            move(staging / name, folder / name)
            if not quiet:
                print(f"  {folder / name}", file=sys.stderr)
    if remote.members:
        keep_checksums(folder, computed)
    for name in present:
        with _FILE.reading(folder / name) as file:
            if file.md5() != computed[name]:
                raise ValueError("its checksum differs")


def _local_archive(remote: Remote, folder: Path, data_dir: Path) -> Path | None:
    """Return where the archive lies, if somebody has put it there, after a look at its checksum."""
    for path in (folder / remote.name, data_dir / remote.name):
        if remote.members and os.path.lexists(path):
            with _ARCHIVE.reading(path) as file:
                if file.size > _most(remote) or file.md5() != remote.md5:
                    raise ValueError(f"it does not have the published checksum, {remote.md5}")
            return path
    return None


def _download(remote: Remote, path: Path, folder: Path, mirror: str | None, quiet: bool) -> None:
    """Download a file to ``path``, on its way to ``folder``, and verify its checksum."""
    try:
        import pooch
    except ImportError as error:
        raise DataError("fetching data sets needs pooch: pip install 'minisd[download]'") from error
    url = remote.url if mirror is None else f"{mirror.rstrip('/')}/{remote.name}"
    if not quiet:
        print(f"fetching {url}", file=sys.stderr)
    bar = sys.stderr.isatty() and not quiet
    with open(path, "xb") as stream:
        try:
            download = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=60)
            download(url, _BoundedWriter(stream, _most(remote), folder), None)
        except UserError:
            raise
        except (OSError, ValueError) as error:  # as are all errors of requests
            raise DataError(f"{url} cannot be fetched: {error!s}") from error
    with _DOWNLOAD.reading(path) as file:
        if file.md5() != remote.md5:
            raise DataError(
                f"{url} does not have the published checksum (md5 {remote.md5}): the download is "
                "damaged, or it is another file; nothing was kept"
            )


def _most(remote: Remote) -> int:
    """Return a number of bytes that the file to download does not exceed."""
    return sum(remote.members.values()) + SLACK if remote.members else _LARGEST


class _BoundedWriter:
    """Writes at most ``most`` bytes. Errors of the disk name the folder that is to be filled."""

    def __init__(self, stream: IO[bytes], most: int, folder: Path) -> None:
        self._stream, self._left, self._folder = stream, most, folder

    def write(self, part: bytes) -> None:
        self._left -= len(part)
        if self._left < 0:
            raise ValueError("it is larger than the official file")
        with filling(self._folder):
            self._stream.write(part)

    def flush(self) -> None:
        with filling(self._folder):
            self._stream.flush()
