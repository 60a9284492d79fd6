"""What is kept of each submission when a class is graded: ``results/NAME.json``, one a student.

It decides nothing that a student could reach: it is written by the judge, when no code of theirs
runs any more. `minisd course cluster`, `similar` and `viva` read it afterwards.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from minisd.course.report import Report, failing_before, from_json
from minisd.course.submissions import safe_name
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

RESULT = Kind("a result", UserError, if_missing="grade again", if_damaged="remove it")
RUN = Kind(
    "a graded class",
    UserError,
    if_missing="give the folder that 'minisd course grade' has written",
    if_damaged="grade again",
)


@dataclass(frozen=True)
class Result:
    """What came of one submission.

    Attributes
    ----------
    key : str
        Stands for all that decides the result. If it is another, the submission is graded again.
    submission : str
        Stands for the submission alone.
    report : Report, optional
        None if it could not be graded; ``problem`` says why.
    code : str
        The code that was graded.
    files : dict
        What was handed in with it, by name; a character is a byte (Latin-1).
    """

    student: str
    key: str
    submission: str
    report: Report | None = None
    problem: str = ""
    code: str = ""
    files: dict[str, str] = field(default_factory=dict)


def path_of(out: Path, student: str) -> Path:
    """Return the file of a student's result."""
    return out / "results" / f"{safe_name(student)}.json"


def write(result: Result, path: Path) -> None:
    """Write a result."""
    save_text(path, json.dumps(asdict(result)) + "\n")


def read(path: Path) -> Result:
    """Read a result.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    with RESULT.reading(path) as file:
        content = file.json()
        report = content.pop("report")
        return Result(**content, report=report and from_json(report))


def stored(path: Path) -> Result | None:
    """Return the result that is there. None: there is none that can be read; it is made again."""
    try:
        return read(path) if path.exists() else None
    except UserError:
        return None


def after(report: Report, before: Result | None, submission: str) -> Report:
    """Note in a report the earlier submissions in which each property has failed, too."""
    if before is None or before.report is None:
        return report
    is_new = before.submission != submission
    times = {
        (task.number, line.name): line.failed_before + (is_new and line.earned < line.points)
        for task in before.report.tasks
        for line in task.properties
    }
    return failing_before(report, times)


def write_run(out: Path, assignment: str, **about: object) -> None:
    """Write down what was graded, and with what."""
    text = json.dumps({"assignment": assignment, **about}, indent=2)
    save_text(out / "run.json", text + "\n")


def read_run(out: Path) -> tuple[str, list[Result]]:
    """Return the name of the assignment that was graded, and all results by student."""
    with RUN.reading(out / "run.json") as file:
        content = file.json()
        assignment, students = content["assignment"], content["students"]
    return assignment, [read(path_of(out, student)) for student in students]


def variant_of(out: Path) -> str:
    """Return the variant of the assignment that was graded."""
    with RUN.reading(out / "run.json") as file:
        return str(file.json()["variant"])


def save_text(path: Path, text: str) -> None:
    """Write a text file, or leave what is there."""
    write_atomically(path, lambda stream: stream.write(text.encode()))
