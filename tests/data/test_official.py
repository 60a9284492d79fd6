"""Which files are the official ones: checksums published, or kept beside, and a word if neither."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from data_server import DATA_FILES, GOOD, MEMBERS, UNPACKED, A, Entry, archive, files, md5, refused
from minisd.cli import main
from minisd.data import Dataset, download, load, official
from minisd.data.download import SOURCES, Remote, Source, get
from minisd.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

CIFAR10 = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def write_cifar10(folder: Path, rng, records: int = 3) -> None:
    for name in CIFAR10:
        content = rng.integers(0, 10, (records, 3073), np.uint8)
        (folder / name).write_bytes(content.tobytes())


def keep(folder: Path, **checksums: str) -> None:
    text = "".join(f"{value}  {name}\n" for name, value in checksums.items())
    (folder / official.CHECKSUMS).write_text(text)


# Getting


def fake(folder: Path, server) -> Source:
    """Files of the official sizes with other contents."""
    folder.mkdir(parents=True)
    for name, content in MEMBERS.items():
        (folder / name).write_bytes(os.urandom(len(content)))
    return server.source("toy.tar.gz", archive(GOOD))


def test_files_of_the_official_size_are_compared_with_the_archive(tmp_path, server):
    source = fake(tmp_path / "toy", server)
    before = files(tmp_path)
    for _ in range(2):  # the second time the checksums are there
        message = refused(source, tmp_path)
        assert re.search("[ab].bin is damaged, or is not an official.*move it away", message)
    assert before.items() <= files(tmp_path).items()
    assert server.requests == ["/toy.tar.gz"]
    for name in MEMBERS:
        (tmp_path / "toy" / name).unlink()
    get(source, tmp_path, quiet=True)
    assert files(tmp_path) == {n.removeprefix("data/"): c for n, c in UNPACKED.items()}


def test_official_files_without_checksums_are_verified_once(tmp_path, server):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    for name, content in DATA_FILES.items():
        (tmp_path / name).write_bytes(content)
    source = server.source("toy.tar.gz", archive(GOOD))
    for _ in range(3):
        get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED
    assert server.requests == ["/toy.tar.gz"]


def test_without_a_network_they_are_not_called_complete(tmp_path, server, capsys, monkeypatch):
    source = fake(tmp_path / "toy", server)
    server.files.clear()
    monkeypatch.setattr(download, "SOURCES", {"cifar10": source})
    assert main(["data", "get", "cifar10", "--data-dir", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "complete" not in told.out
    assert "only their archive tells whether" in told.err
    assert "cannot be fetched" in told.err


def test_a_file_that_changed_later_is_found(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    get(source, tmp_path, quiet=True)
    content = bytearray(MEMBERS["a.bin"])
    content[1000] ^= 1
    (tmp_path / "toy" / "a.bin").write_bytes(content)
    assert "a.bin is damaged" in refused(source, tmp_path)
    (tmp_path / "toy" / "a.bin").unlink()
    get(source, tmp_path, quiet=True)
    assert (tmp_path / "toy" / "a.bin").read_bytes() == MEMBERS["a.bin"]


def test_other_lines_of_the_list_stay(tmp_path, server):
    (tmp_path / "toy").mkdir()
    keep(tmp_path / "toy", **{"my own.bin": "0" * 32})
    get(server.source("toy.tar.gz", archive(GOOD)), tmp_path, quiet=True)
    kept = official.kept_checksums(tmp_path / "toy")
    assert kept == {"my own.bin": "0" * 32} | {n: md5(c) for n, c in MEMBERS.items()}


LISTS = {
    "binary": b"\xff\xfe" * 100,
    "no name": b"0" * 32 + b"\n",
    "short": b"0123  a.bin\n",
    "upwards": b"hello\n",
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_a_damaged_list_of_checksums_is_refused(tmp_path, rng, server, content):
    write_cifar10(tmp_path, rng)
    (tmp_path / "toy").mkdir()
    for folder in (tmp_path, tmp_path / "toy"):
        (folder / official.CHECKSUMS).write_bytes(content)
    says = rf"{official.CHECKSUMS} is damaged.*move it away"
    with pytest.raises(DataError, match=says):
        load("cifar10", tmp_path)
    assert re.search(says, refused(server.source("toy.tar.gz", archive(GOOD)), tmp_path))


# Loading


def test_verified_files_need_no_word(tmp_path, rng):
    write_cifar10(tmp_path, rng)
    keep(tmp_path, **{name: md5((tmp_path / name).read_bytes()) for name in CIFAR10})
    assert load("cifar10", tmp_path).remark == ""


def test_a_file_without_its_kept_checksum_is_damaged(tmp_path, rng):
    """One bit of a pixel: nothing else could tell."""
    write_cifar10(tmp_path, rng)
    keep(tmp_path, **{name: md5((tmp_path / name).read_bytes()) for name in CIFAR10})
    content = bytearray((tmp_path / "data_batch_4.bin").read_bytes())
    content[100] ^= 1
    (tmp_path / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_4.bin is damaged.*minisd data get cifar10"):
        load("cifar10", tmp_path)


def test_files_that_nobody_has_verified_are_named(tmp_path, rng, capsys):
    """They may be images of one's own, so they are read."""
    write_cifar10(tmp_path, rng)
    keep(tmp_path, **{name: md5((tmp_path / name).read_bytes()) for name in CIFAR10[1:5]})
    found = load("cifar10", tmp_path)
    says = (
        r"not verified to be official: data_batch_1.bin, test_batch.bin .*minisd data get cifar10"
    )
    assert re.search(says, found.remark)
    assert found.limited(2).remark == found.remark
    assert main(["data", "list", "cifar10", "--data-dir", str(tmp_path)]) == 0
    assert re.search(says, " ".join(capsys.readouterr().out.split()))


