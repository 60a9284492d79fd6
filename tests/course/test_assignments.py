"""Every assignment: its handout, its reference, and each answer of its bank, right and wrong."""

import contextlib
import functools
import itertools
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisd.course import bank as banks
from minisd.course import grading, make, source
from minisd.course import kit as kits
from minisd.course.answers import Local, answer_all
from minisd.course.checks import Failure
from minisd.course.diagnose import diagnose
from minisd.course.kit import Kit

SOURCES = Path(__file__).parents[2] / "tutorials" / "course"
FOLDERS = {folder.name[:2]: folder for folder in sorted(SOURCES.glob("a?_*"))}
SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in ("one", "two", "3")]


@functools.cache
def assignment(name: str) -> source.Assignment:
    return source.read(FOLDERS[name] / "assignment.py")


@functools.cache
def solution(name: str) -> dict[str, Any]:
    return banks.of(assignment(name))


@functools.cache
def bank(name: str) -> banks.Bank:
    return banks.read(FOLDERS[name], solution(name))


@functools.cache
def kit(name: str, seed: str) -> Kit:
    return kits.full(FOLDERS[name], seed) if seed != kits.PUBLIC_SEED else kits.public(name)


def entries(kind: str) -> list[Any]:
    return [
        pytest.param(name, number, id=f"{entry.about.task} {entry.about.name} {number}")
        for name in FOLDERS
        for number, entry in enumerate(getattr(bank(name), kind))
    ]


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(("name", "number"), entries("mistakes"))
def test_a_mistake_loses_exactly_its_points_and_is_named(name, number, seed):
    """In full, with hidden cases, and from the fingerprints of the package."""
    entry = bank(name).mistakes[number]
    names = {**solution(name), **entry.functions}
    found = make.lost(kit(name, seed), names, task=entry.about.task)
    hidden_only = seed == kits.PUBLIC_SEED and entry.loses_hidden
    assert set(found) == set(entry.loses) - set(entry.loses_hidden if hidden_only else ())
    assert set(found.values()) <= {entry.about.name}


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(("name", "number"), entries("right_answers"))
def test_a_right_answer_in_an_unusual_form_has_full_marks(name, number, seed):
    entry = bank(name).right_answers[number]
    assert set(make.lost(kit(name, seed), {**solution(name), **entry.functions})) == set(
        entry.loses
    )


GARBAGE = [
    None, "", "text", object(), [], {}, (1, 2), (1, 2, 3), [None, None], np.zeros(()), np.nan,
    np.ones((2, 3)), (np.ones(3), np.ones(3)), (np.full(3, np.nan),) * 3, ("a", "b", "c"), int,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(GARBAGE)))
@pytest.mark.parametrize("name", FOLDERS)
def test_nonsense_has_no_points(name, number):
    """And the judge has a verdict, whatever the functions return."""
    nonsense = {
        function: lambda *args, **kwargs: GARBAGE[number]
        for task in assignment(name).tasks
        for function in task.names
    }
    graded = kit(name, "one")
    found = answer_all(graded.checks, name, "one", nonsense)
    for check in graded.checks:
        held = []  # a case on a kink has nothing to say, so all of them count together
        for case in check.cases if check.follow else []:
            with contextlib.suppress(Failure):
                student = Local(nonsense, check.helpers)
                held.append(all(check.follow(student, case.inputs("one", name)).values()))
        assert len(held) < len(check.cases) or not all(held)
        for of in check.points:
            outcomes = {case.name: found[check.name, case.name][of] for case in check.cases}
            assert diagnose(check, of, outcomes, graded.answers, graded.mistakes), of


@pytest.mark.parametrize("name", FOLDERS)
def test_points_and_words(name):
    """100 points, shared out in full; every mistake has words, and properties that exist."""
    found = assignment(name)
    assert found.points == 100
    assert kit(name, "one").points == 100 - sum(task.points for task in kit(name, "one").manual)
    for task in found.tasks:
        checks = [check for check in kit(name, "one").checks if check.task == task.number]
        if task.criteria:  # a person gives the points
            assert not checks
            assert task.points % len(task.criteria) == 0
            continue
        names = list(itertools.chain.from_iterable(check.points for check in checks))
        assert sum(sum(check.points.values()) for check in checks) == task.points
        assert len(names) == len(set(names))
        for entry in bank(name).mistakes:
            if entry.about.task == task.number:
                assert entry.loses
                assert set(entry.loses) <= set(names)
                assert entry.about.says
                assert entry.about.look.endswith("?")


