"""Unpacking an archive that may try to do harm: no other files, no other places, no more bytes."""

import hashlib
import tarfile
from gzip import GzipFile
from pathlib import Path
from typing import IO

from minisd.data.staging import filling
from minisd.readers import Contents

SLACK = 2**20  # bytes that an archive may have besides the official files
_CHUNK = 2**18  # bytes


def unpack(
    file: Contents, folder: str, members: dict[str, int], target: Path, final: Path
) -> dict[str, str]:
    """Extract ``members`` from an archive, and nothing else; return their checksums.

    The archive does not decide where files are written. Only regular files named ``folder/member``
    are read, and each is written to ``target/member``. So links, devices, absolute paths and ``..``
    in the archive do no harm.

    Parameters
    ----------
    folder : str
        Where the members are in the archive.
    members : dict of str to int
        Their names and sizes in bytes.
    target, final : Path
        Folder to write to, and the one to name if the disk is full.

    Raises
    ------
    DataError
        If the disk is full.
    ValueError, EOFError, OSError, tarfile.TarError, zlib.error
        If the archive is damaged, lacks a member or unpacks to more than the members.
    """
    computed: dict[str, str] = {}
    most = sum(members.values()) + SLACK
    file.stream.seek(0)
    with (
        GzipFile(fileobj=file.stream) as unpacked,
        tarfile.open(fileobj=_BoundedReader(unpacked, most), mode="r|") as tar,  # type: ignore
    ):
        for entry in tar:
            parent, _, name = entry.name.removeprefix("./").rpartition("/")
            if parent != folder or name not in members or name in computed:
                continue
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is None or entry.size != members[name]:
                raise ValueError(f"{entry.name} is not a file of {members[name]} bytes")
            hasher = hashlib.md5(usedforsecurity=False)
            with filling(final), content, open(target / name, "xb") as out:
                while part := content.read(_CHUNK):
                    hasher.update(part)
                    out.write(part)
            computed[name] = hasher.hexdigest()
    if missing := members.keys() - computed.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return computed


class _BoundedReader:
    """Reads at most ``most`` bytes; a stream that has more is a "bomb"."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, count: int) -> bytes:
        part = self._stream.read(min(count, self._left + 1))
        self._left -= len(part)
        if self._left < 0:
            raise ValueError("it unpacks to more than the official files")
        return part
