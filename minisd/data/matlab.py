"""Arrays of numbers from a MATLAB file of version 5 to 7, read with NumPy alone.

A file may come from anywhere. A parser in C can be crashed by a damaged one, and the whole program
with it; this one checks every size before it uses it.

After a header of 128 bytes, a file is a sequence of variables. An element is a tag (its kind and
its size) and contents. A variable is an element of kind "matrix", or of kind "compressed" with a
matrix inside. The contents of a matrix are elements again: flags, dimensions, name, numbers. See
"MAT-File Format" by The MathWorks.
"""

import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minisd.readers import Contents, Declared

_MATRIX, _COMPRESSED = 14, 15  # kinds of elements; the other kinds are numbers:
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"
}  # fmt: skip
_COMPLEX, _LOGICAL = 0x800, 0x200  # flags
_CHUNK = 2**20  # bytes that are read at a time
_LONGEST = 4096  # bytes that flags, dimensions or a name may have
_MOST = 1000  # variables


class _Stream(Protocol):
    def read(self, count: int, /) -> bytes:
        """Return at most ``count`` bytes; none only at the end."""


class Mat:
    """The arrays of numbers in a MATLAB file. Variables of other types are left out.

    Attributes
    ----------
    declared : dict
        The shape and the dtype of each array, by name. No memory was taken for them yet.

    Raises
    ------
    ValueError, KeyError, EOFError, zlib.error, struct.error
        If the file is damaged or has another format.
    """

    def __init__(self, file: Contents) -> None:
        header = _exactly(file.stream, 128)
        self._file, self._order = file, {b"IM": "<", b"MI": ">"}.get(header[126:], "")
        if not header.startswith(b"MATLAB") or not self._order:
            raise ValueError("it does not begin as a MATLAB file does")
        if struct.unpack(self._order + "H", header[124:126]) != (0x0100,):
            raise ValueError("it is a MATLAB file of another version than 5 to 7")
        self.declared: Declared = {}
        self._places: dict[str, int] = {}
        place = 128
        for _ in range(_MOST):
            if place == file.size:
                break
            array, end = self._open(place)
            if array is not None and array.name in self.declared:
                raise ValueError("two of its variables have the same name")
            if array is not None:
                self.declared[array.name] = array.shape, array.dtype
                self._places[array.name] = place
            place = end
        else:
            raise ValueError(f"it has more than {_MOST} variables")

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array. If it is compressed, its checksum is verified."""
        array, _ = self._open(self._places[name])
        assert array is not None
        return array.numbers()

    def _open(self, place: int) -> "tuple[_Array | None, int]":
        """Return the array at a place in the file, and the place after it."""
        stream: _Stream = self._file.stream
        self._file.stream.seek(place)
        kind, size, _ = _tag(stream, self._order)
        end = place + 8 + size
        if end > self._file.size:
            raise EOFError("a variable is cut")
        if kind == _COMPRESSED:
            stream = _Unpacked(stream, size)
            kind, size, _ = _tag(stream, self._order)
        if kind != _MATRIX:
            raise ValueError(f"there is an element of kind {kind} in place of a variable")
        return _array(stream, size, self._order), end


@dataclass
class _Array:
    """A variable whose elements have been read up to the tag of its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    stored: np.dtype  # MATLAB stores numbers in a smaller type if they fit
    stream: _Stream
    in_tag: bytes  # up to four bytes of numbers are in the tag itself

    def numbers(self) -> np.ndarray:
        array = np.empty(math.prod(self.shape), self.stored)
        source = io.BytesIO(self.in_tag) if self.in_tag else self.stream
        contents = array.view(np.uint8)
        for start in range(0, len(contents), _CHUNK):
            part = contents[start : start + _CHUNK]
            part[:] = np.frombuffer(_exactly(source, len(part)), np.uint8)
        if isinstance(self.stream, _Unpacked):
            self.stream.finish()
        return array.astype(self.dtype, copy=False).reshape(self.shape, order="F")


def _array(stream: _Stream, size: int, order: str) -> _Array | None:
    """Read a matrix of ``size`` bytes up to its numbers; None if it is no plain array of those."""
    flags, size = _element(stream, size, order)
    (word,) = struct.unpack(order + "I", flags[:4])
    if word & 0xFF not in _CLASSES or word & (_COMPLEX | _LOGICAL):
        return None
    extents, size = _element(stream, size, order)
    name, size = _element(stream, size, order)
    kind, length, in_tag = _tag(stream, order)
    array = _Array(
        name.decode("latin-1"),
        struct.unpack(f"{order}{len(extents) // 4}i", extents),
        np.dtype(_CLASSES[word & 0xFF]),
        np.dtype(order + _STORED[kind]),
        stream,
        in_tag,
    )
    if len(array.shape) < 2 or min(array.shape) < 0:
        raise ValueError(f"the shape of {array.name} is {array.shape}")
    if length != math.prod(array.shape) * array.stored.itemsize or 8 + length > size + len(in_tag):
        raise ValueError(f"{array.name} has {length:,} bytes, which its shape {array.shape} denies")
    if not np.can_cast(array.stored, array.dtype):
        raise ValueError(f"{array.name} stores {array.dtype} as {array.stored}")
    return array


def _element(stream: _Stream, size: int, order: str) -> tuple[bytes, int]:
    """Read a short element; return its contents, and what is left of ``size``."""
    _, length, in_tag = _tag(stream, order)
    if in_tag:
        return in_tag, size - 8
    if length > _LONGEST:
        raise ValueError(f"an element of {length:,} bytes is too long")
    padded = length + -length % 8
    return _exactly(stream, padded)[:length], size - 8 - padded


def _tag(stream: _Stream, order: str) -> tuple[int, int, bytes]:
    """Read a tag: kind, size, and the contents of a short element, which are in the tag."""
    tag = _exactly(stream, 8)
    kind, size = struct.unpack(order + "II", tag)
    short = kind >> 16
    if short > 4:
        raise ValueError(f"{short} bytes are not within a tag")
    return (kind & 0xFFFF, short, tag[4 : 4 + short]) if short else (kind, size, b"")


def _exactly(stream: _Stream, count: int) -> bytes:
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            raise EOFError(f"it ends {count:,} bytes too early")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class _Unpacked:
    """What ``size`` bytes of a stream unpack to. Never unpacks more than is asked for."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream, self._left = stream, size
        self._unpacker, self._packed = zlib.decompressobj(), b""

    def read(self, count: int, /) -> bytes:
        """Return at most ``count`` bytes. At the end zlib verifies their checksum."""
        while not self._unpacker.eof:
            part = self._unpacker.decompress(self._packed, count)
            self._packed = self._unpacker.unconsumed_tail
            if part:
                return part
            if not self._packed and not self._unpacker.eof:
                self._packed = self._stream.read(min(self._left, 2**16))
                self._left -= len(self._packed)
                if not self._packed:
                    raise EOFError("a compressed variable is cut")
        return b""

    def finish(self) -> None:
        """Read up to the end, where only padding may be left."""
        for _ in range(8):
            if not self.read(8):
                return
        raise ValueError("a compressed variable is longer than it declares")
