"""An assignment as it is graded: tasks, checks, expected answers, and the words of its mistakes.

There are two. `public` has what comes with the package: public cases and fingerprints. `full` is
made from the source, with a secret seed: it has hidden cases, the solution and the bank.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from minisd.course import material as materials
from minisd.course import source, staging, variants
from minisd.course.answers import Answers, answer_all, from_json, to_json
from minisd.course.checks import Case, Check, Mistake
from minisd.course.variants import HANDOUTS, NONE
from minisd.errors import UserError, known_or_close
from minisd.readers import Kind

NAMES = ("a1", "a2", "a3", "a4", "a5", "a6")
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
    variant : str
        See `minisd.course.variants`.
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
    variant: str = NONE
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
        raise UserError(f"there is no assignment {name!r}; {known_or_close(name, names())}")
    return name


def public(name: str, variant: str = NONE) -> Kit:
    """Read the kit that comes with the package."""
    variants.check_name(check_name(name), variant)
    with FINGERPRINTS.reading(HANDOUTS / name / "fingerprints.json") as file:
        content = file.json()
        if variant != NONE:
            with FINGERPRINTS.reading(
                variants.handout(name, variant) / "fingerprints.json"
            ) as changes:
                content = _changed(content, changes.json())
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
        title, checks = content["title"], _checks(name, variant)
        kit = Kit(name, title, PUBLIC_SEED, tasks, checks, answers, about, {}, variant=variant)
        return _made(kit)


def full(folder: Path, seed: str, variant: str = NONE) -> Kit:
    """Make the kit from the source of an assignment, for a secret seed."""
    made = materials.read(folder, variant)
    assignment, solution, bank = made.assignment, made.solution, made.bank
    hidden = {} if seed == PUBLIC_SEED else _hidden(folder / "hidden.py")
    checks = _checks(assignment.name, variant, hidden)
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
    words = {(e.about.task, e.about.name): e.about for e in bank.mistakes}
    given = {t.number: assignment.solution_of(t) for t in assignment.tasks}
    name, title = assignment.name, assignment.title
    kit = Kit(name, title, seed, tasks, checks, answers, words, given, variant=variant)
    kit.sources = _digest(folder, variant)
    return _made(kit)


def _digest(folder: Path, variant: str) -> str:
    hasher = hashlib.sha256()
    files = [*folder.iterdir(), *folder.glob(f"variants/{variant}/*")]
    for path in sorted(path for path in files if path.is_file()):
        with source.ASSIGNMENT.reading(path) as file:
            hasher.update(path.name.encode() + file.bytes())
    return hasher.hexdigest()


def fingerprints(kit: Kit, ordinary: Kit | None = None) -> str:
    """Return what is shipped of a public kit, as JSON.

    Of a variant that is only what differs from the ordinary kit.
    """
    content = _content(kit)
    if ordinary is not None:
        content = _changes(_content(ordinary), content)
    return json.dumps(content, indent=None, separators=(",", ":"), sort_keys=True) + "\n"


def _content(kit: Kit) -> dict[str, Any]:
    printed = kit.answers.printed()
    return {
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


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what makes the content of a variant from that of the ordinary kit."""
    changes: dict[str, Any] = {"title": new["title"], "tasks": new["tasks"]}
    changes["words"] = [about for about in new["words"] if about not in old["words"]]
    for part in ("expected", "mistakes"):
        gone = dict.fromkeys(old[part].keys() - new[part].keys())
        changes[part] = gone | {k: v for k, v in new[part].items() if v != old[part].get(k)}
    return changes


def _changed(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return what `_changes` was given as new. None stands for what is gone."""
    parts = {
        part: {k: v for k, v in {**old[part], **changes[part]}.items() if v is not None}
        for part in ("expected", "mistakes")
    }
    return changes | parts | {"words": [*old["words"], *changes["words"]]}


def _module(name: str, variant: str = NONE) -> ModuleType:
    within = name if variant == NONE else f"{name}.variants.{variant}"
    return importlib.import_module(f"minisd.course.handouts.{within}.checks")


def _checks(
    name: str, variant: str = NONE, hidden: Mapping[str, list[Case]] | None = None
) -> list[Check]:
    """Return the checks of a variant, with hidden cases by the name of the check."""
    checks = [
        replace(check, cases=[*check.cases, *(hidden or {}).get(check.name, [])])
        for check in _module(name).CHECKS
    ]
    return checks if variant == NONE else list(_module(name, variant).adapted(checks))


def _made(kit: Kit) -> Kit:
    """Add what the assignment gives: names, and a staged copy of some modules of minisd."""
    module = _module(kit.name)
    kit.given_names = getattr(module, "GIVEN", "")
    kit.allowed = frozenset(getattr(module, "ALLOWED", ()))
    own = _module(kit.name, kit.variant)
    kit.files = {**getattr(module, "FILES", {}), **getattr(own, "FILES", {})}
    kit.enclosed = dict(getattr(module, "ENCLOSED", {}))
    if hasattr(module, "STAGED"):
        kit.staged = (staging.stage(module.STAGED, getattr(module, "LIBRARIES", ())),)
    return kit


def _hidden(path: Path) -> dict[str, list[Case]]:
    with source.ASSIGNMENT.reading(path) as file:
        text = file.text()
    names: dict[str, Any] = {"__name__": "hidden"}
    exec(compile(text, str(path), "exec"), names)
    return dict(names["HIDDEN"])


def _text(key: tuple[str, str]) -> str:
    return "|".join(key)


def _key(text: str) -> tuple[str, str]:
    first, second = text.split("|")
    return first, second
