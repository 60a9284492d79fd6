"""What the notebooks of otter and nbgrader have in common: cells, and what is graded in them."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from minisd.course.bundle import Export
from minisd.course.checks import CREDIT, Check
from minisd.course.source import Assignment, Cell, Task
from minisd.errors import UserError

Cells = list[dict[str, Any]]


@dataclass(frozen=True)
class Graded:
    """A property that a cell asks for.

    Attributes
    ----------
    points : float
        As the settings of the course have them.
    steps : tuple of float
        Shares of the points that can be earned, in ascending order.
    """

    task: str
    name: str
    points: float
    steps: tuple[float, ...]

    @property
    def what(self) -> str:
        """As `minisd.course.ask.ask` is asked for it."""
        return f"{self.task} {self.name}"

    @property
    def identifier(self) -> str:
        """A name of letters, digits and underscores."""
        return re.sub(r"[^a-z0-9]+", "_", self.what.lower()).strip("_")


def graded(exported: Export) -> list[Graded]:
    """Return the properties of the tasks that are set, in their order.

    Raises
    ------
    UserError
        If files are handed in with the code: they come from an experiment in the notebook, and the
        platforms would run it again for each student.
    """
    if exported.kit.files:
        raise UserError(
            f"{exported.name} has an experiment of minutes, which the platform would run again for "
            "each notebook: use 'grade', or another platform"
        )
    usual = {task.number: task.points for task in exported.assignment.tasks}
    numbers = [task.number for task in exported.tasks]
    return [
        Graded(
            check.task,
            name,
            round(points * exported.points(check.task) / usual[check.task], 4),
            _steps(check),
        )
        for check in exported.kit.checks
        for name, points in check.points.items()
        if check.task in numbers
    ]


def _steps(check: Check) -> tuple[float, ...]:
    """Return the shares that a property can earn."""
    if check.shares:
        return 0.5, 1.0
    return (CREDIT, 1.0) if check.follow else (1.0,)


def number(points: float) -> str:
    """Return a number of points as it is written in a cell."""
    return f"{points:.4f}".rstrip("0").rstrip(".")


def cell(kind: str, source: str, **metadata: Any) -> dict[str, Any]:
    """Return a cell: "code", "markdown" or "raw"."""
    made: dict[str, Any] = {"cell_type": kind, "metadata": metadata, "source": source.strip("\n")}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def notebook(cells: Cells) -> str:
    """Return a notebook as JSON; the same cells give the same bytes."""
    content = {
        "cells": [{"id": f"cell-{place}", **made} for place, made in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1) + "\n"


def cells_of(
    assignment: Assignment,
    write: Callable[[str, str, str], str],
    of_task: Callable[[Task, str], Cells],
) -> Iterator[dict[str, Any]]:
    """Yield the cells of an assignment.

    Parameters
    ----------
    write : function of indent, body and blank
        What stands in the place of a solution: see `Assignment.rewritten`.
    of_task : function of a task and its text
        Returns its cells.
    """
    tasks = iter(assignment.tasks)
    for part in assignment.cells:
        if "[markdown]" in part.title:
            yield cell("markdown", _prose(part))
        elif part.is_task:
            yield from of_task(next(tasks), assignment.rewritten(part.text, write))
        elif part.text.strip():
            yield cell("code", part.text)


def _prose(part: Cell) -> str:
    """Return the text of a cell of prose, which is written as comments."""
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in part.text.split("\n"))
