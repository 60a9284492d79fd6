"""Every assignment in each of its variants: handout, reference, and each answer of its bank."""

import contextlib
import functools
import itertools
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wheels
from minisd.course import grading, make, material, source, variants
from minisd.course import kit as kits
from minisd.course.answers import Local, answer_all
from minisd.course.bank import Bank
from minisd.course.checks import Failure
from minisd.course.diagnose import diagnose
from minisd.course.kit import Kit

SOURCES = Path(__file__).parents[2] / "tutorials" / "course"
FOLDERS = {folder.name[:2]: folder for folder in sorted(SOURCES.glob("a?_*"))}
SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in ("one", "3")]


PAIRS = [(name, variant) for name, folder in FOLDERS.items() for variant in material.names(folder)]
EACH = [pytest.param(*pair, id=" ".join(pair).removesuffix(" none")) for pair in PAIRS]
EACH_SLOWLY = [
    pytest.param(*pair, id=" ".join(pair), marks=[pytest.mark.slow] * (pair != ("a2", "none")))
    for pair in PAIRS
]
"""One in the ordinary suite: a bank takes seconds to be run in every case."""


@functools.cache
def made(name: str, variant: str = "none") -> material.Material:
    return material.read(FOLDERS[name], variant)


def assignment(name: str, variant: str = "none") -> source.Assignment:
    return made(name, variant).assignment


def solution(name: str, variant: str = "none") -> dict[str, Any]:
    return made(name, variant).solution


def bank(name: str, variant: str = "none") -> Bank:
    return made(name, variant).bank


@functools.cache
def kit(name: str, seed: str, variant: str = "none") -> Kit:
    if seed == kits.PUBLIC_SEED:
        return kits.public(name, variant)
    return kits.full(FOLDERS[name], seed, variant)


@functools.cache
def remade(name: str, variant: str) -> Kit:
    """What `public` reads, made again."""
    return kits.full(FOLDERS[name], kits.PUBLIC_SEED, variant)


@functools.cache
def changed(name: str, variant: str) -> set[str]:
    """The tasks in which a variant differs."""
    if variant == "none":
        return {task.number for task in assignment(name).tasks}
    content = json.loads((variants.handout(name, variant) / "fingerprints.json").read_text())
    return {key.partition(" ")[0] for key in content["expected"]}


def entries(kind: str, slow: Any = lambda variant, is_own: False) -> list[Any]:
    """All entries of the banks, but for those that are as in the ordinary bank.

    ``slow`` says which are not for the ordinary suite.
    """
    return [
        pytest.param(
            name, variant, number, id=f"{variant} {entry.about.task} {entry.about.name} {number}",
            marks=[pytest.mark.slow] if slow(variant, entry in made(name, variant).own.all) else [],
        )
        for name, variant in PAIRS
        for number, entry in enumerate(getattr(bank(name, variant), kind))
        if entry.about.task in changed(name, variant)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(("name", "variant", "number"), entries("mistakes"))
def test_a_mistake_loses_exactly_its_points_and_is_named(name, variant, number, seed):
    """In full, with hidden cases, and from the fingerprints of the package."""
    entry = bank(name, variant).mistakes[number]
    names = {**made(name, variant).solution, **entry.functions}
    found = make.lost(kit(name, seed, variant), names, task=entry.about.task)
    hidden_only = seed == kits.PUBLIC_SEED and entry.loses_hidden
    assert set(found) == set(entry.loses) - set(entry.loses_hidden if hidden_only else ())
    assert set(found.values()) <= {entry.about.name}


@pytest.mark.parametrize("seed", [kits.PUBLIC_SEED, *SEEDS])
@pytest.mark.parametrize(
    ("name", "variant", "number"),
    entries("right_answers", slow=lambda variant, is_own: variant != "none" and not is_own),
)
def test_a_right_answer_in_an_unusual_form_has_full_marks(name, variant, number, seed):
    entry = bank(name, variant).right_answers[number]
    names = {**made(name, variant).solution, **entry.functions}
    tasks = sorted(changed(name, variant))
    lost = [make.lost(kit(name, seed, variant), names, task=task) for task in tasks]
    checks = [check for check in kit(name, seed, variant).checks if check.task in tasks]
    expected = {of for check in checks for of in check.points} & set(entry.loses)
    assert {of for found in lost for of in found} == expected


GARBAGE = [
    None, "", "text", object(), [], {}, (1, 2), (1, 2, 3), [None, None], np.zeros(()), np.nan,
    np.ones((2, 3)), (np.ones(3), np.ones(3)), (np.full(3, np.nan),) * 3, ("a", "b", "c"), int,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(GARBAGE)))
