"""The records of a `minisd.flow.Recorder`: averages over steps, and the file that has them.

Each line of the file is JSON. The first line is a header with the names of the parameters and the
number of blocks. Each further line is a record. It has the statistics below, as lists in the order
of the parameters or of the blocks. ``null`` means that there was nothing to average, for instance
because a block was closed in all steps of the record. JSON has no numbers that are not finite, so
they are the strings "nan", "inf" and "-inf".
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.errors import RunFolderError
from minisd.files import append_durably, write_atomically
from minisd.readers import Kind, json_object

FORMAT = 1
LONGEST_NAME = 1000
_NOT_FINITE = ("nan", "inf", "-inf")
FLOW = "flow.jsonl"
"""Name of the file in the folder of a run."""

RECORDING = Kind(
    "a whole record of gradient flow",
    RunFolderError,
    if_missing="train with --flow N to record the gradient flow",
    if_damaged="move it away; recording it again needs a new run",
)

OF_TENSORS = ("grad_mean", "grad_norm", "grad_max", "weight_norm", "update_norm", "update_ratio")
"""Of a parameter. For all parameters of a block's branch together they are ``block_...``."""
OF_PARAMETERS = (*OF_TENSORS, "coasted_norm")
OF_BLOCKS = (
    *(f"block_{name}" for name in OF_TENSORS),
    "output_grad_norm",
    "branch_ratio",
    "activation_mean",
    "activation_std",
    "dead_channels",
)
COUNTS = ("reached", "open", "looked")
"""How many steps had a gradient (by parameter), an open block, an open block that was looked at."""
LARGEST = ("grad_max", "block_grad_max")
"""A record has the largest value of these, and the mean of all others."""


def count_of(statistic: str) -> str:
    """Return the one of `COUNTS` that says how many steps had this statistic."""
    if statistic in OF_PARAMETERS:
        return "reached"
    return "open" if statistic.startswith("block_") else "looked"


Values = dict[str, tuple[np.ndarray, np.ndarray]]
"""By statistic: (values of one step, whether each of them exists)."""


class Record:
    """Averages over steps. Each value is averaged over the steps that have it."""

    def __init__(self) -> None:
        self.steps = 0
        self.last: dict[str, Any] = {}
        self._losses: list[float] = []
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._steps_with: dict[str, np.ndarray] = {}

    def add(
        self,
        values: Values,
        counts: dict[str, np.ndarray],
        *,
        step: int,
        lr: float,
        loss: float | None,
    ) -> None:
        """Add one more step."""
        self.steps += 1
        self.last = {"step": step, "lr": lr}
        if loss is not None:
            self._losses.append(loss)
        for name, (numbers, exists) in values.items():
            if name in LARGEST:
                numbers = np.where(exists, numbers, -math.inf)
                largest = self._sums.get(name)
                self._sums[name] = numbers if largest is None else np.maximum(largest, numbers)
            else:
                self._sums[name] = self._sums.get(name, 0) + np.where(exists, numbers, 0)
            self._counts[name] = self._counts.get(name, 0) + exists.astype(int)
        for name, steps in counts.items():
            self._steps_with[name] = self._steps_with.get(name, 0) + steps.astype(int)

    def row(self) -> dict[str, Any]:
        """Return the record as its line in the file has it."""
        row: dict[str, Any] = {**self.last, "steps": self.steps}
        row["loss"] = _number(float(np.mean(self._losses))) if self._losses else None
        row |= {name: self._steps_with[name].tolist() for name in COUNTS}
        for name, total in self._sums.items():
            counts = self._counts[name]
            means = total if name in LARGEST else total / np.maximum(counts, 1)
            row[name] = [
                _number(mean) if count else None
                for mean, count in zip(means.tolist(), counts.tolist(), strict=True)
            ]
        return row


def _number(value: float) -> float | str:
    """Round to eight digits, enough for float32; return a string if the value is not finite."""
    return float(f"{value:.8g}") if math.isfinite(value) else str(value)


