"""What checks can ask for: helpers, parts of an outcome, imports that a task allows."""

import numpy as np
import pytest

from minisd.course.answers import Answers, Local, difference
from minisd.course.checks import Case, Check, Mistake
from minisd.course.diagnose import diagnose
from minisd.course.sandbox import Sandbox
from minisd.course.scan import scan

HELPERS = "def twice(thing):\n    return 2 * thing()\n"


def test_a_helper_is_called_with_what_the_student_wrote():
    text = "def made():\n    return lambda: 21\n"
    with Sandbox(text, helpers=HELPERS) as student:
        assert student.call("@twice", student.call("made", keep="all")) == 42
    names: dict = {}
    exec(text, names)
    student = Local(names, HELPERS)
    assert student.call("@twice", student.call("made", keep="all")) == 42


def test_the_report_says_which_part_of_an_outcome_is_wrong():
    expected = {"y": 1.0, "gradients": {"w": 2.0, "b": None}}
    found = {"y": 1.0, "gradients": {"w": 2.0, "b": 0.0}}
    what = difference(found, expected, 1e-9)
    assert (what.kind, what.part) == ("result", "b")
    check = Check("1.1", {"all": 1}, lambda student, case: {}, [Case("one", lambda rng: {})])
    answers = Answers({(check.name, "one"): {"all": expected}})
    said = diagnose(check, "all", {"one": found}, answers, {}).says
    assert said == "got float where None is asked for (b: one)"


def test_a_check_can_name_a_mistake_and_say_where():
    check = Check("1.1", {"all": 1}, lambda student, case: {}, [Case("one", lambda rng: {})])
    answers = Answers({(check.name, "one"): {"all": ""}})
    words = {("1.1", "stale"): Mistake("1.1", "stale", "a number is old", "From when is it?")}
    found = diagnose(check, "all", {"one": "stale claim 3"}, answers, words)
    assert (found.name, found.says) == ("stale", "a number is old: claim 3")
    other = diagnose(check, "all", {"one": "there is no claim"}, answers, words)
    assert (other.name, other.says) == ("", "there is no claim (one)")


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("import minisd.ops", False),
        ("from minisd import ops", False),
        ("from minisd.ops import add", False),
        ("from minisd.ops.conv import conv2d_forward", False),
        ("from minisd.layer import Layer", True),
        ("from minisd import ops, residual", True),
        ("from minisd import opsy", True),
        ("from minisd import *", True),
        ("import minisd", True),
    ],
)
def test_imports_of_minisd_beyond_what_a_task_allows_are_seen(line, refused):
    found = scan(line, frozenset({"minisd.ops"}))
    assert found.answers == ["minisd"] * refused
    assert not found.flags


def test_one_wrong_number_is_not_called_a_multiple_of_the_right_one():
    """It would say what the right one is."""
    check = Check("1.1", {"all": 1}, lambda student, case: {}, [Case("one", lambda rng: {})])
    for size, says in ((1, "the values differ (one)"), (2, "3 times the right value everywhere")):
        answers = Answers({(check.name, "one"): {"all": np.ones(size)}})
        found = {"one": 3 * np.ones(size)}
        assert diagnose(check, "all", found, answers, {}).says.startswith(says)
