"""How a student's code is asked about assignment 3: what each property is an outcome of."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.checks import Failure, Student
from minisd.course.looking import are_close, is_gradient, two_at_once, unchanged


def forward(student: Student, case: SimpleNamespace, *, training: bool = True) -> Any:
    """Call the student's forward. Its cache stays there."""
    return student.call(
        "batchnorm2d_forward", case.x, case.gamma, case.beta, case.running_mean, case.running_var,
        training=training, keep="cache", **case.options,
    )  # fmt: skip


def first_of(result: Any) -> Any:
    """Return y of (y, cache); of anything else, itself."""
    return result[0] if isinstance(result, tuple) and len(result) == 2 else result


def changed(case: SimpleNamespace, **values: Any) -> SimpleNamespace:
    """Return the case with other values."""
    return SimpleNamespace(**{**vars(case), **values})


def with_statistics(student: Student, case: SimpleNamespace) -> SimpleNamespace:
    """Return the case with running statistics that stay where the student's code is."""
    return changed(
        case,
        running_mean=student.call(".copy", case.running_mean, keep="all"),
        running_var=student.call(".copy", case.running_var, keep="all"),
    )


def statistics(student: Student, case: SimpleNamespace) -> list[Any]:
    """Return what is in them now."""
    return [student.call(".copy", array) for array in (case.running_mean, case.running_var)]


# ---- 3.1 and 3.3 ----


def output_as(name: str, *, training: bool = True) -> Any:
    """Return a check of the output, as the property ``name``."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        return {name: first_of(forward(student, case, training=training))}

    return run


def arguments(training: bool) -> Any:
    """Return a check of the dtype, and of whether the inputs are as they were."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        y = first_of(forward(student, case, training=training))
        return {"arguments": (y, unchanged(student, "x", "gamma", "beta"))}

    return run


