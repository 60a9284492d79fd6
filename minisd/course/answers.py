"""What is expected of each case, and what each mistake of the bank gives there.

`Answers` are made by running every check with the reference and with every mistake. An instructor
has them in full. A student's `check` has *fingerprints* instead: of each array its shape, its dtype
and eight random projections. So it can compare and name mistakes, and holds no answer.
"""

import functools
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minisd.course import worker
from minisd.course.checks import Case, Check, Failure, Outcomes, Student
from minisd.course.worker import Unsent, Worker

TOLERANCE, TOLERANCE_32 = 1e-9, 2e-4
"""Relative to the largest number of the expected array, in float64 and in float32."""
DIRECTIONS = 8
CaseKey = tuple[str, str]
"""Names of check and case."""


class Local(Student):
    """Code in this process, asked in the same way as in a worker: the reference and the bank.

    What has a name with a dot is a file that is handed in with it.
    """

    def __init__(self, names: Mapping[str, Any], helpers: str = "") -> None:
        super().__init__()
        self._worker = Worker()
        self._worker.module.__dict__.update(names)
        self.files = {name: value for name, value in names.items() if "." in name}
        exec(_compiled(helpers), self._worker.helpers)

    def ask(self, do: str, **arguments: Any) -> Any:
        """Ask it, as if it were at the other end of a pipe."""
        answer = through_a_frame(
            worker.answer_of(self._worker, through_a_frame({"do": do, "with": arguments}))
        )
        if "error" in answer:
            raise Failure(answer["error"], answer["line"])
        return answer["ok"]


@functools.lru_cache(8)
def _compiled(helpers: str) -> Any:
    return compile(helpers, "helpers.py", "exec")


def through_a_frame(head: dict[str, Any]) -> dict[str, Any]:
    """Return what arrives at the other end of a pipe."""
    frame = worker.pack(head)
    text, _ = worker.read_length(frame[:8])
    return worker.unpack(frame[8 : 8 + text], frame[8 + text :])


def outcomes(check: Check, student: Student, inputs: Any) -> dict[str, Any]:
    """Run a check. If a call fails, its `Failure` is the outcome of all properties."""
    try:
        with np.errstate(all="ignore"):
            return dict(check.run(student, inputs))
    except Failure as failure:
        return dict.fromkeys(check.points, failure)


