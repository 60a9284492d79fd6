"""Finding the submissions in a folder, and taking the code out of them.

A submission is one script or one notebook of at most 200 kB of code; all else that comes with it is
left alone, but for files that the assignment names. Nothing of it is run here.
"""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from minisd.errors import UserError
from minisd.readers import Contents, Kind, explain, json_object

MOST_BYTES = 200_000
"""Of code. The file of a notebook may have more: its pictures."""
MOST_OF_NOTEBOOK = 10_000_000
SUBMISSION = Kind(
    "a submission",
    UserError,
    if_missing="give the file of your answers",
    if_damaged="hand in a script (.py) or a notebook (.ipynb) of at most 200 kB of code",
)


ENCLOSED = Kind(
    "a file of a submission",
    UserError,
    if_missing="put it beside your answers",
    if_damaged="hand in a smaller one",
)


@dataclass(frozen=True)
class Submission:
    """What one student has handed in.

    Attributes
    ----------
    student : str
    path : path
        A script, a notebook or a zip; or the folder, if nothing in it can be graded.
    handed_in : datetime, optional
        If the export of the platform says so.
    folder : path, optional
        Where other files of the same student are.
    """

    student: str
    path: Path
    handed_in: datetime | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Code:
    """The code of a submission, and what has to be said of how it was taken out.

    Attributes
    ----------
    files : dict
        What was asked for besides, by name; without what is missing or too large.
    """

    text: str
    remarks: list[str]
    files: dict[str, bytes] = field(default_factory=dict)


def read(
    path: Path, assignment: str, wanted: Mapping[str, int] | None = None, folder: Path | None = None
) -> Code:
    """Return the code of a script, a notebook, or the best one of them in a zip.

    Parameters
    ----------
    wanted : dict, optional
        Files that may come with it: the most bytes, by name.
    folder : path, optional
        Where they are if ``path`` is no zip. Default: there are none.

    Raises
    ------
    UserError
        If there is none, or it is too large or damaged.
    """
    with SUBMISSION.reading(path) as file:
        if path.suffix.lower() == ".zip":
            return _of_zip(file, assignment, wanted or {})
        if file.size > _most(path.name):
            raise ValueError(f"it has {file.size:,} bytes")
        code = _code(path.name, file.bytes())
    for name, most in (wanted or {}).items():
        if folder is None or not (folder / name).exists():
            continue
        if (folder / name).is_symlink():  # it may lead to a file that is not the student's
            code.remarks.append(f"{name} was left out: it is a link")
            continue
        try:
            with ENCLOSED.reading(folder / name) as file:
                if file.size > most:
                    raise ValueError(f"it has {file.size:,} bytes, {most:,} are allowed")
                code.files[name] = file.bytes()
        except UserError as error:
            said = str(error).replace(str(folder / name), "it")
            code.remarks.append(f"{name} was left out: {said}")
    return code


def _most(name: str) -> int:
    """Return how many bytes a file may have."""
    return MOST_OF_NOTEBOOK if name.lower().endswith(".ipynb") else MOST_BYTES


def _code(name: str, content: bytes) -> Code:
    if not name.lower().endswith(".ipynb"):
        return Code(content.decode("utf-8-sig"), [])
    parts, dropped = [], 0
    for cell in json_object(content)["cells"]:
        if cell["cell_type"] == "code" and not _is_locked(cell):
            source = cell["source"]
            text, magics = without_magics(source if isinstance(source, str) else "".join(source))
            parts.append(f"{text}\n")
            dropped += magics
    code = "\n".join(parts)
    if len(code) > MOST_BYTES:
        raise ValueError(f"its code has {len(code):,} characters")
    return Code(code, [f"{dropped} lines with % or ! were left out"] if dropped else [])


def _is_locked(cell: dict[str, Any]) -> bool:
    """Whether a cell is a platform's: otter and nbgrader lock the cells with which they grade."""
    about = cell.get("metadata", {})
    of_nbgrader = about.get("nbgrader", {})
    return about.get("editable") is False or (
        bool(of_nbgrader.get("grade") or of_nbgrader.get("locked"))
        and not of_nbgrader.get("solution")
    )


def without_magics(text: str) -> tuple[str, int]:
    """Return the code of a cell without lines that only a notebook can run, and their number."""
    lines, dropped = [], 0
    for line in text.split("\n"):
        is_magic = line.lstrip().startswith(("%", "!"))
        dropped += is_magic
        lines.append("pass" if is_magic and line[:1].isspace() else "" if is_magic else line)
    return "\n".join(lines), dropped


def _of_zip(file: Contents, assignment: str, wanted: Mapping[str, int]) -> Code:
    with zipfile.ZipFile(file.stream) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        best = best_of(names, assignment)
        if best is None:
            raise ValueError("it has no script and no notebook")
        code = _code(best, _entry(archive, best, _most(best)))
        for name, most in wanted.items():
            found = [n for n in names if PurePosixPath(n).name == name and "__MACOSX" not in n]
            near = [n for n in found if PurePosixPath(n).parent == PurePosixPath(best).parent]
            try:
                if near or len(found) == 1:
                    code.files[name] = _entry(archive, [*near, *found][0], most)
            except Exception as error:  # a damaged entry can raise almost anything
                code.remarks.append(f"{name} was left out: {explain(error)}")
        return code


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    entry = archive.getinfo(name)
    if entry.file_size > most:
        raise ValueError(f"{name} has {entry.file_size:,} bytes, {most:,} are allowed")
    with archive.open(entry) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} has more than it says")
    return content


def best_of(names: list[str], assignment: str) -> str | None:
    """Return the file to grade: ``a2.py``, else ``a2.ipynb``, else one with a2 in its name, else
    the only one."""
    found = [
        name
        for name in sorted(names)
        if name.lower().endswith((".py", ".ipynb"))
        and not any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)
    ]
    for wanted in (
        lambda n: n == f"{assignment}.py",
        lambda n: n == f"{assignment}.ipynb",
        lambda n: assignment in n and n.endswith(".py"),
        lambda n: assignment in n,
    ):
        for name in found:
            if wanted(PurePosixPath(name).name.lower()):
                return name
    return found[0] if len(found) == 1 else None


def find(folder: Path, assignment: str) -> list[Submission]:
    """Return the submissions in a folder, sorted by student.

    It may be a bulk export of Gradescope (``submission_metadata.yml``), have a folder for each
    student, or a file for each (``NAME_....py``, as Canvas and Moodle name them, or a zip).

    Raises
    ------
    UserError
        If there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the folder with the submissions")
    metadata = folder / "submission_metadata.yml"
    if metadata.exists():
        found = _of_gradescope(metadata, assignment)
    else:
        found = [_of_entry(entry, assignment) for entry in sorted(folder.iterdir())]
    submissions = [s for s in found if s is not None]
    if not submissions:
        raise UserError(f"{folder} has no submissions: a folder or a file for each student")
    times = Counter(s.student for s in submissions)
    named = [  # two of one name are told apart by the whole name of their file
        s if times[s.student] == 1 else replace(s, student=s.path.stem) for s in submissions
    ]
    return sorted(named, key=lambda s: s.student)


def _of_entry(entry: Path, assignment: str) -> Submission | None:
    if entry.name.startswith((".", "_")):
        return None
    if entry.is_dir():
        # Moodle: "Ada Lovelace_12345_assignsubmission_file_"
        student = entry.name.partition("_assignsubmission")[0]
        path = in_folder(entry, assignment)
        return Submission(student, path, folder=path.parent)
    if entry.suffix.lower() in (".py", ".ipynb", ".zip"):
        return Submission(re.split(r"_(?:late_)?\d|_a\d", entry.stem)[0], entry)
    return None


def in_folder(folder: Path, assignment: str) -> Path:
    """Return the file to grade in a student's folder, or the folder if there is none."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    best = best_of(list(names), assignment)
    if best is not None:
        return names[best]
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    return zips[0] if len(zips) == 1 else folder


def _of_gradescope(metadata: Path, assignment: str) -> list[Submission | None]:
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            "an export of Gradescope needs PyYAML to be read: pip install 'minisd[course]'"
        ) from error
    with SUBMISSION.reading(metadata) as file:
        content = yaml.safe_load(file.text())
        found: list[Submission | None] = []
        for name, about in content.items():
            submitter = about[":submitters"][0]
            student = submitter.get(":sid") or submitter.get(":email") or submitter[":name"]
            when = about.get(":created_at")
            when = datetime.fromisoformat(when) if isinstance(when, str) else when
            folder = metadata.parent / PurePosixPath(str(name)).name
            path = in_folder(folder, assignment) if folder.is_dir() else folder
            found.append(Submission(str(student), path, when, path.parent))
        return found


def safe_name(student: str) -> str:
    """Return a file name for a student, whatever they are called."""
    plain = re.sub(r"[^\w.@-]+", "_", student)[:60].strip(".")
    return plain or json.dumps(student).encode().hex()[:20]
