"""The words in which an assignment says what is checked: cases, checks, and how to ask a student.

A check is a function of (student, case) that returns an outcome for each of its properties. It is
run three times: with the student's code, which is in another process; with the reference; and with
every mistake of the bank. So an assignment is described once, and a property is right if the
student's outcome is the reference's.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    files : dict
        What is handed in with the code, by name.
    """

    def __init__(self) -> None:
        self.changed: list[int] = []
        self.inputs: list[np.ndarray] = []
        self.broken: Failure | None = None
        self.files: dict[str, bytes] = {}

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
        """Return how many lines a call executes in the student's file."""
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
    more : dict
        Keyword arguments that a variant of the assignment adds to the calls.
    """

    name: str
    draw: Callable[[np.random.Generator], dict[str, Any]]
    float32: bool = False
    tolerance: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, seed: str, assignment: str) -> SimpleNamespace:
        """Draw the inputs; the same seed gives the same ones."""
        words = f"{seed} {assignment} {self.name}".encode()
        rng = np.random.default_rng(list(hashlib.sha256(words).digest()))
        values = self.draw(rng)
        if self.float32:
            values = {name: _as_float32(value) for name, value in values.items()}
        return SimpleNamespace(**values, case=self.name, more=self.more)


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
