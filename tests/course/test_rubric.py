"""What a person judges, from rubric.csv; and files that are handed in with the code."""

import csv
import io
import os
import zipfile

import pytest
from test_assignments import SOURCES, assignment, kit
from test_class import rows

from minisd.cli import main
from minisd.course import batch, grading, rubric, submissions
from minisd.course import settings as course_settings
from minisd.course.export import gradescope
from minisd.course.settings import OfAssignment, Settings
from minisd.errors import UserError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
TEXT = assignment("a6").solution
FILES = assignment("a6").files
CRITERIA = next(task.criteria for task in assignment("a6").tasks if task.criteria)
SHORT = OfAssignment(tasks=["6.3", "6.5"])


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "submissions"
    for name in ("ada", "=bob"):
        (out / name).mkdir(parents=True)
        (out / name / "a6.py").write_text(TEXT)
    (out / "cleo").mkdir()
    return out


def grade(folder, of=SHORT):
    course = Settings(seed="x" * 16, assignments={"a6": of})
    found = submissions.find(folder, "a6")
    out = folder.parent / "out"
    batch.grade_class(kit("a6", "public"), found, course, out, jobs=2)
    return rows(out), out


def table(out):
    return list(csv.DictReader(io.StringIO((out / "rubric.csv").read_text())))


def fill(out, student, points, remarks="", *, mark=","):
    """Fill in a row as a person does, in a spreadsheet."""
    text = (out / "rubric.csv").read_text(encoding="utf-8-sig")
    old = next(line for line in text.split("\n") if line.startswith(student))
    new = ",".join([student, *map(str, points), remarks])
    text = text.replace(old, new).replace(",", mark)
    (out / "rubric.csv").write_text(text, encoding="utf-8-sig")


def test_points_of_a_person_are_added_and_never_replaced(folder):
    found, out = grade(folder)
    assert [row["student"] for row in table(out)] == ["'=bob", "ada", "cleo"]
    assert list(table(out)[0]) == ["student", *CRITERIA, "remarks"]
    assert not any(value for row in table(out) for key, value in row.items() if key != "student")
    assert (found["ada"]["6.5"], found["ada"]["total"]) == ("not yet", "10.0")
    assert "judged by a person: not yet" in (out / "feedback" / "ada.md").read_text()
    assert "6.5 Report: 2 wait for a person" in (out / "summary.md").read_text()

    fill(out, "ada", [5, 5, 4.5, 5, 0, 5, 5, 5], "a good <figure>")
    fill(out, "'=bob", [5, 5, 5, 5, 5, 5, 5, ""])  # not finished
    fill(out, "cleo", [1] * 8)  # whose code is missing
    (folder / "dan").mkdir()
    (folder / "dan" / "a6.py").write_text("nothing")
    found, out = grade(folder)
    assert (found["ada"]["6.5"], found["ada"]["total"]) == ("34.5", "44.5")
    assert found["ada"]["6.5 limits"] == "0.0"
    assert (found["'=bob"]["6.5"], found["'=bob"]["total"]) == ("not yet", "10.0")
    assert found["cleo"]["total"] == "8.0"
    assert "is a folder" in found["cleo"]["problem"]
    page = (out / "feedback" / "ada.html").read_text()
    assert "44.5 of 50 points" in page
    assert "6.5 Report: 34.5 of 40" in page
    assert "a good &lt;figure&gt;" in page
    assert '<span class="given">figure: 4.5 of 5' in page
    assert "\n- figure: 4.5 of 5" in (out / "feedback" / "ada.md").read_text()
    kept = {row["student"]: row for row in table(out)}
    assert list(kept) == ["'=bob", "ada", "cleo", "dan"]
    assert kept["ada"]["figure"] == "4.5"
    assert kept["'=bob"]["question"] == "5"
    before = (out / "rubric.csv").read_bytes()
    grade(folder)
    assert (out / "rubric.csv").read_bytes() == before


