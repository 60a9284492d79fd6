"""What is checked of ``results.csv`` and ``claims.json``, which students hand in with their code.

Nothing in them is run: a table of numbers, and claims in a small vocabulary.
"""

import csv
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from minisd.course.checks import Student
from minisd.course.handouts.a6.claims import agree, is_chosen_on_test, number_of, read_claims
from minisd.course.handouts.a6.experiment import (
    ARM,
    ARMS,
    GRADIENTS,
    MEASURED,
    SETTINGS,
    STEP,
    Record,
    Run,
    digits,
    read_results,
    runs,
)
from minisd.course.handouts.a6.records import records_of
from minisd.models import num_blocks

FEWEST_CLAIMS, MOST_CLAIMS, FEWEST_SEEDS = 3, 20, 3
DEEPEST = 32
"""Layers; the rerun of a deeper network would take too long."""
RERUN_STEPS = 2
REPRODUCED = 1e-6
"""Relative. The table has nine digits, and in float64 two steps differ by less between machines."""


def nothing(rng: np.random.Generator) -> dict[str, Any]:
    """Draw no inputs: all is in the files."""
    return {}


def table(student: Student) -> list[Record]:
    """Return the records of the student's table; raise a ValueError if it cannot be used."""
    if "results.csv" not in student.files:
        raise ValueError("there is no results.csv beside your code")
    try:
        return read_results(student.files["results.csv"])
    except (ValueError, csv.Error) as error:
        raise ValueError(f"results.csv cannot be read: {error}") from error


def _claims(student: Student) -> list[dict[str, Any]]:
    """Return the student's claims; raise a ValueError if they cannot be used."""
    if "claims.json" not in student.files:
        raise ValueError("there is no claims.json beside your code")
    try:
        return read_claims(student.files["claims.json"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"claims.json cannot be read: {error}") from error


def outcome(name: str, look: Any) -> Any:
    """Return a check whose outcome is the sentence that ``look`` returns, or fails with."""

    def run(student: Student, case: SimpleNamespace) -> dict[str, Any]:
        try:
            return {name: look(student)}
        except ValueError as error:
            return {name: str(error)}

    return run


def whole(student: Student) -> str:
    """Whether there is a whole table: both arms of the same runs, with every step."""
    records = table(student)
    constant, stochastic = (runs(records, arm) for arm in ARMS)
    if constant.keys() != stochastic.keys():
        return "results.csv: the two arms do not have the same runs"
    if len({seed for seed, _, _ in constant}) < FEWEST_SEEDS:
        return f"results.csv has fewer than {FEWEST_SEEDS} seeds"
    for of_arm in (constant, stochastic):
        for (seed, depth, _), steps in of_arm.items():
            if [record[STEP] for record in steps] != list(range(1, len(steps) + 1)):
                return f"results.csv: the steps of seed {seed} are not 1, 2, 3, ..."
            if depth > DEEPEST:
                return f"results.csv: at most {DEEPEST} layers, so that it can be run again"
            if len(steps[0][GRADIENTS]) < num_blocks(depth):  # a ValueError if there is none
                return f"results.csv has too few gradients for {depth} layers"
    return ""


def _claims_agree(student: Student) -> str:
    """Whether each number of a claim is what its computation gives."""
    claims, records = _claims(student), table(student)
    if not FEWEST_CLAIMS <= len(claims) <= MOST_CLAIMS:
        return f"claims.json has {len(claims)} claims; {FEWEST_CLAIMS} to {MOST_CLAIMS} are asked"
    for count, claim in enumerate(claims, start=1):
        try:
            computed = number_of(claim["how"], records)
        except ValueError as error:
            return f"claim {count} cannot be computed: {error}"
        if not agree(claim["number"], computed):
            says = f"claim {count} says {claim['number']:g}, and results.csv gives {computed:.3g}"
            return f"stale-claim {says}"
    return ""


def _choice(student: Student) -> str:
    """Whether a claim is about a step or a run that was chosen by its test error."""
    for count, claim in enumerate(_claims(student), start=1):
        if is_chosen_on_test(claim["how"]):
            return f"best-test claim {count}"
    return ""


def _rerun(student: Student) -> str:
    """Whether the student's own `two_arms` gives the first rows of the first run again."""
    records = table(student)
    seed, depth, p_last = (records[0][name] for name in SETTINGS)
    return repeated(student, records, (seed, depth, p_last))


def repeated(student: Student, records: list[Record], run: Run) -> str:
    """Whether the student's own `two_arms` gives the first rows of a run again."""
    seed, depth, p_last = run
    if depth > DEEPEST:
        return f"at most {DEEPEST} layers can be run again"
    stored = [r for r in records if tuple(r[name] for name in SETTINGS) == run]
    stored = [r for r in stored if r[STEP] <= RERUN_STEPS]
    found = records_of(student.call("two_arms", digits(), seed, depth, RERUN_STEPS, p_last))
    again = {(record[ARM], record[STEP]): record for record in found}
    if len(stored) != len(ARMS) * RERUN_STEPS:
        return f"results.csv does not have the first {RERUN_STEPS} steps of both arms"
    for row in stored:
        new = again.get((row[ARM], row[STEP]))
        where = f"the {row[ARM]} arm of seed {seed}, step {row[STEP]}"
        if new is None:
            return f"{where} is in results.csv, and your two_arms does not give it"
        for name in MEASURED:
            if not _is_close(row[name], new[name]):
                return f"{where}: {name} is {row[name]:.6g} in results.csv, now {new[name]:.6g}"
        L = len(new[GRADIENTS])
        pairs = zip(row[GRADIENTS][:L], new[GRADIENTS], strict=False)
        for block, (old, value) in enumerate(pairs, start=1):
            if not _is_close(old, value):
                return f"{where}: g{block} is {old:.6g} in results.csv, now {value:.6g}"
    return ""


def _is_close(old: float, new: float) -> bool:
    both_nan = math.isnan(old) and math.isnan(new)
    return both_nan or math.isclose(old, new, rel_tol=REPRODUCED, abs_tol=1e-12)


results = outcome("results", whole)
claims = outcome("claims", _claims_agree)
choice = outcome("choice", _choice)
rerun = outcome("rerun", _rerun)
