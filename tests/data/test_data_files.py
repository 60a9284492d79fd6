"""The official files of the data sets: what is read from them, and what is said of damaged ones."""

import ast
import dataclasses
import hashlib
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.io import savemat

import minisd
from minisd.data import Dataset, load, official, split_validation
from minisd.data.dataset import Split
from minisd.errors import DataError, OutOfMemoryError

BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]
SVHN_FILES = ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat")
FOLDERS = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary", "svhn": "svhn"}


def pixels(rng, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, 3, 32, 32), np.uint8)


def write_records(path: Path, labels: list[tuple[int, ...]], images: np.ndarray) -> None:
    path.write_bytes(
        b"".join(
            bytes(label) + image.tobytes() for label, image in zip(labels, images, strict=True)
        )
    )


def write_mat(path: Path, images: np.ndarray, labels) -> None:
    """Write images (N, 3, 32, 32) the way MATLAB keeps them: row, column, channel, image."""
    savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": np.asarray(labels)[:, None]})


def write_cifar10(folder: Path, rng) -> None:
    for name in (*BATCHES, "test_batch.bin"):
        write_records(folder / name, [(i,) for i in range(4)], pixels(rng, 4))


def write_cifar100(folder: Path, rng) -> None:
    for name in ("train.bin", "test.bin"):
        write_records(folder / name, [(i, 99 - i) for i in range(4)], pixels(rng, 4))


def write_svhn(folder: Path, rng) -> None:
    for name in SVHN_FILES:
        write_mat(folder / name, pixels(rng, 30), np.tile(np.arange(1, 11), 3))


WRITERS = {"cifar10": write_cifar10, "cifar100": write_cifar100, "svhn": write_svhn}


# The digits


