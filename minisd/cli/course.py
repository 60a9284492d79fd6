"""``minisd course``: handouts and checks for students, grading for instructors."""

import argparse
import json
import sys
import typing
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from minisd.course import batch, grading, make, settings, submissions
from minisd.course import kit as kits
from minisd.course import report as reports
from minisd.course.export import gradescope
from minisd.course.kit import Kit
from minisd.course.sandbox import LEVELS, Sandbox
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.machine import available_cores
from minisd.runs.progress import Counting

OK, NOT_ALL = 0, 1
SOURCES = Path("tutorials") / "course"


def listing() -> int:
    """List the assignments: points, hours, tasks."""
    for name in kits.names():
        kit = kits.public(name)
        hours = sum(task.minutes for task in kit.tasks) / 60
        points = sum(task.points for task in kit.tasks)
        print(f"{name}  {kit.title}: {points} points, about {hours:.0f} hours")
        for task in kit.tasks:
            print(f"    {task.number}  {task.title} ({task.points})")
    return OK


def new(*, assignment: str, folder: Path | None, notebook: bool) -> int:
    """Write the handout of an assignment into a folder. Nothing is replaced."""
    kits.check_name(assignment)
    folder = folder or Path(assignment)
    names = [f"{assignment}.ipynb" if notebook else f"{assignment}.py", "README.md"]
    for name in names:
        if (folder / name).exists():
            raise UserError(f"{folder / name} is there already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with kits.FINGERPRINTS.reading(kits.HANDOUTS / assignment / name) as file:
            content = file.bytes()
        write_atomically(folder / name, lambda stream, c=content: stream.write(c))  # type: ignore[misc]
        print(folder / name)
    return OK


def check(*, assignment: str, file: Path | None, task: str | None, hint: int, as_json: bool) -> int:
    """Check your answers: every property, with the mistakes that are found in it."""
    kit = kits.public(assignment)
    code = submissions.read(_file(file, assignment), assignment)
    found = grading.grade(kit, code.text, tasks=_tasks(kit, task))
    found.remarks += code.remarks
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print(reports.as_text(found, hints=reports.HINTS[hint - 1]), end="")
    return OK if found.earned == found.points else NOT_ALL


def pack(*, assignment: str, file: Path | None, out: Path | None) -> int:
    """Pack what you hand in: a file that loads in an empty process, as a zip."""
    kit = kits.public(assignment)
    path = _file(file, assignment)
    code = submissions.read(path, assignment)
    with Sandbox(code.text, given=kit.given_names, staged=kit.staged) as student:
        failure = student.broken
    if failure is not None:
        line = f" in line {failure.line}" if failure.line else ""
        raise UserError(f"{path} does not load: {failure.kind}{line}; nothing was packed")
    target = out or Path(f"{assignment}.zip")

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, f"{assignment}{path.suffix}")

    if target.exists():
        raise UserError(f"{target} is there already: move it away, or choose another --out")
    write_atomically(target, write)
    print(f"{target}: hand this in")
    return OK


def grade(
    *,
    assignment: str,
    folder: Path,
    settings_path: Path,
    out: Path,
    sources: Path,
    jobs: int | None,
    require: int,
    quiet: bool,
) -> int:
    """Grade a folder of submissions: grades.csv, feedback for each, a summary."""
    course = settings.read(settings_path)
    kit = _full(assignment, sources, course.seed)
    level = _level()
    if level < require:
        raise UserError(
            f"this machine isolates at level {level} ({LEVELS[level]}), and --require asks for "
            f"{require}: grade in a container, or require less"
        )
    found = submissions.find(folder, assignment)
    jobs = jobs or available_cores()
    with closing(Counting(len(found), "submissions", quiet=quiet)) as counting:
        rows = batch.grade_class(kit, found, course, out, jobs=jobs, report=counting.reach)
    if not quiet:
        print(f"isolation level {level}: {LEVELS[level]}")
        print(f"{len(rows)} submissions: {out / 'grades.csv'}, {out / 'summary.md'}")
    return OK


def explain(*, assignment: str, file: Path, settings_path: Path, sources: Path) -> int:
    """Judge one submission in full, for the instructor."""
    course = settings.read(settings_path)
    kit = _full(assignment, sources, course.seed)
    code = submissions.read(file, assignment)
    print(reports.as_text(grading.grade(kit, code.text)), end="")
    return OK


def init(*, folder: Path) -> int:
    """Write course.toml with a fresh secret seed."""
    print(settings.write_new(folder))
    return OK


def self_test(*, assignment: str | None, sources: Path) -> int:
    """Grade the reference, the empty handout and every answer of the bank: before a term."""
    failed = 0
    for name in [assignment] if assignment else kits.names():
        folder = _folder(name, sources)
        for seed in ("self-test 1", "self-test 2"):
            for problem in make.problems(folder, seed):
                failed += 1
                print(f"{name}: {problem}", file=sys.stderr)
        print(f"{name}: {'as it should be' if not failed else f'{failed} problems'}")
    return NOT_ALL if failed else OK


