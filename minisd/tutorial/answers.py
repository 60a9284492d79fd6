"""A reader's answer to an exercise: their function, watched while a check calls it.

`Answer` is called like the function itself. Where a call goes wrong before its numbers can be
judged, a sentence says so: it is not written yet, it raised an error, changed an argument, returned
None, or something of another number, kind, shape or precision than was asked. So a check
has only to ask whether the numbers are right.
"""

import dis
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Real
from types import CodeType, FrameType
from typing import Any

import numpy as np


class WrongAnswer(AssertionError):
    """An answer is wrong. The message is a sentence to its author."""


@dataclass(frozen=True)
class Answer:
    """A reader's function, or a method of an object that it made. Call it like the function.

    Parameters
    ----------
    function : function or class
    name : str
        As its author knows it.
    results : dict, optional
        What it has to return; see `returning`. By default anything but None.

    Examples
    --------
    >>> def double(x):
    ...     x *= 2
    ...     return x
    >>> Answer(double, "double")(np.ones(3))
    Traceback (most recent call last):
    minisd.tutorial.answers.WrongAnswer: your double changed its argument x: work on a copy
    """

    function: Callable[..., Any]
    name: str
    results: dict[str, Any] = field(default_factory=dict)

    def returning(self, **results: Any) -> "Answer":
        """Return the same answer, asked for these results: a name and a form for each.

        A form is an array (an array of the same shape that is at least as precise), a shape (that
        many real numbers, in an array or in lists), ``float`` (a real number), ``list`` (anything
        with a length), or another class.
        """
        return Answer(self.function, self.name, results)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function with these arguments.

        Raises
        ------
        NotImplementedError
            If there is nothing in it yet.
        WrongAnswer
            If the call goes wrong.
        """
        if is_blank(self.function):
            raise NotImplementedError(self.name)
        before = list(_contents(self._named(arguments, options)))
        try:
            result = self.function(*arguments, **options)
        except (NotImplementedError, WrongAnswer):
            raise
        except Exception as error:
            told = f"raised {type(error).__name__}: {error}{self._line(error)}"
            raise WrongAnswer(f"your {self.name} {told}") from error
        for argument, now, copy in before:
            if not _same(now, copy):
                raise WrongAnswer(
                    f"your {self.name} changed its argument {argument}: work on a copy"
                )
        return self._formed(result)

    def watch(self, thing: Any, method: str, **results: Any) -> None:
        """Watch a method of an object that the answer has made, in the same way."""
        name = f"{self.name}.{method}"
        setattr(thing, method, Answer(getattr(thing, method), name, results))

    def work(self, *arguments: Any, **options: Any) -> int:
        """Count the lines that one call executes, without those inside other modules.

        Each turn of a loop is a line more, also where the loop is written in one line.
        It does not depend on the machine, and shows loops: call it at two sizes.
        """
        steps, own = 0, self._code().co_filename

        def count(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal steps
            if frame.f_code.co_filename != own:
                return None
            steps += event == "line"  # "opcode" misses the first call from Python 3.12 on
            return count

        tracer = sys.gettrace()
        sys.settrace(count)
        try:
            self.function(*arguments, **options)
        finally:
            sys.settrace(tracer)
        return steps

    def _code(self) -> CodeType:
        function = inspect.unwrap(self.function)
        return getattr(function, "__code__", None) or function.__init__.__code__

    def _named(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Arguments by the names that the function has for them."""
        try:
            return inspect.signature(self.function).bind(*arguments, **options).arguments
        except TypeError:  # the call will say so itself
            return {}

    def _line(self, error: Exception) -> str:
        """Where in the answer it went wrong: its deepest line, in text."""
        own = self.name.split(".")[0]
        frames, summaries = (
            traceback.walk_tb(error.__traceback__),
            traceback.extract_tb(error.__traceback__),
        )
        lines = [
            summary
            for (frame, _), summary in zip(frames, summaries, strict=True)
            if frame.f_code.co_qualname.split(".")[0] == own
        ]
        return f" (line {lines[-1].lineno}: {lines[-1].line})" if lines else ""

    def _formed(self, result: Any) -> Any:
        """Return the result if it has the form that is asked for."""
        if result is None:
            raise WrongAnswer(f"your {self.name} returned None: is its return missing?")
        if not self.results:
            return result
        if len(self.results) == 1:
            ((what, form),) = self.results.items()
            return self._fitting(what, form, result)
        names = " and ".join(", ".join(self.results).rsplit(", ", 1))
        if not isinstance(result, tuple | list):
            kind = _kind(result)
            raise WrongAnswer(f"your {self.name} returned {kind} in place of {names}")
        if len(result) != len(self.results):
            raise WrongAnswer(
                f"your {self.name} returned {_count(len(result), 'result')} in place of "
                f"{len(self.results)}: {names}"
            )
        return tuple(
            self._fitting(what, form, value)
            for (what, form), value in zip(self.results.items(), result, strict=True)
        )

    def _fitting(self, what: str, form: Any, value: Any) -> Any:
        """Return one result if it fits its form."""

        def fail(told: str) -> WrongAnswer:
            return WrongAnswer(f"your {self.name} returned {told}")

        if form is float:
            is_scalar = isinstance(value, np.ndarray) and value.ndim == 0 and _is_real(value)
            if not isinstance(value, Real) and not is_scalar:
                raise fail(f"{_kind(value)} for {what}, where a real number is asked")
            return np.float64(value)
        if form is list:
            if not hasattr(value, "__len__") or isinstance(value, str | dict):
                raise fail(f"{_kind(value)} for {what}, where a list is asked")
            return value
        if isinstance(form, type):
            if not isinstance(value, form):
                raise fail(f"{_kind(value)} for {what}, where {_article(form.__name__)} is asked")
            return value
        kinds = np.ndarray | np.generic | list | tuple if isinstance(form, tuple) else np.ndarray
        if not isinstance(value, kinds):
            raise fail(f"{_kind(value)} for {what}, where an array is asked")
        try:
            value = np.asarray(value)
        except ValueError:  # lists of different lengths
            raise fail(f"{what} in rows of different lengths, not of shape {form}") from None
        shape = form if isinstance(form, tuple) else form.shape
        if value.shape != shape:
            raise fail(f"{what} of shape {value.shape}, where {shape} is asked")
        if not _is_real(value):
            raise fail(f"{what} of dtype {value.dtype}, where real numbers are asked")
        if isinstance(form, np.ndarray) and not np.can_cast(form.dtype, value.dtype, "safe"):
            raise fail(f"{what} of dtype {value.dtype}, where {form.dtype} is asked")
        return value