def test_digits_are_the_known_ones():
    digits = load("digits")
    images = np.concatenate([digits.train.images, digits.test.images])
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    assert images.shape == (1797, 1, 8, 8)
    assert (images.min(), images.max(), images.sum()) == (0, 16, 561_718)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.train.images[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (digits.num_classes, digits.image_shape) == (10, (1, 8, 8))


def test_every_fifth_digit_is_a_test_image():
    file = resources.files("minisd.data") / "bundled" / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    digits = load("digits", "no/such/folder")
    np.testing.assert_array_equal(digits.test.images[:, 0], images[4::5])
    np.testing.assert_array_equal(digits.test.labels, labels[4::5])
    train = np.flatnonzero(np.arange(1797) % 5 != 4)
    np.testing.assert_array_equal(digits.train.images[:, 0], images[train])
    np.testing.assert_array_equal(digits.train.labels, labels[train])


def test_digits_are_those_of_scikit_learn():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load("digits")
    np.testing.assert_array_equal(digits.test.images[:, 0], original.images[4::5])
    np.testing.assert_array_equal(digits.test.labels, original.target[4::5])
    train = np.arange(1797) % 5 != 4
    np.testing.assert_array_equal(digits.train.images[:, 0], original.images[train])
    np.testing.assert_array_equal(digits.train.labels, original.target[train])


def test_digits_come_with_their_licence():
    text = (resources.files("minisd.data") / "bundled" / "LICENSE.txt").read_text("utf-8")
    for wanted in ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/", "Alpaydin"):
        assert wanted in text


# CIFAR


def test_a_cifar10_record_is_a_label_and_red_green_and_blue_planes(tmp_path, rng):
    write_cifar10(tmp_path, rng)
    record = rng.integers(0, 256, 3073, np.uint8)
    record[0] = 7
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(record.tobytes())
    found = load("cifar10", tmp_path)
    for split in (found.train[:1], found.test):
        assert split.labels.tolist() == [7]
        assert split.images.shape == (1, 3, 32, 32)
        for channel, row, column in np.ndindex(3, 32, 32):
            at = 1 + 1024 * channel + 32 * row + column
            assert split.images[0, channel, row, column] == record[at]


@pytest.mark.parametrize(
    ("labels", "wanted", "num_classes"), [("coarse", [19, 3], 20), ("fine", [99, 42], 100)]
)
def test_cifar100_has_coarse_and_fine_labels(tmp_path, rng, labels, wanted, num_classes):
    images = pixels(rng, 2)
    for name in ("train.bin", "test.bin"):
        write_records(tmp_path / name, [(19, 99), (3, 42)], images)
    found = load("cifar100", tmp_path, labels=labels)
    assert found.num_classes == num_classes
    for split in (found.train, found.test):
        assert split.labels.tolist() == wanted
        np.testing.assert_array_equal(split.images, images)


def test_cifar100_labels_are_fine_unless_asked_otherwise(tmp_path, rng):
    write_cifar100(tmp_path, rng)
    assert load("cifar100", tmp_path).train.labels.tolist() == [99, 98, 97, 96]


def test_other_labels_than_coarse_and_fine_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'fine' or 'coarse', not 'medium'"):
        load("cifar100", tmp_path, labels="medium")


@pytest.mark.parametrize("present", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_some_of_the_cifar10_batches_are_a_smaller_data_set(tmp_path, rng, present):
    images = {i: pixels(rng, i + 1) for i in present}
    for i in present:
        write_records(tmp_path / BATCHES[i], [(i,)] * (i + 1), images[i])
    write_records(tmp_path / "test_batch.bin", [(9,)], pixels(rng, 1))
    found = load("cifar10", tmp_path)
    np.testing.assert_array_equal(found.train.images, np.concatenate(list(images.values())))
    assert found.train.labels.tolist() == [i for i in present for _ in range(i + 1)]
    assert found.test.labels.tolist() == [9]


# SVHN


def test_svhn_axes_and_labels(tmp_path, rng):
    X = rng.integers(0, 256, (32, 32, 3, 10), np.uint8)
    y = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9])[:, None]
    for name in SVHN_FILES[:2]:
        savemat(tmp_path / name, {"X": X, "y": y})
    found = load("svhn", tmp_path)
    for split in (found.train, found.test):
        assert split.labels.tolist() == list(range(10))  # 10 is the digit 0
        assert split.images.shape == (10, 3, 32, 32)
        for image, channel in np.ndindex(10, 3):
            np.testing.assert_array_equal(split.images[image, channel], X[:, :, channel, image])


@pytest.mark.parametrize("with_extra", [False, True])
def test_the_extra_file_of_svhn_is_optional(tmp_path, rng, with_extra):
    write_svhn(tmp_path, rng)
    write_mat(tmp_path / "extra_32x32.mat", pixels(rng, 20), np.tile(np.arange(1, 11), 2))
    if not with_extra:
        (tmp_path / "extra_32x32.mat").unlink()
    found = load("svhn", tmp_path)
    assert len(found.train) == (50 if with_extra else 30)
    assert found.validation_rule == [(0, 30, 400), (30, 50, 200)][: 1 + with_extra]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("label_type", [np.uint8, np.float64])
def test_svhn_is_read_however_matlab_wrote_it(tmp_path, rng, compressed, label_type):
    images = pixels(rng, 10)
    for name in SVHN_FILES[:2]:
        savemat(
            tmp_path / name,
            {"X": images.transpose(2, 3, 1, 0), "y": np.arange(1, 11, dtype=label_type)[:, None]},
            do_compression=compressed,
        )
    found = load("svhn", tmp_path).train
    np.testing.assert_array_equal(found.images, images)
    assert found.labels.dtype.kind == "i"
    assert found.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_svhn_validation_is_drawn_per_class_from_each_file(tmp_path, rng):
    counts = {"train_32x32.mat": 7, "test_32x32.mat": 1, "extra_32x32.mat": 5}
    for name, count in counts.items():
        labels = rng.permutation(np.repeat(np.arange(1, 11), count))
        write_mat(tmp_path / name, pixels(rng, len(labels)), labels)
    found = load("svhn", tmp_path, per_class=(4, 3))
    train, validation = split_validation(found, rng)
    whole, kept, taken = (
        [image.tobytes() for image in s.images] for s in (found.train, train, validation)
    )
    assert len(set(whole)) == 120
    assert sorted(kept + taken) == sorted(whole)
    from_train = np.array([image in set(whole[:70]) for image in taken])
    assert np.bincount(validation.labels[from_train]).tolist() == [4] * 10
    assert np.bincount(validation.labels[~from_train]).tolist() == [3] * 10