class RecordFile:
    """The file, to which records are appended.

    Parameters
    ----------
    path : path
    parameters : list of str
    num_blocks : int
    done : int or None
        Steps done before. Records of later steps are removed, because those steps will be repeated.
        None: the file must be new.

    Raises
    ------
    RunFolderError
        If there is a file already, and ``done`` is None, or the file is damaged or has the records
        of another network.
    """

    def __init__(
        self, path: Path, parameters: list[str], num_blocks: int, done: int | None
    ) -> None:
        self.path = path
        header = {"format": FORMAT, "parameters": parameters, "blocks": num_blocks}
        lines = [json.dumps(header)]
        if path.exists():
            if done is None:
                raise RunFolderError(f"{path} exists: move it away, or record into another file")
            header_in_file, rows = _read(path)
            if header_in_file != header:
                raise RunFolderError(f"{path} is the record of another network: move it away")
            lines += [json.dumps(row) for row in rows if row["step"] <= done]
        text = "\n".join(lines) + "\n"
        try:
            write_atomically(path, lambda stream: stream.write(text.encode()))
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written: {error.strerror or error}") from error

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append records so that they survive a power cut."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if text:
            append_durably(self.path, text)


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return header and rows. A last line that was cut by a kill is left out."""

    def parse(line: str, before: list[dict[str, Any]]) -> dict[str, Any]:
        row = json_object(line)
        if not before:
            _check_header(row, path)
            return row
        header, *rows = before
        _arrays(row, len(header["parameters"]), header["blocks"])
        done = rows[-1]["step"] if rows else 0
        if not done < done + row["steps"] <= row["step"]:
            raise ValueError(f"{row['steps']} steps up to step {row['step']}, after step {done}")
        return row

    with RECORDING.reading(path) as file:
        header, *rows = file.rows(parse) or [None]
        if header is None:
            raise ValueError("it is empty")
        return header, rows


def _check_header(header: dict[str, Any], path: Path) -> None:
    if header["format"] != FORMAT:
        raise RunFolderError(
            f"{path} has format {header['format']}, but this version of minisd reads {FORMAT}"
        )
    if not isinstance(header["parameters"], list):
        raise TypeError("the parameters are not a list")
    if not all(isinstance(name, str) for name in header["parameters"]):
        raise TypeError("the names of the parameters are not text")
    if max(map(len, header["parameters"]), default=0) > LONGEST_NAME:
        # in an array of names each takes as much memory as the longest
        raise ValueError(f"a parameter's name has more than {LONGEST_NAME} letters")
    _count(header["blocks"])


def load(run: str | Path) -> dict[str, np.ndarray]:
    """Read a recording: the statistics by name, as plain arrays with one row per record.

    Parameters
    ----------
    run : path
        The folder of a run, or the file.

    Returns
    -------
    dict
        ``parameter`` (P,): the names; ``step`` (R,): the last step of each record; ``steps`` (R,):
        the number of its steps; ``loss``, ``lr`` (R,); `OF_PARAMETERS` and ``reached`` (R, P);
        `OF_BLOCKS`, ``open`` and ``looked`` (R, L). NaN means None: the count is 0.

    Examples
    --------
    ``flow = load(run)``, then ``pandas.DataFrame(flow["grad_norm"], columns=flow["parameter"])``
    or ``numpy.savez("flow.npz", **flow)``.
    """
    path = Path(run)
    header, rows = _read(path / FLOW if path.is_dir() else path)
    P, L = len(header["parameters"]), header["blocks"]
    records = [_arrays(row, P, L) for row in rows]
    flow: dict[str, np.ndarray] = {"parameter": np.array(header["parameters"], str)}
    for name, (shape, dtype) in _shapes(P, L).items():
        column = [record[name] for record in records]
        flow[name] = np.array(column, dtype).reshape(len(rows), *shape)
    return flow


def _shapes(P: int, L: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and type of every value in a record."""
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        **dict.fromkeys(("step", "steps"), ((), int)),
        **dict.fromkeys(("loss", "lr"), ((), float)),
        **{name: ((P if name == "reached" else L,), int) for name in COUNTS},
    }
    shapes |= dict.fromkeys(OF_PARAMETERS, ((P,), float))
    return shapes | dict.fromkeys(OF_BLOCKS, ((L,), float))


def _arrays(row: dict[str, Any], P: int, L: int) -> dict[str, np.ndarray]:
    """Return a record as arrays; raise if a value is missing or cannot be one."""
    arrays: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in _shapes(P, L).items():
        convert = _count if dtype is int else _float
        value = [convert(item) for item in row[name]] if shape else convert(row[name])
        arrays[name] = np.array(value, dtype)
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has {arrays[name].size} numbers, not {shape[0]}")
    return arrays


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{value!r} is not a whole number from 0")
    return value


def _float(value: Any) -> float:
    """Return a number as `_number` has written it, or NaN for None."""
    if value is not None and type(value) not in (int, float) and value not in _NOT_FINITE:
        raise ValueError(f"{value!r} is not a number")
    return math.nan if value is None else float(value)
