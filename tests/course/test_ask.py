"""What the cells of otter and nbgrader ask of the notebook that is graded."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from exporting import SEED
from test_class import ONCE, RIGHT, notebook

from minisd.course import ask, submissions
from minisd.errors import UserError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]


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
    for is_graded in (False, True):  # by a person
        of_student = {"nbgrader": {"grade": is_graded, "solution": True, "locked": False}}
        content["cells"][-1] = {**cell, "metadata": of_student}
        path.write_text(json.dumps(content))
        assert "minisd" in submissions.read(path, "a2").text


def test_pictures_of_a_notebook_are_no_code(tmp_path):
    content = json.loads(notebook(RIGHT))
    content["cells"][2]["outputs"] = [{"data": {"image/png": "x" * 2_000_000}}]
    path = tmp_path / "a2.ipynb"
    packed = tmp_path / "a2.zip"
    for source, said in ((RIGHT, ""), ("# " + "x" * 200_000, "its code has 200,0.. characters")):
        content["cells"][2]["source"] = source
        path.write_text(json.dumps(content))
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(path, "a2.ipynb")
        for file in (path, packed):
            if said:
                with pytest.raises(UserError, match=said):
                    submissions.read(file, "a2")
            else:
                assert RIGHT in submissions.read(file, "a2").text


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
    with pytest.raises(ask.CannotAskError, match=said) as caught:
        asked()
    assert len(caught.value._render_traceback_()) == 1


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
        starting_dir = str(graded)
        history_manager = type("History", (), {"input_hist_raw": ["", "!ls", ONCE, "1 +"]})

    monkeypatch.setattr(ipython, "get_ipython", Shell)
    with pytest.raises(
        UserError, match="has another conv_output_size than the one that you ran last"
    ):
        ask.check("a2", "2.1")
    Shell.history_manager.input_hist_raw.append("# a comment\n" + RIGHT)
    monkeypatch.chdir("/")  # as a cell may do
    ask.check("a2", "2.1")
    ask._answer.cache_clear()
    assert asked() == 1
