"""What the judge finds without the bank: common mistakes, what is given, gradients that follow."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from minisd import ops
from minisd.course import grading, source
from minisd.course import kit as kits
from minisd.course.answers import Local
from minisd.course.checks import Failure
from minisd.course.handouts.a4 import given as a4
from minisd.course.looking import is_gradient
from minisd.course.report import PropertyReport, Report
from minisd.course.sandbox import Sandbox
from minisd.course.staging import stage

pytestmark = pytest.mark.slow
A4 = Path(__file__).parents[2] / "tutorials" / "course" / "a4_residual_block"


@functools.cache
def kit() -> kits.Kit:
    return kits.full(A4, "a seed")


@functools.cache
def solution() -> str:
    return source.read(A4 / "assignment.py").solution


def graded(*tasks: str, more: str = "", lines: dict[str, str] | None = None) -> Report:
    """Grade the solution with some lines after it, or others in the place of some."""
    text = solution() + more
    for old, new in (lines or {}).items():
        assert old in text
        text = text.replace(old, new)
    return grading.grade(kit(), text, tasks=tasks)


def by_name(report: Report) -> dict[str, PropertyReport]:
    return {f"{t.number} {line.name}": line for t in report.tasks for line in t.properties}


def test_common_mistakes_are_named_in_an_assignment_that_does_not_list_them():
    more = """
last = None

def block_forward(x, p, forward=block_forward):
    global last
    y, last = forward(x, p)
    p["beta2"] += 1
    return y, None

def block_backward(dy, cache, backward=block_backward):
    dx, grads = backward(dy, last)
    return dx.astype("float64"), grads
"""
    found = by_name(graded("4.2", "4.3", more=more))
    named = {key: line.diagnosis.name for key, line in found.items() if line.diagnosis}
    assert named == {
        "4.2 arguments": "G-mutates",
        "4.3 two at once": "G-global",
        "4.3 float32": "G-upcast",
    }


def test_purity_looks_into_dicts_but_not_at_what_is_kept():
    """A backward may use up its own cache."""
    functions = {
        "replaces": lambda p: p.update(w=p["w"] + 1),
        "writes": lambda x, p: p["w"].sort(),
        "adds": lambda p: p.update(v=np.ones(2)),
        "reads": lambda p: (p["w"] + 1, p["w"] + 2),
        "uses up": lambda cache: cache.sort(),
    }
    student = Local(functions)
    w = np.array([2.0, 1.0, 3.0])
    changed = []
    for name, args in [("replaces", [{"w": w}]), ("writes", [w, {"w": w}]), ("adds", [{"w": w}])]:
        student.call(name, *args)
        changed.append(student.changed)
        assert student.purity() is not None
    assert changed == [[0], [1], [1]]
    _, cache = student.call("reads", {"w": w}, keep="cache")
    assert student.purity() is None
    student.call("uses up", cache)
    assert student.purity() is None


def test_a_gradient_that_follows_a_wrong_forward_has_part_of_its_points_and_no_mistake():
    """Of another task, and of the same one."""
    found = by_name(
        graded(
            lines={
                "relu_forward(f + x)": "relu_forward(f + 2 * x)",
                "return through_branch + ds, grads\n": "return through_branch + 2 * ds, grads\n",
                "y[:, :C] = tiles.mean": "y[:, :C] = tiles.sum",
                "shares = dy[:, :C] / dy.dtype.type(stride * stride)": "shares = dy[:, :C]",
            }
        )
    )
    for key, points in {"4.3 dx": 11, "4.3 dw1": 3, "4.4 its gradient": 8}.items():
        line = found[key]
        assert line.diagnosis is not None
        assert line.earned == pytest.approx(grading.CREDIT * points)
        assert not line.diagnosis.name
        assert "your own forward" in line.diagnosis.says


def test_earlier_tasks_are_put_back_together_if_one_of_them_has_failed():
    wrong = {"return np.maximum(x, 0), x > 0": "return np.maximum(x, 0) + 1, x > 0"}
    report = graded(lines=wrong)
    earned = {task.number: task.earned for task in report.tasks}
    assert earned == {"4.1": 7, "4.2": 20, "4.3": 35, "4.4": 20, "4.5": 15}


def test_what_is_right_stays_the_students_own():
    """So that a later task may know its caches."""
    more = """