# Where the files are


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_data_dir_is_the_folder_of_the_files_or_its_parent(tmp_path, rng, name, kind):
    folder = tmp_path / FOLDERS[name]
    folder.mkdir()
    WRITERS[name](folder, rng)
    assert load(name, kind(tmp_path)).digest() == load(name, kind(folder)).digest()


def test_an_unknown_data_set_is_refused():
    with pytest.raises(DataError, match=r"'mnist'.*digits, cifar10, cifar100, svhn"):
        load("mnist")


# Damaged and missing files


class Case(NamedTuple):
    """A damage to a good data set, and what the error must name: the file, and the place in it."""

    what: str
    data: str
    damage: Callable[[Path], object]
    says: tuple[str, ...]

    def message(self, folder: Path, rng) -> str:
        WRITERS[self.data](folder, rng)
        self.damage(folder)
        with pytest.raises(DataError) as caught:
            split_validation(load(self.data, folder), rng)
        return str(caught.value)


def resized(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, size)


def removed(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def filled(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def poked(name: str, at: int, value: int) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[at] = value
        (folder / name).write_bytes(content)

    return damage


def made_a_folder(name: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def halved(name: str) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def mat_with(name: str, **variables) -> Callable[[Path], object]:
    return lambda folder: savemat(folder / name, variables)


def nothing(folder: Path) -> None:
    pass


X = np.zeros((32, 32, 3, 20), np.uint8)
Y = np.tile(np.arange(1, 11), 2)[:, None]
MAT = "train_32x32.mat"
HDF5_MAT = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n".ljust(512)

CASES = [
    Case("truncated", "cifar10", resized("data_batch_2.bin", 4 * 3073 - 1), ("data_batch_2.bin",)),
    Case(
        "a byte more", "cifar10", resized("data_batch_2.bin", 4 * 3073 + 1), ("data_batch_2.bin",)
    ),
    Case("less than a record", "cifar10", resized("test_batch.bin", 3072), ("test_batch.bin",)),
    Case("empty", "cifar10", resized("data_batch_1.bin", 0), ("data_batch_1.bin",)),
    Case(
        "oversized",
        "cifar10",
        resized("data_batch_1.bin", 10_001 * 3073),
        ("data_batch_1.bin", "10001", "10000"),
    ),
    Case(
        "label 10 of 10",
        "cifar10",
        poked("data_batch_3.bin", 2 * 3073, 10),
        ("data_batch_3.bin", "label 10", "record 2", "byte 6146"),
    ),
    Case("no test file", "cifar10", removed("test_batch.bin"), ("test_batch.bin",)),
    Case("no batches", "cifar10", removed(*BATCHES), ("data_batch_1.bin",)),
    Case("folder for a batch", "cifar10", made_a_folder("data_batch_5.bin"), ("data_batch_5.bin",)),
    Case("folder for the test", "cifar10", made_a_folder("test_batch.bin"), ("test_batch.bin",)),
    Case("truncated", "cifar100", resized("train.bin", 3 * 3074 + 3073), ("train.bin",)),
    Case("records of 3,073 bytes", "cifar100", resized("test.bin", 3 * 3073), ("test.bin",)),
    Case("oversized", "cifar100", resized("test.bin", 10_001 * 3074), ("test.bin", "10001")),
    Case("empty", "cifar100", resized("train.bin", 0), ("train.bin",)),
    Case(
        "label 100 of 100",
        "cifar100",
        poked("test.bin", 3 * 3074 + 1, 100),
        ("test.bin", "label 100", "record 3", "byte 9223"),
    ),
    Case("no training file", "cifar100", removed("train.bin"), ("train.bin",)),
    Case("no test file", "cifar100", removed("test.bin"), ("test.bin",)),
    Case("folder for a file", "cifar100", made_a_folder("train.bin"), ("train.bin",)),
    Case("no training file", "svhn", removed(MAT), (MAT,)),
    Case("no test file", "svhn", removed("test_32x32.mat"), ("test_32x32.mat",)),
    Case("folder for a file", "svhn", made_a_folder(MAT), (MAT,)),
    Case("folder for the extra", "svhn", made_a_folder(SVHN_FILES[2]), (SVHN_FILES[2],)),
    Case("empty", "svhn", resized(MAT, 0), (MAT,)),
    Case("half of it", "svhn", halved(MAT), (MAT,)),
    Case("half of the extra", "svhn", halved(SVHN_FILES[2]), (SVHN_FILES[2],)),
    Case("web page", "svhn", filled(MAT, b"<!DOCTYPE html>" * 100), (MAT,)),
    Case("MATLAB 7.3", "svhn", filled(MAT, HDF5_MAT), (MAT,)),
    Case("no X", "svhn", mat_with(MAT, y=Y), (MAT, "X")),
    Case("no y", "svhn", mat_with(MAT, X=X), (MAT, "y")),
    Case("three axes", "svhn", mat_with(MAT, X=X[..., 0], y=Y[:1]), (MAT, "(32, 32, 3)")),
    Case("images first", "svhn", mat_with(MAT, X=X.T, y=Y), (MAT, "(20, 3, 32, 32)")),
    Case("full-size images", "svhn", mat_with(MAT, X=X[:, :31], y=Y), (MAT, "(32, 31, 3, 20)")),
    Case("float pixels", "svhn", mat_with(MAT, X=X / 255, y=Y), (MAT, "float64")),
    Case("label missing", "svhn", mat_with(MAT, X=X, y=Y[:-1]), (MAT, "20 images", "19 labels")),
    Case("label 0", "svhn", mat_with(MAT, X=X, y=Y - 1), (MAT, "label 0", "image 0")),
    Case("label 11", "svhn", mat_with(MAT, X=X, y=Y + 1), (MAT, "label 11", "image 9")),
    Case("label 1.5", "svhn", mat_with(MAT, X=X, y=Y + 0.5), (MAT, "label 1.5", "image 0")),
    Case("label nan", "svhn", mat_with(MAT, X=X, y=Y * np.nan), (MAT, "label nan", "image 0")),
    Case("labels in words", "svhn", mat_with(MAT, X=X, y=np.array(["one"] * 20)), (MAT,)),
    Case("labels in cells", "svhn", mat_with(MAT, X=X, y=Y.astype(object)), (MAT,)),
    Case("no images", "svhn", mat_with(MAT, X=X[..., :0], y=Y[:0]), (MAT,)),
    Case("few of a class", "svhn", nothing, ("class 0", "3 images", "400")),
]
all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.data}-{case.what}")


@all_cases
def test_damage_is_named_with_file_and_place(tmp_path, rng, case):
    message = case.message(tmp_path, rng)
    for part in case.says:
        assert part in message
    assert "\n" not in message


@all_cases
def test_the_message_says_what_to_do(tmp_path, rng, case):
    remedy = r"minisd data get|--data-dir|--limit|fetch|replace|move it|remove it|unpack"
    message = case.message(tmp_path, rng).replace(str(tmp_path), "")
    assert re.search(remedy, message), f"no remedy in: {message}"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_missing_folder_is_explained(tmp_path, name):
    with pytest.raises(DataError, match=rf"--data-dir.*minisd data get {name}"):
        load(name, tmp_path / "nowhere")


def test_svhn_without_scipy_says_what_to_install(tmp_path, rng, monkeypatch):
    write_svhn(tmp_path, rng)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"pip install 'minisd\[svhn\]'"):
        load("svhn", tmp_path)


def test_a_matlab_file_is_parsed_only_if_it_is_official_or_trusted(tmp_path, rng, monkeypatch):
    """SciPy's parser is in C: one flipped bit of an uncompressed file can crash Python."""
    write_svhn(tmp_path, rng)
    whole = {name: (tmp_path / name).read_bytes() for name in SVHN_FILES}
    monkeypatch.delenv("MINISD_TRUST_DATA")
    monkeypatch.setattr("scipy.io.whosmat", lambda stream: pytest.fail("it was parsed"))
    with pytest.raises(DataError, match=f"{MAT} is not the official file.*MINISD_TRUST_DATA=1"):
        load("svhn", tmp_path)
    monkeypatch.undo()
    monkeypatch.delenv("MINISD_TRUST_DATA", raising=False)
    remotes = tuple(
        dataclasses.replace(remote, md5=hashlib.md5(whole[remote.name]).hexdigest())
        for remote in official.SOURCES["svhn"].remotes
    )
    source = dataclasses.replace(official.SOURCES["svhn"], remotes=remotes)
    monkeypatch.setitem(official.SOURCES, "svhn", source)
    found = load("svhn", tmp_path)
    assert len(found.test) == 30
    assert found.remark == ""
    monkeypatch.setenv("MINISD_TRUST_DATA", "1")
    (tmp_path / MAT).write_bytes(whole[SVHN_FILES[1]])
    assert MAT in load("svhn", tmp_path).remark


@pytest.mark.parametrize("name", FOLDERS)
def test_a_path_that_no_system_can_open_is_a_data_error(name):
    with pytest.raises(DataError):
        load(name, "x" * 300)


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "."), ("cifar10", "test_batch.bin"), ("cifar100", "train.bin"), ("svhn", MAT)],
)
def test_what_may_not_be_read_is_a_data_error(tmp_path, rng, name, file):
    folder = tmp_path / "data"
    folder.mkdir()
    WRITERS[name](folder, rng)
    mode = (folder / file).stat().st_mode
    (folder / file).chmod(0)
    try:
        if os.access(folder / file, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match=re.escape(str(folder / file))):
            load(name, folder)
    finally:
        (folder / file).chmod(mode)


