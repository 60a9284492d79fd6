"""A class: finding submissions, grading them all, feedback, going on after a kill; the command."""

import csv
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from datetime import UTC, datetime

import pytest
from test_assignments import assignment, kit

from minisd.cli import main
from minisd.course import batch, graded, grades, grading, settings, submissions
from minisd.course.checks import Failure
from minisd.course.report import PropertyReport, Report, TaskReport, weighted
from minisd.course.sandbox import Sandbox
from minisd.course.settings import OfAssignment, Settings
from minisd.course.submissions import Submission
from minisd.errors import ConfigError, UserError
from tiny_runs import command

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
SHORT = OfAssignment(tasks=["2.1"], seconds_per_call=2)
RIGHT = """
def conv_output_size(x_shape, w_shape, stride, padding):
    room = [n + 2 * padding - k for n, k in zip(x_shape[2:], w_shape[2:])]
    if min(room) < 0:
        raise ValueError
    return room[0] // stride + 1, room[1] // stride + 1
"""
ONCE = RIGHT.replace("2 * padding", "padding")


def notebook(code):
    cells = [
        {"cell_type": "markdown", "source": "# mine"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install x\n"]},
        {"cell_type": "code", "source": code},
    ]
    return json.dumps({"cells": cells, "nbformat": 4})


@pytest.fixture
def folder(tmp_path):
    """Submissions in many forms; who did not hand in anything that can be read is there, too."""
    out = tmp_path / "submissions"
    (out / "ada").mkdir(parents=True)
    (out / "ada" / "a2.py").write_text(RIGHT)
    (out / "ada" / "notes.txt").write_text("hello")
    (out / "Bob Box_123_assignsubmission_file_").mkdir()
    (out / "Bob Box_123_assignsubmission_file_" / "my a2.ipynb").write_text(notebook(ONCE))
    with zipfile.ZipFile(out / "cleo_a2.zip", "w") as archive:
        archive.writestr("__MACOSX/a2.py", "junk")
        archive.writestr("work/a2.py", RIGHT)
    (out / "dan").mkdir()
    (out / "eve_99.py").write_text("def conv_output_size(:")
    (out / "=SUM(1)_98.py").write_text("import torch\n" + RIGHT)
    (out / "fay").mkdir()
    (out / "fay" / "a2.py").write_bytes(b"\xff\xfe" + bytes(300_000))
    (out / ".git").mkdir()
    return out


def rows(out):
    return {
        row["student"]: row for row in csv.DictReader(io.StringIO((out / "grades.csv").read_text()))
    }


def grade(folder, out, of=SHORT, jobs=2, seed="one"):
    course = Settings(seed="x" * 16, assignments={"a2": of})
    return batch.grade_class(
        kit("a2", seed), submissions.find(folder, "a2"), course, out, jobs=jobs
    )


def test_a_class_has_a_row_for_every_student(folder, tmp_path):
    grade(folder, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert {name: float(row["total"]) for name, row in found.items()} == {
        "ada": 8, "Bob Box_123": 3, "cleo": 8, "dan": 0, "eve": 0, "fay": 0, "'=SUM(1)": 0,
    }  # fmt: skip
    assert found["Bob Box_123"]["mistakes"] == "2.1 padding-once"
    assert "is a folder" in found["dan"]["problem"]
    assert "300,002 bytes" in found["fay"]["problem"]
    assert found["'=SUM(1)"]["mistakes"] == "2.1 G-import; 2.1 G-import"
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "| 1 | 2.1 padding-once | the padding is counted once" in summary
    feedback = {path.name for path in (tmp_path / "out" / "feedback").iterdir()}
    assert len(feedback) == 14
    assert (
        "the padding is counted once"
        in (tmp_path / "out" / "feedback" / "Bob_Box_123.md").read_text()
    )
    page = (tmp_path / "out" / "feedback" / "Bob_Box_123.html").read_text()
    assert "<script" not in page
    assert "3 of 8 points" in page


def test_two_students_of_one_name_are_told_apart(tmp_path):
    for name in ("lee_11_a2.py", "lee_12_a2.py", "max_13_a2.py"):
        (tmp_path / name).write_text(RIGHT)
    found = [s.student for s in submissions.find(tmp_path, "a2")]
    assert found == ["lee_11_a2", "lee_12_a2", "max"]


@pytest.mark.slow
def test_the_same_grades_with_any_number_of_jobs(folder, tmp_path):
    for jobs in (1, 4):
        grade(folder, tmp_path / str(jobs), jobs=jobs)
    one, four = (
        {
            str(path.relative_to(tmp_path / jobs)): path.read_bytes()
            for path in (tmp_path / jobs).rglob("*")
            if path.is_file()
        }
        for jobs in ("1", "4")
    )
    assert one == four


def test_a_class_that_was_interrupted_goes_on(folder, tmp_path, monkeypatch):
    """The results that are there are not made again, unless what decides them has changed."""
    out = tmp_path / "out"
    grade(folder, out)
    before = rows(out)
    done = []
    original = batch._grade_one
    monkeypatch.setattr(
        batch, "_in_processes",
        lambda kit, waiting, of, paths, keys, jobs, user: (
            done.append(s.student) or original(kit, s, of, paths[s.student], keys[s.student], user)
            for s in waiting
        ),
    )  # fmt: skip
    grade(folder, out)
    assert done == []
    (out / "results" / "ada.json").write_text("{")  # damaged
    (folder / "eve_99.py").write_text(RIGHT)  # handed in again
    grade(folder, out)
    assert done == ["ada", "eve"]
    assert float(rows(out)["eve"]["total"]) == 8
    assert rows(out)["ada"] == before["ada"]
    grade(folder, out, seed="3")
    assert len(done) == 2 + 7


def test_a_process_that_is_lost_costs_one_row(folder, tmp_path, monkeypatch):
    original = batch.grade_as_set

    def lost(kit, code, of, **options):
        if "2 * padding" not in code.text:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(kit, code, of, **options)

    monkeypatch.setattr(batch, "grade_as_set", lost)
    grade(folder, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert found["Bob Box_123"]["problem"] == "it could not be graded: look at it yourself"
    assert float(found["ada"]["total"]) == 8


@pytest.mark.parametrize(("times", "earned"), [(1, 8), (2, 3)])
def test_a_call_that_takes_too_long_is_made_again_once(times, earned, monkeypatch):
    """A machine that was busy for a moment is no fault of the student's."""
    left, ask = times, Sandbox.ask

    def slow(self, do, **arguments):
        nonlocal left
        if do == "call" and left:
            left -= 1
            raise Failure("Timeout")
        return ask(self, do, **arguments)

    monkeypatch.setattr(Sandbox, "ask", slow)
    found = grading.grade(kit("a2", "one"), RIGHT, tasks=("2.1",))
    assert found.earned == earned


def test_delay_slip_days_and_extra_days():
    due = datetime(2027, 3, 1, 12, tzinfo=UTC)
    of = OfAssignment(due=due, late_per_day=0.25, slip_days=1, points={"2.1": 32})
    course = Settings(seed="x" * 16, extra_days={"ada": 1}, assignments={"a2": of})
    lines = [PropertyReport("size", 8, 8, [], []), PropertyReport("error", 8, 0, [], [])]
    report = Report("a2", "", "", 2, [TaskReport("2.1", "", lines)])
    result = graded.Result("", "", "", weighted(report, of.points))
    for student, hour, late in (("bob", 11, 0), ("bob", 36, 0), ("bob", 37, -4), ("ada", 37, 0)):
        when = due.replace(day=1 + (12 + hour - 12) // 24, hour=(12 + hour - 12) % 24)
        row = grades.row(Submission(student, None, when), result, of, course)
        assert (row["raw"], row["late"], row["total"]) == (16, late, 16 + late), (student, hour)


def test_an_export_of_gradescope(tmp_path):
    (tmp_path / "submission_7").mkdir()
    (tmp_path / "submission_7" / "a2.py").write_text(RIGHT)
    (tmp_path / "submission_metadata.yml").write_text(
        "submission_7:\n  :submitters:\n  - :name: Ada\n    :sid: '0042'\n    :email: a@b.c\n"
        "  :created_at: 2027-03-01 10:00:00.0 Z\n"
    )
    (found,) = submissions.find(tmp_path, "a2")
    assert found.student == "0042"
    assert found.path == tmp_path / "submission_7" / "a2.py"
    assert found.handed_in == datetime(2027, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks seed"),
        ('seed = "short"', "too short"),
        ('seed = "0123456789abcdef"\ncolour = 1', "'colour', which is unknown"),
        ('seed = "0123456789abcdef"\n[a2]\nhint = "all"', "did you mean 'hints'"),
        (
            'seed = "0123456789abcdef"\n[a2]\nhints = "x"',
            "hints of a2 are first, where, all, step",
        ),
        ('seed = "0123456789abcdef"\n[a2]\nmemory_mb = -1', "memory_mb in .* cannot be -1"),
        ('seed = "0123456789abcdef"\n[a2]\ndue = 2027-03-01T10:00:00', "needs its zone"),
        ("seed = ", "is damaged"),
        (
            'seed = "0123456789abcdef"\n[report]\nshow_hidden = "no"',
            "show_hidden is verdict, after",
        ),
        ('seed = "0123456789abcdef"\na2 = 3', "must be a table"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, text, said):
    path = tmp_path / "course.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        settings.read(path)


def test_settings_about_a_task_that_is_not_there_are_refused(tmp_path):
    for of in (OfAssignment(tasks=["2.9"]), OfAssignment(points={"2.9": 3.0})):
        course = Settings("x" * 16, assignments={"a2": of})
        with pytest.raises(ConfigError, match=r"a2 has no task '2.9'; there are 2.1, 2.2"):
            batch.grade_class(kit("a2", "one"), [], course, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


def test_settings_of_a_course(tmp_path):
    path = settings.write_new(tmp_path)
    first = settings.read(path)
    assert len(first.seed) == 64
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="there already"):
        settings.write_new(tmp_path)
    path.write_text(path.read_text() + '[a2]\ndue = 2027-03-01T10:00:00Z\npoints = {"2.3" = 50}\n')
    assert settings.read(path).of("a2").points == {"2.3": 50}
    assert settings.read(path).of("a1") == OfAssignment()


# ---- the command ----


def test_a_student_takes_the_handout_checks_and_packs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "list"]) == 0
    assert "a2  Assignment 2: Convolution: 100 points" in capsys.readouterr().out
    assert main(["course", "new", "a2"]) == 0
    assert main(["course", "new", "a2"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["course", "check", "a2", "--task", "2.1"]) == 1
    assert "not written yet" in capsys.readouterr().out
    path = tmp_path / "a2" / "a2.py"
    path.write_text(ONCE)
    for hint, said, silent in (
        ("3", "the padding is counted once", "nothing"),
        ("2", "On how many sides is the frame?", "the padding is counted once"),
        ("1", "wrong  size: 0 of 5", "On how many sides"),
    ):
        assert main(["course", "check", "a2", "--task", "2.1", "--hint", hint]) == 1
        out = capsys.readouterr().out
        assert said in out
        assert silent not in out
    path.write_text(RIGHT)
    assert main(["course", "check", "a2", "--task", "2.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["earned"] == 8
    assert main(["course", "pack", "a2"]) == 0
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        assert archive.read("a2.py").decode() == RIGHT
    path.write_text("import nothing_like_this")
    assert main(["course", "pack", "a2", "--out", "b.zip"]) == 2
    assert "does not load: ModuleNotFoundError in line 1" in capsys.readouterr().err
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "a9"], "there is no assignment 'a9'; there are"),
        (["check", "a2", "none.py"], "there is no none.py"),
        (["check", "a2"], "there is no a2.py here"),
        (["check", "a2", "x.py", "--task", "2.9"], "has no task 2.9"),
        (["grade", "a2", "x"], "there is no course.toml: write one"),
        (["new", "b2"], "there is no assignment"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").write_text(RIGHT)
    assert main(["course", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_grading_goes_on_to_the_same_grades(folder, tmp_path):
    sources = submissions.Path(__file__).parents[2] / "tutorials" / "course"
    settings.write_new(tmp_path)

    def line(out):
        return command(
            "course", "grade", "a2", folder, "--settings", tmp_path / "course.toml", "--out", out,
            "--sources", sources, "--quiet",
        )  # fmt: skip

    assert subprocess.run(line(tmp_path / "whole"), check=False).returncode == 0
    process = subprocess.Popen(line(tmp_path / "killed"))
    while not list((tmp_path / "killed").glob("results/*.json")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert subprocess.run(line(tmp_path / "killed"), check=False).returncode == 0
    names = ("grades.csv", "summary.md")
    whole, killed = ([(tmp_path / o / n).read_bytes() for n in names] for o in ("whole", "killed"))
    assert whole == killed


def test_grading_needs_a_reference_that_is_not_in_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings.write_new(tmp_path)
    (tmp_path / "x").mkdir()
    assert main(["course", "grade", "a2", "x"]) == 2
    assert "has no source of a2: grading needs a checkout" in capsys.readouterr().err
    with pytest.raises(UserError, match="no submissions"):
        submissions.find(tmp_path / "x", "a2")
    assert assignment("a2").name == "a2"