@dataclass(frozen=True)
class Print:
    """The fingerprint of an array. Its scale is the largest of its finite numbers."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    projections: tuple[float, ...]


@dataclass
class Answers:
    """Expected outcomes, and those of mistakes, by check and case.

    Attributes
    ----------
    expected : dict
        By `CaseKey`: outcomes by property.
    mistakes : dict
        By (task, name of a mistake): for each form, outcomes by `CaseKey`.
    """

    expected: dict[CaseKey, Outcomes] = field(default_factory=dict)
    mistakes: dict[tuple[str, str], list[dict[CaseKey, Outcomes]]] = field(default_factory=dict)

    def printed(self) -> "Answers":
        """Return the same with fingerprints in the place of arrays."""
        forms = {
            name: [{key: _printed(value) for key, value in form.items()} for form in forms]
            for name, forms in self.mistakes.items()
        }
        return Answers({key: _printed(v) for key, v in self.expected.items()}, forms)


def answer_all(
    checks: Iterable[Check], assignment: str, seed: str, names: Mapping[str, Any]
) -> dict[CaseKey, Outcomes]:
    """Return the outcomes of every case with these functions."""
    return {
        (check.name, case.name): outcomes(
            check, Local(names, check.helpers), case.inputs(seed, assignment)
        )
        for check in checks
        for case in check.cases
    }


IMITATION = 1e-7
"""How much the outcomes of the same mistake may differ: they may be summed in another order."""


def tolerance(case: Case) -> float:
    """How much an outcome of a case may differ, relative to its largest number."""
    if case.tolerance is not None:
        return case.tolerance
    return TOLERANCE_32 if case.float32 else TOLERANCE


@dataclass(frozen=True)
class Difference:
    """How an outcome differs from the expected one: its kind, and what is known of it.

    Attributes
    ----------
    kind : str
        "error", "result", "shape", "dtype", "not finite", "values", or "said" (it is words).
    got, wanted : str
        In words, without numbers of the expected array.
    part : str
        Of an outcome that is a dict: the key of what differs.
    """

    kind: str
    got: str = ""
    wanted: str = ""
    part: str = ""


def difference(outcome: Any, expected: Any, allowed: float) -> Difference | None:
    """Compare an outcome with the expected one, or with its fingerprint. None: they agree."""
    if isinstance(expected, Failure) or isinstance(outcome, Failure):
        return _of_failures(outcome, expected)
    if isinstance(expected, list | tuple) and isinstance(outcome, list | tuple):
        if len(outcome) != len(expected):
            return Difference("result", f"{len(outcome)} results", f"{len(expected)}")
        pairs = list(zip(outcome, expected, strict=True))
        return next((d for o, e in pairs if (d := difference(o, e, allowed))), None)
    if isinstance(expected, dict) and isinstance(outcome, dict):
        if outcome.keys() != expected.keys():
            return Difference("result", f"keys {', '.join(outcome)}", ", ".join(expected))
        parts = {key: difference(outcome[key], expected[key], allowed) for key in expected}
        return next((replace(d, part=d.part or key) for key, d in parts.items() if d), None)
    if _is_number(outcome) and _is_number(expected):
        outcome, expected = np.asarray(outcome, float), np.asarray(expected, float)
    if isinstance(expected, np.ndarray | Print) and isinstance(outcome, np.ndarray):
        return _of_arrays(outcome, expected, allowed)
    if type(outcome) is type(expected) and outcome == expected:
        return None
    if isinstance(outcome, str) and isinstance(expected, str):
        return Difference("said", outcome)
    return Difference("result", _kind(outcome), _kind(expected))


def _of_failures(outcome: Any, expected: Any) -> Difference | None:
    got = outcome.kind if isinstance(outcome, Failure) else ""
    wanted = expected.kind if isinstance(expected, Failure) else ""
    return None if got == wanted else Difference("error", got, wanted)


def _of_arrays(
    outcome: np.ndarray, expected: "np.ndarray | Print", allowed: float
) -> Difference | None:
    if outcome.shape != expected.shape:
        return Difference("shape", str(outcome.shape), str(expected.shape))
    if outcome.dtype != np.dtype(expected.dtype):
        return Difference("dtype", str(outcome.dtype), str(np.dtype(expected.dtype)))
    is_finite = np.isfinite(outcome).all()
    if isinstance(expected, Print):
        if all(map(math.isfinite, expected.projections)) and not is_finite:
            return Difference("not finite")
        limit = 4 * allowed * math.sqrt(outcome.size) * (expected.scale or 1.0)
        pairs = zip(printed(outcome).projections, expected.projections, strict=True)
        agree = all(a == b or abs(a - b) <= limit or (a != a and b != b) for a, b in pairs)
    else:
        if np.isfinite(expected).all() and not is_finite:
            return Difference("not finite")
        scale = _scale(expected) or 1.0
        agree = np.allclose(outcome, expected, rtol=0, atol=allowed * scale, equal_nan=True)
    return None if agree else Difference("values")


def printed(array: np.ndarray) -> Print:
    """Return the fingerprint of an array."""
    parts = [array.real, array.imag] if np.iscomplexobj(array) else [array]
    flat = np.concatenate([np.asarray(part, np.float64).reshape(-1) for part in parts])
    with np.errstate(all="ignore"):
        scale = _scale(flat)
        projections = _directions(flat.size) @ flat
    return Print(
        array.shape, array.dtype.str, _short(scale), tuple(_short(p) for p in projections.tolist())
    )


def _scale(array: np.ndarray) -> float:
    """Return the largest of the finite numbers."""
    return float(np.abs(array).max(initial=0, where=np.isfinite(array)))


@functools.lru_cache(64)
def _directions(size: int) -> np.ndarray:
    return np.random.default_rng([2016, size]).standard_normal((DIRECTIONS, size))


def _short(number: float) -> float:
    return float(f"{number:.12g}")


def _printed(value: Any) -> Any:
    """Replace the arrays of an outcome by fingerprints."""
    if isinstance(value, np.ndarray):
        return printed(value)
    if isinstance(value, Mapping):
        return {key: _printed(item) for key, item in value.items()}
    return type(value)(map(_printed, value)) if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, Unsent):
        return value.type_name
    if isinstance(value, np.ndarray | Print):
        return f"an array of shape {tuple(value.shape)}"
    return "None" if value is None else f"{type(value).__name__}"


def fingerprint(value: Any) -> Any:
    """Return the fingerprint of an outcome, as JSON has it."""
    return to_json(_printed(value))


# ---- as JSON ----


def to_json(value: Any) -> Any:
    """Return an outcome of fingerprints as JSON has it."""
    match value:
        case Print():
            return {"shape": value.shape, "dtype": value.dtype, "scale": str(value.scale),
                    "projections": [str(p) for p in value.projections]}  # fmt: skip
        case Failure():
            return {"failure": value.kind}
        case Mapping():
            return {"dict": {key: to_json(item) for key, item in value.items()}}
        case list() | tuple():
            return [to_json(item) for item in value]
        case Unsent():
            return {"unsent": value.type_name}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
        return {"number": str(value)}
    return value


def from_json(value: Any) -> Any:
    """Return what `to_json` was given; tuples come back as lists."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "failure" in value:
        return Failure(value["failure"])
    if "unsent" in value:
        return Unsent(value["unsent"])
    if "number" in value:
        return float(value["number"])
    if "dict" in value:
        return {key: from_json(item) for key, item in value["dict"].items()}
    return Print(
        tuple(value["shape"]),
        value["dtype"],
        float(value["scale"]),
        tuple(float(p) for p in value["projections"]),
    )


def digest(seed: str) -> str:
    """Return eight digits that stand for a seed in reports."""
    return hashlib.sha256(f"minisd course {seed}".encode()).hexdigest()[:8]