def test_svhn_cut_anywhere_is_a_data_error(tmp_path, rng):
    write_svhn(tmp_path, rng)
    whole = (tmp_path / MAT).read_bytes()
    for size in [*range(0, 260, 20), *range(260, len(whole) - 8, 9973)]:
        (tmp_path / MAT).write_bytes(whole[:size])
        with pytest.raises(DataError, match=MAT):
            load("svhn", tmp_path)


# Missing, damaged, and too little memory

FIRST = {"cifar10": "data_batch_1.bin", "cifar100": "train.bin", "svhn": MAT}


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_and_damaged_are_two_sentences(tmp_path, rng, name):
    """The same ones for every data set."""
    WRITERS[name](tmp_path, rng)
    path, get = tmp_path / FIRST[name], f"'minisd data get {name}'"
    for other in BATCHES[1:] if name == "cifar10" else ():
        (tmp_path / other).unlink()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError) as caught:
        load(name, tmp_path)
    assert re.search(f"^{path} is damaged.*move it away.*{get}$", str(caught.value))
    path.unlink()
    with pytest.raises(DataError) as caught:
        load(name, tmp_path)
    assert re.search(f"{path.name}.*fetch.*{get}$", str(caught.value))
    assert not re.search("is damaged|move it away", str(caught.value))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cifar10", "frombuffer"),
        ("cifar10", "concatenate"),
        ("cifar100", "frombuffer"),
        ("svhn", "ascontiguousarray"),
        ("svhn", "concatenate"),
    ],
)
def test_too_little_memory_is_a_third_sentence(tmp_path, rng, monkeypatch, name, function):
    def no_memory(*arguments, **options):
        raise MemoryError

    WRITERS[name](tmp_path, rng)
    monkeypatch.setattr(np, function, no_memory)
    with pytest.raises(OutOfMemoryError, match=f"too little memory to read {tmp_path}") as caught:
        load(name, tmp_path)
    assert not re.search("is damaged|move it away|fetch", str(caught.value))


