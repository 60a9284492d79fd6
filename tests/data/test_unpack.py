"""Archives that unpack to more than they should, and archives with any bit flipped."""

import contextlib
import gzip
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from data_server import GOOD, MEMBERS, SIZES, UNPACKED, archive, files, gzipped, md5, refused, tar
from minisd.data.download import Remote, Source, get
from minisd.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

HUGE = 2**25  # bytes, packed into 33 kB
ZEROS = bytes(HUGE)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    about = tarfile.TarInfo(name)
    about.size, about.type = size, kind
    return about.tobuf(tarfile.GNU_FORMAT)


BOMBS = {
    "a file before the members": header("toy/c.bin", HUGE) + ZEROS + tar(GOOD),
    "a member of huge size": header("toy/a.bin", HUGE) + ZEROS,
    "a file that would have a terabyte": header("toy/c.bin", 2**40) + ZEROS,
    "a name of that length": header("././@LongLink", HUGE, tarfile.GNUTYPE_LONGNAME) + ZEROS,
    "attributes of that length": header("a", HUGE, tarfile.XHDTYPE) + ZEROS,
    "headers without end": header("toy/c.bin", 0) * (HUGE // 512),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_given_up_before_it_has_unpacked_much(tmp_path, server, monkeypatch, bomb):
    source = server.source("toy.tar.gz", gzipped(BOMBS[bomb]))
    read, taken = gzip.GzipFile.read, []

    def counting(self, size=-1):
        part = read(self, size)
        taken.append(len(part))
        return part

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    tracemalloc.start()
    try:
        assert "toy.tar.gz" in refused(source, tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(taken) <= sum(map(len, MEMBERS.values())) + 2**20 + 1
    assert most < 10e6
    assert files(tmp_path) == {}


def test_padding_without_end_is_not_unpacked(tmp_path, server):
    get(server.source("toy.tar.gz", gzipped(tar(GOOD) + ZEROS)), tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED


def test_a_download_without_end_is_given_up(tmp_path, server):
    """More than the official files can have, packed: it is not written to the disk."""
    source = server.source("toy.tar.gz", ZEROS)
    assert "larger than the official file" in refused(source, tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_with_a_flipped_bit_is_refused_or_has_the_members(tmp_path, packed):
    """As if its checksum were right. What is unpacked has the right names, sizes and place."""
    content = bytearray(archive(GOOD) if packed else tar(GOOD))
    chosen = random.Random(1).sample(range(8 * len(content)), 40)
    headers = () if packed else random.Random(2).sample(range(8 * 512), 60)
    for bit in (*chosen, *headers):
        content[bit // 8] ^= 1 << bit % 8
        folder = tmp_path / str(bit)
        folder.mkdir()
        (folder / "toy.tar.gz").write_bytes(content if packed else gzipped(bytes(content)))
        with contextlib.suppress(DataError):
            get(local(folder / "toy.tar.gz"), folder, quiet=True)
        content[bit // 8] ^= 1 << bit % 8
        sizes = {path.name: path.stat().st_size for path in folder.rglob("*.bin")}
        assert sizes.items() <= {name: len(found) for name, found in MEMBERS.items()}.items()
        assert {path.name for path in folder.iterdir()} <= {"toy", "toy.tar.gz"}


def local(path: Path) -> Source:
    """A source whose published checksum is that of this file."""
    remote = Remote("http://official.invalid/toy.tar.gz", md5(path.read_bytes()), SIZES)
    return Source("toy", (remote,))


def test_a_sparse_member_is_no_larger_than_it_is(tmp_path, server):
    """In GNU's archives a file may be larger than what is stored of it."""
    content = bytearray(tar(GOOD))
    content[156] = ord("S")
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * ord(" ") + sum(content[156:512]))
    source = server.source("toy.tar.gz", gzipped(bytes(content)))
    assert "toy/a.bin is not a file of" in refused(source, tmp_path)
