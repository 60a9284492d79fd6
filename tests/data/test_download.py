"""Fetching, against a server on this machine; nothing is asked of any other."""

import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from scipy.io import savemat

from data_server import (
    DATA_FILES,
    GOOD,
    MEMBERS,
    PATIENCE,
    SIZES,
    UNPACKED,
    A,
    B,
    Entry,
    Server,
    archive,
    broken_halfway,
    files,
    folders,
    gzipped,
    md5,
    refused,
    tar,
)
from minisd.cli import main
from minisd.data import download, load
from minisd.data.download import SOURCES, Remote, Source, get
from minisd.errors import DataError
from systems import KILL

# pooch leaves the connection of a failed request to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

# What works


def test_an_archive_is_fetched_checked_and_unpacked(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    assert get(source, tmp_path / "data", quiet=True) == tmp_path / "data" / "toy"
    assert files(tmp_path) == UNPACKED
    assert folders(tmp_path) == {"data", "data/toy"}
    assert server.requests == ["/toy.tar.gz"]


def test_files_that_are_no_archives_are_kept_as_they_are(tmp_path, server):
    remotes = [server.source(name, MEMBERS[name], {}).remotes[0] for name in MEMBERS]
    get(Source("toy", tuple(remotes)), tmp_path / "data", quiet=True)
    assert files(tmp_path) == DATA_FILES
    assert server.requests == ["/a.bin", "/b.bin"]


@pytest.mark.parametrize("members", [SIZES, {}])
def test_what_is_complete_is_not_fetched_again(tmp_path, server, members):
    source = server.source("toy.tar.gz", archive(GOOD), members)
    for _ in range(3):
        get(source, tmp_path / "data", quiet=True)
    assert server.requests == ["/toy.tar.gz"]


def test_only_what_is_missing_is_fetched(tmp_path, server):
    remotes = [server.source(name, MEMBERS[name], {}).remotes[0] for name in MEMBERS]
    (tmp_path / "data" / "toy").mkdir(parents=True)
    (tmp_path / "data" / "toy" / "a.bin").write_bytes(MEMBERS["a.bin"])
    get(Source("toy", tuple(remotes)), tmp_path / "data", quiet=True)
    assert files(tmp_path) == DATA_FILES
    assert server.requests == ["/b.bin"]


def test_a_mirror_has_files_of_the_same_name_and_checksum(tmp_path, server):
    content = archive(GOOD)
    server.files["/some/where/toy.tar.gz"] = content
    official = Source("toy", (Remote("http://official.invalid/toy.tar.gz", md5(content), SIZES),))
    for slash in ("", "/"):
        get(
            official,
            tmp_path / f"data{slash}",
            mirror=f"{server.url}/some/where{slash}",
            quiet=True,
        )
    assert files(tmp_path) == UNPACKED
    server.files["/some/where/toy.tar.gz"] = archive(GOOD[:1])
    assert "checksum" in refused(official, tmp_path / "new", mirror=f"{server.url}/some/where")


def test_progress_is_told_unless_it_should_be_quiet(tmp_path, server, capsys):
    source = server.source("toy.tar.gz", archive(GOOD))
    get(source, tmp_path / "data", quiet=True)
    assert capsys.readouterr() == ("", "")
    get(source, tmp_path / "other")
    told = capsys.readouterr()
    assert told.out == ""
    assert f"fetching {server.url}/toy.tar.gz" in told.err
    assert str(tmp_path / "other" / "toy" / "a.bin") in told.err


# What is refused


def test_another_checksum_is_refused_and_nothing_is_kept(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    server.files["/toy.tar.gz"] = archive([*GOOD, Entry("toy/c.bin", b"c")])
    message = refused(source, tmp_path / "data")
    assert f"{server.url}/toy.tar.gz" in message
    assert f"checksum (md5 {source.remotes[0].md5})" in message
    assert files(tmp_path) == {}
    assert folders(tmp_path) <= {"data", "data/toy"}


def test_a_file_that_is_not_there_is_named(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    server.files.clear()
    message = refused(source, tmp_path / "data")
    assert f"{server.url}/toy.tar.gz" in message
    assert "404" in message
    assert "checksum" not in message
    assert files(tmp_path) == {}


@pytest.mark.parametrize("members", [SIZES, {}])
def test_a_connection_closed_half_way_leaves_nothing_and_the_next_try_works(
    tmp_path, server, members
):
    source = server.source("toy.tar.gz", archive(GOOD), members)
    server.cut = {"/toy.tar.gz"}
    assert f"{server.url}/toy.tar.gz" in refused(source, tmp_path / "data")
    assert files(tmp_path) == {}
    assert folders(tmp_path) <= {"data", "data/toy"}
    server.cut.clear()
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == (UNPACKED if members else {"data/toy/toy.tar.gz": archive(GOOD)})


def test_what_was_complete_before_a_failure_stays(tmp_path, server):
    """Of several files, those that arrived whole need not be fetched again."""
    remotes = [server.source(name, MEMBERS[name], {}).remotes[0] for name in MEMBERS]
    source = Source("toy", tuple(remotes))
    server.cut = {"/b.bin"}
    assert f"{server.url}/b.bin" in refused(source, tmp_path / "data")
    assert files(tmp_path) == {"data/toy/a.bin": MEMBERS["a.bin"]}
    server.cut.clear()
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == DATA_FILES
    assert server.requests == ["/a.bin", "/b.bin", "/b.bin"]


@pytest.mark.parametrize(
    "mirror",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1",
        "file:///tmp",
        "http://[::1",
        "http://mirror.invalid",
        "nonsense",
        "",
    ],
)
def test_an_address_that_cannot_be_asked_is_named(tmp_path, server, mirror):
    message = refused(server.source("toy.tar.gz", b""), tmp_path / "data", mirror=mirror)
    assert f"{mirror}/toy.tar.gz cannot be fetched" in message
    assert "checksum" not in message
    assert files(tmp_path) == {}


def test_a_server_that_does_not_answer_is_named(tmp_path, server):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message = refused(server.source("toy.tar.gz", b""), tmp_path / "data", mirror=mirror)
    assert f"{mirror}/toy.tar.gz cannot be fetched" in message


def test_without_pooch_the_message_says_what_to_install(tmp_path, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    source = server.source("toy.tar.gz", archive(GOOD))
    assert "pip install 'minisd[download]'" in refused(source, tmp_path / "data")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("path", ["data", "data/toy"])
def test_a_file_where_the_folder_should_be_is_left_alone(tmp_path, server, path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("mine")
    message = refused(server.source("toy.tar.gz", archive(GOOD)), tmp_path / "data")
    assert str(tmp_path / path) in message
    assert files(tmp_path) == {path: b"mine"}
    assert server.requests == []


# Files that are there


def put(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "data" / "toy").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "toy" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "members"), [("a.bin", SIZES), ("b.bin", SIZES), ("toy.tar.gz", {})]
)
@pytest.mark.parametrize("content", [b"", b"mine"])
def test_another_file_in_the_place_is_never_overwritten(tmp_path, server, name, members, content):
    put(tmp_path, name, content)
    message = refused(server.source("toy.tar.gz", archive(GOOD), members), tmp_path / "data")
    assert str(tmp_path / "data" / "toy" / name) in message
    assert "move it away" in message
    assert files(tmp_path) == {f"data/toy/{name}": content}
    assert server.requests == []


def test_a_file_of_the_official_size_is_not_overwritten_either(tmp_path, server):
    """It may be someone's own; it is fetched for the sake of the other."""
    mine = b"m" * SIZES["a.bin"]
    put(tmp_path, "a.bin", mine)
    with contextlib.suppress(DataError):
        get(server.source("toy.tar.gz", archive(GOOD)), tmp_path / "data", quiet=True)
    assert files(tmp_path)["data/toy/a.bin"] == mine


@pytest.mark.parametrize("members", [SIZES, {}])
def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path, server, members):
    path = tmp_path / "data" / "toy" / ("a.bin" if members else "toy.tar.gz")
    path.mkdir(parents=True)
    message = refused(server.source("toy.tar.gz", archive(GOOD), members), tmp_path / "data")
    assert str(path) in message
    assert path.is_dir()
    assert server.requests == []


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path, server):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    (tmp_path / "data" / "toy" / "a.bin").symlink_to(tmp_path / "elsewhere")
    with contextlib.suppress(DataError):
        get(server.source("toy.tar.gz", archive(GOOD)), tmp_path / "data", quiet=True)
    assert not (tmp_path / "elsewhere").exists()


