"""The data of assignment 6, and its file of results: how students write it and the grader reads it.

A *record* is what one training step has given: a dict with the keys of `SETTINGS`, `ARM` and
`MEASURED`, and "gradients", a list with a number for each block.
"""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minisd.data import load, split_validation
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

SETTINGS = ("seed", "depth", "p_last")
ARM, STEP, GRADIENTS = "arm", "step", "gradients"
ARMS = ("constant", "stochastic")
MEASURED = ("loss", "validation_error", "test_error")
COLUMNS = (*SETTINGS, ARM, STEP, *MEASURED)
"""Of ``results.csv``. After them come g1, g2, ..., the gradients of the blocks."""
WHOLE = ("seed", "depth", "step")
Record = dict[str, Any]
PARAMETERS = Kind(
    "a student's parameters",
    UserError,
    if_missing="save your row of your instructor's table there, below its head",
    if_damaged="save your row of your instructor's table, below its head",
)


class Parameters(NamedTuple):
    """What belongs to one student, where the course gives parameters of their own to each."""

    depth: int
    p_last: float
    seeds: tuple[int, ...]


def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the bundled digits: "train", "validation" and "test", as (images, labels).

    The images (N, 1, 8, 8) are float64 and normalised, with mean image and standard deviation of
    the training images. It is the same split each time. In float64 the results of a run are the
    same on every machine, up to a rounding that does not grow within some steps.
    """
    dataset = load("digits")
    train, validation = split_validation(dataset, np.random.default_rng(2016))
    mean = train.images.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.square(train.images - mean).mean())
    parts = {"train": train, "validation": validation, "test": dataset.test}
    return {
        name: ((part.images - mean) / deviation, np.asarray(part.labels, np.int64))
        for name, part in parts.items()
    }


def save(records: Iterable[Record], path: str | Path) -> None:
    """Write records as a table, one row each. A gradient that is NaN is an empty cell.

    Examples
    --------
    ``save(records, "results.csv")``
    """
    records = list(records)
    most = max((len(record[GRADIENTS]) for record in records), default=0)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"g{block}" for block in range(1, most + 1))])
    for record in records:
        gradients = ["" if g is None else _digits(g) for g in record[GRADIENTS]]
        cells = [_digits(record[name]) for name in COLUMNS]
        writer.writerow([*cells, *gradients, *[""] * (most - len(gradients))])
    text = stream.getvalue().encode()
    write_atomically(path, lambda file: file.write(text))


def _digits(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = float(value)
    return "" if math.isnan(number) else f"{number:.9g}"


def read_results(content: bytes) -> list[Record]:
    """Return the records of a ``results.csv``, as `save` writes it.

    Raises
    ------
    ValueError
        If a column is missing, a cell is no number, or the rows are no runs. It says where.
    """
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    if not rows:
        raise ValueError("it is empty")
    head, *rows = rows
    missing = [name for name in (*COLUMNS, "g1") if name not in head]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    blocks = [name for name in head if name[:1] == "g" and name[1:].isdigit()]
    blocks.sort(key=lambda name: int(name[1:]))
    records = []
    for number, cells in enumerate(rows, start=2):
        if not cells:
            continue
        if len(cells) != len(head):
            raise ValueError(f"row {number} has {len(cells)} cells, and the head {len(head)}")
        row = dict(zip(head, cells, strict=True))
        record: Record = {}
        for name in COLUMNS:
            record[name] = row[name] if name == ARM else _number(row[name], name, number)
        if record[ARM] not in ARMS:
            raise ValueError(f"row {number}: the arm is {' or '.join(ARMS)}")
        record[GRADIENTS] = [
            _number(row[name], name, number) if row[name] else math.nan for name in blocks
        ]
        records.append(record)
    if not records:
        raise ValueError("it has no rows")
    return records


def _number(cell: str, name: str, row: int) -> Any:
    try:
        number = float(cell)
        if not math.isfinite(number) or (name in WHOLE and number != int(number)):
            raise ValueError
    except ValueError:
        kind = "whole number" if name in WHOLE else "number"
        raise ValueError(f"row {row}: {name} is no {kind}") from None
    return int(number) if name in WHOLE else number


Run = tuple[int, int, float]
"""Seed, depth and p_L."""


def runs(records: Iterable[Record], arm: str) -> dict[Run, list[Record]]:
    """Return the records of one arm by run, each sorted by step."""
    found: dict[Run, list[Record]] = {}
    for record in records:
        if record[ARM] == arm:
            seed, depth, p_last = (record[name] for name in SETTINGS)
            found.setdefault((seed, depth, p_last), []).append(record)
    return {run: sorted(steps, key=lambda r: int(r[STEP])) for run, steps in found.items()}


def load_parameters(path: str | Path) -> Parameters:
    """Return depth, p_last and seeds from your ``parameters.csv``.

    Examples
    --------
    ``depth, p_last, seeds = load_parameters("parameters.csv")``
    """
    with PARAMETERS.reading(Path(path)) as file:
        return read_parameters(file.bytes())


def read_parameters(content: bytes) -> Parameters:
    """Return the parameters in a ``parameters.csv``: a head, and the row of one student.

    Raises
    ------
    ValueError
        If it has another form. It says which.
    """
    text = content.decode("utf-8-sig")
    head, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row] or [[]]
    if missing := [name for name in ("depth", "p_last", "seeds") if name not in head]:
        raise ValueError(f"it has no column {missing[0]}")
    if len(rows) != 1 or len(rows[0]) != len(head):
        raise ValueError("it has to have one row below its head, yours")
    row = dict(zip(head, rows[0], strict=True))
    seeds = tuple(_number(cell, "seed", 2) for cell in row["seeds"].split())
    if not seeds:
        raise ValueError("it has no seeds")
    return Parameters(_number(row["depth"], "depth", 2), _number(row["p_last"], "p_last", 2), seeds)
