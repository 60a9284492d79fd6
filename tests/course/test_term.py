"""A term as the guide has it, from ``init`` to the grades of twenty made-up students."""

import csv
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import made
import pytest
from test_assignments import FOLDERS, SOURCES, bank

from minisd.course import kit as kits
from minisd.course import source
from tiny_runs import command

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]
STUDENTS = 20


def lines_of_the_guide() -> list[list[str]]:
    """Return the commands of the section "A dry run", in order."""
    text = (SOURCES / "README.md").read_text()
    section = text.partition("## A dry run")[2].partition("\n## ")[0]
    return [line.split()[1:] for line in re.findall(r"^minisd course .*$", section, re.MULTILINE)]


def without_comment(line: list[str]) -> list[str]:
    return line[: line.index("#")] if "#" in line else line


@pytest.fixture
def place(tmp_path):
    """A folder with a checkout's sources, which are the test's own to change."""
    shutil.copytree(SOURCES, tmp_path / "tutorials" / "course")
    return tmp_path


def run(place: Path, line: list[str]) -> str:
    done = subprocess.run(
        command(*line), cwd=place, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected_points(mistakes: set[tuple[str, str]], points: dict[str, float]) -> float:
    """What is left of 100 points after these mistakes."""
    lost = set()
    for entry in bank("a2").mistakes:
        if (entry.about.task, entry.about.name) in mistakes:
            lost |= {f"{entry.about.task} {name}" for name in entry.loses}
    return 100 - sum(points[name] for name in lost)


def test_a_dry_run_of_the_guide(place):
    lines = [without_comment(line) for line in lines_of_the_guide()]
    actions = [line[1] for line in lines]
    assert actions == [
        "init", "self-test", "new", "grade", "explain", "cluster", "similar", "viva",
    ]  # fmt: skip
    chosen = made.hand_in(FOLDERS["a2"], place / "submissions", STUDENTS)
    odd = [f"student_{number:03d}" for number in (0, 7, 14)]  # the three that make no mistake
    reference = source.read(FOLDERS["a2"] / "assignment.py").solution
    for student in odd:
        shutil.rmtree(place / "submissions" / student)
        (place / "submissions" / student).mkdir()
        text = reference.replace("// stride + 1", "// stride + 3", 1)
        assert text != reference
        (place / "submissions" / student / "a2.py").write_text(text)
    for line in lines:
        run(place, line)
    graded = place / "graded"
    with (graded / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(chosen)
    points = {
        f"{check.task} {name}": value
        for check in kits.public("a2").checks
        for name, value in check.points.items()
    }
    for student, mistakes in chosen.items():
        assert not rows[student]["problem"]
        # some wrong answers of the bank have loops
        named = set(rows[student]["mistakes"].split("; ")) - {"", "2.4 G-slow"}
        if student in odd:
            assert float(rows[student]["2.1"]) < 8
            assert not named
        elif not any(name == "G-empty" for _, name in mistakes):
            assert named == {" ".join(mistake) for mistake in mistakes}
            growth = float(rows[student]["2.4"])
            total = float(rows[student]["total"]) - growth + points["2.4 growth"]
            assert total == expected_points(mistakes, points)
    times = Counter(" ".join(m) for s, found in chosen.items() if s not in odd for m in found)
    summary = (graded / "summary.md").read_text()
    for name, count in times.items():
        if "G-empty" not in name:
            assert f"| {count} | {name} |" in summary
    for student in chosen:
        page = graded / "feedback" / f"{student}.html"
        assert "</html>" in page.read_text()
    clusters = (graded / "clusters.md").read_text()
    assert re.search(r"\| 3 \| 2\.1 \| size \|.*student_000, student_007, student_014", clusters)
    assert "| student_000 | student_007 | 100% |" in (graded / "similar.md").read_text()
    assert (graded / "viva.md").read_text().count("## student_") == STUDENTS
