"""The source of an assignment in one of its variants: tasks, solution and bank."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

from minisd.course import bank as banks
from minisd.course import source, variants
from minisd.course.bank import Bank, Entry
from minisd.course.source import Assignment
from minisd.course.worker import STUDENT_FILE


@dataclass(frozen=True)
class Material:
    """What an assignment is made of.

    Attributes
    ----------
    solution : dict
        Its functions and classes by name.
    own : Bank
        Of a variant: the part of its bank that only it has. Else the whole bank.
    """

    assignment: Assignment
    solution: dict[str, Any]
    bank: Bank
    own: Bank


def names(folder: Path) -> list[str]:
    """Return the variants of an assignment that have a source, the ordinary one first."""
    found = sorted(path.parent.name for path in folder.glob("variants/*/assignment.py"))
    return [variants.NONE, *found]


def folder_of(folder: Path, variant: str) -> Path:
    """Return the folder with the source of a variant."""
    return folder if variant == variants.NONE else folder / "variants" / variant


def read(folder: Path, variant: str = variants.NONE) -> Material:
    """Read the source of an assignment.

    Parameters
    ----------
    folder : path
        ``tutorials/course/a2_convolution``.
    variant : str
        The bank of a variant has every entry of the ordinary one, lifted (see `source.varied`),
        but for those that it leaves out; and its own.

    Raises
    ------
    UserError
        If there is no such source, or it is damaged.
    """
    ordinary = source.read(folder / "assignment.py")
    functions = banks.of(ordinary)
    bank = banks.read(folder, functions)
    if variant == variants.NONE:
        return Material(ordinary, functions, bank, bank)
    path = folder_of(folder, variant)
    assignment = source.varied(ordinary, path / "assignment.py")
    solution = banks.of(assignment)
    own = banks.read(path, solution)
    whole = Bank()
    lift = compile(assignment.lift, STUDENT_FILE, "exec")
    whole.mistakes = [
        *_lifted(lift, assignment, functions, bank.mistakes, own.left_out), *own.mistakes
    ]  # fmt: skip
    whole.right_answers = [
        *_lifted(lift, assignment, functions, bank.right_answers), *own.right_answers
    ]  # fmt: skip
    return Material(assignment, solution, whole, own)


def lifted(assignment: Assignment, functions: dict[str, Any]) -> dict[str, Any]:
    """Make an implementation of a variant from one of the ordinary assignment."""
    return _lift(compile(assignment.lift, STUDENT_FILE, "exec"), assignment, functions)


def _lift(code: CodeType, assignment: Assignment, functions: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"ordinary": SimpleNamespace(**functions), "__name__": "solution"}
    exec(code, names)
    wanted = {name for task in assignment.tasks for name in task.names}
    return {name: value for name, value in names.items() if name in wanted}


def _lifted(
    code: CodeType,
    assignment: Assignment,
    functions: dict[str, Any],
    entries: list[Entry],
    left_out: dict[tuple[str, str], str] | None = None,
) -> Iterator[Entry]:
    for entry in entries:
        if (entry.about.task, entry.about.name) not in (left_out or {}):
            made = _lift(code, assignment, {**functions, **entry.functions})
            yield replace(entry, functions={**entry.functions, **made})
