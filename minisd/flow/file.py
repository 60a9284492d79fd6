"""The file of a recording, ``flow.jsonl``.

Each line is JSON. The first line is a header with the names of the parameters, the number of
blocks, and the names of quantities of one's own. Each further line is a record. It has the
statistics that `minisd.flow.records` lists, as lists in the order of the parameters or of the
blocks, and each quantity as a number or a list. ``null`` means that there was nothing to average,
for instance because a block was closed in all steps of the record. JSON has no numbers that are not
finite, so they are the strings "nan", "inf" and "-inf".
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.errors import RunFolderError
from minisd.files import append_durably, write_atomically
from minisd.flow.records import (
    COUNTS,
    OF_BLOCKS,
    OF_CLOSED_BLOCKS,
    OF_PARAMETERS,
    RECORDING,
    RESERVED,
)
from minisd.readers import json_object

FIRST_FORMAT, FORMAT = 1, 2
"""The first format had no quantities of one's own, and nothing of closed blocks."""
LONGEST_NAME = 1000
_NOT_FINITE = ("nan", "inf", "-inf")

Header = dict[str, Any]
Row = dict[str, Any]


class RecordFile:
    """The file, to which records are appended.

    Its ``own_shapes`` are those of the quantities of one's own in it, if it has records.

    Parameters
    ----------
    path : path
    parameters : list of str
    num_blocks : int
    also : list of str
        Names of the quantities of one's own.
    done : int or None
        Steps done before. Records of later steps are removed, because those steps will be repeated.
        None: the file must be new.

    Raises
    ------
    RunFolderError
        If there is a file already, and ``done`` is None, or the file is damaged or has the records
        of another network, or of other quantities.
    """

    def __init__(
        self,
        path: Path,
        parameters: list[str],
        num_blocks: int,
        also: list[str],
        done: int | None,
    ) -> None:
        self.path = path
        header = {"parameters": parameters, "blocks": num_blocks, "also": also}
        rows: list[Row] = []
        if path.exists():
            if done is None:
                raise RunFolderError(f"{path} exists: move it away, or record into another file")
            header_in_file, rows = read(path)
            if header_in_file["also"] != also:
                there, here = (
                    ", ".join(names) or "nothing" for names in (header_in_file["also"], also)
                )
                raise RunFolderError(
                    f"{path} also has {there}, but this recorder has {here}: give it the same "
                    "functions, or move the file away"
                )
            if header_in_file != header:
                raise RunFolderError(f"{path} is the record of another network: move it away")
        rows = [row for row in rows if row["step"] <= (done or 0)]
        self.own_shapes = {name: np.shape(rows[-1][name]) for name in also if rows}
        lines = [{"format": FORMAT, **header}, *rows]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            write_atomically(path, lambda stream: stream.write(text.encode()))
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written: {error.strerror or error}") from error

    def append(self, rows: Iterable[Row]) -> None:
        """Append records so that they survive a power cut."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if text:
            append_durably(self.path, text)


def read(path: Path) -> tuple[Header, list[Row]]:
    """Return header and rows, checked, as the present format has them.

    In the first format nothing was recorded of closed blocks: that is ``null`` here. A last line
    that was cut by a kill is left out.
    """
    lengths: dict[str, int | None] = {}

    def parse(line: str, before: list[dict[str, Any]]) -> dict[str, Any]:
        row = json_object(line)
        if not before:
            return _checked_header(row, path)
        header, *rows = before
        if header["format"] == FIRST_FORMAT:
            nothing = len(row["open"])
            row = {**row, "closed_grad_norm": [None] * nothing, "closed_looked": [0] * nothing}
        arrays_of(row, header)
        for name in header["also"]:
            length = len(row[name]) if isinstance(row[name], list) else None
            if lengths.setdefault(name, length) != length:
                raise ValueError(f"{name} is not as long as in the lines before")
        done = rows[-1]["step"] if rows else 0
        if not done < done + row["steps"] <= row["step"]:
            raise ValueError(f"{row['steps']} steps up to step {row['step']}, after step {done}")
        return row

    with RECORDING.reading(path) as file:
        header, *rows = file.rows(parse) or [None]
        if header is None:
            raise ValueError("it is empty")
        del header["format"]
        return header, rows


def _checked_header(header: Header, path: Path) -> Header:
    """Return a header as the present format has it, but with the format of the file."""
    if header["format"] not in (FIRST_FORMAT, FORMAT):
        raise RunFolderError(
            f"{path} has format {header['format']}, but this version of minisd reads {FORMAT}"
        )
    if header["format"] == FIRST_FORMAT:
        header["also"] = []
    for names in (header["parameters"], header["also"]):
        if not isinstance(names, list):
            raise TypeError("the names of parameters or quantities are not a list")
        if not all(isinstance(name, str) for name in names):
            raise TypeError("the names of parameters or quantities are not text")
        if max(map(len, names), default=0) > LONGEST_NAME:
            # in an array of names each takes as much memory as the longest
            raise ValueError(f"a name has more than {LONGEST_NAME} letters")
    if set(header["also"]) & set(RESERVED) or len(set(header["also"])) < len(header["also"]):
        raise ValueError("a name has two meanings")
    _count(header["blocks"])
    return header


def shapes(header: Header) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and type of every value that each record has."""
    P, L = (len(header["parameters"]),), (header["blocks"],)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        **dict.fromkeys(("step", "steps"), ((), int)),
        **dict.fromkeys(("loss", "lr"), ((), float)),
        **{name: (P if name == "reached" else L, int) for name in COUNTS},
    }
    shapes |= dict.fromkeys(OF_PARAMETERS, (P, float))
    return shapes | dict.fromkeys((*OF_BLOCKS, *OF_CLOSED_BLOCKS), (L, float))


def arrays_of(row: Row, header: Header) -> dict[str, np.ndarray]:
    """Return a record as arrays; raise if a value is missing or cannot be one."""
    arrays: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in shapes(header).items():
        convert = _count if dtype is int else _float
        value = [convert(item) for item in row[name]] if shape else convert(row[name])
        arrays[name] = np.array(value, dtype)
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has {arrays[name].size} numbers, not {shape[0]}")
    for name in header["also"]:
        value = row[name]
        value = [_float(item) for item in value] if isinstance(value, list) else _float(value)
        arrays[name] = np.array(value, float)
    return arrays


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{value!r} is not a whole number from 0")
    return value


def _float(value: Any) -> float:
    """Return a number as a record has it, or NaN for None."""
    if value is not None and type(value) not in (int, float) and value not in _NOT_FINITE:
        raise ValueError(f"{value!r} is not a number")
    return math.nan if value is None else float(value)
