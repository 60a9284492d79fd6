"""How the block of assignment 5 is asked: what its class gives, in tasks 5.3 and 5.4.

Branches and shortcuts are built beside the student's code, by `HELPERS`.

Chance is judged like this: where a block must not draw its gate, the same call is made many times,
and the outcome is the list of the different results. A block that draws has two of them, whichever
numbers it draws.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.answers import difference
from minisd.course.checks import Failure, Student
from minisd.course.looking import is_gradient, unchanged

NEVER = 1e-9
"""The survival probability of a block that does not open, should it draw."""
TIMES = 40
"""How often a call is made where nothing may be drawn."""
HELPERS = """
import numpy as np
from minisd import ops
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, Sequential


class Identity(Layer):
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


def convolution(w, b=None, stride=1):
    F, C, K, _ = w.shape
    layer = Conv2d(
        C, F, K, stride=stride, padding=K // 2, bias=b is not None,
        rng=np.random.default_rng(0), dtype=w.dtype,
    )
    layer.w.data = w
    if b is not None:
        layer.b.data = b
    return layer.use(ops)


def normalised(w, gamma, beta, stride=1):
    norm = BatchNorm2d(len(gamma), dtype=w.dtype)
    norm.gamma.data, norm.beta.data = gamma, beta
    return Sequential(convolution(w, stride=stride), norm).use(ops)


def identity():
    return Identity()


def book(block):
    block.use(ops)


def outputs(block, x, is_open, times):
    found = []
    for left in reversed(range(times)):
        block.is_open = is_open
        found.append(block.forward(x.copy() if left else x))
    return found


def pairs(block, branch, shortcut, x, dy, gates, times):
    found = []
    for left in reversed(range(times)):
        block.zero_grad()
        for gate in gates:
            block.is_open = gate
            y = block.forward(x.copy())
        found.append({
            "dx": block.backward(dy.copy() if left else dy), "y": y,
            "branch's gradients": gradients(branch),
            "shortcut's gradients": gradients(shortcut),
        })
    return found


def fill(layer, value):
    for _, parameter in layer.parameters():
        parameter.data = np.full_like(parameter.data, value)


def gradients(layer):
    return {name: parameter.grad for name, parameter in layer.parameters()}


def statistics(layer):
    return {name: buffer.copy() for name, buffer in layer.buffers()}
"""
Block = SimpleNamespace
"""Handles of a student's block, its branch and its shortcut."""


def images(N: int, C: int, H: int, W: int, F: int = 0, stride: int = 1) -> Any:
    """Return a function that draws images, what is in branch and shortcut, and dy.

    Where F is given, the shortcut is a 1x1 convolution to F channels, else the identity.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        out = F or C
        return {
            "x": rng.standard_normal((N, C, H, W)),
            "w": rng.standard_normal((out, C, 3, 3)) / 3,
            "gamma": rng.uniform(0.5, 1.5, out),
            "beta": rng.standard_normal(out),
            "shortcut": rng.standard_normal((F, C, 1, 1)) if F else None,
            "stride": stride,
            "dy": rng.standard_normal((N, out, -(-H // stride), -(-W // stride))),
        }

    return draw


def build(student: Student, case: SimpleNamespace, *, branch: Any = None, **settings: Any) -> Block:
    """Make a block of the student's class, in training mode."""
    if branch is None:
        args = case.w, case.gamma, case.beta, case.stride
        branch = student.call("@normalised", *args, keep="all")
    if case.shortcut is None:
        shortcut = student.call("@identity", keep="all")
    else:
        shortcut = student.call("@convolution", case.shortcut, None, case.stride, keep="all")
    block = student.call("GatedBlock", branch, shortcut, keep="all", **settings)
    student.call("@book", block)
    return Block(block=block, branch=branch, shortcut=shortcut)


def forward(student: Student, made: Block, x: np.ndarray, is_open: bool) -> Any:
    """Set the gate and call forward."""
    student.set(made.block, "is_open", is_open)
    return student.call(".forward", made.block, x)


