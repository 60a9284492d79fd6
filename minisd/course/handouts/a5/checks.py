"""What is checked of assignment 5, stochastic depth: the public cases of every property.
Those of the block itself are in `minisd.course.handouts.a5.block`.
"""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.answers import difference
from minisd.course.checks import Case, Check, Student
from minisd.course.handouts.a5 import block
from minisd.course.handouts.a5.block import HELPERS, different, images, weights
from minisd.course.looking import unchanged

OPS = ("activation", "batchnorm", "check", "conv", "linear", "loss", "pooling", "sums", "__init__")
STAGED = {
    **dict.fromkeys(
        ("backend.py", "errors.py", "gpu.py", "layer.py", "layers.py", "summary.py", "footprint.py")
    ),
    **dict.fromkeys(f"ops/{name}.py" for name in OPS),
    "fast/__init__.py": "from minisd.ops import *\nfrom minisd.ops import __all__\n",
}
"""The book and the layers on top of it, without blocks and gates. Layers want a fast edition, too:
here it is the book."""
ALLOWED = ("minisd.layer", "minisd.layers", "minisd.ops")


# ---- 5.1, 5.2, 5.5: probabilities ----


def numbers(value: Any) -> Any:
    """Return numbers, alone or in a list, tuple or array, in float64; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return value.astype(np.float64)
    plain = bool | int | float | np.number | np.bool_
    items = value if isinstance(value, list | tuple) else [value]
    if all(isinstance(item, plain) for item in items):
        return np.array(value, np.float64)
    return value


def rule(num_blocks: int, p_last: float) -> Case:
    """Return a case of `linear_decay`."""
    name = f"{num_blocks} block{'s' * (num_blocks > 1)}, p_L = {p_last}"
    return Case(name, lambda rng: {"num_blocks": num_blocks, "p_last": p_last})


def decay(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the survival probabilities."""
    return {"linear decay": numbers(student.call("linear_decay", case.num_blocks, case.p_last))}


def some(L: int, *certain: float, as_list: bool = False) -> Any:
    """Return a function that draws L survival probabilities, between which ``certain`` ones are."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        probs = rng.uniform(0.15, 0.9, L)
        probs[2 : 2 + len(certain)] = certain
        return {"probs": probs.tolist() if as_list else probs, "seed": int(rng.integers(2**31))}

    return draw


def same(L: int, p: float) -> Any:
    """Return a function that gives L times the same probability."""
    return lambda rng: {"probs": [p] * L, "seed": 0}


def falling(L: int, p_last: float) -> Any:
    """Return a function that gives the probabilities of a linear decay."""
    return lambda rng: {"probs": (1 - np.arange(1, L + 1) / L * (1 - p_last)).tolist(), "seed": 0}


def depth(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for the expected number of open blocks."""
    return {"expected depth": numbers(student.call("expected_depth", case.probs))}


def draw(student: Student, case: SimpleNamespace, rng: Any) -> Any:
    """Ask for gates, as an array of zeros and ones."""
    found = numbers(student.call("sample_gates", case.probs, rng))
    return (found != 0).astype(float) if isinstance(found, np.ndarray) else found


def gates(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Draw gates twice, from two equal generators."""
    found, rngs = [], [student.rng(case.seed) for _ in range(3)]
    for rng in rngs[:2]:
        found.append(draw(student, case, rng))
    if student.state(rngs[0]) == student.state(rngs[2]):
        return {"gates": "the gates do not come from rng, which is where it was"}
    if len(different(found)) > 1:
        return {"gates": "two equal generators give different gates"}
    return {"gates": found[0]}


def stream(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look where the generator is afterwards: how many numbers have been drawn from it?"""
    L, rng, probe = len(case.probs), student.rng(case.seed), np.random.default_rng(case.seed)
    draw(student, case, rng)
    state = student.state(rng)
    for count in range(2 * L):
        if state == json.dumps(probe.bit_generator.state):
            return {"stream": f"{count} drawn from rng, for {L} blocks" if count != L else ""}
        probe.random()
    return {"stream": f"rng is not where {L} draws of rng.random leave it"}


def distribution(name: str) -> Any:
    """Return a check of `depth_distribution`, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: numbers(student.call("depth_distribution", case.probs))}

    return run


# ---- 5.6 ----


def matrices(L: int, D: int, *, batch: int = 0, p: float | None = None) -> Any:
    """Return a function that draws L matrices, as many probabilities (or p), and x."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "matrices": rng.standard_normal((L, D, D)),
            "probs": np.full(L, p) if p is not None else rng.uniform(0.15, 0.9, L),
            "x": rng.standard_normal((D, batch) if batch else D),
        }

    return draw


