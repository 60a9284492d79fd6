"""Parameters of their own for each student's experiment: depth, p_L and three seeds.

They come from the student's id and the secret seed of the course by HMAC-SHA256, so that they need
not be stored, and nobody who has some of them has the others. Which assignment asks for them says
the file `FILE` among those that come with its code: students lay their row of the class's table
there, and the grader its own, whatever was handed in.
"""

import csv
import hashlib
import hmac
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from minisd.course.handouts.a6.experiment import Parameters
from minisd.course.handouts.a6.variants.own.checks import FILE, OTHER
from minisd.course.kit import Kit
from minisd.course.rubric import harmless
from minisd.errors import UserError
from minisd.readers import Kind

__all__ = ["FILE", "OTHER", "given", "parameters", "read_ids", "table"]
COLUMNS = ("student", "depth", "p_last", "seeds")
IDS = Kind(
    "a list of students",
    UserError,
    if_missing="write one id a line",
    if_damaged="write one id a line, as text in UTF-8",
)
DEPTHS = (8, 14, 20)
"""Layers that a laptop trains within the minutes of the handout, three seeds and both arms."""
SURVIVALS = (0.3, 0.4, 0.5, 0.6, 0.7)


def parameters(seed: str, student: str) -> Parameters:
    """Return the parameters that belong to a student.

    Parameters
    ----------
    seed : str
        The secret seed of the course.
    student : str
        The id. Capitals, spaces around it, and how an accent is encoded do not matter: platforms
        and file systems write them as they like.
    """
    name = unicodedata.normalize("NFC", student.strip().casefold())
    drawn = hmac.new(seed.encode(), name.encode(), hashlib.sha256).digest()
    depth, p_last, *seeds = (int.from_bytes(drawn[i : i + 6]) for i in range(0, 30, 6))
    return Parameters(
        DEPTHS[depth % len(DEPTHS)],
        SURVIVALS[p_last % len(SURVIVALS)],
        tuple(10_000 * place + number % 10_000 for place, number in enumerate(seeds, start=1)),
    )


def read_ids(path: Path) -> list[str]:
    """Return the ids in a file, one a line. Empty lines do not count.

    Raises
    ------
    UserError
        If it is missing, or no text.
    """
    with IDS.reading(path) as file:
        lines = file.bytes().decode("utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def table(seed: str, students: Iterable[str]) -> str:
    """Return the parameters of students as CSV, a row each: what is handed out.

    Raises
    ------
    UserError
        If there are no ids, or one is empty or comes twice.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    seen = set()
    for student in students:
        own = parameters(seed, student)
        if not student.strip() or own.seeds in seen:
            what = "comes twice" if student.strip() else "is empty"
            raise UserError(f"the id {student!r} {what}: give each student's once")
        seen.add(own.seeds)
        seeds = " ".join(map(str, own.seeds))
        writer.writerow([harmless(student), own.depth, own.p_last, seeds])
    if not seen:
        raise UserError("there are no ids: name the students, or give a --file with one id a line")
    return stream.getvalue()


def given(kit: Kit, student: str | None) -> dict[str, bytes]:
    """Return the files that the grader lays beside a submission, by name.

    Raises
    ------
    UserError
        If there are some, and it is not known whose submission it is.
    """
    if FILE not in kit.files:
        return {}
    if not student:
        raise UserError(f"{kit.title} cannot be judged: it is not known whose submission it is")
    return {FILE: table(kit.seed, [student]).encode()}
