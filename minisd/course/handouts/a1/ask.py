"""How assignment 1, gradients and softmax, is asked: the inputs of cases, and the calls."""

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.checks import Failure, Student
from minisd.course.looking import by_name, is_gradient, two_at_once, unchanged

FUNCTIONS = '''
import numpy as np


def places(x):
    """1, 2, 3, ... in the shape of x."""
    return np.arange(1.0, np.size(x) + 1).reshape(np.shape(x))


def cubic(x):
    """A polynomial in which the numbers of a row are multiplied by one another."""
    row = np.atleast_1d(x).sum(axis=-1)
    return (places(x) * x * x * x).sum() + (row * row).sum()


def steep(x):
    """A polynomial of degree 6."""
    square, row = x * x, np.atleast_1d(x).sum(axis=-1)
    return float(1000 * (places(x) * square * square * square).sum() + (row * row).sum())


def coarse(x):
    """A parabola of which six digits are known."""
    row = np.atleast_1d(x).sum(axis=-1)
    return float(np.round(2.0**20 * ((places(x) * x * x).sum() + (row * row).sum())) / 2.0**20)
'''


def number(value: Any) -> Any:
    """Return what `float` takes as a float; anything else as it is."""
    kinds = int | float | np.integer | np.floating | np.ndarray
    return float(value) if isinstance(value, kinds) and is_real(value) else value


def is_real(value: Any, dimensions: int = 0) -> bool:
    """Whether a result is a real number, or an array of such: it may be anything."""
    return np.ndim(value) == dimensions and np.asarray(value).dtype.kind in "iuf"


def dtype_of(value: Any) -> Any:
    """Return an array of no numbers, which has a dtype; of anything else, itself."""
    return value.reshape(-1)[:0] if isinstance(value, np.ndarray) else value


# ---- 1.1 ----


def points(f: str, *shape: int, h: float = 0, size: float = 1, transposed: bool = False) -> Any:
    """Return a function that draws a place at which the gradient of a function is asked for.

    Without ``h`` the student's default is used.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        if f == "coarse":  # multiples of the step: its sums and products are exact
            x = h * rng.integers(3, 12, shape) * rng.choice([-1, 1], shape)
        else:
            x = size * rng.uniform(0.4, 1, shape)
        return {"f": f, "x": np.asarray(x).T if transposed else np.asarray(x), "h": h}

    return draw


def slope(student: Student, case: SimpleNamespace) -> Any:
    """Ask for a numerical gradient."""
    step = {"h": case.h} if case.h else {}
    found = student.call("numeric_gradient", {"helper": case.f}, case.x, **step)
    is_one = case.x.ndim == 0 and isinstance(found, float | np.floating)
    return np.asarray(found) if is_one else found


def slopes_as(name: str) -> Any:
    """Return a check of the gradient, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: slope(student, case)}

    return run


def untouched(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at x afterwards: by how many steps has it moved?"""
    found = slope(student, case)
    x = student.inputs[0]
    moved = np.round((x - case.x) / case.h, 3) if x.shape == case.x.shape else x
    result = "" if np.size(found) == case.x.size else "there is no gradient"
    return {"x untouched": (result, moved, unchanged(student, "x"))}


# ---- 1.2 ----


def rows(N: int, D: int, K: int, *, bias: bool = True) -> Any:
    """Return a function that draws inputs, weights, a bias and the gradient that arrives."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "x": rng.standard_normal((N, D)),
            "w": rng.standard_normal((K, D)),
            "b": rng.standard_normal(K) if bias else None,
            "dy": rng.standard_normal((N, K)),
        }

    return draw


def forward(student: Student, case: SimpleNamespace) -> Any:
    """Call the student's forward."""
    return student.call("linear_forward", case.x, case.w, case.b, keep="cache")


def output(student: Student, case: SimpleNamespace) -> Any:
    """Return the y of the student's forward."""
    return by_name(forward(student, case), "y", "cache")["y"]


def output_as(name: str) -> Any:
    """Return a check of the output, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: output(student, case)}

    return run


def linear_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at the dtype, and whether the inputs are as they were."""
    y = output(student, case)
    return {"forward's arguments": (dtype_of(y), unchanged(student, "x", "w", "b"))}


