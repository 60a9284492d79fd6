"""What PrairieLearn and GitHub Classroom run, in folders laid out like theirs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exporting import BROKEN, SHORT, export, unzipped
from test_assignments import assignment, kit
from test_class import ONCE, RIGHT

import minisd
from minisd.course import grading
from minisd.course import kit as kits
from minisd.course.export import packages, prairielearn
from minisd.course.report import weighted
from minisd.course.settings import OfAssignment

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
ROOT = Path(minisd.__file__).parents[1]


# ---- PrairieLearn ----

INFO = {
    "uuid": str, "type": str, "title": str, "topic": str, "tags": list, "gradingMethod": str,
    "singleVariant": bool, "showCorrectAnswer": bool, "partialCredit": bool,
    "externalGradingOptions": dict,
}  # fmt: skip
OPTIONS = {
    "enabled": bool, "image": str, "entrypoint": str, "timeout": int, "enableNetworking": bool,
}  # fmt: skip


def test_the_question_for_prairielearn(course):
    assert export("prairielearn") == 0
    out = course / "out"
    info = json.loads((out / "info.json").read_text())
    for content, fields in ((info, INFO), (info["externalGradingOptions"], OPTIONS)):
        assert {name: type(value) for name, value in content.items()} == fields
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", info["uuid"])
    assert (info["type"], info["gradingMethod"]) == ("v3", "External")
    options = info["externalGradingOptions"]
    assert options["timeout"] == 120
    assert not options["enableNetworking"]
    assert options["entrypoint"] == "/grade/tests/run.sh"
    assert os.access(out / "tests" / "run.sh", os.X_OK)
    page = (out / "question.html").read_text()
    assert page.count("<pl-") == page.count("</pl-") == 6
    assert '<pl-file-upload file-names="a2.py">' in page
    assert page.count("<td>2.") == 5
    handout = (out / "clientFilesQuestion" / "a2.py").read_text()
    assert handout == (kits.HANDOUTS / "a2" / "a2.py").read_text()


def check_results(content, score):
    """The fields of PrairieLearn's documentation. ``score`` None: it is not gradable."""
    assert len(json.dumps(content)) < 1_000_000
    if score is None:
        assert content == {"gradable": False, "format_errors": content["format_errors"]}
        assert all(isinstance(error, str) for error in content["format_errors"])
        return
    assert set(content) == {"gradable", "score", "message", "output", "tests"}
    assert content["gradable"] is True
    assert 0 <= content["score"] <= 1
    assert content["score"] == pytest.approx(score)
    for test in content["tests"]:
        assert set(test) == {"name", "description", "points", "max_points", "message"}
        assert 0 <= test["points"] <= test["max_points"]
    total = sum(test["max_points"] for test in content["tests"])
    earned = sum(test["points"] for test in content["tests"])
    assert content["score"] == pytest.approx(earned / total)


FOUR = [("right", 1), ("empty", 0), ("mistake", 3 / 8), ("broken", None), ("none", None)]
TEXTS = {"right": RIGHT, "mistake": ONCE, "broken": BROKEN}


def hand_in(folder, kind):
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    if kind != "none":
        handout = (kits.HANDOUTS / "a2" / "a2.py").read_text()
        (folder / "a2.py").write_text(TEXTS.get(kind, handout))


@pytest.mark.parametrize(("kind", "score"), FOUR)
def test_submissions_in_a_folder_like_prairielearns(graded, kind, score):
    unzipped(graded / "minisd-grading.zip", graded / "tests")
    hand_in(graded / "student", kind)
    prairielearn.run(graded, None)
    content = json.loads((graded / "results" / "results.json").read_text())
    check_results(content, score)
    if kind == "mistake":
        assert "the padding is counted once" in content["tests"][0]["message"]
    if kind == "broken":
        assert "your file cannot be run: SyntaxError" in content["format_errors"][0]


def test_points_of_the_settings_are_prairielearns(graded):
    report = weighted(grading.grade(kit("a2", "one"), ONCE, tasks=("2.1",)), {"2.1": 80})
    content = prairielearn.results(report, OfAssignment(hints="first"))
    check_results(content, 3 / 8)
    assert [test["max_points"] for test in content["tests"]] == [50, 30]
    assert "the padding" not in content["tests"][0]["message"]


