"""Wrong answers that several students have given, and that the bank has no name for.

All students had the same inputs, so the same mistake gives the same numbers. Who adopts such a
group as a mistake of the bank, has it named from then on: names change feedback, never points.
"""

import ast
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisd.course import bank as banks
from minisd.course import kit as kits
from minisd.course.answers import IMITATION
from minisd.course.graded import Result, save_text
from minisd.course.scan import scan
from minisd.course.source import ASSIGNMENT, Assignment, Task
from minisd.errors import UserError

Outcome = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Students whose answers to a task are wrong in the same way.

    Attributes
    ----------
    properties : tuple of str
        In which they are.
    students : tuple of str
    says : str
        What their reports say of the first property.
    """

    task: str
    properties: tuple[str, ...]
    students: tuple[str, ...]
    says: str


def groups(results: list[Result]) -> list[Group]:
    """Return the groups of equal wrong answers without a name, the largest first."""
    lines_of: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for task, name, says, students in _by_property(results):
        lines_of.setdefault((task, students), []).append((name, says))
    made = [
        Group(task, tuple(name for name, _ in lines), students, lines[0][1])
        for (task, students), lines in lines_of.items()
    ]
    return sorted(made, key=lambda g: (-len(g.students), g.task, g.properties, g.students))


def _by_property(results: list[Result]) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yield task, property, what is said, and the students, for each wrong answer to a property."""
    alike: dict[tuple[str, str], list[tuple[Outcome, str, list[str]]]] = {}
    for result in results:
        for task in result.report.tasks if result.report else ():
            for line in task.properties:
                if line.outcome is None or line.diagnosis is None:
                    continue
                of_property = alike.setdefault((task.number, line.name), [])
                for outcome, _, students in of_property:
                    if _is_same(line.outcome, outcome):
                        students.append(result.student)
                        break
                else:
                    of_property.append((line.outcome, line.diagnosis.says, [result.student]))
    for (number, name), entries in alike.items():
        for _, says, students in entries:
            yield number, name, says, tuple(students)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two outcomes are equal but for rounding; their arrays are fingerprints."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return False
        if "projections" in one:
            return one["shape"] == other["shape"] and _is_near(one, other)
        return all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=IMITATION, abs_tol=IMITATION)
    return bool(one == other)


def _is_near(one: Any, other: Any) -> bool:
    size = math.prod(one["shape"])
    limit = 4 * IMITATION * math.sqrt(size) * (float(other["scale"]) or 1.0)
    pairs = zip(one["projections"], other["projections"], strict=True)
    return all(a == b or abs(float(a) - float(b)) <= limit for a, b in pairs)


def as_markdown(title: str, listed: list[Group]) -> str:
    """Return the groups as a table; the number of a group is what `adopt` asks for."""
    lines = [
        f"# {title}: wrong answers without a name",
        "",
        "All students had the same inputs, so equal numbers are one mistake, and no copy.",
        "",
        "| group | students | task | properties | the report says | who |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, group in enumerate(listed, 1):
        who = ", ".join(group.students[:5]) + (", ..." if len(group.students) > 5 else "")
        names = ", ".join(group.properties)
        cells = (number, len(group.students), group.task, names, group.says, who)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


# ---- adopting one ----


def adopt(
    group: Group, name: str, results: list[Result], assignment: Assignment, bank: Path
) -> int:
    """Add a group to ``mistakes.py`` as a mistake with this name; return its line there.

    Its code is that of the first of its students, without comments: read it, since it runs in the
    instructor's own process from now on. What it says is left for the instructor to write.

    Raises
    ------
    UserError
        If the name is taken, or their code has no function of the task, or names that have no place
        in an answer.
    """
    task = next(task for task in assignment.tasks if task.number == group.task)
    with ASSIGNMENT.reading(bank) as file:
        text = file.text()
    names = banks.of(assignment)
    known = {(e.about.task, e.about.name) for e in banks.read(bank.parent, names).mistakes}
    if (group.task, name) in known:
        raise UserError(f"{bank} has a mistake {group.task} {name} already: choose another name")
    result = next(result for result in results if result.student == group.students[0])
    scanned = scan(result.code, kits.public(assignment.name).allowed)
    if scanned.answers or scanned.flags:
        raise UserError(
            f"the code of {result.student} {', '.join([*scanned.answers, *scanned.flags])}, and a "
            "mistake of the bank runs in your own process: write this one yourself"
        )
    stub = _stub(group, name, task, result.code, assignment)
    save_text(bank, f"{text.rstrip()}\n\n\n{stub}")
    return text.rstrip().count("\n") + 4


def _stub(group: Group, name: str, task: Task, code: str, assignment: Assignment) -> str:
    others = {n for other in assignment.tasks if other is not task for n in other.names}
    tree = ast.parse(code)
    needed = _needed(tree, set(task.names), others)
    if not any(set(task.names) & _defined(node) for node in needed):
        raise UserError(f"{group.students[0]} has written none of {', '.join(task.names)}")
    used = {node.id for part in needed for node in ast.walk(part) if isinstance(node, ast.Name)}
    body = [f"    {other} = solution.{other}" for other in sorted(others & used)]
    for node in needed:
        body += ["", textwrap.indent(ast.unparse(node), "    ")]
    written = [n for n in task.names if any(n in _defined(node) for node in needed)]
    returned = ", ".join(f'"{n}": {n}' for n in written)
    return "\n".join(
        [
            "@mistake(",
            f'    "{group.task}",',
            f'    "{name}",',
            f"    loses={group.properties!r},",
            f"    says={group.says!r},  # say what was found, in their words",
            '    look="",  # a question that lets them find it',
            ")",
            f"def _():  # {len(group.students)} students",
            *body,
            "",
            f"    return {{{returned}}}",
            "",
        ]
    )


def _needed(tree: ast.Module, names: set[str], given: set[str]) -> list[ast.stmt]:
    """Return the statements of a file that these names need, directly or not, in their order."""
    wanted, needed = set(names), set[int]()
    while True:
        found = {
            i
            for i, node in enumerate(tree.body)
            if i not in needed and _defined(node) & wanted and not _defined(node) & given
        }
        if not found:
            return [tree.body[i] for i in sorted(needed)]
        needed |= found
        wanted |= {
            node.id for i in found for node in ast.walk(tree.body[i]) if isinstance(node, ast.Name)
        }


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement at module level defines."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
