"""``minisd course``: handouts and checks for students, grading for instructors."""

from functools import partial
from typing import Any

from minisd.cli import commands, course_after, course_staff, course_students


def add_to(parsers: Any) -> None:
    """Add the command and its actions to the parser."""
    parser = parsers.add_parser(
        "course",
        help="assignments: hand out, check, grade",
        description="Six assignments that are graded by properties, and a bank of mistakes.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    parser.set_defaults(command=partial(commands.print_help, parser))

    def add(function: Any, name: str, **options: Any) -> Any:
        summary = (function.__doc__ or "").partition("\n")[0]
        sub = actions.add_parser(name, help=summary, description=summary, **options)
        sub.set_defaults(command=function)
        return sub

    course_students.add_to(add)
    course_staff.add_to(add)
    course_after.add_to(add)
