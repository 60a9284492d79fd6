"""The bank of an assignment: realistic wrong answers, and right ones in an unusual form.

A function below ``@mistake(...)`` or ``@right(...)`` takes the place of the function of the same
name in the solution. A function named ``_`` returns all that it replaces, by name: functions, and
files that are handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minisd.course import source
from minisd.course.checks import Mistake
from minisd.course.worker import STUDENT_FILE

Function = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """An answer of the bank.

    Attributes
    ----------
    about : Mistake
        Of a right answer: with a name, and nothing to say.
    loses : tuple of str
        The properties that it loses, and no others.
    loses_hidden : tuple of str
        Those of them that only a hidden case loses.
    functions : dict
        What it replaces in the solution.
    """

    about: Mistake
    loses: tuple[str, ...]
    functions: dict[str, Function]
    loses_hidden: tuple[str, ...] = ()


class Bank:
    """Collects the entries of a file. Its methods are the decorators that the file uses."""

    def __init__(self) -> None:
        self.mistakes: list[Entry] = []
        self.right_answers: list[Entry] = []
        self.left_out: dict[tuple[str, str], str] = {}

    @property
    def all(self) -> list[Entry]:
        """All entries."""
        return [*self.mistakes, *self.right_answers]

    def leave_out(self, task: str, *names: str, why: str) -> None:
        """In a variant: these mistakes of the ordinary bank mean nothing, or look like others."""
        self.left_out |= {(task, name): why for name in names}

    def mistake(
        self,
        task: str,
        name: str,
        *,
        loses: tuple[str, ...],
        says: str,
        look: str,
        read: str = "",
        loses_hidden: tuple[str, ...] = (),
    ) -> Callable[[Function], Function]:
        """Add a wrong answer. Two with the same name are two forms of one mistake."""
        about = Mistake(task, name, says, look, read)
        return self._adder(self.mistakes, about, loses, loses_hidden)

    def right(
        self, task: str, name: str, *, loses: tuple[str, ...] = ()
    ) -> Callable[[Function], Function]:
        """Add a right answer; it may lose "growth", if it has loops."""
        return self._adder(self.right_answers, Mistake(task, name, "", ""), loses)

    def _adder(
        self,
        entries: list[Entry],
        about: Mistake,
        loses: tuple[str, ...],
        loses_hidden: tuple[str, ...] = (),
    ) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            several = function.__name__ == "_"
            functions = function() if several else {function.__name__: function}
            entries.append(Entry(about, loses, functions, loses_hidden))
            return function

        return add


def namespace(text: str) -> dict[str, Any]:
    """Run a solution, and return what it defines."""
    names: dict[str, Any] = {"__name__": "solution"}
    exec(compile(text, STUDENT_FILE, "exec"), names)
    return names


def of(assignment: source.Assignment) -> dict[str, Any]:
    """Return what the reference defines, and the files that it hands in, by their names."""
    return {**namespace(assignment.solution), **assignment.files}


def read(folder: Path, solution: dict[str, Any]) -> Bank:
    """Run ``mistakes.py`` and ``right.py`` of an assignment's source, or of a variant's.

    They see the decorators ``mistake`` and ``right``, and ``solution.conv2d_forward`` and so on; a
    variant also ``leave_out``.
    """
    bank = Bank()
    for name in ("mistakes.py", "right.py"):
        path = folder / name
        with source.ASSIGNMENT.reading(path) as file:
            text = file.text()
        names = {
            "mistake": bank.mistake,
            "right": bank.right,
            "leave_out": bank.leave_out,
            "solution": SimpleNamespace(**solution),
            "__name__": name,
        }
        exec(compile(text, STUDENT_FILE, "exec"), names)  # so that its work is counted, too
    return bank
