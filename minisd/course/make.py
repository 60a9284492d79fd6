"""Making the handouts of an assignment from its source: script, notebook, README, fingerprints."""

from pathlib import Path

from minisd.course import kit as kits
from minisd.course import source
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
        ]
    )


def build(folder: Path) -> list[Path]:
    """Make everything that the package has of an assignment; return the files.

    Parameters
    ----------
    folder : path
        The source, ``tutorials/course/a2_convolution``.
    """
    assignment = source.read(folder / "assignment.py")
    script = handout(assignment)
    target = kits.HANDOUTS / assignment.name
    contents = {
        f"{assignment.name}.py": script,
        f"{assignment.name}.ipynb": notebook(script),
        "README.md": about(assignment),
        "fingerprints.json": kits.fingerprints(kits.full(folder, kits.PUBLIC_SEED)),
    }
    for name, text in contents.items():
        data = text.encode()
        write_atomically(target / name, lambda stream, data=data: stream.write(data))  # type: ignore[misc]
    return [target / name for name in contents]
