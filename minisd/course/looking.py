"""Looking at what a student's functions return: common mistakes, and whether it is a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minisd.course.checks import Failure, Student


def varies(array: np.ndarray) -> bool:
    """Whether an array has different numbers, all finite: it is no result of doing nothing."""
    is_something = array.size > 0 and np.isfinite(array).all()
    return bool(is_something and (array != array.flat[0]).any())


def by_name(result: Any, *names: str) -> dict[str, Any]:
    """Return the results of a call by name; if there are more or fewer, a `Failure` for each."""
    if isinstance(result, tuple | list) and len(result) == len(names):
        return dict(zip(names, result, strict=True))
    count = len(result) if isinstance(result, tuple | list) else int(result is not None)
    said = f"{count} result{'s' * (count != 1)} instead of {len(names)}"
    return dict.fromkeys(names, Failure(f"G-results {said}"))


def unchanged(student: Student, *names: str | None) -> str:
    """Return "", or a name and what it is of: the arrays of the last call that changed in it.

    Parameters
    ----------
    *names : str or None
        Of the first arrays that the call got. The others may change, and those that are None.
    """
    changed = [name for i, name in enumerate(names) if name is not None and i in student.changed]
    return f"G-mutates its argument {', '.join(changed)}" if changed else ""


def two_at_once(
    student: Student,
    cases: Sequence[Any],
    forward: Callable[[Any], Any],
    backward: Callable[[Any, Any], Any],
) -> str:
    """Return "" if two forwards may come before their two backwards; else what happens then.

    Parameters
    ----------
    cases : two sets of inputs
        With the same ``dy``, and otherwise different.
    forward : function of a case
        Returns its cache.
    backward : function of (case, cache)
        Returns its results. Called last is the student's backward, with ``dy`` first.
    """

    def results(case: Any, cache: Any) -> Any:
        found = backward(case, cache)
        changed.append(unchanged(student, "dy"))
        return found

    changed: list[str] = []
    alone, again = ([results(case, forward(case)) for case in cases] for _ in range(2))
    caches = [forward(case) for case in cases]
    together = [results(case, cache) for case, cache in zip(cases, caches, strict=True)]
    if any(changed):
        return max(changed)
    if not are_close(alone, alone):
        return "what comes back are no gradients"
    if not are_close(alone, again):
        return "G-random"
    if are_close(alone[0], alone[1]):
        return "two different forwards have the same gradients"
    return "" if are_close(alone, together) else "G-global"


def are_close(a: Any, b: Any) -> bool:
    """Whether two results of the same computation agree, up to rounding. Only numbers can."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_close(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(are_close, a, b))
    numbers = float | int | np.number | np.ndarray
    if isinstance(a, numbers) and isinstance(b, numbers) and np.shape(a) == np.shape(b):
        limit = 1e-6 * float(np.abs(a).max(initial=0))
        return bool(np.allclose(a, b, rtol=0, atol=limit, equal_nan=True))
    return a is None and b is None


@np.errstate(all="ignore")
def is_gradient(
    f: Callable[[np.ndarray], Any], x: np.ndarray, dx: Any, dy: np.ndarray, *, step: float = 1e-5
) -> bool:
    """Whether dx is the gradient of sum(dy * f(x)): finite differences along three directions.

    Where f has kinks, a smaller ``step`` meets fewer of them.
    """
    if not _is_real(dx, x.shape):
        return False
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        ahead, behind = f(x + step * direction), f(x - step * direction)
        if not (_is_real(ahead, np.shape(dy)) and _is_real(behind, np.shape(dy))):
            return False
        slope = float((dy * (ahead - behind)).sum()) / (2 * step)
        error = abs(slope - float((dx * direction).sum()))
        if not error <= 1e-6 * max(1, abs(slope)):  # nor if it is NaN
            return False
    return True


def _is_real(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a result is real numbers of this shape: it may be anything."""
    numbers = np.ndarray | np.number | float
    return (
        isinstance(value, numbers)
        and np.shape(value) == shape
        and np.asarray(value).dtype.kind in "iuf"
    )
