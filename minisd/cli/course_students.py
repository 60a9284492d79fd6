"""``minisd course``, for students: the list, a handout, its checks, and what is handed in."""

import json
import zipfile
from pathlib import Path
from typing import Any

from minisd.cli.course_options import NOT_ALL, OK, a_path
from minisd.course import grading, submissions, variants
from minisd.course import kit as kits
from minisd.course import report as reports
from minisd.course.kit import Kit
from minisd.course.sandbox import Sandbox
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.terminal import wrapped


def listing() -> int:
    """List the assignments: points, hours, the tutorials that they need, tasks."""
    for name in kits.names():
        kit = kits.public(name)
        hours = sum(task.minutes for task in kit.tasks) / 60
        points = sum(task.points for task in kit.tasks)
        after = ", ".join(map(str, kit.tutorials))
        about = f"{points} points, about {hours:.0f} hours, tutorials {after}"
        print(wrapped(f"{name}  {kit.title}: {about}"))
        for task in kit.tasks:
            print(f"    {task.number}  {task.title} ({task.points})")
        if others := variants.names(name):
            print(f"    variants: {', '.join(others)}")
    return OK


def new(*, assignment: str, folder: Path | None, notebook: bool, variant: str) -> int:
    """Write the handout of an assignment into a folder. Nothing is replaced."""
    variants.check_name(kits.check_name(assignment), variant)
    folder = folder or Path(assignment)
    names = [f"{assignment}.ipynb" if notebook else f"{assignment}.py", "README.md"]
    for name in names:
        if (folder / name).exists():
            raise UserError(f"{folder / name} is there already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with kits.FINGERPRINTS.reading(variants.handout(assignment, variant) / name) as file:
            content = file.bytes()
        write_atomically(folder / name, lambda stream, c=content: stream.write(c))  # type: ignore[misc]
        print(folder / name)
    return OK


def check(
    *, assignment: str, file: Path | None, task: str | None, hint: int, as_json: bool,
    variant: str | None,
) -> int:  # fmt: skip
    """Check your answers: every property, with the mistakes that are found in it."""
    kits.check_name(assignment)
    path = _file(file, assignment)
    kit = _kit(assignment, path, variant)
    code = submissions.read(path, assignment, kit.files, path.parent)
    report = grading.grade(kit, code.text, tasks=_tasks(kit, task), files=code.files)
    report.remarks += code.remarks
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(reports.as_text(report, hints=reports.HINTS[hint - 1]), end="")
    return OK if report.earned == report.points else NOT_ALL


def pack(*, assignment: str, file: Path | None, out: Path | None, variant: str | None) -> int:
    """Pack what you hand in: a file that loads in an empty process, as a zip."""
    kits.check_name(assignment)
    path = _file(file, assignment)
    kit = _kit(assignment, path, variant)
    code = submissions.read(path, assignment, {**kit.files, **kit.enclosed}, path.parent)
    with Sandbox(code.text, given=kit.given_names, staged=kit.staged) as student:
        failure = student.broken
    if failure is not None:
        line = f" in line {failure.line}" if failure.line else ""
        raise UserError(f"{path} does not load: {failure.kind}{line}; nothing was packed")
    target = out or Path(f"{assignment}.zip")

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, f"{assignment}{path.suffix}")
            for name, content in code.files.items():
                archive.writestr(name, content)

    if target.exists():
        raise UserError(f"{target} is there already: move it away, or choose another --out")
    write_atomically(target, write)
    for remark in code.remarks:
        print(f"note: {remark}")
    for name in {**kit.files, **kit.enclosed}:
        print(f"{name}: {'packed' if name in code.files else 'not there'}")
    print(f"{target}: hand this in")
    return OK


def _file(file: Path | None, assignment: str) -> Path:
    """Return the file of answers: the given one, or a2.py or a2.ipynb here."""
    if file is not None:
        return file
    for name in (f"{assignment}.py", f"{assignment}.ipynb"):
        for folder in (Path(), Path(assignment)):
            if (folder / name).exists():
                return folder / name
    raise UserError(f"there is no {assignment}.py here: give the file of your answers")


def _kit(assignment: str, path: Path, variant: str | None) -> Kit:
    """Return what is checked: the variant that is asked for, or the one that the file names."""
    variant = variant or variants.of_code(submissions.read(path, assignment).text)
    return kits.public(assignment, variant or variants.NONE)


def _tasks(kit: Kit, task: str | None) -> tuple[str, ...]:
    numbers = [t.number for t in kit.tasks]
    if task is not None and task not in numbers:
        raise UserError(f"{kit.name} has no task {task}; there are {', '.join(numbers)}")
    return (task,) if task else ()


def add_to(add: Any) -> None:
    """Add these actions to the parser, with ``add(function, name)``."""
    add(listing, "list")
    sub = add(new, "new")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("folder", nargs="?", type=a_path, metavar="DIR")
    sub.add_argument("--notebook", action="store_true", help="a notebook instead of a script")
    sub.add_argument("--variant", default=variants.NONE, help="the one that your course has chosen")

    sub = add(check, "check")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("file", nargs="?", type=a_path, metavar="FILE")
    sub.add_argument("--task", metavar="N", help="only this task, such as 2.3")
    sub.add_argument(
        "--hint", type=int, choices=(1, 2, 3), default=3,
        help="how much to say: what fails; where to look, too; the mistake, too (default)",
    )  # fmt: skip
    sub.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    of_file = "the variant to check against (default: the one that the file is of)"
    sub.add_argument("--variant", help=of_file)

    sub = add(pack, "pack")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("file", nargs="?", type=a_path, metavar="FILE")
    sub.add_argument("--out", type=a_path, metavar="ZIP")
    sub.add_argument("--variant", help=of_file)
