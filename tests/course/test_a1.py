"""Assignment 1 in the sandbox: what any function may do wrong, and a forward with its backward."""

from pathlib import Path

import numpy as np
import pytest

from minisd.course import bank as banks
from minisd.course import grading, source
from minisd.course import kit as kits
from minisd.course.answers import answer_all

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "tutorials" / "course" / "a1_gradients"
SOLUTION = source.read(FOLDER / "assignment.py").solution

COMMON = [
    (
        "1.2", "two at once", "G-mutates", "its argument dy",
        """
        def linear_backward(dy, cache):
            x, w, b = cache
            results = dy @ w, dy.T @ x, None if b is None else dy.sum(axis=0)
            dy *= 0
            return results
        """,
    ),
    (
        "1.2", "two at once", "G-global", "two forwards",
        """
        right, last = linear_backward, []
        def linear_forward(x, w, b=None):
            last[:] = [(x, w, b)]
            return x @ w.T + (0 if b is None else b), None
        def linear_backward(dy, cache):
            return right(dy, last[0])
        """,
    ),
    (
        "1.3", "arguments", "G-mutates", "its argument logits",
        """
        right = softmax_cross_entropy
        def softmax_cross_entropy(logits, labels):
            logits -= logits.max(axis=1, keepdims=True)
            return right(logits, labels)
        """,
    ),
    (
        "1.3", "arguments", "G-upcast", "float64 came back",
        """
        right = softmax_cross_entropy
        def softmax_cross_entropy(logits, labels):
            loss, dlogits = right(logits, labels)
            return loss, dlogits + np.zeros(logits.shape)
        """,
    ),
    (
        "1.4", "arguments", "G-mutates", "its argument dw",
        """
        def sgd_step(w, v, dw, lr, momentum, weight_decay):
            dw += weight_decay * w
            v = momentum * v + dw
            return w - lr * v, v
        """,
    ),
    (
        "1.5", "batches", "G-random", "two equal calls",
        """
        right = train
        def train(images, labels, steps, batch, lr, rng):
            w, b = right(images, labels, steps, batch, lr, rng)
            return w + np.random.default_rng().standard_normal(w.shape), b
        """,
    ),
    (
        "1.4", "v", "G-results", "returns 1 result instead of 2",
        """
        def sgd_step(w, v, dw, lr, momentum, weight_decay):
            return w - lr * v
        """,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "lost", "name", "words", "code"),
    COMMON,
    ids=[f"{task} {name}" for task, _, name, *_ in COMMON],
)
def test_what_any_function_may_do_is_named(task, lost, name, words, code):
    indent = len(code) - len(code.lstrip()) - 1
    lines = [line[indent:] for line in code.splitlines()]
    text = SOLUTION + "\n".join(lines)
    found = grading.grade(kits.public("a1"), text, tasks=(task,))
    (said,) = [p.diagnosis for p in found.tasks[0].properties if p.name == lost]
    assert said.name == name
    assert words in said.says
    if name != "G-results":
        assert [p.name for p in found.tasks[0].properties if p.diagnosis][-1:] == [lost]


def test_a_backward_that_follows_a_wrong_forward_of_its_own_task_has_most_of_its_points():
    twice = """
def linear_forward(x, w, b=None):
    return 2 * (x @ w.T) + (0 if b is None else b), (x, w, b)


def linear_backward(dy, cache):
    x, w, b = cache
    return 2 * dy @ w, 2 * dy.T @ x, None if b is None else dy.sum(axis=0)
"""
    text = SOLUTION + twice
    found = grading.grade(kits.public("a1"), text, tasks=("1.2",))
    lines = {line.name: line for line in found.tasks[0].properties}
    assert [lines[name].earned for name in ("output", "db")] == [0, 4]
    assert [lines[name].earned for name in ("dx", "dw")] == pytest.approx([4.2, 4.2])
    assert "gradient of your own forward" in lines["dx"].diagnosis.says


def test_the_shape_of_x_may_be_changed_in_place():
    """A student may do that; the judge then has another shape than it has sent."""

    def numeric_gradient(f, x, h=1e-5):
        x.shape = -1
        return np.zeros_like(x)

    kit = kits.full(FOLDER, "one")
    names = {**banks.namespace(SOLUTION), "numeric_gradient": numeric_gradient}
    assert answer_all(kit.checks, "a1", "one", names)