def test_what_a_spreadsheet_makes_of_the_table_is_read(folder):
    _, out = grade(folder)
    fill(out, "ada", ["4.5", *[5] * 7], mark=";")
    text = (out / "rubric.csv").read_text(encoding="utf-8-sig").replace("4.5", "4,5")
    (out / "rubric.csv").write_text(text.replace("\n", "\r\n") + ";;;\r\n", encoding="utf-8-sig")
    found, _ = grade(folder)
    assert found["ada"]["total"] == "49.5"


def test_points_and_tasks_of_the_settings_hold_for_a_person_too(folder):
    _, out = grade(folder)
    fill(out, "ada", [5] * 8)
    found, _ = grade(folder, OfAssignment(tasks=["6.3", "6.5"], points={"6.5": 20}))
    assert (found["ada"]["6.5"], found["ada"]["6.5 limits"]) == ("20.0", "2.5")
    found, _ = grade(folder, OfAssignment(tasks=["6.3"]))
    assert found["ada"]["total"] == "10.0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ada,,", "ada,6,"), "question of ada is '6': give a number from 0 to 5"),
        (("ada,,", "ada,-1,"), "is '-1': give"),
        (("ada,,", "ada,nan,"), "is 'nan': give"),
        (("ada,,", "ada,good,"), "is 'good': give"),
        (("figure", "picture"), "it has no column figure"),
        (("ada,", "ada,,,,,,,,,,,,,,"), "row 3 has more cells"),
        (("bob,", "ada,"), "row 3 is a second one of ada"),
    ],
)
def test_a_table_with_points_that_cannot_be_given_is_a_sentence(change, said, tmp_path):
    path, graded = tmp_path / "rubric.csv", kit("a6", "public")
    rubric.judged(graded, ["bob", "ada"], OfAssignment(), path)
    text = path.read_text().replace(*change, 1)
    lines = text.split("\n")
    row = lines.index(next(line for line in lines if line.startswith("ada")))
    lines[row] = lines[row].replace(",,", ",1,").replace(",,", ",1,")  # the others are filled in
    path.write_text("\n".join(lines) if "cells" not in said else text)
    with pytest.raises(UserError) as error:
        rubric.judged(graded, ["bob", "ada"], OfAssignment(), path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_without_a_task_for_a_person_there_is_no_table(tmp_path):
    for name, tasks in (("a2", ()), ("a6", ("6.1",))):
        of = OfAssignment(tasks=list(tasks))
        found = rubric.judged(kit(name, "public"), ["ada"], of, tmp_path / "rubric.csv")
        assert found["ada"].tasks == {}
    assert list(tmp_path.iterdir()) == []


def test_gradescope_says_what_a_person_judges():
    report = grading.grade(kit("a6", "public"), TEXT, tasks=("6.3", "6.5"))
    content = gradescope.results(report, OfAssignment())
    assert content["score"] == 10
    assert content["output"] == "6.5 Report: 40 points, judged by a person: not yet"


# ---- files beside the code ----

WANTED = {"results.csv": 100, "claims.json": 100}


def test_files_are_taken_from_beside_the_code_and_from_its_zip(tmp_path):
    path = tmp_path / "a6.py"
    path.write_text("x = 1")
    (tmp_path / "results.csv").write_bytes(b"a,b")
    assert submissions.read(path, "a6", WANTED, tmp_path).files == {"results.csv": b"a,b"}
    assert submissions.read(path, "a6", {}, tmp_path).files == {}
    assert submissions.read(path, "a6").files == {}
    with zipfile.ZipFile(tmp_path / "a6.zip", "w") as archive:
        archive.writestr("__MACOSX/work/results.csv", "junk")
        archive.writestr("old/results.csv", "old")
        archive.writestr("work/a6.py", "x = 1")
        archive.writestr("work/results.csv", "new")
        archive.writestr("claims.json", "{}")
    found = submissions.read(tmp_path / "a6.zip", "a6", WANTED)
    assert found.files == {"results.csv": b"new", "claims.json": b"{}"}
    assert found.remarks == []


def test_a_file_that_is_too_large_or_none_is_left_out_and_said(tmp_path):
    path = tmp_path / "a6.py"
    path.write_text("x = 1")
    (tmp_path / "results.csv").write_bytes(b"a" * 101)
    (tmp_path / "claims.json").mkdir()
    found = submissions.read(path, "a6", WANTED, tmp_path)
    assert found.files == {}
    large, no_file = found.remarks
    assert "results.csv was left out: it is damaged" in large
    assert "101 bytes, 100 are allowed" in large
    assert "claims.json was left out: it is a folder" in no_file
    assert str(tmp_path) not in large + no_file
    (tmp_path / "claims.json").rmdir()
    (tmp_path / "claims.json").symlink_to(tmp_path / "a6.py")
    found = submissions.read(path, "a6", {"claims.json": 100}, tmp_path)
    assert (found.files, found.remarks) == ({}, ["claims.json was left out: it is a link"])
    with zipfile.ZipFile(tmp_path / "a6.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a6.py", "x = 1")
        archive.writestr("results.csv", "a" * 10**6)
    (said,) = submissions.read(tmp_path / "a6.zip", "a6", WANTED).remarks
    assert "1,000,000 bytes, 100 are allowed" in said


def test_nobody_has_the_files_of_somebody_else(tmp_path):
    """In a folder with a file for each student, what is beside the code is anybody's."""
    for name in ("ada_1_a6.py", "bob_2_a6.py"):
        (tmp_path / name).write_text("x = 1")
    (tmp_path / "cleo").mkdir()
    (tmp_path / "cleo" / "a6.py").write_text("x = 1")
    for place in (tmp_path, tmp_path / "cleo"):
        (place / "results.csv").write_bytes(b"a,b")
    found = {s.student: s for s in submissions.find(tmp_path, "a6")}
    read = {
        name: list(submissions.read(s.path, "a6", WANTED, s.folder).files)
        for name, s in found.items()
    }
    assert read == {"ada": [], "bob": [], "cleo": ["results.csv"]}


def test_other_files_are_graded_anew(tmp_path):
    (tmp_path / "a6.py").write_text("x = 1")
    graded, of = kit("a6", "public"), OfAssignment()
    submission = submissions.Submission("ada", tmp_path / "a6.py", folder=tmp_path)
    keys = {batch._key(graded, submission, of)}
    for name, content in (("results.csv", b"a"), ("results.csv", b"b"), ("claims.json", b"b")):
        (tmp_path / name).write_bytes(content)
        keys.add(batch._key(graded, submission, of))
    assert len(keys) == 4


@pytest.mark.slow
def test_a_student_checks_and_packs_an_experiment_and_it_is_graded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "new", "a6", "--notebook"]) == 0
    assert "eight criteria" in (tmp_path / "a6" / "README.md").read_text()
    (tmp_path / "a6" / "a6.py").write_text(TEXT)
    assert main(["course", "check", "a6", "--task", "6.4"]) == 1
    assert "there is no results.csv beside your code" in capsys.readouterr().out
    for name, content in {**FILES, "report.pdf": b"%PDF"}.items():
        (tmp_path / "a6" / name).write_bytes(content)
    assert main(["course", "check", "a6"]) == 0
    out = capsys.readouterr().out
    assert "60 of 60 points" in out
    assert "6.5 Report: 40 points, judged by a person: not yet" in out
    (tmp_path / "in").mkdir()
    assert main(["course", "pack", "a6", "--out", "in/ada_a6.zip"]) == 0
    with zipfile.ZipFile(tmp_path / "in" / "ada_a6.zip") as archive:
        packed = set(archive.namelist())
    assert packed == {"a6.py", "results.csv", "claims.json", "report.pdf"}
    assert "report.pdf: packed" in capsys.readouterr().out
    course_settings.write_new(tmp_path)
    line = ["course", "grade", "a6", "in", "--sources", str(SOURCES), "--quiet"]
    assert main(line) == 0
    assert rows(tmp_path / "graded")["ada"]["total"] == "60.0"
    fill(tmp_path / "graded", "ada", [5] * 8)
    assert main(line) == 0
    assert rows(tmp_path / "graded")["ada"]["total"] == "100.0"
    capsys.readouterr()
    assert main(["course", "explain", "a6", "ada", "--sources", str(SOURCES)]) == 0
    assert "60 of 60 points" in capsys.readouterr().out  # with the files that were handed in
