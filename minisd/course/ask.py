"""What the cells of notebooks call on otter and nbgrader: how much of a property is right?

A platform runs the student's whole notebook, and then these cells, in one process. So nothing is
judged there. The notebook that was saved is judged in another process, which has the secret seed
and starts the sandbox of the student's code; it is judged once, whatever is asked of it.

The cells that call this are locked: what is locked is not taken for the student's code.
"""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from minisd.course import kit as kits
from minisd.course import report as reports
from minisd.course import submissions, variants
from minisd.course.report import Report
from minisd.errors import UserError
from minisd.readers import json_object

SECONDS = 300
"""Judging a notebook may take so long."""


class _Said:
    """An error of which a notebook shows the text alone: no line of the judge helps a student."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class NotRightError(_Said, AssertionError):
    """What was asked for is not right; the text says what was found."""


class CannotAskError(_Said, UserError):
    """It could not be asked for; the text says why."""


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise CannotAskError(str(error)) from error


@_in_a_sentence()
def ask(assignment: str, what: str, bundle: str, *, at_least: float | None = None) -> float:
    """Return which share of the points of a task or property the notebook has earned.

    The notebook is the one in the folder that this process was started in. What is not right is
    printed.

    Parameters
    ----------
    assignment : str
        Its name, "a2".
    what : str
        A task, "2.3", or a property of it, "2.3 dx".
    bundle : str
        Path, from that folder, of the zip that ``minisd course export`` has written.
    at_least : float, optional
        Raise an error, which says what is not right, if the share is smaller.

    Raises
    ------
    NotRightError
        If the share is smaller than ``at_least``.
    CannotAskError
        If there is no such notebook, bundle or property.
    """
    path = _notebook(assignment)
    code = submissions.read(path, assignment)
    judged = _answer(path, code.text, "-m", "minisd.course.bundle", bundle, str(path))
    share, said = _found(judged, what)
    if at_least is None:
        print(said, end="")
    elif share < at_least - 1e-9:
        raise NotRightError(said)
    return share


@_in_a_sentence()
def check(assignment: str, task: str) -> None:
    """Check a task of the saved notebook, as ``minisd course check`` does: with public cases.

    Raises
    ------
    NotRightError
        If something is not right; its text says what.
    CannotAskError
        If there is no such notebook, or it is not saved.
    """
    path = _notebook(assignment)
    code = submissions.read(path, assignment)
    kit = kits.public(assignment, variants.of_code(code.text) or variants.NONE)
    names = {name for t in kit.tasks for name in t.names}
    stale = _unsaved(code.text, names)
    if stale:
        raise UserError(
            f"{path.name}, as it is saved, has another {stale} than the one that you ran last: "
            "save it, or run its cells in their order"
        )
    judged = _answer(
        path, code.text, "-m", "minisd", "course", "check", assignment, str(path),
        *("--task", task, "--json"),
    )  # fmt: skip
    share, said = _found(judged, task)
    if share < 1:
        raise NotRightError(said)
    print(f"{task}: right, as far as the public cases go")


def _found(judged: dict[str, Any], what: str) -> tuple[float, str]:
    """Return a share, and what the report says of what is not right."""
    if "problem" in judged:
        raise UserError(judged["problem"])
    report = reports.from_json({field.name: judged[field.name] for field in fields(Report)})
    lines = [
        line
        for task in report.tasks
        for line in task.properties
        if what in (task.number, f"{task.number} {line.name}")
    ]
    if not lines:
        raise UserError(f"{report.assignment} has no {what!r} that is graded: export it again")
    said = [*report.remarks]
    for line in lines:
        if line.earned < line.points:
            said += reports.of_property(line, judged.get("hints", "all"))
    points = sum(line.points for line in lines)
    share = sum(line.earned for line in lines) / points
    return share, "".join(f"{text}\n" for text in said)


@functools.lru_cache(64)
def _answer(path: Path, text: str, *line: str) -> dict[str, Any]:
    """Run a command of minisd on a notebook; return the JSON that it prints, or the problem.

    It is run once for the same text, also if it fails. The working folder is not looked at for
    modules: what a student has put there must not stand for another.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", *line],
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        long = f"judging {path.name} took more than {SECONDS} seconds"
        return {"problem": f"{long}: does one of your functions never end?"}
    try:
        return json_object(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        said = f"the grader has failed ({last})"
        return {"problem": f"{said}: that is not your fault, tell your instructor"}


def _notebook(assignment: str) -> Path:
    """Return the notebook in the folder that this process was started in."""
    shell = _shell()
    here = Path(shell.starting_dir) if shell else Path.cwd()  # a cell may have gone elsewhere
    best = submissions.best_of([path.name for path in here.glob("*.ipynb")], assignment)
    if best is None:
        raise UserError(f"there is no {assignment}.ipynb in {here}: keep the name of the notebook")
    return here / best


def _shell() -> Any:
    """Return what runs the cells of this process, if it is a notebook's."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def _unsaved(text: str, names: set[str]) -> str:
    """Return the name of a function that this notebook has run in another form than the saved."""
    shell = _shell()
    if shell is None:
        return ""
    ran: dict[str, str] = {}
    for cell in shell.history_manager.input_hist_raw:
        ran |= _definitions(cell, names)
    saved = _definitions(text, names)
    return next((name for name in ran if ran[name] != saved.get(name)), "")


def _definitions(text: str, names: set[str]) -> dict[str, str]:
    """Return the last definition of each name in a text, without its comments."""
    try:
        tree = ast.parse(submissions.without_magics(text)[0])
    except (SyntaxError, ValueError):
        return {}
    return {
        node.name: ast.unparse(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    }
