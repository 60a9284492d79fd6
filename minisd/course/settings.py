"""The settings of a course, ``course.toml``: the secret seed, and what may differ by assignment."""

import dataclasses
import datetime
import secrets
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minisd.course import variants
from minisd.course.kit import NAMES, Kit
from minisd.course.report import HINTS, STEPWISE
from minisd.errors import ConfigError, UserError, known_or_close
from minisd.files import write_atomically
from minisd.readers import Kind

SETTINGS = Kind(
    "the settings of a course",
    ConfigError,
    if_missing="write one with 'minisd course init'",
    if_damaged="mend it, or write a new one with 'minisd course init'",
)


@dataclass(frozen=True)
class OfAssignment:
    """Settings of one assignment.

    Attributes
    ----------
    due : datetime, optional
        With its zone. Without it nothing is late.
    late_per_day, slip_days : float, int
        Share of the points that a day of delay costs, after ``slip_days`` days that cost nothing.
    daily_limit : int
        On Gradescope: submissions that are graded in 24 hours, and one more, since the first retry
        is free. 0: no limit.
    tasks : list of str
        The tasks that are set; default: all.
    points : dict
        Points of a task, instead of the usual ones.
    variant : str
        What is asked for: "none" for the ordinary assignment, or one of its variants.
    hints : "first", "where", "all" or "stepwise"
        How much the feedback says of a mistake: what fails; where to look, too; its name, too; or
        one step more with each submission that failed in the same property.
    seconds_per_call, memory_mb : float, int
        Limits of the student's process.
    """

    due: datetime.datetime | None = None
    late_per_day: float = 0.0
    slip_days: int = 0
    daily_limit: int = 0
    tasks: list[str] = field(default_factory=list)
    points: dict[str, float] = field(default_factory=dict)
    variant: str = variants.NONE
    hints: str = "all"
    seconds_per_call: float = 5.0
    memory_mb: int = 512

    def late(self, minutes: int, extra_days: int = 0) -> tuple[int, float]:
        """Return how many days are late, and which share of the points they cost."""
        days = max(0, -(-minutes // 1440) - self.slip_days - extra_days)
        return days, min(1.0, days * self.late_per_day)


SHOW_HIDDEN = ("verdict", "after_due", "after_published")


@dataclass(frozen=True)
class OfReport:
    """What stands in every report.

    Attributes
    ----------
    name : str
        Of the course; above the feedback.
    show_hidden : "verdict", "after_due" or "after_published"
        On Gradescope: when students see which properties they have. The total is always seen.
    """

    name: str = ""
    show_hidden: str = "verdict"


@dataclass(frozen=True)
class Settings:
    """Settings of a course.

    Attributes
    ----------
    seed : str
        Secret: from it come the numbers with which is graded.
    term : str
    extra_days : dict
        By student: days that cost nothing, for accommodations.
    assignments : dict
        By name.
    report : OfReport
    """

    seed: str
    term: str = ""
    extra_days: dict[str, int] = field(default_factory=dict)
    assignments: dict[str, OfAssignment] = field(default_factory=dict)
    report: OfReport = field(default_factory=OfReport)

    def of(self, assignment: str) -> OfAssignment:
        """Return the settings of an assignment."""
        return self.assignments.get(assignment, OfAssignment())

    def for_kit(self, kit: Kit) -> OfAssignment:
        """Return the settings of an assignment.

        Raises
        ------
        ConfigError
            If they are about a task that it does not have.
        """
        of = self.of(kit.name)
        numbers = [task.number for task in kit.tasks]
        for number in (*of.tasks, *of.points):
            if number not in numbers:
                raise ConfigError(
                    f"course.toml: {kit.name} has no task {number!r}; there are "
                    f"{', '.join(numbers)}"
                )
        return of


def read(path: Path) -> Settings:
    """Read ``course.toml``.

    Raises
    ------
    ConfigError
        If it is missing or damaged, or has a key or a value that is none.
    """
    with SETTINGS.reading(path) as file:
        content = tomllib.loads(file.text())
        assignments = {
            name: _made(OfAssignment, content.pop(name), path, f"[{name}]")
            for name in NAMES
            if name in content
        }
        report = _made(OfReport, content.pop("report", {}), path, "[report]")
        made = {**content, "assignments": assignments, "report": report}
        settings = _made(Settings, made, path, "the file")
    if len(settings.seed) < 16:
        raise ConfigError(f"{path}: the seed is too short to be secret: 'minisd course init'")
    if report.show_hidden not in SHOW_HIDDEN:
        known = ", ".join(SHOW_HIDDEN)
        raise ConfigError(f"{path}: show_hidden is {known}, not {report.show_hidden!r}")
    for name, of in assignments.items():
        if of.hints not in (*HINTS, STEPWISE):
            known = ", ".join((*HINTS, STEPWISE))
            raise ConfigError(f"{path}: hints of {name} are {known}, not {of.hints!r}")
        try:
            variants.check_name(name, of.variant)
        except UserError as error:
            raise ConfigError(f"{path}: {error}") from None
        if of.due is not None and of.due.tzinfo is None:
            raise ConfigError(f"{path}: due of {name} needs its zone, as in 2027-03-01T23:59:00Z")
    return settings


def _made(kind: Any, values: Any, path: Path, where: str) -> Any:
    """Return a dataclass with these values; raise a ConfigError for what it does not have."""
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {where} must be a table")
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            advice = known_or_close(name, hints)
            raise ConfigError(f"{path}: {where} has {name!r}, which is unknown; {advice}")
        if not _fits(value, hints[name]):
            raise ConfigError(f"{path}: {name} in {where} cannot be {value!r}")
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in values:
            raise ConfigError(f"{path}: {where} lacks {name}: 'minisd course init' writes one")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, arguments[1]) for v in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, hint)


_TEMPLATE = """\
# The settings of a course with minisd. Keep this file secret: who has the seed has the numbers
# with which is graded. .gitignore, beside it, keeps it out of a repository.

seed = "{seed}"
term = ""

# [report]
# name = "Deep learning"
# show_hidden = "verdict"    # on Gradescope: or "after_due", or "after_published"

# [extra_days]
# "a student" = 3

# [a2]
# due = 2027-03-01T23:59:00Z
# late_per_day = 0.1
# slip_days = 2
# daily_limit = 5    # on Gradescope
# hints = "all"    # or "stepwise", "where", "first"
# variant = "none"    # 'minisd course list' has the others
"""


def write_new(folder: Path) -> Path:
    """Write a ``course.toml`` with a fresh seed, and a ``.gitignore``; never over an old one."""
    path, ignore = folder / "course.toml", folder / ".gitignore"
    if path.exists():
        raise ConfigError(f"{path} is there already: a new seed would change every grade")
    text = _TEMPLATE.format(seed=secrets.token_hex(32)).encode()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda stream: stream.write(text))
    path.chmod(0o600)
    if not ignore.exists():
        write_atomically(ignore, lambda stream: stream.write(b"course.toml\n"))
    return path
