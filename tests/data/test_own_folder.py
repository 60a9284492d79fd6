"""Images of one's own in folders of PNG and JPEG files."""

import os
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from minisd.data import load, own_folder
from minisd.errors import DataError, OutOfMemoryError

Image = pytest.importorskip("PIL.Image")


def draw(path: Path, seed: int = 0, mode: str = "RGB", size=(8, 8), **options) -> np.ndarray:
    """Write an image of noise, and return its pixels."""
    shape = (*size[::-1], len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes(mode, size, pixels.tobytes()).save(path, **options)
    return pixels


def fill(folder: Path, names=("cat", "dog"), count: int = 3, **options) -> None:
    for number, name in enumerate(names):
        for i in range(count):
            draw(folder / name / f"{i}.png", seed=10 * number + i, **options)


def why(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(str(folder))
    return str(caught.value)


def test_class_folders_are_numbered_by_name(tmp_path):
    fill(tmp_path / "photos", ("b", "a", "B", "10", "9"))
    found = load(str(tmp_path / "photos"))
    assert found.class_names == ("10", "9", "B", "a", "b")
    pixels = {}
    for number, name in enumerate(found.class_names):
        for path in (tmp_path / "photos" / name).iterdir():
            pixels[np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes()] = number
    for part in (found.train, found.validation, found.test):
        assert part.images.shape == (5, 3, 8, 8)
        assert part.images.dtype == np.uint8
        for image, label in zip(part.images, part.labels, strict=True):
            assert pixels.pop(image.tobytes()) == label
    assert not pixels


@pytest.mark.parametrize("val", ["val", "validation", None])
def test_parts_are_taken_as_they_are(tmp_path, val):
    wanted = {"train": 4, "test": 2} | ({val: 3} if val else {})
    for name, count in wanted.items():
        fill(tmp_path / name, count=count)
    found = load(str(tmp_path))
    assert found.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    assert (found.validation is None) == (val is None)
    if found.validation is not None:
        assert found.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]
    first = np.asarray(Image.open(tmp_path / "train" / "dog" / "1.png"))
    np.testing.assert_array_equal(found.train.images[5], first.transpose(2, 0, 1))


def test_jpeg_and_png_by_any_spelling(tmp_path):
    fill(tmp_path, count=2)
    for name in ("x.JPG", "y.jpeg", "z.PNG"):
        for label in ("cat", "dog"):
            draw(tmp_path / label / name)
    found = load(str(tmp_path))
    assert len(found.train) + len(found.validation) + len(found.test) == 10


def test_grey_images_have_one_channel_and_among_others_three(tmp_path):
    fill(tmp_path, mode="L")
    found = load(str(tmp_path))
    assert found.image_shape == (1, 8, 8)
    assert "grey" not in found.remark
    draw(tmp_path / "dog" / "colour.png")
    found = load(str(tmp_path))
    assert found.image_shape == (3, 8, 8)
    assert f"6 files, such as {Path('cat/0.png')}, are grey, read as colour" in found.remark
    equal = [
        (i[0] == i).all() for s in (found.train, found.validation, found.test) for i in s.images
    ]
    assert sorted(equal) == [False] + [True] * 6


def test_palettes_and_opaque_images_are_read_as_what_they_show(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, (8, 8, 1), np.uint8) * np.uint8([255, 128, 9])
    opaque = np.concatenate([pixels, np.full((8, 8, 1), 255, np.uint8)], axis=2)
    Image.fromarray(pixels).quantize(4).save(tmp_path / "p.png")
    Image.fromarray(opaque).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0] > 0).save(tmp_path / "1.png")
    for name in ("p", "a"):
        np.testing.assert_array_equal(own_folder.decode(tmp_path / f"{name}.png"), pixels)
    grey = own_folder.decode(tmp_path / "1.png")
    np.testing.assert_array_equal(grey[..., 0], pixels[..., 0])


def test_a_camera_that_was_held_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    pixels = draw(tmp_path / "turned.png", size=(8, 12), exif=exif)
    found = own_folder.decode(tmp_path / "turned.png")
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


