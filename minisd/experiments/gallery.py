"""What experiments have published in a folder: figures, numbers and words, to show elsewhere."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisd.errors import RunFolderError
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.drawing import Rows
from minisd.experiments.publish import KINDS
from minisd.readers import Kind

NUMBERS = Kind(
    "the numbers of a figure",
    RunFolderError,
    if_missing="run the experiment",
    if_damaged="run the experiment again",
)


@dataclass(frozen=True)
class Published:
    """The files of an experiment in a folder.

    Attributes
    ----------
    name, summary : str
        As ``minisd experiment`` lists them.
    caption : str
        What the figure shows, with data, depth, seeds and command.
    alt : str
        What there is to see, for somebody who cannot see it.
    table : path
        The CSV.
    figures : dict of path
        The pictures that there are, by kind: png, svg, pdf.
    """

    name: str
    summary: str
    caption: str
    alt: str
    table: Path
    figures: dict[str, Path]


def published(folder: Path) -> list[Published]:
    """Return what experiments have published in a folder, in the order of the catalogue.

    Raises
    ------
    RunFolderError
        If a CSV cannot be read, or is not one.
    """
    found = []
    for name, module in EXPERIMENTS.items():
        table = folder / f"{name}.csv"
        if not table.exists():
            continue
        files = {kind: folder / f"{name}.{kind}" for kind in KINDS if kind != "csv"}
        figures = {kind: path for kind, path in files.items() if path.exists()}
        caption, _ = read_table(table)
        found.append(Published(name, module.SUMMARY, caption, module.ALT, table, figures))
    return found


def read_table(path: Path) -> tuple[str, Rows]:
    """Return the caption and the rows of a CSV of an experiment, with numbers as numbers.

    Raises
    ------
    RunFolderError
        If it cannot be read, or is not one.
    """
    with NUMBERS.reading(path) as file:
        first, *lines = file.text().splitlines()
        if not first.startswith("# "):
            raise ValueError("its first line is no caption")
        reader = csv.DictReader(lines)
        rows = [{name: _value(cell) for name, cell in row.items()} for row in reader]
        return first.removeprefix("# "), rows


def _value(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell
