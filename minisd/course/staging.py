"""A copy of some modules of minisd, for assignments that may use them and not others."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import minisd.readers
from minisd.course.source import ASSIGNMENT

PACKAGE = Path(minisd.readers.__file__).parent


def stage(files: Mapping[str, str | None]) -> Path:
    """Make a temporary folder with a package ``minisd``, and return it.

    Parameters
    ----------
    files : dict
        By path below ``minisd/``: the text of the file, or None for a copy of the library's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="minisd-staged-"))
    folder.chmod(0o755)  # student code may run as another user
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in {"__init__.py": "", **files}.items():
        target = folder / "minisd" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            with ASSIGNMENT.reading(PACKAGE / name) as file:
                text = file.text()
        target.write_text(text, encoding="utf-8")
    return folder