def export(
    *, assignment: str, kind: str, settings_path: Path, sources: Path, out: Path | None,
    wheels: Path | None,
) -> int:  # fmt: skip
    """Write what a platform needs to grade: a zip for Gradescope."""
    target = out or Path(f"{assignment}-{kind}.zip")
    gradescope.export(_folder(assignment, sources), settings_path, target, wheels=wheels)
    print(f"{target}: upload it; not tried on the platform itself, so try one submission there")
    return OK


def build(*, sources: Path) -> int:
    """Make the handouts and fingerprints of the package from their sources."""
    folders = sorted(sources.glob("a?_*"))
    for folder in folders:
        for path in make.build(folder):
            print(path)
    text = make.office_hours(folders).encode()
    write_atomically(sources / "mistakes.md", lambda stream: stream.write(text))
    print(sources / "mistakes.md")
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


def _tasks(kit: Kit, task: str | None) -> tuple[str, ...]:
    numbers = [t.number for t in kit.tasks]
    if task is not None and task not in numbers:
        raise UserError(f"{kit.name} has no task {task}; there are {', '.join(numbers)}")
    return (task,) if task else ()


def _folder(name: str, sources: Path) -> Path:
    kits.check_name(name)
    folders = sorted(sources.glob(f"{name}_*"))
    if not folders:
        raise UserError(
            f"{sources} has no source of {name}: grading needs a checkout of minisd; give its "
            "tutorials/course with --sources"
        )
    return folders[0]


def _full(name: str, sources: Path, seed: str) -> Kit:
    return kits.full(_folder(name, sources), seed)


def _level() -> int:
    with Sandbox("") as student:
        return student.level


def add_to(parsers: Any) -> None:
    """Add the command and its actions to the parser."""
    parser = parsers.add_parser(
        "course",
        help="assignments: hand out, check, grade",
        description="Six assignments that are graded by properties, and a bank of mistakes.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(function: Any, name: str, **options: Any) -> argparse.ArgumentParser:
        summary = (function.__doc__ or "").partition("\n")[0]
        sub = actions.add_parser(name, help=summary, description=summary, **options)
        sub.set_defaults(command=function)
        return typing.cast(argparse.ArgumentParser, sub)

    def path(text: str) -> Path:
        return Path(text).expanduser()

    def with_sources(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--sources", type=path, metavar="DIR", default=SOURCES,
            help="tutorials/course of a checkout (default: below this folder)",
        )  # fmt: skip

    def with_settings(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--settings", dest="settings_path", type=path, metavar="FILE",
            default=Path("course.toml"), help="the course's settings (default: course.toml)",
        )  # fmt: skip
        with_sources(sub)

    add(listing, "list")
    sub = add(new, "new")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("folder", nargs="?", type=path, metavar="DIR")
    sub.add_argument("--notebook", action="store_true", help="a notebook instead of a script")

    sub = add(check, "check")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("file", nargs="?", type=path, metavar="FILE")
    sub.add_argument("--task", metavar="N", help="only this task, such as 2.3")
    sub.add_argument(
        "--hint", type=int, choices=(1, 2, 3), default=3,
        help="how much to say: what fails; where to look, too; the mistake, too (default)",
    )  # fmt: skip
    sub.add_argument("--json", dest="as_json", action="store_true", help="print JSON")

    sub = add(pack, "pack")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("file", nargs="?", type=path, metavar="FILE")
    sub.add_argument("--out", type=path, metavar="ZIP")

    sub = add(grade, "grade")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("folder", type=path, metavar="SUBMISSIONS")
    with_settings(sub)
    sub.add_argument("--out", type=path, metavar="DIR", default=Path("graded"))
    sub.add_argument("--jobs", type=int, metavar="N", help="at the same time (default: cores)")
    sub.add_argument(
        "--require", type=int, choices=(1, 2, 3), default=1,
        help="refuse to grade with less isolation than this level",
    )  # fmt: skip
    sub.add_argument("--quiet", action="store_true", help="print errors only")

    sub = add(explain, "explain")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("file", type=path, metavar="FILE")
    with_settings(sub)

    sub = add(init, "init")
    sub.add_argument("folder", nargs="?", type=path, metavar="DIR", default=Path())

    sub = add(self_test, "self-test")
    sub.add_argument("assignment", nargs="?", metavar="NAME")
    with_sources(sub)

    sub = add(export, "export")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("kind", choices=("gradescope",))
    with_settings(sub)
    sub.add_argument("--out", type=path, metavar="ZIP")
    sub.add_argument(
        "--wheels", type=path, metavar="DIR",
        help="wheels of minisd and what it needs (default: made and downloaded)",
    )  # fmt: skip

    with_sources(add(build, "build"))
