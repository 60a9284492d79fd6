"""Making the handouts of an assignment from its source: script, notebook, README, fingerprints."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from minisd.course import grading, source, variants
from minisd.course import kit as kits
from minisd.course import material as materials
from minisd.course.answers import answer_all
from minisd.course.kit import Kit
from minisd.files import write_atomically


def handout(assignment: source.Assignment) -> str:
    """Return the script that students get: every solution is an error that says "not written"."""
    parts = []
    for cell in assignment.cells:
        head = f"# %% {cell.title}".rstrip()
        parts.append(f"{head}\n{assignment.blank(cell.text)}")
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def notebook(script: str) -> str:
    """Return a script as a notebook without outputs. The same script gives the same bytes."""
    import jupytext

    content = jupytext.reads(script, fmt="py:percent")
    for number, cell in enumerate(content.cells):
        cell["id"] = f"cell-{number}"
    content.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    text: str = jupytext.writes(content, fmt="ipynb")
    return text if text.endswith("\n") else text + "\n"


def about(assignment: source.Assignment) -> str:
    """Return the README of a handout: the tasks, their points and how long they take."""
    name = assignment.name
    rows = [
        f"| {task.number} | {task.title} | {task.points} | {task.minutes} |"
        for task in assignment.tasks
    ]
    return "\n".join(
        [
            f"# {assignment.title}",
            "",
            f"{assignment.points} points, about {assignment.hours:.0f} hours.",
            "",
            "| task | | points | minutes |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Write the bodies of the functions in `{name}.py` (or `{name}.ipynb`), then:",
            "",
            "```sh",
            f"minisd course check {name} {name}.py",
            "```",
            "",
            *([assignment.rubric.replace("# ", "## ", 1)] if assignment.rubric else []),
        ]
    )


def office_hours(folders: Iterable[Path]) -> str:
    """Return what to say of each mistake, as a table for each assignment."""
    parts = ["# What to say of each mistake", "", "Made from the sources by `minisd course build`."]
    for folder in folders:
        for variant in materials.names(folder):
            made = materials.read(folder, variant)
            parts += [
                "",
                f"## {made.assignment.title}",
                "",
                "| mistake | found | ask | read again |",
            ]
            parts.append("| --- | --- | --- | --- |")
            for about in dict.fromkeys(entry.about for entry in made.own.mistakes):
                words = (about.says, about.look, about.read)
                cells = " | ".join(word.replace("|", "\\|") for word in words)
                parts.append(f"| {about.task} {about.name} | {cells} |")
    return "\n".join([*parts, ""])


def build(folder: Path) -> list[Path]:
    """Make everything that the package has of an assignment and its variants; return the files.

    Parameters
    ----------
    folder : path
        The source, ``tutorials/course/a2_convolution``.
    """
    written = []
    ordinary = kits.full(folder, kits.PUBLIC_SEED)
    for variant in materials.names(folder):
        assignment = materials.read(folder, variant).assignment
        script = handout(assignment)
        target = variants.handout(assignment.name, variant)
        prints = kits.fingerprints(ordinary)
        if variant != variants.NONE:
            prints = kits.fingerprints(kits.full(folder, kits.PUBLIC_SEED, variant), ordinary)
        contents = {
            f"{assignment.name}.py": script,
            f"{assignment.name}.ipynb": notebook(script),
            "README.md": about(assignment),
            "fingerprints.json": prints,
        }
        for name, text in contents.items():
            data = text.encode()
            write_atomically(target / name, lambda stream, data=data: stream.write(data))  # type: ignore[misc]
        written += [target / name for name in contents]
    return written


def problems(folder: Path, seed: str, variant: str = variants.NONE) -> Iterator[str]:
    """Yield what is wrong with an assignment: every answer of its bank is judged.

    The reference and right answers must have full marks; the handout none; each mistake must lose
    its own properties, no others, and be named.
    """
    kit = kits.full(folder, seed, variant)
    made = materials.read(folder, variant)
    assignment, solution, bank = made.assignment, made.solution, made.bank
    for entry in bank.right_answers:
        wrong = set(lost(kit, {**solution, **entry.functions}))
        if wrong != set(entry.loses):
            yield f"the right answer {entry.about.name!r} loses {sorted(wrong)}"
    for entry in bank.mistakes:
        found = lost(kit, {**solution, **entry.functions}, task=entry.about.task)
        what = f"{entry.about.task} {entry.about.name}"
        if set(found) != set(entry.loses):
            yield f"{what} loses {sorted(found)}, not {sorted(entry.loses)}"
        if not set(found.values()) <= {entry.about.name}:
            yield f"{what} is named {sorted(found.values())}"
    for text, files, points in (
        (assignment.solution, assignment.files, kit.points),
        (handout(assignment), {}, 0),
    ):
        report = grading.grade(kit, text, files=files)
        if report.earned != points:
            yield f"{report.earned:g} points where {points:g} are right: {report.mistakes}"


def lost(kit: Kit, names: Mapping[str, Any], *, task: str = "") -> dict[str, str]:
    """Return the properties that these functions lose, with the name of the mistake for each.

    Parameters
    ----------
    names : dict
        A whole solution: its functions by name.
    task : str
        Only this one.
    """
    checks = [check for check in kit.checks if task in ("", check.task)]
    found = answer_all(checks, kit.name, kit.seed, names)
    result: dict[str, str] = {}
    for check in checks:
        for name in check.points:
            of_case = {case.name: found[check.name, case.name][name] for case in check.cases}
            named = list(result.values())
            judged = grading.judge(kit, check, name, of_case, named=named)
            if judged.diagnosis is not None:
                result[name] = judged.diagnosis.name
    return result
