"""What an instructor gets of a graded class: grades.csv, feedback for each student, a summary."""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from minisd.course.graded import Result, save_text
from minisd.course.kit import Kit
from minisd.course.report import Report, as_html, as_markdown
from minisd.course.rubric import harmless
from minisd.course.settings import OfAssignment, Settings
from minisd.course.submissions import Submission, safe_name

NOT_YET = "not yet"
"""In the place of points that a person has not given yet."""


def row(
    submission: Submission, result: Result | None, of: OfAssignment, settings: Settings
) -> dict[str, Any]:
    """Return the row of a student: raw points, what delay takes off, and each property."""
    cells: dict[str, Any] = {"student": submission.student, "raw": 0.0, "late": 0.0, "total": 0.0}
    minutes = _minutes_late(submission, of)
    cells |= {"minutes_late": minutes, "problem": "", "flags": "", "mistakes": "", "isolation": ""}
    cells["problem"] = result.problem if result else "it could not be graded: look at it yourself"
    if result is None or result.report is None:
        return cells
    report = result.report
    for task in report.tasks:
        cells[task.number] = NOT_YET if task.waiting else round(task.earned, 2)
        cells |= {f"{task.number} {p.name}": round(p.earned, 2) for p in task.properties}
    cells["raw"] = round(report.earned, 2)
    _, share = of.late(minutes, settings.extra_days.get(submission.student, 0))
    cells["late"] = round(-share * cells["raw"], 2)
    cells["total"] = round(cells["raw"] + cells["late"], 2)
    cells["flags"] = "; ".join(report.flags)
    cells["mistakes"] = "; ".join(report.mistakes)
    cells["isolation"] = report.isolation or ""
    return cells


def _minutes_late(submission: Submission, of: OfAssignment) -> int:
    if of.due is None or submission.handed_in is None:
        return 0
    return max(0, int((submission.handed_in - of.due).total_seconds() // 60))


def write_feedback(
    kit: Kit, result: Result | None, cells: dict[str, Any], settings: Settings, out: Path
) -> None:
    """Write the feedback for one student, whose row is ``cells``, as Markdown and as HTML."""
    of, course = settings.of(kit.name), settings.report.name
    folder = out / "feedback"
    folder.mkdir(exist_ok=True)
    name = safe_name(cells["student"])
    report = result.report if result else None
    if report is None:
        problem = result.problem if result else "it could not be graded; that is not your fault"
        report = Report(kit.name, kit.title, "", 0, [], [], [problem])
    if cells["late"]:
        said = f"handed in late: {cells['late']:g} points, which makes {cells['total']:g} in all"
        report = replace(report, remarks=[*report.remarks, said])
    if course:
        report = replace(report, title=f"{course}. {report.title}")
    save_text(folder / f"{name}.md", as_markdown(report, hints=of.hints))
    save_text(folder / f"{name}.html", as_html(report, hints=of.hints))


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write grades.csv."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval=0, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: harmless(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows
    )
    save_text(path, stream.getvalue())


def summary(kit: Kit, rows: list[dict[str, Any]]) -> str:
    """Return what an instructor wants to know first: points, mistakes by frequency, problems."""
    total = sorted(row["raw"] for row in rows)
    mistakes = Counter(
        name for row in rows for name in dict.fromkeys(row["mistakes"].split("; ")) if name
    )
    lines = [
        f"# {kit.title}",
        "",
        f"{len(rows)} submissions. Points: median {total[len(total) // 2]:g}, from {total[0]:g} to "
        f"{total[-1]:g}.",
        "",
        "## Mistakes by frequency",
        "",
        "| students | mistake | what it says |",
        "| --- | --- | --- |",
    ]
    for name, count in sorted(mistakes.items(), key=lambda item: (-item[1], item[0])):
        about = kit.mistakes.get(tuple(name.split(" ", 1)))
        lines.append(f"| {count} | {name} | {about.says if about else ''} |")
    lines += ["", "## Points by property", "", "| property | right | of |", "| --- | --- | --- |"]
    for check in kit.checks:
        for name, points in check.points.items():
            column = f"{check.task} {name}"
            right = sum(row.get(column, 0) >= points for row in rows)
            lines.append(f"| {column} | {right} | {len(rows)} |")
    for task in kit.manual:
        left = sum(row.get(task.number) == NOT_YET for row in rows)
        if any(task.number in row for row in rows):
            lines += ["", f"{task.number} {task.title}: {left} wait for a person, in rubric.csv."]
    problems = [f"- {row['student']}: {row['problem']}" for row in rows if row["problem"]]
    flagged = [f"- {row['student']}: {row['flags']}" for row in rows if row["flags"]]
    for title, listed in (("Not graded", problems), ("To look at", flagged)):
        lines += ["", f"## {title}", "", *(listed or ["none"])]
    return "\n".join([*lines, ""])
