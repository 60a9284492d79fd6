"""A copy of some modules of minisd, for assignments that may use them and not others."""

import atexit
import importlib.util
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import minisd.readers
from minisd.course.source import ASSIGNMENT
from minisd.errors import UserError

PACKAGE = Path(minisd.readers.__file__).parent


def stage(files: Mapping[str, str | None], libraries: Iterable[str] = ()) -> Path:
    """Make a temporary folder with a package ``minisd``, and return it.

    Parameters
    ----------
    files : dict
        By path below ``minisd/``: the text of the file, or None for a copy of the library's own.
    libraries : names
        Installed modules and packages that are copied, too; of Python files alone.
    """
    folder = Path(tempfile.mkdtemp(prefix="minisd-staged-"))
    folder.chmod(0o755)  # student code may run as another user
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in {"__init__.py": "", **files}.items():
        content = _content(PACKAGE / name) if text is None else text.encode()
        _put(content, folder / "minisd" / name)
    for library in libraries:
        home = _home(library)
        paths = sorted(home.rglob("*.py")) if home.is_dir() else [home]
        for path in paths:
            _put(_content(path), folder / path.relative_to(home.parent))
    return folder


def whole() -> dict[str, str | None]:
    """Return what `stage` needs for all of minisd but the course: code, and the bundled digits."""
    found = [
        path.relative_to(PACKAGE)
        for pattern in ("*.py", "*.npz")
        for path in sorted(PACKAGE.rglob(pattern))
    ]
    return {path.as_posix(): None for path in found if path.parts[0] != "course"}


def _home(library: str) -> Path:
    """Return the file of an installed module, or the folder of a package."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        raise UserError(f"{library}, which minisd needs, is missing: install minisd again")
    origin = Path(spec.origin)
    return origin if spec.submodule_search_locations is None else origin.parent


def _content(path: Path) -> bytes:
    with ASSIGNMENT.reading(path) as file:
        return file.bytes()


def _put(content: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
