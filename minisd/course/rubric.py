"""What a person judges: ``rubric.csv``, a row for each student and a column for each criterion.

`minisd course grade` writes it with empty cells, and reads it again the next time. What a person
has filled in is never replaced: rows are added, nothing else.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minisd.course.graded import Result
from minisd.course.kit import Kit, TaskInfo
from minisd.course.report import PropertyReport, Report, TaskReport
from minisd.course.settings import OfAssignment
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

RUBRIC = Kind(
    "a table of points that a person gives",
    UserError,
    if_missing="grade again",
    if_damaged="mend it, or move it away and grade again",
)
STUDENT, REMARKS = "student", "remarks"
Row = dict[str, str]


@dataclass(frozen=True)
class Judged:
    """What a person has given to a student.

    Attributes
    ----------
    tasks : dict
        By number. A task with an empty cell is not there.
    remarks : str
    """

    tasks: dict[str, TaskReport] = field(default_factory=dict)
    remarks: str = ""

    def added_to(self, result: Result | None, kit: Kit) -> Result | None:
        """Return a result with these tasks in its report, also where nothing else is in it."""
        if not self.tasks and not self.remarks:
            return result
        result = result or Result("", "", "", problem="it could not be graded")
        report, tasks = result.report, list(self.tasks.values())
        if report is None:
            report = Report(kit.name, kit.title, "", 0, tasks, remarks=[result.problem])
        tasks = [self.tasks.get(task.number, task) for task in report.tasks]
        more = [f"from who has read your work: {self.remarks}"] if self.remarks else []
        report = replace(report, tasks=tasks, remarks=[*report.remarks, *more])
        return replace(result, report=report)


NOTHING = Judged()


def judged(kit: Kit, students: Sequence[str], of: OfAssignment, path: Path) -> dict[str, Judged]:
    """Return what a person has given to each student; add rows for those that have none.

    Parameters
    ----------
    students : list of str
    of : OfAssignment
        The tasks that are set, and their points. In the table the points are those of the rubric.
    path : path
        ``rubric.csv``. It is not written if there is nothing for a person to judge.

    Returns
    -------
    judged : dict
        By student.

    Raises
    ------
    UserError
        If the table is damaged, lacks a column, or has points that cannot be given.
    """
    manual = [task for task in kit.manual if not of.tasks or task.number in of.tasks]
    if not manual:
        return dict.fromkeys(students, NOTHING)
    columns = [STUDENT, *(c for task in manual for c in task.criteria), REMARKS]
    rows = _read(path, columns) if path.exists() else []
    known = {row[STUDENT] for row in rows}
    new = [{STUDENT: harmless(student)} for student in students if harmless(student) not in known]
    if new:
        _write(path, [*rows, *new], list(dict.fromkeys([*columns, *(k for r in rows for k in r)])))
    by_student = {row[STUDENT]: row for row in [*rows, *new]}
    return {s: _given(manual, by_student[harmless(s)], of, path) for s in students}


def harmless(text: str) -> str:
    """Keep a spreadsheet from taking a student's name for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def _given(manual: Sequence[TaskInfo], row: Row, of: OfAssignment, path: Path) -> Judged:
    reports = {}
    for task in manual:
        cells = [row.get(criterion, "").strip() for criterion in task.criteria]
        if not all(cells):
            continue
        most = task.points / len(task.criteria)
        scale = of.points.get(task.number, task.points) / task.points
        lines = []
        for criterion, cell in zip(task.criteria, cells, strict=True):
            points = _points(cell, most, f"{path}: {criterion} of {row[STUDENT]}")
            lines.append(PropertyReport(criterion, scale * most, scale * points, [], []))
        reports[task.number] = TaskReport(task.number, task.title, lines)
    return Judged(reports, row.get(REMARKS, "").strip())


def _points(cell: str, most: float, where: str) -> float:
    try:
        points = float(cell.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:  # nor NaN
        raise UserError(f"{where} is {cell!r}: give a number from 0 to {most:g}, or leave it empty")
    return points


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    with RUBRIC.reading(path) as file:
        text = file.bytes().decode("utf-8-sig")
        head = text.partition("\n")[0]
        mark = ";" if head.count(";") > head.count(",") else ","  # as some spreadsheets have it
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
        missing = [c for c in columns if c not in (reader.fieldnames or ()) and c != REMARKS]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        rows: dict[str, Row] = {}
        for number, row in enumerate(reader, start=2):
            if None in row:
                raise ValueError(f"row {number} has more cells than the head")
            if not any(row.values()):  # a spreadsheet may leave empty rows
                continue
            if row[STUDENT] in rows:
                raise ValueError(f"row {number} is a second one of {row[STUDENT]}")
            rows[row[STUDENT]] = {name: value or "" for name, value in row.items()}
        return list(rows.values())


def _write(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    text = stream.getvalue().encode()
    write_atomically(path, lambda file: file.write(text))
