"""Grading a class: how long it takes, and how much memory one process of it needs at most.

    python -m tests.benchmarks.grading [STUDENTS] [ASSIGNMENT]

The class is made up: the reference with random mistakes of the bank, some tasks not written, as
scripts, notebooks and zips. Without arguments it is 200 students of assignment 2. Goals: 200
within 12 minutes on two cores, at most 400 MB in a process. It is run by hand and no test.
"""

import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from minisd.course import batch, submissions
from minisd.course import kit as kits
from minisd.course.settings import Settings
from minisd.machine import available_cores
from tests.course import made

MINUTES, MEGABYTES = 12, 400


def measure(students: int, name: str) -> None:
    """Grade a class of ``students``, and print time, memory and what was found."""
    sources = Path(__file__).parents[2] / "tutorials" / "course"
    folder = next(sources.glob(f"{name}_*"))
    course = Settings("the seed of a benchmark")
    jobs = available_cores()
    with tempfile.TemporaryDirectory() as place:
        handed_in = Path(place) / "in"
        made.hand_in(folder, handed_in, students)
        began = time.perf_counter()
        kit = kits.full(folder, course.seed)
        found = submissions.find(handed_in, name)
        rows = batch.grade_class(kit, found, course, Path(place) / "out", jobs=jobs)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KiB
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    mistakes = Counter(m for row in rows for m in set(row["mistakes"].split("; ")) if m)
    print(f"{name}: {len(rows)} submissions, {jobs} at a time, isolation {rows[0]['isolation']}")
    print(f"time: {seconds:.0f} s, {seconds / 60:.1f} of {MINUTES} minutes for 200")
    print(f"processor: {cpu / len(rows):.1f} s for each")
    print(f"memory: {peak:.0f} of {MEGABYTES} MB in the largest process")
    print(f"not graded: {sum(bool(row['problem']) for row in rows)}; names: {len(mistakes)}")


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv[1:]))
    measure(int(arguments.get(0, 200)), arguments.get(1, "a2"))
