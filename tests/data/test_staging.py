"""Where downloads are kept until they are complete: ours only, on the right disk, never half."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_server import (
    DATA_FILES,
    GOOD,
    MEMBERS,
    PATIENCE,
    UNPACKED,
    archive,
    files,
    folders,
    refused,
)
from minisd.data import staging
from minisd.data.download import get

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

# Another disk


def other_disk(monkeypatch, disk: Path) -> None:
    """Let files be renamed within ``disk`` and outside of it, but not across, as with two disks."""
    rename = os.replace

    def replace(source, target):
        if len({disk in Path(path).resolve().parents for path in (source, target)}) == 2:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_folder_on_another_disk_is_filled_there(tmp_path, server, monkeypatch, is_archive):
    disk, folder = tmp_path / "disk", tmp_path / "disk" / "big" / "toy"
    folder.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(folder)
    other_disk(monkeypatch, disk)
    source = server.source("toy.tar.gz", archive(GOOD), None if is_archive else {})
    get(source, tmp_path / "data", quiet=True)
    expected = {name.removeprefix("data/toy/"): content for name, content in UNPACKED.items()}
    assert files(folder) == (expected if is_archive else {"toy.tar.gz": archive(GOOD)})
    assert folders(disk) == {"big", "big/toy"}
    assert len(files(tmp_path)) == len(files(folder)) + 1  # the link


def test_a_folder_that_is_a_disk_of_its_own_is_filled(tmp_path, server, monkeypatch):
    """There is no place beside it on that disk: files are copied, and renamed there."""
    (tmp_path / "data" / "toy").mkdir(parents=True)
    other_disk(monkeypatch, tmp_path / "data" / "toy")
    get(server.source("toy.tar.gz", archive(GOOD)), tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_real_second_file_system(tmp_path, server):
    here = Path("/dev/shm") / f"minisd-test-{os.getpid()}"
    (here / "toy").mkdir(parents=True)
    try:
        (tmp_path / "toy").symlink_to(here / "toy")
        get(server.source("toy.tar.gz", archive(GOOD)), tmp_path, quiet=True)
        found = files(here)
    finally:
        subprocess.run(["rm", "-r", str(here)], check=True)
    assert found == {name.removeprefix("data/"): content for name, content in UNPACKED.items()}


def test_a_link_to_a_disk_that_is_not_there(tmp_path, server):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(tmp_path / "unplugged" / "toy")
    source = server.source("toy.tar.gz", archive(GOOD))
    assert "a link to a folder that is not there" in refused(source, tmp_path / "data")
    assert not (tmp_path / "unplugged").exists()
    assert server.requests == []


# A full disk

SMALL_FILES = """
import resource, signal, sys
from pathlib import Path
from minisd.data.download import *
from minisd.errors import DataError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    get({source!r}, Path(sys.argv[1]), quiet=True)
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.parametrize("limit", [100, 50_000])  # in the download; in the first member
def test_a_disk_that_is_full_is_told_and_nothing_is_kept(tmp_path, server, limit):
    source = server.source("toy.tar.gz", archive(GOOD))
    assert 100 < len(archive(GOOD)) < 50_000 < len(MEMBERS["a.bin"])
    line = [sys.executable, "-c", SMALL_FILES.format(source=source), str(tmp_path / "data")]
    done = subprocess.run([*line, str(limit)], capture_output=True, text=True)
    assert done.stderr == ""
    assert f"{tmp_path / 'data' / 'toy'} cannot be filled" in done.stdout
    assert "free some space" in done.stdout
    assert "cannot be fetched" not in done.stdout
    assert done.stdout.count("\n") == 1
    assert files(tmp_path) == {}
    assert folders(tmp_path) == {"data", "data/toy"}
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED


@pytest.mark.parametrize("after", [0, 1])
def test_a_disk_that_fails_while_files_are_moved(tmp_path, server, monkeypatch, after):
    moves = []

    def move(path, target):
        moves.append(target)
        if len(moves) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.replace(path, target)

    source = server.source("toy.tar.gz", archive(GOOD))
    with monkeypatch.context() as patch:
        patch.setattr("minisd.data.download.move", move)
        assert "No space left on device): free some space" in refused(source, tmp_path / "data")
    assert files(tmp_path) == dict(list(DATA_FILES.items())[:after])
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED


# Interrupted


def test_a_folder_that_vanishes_in_the_middle_is_told(tmp_path, server):
    """Somebody cleans up while the download runs."""
    source = server.source("toy.tar.gz", archive(GOOD))
    answer = server.answer

    def vanish(handler):
        (tmp_path / "data" / "toy").rmdir()
        answer(handler)

    server.answer = vanish
    message = refused(source, tmp_path / "data")
    assert f"{tmp_path / 'data' / 'toy'} cannot be filled" in message
    assert files(tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_after_ctrl_c_nothing_is_left(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    server.held = {"/toy.tar.gz"}
    code = (
        "from minisd.data.download import *; from pathlib import Path; import signal, sys; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"get({source!r}, Path(sys.argv[1]), quiet=True)"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "data")]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        assert server.asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    assert files(tmp_path) == {}
    assert folders(tmp_path) == {"data", "data/toy"}


# Ours only


def put(path: Path, what: str) -> None:
    """Something of the user's own under a name that we would use."""
    if what == "file":
        path.write_text("mine")
    elif what == "link":
        (path.parent / "outside").mkdir()
        (path.parent / "outside" / "mine").write_text("mine")
        (path.parent / "outside" / "made-by-minisd").touch()
        path.symlink_to(path.parent / "outside")
    elif what == "folder":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "mine").write_text("mine")


@pytest.mark.parametrize("name", [".fetching-toy", ".fetching-toy.lock"])
@pytest.mark.parametrize("what", ["file", "link", "folder"])
def test_what_is_not_ours_is_neither_removed_nor_replaced(tmp_path, server, name, what):
    put(tmp_path / name, what)
    before = files(tmp_path)
    message = refused(server.source("toy.tar.gz", archive(GOOD)), tmp_path)
    assert str(tmp_path / name) in message
    assert files(tmp_path) == before
    assert server.requests == []


def test_an_empty_folder_is_nobodys(tmp_path, server):
    """A download may be killed just before it marks its folder."""
    (tmp_path / ".fetching-toy").mkdir()
    get(server.source("toy.tar.gz", archive(GOOD)), tmp_path, quiet=True)
    assert folders(tmp_path) == {"toy"}


def test_links_in_the_leftovers_are_not_followed(tmp_path, server):
    leftover = tmp_path / ".fetching-toy"
    leftover.mkdir()
    (leftover / "made-by-minisd").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("mine")
    (leftover / "link").symlink_to(tmp_path / "mine")
    get(server.source("toy.tar.gz", archive(GOOD)), tmp_path, quiet=True)
    assert files(tmp_path / "mine") == {"a": b"mine"}
    assert not leftover.exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    answer = server.answer

    def appear(handler):
        (tmp_path / "toy" / "a.bin").write_bytes(b"mine")
        answer(handler)

    server.answer = appear
    message = refused(source, tmp_path)
    assert f"{tmp_path / 'toy' / 'a.bin'} is damaged, or is not an official file" in message
    assert (tmp_path / "toy" / "a.bin").read_bytes() == b"mine"
    assert (tmp_path / "toy" / "b.bin").read_bytes() == MEMBERS["b.bin"]


def test_the_lock_is_released_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), staging.staging_folder(tmp_path / ".a"):
            raise ZeroDivisionError
    assert folders(tmp_path) == set()