@pytest.mark.slow
def test_files_of_an_experiment_come_with_it(course):
    assert export("prairielearn", name="a6", out="grade") == 0
    home, found = course / "grade", assignment("a6")
    page = (home / "question.html").read_text()
    assert 'optional-file-names="results.csv, claims.json, report.pdf"' in page
    (home / "student").mkdir()
    (home / "student" / "a6.py").write_text(found.solution)
    for files, score in (({}, 45 / 60), (found.files, 1)):
        for name, content in files.items():
            (home / "student" / name).write_bytes(content)
        prairielearn.run(home, None)
        content = json.loads((home / "results" / "results.json").read_text())
        check_results(content, score)
        assert "6.5 Report: 40 points, judged by a person: not yet" in content["message"]


def run_script(home, script="tests/run.sh", **environment):
    environment = {**os.environ, "GRADE": str(home), "STUDENT": "", "PYTHONPATH": "", **environment}
    line = ["bash", str(home / script)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    print(done.stderr)
    return json.loads((home / "results" / "results.json").read_text())


def test_a_grader_that_fails_is_no_verdict(course):
    """Here the wheels cannot be unpacked; the submission is right, and must not have 0 points."""
    assert export("prairielearn", out="grade") == 0
    hand_in(course / "grade" / "student", "right")
    content = run_script(course / "grade")
    check_results(content, None)
    assert "not your fault" in content["format_errors"][0]


@pytest.mark.slow
def test_the_script_of_prairielearn_runs_with_real_wheels(course):
    if shutil.which(f"python{packages.PYTHON}") is None:
        pytest.skip(f"there is no python{packages.PYTHON} here, which the wheels are for")
    (course / "course.toml").write_text(SHORT)
    assert export("prairielearn", out="real/grade", wheels="") == 0
    home = course / "real" / "grade"
    for kind, score in FOUR:
        hand_in(home / "student", kind)
        check_results(run_script(home, PIP_NO_INDEX="1"), score)
        shutil.rmtree(home / "venv")
    script = (home / "tests" / "run.sh").read_text()
    (home / "tests" / "short.sh").write_text(script.replace("timeout 105", "timeout 0.1"))
    content = run_script(home, "tests/short.sh")
    check_results(content, None)
    assert "took too long" in content["format_errors"][0]


# ---- GitHub Classroom ----


def workflow(course):
    yaml = pytest.importorskip("yaml")
    text = (course / "out" / ".github" / "workflows" / "classroom.yml").read_text()
    assert text.startswith("# Feedback on each push, not the grade")
    return yaml.safe_load(text)


def test_the_workflow_has_a_step_for_each_task(course):
    assert export("classroom") == 0
    found = workflow(course)
    assert found[True] == ["push", "workflow_dispatch"]  # "on" is true in YAML 1.1
    assert found["permissions"] == {"contents": "read"}
    job = found["jobs"]["check"]
    steps = [step for step in job["steps"] if "--task" in step.get("run", "")]
    assert [step["run"] for step in steps] == [
        f"minisd course check a2 a2.py --task {task.number}" for task in assignment("a2").tasks
    ]
    assert {step["if"] for step in steps} == {
        "${{ !cancelled() && steps.install.outcome == 'success' }}"
    }
    assert job["steps"][2]["id"] == "install"
    assert job["steps"][2]["run"].startswith("pip install")
    assert (course / "out" / "a2.py").exists()


@pytest.fixture
def environment(tmp_path):
    """An environment in which ``minisd`` is this checkout's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "minisd").write_text(f'#!/bin/sh\nexec {sys.executable} -m minisd "$@"\n')
    (folder / "minisd").chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


def codes(course, environment, text, tasks):
    """The exit codes of the steps of the workflow for these tasks, with a file handed in."""
    (course / "out" / "a2.py").write_text(text)
    steps = [step.get("run", "") for step in workflow(course)["jobs"]["check"]["steps"]]
    return [
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step],
            cwd=course / "out", env=environment, capture_output=True, check=False,
        ).returncode
        for step in steps
        if any(f"--task {task}" in step for task in tasks)
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), [("right", 0), ("mistake", 1)])
def test_a_step_runs_in_a_folder_like_theirs(course, environment, kind, code):
    assert export("classroom") == 0
    assert codes(course, environment, TEXTS[kind], ["2.1"]) == [code]


@pytest.mark.slow
def test_the_steps_run_in_a_folder_like_theirs(course, environment):
    assert export("classroom") == 0
    tasks = [task.number for task in assignment("a2").tasks]
    whole = assignment("a2").solution
    handout = (kits.HANDOUTS / "a2" / "a2.py").read_text()
    once = whole.replace("image + 2 * padding", "image + padding")
    for text, expected in (
        (whole, [0, 0, 0, 0, 0]),
        (handout, [1, 1, 1, 1, 1]),
        (once, [1, 0, 0, 0, 0]),
        (BROKEN, [1, 1, 1, 1, 1]),
    ):
        assert codes(course, environment, text, tasks) == expected
