"""Exports for otter, nbgrader, PrairieLearn and GitHub Classroom; real round trips are below."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from test_assignments import FOLDERS, assignment, kit
from test_class import ONCE, RIGHT, notebook

import minisd
from minisd.cli import main
from minisd.cli.course_staff import EXPORTS
from minisd.course import ask, bundle, grading, source, submissions
from minisd.course import kit as kits
from minisd.course.export import notebooks, packages, prairielearn
from minisd.course.settings import OfAssignment
from minisd.errors import UserError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
SOURCES = FOLDERS["a2"].parent
ROOT = Path(minisd.__file__).parents[1]
SEED = "0123456789abcdef-secret"
SHORT = f'seed = "{SEED}"\n[a2]\ntasks = ["2.1"]\n'
OTHERS = [kind for kind in EXPORTS if kind != "gradescope"]
BROKEN = "def conv_output_size(:"
FILLED = "overlapping windows overwrite each other in dx"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with course.toml and with wheels that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "course.toml").write_text(f'seed = "{SEED}"\n')
    (tmp_path / "wheels").mkdir()
    for name in ("minisd", *packages.NEEDED):
        (tmp_path / "wheels" / f"{name}-1.0-py3-none-any.whl").write_bytes(b"wheel")
    return tmp_path


def export(kind, out="out", name="a2", wheels="wheels"):
    given = ["--wheels", wheels] if wheels and kind != "nbgrader" else []
    return main(["course", "export", name, kind, "--sources", str(SOURCES), "--out", out, *given])


def cells(path):
    nbformat = pytest.importorskip("nbformat")
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return found.cells


def solved(task, kind):
    """The text of a task as a student hands it in: right, empty, or with a mistake of the bank."""
    if kind == "empty":
        return assignment("a2").blank(task.text)
    text = assignment("a2").rewritten(task.text, lambda indent, body, blank: body)
    add = "dframe[:, :, rows, columns] +="
    return text.replace(add, add.replace("+=", "=")) if kind == "mistake" else text


def fill(released, kind, out):
    """Put answers into a notebook as it was given out."""
    content = json.loads(released.read_text())
    for task in assignment("a2").tasks:
        for cell in content["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "code" and task.names and f"def {task.names[0]}(" in text:
                cell["source"] = text if kind == "empty" else solved(task, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content))


# ---- what every export has ----


@pytest.mark.parametrize("kind", OTHERS)
def test_an_export_is_the_same_each_time_and_replaces_nothing(course, kind, capsys):
    assert export(kind) == 0
    files = {path: path.read_bytes() for path in (course / "out").rglob("*") if path.is_file()}
    assert export(kind) == 0
    assert {path: path.read_bytes() for path in files} == files
    changed = next(path for path in files if path.suffix in (".ipynb", ".py"))
    changed.write_text("mine")
    capsys.readouterr()
    assert export(kind) == 2
    assert "is there already" in capsys.readouterr().err
    assert changed.read_text() == "mine"


SECRET_FILES = {
    "nbgrader": {"minisd-grading-a2.zip"},
    "otter": {"minisd-grading.zip"},
    "prairielearn": {"tests/course.toml", "tests/a2_convolution/hidden.py"},
    "classroom": set(),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_students_can_see_has_no_secret(course, kind):
    """Neither the seed, nor a line of the solution, of the hidden cases, of the bank."""
    assert export(kind) == 0
    out = course / "out"
    paths = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert SECRET_FILES[kind] <= paths.keys()
    secret = [
        line.strip() for r in source.regions(assignment("a2").solution) for line in r.split("\n")
    ]
    for name in ("hidden.py", "mistakes.py", "right.py"):
        secret += [line.strip() for line in (FOLDERS["a2"] / name).read_text().split("\n")[2:]]
    shown = {name: shown_of(kind, path) for name, path in paths.items() if is_shown(kind, name)}
    assert any("def conv2d_backward" in text for text in shown.values())
    for name, text in shown.items():
        assert SEED not in text, name
        lines = {line.strip().strip('"').removesuffix("\\n").strip() for line in text.split("\n")}
        found = [line for line in secret if len(line) > 30 and line in lines]
        assert not [line for line in found if not line.startswith(("def ", "from "))], name


def is_shown(kind, name):
    secret = name.startswith("tests/") if kind == "prairielearn" else name.endswith(".zip")
    return not secret and not name.endswith(".whl")


def shown_of(kind, path):
    """A file as students see it: of notebooks, what the platform leaves of the cells."""
    if path.suffix != ".ipynb":
        return path.read_text()
    begin, end = {
        "nbgrader": ("### BEGIN (SOLUTION|HIDDEN TESTS)", "### END (SOLUTION|HIDDEN TESTS)"),
        "otter": ("# BEGIN SOLUTION NO PROMPT", "# END SOLUTION"),
    }[kind]
    texts, is_test = [], False
    for cell in cells(path):
        if cell.cell_type == "raw":  # otter takes out tests by cells
            is_test = "BEGIN TESTS" in cell.source or (is_test and "END TESTS" not in cell.source)
        elif not is_test:
            region = rf"^ *{begin}\n.*?^ *{end}$"
            texts.append(re.sub(region, "", cell.source, flags=re.DOTALL | re.MULTILINE))
    text = "\n".join(texts)
    assert "ask.ask" not in text
    assert "minisd-grading" not in text
    return text


def test_a_secret_in_a_notebook_would_be_seen(course):
    assert export("nbgrader") == 0
    path = course / "out" / "source" / "a2" / "a2.ipynb"
    path.write_text(path.read_text().replace("### BEGIN SOLUTION", "### SOLUTION"))
    assert "dframe, dw = np.zeros_like(frame)" in shown_of("nbgrader", path)
    path.write_text(path.read_text().replace("### BEGIN HIDDEN TESTS", "###"))
    with pytest.raises(AssertionError):
        shown_of("nbgrader", path)


# ---- the notebooks ----


@pytest.mark.parametrize("name", FOLDERS)
def test_the_notebook_for_nbgrader(course, name):
    assert export("nbgrader", name=name) == 0
    found = cells(course / "out" / "source" / name / f"{name}.ipynb")
    about = [cell.metadata["nbgrader"] for cell in found if "nbgrader" in cell.metadata]
    for of in about:
        needed = {"schema_version", "grade_id", "grade", "solution", "locked", "task"}
        assert set(of) == needed | ({"points"} if of["grade"] else set())
        assert of["schema_version"] == 3
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", of["grade_id"])
    assert len({of["grade_id"] for of in about}) == len(about)
    assert sum(of.get("points", 0) for of in about) == pytest.approx(100)
    assert len([of for of in about if of["solution"]]) == sum(
        bool(task.names) for task in assignment(name).tasks
    )
    for cell in found:
        compile(cell.source if cell.cell_type == "code" else "", "cell", "exec")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_notebook_for_otter(course, name):
    yaml = pytest.importorskip("yaml")
    assert export("otter", name=name) == 0
    found = cells(course / "out" / f"{name}.ipynb")
    config = yaml.safe_load(found[0].source)
    assert config["tests"] == {"ok_format": False}
    for file in config["autograder_files"]:
        assert (course / "out" / file).exists()
    raw = [cell.source.split("\n")[0] for cell in found if cell.cell_type == "raw"][1:]
    open_blocks = []
    for line in raw:
        begins, block = re.fullmatch(r"# (BEGIN|END) (QUESTION|SOLUTION|TESTS)", line).groups()
        if begins == "BEGIN":
            open_blocks.append(block)
        else:
            assert open_blocks.pop() == block
    assert not open_blocks
    points, hidden = 0, 0
    for cell in found:
        if "BEGIN QUESTION" in cell.source:
            points += yaml.safe_load(cell.source)["points"]
        if cell.source.startswith('""" # BEGIN TEST CONFIG'):
            test = yaml.safe_load(cell.source.split('"""')[1])
            hidden += test["points"]
            assert test["hidden"] == bool(test["points"])
            compile(cell.source, "test", "exec")
    assert points == pytest.approx(100)
    assert hidden == pytest.approx(100)