def relu_forward(x):
    return np.maximum(x, 0), {"positive": x > 0}

def relu_backward(dy, cache):
    return np.where(cache["positive"], dy, dy.dtype.type(0))

def block_forward(x, p, forward=block_forward):
    y, cache = forward(x, p)
    assert "positive" in cache[-1]
    return y, cache
"""
    assert graded("4.1", "4.2", "4.3", more=more).earned == 65


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_of_nan_follows_no_forward(value):
    x = np.ones((2, 3))
    assert is_gradient(lambda x: 2 * x, x, 2 * x, x)
    assert not is_gradient(lambda x: 2 * x, x, np.full((2, 3), value), x)


@pytest.mark.parametrize("y", [None, 3.0, np.ones(4)])
def test_what_is_no_output_has_no_gradient(y):
    x = np.ones((2, 3))
    assert not is_gradient(lambda x: y, x, x, x)


# ---- staged modules ----

ALLOWED = """
from minisd.ops import *
from minisd.ops import conv2d_forward
from minisd import ops as face
import minisd.ops

again = [face.conv2d_forward, minisd.ops.conv2d_forward, ops.conv2d_forward]  # ops is given
assert all(function is conv2d_forward for function in again)

def functions():
    return [name for name in dir(ops) if name[0] != "_" and callable(getattr(ops, name))]
"""


def test_what_assignment_4_gives():
    """The library's own functions, by every kind of import, in the student's process."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 5, 6)), rng.standard_normal((4, 3, 3, 3))
    with Sandbox(ALLOWED, given=a4.GIVEN, staged=(stage(a4.STAGED),)) as student:
        y, _ = student.call("conv2d_forward", x, w, keep="cache")
        functions = student.call("functions")
    np.testing.assert_allclose(y, ops.conv2d_forward(x, w)[0], rtol=1e-12, atol=1e-12)
    assert functions == [
        *("add", "batchnorm2d_backward", "batchnorm2d_forward", "conv2d_backward"),
        *("conv2d_forward", "linear_backward", "linear_forward"),
    ]


def test_what_assignment_4_asks_for_is_not_given():
    refused = {
        "from minisd.ops import relu_forward": "ImportError",
        "from minisd.ops.activation import relu_forward": "ImportError",
        "ops.relu_forward": "ImportError",
        "from minisd.ops.pooling import avg_pool2d_forward": "ModuleNotFoundError",
        "from minisd.residual import PadShortcut": "ModuleNotFoundError",
        "from minisd import fast": "ImportError",
    }
    text = "".join(f"def f{i}(): {code}\n" for i, code in enumerate(refused))
    found = []
    with Sandbox(text, given=a4.GIVEN, staged=(stage(a4.STAGED),)) as student:
        for i in range(len(refused)):
            with pytest.raises(Failure) as info:
                student.call(f"f{i}")
            found.append((info.value.kind, info.value.line))
    assert found == [(kind, i + 1) for i, kind in enumerate(refused.values())]


def test_the_report_says_which_line_asks_for_too_much():
    found = grading.grade(kit(), "from minisd.ops import relu_forward\n", tasks=("4.2",))
    assert found.earned == 0
    assert {line.diagnosis.name for line in by_name(found).values() if line.diagnosis} == {
        "G-import"
    }
    assert "line 1" in by_name(found)["4.2 output"].diagnosis.says


def test_the_handout_shows_what_is_given():
    assert a4.GIVEN in (kits.HANDOUTS / "a4" / "a4.py").read_text()


def test_a_process_that_has_ended_is_not_ended_again():
    """Its pipes are closed once: their numbers may be those of other files by then."""
    text = "import os\ndef leave(): os._exit(0)\ndef stay(): return 1\n"
    with Sandbox(text) as student:
        with pytest.raises(Failure, match="Ended"):
            student.call("leave")
        others = [os.dup(0) for _ in range(4)]
        student.again()
        assert student.call("stay") == 1
        for number in others:
            os.close(number)  # OSError if somebody has closed it
