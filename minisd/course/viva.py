"""Questions to ask a student about answers of theirs that are right: five minutes each.

The grader cannot know who wrote an answer. Who wrote it can say which of its lines keeps a known
mistake away.
"""

import hashlib
from collections.abc import Iterable, Iterator

from minisd.course.bank import Entry
from minisd.course.graded import Result
from minisd.course.source import Assignment

QUESTIONS = 2


def as_markdown(assignment: Assignment, entries: Iterable[Entry], results: list[Result]) -> str:
    """Return a sheet with the questions for each student, and what a good answer has.

    Parameters
    ----------
    entries : iterable of Entry
        The mistakes of the assignment's bank.
    """
    entries = list({entry.about.name: entry for entry in entries}.values())
    lines = [
        f"# {assignment.title}: questions to ask",
        "",
        "Ask for the line in their own file, and let them say what would go wrong without it.",
    ]
    for result in results:
        lines += ["", f"## {result.student}", ""]
        lines += list(_asked(assignment, entries, result)) or ["No question: nothing is right yet."]
    return "\n".join([*lines, ""])


def _asked(assignment: Assignment, entries: list[Entry], result: Result) -> Iterator[str]:
    points = {task.number: task.points for task in assignment.tasks}
    for entry in questions(entries, result, points):
        about = entry.about
        lost = ", ".join(entry.loses)
        read = f" (tutorial {about.read})" if about.read else ""
        yield f"- **{about.task} {lost}** is right in yours. A colleague's report says:"
        yield f'  "{about.says}". Which line of yours prevents that?'
        yield f"  - to a good answer leads: {about.look}{read}"


def questions(entries: list[Entry], result: Result, points: dict[str, int]) -> list[Entry]:
    """Return mistakes that this student did not make, of the tasks with the most points.

    They are other ones for each student, and the same ones each time.
    """
    if result.report is None:
        return []
    right = {
        (task.number, line.name)
        for task in result.report.tasks
        for line in task.properties
        if line.earned == line.points > 0
    }
    possible = [
        entry for entry in entries if all((entry.about.task, name) in right for name in entry.loses)
    ]

    def order(entry: Entry) -> tuple[float, bytes]:
        words = f"{result.student} {entry.about.task} {entry.about.name}".encode()
        return -points[entry.about.task], hashlib.sha256(words).digest()

    chosen: list[Entry] = []
    for entry in sorted(possible, key=order):
        if entry.about.task not in {other.about.task for other in chosen}:
            chosen.append(entry)
    if len(chosen) == 1:  # one task is right: two of its mistakes
        chosen = sorted(possible, key=order)
    return chosen[:QUESTIONS]
