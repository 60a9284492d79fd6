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

from minisd.course import rubric, submissions
from minisd.course.grading import grade
from minisd.course.kit import Kit
from minisd.course.report import Report, as_html, as_markdown, from_json
from minisd.course.rubric import NOTHING, Judged
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
    judged = rubric.judged(kit, [s.student for s in found], of.tasks, out / "rubric.csv")
    done = len(found) - len(waiting)
    report(done)
    for _ in _in_processes(kit, waiting, of, paths, keys, jobs):
        done += 1
        report(done)
    rows = []
    for submission in found:
        stored = _stored(paths[submission.student], keys[submission.student])
        given = judged[submission.student]
        rows.append(_row(kit, submission, stored, settings, given))
        _write_feedback(kit, submission, stored, of, out, given)
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
        code = submissions.read(submission.path, kit.name, kit.files, submission.folder)
        found = grade(
            kit,
            code.text,
            files=code.files,
            tasks=tuple(of.tasks),
            seconds_per_call=of.seconds_per_call,
            memory_mb=of.memory_mb,
        )
        found.remarks += code.remarks
        content["report"] = asdict(found)
    except UserError as error:
        content["problem"] = str(error)
    _write_text(path, json.dumps(content) + "\n")


def _key(kit: Kit, submission: Submission, of: OfAssignment) -> str:
    """Return what decides a result: the submission, the seed, the version and the settings."""
    hasher = hashlib.sha256(f"{kit.name} {kit.seed} {__version__} {of}".encode())
    try:
        with submissions.SUBMISSION.reading(submission.path) as file:
            hasher.update(file.bytes())
        code = submissions.read(submission.path, kit.name, kit.files, submission.folder)
        for name, content in code.files.items():
            hasher.update(f" {name} {len(content)} ".encode() + content)
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


def _report(kit: Kit, stored: dict[str, Any] | None, problem: str, given: Judged) -> Report:
    """Return the report with what a person has judged; of what could not be graded, only that."""
    if stored is not None and "report" in stored:
        return from_json(given.added_to(stored["report"]))
    empty = Report(kit.name, kit.title, "", 0, [], [], [problem])
    return from_json({**given.added_to(asdict(empty)), "tasks": list(given.tasks.values())})


def _row(
    kit: Kit,
    submission: Submission,
    stored: dict[str, Any] | None,
    settings: Settings,
    given: Judged = NOTHING,
) -> dict[str, Any]:
    """Return the row of a student: raw points, what delay takes off, and each property."""
    of = settings.of(kit.name)
    row: dict[str, Any] = {"student": submission.student, "raw": 0.0, "late": 0.0, "total": 0.0}
    minutes = _minutes_late(submission, of)
    row |= {"minutes_late": minutes, "problem": "", "flags": "", "mistakes": "", "isolation": ""}
    if stored is None or "problem" in stored:
        row["problem"] = (
            stored["problem"] if stored else "it could not be graded: look at it yourself"
        )
    report = _report(kit, stored, row["problem"], given)
    for task in report.tasks:
        scale = of.points.get(task.number, task.points) / (task.points or 1)
        if task.waiting:
            row[task.number] = "not yet"
            continue
        row[task.number] = round(task.earned * scale, 2)
        row |= {f"{task.number} {p.name}": round(p.earned * scale, 2) for p in task.properties}
    row["raw"] = round(sum(row[t.number] for t in report.tasks if not t.waiting), 2)
    free = of.slip_days + settings.extra_days.get(submission.student, 0)
    days = max(0, -(-minutes // 1440) - free)
    row["late"] = round(-min(1.0, days * of.late_per_day) * row["raw"], 2)
    row["total"] = round(row["raw"] + row["late"], 2)
    row["flags"] = "; ".join(report.flags)
    row["mistakes"] = "; ".join(report.mistakes)
    row["isolation"] = report.isolation or ""
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
    given: Judged,
) -> None:
    folder = out / "feedback"
    folder.mkdir(exist_ok=True)
    name = submissions.safe_name(submission.student)
    gone = {"problem": "it could not be graded; that is not your fault"}
    report = _report(kit, stored, (stored or gone).get("problem", ""), given)
    _write_text(folder / f"{name}.md", as_markdown(report, hints=of.hints))
    _write_text(folder / f"{name}.html", as_html(report, hints=of.hints))


def _write_grades(rows: list[dict[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval=0, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: rubric.harmless(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows
    )
    _write_text(path, stream.getvalue())


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
        left = sum(row.get(task.number) == "not yet" for row in rows)
        if any(task.number in row for row in rows):
            lines += ["", f"{task.number} {task.title}: {left} wait for a person, in rubric.csv."]
    problems = [f"- {row['student']}: {row['problem']}" for row in rows if row["problem"]]
    flagged = [f"- {row['student']}: {row['flags']}" for row in rows if row["flags"]]
    for title, listed in (("Not graded", problems), ("To look at", flagged)):
        lines += ["", f"## {title}", "", *(listed or ["none"])]
    return "\n".join([*lines, ""])


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda stream: stream.write(text.encode()))
