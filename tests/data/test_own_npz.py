"""Images of one's own in an NPZ file: which arrays are taken, and what is said of others."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minisd.data import load, split_validation
from minisd.data.by_class import in_turn, tenths
from minisd.data.own_npz import image_axes
from minisd.errors import DataError


def made(count: int, classes: int = 2, shape=(3, 8, 8), seed: int = 0):
    """Return ``count`` images of each class, sorted by class, and their labels."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (count * classes, *shape), np.uint8),
        np.repeat(np.arange(classes), count),
    )


def saved(folder: Path, **arrays) -> Path:
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def why(path: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(str(path), **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


# The axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 28, 28), "NHW"),
        ((9, 3, 28, 28), "NCHW"),
        ((9, 1, 28, 28), "NCHW"),
        ((9, 28, 28, 3), "NHWC"),
        ((9, 28, 28, 1), "NHWC"),
        ((9, 2, 28, 28), "NCHW"),
        ((9, 28, 28, 4), "NCHW"),  # the other case
        ((9, 28, 28, 2), "NCHW"),
        ((9, 2, 28, 3), "NHWC"),
    ],
)
def test_four_axes_end_in_channels_if_only_the_last_can_be_channels(shape, axes):
    assert image_axes(shape, "images") == axes


@pytest.mark.parametrize("shape", [(9, 3, 8, 3), (9, 1, 8, 3), (9, 3, 8, 1), (9, 1, 1, 1)])
def test_two_orders_that_both_fit_are_refused(shape):
    with pytest.raises(DataError, match=r"may be \(N, C, H, W\) or \(N, H, W, C\)"):
        image_axes(shape, "images")


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_order_of_axes_gives_the_same_images(tmp_path, order):
    images, labels = made(10)
    wanted = load(str(saved(tmp_path, images=images, labels=labels)))
    last = np.asarray(images.transpose(0, 2, 3, 1), order=order)
    found = load(str(saved(tmp_path, images=last, labels=labels)))
    assert wanted.digest() == found.digest()
    assert found.image_shape == (3, 8, 8)
    assert found.train.images.dtype == np.uint8
    grey = [images[:, 0], images[:, :1], images[:, 0][..., None]]
    digests = {load(str(saved(tmp_path, images=i, labels=labels))).digest() for i in grey}
    assert len(digests) == 1


# One set is split


def test_one_set_is_split_class_by_class(tmp_path):
    images, labels = made(40, classes=3)
    found = load(str(saved(tmp_path, images=images, labels=labels[:, None])))  # (N, 1), too
    parts = (found.train, found.validation, found.test)
    assert [np.bincount(p.labels).tolist() for p in parts] == [[32] * 3, [4] * 3, [4] * 3]
    of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    seen = [(i.tobytes(), n) for p in parts for i, n in zip(p.images, p.labels, strict=True)]
    assert sorted(seen) == sorted(of.items())  # each image once, with its own label
    assert (found.name, found.num_classes) == ("mine", 3)
    assert "split 80/10/10" in found.remark


