"""Claims of assignment 6: a sentence, its number, and how the number comes from ``results.csv``.

How a number is computed is data in a small vocabulary, so that a machine can compute it again. A
*quantity* is a dict:

    {"of": "g1", "arm": "stochastic", "steps": [101, 200], "take": "mean", "runs": "mean"}

    of      a column: "loss", "validation_error", "test_error", "g1", "g2", ...
    arm     "constant" or "stochastic"
    take    what is taken of the steps of each run: "mean" (the default), "min", "max", "first",
            "last", or "at lowest": the value at the step that has the lowest "by", another column.
            Steps without a number (the block was closed) do not count
    by      with "at lowest" only: a column
    steps   optional: only the steps from the first to the last of these two
    seed, depth, p_last
            optional: only these runs. Default: all runs in the table
    runs    what is taken of the runs: "mean" (the default), "sd" (between runs, divided by n - 1),
            "min" or "max"

``how`` is a quantity, or {"ratio": [quantity, quantity]}, or {"difference": [quantity, quantity]}.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from minisd.course.handouts.a6.experiment import ARMS, GRADIENTS, MEASURED, SETTINGS, Record, runs
from minisd.readers import json_object

TAKES = ("mean", "min", "max", "first", "last", "at lowest")
OPERATIONS = ("ratio", "difference")
OVER_RUNS = ("mean", "sd", "min", "max")
KEYS = {"of", "arm", "take", "by", "steps", "runs", *SETTINGS}
TEST = "test_error"
LARGEST = 1e100
MOST_OFF = 0.05
"""How much a rounded number may be off: numbers are given with two digits at least."""


def read_claims(content: bytes) -> list[dict[str, Any]]:
    """Return the claims of a ``claims.json``, ``{"claims": [{"sentence", "number", "how"}]}``.

    Raises
    ------
    ValueError
        If it has another form; it says what is wrong. That a quantity has the right words is found
        when it is computed.
    """
    claims = json_object(content).get("claims")
    if not isinstance(claims, list) or not claims:
        raise ValueError('it has no list "claims"')
    for count, claim in enumerate(claims, start=1):
        if not isinstance(claim, dict):
            raise ValueError(f"claim {count} is no object")
        for key, kind in (("sentence", str), ("number", int | float), ("how", dict)):
            if not isinstance(claim.get(key), kind) or isinstance(claim.get(key), bool):
                raise ValueError(f'claim {count} needs "{key}", {_WORDS[key]}')
        if abs(claim["number"]) > LARGEST:
            raise ValueError(f"the number of claim {count} is too large")
        if not claim["sentence"].strip():
            raise ValueError(f"claim {count} says nothing")
    return claims


_REDUCED: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda values: float(np.mean(values)),
    "min": min,
    "max": max,
}
_WORDS = {"sentence": "a text", "number": "a number", "how": "an object"}


def number_of(how: dict[str, Any], records: Sequence[Record]) -> float:
    """Compute a number from records, as ``how`` says.

    Raises
    ------
    ValueError
        If ``how`` has another form, or asks for what is not there.
    """
    operation = next((name for name in OPERATIONS if name in how), None)
    if operation is None:
        return _quantity(how, records)
    parts = how[operation]
    if set(how) != {operation} or not isinstance(parts, list) or len(parts) != 2:
        raise ValueError(f'"{operation}" is of two quantities, and stands alone')
    one, other = (_quantity(part, records) for part in parts)
    if operation == "difference":
        return one - other
    if other == 0:
        raise ValueError("a ratio to zero")
    return one / other


def agree(claimed: float, computed: float) -> bool:
    """Whether a claimed number is the computed one, rounded to the digits that it has."""
    exponent = Decimal(repr(claimed)).as_tuple().exponent
    half = 0.5 * 10.0 ** (exponent if isinstance(exponent, int) else 0)
    allowed = min(half, MOST_OFF * abs(computed))
    return abs(claimed - computed) <= allowed * (1 + 1e-6) + 1e-12


def is_chosen_on_test(how: dict[str, Any]) -> bool:
    """Whether a step or a run has been chosen by its test error."""
    parts = [how]
    for operation in OPERATIONS:
        parts += how[operation] if isinstance(how.get(operation), list) else []
    return any(
        (part.get("take") == "at lowest" and part.get("by") == TEST)
        or (part.get("of") == TEST and "min" in (part.get("take"), part.get("runs")))
        for part in parts
        if isinstance(part, dict)
    )


def _quantity(asked: Any, records: Sequence[Record]) -> float:
    if not isinstance(asked, dict):
        raise ValueError("a quantity is an object")
    unknown = sorted(set(asked) - KEYS)
    if unknown:
        raise ValueError(f"{unknown[0][:20]!r} is no word of the vocabulary")
    take = _one_of(asked, "take", TAKES, "mean")
    over = _one_of(asked, "runs", OVER_RUNS, "mean")
    if ("by" in asked) != (take == "at lowest"):
        raise ValueError('"by" goes with "at lowest"')
    chosen = [r for r in records if all(r[n] == asked[n] for n in SETTINGS if n in asked)]
    of_runs = runs(chosen, _one_of(asked, "arm", ARMS, None)).values()
    values = [value for steps in of_runs if (value := _taken(asked, take, steps)) is not None]
    if not values:
        raise ValueError("the table has no such rows")
    if over == "sd":
        if len(values) < 2:
            raise ValueError("a standard deviation needs two runs")
        return float(np.std(values, ddof=1))
    return _REDUCED[over](values)


def _one_of(asked: dict[str, Any], key: str, words: Sequence[str], default: str | None) -> str:
    word = asked.get(key, default)
    if word not in words:
        raise ValueError(f'"{key}" is one of {", ".join(words)}')
    return str(word)


def _taken(asked: dict[str, Any], take: str, steps: Sequence[Record]) -> float | None:
    """Return what is taken of the steps of a run; None if none has a number."""
    first, last = _between(asked)
    within = [record for record in steps if first <= record["step"] <= last]
    pairs = [(_value(r, asked.get("of")), r) for r in within]
    pairs = [(value, record) for value, record in pairs if not math.isnan(value)]
    if not pairs:
        return None
    values = [value for value, _ in pairs]
    match take:
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "at lowest":
            return min(pairs, key=lambda pair: _sortable(_value(pair[1], asked["by"])))[0]
    return _REDUCED[take](values)


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _between(asked: dict[str, Any]) -> tuple[float, float]:
    steps = asked.get("steps", [1, math.inf])
    numbers = isinstance(steps, list) and all(type(s) in (int, float) for s in steps)
    if not numbers or len(steps) != 2:
        raise ValueError('"steps" is a list of the first and the last step')
    return steps[0], steps[1]


def _value(record: Record, column: Any) -> float:
    if column in MEASURED:
        return float(record[column])
    if isinstance(column, str) and column[:1] == "g" and column[1:].isdigit():
        block = int(column[1:])
        if 1 <= block <= len(record[GRADIENTS]):
            return float(record[GRADIENTS][block - 1])
    raise ValueError(f"there is no column {str(column)[:20]!r}")
