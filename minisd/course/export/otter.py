"""A master notebook for ``otter assign``: a question for each task, a hidden test a property.

A test is passed or not. So a property whose points can be earned in part has two tests, and the
sum is the same as with ``minisd course grade``.
"""

import json
from pathlib import Path

from minisd.course import bundle
from minisd.course.export import notebooks, packages
from minisd.course.export.notebooks import Cells, Graded
from minisd.course.source import Task

SECRET = "minisd-grading.zip"
CONFIG = """\
# ASSIGNMENT CONFIG
name: {name}
requirements:
    - /autograder/source/files/{wheel}
autograder_files:
    - {secret}
    - {wheel}
export_cell:
    pdf: false
generate:
    show_hidden: true
tests:
    ok_format: false
"""


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> str:
    """Write a folder for ``otter assign``: the master notebook, what grades it, minisd's wheel.

    Returns what is to be done with it. See `minisd.course.export`.
    """
    exported = bundle.export(folder, settings_path)
    name = exported.name
    asked = notebooks.graded(exported)
    packed = packages.wheels(wheels, needed=())
    (wheel,) = packed

    def of_task(task: Task, text: str) -> Cells:
        properties = [graded for graded in asked if graded.task == task.number]
        if not properties:
            return [notebooks.cell("code", text)] if task.names else []
        points = notebooks.number(sum(graded.points for graded in properties))
        question = f"# BEGIN QUESTION\nname: q{task.number.replace('.', '_')}\npoints: {points}\n"
        answer = [
            notebooks.cell("raw", "# BEGIN SOLUTION"),
            notebooks.cell("code", text),
            notebooks.cell("raw", "# END SOLUTION"),
        ]
        return [
            notebooks.cell("raw", question),
            notebooks.cell("markdown", f"**{task.number} {task.title}**: {points} points"),
            *(answer if task.names else []),
            notebooks.cell("raw", "# BEGIN TESTS"),
            _public(name, task.number),
            *(made for graded in properties for made in _hidden(name, graded)),
            notebooks.cell("raw", "# END TESTS"),
            notebooks.cell("raw", "# END QUESTION"),
        ]

    config = CONFIG.format(name=name, secret=SECRET, wheel=wheel)
    cells = [notebooks.cell("raw", config)]
    cells += notebooks.cells_of(exported.assignment, _marked, of_task)
    files: dict[str, str | bytes] = {
        f"{name}.ipynb": notebooks.notebook(cells),
        SECRET: bundle.zipped(exported.secret),
        **packed,
    }
    packages.write_folder(out, files)
    return f"in this folder: 'otter assign {name}.ipynb dist'; students get dist/student"


def _marked(indent: str, body: str, blank: str) -> str:
    """Return a solution; students get ``blank``, which stands in a string that otter opens."""
    quotes = f'{indent}"""'
    return (
        f"{indent}# BEGIN SOLUTION NO PROMPT\n{body}{indent}# END SOLUTION\n"
        f"{quotes} # BEGIN PROMPT\n{blank}{quotes} # END PROMPT\n"
    )


def _public(name: str, number: str) -> dict[str, object]:
    """Return a test that students can run: no points, public cases, and what is not right."""
    return _test("public", f'check("{name}", "{number}")', "check", points=0, hidden=False)


def _hidden(name: str, graded: Graded) -> Cells:
    """Return the tests of a property: one for each share of its points that can be earned."""
    cells, before = [], 0.0
    for step in graded.steps:
        call = f'ask("{name}", {json.dumps(graded.what)}, "{SECRET}", at_least={step:g})'
        cells.append(
            _test(
                f"{graded.identifier}_{step * 100:.0f}",
                call,
                "ask",
                points=round(graded.points * (step - before), 4),
                hidden=True,
                failure_message=f"{graded.what}: see below what was found",
            )
        )
        before = step
    return cells


def _test(name: str, call: str, imported: str, **config: object) -> dict[str, object]:
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())
    return notebooks.cell(
        "code",
        f'""" # BEGIN TEST CONFIG\n{lines}""" # END TEST CONFIG\n'
        f"def test_{name}():\n"
        f"    from minisd.course.ask import {imported}\n\n"
        f"    {call}\n",
    )