def is_blank(function: Callable[..., Any]) -> bool:
    """Whether a function does nothing but return None: ``...``, ``pass``, a docstring.

    >>> def blank(x): ...
    >>> is_blank(blank), is_blank(lambda x: x)
    (True, False)
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP")]
    returns_a_constant = {step.opname for step in steps} <= {
        "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"
    }  # fmt: skip
    return returns_a_constant and all(step.argval is None for step in steps)


def _contents(named: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each array, list and dict in the arguments: the argument's name, it, a copy of it."""
    for name, value in named.items():
        pending = [value]
        while pending:
            each = pending.pop()
            if isinstance(each, np.ndarray | list | dict):
                yield name, each, each.copy()
            if isinstance(each, list | tuple):
                pending.extend(each)
            elif isinstance(each, dict):
                pending.extend(each.values())


def _same(now: Any, copy: Any) -> bool:
    """Whether an array has its numbers (NaN, too), a list or dict its objects."""
    if isinstance(now, np.ndarray):
        return (
            now.shape == copy.shape and now.dtype == copy.dtype and now.tobytes() == copy.tobytes()
        )
    pairs = zip(now.items(), copy.items(), strict=False) if isinstance(now, dict) else [(now, copy)]
    return len(now) == len(copy) and all(
        one is other for a, b in pairs for one, other in zip(a, b, strict=True)
    )


def _is_real(array: np.ndarray) -> bool:
    return array.dtype.kind in "iuf"


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _kind(value: Any) -> str:
    """What something is, in words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return _article(type(value).__name__)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