# Interrupted and simultaneous downloads


def start_download(server: Server, data_dir: Path, source: Source) -> subprocess.Popen:
    """Begin one in another process, and return when half of the file has been sent."""
    server.held = {"/toy.tar.gz"}
    code = (
        "from minisd.data.download import *; from pathlib import Path; import sys; "
        f"get({source!r}, Path(sys.argv[1]), quiet=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(data_dir)])
    assert server.asked.wait(PATIENCE)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [KILL, signal.SIGTERM])
def test_the_leftovers_of_a_killed_download_are_cleared(tmp_path, server, number):
    source = server.source("toy.tar.gz", archive(GOOD))
    with start_download(server, tmp_path / "data", source) as process:
        process.send_signal(number)
        process.wait(PATIENCE)
    assert not [name for name in files(tmp_path) if name.startswith("data/toy/")]
    assert files(tmp_path) or folders(tmp_path) - {"data", "data/toy"}, "nothing was left to clear"
    server.held.clear()
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED
    assert folders(tmp_path) == {"data", "data/toy"}


def test_two_processes_do_not_fetch_at_the_same_time(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    with start_download(server, tmp_path / "data", source) as process:
        assert "another process" in refused(source, tmp_path / "data")
        assert server.requests == ["/toy.tar.gz"]
        server.release.set()
        assert process.wait(PATIENCE) == 0  # the first was not disturbed
    assert files(tmp_path) == UNPACKED
    get(source, tmp_path / "data", quiet=True)


def test_the_holder_of_the_lock_keeps_others_out(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    staging = tmp_path / "data" / ".fetching-toy"
    staging.mkdir(parents=True)
    (staging / "made-by-minisd").touch()
    (staging / "half").write_bytes(b"in the making")
    with FileLock(staging.with_suffix(".lock")):
        assert "another process" in refused(source, tmp_path / "data")
        assert (staging / "half").exists()
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED
    assert server.requests == ["/toy.tar.gz"]


def test_a_link_in_the_place_of_the_staging_folder_is_not_followed(tmp_path, server):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".fetching-toy").symlink_to(outside)
    with contextlib.suppress(DataError):
        get(server.source("toy.tar.gz", archive(GOOD)), tmp_path / "data", quiet=True)
    assert files(outside) == {"mine": b"mine"}


# Archives that are not what they should be

OUTSIDE = "outside/mine"  # beside the data folder, as are the bait's targets
BAIT = b"x" * SIZES["a.bin"]


class Trick(NamedTuple):
    """An archive, by its entries, and what is said of it; None: it is unpacked all the same."""

    what: str
    entries: Callable[[Path], list[Entry]]
    says: str | None


TRICKS = [
    Trick(
        "link with the name of a member",
        lambda root: [Entry("toy/a.bin", b"", tarfile.SYMTYPE, str(root / OUTSIDE)), B],
        "toy/a.bin",
    ),
    Trick(
        "relative link with the name of a member",
        lambda root: [Entry("toy/a.bin", b"", tarfile.SYMTYPE, f"../../{OUTSIDE}"), B],
        "toy/a.bin",
    ),
    Trick(
        "hard link with the name of a member",
        lambda root: [Entry("toy/a.bin", b"", tarfile.LNKTYPE, str(root / OUTSIDE)), B],
        "toy/a.bin",
    ),
    Trick(
        "hard link to another member",
        lambda root: [B, Entry("toy/a.bin", b"", tarfile.LNKTYPE, "toy/b.bin")],
        "toy/a.bin",
    ),
    Trick(
        "writing through a link",
        lambda root: [Entry("toy/a.bin", b"", tarfile.SYMTYPE, str(root / "outside/new")), A, B],
        "toy/a.bin",
    ),
    Trick(
        "folder that is a link",
        lambda root: [Entry("toy", b"", tarfile.SYMTYPE, str(root / "outside")), A, B],
        None,
    ),
    Trick("absolute path", lambda root: [Entry(str(root / "outside/a.bin"), BAIT), B], "a.bin"),
    Trick("absolute folder", lambda root: [Entry("/toy/a.bin", BAIT), B], "a.bin"),
    Trick("path upwards", lambda root: [Entry("../outside/a.bin", BAIT), B], "a.bin"),
    Trick("detour", lambda root: [Entry("toy/../../outside/a.bin", BAIT), B], "a.bin"),
    Trick("detour back", lambda root: [Entry("toy/../toy/a.bin", BAIT), B], "a.bin"),
    Trick("no folder", lambda root: [Entry("a.bin", BAIT), B], "a.bin"),
    Trick("deeper folder", lambda root: [Entry("toy/toy/a.bin", BAIT), B], "a.bin"),
    Trick("other folder", lambda root: [Entry("joy/a.bin", BAIT), B], "a.bin"),
    Trick("folder", lambda root: [Entry("toy/a.bin", b"", tarfile.DIRTYPE), B], "toy/a.bin"),
    Trick("named pipe", lambda root: [Entry("toy/a.bin", b"", tarfile.FIFOTYPE), B], "toy/a.bin"),
    Trick("device", lambda root: [Entry("toy/a.bin", b"", tarfile.CHRTYPE), B], "toy/a.bin"),
    Trick("too short", lambda root: [Entry("toy/a.bin", BAIT[1:]), B], str(SIZES["a.bin"])),
    Trick("too long", lambda root: [A, Entry("toy/b.bin", BAIT)], str(SIZES["b.bin"])),
    Trick("empty member", lambda root: [Entry("toy/a.bin"), B], str(SIZES["a.bin"])),
    Trick("missing member", lambda root: [A], "b.bin"),
    Trick("no members", lambda root: [], "a.bin, b.bin"),
    Trick("same name again", lambda root: [A, B, Entry("toy/a.bin", BAIT)], None),
    Trick(
        "more members",
        lambda root: [
            Entry("toy/c.bin", b"c"),
            Entry("../c.bin", b"c"),
            Entry(str(root / "c.bin"), b"c"),
            Entry("toy/d", b"", tarfile.SYMTYPE, str(root / OUTSIDE)),
            A,
            Entry("toy/.fetching-toy/a.bin", BAIT),
            B,
        ],
        None,
    ),
    Trick("dots before", lambda root: [Entry(f"./{e.name}", e.content) for e in GOOD], None),
    Trick("other order", lambda root: [B, A], None),
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.what)
def test_an_archive_does_not_decide_what_is_written(tmp_path, server, trick):
    (tmp_path / OUTSIDE).parent.mkdir()
    (tmp_path / OUTSIDE).write_bytes(b"mine")
    source = server.source("toy.tar.gz", archive(trick.entries(tmp_path)))
    if trick.says is None:
        get(source, tmp_path / "data", quiet=True)
        assert files(tmp_path) == {OUTSIDE: b"mine", **UNPACKED}
    else:
        message = refused(source, tmp_path / "data")
        assert "toy.tar.gz" in message
        assert trick.says in message
        assert files(tmp_path) == {OUTSIDE: b"mine"}
    assert folders(tmp_path) <= {"outside", "data", "data/toy"}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<!DOCTYPE html>" * 100, id="web page"),
        pytest.param(tar(GOOD), id="not compressed"),
        pytest.param(gzipped(b"no archive" * 1000), id="not tar"),
        pytest.param(archive(GOOD)[:-400], id="gzip cut"),
        pytest.param(archive(GOOD)[:20], id="gzip cut at the start"),
        pytest.param(gzipped(tar(GOOD)[:100_000]), id="tar cut"),
        pytest.param(broken_halfway(tar(GOOD)), id="broken half-way"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused(tmp_path, server, content):
    """Even though its checksum is the published one."""
    message = refused(server.source("toy.tar.gz", content), tmp_path / "data")
    assert "toy.tar.gz is damaged" in message
    assert files(tmp_path) == {}
    assert folders(tmp_path) <= {"data", "data/toy"}


# The published sources


def test_the_sources_are_the_official_files():
    """Names and checksums as the data sets' pages give them; sizes as the format has them."""
    files = {
        remote.url: (remote.md5, sum(remote.members.values()))
        for source in SOURCES.values()
        for remote in source.remotes
    }
    toronto, stanford = (
        "https://www.cs.toronto.edu/~kriz/",
        "http://ufldl.stanford.edu/housenumbers/",
    )
    assert files == {
        f"{toronto}cifar-10-binary.tar.gz": ("c32a1d4ab5d03f1284b67883e8d87530", 60_000 * 3073),
        f"{toronto}cifar-100-binary.tar.gz": ("03b5dce01913d631647c71ecec9e9cb8", 60_000 * 3074),
        f"{stanford}train_32x32.mat": ("e26dedcc434d2e4c54c9b2d4a06d8373", 0),
        f"{stanford}test_32x32.mat": ("eb5a983be6a315427106f1b164d9cef3", 0),
        f"{stanford}extra_32x32.mat": ("a93ce644f1a588dc4d68dda5feec44a7", 0),
    }


def small_files(name: str) -> dict[str, bytes]:
    """A small data set of the format of ``name``, under its official file names."""
    record = {"cifar10": 3073, "cifar100": 3074}
    if name == "svhn":
        buffer = io.BytesIO()
        images = np.zeros((32, 32, 3, 10), np.uint8)
        savemat(buffer, {"X": images, "y": np.arange(1, 11)[:, None]})
        names = ["train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"]
        return dict.fromkeys(names, buffer.getvalue())
    return dict.fromkeys(SOURCES[name].remotes[0].members, bytes(record[name]) * 2)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_what_is_fetched_can_be_loaded(tmp_path, server, name, monkeypatch):
    folder, content = SOURCES[name].folder, small_files(name)
    if name == "svhn":
        remotes = [server.source(file, content[file], {}).remotes[0] for file in content]
    else:
        whole = archive([Entry(f"{folder}/{file}", content[file]) for file in content])
        sizes = {file: len(content[file]) for file in content}
        remotes = [server.source("toy.tar.gz", whole, sizes).remotes[0]]
    monkeypatch.setattr(download, "SOURCES", {name: Source(folder, tuple(remotes))})
    with pytest.raises(DataError, match=f"minisd data get {name}"):
        load(name, tmp_path)
    assert main(["data", "get", name, "--data-dir", str(tmp_path)]) == 0
    assert len(load(name, tmp_path).train) == {"cifar10": 10, "cifar100": 2, "svhn": 20}[name]


# The command


@pytest.fixture
def command(tmp_path, server, monkeypatch):
    """``minisd data get cifar10``, with a small archive in the place of the official one."""
    content = archive(GOOD)
    server.files["/mirror/toy.tar.gz"] = content
    official = Source("toy", (Remote("http://official.invalid/toy.tar.gz", md5(content), SIZES),))
    monkeypatch.setattr(download, "SOURCES", {"cifar10": official})
    return ["data", "get", "cifar10", "--data-dir", str(tmp_path / "data")]


def test_the_command_fetches_from_a_mirror(tmp_path, server, command, capsys):
    mirrored = [*command, "--mirror", f"{server.url}/mirror"]
    assert main(mirrored) == 0
    assert f"complete in {tmp_path / 'data' / 'toy'}" in capsys.readouterr().out
    assert files(tmp_path) == UNPACKED
    assert main([*mirrored, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert server.requests == ["/mirror/toy.tar.gz"]


def test_the_command_fails_with_one_sentence(tmp_path, server, command, capsys):
    server.cut = {"/mirror/toy.tar.gz"}
    assert main([*command, "--mirror", f"{server.url}/mirror", "--quiet"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith(f"minisd: {server.url}/mirror/toy.tar.gz cannot be fetched")
    assert files(tmp_path) == {}


def test_the_command_goes_to_the_official_address_by_itself(tmp_path, server, command, capsys):
    assert main([*command, "--quiet"]) == 2
    assert "http://official.invalid/toy.tar.gz cannot be fetched" in capsys.readouterr().err
    assert server.requests == []


def test_the_command_needs_a_name(capsys):
    assert main(["data", "get"]) == 2
    assert "needs a name: cifar10, cifar100, svhn" in capsys.readouterr().err


def test_the_digits_need_not_be_fetched(tmp_path, capsys):
    assert main(["data", "get", "digits", "--data-dir", str(tmp_path)]) == 0
    assert "comes with the package" in capsys.readouterr().out
    assert files(tmp_path) == {}


def test_the_command_lists_what_is_there(tmp_path, capsys):
    (tmp_path / "train.bin").write_bytes(bytes(3074 * 3))
    (tmp_path / "test.bin").write_bytes(bytes(3074 * 2))
    assert main(["data", "--data-dir", str(tmp_path)]) == 0
    lines = re.split(r"\n(?! )", capsys.readouterr().out.rstrip())  # the rest is indented
    lines = [" ".join(line.split()) for line in lines]
    assert [line.split()[0] for line in lines] == ["digits", "cifar10", "cifar100", "svhn"]
    assert "1438 training and 359 test images of 1x8x8" in lines[0]
    assert "minisd data get cifar10" in lines[1]
    assert "3 training and 2 test images of 3x32x32" in lines[2]
    assert "minisd data get svhn" in lines[3]
