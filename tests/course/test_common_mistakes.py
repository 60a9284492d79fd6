"""Mistakes that may be in any function: purity, memory between calls, chance; NaN in a result."""

from types import SimpleNamespace

import numpy as np
import pytest

from minisd.course.answers import Answers, Local, difference, from_json, printed, to_json
from minisd.course.checks import Case, Check, Student
from minisd.course.diagnose import diagnose
from minisd.course.looking import is_gradient, two_at_once, unchanged

RIGHT = """
def forward(x):
    return 2 * x, x

def backward(dy, cache):
    return dy * cache
"""
SHAPES = {"array": "{}", "dict": '{{"dx": {}}}', "several": "({0}, None, float(({0}).sum()))"}
"""What a backward may return."""
FAULTS = {
    "": ("", ""),
    "G-mutates": ("    return dy * cache", "    dy *= cache\n    return dy"),
    "G-global": ("    return 2 * x", "    globals().update(last=x)\n    return 2 * x"),
    "G-random": ("dy * cache", "dy * cache * np.random.default_rng().random()"),
    "the same": ("dy * cache", "dy + 0"),
}


def ask(student: Student, case: SimpleNamespace) -> dict[str, str]:
    other = SimpleNamespace(x=-case.x, dy=case.dy)
    return {
        "two": two_at_once(
            student,
            (case, other),
            lambda c: student.call("forward", c.x, keep="cache")[1],
            lambda c, cache: student.call("backward", c.dy, cache),
        )
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_common_mistake_is_named(name, shape):
    text = RIGHT.replace(*FAULTS[name]) if name else RIGHT
    if name == "G-global":
        text = text.replace("dy * cache", "dy * last")
    head, _, gradient = text.strip().rpartition("return ")
    text = f"{head}return {shape.format(gradient)}"
    names: dict = {"np": np}
    exec(text, names)
    case = Case("some", lambda rng: {"x": rng.random(3), "dy": rng.random(3)})
    check = Check("1.1", {"two": 1}, ask, [case])
    outcome = ask(Local(names), case.inputs("one", "a1"))["two"]
    assert bool(outcome) == bool(name)
    if name:
        answers = Answers({(check.name, "some"): {"two": ""}})
        said = diagnose(check, "two", {"some": outcome}, answers, {})
        assert said.name == (name if name.startswith("G-") else "")
        assert "{" not in said.says
        assert said.says.endswith("(some)")


def test_an_argument_that_may_change_is_not_named():
    student = Student()
    student.changed = [1, 2]
    assert unchanged(student, "x") == ""
    assert unchanged(student, "x", "gamma", "beta") == "G-mutates its argument gamma, beta"


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_an_answer_with_numbers_that_are_not_finite_is_compared(strange):
    """A mistake that gives NaN is known again: the finite numbers give the scale."""
    expected, outcome = np.array([3.0, strange, 1.0]), np.array([3.0, strange, 1.0 + 1e-12])
    stored = from_json(to_json(printed(expected)))
    for answer in (expected, stored):
        assert difference(outcome, answer, 1e-9) is None
        assert difference(np.array([3.0, 2.0, 1.0]), answer, 1e-9).kind == "values"
    assert difference(outcome, np.ones(3), 1e-9).kind == "not finite"
    assert difference(outcome, printed(np.ones(3)), 1e-9).kind == "not finite"


@pytest.mark.parametrize("result", [None, "text", [1.0], np.ones(2), np.full(3, np.nan), 1.0])
def test_what_is_no_array_of_the_right_shape_has_no_gradient(result):
    x, dy = np.arange(3.0), np.ones(3)
    assert is_gradient(lambda x: x**2, x, 2 * x, dy)
    assert not is_gradient(lambda x: result, x, 2 * x, dy)
    assert not is_gradient(lambda x: x**2, x, result, dy)