def test_the_seed_decides_the_split(tmp_path):
    images, labels = made(30)
    path = str(saved(tmp_path, images=images, labels=labels))
    digests = [load(path, seed=seed).digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert load(path).digest() == digests[0]


@pytest.mark.parametrize(
    ("count", "parts"),
    [(3, [1, 1, 1]), (14, [12, 1, 1]), (15, [11, 2, 2]), (100, [80, 10, 10])],
)
def test_a_tenth_is_rounded_and_at_least_one(rng, count, parts):
    labels = np.repeat([0, 1], [count, 30])
    found = tenths(labels, 2, rng, of="x")
    assert [int((labels[part] == 0).sum()) for part in found] == parts
    assert sorted(np.concatenate(found)) == list(range(count + 30))


def test_every_image_may_come_into_every_part(rng):
    counts = np.zeros((3, 10))
    for _ in range(600):
        for part, members in enumerate(tenths(np.zeros(10, int), 2, rng, of="x")):
            counts[part, members] += 1
    assert np.abs(counts[1:] - 60).max() < 35  # 4.7 deviations of a binomial number


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_that_is_too_small_to_split_is_named(tmp_path, count):
    images, labels = made(30)
    labels[:count] = 2
    message = why(saved(tmp_path, images=images, labels=labels))
    assert f"class 2 has {count} image" in message
    assert "at least 3" in message


# Parts are taken as they are


def parts_of(**named):
    return {f"{name}_{what}": a for name, both in named.items() for what, a in both.items()}


def part(count: int, seed: int = 0, **options):
    images, labels = made(count, seed=seed, **options)
    return {"images": images, "labels": labels}


@pytest.mark.parametrize("name", ["val", "validation"])
def test_parts_are_taken_as_they_are(tmp_path, rng, name):
    train, test, validation = part(6), part(2, 1), part(3, 2)
    path = saved(tmp_path, **parts_of(train=train, test=test, **{name: validation}))
    found = load(str(path))
    for split, wanted in ((found.train, train), (found.test, test)):
        np.testing.assert_array_equal(split.images, wanted["images"])
        np.testing.assert_array_equal(split.labels, wanted["labels"])
    state = rng.bit_generator.state
    train_split, validation_split = split_validation(found, rng)
    assert train_split is found.train
    np.testing.assert_array_equal(validation_split.images, validation["images"])
    assert rng.bit_generator.state == state  # nothing was drawn
    changed = load(str(saved(tmp_path, **parts_of(train=train, test=test, val=part(3, 3)))))
    assert changed.digest() != found.digest()


def test_without_validation_images_a_tenth_of_each_class_validates(tmp_path, rng):
    found = load(str(saved(tmp_path, **parts_of(train=part(20), test=part(2)))))
    train, validation = split_validation(found, rng)
    assert np.bincount(train.labels).tolist() == [18, 18]
    assert np.bincount(validation.labels).tolist() == [2, 2]
    assert "a tenth of each class" in found.remark


def test_a_limit_takes_the_first_of_each_class(tmp_path, rng):
    found = load(str(saved(tmp_path, **parts_of(train=part(20), test=part(2))))).limited(10)
    assert np.bincount(found.train.labels).tolist() == [5, 5]
    np.testing.assert_array_equal(found.train.images, made(20)[0][[*range(5), *range(20, 25)]])
    with pytest.raises(DataError, match="a --limit of at least 2"):
        found.limited(1)
    with pytest.raises(DataError, match="class 0 has 1 image"):
        split_validation(found.limited(2), rng)
    assert in_turn(np.array([1, 1, 1, 1, 0]), 3).tolist() == [0, 1, 4]


# What is refused

IMAGES, LABELS = made(10)
REFUSED = {
    "no labels": ({"images": IMAGES}, "but no labels"),
    "no images": ({"labels": LABELS}, "but no images"),
    "nothing": ({}, "no arrays"),
    "a name": ({"images": IMAGES, "lables": LABELS}, "did you mean 'labels'"),
    "names of Keras": ({"x_train": IMAGES, "y_train": LABELS}, "train_images, train_labels"),
    "one more": ({"images": IMAGES, "labels": LABELS, "ids": LABELS}, "an array 'ids'"),
    "train only": (parts_of(train=part(5)), "but no test_images"),
    "both": (
        {"images": IMAGES, "labels": LABELS, **parts_of(train=part(5))},
        "either images and labels, or train_",
    ),
    "floats": ({"images": IMAGES / 255, "labels": LABELS}, r"255 \* images"),
    "int64": ({"images": IMAGES.astype(int), "labels": LABELS}, r"images\.astype"),
    "two axes": ({"images": IMAGES[:, 0, 0], "labels": LABELS}, r"the shape is \(20, 8\)"),
    "both orders": ({"images": IMAGES[..., :3], "labels": LABELS}, "pad the images"),
    "no image": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no images in it"),
    "no pixel": ({"images": IMAGES[:, :, :0], "labels": LABELS}, "no images in it"),
    "other number": ({"images": IMAGES, "labels": LABELS[1:]}, "one label for each image"),
    "one-hot": ({"images": IMAGES, "labels": np.eye(2, dtype=int)[LABELS]}, "one label for each"),
    "float labels": ({"images": IMAGES, "labels": LABELS + 0.5}, r"labels\.astype\(int\)"),
    "from -1": ({"images": IMAGES, "labels": LABELS - 1}, "image 0 has label -1"),
    "from 1": ({"images": IMAGES, "labels": LABELS + 1}, "no training image has label 0"),
    "a gap": ({"images": IMAGES, "labels": LABELS * 2}, "no training image has label 1"),
    "far": ({"images": IMAGES, "labels": LABELS.astype("u8") * 2**63}, "go up to 92233720368547"),
    "one class": ({"images": IMAGES, "labels": LABELS * 0}, "at least two classes"),
    "new in test": (
        parts_of(train=part(5), test=part(5, classes=3)),
        "no training image has label 2",
    ),
    "sizes": (parts_of(train=part(5), test=part(5, shape=(3, 9, 9))), "all must have one shape"),
    "strings": ({"images": IMAGES, "labels": np.array(["cat"] * 20)}, "an array of <U3"),
    "objects": ({"images": IMAGES, "labels": np.array([None] * 20)}, "an array of object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, case):
    arrays, says = REFUSED[case]
    message = why(saved(tmp_path, **arrays))
    assert re.search(says, message), message


def test_pickles_are_not_opened(tmp_path):
    """An array of objects is a pickle, which can run anything."""
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (ran,))

    path = saved(tmp_path, images=IMAGES, labels=np.array([Trap()] * 20))
    assert "numpy.savez" in why(path)
    assert not ran.exists()
    np.load(path, allow_pickle=True)["labels"]
    assert ran.exists()  # the trap was one


def test_a_compressed_file_is_read_and_a_bomb_is_not(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(
        path, images=np.repeat(IMAGES[:, :, :1, :1], 8, 2).repeat(8, 3), labels=LABELS
    )
    assert len(load(str(path)).train) == 16
    packed = io.BytesIO()
    np.lib.format.write_array(packed, np.zeros((4000, 32, 32), np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", packed.getvalue())
    assert "more than it can have" in why(path)


def test_no_memory_is_taken_for_images_that_are_only_declared(tmp_path):
    packed = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        packed, {"descr": "|u1", "fortran_order": False, "shape": (1000, 32, 32)}
    )
    path = saved(tmp_path, labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", packed.getvalue())
    assert "'images' is shorter or longer than declared" in why(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", bytes(1000)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    assert "write it with numpy.savez" in why(tmp_path / "mine.npz")


def test_a_file_that_is_not_there(tmp_path):
    assert "check the path given with --data" in why(tmp_path / "mine.npz")
    with pytest.raises(DataError, match=r"unknown data set 'mine'.*\.npz file"):
        load("mine")
