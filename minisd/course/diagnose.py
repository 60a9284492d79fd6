"""Naming a mistake: which wrong answer of the bank gives the student's numbers?

In this order: not written; the same outcome as exactly one mistake of the bank (*imitation*); what
kind of thing is wrong; a constant factor; and in any case for which cases the property holds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minisd.course.answers import (
    IMITATION,
    Answers,
    Difference,
    Print,
    difference,
    printed,
    tolerance,
)
from minisd.course.checks import Check, Failure, Mistake


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a property.

    Attributes
    ----------
    name : str
        Of the mistake; empty if it has none.
    says, look, read : str
        What was found, where to look first, and what to read again.
    """

    name: str
    says: str
    look: str = ""
    read: str = ""


SLOW = "it works, but the work in your own lines grows with the size of the input"
LESS_WORK = "How does the number of steps grow with the size of the input?"
EMPTY = Diagnosis("G-empty", "not written yet")
COMMON = {
    "G-mutates": (
        "your function changes {}",
        "Which of your lines writes into an array that is not yours?",
    ),
    "G-global": (
        "two forwards before the first backward: it does not go by its own cache",
        "What does your backward use that is not in its cache?",
    ),
    "G-results": ("your function returns {}", "What is below Returns in its docstring?"),
    "G-random": ("two equal calls give two results", "What is not the same in the second call?"),
}
"""Mistakes that may be in any function: what is said, and where to look."""


def diagnose(
    check: Check,
    name: str,
    by_case: Mapping[str, Any],
    answers: Answers,
    words: Mapping[tuple[str, str], Mistake],
    before: Collection[str] = (),
) -> Diagnosis:
    """Say what is wrong with the property ``name``, whose outcomes by case are ``by_case``.

    ``before`` are the mistakes that other properties of the task have shown.
    """
    failures = {case: value for case, value in by_case.items() if isinstance(value, Failure)}
    if any(failure.kind == "NotImplementedError" for failure in failures.values()):
        return EMPTY
    for outcome in by_case.values():  # a check may find a mistake by itself, and where it is
        known, _, where = outcome.partition(" ") if isinstance(outcome, str) else ("", "", "")
        if (check.task, known) in words:
            about = words[check.task, known]
            return Diagnosis(known, f"{about.says}: {where}", about.look, about.read)
    mistake = imitated(check, name, by_case, answers, before)
    if mistake is not None:
        about = words[check.task, mistake]
        return Diagnosis(mistake, about.says, about.look, about.read)
    if check.shares and not failures:
        return Diagnosis("G-slow", SLOW, LESS_WORK)
    said: dict[str, Diagnosis] = {}  # the first of each kind
    for case in check.cases:
        expected = answers.expected[check.name, case.name][name]
        what = difference(by_case[case.name], expected, tolerance(case))
        if what is not None and what.kind not in said:
            parts = _part(what, by_case[case.name], expected)
            said[what.kind] = _in_words(what, *parts, case.name)
    if not said:
        raise ValueError(f"{name} is right")
    first, *others = said.values()
    if first.name or not others:
        return first
    return replace(first, says=f"{first.says}; {others[0].says}")


def imitated(
    check: Check,
    name: str,
    by_case: Mapping[str, Any],
    answers: Answers,
    before: Collection[str] = (),
) -> str | None:
    """Return the one mistake of the bank that gives the same outcome in every case, if any.

    If there are several, it is the one that other properties have shown.
    """
    named = {
        mistake
        for (task, mistake), forms in answers.mistakes.items()
        for form in forms
        if task == check.task and _is_same(check, name, by_case, form, answers)
    }
    if len(named) > 1:
        named &= set(before)
    return named.pop() if len(named) == 1 else None


def _is_same(
    check: Check,
    name: str,
    by_case: Mapping[str, Any],
    form: Mapping[tuple[str, str], Mapping[str, Any]],
    answers: Answers,
) -> bool:
    wrong = 0
    for case in check.cases:
        key = check.name, case.name
        expected = answers.expected[key][name]
        imitation = form.get(key, answers.expected[key])[name]
        if difference(by_case[case.name], imitation, max(IMITATION, tolerance(case))):
            return False
        wrong += difference(by_case[case.name], expected, tolerance(case)) is not None
    return wrong > 0


def _part(what: Difference, outcome: Any, expected: Any) -> tuple[Any, Any]:
    """Return what differs of outcomes that are dicts."""
    if isinstance(outcome, Mapping) and what.part in outcome:
        return outcome[what.part], expected[what.part]
    return outcome, expected


def _in_words(what: Difference, outcome: Any, expected: Any, case: str) -> Diagnosis:
    case = f"{what.part}: {case}" if what.part else case
    name, _, of = what.got.partition(" ")
    number = getattr(outcome, "line", None)
    line = f" in line {number}" if number else ""
    match what.kind:
        case "error" | "said" if name in COMMON:
            says, look = COMMON[name]
            return Diagnosis(name, f"{says.format(of)} ({case})", look)
        case "error" if what.got == "Timeout":
            return Diagnosis("G-slow", f"it took too long ({case})", LESS_WORK)
        case "error" if what.got in ("SystemExit", "Ended"):
            return Diagnosis("G-exit", f"your code has ended the program ({case})")
        case "error" if what.got == "TooMuchOutput":
            return Diagnosis("G-print", f"your code prints or writes more than 64 kB ({case})")
        case "error" if what.got in ("ImportError", "ModuleNotFoundError"):
            says = f"something is asked for that is not here{line} ({case})"
            return Diagnosis("G-import", says, "Which imports does the assignment allow?")
        case "error" if not what.got:
            return Diagnosis("", f"a {what.wanted} is asked for, but nothing was raised ({case})")
        case "error":
            return Diagnosis("", f"{what.got}{line} ({case})")
        case "result":
            return Diagnosis("", f"got {what.got} where {what.wanted} is asked for ({case})")
        case "shape":
            return Diagnosis("", f"the shape is {what.got}, not {what.wanted} ({case})")
        case "dtype":
            says = f"{what.got} came back where {what.wanted} is asked for ({case})"
            return Diagnosis("G-upcast", says, "Is it made by np.zeros without a dtype?")
        case "said":
            return Diagnosis("", f"{what.got} ({case})")
        case "not finite":
            return Diagnosis("", f"NaN or infinity in the result ({case})")
    ratio = constant_ratio(outcome, expected)
    if ratio:
        return Diagnosis("", f"{ratio:g} times the right value everywhere ({case})")
    return Diagnosis("", f"the values differ ({case})")


def constant_ratio(outcome: Any, expected: Any) -> float | None:
    """Return the one number by which all of the outcome is too large, if there is one."""
    if not isinstance(outcome, np.ndarray) or not isinstance(expected, np.ndarray | Print):
        return None
    if outcome.size < 2:  # one number is always a multiple of another, and says what is right
        return None
    if isinstance(expected, Print):
        mine, wanted = np.array(printed(outcome).projections), np.array(expected.projections)
    else:
        mine, wanted = outcome.reshape(-1), expected.reshape(-1)
    with np.errstate(all="ignore"):
        ratios = (mine / wanted)[np.abs(wanted) > 1e-6 * np.abs(wanted).max(initial=0)]
    if not ratios.size or not np.allclose(ratios, ratios[0], rtol=1e-6):
        return None
    return float(f"{ratios[0]:.6g}")
