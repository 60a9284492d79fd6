"""What several actions of ``minisd course`` share: exit codes, options, the folder of a source."""

from pathlib import Path
from typing import Any

from minisd.course import kit as kits
from minisd.errors import UserError

OK, NOT_ALL = 0, 1


def a_path(text: str) -> Path:
    """Return a path; ``~`` is the home folder."""
    return Path(text).expanduser()


def folder_of(name: str, sources: Path) -> Path:
    """Return the folder with the source of an assignment; raise a UserError if there is none."""
    kits.check_name(name)
    folders = sorted(sources.glob(f"{name}_*"))
    if not folders:
        raise UserError(
            f"{sources} has no source of {name}: grading needs a checkout of minisd; give its "
            "tutorials/course with --sources"
        )
    return folders[0]


def with_sources(sub: Any) -> None:
    """Add ``--sources`` to an action."""
    sub.add_argument(
        "--sources", type=a_path, metavar="DIR", default=Path("tutorials") / "course",
        help="tutorials/course of a checkout (default: below this folder)",
    )  # fmt: skip


def with_settings(sub: Any) -> None:
    """Add ``--settings`` and ``--sources`` to an action."""
    only_settings(sub)
    with_sources(sub)


def only_settings(sub: Any) -> None:
    """Add ``--settings`` to an action."""
    sub.add_argument(
        "--settings", dest="settings_path", type=a_path, metavar="FILE",
        default=Path("course.toml"), help="the course's settings (default: course.toml)",
    )  # fmt: skip