def test_training_says_that_nobody_has_verified_the_data(tmp_path, rng, capsys):
    write_cifar10(tmp_path, rng, records=20)
    line = f"--data-dir {tmp_path} --data cifar10 --depth 8 --width 2 --epochs 1 --limit 40"
    assert main(["train", *line.split(), "--out", str(tmp_path / "run")]) == 0
    assert "not verified to be official: data_batch_1.bin" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "not verified to be official: data_batch_1.bin" in capsys.readouterr().out


def test_svhn_has_published_checksums(tmp_path, rng, monkeypatch):
    remotes = []
    for name in official.SOURCES["svhn"].files:
        X = rng.integers(0, 256, (32, 32, 3, 10), np.uint8)
        savemat(tmp_path / name, {"X": X, "y": np.arange(1, 11)[:, None]})
        remotes.append(Remote(f"http://x.invalid/{name}", md5((tmp_path / name).read_bytes()), {}))
    remark = load("svhn", tmp_path).remark
    assert "train_32x32.mat, extra_32x32.mat, test_32x32.mat" in remark
    monkeypatch.setitem(official.SOURCES, "svhn", Source("svhn", tuple(remotes)))
    assert load("svhn", tmp_path).remark == ""


def test_a_data_set_of_ones_own_has_no_remark():
    split = load("digits").train
    assert Dataset("mine", split, split, 10).remark == ""


def test_every_source_has_its_files():
    assert [len(source.files) for source in SOURCES.values()] == [6, 2, 3]


# Archives that are there


@pytest.mark.parametrize("place", [".", "toy"])
def test_an_archive_that_lies_there_is_unpacked_without_a_network(tmp_path, server, place):
    source = server.source("toy.tar.gz", archive(GOOD))
    server.files.clear()
    (tmp_path / "data" / "toy").mkdir(parents=True)
    path = tmp_path / "data" / place / "toy.tar.gz"
    path.write_bytes(archive(GOOD))
    get(source, tmp_path / "data", quiet=True)
    assert files(tmp_path) == UNPACKED | {path.relative_to(tmp_path).as_posix(): archive(GOOD)}
    assert server.requests == []


def test_the_archive_may_be_given_itself(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy.tar.gz").write_bytes(archive(GOOD))
    assert get(source, tmp_path / "data" / "toy.tar.gz", quiet=True) == tmp_path / "data" / "toy"
    assert UNPACKED.items() <= files(tmp_path).items()
    assert server.requests == []


def test_a_local_archive_that_is_damaged_is_refused_and_stays(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    (tmp_path / "toy.tar.gz").write_bytes(archive([A, Entry("toy/b.bin", b"x" * 1000)]))
    before = files(tmp_path)
    message = refused(source, tmp_path)
    assert re.search(r"toy.tar.gz is damaged.*checksum.*move it away.*downloads", message)
    assert files(tmp_path) == before
    assert server.requests == []


def test_a_folder_of_files_is_filled_where_they_are(tmp_path, server):
    source = server.source("toy.tar.gz", archive(GOOD))
    (tmp_path / "a.bin").write_bytes(MEMBERS["a.bin"])
    assert get(source, tmp_path, quiet=True) == tmp_path
    assert files(tmp_path) == {n.removeprefix("data/toy/"): c for n, c in UNPACKED.items()}
