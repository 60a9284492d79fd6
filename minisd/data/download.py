"""Download the official files of a data set, verify their published checksums, and unpack them.

Files are downloaded and unpacked in a temporary folder beside the data. When they are complete and
verified, they are moved into place one by one. So an interrupted download leaves no partial file,
and the next one removes the temporary folder and starts again. Existing files are never
overwritten. Needs pooch (``pip install 'minisd[download]'``).
"""

import contextlib
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from minisd.errors import DataError


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


@dataclass(frozen=True)
class Source:
    """The files to download for a data set, and the folder where they go."""

    folder: str
    remotes: tuple[Remote, ...]


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_STANFORD = "http://ufldl.stanford.edu/housenumbers/"

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
    ),
    "svhn": Source(
        "svhn",
        (
            Remote(_STANFORD + "train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", {}),
            Remote(_STANFORD + "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", {}),
            Remote(_STANFORD + "extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7", {}),
        ),
    ),
}


def get(source: Source, data_dir: Path, *, mirror: str | None = None, quiet: bool = False) -> Path:
    """Download the missing files of ``source`` to a folder in ``data_dir``, and return the folder.

    Parameters
    ----------
    mirror : str, optional
        Download from this address instead. Names and checksums of the files must be the same.

    Raises
    ------
    DataError
        If the address does not answer, a checksum differs, an archive is damaged, another file has
        the name of a file to download, or the folder cannot be written. No partial file remains.
    """
    folder = data_dir / source.folder
    try:
        needed = [remote for remote in source.remotes if not _is_complete(remote, folder)]
        if needed:
            folder.mkdir(parents=True, exist_ok=True)
            with _staging_folder(data_dir / f".fetching-{source.folder}") as staging:
                for remote in needed:
                    _fetch(remote, staging, folder, mirror, quiet)
    except OSError as error:
        raise DataError(f"{folder} cannot be filled: {error}") from error
    return folder


@contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder ``path``, locked for this process, and remove it at the end."""
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"another process is fetching into {path.parent}: wait for it") from None
    try:
        shutil.rmtree(path, ignore_errors=True)  # left by a killed download
        path.mkdir()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)


def _is_complete(remote: Remote, folder: Path) -> bool:
    """Whether the files exist. Raises a DataError if there are other files of the same names."""
    if not remote.members:
        path = folder / _file_name(remote)
        if not path.exists():
            return False
        if _pooch().file_hash(str(path), alg="md5") != remote.md5:
            raise DataError(f"{path} is there but is not the official file: move it away first")
        return True
    present = [name for name in remote.members if (folder / name).exists()]
    for name in present:
        size = (folder / name).stat().st_size
        if size != remote.members[name]:
            raise DataError(
                f"{folder / name} is there but has {size} bytes, not the official file's "
                f"{remote.members[name]}: move it away first, or choose another --data-dir"
            )
    return len(present) == len(remote.members)


def _fetch(remote: Remote, staging: Path, folder: Path, mirror: str | None, quiet: bool) -> None:
    pooch = _pooch()
    name = _file_name(remote)
    url = remote.url if mirror is None else f"{mirror.rstrip('/')}/{name}"
    on_terminal = sys.stderr.isatty() and not quiet
    if not quiet:
        print(f"fetching {url}", file=sys.stderr)
    pooch.get_logger().setLevel("ERROR")  # our own messages say the same
    try:
        pooch.retrieve(
            url,
            known_hash=f"md5:{remote.md5}",
            fname=name,
            path=staging,
            downloader=pooch.HTTPDownloader(progressbar=on_terminal, timeout=60),
        )
    except OSError as error:  # as do all errors of requests; some are ValueErrors, too
        raise DataError(f"{url} cannot be fetched: {error}") from error
    except ValueError as error:  # from pooch, for a wrong checksum or address
        if "hash" not in str(error):
            raise DataError(f"{url} cannot be fetched: {error}") from error
        raise DataError(
            f"{url} does not have the published checksum (md5 {remote.md5}): the download is "
            "damaged, or it is another file; nothing was kept"
        ) from error
    names = [name]
    if remote.members:
        _unpack(staging / name, folder.name, remote.members, staging)
        names = [member for member in remote.members if not (folder / member).exists()]
    for name in names:
        os.replace(staging / name, folder / name)
        if not quiet:
            print(f"  {folder / name}", file=sys.stderr)


def _unpack(archive: Path, folder: str, members: dict[str, int], target: Path) -> None:
    """Extract ``members`` from ``archive``, and nothing else.

    The archive does not decide where files are written. Only regular files named ``folder/member``
    are read, and each is written to ``target/member``. So links, devices, absolute paths and ``..``
    in the archive do no harm.
    """
    missing = set(members)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                parent, _, name = entry.name.removeprefix("./").rpartition("/")
                if parent != folder or name not in missing:
                    continue
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is None or entry.size != members[name]:
                    raise DataError(
                        f"{archive.name}: {entry.name} is not a file of {members[name]} bytes"
                    )
                with content, open(target / name, "xb") as out:
                    shutil.copyfileobj(content, out)
                missing.remove(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name} is not a readable archive: {error}") from error
    if missing:
        raise DataError(f"{archive.name} lacks {', '.join(sorted(missing))}")


def _file_name(remote: Remote) -> str:
    return remote.url.rpartition("/")[2]


def _pooch():  # type: ignore[no-untyped-def]  # an optional module
    try:
        import pooch
    except ImportError as error:
        raise DataError("fetching data sets needs pooch: pip install 'minisd[download]'") from error
    return pooch
