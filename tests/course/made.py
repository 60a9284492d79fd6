"""A made-up class: the reference with mistakes of the bank, in the forms that students use."""

import ast
import json
import zipfile
from pathlib import Path

import numpy as np

from minisd.course import bank as banks
from minisd.course import source

BEFORE = """
from types import SimpleNamespace

solution = SimpleNamespace(**vars())
made, wanted = dict(), {wanted}

def mistake(task, name, **words):
    def keep(function):
        if (task, name) in wanted:
            several = function.__name__ == "_"
            made.update(function() if several else dict([(function.__name__, function)]))
        return function
    return keep
"""


def answers(folder: Path, mistakes: set[tuple[str, str]], blank: set[str] = frozenset()) -> str:
    """Return a student's file: the reference with these mistakes, given as (task, name).

    ``blank`` are tasks that are not written.
    """
    assignment = source.read(folder / "assignment.py")
    names = [name for task in assignment.tasks for name in task.names]
    cells = []
    for cell in assignment.cells:
        number = cell.title.split(" ")[1] if cell.title.startswith("task") else ""
        if "[markdown]" not in cell.title:
            cells.append(assignment.blank(cell.text) if number in blank else cell.text)
    tree = ast.parse((folder / "mistakes.py").read_text())
    tree.body = [node for node in tree.body if is_needed(node, mistakes)]
    before = BEFORE.format(wanted=sorted(mistakes))
    last = [f"{name} = made.get({name!r}, solution.{name})" for name in names]
    return "\n\n".join([*cells, before, ast.unparse(tree), "\n".join(last), ""])


def known(folder: Path) -> list[tuple[str, str]]:
    """Return task and name of every mistake of the bank."""
    solution = banks.of(source.read(folder / "assignment.py"))
    entries = banks.read(folder, solution).mistakes
    return list(dict.fromkeys((entry.about.task, entry.about.name) for entry in entries))


def is_needed(node: ast.stmt, mistakes: set[tuple[str, str]]) -> bool:
    """Whether a statement of the bank's file is more than a mistake that is not wanted."""
    for call in getattr(node, "decorator_list", []):
        words = [a.value for a in getattr(call, "args", [])[:2] if isinstance(a, ast.Constant)]
        if len(words) == 2 and tuple(words) not in mistakes:
            return False
    return True


def hand_in(folder: Path, out: Path, students: int, seed: int = 0) -> dict[str, set]:
    """Write a class of submissions into ``out``; return the mistakes of each student.

    One in ten leaves tasks out, one in five hands in a notebook, one in five a zip.
    """
    rng = np.random.default_rng(seed)
    name = folder.name[:2]
    bank = known(folder)
    tasks = sorted({task for task, _ in bank})
    chosen = {}
    for number in range(students):
        student = f"student_{number:03d}"
        mistakes, blank = set(), set()
        for task in tasks:
            of_task = [entry for entry in bank if entry[0] == task]
            if number % 10 == 9 and rng.random() < 0.5:
                blank.add(task)
            elif number % 7 and rng.random() < 0.4:  # one in seven makes none
                mistakes.add(of_task[rng.integers(len(of_task))])
        code = answers(folder, mistakes, blank)
        place = out / student
        place.mkdir(parents=True)
        if number % 5 == 1:
            cells = [{"cell_type": "code", "source": code.splitlines(keepends=True)}]
            text = json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})
            (place / f"{name}.ipynb").write_text(text)
        elif number % 5 == 2:
            with zipfile.ZipFile(place / f"{name}.zip", "w") as archive:
                archive.writestr(f"{name}.py", code)
        else:
            (place / f"{name}.py").write_text(code)
        chosen[student] = mistakes | {(task, "G-empty") for task in blank}
    return chosen