LITTLE_MEMORY = """
import resource, sys
from minisd.data import load
from minisd.errors import OutOfMemoryError

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20,) * 2)
try:
    load(sys.argv[1], sys.argv[2])
except OutOfMemoryError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_process_with_too_little_memory_says_so(tmp_path, rng, name):
    """The files are larger than its memory; they are mostly holes and take no room on the disk."""
    WRITERS[name](tmp_path, rng)
    if name == "svhn":
        write_mat(tmp_path / MAT, np.zeros((20_000, 3, 32, 32), np.uint8), np.ones(20_000))
    else:
        records = {"cifar10": 10_000 * 3073, "cifar100": 50_000 * 3074}[name]
        for file in BATCHES if name == "cifar10" else ["train.bin"]:
            resized(file, records)(tmp_path)
    line = [sys.executable, "-c", LITTLE_MEMORY, name, str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.stderr == ""
    assert f"too little memory to read {tmp_path}" in done.stdout


# No pickles


def test_nothing_is_read_with_numpy_load():
    """It may unpickle, and it takes the memory that a file asks for: see `minisd.readers`."""
    for path in Path(minisd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("np.load", "numpy.load"), path.name


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_pickle_in_place_of_a_file_is_not_executed(tmp_path, rng, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WRITERS[name](tmp_path, rng)
    for path in list(tmp_path.iterdir()):
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        load(name, tmp_path)
    assert not Path("exploded").exists()


# What every data set must be

GOOD = Split(np.zeros((3, 1, 4, 4), np.uint8), np.arange(3))


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (Split(np.zeros((3, 4, 4), np.uint8), np.arange(3)), r"\(N, C, H, W\)"),
        (Split(np.zeros((0, 1, 4, 4), np.uint8), np.arange(0)), "no images"),
        (Split(np.zeros((3, 1, 4, 0), np.uint8), np.arange(3)), "no images"),
        (Split(GOOD.images, np.arange(4)), r"3 images but labels of shape \(4,\)"),
        (Split(GOOD.images, np.zeros((3, 1), int)), "3 images but labels"),
        (Split(GOOD.images, np.arange(3.0)), "integers"),
        (Split(GOOD.images.astype(np.int64), np.arange(3)), "int64"),
        (Split(GOOD.images, np.array([0, -1, 2])), "label -1 of image 1"),
        (Split(GOOD.images, np.array([0, 1, 3])), "label 3 of image 2"),
        (Split(np.full((3, 1, 4, 4), np.nan), np.arange(3)), "image 0 .*not finite"),
        (Split(GOOD.images[..., :2], np.arange(3)), r"\(1, 4, 2\)"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(split, says):
    for train, test in ((GOOD, split), (split, GOOD)):
        with pytest.raises(DataError, match=f"mine.*{says}"):
            Dataset("mine", train, test, num_classes=3)


def test_the_digest_knows_other_data():
    def digest(train: Split, test: Split) -> str:
        return Dataset("mine", train, test, num_classes=3).digest()

    changed = Split(GOOD.images.copy(), GOOD.labels)
    changed.images[1, 0, 2, 3] = 1
    relabelled = Split(GOOD.images, np.array([0, 1, 1]))
    shorter = GOOD[:2]
    pairs = [(a, b) for a in (GOOD, changed, relabelled, shorter) for b in (GOOD, changed)]
    assert len({digest(*pair) for pair in pairs}) == len(pairs)
    assert digest(GOOD, GOOD) == digest(Split(GOOD.images.copy(), GOOD.labels.copy()), GOOD)