def refusal(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Training with one number per channel: a ValueError."""
    try:
        forward(student, case)
    except Failure as failure:
        if failure.kind == "NotImplementedError":
            raise
        return {"refusal": failure}
    return {"refusal": None}


# ---- 3.2 ----


def moved(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Where the running statistics are after one batch in training, or two."""
    case = with_statistics(student, case)
    forward(student, case)
    if case.then is not None:
        forward(student, changed(case, x=case.then))
    return dict(zip(("running mean", "running var"), statistics(student, case), strict=True))


def at_rest(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Whether evaluation leaves them, and training does not."""
    start = [case.running_mean, case.running_var]
    case = with_statistics(student, case)
    forward(student, case)
    trained = statistics(student, case)
    forward(student, case, training=False)
    said = ""
    if not np.array_equal(trained, statistics(student, case)):
        said = "a forward in evaluation moves them"
    if all(map(np.array_equal, start, trained)):
        said = "they do not move at all"
    return {"still in evaluation": said}


# ---- 3.4 and 3.5 ----


@dataclass(frozen=True)
class Saved:
    """The student's own cache; or the one that the handout names, and why the forward failed."""

    cache: Any
    failure: Failure | None = None


def saved(
    student: Student, case: SimpleNamespace, *, training: bool = True, kept: Any = None
) -> Saved:
    """Run the forward for its cache.

    ``kept`` is the case with running statistics that stay where the student's code is.
    """
    eps = case.options.get("eps", 1e-5)
    named = (case.x, case.gamma, case.running_mean, case.running_var, training, eps)
    try:
        result = forward(student, kept or case, training=training)
    except Failure as failure:
        if failure.kind in ("Timeout", "Ended"):
            raise
        return Saved(named, failure)
    return Saved(result[1] if isinstance(result, tuple) and len(result) == 2 else named)


def gradients(student: Student, case: SimpleNamespace, saved: Saved) -> Any:
    """Call the student's backward. If it cannot use the named cache, the forward is to blame."""
    try:
        return student.call("batchnorm2d_backward", case.dy, saved.cache)
    except Failure as own:
        kinds = {own.kind, saved.failure.kind if saved.failure else "NotImplementedError"}
        raise (own if "NotImplementedError" in kinds else saved.failure or own) from None


NAMES = ("dx", "dgamma", "dbeta")


def backward(student: Student, case: SimpleNamespace, *, training: bool = True) -> dict[str, Any]:
    """Ask for all three gradients."""
    result = gradients(student, case, saved(student, case, training=training))
    if not isinstance(result, tuple | list) or len(result) != 3:
        return dict.fromkeys(NAMES, result)
    return dict(zip(NAMES, result, strict=True))


def follow(student: Student, case: SimpleNamespace, *, training: bool = True) -> dict[str, bool]:
    """Whether the gradients are those of the student's own forward, right or wrong."""
    found = backward(student, case, training=training)

    def is_own(name: str) -> bool:
        def f(value: np.ndarray) -> np.ndarray:
            case_with = changed(case, **{name: value})
            result: np.ndarray = first_of(forward(student, case_with, training=training))
            return result

        return is_gradient(f, getattr(case, name), found[f"d{name}"], case.dy)

    return {f"d{name}": is_own(name) for name in ("x", "gamma", "beta")}


def interleave(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Two forwards, then two backwards: each goes by its own cache, and dy stays as it was."""
    other = changed(case, x=case.x[::-1] ** 2, gamma=case.gamma + 1)
    calls = partial(saved, student), partial(gradients, student)
    return {"two at once": two_at_once(student, (case, other), *calls)}


def evaluated(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """Gradients in evaluation. Those of gamma and beta are one property."""
    found = backward(student, case, training=False)
    return {"dx": found["dx"], "dgamma, dbeta": [found["dgamma"], found["dbeta"]]}


def follow_evaluated(student: Student, case: SimpleNamespace) -> dict[str, bool]:
    """Whether they are those of the student's own forward in evaluation."""
    held = follow(student, case, training=False)
    return {"dx": held["dx"], "dgamma, dbeta": held["dgamma"] and held["dbeta"]}


def overtaken(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A forward in evaluation, one in training, then the backward of the first.

    Does the second change the result if it moves other running statistics, or the same ones?
    """
    alone: list[Any] = []
    others: list[Any] = []
    same: list[Any] = []
    for c in (case, changed(case, x=case.then)):
        kept = with_statistics(student, c)
        alone.append(gradients(student, c, saved(student, c, training=False)))
        for results, moving in ((others, with_statistics(student, c)), (same, kept)):
            cache = saved(student, c, training=False, kept=kept)
            _train(student, moving)
            results.append(gradients(student, c, cache))
    return {"after a training step": _overtaken(alone, others, same)}


def _train(student: Student, case: SimpleNamespace) -> None:
    """Let a batch pass in training; if that fails, the points for it are lost elsewhere."""
    try:
        forward(student, changed(case, x=case.x + 5))
    except Failure as failure:
        if failure.kind in ("Timeout", "Ended"):
            raise


def _overtaken(alone: list[Any], others: list[Any], same: list[Any]) -> str:
    """Return "" if the gradients are the same three times, and depend on the batch."""
    if not are_close(alone, alone):
        return "what comes back are no gradients"
    if are_close(alone[0], alone[1]):
        return "two different batches have the same gradients"
    if not are_close(alone, others):
        return "G-global"
    return "" if are_close(alone, same) else "a training step in between changes the gradients"


# ---- 3.6 ----


def far_from_zero(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The same numbers in float32 and in float64, with a mean of 10,000 deviations."""
    x = np.float32(1e4 + case.x)
    single, double = (
        first_of(forward(student, _cast(changed(case, x=x), dtype)))
        for dtype in (np.float32, np.float64)
    )
    return {"far from zero": _precision(single, double)}


def _cast(case: SimpleNamespace, dtype: Any) -> SimpleNamespace:
    arrays = {k: v.astype(dtype) for k, v in vars(case).items() if isinstance(v, np.ndarray)}
    return changed(case, **arrays)


def _precision(single: Any, double: Any) -> str:
    """Return "" if two outputs agree to a few per cent."""
    outputs = (single, double)
    if not all(isinstance(y, np.ndarray) and y.dtype.kind == "f" for y in outputs):
        return "the output is no array of images"
    if single.shape != double.shape or not single.size:
        return "the output is no array of images"
    if not np.isfinite(double).all() or not np.ptp(double):
        return "in float64, too, the output is not finite, or does not vary"
    with np.errstate(all="ignore"):
        error = np.abs(single - double).max() / np.abs(double).max()
    return "" if error < 0.05 else "in float32 the output is another than in float64"


# ---- 3.7 ----


def folded(student: Student, case: SimpleNamespace) -> Any:
    """Call the student's fold."""
    return student.call(
        "fold", case.w, case.b, case.gamma, case.beta, case.running_mean, case.running_var, case.eps
    )


def fold(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """The weights and the bias of the one convolution that is left."""
    result = folded(student, case)
    if not isinstance(result, tuple | list) or len(result) != 2:
        return dict.fromkeys(("w", "b"), result)
    return dict(zip(("w", "b"), result, strict=True))


def fold_arguments(student: Student, case: SimpleNamespace) -> dict[str, Any]:
    """A bias that is None, dtype, and whether the inputs are as they were."""
    result = folded(student, case)
    names = [name for name in ("w", "b", "gamma", "beta") if getattr(case, name) is not None]
    said = unchanged(student, *names, "running_mean", "running_var")
    return {"arguments": (list(result) if isinstance(result, tuple) else result, said)}