def test_points_of_the_settings_and_tasks_that_are_set(course):
    (course / "course.toml").write_text(SHORT + 'points = {"2.1" = 16}\n')
    assert export("nbgrader") == 0
    points = [
        cell.metadata["nbgrader"]["points"]
        for cell in cells(course / "out" / "source" / "a2" / "a2.ipynb")
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    assert points == [10, 6]
    opened = bundle.Bundle(unzipped(course / "out" / "minisd-grading-a2.zip", course / "b"))
    report = opened.grade(submissions.Code(ONCE, []))
    assert (report.earned, report.points) == (6, 16)


def unzipped(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def test_a_property_can_be_earned_in_these_steps(course):
    """What a check can give is what the tests of otter ask for."""
    steps = {of.what: of.steps for of in notebooks.graded("a2", course / "course.toml")}
    assert steps["2.3 dx"] == (0.7, 1)
    assert steps["2.4 growth"] == (0.5, 1)
    assert steps["2.1 size"] == (1,)


# ---- asking ----


@pytest.fixture
def graded(course, monkeypatch):
    """A working folder with what the graders of otter have: a2.ipynb is to be written."""
    (course / "course.toml").write_text(SHORT)
    content = bundle.contents(FOLDERS["a2"], course / "course.toml")
    (course / "minisd-grading.zip").write_bytes(bundle.zipped(content))
    ask._answer.cache_clear()
    return course


def asked(what="2.1", **options):
    return ask.ask("a2", what, "minisd-grading.zip", **options)


def test_asking_a_notebook_gives_a_share_and_says_what_is_not_right(graded, capsys, monkeypatch):
    (graded / "a2.ipynb").write_text(notebook(ONCE))
    assert asked("2.1 size") == 0
    said = capsys.readouterr().out
    assert "wrong  size: 0 of 5" in said
    assert "the padding is counted once" in said
    assert SEED not in said
    monkeypatch.setattr(subprocess, "run", None)  # it has been judged
    assert asked("2.1 refusal") == 1
    assert asked("2.1") == 3 / 8
    assert asked("2.1", at_least=3 / 8) == 3 / 8
    with pytest.raises(ask.NotRightError, match="the padding is counted once") as caught:
        asked("2.1 size", at_least=1)
    assert "\n" not in "".join(caught.value._render_traceback_())
    with pytest.raises(UserError, match=r"no '2\.1 colour'"):
        asked("2.1 colour")


def test_locked_cells_are_the_platforms(graded):
    """They import minisd, which would cost a student the task; and hold no answer."""
    content = json.loads(notebook(RIGHT))
    for about in (
        {"editable": False},
        {"nbgrader": {"grade": True, "solution": False, "locked": True}},
        {"nbgrader": {"grade": False, "solution": False, "locked": True}},
    ):
        cell = {"cell_type": "code", "metadata": about, "source": "import minisd.course.ask"}
        content["cells"].append(cell)
    path = graded / "a2.ipynb"
    path.write_text(json.dumps(content))
    assert "minisd" not in submissions.read(path, "a2").text
    assert asked() == 1
    of_student = {"nbgrader": {"grade": False, "solution": True, "locked": False}}
    content["cells"].append({**cell, "metadata": of_student})
    path.write_text(json.dumps(content))
    assert "minisd" in submissions.read(path, "a2").text


def test_what_stands_beside_the_notebook_does_not_matter(graded):
    """Neither modules that have a name of the library's, nor another notebook."""
    (graded / "a2.ipynb").write_text(notebook(RIGHT))
    for name in ("json.py", "numpy.py", "minisd.py", "a2.py"):
        (graded / name).write_text("raise SystemExit('mine')")
    (graded / "scratch.ipynb").write_text(notebook(ONCE))
    assert asked() == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no a2.ipynb"),
        ("{", "a2.ipynb is damaged"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(graded, text, said):
    if text is not None:
        (graded / "a2.ipynb").write_text(text)
    with pytest.raises(UserError, match=said):
        asked()


def test_a_bundle_that_is_missing_or_damaged_is_a_sentence(graded):
    (graded / "a2.ipynb").write_text(notebook(RIGHT))
    with pytest.raises(UserError, match=r"there is no nowhere\.zip"):
        ask.ask("a2", "2.1", "nowhere.zip")
    (graded / "bad.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"bad\.zip is damaged"):
        ask.ask("a2", "2.1", "bad.zip")


def test_a_judge_that_is_lost_or_too_slow_is_a_sentence(graded, monkeypatch):
    (graded / "a2.ipynb").write_text(notebook(RIGHT))
    monkeypatch.setattr(ask, "SECONDS", 0.01)
    with pytest.raises(UserError, match=r"took more than 0\.01 seconds"):
        asked()
    ask._answer.cache_clear()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(ask, "SECONDS", 60)
    with pytest.raises(UserError, match="the grader has failed"):
        asked()


def test_public_checks_of_the_saved_notebook(graded, monkeypatch, capsys):
    ipython = pytest.importorskip("IPython")
    path = graded / "a2.ipynb"
    path.write_text(notebook(ONCE))
    with pytest.raises(ask.NotRightError, match="the padding is counted once"):
        ask.check("a2", "2.1")
    path.write_text(notebook(RIGHT))
    ask.check("a2", "2.1")
    assert "right" in capsys.readouterr().out

    class Shell:
        history_manager = type("History", (), {"input_hist_raw": ["", "!ls", ONCE, "1 +"]})

    monkeypatch.setattr(ipython, "get_ipython", Shell)
    with pytest.raises(UserError, match="another conv_output_size than the one that you ran"):
        ask.check("a2", "2.1")
    Shell.history_manager.input_hist_raw.append("# a comment\n" + RIGHT)
    ask.check("a2", "2.1")


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
    report = grading.grade(kit("a2", "one"), ONCE, tasks=("2.1",)).weighted({"2.1": 80})
    content = prairielearn.results(report, OfAssignment(hints="what"))
    check_results(content, 3 / 8)
    assert [test["max_points"] for test in content["tests"]] == [50, 30]
    assert "the padding" not in content["tests"][0]["message"]


def run_script(home, script="tests/run.sh", **environment):
    environment = {**os.environ, "GRADE": str(home), "STUDENT": "", "PYTHONPATH": "", **environment}
    subprocess.run(["bash", str(home / script)], env=environment, capture_output=True, check=True)
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
    assert export("prairielearn", out="grade", wheels="") == 0
    home = course / "grade"
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