@pytest.mark.parametrize(("name", "variant"), EACH)
def test_nonsense_has_no_points(name, variant, number):
    """And the judge has a verdict, whatever the functions return."""
    nonsense = {
        function: lambda *args, **kwargs: GARBAGE[number]
        for task in assignment(name, variant).tasks
        for function in task.names
    }
    graded = kit(name, "one", variant)
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


@pytest.mark.parametrize(("name", "variant"), EACH)
def test_points_and_words(name, variant):
    """100 points, shared out in full; every mistake has words, and properties that exist."""
    found = assignment(name, variant)
    assert found.points == 100
    assert kit(name, "one").points == 100 - sum(task.points for task in kit(name, "one").manual)
    for task in found.tasks:
        checks = [
            check
            for check in kit(name, kits.PUBLIC_SEED, variant).checks
            if check.task == task.number
        ]
        if task.criteria:  # a person gives the points
            assert not checks
            assert task.points % len(task.criteria) == 0
            continue
        names = list(itertools.chain.from_iterable(check.points for check in checks))
        assert sum(sum(check.points.values()) for check in checks) == task.points
        assert len(names) == len(set(names))
        for entry in bank(name, variant).mistakes:
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


@pytest.mark.parametrize(("name", "variant"), EACH)
def test_the_handout_is_made_from_the_source_and_has_no_solution(name, variant):
    found = assignment(name, variant)
    script = make.handout(found)
    folder = variants.handout(name, variant)
    assert (folder / f"{name}.py").read_text() == script
    assert (folder / f"{name}.ipynb").read_text() == make.notebook(script)
    assert (folder / "README.md").read_text() == make.about(found)
    kept = {line.strip() for line in script.splitlines()}
    for region in source.regions(f"{assignment(name).solution}\n{found.solution}"):
        for line in map(str.strip, region.splitlines()):
            assert len(line) <= 12 or line not in kept, line


@pytest.mark.parametrize(("name", "variant"), EACH_SLOWLY)
def test_the_fingerprints_are_made_from_the_source(name, variant):
    ordinary = None if variant == "none" else remade(name, "none")
    text = kits.fingerprints(remade(name, variant), ordinary)
    assert_same(text, (variants.handout(name, variant) / "fingerprints.json").read_text())


@pytest.mark.parametrize(("name", "variant"), EACH_SLOWLY)
def test_an_empty_handout_has_no_points_and_the_reference_all(name, variant):
    script = (variants.handout(name, variant) / f"{name}.py").read_text()
    empty = grading.grade(kit(name, "one", variant), script)
    assert empty.earned == 0
    assert {mistake.partition(" ")[2] for mistake in empty.mistakes} == {"G-empty"}
    reference = assignment(name, variant)
    full = grading.grade(kit(name, "one", variant), reference.solution, files=reference.files)
    waiting = sum(task.waiting for task in full.tasks)
    assert full.earned == full.points == 100 - waiting, full.mistakes
    assert waiting == sum(task.points for task in reference.tasks if task.criteria)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["two", "3"])
@pytest.mark.parametrize("name", FOLDERS)
def test_the_reference_has_all_points_with_any_seed(name, seed):
    reference = assignment(name, "none")
    full = grading.grade(kit(name, seed, "none"), reference.solution, files=reference.files)
    assert full.earned == full.points, full.mistakes


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
    with zipfile.ZipFile(wheels.build(tmp_path)) as archive:
        names = archive.namelist()
        course = {name: archive.read(name).decode() for name in names if "/course/" in name}
    assert "minisd/course/worker.py" in course
    for name, variant in PAIRS:
        folder = "" if variant == "none" else f"variants/{variant}/"
        for file in (f"{name}.py", f"{name}.ipynb", "README.md", "fingerprints.json", "checks.py"):
            assert f"minisd/course/handouts/{name}/{folder}{file}" in course
        found = assignment(name, variant)
        secret = [
            line.strip()
            for r in source.regions(f"{found.before}\n{found.solution}")
            for line in r.split("\n")
        ]
        for file in ("hidden.py", "mistakes.py", "right.py"):
            assert not [path for path in names if path.endswith(f"/{file}")]
            path = FOLDERS[name] / folder / file
            secret += path.read_text().split("\n")[2:] if path.exists() else []
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
