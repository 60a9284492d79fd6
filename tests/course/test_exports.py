"""Exports for otter, nbgrader, PrairieLearn and GitHub Classroom: what is in them."""

import os
import re

import pytest
from exporting import SEED, SHORT, export, unzipped
from test_assignments import FOLDERS, assignment
from test_class import ONCE

from minisd.cli.course_staff import EXPORTS
from minisd.course import bundle, source, submissions
from minisd.course.export import notebooks

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
NOTEBOOKS = [name for name in FOLDERS if not assignment(name).files]
OTHERS = [kind for kind in EXPORTS if kind != "gradescope"]


def cells(path):
    nbformat = pytest.importorskip("nbformat")
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return found.cells


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


@pytest.mark.parametrize("kind", EXPORTS)
def test_settings_about_a_task_that_is_not_there_are_refused(course, kind, capsys):
    (course / "course.toml").write_text(SHORT.replace("2.1", "2.9"))
    assert export(kind) == 2
    assert "a2 has no task '2.9'" in capsys.readouterr().err
    assert not (course / "out").exists()


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


@pytest.mark.parametrize("name", NOTEBOOKS)
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


@pytest.mark.parametrize("name", NOTEBOOKS)
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


@pytest.mark.parametrize("kind", ["nbgrader", "otter"])
def test_an_experiment_is_no_notebook_for_a_platform(course, kind, capsys):
    assert export(kind, name="a6") == 2
    assert "an experiment of minutes" in capsys.readouterr().err
    assert not (course / "out").exists()


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


def test_a_property_can_be_earned_in_these_steps(course):
    """What a check can give is what the tests of otter ask for."""
    exported = bundle.export(FOLDERS["a2"], course / "course.toml")
    steps = {of.what: of.steps for of in notebooks.graded(exported)}
    assert steps["2.3 dx"] == (0.7, 1)
    assert steps["2.4 growth"] == (0.5, 1)
    assert steps["2.1 size"] == (1,)
