"""The report of a submission: what was found, property by property, as text, Markdown and JSON."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from minisd.course.diagnose import EMPTY, Diagnosis

HINTS = ("first", "where", "all")
"""Levels of hints: what fails; where to look, too; the name of the mistake, too."""
STEPWISE = "stepwise"
"""Instead of a level: one level more with each submission that has failed in the same property."""


@dataclass(frozen=True)
class PropertyReport:
    """One line of the report.

    Attributes
    ----------
    earned : float
        Of ``points``.
    right, wrong : list of str
        The cases for which it holds, and for which not.
    outcome : dict, optional
        By case the fingerprint of what was found, where no mistake that has a name explains it.
    failed_before : int
        Earlier submissions of this student in which it failed, too.
    """

    name: str
    points: float
    earned: float
    right: list[str]
    wrong: list[str]
    diagnosis: Diagnosis | None = None
    remark: str = ""
    outcome: dict[str, Any] | None = None
    failed_before: int = 0

    @property
    def mark(self) -> str:
        """Return "right" or "wrong"; or "given" if a person has given the points, not cases."""
        if not self.right and not self.wrong and self.diagnosis is None:
            return "given"
        return "right" if self.earned == self.points else "wrong"


@dataclass
class TaskReport:
    """The properties of one task.

    Attributes
    ----------
    waiting : float
        Points that a person will give, and has not given yet.
    """

    number: str
    title: str
    properties: list[PropertyReport] = field(default_factory=list)
    waiting: float = 0

    @property
    def shown(self) -> list[PropertyReport]:
        """The properties to list: one for all, if nothing of the task is written."""
        if self.properties and all(line.diagnosis == EMPTY for line in self.properties):
            return [PropertyReport("all of it", self.points, 0, [], [], EMPTY)]
        return self.properties

    @property
    def points(self) -> float:
        """That can be earned."""
        return sum(p.points for p in self.properties)

    @property
    def earned(self) -> float:
        """That are earned."""
        return sum(p.earned for p in self.properties)

    @property
    def head(self) -> str:
        """Number, title, and how many points."""
        points = f"{self.earned:g} of {self.points:g}"
        if self.waiting:
            points = f"{self.waiting:g} points, judged by a person: not yet"
        return f"{self.number} {self.title}: {points}"


@dataclass
class Report:
    """Everything that was found of a submission. The same submission and seed give the same one."""

    assignment: str
    title: str
    seed_digest: str
    isolation: int
    tasks: list[TaskReport]
    flags: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def points(self) -> float:
        """That can be earned."""
        return sum(task.points for task in self.tasks)

    @property
    def earned(self) -> float:
        """That are earned."""
        return sum(task.earned for task in self.tasks)

    @property
    def mistakes(self) -> list[str]:
        """The names of all mistakes that were found, as "2.3 no-accumulate"."""
        return [
            f"{task.number} {line.diagnosis.name}"
            for task in self.tasks
            for line in task.properties
            if line.diagnosis and line.diagnosis.name
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON, without fingerprints."""
        content = asdict(self)
        for task in content["tasks"]:
            for line in task["properties"]:
                del line["outcome"]
        return {
            **content,
            "earned": self.earned,
            "points": self.points,
            "mistakes": self.mistakes,
        }


def weighted(report: Report, points: Mapping[str, float]) -> Report:
    """Return the report with these points of some tasks, shared out in the same proportions."""
    tasks = []
    for task in report.tasks:
        if task.waiting:
            tasks.append(replace(task, waiting=points.get(task.number, task.waiting)))
            continue
        scale = points.get(task.number, task.points) / (task.points or 1)
        lines = [
            replace(line, points=scale * line.points, earned=scale * line.earned)
            for line in task.properties
        ]
        tasks.append(TaskReport(task.number, task.title, lines) if scale != 1 else task)
    return replace(report, tasks=tasks)


def failing_before(report: Report, times: Mapping[tuple[str, str], int]) -> Report:
    """Note in how many earlier submissions each property, as (task, name), has failed."""
    tasks = [
        replace(
            task,
            properties=[
                replace(line, failed_before=times.get((task.number, line.name), 0))
                for line in task.properties
            ],
        )
        for task in report.tasks
    ]
    return replace(report, tasks=tasks)


