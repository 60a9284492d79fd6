"""Assignment 5: what of the library is there, and how answers with several mistakes are judged."""

from pathlib import Path

import pytest

from minisd.course import grading, source, staging
from minisd.course import kit as kits
from minisd.course.checks import Failure
from minisd.course.handouts.a5.checks import STAGED
from minisd.course.sandbox import Sandbox

pytestmark = pytest.mark.slow
SOLUTION = source.read(
    Path(__file__).parents[2] / "tutorials" / "course" / "a5_stochastic_depth" / "assignment.py"
).solution

GIVEN = """
import numpy as np
from minisd import ops
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, GlobalAvgPool, Linear, ReLU, Sequential
from minisd.ops import add, conv2d_forward

class Doubled(Layer):
    def __init__(self):
        self.inner = Sequential(Conv2d(2, 3, 3, padding=1, rng=np.random.default_rng(0)),
                                BatchNorm2d(3), ReLU(), GlobalAvgPool(),
                                Linear(3, 1, rng=np.random.default_rng(0)))

    def forward(self, x):
        return 2 * self.inner.forward(x)

    def backward(self, dy):
        return self.inner.backward(2 * dy)

def shapes():
    model = Doubled().use(ops)
    x = np.ones((2, 2, 4, 4), np.float32)
    y = model.forward(x)
    return y.shape, model.backward(y).shape, model.eval().forward(x).shape, model.ops.__name__

def edition():
    return Layer().ops.conv2d_forward is ops.conv2d_forward

def imports(name):
    __import__(name)
"""


@pytest.fixture(scope="module")
def staged():
    return (staging.stage(STAGED),)


def test_the_book_and_the_layers_work_without_the_rest(staged):
    with Sandbox(GIVEN, staged=staged) as student:
        assert student.call("shapes") == ((2, 1), (2, 2, 4, 4), (2, 1), "minisd.ops")
        assert student.call("edition") is True


@pytest.mark.parametrize("name", ["residual", "stochastic_depth", "models", "optim", "machine"])
def test_what_brings_the_answers_is_not_there(name, staged):
    with Sandbox(GIVEN, staged=staged) as student, pytest.raises(Failure) as failed:
        student.call("imports", f"minisd.{name}")
    assert failed.value.kind == "ModuleNotFoundError"
    text = "from minisd.residual import ResidualBlock\n"
    with Sandbox(text + SOLUTION, staged=staged) as student, pytest.raises(Failure) as failed:
        student.call("linear_decay", 3, 0.5)
    assert failed.value.kind == "ModuleNotFoundError"


def graded(*changes: tuple[str, str], task: str):
    text = SOLUTION
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    report = grading.grade(kits.public("a5"), text, tasks=(task,))
    (found,) = report.tasks
    return found, set(report.mistakes)


def test_an_answer_that_imports_the_block_is_not_judged():
    text = "from minisd.residual import ResidualBlock\n" + SOLUTION
    report = grading.grade(kits.public("a5"), text)
    assert report.earned == 0
    assert {line.diagnosis.name for task in report.tasks for line in task.properties} == {
        "G-import"
    }


def test_a_block_that_masks_in_both_directions_has_both_names():
    masked = (
        ("        if is_open:\n            s = s + weight *", "        s = s + is_open * weight *"),
        ("        if was_open:\n            dx = dx +", "        dx = dx +"),
        ("branch.backward(weight * ds)", "branch.backward(was_open * weight * ds)"),
    )
    found, mistakes = graded(*masked, task="5.3")
    assert mistakes == {"5.3 masks", "5.3 zeros-not-none"}
    assert found.earned == found.points - 8 - 6


def test_a_wrong_forward_does_not_cost_the_backward_twice():
    """Without any ReLU: the backward is that of its own forward."""
    no_relu = (
        ("return self.relu.forward(s)", "return s"),
        ("ds = self.relu.backward(dy)", "ds = dy"),
    )
    found, mistakes = graded(*no_relu, task="5.3")
    earned = {line.name: line.earned / line.points for line in found.properties}
    backward = {name: earned.pop(name) for name in ("open backward", "closed backward")}
    assert list(backward.values()) == pytest.approx([0.7, 0.7])
    assert earned == {"open": 0, "closed": 0, "not entered": 1, "remembers its gate": 1}
    assert mistakes == {"5.3 no-last-relu", "5.3 closed-no-relu"}


def test_one_mistake_in_training_costs_no_points_in_evaluation():
    draws = ("is_open, weight = self.is_open", "is_open, weight = np.random.random() < "
             "self.survival_prob")  # fmt: skip
    found, mistakes = graded(draws, task="5.3")
    assert mistakes == {"5.3 draws-inside"}
    assert found.earned == found.points - 10
    found, _ = graded(draws, task="5.4")
    assert found.earned == found.points


def test_a_relu_that_writes_into_x_is_seen_where_the_shortcut_hands_it_on():
    in_place = (
        (
            "return self.relu.forward(s)",
            "self.relu.forward(s)\n        s[s < 0] = 0\n        return s",
        ),
    )
    found, mistakes = graded(*in_place, task="5.3")
    assert mistakes == {"5.3 G-mutates"}
    assert found.earned == found.points - 4


def test_a_walk_through_all_patterns_is_too_slow():
    slow = """
import itertools

def depth_distribution(probs):
    found = np.zeros(len(probs) + 1)
    for gates in itertools.product((0, 1), repeat=len(probs)):
        found[sum(gates)] += np.prod([p if g else 1 - p for p, g in zip(probs, gates)])
    return found
"""
    report = grading.grade(kits.public("a5"), SOLUTION + slow, tasks=("5.5",), seconds_per_call=0.5)
    (task,) = report.tasks
    assert report.mistakes == ["5.5 G-slow"]
    assert task.earned == 7
