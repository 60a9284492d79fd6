"""What a platform needs to grade one assignment: the settings with the secret seed, and the source.

A bundle is a folder with ``course.toml`` and, beside it, ``a2_convolution/``; or a zip of both. It
is the instructor's: students never get one. ``python -m minisd.course.bundle ZIP FILE`` judges a
submission in a process of its own, and prints what was found as JSON.
"""

import functools
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minisd.course import kit as kits
from minisd.course import make, material, settings, source, submissions
from minisd.course.grading import grade, grade_as_set
from minisd.course.kit import Kit
from minisd.course.report import Report
from minisd.course.settings import OfAssignment
from minisd.course.source import Assignment, Task
from minisd.course.submissions import Code
from minisd.errors import UserError
from minisd.readers import Kind

BUNDLE = Kind(
    "what an assignment is graded with",
    UserError,
    if_missing="'minisd course export' writes it; put it where the notebook's path says",
    if_damaged="export the assignment again",
)


class Bundle:
    """A bundle that is unpacked in a folder.

    Attributes
    ----------
    name : str
        Of the assignment.
    of : OfAssignment
        Its settings.
    show_hidden : str
        See `OfReport`.
    """

    def __init__(self, home: Path) -> None:
        folders = sorted(home.glob("a?_*"))
        if len(folders) != 1:
            raise UserError(f"{home} has {len(folders)} sources of assignments: export one again")
        self._folder = folders[0]
        self._course = settings.read(home / "course.toml")
        self.name = self._folder.name.partition("_")[0]
        self.of = self._course.of(self.name)
        self.show_hidden = self._course.report.show_hidden

    @functools.cached_property
    def _kit(self) -> Kit:
        return kits.full(self._folder, self._course.seed, self.of.variant)

    def extra_days(self, names: Iterable[str]) -> int:
        """Return the days that cost nothing for a student with one of these names or addresses."""
        return max((self._course.extra_days.get(name, 0) for name in names), default=0)

    def read(self, path: Path) -> Code:
        """Return the code of a submission: a file, or a folder with what was handed in."""
        found = submissions.in_folder(path, self.name) if path.is_dir() else path
        return submissions.read(found, self.name, self._kit.files, found.parent)

    def grade(self, code: Code, *, student: str | None = None, user: str | None = None) -> Report:
        """Judge a submission as the settings have it.

        Parameters
        ----------
        student, user : str, optional
            Whose it is, as far as the platform says it; who runs the student's code, if that can be
            chosen. See `grade_as_set` and `Sandbox`.
        """
        of = self._course.for_kit(self._kit)
        return grade_as_set(self._kit, code, of, student=student, user=user)

    def check(self, *, user: str | None = None) -> str:
        """Grade the reference and the empty handout; return what to say if all is well.

        Raises
        ------
        UserError
            If their points are not all and none.
        """
        assignment = material.read(self._folder, self.of.variant).assignment
        kit = kits.full(self._folder, "self-test", self.of.variant)
        for text, files, points in (
            (assignment.solution, assignment.files, kit.points),
            (make.handout(assignment), {}, 0),
        ):
            report = grade(kit, text, files=files, user=user)
            if report.earned != points:
                raise UserError(f"{report.earned:g} points where {points:g} are right")
        return (
            f"{assignment.title}: the reference has {kit.points:g} points, the empty handout none"
        )


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes
    ----------
    assignment : Assignment
    kit : Kit
        The public one.
    of : OfAssignment
        The settings of the course.
    secret : dict
        The files of the bundle by name.
    """

    assignment: Assignment
    kit: Kit
    of: OfAssignment
    secret: dict[str, bytes]

    @property
    def name(self) -> str:
        """Of the assignment."""
        return self.assignment.name

    @property
    def tasks(self) -> list[Task]:
        """Those that are set."""
        return [t for t in self.assignment.tasks if not self.of.tasks or t.number in self.of.tasks]

    def points(self, task: str) -> float:
        """Return the points of a task, as they are set."""
        usual = next(t.points for t in self.assignment.tasks if t.number == task)
        return self.of.points.get(task, usual)


def export(folder: Path, settings_path: Path) -> Export:
    """Return what is exported.

    Parameters
    ----------
    folder : path
        Source of the assignment, in a checkout of minisd.
    settings_path : path
        ``course.toml``.
    """
    course = settings.read(settings_path)
    variant = course.of(folder.name.partition("_")[0]).variant
    assignment = material.read(folder, variant).assignment
    kit = kits.public(assignment.name, variant)
    of = course.for_kit(kit)
    with settings.SETTINGS.reading(settings_path) as file:
        files = {"course.toml": file.bytes()}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".md", ".csv", ".json")):
        with source.ASSIGNMENT.reading(path) as file:
            files[f"{folder.name}/{path.relative_to(folder).as_posix()}"] = file.bytes()
    return Export(assignment, kit, of, files)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files by name: the same bytes each time. Scripts of the shell can be run."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2016, 3, 30, 0, 0, 0))
            info.external_attr = (0o755 if content.startswith(b"#!") else 0o644) << 16
            archive.writestr(info, content)
    return packed.getvalue()


@contextmanager
def unpacked(path: Path) -> Iterator[Bundle]:
    """Unpack the zip of a bundle into a folder that only this user can enter."""
    with tempfile.TemporaryDirectory(prefix="minisd-grading-") as folder:
        with BUNDLE.reading(path) as file, zipfile.ZipFile(file.stream) as archive:
            archive.extractall(folder)
        yield Bundle(Path(folder))


def main(bundle: str, submission: str) -> None:
    """Judge a submission, and print the report and how much of it may be said, or the problem."""
    try:
        with unpacked(Path(bundle)) as opened:
            report = opened.grade(opened.read(Path(submission)))
            content = {**report.as_json(), "hints": opened.of.hints}
    except UserError as error:
        content = {"problem": str(error)}
    print(json.dumps(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