def assert_same(one: str, other: str) -> None:
    """Compare texts, the numbers in them up to rounding: processors add up in different orders."""
    (words, numbers), (other_words, other_numbers) = map(words_and_numbers, (one, other))
    assert words == other_words
    np.testing.assert_allclose(numbers, other_numbers, rtol=1e-4, atol=1e-4)


def words_and_numbers(text: str) -> tuple[list[str], list[float]]:
    parts = re.split(r"(-?\d+\.\d+(?:e-?\d+)?)", text)
    return parts[::2], [float(number) for number in parts[1::2]]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_handout_is_made_from_the_source_and_has_no_solution(name):
    found = assignment(name)
    script = make.handout(found)
    folder = kits.HANDOUTS / name
    assert (folder / f"{name}.py").read_text() == script
    assert (folder / f"{name}.ipynb").read_text() == make.notebook(script)
    assert (folder / "README.md").read_text() == make.about(found)
    made = kits.fingerprints(kits.full(FOLDERS[name], kits.PUBLIC_SEED))
    assert_same(made, (folder / "fingerprints.json").read_text())
    kept = {line.strip() for line in script.splitlines()}
    for region in source.regions(found.solution):
        for line in map(str.strip, region.splitlines()):
            assert len(line) <= 12 or line not in kept, line


@pytest.mark.parametrize("name", FOLDERS)
def test_an_empty_handout_has_no_points_and_the_reference_all(name):
    script = (kits.HANDOUTS / name / f"{name}.py").read_text()
    empty = grading.grade(kit(name, "one"), script)
    assert empty.earned == 0
    assert {mistake.partition(" ")[2] for mistake in empty.mistakes} == {"G-empty"}
    reference = assignment(name)
    full = grading.grade(kit(name, "one"), reference.solution, files=reference.files)
    waiting = sum(task.waiting for task in full.tasks)
    assert full.earned == full.points == 100 - waiting, full.mistakes
    assert waiting == sum(task.points for task in reference.tasks if task.criteria)


def test_the_table_for_office_hours_is_made_from_the_sources():
    assert (SOURCES / "mistakes.md").read_text() == make.office_hours(FOLDERS.values())


def test_every_command_of_the_guide_is_one():
    from minisd.cli.parser import make_parser

    text = (SOURCES / "README.md").read_text()
    lines = re.findall(r"minisd course ([^`\n#]+)", text)
    assert len(lines) > 8
    for line in lines:
        words = line.split()
        if words[0] in ("grade", "explain") or "FILE" in words or len(words) > 1:
            words = [word.replace("FILE", "a2.py") for word in words]
        if words == ["grade", "--require", "2"]:
            words[1:1] = ["a2", "submissions"]
        make_parser().parse_args(["course", *words])


@pytest.mark.slow
def test_the_wheel_has_the_handouts_and_no_answers(tmp_path):
    root = SOURCES.parents[1]
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, root]
    subprocess.run(line, check=True)
    (wheel,) = tmp_path.glob("minisd-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        course = {name: archive.read(name).decode() for name in names if "/course/" in name}
    assert "minisd/course/worker.py" in course
    for name in FOLDERS:
        for file in (f"{name}.py", f"{name}.ipynb", "README.md", "fingerprints.json", "checks.py"):
            assert f"minisd/course/handouts/{name}/{file}" in course
        secret = [
            line.strip()
            for r in source.regions(assignment(name).solution)
            for line in r.split("\n")
        ]
        for file in ("hidden.py", "mistakes.py", "right.py"):
            assert not [path for path in names if path.endswith(f"/{file}")]
            secret += (FOLDERS[name] / file).read_text().split("\n")[2:]
        for path, text in course.items():
            if "/handouts/" in path:
                lines = set(map(str.strip, text.split("\n")))
                found = [
                    line
                    for line in secret
                    if len(line) > 40 and line in lines and not line.startswith(("def ", "from "))
                ]
                assert not found, (path, found)
    assert not [name for name in names if name.endswith(".pyc")]
