"""Reading a file: whatever is wrong with it becomes one sentence with its name and what to do.

All files that minisd reads are read here. A damaged file can make a parser raise almost anything,
so every error inside the ``with`` block of `Kind.reading` counts as damage, except three: the file
is missing, it cannot be opened, or there is too little memory. What a file declares (the shapes of
its arrays, say) is compared with what is wanted before memory is taken for it.
"""

import hashlib
import json
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from minisd.errors import OutOfMemoryError, UserError
from minisd.files import patiently

Declared = dict[str, tuple[tuple[int, ...], np.dtype]]
"""Arrays of a file by name: (shape, dtype)."""

LONGEST_NUMBER = 40
"""Digits of a whole number: the state of a random generator, of 128 bits, has up to 39."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name : str
        With its article, such as "a checkpoint".
    error : class
        What to raise.
    if_missing, if_damaged : str
        What the user can do.
    """

    name: str
    error: type[UserError]
    if_missing: str
    if_damaged: str

    @contextmanager
    def reading(self, path: Path) -> Iterator["Contents"]:
        """Open ``path`` for reading. Contents are read *and* checked inside the block.

        Raises
        ------
        OutOfMemoryError, UserError
            As for `checking`.
        """
        with self.checking(path):
            if not stat.S_ISREG(os.stat(path).st_mode):
                what = "a folder" if path.is_dir() else "not a regular file"
                raise self.error(
                    f"{path} is {what}, but {self.name} is wanted here: {self.if_damaged}"
                )
            with patiently(lambda: open(path, "rb")) as stream:
                yield Contents(stream)

    @contextmanager
    def checking(self, path: Path) -> Iterator[None]:
        """Turn every error of the block, which reads or checks this file, into a sentence.

        Raises
        ------
        OutOfMemoryError
            If the memory of this machine is too small for the file.
        UserError
            Of the kind's own class, if the file is missing, cannot be opened, or is damaged.
            One that is raised in the block is passed on as it is.
        """
        try:
            yield
        except UserError:
            raise
        except FileNotFoundError as error:
            raise self.error(f"there is no {path}: {self.if_missing}") from error
        except MemoryError as error:
            raise OutOfMemoryError(
                f"there is too little memory to read {path}: close other programs, or use less data"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # else gzip's, for instance
                raise self.error(f"{path} cannot be read: {error.strerror or error}") from error
            raise self.error(
                f"{path} is damaged, or is not {self.name} ({explain(error)}): {self.if_damaged}"
            ) from error


class Contents:
    """An open file. Each method raises an exception if the contents are not what it reads."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.size = os.fstat(stream.fileno()).st_size
        """In bytes."""

    def bytes(self) -> bytes:
        """Return everything."""
        self.stream.seek(0)
        content = self.stream.read(self.size)
        if len(content) != self.size:
            raise ValueError(f"only {len(content)} of {self.size} bytes could be read")
        return content

    def md5(self) -> str:
        """Return the checksum that data sets are published with."""
        hasher = hashlib.md5(usedforsecurity=False)  # also where MD5 is forbidden
        self.stream.seek(0)
        while part := self.stream.read(2**20):
            hasher.update(part)
        return hasher.hexdigest()

    def text(self) -> str:
        """Return everything, as UTF-8."""
        return self.bytes().decode()

    def json(self) -> dict[str, Any]:
        """Return the one JSON object that the file is."""
        return json_object(self.bytes())

    def rows(self, parse: Callable[[str, list[Any]], Any]) -> list[Any]:
        """Return ``parse(line, rows before)`` of every line. An error names the line.

        A last line that was cut by a kill is left out.
        """
        *lines, _ = self.text().split("\n")
        rows: list[Any] = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(parse(line, rows))
            except (UserError, MemoryError):
                raise
            except Exception as error:
                raise ValueError(f"line {number}: {explain(error)}") from error
        return rows

    @contextmanager
    def npz(self, most: int = 0) -> Iterator["Npz"]:
        """Read an NPZ file: a zip of plain arrays, each with its checksum.

        Parameters
        ----------
        most : int
            Bytes that all its arrays together may have. Default: the size of the file, because
            NumPy does not compress unless it is asked to. More would be a "zip bomb".
        """
        with zipfile.ZipFile(self.stream) as archive:
            yield Npz(archive, most or self.size)


class Npz:
    """The arrays of an NPZ file.

    Attributes
    ----------
    declared : dict
        The shape and the dtype of each array, by name. No memory was taken for them yet.
    """

    def __init__(self, archive: zipfile.ZipFile, most: int) -> None:
        self._archive = archive
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self.declared: Declared = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in self._entries:
                raise ValueError("two of its arrays have the same name")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is compressed in another way than NumPy does")
            with archive.open(entry) as stream:
                shape, _, dtype = _header(stream)
                if math.prod(shape) * dtype.itemsize != entry.file_size - stream.tell():
                    raise ValueError(f"its array {name[:50]!r} is shorter or longer than declared")
            self._entries[name], self.declared[name] = entry, (shape, dtype)
        total = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.declared.values())
        if total > most:
            raise ValueError(f"it declares {total:,} bytes of arrays, more than it can have")

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array, and verify its checksum."""
        with self._archive.open(self._entries[name]) as stream:
            return _array(stream, *_header(stream))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array: shape, whether in Fortran order, dtype."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a damaged header may look like one of Python 2
        shape, fortran_order, dtype = read[npy.read_magic(stream)](stream)
    if dtype.kind not in "biuf" or any(extent < 0 for extent in shape):
        raise ValueError(f"it has an array of {dtype} with shape {shape}")
    return shape, fortran_order, dtype


def _array(
    stream: IO[bytes], shape: tuple[int, ...], fortran_order: bool, dtype: np.dtype
) -> np.ndarray:
    """Read the numbers of an array, and verify the checksum: the zip does, at the end."""
    array = np.empty(math.prod(shape), dtype)
    numbers = array.data.cast("B") if array.size else memoryview(b"")
    done = 0
    while done < len(numbers):
        part = stream.readinto(numbers[done : done + 2**20])  # type: ignore[attr-defined]
        if not part:
            raise EOFError(f"an array ends after {done} of {len(numbers)} bytes")
        done += part
    if stream.read(1):
        raise ValueError("an array is longer than it declares")
    return array.reshape(shape, order="F" if fortran_order else "C")


def json_object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object; raise a ValueError if it is anything else, also "NaN"."""
    content = json_value(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def json_value(text: str | bytes) -> Any:
    """Return any JSON value.

    Python would take NaN and Infinity, 1e999 as infinity, and a whole number of any length, which
    a float cannot hold.
    """

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    def whole(digits: str) -> int:
        if len(digits) > LONGEST_NUMBER:
            raise ValueError(f"it has a whole number of {len(digits)} digits")
        return int(digits)

    text = text.decode() if isinstance(text, bytes) else text
    return json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=whole)


def explain(error: Exception) -> str:
    """Return in a few words what an exception says about the contents of a file."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8 text"
    return str(error).partition("\n")[0][:200] or type(error).__name__