def ensemble(name: str) -> Any:
    """Return a check of `ensemble_mean`, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        h = student.call("ensemble_mean", case.matrices, case.probs, case.x)
        return {name: {"mean": h, "unchanged": unchanged(student, "matrices", "probs", "x")}}

    return run


# ---- 5.7 ----


def steps(gradients: str, dropped: str = "") -> Any:
    """Return a function that draws what some steps need.

    Parameters
    ----------
    gradients : str
        A letter a step: "g" has a gradient, "-" has None.
    dropped : "freeze", "coast" or ""
        "": both in turn.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "w": rng.standard_normal((4, 3)),
            "v": rng.standard_normal((4, 3)),
            "dw": rng.standard_normal((len(gradients), 4, 3)),
            "gradients": gradients,
            "dropped": ([dropped] if dropped else ["freeze", "coast"]) * len(gradients),
            "lr": round(float(rng.uniform(0.05, 0.2)), 3),
            "momentum": round(float(rng.uniform(0.5, 0.9)), 3),
            "weight_decay": round(float(rng.uniform(0.05, 0.2)), 3),
        }

    return draw


def moved(name: str) -> Any:
    """Return a check of some steps one after another, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        found, w, v = [], case.w, case.v
        for letter, dw, dropped in zip(case.gradients, case.dw, case.dropped, strict=False):
            result = student.call(
                "step_dropped", w, v, dw if letter == "g" else None,
                lr=case.lr, momentum=case.momentum, weight_decay=case.weight_decay, dropped=dropped,
            )  # fmt: skip
            if not isinstance(result, tuple | list) or len(result) != 2:
                return {name: result}
            changed = "G-mutates dw" if 2 in student.changed else ""
            if name == "freeze" and difference(list(result), [w, v], 0):
                changed = "not what it was, bit for bit"
            w, v = result
            found.append({"w": w, "v": v, "unchanged": changed})
        return {name: found}

    return run


def filled(draw: Any, value: float | None) -> Any:
    """Return a function that draws the same, with what the branch's weights are filled."""
    return lambda rng: {**draw(rng), "fill": value}


LONG = some(40, 1.0, 0.0)
BLOCK = {
    "identity": images(2, 3, 4, 5),
    "a shortcut to another shape": images(2, 3, 5, 4, 4, 2),
    "as many images as channels": images(3, 3, 3, 3),
}


def block_cases(*more: Case) -> list[Case]:
    """Return the cases of 5.3."""
    return [*(Case(name, draw) for name, draw in BLOCK.items()), *more]


