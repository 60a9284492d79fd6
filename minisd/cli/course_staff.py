"""``minisd course``, for instructors: settings, self-test, grading, exports."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from minisd.cli.course_options import (
    NOT_ALL,
    OK,
    a_path,
    folder_of,
    only_settings,
    with_settings,
    with_sources,
)
from minisd.course import batch, make, material, own, settings, submissions, variants
from minisd.course import kit as kits
from minisd.course.export import classroom, gradescope, nbgrader, otter, prairielearn
from minisd.course.sandbox import LEVELS, Sandbox
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.machine import available_cores
from minisd.runs.progress import Counting

EXPORTS = {
    "gradescope": (gradescope.export, ".zip"),
    "otter": (otter.export, ""),
    "nbgrader": (nbgrader.export, ""),
    "prairielearn": (prairielearn.export, ""),
    "classroom": (classroom.export, ""),
}
"""By platform: what writes the export, and the suffix of what it writes; without one, a folder."""


def grade(
    *,
    assignment: str,
    folder: Path,
    settings_path: Path,
    out: Path,
    sources: Path,
    jobs: int | None,
    require: int,
    user: str | None,
    quiet: bool,
) -> int:
    """Grade a folder of submissions: grades.csv, feedback for each, a summary."""
    course = settings.read(settings_path)
    variant = course.of(assignment).variant
    kit = kits.full(folder_of(assignment, sources), course.seed, variant)
    level = _level(user)
    if level < require:
        raise UserError(
            f"this machine isolates at level {level} ({LEVELS[level]}), and --require asks for "
            f"{require}: grade in a container, or require less"
        )
    handed_in = submissions.find(folder, assignment)
    jobs = jobs or available_cores()
    with closing(Counting(len(handed_in), "submissions", quiet=quiet)) as counting:
        rows = batch.grade_class(
            kit, handed_in, course, out, jobs=jobs, user=user, report=counting.reach
        )
    if not quiet:
        print(f"isolation level {level}: {LEVELS[level]}")
        print(f"{len(rows)} submissions: {out / 'grades.csv'}, {out / 'summary.md'}")
    return OK


def init(*, folder: Path) -> int:
    """Write course.toml with a fresh secret seed."""
    print(settings.write_new(folder))
    return OK


def parameters(
    *, assignment: str, students: list[str], file: Path | None, settings_path: Path,
    out: Path | None,
) -> int:  # fmt: skip
    """Write the table of each student's own parameters, as CSV: what you hand out."""
    kits.check_name(assignment)
    course = settings.read(settings_path)
    if own.FILE not in kits.public(assignment, course.of(assignment).variant).files:
        raise UserError(
            f"{settings_path} chooses no variant of {assignment} in which students have parameters "
            'of their own: [a6] has one, variant = "own"'
        )
    table = own.table(course.seed, [*students, *(own.read_ids(file) if file else [])])
    if out is None:
        print(table, end="")
        return OK
    if out.exists():
        raise UserError(f"{out} is there already: move it away, or choose another --out")
    write_atomically(out, lambda stream: stream.write(table.encode()))
    print(out)
    return OK


def self_test(*, assignment: str | None, variant: str | None, sources: Path) -> int:
    """Grade the reference, the empty handout and every answer of the bank: before a term."""
    failed = 0
    for name in [assignment] if assignment else kits.names():
        folder = folder_of(name, sources)
        if variant is not None:
            variants.check_name(name, variant)
        for of in [variant] if variant else material.names(folder):
            what = name if of == variants.NONE else f"{name} {of}"
            problems = [
                problem
                for seed in ("self-test 1", "self-test 2")
                for problem in make.problems(folder, seed, of)
            ]
            for problem in problems:
                print(f"{what}: {problem}", file=sys.stderr)
            print(f"{what}: {f'{len(problems)} problems' if problems else 'as it should be'}")
            failed += len(problems)
    return NOT_ALL if failed else OK


def export(
    *, assignment: str, kind: str, settings_path: Path, sources: Path, out: Path | None,
    wheels: Path | None,
) -> int:  # fmt: skip
    """Write what a platform needs to grade: a zip for Gradescope, else a folder."""
    write, suffix = EXPORTS[kind]
    target = out or Path(f"{assignment}-{kind}{suffix}")
    next_step = write(folder_of(assignment, sources), settings_path, target, wheels=wheels)
    print(f"{target}: {next_step}")
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


def _level(user: str | None) -> int:
    with Sandbox("", user=user) as student:
        return student.level


def add_to(add: Any) -> None:
    """Add these actions to the parser, with ``add(function, name)``."""

    sub = add(grade, "grade")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("folder", type=a_path, metavar="SUBMISSIONS")
    with_settings(sub)
    sub.add_argument("--out", type=a_path, metavar="DIR", default=Path("graded"))
    sub.add_argument("--jobs", type=int, metavar="N", help="at the same time (default: cores)")
    sub.add_argument(
        "--require", type=int, choices=(1, 2, 3), default=1,
        help="refuse to grade with less isolation than this level",
    )  # fmt: skip
    sub.add_argument(
        "--user", metavar="NAME", help="run student code as this user (level 3); only root can"
    )
    sub.add_argument("--quiet", action="store_true", help="print errors only")

    sub = add(init, "init")
    sub.add_argument("folder", nargs="?", type=a_path, metavar="DIR", default=Path())

    sub = add(parameters, "parameters")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("students", nargs="*", metavar="ID", help="as 'grade' finds them")
    sub.add_argument("--file", type=a_path, metavar="FILE", help="one id a line")
    sub.add_argument(
        "--out", type=a_path, metavar="CSV", help="where to write it (default: print it)"
    )
    only_settings(sub)

    sub = add(self_test, "self-test")
    sub.add_argument("assignment", nargs="?", metavar="NAME")
    sub.add_argument("--variant", metavar="VARIANT", help="only this one (default: all)")
    with_sources(sub)

    sub = add(export, "export")
    sub.add_argument("assignment", metavar="NAME")
    sub.add_argument("kind", choices=tuple(EXPORTS))
    with_settings(sub)
    sub.add_argument(
        "--out", type=a_path, metavar="PATH", help="a zip for Gradescope, else a folder"
    )
    sub.add_argument(
        "--wheels", type=a_path, metavar="DIR",
        help="wheels of minisd and what it needs (default: made and downloaded)",
    )  # fmt: skip

    with_sources(add(build, "build"))
