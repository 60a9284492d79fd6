"""Round trips through nbgrader and otter themselves, where they are installed.

``pip install nbgrader otter-grader ipykernel``. From handing out to the grades, with four
submissions: right, as it was given out, with a mistake of the bank, and with a wrong forward whose
gradient is right, which has a part of the points.
"""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from exporting import SEED, export, fill
from test_assignments import FOLDERS

import minisd
from minisd.course import batch, kit, settings, submissions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
POINTS = {"right": 100, "empty": 0, "mistake": 80, "turned": 62.5}
SAID = "overlapping windows overwrite each other in dx"


@pytest.fixture
def run(monkeypatch):
    """A function that runs a tool of this Python's environment in a folder."""
    pytest.importorskip("ipykernel", reason="the notebooks need a kernel: pip install ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(minisd.__file__).parents[1]))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)

    def run(folder, *line):
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    return run


def has_no_secret(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            for secret in (SEED, "dframe", "minisd-grading", "ask.ask"):
                assert secret not in text, path


def test_nbgrader_gives_the_same_points(course, run):
    pytest.importorskip("nbgrader", reason="pip install nbgrader")
    assert export("nbgrader") == 0
    home = course / "out"
    run(home, "nbgrader", "generate_assignment", "a2")
    has_no_secret(home / "release")
    for kind in POINTS:
        folder = home / "submitted" / kind / "a2"
        fill(home / "release" / "a2" / "a2.ipynb", kind, folder / "a2.ipynb")
        (folder / "minisd-grading-a2.zip").write_bytes(b"mine")  # it must not be taken
    run(home, "nbgrader", "autograde", "a2")
    run(home, "nbgrader", "export")
    with open(home / "grades.csv") as stream:
        rows = {row["student_id"]: row for row in csv.DictReader(stream)}
    assert {name: float(row["score"]) for name, row in rows.items()} == POINTS
    assert {float(row["max_score"]) for row in rows.values()} == {100}
    run(home, "nbgrader", "generate_feedback", "a2")
    page = (home / "feedback" / "mistake" / "a2" / "a2.html").read_text()
    assert SAID in page
    assert SEED not in page
    assert "Traceback (most" not in page
    check_against_grade(home / "submitted", course)


def check_against_grade(folder, course):
    """What ``minisd course grade`` says of the same notebooks, outside of the platform."""
    found = submissions.find(folder, "a2")
    assert len(found) == len(POINTS)
    graded = batch.grade_class(
        kit.full(FOLDERS["a2"], SEED), found, settings.Settings(seed=SEED), course / "g", jobs=2
    )
    assert {row["student"]: row["raw"] for row in graded} == POINTS


def test_otter_gives_the_same_points(course, run):
    pytest.importorskip("otter", reason="pip install otter-grader")
    assert export("otter") == 0
    home = course / "out"
    run(home, "otter", "assign", "a2.ipynb", "dist")  # it grades the solution, too
    has_no_secret(home / "dist" / "student")
    (autograder,) = (home / "dist" / "autograder").glob("a2-autograder*.zip")
    for kind, points in POINTS.items():
        folder = home / "submitted" / kind
        fill(home / "dist" / "student" / "a2.ipynb", kind, folder / "a2.ipynb")
        with zipfile.ZipFile(folder / "a2.zip", "w") as archive:
            archive.write(folder / "a2.ipynb", "a2.ipynb")
            archive.writestr("minisd-grading.zip", "mine")  # it must not be taken
        run(folder, "otter", "run", "-a", str(autograder), "a2.zip")
        tests = json.loads((folder / "results.json").read_text())["tests"]
        assert sum(test.get("score", 0) for test in tests) == points
        assert sum(test.get("max_score", 0) for test in tests) == 100
        assert (SAID in json.dumps(tests)) == (kind == "mistake")
        (folder / "a2.zip").unlink()
    check_against_grade(home / "submitted", course)
