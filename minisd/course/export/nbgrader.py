"""A notebook for nbgrader: the cells that grade are hidden, and have one call and no numbers.

A cell has the points of one property. Its last value is what the student has earned of them, and
what it prints are the sentences of the report.
"""

import json
from pathlib import Path
from typing import Any

from minisd.course import bundle
from minisd.course.ask import SECONDS
from minisd.course.export import notebooks, packages
from minisd.course.export.notebooks import Cells, Graded
from minisd.course.source import Task
from minisd.errors import UserError

CONFIG = f"""\
# Lines for the nbgrader_config.py of your course.
c = get_config()
c.ExecutePreprocessor.timeout = {SECONDS + 60}  # seconds; the first cell that grades judges all
"""


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> str:
    """Write a folder like that of a course: the notebook in ``source``, and what grades it.

    Returns what is to be done with it. See `minisd.course.export`.
    """
    if wheels is not None:
        raise UserError("nbgrader runs where minisd is installed: leave out --wheels")
    exported = bundle.export(folder, settings_path)
    name = exported.name
    secret = f"minisd-grading-{name}.zip"
    asked = notebooks.graded(exported)

    def of_task(task: Task, text: str) -> Cells:
        identifier = f"{name}-{task.number.replace('.', '-')}"
        cells = []
        if task.names:
            cells.append(_cell(text, identifier, solution=True))
        properties = [graded for graded in asked if graded.task == task.number]
        if properties:
            cells.append(_cell(_public(name, task.number), f"{identifier}-check", locked=True))
        cells += [_graded(name, graded, secret) for graded in properties]
        return cells

    files: dict[str, str | bytes] = {
        f"source/{name}/{name}.ipynb": notebooks.notebook(
            list(notebooks.cells_of(exported.assignment, _marked, of_task))
        ),
        secret: bundle.zipped(exported.secret),
        "nbgrader_config.py": CONFIG,
    }
    packages.write_folder(out, files)
    return (
        f"copy source/{name} and {secret} into the folder of your course, and the line of "
        f"nbgrader_config.py; then 'nbgrader generate_assignment {name}'"
    )


def _marked(indent: str, body: str, blank: str) -> str:
    return f"{indent}### BEGIN SOLUTION\n{body}{indent}### END SOLUTION\n"


def _cell(text: str, grade_id: str, **about: Any) -> dict[str, Any]:
    kinds = {"grade": False, "solution": False, "locked": False, "task": False}
    return notebooks.cell(
        "code", text, nbgrader={"schema_version": 3, "grade_id": grade_id, **kinds, **about}
    )


def _public(name: str, number: str) -> str:
    return (
        "# Save the notebook, then run this cell: it checks what is saved.\n"
        "import minisd.course.ask\n\n"
        f'minisd.course.ask.check("{name}", "{number}")'
    )


def _graded(name: str, graded: Graded, secret: str) -> dict[str, Any]:
    points, what = notebooks.number(graded.points), json.dumps(graded.what)
    text = (
        f"# {graded.what}: {points} points. The same property is graded, with other numbers.\n"
        "### BEGIN HIDDEN TESTS\n"
        "import minisd.course.ask\n\n"
        f'{points} * minisd.course.ask.ask("{name}", {what}, "../../../{secret}")\n'
        "### END HIDDEN TESTS"
    )
    identifier = f"{name}-{graded.identifier.replace('_', '-')}"
    return _cell(text, identifier, grade=True, locked=True, points=graded.points)
