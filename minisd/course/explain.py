"""One submission in full, for the instructor: the report, and the numbers that it hides.

Students never get this: it has hidden inputs and the reference's results.
"""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.checks import Case, Check, Failure
from minisd.course.grading import grade_as_set
from minisd.course.kit import Kit
from minisd.course.report import Report, as_text
from minisd.course.settings import OfAssignment
from minisd.course.submissions import Code
from minisd.course.worker import Unsent

Seen = dict[tuple[str, str], tuple[SimpleNamespace, Mapping[str, Any]]]
"""By check and case: inputs and outcomes."""


def explain(kit: Kit, code: Code, of: OfAssignment, student: str | None = None) -> str:
    """Return the report, and of each wrong property one case: inputs, what came, what is right."""
    seen: Seen = {}

    def see(check: Check, case: Case, inputs: SimpleNamespace, outcome: Mapping[str, Any]) -> None:
        seen[check.name, case.name] = inputs, outcome

    report = grade_as_set(kit, code, of, student=student, see=see)
    return as_text(report) + "\n".join(["", *_numbers(kit, report, seen), ""])


def _numbers(kit: Kit, report: Report, seen: Seen) -> Iterator[str]:
    checks = {(check.task, name): check for check in kit.checks for name in check.points}
    for task in report.tasks:
        for line in task.properties:
            check = checks[task.number, line.name]
            case = next((case for case in line.wrong if (check.name, case) in seen), None)
            if case is None:
                continue
            inputs, outcome = seen[check.name, case]
            yield f"---- {task.number} {line.name}, case {case!r} ----"
            for name, value in {**vars(inputs), **inputs.more}.items():
                if name not in ("case", "more"):
                    yield f"{name}: {shown(value)}"
            yield f"theirs: {shown(outcome[line.name])}"
            yield f"right: {shown(kit.answers.expected[check.name, case][line.name])}"
            yield ""


def shown(value: Any) -> str:
    """Return a value for people: of arrays the shape, the dtype and some numbers."""
    match value:
        case np.ndarray():
            numbers = np.array2string(value, precision=5, threshold=40, edgeitems=2)
            return f"{value.shape} {value.dtype}\n{numbers}"
        case Failure():
            return f"{value.kind}, line {value.line}" if value.line else value.kind
        case Unsent():
            return value.type_name
        case Mapping():
            return "\n".join(["", *(f"  {name}: {shown(item)}" for name, item in value.items())])
        case list() | tuple():
            return "\n".join(["", *(f"  {i}: {shown(item)}" for i, item in enumerate(value))])
    return repr(value)
