"""The judge: it goes on whatever comes back, and names a mistake by all that a task shows."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisd.course import bank as banks
from minisd.course import grading, report, source
from minisd.course import kit as kits
from minisd.course.answers import Answers, Local, from_json, to_json, tolerance
from minisd.course.checks import Case, Check
from minisd.course.diagnose import diagnose, imitated
from minisd.course.looking import by_name, unchanged

SOURCES = Path(__file__).parents[2] / "tutorials" / "course"
FOLDERS = {folder.name[:2]: folder for folder in sorted(SOURCES.glob("a?_*"))}


class InProcess(Local):
    """A student's code in this process, in the place of a `minisd.course.sandbox.Sandbox`."""

    level = 1
    has_waited = False

    def __init__(self, names: dict[str, Any], text: str = "", **limits: Any) -> None:
        super().__init__(names, limits["helpers"])

    def again(self) -> None:
        pass

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@functools.cache
def kit(name: str) -> kits.Kit:
    return kits.full(FOLDERS[name], "common")


@functools.cache
def solution(name: str) -> dict[str, Any]:
    return banks.of(source.read(FOLDERS[name] / "assignment.py"))


def graded(monkeypatch, name: str, replaced: dict[str, Any]) -> report.Report:
    make = functools.partial(InProcess, {**solution(name), **replaced})
    monkeypatch.setattr(grading, "Sandbox", make)
    return grading.grade(kit(name), "")


STRANGE = {
    "nothing": None,
    "yes": True,
    "a word": "right",
    "no dimension": np.array(2.0),
    "complex": (np.zeros((2, 2), complex), 1j),
    "booleans": (np.ones((3, 3), bool), np.ones((3, 3), bool)),
    "three booleans": (np.ones((3, 3), bool),) * 3,
    "empty": [],
    "objects": (np.array([None, {}]), lambda: 0),
    "three objects": (object(), [[]], np.array(["a"])),
    "a dict": {"a": 1},
    "NaN": (np.full((2, 2), np.nan), float("nan")),
    "large": (np.zeros(10**5), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_result_may_be_anything(name, strange, monkeypatch):
    """No points are given for it, but for what it leaves alone; and the judge goes on."""
    names = [n for task in kit(name).tasks for n in task.names]
    everything = {n: lambda *_, **__: STRANGE[strange] for n in names}
    found = graded(monkeypatch, name, everything)
    assert found.earned <= 15, [(p.name, p.earned) for t in found.tasks for p in t.properties]
    assert report.as_text(found)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("a1", "a3"))) for n in FOLDERS]
)
def test_a_result_of_one_function_may_be_anything(name, monkeypatch):
    for part in [n for task in kit(name).tasks for n in task.names]:
        replaced = {part: lambda *_, **__: STRANGE["booleans"]}
        assert graded(monkeypatch, name, replaced).earned < 100


def test_a_forged_answer_does_not_stop_the_judge(monkeypatch):
    def ask(self: InProcess, do: str, **arguments: Any) -> Any:
        return (
            {"changed": None, "inputs": 1, "value": 3}
            if do == "call"
            else Local.ask(self, do, **arguments)
        )

    monkeypatch.setattr(InProcess, "ask", ask)
    assert graded(monkeypatch, "a2", {}).earned < 10


def test_results_by_name_and_arguments_that_changed():
    assert by_name([1, 2], "w", "v") == {"w": 1, "v": 2}
    assert by_name(None, "w", "v")["v"].kind == "G-results 0 results instead of 2"
    assert by_name((1,), "w", "v")["w"].kind == "G-results 1 result instead of 2"
    student = Local({})
    student.changed = [0, 2]
    assert unchanged(student, None, "v", "dw") == "G-mutates its argument dw"
    assert unchanged(student, None, "v") == ""


def test_numbers_that_json_does_not_have_come_back():
    for number in (np.inf, -np.inf, np.float64(np.inf)):
        assert from_json(to_json([number, 1.5])) == [number, 1.5]
    assert np.isnan(from_json(to_json(float("nan"))))


def test_the_tolerance_of_a_case_is_its_own():
    assert tolerance(Case("x", lambda rng: {})) == 1e-9
    assert tolerance(Case("x", lambda rng: {}, tolerance=1e-7)) == 1e-7


def test_of_two_mistakes_with_the_same_outcome_it_is_the_one_that_is_known_already():
    check = Check("1.1", {"p": 1}, lambda student, case: {}, [Case("c", lambda rng: {})])
    key = (check.name, "c")
    wrong = [{key: {"p": np.zeros(2)}}]
    answers = Answers({key: {"p": np.ones(2)}}, {("1.1", "first"): wrong, ("1.1", "second"): wrong})
    found = {"c": np.zeros(2)}
    assert imitated(check, "p", found, answers) is None
    assert imitated(check, "p", found, answers, ["second", "other"]) == "second"
    assert imitated(check, "p", found, answers, ["first", "second"]) is None
    assert diagnose(check, "p", found, answers, {}).name == ""
