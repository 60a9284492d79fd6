"""What is checked of assignment 6, an experiment: the public cases of every property.

Networks are tiny and in float64: what a few steps of training give is then the same on every
machine to ten digits, so that `TOLERANCE` is for rounding and for nothing else. What is checked of
the files that students hand in is in `minisd.course.handouts.a6.files`.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.answers import difference
from minisd.course.checks import CHANGED, Case, Check, Failure, Student
from minisd.course.handouts.a5.checks import numbers
from minisd.course.handouts.a6 import files
from minisd.course.handouts.a6.experiment import ARMS, SETTINGS
from minisd.course.handouts.a6.given import ALLOWED, LIBRARIES, STAGED
from minisd.course.handouts.a6.records import arrays, records_of
from minisd.course.looking import varies

TOLERANCE = 1e-6
FILES = {"results.csv": 2_000_000, "claims.json": 100_000}
ENCLOSED = {"report.pdf": 10_000_000}
__all__ = ["ALLOWED", "CHECKS", "ENCLOSED", "FILES", "LIBRARIES", "STAGED"]
HELPERS = """
import numpy as np
from minisd import ops
from minisd.models import resnet
from minisd.stochastic_depth import set_gates


def network(x, labels, depth, width, gates, seed, branch):
    model = resnet(
        depth, in_channels=x.shape[1], width=width, branch=branch, survival=[0.5] * len(gates),
        rng=np.random.default_rng(seed), dtype=x.dtype,
    )
    set_gates(model, gates)
    _, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
    model.backward(dlogits)
    return model


def contents(model):
    return {name: [p.data.copy(), p.grad] for name, p in model.parameters()}
"""


# ---- 6.1 ----


def parted(value: Any) -> Any:
    """Return numbers as two arrays: where they are NaN, and the others. Else what it is."""
    found = numbers(value)
    if not isinstance(found, np.ndarray):
        return value
    return {"NaN": np.isnan(found).astype(float), "values": np.nan_to_num(found, nan=0.0)}


def stepped(gates: str, *, width: int = 2, branch: str = "basic") -> Any:
    """Return a function that draws what a network needs for one backward.

    Parameters
    ----------
    gates : str
        A letter for each block: "o" is open, "-" closed.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        per_block = {"basic": 2, "bottleneck": 3}[branch]
        return {
            "x": rng.standard_normal((5, 2, 8, 8)),
            "labels": rng.integers(10, size=5),
            "depth": per_block * len(gates) + 2,
            "width": width,
            "gates": [letter == "o" for letter in gates],
            "seed": int(rng.integers(2**31)),
            "branch": branch,
        }

    return draw


def network(student: Student, case: SimpleNamespace) -> Any:
    """Make a network after a backward."""
    names = ("x", "labels", "depth", "width", "gates", "seed", "branch")
    return student.call("@network", *(getattr(case, n) for n in names), keep="all")


def gradients(name: str) -> Callable[..., dict[str, Any]]:
    """Return a check of `block_gradients`, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: parted(student.call("block_gradients", network(student, case)))}

    return run


def left_alone(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Whether weights and gradients are what they were."""
    model = network(student, case)
    before = student.call("@contents", model)
    found = numbers(student.call("block_gradients", model))
    after = student.call("@contents", model)
    if difference(after, before, 0):
        return {"unchanged": "the network is not what it was"}
    is_long = isinstance(found, np.ndarray) and found.shape == (len(case.gates),)
    is_done = is_long and varies(found[np.isfinite(found)])
    return {"unchanged": "" if is_done else "what comes back are no gradients"}


# ---- 6.2 ----


