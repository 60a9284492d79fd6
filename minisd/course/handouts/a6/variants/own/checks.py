"""How the checks of assignment 6 are changed where each student has parameters of their own.

They are in a file that lies beside the answers: a student puts it there, or the grader its own.
"""

import csv
from collections.abc import Iterable
from dataclasses import replace

from minisd.course.checks import Check, Student
from minisd.course.handouts.a6 import files
from minisd.course.handouts.a6.experiment import (
    ARMS,
    Parameters,
    Record,
    read_parameters,
    runs,
)

FILE, OTHER = "parameters.csv", "other-parameters"
FILES = {FILE: 10_000}
SHOWN = 5
"""As many seeds of a table are listed."""


def adapted(checks: list[Check]) -> list[Check]:
    """Return the checks with two that look for the student's own runs."""
    return [_adapted(check) for check in checks]


def _adapted(check: Check) -> Check:
    match check.name:
        case "6.4 results":
            return replace(check, points={"own results": check.points["results"]}, run=results)
        case "6.4 rerun":
            return replace(check, run=rerun)
    return check


def _own(student: Student) -> Parameters:
    """Return the student's parameters; raise a ValueError if they are not known."""
    if FILE not in student.files:
        raise ValueError(f"there is no {FILE} beside your code, with what your instructor gave you")
    try:
        return read_parameters(student.files[FILE])
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{FILE} cannot be read: {error}") from error


def _results(student: Student) -> str:
    """Whether there is a whole table, and the student's own runs are in it."""
    own = _own(student)
    return files.whole(student) or missing(files.table(student), own)


def _rerun(student: Student) -> str:
    """Whether the student's `two_arms` gives the first rows of their own first run again."""
    own, records = _own(student), files.table(student)
    run = own.seeds[0], own.depth, own.p_last
    if run not in runs(records, ARMS[0]):
        return missing(records, own)
    return files.repeated(student, records, run)


def missing(records: list[Record], own: Parameters) -> str:
    """Say what keeps a student's runs from being those of a table; "" if all of them are there."""
    there = runs(records, ARMS[0]).keys()
    absent = [seed for seed in own.seeds if (seed, own.depth, own.p_last) not in there]
    if not absent:
        return ""
    seeds, depths, survivals = (sorted({run[i] for run in there}) for i in range(3))
    said = []
    if own.depth not in depths:
        said.append(f"depth is {_listed(depths)} in results.csv, and yours is {own.depth}")
    if own.p_last not in survivals:
        said.append(f"p_L is {_listed(survivals)} in results.csv, and yours is {own.p_last:g}")
    if not set(own.seeds) <= set(seeds):
        said.append(f"the seeds of results.csv are {_listed(seeds)}, yours {_listed(own.seeds)}")
    if not said:  # each is there, and they are not together
        said.append(f"no run has seed {absent[0]}, depth {own.depth} and p_L {own.p_last:g}")
    return f"{OTHER} {'; '.join(said)}"


def _listed(numbers: Iterable[float]) -> str:
    words = [f"{number:.9g}" for number in numbers]
    return ", ".join([*words[:SHOWN], *["..."] * (len(words) > SHOWN)])


results = files.outcome("own results", _results)
rerun = files.outcome("rerun", _rerun)
