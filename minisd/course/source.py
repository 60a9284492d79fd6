"""The source of an assignment: a script in cells, with the solution in marked regions.

A cell that begins with ``# %% task 2.3 NAME points=45 minutes=150`` is a task. In it, everything
between ``# solution: begin`` and ``# solution: end`` is the solution: it is the whole body of a
function, below its docstring. The handout has an error in its place that says "not written".
"""

import ast
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from minisd.course import variants
from minisd.errors import UserError
from minisd.readers import Kind

ASSIGNMENT = Kind(
    "the source of an assignment",
    UserError,
    if_missing="it is in tutorials/course of a checkout of minisd",
    if_damaged="take it from a checkout of minisd",
)
_CELL = re.compile(r"^# %%(?P<title>.*)$", re.MULTILINE)
_TASK = re.compile(
    r"task (?P<number>\d\.\d) (?P<title>.+?) points=(?P<points>\d+) minutes=(?P<minutes>\d+)$"
)
_HEADING = re.compile(r"# ## (?P<number>\d\.\d) ")
_REGION = re.compile(
    r"^(?P<indent> *)# solution: begin\n(?P<body>.*?)^ *# solution: end\n", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Cell:
    """A cell of the script: its first line without ``# %%``, and its text."""

    title: str
    text: str

    @property
    def is_task(self) -> bool:
        """Whether it is a task: then it is the next one of `Assignment.tasks`."""
        return _TASK.match(self.title) is not None


@dataclass(frozen=True)
class Task:
    """A task: what is asked, for how many points.

    Attributes
    ----------
    names : tuple of str
        The functions and classes to write.
    text : str
        The cell, with the solution.
    criteria : tuple of str
        What a person judges it by: the rows of ``rubric.md``. Empty if a machine does.
    """

    number: str
    title: str
    points: int
    minutes: int
    names: tuple[str, ...]
    text: str
    criteria: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """An assignment, read from its source.

    Attributes
    ----------
    files : dict
        By name: what is handed in with the code of the reference, as ``results.csv``.
    rubric : str
        ``rubric.md``, if there is one.
    variant : str
        See `varied`.
    before : str
        Of a variant: what its solution needs and no handout has.
    lift : str
        Of a variant: code that makes its functions from those of ``ordinary``.
    """

    name: str
    title: str
    cells: list[Cell]
    tasks: list[Task]
    files: dict[str, bytes] = field(default_factory=dict)
    rubric: str = ""
    variant: str = variants.NONE
    before: str = ""
    lift: str = ""

    @property
    def points(self) -> int:
        """All of its tasks together."""
        return sum(task.points for task in self.tasks)

    @property
    def hours(self) -> float:
        """The time that it takes, estimated."""
        return sum(task.minutes for task in self.tasks) / 60

    @property
    def solution(self) -> str:
        """The code of all cells, with the solutions."""
        code = [cell.text for cell in self.cells if "[markdown]" not in cell.title]
        return "\n\n".join([self.before, *code] if self.before else code)

    @property
    def shared(self) -> list[str]:
        """The code of cells that are no tasks."""
        return [
            c.text for c in self.cells if "[markdown]" not in c.title and not _TASK.match(c.title)
        ]

    def solution_of(self, task: Task) -> str:
        """Return the code of a task, with what it needs from cells that are no tasks."""
        before = [self.before] if "ordinary." in task.text else []
        return "\n\n".join([*before, *self.shared, task.text])

    def blank(self, text: str) -> str:
        """Return ``text`` with each solution replaced by an error that says "not written"."""
        return self.rewritten(text, lambda indent, body, blank: blank)

    def rewritten(self, text: str, write: Callable[[str, str, str], str]) -> str:
        """Return ``text`` with ``write(indent, body, blank)`` in the place of each solution.

        ``body`` is the solution, and ``blank`` what the handout has instead, as whole lines.
        """
        number_of = {name: task.number for task in self.tasks for name in task.names}

        def region_of(region: re.Match[str]) -> str:
            defined = re.findall(r"^(?:def|class) (\w+)", text[: region.start()], re.MULTILINE)
            name = defined[-1]
            message = f"task {number_of[name]}: {name}"
            blank = f'{region["indent"]}raise NotImplementedError("{message}")\n'
            body = region["body"]
            if "ordinary." in body:  # so that it stands alone
                body = textwrap.indent(f"{self.before}\n", region["indent"]) + body
            return write(region["indent"], body, blank)

        return _REGION.sub(region_of, text)


def read(path: Path) -> Assignment:
    """Read the source of an assignment, ``.../a2_convolution/assignment.py``.

    Raises
    ------
    UserError
        If it is missing, or a task has no solution.
    """
    rubric, criteria = _rubric(path.parent / "rubric.md")
    files = _files(path.parent)
    with ASSIGNMENT.reading(path) as file:
        cells = _cells(file.text())
        title = cells[0].text.partition("\n")[0].lstrip("# ")
        name = path.parent.name.partition("_")[0]
        tasks = _tasks(cells, rubric, criteria)
        return Assignment(name, title, cells, tasks, files, rubric)


def varied(ordinary: Assignment, path: Path) -> Assignment:
    """Read the source of a variant, ``.../a2_convolution/variants/dilation/assignment.py``.

    It has the cells that are not as in the ordinary assignment: tasks, and prose by the number of
    its heading. Their solutions may call ``ordinary.conv2d_forward`` and so on, and functions of a
    cell ``# %% lift``. So the same code *lifts* any implementation of the ordinary assignment,
    right or wrong: it makes one of the variant.

    Raises
    ------
    UserError
        If it is missing, or one of its cells replaces none.
    """
    variant = path.parent.name
    with ASSIGNMENT.reading(path) as file:
        cells = _cells(file.text())
        lift = [cell.text for cell in cells if cell.title == "lift"]
        new = {_place(cell): cell for cell in cells if cell.title != "lift"}
        merged = [new.get(_place(cell), cell) for cell in ordinary.cells]
        if unused := [place for place in new if place not in map(_place, ordinary.cells)]:
            raise ValueError(f"{', '.join(unused)} replaces nothing")
        title = f"{ordinary.title} (variant {variant})"
        merged[0] = replace(merged[0], text=merged[0].text.replace(ordinary.title, title, 1))
        code = next(i for i, cell in enumerate(merged) if not cell.title)
        marked = f"{variants.line(variant)}\n{merged[code].text}"
        merged[code] = replace(merged[code], text=marked)
        within = textwrap.indent(f"{ordinary.solution}\nreturn locals()\n", "    ")
        before = [
            f"import types\n\n\ndef _ordinary():\n{within}",
            "ordinary = types.SimpleNamespace(**_ordinary())\n",
            *lift,
        ]
        changed = [cell.text for cell in new.values() if "[markdown]" not in cell.title]
        criteria = next((task.criteria for task in ordinary.tasks if task.criteria), ())
        return replace(
            ordinary,
            title=title,
            cells=merged,
            tasks=_tasks(merged, ordinary.rubric, criteria),
            files={**ordinary.files, **_files(path.parent)},
            variant=variant,
            before="\n\n".join(before),
            lift="\n\n".join([*ordinary.shared, *lift, *changed]),
        )


def _cells(text: str) -> list[Cell]:
    places = [*_CELL.finditer(text)]
    ends = [place.start() for place in places[1:]] + [len(text)]
    return [
        Cell(place["title"].strip(), text[place.end() + 1 : end].strip("\n") + "\n")
        for place, end in zip(places, ends, strict=True)
    ]


def _tasks(cells: list[Cell], rubric: str, criteria: tuple[str, ...]) -> list[Task]:
    tasks = []
    for cell in cells:
        head = _TASK.match(cell.title)
        if head is None:
            continue
        names = defined_names(cell.text)
        if names and not _REGION.search(cell.text):
            raise ValueError(f"task {head['number']} has no solution")
        number, points, minutes = head["number"], int(head["points"]), int(head["minutes"])
        by_person = criteria if rubric.startswith(f"# {number} ") else ()
        tasks.append(Task(number, head["title"], points, minutes, names, cell.text, by_person))
    return tasks


def _files(folder: Path) -> dict[str, bytes]:
    """Return what the reference hands in with its code, by name."""
    files = {}
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.json")]):
        with ASSIGNMENT.reading(path) as file:
            files[path.name] = file.bytes()
    return files


def _place(cell: Cell) -> str:
    """Return what a cell of a variant has in common with the one that it replaces."""
    head = _TASK.match(cell.title) or _HEADING.match(cell.text)
    kind = cell.title.partition(" ")[0]
    return f"{kind} {head['number']}" if head else cell.text.partition("\n")[0]


def _rubric(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a rubric, "# 6.5 ..." with a table, and the first column of its rows."""
    if not path.exists():
        return "", ()
    with ASSIGNMENT.reading(path) as file:
        text = file.text()
    _, _, *rows = [line for line in text.split("\n") if line.startswith("|")]
    return text, tuple(row.split("|")[1].strip() for row in rows)


def regions(text: str) -> list[str]:
    """Return the solutions in ``text``."""
    return [region["body"] for region in _REGION.finditer(text)]


def defined_names(text: str) -> tuple[str, ...]:
    """Return the names of the functions and classes that a cell defines."""
    return tuple(
        node.name
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
