"""MATLAB files, read with NumPy alone: the same arrays as with SciPy, and no file that crashes."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
from scipy.io import loadmat, savemat

from minisd.data.matlab import Mat
from minisd.errors import DataError
from minisd.readers import Kind

KIND = Kind("a MATLAB file", DataError, "fetch it", "move it away")
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
BY_MATLAB = sorted((Path(scipy.io.matlab.__file__).parent / "tests" / "data").glob("*_[67].*.mat"))


def read(path: Path) -> dict[str, np.ndarray]:
    with KIND.reading(path) as file:
        mat = Mat(file)
        arrays = {name: mat[name] for name in mat.declared}
        assert mat.declared == {name: (a.shape, a.dtype) for name, a in arrays.items()}
        return arrays


def tag(kind: int, size: int, order: str = "<") -> bytes:
    return struct.pack(order + "II", kind, size)


def element(kind: int, content: bytes, order: str = "<") -> bytes:
    return tag(kind, len(content), order) + content + bytes(-len(content) % 8)


def matrix(
    shape: tuple[int, ...], numbers: bytes, kind: int = 2, of_class: int = 9, order: str = "<"
) -> bytes:
    """A variable X as MATLAB writes it; by default of bytes, stored as bytes."""
    extents = struct.pack(f"{order}{len(shape)}i", *shape)
    parts = (6, struct.pack(order + "II", of_class, 0)), (5, extents), (1, b"X"), (kind, numbers)
    return element(14, b"".join(element(*part, order) for part in parts), order)


def packed(variable: bytes) -> bytes:
    content = zlib.compress(variable)
    return tag(15, len(content)) + content


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_that_scipy_wrote(tmp_path, rng, compressed):
    arrays = {
        f"{dtype}_{len(shape)}": rng.integers(0, 100, shape).astype(dtype)
        for dtype in DTYPES
        for shape in ((1, 1), (3, 0), (2, 3), (4, 1, 5, 2))
    }
    savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    found = read(tmp_path / "a.mat")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_variables_of_other_types_are_left_out(tmp_path):
    others = {"word": "one", "cell": np.array([1, "a"], object), "struct": {"a": 1}, "z": 1j}
    savemat(tmp_path / "a.mat", {**others, "X": np.eye(2), "yes": np.array([True])})
    assert list(read(tmp_path / "a.mat")) == ["X"]


@pytest.mark.skipif(not BY_MATLAB, reason="this SciPy comes without its tests")
def test_files_that_matlab_wrote():
    """SciPy has some, of MATLAB 6 and 7 on three systems."""
    compared = 0
    for path in BY_MATLAB:
        if "hdf5" in path.name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = loadmat(path, mat_dtype=True)
        for name, array in read(path).items():
            if name:  # a function's workspace has none
                native = theirs[name].astype(theirs[name].dtype.newbyteorder("="))
                np.testing.assert_array_equal(array, native, strict=True)
                compared += 1
    assert compared >= 10


@pytest.mark.parametrize(("order", "mark"), [("<", b"\0\1IM"), (">", b"\1\0MI")])
def test_numbers_of_either_byte_order_stored_in_a_smaller_type(tmp_path, order, mark):
    numbers = np.arange(-3, 3).reshape(2, 3)
    stored = numbers.astype(order + "i2").tobytes("F")
    (tmp_path / "a.mat").write_bytes(HEADER[:124] + mark + matrix((2, 3), stored, 3, 6, order))
    np.testing.assert_array_equal(read(tmp_path / "a.mat")["X"], numbers.astype(float), strict=True)


BAD = {
    "empty": (b"", "128 bytes too early"),
    "only a header": (HEADER[:127], "1 bytes too early"),
    "a web page": (b"<!DOCTYPE html>".ljust(500), "does not begin as a MATLAB file"),
    "version 7.3": (HEADER[:125] + b"\2IM" + bytes(100), "another version"),
    "zeros after the header": (HEADER + bytes(10_000), "kind 0"),
    "a tag is cut": (HEADER + tag(14, 100)[:5], "3 bytes too early"),
    "a variable is cut": (HEADER + matrix((2, 3), bytes(6))[:-1], "is cut"),
    "more numbers": (HEADER + matrix((2, 3), bytes(7)), r"its shape \(2, 3\)"),
    "fewer numbers": (HEADER + matrix((2, 3), bytes(5)), r"its shape \(2, 3\)"),
    "a negative extent": (HEADER + matrix((-2, -3), bytes(6)), r"\(-2, -3\)"),
    "one extent": (HEADER + matrix((6,), bytes(6)), r"\(6,\)"),
    "fractions in an array of bytes": (HEADER + matrix((2, 1), bytes(8), 7), "float32"),
    "numbers of no kind": (HEADER + matrix((2, 3), bytes(6), 99), "99"),
    "the same name twice": (HEADER + matrix((2, 3), bytes(6)) * 2, "the same name"),
    "a thousand variables": (HEADER + element(14, element(6, bytes(8))) * 1001, "more than 1000"),
    "no zlib": (HEADER + element(15, b"x" * 80), "header"),
    "packed twice": (HEADER + packed(packed(matrix((2, 3), bytes(6)))), "kind 15"),
    "packed and longer": (HEADER + packed(matrix((2, 3), bytes(6)) + bytes(99)), "longer than"),
    "packed and cut": (HEADER + packed(matrix((2, 3), bytes(6))[:-8]), "too early"),
    "a wrong checksum": (HEADER + packed(matrix((2, 3), bytes(6)))[:-1] + b"?", "incorrect data"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_good_file_is_refused(tmp_path, what):
    content, says = BAD[what]
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=f"is damaged.*{says}.*move it away"):
        read(tmp_path / "a.mat")


def test_no_memory_is_taken_for_what_is_declared(tmp_path):
    """A gigabyte, say: shapes are known, and can be refused, before."""
    content = matrix((2**15, 2**15), bytes(2**10))
    content = content.replace(tag(2, 2**10), tag(2, 2**30)).replace(
        tag(14, len(content) - 8), tag(14, 2**30 + 100)
    )
    (tmp_path / "a.mat").write_bytes(HEADER + packed(content))
    with KIND.reading(tmp_path / "a.mat") as file:
        assert Mat(file).declared["X"][0] == (2**15, 2**15)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_bit_is_a_sentence_or_an_array(tmp_path, rng, compressed):
    """SciPy's reader of uncompressed files could be killed by some of these."""
    buffer, path = io.BytesIO(), tmp_path / "a.mat"
    arrays = {"X": rng.integers(0, 256, (2, 3, 2, 4), np.uint8), "y": np.arange(4.0)[:, None]}
    savemat(buffer, arrays, do_compression=compressed)
    whole = bytearray(buffer.getvalue())
    for bit in range(8 * 116, 8 * len(whole), 5):  # before that is a comment
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        whole[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(DataError):
            found = read(path)
            assert sum(array.size for array in found.values()) <= 52
            if compressed and found.keys() == arrays.keys():  # zlib has a checksum
                for name, array in arrays.items():
                    np.testing.assert_array_equal(found[name], array)