def cache_of(student: Student, case: SimpleNamespace) -> Any:
    """Return the student's own cache, or the one that the handout names if the forward fails."""
    try:
        result = forward(student, case)
        if isinstance(result, tuple) and len(result) == 2:
            return result[1]
    except Failure as failure:
        if failure.kind in ("Timeout", "Ended"):
            raise
    return (case.x, case.w, case.b)


def backward(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Ask for all three gradients."""
    result = student.call("linear_backward", case.dy, cache_of(student, case))
    return by_name(result, "dx", "dw", "db")


def follow(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether the gradients are those of the student's own forward, right or wrong."""
    found = backward(student, case)

    def of(**changed: Any) -> Any:
        return output(student, SimpleNamespace(**{**vars(case), **changed}))

    return {
        "dx": is_gradient(lambda x: of(x=x), case.x, found["dx"], case.dy),
        "dw": is_gradient(lambda w: of(w=w), case.w, found["dw"], case.dy),
        "db": is_gradient(lambda b: of(b=b), case.b, found["db"], case.dy),
    }


def no_gradient(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Without a bias there is no gradient of it."""
    return {"db without b": backward(student, case)["db"]}


def interleave(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Two forwards, then two backwards: each goes by its own cache, and changes no input."""
    other = SimpleNamespace(**{**vars(case), "x": case.x[::-1] + 1, "w": -case.w})

    def gradients(case: SimpleNamespace, cache: Any) -> Any:
        return student.call("linear_backward", case.dy, cache)

    caches = partial(cache_of, student)
    return {"two at once": two_at_once(student, (case, other), caches, gradients)}


# ---- 1.3 ----


def scores(N: int, K: int, *, size: float = 2) -> Any:
    """Return a function that draws scores and labels."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "logits": size * rng.standard_normal((N, K)),
            "labels": rng.permutation(np.arange(N) % K),
        }

    return draw


def shifted(N: int, K: int, *by: float) -> Any:
    """Return a function that draws scores, and what is added to all scores of each row."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {**scores(N, K)(rng), "by": np.resize(by, (N, 1))}

    return draw


def unlikely(K: int, gap: float) -> Any:
    """Return a function that draws one image, whose right class is ``gap`` below the others."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        label = rng.integers(K, size=1)
        logits = rng.standard_normal((1, K))
        logits[0, label] -= gap
        return {"logits": logits, "labels": label, "by": None}

    return draw


def entropy(student: Student, case: SimpleNamespace, logits: Any = None) -> dict[str, Any]:
    """Ask for loss and gradient."""
    logits = case.logits if logits is None else logits
    result = student.call("softmax_cross_entropy", logits, case.labels, **case.more)
    found = by_name(result, "loss", "dlogits")
    return {"loss": number(found["loss"]), "dlogits": found["dlogits"]}


def large(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Large scores. What is asked for does not depend on whether a mean or a sum is taken.

    A row to which a number is added has the result that it had. Where the right class is unlikely,
    there is one image, and of its gradient only that it is finite.
    """
    if case.by is None:
        found = entropy(student, case)
        return {"large logits": [found["loss"], _change(found["dlogits"], found["dlogits"])]}
    tame, found = entropy(student, case), entropy(student, case, case.logits + case.by)
    return {"large logits": [_change(found[name], tame[name]) for name in ("loss", "dlogits")]}


def _change(after: Any, before: Any) -> Any:
    """Return by how much a result has changed, to six digits; or what it is, if no number."""
    for value in (after, before):
        if not isinstance(value, float | np.ndarray) or not is_real(value, np.ndim(before)):
            return value
    return np.round(after - before, 6) if np.shape(after) == np.shape(before) else after


def loss_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at the dtype, and whether the inputs are as they were."""
    found = entropy(student, case)
    return {"arguments": (dtype_of(found["dlogits"]), unchanged(student, "logits", "labels"))}


# ---- 1.4 ----


def weights(
    *shape: int, steps: int, momentum: float, decay: float, rest: bool = True, lr: float = 0.1
) -> Any:
    """Return a function that draws a weight, its velocity and gradients."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        w, v = rng.standard_normal((2, *shape))
        return {
            "w": w,
            "v": np.zeros_like(v) if rest else v,
            "dws": rng.standard_normal((steps, *shape)),
            "lr": lr,
            "settings": {"momentum": momentum, "weight_decay": decay},
        }

    return draw


def step(student: Student, case: SimpleNamespace, *, lr: float | None = None) -> dict[str, Any]:
    """Take all steps; return where the weight and its velocity are then."""
    w, v = case.w, case.v
    for dw in case.dws:
        found = student.call("sgd_step", w, v, dw, case.lr if lr is None else lr, **case.settings)
        w, v = by_name(found, "w", "v").values()
        if not all(isinstance(array, np.ndarray) for array in (w, v)):
            break
    return {"w": w, "v": v}


def step_as(name: str) -> Any:
    """Return a check of ``name``, w or v."""
    return lambda student, case: {name: step(student, case)[name]}


def two_rates(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The learning rate changes: the velocity is a sum of gradients, and does not know of it."""
    slow, fast = (step(student, case, lr=lr) for lr in (case.lr, 3 * case.lr))
    moves = "w does not move" if np.array_equal(_change(slow["w"], fast["w"]), 0 * case.w) else ""
    return {"lr changes": (moves, _change(fast["v"], slow["v"]))}


def step_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Look at dtypes, and whether dw is as it was. w and v may be written to."""
    found = step(student, case)
    return {"arguments": (*map(dtype_of, found.values()), unchanged(student, None, None, "dw"))}


# ---- 1.5 ----


def images(n: int, D: int, K: int, *, steps: int, batch: int) -> Any:
    """Return a function that draws images, labels and a seed."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "images": rng.standard_normal((n, D)),
            "labels": rng.permutation(np.arange(n) % K),
            "steps": steps,
            "batch": batch,
            "lr": 0.5,
            "seed": int(rng.integers(2**31)),
        }

    return draw


def trained(student: Student, case: SimpleNamespace) -> tuple[Any, str]:
    """Train; return the weights, and the state of the generator afterwards."""
    rng = student.rng(case.seed)
    found = student.call(
        "train", case.images, case.labels, case.steps, case.batch, case.lr, rng, **case.more
    )
    return found, student.state(rng)


def full_batch(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Every step sees all images: the result does not depend on what is drawn."""
    return {"full batch": by_name(trained(student, case)[0], "w", "b")}


def batches(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Train twice: the same generator gives the same result."""
    (first, state), (second, _) = trained(student, case), trained(student, case)
    found, again = by_name(first, "w", "b"), by_name(second, "w", "b")
    pairs = [(found[name], again[name]) for name in found]
    if any(isinstance(a, np.ndarray) and not np.array_equal(a, b) for a, b in pairs):
        return {"batches": Failure(f"G-random {_drawn(case, state)}")}
    return {"batches": found}


def stream(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """What was drawn from the generator?"""
    return {"random numbers": _drawn(case, trained(student, case)[1])}


def _drawn(case: SimpleNamespace, state: str) -> str:
    """Say what leaves a generator in this state."""
    n, batch = len(case.images), case.batch
    shape = (case.labels.max() + 1, case.images.shape[1])
    ways = {
        "batches were": lambda rng: rng.choice(n, batch, replace=False),
        "batches with replacement were": lambda rng: rng.choice(n, batch),
        "permutations were": lambda rng: rng.permutation(n),
    }
    for start in (None, shape):
        for words, draw in ways.items():
            rng = np.random.default_rng(case.seed)
            if start is not None:
                rng.standard_normal(start)
            for count in range(case.steps + 2):
                if json.dumps(rng.bit_generator.state) == state:
                    first = "" if start is None else "a start and "
                    return f"{first}{count} {words} drawn from your rng"
                draw(rng)
    return "something else was drawn from your rng"


def train_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Whether images and labels are as they were."""
    found, _ = trained(student, case)
    w = by_name(found, "w", "b")["w"]
    result = "" if np.ndim(w) == 2 else "there are no weights"
    return {"arguments": (result, unchanged(student, "images", "labels"))}
