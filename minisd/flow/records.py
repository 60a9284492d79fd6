"""The records of a `minisd.flow.Recorder`: averages over steps, and the file that they go to.

The file is JSON, a line each: a header with the names of the parameters and the number of blocks,
then one record after another, each with the statistics below as lists in that order. ``null``
stands where there was nothing to average: a block that was closed in every step of the record.
A number that is not finite is the string "nan", "inf" or "-inf", which JSON has no other word for.
"""

import json
import math
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.errors import RunFolderError
from minisd.files import append_durably, whole_lines, write_atomically

FORMAT = 1
FLOW = "flow.jsonl"
"""The file's name in the folder of a run."""

OF_TENSORS = ("grad_mean", "grad_norm", "grad_max", "weight_norm", "update_norm", "update_ratio")
"""Of a parameter; the same of all parameters of a block's branch together, named ``block_...``."""
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
"""Steps with a gradient (of parameters); open, and open and looked at (of blocks)."""
LARGEST = ("grad_max", "block_grad_max")
"""Of these a record has the largest number, of all others the mean."""


def count_of(statistic: str) -> str:
    """Return which of `COUNTS` says in how many steps a record's statistic was there."""
    if statistic in OF_PARAMETERS:
        return "reached"
    return "open" if statistic.startswith("block_") else "looked"


Values = dict[str, tuple[np.ndarray, np.ndarray]]
"""Statistic: (numbers of one step, where there is one)."""


class Record:
    """Averages over the steps that are added: every number over the steps that had one."""

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
        """Take one more step."""
        self.steps += 1
        self.last = {"step": step, "lr": lr}
        if loss is not None:
            self._losses.append(loss)
        for name, (numbers, there) in values.items():
            if name in LARGEST:
                numbers = np.where(there, numbers, -math.inf)
                before = self._sums.get(name)
                self._sums[name] = numbers if before is None else np.maximum(before, numbers)
            else:
                self._sums[name] = self._sums.get(name, 0) + np.where(there, numbers, 0)
            self._counts[name] = self._counts.get(name, 0) + there.astype(int)
        for name, steps in counts.items():
            self._steps_with[name] = self._steps_with.get(name, 0) + steps.astype(int)

    def row(self) -> dict[str, Any]:
        """Return what the file's line holds."""
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
    """Eight digits, which float32 does not exceed; a word where JSON has no number."""
    return float(f"{value:.8g}") if math.isfinite(value) else str(value)


class RecordFile:
    """The file, to which records are appended.

    Parameters
    ----------
    path : path
    parameters : list of str
    num_blocks : int
    done : int or None
        Steps done before; None: the file must be new. Records that reach beyond them are dropped:
        those steps will be done again.

    Raises
    ------
    RunFolderError
        If there is a file already, and it is of another network or damaged; or without ``done``.
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
            found, rows = _read(path)
            if found != header:
                raise RunFolderError(f"{path} is the record of another network: move it away")
            lines += [json.dumps(row) for row in rows if row["step"] <= done]
        text = "\n".join(lines) + "\n"
        try:
            write_atomically(path, lambda stream: stream.write(text.encode()))
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written: {error.strerror or error}") from error

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write records down, so that they survive a power cut."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if text:
            append_durably(self.path, text)


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return header and rows. A last line without its end was cut by a kill, and is left out."""
    rows: list[dict[str, Any]] = []
    number = 1
    try:
        lines = whole_lines(path)
        header = json.loads(lines[0])
        if header["format"] != FORMAT:
            raise RunFolderError(
                f"{path} has format {header['format']}, this version of minisd reads {FORMAT}"
            )
        P, L = len(header["parameters"]), operator.index(header["blocks"])
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007
            rows.append(json.loads(line))
            _arrays(rows[-1], P, L)
    except FileNotFoundError:
        raise RunFolderError(
            f"there is no {path}: train with --flow N to record the gradient flow"
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(
            f"{path} is not a whole record of gradient flow: line {number} ({error!r})"
        ) from error
    return header, rows


def load(run: str | Path) -> dict[str, np.ndarray]:
    """Read what was recorded: the statistics by name, as plain arrays, a row for each record.

    Parameters
    ----------
    run : path
        A run's folder, or the file.

    Returns
    -------
    dict
        ``parameter`` (P,): the names; ``step`` (R,): the last step of each record; ``steps`` (R,):
        how many it has; ``loss``, ``lr`` (R,); `OF_PARAMETERS` and ``reached`` (R, P); `OF_BLOCKS`,
        ``open`` and ``looked`` (R, L). NaN stands for None, where the count is 0.

    Examples
    --------
    ``flow = load(run)``, then ``pandas.DataFrame(flow["grad_norm"], columns=flow["parameter"])``
    or ``numpy.savez("flow.npz", **flow)``.
    """
    path = Path(run)
    header, rows = _read(path / FLOW if path.is_dir() else path)
    P, L = len(header["parameters"]), header["blocks"]
    records = [_arrays(row, P, L) for row in rows]
    found: dict[str, np.ndarray] = {"parameter": np.array(header["parameters"], str)}
    for name, (shape, dtype) in _shapes(P, L).items():
        column = [record[name] for record in records]
        found[name] = np.array(column, dtype).reshape(len(rows), *shape)
    return found


def _shapes(P: int, L: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and type of all that a record has."""
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        **dict.fromkeys(("step", "steps"), ((), int)),
        **dict.fromkeys(("loss", "lr"), ((), float)),
        **{name: ((P if name == "reached" else L,), int) for name in COUNTS},
    }
    shapes |= dict.fromkeys(OF_PARAMETERS, ((P,), float))
    return shapes | dict.fromkeys(OF_BLOCKS, ((L,), float))


def _arrays(row: dict[str, Any], P: int, L: int) -> dict[str, np.ndarray]:
    """Return a record as arrays; raise if it lacks something, or has another number of it."""
    found: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in _shapes(P, L).items():
        convert: Any = operator.index if dtype is int else _float
        value = [convert(item) for item in row[name]] if shape else convert(row[name])
        found[name] = np.array(value, dtype)
        if found[name].shape != shape:
            raise ValueError(f"{name} has {found[name].size} numbers, not {shape[0]}")
    return found


def _float(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
