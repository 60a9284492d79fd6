"""Grading a class: many submissions, in parallel, with one row a student whatever their code does.

Each submission is graded in a process of its own. Its result goes into a file of its own, so an
interrupted run goes on where it was, and a process that is killed loses one result.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from minisd.course import submissions
from minisd.course.bundle import judged
from minisd.course.kit import Kit
from minisd.course.report import Report, as_html, as_markdown, from_json
from minisd.course.settings import OfAssignment, Settings
from minisd.course.submissions import Submission
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind
from minisd.version import __version__

SECONDS = 300
"""A submission that takes longer is given up."""
RESULT = Kind("a result", UserError, if_missing="grade again", if_damaged="remove it")


def grade_class(
    kit: Kit,
    found: list[Submission],
    settings: Settings,
    out: Path,
    *,
    jobs: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Grade all submissions, and write grades, feedback and a summary into ``out``.

    Parameters
    ----------
    jobs : int
        Submissions at the same time.
    report : function of an int
        Called with the number of submissions that are done.

    Returns
    -------
    list of dict
        The rows of ``grades.csv``.
    """
    of = settings.of(kit.name)
    results = out / "results"
    results.mkdir(parents=True, exist_ok=True)
    paths = {s.student: results / f"{submissions.safe_name(s.student)}.json" for s in found}
    keys = {s.student: _key(kit, s, of) for s in found}
    waiting = [s for s in found if _stored(paths[s.student], keys[s.student]) is None]
    done = len(found) - len(waiting)
    report(done)
    for _ in _in_processes(kit, waiting, of, paths, keys, jobs):
        done += 1
        report(done)
    rows = []
    for submission in found:
        stored = _stored(paths[submission.student], keys[submission.student])
        rows.append(_row(kit, submission, stored, settings))
        _write_feedback(kit, submission, stored, of, out)
    _write_grades(rows, out / "grades.csv")
    _write_text(out / "summary.md", summary(kit, rows))
    about = {"assignment": kit.name, "term": settings.term, "version": __version__}
    _write_text(out / "run.json", json.dumps(about, indent=2) + "\n")
    return rows


def _in_processes(
    kit: Kit,
    waiting: Iterable[Submission],
    of: OfAssignment,
    paths: dict[str, Path],
    keys: dict[str, str],
    jobs: int,
) -> Iterable[str]:
    """Grade in ``jobs`` processes at a time; yield each student when their process has ended."""
    context = multiprocessing.get_context("fork")
    queue = list(waiting)[::-1]
    running: dict[str, tuple[ForkProcess, float]] = {}
    try:
        while queue or running:
            while queue and len(running) < jobs:
                submission = queue.pop()
                arguments = (
                    kit,
                    submission,
                    of,
                    paths[submission.student],
                    keys[submission.student],
                )
                process = context.Process(target=_grade_one, args=arguments)
                with warnings.catch_warnings():
                    # From 3.12 Python warns of threads. Those of the BLAS library are idle, and it
                    # starts them again in a child; no lock is held while nothing is computed here.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                running[submission.student] = process, time.monotonic()
            time.sleep(0.02)
            for student, (process, started) in list(running.items()):
                if time.monotonic() - started > SECONDS:
                    process.kill()
                if process.exitcode is not None:
                    process.join()
                    del running[student]
                    yield student
    finally:
        for process, _ in running.values():
            process.kill()
            process.join()


def _grade_one(kit: Kit, submission: Submission, of: OfAssignment, path: Path, key: str) -> None:
    """Grade a submission, and write its result. It runs in a process of its own."""
    content: dict[str, Any] = {"key": key}
    try:
        code = submissions.read(submission.path, kit.name)
        content["report"] = asdict(judged(kit, code, of))
    except UserError as error:
        content["problem"] = str(error)
    _write_text(path, json.dumps(content) + "\n")


def _key(kit: Kit, submission: Submission, of: OfAssignment) -> str:
    """Return what decides a result: the submission, the seed, the version and the settings."""
    hasher = hashlib.sha256(f"{kit.name} {kit.seed} {__version__} {of}".encode())
    try:
        with submissions.SUBMISSION.reading(submission.path) as file:
            hasher.update(file.bytes())
    except UserError as error:
        hasher.update(str(error).encode())
    return hasher.hexdigest()


def _stored(path: Path, key: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        with RESULT.reading(path) as file:
            content = file.json()
            return content if content["key"] == key else None
    except UserError:  # it is made again
        return None


def _row(
    kit: Kit, submission: Submission, stored: dict[str, Any] | None, settings: Settings
) -> dict[str, Any]:
    """Return the row of a student: raw points, what delay takes off, and each property."""
    of = settings.of(kit.name)
    row: dict[str, Any] = {"student": submission.student, "raw": 0.0, "late": 0.0, "total": 0.0}
    minutes = _minutes_late(submission, of)
    row |= {"minutes_late": minutes, "problem": "", "flags": "", "mistakes": "", "isolation": ""}
    if stored is None or "problem" in stored:
        gone = "it could not be graded: look at it yourself"
        return {**row, "problem": stored["problem"] if stored else gone}
    report = from_json(stored["report"]).weighted(of.points)
    for task in report.tasks:
        row[task.number] = round(task.earned, 2)
        row |= {f"{task.number} {p.name}": round(p.earned, 2) for p in task.properties}
    row["raw"] = round(sum(row[task.number] for task in report.tasks), 2)
    _, share = of.late(minutes, settings.extra_days.get(submission.student, 0))
    row["late"] = round(-share * row["raw"], 2)
    row["total"] = round(row["raw"] + row["late"], 2)
    row["flags"] = "; ".join(report.flags)
    row["mistakes"] = "; ".join(report.mistakes)
    row["isolation"] = report.isolation
    return row


def _minutes_late(submission: Submission, of: OfAssignment) -> int:
    if of.due is None or submission.handed_in is None:
        return 0
    return max(0, int((submission.handed_in - of.due).total_seconds() // 60))


def _write_feedback(
    kit: Kit,
    submission: Submission,
    stored: dict[str, Any] | None,
    of: OfAssignment,
    out: Path,
) -> None:
    folder = out / "feedback"
    folder.mkdir(exist_ok=True)
    name = submissions.safe_name(submission.student)
    if stored is not None and "report" in stored:
        report: Report = from_json(stored["report"]).weighted(of.points)
    else:
        problem = stored["problem"] if stored else "it could not be graded; that is not your fault"
        report = Report(kit.name, kit.title, "", 0, [], [], [problem])
    _write_text(folder / f"{name}.md", as_markdown(report, hints=of.hints))
    _write_text(folder / f"{name}.html", as_html(report, hints=of.hints))


def _write_grades(rows: list[dict[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval=0, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    _write_text(path, stream.getvalue())


def _harmless(value: Any) -> Any:
    """Keep a spreadsheet from taking a student's name for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value


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
    problems = [f"- {row['student']}: {row['problem']}" for row in rows if row["problem"]]
    flagged = [f"- {row['student']}: {row['flags']}" for row in rows if row["flags"]]
    for title, listed in (("Not graded", problems), ("To look at", flagged)):
        lines += ["", f"## {title}", "", *(listed or ["none"])]
    return "\n".join([*lines, ""])


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda stream: stream.write(text.encode()))