def images(depth: int, steps: int, p_last: float, *, channels: int = 1, kind: str = "") -> Any:
    """Return a function that draws the arguments of `two_arms`.

    Parameters
    ----------
    kind : "", "one" or "zero"
        "one": all training images are the same one. "zero": all are zero, so that the labels alone
        decide what is learnt.
    """

    def part(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, labels = rng.standard_normal((count, channels, 8, 8)), rng.integers(10, size=count)
        if kind == "one":
            x[:], labels[:] = x[0], labels[0]
        return x * (kind != "zero"), labels

    def varied(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images bright and dark: a network that has hardly learnt tells them apart, too."""
        x, labels = part(rng, count)
        size = count, channels, 1, 1
        return rng.uniform(0, 2, size) * x + rng.standard_normal(size), labels

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {
            "data": {
                "train": part(rng, 24), "validation": varied(rng, 40), "test": varied(rng, 45)
            },
            "seed": int(rng.integers(1000)),
            "depth": depth,
            "steps": steps,
            "p_last": p_last,
            "width": 4,
            "batch": 8,
            "lr": 0.3,
        }  # fmt: skip

    return draw


def trained(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Return what `two_arms` gives, by arm; raise a `Failure` if it has another form."""
    value = student.call(
        "two_arms", case.data, case.seed, case.depth, case.steps, case.p_last,
        width=case.width, batch=case.batch, lr=case.lr,
    )  # fmt: skip
    if student.changed:
        raise Failure(CHANGED)
    try:
        records = records_of(value)
        for record in records:
            for name in SETTINGS:
                if record[name] != getattr(case, name):
                    raise ValueError(f"records whose {name!r} is not the one that was given")
        return {arm: arrays(records, arm, case.steps) for arm in ARMS}
    except ValueError as error:
        raise Failure(f"G-results {error}") from error


def both_arms(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Compare both arms with those of the reference."""
    arms = trained(student, case)
    constant, stochastic = arms["constant"], arms["stochastic"]
    learnt = {
        name: {"loss": arm["loss"], "gradients": parted(arm["gradients"])}
        for name, arm in arms.items()
    }
    return {
        "constant arm": learnt["constant"],
        "errors": constant["errors"],
        "gates": np.isnan(stochastic["gradients"]).astype(float),
        "stochastic arm": {**learnt["stochastic"], "errors": stochastic["errors"]},
    }


def same(name: str) -> Callable[..., dict[str, Any]]:
    """Return a check that the arms do not differ, where they must not, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        arms = trained(student, case)
        one, other = arms["constant"], arms["stochastic"]
        found = {"loss": other["loss"] - one["loss"]}
        if case.p_last == 1:
            found["gradients"] = other["gradients"] - one["gradients"]
        return {name: found}

    return run


# ---- 6.3 ----


def table(seeds: int, steps: int, L: int, closed: Sequence[float] = ()) -> Any:
    """Return a function that draws the records of both arms of some runs, in any order.

    Parameters
    ----------
    closed : list of float
        How often each block of the stochastic arm is closed; 1 is always. Default: never.
    """

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        records = []
        for seed in rng.choice(100, seeds, replace=False).tolist():
            level = rng.uniform(0.5, 1.5)
            for arm in ARMS:
                is_closed = rng.random((steps, L)) < np.array(closed or [0.0] * L)
                if arm == "constant":
                    is_closed[:] = False
                for often, column in zip(closed, is_closed.T, strict=False):
                    if 0 < often < 1:  # then it is both, whatever was drawn
                        column[:2] = (arm == "stochastic", False)
                drawn = level * rng.uniform(0.1, 1, (steps, L))
                values = np.where(is_closed, np.nan, drawn)
                records += [
                    {
                        "seed": seed, "depth": 2 * L + 2, "p_last": 0.5, "arm": arm,
                        "step": step, "loss": float(rng.uniform(1, 2)), "validation_error": 0.5,
                        "test_error": 0.5, "gradients": row.tolist(),
                    }
                    for step, row in enumerate(values, start=1)
                ]  # fmt: skip
        order = rng.permutation(len(records))
        return {"records": [records[i] for i in order]}

    return draw


def summed_up(name: str, *wanted: str) -> Callable[..., dict[str, Any]]:
    """Return a check of some results of `summary`, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        found = student.call("summary", case.records)
        try:
            parts = {arm: {w: parted(found[arm][w]) for w in wanted} for arm in ARMS}
        except (KeyError, TypeError, IndexError):
            return {name: Failure("G-results no dict of arms with means and deviations")}
        return {name: parts}

    return run


def exact(name: str, draw: Any) -> Case:
    """Return a case with the tolerance of this assignment."""
    return Case(name, draw, tolerance=TOLERANCE)


OFTEN = (0.0, 0.3, 0.6)
CHECKS = [
    Check(
        "6.1", {"open blocks": 4}, gradients("open blocks"),
        [Case("8 layers", stepped("ooo")), Case("14 layers", stepped("oooooo", width=3))],
        helpers=HELPERS,
    ),
    Check(
        "6.1", {"closed blocks": 4}, gradients("closed blocks"),
        [
            Case("one closed", stepped("o-o")),
            Case("the first closed, and others", stepped("-oo-o-")),
            Case("float32", stepped("o-o"), float32=True),
        ],
        helpers=HELPERS,
    ),
    Check(
        "6.1", {"unchanged": 2}, left_alone, [Case("two closed", stepped("o-oo-o"))],
        helpers=HELPERS,
    ),
    Check(
        "6.2", {"constant arm": 6, "errors": 4, "gates": 4, "stochastic arm": 3}, both_arms,
        [
            exact("p_L = 0.3", images(8, 3, 0.3)),
            exact("two channels", images(8, 2, 0.5, channels=2)),
        ],
        given=("6.1",),
    ),
    Check(
        "6.2", {"same start": 4}, same("same start"),
        [exact("p_L = 1, the same image each time", images(8, 2, 1.0, kind="one"))],
    ),
    Check(
        "6.2", {"same batches": 4}, same("same batches"),
        [exact("images that are zero", images(8, 3, 0.4, kind="zero"))],
    ),
    Check(
        "6.3", {"means, always open": 2}, summed_up("means, always open", "mean"),
        [exact("three seeds", table(3, 5, 3)), exact("two seeds", table(2, 4, 4))],
    ),
    Check(
        "6.3", {"means over open steps": 4}, summed_up("means over open steps", "mean"),
        [exact("three seeds", table(3, 8, 3, OFTEN)), exact("one seed", table(1, 9, 3, OFTEN))],
    ),
    Check(
        "6.3", {"spread over seeds": 3}, summed_up("spread over seeds", "sd"),
        [exact("three seeds", table(3, 5, 3)), exact("two seeds", table(2, 6, 3))],
    ),
    Check(
        "6.3", {"hardly any": 1}, summed_up("hardly any", "mean", "sd"),
        [
            exact("a block that is never open", table(3, 6, 3, (0.0, 0.5, 1.0))),
            exact("one seed", table(1, 5, 3)),
        ],
    ),
    Check("6.4", {"results": 3}, files.results, [Case("results.csv", files.nothing)]),
    Check("6.4", {"claims": 5}, files.claims, [Case("claims.json", files.nothing)]),
    Check("6.4", {"choice": 2}, files.choice, [Case("claims.json", files.nothing)]),
    Check("6.4", {"rerun": 5}, files.rerun, [Case("the first rows", files.nothing)]),
]  # fmt: skip
