"""``minisd course``: handouts and checks for students, grading for instructors."""

import argparse
import typing
from typing import Any

from minisd.cli import course_after, course_staff, course_students


def add_to(parsers: Any) -> None:
    """Add the command and its actions to the parser."""
    parser = parsers.add_parser(
        "course",
        help="assignments: hand out, check, grade",
        description="Six assignments that are graded by properties, and a bank of mistakes.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(function: Any, name: str, **options: Any) -> argparse.ArgumentParser:
        summary = (function.__doc__ or "").partition("\n")[0]
        sub = actions.add_parser(name, help=summary, description=summary, **options)
        sub.set_defaults(command=function)
        return typing.cast(argparse.ArgumentParser, sub)

    course_students.add_to(add)
    course_staff.add_to(add)
    course_after.add_to(add)