def pairs(
    student: Student, made: Block, case: SimpleNamespace, *gates: bool, times: int = TIMES
) -> list[dict[str, Any]]:
    """Call forward with each of the gates, then backward, some times.

    Return of each time y, dx, the gradients of all parameters, and whether dy has changed.
    """
    handles = made.block, made.branch, made.shortcut
    found: list[dict[str, Any]] = student.call("@pairs", *handles, case.x, case.dy, gates, times)
    changed = unchanged(student, "x", "dy")
    return [result | {"unchanged": changed} for result in found]


def without_y(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the backward gives: y is judged elsewhere."""
    return [{name: value for name, value in r.items() if name != "y"} for r in results]


def is_possible(do: Callable[[], Any]) -> bool:
    """Whether something can be done without an error; it raises if the process has ended."""
    try:
        do()
    except Failure as failure:
        if failure.kind in ("NotImplementedError", "Timeout", "Ended", "TooMuchOutput"):
            raise
        return False
    return True


def different(results: Sequence[Any]) -> list[Any]:
    """Return the results without repetitions, in order."""
    found: list[Any] = []
    for result in results:
        if all(difference(result, other, 1e-6) for other in found):
            found.append(result)
    return sorted(found, key=total)


def total(result: Any) -> float:
    """Return a number to sort results by."""
    first = result.get("dx") if isinstance(result, dict) else result
    return float(np.nansum(first.real)) if isinstance(first, np.ndarray) else 0.0


def opened(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The output of a new block, which is open."""
    y = student.call(".forward", build(student, case).block, case.x)
    return {"open": {"y": y, "unchanged": unchanged(student, "x")}}


def opened_backward(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The gradients of an open block."""
    (found,) = without_y(pairs(student, build(student, case), case, True, times=1))
    return {"open backward": found}


def closed(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The output of a closed block, many times."""
    made = build(student, case, survival_prob=0.5)
    many = different(student.call("@outputs", made.block, case.x, False, TIMES))
    return {"closed": {"y": many, "unchanged": unchanged(student, "x")}}


def closed_backward(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The gradients of a closed block, many times.

    An open forward comes before each closed one, if the block can do one. So if the backward
    enters the branch, it finds something there.
    """
    made = build(student, case, survival_prob=0.5)
    can_open = is_possible(lambda: forward(student, made, case.x, True))
    gates = (True, False) if can_open else (False,)
    return {"closed backward": different(without_y(pairs(student, made, case, *gates)))}


def follow(is_open: bool) -> Any:
    """Return whether dx is the gradient of the student's own forward, with that gate."""

    def followed(student: Student, case: SimpleNamespace) -> dict[str, bool]:
        made = build(student, case)
        (found,) = pairs(student, made, case, is_open, times=1)
        none = all(gradient is None for gradient in found["branch's gradients"].values())
        holds = none is not is_open and is_gradient(
            lambda x: forward(student, made, x, is_open), case.x, found["dx"], case.dy
        )
        return {f"{'open' if is_open else 'closed'} backward": holds}

    return followed


def not_entered(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A closed branch is not entered: what is in it does not show, and it has not seen the batch.

    The images are positive and the shortcut is the identity, so the last ReLU changes nothing; and
    the block does not open by chance.
    """
    made = build(student, case, survival_prob=NEVER)
    if case.fill is not None:
        student.call("@fill", made.branch, case.fill)
    before = student.call("@statistics", made.branch)
    y = forward(student, made, abs(case.x), False)
    after = student.call("@statistics", made.branch)
    moved = difference(after, before, 0)
    found = "the branch's running statistics have moved" if moved else ""
    return {"not entered": {"y": y, "statistics": found}}


def remembers(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A backward goes by the gate of its own forward, whatever has been set or done since."""
    gates = True, False
    blocks = [build(student, case, survival_prob=1.0 if gate else NEVER) for gate in gates]

    def dx(made: Block, gate: bool, then: bool) -> Any:
        forward(student, made, case.x, True)
        forward(student, made, case.x, gate)
        student.set(made.block, "is_open", then)
        return student.call(".backward", made.block, case.dy)

    alone = [dx(made, gate, gate) for made, gate in zip(blocks, gates, strict=True)]
    turned: list[Any] = []

    def turn() -> None:
        turned.extend(dx(made, gate, not gate) for made, gate in zip(blocks, gates, strict=True))

    if not is_possible(turn) or difference(turned, alone, 1e-6):
        return {"remembers its gate": "the gate that was set after the forward changes dx"}
    if difference(alone[0], alone[1], 1e-6) is None:
        return {"remembers its gate": "an open and a closed block have the same dx"}
    for made, gate in zip(blocks, gates, strict=True):
        forward(student, made, case.x, True)
        forward(student, made, case.x, gate)
    back = [student.call(".backward", made.block, case.dy) for made in blocks[::-1]]
    if difference(back[::-1], alone, 1e-6):
        return {"remembers its gate": "two blocks disturb each other"}
    return {"remembers its gate": ""}


def weights(N: int, C: int, p: float, *, is_open: bool = True, scale: str = "train") -> Any:
    """Return a function that draws positive images and a branch with positive results.

    So ReLUs change nothing, and an error in them costs no points here.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "x": rng.uniform(0.5, 1.5, (N, C, 3, 4)),
            "w": rng.uniform(0.1, 1, (C, C, 1, 1)),
            "b": rng.uniform(0.1, 1, C),
            "dy": rng.uniform(0.1, 1, (N, C, 3, 4)),
            "shortcut": None,
            "p": p,
            "is_open": is_open,
            "scale": scale,
        }

    return draw


def weighted(student: Student, case: SimpleNamespace, **settings: Any) -> Block:
    """Make a block whose branch is one convolution."""
    branch = student.call("@convolution", case.w, case.b, keep="all")
    return build(student, case, branch=branch, **{"survival_prob": case.p, **settings})


def evaluated(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The output in evaluation, many times; and whether the ReLU is there, too."""
    made = weighted(student, case)
    student.call(".eval", made.block, keep="all")
    many = different(student.call("@outputs", made.block, case.x, case.is_open, TIMES))
    made = weighted(student, case, survival_prob=1.0)
    signs = case.x - 3 * case.x[::-1]
    trained = forward(student, made, signs, True)
    student.call(".eval", made.block, keep="all")
    is_same = difference(forward(student, made, signs, True), trained, 1e-6) is None
    found = "" if is_same else "with p = 1 it is not what an open block gives in training"
    return {"evaluation": {"y": many, "training": found}}


def train_weight(name: str, scale: str) -> Callable[..., dict[str, Any]]:
    """Return a check of the weight in training; a block that draws its gate is taken when open."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        made = weighted(student, case, scale=scale)
        many = student.call("@outputs", made.block, case.x, True, TIMES)
        found = {"training": max(many, key=total)}
        if scale == "train":
            student.call(".eval", made.block, keep="all")
            found["evaluation"] = forward(student, made, case.x, True)
        return {name: found}

    return run


def train_gradient(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The gradients with scale="train". With y, since they can be those of another forward."""
    many = pairs(student, weighted(student, case, scale="train"), case, True)
    return {"its gradient": max(many, key=total)}


def follow_train(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether dx is the gradient of the student's own forward."""
    made = weighted(student, case, scale="train")
    (found,) = pairs(student, made, case, True, times=1)
    return {
        "its gradient": is_gradient(
            lambda x: forward(student, made, x, True), case.x, found["dx"], case.dy
        )
    }


def refusal(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A ValueError where 1/p is asked for and p is 0: from the class or from a forward."""
    try:
        forward(student, weighted(student, case, scale=case.scale), case.x, True)
    except Failure as failure:
        if failure.kind == "NotImplementedError":
            raise
        return {"refuses p = 0": failure}
    return {"refuses p = 0": None}