def test_hidden_files_are_left_out_and_others_are_named(tmp_path):
    fill(tmp_path)
    for name in (".DS_Store", "cat/.hidden.png", "cat/.ipynb_checkpoints/0.png", "__MACOSX/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert load(str(tmp_path)).remark == "split 80/10/10, class by class, by seed 1"
    (tmp_path / "cat" / "notes.txt").touch()
    assert f"{Path('cat/notes.txt')} is no image, left out" in load(str(tmp_path)).remark
    (tmp_path / "labels.csv").touch()
    assert "2 files, such as" in load(str(tmp_path)).remark


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_odd_names_of_files_are_told_without_harm(tmp_path):
    fill(tmp_path)
    (tmp_path / "cat" / "two\nlines \x1b[31m \udcff.txt").touch()
    assert "cat/two lines  [31m  .txt is no image" in load(str(tmp_path)).remark
    (tmp_path / "cat" / "a\x1b.png").touch()
    assert f"{tmp_path}/cat/a .png is damaged" in why(tmp_path)


def test_too_many_images_for_the_memory_are_known_before_they_are_read(tmp_path, monkeypatch):
    fill(tmp_path)

    def no_memory(shape, dtype):
        assert shape == (6, 3, 8, 8)
        raise MemoryError

    monkeypatch.setattr(own_folder.np, "empty", no_memory)
    with pytest.raises(OutOfMemoryError, match="too little memory to read"):
        load(str(tmp_path))


def test_a_class_of_trains_is_a_class(tmp_path):
    fill(tmp_path, ("plane", "train"))
    assert load(str(tmp_path)).class_names == ("plane", "train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_links_are_followed(tmp_path):
    fill(tmp_path / "real")
    (tmp_path / "linked" / "cat").mkdir(parents=True)
    (tmp_path / "linked" / "dog").symlink_to(tmp_path / "real" / "dog")
    for i in range(3):
        (tmp_path / "linked" / "cat" / f"{i}.png").symlink_to(tmp_path / "real" / f"cat/{i}.png")
    assert load(str(tmp_path / "linked")).digest() == load(str(tmp_path / "real")).digest()
    (tmp_path / "linked" / "cat" / "4.png").symlink_to("nowhere")
    assert "a link to nowhere" in why(tmp_path / "linked")


def bomb(path: Path) -> None:
    """Write a PNG of few bytes that declares 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    path.write_bytes(png + chunk(b"IEND", b""))


def cut(path: Path, start: int = 0, end: int = -20) -> None:
    path.write_bytes(path.read_bytes()[start:end])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 1  # in the pixels, which have a checksum
    path.write_bytes(content)


def save16(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)


WRONG = {
    "truncated": (lambda f: cut(f / "cat/0.png"), "cat/0.png is damaged"),
    "empty": (lambda f: cut(f / "cat/0.png", 0, 0), "neither PNG nor JPEG"),
    "a flipped bit": (lambda f: flip(f / "cat/0.png"), "cat/0.png is damaged"),
    "another format": (lambda f: cut(f / "cat/0.png", 5), "neither PNG nor JPEG"),
    "webp": (lambda f: (f / "cat/x.webp").touch(), "x.webp is neither PNG nor JPEG: convert"),
    "a bomb": (lambda f: bomb(f / "dog/1.png"), "dog/1.png has more than 4,194,304 pixels"),
    "sizes": (
        lambda f: draw(f / "dog/1.png", size=(8, 9)),
        r"cat/0.png is 8 pixels wide and 8 high, but .*dog/1.png is 8 wide and 9 high.*resize",
    ),
    "16 bits": (lambda f: save16(f / "dog/1.png"), "mode I;16, which"),
    "cmyk": (lambda f: draw(f / "dog/1.jpg", mode="CMYK"), "mode CMYK.*convert"),
    "transparent": (lambda f: draw(f / "dog/1.png", mode="RGBA"), "transparent pixels"),
    "grey, transparent": (lambda f: draw(f / "dog/1.png", mode="LA"), "transparent pixels"),
    "an empty class": (lambda f: (f / "emu").mkdir(), "emu has no PNG or JPEG"),
    "deeper": (lambda f: fill(f / "dog"), "dog/cat is a folder inside"),
    "a pipe": (lambda f: os.mkfifo(f / "dog/x.png"), "not a regular file"),
    "train alone": (lambda f: fill(f / "train"), "but no test"),
    "beside": (lambda f: (fill(f / "train"), fill(f / "test")), "cat beside them"),
    "one class": (lambda f: [p.unlink() for p in (f / "dog").iterdir()] and (f / "dog").rmdir(),
                  "at least two classes"),
    "a small class": (lambda f: (f / "dog/1.png").unlink(), r"class 1 \(dog\) has 2 images"),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, case):
    fill(tmp_path)
    change, says = WRONG[case]
    change(tmp_path)
    message = why(tmp_path)
    assert re.search(says, message), message
    assert str(tmp_path) in message


def test_parts_have_the_same_classes(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", ("cat", "cow"))
    assert "the test images have a class 'cow', but the train images do not" in why(tmp_path)
    fill(tmp_path / "train", ("cow",))
    assert "the train images have a class 'dog', but the test images do not" in why(tmp_path)
    for name in ("val", "validation"):
        fill(tmp_path / name)
    assert "both val and validation" in why(tmp_path)


def test_a_folder_without_classes(tmp_path):
    assert "no folder in it" in why(tmp_path)
    draw(tmp_path / "1.png")
    assert "a folder of its own, such as" in why(tmp_path)
    (tmp_path / "data_batch_1.bin").touch()
    assert "use --data cifar10" in why(tmp_path)


def test_without_pillow_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'minisd[images]'" in why(tmp_path)
