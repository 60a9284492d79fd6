"""Grading a class: many submissions, in parallel, with one row a student whatever their code does.

Each submission is graded in a process of its own. Its result goes into a file of its own, so an
interrupted run goes on where it was, and a process that is killed loses one result.
"""

import hashlib
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from minisd.course import graded, grades, rubric, submissions
from minisd.course.answers import digest
from minisd.course.grading import grade_as_set
from minisd.course.kit import Kit
from minisd.course.settings import OfAssignment, Settings
from minisd.course.submissions import Code, Submission
from minisd.errors import UserError
from minisd.version import __version__

SECONDS = 300
"""A submission that takes longer is given up."""


def grade_class(
    kit: Kit,
    handed_in: list[Submission],
    settings: Settings,
    out: Path,
    *,
    jobs: int,
    user: str | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Grade all submissions, and write grades, feedback and a summary into ``out``.

    Parameters
    ----------
    jobs : int
        Submissions at the same time.
    user : str, optional
        The user that student code runs as; only root can choose.
    report : function of an int
        Called with the number of submissions that are done.

    Returns
    -------
    list of dict
        The rows of ``grades.csv``.
    """
    of = settings.for_kit(kit)
    (out / "results").mkdir(parents=True, exist_ok=True)
    paths = {s.student: graded.path_of(out, s.student) for s in handed_in}
    keys = {s.student: _key(kit, s, of) for s in handed_in}
    waiting = [s for s in handed_in if _done(paths[s.student], keys[s.student]) is None]
    judged = rubric.judged(kit, [s.student for s in handed_in], of, out / "rubric.csv")
    done = len(handed_in) - len(waiting)
    report(done)
    for _ in _in_processes(kit, waiting, of, paths, keys, jobs, user):
        done += 1
        report(done)
    rows = []
    for submission in handed_in:
        result = _done(paths[submission.student], keys[submission.student])
        result = judged[submission.student].added_to(result, kit)
        rows.append(grades.row(submission, result, of, settings))
        grades.write_feedback(kit, result, rows[-1], settings, out)
    grades.write_csv(rows, out / "grades.csv")
    graded.save_text(out / "summary.md", grades.summary(kit, rows))
    graded.write_run(
        out,
        kit.name,
        variant=kit.variant,
        term=settings.term,
        seed=digest(kit.seed),
        version=__version__,
        students=[s.student for s in handed_in if paths[s.student].exists()],
    )
    return rows


def _in_processes(
    kit: Kit,
    waiting: Iterable[Submission],
    of: OfAssignment,
    paths: dict[str, Path],
    keys: dict[str, str],
    jobs: int,
    user: str | None,
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
                    user,
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


def _grade_one(
    kit: Kit, submission: Submission, of: OfAssignment, path: Path, key: str, user: str | None
) -> None:
    """Grade a submission, and write its result. It runs in a process of its own."""
    result = graded.Result(submission.student, key, _digest(kit, submission))
    try:
        code = _code(kit, submission)
        report = grade_as_set(kit, code, of, student=submission.student, user=user)
        report = graded.after(report, graded.stored(path), result.submission)
        files = {name: content.decode("latin-1") for name, content in code.files.items()}
        result = replace(result, report=report, code=code.text, files=files)
    except UserError as error:
        result = replace(result, problem=str(error))
    graded.write(result, path)


def _done(path: Path, key: str) -> graded.Result | None:
    """Return the result of what is to be graded, if it is there."""
    result = graded.stored(path)
    return result if result is not None and result.key == key else None


def _key(kit: Kit, submission: Submission, of: OfAssignment) -> str:
    """Return what decides a result: the submission, the seed, the sources and the settings."""
    words = f"{kit.name} {kit.seed} {kit.sources} {__version__} {of} {_digest(kit, submission)}"
    words += f" {submission.student}"  # who may have parameters of their own
    return hashlib.sha256(words.encode()).hexdigest()


def _digest(kit: Kit, submission: Submission) -> str:
    hasher = hashlib.sha256()
    try:
        with submissions.SUBMISSION.reading(submission.path) as file:
            hasher.update(file.bytes())
        for name, content in _code(kit, submission).files.items():
            hasher.update(f" {name} {len(content)} ".encode() + content)
    except UserError as error:
        hasher.update(str(error).encode())
    return hasher.hexdigest()


def _code(kit: Kit, submission: Submission) -> Code:
    return submissions.read(submission.path, kit.name, kit.files, submission.folder)
