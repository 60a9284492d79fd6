"""Exports: what a platform is given, and what it runs."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from test_assignments import assignment, kit
from test_class import ONCE, RIGHT

from minisd.cli import main
from minisd.course import grading, settings
from minisd.course.export import gradescope, packages
from minisd.course.settings import OfAssignment

SOURCES = Path(__file__).parents[2] / "tutorials" / "course"
FIELDS = {"score", "output", "output_format", "stdout_visibility", "tests", "extra_data"}
OF_TESTS = {
    "name": str, "number": str, "score": float, "max_score": float, "status": str, "output": str,
    "output_format": str, "tags": list, "visibility": str,
}  # fmt: skip


def check_schema(content, *, with_tests=True):
    """The fields of Gradescope's specification, and their types."""
    assert set(content) <= FIELDS
    assert isinstance(content["score"], float | int)
    for test in content["tests"]:
        assert set(test) == set(OF_TESTS)
        for name, kind in OF_TESTS.items():
            assert isinstance(test[name], kind | int if kind is float else kind), name
        assert test["status"] in ("passed", "failed")
        assert 0 <= test["score"] <= test["max_score"]
    assert bool(content["tests"]) == with_tests


def test_results_for_gradescope():
    report = grading.grade(kit("a2", "one"), ONCE, tasks=("2.1",))
    content = gradescope.results(report, OfAssignment())
    check_schema(content)
    assert content["score"] == 3
    assert [test["tags"] for test in content["tests"]] == [["padding-once"], []]
    late = gradescope.results(report, OfAssignment(), 1, 0.5)
    assert late["score"] == 1.5
    assert "1 days late: 50% of 3 points are taken off" in late["output"]
    json.dumps(content)
    for show, visibility in (("after_due", "after_due_date"), ("verdict", "visible")):
        tests = gradescope.results(report, OfAssignment(), show_hidden=show)["tests"]
        assert {test["visibility"] for test in tests} == {visibility}


def test_the_zip_has_what_it_needs_and_is_the_same_each_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings.write_new(tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    line = ["course", "export", "a2", "gradescope", "--wheels", "wheels", "--sources", str(SOURCES)]
    assert main([*line, "--out", "a.zip"]) == 2
    assert "there is no wheel of minisd" in capsys.readouterr().err
    for name in ("minisd", *packages.NEEDED):
        (wheels / f"{name}-1.0-py3-none-any.whl").write_bytes(b"wheel")
    for name in ("a.zip", "b.zip"):
        assert main([*line, "--out", name]) == 0
    assert main([*line, "--out", "a.zip"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()
    with zipfile.ZipFile("a.zip") as archive:
        names = set(archive.namelist())
    assert {"setup.sh", "run_autograder", "course.toml", "a2_convolution/mistakes.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_the_zip_runs_in_a_folder_like_theirs(tmp_path):
    """setup.sh without a network, then four submissions: right, wrong, broken and none."""
    if subprocess.run(["which", "python3.11"], capture_output=True, check=False).returncode:
        pytest.skip("there is no python3.11 here, which the wheels are for")
    settings.write_new(tmp_path)
    gradescope.export(SOURCES / "a2_convolution", tmp_path / "course.toml", tmp_path / "a2.zip")
    home = tmp_path / "autograder"
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        archive.extractall(home / "source")
    environment = {**os.environ, "AUTOGRADER": str(home), "PIP_NO_INDEX": "1", "PYTHONPATH": ""}
    environment["STUDENT"] = ""  # here another user cannot reach this folder
    line = ["bash", str(home / "source" / "setup.sh")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the reference has 100 points, the empty handout none" in done.stdout
    for text, score in ((assignment("a2").solution, 100), (RIGHT, 8), ("def (", 0), (None, 0)):
        (home / "submission").mkdir(exist_ok=True)
        for path in (home / "submission").iterdir():
            path.unlink()
        if text is not None:
            (home / "submission" / "a2.py").write_text(text)
        line = ["bash", str(home / "run_autograder")]
        subprocess.run(line, env=environment, check=True)
        content = json.loads((home / "results" / "results.json").read_text())
        check_schema(content, with_tests=text is not None)
        assert content["score"] == score
