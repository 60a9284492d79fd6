"""An assignment as it is graded: tasks, checks, expected answers, and the words of its mistakes.

There are two. `public` has what comes with the package: public cases and fingerprints. `full` is
made from the source, with a secret seed: it has hidden cases, the solution and the bank.
"""

import hashlib
import importlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from minisd.course import bank as banks
from minisd.course import source, staging
from minisd.course.answers import Answers, answer_all, from_json, to_json
from minisd.course.checks import Check, Mistake
from minisd.errors import UserError
from minisd.readers import Kind

NAMES = ("a1", "a2", "a3", "a4", "a5", "a6")
HANDOUTS = Path(__file__).parent / "handouts"
PUBLIC_SEED = "public"
FINGERPRINTS = Kind(
    "the fingerprints of an assignment",
    UserError,
    if_missing="install minisd again",
    if_damaged="install minisd again",
)


@dataclass(frozen=True)
class TaskInfo:
    """What is public of a task."""

    number: str
    title: str
    points: int
    minutes: int
    names: tuple[str, ...]
    criteria: tuple[str, ...] = ()
    """What a person judges it by; empty if a machine does."""


@dataclass
class Kit:
    """An assignment as it is graded.

    Attributes
    ----------
    given : dict
        By task: source of its reference, which replaces the student's where a later task asks for
        it. Empty in a public kit, which has no references.
    given_names : str
        Source of what stands in the student's module before the file runs.
    staged : tuple of path
        Folders with the modules of minisd that may be imported; ``allowed`` has their names.
    files : dict
        What may be handed in with the code and is judged: the most bytes, by name.
    enclosed : dict
        The same of what a person reads.
    sources : str
        Stands for the files that a full kit was made from.
    """

    name: str
    title: str
    seed: str
    tasks: list[TaskInfo]
    checks: list[Check]
    answers: Answers
    mistakes: dict[tuple[str, str], Mistake]
    given: dict[str, str]
    given_names: str = ""
    staged: tuple[Path, ...] = ()
    allowed: frozenset[str] = frozenset()
    files: dict[str, int] = field(default_factory=dict)
    enclosed: dict[str, int] = field(default_factory=dict)
    sources: str = ""

    @property
    def points(self) -> float:
        """Of all tasks together that a machine judges."""
        return sum(task.points for task in self.tasks if not task.criteria)

    @property
    def manual(self) -> list[TaskInfo]:
        """The tasks that a person judges."""
        return [task for task in self.tasks if task.criteria]

    @property
    def tutorials(self) -> list[int]:
        """The tutorials that its mistakes let the student read again."""
        found = {about.read.partition(":")[0] for about in self.mistakes.values() if about.read}
        return sorted(map(int, found))

    @property
    def is_public(self) -> bool:
        """Whether this is what comes with the package."""
        return self.seed == PUBLIC_SEED


def names() -> list[str]:
    """Return the names of the assignments that this version has."""
    return [name for name in NAMES if (HANDOUTS / name / "fingerprints.json").exists()]


def check_name(name: str) -> str:
    """Return the name of an assignment; raise a UserError if there is none."""
    if name not in names():
        raise UserError(f"there is no assignment {name!r}; there are {', '.join(names())}")
    return name


def public(name: str) -> Kit:
    """Read the kit that comes with the package."""
    check_name(name)
    with FINGERPRINTS.reading(HANDOUTS / name / "fingerprints.json") as file:
        content = file.json()
        answers = Answers(
            {_key(k): from_json(v) for k, v in content["expected"].items()},
            {
                _key(about): [{_key(k): from_json(v) for k, v in form.items()} for form in forms]
                for about, forms in content["mistakes"].items()
            },
        )
        about = {(m["task"], m["name"]): Mistake(**m) for m in content["words"]}
        tasks = [
            TaskInfo(
                **{
                    **task,
                    "names": tuple(task["names"]),
                    "criteria": tuple(task.get("criteria", ())),
                }
            )
            for task in content["tasks"]
        ]
        title = content["title"]
        return _made(Kit(name, title, PUBLIC_SEED, tasks, _checks(name), answers, about, {}))


def full(folder: Path, seed: str) -> Kit:
    """Make the kit from the source of an assignment, for a secret seed."""
    assignment = source.read(folder / "assignment.py")
    solution = banks.of(assignment)
    bank = banks.read(folder, solution)
    checks = _checks(assignment.name)
    if seed != PUBLIC_SEED:
        checks = _with_hidden(checks, folder / "hidden.py")
    answers = Answers(answer_all(checks, assignment.name, seed, solution))
    for entry in bank.mistakes:
        of_task = [check for check in checks if check.task == entry.about.task]
        found = answer_all(of_task, assignment.name, seed, {**solution, **entry.functions})
        key = (entry.about.task, entry.about.name)
        answers.mistakes.setdefault(key, []).append(found)
    tasks = [
        TaskInfo(t.number, t.title, t.points, t.minutes, t.names, t.criteria)
        for t in assignment.tasks
    ]
    mistakes = {(e.about.task, e.about.name): e.about for e in bank.mistakes}
    given = {t.number: assignment.solution_of(t) for t in assignment.tasks}
    kit = Kit(assignment.name, assignment.title, seed, tasks, checks, answers, mistakes, given)
    kit.sources = _digest(folder)
    return _made(kit)


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with source.ASSIGNMENT.reading(path) as file:
            hasher.update(path.name.encode() + file.bytes())
    return hasher.hexdigest()


def fingerprints(kit: Kit) -> str:
    """Return what is shipped of a public kit, as JSON."""
    printed = kit.answers.printed()
    content = {
        "title": kit.title,
        "tasks": [
            {k: v for k, v in asdict(task).items() if v or k != "criteria"} for task in kit.tasks
        ],
        "words": [asdict(mistake) for mistake in kit.mistakes.values()],
        "expected": {_text(k): to_json(dict(v)) for k, v in printed.expected.items()},
        "mistakes": {
            _text(about): [
                {
                    _text(k): to_json(dict(v))
                    for k, v in form.items()
                    if to_json(dict(v)) != to_json(dict(printed.expected[k]))
                }
                for form in forms
            ]
            for about, forms in printed.mistakes.items()
        },
    }
    return json.dumps(content, indent=None, separators=(",", ":"), sort_keys=True) + "\n"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"minisd.course.handouts.{name}.checks")


def _checks(name: str) -> list[Check]:
    return list(_module(name).CHECKS)


def _made(kit: Kit) -> Kit:
    """Add what the assignment gives: names, and a staged copy of some modules of minisd."""
    module = _module(kit.name)
    kit.given_names = getattr(module, "GIVEN", "")
    kit.allowed = frozenset(getattr(module, "ALLOWED", ()))
    kit.files = dict(getattr(module, "FILES", {}))
    kit.enclosed = dict(getattr(module, "ENCLOSED", {}))
    if hasattr(module, "STAGED"):
        kit.staged = (staging.stage(module.STAGED, getattr(module, "LIBRARIES", ())),)
    return kit


def _with_hidden(checks: list[Check], path: Path) -> list[Check]:
    """Add the hidden cases of ``path`` to the checks that they are for."""
    with source.ASSIGNMENT.reading(path) as file:
        text = file.text()
    names: dict[str, Any] = {"__name__": "hidden"}
    exec(compile(text, str(path), "exec"), names)
    hidden = names["HIDDEN"]
    return [replace(check, cases=[*check.cases, *hidden.get(check.name, [])]) for check in checks]


def _text(key: tuple[str, str]) -> str:
    return "|".join(key)


def _key(text: str) -> tuple[str, str]:
    first, second = text.split("|")
    return first, second
