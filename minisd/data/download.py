"""Fetch a data set's official files, check their published checksums, and unpack them.

Everything is fetched and unpacked in a folder of its own beside the data and moved into place, file
by file, when it is complete and checked. An interrupted download leaves nothing half there, and the
next one clears what is left and begins again. A file that is there already is never overwritten.
Needs pooch (``pip install 'minisd[download]'``).
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
    """A file to fetch.

    Attributes
    ----------
    url, md5 : str
        Where it is and what its checksum must be.
    members : dict of str to int
        Files to take out of the archive, and their sizes in bytes. Empty: the file is no archive.
    """

    url: str
    md5: str
    members: dict[str, int]


@dataclass(frozen=True)
class Source:
    """What a data set consists of: the folder it ends up in, and the files to fetch for it."""

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
    """Fetch what is missing of ``source`` into a folder under ``data_dir``, and return that folder.

    Parameters
    ----------
    mirror : str, optional
        Take the files, of the same names and checksums, from under this address instead.

    Raises
    ------
    DataError
        If the address does not answer, a checksum differs, an archive is not what it should be, a
        file is in the way, or the folder cannot be written. Nothing half-fetched stays.
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
    """Make ``path`` anew, for this process alone, and clear it away at the end."""
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"another process is fetching into {path.parent}: wait for it") from None
    try:
        shutil.rmtree(path, ignore_errors=True)  # what a killed download left
        path.mkdir()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)


def _is_complete(remote: Remote, folder: Path) -> bool:
    """Whether the files are there; a DataError if others are in their place."""
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
    pooch.get_logger().setLevel("ERROR")  # we say the same in our own words
    try:
        pooch.retrieve(
            url,
            known_hash=f"md5:{remote.md5}",
            fname=name,
            path=staging,
            downloader=pooch.HTTPDownloader(progressbar=on_terminal, timeout=60),
        )
    except OSError as error:  # requests' errors derive from it, some from ValueError as well
        raise DataError(f"{url} cannot be fetched: {error}") from error
    except ValueError as error:  # pooch's answer to a checksum that differs, or to an odd address
        if "hash" not in str(error):
            raise DataError(f"{url} cannot be fetched: {error}") from error
        raise DataError(
            f"{url} does not have the published checksum (md5 {remote.md5}): the download is "
            "damaged or the file is another one; nothing was kept"
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
    """Take ``members`` out of ``archive``, and nothing else.

    The archive does not decide where anything is written: only regular files named
    ``folder/member`` are read, and each is written under a name of ours. Links, devices, absolute
    paths and ``..`` therefore lead nowhere.
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
