"""Folders as people give them: found, or a sentence that says what lies there and what to do."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from minisd.cli import main
from minisd.data import load
from minisd.data.official import SOURCES
from minisd.errors import DataError

NAMES = ["cifar10", "cifar100", "svhn"]


def fill(folder: Path, name: str = "cifar10") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in SOURCES[name].files:
        (folder / file).write_bytes(bytes(3074 if name == "cifar100" else 3073) * 20)


def why(data_dir: Path | str, name: str = "cifar10") -> str:
    with pytest.raises(DataError) as caught:
        load(name, data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", ["too deep", "too shallow", "beside", "a file of it", "far up"])
def test_a_folder_near_by_is_named(tmp_path, name, given):
    folder = tmp_path / "a b" / "sets" / SOURCES[name].folder
    fill(folder, name)
    (folder / "deep").mkdir()
    (folder.parent / "other").mkdir()
    data_dir, right = {
        "too deep": (folder / "deep", folder),
        "too shallow": (folder.parent.parent, folder.parent),
        "beside": (folder.parent / "other", folder.parent),
        "a file of it": (folder / SOURCES[name].files[0], folder),
        "far up": (tmp_path, None),
    }[given]
    message = why(data_dir, name)
    if right is None:
        assert "minisd data get" in message
    else:
        assert message.endswith(f"use --data-dir {shlex.quote(str(right))}")
        assert re.search(f"{name} is not in", message)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("name", "lies_there", "given", "says"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_1", "", "for Python"),
        ("cifar10", "cifar-10-batches-py/data_batch_1", "cifar-10-batches-py", "for Python"),
        ("cifar10", "renamed/data_batch_1", "renamed", "for Python"),
        ("cifar10", "cifar-10-python.tar.gz", "", "for Python"),
        ("cifar10", "cifar-10-python.tar.gz", "cifar-10-python.tar.gz", "for Python"),
        ("cifar10", "cifar-10-batches-mat/data_batch_1.mat", "", "for MATLAB"),
        ("cifar100", "cifar-100-python/train", "", "for Python"),
        ("cifar100", "cifar-100-python/train", "cifar-100-python", "for Python"),
        ("svhn", "train.tar.gz", "", "the full numbers"),
        ("svhn", "svhn/train.tar.gz", "", "the full numbers"),
        ("cifar10", "cifar-10-binary.tar.gz", "", "not unpacked yet"),
        ("cifar10", "cifar-10-batches-bin/cifar-10-binary.tar.gz", "", "not unpacked yet"),
        ("cifar10", "cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz", "not unpacked yet"),
        ("cifar100", "cifar-100-binary.tar.gz", "", "not unpacked yet"),
        ("cifar10", "mine.npz", "mine.npz", "is not a folder"),
    ],
)
def test_other_things_that_lie_there_are_named(tmp_path, name, lies_there, given, says):
    touch(tmp_path / "data" / lies_there)
    message = why(tmp_path / "data" / given, name)
    assert re.search(rf"{says}.*minisd data get {name} --data-dir {tmp_path}", message)
    assert Path(lies_there).parts[0] in message


@pytest.mark.parametrize("name", NAMES)
def test_the_home_folder_may_be_written_as_in_a_shell(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    touch(tmp_path / "data" / "nothing")
    assert f"{tmp_path / 'data'}:" in why("~/data", name)
    assert "~nobody-of-this-name/data" in why("~nobody-of-this-name/data", name)


def test_the_home_folder_in_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "sets" / "cifar-10-batches-bin")
    assert main(["data", "list", "cifar10", "--data-dir=~/sets"]) == 0
    assert "100 training and 20 test images" in capsys.readouterr().out
    line = ["train", "--data", "cifar10", "--data-dir=~/sets", "--depth", "8", "--out=~nobody/x"]
    assert main(line) == 2  # all images are the same, it says: so they were read
    assert "all training images are the same" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()


# The digits read no folder


@pytest.mark.parametrize("data", [[], ["--data", "digits"]])
def test_a_file_is_not_silently_ignored(tmp_path, capsys, data):
    np.savez(tmp_path / "mine.npz", x=np.zeros(3))
    line = ["train", *data, "--data-dir", str(tmp_path / "mine.npz"), "--out", str(tmp_path / "r")]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'mine.npz'} is a file, and --data digits does not read it" in told
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("command", [["train"], ["experiment", "gradients", "--quick"]])
def test_the_digits_are_not_taken_where_another_data_set_lies(tmp_path, capsys, command):
    fill(tmp_path / "cifar-10-batches-bin")
    fill(tmp_path / "svhn", "svhn")
    line = [*command, "--data-dir", str(tmp_path), "--out", str(tmp_path / "r")]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path} has cifar10 and svhn in it: add --data cifar10" in told
    assert not (tmp_path / "r").exists()


def test_whoever_names_the_digits_gets_them(tmp_path):
    fill(tmp_path / "cifar-10-batches-bin")
    assert len(load("digits", tmp_path).test) == 359
    assert len(load("digits", tmp_path / "nowhere").test) == 359


# Odd names and odd things


ODD = "two\nlines \x1b[31m and $(touch x) 'quotes'"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_a_line_break_stays_one_line(tmp_path, name):
    assert "\x1b" not in why(tmp_path / ODD, name)
    fill(tmp_path / ODD, name)
    (tmp_path / ODD / SOURCES[name].files[0]).write_bytes(b"")
    message = why(tmp_path / ODD, name)
    assert "is damaged" in message
    assert "\x1b" not in message


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**42)


THINGS = {
    "a pipe": (make_pipe, "not a regular file"),
    "endless zeros": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "there is no"),
    "a link to itself": (make_loop, "cannot be read"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "4 TB of nothing": (make_sparse, "is damaged"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", NAMES)
def test_other_things_than_files_are_refused_at_once(tmp_path, capsys, name, thing):
    make, says = THINGS[thing]
    path = tmp_path / SOURCES[name].files[0]
    fill(tmp_path, name)
    path.unlink()
    make(path)
    assert re.search(f"{path}.*{says}|{says}.*{path}", why(tmp_path, name))
    assert main(["data", "get", name, "--data-dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert str(path) in told
    assert "fetching" not in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("thing", [name for name in THINGS if name != "4 TB of nothing"])
def test_other_things_than_a_list_of_checksums(tmp_path, thing):
    fill(tmp_path)
    THINGS[thing][0](tmp_path / "official.md5")
    assert "official.md5" in why(tmp_path)
