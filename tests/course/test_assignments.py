"""Every assignment: its handout, its reference, and each answer of its bank, right and wrong."""

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisd.course import bank as banks
from minisd.course import grading, make, source
from minisd.course import kit as kits
from minisd.course.answers import Local, answer_all, difference, outcomes, tolerance
from minisd.course.checks import Check, Failure
from minisd.course.diagnose import diagnose
from minisd.course.kit import Kit

SOURCES = Path(__file__).parents[2] / "tutorials" / "course"
FOLDERS = {folder.name[:2]: folder for folder in sorted(SOURCES.glob("a?_*"))}
SEEDS = [
    "one",
    pytest.param("two", marks=pytest.mark.slow),
    pytest.param("3", marks=pytest.mark.slow),
]


@functools.cache
def assignment(name: str) -> source.Assignment:
    return source.read(FOLDERS[name] / "assignment.py")


@functools.cache
def solution(name: str) -> dict[str, Any]:
    return banks.namespace(assignment(name).solution)


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


def lost(kit: Kit, entry: banks.Entry, *, everything: bool = False) -> dict[str, str]:
    """The properties that an answer loses, and the name of the mistake that is given for each."""
    checks = [check for check in kit.checks if everything or check.task == entry.about.task]
    names = {**solution(kit.name), **entry.functions}
    found = answer_all(checks, kit.name, kit.seed, names)
    result = {}
    for check, name in [(c, n) for c in checks for n in c.points]:
        outcomes = {case.name: found[check.name, case.name][name] for case in check.cases}
        if any(
            difference(
                outcomes[case.name],
                kit.answers.expected[check.name, case.name][name],
                tolerance(case),
            )
            for case in check.cases
        ):
            result[name] = diagnose(check, name, outcomes, kit.answers, kit.mistakes).name
    return result


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(("name", "number"), entries("mistakes"))
def test_a_mistake_loses_exactly_its_points_and_is_named(name, number, seed):
    """In full, with hidden cases, and from the fingerprints of the package."""
    entry = bank(name).mistakes[number]
    found = lost(kit(name, seed), entry)
    hidden_only = seed == kits.PUBLIC_SEED and entry.loses_hidden
    assert set(found) == set(entry.loses) - set(entry.loses_hidden if hidden_only else ())
    assert set(found.values()) <= {entry.about.name}


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(("name", "number"), entries("right_answers"))
def test_a_right_answer_in_an_unusual_form_has_full_marks(name, number, seed):
    entry = bank(name).right_answers[number]
    assert set(lost(kit(name, seed), entry, everything=True)) == set(entry.loses)


@pytest.mark.parametrize("name", FOLDERS)
def test_points_and_words(name):
    """100 points, shared out in full; every mistake has words, and properties that exist."""
    found = assignment(name)
    assert found.points == 100
    for task in found.tasks:
        checks = [check for check in kit(name, "one").checks if check.task == task.number]
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
    full = grading.grade(kit(name, "one"), assignment(name).solution)
    assert full.earned == full.points == 100, full.mistakes


ODD: list[Any] = [
    *(None, "text", np.array(1.5), np.empty((0, 3)), np.ones(5, bool), np.full(4, np.nan)),
    *(np.ones(3, complex), [[1, 2], [3]], {"w1": np.ones(3)}, object()),
]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_judge_can_look_at_anything(name, count):
    """Functions that return what nobody has asked for get no points for it, and end no judge."""
    found = kit(name, "one")
    for value in ODD:
        result = value if count == 1 else (value,) * count
        function = functools.partial(lambda result, *_, **__: result, result)
        names = {n: function for task in found.tasks for n in task.names}
        for check in found.checks:
            student = Local(names, check.helpers)
            outcome = {c.name: outcomes(check, student, c.inputs("one", name)) for c in check.cases}
            for key in check.points:
                of_case = {case: o[key] for case, o in outcome.items()}
                assert diagnose(check, key, of_case, found.answers, found.mistakes), (check, value)
            held = [follows(check, student, c.inputs("one", name)) for c in check.cases]
            assert not all(held)


def follows(check: Check, student: Local, inputs: Any) -> bool:
    try:
        return check.follow is not None and all(check.follow(student, inputs).values())
    except Failure:
        return False