def from_json(content: dict[str, Any]) -> Report:
    """Return the report that was stored as the JSON of its fields."""
    tasks = [
        TaskReport(
            task["number"],
            task["title"],
            [
                PropertyReport(**{**p, "diagnosis": p["diagnosis"] and Diagnosis(**p["diagnosis"])})
                for p in task["properties"]
            ],
            task.get("waiting", 0),
        )
        for task in content["tasks"]
    ]
    return Report(**{**content, "tasks": tasks})


def as_text(report: Report, *, hints: str = "all") -> str:
    """Return the report for a terminal."""
    return "\n".join(_lines(report, hints)) + "\n"


def _lines(report: Report, hints: str) -> Iterator[str]:
    yield f"{report.title}: {report.earned:g} of {report.points:g} points"
    yield from (f"note: {remark}" for remark in report.remarks)
    for task in report.tasks:
        yield ""
        yield task.head
        for line in task.shown:
            yield from (f"  {text}" for text in of_property(line, hints))


def of_property(line: PropertyReport, hints: str) -> Iterator[str]:
    """Yield the lines of the report on a property."""
    yield f"{line.mark}  {line.name}: {line.earned:g} of {line.points:g}"
    yield from (f"       {text}" for text in explained(line, hints))


def explained(line: PropertyReport, hints: str) -> Iterator[str]:
    """Yield what the report says of a property that is not right."""
    level = min(line.failed_before, 2) if hints == STEPWISE else HINTS.index(hints)
    diagnosis = line.diagnosis
    if diagnosis is None:
        yield from [line.remark] * bool(line.remark)
        return
    if line.right:
        yield f"holds for: {'; '.join(line.right)}. Not for: {'; '.join(line.wrong)}"
    if level >= 2 or not diagnosis.look:
        yield diagnosis.says
    if level >= 1 and diagnosis.look:
        yield diagnosis.look
    if level >= 2 and diagnosis.read:
        yield f"read again: tutorial {diagnosis.read}"
    if line.remark:
        yield line.remark


def as_markdown(report: Report, *, hints: str = "all") -> str:
    """Return the report as Markdown; everything that came from a student is escaped."""
    parts = [f"# {report.title}", "", f"**{report.earned:g} of {report.points:g} points**", ""]
    parts += [f"- {_escaped(text)}" for text in report.remarks]
    for task in report.tasks:
        parts += ["", f"## {task.head}", ""]
        for line in task.shown:
            mark = {"right": "[x] ", "wrong": "[ ] ", "given": ""}[line.mark]
            parts.append(f"- {mark}{line.name}: {line.earned:g} of {line.points:g}")
            parts += [f"  - {_escaped(text)}" for text in explained(line, hints)]
    foot = f"Graded with seed {report.seed_digest}, isolation {report.isolation}."
    return "\n".join([*parts, "", foot, ""])


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}h2{margin-top:2rem;font-size:1.1rem;border-bottom:1px solid #ccc}"
    "ul{list-style:none;padding-left:0}li{margin:.6rem 0}p{margin:.2rem 0 .2rem 1.6rem;color:#444}"
    ".right:before{content:'\\2713  ';color:#176f2c}.wrong:before{content:'\\2717  ';color:#a11}"
    "footer{margin-top:3rem;color:#666;font-size:.85rem}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}p{color:#bbb}"
    ".right:before{color:#6c6}.wrong:before{color:#f77}}"
)


def as_html(report: Report, *, hints: str = "all") -> str:
    """Return the report as one HTML page, without scripts."""
    title = html.escape(f"{report.title}: {report.earned:g} of {report.points:g} points")
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
        *(f"<p>{html.escape(text)}</p>" for text in report.remarks),
    ]
    for task in report.tasks:
        parts.append(f"<h2>{html.escape(task.head)}</h2><ul>")
        for line in task.shown:
            name = html.escape(f"{line.name}: {line.earned:g} of {line.points:g}")
            said = "".join(f"<p>{html.escape(text)}</p>" for text in explained(line, hints))
            parts.append(f'<li><span class="{line.mark}">{name}</span>{said}</li>')
        parts.append("</ul>")
    foot = f"Graded with seed {report.seed_digest}, isolation {report.isolation}."
    return "\n".join([*parts, f"<footer>{foot}</footer></body></html>", ""])