CHECKS = [
    Check(
        "5.1", {"linear decay": 6}, decay,
        [rule(4, 0.5), rule(1, 0.3), rule(9, 0.2), rule(5, 0.0), rule(3, 1.0)],
    ),
    Check(
        "5.1", {"expected depth": 4}, depth,
        [
            Case("linear decay to 0.5", falling(9, 0.5)),
            Case("any probabilities", some(12)),
            Case("a list", some(7, 1.0, 0.0, as_list=True)),
        ],
    ),
    Check(
        "5.2", {"gates": 6}, gates,
        [
            Case("any probabilities", some(40)),
            Case("certain blocks between others", LONG),
            Case("a list", some(50, 1.0, as_list=True)),
        ],
    ),
    Check(
        "5.2", {"stream": 4}, stream,
        [
            Case("any probabilities", some(40)),
            Case("certain blocks between others", LONG),
            Case("p = 1", same(12, 1.0)),
        ],
    ),
    Check(
        "5.3", {"open": 5}, block.opened,
        block_cases(Case("float32", BLOCK["identity"], float32=True)), helpers=HELPERS,
    ),
    Check(
        "5.3", {"open backward": 5}, block.opened_backward,
        block_cases(Case("float32", BLOCK["identity"], float32=True)),
        follow=block.follow(True), after="5.3 open", helpers=HELPERS,
    ),
    Check("5.3", {"closed": 4}, block.closed, block_cases(), helpers=HELPERS),
    Check(
        "5.3", {"closed backward": 6}, block.closed_backward, block_cases(),
        follow=block.follow(False), after="5.3 closed", helpers=HELPERS,
    ),
    Check(
        "5.3", {"not entered": 8}, block.not_entered,
        [
            Case("a branch of infinite weights", filled(images(2, 3, 4, 5), np.inf)),
            Case("an ordinary branch", filled(images(3, 2, 4, 5), None)),
        ],
        helpers=HELPERS,
    ),
    Check(
        "5.3", {"remembers its gate": 7}, block.remembers,
        [Case("identity", BLOCK["identity"])], helpers=HELPERS,
    ),
    Check(
        "5.4", {"evaluation": 5}, block.evaluated,
        [
            Case("open gate", weights(2, 3, 0.7)),
            Case("closed gate", weights(3, 2, 0.4, is_open=False)),
            Case("float32", weights(2, 3, 0.7), float32=True),
        ],
        helpers=HELPERS,
    ),
    Check(
        "5.4", {"training weight": 2}, block.train_weight("training weight", "test"),
        [Case("p = 0.6", weights(2, 3, 0.6))], helpers=HELPERS,
    ),
    Check(
        "5.4", {"scale train": 4}, block.train_weight("scale train", "train"),
        [
            Case("p = 0.6", weights(2, 3, 0.6)),
            Case("p = 0.8 in float32", weights(2, 3, 0.8), float32=True),
        ],
        helpers=HELPERS,
    ),
    Check(
        "5.4", {"its gradient": 2}, block.train_gradient, [Case("p = 0.6", weights(2, 3, 0.6))],
        follow=block.follow_train, after="5.4 scale train", helpers=HELPERS,
    ),
    Check(
        "5.4", {"refuses p = 0": 2}, block.refusal,
        [
            Case("scale train", weights(2, 3, 0.0)),
            Case("scale test, where it may be 0", weights(2, 3, 0.0, scale="test")),
        ],
        helpers=HELPERS,
    ),
    Check(
        "5.5", {"distribution": 7}, distribution("distribution"),
        [
            Case("equal probabilities", same(5, 0.3)),
            Case("any probabilities", some(6)),
            Case("certain blocks between others", some(7, 1.0, 0.0)),
            Case("one block", some(1)),
        ],
    ),
    Check("5.5", {"many blocks": 3}, distribution("many blocks"), [Case("54", falling(54, 0.5))]),
    Check(
        "5.6", {"one vector": 6}, ensemble("one vector"),
        [
            Case("two blocks", matrices(2, 3)),
            Case("five blocks", matrices(5, 4)),
            Case("p = 0.5", matrices(3, 3, p=0.5)),
            Case("p = 1", matrices(3, 3, p=1.0)),
        ],
    ),
    Check(
        "5.6", {"several columns": 4}, ensemble("several columns"),
        [
            Case("two columns", matrices(4, 3, batch=2)),
            Case("as many as rows", matrices(3, 3, batch=3)),
        ],
    ),
    Check(
        "5.7", {"with a gradient": 3}, moved("with a gradient"),
        [
            Case("one step each", steps("gg")),
            Case("float32", steps("gg"), float32=True),
        ],
    ),
    Check("5.7", {"freeze": 3}, moved("freeze"), [Case("two steps", steps("--", "freeze"))]),
    Check(
        "5.7", {"coast": 4}, moved("coast"),
        [
            Case("three steps", steps("---", "coast")),
            Case("float32", steps("--", "coast"), float32=True),
        ],
    ),
]  # fmt: skip
