"""The words in which an assignment says what is checked: cases, checks, and how to ask a student.

A check is a function of (student, case) that returns an outcome for each of its properties. It is
run three times: with the student's code, which is in another process; with the reference; and with
every mistake of the bank. So an assignment is described once, and a property is right if the
student's outcome is the reference's.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


class Failure(Exception):
    """A call of the student's code failed.

    Attributes
    ----------
    kind : str
        The type of the exception; "Timeout", "Ended", "TooLarge" or "TooMuchOutput". A check may
        also return a failure as an outcome, with a sentence: see `CHANGED`.
    line : int or None
        In the student's file.
    """

    def __init__(self, kind: str, line: int | None = None) -> None:
        super().__init__(kind)
        self.kind, self.line = kind, line


CHANGED, REMEMBERED = "G-mutates one of its arguments", "G-global"
"""What a check has found, as the kind of a `Failure`: the name of a common mistake, and of what."""


class Student:
    """Code that is asked: the student's in a process of its own, or the reference.

    Attributes
    ----------
    changed : list of int
        Which of the arrays that the last call got, in dicts and lists, too, have changed in it.
    inputs : list of array
        These arrays, as they were after the call.
    broken : Failure or None
        Why the file does not load. Every call fails in this way.
    """

    def __init__(self) -> None:
        self.changed: list[int] = []
        self.inputs: list[np.ndarray] = []
        self.broken: Failure | None = None

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let `minisd.course.worker.Worker` do something; raise a `Failure` if it fails."""
        raise NotImplementedError

    def call(self, name: str, *args: Any, keep: str = "", **kwargs: Any) -> Any:
        """Call a function, ``".method"`` of the kept object that comes first, or ``"@helper"``.

        Parameters
        ----------
        keep : "", "cache" or "all"
            What stays with the student's code, as a handle: nothing, the second of two results, or
            the result.
        """
        answer = self.ask("call", name=name, args=list(args), kwargs=kwargs, keep=keep)
        self.changed, self.inputs = answer["changed"], answer["inputs"]
        return answer["value"]

    def purity(self) -> Failure | None:
        """Return as an outcome whether the last call has changed an argument."""
        return Failure(CHANGED) if self.changed else None

    def count(self, name: str, *args: Any, **kwargs: Any) -> int:
        """Return how many bytecodes a call executes in the student's file."""
        return int(self.ask("count", name=name, args=list(args), kwargs=kwargs))

    def rng(self, seed: int) -> Any:
        """Return a handle of a new generator."""
        return self.ask("rng", seed=seed)

    def state(self, rng: Any) -> str:
        """Return the state of a generator."""
        return str(self.ask("state", handle=rng))

    def get(self, thing: Any, name: str) -> Any:
        """Return an attribute of a kept object."""
        return self.ask("get", handle=thing, name=name)

    def set(self, thing: Any, name: str, value: Any) -> None:
        """Set an attribute of a kept object."""
        self.ask("set", handle=thing, name=name, value=value)


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes
    ----------
    name : str
        What is special about it, as the report says it: "stride 2".
    draw : function of a generator
        Returns the inputs by name.
    float32 : bool
        Floating-point inputs are given in float32.
    tolerance : float, optional
        How much an outcome may differ, relative to its largest number, where that is not a matter
        of rounding.
    """

    name: str
    draw: Callable[[np.random.Generator], dict[str, Any]]
    float32: bool = False
    tolerance: float | None = None

    def inputs(self, seed: str, assignment: str) -> SimpleNamespace:
        """Draw the inputs; the same seed gives the same ones."""
        words = f"{seed} {assignment} {self.name}".encode()
        rng = np.random.default_rng(list(hashlib.sha256(words).digest()))
        values = self.draw(rng)
        if self.float32:
            values = {name: _as_float32(value) for name, value in values.items()}
        return SimpleNamespace(**values, case=self.name)


def _as_float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_float32(item) for name, item in value.items()}
    is_float = isinstance(value, np.ndarray) and value.dtype == np.float64
    return np.asarray(value, np.float32) if is_float else value


Outcomes = Mapping[str, Any]
"""By property. A string is a sentence on what was found, or the name of a mistake that is common to
all functions (`minisd.course.diagnose.COMMON`), with what it is of. It is "" if all is well."""


@dataclass(frozen=True)
class Check:
    """Properties of one task that are looked at together.

    Attributes
    ----------
    task : str
        Its number, "2.3".
    points : dict
        By property.
    run : function of (student, inputs)
        Returns an outcome for each property. It may raise `Failure`: then all of them fail.
    cases : list of Case
    follow : function of (student, inputs), optional
        Whether each gradient is the one of the student's own forward. It is asked if ``after``,
        which is the forward, has failed; then ``credit`` of the points are given.
    after : str
        A task, or the name of an earlier check of the same task.
    shares : bool
        The outcomes are shares of the points, from 0 to 1.
    given : tuple of str
        Tasks whose references replace the student's functions, all of them if one has failed. What
        is right stays the student's own.
    helpers : str
        Source of functions that are called, as ``"@name"``, or that the student's code gets as
        arguments: ``{"helper": "name"}``. A helper that is called runs beside the student's code;
        so it builds and looks up, and judges nothing.
    """

    task: str
    points: dict[str, float]
    run: Callable[[Student, SimpleNamespace], Outcomes]
    cases: list[Case]
    follow: Callable[[Student, SimpleNamespace], Mapping[str, bool]] | None = None
    after: str = ""
    shares: bool = False
    given: tuple[str, ...] = ()
    helpers: str = ""

    @property
    def name(self) -> str:
        """Task and properties."""
        return f"{self.task} {', '.join(self.points)}"


CREDIT = 0.7
"""Share of a gradient's points if it is the gradient of a wrong forward."""


@dataclass(frozen=True)
class Mistake:
    """What is said of a realistic wrong answer.

    Attributes
    ----------
    task, name : str
    says, look : str
        What the report says of it, and where it lets the student look first.
    read : str
        The section of a tutorial to read again.
    """

    task: str
    name: str
    says: str
    look: str
    read: str = ""


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
